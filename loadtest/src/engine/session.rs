//! engine::session – what a protocol is to the engine: values that take events and ask for actions.
//!
//! A [`Protocol`] makes [`Session`]s; a session is one client dialogue with its connections, which
//! it knows by small numbers ([`Link`]). The engine tells it what happened ([`Event`]); it answers
//! by asking for things through [`Io`]. It has no socket and no clock: `io.now()` is the time.
//!
//! Promises: events of one session come one at a time and in order; after `io.finish()` none
//! comes; nothing asked for is done before `on` returns.
//! Not here: sockets, TLS records, deadlines (the engine ends an operation that takes too long).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::engine::tls;

/// A connection of one session, by a number below [`LINKS_MAX`] that the session chooses.
pub type Link = u8;

/// Most connections a session may have at once.
pub const LINKS_MAX: usize = 4;

/// Nanoseconds since the run began.
pub type Nanoseconds = u64;

/// A protocol with its options: makes sessions, names what they measure.
pub trait Protocol: Send + Sync + 'static {
    /// One client dialogue.
    type Session: Session;

    /// Names of the phases, in order of the report; `io.phase(i, …)` records into the `i`-th.
    fn phases(&self) -> &[&'static str];

    /// Names of the kinds of operation (`RETR`, `STOR`, …); `io.done(kind, …)` counts into one.
    fn kinds(&self) -> &[&'static str];

    /// A new session. `number` counts sessions over all threads and never repeats; `idle` sessions
    /// get [`Event::Hold`] instead of [`Event::Work`].
    fn session(self: &Arc<Self>, number: u64) -> Self::Session;
}

/// One dialogue: events in, actions out.
pub trait Session {
    /// Takes one event. To wait for the next is to return.
    fn on(&mut self, event: Event<'_>, io: &mut Io);

    /// Where the dialogue stands, for counting a timeout or a broken connection: `"greeting"`.
    fn stage(&self) -> &'static str;
}

/// What happened.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// Do one operation: number `0…` of the run (the same for the same seed). Ends with `io.done`
    /// or `io.failed`, and may come again afterwards unless the session said `io.finish`.
    Work(u64),
    /// Log in, say `io.held()`, then keep the connection until [`Event::Quit`].
    Hold,
    /// The run is over and no operation is open: part politely, then `io.finish()`.
    Quit,
    /// `listen` succeeded; connections are expected at this address.
    Listening(Link, SocketAddr),
    /// Connected, or accepted after `listen`.
    Connected(Link),
    /// The TLS handshake is complete; `true` if an earlier session was resumed.
    Secured(Link, bool),
    /// Octets of the other side (of TLS: plain text), in [`Receive::Small`] or [`Receive::Bulk`].
    Received(Link, &'a [u8]),
    /// So many octets came and were dropped unread, in [`Receive::Drop`].
    Dropped(Link, u64),
    /// The other side ended its stream; `false` if TLS was cut without a closing alert.
    Ended(Link, bool),
    /// Everything queued on this link is in the kernel's hands; more may be queued.
    Sent(Link),
    /// The timer set with this number is due.
    Timer(u8),
    /// The connection could not be made or broke; it is closed. A short reason: `"refused"`.
    Failed(Link, Cow<'static, str>),
}

/// How a link receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// For dialogues: up to 4 KiB at a time, given to the session.
    Small,
    /// For data: up to 256 KiB at a time, given to the session.
    Bulk,
    /// For data nobody looks at: dropped in the kernel (`MSG_TRUNC`), only counted. After the first
    /// octets in pieces of 1 MiB and what is left at the stream's end: not for a stream that pauses.
    Drop,
    /// Not at all, TLS's own records aside: for data that only goes out.
    Off,
}

/// Octets to send. One payload is one `send`, and so, small ones at least, one segment.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Octets made for this purpose.
    Owned(Vec<u8>),
    /// A part of octets that many sessions share.
    Shared(Arc<[u8]>, std::ops::Range<usize>),
    /// A part of octets that live as long as the program.
    Static(&'static [u8]),
}

impl Payload {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Owned(octets) => octets,
            Self::Shared(octets, range) => &octets[range.clone()],
            Self::Static(octets) => octets,
        }
    }
}

/// Payload an operation moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
}

/// What a session asks for.
#[derive(Debug)]
pub enum Action {
    /// Open a connection.
    Connect(Link, SocketAddr, Receive),
    /// Wait for one connection on a free port of this address (FTP's PORT).
    Listen(Link, IpAddr, Receive),
    /// Begin TLS as its client.
    Secure(Link, tls::Client),
    /// Queue octets.
    Send(Link, Payload),
    /// At most so many octets per second, in each direction.
    Pace(Link, u64),
    /// End our direction once everything queued is sent (with TLS: with its alert).
    Shutdown(Link),
    /// Close; what is queued is lost.
    Close(Link),
    /// Close with a reset.
    Reset(Link),
    /// Send [`Event::Timer`] at that time. A later one with the same number replaces nothing:
    /// both come.
    Timer(u8, Nanoseconds),
    /// Record a phase.
    Phase(usize, Nanoseconds),
    /// The open operation succeeded, at that time.
    Done { kind: usize, moved: Moved, ended: Nanoseconds },
    /// The open operation failed: where, and what kind of failure.
    Failed { at: &'static str, what: Cow<'static, str> },
    /// The session is idle, as [`Event::Hold`] asked.
    Held,
    /// The session is over: close everything.
    Finish,
    /// Add to a counter of the run.
    Count(&'static str, u64),
}

/// How a session asks: a list of actions and the time.
#[derive(Debug)]
pub struct Io {
    now: Nanoseconds,
    actions: Vec<Action>,
}

impl Io {
    /// An empty list at that time.
    pub fn new(now: Nanoseconds) -> Self {
        Self { now, actions: Vec::new() }
    }

    /// Nanoseconds since the run began, at the event being handled.
    pub fn now(&self) -> Nanoseconds {
        self.now
    }

    /// Moves the time; for the engine and for tests.
    pub fn at(&mut self, now: Nanoseconds) {
        self.now = now;
    }

    /// Takes what was asked for, in order.
    pub fn take(&mut self) -> std::vec::Drain<'_, Action> {
        self.actions.drain(..)
    }

    /// Opens a connection: [`Event::Connected`] or [`Event::Failed`] follows.
    pub fn connect(&mut self, link: Link, to: SocketAddr, receive: Receive) {
        self.actions.push(Action::Connect(link, to, receive));
    }

    /// Listens on a free port of `on`: [`Event::Listening`], then [`Event::Connected`].
    pub fn listen(&mut self, link: Link, on: IpAddr, receive: Receive) {
        self.actions.push(Action::Listen(link, on, receive));
    }

    /// Begins TLS: [`Event::Secured`] or [`Event::Failed`] follows.
    pub fn secure(&mut self, link: Link, client: tls::Client) {
        self.actions.push(Action::Secure(link, client));
    }

    /// Queues octets; [`Event::Sent`] comes when the queue is empty.
    pub fn send(&mut self, link: Link, payload: Payload) {
        self.actions.push(Action::Send(link, payload));
    }

    /// Queues a line or a few.
    pub fn say(&mut self, link: Link, text: impl Into<Vec<u8>>) {
        self.send(link, Payload::Owned(text.into()));
    }

    /// Makes a link slow: so many octets per second at most, in each direction.
    pub fn pace(&mut self, link: Link, per_second: u64) {
        self.actions.push(Action::Pace(link, per_second));
    }

    /// Ends our direction of a link after what is queued.
    pub fn shutdown(&mut self, link: Link) {
        self.actions.push(Action::Shutdown(link));
    }

    /// Closes a link.
    pub fn close(&mut self, link: Link) {
        self.actions.push(Action::Close(link));
    }

    /// Closes a link with a reset.
    pub fn reset(&mut self, link: Link) {
        self.actions.push(Action::Reset(link));
    }

    /// Asks for [`Event::Timer`] at that time.
    pub fn timer(&mut self, number: u8, at: Nanoseconds) {
        self.actions.push(Action::Timer(number, at));
    }

    /// Records that phase number `phase` lasted from `since` until now.
    pub fn phase(&mut self, phase: usize, since: Nanoseconds) {
        self.actions.push(Action::Phase(phase, self.now.saturating_sub(since)));
    }

    /// The operation succeeded and moved so many octets of payload.
    pub fn done(&mut self, kind: usize, received: u64, sent: u64) {
        self.done_at(kind, Moved { received, sent }, self.now);
    }

    /// As `done`, for an operation that ended earlier and whose work was checked since.
    pub fn done_at(&mut self, kind: usize, moved: Moved, ended: Nanoseconds) {
        self.actions.push(Action::Done { kind, moved, ended });
    }

    /// The operation failed: `failed("login", "530")`. `what` must come from a small set: it
    /// becomes a line of the report. Without `finish` the session goes on with its next operation.
    pub fn failed(&mut self, at: &'static str, what: impl Into<Cow<'static, str>>) {
        self.actions.push(Action::Failed { at, what: what.into() });
    }

    /// The session is idle, as [`Event::Hold`] asked.
    pub fn held(&mut self) {
        self.actions.push(Action::Held);
    }

    /// The session is over.
    pub fn finish(&mut self) {
        self.actions.push(Action::Finish);
    }

    /// Adds to a counter of the run, by name: `"TLS handshakes resumed"`.
    pub fn count(&mut self, what: &'static str, by: u64) {
        self.actions.push(Action::Count(what, by));
    }
}
