//! shard – one core's executor and ring: tasks, time, sockets, files.
//!
//! STUB: signatures that `server/`, `store/` (callers) and `sim/` (second implementation of the same names) build on.
#![allow(missing_docs, clippy::todo, unused_variables, dead_code)]

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

// ---------------------------------------------------------------- tasks and time

/// Runs `task` on this shard. A panic in it ends that task only, is logged with `name` and counted.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    todo!()
}
/// Runs blocking work on a bounded pool of threads off the shard. `Err` when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    todo!()
}
/// Lets every other runnable task of this shard run once.
pub async fn yield_now() {
    todo!()
}
/// Monotonic time of this shard, nanoseconds from an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);
impl Instant {
    pub const NEVER: Self = Self(u64::MAX);
    pub fn after(self, delay: Duration) -> Self {
        todo!()
    } // saturating
    pub fn since(self, earlier: Self) -> Duration {
        todo!()
    } // saturating at zero
}
pub fn now() -> Instant {
    todo!()
}
/// Wall clock: seconds and nanoseconds since the epoch.
pub fn wall() -> (i64, u32) {
    todo!()
}
/// Completes at `deadline`; granularity 5 ms.
pub async fn sleep_until(deadline: Instant) {
    todo!()
}
/// `None` when `deadline` passed first; the future is dropped then.
pub async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    todo!()
}
/// A random number (seeded from the system; from the seed in `sim`).
pub fn random() -> u64 {
    todo!()
}
/// This shard's number, from 0.
pub fn index() -> usize {
    todo!()
}

// ---------------------------------------------------------------- sockets

/// One connected TCP socket, non-blocking. Dropping it cancels what is in flight and closes it.
pub struct Stream {}
impl Stream {
    pub fn local(&self) -> SocketAddr {
        todo!()
    }
    pub fn peer(&self) -> SocketAddr {
        todo!()
    }
    /// Control connections: the next octets (multishot receive into the shard's provided buffers).
    /// Empty at end of stream. Dropping this future loses nothing.
    pub async fn receive(&self) -> io::Result<Received> {
        todo!()
    }
    /// Starts sending all of `bytes` and returns at once. At most one post may be in flight:
    /// await `posted` first. Octets are owned until sent.
    pub fn post(&self, bytes: Vec<u8>) {
        todo!()
    }
    /// Waits until the last `post` is sent whole (at once when there is none). Its error, if it failed.
    pub async fn posted(&self) -> io::Result<()> {
        todo!()
    }
    // ADDED
    /// Data connections: waits until octets, the end or an error can be received without waiting. Looks
    /// first without the ring; dropping it loses nothing. (Lets an upload wait without holding a block.)
    pub async fn readable(&self) -> io::Result<()> {
        todo!()
    }
    /// Data connections: receives into `block` from `at`; gives the block back. 0 at end of stream.
    pub async fn receive_into(&self, block: Block, at: usize) -> (io::Result<usize>, Block) {
        todo!()
    }
    /// Data connections: sends all of `bytes` (shared, not copied).
    pub async fn send(&self, bytes: bytes::Bytes) -> io::Result<()> {
        todo!()
    }
    /// Data connections: moves up to `count` octets of `file` from `offset` without copying (sendfile).
    /// Waits for room in the socket. 0 when the file ends there.
    pub async fn send_file(&self, file: &File, offset: u64, count: usize) -> io::Result<usize> {
        todo!()
    }
    /// Sends FIN, then waits until the peer has acknowledged every octet (or closed, or reset: that is an error).
    pub async fn finish(&self) -> io::Result<()> {
        todo!()
    }
    /// Octets the peer has acknowledged or that left `post`/`send`; for minimum-rate checks: unsent+unacked octets in the socket.
    pub fn unacknowledged(&self) -> usize {
        todo!()
    }
}
/// Octets of one receive; goes back to the shard's buffer ring when dropped.
pub struct Received {}
impl std::ops::Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        todo!()
    }
}

/// A passive data port: bound on `ip`, a random free port in `range`.
pub struct Passive {}
impl Passive {
    pub fn bind(ip: IpAddr, range: &RangeInclusive<u16>) -> io::Result<Self> {
        todo!()
    }
    pub fn local(&self) -> SocketAddr {
        todo!()
    }
    /// The first connection from `peer` (any address when `None`); others are closed. Takes a waiting one without the ring.
    pub async fn accept(&self, peer: Option<IpAddr>) -> io::Result<Stream> {
        todo!()
    }
}
/// Connects from `local` (port 0: any; a port below 1024 is tried and falls back to any) to `remote`.
pub async fn connect(local: SocketAddr, remote: SocketAddr) -> io::Result<Stream> {
    todo!()
}

// ---------------------------------------------------------------- files

/// How symbolic links are treated while a path is resolved (openat2, always with RESOLVE_NO_MAGICLINKS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    InRoot,
    Beneath,
    Deny,
}

/// A directory that nothing can leave. Paths given to it are bytes relative to it (`""` is itself); any `/`-separated depth.
#[derive(Clone)]
pub struct Root {}
impl Root {
    /// Blocking; at start-up and reload.
    pub fn open(path: &std::path::Path, links: Links) -> io::Result<Self> {
        todo!()
    }
    /// A root further below (a user's own root).
    pub async fn below(&self, path: &[u8]) -> io::Result<Self> {
        todo!()
    }
    /// Opens for reading.
    pub async fn open_file(&self, path: &[u8]) -> io::Result<File> {
        todo!()
    }
    /// Opens an existing file for writing in place (APPE, REST).
    pub async fn open_in_place(&self, path: &[u8]) -> io::Result<File> {
        todo!()
    }
    pub async fn open_dir(&self, path: &[u8]) -> io::Result<Dir> {
        todo!()
    }
    /// Follows links.
    pub async fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        todo!()
    }
    /// Starts reading a directory; see `Dir::read`.
    pub async fn chmod(&self, path: &[u8], mode: u32) -> io::Result<()> {
        todo!()
    }
    pub async fn set_modified(&self, path: &[u8], seconds: i64) -> io::Result<()> {
        todo!()
    }
    /// Octets free to an ordinary user.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        todo!()
    }
}

/// An open directory (readable, can be synced). Names given to it are single components, never followed.
#[derive(Clone)]
pub struct Dir {}
impl Dir {
    /// Creates a file that did not exist, for writing (and reading). EEXIST otherwise.
    pub async fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        todo!()
    }
    /// Renames over whatever `to` is (a file). With `replace` false: EEXIST when the name is taken (RENAME_NOREPLACE).
    pub async fn rename(
        &self,
        from: &[u8],
        target: &Dir,
        to: &[u8],
        replace: bool,
    ) -> io::Result<()> {
        todo!()
    }
    pub async fn unlink(&self, name: &[u8]) -> io::Result<()> {
        todo!()
    }
    /// Starts an unlink that nobody waits for (from Drop).
    pub fn unlink_detached(&self, name: &[u8]) {
        todo!()
    }
    pub async fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        todo!()
    }
    pub async fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        todo!()
    }
    pub async fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        todo!()
    }
    /// Does not follow links.
    pub async fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        todo!()
    }
    /// Of the directory itself. Does not wait.
    pub fn stat_self(&self) -> io::Result<Stat> {
        todo!()
    }
    /// Makes names made, changed or removed in it durable.
    pub async fn sync(&self) -> io::Result<()> {
        todo!()
    }
    /// The next at most `max` entries with their stat; `None` as cursor begins, `None` returned: no more.
    /// `.` and `..` are left out. Symbolic links carry what they say and, where `root` lets them be followed, what they lead to.
    /// `path` is this directory's path below `root`. Entries that vanish meanwhile are left out.
    pub async fn read(
        &self,
        root: &Root,
        path: &[u8],
        cursor: Option<Cursor>,
        max: usize,
    ) -> io::Result<(Vec<Item>, Option<Cursor>)> {
        todo!()
    }
}
/// Where a directory reading stands.
pub struct Cursor {}
/// One entry as read.
#[derive(Debug, Clone)]
pub struct Item {
    pub name: Vec<u8>,
    pub stat: Stat,
    pub link: Option<(Vec<u8>, Option<Stat>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Link,
    Other,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    pub size: u64,
    pub mode: u32,
    pub modified: (i64, u32),
    pub changed: (i64, u32),
    pub links: u64,
    pub device: u64,
    pub inode: u64,
    pub uid: u32,
    pub gid: u32,
}

/// An open file. Clones share the descriptor.
#[derive(Clone)]
pub struct File {}
impl File {
    /// Does not wait.
    pub fn stat(&self) -> io::Result<Stat> {
        todo!()
    }
    /// Reads into the block from its start; 0 at end of file.
    // ADDED
    /// Data connections: waits until octets, the end or an error can be received without waiting. Looks
    /// first without the ring; dropping it loses nothing. (Lets an upload wait without holding a block.)
    pub async fn readable(&self) -> io::Result<()> {
        todo!()
    }
    pub async fn read_at(&self, block: Block, offset: u64) -> (io::Result<usize>, Block) {
        todo!()
    }
    // ADDED
    /// Like `read_at`, but at most `len` octets. (A slow client of an encoded RETR must not cost a block's
    /// worth of reading for each portion.)
    pub async fn read_some(
        &self,
        block: Block,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, Block) {
        todo!()
    }
    /// Starts writing `block[..len]` at `offset` at once (not when first polled) and completes when all of it is written.
    /// Buffered, or direct when `direct()` said yes and offset and len are multiples of its alignment.
    pub fn write_at(
        &self,
        block: Block,
        len: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
        async move { todo!() }
    }
    /// Asks for writes past the page cache. False where the file system refuses.
    pub fn set_direct(&self, on: bool) -> bool {
        todo!()
    }
    /// Reserves extents up to `len` without changing the size. Errors of kind Unsupported may be ignored.
    pub async fn allocate(&self, len: u64) -> io::Result<()> {
        todo!()
    }
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        todo!()
    }
    /// fdatasync.
    pub async fn sync(&self) -> io::Result<()> {
        todo!()
    }
    /// Makes `range` resident in the page cache without stopping the shard; returns at once when it is.
    pub async fn prefetch(&self, offset: u64, len: usize) -> io::Result<()> {
        todo!()
    }
}

// ---------------------------------------------------------------- buffers

/// Octets of one `Block`.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// A large buffer from the shard's bounded pool (registered with the ring); goes back when dropped.
pub struct Block {}
impl std::ops::Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        todo!()
    }
}
impl std::ops::DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        todo!()
    }
}
/// Waits until a block is free (first come, first served).
pub async fn block() -> Block {
    todo!()
}
