//! smtp::opening – from the greeting to a connection that is ready: EHLO, STARTTLS, AUTH.
//!
//! Promises: nothing that was said in plain is believed after STARTTLS (RFC 3207 §4.2), neither what EHLO
//! announced nor octets behind the 220; what is needed and not offered is a failure.
//! Not here: connections (`dialogue`), what comes then (`transaction`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::dialogue::{Expect, Session, State, Task, stage_of};
use super::mail::{Login, Phase, Security, Way};
use super::reply;
use crate::engine::session::{Io, Payload};

/// What EHLO announced.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of EHLO")]
pub(super) struct Offered {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) size: bool,
    pub(super) eight_bit: bool,
    pub(super) start_tls: bool,
    pub(super) auth_plain: bool,
    pub(super) auth_login: bool,
}

impl Session {
    pub(super) fn hello(&mut self, io: &mut Io) {
        self.command(io, format!("EHLO {}\r\n", self.mail.helo), Expect::Ehlo);
    }

    /// A command of the opening.
    fn command(&mut self, io: &mut Io, line: String, expect: Expect) {
        self.since = io.now();
        self.expects.push_back(expect);
        self.put(io, Payload::Owned(line.into_bytes()));
    }

    /// A reply, to whatever it answers.
    pub(super) fn replied(&mut self, expect: Expect, code: u16, text: &[u8], io: &mut Io) {
        match (expect, code) {
            (Expect::Greeting, 220) => {
                io.phase(Phase::Greeting.index(), self.since);
                self.hello(io);
            }
            (Expect::Ehlo | Expect::Helo, 250) => {
                io.phase(Phase::Ehlo.index(), self.since);
                self.offered = Offered::of(text, expect == Expect::Ehlo);
                self.greeted(io);
            }
            // RFC 5321 §3.2: an old server knows HELO only.
            (Expect::Ehlo, 500 | 502) if self.mail.security == Security::Plain => {
                self.command(io, format!("HELO {}\r\n", self.mail.helo), Expect::Helo);
            }
            (Expect::StartTls, 220) => {
                // What stands behind 220 in plain would be taken for what TLS protects.
                if self.replies.rest() > 0 {
                    self.broken(io, "STARTTLS", "octets before the handshake");
                } else {
                    self.secure(io);
                }
            }
            (Expect::Auth(lines), 334) => self.answer_challenge(lines, io),
            (Expect::Auth(_), 235) => {
                io.phase(Phase::Auth.index(), self.since);
                self.ready(io);
            }
            (
                Expect::Greeting | Expect::Ehlo | Expect::Helo | Expect::StartTls | Expect::Auth(_),
                _,
            ) => self.broken(io, stage_of(expect), code.to_string()),
            _ => self.message_replied(expect, code, text, io),
        }
    }

    /// After EHLO: TLS, login, or work.
    fn greeted(&mut self, io: &mut Io) {
        if self.mail.security == Security::StartTls && !self.secured {
            if self.offered.start_tls {
                self.command(io, "STARTTLS\r\n".to_owned(), Expect::StartTls);
            } else {
                self.broken(io, "STARTTLS", "not offered");
            }
            return;
        }
        let Some(login) = &self.mail.login else { return self.ready(io) };
        let (offered, first) = match login.way {
            Way::Plain => {
                let secret = format!("\0{}\0{}", login.user, login.password);
                (self.offered.auth_plain, format!("AUTH PLAIN {}\r\n", STANDARD.encode(secret)))
            }
            Way::Login => (self.offered.auth_login, "AUTH LOGIN\r\n".to_owned()),
        };
        if offered {
            self.command(io, first, Expect::Auth(0));
        } else {
            self.broken(io, "AUTH", "not offered");
        }
    }

    fn answer_challenge(&mut self, lines: u8, io: &mut Io) {
        let answer = match (&self.mail.login, lines) {
            (Some(Login { way: Way::Login, user, .. }), 0) => STANDARD.encode(user),
            (Some(Login { way: Way::Login, password, .. }), 1) => STANDARD.encode(password),
            _ => return self.broken(io, "AUTH", "one challenge too many"),
        };
        // The phase is all of AUTH: `since` stays.
        self.expects.push_back(Expect::Auth(lines + 1));
        self.put(io, Payload::Owned(format!("{answer}\r\n").into_bytes()));
    }

    fn ready(&mut self, io: &mut Io) {
        self.state = State::Ready;
        match &mut self.task {
            Task::Nothing => {}
            Task::Hold(said) => {
                *said = true;
                io.held();
            }
            Task::Message(_) => self.begin_message(io),
        }
    }
}

impl Offered {
    /// In a reply to EHLO; what follows HELO announces nothing.
    pub(super) fn of(text: &[u8], extended: bool) -> Self {
        let mut offered = Self::default();
        for line in reply::lines(text).skip(1).filter(|_| extended) {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => offered.pipelining = true,
                Some("CHUNKING") => offered.chunking = true,
                Some("SIZE") => offered.size = true,
                Some("8BITMIME") => offered.eight_bit = true,
                Some("STARTTLS") => offered.start_tls = true,
                Some("AUTH") => {
                    for way in words {
                        offered.auth_plain |= way == "PLAIN";
                        offered.auth_login |= way == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        offered
    }
}
