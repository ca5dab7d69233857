//! sasl::client – the client's side of an exchange: how we prove to a smarthost who we are.
//!
//! ```text
//!  Client::choose (of what is offered) ─▶ Client::new ─▶ initial ─▶ respond, to each challenge
//! ```
//! SCRAM-SHA-256 first: the password stays here, and a server that does not know it is found out. Then PLAIN,
//! then LOGIN, which both show it: only ever under TLS.
//!
//! Promises: no sockets, no randomness: the nonce is an argument; a SCRAM exchange is not complete
//! before the server has proved itself; a server makes us compute no longer than
//! [`ITERATIONS_MAX`] asks for.
//! Not here: base64 and replies (the protocol's), where the password is kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::scram::{Key, SALT_BYTES_MAX, Verifier, mac, salted};
use super::{Mechanism, named};
use crate::wire::secret::Secret;

/// Iterations a server may ask for: half a second of work, and ten times what servers ask for.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Octets of a server's part of the nonce.
const NONCE_BYTES_MAX: usize = 512;

/// What goes to the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The octets; `None` when the mechanism begins without any.
    pub octets: Option<Secret>,
    /// The server may say yes to that.
    pub complete: bool,
}

/// Why the exchange cannot go on.
pub type Refusal = &'static str;

/// One exchange.
#[derive(Debug)]
pub struct Client(State);

#[derive(Debug)]
enum State {
    Plain {
        name: String,
        password: Secret,
    },
    /// The name is asked for.
    LoginName {
        name: String,
        password: Secret,
    },
    LoginPassword(Secret),
    ScramFirst {
        name: String,
        password: Secret,
        nonce: String,
    },
    ScramFinal {
        password: Secret,
        nonce: String,
        bare: String,
    },
    /// This is what the server must prove itself with.
    ScramProof(Box<Key>),
    Over,
}

/// The header of a client that knows no channel binding (RFC 5802 §7), and the same in base64.
const HEADER: &str = "n,,";
const HEADER_ENCODED: &str = "biws";

const NOT_SCRAM: Refusal = "its challenge is not one of SCRAM-SHA-256";

impl Client {
    /// The best of these mechanisms.
    pub fn choose<S: AsRef<str>>(offered: &[S]) -> Option<Mechanism> {
        [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login].into_iter().find(|one| {
            offered.iter().any(|offered| one.name().eq_ignore_ascii_case(offered.as_ref()))
        })
    }

    /// Begins. `nonce`: printable, without commas, never the same twice. `None` when name or password is
    /// none that RFC 4013 allows, or the nonce is none.
    pub fn new(mechanism: Mechanism, name: &str, password: &Secret, nonce: &str) -> Option<Self> {
        let name = named(name.as_bytes())?;
        let password = prepared(password)?;
        Some(Self(match mechanism {
            Mechanism::Plain => State::Plain { name, password },
            Mechanism::Login => State::LoginName { name, password },
            Mechanism::ScramSha256 => {
                let printable = nonce.bytes().all(|o| o.is_ascii_graphic() && o != b',');
                if nonce.is_empty() || !printable {
                    return None;
                }
                State::ScramFirst { name, password, nonce: nonce.to_owned() }
            }
        }))
    }

    /// What goes with the command.
    pub fn initial(&mut self) -> Response {
        match std::mem::replace(&mut self.0, State::Over) {
            // RFC 4616 §2: nobody is acted for.
            State::Plain { name, password } => {
                let octets = [b"\0", name.as_bytes(), b"\0", password.as_bytes()].concat();
                Response { octets: Some(Secret::new(octets)), complete: true }
            }
            State::ScramFirst { name, password, nonce } => {
                let bare = format!("n={},r={nonce}", escaped(&name));
                let octets = format!("{HEADER}{bare}").into_bytes();
                self.0 = State::ScramFinal { password, nonce, bare };
                Response { octets: Some(Secret::new(octets)), complete: false }
            }
            other @ (State::LoginName { .. }
            | State::LoginPassword(_)
            | State::ScramFinal { .. }
            | State::ScramProof(_)
            | State::Over) => {
                self.0 = other;
                Response { octets: None, complete: false }
            }
        }
    }

    /// What is said to a challenge. Of SCRAM the first takes as long as the server asks for.
    ///
    /// # Errors
    /// When the challenge is none of the mechanism, or the server does not know the password.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Response, Refusal> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::LoginName { name, password } => {
                self.0 = State::LoginPassword(password);
                Ok(Response { octets: Some(Secret::new(name.into_bytes())), complete: false })
            }
            State::LoginPassword(password) => {
                Ok(Response { octets: Some(password), complete: true })
            }
            State::ScramFinal { password, nonce, bare } => {
                let challenge = Challenge::read(challenge, &nonce)?;
                let (proof, signature) = challenge.answer(&password, &bare);
                self.0 = State::ScramProof(Box::new(signature));
                Ok(Response { octets: Some(Secret::new(proof.into_bytes())), complete: false })
            }
            State::ScramProof(signature) => {
                let given = challenge.strip_prefix(b"v=").and_then(|v| STANDARD.decode(v).ok());
                let proven = given.is_some_and(|given| bool::from(given.ct_eq(&signature[..])));
                // RFC 5802 §5, RFC 4954 §4: the proof came as a challenge, to which there is nothing to say.
                proven
                    .then(|| Response { octets: Some(Secret::default()), complete: true })
                    .ok_or("it does not know the password itself")
            }
            State::Plain { .. } | State::ScramFirst { .. } | State::Over => {
                Err("it asks for more than the mechanism has")
            }
        }
    }
}

/// What the server's first message says (RFC 5802 §7).
struct Challenge {
    text: String,
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    fn read(octets: &[u8], ours: &str) -> Result<Self, Refusal> {
        let text = str::from_utf8(octets).map_err(|_| NOT_SCRAM)?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        // `m=` in front would be an extension we must know.
        let nonce = part("r=").ok_or(NOT_SCRAM)?;
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or(NOT_SCRAM)?;
        let iterations = part("i=").and_then(|count| count.parse().ok()).ok_or(NOT_SCRAM)?;
        let continued = nonce.strip_prefix(ours).is_some_and(|theirs| !theirs.is_empty());
        if !continued || nonce.len() > ours.len() + NONCE_BYTES_MAX {
            return Err("its nonce does not continue ours");
        }
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(NOT_SCRAM);
        }
        // RFC 7677 §4: fewer would show the password to whoever listens.
        if !(*Verifier::ITERATIONS_ALLOWED.start()..=ITERATIONS_MAX).contains(&iterations) {
            return Err("it asks for a number of iterations that is not allowed");
        }
        Ok(Self { text: text.to_owned(), nonce: nonce.to_owned(), salt, iterations })
    }

    /// The final message, and what the server must answer to it (RFC 5802 §3).
    fn answer(&self, password: &Secret, bare: &str) -> (String, Key) {
        let without = format!("c={HEADER_ENCODED},r={}", self.nonce);
        let signed: [&[u8]; 5] =
            [bare.as_bytes(), b",", self.text.as_bytes(), b",", without.as_bytes()];
        let mut salted = salted(password.as_bytes(), &self.salt, self.iterations);
        let mut proof = mac(&salted, &[b"Client Key"]);
        let stored: Key = Sha256::digest(proof).into();
        for (octet, mask) in proof.iter_mut().zip(mac(&stored, &signed)) {
            *octet ^= mask;
        }
        let server_key = mac(&salted, &[b"Server Key"]);
        salted.zeroize();
        (format!("{without},p={}", STANDARD.encode(proof)), mac(&server_key, &signed))
    }
}

/// A password as RFC 4013 prepares it. One that is not UTF-8 is sent as it is: some servers have such.
fn prepared(password: &Secret) -> Option<Secret> {
    let Ok(text) = str::from_utf8(password.as_bytes()) else { return Some(password.clone()) };
    let prepared = stringprep::saslprep(text).ok()?;
    let usable = !prepared.is_empty() && !prepared.contains('\0');
    usable.then(|| Secret::new(prepared.into_owned().into_bytes()))
}

/// `saslname`.
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
