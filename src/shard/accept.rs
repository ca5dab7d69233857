//! shard::accept – listening sockets, and spreading connections over the shards.
//!
//! Every shard has its own SO_REUSEPORT listener per address and accepts by one multishot operation. (A
//! Unix socket is one listener, from which all accept.)
//! The kernel spreads by hashing, which is uneven for few connections: a connection is handed to the
//! least loaded shard before its first byte, as a ring message that carries the descriptor's number
//! (the process shares one descriptor table).
//!
//! A listener carries the number of the service it is for; the number goes with the connection. What
//! the numbers mean is not known here.
//!
//! Promises: a second server cannot slip in beside the first (a probe bind without SO_REUSEPORT comes
//! first); listeners live as long as the process; running out of descriptors pauses accepting and
//! says so once, it neither spins nor ends it.
//! Not here: limits on connections (`server::admit`).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use io_uring::{opcode, types};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::patience::patiently;
use super::ring::Keep;
use super::{Instant, Stream, core, now, sleep_until};

/// Connections the kernel holds for us until they are accepted: as many as `net.core.somaxconn` allows.
const BACKLOG: i32 = 65_535;
/// Pause after running out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// A shard keeps a connection unless another has less by more than this part of its own load: up to
/// that many connections they are spread one by one, beyond it the hashing of the kernel is even enough. So it
/// is for connections that come and go quickly (`turnover`).
const SPREAD_TOLERANCE: usize = 64;

/// Bound control sockets, one set per shard.
pub struct Listeners {
    addresses: Vec<(u8, SocketAddr)>,
    paths: Vec<(u8, PathBuf)>,
    sockets: Vec<Vec<(u8, OwnedFd)>>,
}

impl Listeners {
    /// Binds every address, for its service, once per shard. Port 0 is chosen once and shared.
    ///
    /// # Errors
    /// The address that could not be bound, and why.
    pub fn bind(
        addresses: &[(u8, SocketAddr)],
        shards: usize,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut listeners = Self::none(shards);
        for &(service, wanted) in addresses {
            // An IPv6 wildcard takes IPv4 as well, unless somebody in the list does that.
            let taken = addresses.iter().any(|(_, other)| {
                other.is_ipv4() && other.port() == wanted.port() && wanted.port() != 0
            });
            let wildcard = if taken { Takes::SixOnly } else { Takes::Both };
            // Without SO_REUSEPORT this fails while anybody listens there: a second server must not
            // take half of the clients. It is closed again before the real ones are bound.
            let probe = patiently(|| socket(wanted, wildcard, false));
            let probe = probe.map_err(|error| (wanted, error))?;
            let bound = probe.local_addr().map_err(|error| (wanted, error))?;
            let bound = bound.as_socket().unwrap_or(wanted);
            drop(probe);
            for sockets in &mut listeners.sockets {
                let socket = socket(bound, wildcard, true).map_err(|error| (wanted, error))?;
                sockets.push((service, socket.into()));
            }
            listeners.addresses.push((service, bound));
        }
        Ok(listeners)
    }

    /// Listeners made by somebody else (systemd); every shard accepts from each.
    ///
    /// # Errors
    /// When a descriptor is not a listening socket.
    pub fn inherit(inherited: Vec<(u8, OwnedFd)>, shards: usize) -> io::Result<Self> {
        let mut listeners = Self::none(shards);
        for (service, fd) in inherited {
            let socket = SockRef::from(&fd);
            let bound = socket.local_addr()?;
            if let Some(path) = bound.as_pathname() {
                listeners.join(service, path.to_owned(), &fd)?;
                continue;
            }
            let address = bound.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
            prepare(&socket)?;
            listeners.addresses.push((service, address));
            listeners.share(service, &fd)?;
        }
        Ok(listeners)
    }

    fn none(shards: usize) -> Self {
        let sockets = (0..shards).map(|_| Vec::new()).collect();
        Self { addresses: Vec::new(), paths: Vec::new(), sockets }
    }

    /// Adds a Unix socket that listens at `path` (see [`super::unix`]); every shard accepts from it.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn join(&mut self, service: u8, path: PathBuf, fd: &OwnedFd) -> io::Result<()> {
        self.paths.push((service, path));
        self.share(service, fd)
    }

    fn share(&mut self, service: u8, fd: &OwnedFd) -> io::Result<()> {
        for sockets in &mut self.sockets {
            sockets.push((service, fd.try_clone()?));
        }
        Ok(())
    }

    /// The Unix sockets and their services, in the order given.
    #[must_use]
    pub fn paths(&self) -> &[(u8, PathBuf)] {
        &self.paths
    }

    /// The bound addresses and their services, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[(u8, SocketAddr)] {
        &self.addresses
    }

    pub(super) fn take(&mut self, shard: usize) -> Vec<(u8, OwnedFd)> {
        self.sockets.get_mut(shard).map(std::mem::take).unwrap_or_default()
    }
}

/// What an IPv6 wildcard listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// IPv4 as well.
    Both,
    /// IPv6 alone.
    SixOnly,
}

/// `wildcard`: what an IPv6 one takes.
fn socket(address: SocketAddr, wildcard: Takes, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run may linger in TIME_WAIT; a listener still excludes us.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(wildcard == Takes::SixOnly || !address.ip().is_unspecified())?;
    }
    if shared {
        socket.set_reuse_port(true)?;
        prepare(&SockRef::from(&socket))?;
    }
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Options that accepted sockets inherit.
fn prepare(socket: &Socket) -> io::Result<()> {
    // Replies are flushed whole; Nagle would only hold back the second of two.
    socket.set_tcp_nodelay(true)?;
    // Telnet Synch sends its data mark urgent: inline, so that no byte is lost (RFC 1123 §4.1.2.10).
    socket.set_out_of_band_inline(true)?;
    socket.set_keepalive(true)
}

/// One connection in a shard's load; counted until dropped.
pub(super) struct Load {
    count: Arc<AtomicUsize>,
    begun: Instant,
}

impl Load {
    fn assigned(load: &Arc<AtomicUsize>) -> Self {
        Self { count: Arc::clone(load), begun: now() }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        core(|core| core.turnover.ended(self.begun.nanos(), now().nanos()));
    }
}

/// What begins a connection of a service.
type Handle = Rc<dyn Fn(Stream, u8)>;

/// Accepts on this shard's listeners until the shard ends, and takes what others hand over.
pub fn accept(handle: impl Fn(Stream, u8) + 'static) {
    let handle: Handle = Rc::new(handle);
    let listeners = core(|core| std::mem::take(&mut *core.listeners.borrow_mut()));
    for (service, listener) in listeners {
        let handle = Rc::clone(&handle);
        super::spawn("accept", accept_on(Rc::new(listener), service, handle));
    }
    super::spawn("handover", async move {
        loop {
            let (fd, service) =
                poll_fn(|context| core(|core| core.ring.poll_handed(context))).await;
            begin(fd, service, &handle);
        }
    });
}

async fn accept_on(listener: Rc<OwnedFd>, service: u8, handle: Handle) {
    let mut warned = false;
    loop {
        let entry = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        let accepting =
            core(|core| core.ring.start_multi(entry, Keep::Fd(Rc::clone(&listener)), true));
        while let Some((result, _)) = poll_fn(|context| accepting.poll_next(context)).await {
            match super::ring::outcome(result) {
                Ok(fd) => place(fd.cast_signed(), service, &handle),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        if !std::mem::replace(&mut warned, true) {
                            tracing::warn!(%error, "cannot accept: raise LimitNOFILE or lower max_connections; trying on");
                        }
                        sleep_until(now().after(EXHAUSTED_PAUSE)).await;
                    }
                    Some(libc::EBADF | libc::EINVAL) => {
                        tracing::error!(%error, "a listener does not accept any more");
                        return;
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Begins a connection here or hands it to the least loaded shard.
fn place(fd: RawFd, service: u8, handle: &Handle) {
    let target = core(|core| {
        let own = core.board.load.load(Ordering::Relaxed);
        let least = core
            .boards
            .iter()
            .enumerate()
            .min_by_key(|(_, board)| board.load.load(Ordering::Relaxed));
        let (index, board) = least?;
        let load = board.load.load(Ordering::Relaxed);
        let tolerated = own / SPREAD_TOLERANCE + core.turnover.tolerated(now().nanos());
        let far = own > load + tolerated;
        (index != core.index && far)
            .then(|| (Arc::clone(&board.load), board.ring_fd.load(Ordering::Acquire)))
    });
    match target {
        Some((load, ring_fd)) if ring_fd >= 0 => {
            load.fetch_add(1, Ordering::Relaxed);
            let handed = core(|core| core.ring.hand_over(ring_fd, fd, service));
            let handle = Rc::clone(handle);
            super::spawn("hand-over", async move {
                if let Err(error) = handed.result().await {
                    tracing::debug!(%error, "another shard takes no connection");
                    load.fetch_sub(1, Ordering::Relaxed);
                    keep(fd, service, &handle);
                }
            });
        }
        _ => keep(fd, service, handle),
    }
}

fn keep(fd: RawFd, service: u8, handle: &Handle) {
    core(|core| core.board.load.fetch_add(1, Ordering::Relaxed));
    begin(fd, service, handle);
}

fn begin(fd: RawFd, service: u8, handle: &Handle) {
    // SAFETY: the descriptor comes from an accept of this process (ours or one handed over), and
    // nobody else closes it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let load = core(|core| {
        core.ensure_heartbeat();
        Load::assigned(&core.board.load)
    });
    // A client that is gone already (ENOTCONN) is nobody to talk to.
    if let Ok(mut stream) = Stream::from_fd(fd) {
        stream.count(load);
        handle(stream, service);
    }
}
