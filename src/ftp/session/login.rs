//! ftp::session::login – USER, PASS, REIN (RFC 959 §4.1.1).
//!
//! ```text
//!  Nobody ──USER──▶ Named ──PASS, right──▶ Known ──USER──▶ Named …   REIN: ▶ Nobody
//!                     └── PASS, wrong ──▶ Nobody
//! ```
//!
//! Promises: USER is answered alike for everybody (RFC 2577 §7); wrong passwords are counted over
//! the whole connection, REIN or not.

use super::{Parameters, Question, Session, State};
use crate::ftp::path::VirtualPath;
use crate::ftp::reply;
use crate::ftp::session::channel::Data;
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

    /// True once a login succeeded: from then on the idle limit runs, even after REIN.
    pub(super) fn has_succeeded(&self) -> bool {
        self.succeeded
    }
}

impl Session {
    /// RFC 959 §4.1.1: USER begins the login again, transfer parameters unchanged.
    /// RFC 2577 §7: always 331, whether the user exists or not.
    pub(super) fn user(&mut self, name: &[u8], out: &mut Outbox) -> Option<Next> {
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

    /// RFC 959 §4.1.1: everything but the connection returns to its defaults. A running transfer has
    /// ended by now, since this line waited for it.
    pub(super) fn reinitialize(&mut self, out: &mut Outbox) -> Option<Next> {
        self.login.stage = Stage::Nobody;
        self.parameters = Parameters::default();
        self.directory = VirtualPath::root();
        self.epsv_only = false;
        self.umask = None;
        self.idle_seconds = self.settings.idle_seconds;
        debug_assert!(matches!(self.state, State::Ready));
        reply::REINITIALIZED.send(out);
        self.replace_data(Data::Unset)
    }
}
