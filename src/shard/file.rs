//! shard::file – files and directories below a root that nothing can leave.
//!
//! Every path is resolved by `openat2(2)` from the root's descriptor with RESOLVE_IN_ROOT (or
//! RESOLVE_BENEATH, or no links at all) and always RESOLVE_NO_MAGICLINKS; the kernel, not string
//! work, keeps it inside. Cached paths are opened without the ring (RESOLVE_CACHED never waits);
//! everything that may wait for a disk goes through it.
//!
//! Promises: no call stops the shard on a disk except those documented as "does not wait", which
//! touch memory only; a file stays readable as it was opened, whatever becomes of its name.
//! Not here: who may do what (`store`), temporaries and their order of syncs (`store`).

use std::cell::Cell;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use io_uring::{opcode, types};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::buffers::{BLOCK_BYTES, Block};
use super::net::block_back;
use super::ring::Keep;
use super::{block, blocking, core};

/// openat2(2): fail with EAGAIN rather than wait for the disk (nix does not name it yet).
pub(super) const RESOLVE_CACHED: ResolveFlag = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);

/// How symbolic links are treated while a path is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed; absolute ones and `..` are taken from the root, as in a chroot.
    InRoot,
    /// Followed while they stay below the directory they are met in; absolute ones fail.
    Beneath,
    /// Never followed.
    Deny,
}

/// What a path turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link (only where links are not followed).
    Link,
    /// Device, FIFO, socket.
    Other,
}

/// What `stat` says, as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Kind.
    pub kind: FileKind,
    /// Octets.
    pub size: u64,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Last modification, seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    /// Last change of contents or attributes.
    pub changed: (i64, u32),
    /// Hard links.
    pub links: u64,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl From<FileStat> for Stat {
    fn from(stat: FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => FileKind::File,
            SFlag::S_IFDIR => FileKind::Directory,
            SFlag::S_IFLNK => FileKind::Link,
            _ => FileKind::Other,
        };
        let nanos = |value: i64| u32::try_from(value).unwrap_or(0);
        Self {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
            links: stat.st_nlink,
            device: stat.st_dev,
            inode: stat.st_ino,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

/// A path for the kernel: bytes without NUL.
pub(super) fn c_path(path: &[u8]) -> io::Result<CString> {
    let path = if path.is_empty() { b"." } else { path };
    CString::new(path).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A directory that nothing can leave. Clones share the descriptor.
#[derive(Clone)]
pub struct Root {
    fd: Rc<OwnedFd>,
    resolve: ResolveFlag,
}

impl Root {
    /// Opens a root. Waits for the disk: for start-up and reload only.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES …
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())?;
        let links = match links {
            Links::InRoot => ResolveFlag::RESOLVE_IN_ROOT,
            Links::Beneath => ResolveFlag::RESOLVE_BENEATH,
            Links::Deny => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
        };
        Ok(Self { fd: Rc::new(fd), resolve: links | ResolveFlag::RESOLVE_NO_MAGICLINKS })
    }

    /// A root further below.
    ///
    /// # Errors
    /// As for opening a directory.
    pub async fn below(&self, path: &[u8]) -> io::Result<Self> {
        let fd = self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY).await?;
        Ok(Self { fd: Rc::new(fd), resolve: self.resolve })
    }

    async fn resolve(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let path = c_path(path)?;
        // openat2 refuses O_PATH together with flags that mean nothing to it.
        let terminal = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NOCTTY };
        let flags = flags | OFlag::O_CLOEXEC | terminal;
        let how = OpenHow::new().flags(flags).resolve(self.resolve | RESOLVE_CACHED);
        match nix::fcntl::openat2(&self.fd, path.as_c_str(), how) {
            // Not all of it is in the dentry cache: let the ring wait for the disk.
            Err(nix::Error::EAGAIN) => {}
            other => return other.map_err(io::Error::from),
        }
        let flags = u64::from(flags.bits().cast_unsigned());
        let how = Box::new(types::OpenHow::new().flags(flags).resolve(self.resolve.bits()));
        let entry =
            opcode::OpenAt2::new(types::Fd(self.fd.as_raw_fd()), path.as_ptr(), &raw const *how)
                .build();
        let keep = Keep::Any(Box::new((Rc::clone(&self.fd), path, how)));
        core(|core| core.ring.start_fd(entry, keep)).descriptor().await
    }

    /// Opens for reading. FIFOs and devices do not block (O_NONBLOCK).
    ///
    /// # Errors
    /// ENOENT, EACCES, ELOOP, EXDEV (left the root) …
    pub async fn open_file(&self, path: &[u8]) -> io::Result<File> {
        Ok(File::new(self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).await?))
    }

    /// Opens an existing file for reading and writing in place (APPE, REST).
    ///
    /// # Errors
    /// As for [`Root::open_file`].
    pub async fn open_in_place(&self, path: &[u8]) -> io::Result<File> {
        Ok(File::new(self.resolve(path, OFlag::O_RDWR | OFlag::O_NONBLOCK).await?))
    }

    /// Opens a directory for reading, naming in it, and syncing it.
    ///
    /// # Errors
    /// ENOTDIR and as for [`Root::open_file`].
    pub async fn open_dir(&self, path: &[u8]) -> io::Result<super::Dir> {
        let fd = self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).await?;
        Ok(super::Dir::new(fd))
    }

    /// What the path leads to.
    ///
    /// # Errors
    /// As for [`Root::open_file`].
    pub async fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        let fd = self.resolve(path, OFlag::O_PATH).await?;
        Ok(nix::sys::stat::fstat(&fd)?.into())
    }

    /// May this process access the path so? `mode` is R_OK, W_OK or X_OK bits (4, 2, 1).
    ///
    /// # Errors
    /// As for [`Root::open_file`].
    pub async fn access(&self, path: &[u8], mode: u32) -> io::Result<bool> {
        let fd = self.resolve(path, OFlag::O_PATH).await?;
        let mode =
            nix::unistd::AccessFlags::from_bits_truncate(i32::try_from(mode & 7).unwrap_or(0));
        let allowed = nix::unistd::faccessat(
            &fd,
            "",
            mode,
            nix::fcntl::AtFlags::AT_EMPTY_PATH | nix::fcntl::AtFlags::AT_EACCESS,
        );
        Ok(allowed.is_ok())
    }

    /// Changes permission bits of what the path leads to.
    ///
    /// # Errors
    /// EPERM when it belongs to another user; as for [`Root::open_file`].
    pub async fn chmod(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let fd = self.resolve(path, OFlag::O_PATH).await?;
        blocking(move || {
            let mode = Mode::from_bits_truncate(mode & 0o7777);
            // fchmod refuses O_PATH descriptors; the magic link names the same object without a second walk.
            let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
            nix::sys::stat::fchmodat(
                nix::fcntl::AT_FDCWD,
                name.as_str(),
                mode,
                nix::sys::stat::FchmodatFlags::FollowSymlink,
            )
        })
        .await?
        .map_err(io::Error::from)
    }

    /// Sets the modification time (seconds since 1970) of what the path leads to.
    ///
    /// # Errors
    /// As for [`Root::chmod`].
    pub async fn set_modified(&self, path: &[u8], seconds: i64) -> io::Result<()> {
        let fd = self.resolve(path, OFlag::O_PATH).await?;
        blocking(move || {
            let time = nix::sys::time::TimeSpec::new(seconds, 0);
            let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let follow = nix::sys::stat::UtimensatFlags::FollowSymlink;
            nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, name.as_str(), &time, &time, follow)
        })
        .await?
        .map_err(io::Error::from)
    }

    /// Octets free to an ordinary user.
    ///
    /// # Errors
    /// What statfs(2) says.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        let fd = self.fd.try_clone()?;
        let stat = blocking(move || nix::sys::statvfs::fstatvfs(&fd)).await??;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    /// A root of its own for a thread that works off the shard.
    pub(super) fn detached(&self) -> io::Result<DetachedRoot> {
        Ok(DetachedRoot { fd: self.fd.try_clone()?, resolve: self.resolve })
    }
}

/// A root that may move to another thread.
pub(super) struct DetachedRoot {
    fd: OwnedFd,
    resolve: ResolveFlag,
}

impl DetachedRoot {
    /// Stat of what a path leads to; waits for the disk.
    pub(super) fn follow(&self, path: &[u8]) -> io::Result<Stat> {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(self.resolve);
        let fd = nix::fcntl::openat2(&self.fd, std::ffi::OsStr::from_bytes(path), how)?;
        Ok(nix::sys::stat::fstat(&fd)?.into())
    }
}

/// How residency of a file's pages is asked for (performance notes §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residency {
    /// `cachestat(2)`, Linux 6.5; refused to those who neither own nor may write the file.
    CacheStat,
    /// `preadv2(RWF_NOWAIT)` of a few octets.
    NoWait,
}

/// An open file. Clones share the descriptor.
#[derive(Clone)]
pub struct File {
    fd: Rc<OwnedFd>,
    residency: Rc<Cell<Residency>>,
}

impl File {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd: Rc::new(fd), residency: Rc::new(Cell::new(Residency::CacheStat)) }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn raw(&self) -> types::Fd {
        types::Fd(self.fd.as_raw_fd())
    }

    fn keep(&self) -> Keep {
        Keep::Fd(Rc::clone(&self.fd))
    }

    /// Size, kind and times. Does not wait: an open file's inode is in memory.
    ///
    /// # Errors
    /// EIO and the like.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(nix::sys::stat::fstat(&*self.fd)?.into())
    }

    /// Reads into the block from its start; 0 at the end of the file.
    pub async fn read_at(&self, block: Block, offset: u64) -> (io::Result<usize>, Block) {
        self.read_some(block, BLOCK_BYTES, offset).await
    }

    /// Like [`File::read_at`], but at most `len` octets.
    pub async fn read_some(
        &self,
        mut block: Block,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, Block) {
        let count = u32::try_from(len.min(BLOCK_BYTES)).unwrap_or(0);
        let target = block.as_mut_ptr();
        let entry = if core(|core| core.ring.with(|ring| ring.is_fixed(&block))) {
            opcode::ReadFixed::new(self.raw(), target, count, block.index()).offset(offset).build()
        } else {
            opcode::Read::new(self.raw(), target, count).offset(offset).build()
        };
        let op = core(|core| core.ring.start(entry, Keep::Block(Rc::clone(&self.fd), block)));
        block_back(op).await
    }

    /// Reads what is in memory at `offset` into `room`, without waiting; 0 at the end of the file.
    ///
    /// # Errors
    /// `WouldBlock` when it is not in memory, or the file system cannot tell; EIO.
    pub fn read_ready(&self, room: &mut [u8], offset: u64) -> io::Result<usize> {
        super::sys::read_now(self.fd.as_fd(), room, offset)
    }

    /// Starts writing `block[..len]` at `offset` at once (not when first polled) and completes when
    /// all of it is written. Short writes are continued.
    pub fn write_at(
        &self,
        block: Block,
        len: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
        let file = self.clone();
        let first = file.start_write(block, 0, len, offset);
        async move {
            let mut op = first;
            let mut written = 0;
            loop {
                let (result, block) = block_back(op).await;
                match result {
                    Ok(0) if written < len => return (Err(io::ErrorKind::WriteZero.into()), block),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return (Err(error), block),
                }
                if written >= len {
                    return (Ok(()), block);
                }
                // The rest of a short direct write may be unaligned: write it through the page cache.
                if !file.set_direct(false) {
                    tracing::warn!(
                        "O_DIRECT cannot be cleared; the rest of a write may be refused"
                    );
                }
                op = file.start_write(block, written, len, offset + written as u64);
            }
        }
    }

    /// Starts writing `block[..len]` at `offset` at once, in one operation that is neither continued
    /// nor tried again: a short write is an error (WriteZero). With `durable` the octets survive a
    /// power cut once it completes (RWF_DSYNC).
    pub fn write_once(
        &self,
        block: Block,
        len: usize,
        offset: u64,
        durable: bool,
    ) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
        let op = self.start_write_with(block, 0..len, offset, flags);
        async move {
            let (result, block) = block_back(op).await;
            let whole = result.and_then(|count| {
                if count == len { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            });
            (whole, block)
        }
    }

    fn start_write(&self, block: Block, from: usize, to: usize, offset: u64) -> super::ring::Op {
        self.start_write_with(block, from..to, offset, 0)
    }

    fn start_write_with(
        &self,
        block: Block,
        range: Range<usize>,
        offset: u64,
        flags: i32,
    ) -> super::ring::Op {
        let octets = &block[range.start..range.end.min(BLOCK_BYTES)];
        let count = u32::try_from(octets.len()).unwrap_or(0);
        let entry = if core(|core| core.ring.with(|ring| ring.is_fixed(&block))) {
            opcode::WriteFixed::new(self.raw(), octets.as_ptr(), count, block.index())
                .offset(offset)
                .rw_flags(flags)
                .build()
        } else {
            opcode::Write::new(self.raw(), octets.as_ptr(), count)
                .offset(offset)
                .rw_flags(flags)
                .build()
        };
        core(|core| core.ring.start(entry, Keep::Block(Rc::clone(&self.fd), block)))
    }

    /// Asks for writes past the page cache; offsets, lengths and buffers must then be multiples of
    /// 4096. False where the file system refuses.
    #[must_use]
    pub fn set_direct(&self, on: bool) -> bool {
        let Ok(flags) = nix::fcntl::fcntl(&*self.fd, nix::fcntl::FcntlArg::F_GETFL) else {
            return false;
        };
        let mut flags = OFlag::from_bits_truncate(flags);
        flags.set(OFlag::O_DIRECT, on);
        nix::fcntl::fcntl(&*self.fd, nix::fcntl::FcntlArg::F_SETFL(flags)).is_ok()
    }

    /// Reserves extents up to `len` and makes the file that long: direct writes inside its size need
    /// neither the inode's exclusive lock nor a thread of the kernel's (a write that extends the file
    /// does, even into reserved extents). Whoever writes less sets the size in the end.
    ///
    /// # Errors
    /// ENOSPC; EOPNOTSUPP where the file system cannot, which may be ignored.
    pub async fn allocate(&self, len: u64) -> io::Result<()> {
        let entry = opcode::Fallocate::new(self.raw(), len).build();
        core(|core| core.ring.start(entry, self.keep())).result().await.map(drop)
    }

    /// Sets the size.
    ///
    /// # Errors
    /// EIO, EFBIG …
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        let fd = self.fd.try_clone()?;
        let len = i64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        blocking(move || nix::unistd::ftruncate(&fd, len)).await?.map_err(io::Error::from)
    }

    /// Makes the contents and the size durable (fdatasync(2)). After an error the file must not be
    /// trusted and not be synced again.
    ///
    /// # Errors
    /// EIO, ENOSPC, EDQUOT.
    pub async fn sync(&self) -> io::Result<()> {
        let entry = opcode::Fsync::new(self.raw()).flags(types::FsyncFlags::DATASYNC).build();
        core(|core| core.ring.start(entry, self.keep())).result().await.map(drop)
    }

    /// Makes the range resident in the page cache without stopping the shard; returns at once when it is.
    ///
    /// # Errors
    /// EIO from the disk.
    pub async fn prefetch(&self, offset: u64, len: usize) -> io::Result<()> {
        if len == 0 || self.is_resident(offset, len) {
            return Ok(());
        }
        let mut at = offset;
        let end = offset + len as u64;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            // A buffered READ of a cold page waits inside the kernel without a thread (§2.7).
            let (result, buffer) = self.read_some(block().await, want, at).await;
            drop(buffer);
            match result? {
                0 => return Ok(()),
                count => at += count as u64,
            }
        }
        Ok(())
    }

    fn is_resident(&self, offset: u64, len: usize) -> bool {
        if self.residency.get() == Residency::CacheStat {
            match super::sys::pages_cached(self.fd.as_fd(), offset, len as u64) {
                Ok(cached) => return cached,
                Err(_) => self.residency.set(Residency::NoWait),
            }
        }
        // First, middle and last octet stand for the window: readahead works in larger units.
        [offset, offset + len as u64 / 2, offset + len as u64 - 1]
            .iter()
            .all(|&at| super::sys::readable_now(self.fd.as_fd(), at))
    }
}
