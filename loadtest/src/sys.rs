//! sys – the few kernel calls the standard library does not offer, each behind a safe function.
//!
//! Promises: the only file of this crate that says `unsafe`; every block holds one call, and the
//! contract it relies on stands above it. Return values are turned into `io::Result`.
//! Not here: any policy; what the calls are for is the caller's business.

#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Set by the handler of SIGINT and SIGTERM, read by [`interrupted`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Events one [`Epoll::wait`] returns at most.
const EVENTS_PER_WAIT: usize = 256;

fn check(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT and SIGTERM set a flag instead of ending the process, so that guards are dropped.
pub fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler = note_interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether the person at the keyboard asked us to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Raises the soft limit of open descriptors to the hard limit and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the call to fill.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is initialised and only read.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

/// Makes orphaned descendants children of this process instead of init, so that it can reap them.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a plain integer.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Gives the calling thread a mount namespace of its own; its mounts vanish with its processes.
/// Call it before any other thread exists.
pub fn private_mounts() -> io::Result<()> {
    // SAFETY: unshare takes flags only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: the target is a NUL-terminated literal; the other pointers may be null for a
    // change of propagation.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) }).map(drop)
}

/// Pins the calling thread (and what it starts) to one processor.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET bounds-checks `cpu` against the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is initialised and its exact size is passed.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }).map(drop)
}

/// Prepares `command` so that the child joins the control group behind `group` (a descriptor of
/// its `cgroup.procs`), is pinned to `cpu`, and is killed if the parent thread dies.
pub fn prepare_server(command: &mut Command, group: Option<RawFd>, cpu: Option<usize>) {
    let join = move || {
        // SAFETY: PR_SET_PDEATHSIG takes a plain integer; prctl is async-signal-safe.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
        if let Some(group) = group {
            // SAFETY: the buffer is a literal of one byte; a closed descriptor gives EBADF.
            check(unsafe { libc::write(group, c"0".as_ptr().cast(), 1) } as libc::c_int)?;
        }
        cpu.map_or(Ok(()), pin_to)
    };
    // SAFETY: between fork and exec the closure makes system calls only; it neither allocates
    // nor locks.
    unsafe { command.pre_exec(join) };
}

/// Lets the calling thread's timers fire when they are due and not up to 50 µs later.
pub fn fine_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes a plain integer, nanoseconds.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) }).map(drop)
}

/// Sends `signal` to one process.
pub fn signal_process(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes plain integers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Reaps one dead descendant without waiting; its pid, or `None` when none is dead or none exists.
pub fn reap_one() -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is a valid place to write to.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some(pid)
}

/// Which processor time to ask for.
#[derive(Clone, Copy)]
pub enum Whose {
    /// This process with all its threads.
    Own,
    /// Every child reaped so far, and theirs.
    Reaped,
    /// The calling thread.
    Thread,
}

/// User plus system time consumed so far.
pub fn cpu_time(whose: Whose) -> io::Result<Duration> {
    let whose = match whose {
        Whose::Own => libc::RUSAGE_SELF,
        Whose::Reaped => libc::RUSAGE_CHILDREN,
        Whose::Thread => libc::RUSAGE_THREAD,
    };
    // SAFETY: an all-zero rusage is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the call to fill.
    check(unsafe { libc::getrusage(whose, &mut usage) })?;
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(part(usage.ru_utime) + part(usage.ru_stime))
}

/// Clock ticks per second, the unit of `/proc/PID/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes a plain integer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// A non-blocking connection attempt, from `source` when one is given.
pub fn connect(source: Option<Ipv4Addr>, target: SocketAddrV4) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes plain integers.
    let raw = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: `raw` was just made and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    set_option(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    if let Some(source) = source {
        set_option(raw, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
        let (address, length) = raw_address(SocketAddrV4::new(source, 0));
        // SAFETY: `address` is an initialised sockaddr_in and `length` is its size.
        check(unsafe { libc::bind(raw, (&raw const address).cast(), length) })?;
    }
    let (address, length) = raw_address(target);
    // SAFETY: as above.
    match check(unsafe { libc::connect(raw, (&raw const address).cast(), length) }) {
        Ok(_) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn set_option(socket: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is an int that lives across the call and `length` is its size.
    check(unsafe { libc::setsockopt(socket, level, option, (&raw const on).cast(), length) })
        .map(drop)
}

fn raw_address(address: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

/// Takes up to `limit` received bytes off the socket without copying them anywhere.
/// `Ok(0)` is the end of the stream.
pub fn discard(socket: &impl AsRawFd, limit: usize) -> io::Result<usize> {
    let nowhere = std::ptr::null_mut();
    // SAFETY: with MSG_TRUNC a TCP socket drops the bytes and never touches the buffer (tcp(7)).
    let count = unsafe { libc::recv(socket.as_raw_fd(), nowhere, limit, libc::MSG_TRUNC) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// An epoll instance; sockets leave it by being closed.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A new, empty instance.
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes flags only.
        let raw = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `raw` was just made and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { fd, events: Vec::with_capacity(EVENTS_PER_WAIT) })
    }

    /// Reports readiness of `socket` to read – or, if `writable`, to write – under `token`.
    pub fn add(&self, socket: &impl AsRawFd, token: u64, writable: bool) -> io::Result<()> {
        let interest = if writable { libc::EPOLLOUT } else { libc::EPOLLIN };
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        let (epoll, socket) = (self.fd.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: `event` is initialised and only read during the call.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket, &mut event) }).map(drop)
    }

    /// Waits at most `timeout` and returns the tokens that are ready.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let place = self.events.as_mut_ptr();
        let most = EVENTS_PER_WAIT as libc::c_int;
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `place` has room for EVENTS_PER_WAIT events, reserved in `new`.
        match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), place, most, timeout) }) {
            // SAFETY: the kernel has initialised the first `count` events.
            Ok(count) => unsafe { self.events.set_len(count as usize) },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        ready.extend(self.events.iter().map(|event| event.u64));
        Ok(())
    }
}
