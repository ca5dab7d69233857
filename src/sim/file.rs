//! sim::file – open files on the simulated disk.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;

use super::buffers::Block;
use super::disk::{Body, Change, Disk, Ino};
use super::fault::{Operation, errno, error};
use super::kernel::{operate, submit};
use super::{Open, World, world};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names of the contract")]
pub enum FileKind {
    File,
    Directory,
    Link,
    Other,
}

/// Metadata of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names of the contract")]
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

pub(super) fn stat(disk: &Disk, ino: Ino) -> Stat {
    let nodes = disk.nodes.borrow();
    let node = &nodes[&ino];
    let (kind, size) = match &node.body {
        Body::File { live, .. } => (FileKind::File, live.len()),
        Body::Directory { live, .. } => (FileKind::Directory, 4096 + live.len()),
        Body::Link(target) => (FileKind::Link, target.len()),
    };
    Stat {
        kind,
        size: u64::try_from(size).unwrap(),
        mode: node.mode,
        modified: node.modified,
        changed: node.modified,
        links: 1,
        device: 1,
        inode: ino,
        uid: 1000,
        gid: 1000,
    }
}

pub(super) struct Descriptor {
    pub(super) ino: Ino,
    open: Rc<Open>,
    file: bool,
}

impl Descriptor {
    fn count(open: &Open, file: bool) -> &Cell<usize> {
        if file { &open.files } else { &open.dirs }
    }

    pub(super) fn new(world: &World, ino: Ino, file: bool) -> Rc<Self> {
        let count = Self::count(&world.open, file);
        count.set(count.get() + 1);
        Rc::new(Self { ino, open: Rc::clone(&world.open), file })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let count = Self::count(&self.open, self.file);
        count.set(count.get() - 1);
    }
}

/// An open file. Clones share the descriptor.
#[derive(Clone)]
pub struct File {
    descriptor: Rc<Descriptor>,
}

impl File {
    pub(super) fn new(world: &World, ino: Ino) -> Self {
        Self { descriptor: Descriptor::new(world, ino, true) }
    }

    /// Does not wait.
    pub fn stat(&self) -> io::Result<Stat> {
        let world = world();
        world.disk.begin(Operation::Stat)?;
        Ok(stat(&world.disk, self.descriptor.ino))
    }

    /// Octets from `offset`, without waiting (sendfile).
    pub(super) fn read_now(&self, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        let world = world();
        world.disk.begin(Operation::Read)?;
        self.bytes(&world, offset, count)
    }

    fn bytes(&self, world: &World, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        world.disk.content(self.descriptor.ino, |content| {
            let from = usize::try_from(offset).unwrap().min(content.len());
            let count = world.cut(count.min(content.len() - from));
            content[from..from + count].to_vec()
        })
    }

    /// Reads into the block from its start; 0 at end of file.
    pub async fn read_at(&self, block: Block, offset: u64) -> (io::Result<usize>, Block) {
        let len = block.len();
        self.read_some(block, len, offset).await
    }

    /// Like `read_at`, but at most `len` octets.
    pub async fn read_some(
        &self,
        mut block: Block,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, Block) {
        let len = len.min(block.len());
        let file = self.clone();
        submit(async move {
            let world = world();
            let read = world.disk.begin(Operation::Read);
            let read = read.and_then(|()| file.bytes(&world, offset, len));
            let read = read.map(|bytes| {
                block[..bytes.len()].copy_from_slice(&bytes);
                bytes.len()
            });
            (read, block)
        })
        .await
    }

    /// Reads what is in memory, without waiting: by chance it is.
    pub fn read_ready(&self, room: &mut [u8], offset: u64) -> io::Result<usize> {
        if world().rng.percent(20) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.read_now(offset, room.len())?;
        room[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Starts writing `block[..len]` at `offset` at once and completes when all of it is written.
    pub fn write_at(
        &self,
        block: Block,
        len: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
        let file = self.clone();
        submit(async move {
            let written = file.write_all(&block[..len], offset).await;
            (written, block)
        })
    }

    /// Starts writing `block[..len]` at `offset` in one operation, which is short when so told; durable
    /// when it completes, if asked. What fails may have been written in part.
    pub fn write_once(
        &self,
        block: Block,
        len: usize,
        offset: u64,
        durable: bool,
    ) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
        let file = self.clone();
        submit(async move {
            let written = file.write_once_of(&block[..len], offset, durable).await;
            (written, block)
        })
    }

    async fn write_once_of(&self, bytes: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        let world = world();
        let disk = &world.disk;
        let ino = self.descriptor.ino;
        let offset = usize::try_from(offset).unwrap();
        let size = disk.content(ino, <[u8]>::len)?;
        let grown = u64::try_from((offset + bytes.len()).saturating_sub(size)).unwrap();
        let outcome = disk.begin(Operation::Write).and_then(|()| {
            if grown > disk.space.get() { Err(error(errno::NOSPC)) } else { Ok(()) }
        });
        if outcome.is_err() {
            // Any part of it: pieces as large as a page, the last one perhaps cut.
            for (number, piece) in bytes.chunks(4096).enumerate() {
                if world.rng.percent(50) {
                    let piece = &piece[..world.rng.range(1, piece.len())];
                    let offset = offset + number * 4096;
                    disk.change(ino, Change::Write { offset, bytes: piece.to_vec() });
                }
            }
        }
        match outcome {
            Err(short) if short.raw_os_error() == Some(errno::SHORT) => {
                return Err(io::ErrorKind::WriteZero.into());
            }
            outcome => outcome?,
        }
        disk.space.set(disk.space.get() - grown);
        disk.change(ino, Change::Write { offset, bytes: bytes.to_vec() });
        if durable {
            world.pause().await;
            super::yield_now().await;
            disk.write_through(ino, offset, bytes.len());
        }
        Ok(())
    }

    async fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let world = world();
        let disk = &world.disk;
        let ino = self.descriptor.ino;
        let mut offset = usize::try_from(offset).unwrap();
        let mut rest = bytes;
        disk.begin(Operation::Write)?;
        while !rest.is_empty() {
            let space = disk.space.get();
            let count = world.cut(rest.len()).min(usize::try_from(space).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(error(errno::NOSPC));
            }
            let (now, later) = rest.split_at(count);
            if !(disk.sabotage.get().write && offset >= super::BLOCK_BYTES) {
                disk.change(ino, Change::Write { offset, bytes: now.to_vec() });
            }
            disk.space.set(space - u64::try_from(count).unwrap());
            offset += count;
            rest = later;
            if !rest.is_empty() {
                world.pause().await;
            }
        }
        Ok(())
    }

    /// Asks for writes past the page cache.
    pub fn set_direct(&self, on: bool) -> bool {
        on && world().rng.percent(50)
    }

    async fn on(
        &self,
        what: Operation,
        work: impl FnOnce(&World, Ino) -> io::Result<()> + 'static,
    ) -> io::Result<()> {
        let file = self.clone();
        operate(what, move |world| work(world, file.descriptor.ino)).await
    }

    /// Reserves extents up to `len`; the size stays, which nobody may rely on.
    pub async fn allocate(&self, len: u64) -> io::Result<()> {
        let reserve = move |world: &World, _| {
            if len > world.disk.space.get() { Err(error(errno::NOSPC)) } else { Ok(()) }
        };
        self.on(Operation::Allocate, reserve).await
    }

    /// Sets the length.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        let set = move |world: &World, ino| {
            world.disk.change(ino, Change::Truncate(usize::try_from(len).unwrap()));
            Ok(())
        };
        self.on(Operation::Truncate, set).await
    }

    /// fdatasync.
    pub async fn sync(&self) -> io::Result<()> {
        let file = self.clone();
        submit(async move {
            let world = world();
            let works = world.disk.begin(Operation::Sync);
            world.disk.sync(file.descriptor.ino, works.is_ok(), &world.rng);
            works
        })
        .await
    }

    /// Makes a range resident; a cold one (as chance will have it) is read through a block.
    pub async fn prefetch(&self, _offset: u64, _len: usize) -> io::Result<()> {
        let _cold = if world().rng.percent(50) { Some(super::block().await) } else { None };
        self.on(Operation::Prefetch, |_, _| Ok(())).await
    }
}
