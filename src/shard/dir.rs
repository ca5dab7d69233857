//! shard::dir – names in one open directory.
//!
//! Names are single components and are never followed, so nothing here can leave the directory.
//! Changes go through the ring; reading goes in bounded batches to a thread, because getdents(2) and
//! stat(2) have no form that does not wait.
//!
//! Promises: a batch is bounded; entries that vanish while being read are left out, not an error.
//! Not here: sorting, filtering, formatting of listings.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use io_uring::{opcode, types};
use nix::fcntl::{AtFlags, OFlag, OpenHow, openat2};

use super::file::{DetachedRoot, c_path};
use super::ring::{Keep, Op};
use super::workers::Pace;
use super::{Block, File, FileKind, Root, Stat, blocking, core, place};

/// An open directory. Clones share the descriptor.
#[derive(Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
}

/// One entry as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Name, one component.
    pub name: Vec<u8>,
    /// Of the entry itself, links not followed.
    pub stat: Stat,
    /// For a symbolic link: what it says, and what it leads to inside the root.
    pub link: Option<(Vec<u8>, Option<Stat>)>,
}

/// How [`Dir::place`] makes a file.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The name it gets.
    pub name: Vec<u8>,
    /// A name nobody else uses, should one be needed on the way.
    pub temporary: Vec<u8>,
    /// Permission bits of a new file; one that is replaced keeps its own.
    pub mode: u32,
    /// May a file of that name be replaced?
    pub replace: bool,
    /// Sync the file before it gets its name, and the directory after.
    pub durable: bool,
}

/// Where a directory reading stands.
pub struct Cursor {
    stream: nix::dir::OwningIter,
    root: DetachedRoot,
}

/// A single component: no `/`, not empty, not `.` or `..`.
fn component(name: &[u8]) -> io::Result<CString> {
    if name.contains(&b'/') || matches!(name, b"" | b"." | b"..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    c_path(name)
}

impl Dir {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }

    fn raw(&self) -> types::Fd {
        types::Fd(self.fd.as_raw_fd())
    }

    /// Starts an operation on one name; the slot keeps the name and the descriptor.
    fn start(
        &self,
        name: &[u8],
        build: impl FnOnce(types::Fd, *const libc::c_char) -> io_uring::squeue::Entry,
    ) -> io::Result<Op> {
        let name = component(name)?;
        let entry = build(self.raw(), name.as_ptr());
        Ok(core(|core| core.ring.start(entry, Keep::Any(Box::new((Arc::clone(&self.fd), name))))))
    }

    /// Creates a file that did not exist, for reading and writing.
    ///
    /// # Errors
    /// EEXIST, ENOSPC, EACCES …
    pub async fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let name = component(name)?;
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let entry =
            opcode::OpenAt::new(self.raw(), name.as_ptr()).flags(flags.bits()).mode(mode).build();
        let keep = Keep::Any(Box::new((Arc::clone(&self.fd), name)));
        Ok(File::new(core(|core| core.ring.start_fd(entry, keep)).descriptor().await?))
    }

    /// What is known of an entry without looking at the disk; `None` when that takes a disk.
    ///
    /// # Errors
    /// ENOENT when it is known that there is no such entry.
    pub fn peek(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(super::file::RESOLVE_CACHED);
        match openat2(&self.fd, component(name)?.as_c_str(), how) {
            Ok(fd) => Ok(Some(nix::sys::stat::fstat(&fd)?.into())),
            Err(nix::Error::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// May this process make names here? Does not wait.
    ///
    /// # Errors
    /// EACCES, EROFS.
    pub fn writable(&self) -> io::Result<()> {
        use nix::unistd::{AccessFlags, faccessat};
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        Ok(faccessat(&self.fd, ".", wanted, AtFlags::AT_EACCESS)?)
    }

    /// Makes a whole small file in one visit to a worker: `block[..len]` under a name of its own choice
    /// first, under `how.name` in one step when it is whole. Gives the block back.
    ///
    /// # Errors
    /// EEXIST when the name is taken and may not be; EISDIR when it is a directory's; ENOSPC, EIO.
    /// After an error nothing of the file is left.
    pub async fn place(&self, block: Block, len: usize, how: Placement) -> (io::Result<()>, Block) {
        self.place_by_way_of(self, block, len, how).await
    }

    /// Like [`Dir::place`], but a temporary that may be needed is made in `workshop`, a directory of the
    /// same file system.
    ///
    /// # Errors
    /// As for [`Dir::place`].
    pub async fn place_by_way_of(
        &self,
        workshop: &Self,
        block: Block,
        len: usize,
        how: Placement,
    ) -> (io::Result<()>, Block) {
        let (fd, workshop) = (Arc::clone(&self.fd), Arc::clone(&workshop.fd));
        let names = component(&how.name).and_then(|name| Ok((name, component(&how.temporary)?)));
        let (name, temporary) = match names {
            Ok(prepared) => prepared,
            Err(error) => return (Err(error), block),
        };
        let pace = if how.durable { Pace::Durable } else { Pace::Quick };
        let work = move |octets: &[u8]| {
            let to =
                place::To { dir: &fd, workshop: &workshop, name: &name, temporary: &temporary };
            place::place(&to, octets, &how)
        };
        let (result, block) = super::workers::with_block(pace, block, len, work).await;
        (result.and_then(|result| result), block)
    }

    /// Renames, over whatever `to` is when `replace`.
    ///
    /// # Errors
    /// EEXIST without `replace`; EISDIR, ENOTEMPTY, EXDEV …
    pub async fn rename(
        &self,
        from: &[u8],
        target: &Self,
        to: &[u8],
        replace: bool,
    ) -> io::Result<()> {
        let (from, to) = (component(from)?, component(to)?);
        let flags = if replace { 0 } else { libc::RENAME_NOREPLACE };
        let entry = opcode::RenameAt::new(self.raw(), from.as_ptr(), target.raw(), to.as_ptr())
            .flags(flags)
            .build();
        let keep = Keep::Any(Box::new((Arc::clone(&self.fd), Arc::clone(&target.fd), from, to)));
        core(|core| core.ring.start(entry, keep)).result().await.map(drop)
    }

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    /// ENOENT, EISDIR, EACCES …
    pub async fn unlink(&self, name: &[u8]) -> io::Result<()> {
        self.start(name, |fd, name| opcode::UnlinkAt::new(fd, name).build())?
            .result()
            .await
            .map(drop)
    }

    /// Starts an unlink that nobody waits for.
    pub fn unlink_detached(&self, name: &[u8]) {
        let Ok(name) = component(name) else { return };
        let entry = opcode::UnlinkAt::new(self.raw(), name.as_ptr()).build();
        core(|core| {
            core.ring.start_detached(entry, Keep::Any(Box::new((Arc::clone(&self.fd), name))));
        });
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// EEXIST, ENOSPC, EACCES …
    pub async fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        self.start(name, |fd, name| opcode::MkDirAt::new(fd, name).mode(mode).build())?
            .result()
            .await
            .map(drop)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY …
    pub async fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        self.start(name, |fd, name| {
            opcode::UnlinkAt::new(fd, name).flags(libc::AT_REMOVEDIR).build()
        })?
        .result()
        .await
        .map(drop)
    }

    /// Makes a symbolic link that says `target`.
    ///
    /// # Errors
    /// EEXIST, ENOSPC, EACCES …
    pub async fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        let (target, name) = (c_path(target)?, component(name)?);
        let entry = opcode::SymlinkAt::new(self.raw(), target.as_ptr(), name.as_ptr()).build();
        let keep = Keep::Any(Box::new((Arc::clone(&self.fd), target, name)));
        core(|core| core.ring.start(entry, keep)).result().await.map(drop)
    }

    /// Of one entry, links not followed.
    ///
    /// # Errors
    /// ENOENT …
    pub async fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let (fd, name) = (Arc::clone(&self.fd), component(name)?);
        let stat = blocking(move || {
            nix::sys::stat::fstatat(&fd, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        })
        .await??;
        Ok(stat.into())
    }

    /// Of the directory itself. Does not wait.
    ///
    /// # Errors
    /// EIO and the like.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(nix::sys::stat::fstat(&*self.fd)?.into())
    }

    /// Makes names made, changed or removed in it durable (fsync(2)).
    ///
    /// # Errors
    /// EIO, ENOSPC.
    pub async fn sync(&self) -> io::Result<()> {
        let entry = opcode::Fsync::new(self.raw()).build();
        core(|core| core.ring.start(entry, Keep::Any(Box::new(Arc::clone(&self.fd)))))
            .result()
            .await
            .map(drop)
    }

    /// The next at most `max` entries with their stat. `None` begins; `None` returned ends. `.` and
    /// `..` are left out. `path` is this directory below `root`: links are followed inside it.
    ///
    /// # Errors
    /// EIO, ENOENT when the directory was removed.
    pub async fn read(
        &self,
        root: &Root,
        path: &[u8],
        cursor: Option<Cursor>,
        max: usize,
    ) -> io::Result<(Vec<Item>, Option<Cursor>)> {
        let fd = Arc::clone(&self.fd);
        let cursor = match cursor {
            Some(cursor) => Ok(cursor),
            None => Err(root.detached()?),
        };
        let path = path.to_vec();
        blocking(move || {
            let cursor = match cursor {
                Ok(cursor) => cursor,
                Err(root) => Cursor { stream: open_stream(&fd)?.into_iter(), root },
            };
            read_batch(&fd, &path, cursor, max)
        })
        .await?
    }
}

fn open_stream(fd: &OwnedFd) -> io::Result<nix::dir::Dir> {
    // A description of its own: the position of a shared one would be shared with other readers.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::dir::Dir::openat(fd, ".", flags, nix::sys::stat::Mode::empty())?)
}

fn read_batch(
    fd: &OwnedFd,
    path: &[u8],
    mut cursor: Cursor,
    max: usize,
) -> io::Result<(Vec<Item>, Option<Cursor>)> {
    let mut items = Vec::with_capacity(max.min(1024));
    while items.len() < max {
        let Some(entry) = cursor.stream.next() else { return Ok((items, None)) };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = nix::sys::stat::fstatat(fd.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
        else {
            continue;
        };
        let stat = Stat::from(stat);
        let link = (stat.kind == FileKind::Link).then(|| read_link(fd, path, name, &cursor.root));
        items.push(Item { name: name.to_bytes().to_vec(), stat, link });
    }
    Ok((items, Some(cursor)))
}

fn read_link(
    fd: &OwnedFd,
    path: &[u8],
    name: &std::ffi::CStr,
    root: &DetachedRoot,
) -> (Vec<u8>, Option<Stat>) {
    let says =
        nix::fcntl::readlinkat(fd, name).map(|says| says.as_bytes().to_vec()).unwrap_or_default();
    let mut full = path.to_vec();
    if !full.is_empty() {
        full.push(b'/');
    }
    full.extend_from_slice(name.to_bytes());
    (says, root.follow(&full).ok())
}
