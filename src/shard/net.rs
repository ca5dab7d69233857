//! shard::net – connected sockets and passive data ports.
//!
//! Control connections receive by one multishot operation into the shard's provided buffers – or, where
//! much is expected, a block at a time – and send owned buffers without waiting for them; data connections receive into pooled blocks and send files
//! by `splice` or `sendfile`, waiting for room on the ring.
//!
//! Promises: dropping a stream cancels what is in flight and closes it when the kernel is done with
//! it; a peer that sends faster than it is read is held back by its TCP window, not by our memory.
//! Not here: listening for control connections (`accept`), what is said on them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use io_uring::{cqueue, opcode, types};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::buffers::{BLOCK_BYTES, Block, Large, PROVIDED_BYTES, PROVIDED_GROUP, Received};
use super::pipes::{self, Pipe};
use super::ring::{Keep, Multi, Op};
use super::{File, core, now, within};

/// Octets moved by one `sendfile`, where there is no pipe: beyond 256 KiB there is little to gain (§1.2 of the measurements).
const SENDFILE_BYTES: usize = 512 * 1024;
/// How often the end of a data connection is looked at while octets are unacknowledged.
const FINISH_POLL: Duration = Duration::from_millis(10);
/// Attempts to find a free passive port.
const PASSIVE_ATTEMPTS: usize = 64;
/// Connections that may wait on a passive port: one is expected, strangers may come first and are
/// turned away when the transfer begins.
const PASSIVE_BACKLOG: i32 = 128;

/// One connected TCP socket, or Unix socket.
pub struct Stream {
    fd: Rc<OwnedFd>,
    local: SocketAddr,
    peer: SocketAddr,
    receiving: RefCell<Option<Multi>>,
    receiving_alone: RefCell<Option<Op>>,
    sending: RefCell<Option<Op>>,
    /// A large file goes through it.
    pipe: RefCell<Option<Box<Pipe>>>,
    /// Data connections are non-blocking for `sendfile`; the ring is asked for readiness then.
    /// Control connections are not: the ring itself waits for them.
    data: bool,
    /// What comes may be Telnet.
    telnet: Cell<bool>,
    /// A control connection counts in its shard's load.
    load: Option<super::accept::Load>,
}

impl Stream {
    /// Wraps an accepted or connected socket in blocking mode (the ring waits for it; O_NONBLOCK
    /// would make the ring answer EAGAIN instead).
    pub(super) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let bound = socket.local_addr()?;
        if bound.is_unix() {
            return Ok(Self::unix(fd));
        }
        let local = address(&bound)?;
        let peer = address(&socket.peer_addr()?)?;
        Ok(Self::new(fd, local, peer))
    }

    /// Wraps a connected Unix socket in blocking mode. It has no address: 0.0.0.0:0 at both ends.
    pub(super) fn unix(fd: OwnedFd) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self::new(fd, nowhere, nowhere)
    }

    fn new(fd: OwnedFd, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            fd: Rc::new(fd),
            local,
            peer,
            receiving: RefCell::new(None),
            receiving_alone: RefCell::new(None),
            sending: RefCell::new(None),
            pipe: RefCell::new(None),
            data: false,
            telnet: Cell::new(true),
            load: None,
        }
    }

    /// Wraps a data connection that is non-blocking already.
    fn data(fd: OwnedFd, local: SocketAddr, peer: SocketAddr) -> Self {
        Self { data: true, ..Self::new(fd, local, peer) }
    }

    /// Is what comes from now on Telnet? If not, 255 in it says nothing.
    pub fn speaks_telnet(&self, telnet: bool) {
        self.telnet.set(telnet);
    }

    /// Counts it in a shard's load until it is dropped.
    pub(super) fn count(&mut self, load: super::accept::Load) {
        self.load = Some(load);
    }

    /// Our address, an IPv4-mapped one as IPv4.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address, an IPv4-mapped one as IPv4.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn raw(&self) -> types::Fd {
        types::Fd(self.fd.as_raw_fd())
    }

    fn keep(&self) -> Keep {
        Keep::Fd(Rc::clone(&self.fd))
    }

    /// The next octets of a control connection; empty at its end. Dropping the future loses nothing.
    ///
    /// Received by one multishot operation into the shard's provided buffers. When others have taken
    /// all of those, by one operation into memory of its own: a flood on some connections makes none
    /// of the others deaf.
    ///
    /// # Errors
    /// What the kernel says of the connection (ECONNRESET, ETIMEDOUT …).
    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            if self.receiving_alone.borrow().is_some() {
                return self.received_alone().await;
            }
            let next = poll_fn(|context| {
                let mut receiving = self.receiving.borrow_mut();
                receiving.get_or_insert_with(|| self.arm()).poll_next(context)
            })
            .await;
            let Some((result, flags)) = next else {
                // It ended (no buffer was free, or it was held back): arm it again.
                *self.receiving.borrow_mut() = None;
                continue;
            };
            match super::ring::outcome(result) {
                Ok(len) => {
                    return Ok(match cqueue::buffer_select(flags) {
                        Some(id) => self.rearmed_after_telnet(received(id, len)),
                        None => Received::end(),
                    });
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.receive_alone(),
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A receive ends at TCP's urgent mark although more is there (tcp(7)), and a multishot one was
    /// once seen to wait then for octets that had come. Telnet says where that may be (IAC, 255): begin
    /// anew after it, and the next receive looks at the socket itself.
    fn rearmed_after_telnet(&self, octets: Received) -> Received {
        if self.telnet.get()
            && memchr::memchr(0xff, &octets).is_some()
            && let Some(multi) = self.receiving.borrow().as_ref()
        {
            multi.cancel();
        }
        octets
    }

    fn arm(&self) -> Multi {
        let entry = opcode::RecvMulti::new(self.raw(), PROVIDED_GROUP).build();
        core(|core| core.ring.start_multi(entry, self.keep(), false))
    }

    /// Like [`Stream::receive`], but takes as much at once as a block holds: for the octets of a large
    /// message. No block is held while nothing has come, however slow the peer is. What the multishot
    /// operation took comes first; the next [`Stream::receive`] begins a new one. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// As for [`Stream::receive`].
    pub async fn receive_large(&self) -> io::Result<Received> {
        loop {
            if self.receiving_alone.borrow().is_some() || self.receiving.borrow().is_some() {
                if let Some(received) = self.received_before().await? {
                    return Ok(received);
                }
                continue;
            }
            match self.receive_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(libc::POLLIN).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    /// Like [`Stream::receive`], from a peer that has been silent for a while: the kernel keeps nothing for what may
    /// come. A multishot receive holds 600 octets there as long as it waits, waiting for readiness none.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As for [`Stream::receive`].
    pub async fn receive_at_rest(&self) -> io::Result<Received> {
        while self.receiving_alone.borrow().is_some() || self.receiving.borrow().is_some() {
            if let Some(received) = self.received_before().await? {
                return Ok(received);
            }
        }
        self.ready(libc::POLLIN).await?;
        self.receive().await
    }

    /// Ends the multishot operation; what it took already. `None` when there is no more of that.
    async fn received_before(&self) -> io::Result<Option<Received>> {
        if self.receiving_alone.borrow().is_some() {
            return self.received_alone().await.map(Some);
        }
        let next = poll_fn(|context| {
            let receiving = self.receiving.borrow();
            let Some(multi) = receiving.as_ref() else { return Poll::Ready(None) };
            multi.cancel();
            multi.poll_next(context)
        })
        .await;
        let Some((result, flags)) = next else {
            *self.receiving.borrow_mut() = None;
            return Ok(None);
        };
        match super::ring::outcome(result) {
            Ok(len) => Ok(Some(match cqueue::buffer_select(flags) {
                Some(id) => received(id, len),
                None => Received::end(),
            })),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::ECANCELED) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// What is there now, without waiting: into a block, or into little memory of its own where no
    /// block can be spared.
    fn receive_now(&self) -> io::Result<Received> {
        use nix::sys::socket::{MsgFlags, recv};
        let socket = self.fd.as_raw_fd();
        if let Some(mut block) = Large::take() {
            let len = recv(socket, block.room(), MsgFlags::MSG_DONTWAIT)?;
            return Ok(if len == 0 { Received::end() } else { Received::large(block, len) });
        }
        let mut octets = vec![0; PROVIDED_BYTES];
        let len = recv(socket, &mut octets, MsgFlags::MSG_DONTWAIT)?;
        Ok(Received::own(octets, len))
    }

    /// Octets that came and were not received yet.
    pub fn unread(&self) -> usize {
        self.octets(libc::FIONREAD)
    }

    /// Octets that came and were not received yet, those included that the kernel put into a buffer already;
    /// those are lost. For a connection that must be silent now: 0, or it is of no use any more.
    ///
    /// # Errors
    /// As for [`Stream::receive`].
    pub async fn silent(&self) -> io::Result<usize> {
        let mut octets = 0;
        while self.receiving_alone.borrow().is_some() || self.receiving.borrow().is_some() {
            if self.receiving_alone.borrow().is_some() {
                // It may wait for ever: looked at once.
                let mut alone = std::pin::pin!(self.received_alone());
                let done = poll_fn(|context| Poll::Ready(alone.as_mut().poll(context))).await;
                let Poll::Ready(alone) = done else { break };
                octets += alone?.len();
            } else if let Some(received) = self.received_before().await? {
                octets += received.len();
            }
        }
        Ok(octets + self.unread())
    }

    /// What is there now, into `room`; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing (see [`Stream::readable`]); what the kernel says of the connection.
    pub fn receive_ready(&self, room: &mut [u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, recv};
        Ok(recv(self.fd.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT)?)
    }

    /// Sends as much of `octets` as there is room for now.
    ///
    /// # Errors
    /// `WouldBlock` when there is none (see [`Stream::writable`]); what the kernel says of the connection.
    pub fn send_ready(&self, octets: &[u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, send};
        Ok(send(self.fd.as_raw_fd(), octets, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?)
    }

    /// Starts one receive into memory of its own. The multishot operation has ended.
    fn receive_alone(&self) {
        let mut octets = vec![0; PROVIDED_BYTES];
        let count = u32::try_from(octets.len()).unwrap_or(0);
        let entry = opcode::Recv::new(self.raw(), octets.as_mut_ptr(), count).build();
        let op = core(|core| core.ring.start(entry, Keep::Bytes(Rc::clone(&self.fd), octets)));
        *self.receiving_alone.borrow_mut() = Some(op);
    }

    async fn received_alone(&self) -> io::Result<Received> {
        poll_fn(|context| {
            let mut receiving = self.receiving_alone.borrow_mut();
            let Some(op) = receiving.as_mut() else { return Poll::Pending };
            let Poll::Ready((result, keep)) = Pin::new(op).poll(context) else {
                return Poll::Pending;
            };
            *receiving = None;
            Poll::Ready(result.map(|len| match keep {
                Some(Keep::Bytes(_, octets)) => Received::own(octets, len as usize),
                _ => Received::end(),
            }))
        })
        .await
    }

    /// Starts sending all of `bytes` and returns at once. One post may be in flight: await
    /// [`Stream::posted`] before the next.
    pub fn post(&self, bytes: Vec<u8>) {
        self.post_with(bytes, 0);
    }

    /// The same for the last that is said on a connection that is dropped once it is posted: it may wait
    /// for the close, whose FIN goes with it in one segment.
    pub fn post_final(&self, bytes: Vec<u8>) {
        self.post_with(bytes, libc::MSG_MORE);
    }

    fn post_with(&self, bytes: Vec<u8>, flags: i32) {
        let Ok(len) = u32::try_from(bytes.len()) else { return };
        let entry = opcode::Send::new(self.raw(), bytes.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL | flags)
            .build();
        let op = core(|core| core.ring.start(entry, Keep::Bytes(Rc::clone(&self.fd), bytes)));
        *self.sending.borrow_mut() = Some(op);
    }

    /// Waits until the last [`Stream::post`] is sent whole; at once when there is none.
    ///
    /// # Errors
    /// What the kernel says of the connection; `WriteZero` when the peer took only a part.
    pub async fn posted(&self) -> io::Result<()> {
        poll_fn(|context| {
            let mut sending = self.sending.borrow_mut();
            let Some(op) = sending.as_mut() else { return Poll::Ready(Ok(())) };
            let Poll::Ready((result, keep)) = Pin::new(op).poll(context) else {
                return Poll::Pending;
            };
            *sending = None;
            let len = match &keep {
                Some(Keep::Bytes(_, bytes)) => bytes.len(),
                _ => 0,
            };
            Poll::Ready(whole(result, len))
        })
        .await
    }

    /// Data connections: receives into `block` from `at`; gives the block back. 0 at the end of the stream.
    pub async fn receive_into(&self, mut block: Block, at: usize) -> (io::Result<usize>, Block) {
        loop {
            let room = &mut block[at.min(BLOCK_BYTES)..];
            let entry = opcode::Recv::new(
                self.raw(),
                room.as_mut_ptr(),
                u32::try_from(room.len()).unwrap_or(0),
            )
            .build();
            let op = core(|core| core.ring.start(entry, Keep::Block(Rc::clone(&self.fd), block)));
            let (received, back) = block_back(op).await;
            block = back;
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.ready(libc::POLLIN).await {
                        return (Err(error), block);
                    }
                }
                received => return (received, block),
            }
        }
    }

    /// Waits until octets, the end or an error can be received without waiting, so that an upload need
    /// not hold a block meanwhile. Looks first without the ring. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the kernel says of the operation; a broken connection is "readable".
    pub async fn readable(&self) -> io::Result<()> {
        let mut wanted = [nix::poll::PollFd::new(self.fd.as_fd(), nix::poll::PollFlags::POLLIN)];
        match nix::poll::poll(&mut wanted, nix::poll::PollTimeout::ZERO) {
            Ok(count) if count > 0 => Ok(()),
            _ => self.ready(libc::POLLIN).await,
        }
    }

    /// Data connections: sends all of `bytes`, which are shared and not copied.
    ///
    /// # Errors
    /// What the kernel says of the connection.
    pub async fn send(&self, mut bytes: bytes::Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.send_some(&bytes).await?;
            bytes::Buf::advance(&mut bytes, sent);
        }
        Ok(())
    }

    /// Like [`Stream::send`], but only as much as there is room for; waits for room. So that who
    /// takes octets slowly can be told from who takes none.
    ///
    /// # Errors
    /// What the kernel says of the connection.
    pub async fn send_some(&self, bytes: &bytes::Bytes) -> io::Result<usize> {
        let Ok(count) = u32::try_from(bytes.len()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        loop {
            let entry = opcode::Send::new(self.raw(), bytes.as_ptr(), count)
                .flags(libc::MSG_NOSIGNAL)
                .build();
            let keep = Keep::Shared(Rc::clone(&self.fd), bytes.clone());
            match core(|core| core.ring.start(entry, keep)).result().await {
                Ok(sent) => return Ok(sent as usize),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Data connections: moves up to `count` octets of `file` from `offset` without copying. Waits for room in the
    /// socket; returns when `count` is reached, the file ends, or the socket is full again.
    /// 0 when the file ends at `offset`. Of a file that is sent in turns, the next call goes on where the last one
    /// ended, and no turn is shortened: what is on its way through a pipe is what follows.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET for the connection; EIO for the disk.
    pub async fn send_file(&self, file: &File, offset: u64, count: usize) -> io::Result<usize> {
        if count >= pipes::PIPE_BYTES && self.pipe.borrow().is_none() {
            *self.pipe.borrow_mut() = Pipe::make();
        }
        let mut sent = 0;
        while sent < count {
            let at =
                i64::try_from(offset + sent as u64).map_err(|_| io::ErrorKind::InvalidInput)?;
            match self.send_now(file, at, count - sent) {
                Ok(0) => break,
                Ok(moved) => sent += moved,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) if sent > 0 => {
                    self.writable().await?;
                    break;
                }
                Err(nix::Error::EAGAIN) => self.writable().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    /// As much of a file as there is room for, by two system calls at most.
    fn send_now(&self, file: &File, mut at: i64, count: usize) -> nix::Result<usize> {
        if let Some(pipe) = &mut *self.pipe.borrow_mut() {
            return pipe.send(file.descriptor(), self.fd.as_fd(), at, count);
        }
        let chunk = count.min(SENDFILE_BYTES);
        nix::sys::sendfile::sendfile(self.fd.as_fd(), file.descriptor(), Some(&mut at), chunk)
    }

    /// Waits for room to send. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the kernel says of the operation; a broken connection is "writable".
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(libc::POLLOUT).await
    }

    async fn ready(&self, events: i16) -> io::Result<()> {
        let entry = opcode::PollAdd::new(self.raw(), u32::from(events.cast_unsigned())).build();
        core(|core| core.ring.start(entry, self.keep())).result().await.map(drop)
    }

    /// Waits until the peer has acknowledged every octet. FIN is sent first unless there is nothing to
    /// wait for: then closing (dropping) sends it.
    ///
    /// # Errors
    /// When the peer reset the connection or it broke before everything was acknowledged.
    pub async fn finish(&self) -> io::Result<()> {
        if self.data && self.unacknowledged() == 0 {
            return Ok(());
        }
        let socket = SockRef::from(&*self.fd);
        socket.shutdown(std::net::Shutdown::Write)?;
        loop {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            if self.unacknowledged() == 0 {
                return Ok(());
            }
            // Nothing signals an acknowledgement: look again soon, or at once when it breaks.
            let soon = now().after(FINISH_POLL);
            if within(soon, self.ready(libc::POLLHUP)).await.is_some() {
                // Broken, the error already taken by an operation: what is left stays unacknowledged.
                if nix::sys::socket::getpeername::<nix::sys::socket::SockaddrStorage>(
                    self.fd.as_raw_fd(),
                )
                .is_err()
                {
                    // Closed by both sides since it was looked at: everything arrived.
                    if self.unacknowledged() == 0 {
                        continue;
                    }
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                // Closed by both sides: that is said for as long as the last octets are under way.
                super::sleep_until(soon).await;
            }
        }
    }

    /// Octets in the socket that the peer has not acknowledged (FIN counts as one).
    pub fn unacknowledged(&self) -> usize {
        self.octets(libc::TIOCOUTQ)
    }

    /// `queue`: SIOCINQ (FIONREAD) or SIOCOUTQ (TIOCOUTQ), tcp(7).
    fn octets(&self, queue: libc::Ioctl) -> usize {
        let mut octets: libc::c_int = 0;
        // SAFETY: both requests write one int, tcp(7).
        let status = unsafe { libc::ioctl(self.fd.as_raw_fd(), queue, &raw mut octets) };
        if status == 0 { usize::try_from(octets).unwrap_or(0) } else { 0 }
    }
}

fn received(id: u16, len: u32) -> Received {
    core(|core| core.ring.with(|ring| Received::buffer(&ring.provided, id, len as usize)))
}

fn whole(result: io::Result<u32>, len: usize) -> io::Result<()> {
    match result {
        Ok(sent) if sent as usize == len => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) => Err(error),
    }
}

/// Waits for an operation on a block and takes the block out of it again.
pub(super) async fn block_back(op: Op) -> (io::Result<usize>, Block) {
    let (result, keep) = op.await;
    match keep {
        Some(Keep::Block(_, block)) => (result.map(|len| len as usize), block),
        // Unreachable by construction: the operation was started with a block. A fresh one keeps
        // the contract without a panic.
        _ => (Err(io::Error::other("operation lost its block")), super::block().await),
    }
}

fn address(address: &SockAddr) -> io::Result<SocketAddr> {
    let address = address.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(canonical(address))
}

/// An IPv4-mapped IPv6 address as the IPv4 address it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A bound passive data port that nobody else uses.
pub struct Passive {
    socket: Rc<OwnedFd>,
    local: SocketAddr,
}

impl Passive {
    /// Binds `ip` on a random free port of `range` and listens.
    ///
    /// # Errors
    /// `AddrInUse` when no free port was found; EMFILE and the like from the kernel.
    pub fn bind(ip: IpAddr, range: &RangeInclusive<u16>) -> io::Result<Self> {
        let span = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PASSIVE_ATTEMPTS {
            // RFC 2577 §7: "...use random local port numbers for data connections".
            let offset = u16::try_from(super::random() % span).unwrap_or(0);
            let local = SocketAddr::new(ip, range.start() + offset);
            match Self::bind_at(local) {
                Ok(passive) => return Ok(passive),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn bind_at(local: SocketAddr) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new_raw(Domain::for_address(local), kind, Some(Protocol::TCP))?;
        // Ports of finished transfers linger in TIME_WAIT; two live listeners still exclude each other.
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
        socket.listen(PASSIVE_BACKLOG)?;
        let local = if local.port() == 0 { address(&socket.local_addr()?)? } else { local };
        Ok(Self { socket: Rc::new(socket.into()), local })
    }

    /// The bound address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The first connection from `peer` (from anywhere when `None`); others are closed at once
    /// (RFC 2577 §4). One that already waits is taken without the ring.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOBUFS when this machine is out of descriptors or memory.
    pub async fn accept(&self, peer: Option<IpAddr>) -> io::Result<Stream> {
        loop {
            match super::sys::accept_nonblocking(self.socket.as_fd()) {
                Ok((accepted, from)) => {
                    let from = address(&from)?;
                    if peer.is_none_or(|peer| peer == from.ip()) {
                        return Ok(Stream::data(accepted, self.local, from));
                    }
                    tracing::debug!(%from, "a stranger on a passive port was turned away");
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let entry = opcode::PollAdd::new(
                        types::Fd(self.socket.as_raw_fd()),
                        u32::from(libc::POLLIN.cast_unsigned()),
                    )
                    .build();
                    core(|core| core.ring.start(entry, Keep::Fd(Rc::clone(&self.socket))))
                        .result()
                        .await?;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Connects from `local` to `remote`. A port below 1024 in `local` (the default data port of RFC 959
/// §3.2) is tried and falls back to any port of the same address.
///
/// # Errors
/// What the kernel says of the attempt (ECONNREFUSED, EHOSTUNREACH …).
pub async fn connect(local: SocketAddr, remote: SocketAddr) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if socket.bind(&local.into()).is_err() {
        socket.bind(&SocketAddr::new(local.ip(), 0).into())?;
    }
    let bound = address(&socket.local_addr()?)?;
    let fd = reach(socket, SockAddr::from(remote)).await?;
    SockRef::from(&fd).set_nonblocking(true)?;
    Ok(Stream::data(fd, bound, canonical(remote)))
}

/// Connects to `remote`, from any port of `source` where one is given. The connection is used like one that
/// was accepted: received from and posted to.
///
/// # Errors
/// What the kernel says of the attempt (ECONNREFUSED, EHOSTUNREACH, EADDRNOTAVAIL for the source …).
pub async fn dial(source: Option<IpAddr>, remote: SocketAddr) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    // Commands go out whole, and are waited for.
    socket.set_tcp_nodelay(true)?;
    Stream::from_fd(reach(socket, SockAddr::from(remote)).await?)
}

/// Connects to the socket at `path` on this machine; as [`dial`].
///
/// # Errors
/// What the kernel says of the attempt (ENOENT, ECONNREFUSED, EACCES …).
pub async fn dial_unix(path: &Path) -> io::Result<Stream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    Ok(Stream::unix(reach(socket, SockAddr::unix(path)?).await?))
}

/// Connects a socket on the ring.
async fn reach(socket: Socket, remote: SockAddr) -> io::Result<OwnedFd> {
    let fd: Rc<OwnedFd> = Rc::new(socket.into());
    let target = Box::new(remote);
    let entry =
        opcode::Connect::new(types::Fd(fd.as_raw_fd()), target.as_ptr().cast(), target.len())
            .build();
    let keep = Keep::Any(Box::new((Rc::clone(&fd), target)));
    let (result, keep) = core(|core| core.ring.start(entry, keep)).await;
    drop(keep);
    result?;
    Rc::try_unwrap(fd).map_err(|_| io::Error::other("connecting socket still in use"))
}
