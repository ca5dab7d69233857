//! sim::pipe – TCP in memory: two pipes a connection, each with a send buffer, a window and a wire.
//!
//! ```text
//!   write ─▶ sending ──wire task: delay, segment──▶ delivered ─▶ read
//! ```
//! Promises: octets arrive in order or the connection is reset; closing with unread octets resets,
//! as Linux does; what was delivered before a reset can still be read.
//! Not here: names, routing, UDP; the script's ends (`client`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::{Stream, World, world};

/// Wakes whoever waits for a change.
#[derive(Debug, Default)]
pub struct Signal(RefCell<Vec<Waker>>);

impl Signal {
    pub(super) fn wait(&self, context: &Context<'_>) {
        let mut wakers = self.0.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
    }

    pub(super) fn notify(&self) {
        std::mem::take(&mut *self.0.borrow_mut()).into_iter().for_each(Waker::wake);
    }

    /// Waits until `ready` gives something.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| match ready() {
            Some(value) => Poll::Ready(value),
            None => {
                self.wait(context);
                Poll::Pending
            }
        })
        .await
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    sending: RefCell<VecDeque<u8>>,
    delivered: RefCell<VecDeque<u8>>,
    /// The writer has no more to say.
    fin: Cell<bool>,
    fin_delivered: Cell<bool>,
    /// The reading end is closed: what arrives is answered by a reset.
    deaf: Cell<bool>,
    pub(super) changed: Signal,
}

/// A connection: pipe 0 leads from end 0 to end 1.
#[derive(Debug)]
pub struct Link {
    pipes: [Pipe; 2],
    addresses: [SocketAddr; 2],
    window: usize,
    reset: Cell<bool>,
    /// The network carries nothing for now.
    pub(super) silent: Cell<bool>,
}

impl Link {
    /// A connection between two addresses, whose wires run as tasks of the simulated kernel.
    fn connect(world: &World, addresses: [SocketAddr; 2]) -> (End, End) {
        let link = Rc::new(Self {
            pipes: [Pipe::default(), Pipe::default()],
            addresses,
            window: world.weather.get().window,
            reset: Cell::new(false),
            silent: Cell::new(false),
        });
        for side in 0..2 {
            world.executor.spawn("wire", true, Box::pin(wire(Rc::clone(&link), side)));
        }
        (End { link: Rc::clone(&link), side: 0 }, End { link, side: 1 })
    }

    /// Both ends learn that the connection is no more; what was not delivered is lost.
    pub(super) fn reset(&self) {
        self.reset.set(true);
        for pipe in &self.pipes {
            pipe.sending.borrow_mut().clear();
            pipe.changed.notify();
        }
    }

    pub(super) fn silence(&self, on: bool) {
        self.silent.set(on);
        self.pipes.iter().for_each(|pipe| pipe.changed.notify());
    }
}

/// Moves octets of one direction, segment by segment, until FIN is delivered or the link is reset.
async fn wire(link: Rc<Link>, side: usize) {
    let world = world();
    let pipe = &link.pipes[side];
    let ready = || {
        let idle = pipe.sending.borrow().is_empty();
        let room = pipe.deaf.get() || pipe.delivered.borrow().len() < link.window;
        let carries = !link.silent.get() && if idle { pipe.fin.get() } else { room };
        (carries || link.reset.get()).then_some(())
    };
    while !pipe.fin_delivered.get() {
        pipe.changed.until(ready).await;
        world.pause().await;
        if link.reset.get() {
            return;
        }
        if link.silent.get() {
            continue;
        }
        let waiting = pipe.sending.borrow().len();
        if waiting > 0 && pipe.deaf.get() {
            return link.reset();
        }
        if waiting == 0 {
            pipe.fin_delivered.set(pipe.fin.get());
        } else {
            let room = link.window.saturating_sub(pipe.delivered.borrow().len());
            let segment = world.cut(waiting.min(room).min(world.weather.get().segment));
            pipe.delivered.borrow_mut().extend(pipe.sending.borrow_mut().drain(..segment));
        }
        pipe.changed.notify();
    }
}

/// One end of a connection; dropping it closes.
#[derive(Debug)]
pub struct End {
    pub(super) link: Rc<Link>,
    side: usize,
}

impl End {
    pub(super) fn outgoing(&self) -> &Pipe {
        &self.link.pipes[self.side]
    }

    fn incoming(&self) -> &Pipe {
        &self.link.pipes[1 - self.side]
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.link.addresses[self.side]
    }

    pub(super) fn other_address(&self) -> SocketAddr {
        self.link.addresses[1 - self.side]
    }

    /// Waits until there is something to read, and says how much; 0 at end of stream.
    pub(super) async fn readable(&self) -> io::Result<usize> {
        let pipe = self.incoming();
        let ready = || -> Option<io::Result<usize>> {
            let waiting = pipe.delivered.borrow().len();
            if waiting > 0 {
                return Some(Ok(waiting));
            }
            if self.link.reset.get() {
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            pipe.fin_delivered.get().then_some(Ok(0))
        };
        pipe.changed.until(ready).await
    }

    /// Some octets, at most `max`; none at end of stream.
    pub(super) async fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        let waiting = self.readable().await?;
        let pipe = self.incoming();
        let taken = world().cut(waiting.min(max));
        let bytes = pipe.delivered.borrow_mut().drain(..taken).collect();
        pipe.changed.notify();
        Ok(bytes)
    }

    /// What is there now, at most `max`; none at end of stream.
    pub(super) fn read_now(&self, max: usize) -> io::Result<Vec<u8>> {
        let pipe = self.incoming();
        let waiting = pipe.delivered.borrow().len();
        if waiting == 0 {
            return match (self.link.reset.get(), pipe.fin_delivered.get()) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(Vec::new()),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let taken = world().cut(waiting.min(max));
        let bytes = pipe.delivered.borrow_mut().drain(..taken).collect();
        pipe.changed.notify();
        Ok(bytes)
    }

    /// How many octets may be written now.
    pub(super) fn room_now(&self) -> io::Result<usize> {
        let pipe = self.outgoing();
        if self.link.reset.get() || pipe.fin.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.link.window.saturating_sub(pipe.sending.borrow().len()) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            room => Ok(room),
        }
    }

    /// Waits until octets may be written, and says how many.
    pub(super) async fn room(&self) -> io::Result<usize> {
        let pipe = self.outgoing();
        let ready = || {
            if self.link.reset.get() || pipe.fin.get() {
                return Some(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = self.link.window.saturating_sub(pipe.sending.borrow().len());
            (room > 0).then_some(Ok(room))
        };
        pipe.changed.until(ready).await
    }

    pub(super) fn put(&self, bytes: &[u8]) {
        self.outgoing().sending.borrow_mut().extend(bytes);
        self.outgoing().changed.notify();
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            let (now, later) = bytes.split_at(world().cut(room.min(bytes.len())));
            self.put(now);
            bytes = later;
        }
        Ok(())
    }

    pub(super) fn shut(&self) {
        self.outgoing().fin.set(true);
        self.outgoing().changed.notify();
    }

    /// Sends FIN and waits until the peer has it and everything before it.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.shut();
        let pipe = self.outgoing();
        let ready = || {
            if pipe.fin_delivered.get() {
                return Some(Ok(()));
            }
            self.link.reset.get().then(|| Err(io::ErrorKind::ConnectionReset.into()))
        };
        pipe.changed.until(ready).await
    }

    pub(super) fn unread(&self) -> usize {
        self.incoming().delivered.borrow().len()
    }

    pub(super) fn unsent(&self) -> usize {
        self.outgoing().sending.borrow().len()
    }

    pub(super) fn close(&self) {
        if self.link.reset.get() {
            return;
        }
        let incoming = self.incoming();
        incoming.deaf.set(true);
        if incoming.delivered.borrow().is_empty() {
            self.shut();
            incoming.changed.notify();
        } else {
            self.link.reset();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ports of all hosts.
#[derive(Debug, Default)]
pub struct Net {
    ports: RefCell<BTreeMap<SocketAddr, Weak<Backlog>>>,
    port_next: Cell<u16>,
    /// Sockets with a name in the file system, and where they are really.
    pub(super) paths: RefCell<BTreeMap<PathBuf, SocketAddr>>,
    /// Addresses that never answer.
    pub(super) black_holes: RefCell<Vec<SocketAddr>>,
}

/// Connections that wait to be accepted.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) waiting: RefCell<VecDeque<End>>,
    changed: Signal,
}

impl Backlog {
    pub(super) async fn accept(&self) -> End {
        self.changed.until(|| self.waiting.borrow_mut().pop_front()).await
    }
}

impl Net {
    pub(super) fn listen(&self, address: SocketAddr) -> io::Result<Rc<Backlog>> {
        let mut ports = self.ports.borrow_mut();
        ports.retain(|_, backlog| backlog.strong_count() > 0);
        if ports.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Rc::new(Backlog::default());
        ports.insert(address, Rc::downgrade(&backlog));
        Ok(backlog)
    }

    pub(super) fn port(&self) -> u16 {
        let port = self.port_next.get().max(40_000);
        self.port_next.set(port.checked_add(1).unwrap_or(40_000));
        port
    }

    /// Connects two addresses; the other end waits to be accepted.
    pub(super) async fn connect(
        &self,
        world: &World,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<End> {
        world.pause().await;
        if self.black_holes.borrow().contains(&remote) {
            std::future::pending::<()>().await;
        }
        let backlog = self.ports.borrow().get(&remote).and_then(Weak::upgrade);
        let Some(backlog) = backlog else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let port = if local.port() < 1024 { self.port() } else { local.port() };
        let (near, far) = Link::connect(world, [SocketAddr::new(local.ip(), port), remote]);
        backlog.waiting.borrow_mut().push_back(far);
        backlog.changed.notify();
        world.pause().await;
        Ok(near)
    }

    /// A connection that is there at once: the client's end and the server's.
    pub(super) fn pair(world: &World, client: SocketAddr, server: SocketAddr) -> (End, Stream) {
        let (near, far) = Link::connect(world, [client, server]);
        (near, Stream::new(world, far))
    }
}
