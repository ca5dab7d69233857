//! sasl::scram – SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side (`client` is the other), without channel binding.
//!
//! ```text
//!  n,,n=NAME,r=NONCE ─▶ Verifier ─▶ r=NONCE‖OURS,s=SALT,i=COUNT
//!  c=biws,r=…,p=PROOF ─▶ v=SIGNATURE ─▶ (empty) ─▶ Proven
//! ```
//! Promises: keys are compared in constant time; a user without a verifier is asked for the same, and
//! answered as if the proof were wrong, after the same work.
//! Not here: where verifiers are kept (`store::accounts`).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{Step, named};

/// Octets of a key.
const KEY_BYTES: usize = 32;
/// Octets of a client's nonce; with it our challenge is at most 253 octets, which base64 makes 340.
const NONCE_BYTES_MAX: usize = 128;
/// Octets of salt that a verifier may have.
pub(super) const SALT_BYTES_MAX: usize = 64;
/// How a verifier begins when it is written down.
const PREFIX: &str = "SCRAM-SHA-256";

pub(super) type Key = [u8; KEY_BYTES];

/// What is kept of a password: enough to check a proof and to give one, too little to make the first.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Iterations of a new verifier. RFC 7677 §4 asks for 4096 at least; each login costs the client as
    /// many, and so does each guess of who stole the file: a tenth of a second on a telephone.
    pub const ITERATIONS: u32 = 100_000;
    /// Iterations a verifier may have.
    pub const ITERATIONS_ALLOWED: std::ops::RangeInclusive<u32> = 4096..=10_000_000;

    /// Of a new password. Takes some 50 ms. `None` when RFC 4013 prohibits the password.
    pub fn new(password: &str, salt: &[u8], iterations: u32) -> Option<Self> {
        let mut prepared = stringprep::saslprep(password).ok()?.into_owned();
        let mut salted = salted(prepared.as_bytes(), salt, iterations);
        prepared.zeroize();
        let mut client_key = mac(&salted, &[b"Client Key"]);
        let stored_key = Sha256::digest(client_key).into();
        let server_key = mac(&salted, &[b"Server Key"]);
        client_key.zeroize();
        salted.zeroize();
        Some(Self { iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    /// One that no password fits, for a name: always the same salt for the same name and key.
    pub fn decoy(key: &[u8], name: &str) -> Self {
        let mut salt = mac(key, &[b"salt", name.as_bytes()]).to_vec();
        salt.truncate(Self::SALT_BYTES);
        Self {
            iterations: Self::ITERATIONS,
            salt,
            stored_key: mac(key, &[b"stored", name.as_bytes()]),
            server_key: mac(key, &[b"server", name.as_bytes()]),
        }
    }

    /// Octets of the salt of a new verifier.
    pub const SALT_BYTES: usize = 16;

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix('$')?;
        let (how, keys) = rest.split_once('$')?;
        let (iterations, salt) = how.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations: u32 = iterations.parse().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        let affordable = Self::ITERATIONS_ALLOWED.contains(&iterations)
            && (1..=SALT_BYTES_MAX).contains(&salt.len());
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        affordable.then_some(())?;
        Some(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// As PostgreSQL writes them: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |octets: &[u8]| STANDARD.encode(octets);
        let (salt, stored) = (encode(&self.salt), encode(&self.stored_key));
        write!(f, "{PREFIX}${}:{salt}${stored}:{}", self.iterations, encode(&self.server_key))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

/// One exchange.
#[derive(Debug, Default)]
pub(super) struct Server(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Begin,
    /// The verifier is to come.
    First(First),
    /// Our challenge was sent.
    Final(Box<Final>),
    /// Our own proof was sent.
    Proven(String),
    Over,
}

/// What the client's first message said.
#[derive(Debug)]
struct First {
    name: String,
    nonce: String,
    /// `c=` of the final message, encoded.
    header: String,
    /// The message less the header.
    bare: String,
}

#[derive(Debug)]
struct Final {
    name: String,
    verifier: Verifier,
    /// It is that of a user.
    known: bool,
    /// The nonces of both.
    nonce: String,
    header: String,
    /// The messages so far, as they are signed.
    signed: String,
}

impl Server {
    pub(super) fn respond(&mut self, message: &[u8]) -> Step {
        match std::mem::take(&mut self.0) {
            State::Begin => {
                let Some(first) = str::from_utf8(message).ok().and_then(First::read) else {
                    self.0 = State::Over;
                    return Step::Malformed;
                };
                let name = first.name.clone();
                self.0 = State::First(first);
                Step::Verifier { name }
            }
            State::Final(last) => {
                self.0 = State::Over;
                match last.check(message) {
                    None => Step::Malformed,
                    Some(None) => Step::Refused { name: last.name.clone() },
                    Some(Some(signature)) => {
                        self.0 = State::Proven(last.name.clone());
                        Step::Challenge(format!("v={}", STANDARD.encode(signature)).into_bytes())
                    }
                }
            }
            // RFC 5802 §5: our proof went as a challenge, to which there is nothing to say.
            State::Proven(name) if message.is_empty() => Step::Proven { name },
            State::Proven(_) | State::First(_) | State::Over => {
                self.0 = State::Over;
                Step::Malformed
            }
        }
    }

    pub(super) fn verifier(
        &mut self,
        stored: Option<&Verifier>,
        decoy: &Verifier,
        nonce: &str,
    ) -> Step {
        let State::First(first) = std::mem::replace(&mut self.0, State::Over) else {
            return Step::Malformed;
        };
        let verifier = stored.unwrap_or(decoy).clone();
        let nonce = first.nonce + nonce;
        let challenge =
            format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        self.0 = State::Final(Box::new(Final {
            name: first.name,
            known: stored.is_some(),
            signed: format!("{},{challenge}", first.bare),
            header: first.header,
            verifier,
            nonce,
        }));
        Step::Challenge(challenge.into_bytes())
    }
}

impl First {
    /// `gs2-header client-first-message-bare` (RFC 5802 §7).
    fn read(message: &str) -> Option<Self> {
        let (binding, rest) = message.split_once(',')?;
        // `p=…` binds to a channel, which is not offered; `m=` would be an extension we must know.
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let (actor, bare) = rest.split_once(',')?;
        let mut parts = bare.split(',');
        let name = unescaped(parts.next()?.strip_prefix("n=")?)?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        if nonce.is_empty()
            || nonce.len() > NONCE_BYTES_MAX
            || !nonce.bytes().all(|o| o.is_ascii_graphic())
        {
            return None;
        }
        // Nobody acts for anybody else here.
        if !actor.is_empty() && unescaped(actor.strip_prefix("a=")?)? != name {
            return None;
        }
        let header = STANDARD.encode(format!("{binding},{actor},"));
        Some(Self { name, nonce: nonce.to_owned(), header, bare: bare.to_owned() })
    }
}

impl Final {
    /// `None`: no message of this kind; `Some(None)`: the proof is wrong; otherwise our signature.
    fn check(&self, message: &[u8]) -> Option<Option<Key>> {
        let message = str::from_utf8(message).ok()?;
        let (without, proof) = message.rsplit_once(",p=")?;
        let mut parts = without.split(',');
        let header = parts.next()?.strip_prefix("c=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        let proof: Key = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let signed = [self.signed.as_bytes(), b",", without.as_bytes()];
        let signature = mac(&self.verifier.stored_key, &signed);
        let mut client_key = proof;
        for (octet, mask) in client_key.iter_mut().zip(signature) {
            *octet ^= mask;
        }
        let stored_key: Key = Sha256::digest(client_key).into();
        client_key.zeroize();
        let proven = stored_key.ct_eq(&self.verifier.stored_key);
        let same = header == self.header && nonce == self.nonce;
        let server = mac(&self.verifier.server_key, &signed);
        Some((bool::from(proven) && same && self.known).then_some(server))
    }
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign.
fn unescaped(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escape)) = rest.split_once('=') {
        text.push_str(plain);
        let (octet, after) = match (escape.strip_prefix("2C"), escape.strip_prefix("3D")) {
            (Some(after), _) => (',', after),
            (None, Some(after)) => ('=', after),
            (None, None) => return None,
        };
        text.push(octet);
        rest = after;
    }
    text.push_str(rest);
    named(text.as_bytes())
}

pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; KEY_BYTES] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `Hi` of RFC 5802 §2.2, that is one block of PBKDF2.
pub(super) fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let Ok(keyed) = Hmac::<Sha256>::new_from_slice(password) else { return [0; KEY_BYTES] };
    let once = |octets: &[&[u8]]| -> Key {
        let mut mac = keyed.clone();
        octets.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut last = once(&[salt, &1_u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = once(&[&last]);
        for (octet, other) in sum.iter_mut().zip(last) {
            *octet ^= other;
        }
    }
    last.zeroize();
    sum
}

#[cfg(test)]
#[path = "scram_tests.rs"]
mod tests;
