//! sim::net – the sockets of the contract: streams, passive ports, connecting.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut, RangeInclusive};
use std::path::Path;
use std::rc::Rc;

use super::buffers::{BLOCK_BYTES, Block};
use super::client::SERVER;
use super::file::File;
use super::pipe::{Backlog, End, Signal};
use super::{Open, World, world};

/// Octets of one receive on a control connection at most.
const RECEIVE_BYTES_MAX: usize = 2048;

/// One connected TCP socket. Dropping it cancels what is in flight and closes it.
#[derive(Debug)]
pub struct Stream {
    end: Rc<End>,
    post: Rc<Post>,
    open: Rc<Open>,
}

#[derive(Debug, Default)]
struct Post {
    running: Cell<bool>,
    stopped: Cell<bool>,
    error: RefCell<Option<io::Error>>,
    changed: Signal,
}

impl Stream {
    pub(super) fn new(world: &World, end: End) -> Self {
        world.open.streams.set(world.open.streams.get() + 1);
        Self { end: Rc::new(end), post: Rc::default(), open: Rc::clone(&world.open) }
    }

    /// Address of this end.
    pub fn local(&self) -> SocketAddr {
        self.end.address()
    }

    /// Address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.end.other_address()
    }

    /// The next octets; empty at end of stream. Dropping this future loses nothing.
    pub async fn receive(&self) -> io::Result<Received> {
        Ok(Received(self.end.read(RECEIVE_BYTES_MAX).await?))
    }

    /// The same, as much at once as a block holds while one can be spared; little otherwise.
    pub async fn receive_large(&self) -> io::Result<Received> {
        self.end.readable().await?;
        let pool = &world().blocks;
        let max = if pool.taken() < pool.total() / 2 { BLOCK_BYTES } else { RECEIVE_BYTES_MAX };
        Ok(Received(self.end.read(max).await?))
    }

    /// The same as `receive`: nothing here costs the kernel memory.
    pub async fn receive_at_rest(&self) -> io::Result<Received> {
        self.end.readable().await?;
        self.receive().await
    }

    /// Is what comes from now on Telnet?
    pub fn speaks_telnet(&self, _: bool) {}

    /// Octets that came and were not received yet.
    pub fn unread(&self) -> usize {
        self.end.unread()
    }

    /// Octets that came and were not received yet.
    pub async fn silent(&self) -> io::Result<usize> {
        Ok(self.end.unread())
    }

    /// What is there now, into `room`; 0 at the end of the stream.
    pub fn receive_ready(&self, room: &mut [u8]) -> io::Result<usize> {
        let bytes = self.end.read_now(room.len())?;
        room[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Sends as much as there is room for now.
    pub fn send_ready(&self, octets: &[u8]) -> io::Result<usize> {
        let room = self.end.room_now()?;
        let count = world().cut(room.min(octets.len()));
        self.end.put(&octets[..count]);
        Ok(count)
    }

    /// Waits for room to send.
    pub async fn writable(&self) -> io::Result<()> {
        self.end.room().await.map(drop)
    }

    /// The same as `post`, before the stream is dropped.
    pub fn post_final(&self, bytes: Vec<u8>) {
        self.post(bytes);
    }

    /// Starts sending all of `bytes` and returns at once. One post at a time.
    pub fn post(&self, bytes: Vec<u8>) {
        assert!(!self.post.running.replace(true), "a second post while one is in flight");
        let (end, post) = (Rc::clone(&self.end), Rc::clone(&self.post));
        let send = async move {
            let mut rest = &bytes[..];
            while !rest.is_empty() && !post.stopped.get() {
                match end.room().await {
                    Ok(room) => {
                        let (now, later) = rest.split_at(world().cut(room.min(rest.len())));
                        end.put(now);
                        rest = later;
                    }
                    Err(error) => {
                        post.error.replace(Some(error));
                        break;
                    }
                }
            }
            drop(end);
            post.running.set(false);
            post.changed.notify();
        };
        world().executor.spawn("post", true, Box::pin(send));
    }

    /// Waits until the last `post` is sent whole. Its error, if it failed.
    pub async fn posted(&self) -> io::Result<()> {
        self.post.changed.until(|| (!self.post.running.get()).then_some(())).await;
        self.post.error.take().map_or(Ok(()), Err)
    }

    /// Receives into `block` from `at`; gives the block back. 0 at end of stream.
    pub async fn receive_into(&self, mut block: Block, at: usize) -> (io::Result<usize>, Block) {
        assert!(at < block.len(), "no room to receive into");
        match self.end.read(block.len() - at).await {
            Ok(bytes) => {
                block[at..at + bytes.len()].copy_from_slice(&bytes);
                (Ok(bytes.len()), block)
            }
            Err(error) => (Err(error), block),
        }
    }

    /// Waits until octets, the end or an error can be received without waiting.
    pub async fn readable(&self) -> io::Result<()> {
        self.end.readable().await.map(drop)
    }

    /// Sends all of `bytes`.
    pub async fn send(&self, bytes: bytes::Bytes) -> io::Result<()> {
        self.end.write_all(&bytes).await
    }

    /// Like `send`, but only as much as there is room for.
    pub async fn send_some(&self, bytes: &bytes::Bytes) -> io::Result<usize> {
        let room = self.end.room().await?;
        let count = world().cut(room.min(bytes.len()));
        self.end.put(&bytes[..count]);
        Ok(count)
    }

    /// Moves up to `count` octets of `file` from `offset`; 0 when the file ends there.
    pub async fn send_file(&self, file: &File, offset: u64, count: usize) -> io::Result<usize> {
        let room = self.end.room().await?;
        let bytes = file.read_now(offset, world().cut(room.min(count)))?;
        self.end.put(&bytes);
        Ok(bytes.len())
    }

    /// Sends FIN, then waits until the peer has acknowledged every octet.
    pub async fn finish(&self) -> io::Result<()> {
        self.end.finish().await
    }

    /// Octets in the socket that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.end.unsent()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.streams.set(self.open.streams.get() - 1);
        self.post.stopped.set(true);
        self.end.close();
        self.end.outgoing().changed.notify();
    }
}

/// Octets of one receive.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl From<Vec<u8>> for Received {
    fn from(octets: Vec<u8>) -> Self {
        Self(octets)
    }
}

/// A passive data port.
#[derive(Debug)]
pub struct Passive {
    local: SocketAddr,
    backlog: Rc<Backlog>,
    open: Rc<Open>,
}

impl Passive {
    /// Bound on `ip`, a random free port in `range`.
    pub fn bind(ip: IpAddr, range: &RangeInclusive<u16>) -> io::Result<Self> {
        let world = world();
        let mut ports: Vec<u16> = range.clone().collect();
        world.rng.shuffle(&mut ports);
        for port in ports {
            let port = if port == 0 { world.net.port() } else { port };
            let local = SocketAddr::new(ip, port);
            let Ok(backlog) = world.net.listen(local) else { continue };
            world.open.passives.set(world.open.passives.get() + 1);
            return Ok(Self { local, backlog, open: Rc::clone(&world.open) });
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Where it listens.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The first connection from `peer` (any address when `None`); others are closed.
    pub async fn accept(&self, peer: Option<IpAddr>) -> io::Result<Stream> {
        loop {
            let end = self.backlog.accept().await;
            if peer.is_none_or(|peer| peer == end.other_address().ip()) {
                return Ok(Stream::new(&world(), end));
            }
        }
    }
}

impl Drop for Passive {
    fn drop(&mut self) {
        self.open.passives.set(self.open.passives.get() - 1);
        self.backlog.waiting.take().iter().for_each(|end| end.link.reset());
    }
}

/// Connects from `local` to `remote`.
pub async fn connect(local: SocketAddr, remote: SocketAddr) -> io::Result<Stream> {
    let world = world();
    let end = world.net.connect(&world, local, remote).await?;
    Ok(Stream::new(&world, end))
}

/// Connects to `remote`, from `source` where one is given.
pub async fn dial(source: Option<IpAddr>, remote: SocketAddr) -> io::Result<Stream> {
    let own = source.unwrap_or_else(|| SERVER.parse().unwrap());
    connect(SocketAddr::new(own, 0), remote).await
}

/// Connects to the socket at `path`.
pub async fn dial_unix(path: &Path) -> io::Result<Stream> {
    let remote = world().net.paths.borrow().get(path).copied();
    dial(None, remote.ok_or(io::ErrorKind::NotFound)?).await
}
