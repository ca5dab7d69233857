//! server::relay::login – who we are to a smarthost: the password from its file, and `sasl::client`.
//!
//! Promises: the password is read when it is needed and kept no longer than the connection; what costs time
//! (PBKDF2) is computed on a worker.
//! Not here: that it happens under TLS only (`smtp::client`, and the configuration).

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits::PASSWORD_BYTES_MAX;
use crate::mail::hop;
use crate::sasl::Mechanism;
use crate::sasl::client::{Client, Response};
use crate::shard;
use crate::wire::secret::Secret;

/// Random octets of a nonce (RFC 5802 §5.1).
const NONCE_BYTES: usize = 18;

/// One login.
pub(super) struct Login {
    name: String,
    password: Secret,
    exchange: Option<Client>,
}

impl Login {
    /// Reads the password.
    ///
    /// # Errors
    /// A reason (RFC 3463 first) to try again later.
    pub(super) async fn read(login: &hop::Login) -> Result<Self, String> {
        let path = login.password_file.clone();
        let read = shard::blocking(move || password(&path)).await;
        match read.and_then(|password| password) {
            Ok(password) => Ok(Self { name: login.username.clone(), password, exchange: None }),
            Err(error) => {
                let file = &login.password_file;
                tracing::error!(%file, %error, "the password for a smarthost cannot be read");
                Err("4.3.5 the password for the next server cannot be read".to_owned())
            }
        }
    }

    /// The mechanism to use of those `offered`, and what is said first.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn begin(&mut self, offered: &[String]) -> Result<(Mechanism, Response), String> {
        let mechanism = Client::choose(offered).ok_or("no mechanism for the login in common")?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let nonce = STANDARD.encode(nonce);
        let client = Client::new(mechanism, &self.name, &self.password, &nonce);
        let mut client = client.ok_or("the name or the password is none that SASL permits")?;
        let response = client.initial();
        self.exchange = Some(client);
        Ok((mechanism, response))
    }

    /// What is said to a challenge.
    ///
    /// # Errors
    /// Why there is nothing to say.
    pub(super) async fn respond(&mut self, challenge: Vec<u8>) -> Result<Response, String> {
        let mut client = self.exchange.take().ok_or("a challenge without a login")?;
        let computed = shard::blocking(move || {
            let response = client.respond(&challenge);
            (client, response)
        });
        let (client, response) = computed.await.map_err(|error| error.to_string())?;
        self.exchange = Some(client);
        response.map_err(str::to_owned)
    }
}

/// For `sluicegate check`: would a password be found there?
///
/// # Errors
/// Why not.
pub fn look(path: &str) -> io::Result<()> {
    password(path).map(drop)
}

/// The first line of the file.
fn password(path: &str) -> io::Result<Secret> {
    let mut octets = Vec::with_capacity(PASSWORD_BYTES_MAX + 3);
    File::open(path)?.take(PASSWORD_BYTES_MAX as u64 + 3).read_to_end(&mut octets)?;
    let end = octets.len() - usize::from(octets.ends_with(b"\n"));
    octets.truncate(end);
    let end = octets.len() - usize::from(octets.ends_with(b"\r"));
    octets.truncate(end);
    if octets.is_empty() || octets.len() > PASSWORD_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is empty, or too long"));
    }
    Ok(Secret::new(octets))
}
