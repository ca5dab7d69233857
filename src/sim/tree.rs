//! sim::tree – roots and directories of the simulated disk, and the paths below them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::disk::{Body, Disk, Ino, Names, TOP};
use super::fault::{Operation, errno, error};
use super::file::{Descriptor, File, FileKind, Stat, stat};
use super::kernel::operate;
use super::{Block, World, world};

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
        let ino =
            resolve(&world.disk, TOP, Links::InRoot, path.as_os_str().as_encoded_bytes(), true)?;
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
        operate(what, move |world| work(world, resolve(&world.disk, root.ino, links, &path, true)?))
            .await
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

    /// What is known of an entry without looking at the disk; here that depends on the seed.
    pub fn peek(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let world = world();
        if super::random().is_multiple_of(2) {
            return Ok(None);
        }
        Ok(Some(stat(&world.disk, world.disk.find(self.descriptor.ino, name)?)))
    }

    /// Everything is permitted here.
    pub fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes a whole small file. Goes on when nobody waits for it any more, as a worker would.
    pub async fn place(&self, block: Block, len: usize, how: Placement) -> (io::Result<()>, Block) {
        self.place_by_way_of(self, block, len, how).await
    }

    /// Like `place`, with the temporary in another directory.
    pub async fn place_by_way_of(
        &self,
        workshop: &Self,
        block: Block,
        len: usize,
        how: Placement,
    ) -> (io::Result<()>, Block) {
        type Placed = (io::Result<()>, Block);
        let outcome: Rc<RefCell<(Option<Placed>, Option<Waker>)>> = Rc::default();
        let (dir, workshop, told) = (self.clone(), workshop.clone(), Rc::clone(&outcome));
        let work = async move {
            let placed = dir.place_steps(&workshop, block, len, how).await;
            let mut told = told.borrow_mut();
            told.0 = Some(placed);
            if let Some(waker) = told.1.take() {
                waker.wake();
            }
        };
        world().executor.spawn("place", true, Box::pin(work));
        poll_fn(|context| {
            let mut outcome = outcome.borrow_mut();
            outcome.1 = Some(context.waker().clone());
            outcome.0.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    async fn place_steps(
        &self,
        workshop: &Self,
        block: Block,
        len: usize,
        how: Placement,
    ) -> (io::Result<()>, Block) {
        let kept = match self.stat(&how.name).await {
            Ok(stat) if stat.kind == FileKind::File => stat.mode & 0o777,
            Ok(stat) if stat.kind == FileKind::Directory => {
                return (Err(error(errno::ISDIR)), block);
            }
            Ok(_) | Err(_) => how.mode,
        };
        let file = match workshop.create(&how.temporary, kept).await {
            Ok(file) => file,
            Err(error) => return (Err(error), block),
        };
        let (mut result, block) = file.write_at(block, len, 0).await;
        if result.is_ok() && how.durable {
            result = file.sync().await;
        }
        if result.is_ok() {
            result = workshop.rename(&how.temporary, self, &how.name, how.replace).await;
        }
        if result.is_err() {
            drop(workshop.unlink(&how.temporary).await);
        } else if how.durable {
            result = self.sync().await;
        }
        (result, block)
    }

    /// Renames over whatever `to` is; with `replace` false: EEXIST when the name is taken.
    pub async fn rename(
        &self,
        from: &[u8],
        target: &Self,
        to: &[u8],
        replace: bool,
    ) -> io::Result<()> {
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
        let make = move |world: &World, dir| {
            world.disk.make(dir, &name, Body::Link(target), 0o777).map(drop)
        };
        self.on(Operation::Symlink, make).await
    }

    /// Does not follow links.
    pub async fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let name = name.to_vec();
        self.on(Operation::Stat, move |world, dir| {
            Ok(stat(&world.disk, world.disk.find(dir, &name)?))
        })
        .await
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
            let mut names: Vec<_> = world
                .disk
                .names(dir)?
                .into_iter()
                .map(|(name, ino)| (place(&name), name, ino))
                .collect();
            names.sort();
            names.retain(|(place, name, _)| {
                after.as_ref().is_none_or(|after| (*place, name) > (after.0, &after.1))
            });
            let max = world.cut(max.max(1));
            let more = names.len() > max;
            names.truncate(max);
            let next = names
                .last()
                .filter(|_| more)
                .map(|(place, name, _)| Cursor((*place, name.clone())));
            let item = |(_, name, ino)| item(&world.disk, &root, &path, name, ino);
            Ok((names.into_iter().map(item).collect(), next))
        };
        self.on(Operation::ReadDir, read).await
    }
}

/// Directories are not read in the order of names.
fn place(name: &[u8]) -> u64 {
    name.iter().fold(7, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(11)
    })
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

/// How [`Dir::place`] makes a file.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The name it gets.
    pub name: Vec<u8>,
    /// A name nobody else uses.
    pub temporary: Vec<u8>,
    /// Permission bits of a new file.
    pub mode: u32,
    /// May a file of that name be replaced?
    pub replace: bool,
    /// Sync the file before it gets its name, and the directory after.
    pub durable: bool,
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
