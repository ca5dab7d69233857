//! ftp::session::login – USER and PASS (RFC 959 §4.1.1).
//!
//! ```text
//!  Nobody ──USER──▶ Named ──PASS, right──▶ Known ──USER──▶ Named …   REIN, AUTH: ▶ Nobody
//!                     └── PASS, wrong ──▶ Nobody
//! ```
//!
//! Promises: USER is answered alike for everybody (RFC 2577 §7); wrong passwords are counted over
//! the whole connection, REIN or not; no name is taken in clear where TLS is required.

use super::{Question, Session};
use crate::ftp::path::VirtualPath;
use crate::ftp::reply;
use crate::ftp::step::{Account, Answer, Ask, Fault, Next, Secret};
use crate::wire::outbox::Outbox;

/// Who the client is.
#[derive(Debug, Default)]
pub(super) struct Login {
    stage: Stage,
    failures: u8,
    /// Somebody was logged in on this connection before.
    succeeded: bool,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Nobody,
    Named(Vec<u8>),
    Known(Account),
}

impl Login {
    pub(super) fn account(&self) -> Option<&Account> {
        match &self.stage {
            Stage::Known(account) => Some(account),
            Stage::Nobody | Stage::Named(_) => None,
        }
    }

    /// RFC 959 §4.1.1: PASS "must be immediately preceded by the user name command".
    pub(super) fn forget_name(&mut self) {
        if matches!(self.stage, Stage::Named(_)) {
            self.stage = Stage::Nobody;
        }
    }

    /// Nobody is logged in any more.
    pub(super) fn forget(&mut self) {
        self.stage = Stage::Nobody;
    }

    /// True once a login succeeded: from then on the idle limit runs, even after REIN.
    pub(super) fn has_succeeded(&self) -> bool {
        self.succeeded
    }
}

impl Session {
    /// RFC 959 §4.1.1: USER begins the login again, transfer parameters unchanged.
    /// RFC 2577 §7: always 331, whether the user exists or not.
    pub(super) fn user(&mut self, name: &[u8], out: &mut Outbox) -> Option<Next> {
        if self.needs_tls() {
            // RFC 4217 §11.1; before the client says its password.
            return self.say(reply::TLS_NEEDED, out);
        }
        self.login.stage = Stage::Named(name.to_vec());
        // The text depends on the server, never on the name.
        let anonymous = self.settings.anonymous;
        self.say(if anonymous { reply::PASSWORD_OR_ANY } else { reply::PASSWORD_NEEDED }, out)
    }

    /// PASS is directly after USER, or 503.
    pub(super) fn pass(&mut self, password: &[u8], out: &mut Outbox) -> Option<Next> {
        match std::mem::take(&mut self.login.stage) {
            Stage::Named(user) => {
                let password = Secret(password.to_vec());
                Some(self.ask(Question::Login, Ask::Login { user, password }))
            }
            other @ (Stage::Nobody | Stage::Known(_)) => {
                self.login.stage = other;
                self.say(reply::USER_FIRST, out)
            }
        }
    }

    pub(super) fn login_answered(&mut self, answer: Answer, out: &mut Outbox) {
        match answer {
            Answer::LoggedIn(account) => {
                self.login.stage = Stage::Known(account);
                self.login.succeeded = true;
                self.directory = VirtualPath::root();
                reply::LOGGED_IN.send(out);
            }
            // RFC 1123 §4.1.2.11: what may be different in some hours is 4yz.
            Answer::Refused(Fault::Busy | Fault::Exhausted | Fault::Local) => {
                self.close(reply::BUSY, out);
            }
            Answer::Refused(_)
            | Answer::Done
            | Answer::Size(_)
            | Answer::Modified(_)
            | Answer::Facts(_)
            | Answer::Lines(_)
            | Answer::Listening(_) => {
                self.login.failures = self.login.failures.saturating_add(1);
                if self.login.failures >= self.settings.login_failures_max {
                    // RFC 2577 §5: end the session after a few wrong passwords.
                    self.close(reply::TOO_MANY_FAILURES, out);
                } else {
                    reply::LOGIN_WRONG.send(out);
                }
            }
        }
    }
}
