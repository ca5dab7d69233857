//! engine::wire – one connection as a value: its queue, its TLS, its pace.
//!
//! Promises: what goes in in order comes out in order; no system call but `shutdown`.
//! Not here: the ring (`wires`).

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use rustls::{ClientConnection, HandshakeKind};
use socket2::Socket;

use crate::engine::ring::Started;
use crate::engine::session::{Link, Nanoseconds, Payload, Receive};
use crate::engine::tls;

/// Parts of a second in which a paced connection moves its share.
const PACE_SLICES: u64 = 10;

/// A session, by its place and how often that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// Place in the worker's list.
    pub index: u32,
    /// Distinguishes sessions that had the same place.
    pub generation: u32,
}

/// A connection of the worker, by its place and how often that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireKey {
    /// Place in the worker's list.
    pub index: u32,
    /// Distinguishes connections that had the same place.
    pub generation: u32,
}

/// What the kernel is doing for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// Connecting or accepting.
    pub opening: Option<Started>,
    /// Receiving.
    pub receiving: Option<Started>,
    /// Sending.
    pub sending: Option<Started>,
}

/// How far the end of our direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not asked for.
    No,
    /// When the queue is empty.
    Wanted,
    /// Done.
    Done,
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    /// Whose it is; nobody's once closed.
    pub owner: Option<(SessionKey, Link)>,
    /// The socket; of a closed connection it is gone.
    pub socket: Option<Socket>,
    /// Whether octets can be moved.
    pub connected: bool,
    /// How to receive.
    pub receive: Receive,
    /// What is under way.
    pub pending: Pending,
    /// What is still to be sent, with the offset of the first one's rest.
    pub queue: VecDeque<Payload>,
    /// Octets of the first in the queue that were sent.
    pub offset: usize,
    /// Whether the session wants to hear when the queue is empty.
    pub tell_sent: bool,
    /// Whether anything was received yet.
    pub begun: bool,
    /// Octets asked for in one piece (`MSG_WAITALL`), if so.
    pub asked: usize,
    /// Whether such a piece came short: the stream is at its end, or broke.
    pub short: bool,
    /// Whether the other side ended its stream.
    pub ended: bool,
    /// The end of our direction.
    pub ending: Ending,
    /// TLS, if it was begun.
    pub tls: Option<Box<Tls>>,
    /// How slow, if slowed down.
    pub pace: Option<Pace>,
}

/// TLS of one connection.
#[derive(Debug)]
pub struct Tls {
    connection: ClientConnection,
    secured: bool,
}

/// What decrypting a piece of the stream brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decrypted {
    /// The handshake is complete; whether it resumed a session.
    pub secured: Option<bool>,
    /// The other side said that it is done.
    pub ended: bool,
    /// TLS failed; what is queued holds our alert.
    pub failed: Option<String>,
}

/// When a slowed connection may move its next octets.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_second: u64,
    receive_at: Nanoseconds,
    send_at: Nanoseconds,
}

impl Wire {
    /// A connection that is about to be opened.
    pub fn new(owner: (SessionKey, Link), socket: Socket, receive: Receive) -> Self {
        Self {
            owner: Some(owner),
            socket: Some(socket),
            connected: false,
            receive,
            pending: Pending::default(),
            queue: VecDeque::new(),
            offset: 0,
            tell_sent: false,
            begun: false,
            asked: 0,
            short: false,
            ended: false,
            ending: Ending::No,
            tls: None,
            pace: None,
        }
    }

    /// Whether the kernel has operations of it.
    pub fn is_busy(&self) -> bool {
        let Pending { opening, receiving, sending } = &self.pending;
        opening.is_some() || receiving.is_some() || sending.is_some()
    }

    /// Queues octets of the session.
    pub fn queue(&mut self, payload: Payload) -> Result<(), String> {
        self.tell_sent = true;
        match &mut self.tls {
            None => {
                if !payload.octets().is_empty() {
                    self.queue.push_back(payload);
                }
                Ok(())
            }
            Some(tls) => {
                let taken = tls.connection.writer().write_all(payload.octets());
                taken.map_err(|error| format!("TLS: {error}"))?;
                self.flush_tls()
            }
        }
    }

    /// Whether it may read nothing at the moment. A handshake reads whatever was asked for.
    pub fn is_off(&self) -> bool {
        self.receive == Receive::Off && self.tls.as_ref().is_none_or(|tls| tls.secured)
    }

    /// Begins TLS.
    pub fn secure(&mut self, client: &tls::Client) -> Result<(), String> {
        let mut connection = client.begin().map_err(|error| format!("TLS: {error}"))?;
        connection.set_buffer_limit(None);
        self.tls = Some(Box::new(Tls { connection, secured: false }));
        self.flush_tls()
    }

    /// Ends our direction as far as TLS goes.
    pub fn alert_end(&mut self) -> Result<(), String> {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
        }
        self.flush_tls()
    }

    /// Moves what TLS has to say into the queue.
    fn flush_tls(&mut self) -> Result<(), String> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut records = Vec::new();
        while tls.connection.wants_write() {
            tls.connection.write_tls(&mut records).map_err(|error| format!("TLS: {error}"))?;
        }
        if !records.is_empty() {
            self.queue.push_back(Payload::Owned(records));
        }
        Ok(())
    }

    /// Decrypts `records`, adding what they held to `plain`.
    pub fn decrypt(&mut self, mut records: &[u8], plain: &mut Vec<u8>) -> Decrypted {
        let mut outcome = Decrypted::default();
        let Some(tls) = &mut self.tls else { return outcome };
        while !records.is_empty() && outcome.failed.is_none() && !outcome.ended {
            match tls.connection.read_tls(&mut records) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => outcome.failed = Some(format!("TLS: {error}")),
            }
            match tls.connection.process_new_packets() {
                Ok(state) => outcome.ended = state.peer_has_closed(),
                Err(error) => outcome.failed = Some(format!("TLS: {error}")),
            }
            // `WouldBlock`: all there was.
            let _all_read = tls.connection.reader().read_to_end(plain);
        }
        if !tls.secured && !tls.connection.is_handshaking() {
            tls.secured = true;
            let resumed = tls.connection.handshake_kind() == Some(HandshakeKind::Resumed);
            outcome.secured = Some(resumed);
        }
        if let Err(error) = self.flush_tls() {
            outcome.failed.get_or_insert(error);
        }
        outcome
    }

    /// Whether what looks like the end of the stream was a reset: of a piece that came short the
    /// kernel tells the length, and keeps the error to itself. A reset socket has no peer.
    pub fn was_reset(&self) -> bool {
        let peer = self.socket.as_ref().map(Socket::peer_addr);
        self.short && self.ending == Ending::No && peer.is_some_and(|peer| peer.is_err())
    }

    /// Ends our direction of the socket.
    pub fn end(&mut self) -> io::Result<()> {
        self.ending = Ending::Done;
        self.socket.as_ref().map_or(Ok(()), |socket| socket.shutdown(std::net::Shutdown::Write))
    }
}

impl Pace {
    /// So many octets per second in each direction, from now on.
    pub fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), receive_at: 0, send_at: 0 }
    }

    /// Most octets to move at once.
    pub fn slice(&self) -> usize {
        usize::try_from((self.per_second / PACE_SLICES).max(1)).unwrap_or(usize::MAX)
    }

    /// When the next octets may be received.
    pub fn receive_at(&self) -> Nanoseconds {
        self.receive_at
    }

    /// When the next octets may be sent.
    pub fn send_at(&self) -> Nanoseconds {
        self.send_at
    }

    /// Notes that so many octets were received.
    pub fn received(&mut self, octets: usize, now: Nanoseconds) {
        self.receive_at = now + self.cost(octets);
    }

    /// Notes that so many octets were sent.
    pub fn sent(&mut self, octets: usize, now: Nanoseconds) {
        self.send_at = now + self.cost(octets);
    }

    fn cost(&self, octets: usize) -> Nanoseconds {
        let cost = octets as u128 * 1_000_000_000 / u128::from(self.per_second);
        Nanoseconds::try_from(cost).unwrap_or(Nanoseconds::MAX / 2)
    }
}
