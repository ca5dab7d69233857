//! sasl – who a client says it is, and the proof of it: RFC 4422 as a value.
//!
//! ```text
//!  response ─▶ Exchange::respond ─▶ Challenge | Password | Verifier | Proven | Malformed | Refused
//!                     ▲                            │          │
//!                     └──── Exchange::verifier ◀───┼──────────┘ (SCRAM: what is stored of the user)
//!                                                  └▶ the end: the driver asks the accounts
//! ```
//! PLAIN (RFC 4616), LOGIN (an expired draft that everybody speaks) and SCRAM-SHA-256 (RFC 5802, 7677).
//! Protocols carry the octets and know nothing of them.
//!
//! The other side, for servers that mail goes on to: [`client`].
//!
//! Promises: no sockets, clocks, randomness, accounts: nonces and verifiers are arguments; what a client
//! sent is wiped when it was used; a user that does not exist is asked for the same as one that does.
//! Not here: base64 and the words of replies (each protocol's), limits on attempts (`server`).
//!
//! SCRAM is not that of the `rsasl` crate (2.3.1), whose server tells unknown users from wrong proofs
//! and compares keys in a time that depends on them; its client is what ours is tested against.
//! SCRAM-SHA-256-PLUS is not offered: the TLS library's unbuffered connections export no keying material
//! (RFC 9266), and without it a client cannot be bound to a TLS 1.3 channel.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

pub mod client;
pub mod scram;

use crate::wire::secret::Secret;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Name and password in one message.
    Plain,
    /// Name and password, each in a message of its own.
    Login,
    /// The password stays with the client.
    ScramSha256,
}

impl Mechanism {
    /// As registered with IANA.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Login, Self::ScramSha256]
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send it; what the client answers goes to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// The end: if this is the user's password, the client is that user.
    Password {
        /// Who it says it is.
        name: String,
        /// Its proof.
        password: Secret,
    },
    /// What is stored of this user goes to [`Exchange::verifier`].
    Verifier {
        /// Who it says it is.
        name: String,
    },
    /// The end: it is that user.
    Proven {
        /// Who it is.
        name: String,
    },
    /// The end: not what the mechanism wants.
    Malformed,
    /// The end: the proof is wrong, or it wants to act for somebody else.
    Refused {
        /// Who it said it is.
        name: String,
    },
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    /// The name is to come, or was asked for.
    LoginName {
        asked: bool,
    },
    LoginPassword {
        name: String,
    },
    Scram(scram::Server),
    Over,
}

/// The words that Microsoft's clients look for.
const ASK_NAME: &[u8] = b"Username:";
const ASK_PASSWORD: &[u8] = b"Password:";

impl Exchange {
    /// Begins. The client's initial response, if it gave one, goes to `respond`; without one `None` does.
    pub fn new(mechanism: Mechanism) -> Self {
        Self(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName { asked: false },
            Mechanism::ScramSha256 => State::Scram(scram::Server::default()),
        })
    }

    /// What the client says; `None` when it began without saying anything.
    pub fn respond(&mut self, response: Option<&Secret>) -> Step {
        let step = match (std::mem::replace(&mut self.0, State::Over), response) {
            (State::Plain, Some(response)) => plain(response.as_bytes()),
            // Not a mechanism with an initial response by its draft; .NET sends the name with it.
            (State::LoginName { .. }, Some(name)) => match login_name(name.as_bytes()) {
                None => Step::Malformed,
                Some(name) => {
                    self.0 = State::LoginPassword { name };
                    Step::Challenge(ASK_PASSWORD.to_vec())
                }
            },
            (State::LoginName { asked: false }, None) => {
                self.0 = State::LoginName { asked: true };
                Step::Challenge(ASK_NAME.to_vec())
            }
            (State::LoginPassword { name }, Some(password)) => {
                Step::Password { name, password: password.clone() }
            }
            (State::Scram(mut server), Some(response)) => {
                let step = server.respond(response.as_bytes());
                self.0 = State::Scram(server);
                step
            }
            // RFC 4422 §5.1: the client begins, and was not heard yet.
            (state @ (State::Plain | State::Scram(_)), None) => {
                self.0 = state;
                Step::Challenge(Vec::new())
            }
            (State::LoginName { asked: true } | State::LoginPassword { .. }, None)
            | (State::Over, _) => Step::Malformed,
        };
        if !matches!(step, Step::Challenge(_) | Step::Verifier { .. }) {
            self.0 = State::Over;
        }
        step
    }

    /// What is stored of the user that [`Step::Verifier`] named. Of a user without a verifier, or without
    /// existence, `decoy` gives something that looks alike; no proof will do then.
    pub fn verifier(
        &mut self,
        stored: Option<&scram::Verifier>,
        decoy: &scram::Verifier,
        nonce: &str,
    ) -> Step {
        match &mut self.0 {
            State::Scram(server) => server.verifier(stored, decoy, nonce),
            State::Plain | State::LoginName { .. } | State::LoginPassword { .. } | State::Over => {
                Step::Malformed
            }
        }
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
fn plain(message: &[u8]) -> Step {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(actor), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Step::Malformed;
    };
    let (Some(name), Ok(actor)) = (named(name), str::from_utf8(actor)) else {
        return Step::Malformed;
    };
    if password.is_empty() {
        return Step::Malformed;
    }
    // Nobody acts for anybody else here.
    if !actor.is_empty() && actor != name {
        return Step::Refused { name };
    }
    Step::Password { name, password: Secret::new(password.to_vec()) }
}

/// A name as RFC 4013 prepares it; `None` when it is none.
fn named(name: &[u8]) -> Option<String> {
    /// RFC 4616 §2.
    const NAME_BYTES_MAX: usize = 255;
    let name = str::from_utf8(name).ok().filter(|name| name.len() <= NAME_BYTES_MAX)?;
    let name = stringprep::saslprep(name).ok()?;
    (!name.is_empty()).then(|| name.into_owned())
}

/// Some clients end the name with NUL.
fn login_name(name: &[u8]) -> Option<String> {
    named(name.strip_suffix(&[0]).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &[u8]) -> Secret {
        Secret::new(text.to_vec())
    }

    fn password(name: &str, password: &[u8]) -> Step {
        Step::Password { name: name.into(), password: said(password) }
    }

    #[test]
    fn plain_in_one_message_or_after_an_empty_challenge() {
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.respond(Some(&said(b"\0ann\0pass"))), password("ann", b"pass"));
        assert_eq!(exchange.respond(Some(&said(b"\0ann\0pass"))), Step::Malformed, "it is over");
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.respond(None), Step::Challenge(Vec::new()));
        assert_eq!(
            exchange.respond(Some(&said(b"ann\0ann\0pa\xFFss"))),
            password("ann", b"pa\xFFss")
        );
    }

    #[test]
    fn plain_has_three_parts_and_one_identity() {
        let plain = |text: &[u8]| Exchange::new(Mechanism::Plain).respond(Some(&said(text)));
        for malformed in [
            &b""[..],
            b"ann",
            b"ann\0pass",
            b"\0ann\0",
            b"\0\0pass",
            b"\0ann\0pa\0ss",
            b"\0a\0b\0c\0d",
            b"\0\xFF\0pass",
            b"\xFF\0ann\0pass",
        ] {
            assert_eq!(plain(malformed), Step::Malformed, "{malformed:?}");
        }
        assert_eq!(plain(b"bob\0ann\0pass"), Step::Refused { name: "ann".into() });
        let long = [b"\0", &[b'x'; 256][..], b"\0pass"].concat();
        assert_eq!(plain(&long), Step::Malformed);
        // RFC 4013: a soft hyphen is mapped to nothing, a control is prohibited.
        assert_eq!(plain("\0a\u{ad}nn\0x".as_bytes()), password("ann", b"x"));
        assert_eq!(plain(b"\0a\x07nn\0x"), Step::Malformed);
    }

    #[test]
    fn login_asks_twice_and_takes_the_name_with_the_command() {
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.respond(None), Step::Challenge(ASK_NAME.to_vec()));
        assert_eq!(exchange.respond(Some(&said(b"ann"))), Step::Challenge(ASK_PASSWORD.to_vec()));
        assert_eq!(exchange.respond(Some(&said(b"pass"))), password("ann", b"pass"));
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.respond(Some(&said(b"ann\0"))), Step::Challenge(ASK_PASSWORD.to_vec()));
        assert_eq!(exchange.respond(Some(&said(b""))), password("ann", b""));
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.respond(Some(&said(b""))), Step::Malformed);
        assert_eq!(exchange.respond(None), Step::Malformed);
    }

    #[test]
    fn mechanisms_have_names() {
        for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
            assert_eq!(Mechanism::named(&mechanism.name().to_lowercase()), Some(mechanism));
        }
        assert_eq!(Mechanism::named("CRAM-MD5"), None);
    }
}
