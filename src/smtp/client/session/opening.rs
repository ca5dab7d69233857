//! smtp::client::session::opening – from the greeting to the first message: EHLO, STARTTLS, AUTH.
//!
//! Promises: nobody is told a password in clear; after the handshake the server is asked again what it
//! offers; a login that is refused gives up no message, for it is the operator who can mend it.
//! Not here: handshakes, mechanisms (the driver has them).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use super::super::commands::{self, Hello};
use super::super::offers::Offers;
use super::super::outcome::{self, Outcome, Status};
use super::super::replies::{Heard, Replies};
use super::super::step::{Next, Tls, Wait};
use super::{Session, State};
use crate::limits::SMTP_CLIENT_AUTH_COMMAND_BYTES_MAX;
use crate::wire::secret::Secret;

/// How far an AUTH is.
#[derive(Debug)]
pub(super) enum Login {
    /// The driver is to choose a mechanism.
    Choice,
    /// The server's answer is to come.
    Asked {
        /// An initial response that was too long for the command.
        pending: Option<Secret>,
        /// The exchange may succeed now.
        complete: bool,
    },
    /// The driver is to answer this.
    Challenged(Vec<u8>),
    /// The exchange was cancelled; what the server says to that does not matter.
    Cancelled(Outcome),
}

impl Login {
    pub(super) fn due(&self, offers: &Offers) -> Option<Next> {
        match self {
            Self::Choice => Some(Next::Authenticate(offers.mechanisms.clone())),
            Self::Challenged(octets) => Some(Next::Challenge(octets.clone())),
            Self::Asked { .. } | Self::Cancelled(_) => None,
        }
    }

    pub(super) fn timer(&self) -> Wait {
        match self {
            Self::Choice | Self::Challenged(_) => Wait::Nothing,
            Self::Asked { .. } | Self::Cancelled(_) => Wait::Auth,
        }
    }
}

impl Session {
    /// The connection is under TLS from now on, after [`Next::Secure`]: RFC 3207 §4.2, what was heard before
    /// is forgotten, and EHLO said again.
    pub fn secured(&mut self) {
        if let State::Securing = self.state {
            self.secure = true;
            self.offers = Offers::default();
            self.replies = Replies::default();
            self.greet();
        }
    }

    /// Octets in clear came behind 220 to STARTTLS: who sent them is not known (RFC 3207 §6).
    pub fn injected(&mut self) {
        self.fail(outcome::INJECTED);
    }

    /// Begins the SASL exchange, after [`Next::Authenticate`]: with this mechanism, and its initial response if
    /// it has one. `complete`: as far as the mechanism goes, the server may say yes to that.
    pub fn authenticate(&mut self, mechanism: &str, initial: Option<Secret>, complete: bool) {
        let State::Login(Login::Choice) = self.state else { return };
        let mut line = commands::auth(mechanism, initial.as_ref());
        let too_long = line.len() > SMTP_CLIENT_AUTH_COMMAND_BYTES_MAX;
        let pending = initial.filter(|_| too_long);
        if pending.is_some() {
            line.zeroize();
            line = commands::auth(mechanism, None);
        }
        self.say(&line);
        line.zeroize();
        self.state = State::Login(Login::Asked { pending, complete });
    }

    /// Answers [`Next::Challenge`]. `complete` as with `authenticate`.
    pub fn respond(&mut self, response: &Secret, complete: bool) {
        let State::Login(Login::Challenged(_)) = self.state else { return };
        self.respond_with(response, complete);
    }

    /// There is no mechanism, or no response: why, in a few words. To be tried again.
    pub fn unable(&mut self, why: &str) {
        let outcome = Outcome { status: Status(4, 7, 0), ..Outcome::lost(why) };
        match &self.state {
            State::Login(Login::Choice) => self.give_up(outcome),
            State::Login(Login::Challenged(_)) => {
                self.say(commands::CANCEL);
                self.state = State::Login(Login::Cancelled(outcome));
            }
            State::Login(Login::Asked { .. } | Login::Cancelled(_))
            | State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Ready
            | State::Mail(_)
            | State::Quit
            | State::Closing => {}
        }
    }

    /// RFC 5321 §3.1, §4.3.2: 220, or 554 (RFC 7504: 521), after which QUIT is in order.
    pub(super) fn greeted(&mut self, heard: &Heard) {
        match heard.code / 100 {
            2 => self.greet(),
            3 => self.fail(outcome::UNFIT),
            _ => self.give_up(Outcome::of(heard)),
        }
    }

    fn greet(&mut self) {
        self.hello(if self.settings.lmtp { Hello::Lhlo } else { Hello::Ehlo });
    }

    fn hello(&mut self, hello: Hello) {
        let line = commands::hello(hello, &self.settings.hostname);
        self.say(&line);
        self.state = State::Hello(hello);
    }

    pub(super) fn welcomed(&mut self, hello: Hello, heard: &Heard) {
        match (heard.code / 100, hello) {
            (2, Hello::Helo) => {
                self.offers = Offers::default();
                self.offered();
            }
            (2, Hello::Ehlo | Hello::Lhlo) => {
                self.offers = Offers::read(&heard.text);
                self.offered();
            }
            (3, _) => self.fail(outcome::UNFIT),
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO. Some refuse it with 550.
            (5, Hello::Ehlo) if self.may_do_without() => self.hello(Hello::Helo),
            (5, Hello::Ehlo) if !self.secure && self.settings.tls == Tls::Must => {
                self.give_up(outcome::NO_TLS);
            }
            (5, Hello::Ehlo) => self.give_up(self.lacks_login()),
            _ => self.give_up(Outcome::of(heard)),
        }
    }

    /// Is nothing wanted that only EHLO offers?
    fn may_do_without(&self) -> bool {
        !self.settings.login && (self.secure || self.settings.tls != Tls::Must)
    }

    /// What the server offers is known.
    fn offered(&mut self) {
        match self.settings.tls {
            Tls::May | Tls::Must if !self.secure && self.offers.start_tls => {
                self.say(commands::STARTTLS);
                self.state = State::StartTls;
            }
            Tls::Must if !self.secure => self.give_up(outcome::NO_TLS),
            Tls::Never | Tls::May | Tls::Must => self.log_in(),
        }
    }

    /// RFC 3207 §4: 220, or 454 after which the client may go on as before.
    pub(super) fn tls_answered(&mut self, heard: &Heard) {
        match (heard.code / 100, self.settings.tls) {
            (2, _) => self.state = State::Securing,
            (3, _) => self.fail(outcome::UNFIT),
            (_, Tls::Must) => self.give_up(Outcome::of(heard).deferred()),
            (_, Tls::Never | Tls::May) => self.log_in(),
        }
    }

    fn log_in(&mut self) {
        if !self.settings.login {
            self.state = State::Ready;
        } else if !self.secure || self.offers.mechanisms.is_empty() {
            self.give_up(self.lacks_login());
        } else {
            self.state = State::Login(Login::Choice);
        }
    }

    fn lacks_login(&self) -> Outcome {
        if self.secure { outcome::NO_LOGIN } else { outcome::CLEAR_LOGIN }
    }

    /// RFC 4954 §4, §6.
    pub(super) fn login_answered(&mut self, heard: &Heard) {
        let State::Login(login) = std::mem::replace(&mut self.state, State::Closing) else {
            return;
        };
        match (heard.code, login) {
            (_, Login::Cancelled(why)) => self.give_up(why),
            (200..=299, Login::Asked { pending: None, complete: true }) => {
                self.state = State::Ready;
            }
            // It took the login without the proof that it is the right server.
            (200..=299, _) => self.fail(outcome::UNPROVEN),
            // The response it did not get with the command.
            (334, Login::Asked { pending: Some(initial), complete }) if heard.text.is_empty() => {
                self.respond_with(&initial, complete);
            }
            (334, Login::Asked { pending: None, .. }) => match STANDARD.decode(heard.text.trim()) {
                Ok(octets) => self.state = State::Login(Login::Challenged(octets)),
                Err(_) => {
                    self.say(commands::CANCEL);
                    self.state = State::Login(Login::Cancelled(outcome::BAD_CHALLENGE));
                }
            },
            (400.., _) => {
                self.give_up(Outcome::of(heard).deferred());
            }
            _ => self.fail(outcome::UNFIT),
        }
    }

    fn respond_with(&mut self, response: &Secret, complete: bool) {
        let mut line = commands::response(response);
        self.say(&line);
        line.zeroize();
        self.state = State::Login(Login::Asked { pending: None, complete });
    }
}
