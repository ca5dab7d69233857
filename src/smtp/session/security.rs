//! smtp::session::security – STARTTLS (RFC 3207) and AUTH (RFC 4954), and what may be done without them.
//!
//! Promises: after a handshake nothing is known that was said in clear; nobody is asked for a password in
//! clear; an exchange that is refused, cancelled or malformed leaves the session as it was before AUTH.
//! Not here: handshakes, mechanisms, accounts: the driver has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Asked, Session, State};
use crate::limits::SMTP_AUTH_LINE_BYTES_MAX;
use crate::smtp::command::{self, Auth, Verb};
use crate::smtp::line::{Line, Lines, wipe};
use crate::smtp::reply::{self, Reply};
use crate::smtp::step::{Answer, Ask, Fault, Next};
use crate::wire::outbox::Outbox;

/// Mechanisms that are known, and not offered because they are weaker than a password under TLS that is
/// kept as a good hash: they need it in clear, or something as good, on the server.
const WEAK: [&str; 6] =
    ["CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "NTLM", "ANONYMOUS", "SCRAM-SHA-1-PLUS"];

/// What the operator chose of TLS and AUTH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Security {
    /// Whether clients may, or must, use STARTTLS.
    pub tls: Tls,
    /// There is a certificate now.
    pub tls_ready: bool,
    /// SASL mechanisms, in the order they are offered; none: no AUTH.
    pub mechanisms: Vec<&'static str>,
    /// The listener is for submission: AUTH first (RFC 6409 §4.3).
    pub submission: bool,
    /// Failed logins before 421; 0 = no limit.
    pub login_failures_max: u32,
}

/// STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Not offered.
    #[default]
    Off,
    /// Offered.
    Optional,
    /// Nothing can be done before it.
    Required,
}

/// Why an exchange is over before its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Broken {
    BareNewline,
    TooLong,
    Cancelled,
    Base64,
}

impl Broken {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::BareNewline => reply::BARE_LINE,
            Self::TooLong => reply::AUTH_TOO_LONG,
            Self::Cancelled => reply::AUTH_CANCELLED,
            Self::Base64 => reply::BASE64,
        }
    }
}

impl Session {
    /// The connection is under TLS from now on: RFC 3207 §4.2, everything said before is forgotten. With
    /// implicit TLS (RFC 8314 §3) it is called before anything was said.
    pub fn secured(&mut self) {
        self.reset();
        self.state = State::Idle;
        self.lines = Lines::new();
        self.helo = None;
        self.extended = false;
        self.data_refused = false;
        self.authenticated = false;
        self.forget_vouched();
        self.secure = true;
    }

    pub(super) fn offers_tls(&self) -> bool {
        self.settings.security.tls != Tls::Off && self.settings.security.tls_ready && !self.secure
    }

    pub(super) fn offers_auth(&self) -> bool {
        self.secure && !self.settings.security.mechanisms.is_empty()
    }

    /// Is it a client of ours that sends its own mail?
    pub(super) fn submits(&self) -> bool {
        self.settings.security.submission || self.authenticated
    }

    /// What needs TLS or AUTH, whatever else it needs.
    pub(super) fn admits(&self, verb: Verb) -> Result<(), Reply> {
        use Verb::{Bdat, Data, Ehlo, Expn, Lhlo, Mail, Noop, Quit, Rcpt, StartTls, Vrfy};
        let security = &self.settings.security;
        // RFC 3207 §4.
        if security.tls == Tls::Required
            && !self.secure
            && !matches!(
                (verb, self.settings.lmtp),
                (Noop | Ehlo | StartTls | Quit, _) | (Lhlo, true)
            )
        {
            return Err(reply::TLS_FIRST);
        }
        // RFC 4954 §6: not AUTH, EHLO, HELO, NOOP, RSET, QUIT.
        if security.submission
            && !self.authenticated
            && matches!(verb, Mail | Rcpt | Data | Bdat | Vrfy | Expn)
        {
            return Err(if self.secure { reply::AUTH_FIRST } else { reply::TLS_FIRST });
        }
        Ok(())
    }

    pub(super) fn order_of_tls(&self) -> Result<(), Reply> {
        match self.in_transaction() {
            _ if self.settings.security.tls == Tls::Off => Err(reply::NOT_IMPLEMENTED),
            _ if self.secure => Err(reply::TLS_ALREADY),
            true => Err(reply::TLS_IN_TRANSACTION),
            false if !self.settings.security.tls_ready => Err(reply::NO_TLS_NOW),
            false => Ok(()),
        }
    }

    pub(super) fn order_of_auth(&self) -> Result<(), Reply> {
        match self.in_transaction() {
            _ if self.settings.security.mechanisms.is_empty() => Err(reply::NOT_IMPLEMENTED),
            _ if !self.secure => Err(reply::TLS_FOR_AUTH),
            _ if self.authenticated => Err(reply::AUTHENTICATED_ALREADY),
            true => Err(reply::AUTH_IN_TRANSACTION),
            false if !self.extended && self.settings.lmtp => Err(reply::LHLO_FIRST),
            false if !self.extended => Err(reply::EHLO_FIRST),
            false => Ok(()),
        }
    }

    pub(super) fn start_tls(&mut self, out: &mut Outbox) -> Option<Next<'static>> {
        reply::START_TLS.send(out);
        self.state = State::Securing;
        None
    }

    pub(super) fn auth(&mut self, auth: Auth, out: &mut Outbox) -> Option<Next<'static>> {
        let Auth { mechanism, initial } = auth;
        let offered = &self.settings.security.mechanisms;
        if !offered.iter().any(|offered| *offered == mechanism) {
            let weak = WEAK.contains(&mechanism.as_str());
            return self
                .refuse(if weak { reply::WEAK_MECHANISM } else { reply::UNKNOWN_MECHANISM }, out);
        }
        self.asked = Some(Asked::Auth);
        Some(Next::Ask(Ask::Auth { mechanism, initial }))
    }

    /// After 334.
    pub(super) fn response(
        &mut self,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        if let Some(ending) = self.ending {
            self.end(ending, out);
            return None;
        }
        let line = match self.lines.take_within(input, SMTP_AUTH_LINE_BYTES_MAX) {
            None => return Some(Next::Receive),
            Some(Line::Whole(line)) => line,
            Some(Line::Bare) => return self.forget(Broken::BareNewline),
            Some(Line::TooLong) => return self.forget(Broken::TooLong),
        };
        let cancelled = *line == *b"*";
        let response = command::response(&line);
        wipe(line);
        match response {
            _ if cancelled => self.forget(Broken::Cancelled),
            None => self.forget(Broken::Base64),
            Some(response) => {
                self.state = State::Idle;
                self.asked = Some(Asked::Auth);
                Some(Next::Ask(Ask::Respond(response)))
            }
        }
    }

    /// The exchange is over before its end.
    fn forget(&mut self, broken: Broken) -> Option<Next<'static>> {
        self.state = State::Idle;
        self.asked = Some(Asked::Forget(broken));
        Some(Next::Ask(Ask::Forget))
    }

    pub(super) fn auth_answered(&mut self, answer: &Answer, out: &mut Outbox) {
        match answer {
            Answer::Challenge(challenge) => {
                self.state = State::Auth;
                reply::CHALLENGE.fill(&[STANDARD.encode(challenge).as_bytes()], out);
            }
            Answer::Authenticated => {
                self.authenticated = true;
                self.errors = 0;
                reply::AUTHENTICATED.send(out);
            }
            Answer::Refused(Fault::Credentials) => {
                self.failures = self.failures.saturating_add(1);
                let most = self.settings.security.login_failures_max;
                if most > 0 && self.failures >= most {
                    self.close(reply::TOO_MANY_LOGINS, out);
                } else {
                    self.refuse(reply::BAD_CREDENTIALS, out);
                }
            }
            // RFC 4954 §6: 454 is what says that it is not the password.
            Answer::Refused(Fault::Busy | Fault::Broken) => self.refused(Fault::NoLogins, out),
            Answer::Refused(fault) => self.refused(*fault, out),
            Answer::Done
            | Answer::Verified(..)
            | Answer::Expanded(_)
            | Answer::Committed(_)
            | Answer::Said(_) => {
                self.refused(Fault::NoLogins, out);
            }
        }
    }
}
