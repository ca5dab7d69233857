//! server::authenticate – one client's AUTH: joins mechanisms to accounts.
//!
//! ```text
//!  Ask::Auth, Ask::Respond ─▶ sasl::Exchange ─┬▶ Challenge ─▶ client
//!                                             ├▶ Password ──▶ credentials (off the shard)
//!                                             └▶ Verifier ──▶ accounts, or a decoy
//! ```
//! Promises: who failed waits, with every mechanism alike; SCRAM tells nobody who exists, nor whether they
//! have a verifier, nor that the attempt was refused unheard.
//! Not here: the words (`smtp`), limits (`credentials`).

use std::net::IpAddr;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::credentials::{self, Attempt, Refused};
use super::shared::Local;
use crate::metrics::mail::Login as How;
use crate::sasl::{Exchange, Mechanism, Step};
use crate::smtp::step::{Answer, Fault};
use crate::store::accounts::Accounts;
use crate::wire::secret::Secret;

/// Octets of our part of SCRAM's nonce; 24 characters.
const NONCE_BYTES: usize = 18;

/// What is known of a client.
#[derive(Default)]
pub(super) struct Client {
    /// The user it is.
    user: Option<Rc<str>>,
    /// How it proved that.
    mechanism: Option<&'static str>,
    underway: Option<Underway>,
    /// Logins that failed.
    failures: u32,
}

struct Underway {
    exchange: Exchange,
    mechanism: Mechanism,
}

/// What mechanisms are offered: the password stays with the client first.
pub(super) fn mechanisms(accounts: &Accounts) -> Vec<&'static str> {
    let scram = accounts.any_scram().then_some(Mechanism::ScramSha256);
    let plain = (!accounts.is_empty()).then_some([Mechanism::Plain, Mechanism::Login]);
    scram.into_iter().chain(plain.into_iter().flatten()).map(Mechanism::name).collect()
}

impl Client {
    /// A client of whom a peer that is trusted says who it is.
    pub(super) fn vouched(name: &str) -> Self {
        Self { user: Some(name.into()), mechanism: Some("XCLIENT"), ..Self::default() }
    }

    /// Who it is.
    pub(super) fn user(&self) -> Option<&Rc<str>> {
        self.user.as_ref()
    }

    /// How it proved who it is.
    pub(super) fn mechanism(&self) -> Option<&'static str> {
        self.mechanism
    }

    /// An exchange begins.
    pub(super) async fn begin(
        &mut self,
        local: &Local,
        peer: IpAddr,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Answer {
        let Some(mechanism) = Mechanism::named(mechanism) else {
            return Answer::Refused(Fault::Response);
        };
        self.underway = Some(Underway { exchange: Exchange::new(mechanism), mechanism });
        self.go_on(local, peer, initial).await
    }

    /// An exchange goes on.
    pub(super) async fn respond(
        &mut self,
        local: &Local,
        peer: IpAddr,
        response: Secret,
    ) -> Answer {
        self.go_on(local, peer, Some(response)).await
    }

    /// An exchange is over before its end.
    pub(super) fn forget(&mut self) {
        self.underway = None;
    }

    async fn go_on(&mut self, local: &Local, peer: IpAddr, response: Option<Secret>) -> Answer {
        let Some(mut underway) = self.underway.take() else {
            return Answer::Refused(Fault::Response);
        };
        let logins = &local.counters().mail;
        let mut step = underway.exchange.respond(response.as_ref());
        drop(response);
        loop {
            step = match step {
                Step::Verifier { name } => self.verifier(local, peer, &mut underway, &name),
                Step::Challenge(challenge) => {
                    self.underway = Some(underway);
                    return Answer::Challenge(challenge);
                }
                Step::Password { name, password } => {
                    let attempt = self.attempt(peer, &name, underway.mechanism);
                    let checked = credentials::check(local, attempt, password, |_| true).await;
                    return match checked {
                        Ok(user) => self.enter(local, &user.name, underway.mechanism),
                        Err(Refused::Denied) => self.fail(local),
                        Err(Refused::Busy | Refused::Broken) => {
                            logins.login(How::Unavailable);
                            Answer::Refused(Fault::NoLogins)
                        }
                    };
                }
                Step::Proven { name } => {
                    credentials::welcome(local, self.attempt(peer, &name, underway.mechanism));
                    return self.enter(local, &name, underway.mechanism);
                }
                Step::Refused { name } => {
                    let attempt = self.attempt(peer, &name, underway.mechanism);
                    credentials::refuse(local, attempt).await;
                    return self.fail(local);
                }
                Step::Malformed => {
                    logins.login(How::Malformed);
                    return Answer::Refused(Fault::Response);
                }
            };
        }
    }

    /// What is stored for SCRAM. Who is refused unheard gets the same as a name nobody has.
    fn verifier(&self, local: &Local, peer: IpAddr, underway: &mut Underway, name: &str) -> Step {
        let accounts = local.shared.accounts.load();
        let (stored, decoy) = accounts.verifier(name);
        let barred = credentials::barred(local, self.attempt(peer, name, underway.mechanism));
        let mut nonce = [0; NONCE_BYTES];
        if getrandom::fill(&mut nonce).is_err() {
            // Without a nonce of its own a proof could be an old one.
            return Step::Malformed;
        }
        let stored = stored.filter(|_| !barred);
        underway.exchange.verifier(stored, &decoy, &STANDARD_NO_PAD.encode(nonce))
    }

    fn attempt<'a>(&self, peer: IpAddr, name: &'a str, mechanism: Mechanism) -> Attempt<'a> {
        let how = match mechanism {
            Mechanism::Plain => "smtp PLAIN",
            Mechanism::Login => "smtp LOGIN",
            Mechanism::ScramSha256 => "smtp SCRAM-SHA-256",
        };
        Attempt { name: name.as_bytes(), peer, failures: self.failures, how }
    }

    fn enter(&mut self, local: &Local, name: &str, mechanism: Mechanism) -> Answer {
        local.counters().mail.login(How::Ok);
        self.user = Some(name.into());
        self.mechanism = Some(mechanism.name());
        Answer::Authenticated
    }

    fn fail(&mut self, local: &Local) -> Answer {
        local.counters().mail.login(How::Failed);
        self.failures = self.failures.saturating_add(1);
        Answer::Refused(Fault::Credentials)
    }
}
