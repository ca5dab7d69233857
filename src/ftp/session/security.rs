//! ftp::session::security – AUTH, PBSZ, PROT, CCC (RFC 2228 §3, RFC 4217), and the end of TLS with REIN.
//!
//! ```text
//!  Clear ──AUTH──▶ Secure (driver: handshake) ──secured──▶ Secured ──PBSZ──▶ sized ──PROT P──▶ private
//!    ▲                                                        └──REIN──▶ Unsecure ─┐
//!    └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Promises: what came in clear behind AUTH is never interpreted: the session ends without 234. No
//! login in clear where TLS is required, no transfer either. CCC is always refused: what was
//! protected stays so.
//! Not here: handshakes, certificates, who may connect to a data port.

use super::{Parameters, Session, State};
use crate::ftp::command::{Level, Mechanism, Security as Command};
use crate::ftp::path::VirtualPath;
use crate::ftp::reply;
use crate::ftp::session::channel::Data;
use crate::ftp::step::Next;
use crate::wire::outbox::Outbox;

/// What a listener does about TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// There is none: AUTH is answered 502.
    #[default]
    Off,
    /// Who wants it may have it.
    Optional,
    /// No login and no transfer without it.
    Required,
}

/// How the connections of a session are protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub(super) struct Security {
    /// The control connection is TLS.
    pub(super) secured: bool,
    /// It was so before the greeting.
    implicit: bool,
    /// PBSZ was given.
    sized: bool,
    /// PROT P.
    pub(super) private: bool,
    /// The session ended because of octets behind a change of protection.
    injected: bool,
}

/// On a listener for TLS.
const IMPLICIT: Security =
    Security { secured: true, implicit: true, sized: true, private: true, injected: false };

impl Session {
    /// The same session on a connection that began with a handshake. RFC 4217 has no such thing; all
    /// clients take PROT P for granted there.
    #[must_use]
    pub fn implicit(mut self) -> Self {
        self.security = IMPLICIT;
        self
    }

    /// The handshake of [`Next::Secure`] succeeded: everything but that returns to its defaults.
    pub fn secured(&mut self) {
        self.security.secured = true;
        // Nothing can be there (`guarded`); were it, it would have come in clear.
        self.reader = super::Reader::new();
        self.deferred = super::Deferred::default();
        self.step = self.replace_data(Data::Unset);
    }

    /// AUTH, PBSZ, PROT, CCC.
    pub(super) fn secure(&mut self, command: Command, out: &mut Outbox) -> Option<Next> {
        match command {
            Command::Auth(mechanism) => self.authenticate(mechanism, out),
            Command::Pbsz => self.set_buffer(out),
            Command::Prot(level) => self.protect(level, out),
            Command::Ccc => self.clear_control(out),
        }
    }

    /// Did the session end because octets came in clear behind AUTH?
    pub fn is_injected(&self) -> bool {
        self.security.injected
    }

    /// RFC 4217 §4.2: identity and transfer parameters are reset, "almost as if a REIN command was
    /// issued". The reply is given by `guarded`.
    fn authenticate(&mut self, mechanism: Mechanism, out: &mut Outbox) -> Option<Next> {
        if self.security.secured {
            // RFC 2228 §3 lets "some servers" begin again. TLS inside TLS helps nobody.
            return self.say(reply::SECURED_ALREADY, out);
        }
        self.reset();
        let private = mechanism == Mechanism::TlsPrivate;
        self.security.sized = private;
        self.security.private = private;
        Some(Next::Secure)
    }

    /// Lets a change of protection pass only when nothing waits behind the command that asked for
    /// it: what came in clear is not to be taken for protected. RFC 4217 has no word about it, many
    /// servers had the bug (CVE-2011-1575 and the like).
    pub(super) fn guarded(&mut self, next: Next, left_over: bool, out: &mut Outbox) -> Next {
        let answer = if next == Next::Secure {
            reply::SECURING
        } else if next == Next::Unsecure {
            reply::REINITIALIZED
        } else {
            return next;
        };
        if left_over || self.held_bytes() > 0 {
            self.state = State::Closing;
            self.step = None;
            self.deferred = super::Deferred::default();
            self.security.injected = true;
            return Next::Close;
        }
        answer.send(out);
        next
    }

    /// RFC 4217 §9: a size must be given, and means nothing.
    fn set_buffer(&mut self, out: &mut Outbox) -> Option<Next> {
        if !self.security.secured {
            return self.say(reply::SECURE_FIRST, out);
        }
        self.security.sized = true;
        self.say(reply::BUFFER, out)
    }

    fn protect(&mut self, level: Level, out: &mut Outbox) -> Option<Next> {
        if !self.security.secured {
            return self.say(reply::SECURE_FIRST, out);
        }
        if !self.security.sized {
            return self.say(reply::BUFFER_FIRST, out);
        }
        match level {
            Level::Other => self.say(reply::PROTECTION_UNKNOWN, out),
            Level::Clear if self.settings.tls == Tls::Required => {
                self.say(reply::PROTECTION_REFUSED, out)
            }
            Level::Clear => {
                self.security.private = false;
                self.say(reply::PROTECTION_CLEAR, out)
            }
            Level::Private => {
                self.security.private = true;
                self.say(reply::PROTECTION_PRIVATE, out)
            }
        }
    }

    /// RFC 4217 §5, §15.3: refused for policy, always.
    fn clear_control(&self, out: &mut Outbox) -> Option<Next> {
        let answer = if self.security.secured { reply::NOT_CLEARED } else { reply::CLEAR_ALREADY };
        self.say(answer, out)
    }

    /// Is this refused because it would go in clear?
    pub(super) fn needs_tls(&self) -> bool {
        self.settings.tls == Tls::Required && !self.security.secured
    }

    /// RFC 4217 §10.2: asked when a transfer begins, never at PORT or PASV.
    pub(super) fn needs_private(&self) -> bool {
        self.settings.tls == Tls::Required && !self.security.private
    }

    /// RFC 959 §4.1.1 (REIN): everything but the connection returns to its defaults. A running
    /// transfer has ended by now, since this line waited for it. RFC 4217 §13: TLS ends too, after
    /// the reply – unless it was there before the greeting.
    pub(super) fn reinitialize(&mut self, out: &mut Outbox) -> Option<Next> {
        self.reset();
        debug_assert!(matches!(self.state, State::Ready));
        let before = std::mem::take(&mut self.security);
        if before.implicit {
            self.security = IMPLICIT;
        } else if before.secured {
            self.step = self.replace_data(Data::Unset);
            return Some(Next::Unsecure);
        }
        reply::REINITIALIZED.send(out);
        self.replace_data(Data::Unset)
    }

    /// Everything of this session that commands have changed, but for data connections.
    fn reset(&mut self) {
        self.login.forget();
        self.parameters = Parameters::default();
        self.directory = VirtualPath::root();
        self.epsv_only = false;
        self.umask = None;
        self.idle_seconds = self.settings.idle_seconds;
    }
}
