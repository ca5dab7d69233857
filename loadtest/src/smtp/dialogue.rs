//! smtp::dialogue – one SMTP client as a value: connects, greets, secures, logs in, sends, parts.
//!
//! ```text
//! Closed → Connecting → (TLS) → greeting → EHLO → (STARTTLS → TLS → EHLO) → (AUTH) → Ready
//! Ready → transaction (`transaction`) → Ready … → QUIT on a link that parts by itself → Closed
//! ```
//!
//! Promises: every reply is matched to what it answers, pipelined or not; a reply to nothing, a wrong
//! code, 421, an end and nonsense are failures of their own kind and close the connection; the next
//! operation gets another session. While one connection says QUIT the next may already work.
//! Not here: from the greeting to the login (`opening`), a message (`transaction`), sockets and deadlines
//! (the engine).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::mail::{Mail, Phase, Security};
use super::opening::Offered;
use super::reply::{Nonsense, Replies};
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

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
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
    pub(super) state: State,
    pub(super) secured: bool,
    pub(super) offered: Offered,
    pub(super) replies: Replies,
    pub(super) expects: VecDeque<Expect>,
    pub(super) task: Task,
    /// Messages sent over this connection.
    pub(super) messages: u64,
    /// When the newest command of the opening went out.
    pub(super) since: Nanoseconds,
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

    pub(super) fn secure(&mut self, io: &mut Io) {
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
            // The engine makes another session when it is time: not at once, if all it gets is refusals.
            Task::Message(_) | Task::Hold(_) => {
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
