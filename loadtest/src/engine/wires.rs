//! engine::wires – all connections of one thread, and its ring.
//!
//! What is asked of a connection becomes operations of the ring; their completions become
//! happenings, in [`Wires::next`], which the worker gives to the session that owns the connection.
//!
//! Promises: a connection that was closed is heard of no more; its place is used again only when
//! the kernel has given everything back.
//! Not here: what happenings mean (`worker`, `session`).

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::engine::ring::{Completion, DROP_BYTES, Memory, Ring, accepted};
use crate::engine::session::{Link, Nanoseconds, Payload, Receive};
use crate::engine::tls;
use crate::engine::wire::{Ending, Pace, SessionKey, Wire, WireKey};

/// Received at once for dialogues.
const SMALL_BYTES: usize = 4 << 10;
/// Received at once for data.
const BULK_BYTES: usize = 256 << 10;
/// Buffers kept for the next connection, of each size.
const SPARE_BUFFERS_MAX: usize = 64;
/// A paced connection's buffers in the kernel: small, or they would hide how slow it is.
const PACED_BUFFER_BYTES: usize = 8 << 10;

const OPENING: u64 = 0;
const RECEIVING: u64 = 1;
const SENDING: u64 = 2;

/// What happened to a connection.
#[derive(Debug)]
pub enum Happening {
    /// It listens there.
    Listening(SocketAddr),
    /// It is open.
    Connected,
    /// TLS is established; whether resumed.
    Secured(bool),
    /// Octets, in the first so many of the buffer. `resume` wants the buffer back.
    Octets(Vec<u8>, usize),
    /// So many octets were dropped.
    Dropped(u64),
    /// The other side ended; whether properly.
    Ended(bool),
    /// The queue is empty.
    Sent,
    /// It broke.
    Failed(Cow<'static, str>),
}

/// A happening, with the connection and whose it is.
pub struct News {
    /// The connection.
    pub wire: WireKey,
    /// Its owner.
    pub owner: (SessionKey, Link),
    /// What happened.
    pub happening: Happening,
}

/// The connections of a thread.
pub struct Wires {
    ring: Ring,
    wires: Vec<(u32, Option<Wire>)>,
    free: Vec<u32>,
    news: VecDeque<News>,
    small: Vec<Vec<u8>>,
    bulk: Vec<Vec<u8>>,
    completions: Vec<Completion>,
    /// When paced connections want to go on.
    pub delays: Vec<(Nanoseconds, WireKey)>,
    /// Connections opened so far.
    pub opened: u64,
    /// Octets moved since somebody took these: received, sent.
    pub moved: (u64, u64),
}

impl Wires {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ring: Ring::new()?,
            wires: Vec::new(),
            free: Vec::new(),
            news: VecDeque::new(),
            small: Vec::new(),
            bulk: Vec::new(),
            completions: Vec::new(),
            delays: Vec::new(),
            opened: 0,
            moved: (0, 0),
        })
    }

    /// The next thing that happened.
    pub fn next(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Whether something happened that nobody took yet.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Hands everything to the kernel and waits for it, `timeout` at most.
    pub fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        self.ring.turn(timeout, &mut self.completions)
    }

    /// Turns what the kernel completed into news.
    pub fn complete(&mut self, now: Nanoseconds) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            let index = (completion.token >> 2) as u32;
            match completion.token & 3 {
                OPENING => self.on_opened(index, &completion),
                RECEIVING => self.on_received(index, completion, now),
                _ => self.on_sent(index, completion, now),
            }
            self.free_if_over(index);
        }
        self.completions = completions;
    }

    // ------------------------------------------------------------ what sessions ask for

    /// Connects to `to`.
    pub fn connect(
        &mut self,
        owner: (SessionKey, Link),
        to: SocketAddr,
        receive: Receive,
    ) -> WireKey {
        self.opened += 1;
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None);
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return self.stillborn(owner, &error),
        };
        if receive == Receive::Small {
            // A dialogue's short lines must not wait for acknowledgements.
            let _slower_then = socket.set_tcp_nodelay(true);
        }
        let descriptor = socket.as_raw_fd();
        let key = self.insert(Wire::new(owner, socket, receive));
        let started = self.ring.connect(descriptor, SockAddr::from(to), token(key.index, OPENING));
        self.with(key, |wire| wire.pending.opening = Some(started));
        key
    }

    /// Listens on a free port of `on` for one connection.
    pub fn listen(&mut self, owner: (SessionKey, Link), on: IpAddr, receive: Receive) -> WireKey {
        let listening = || -> io::Result<(Socket, SocketAddr)> {
            let any = SocketAddr::new(on, 0);
            let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
            socket.bind(&SockAddr::from(any))?;
            socket.listen(1)?;
            let address = socket.local_addr()?.as_socket();
            Ok((socket, address.ok_or_else(|| io::Error::other("no address"))?))
        };
        let (socket, address) = match listening() {
            Ok(both) => both,
            Err(error) => return self.stillborn(owner, &error),
        };
        let descriptor = socket.as_raw_fd();
        let key = self.insert(Wire::new(owner, socket, receive));
        let started = self.ring.accept(descriptor, token(key.index, OPENING));
        self.with(key, |wire| wire.pending.opening = Some(started));
        self.tell(key, Happening::Listening(address));
        key
    }

    /// Begins TLS.
    pub fn secure(&mut self, key: WireKey, client: &tls::Client) {
        let outcome = self.with(key, |wire| wire.secure(client));
        self.after_queueing(key, outcome);
    }

    /// Queues octets.
    pub fn send(&mut self, key: WireKey, payload: Payload) {
        let outcome = self.with(key, |wire| wire.queue(payload));
        self.after_queueing(key, outcome);
    }

    /// Slows it down.
    pub fn pace(&mut self, key: WireKey, per_second: u64) {
        self.with(key, |wire| {
            wire.pace = Some(Pace::new(per_second));
            if let Some(socket) = &wire.socket {
                let _only_less_slow = socket.set_recv_buffer_size(PACED_BUFFER_BYTES);
                let _only_less_slow = socket.set_send_buffer_size(PACED_BUFFER_BYTES);
            }
        });
    }

    /// Ends our direction after what is queued.
    pub fn shutdown(&mut self, key: WireKey) {
        let outcome = self.with(key, |wire| {
            wire.ending = Ending::Wanted;
            wire.alert_end()
        });
        self.after_queueing(key, outcome);
    }

    /// Closes it, with a reset if `abruptly`.
    pub fn close(&mut self, key: WireKey, abruptly: bool) {
        let Some(wire) = self.get(key) else { return };
        wire.owner = None;
        let pending = wire.pending;
        let socket = wire.socket.take();
        for started in [pending.opening, pending.receiving, pending.sending].into_iter().flatten() {
            self.ring.cancel(started);
        }
        if let Some(socket) = socket {
            if abruptly {
                let _only_politer = socket.set_linger(Some(Duration::ZERO));
            }
            self.ring.close(OwnedFd::from(socket));
        }
        // Completions of what was cancelled still come, with this index.
        self.free_if_over(key.index);
    }

    /// Goes on receiving and sending after an event was handled; takes its buffer back.
    pub fn resume(&mut self, key: WireKey, buffer: Option<Vec<u8>>, now: Nanoseconds) {
        if let Some(buffer) = buffer {
            self.keep(buffer);
        }
        self.arm_receiving(key, now);
        self.arm_sending(key, now);
    }

    // ------------------------------------------------------------ what the kernel did

    fn on_opened(&mut self, index: u32, completion: &Completion) {
        let Some(key) = self.key(index) else { return };
        let Some(wire) = self.get(key) else { return };
        wire.pending.opening = None;
        match &completion.result {
            Err(error) => {
                let why = reason(error);
                self.fail(key, why);
            }
            Ok(result) if wire.owner.is_some() => {
                if let Completion { memory: Memory::None, .. } = completion {
                    // Accepted: the connection takes the listener's place.
                    let socket = Socket::from(accepted(*result));
                    if let Some(listener) = wire.socket.replace(socket) {
                        self.ring.close(OwnedFd::from(listener));
                    }
                    self.opened += 1;
                }
                self.with(key, |wire| wire.connected = true);
                self.tell(key, Happening::Connected);
            }
            Ok(result) => {
                if let Completion { memory: Memory::None, .. } = completion {
                    self.ring.close(accepted(*result));
                }
            }
        }
    }

    fn on_received(&mut self, index: u32, completion: Completion, now: Nanoseconds) {
        let Some(key) = self.key(index) else { return };
        let Some(wire) = self.get(key) else { return };
        wire.pending.receiving = None;
        let buffer = match completion.memory {
            Memory::Buffer(buffer) => Some(buffer),
            Memory::None | Memory::Address(_) | Memory::Payload(_) => None,
        };
        let count = match completion.result {
            _ if wire.owner.is_none() => 0,
            Ok(count) => count,
            Err(error) => {
                self.fail(key, reason(&error));
                return;
            }
        };
        if wire.owner.is_none() {
            return;
        }
        if count > 0 {
            wire.short = count < wire.asked;
        }
        if count == 0 && wire.was_reset() {
            self.fail(key, "reset".into());
            return;
        }
        if count == 0 {
            wire.ended = true;
            let clean = wire.tls.is_none();
            self.tell(key, Happening::Ended(clean));
            return;
        }
        wire.begun = true;
        if let Some(pace) = &mut wire.pace {
            pace.received(count, now);
        }
        let secure = wire.tls.is_some();
        self.moved.0 += count as u64;
        match buffer {
            None => self.tell(key, Happening::Dropped(count as u64)),
            Some(buffer) if secure => self.on_records(key, buffer, count),
            Some(buffer) => self.tell(key, Happening::Octets(buffer, count)),
        }
    }

    fn on_records(&mut self, key: WireKey, buffer: Vec<u8>, count: usize) {
        let Some(wire) = self.get(key) else { return };
        let mut plain = Vec::new();
        let outcome = wire.decrypt(&buffer[..count], &mut plain);
        let dropped = wire.receive == Receive::Drop;
        if outcome.ended {
            wire.ended = true;
        }
        self.keep(buffer);
        if let Some(resumed) = outcome.secured {
            self.tell(key, Happening::Secured(resumed));
        }
        let length = plain.len();
        if length > 0 {
            self.tell(
                key,
                if dropped {
                    Happening::Dropped(length as u64)
                } else {
                    Happening::Octets(plain, length)
                },
            );
        }
        if outcome.ended {
            self.tell(key, Happening::Ended(true));
        }
        match outcome.failed {
            // Our alert goes out first if the kernel takes it at once; nobody waits for it.
            Some(why) => self.fail(key, why.into()),
            None => {
                self.arm_sending(key, 0);
                if length == 0 && outcome.secured.is_none() {
                    // No event whose handling would resume it.
                    self.arm_receiving(key, 0);
                }
            }
        }
    }

    fn on_sent(&mut self, index: u32, completion: Completion, now: Nanoseconds) {
        let Some(key) = self.key(index) else { return };
        let Some(wire) = self.get(key) else { return };
        wire.pending.sending = None;
        if wire.owner.is_none() {
            return;
        }
        let count = match completion.result {
            Ok(count) => count,
            Err(error) => {
                self.fail(key, reason(&error));
                return;
            }
        };
        if let Memory::Payload(payload) = completion.memory {
            wire.offset += count;
            if wire.offset < payload.octets().len() {
                wire.queue.push_front(payload);
            } else {
                wire.offset = 0;
            }
        }
        if let Some(pace) = &mut wire.pace {
            pace.sent(count, now);
        }
        let tell = wire.queue.is_empty() && wire.tell_sent;
        if tell {
            wire.tell_sent = false;
        }
        self.moved.1 += count as u64;
        self.arm_sending(key, now);
        if tell {
            self.tell(key, Happening::Sent);
        }
    }

    // ------------------------------------------------------------ operations

    fn arm_receiving(&mut self, key: WireKey, now: Nanoseconds) {
        let Some(wire) = self.get(key) else { return };
        if !wire.connected || wire.ended || wire.is_off() || wire.pending.receiving.is_some() {
            return;
        }
        let Some(socket) = wire.socket.as_ref().map(std::os::fd::AsRawFd::as_raw_fd) else {
            return;
        };
        let mut limit = DROP_BYTES;
        if let Some(pace) = wire.pace {
            if pace.receive_at() > now {
                self.delays.push((pace.receive_at(), key));
                return;
            }
            limit = pace.slice();
        }
        let drops = wire.receive == Receive::Drop && wire.tls.is_none();
        let small = wire.receive == Receive::Small;
        // The first octets as soon as they come, for their time; the rest in large pieces.
        let all = wire.begun && wire.pace.is_none();
        let token = token(key.index, RECEIVING);
        let started = if drops {
            self.ring.drop_octets(socket, limit, all, token)
        } else {
            let buffer = self.buffer(small);
            self.ring.receive(socket, buffer, limit, token)
        };
        self.with(key, |wire| {
            wire.pending.receiving = Some(started);
            wire.asked = if drops && all { limit } else { 0 };
        });
    }

    fn arm_sending(&mut self, key: WireKey, now: Nanoseconds) {
        let Some(wire) = self.get(key) else { return };
        if !wire.connected || wire.pending.sending.is_some() {
            return;
        }
        let Some(socket) = wire.socket.as_ref().map(std::os::fd::AsRawFd::as_raw_fd) else {
            return;
        };
        if wire.queue.is_empty() {
            if wire.ending == Ending::Wanted {
                // It may be gone already; receiving will say so.
                let _gone = wire.end();
            }
            return;
        }
        let mut limit = usize::MAX;
        if let Some(pace) = wire.pace {
            if pace.send_at() > now {
                self.delays.push((pace.send_at(), key));
                return;
            }
            limit = pace.slice();
        }
        let Some(payload) = wire.queue.pop_front() else { return };
        let offset = wire.offset;
        let started = self.ring.send(socket, (payload, offset), limit, token(key.index, SENDING));
        self.with(key, |wire| wire.pending.sending = Some(started));
    }

    fn after_queueing(&mut self, key: WireKey, outcome: Option<Result<(), String>>) {
        match outcome {
            Some(Err(why)) => self.fail(key, why.into()),
            // At time 0 a paced connection only sets its timer, unless it never sent.
            Some(Ok(())) => self.arm_sending(key, 0),
            None => {}
        }
    }

    // ------------------------------------------------------------ book-keeping

    fn get(&mut self, key: WireKey) -> Option<&mut Wire> {
        let (generation, wire) = self.wires.get_mut(key.index as usize)?;
        if *generation == key.generation { wire.as_mut() } else { None }
    }

    fn with<T>(&mut self, key: WireKey, change: impl FnOnce(&mut Wire) -> T) -> Option<T> {
        self.get(key).map(change)
    }

    fn key(&self, index: u32) -> Option<WireKey> {
        self.wires
            .get(index as usize)
            .map(|(generation, _)| WireKey { index, generation: *generation })
    }

    fn insert(&mut self, wire: Wire) -> WireKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.wires.push((0, None));
            (self.wires.len() - 1) as u32
        });
        let place = &mut self.wires[index as usize];
        place.1 = Some(wire);
        WireKey { index, generation: place.0 }
    }

    /// A place for a connection whose socket could not be had; it has failed already.
    fn stillborn(&mut self, owner: (SessionKey, Link), error: &io::Error) -> WireKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.wires.push((0, None));
            (self.wires.len() - 1) as u32
        });
        let wire = WireKey { index, generation: self.wires[index as usize].0 };
        self.news.push_back(News { wire, owner, happening: Happening::Failed(reason(error)) });
        self.wires[index as usize].0 += 1;
        self.free.push(index);
        wire
    }

    fn free_if_over(&mut self, index: u32) {
        let Some((generation, place)) = self.wires.get_mut(index as usize) else { return };
        let over = place.as_ref().is_some_and(|wire| wire.owner.is_none() && !wire.is_busy());
        if over {
            *place = None;
            *generation = generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    /// The connection broke: its owner hears of it, last of all.
    fn fail(&mut self, key: WireKey, why: Cow<'static, str>) {
        self.tell(key, Happening::Failed(why));
        self.close(key, false);
    }

    fn tell(&mut self, key: WireKey, happening: Happening) {
        if let Some(owner) = self.get(key).and_then(|wire| wire.owner) {
            self.news.push_back(News { wire: key, owner, happening });
        }
    }

    fn buffer(&mut self, small: bool) -> Vec<u8> {
        let (spare, length) =
            if small { (&mut self.small, SMALL_BYTES) } else { (&mut self.bulk, BULK_BYTES) };
        spare.pop().unwrap_or_else(|| vec![0; length])
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        let spare = match buffer.len() {
            SMALL_BYTES => &mut self.small,
            BULK_BYTES => &mut self.bulk,
            _ => return,
        };
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(buffer);
        }
    }
}

fn token(index: u32, what: u64) -> u64 {
    u64::from(index) << 2 | what
}

/// A word or two for what went wrong, from a set that is small.
fn reason(error: &io::Error) -> Cow<'static, str> {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "refused".into(),
        Some(libc::ECONNRESET) => "reset".into(),
        Some(libc::EPIPE) => "closed while sending".into(),
        Some(libc::ETIMEDOUT) => "timed out in the kernel".into(),
        Some(libc::EADDRNOTAVAIL) => {
            "no local port free (net.ipv4.ip_local_port_range, net.ipv4.tcp_tw_reuse)".into()
        }
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor free (ulimit -n)".into(),
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => "unreachable".into(),
        _ => error.to_string().into(),
    }
}
