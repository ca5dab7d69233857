//! smtp::dialogue – one SMTP client as a value: connects, greets, secures, logs in, sends, parts.
//!
//! ```text
//! Closed → Connecting → (TLS) → greeting → EHLO → (STARTTLS → TLS → EHLO) → (AUTH) → Ready
//! Ready → transaction (`transaction`) → Ready … → QUIT on a link that parts by itself → Closed
//! ```
//!
//! Promises: every reply is matched to what it answers, pipelined or not; a reply to nothing, a wrong
//! code, 421, an end and nonsense are failures of their own kind and close the connection; the next
//! operation opens another. While one connection says QUIT the next may already work.
//! Not here: what a message is (`transaction`), sockets and deadlines (the engine).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::mail::{Login, Mail, Phase, Security};
use super::reply::{self, Nonsense, Replies};
use super::transaction::Message;
use super::wire::Segments;
use crate::engine::session::{self, Event, Io, LINKS_MAX, Link, Nanoseconds, Payload, Receive};
use crate::engine::tls;

/// How long a connection may take to answer QUIT; nothing waits for it.
const PARTING: Nanoseconds = 5_000_000_000;
/// Segments handed to the engine at once.
const BURST: usize = 64;

/// What an outstanding reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    /// The answer to so many lines of AUTH.
    Auth(u8),
    Mail,
    Recipient(usize),
    Data,
    Chunk,
    /// Of a message, whole.
    End,
    /// Of the empty message that ends a DATA nobody wanted.
    Nothing,
    Reset,
    /// To a QUIT that shows whether the server took one message for two.
    Proof,
}

/// What EHLO announced.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of EHLO")]
pub(super) struct Offered {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) size: bool,
    pub(super) eight_bit: bool,
    start_tls: bool,
    auth_plain: bool,
    auth_login: bool,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Securing,
    /// Greeting, EHLO and what follows it.
    Opening,
    Ready,
}

/// Why it is open.
#[derive(Debug)]
pub(super) enum Task {
    Nothing,
    /// To be held idle; said so already?
    Hold(bool),
    Message(Box<Message>),
}

/// One client.
pub(crate) struct Session {
    pub(super) mail: Arc<Mail>,
    tls: Option<tls::Client>,
    link: Link,
    state: State,
    secured: bool,
    pub(super) offered: Offered,
    replies: Replies,
    pub(super) expects: VecDeque<Expect>,
    pub(super) task: Task,
    /// Messages sent over this connection.
    pub(super) messages: u64,
    /// When the newest command of the opening went out.
    since: Nanoseconds,
    segments: Option<Segments>,
    /// What waits for its burst.
    outbox: VecDeque<Payload>,
    sending: bool,
    /// Links that said QUIT, each with its deadline.
    parting: [Option<Nanoseconds>; LINKS_MAX],
    leaving: bool,
}

impl Session {
    pub(super) fn new(mail: &Arc<Mail>, number: u64) -> Self {
        let segments = mail.segment_octets_max.map(|most| Segments::new(mail.seed ^ number, most));
        Self {
            tls: mail.tls.as_ref().map(tls::Context::client),
            mail: Arc::clone(mail),
            link: 0,
            state: State::Closed,
            secured: false,
            offered: Offered::default(),
            replies: Replies::default(),
            expects: VecDeque::new(),
            task: Task::Nothing,
            messages: 0,
            since: 0,
            segments,
            outbox: VecDeque::new(),
            sending: false,
            parting: [None; LINKS_MAX],
            leaving: false,
        }
    }

    // ---------------------------------------------------------------- connection

    fn connect(&mut self, io: &mut Io) {
        // The free link, or that of the oldest goodbye.
        let link = (0..LINKS_MAX).min_by_key(|&link| self.parting[link]).unwrap_or(0);
        self.link = u8::try_from(link).unwrap_or(0);
        if self.parting[link].take().is_some() {
            io.close(self.link);
        }
        self.replies = Replies::default();
        self.offered = Offered::default();
        self.secured = false;
        self.messages = 0;
        self.since = io.now();
        self.state = State::Connecting;
        io.connect(self.link, self.mail.target, Receive::Small);
    }

    fn connected(&mut self, io: &mut Io) {
        io.phase(Phase::Connect.index(), self.since);
        if let Some(per_second) = self.mail.pace {
            io.pace(self.link, per_second);
        }
        self.since = io.now();
        if self.mail.security == Security::Implicit {
            self.secure(io);
        } else {
            self.state = State::Opening;
            self.expects.push_back(Expect::Greeting);
        }
    }

    fn secure(&mut self, io: &mut Io) {
        let Some(client) = self.tls.clone() else { return };
        self.state = State::Securing;
        self.since = io.now();
        io.secure(self.link, client);
    }

    fn secured(&mut self, resumed: bool, io: &mut Io) {
        io.phase(Phase::Tls.index(), self.since);
        io.count(if resumed { "TLS handshakes resumed" } else { "TLS handshakes in full" }, 1);
        self.secured = true;
        self.state = State::Opening;
        self.since = io.now();
        if self.mail.security == Security::Implicit {
            self.expects.push_back(Expect::Greeting);
        } else {
            self.hello(io);
        }
    }

    fn hello(&mut self, io: &mut Io) {
        self.command(io, format!("EHLO {}\r\n", self.mail.helo), Expect::Ehlo);
    }

    /// A command of the opening.
    fn command(&mut self, io: &mut Io, line: String, expect: Expect) {
        self.since = io.now();
        self.expects.push_back(expect);
        self.put(io, Payload::Owned(line.into_bytes()));
    }

    /// The connection is of no use any more, and so the open operation has failed.
    pub(super) fn broken(
        &mut self,
        io: &mut Io,
        at: &'static str,
        what: impl Into<Cow<'static, str>>,
    ) {
        if self.state != State::Closed {
            io.close(self.link);
        }
        self.forget();
        match std::mem::replace(&mut self.task, Task::Nothing) {
            Task::Message(_) => io.failed(at, what),
            Task::Hold(_) => {
                io.failed(at, what);
                io.finish();
            }
            Task::Nothing => io.count("connections the server ended between messages", 1),
        }
    }

    fn forget(&mut self) {
        self.state = State::Closed;
        self.expects.clear();
        self.outbox.clear();
        self.sending = false;
        self.replies = Replies::default();
    }

    /// QUIT; the link parts by itself.
    pub(super) fn part(&mut self, io: &mut Io) {
        if self.state != State::Ready {
            if self.state != State::Closed {
                io.close(self.link);
            }
        } else {
            io.send(self.link, Payload::Static(b"QUIT\r\n"));
            let deadline = io.now() + PARTING;
            self.parting[usize::from(self.link)] = Some(deadline);
            io.timer(self.link, deadline);
        }
        self.forget();
    }

    /// The connection is over, and was to be.
    pub(super) fn hang_up(&mut self, io: &mut Io) {
        io.close(self.link);
        self.forget();
    }

    fn parted(&mut self, link: Link, io: &mut Io) {
        self.parting[usize::from(link)] = None;
        io.close(link);
        self.finish_if_left(io);
    }

    fn finish_if_left(&self, io: &mut Io) {
        if self.leaving && self.parting.iter().all(Option::is_none) {
            io.finish();
        }
    }

    // ---------------------------------------------------------------- sending

    /// Queues octets, whole or in segments.
    pub(super) fn put(&mut self, io: &mut Io, payload: Payload) {
        let Some(segments) = &mut self.segments else {
            io.send(self.link, payload);
            return;
        };
        let (mut at, length) = (0, payload.octets().len());
        while at < length {
            let end = at + segments.next(length - at);
            self.outbox.push_back(match &payload {
                Payload::Shared(octets, range) => {
                    Payload::Shared(Arc::clone(octets), range.start + at..range.start + end)
                }
                Payload::Owned(octets) => Payload::Owned(octets[at..end].to_vec()),
                Payload::Static(octets) => Payload::Static(&octets[at..end]),
            });
            at = end;
        }
        self.pump(io);
    }

    fn pump(&mut self, io: &mut Io) {
        if self.sending {
            return;
        }
        for payload in self.outbox.drain(..self.outbox.len().min(BURST)) {
            io.send(self.link, payload);
            self.sending = true;
        }
    }

    fn sent(&mut self, io: &mut Io) {
        self.sending = false;
        self.pump(io);
        if !self.sending
            && let Task::Message(message) = &mut self.task
        {
            message.handed_over(io.now());
        }
    }

    // ---------------------------------------------------------------- replies

    fn received(&mut self, octets: &[u8], io: &mut Io) {
        self.replies.feed(octets);
        loop {
            let link = self.link;
            let reply = match self.replies.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break,
                Err(nonsense) => {
                    self.broken(
                        io,
                        self.at(),
                        match nonsense {
                            Nonsense::NoReply => "no reply but something else",
                            Nonsense::CodesDiffer => "a reply with several codes",
                            Nonsense::Endless => "a reply without end",
                        },
                    );
                    return;
                }
            };
            let bare = self.replies.take_bare_line_ends();
            if bare > 0 {
                io.count("reply lines that ended in LF alone", bare);
            }
            let Some(expect) = self.expects.pop_front() else {
                self.unasked(reply.code, io);
                return;
            };
            if reply.code == 421 && expect != Expect::Proof {
                self.broken(io, stage_of(expect), "421");
                return;
            }
            let text = match expect {
                Expect::Ehlo | Expect::End => self.replies.text(&reply).to_vec(),
                _ => Vec::new(),
            };
            self.replied(expect, reply.code, &text, io);
            if self.state == State::Closed || self.link != link {
                return;
            }
        }
        if matches!(self.task, Task::Hold(_)) {
            self.replies.shrink();
        }
    }

    /// A reply to nothing. That of a server that shuts down is well known.
    fn unasked(&mut self, code: u16, io: &mut Io) {
        if code != 421 {
            io.count("replies nobody had asked for", 1);
        }
        self.broken(
            io,
            self.at(),
            if code == 421 { "421" } else { "a reply nobody had asked for" },
        );
    }

    fn replied(&mut self, expect: Expect, code: u16, text: &[u8], io: &mut Io) {
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
            super::mail::Way::Plain => {
                let secret = format!("\0{}\0{}", login.user, login.password);
                (self.offered.auth_plain, format!("AUTH PLAIN {}\r\n", STANDARD.encode(secret)))
            }
            super::mail::Way::Login => (self.offered.auth_login, "AUTH LOGIN\r\n".to_owned()),
        };
        if offered {
            self.command(io, first, Expect::Auth(0));
        } else {
            self.broken(io, "AUTH", "not offered");
        }
    }

    fn answer_challenge(&mut self, lines: u8, io: &mut Io) {
        let answer = match (&self.mail.login, lines) {
            (Some(Login { way: super::mail::Way::Login, user, .. }), 0) => STANDARD.encode(user),
            (Some(Login { way: super::mail::Way::Login, password, .. }), 1) => {
                STANDARD.encode(password)
            }
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

    /// Where it stands.
    fn at(&self) -> &'static str {
        match self.state {
            State::Closed => "idle",
            State::Connecting => "connect",
            State::Securing => "TLS",
            State::Opening | State::Ready => {
                self.expects.front().map_or("idle", |&one| stage_of(one))
            }
        }
    }
}

impl session::Session for Session {
    fn on(&mut self, event: Event<'_>, io: &mut Io) {
        match event {
            Event::Work(number) => {
                self.task = Task::Message(Box::new(Message::new(&self.mail, number)));
                match self.state {
                    State::Ready => self.begin_message(io),
                    _ => self.connect(io),
                }
            }
            Event::Hold => {
                self.task = Task::Hold(false);
                self.connect(io);
            }
            Event::Quit => {
                self.task = Task::Nothing;
                self.leaving = true;
                self.part(io);
                self.finish_if_left(io);
            }
            Event::Timer(link) => {
                let due = self.parting.get(usize::from(link)).copied().flatten();
                if due.is_some_and(|due| due <= io.now()) {
                    self.parted(link, io);
                }
            }
            Event::Received(link, _) | Event::Ended(link, _) | Event::Failed(link, _)
                if self.parting.get(usize::from(link)).is_some_and(Option::is_some) =>
            {
                self.parted(link, io);
            }
            Event::Connected(link) if link == self.link => self.connected(io),
            Event::Secured(link, resumed) if link == self.link => self.secured(resumed, io),
            Event::Received(link, octets) if link == self.link => {
                if self.state != State::Closed {
                    self.received(octets, io);
                }
            }
            Event::Sent(link) if link == self.link => self.sent(io),
            Event::Ended(link, clean) if link == self.link && self.state != State::Closed => {
                if !clean {
                    io.count("TLS connections cut without a closing alert", 1);
                }
                self.ended(io, Cow::Borrowed("closed by the server"));
            }
            Event::Failed(link, why) if link == self.link && self.state != State::Closed => {
                self.ended(io, why);
            }
            Event::Listening(..)
            | Event::Connected(_)
            | Event::Secured(..)
            | Event::Received(..)
            | Event::Dropped(..)
            | Event::Ended(..)
            | Event::Sent(_)
            | Event::Failed(..) => {}
        }
    }

    fn stage(&self) -> &'static str {
        self.at()
    }
}

impl Session {
    fn ended(&mut self, io: &mut Io, why: Cow<'static, str>) {
        // After a false end of data a server may well hang up: what it answered before counts.
        if self.expects.front() == Some(&Expect::Proof) {
            self.expects.clear();
            return self.proved(io);
        }
        let at = self.at();
        self.broken(io, at, why);
    }
}

impl Offered {
    fn of(text: &[u8], extended: bool) -> Self {
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

pub(super) fn stage_of(expect: Expect) -> &'static str {
    match expect {
        Expect::Greeting => "greeting",
        Expect::Ehlo | Expect::Helo => "EHLO",
        Expect::StartTls => "STARTTLS",
        Expect::Auth(_) => "AUTH",
        Expect::Mail => "MAIL",
        Expect::Recipient(_) => "RCPT",
        Expect::Data => "DATA",
        Expect::Chunk => "BDAT",
        Expect::End | Expect::Nothing => "end of data",
        Expect::Reset => "RSET",
        Expect::Proof => "QUIT",
    }
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
