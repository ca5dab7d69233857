//! tls::testing – a client for tests, as a value too, and certificates to try.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind, RootCertStore, version};

use super::{Identity, Keeper, Pair, Roots};

/// The name on [`keeper`]'s certificate.
pub const NAME: &str = "sim.example";
/// A time at which it is good.
pub const NOW: i64 = 1_700_000_000;

/// TLS versions that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// Both.
pub const BOTH: [Speaks; 2] = [Speaks::Tls12, Speaks::Tls13];

/// Makes a certificate for `names` in `directory`.
pub fn pair(directory: &Path, stem: &str, names: &[&str]) -> Pair {
    let certificate = directory.join(format!("{stem}.pem"));
    let private_key = directory.join(format!("{stem}.key"));
    let pair = Pair { certificate, private_key };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert!(super::make_own(&pair, &names, None).unwrap());
    pair
}

/// A keeper with one certificate, the same each time, and what a client must know to trust it.
pub fn keeper() -> (Keeper, Trust) {
    // Read once: a simulation opens thousands of servers.
    static MADE: OnceLock<(Identity, Trust)> = OnceLock::new();
    let made = || {
        let directory = tempfile::tempdir().unwrap();
        let pair = pair(directory.path(), "one", &[NAME]);
        (Identity::load(std::slice::from_ref(&pair), NOW).unwrap(), Trust::of(&[&pair]))
    };
    let (identity, trust) = MADE.get_or_init(made);
    let keeper = Keeper::new().unwrap();
    keeper.replace(identity.clone()).unwrap();
    (keeper, trust.clone())
}

/// What a client trusts.
#[derive(Debug, Clone)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// These certificates.
    pub fn of(pairs: &[&Pair]) -> Self {
        let mut roots = RootCertStore::empty();
        for pair in pairs {
            let der = CertificateDer::from_pem_file(&pair.certificate).unwrap();
            roots.add(der).unwrap();
        }
        Self(Arc::new(roots))
    }

    /// The same for a client of ours.
    pub fn roots(&self) -> Roots {
        Roots::from_store(RootCertStore::clone(&self.0))
    }
}

/// A client program: its connections share what sessions it remembers.
#[derive(Debug, Clone)]
pub struct Person {
    config: ClientConfig,
}

impl Person {
    /// Remembers no session yet.
    pub fn new(trust: &Trust, speaks: Speaks) -> Self {
        let versions = match speaks {
            Speaks::Tls12 => [&version::TLS12],
            Speaks::Tls13 => [&version::TLS13],
        };
        let provider = Arc::new(super::keeper::provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&trust.0))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(16);
        config.enable_early_data = true;
        Self { config }
    }

    /// The same program without the sessions it remembered.
    #[must_use]
    pub fn forgetful(mut self) -> Self {
        self.config.resumption = Resumption::in_memory_sessions(16);
        self
    }

    /// Names this protocol.
    #[must_use]
    pub fn naming(mut self, protocol: &[u8]) -> Self {
        self.config.alpn_protocols = vec![protocol.to_vec()];
        self
    }

    /// Begins a connection to [`NAME`].
    pub fn connect(&self) -> Client {
        self.connect_to(NAME)
    }

    /// Begins a connection to `name`.
    pub fn connect_to(&self, name: &str) -> Client {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        // It would begin with it if the ticket said so.
        assert!(client.early_data().is_none(), "a ticket allows 0-RTT, which can be replayed");
        Client(client)
    }
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client(ClientConnection);

impl Client {
    /// What it wants to send.
    pub fn outgoing(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut octets).unwrap();
        }
        octets
    }

    /// Takes what came; gives what the server said.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn incoming(&mut self, mut octets: &[u8]) -> Result<Vec<u8>, Error> {
        let mut said = Vec::new();
        while !octets.is_empty() {
            self.0.read_tls(&mut octets).unwrap();
            let state = self.0.process_new_packets()?;
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            std::io::Read::read_exact(&mut self.0.reader(), &mut part).unwrap();
            said.append(&mut part);
        }
        Ok(said)
    }

    /// Says something.
    pub fn say(&mut self, plain: &[u8]) {
        std::io::Write::write_all(&mut self.0.writer(), plain).unwrap();
    }

    /// Says that it will say no more.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// Changes its keys, and asks for ours to be changed (TLS 1.3).
    pub fn renew(&mut self) {
        self.0.refresh_traffic_keys().unwrap();
    }

    /// Is the handshake going on?
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Was a session resumed?
    pub fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Did the server say that it will say no more?
    pub fn saw_close(&mut self) -> bool {
        self.0.process_new_packets().is_ok_and(|state| state.peer_has_closed())
    }

    /// The certificate the server showed.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.0.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec())
    }
}
