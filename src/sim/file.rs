//! sim::file – roots, directories and files on the simulated disk: the contract's descriptors.
//!
//! Each operation is handed to the simulated kernel as a task of its own. It waits as the weather
//! will have it, may fail, and goes on (or not) when its future is dropped.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::block::Block;
use super::disk::{Body, Change, Disk, Ino, Names, Operation, TOP, errno, error};
use super::net::Signal;
use super::{Open, World, world};

/// Links followed in one path at most.
const LINKS_MAX: usize = 40;

/// How symbolic links are treated while a path is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed, absolute ones from the root.
    InRoot,
    /// Followed while they stay below.
    Beneath,
    /// Not followed.
    Deny,
}

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

fn stat(disk: &Disk, ino: Ino) -> Stat {
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

struct Slot<T> {
    result: RefCell<Option<T>>,
    dropped: Cell<bool>,
    done: Signal,
}

struct Pending<T>(Rc<Slot<T>>);

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.dropped.set(true);
    }
}

/// Hands `work` to the kernel at once; the future waits for its end. When that is dropped the work
/// may or may not be done all the same.
fn submit<T: 'static>(work: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
    let world = world();
    let slot = Rc::new(Slot { result: RefCell::new(None), dropped: Cell::new(false), done: Signal::default() });
    let kernel = {
        let (slot, world) = (Rc::clone(&slot), Rc::clone(&world));
        async move {
            world.pause().await;
            let slow = world.disk.slow.get();
            if !slow.is_zero() {
                super::sleep_until(super::now().after(slow)).await;
            }
            if slot.dropped.get() && world.rng.percent(50) {
                return;
            }
            let result = work.await;
            slot.result.replace(Some(result));
            slot.done.notify();
        }
    };
    if world.power.get() {
        world.executor.spawn("file operation", true, Box::pin(kernel));
    }
    let pending = Pending(slot);
    async move { pending.0.done.until(|| pending.0.result.take()).await }
}

/// One operation that is over in a moment.
async fn operate<T: 'static>(
    what: Operation,
    work: impl FnOnce(&World) -> io::Result<T> + 'static,
) -> io::Result<T> {
    submit(async move {
        let world = world();
        world.disk.begin(what)?;
        work(&world)
    })
    .await
}

/// Where a path leads: its last link followed or not.
fn resolve(disk: &Disk, root: Ino, links: Links, path: &[u8], follow: bool) -> io::Result<Ino> {
    let mut rest: Vec<Vec<u8>> = components(path);
    let (mut at, mut followed) = (root, 0);
    while let Some(name) = rest.pop() {
        if !disk.is_dir(at) {
            return Err(error(errno::NOTDIR));
        }
        if name == b".." {
            if at == root && links != Links::InRoot {
                return Err(error(errno::XDEV));
            }
            at = if at == root { root } else { disk.parent(at) };
            continue;
        }
        if name.len() > 255 {
            return Err(error(errno::NAMETOOLONG));
        }
        let next = disk.find(at, &name)?;
        let target = match &disk.nodes.borrow()[&next].body {
            Body::Link(target) if follow || !rest.is_empty() => target.clone(),
            Body::Link(_) | Body::File { .. } | Body::Directory { .. } => {
                at = next;
                continue;
            }
        };
        followed += 1;
        if links == Links::Deny || followed > LINKS_MAX {
            return Err(error(errno::LOOP));
        }
        if target.starts_with(b"/") {
            if links == Links::Beneath {
                return Err(error(errno::XDEV));
            }
            at = root;
        }
        rest.extend(components(&target));
    }
    if path.ends_with(b"/") && !disk.is_dir(at) {
        return Err(error(errno::NOTDIR));
    }
    Ok(at)
}

/// Components, the first one last.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/').rev();
    parts.filter(|part| !part.is_empty() && part != b".").map(<[u8]>::to_vec).collect()
}

struct Descriptor {
    ino: Ino,
    open: Rc<Open>,
    file: bool,
}

impl Descriptor {
    fn count(open: &Open, file: bool) -> &Cell<usize> {
        if file { &open.files } else { &open.dirs }
    }

    fn new(world: &World, ino: Ino, file: bool) -> Rc<Self> {
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

/// A directory that nothing can leave.
#[derive(Clone)]
pub struct Root {
    descriptor: Rc<Descriptor>,
    links: Links,
}

impl Root {
    /// At start-up and reload; the path is one of the simulated disk.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        let world = world();
        world.disk.begin(Operation::Open)?;
        let ino = resolve(&world.disk, TOP, Links::InRoot, path.as_os_str().as_encoded_bytes(), true)?;
        world.disk.names(ino)?;
        Ok(Self { descriptor: Descriptor::new(&world, ino, false), links })
    }

    async fn at<T: 'static>(
        &self,
        what: Operation,
        path: &[u8],
        work: impl FnOnce(&World, Ino) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let (root, links, path) = (Rc::clone(&self.descriptor), self.links, path.to_vec());
        operate(what, move |world| work(world, resolve(&world.disk, root.ino, links, &path, true)?)).await
    }

    /// A root further below.
    pub async fn below(&self, path: &[u8]) -> io::Result<Self> {
        let links = self.links;
        let open = move |world: &World, ino| {
            world.disk.names(ino)?;
            Ok(Self { descriptor: Descriptor::new(world, ino, false), links })
        };
        self.at(Operation::Open, path, open).await
    }

    /// Opens for reading.
    pub async fn open_file(&self, path: &[u8]) -> io::Result<File> {
        self.at(Operation::Open, path, |world, ino| Ok(File::new(world, ino))).await
    }

    /// Opens an existing file for writing in place.
    pub async fn open_in_place(&self, path: &[u8]) -> io::Result<File> {
        let open = |world: &World, ino| {
            world.disk.content(ino, |_| ())?;
            Ok(File::new(world, ino))
        };
        self.at(Operation::Open, path, open).await
    }

    /// Opens a directory.
    pub async fn open_dir(&self, path: &[u8]) -> io::Result<Dir> {
        let open = |world: &World, ino| {
            world.disk.names(ino)?;
            Ok(Dir { descriptor: Descriptor::new(world, ino, false) })
        };
        self.at(Operation::Open, path, open).await
    }

    /// Follows links.
    pub async fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        self.at(Operation::Stat, path, |world, ino| Ok(stat(&world.disk, ino))).await
    }

    /// Sets permission bits.
    pub async fn chmod(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let change = move |world: &World, ino: Ino| {
            world.disk.nodes.borrow_mut().get_mut(&ino).unwrap().mode = mode;
            Ok(())
        };
        self.at(Operation::Change, path, change).await
    }

    /// Sets the modification time.
    pub async fn set_modified(&self, path: &[u8], seconds: i64) -> io::Result<()> {
        let change = move |world: &World, ino: Ino| {
            world.disk.nodes.borrow_mut().get_mut(&ino).unwrap().modified = (seconds, 0);
            Ok(())
        };
        self.at(Operation::Change, path, change).await
    }

    /// Octets free to an ordinary user.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        operate(Operation::Stat, |world| Ok(world.disk.space.get())).await
    }
}

/// An open directory. Names given to it are single components, never followed.
#[derive(Clone)]
pub struct Dir {
    descriptor: Rc<Descriptor>,
}

impl Dir {
    async fn on<T: 'static>(
        &self,
        what: Operation,
        work: impl FnOnce(&World, Ino) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let dir = Rc::clone(&self.descriptor);
        operate(what, move |world| work(world, dir.ino)).await
    }

    /// Creates a file that did not exist.
    pub async fn create(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let name = name.to_vec();
        let make = move |world: &World, dir| {
            let body = Body::File { live: Vec::new(), durable: Vec::new(), pending: Vec::new() };
            let ino = world.disk.make(dir, &name, body, mode)?;
            Ok(File::new(world, ino))
        };
        self.on(Operation::Create, make).await
    }

    /// Renames over whatever `to` is; with `replace` false: EEXIST when the name is taken.
    pub async fn rename(&self, from: &[u8], target: &Self, to: &[u8], replace: bool) -> io::Result<()> {
        let (from, to, target) = (from.to_vec(), to.to_vec(), Rc::clone(&target.descriptor));
        let rename =
            move |world: &World, dir| world.disk.rename((dir, &from), (target.ino, &to), replace);
        self.on(Operation::Rename, rename).await
    }

    /// Removes a file.
    pub async fn unlink(&self, name: &[u8]) -> io::Result<()> {
        let name = name.to_vec();
        self.on(Operation::Unlink, move |world, dir| world.disk.unlink(dir, &name)).await
    }

    /// Starts an unlink that nobody waits for.
    pub fn unlink_detached(&self, name: &[u8]) {
        let world = world();
        if !world.power.get() {
            return;
        }
        let (dir, name) = (self.clone(), name.to_vec());
        let unlink = async move {
            world.pause().await;
            if world.disk.begin(Operation::Unlink).is_ok() {
                drop(world.disk.unlink(dir.descriptor.ino, &name));
            }
        };
        super::world().executor.spawn("unlink", true, Box::pin(unlink));
    }

    /// Makes a directory.
    pub async fn make_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        let name = name.to_vec();
        let make = move |world: &World, dir| {
            let body = Body::Directory { live: Names::new(), durable: Names::new(), parent: dir };
            world.disk.make(dir, &name, body, mode).map(drop)
        };
        self.on(Operation::MakeDir, make).await
    }

    /// Removes an empty directory.
    pub async fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        let name = name.to_vec();
        self.on(Operation::RemoveDir, move |world, dir| world.disk.remove_dir(dir, &name)).await
    }

    /// Makes a symbolic link.
    pub async fn symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        let (target, name) = (target.to_vec(), name.to_vec());
        let make =
            move |world: &World, dir| world.disk.make(dir, &name, Body::Link(target), 0o777).map(drop);
        self.on(Operation::Symlink, make).await
    }

    /// Does not follow links.
    pub async fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let name = name.to_vec();
        self.on(Operation::Stat, move |world, dir| Ok(stat(&world.disk, world.disk.find(dir, &name)?))).await
    }

    /// Of the directory itself. Does not wait.
    pub fn stat_self(&self) -> io::Result<Stat> {
        let world = world();
        world.disk.begin(Operation::Stat)?;
        Ok(stat(&world.disk, self.descriptor.ino))
    }

    /// Makes names made, changed or removed in it durable.
    pub async fn sync(&self) -> io::Result<()> {
        self.on(Operation::SyncDir, |world, dir| {
            world.disk.sync_dir(dir);
            Ok(())
        })
        .await
    }

    /// The next at most `max` entries with their stat; `None` as cursor begins, `None` returned: no more.
    pub async fn read(
        &self,
        root: &Root,
        path: &[u8],
        cursor: Option<Cursor>,
        max: usize,
    ) -> io::Result<(Vec<Item>, Option<Cursor>)> {
        let (root, path) = (root.clone(), path.to_vec());
        let read = move |world: &World, dir: Ino| {
            let after = cursor.map(|cursor| cursor.0);
            let mut names: Vec<_> =
                world.disk.names(dir)?.into_iter().map(|(name, ino)| (place(&name), name, ino)).collect();
            names.sort();
            names.retain(|(place, name, _)| after.as_ref().is_none_or(|after| (*place, name) > (after.0, &after.1)));
            let max = world.cut(max.max(1));
            let more = names.len() > max;
            names.truncate(max);
            let next = names.last().filter(|_| more).map(|(place, name, _)| Cursor((*place, name.clone())));
            let item = |(_, name, ino)| item(&world.disk, &root, &path, name, ino);
            Ok((names.into_iter().map(item).collect(), next))
        };
        self.on(Operation::ReadDir, read).await
    }
}

/// Directories are not read in the order of names.
fn place(name: &[u8]) -> u64 {
    name.iter().fold(7, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(11))
}

fn item(disk: &Disk, root: &Root, path: &[u8], name: Vec<u8>, ino: Ino) -> Item {
    let target = match &disk.nodes.borrow()[&ino].body {
        Body::Link(target) => Some(target.clone()),
        Body::File { .. } | Body::Directory { .. } => None,
    };
    let link = target.map(|target| {
        let path = [path, b"/", &name[..]].concat();
        let found = resolve(disk, root.descriptor.ino, root.links, &path, true);
        (target, found.ok().map(|ino| stat(disk, ino)))
    });
    Item { name, stat: stat(disk, ino), link }
}

/// Where a directory reading stands.
pub struct Cursor((u64, Vec<u8>));

/// One entry as read.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "names of the contract")]
pub struct Item {
    pub name: Vec<u8>,
    pub stat: Stat,
    pub link: Option<(Vec<u8>, Option<Stat>)>,
}

/// An open file. Clones share the descriptor.
#[derive(Clone)]
pub struct File {
    descriptor: Rc<Descriptor>,
}

impl File {
    fn new(world: &World, ino: Ino) -> Self {
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
    pub async fn read_at(&self, mut block: Block, offset: u64) -> (io::Result<usize>, Block) {
        let file = self.clone();
        submit(async move {
            let world = world();
            let read = world.disk.begin(Operation::Read);
            let read = read.and_then(|()| file.bytes(&world, offset, block.len()));
            let read = read.map(|bytes| {
                block[..bytes.len()].copy_from_slice(&bytes);
                bytes.len()
            });
            (read, block)
        })
        .await
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

    /// Reserves extents up to `len` without changing the size.
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

    /// Makes a range resident.
    pub async fn prefetch(&self, _offset: u64, _len: usize) -> io::Result<()> {
        self.on(Operation::Prefetch, |_, _| Ok(())).await
    }
}
