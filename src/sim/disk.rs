//! sim::disk – a file system in memory that knows what is durable and what is not.
//!
//! ```text
//!   write, truncate ─▶ live ──File::sync──▶ durable      content of each file
//!   create, rename … ─▶ live ──Dir::sync──▶ durable      names of each directory, by way of a journal
//! ```
//! Every file operation is counted; the n-th can be made to fail, once or from then on.
//!
//! Promises: reads see the live state only; the durable state changes only by a sync that succeeds.
//! Not here: paths and descriptors (`file`), what a crash leaves (`crash`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::fault::{Fault, Operation, Sabotage, errno, error};
use super::rng::Rng;

/// Numbers of an inode; 1 is `/`.
pub type Ino = u64;
/// Names of one directory.
pub type Names = BTreeMap<Vec<u8>, Ino>;

/// Inode of `/`.
pub const TOP: Ino = 1;

/// A change of a file's content since its last sync.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                grow(content, end);
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => {
                content.truncate(*len);
                grow(content, *len);
            }
        }
    }
}

/// Zeros up to `len`: what `resize` does, which takes octet by octet where nothing is optimised, and took a
/// third of the simulation's time.
pub(super) fn grow(content: &mut Vec<u8>, len: usize) {
    let missing = len.saturating_sub(content.len());
    content.extend_from_slice(&vec![0; missing]);
}

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Set { dir: Ino, name: Vec<u8>, ino: Ino },
    Clear { dir: Ino, name: Vec<u8> },
    Move { from: (Ino, Vec<u8>), to: (Ino, Vec<u8>), ino: Ino },
}

impl Entry {
    /// Names it touches.
    pub(super) fn places(&self) -> Vec<(Ino, &[u8])> {
        match self {
            Self::Set { dir, name, .. } | Self::Clear { dir, name } => vec![(*dir, name)],
            Self::Move { from, to, .. } => vec![(from.0, &from.1), (to.0, &to.1)],
        }
    }

    /// Applies it to the durable names.
    pub(super) fn apply(&self, nodes: &mut BTreeMap<Ino, Node>) {
        let mut put = |dir: &Ino, name: &Vec<u8>, ino: Option<Ino>| {
            if let Some(Body::Directory { durable, .. }) =
                nodes.get_mut(dir).map(|node| &mut node.body)
            {
                match ino {
                    Some(ino) => durable.insert(name.clone(), ino),
                    None => durable.remove(name),
                };
            }
        };
        match self {
            Self::Set { dir, name, ino } => put(dir, name, Some(*ino)),
            Self::Clear { dir, name } => put(dir, name, None),
            Self::Move { from, to, ino } => {
                put(&from.0, &from.1, None);
                put(&to.0, &to.1, Some(*ino));
            }
        }
    }
}

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) modified: (i64, u32),
}

/// What an object is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    File { live: Vec<u8>, durable: Vec<u8>, pending: Vec<Change> },
    Directory { live: Names, durable: Names, parent: Ino },
    Link(Vec<u8>),
}

/// How a sync of a directory reaches the disk, and what a crash may do to names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// One journal for all names: a sync commits everything before it, a crash leaves a prefix.
    Ordered,
    /// Only what was synced is sure; a crash leaves any part of the rest.
    Unordered,
}

/// A file system.
#[derive(Debug)]
pub struct Disk {
    pub(super) nodes: RefCell<BTreeMap<Ino, Node>>,
    pub(super) journal: RefCell<Vec<Entry>>,
    ino_next: Cell<Ino>,
    operations: Cell<u64>,
    trace: RefCell<Vec<Operation>>,
    fault: Cell<Option<Fault>>,
    /// Chance in a thousand that an operation fails with EIO.
    pub weak: Cell<u64>,
    hit: RefCell<Vec<Operation>>,
    /// Octets that may still be written.
    pub space: Cell<u64>,
    /// Every operation takes this much longer.
    pub slow: Cell<Duration>,
    /// How names become durable.
    pub mode: Cell<Journal>,
    /// What it lies about.
    pub sabotage: Cell<Sabotage>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        let body = Body::Directory { live: Names::new(), durable: Names::new(), parent: TOP };
        let top = Node { body, mode: 0o755, modified: (super::task::WALL_ORIGIN, 0) };
        Self::from_nodes(BTreeMap::from([(TOP, top)]), Journal::Unordered)
    }

    pub(super) fn from_nodes(nodes: BTreeMap<Ino, Node>, mode: Journal) -> Self {
        let last = nodes.keys().next_back().copied().unwrap_or(TOP);
        Self {
            nodes: RefCell::new(nodes),
            journal: RefCell::default(),
            ino_next: Cell::new(last + 1),
            operations: Cell::new(0),
            trace: RefCell::default(),
            fault: Cell::new(None),
            weak: Cell::new(0),
            hit: RefCell::default(),
            space: Cell::new(1 << 40),
            slow: Cell::new(Duration::ZERO),
            mode: Cell::new(mode),
            sabotage: Cell::default(),
        }
    }

    /// File operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// What they were.
    pub fn trace(&self) -> Vec<Operation> {
        self.trace.borrow().clone()
    }

    /// Operation number `at` (from 1) fails with `number`; with `lasting`, all after it too.
    pub fn fail_at(&self, at: u64, number: i32, lasting: bool) {
        self.fault.set(Some(Fault { at, number, lasting }));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.fault.set(None);
        self.weak.set(0);
    }

    /// What failed by `fail_at` so far.
    pub fn hit(&self) -> Vec<Operation> {
        self.hit.borrow().clone()
    }

    /// Counts one operation, and says whether it fails.
    pub(super) fn begin(&self, what: Operation) -> io::Result<()> {
        let number = self.operations.get() + 1;
        self.operations.set(number);
        self.trace.borrow_mut().push(what);
        if self.weak.get() > 0 && super::random() % 1000 < self.weak.get() {
            self.hit.borrow_mut().push(what);
            return Err(error(errno::IO));
        }
        match self.fault.get() {
            Some(fault) if fault.at == number || fault.lasting && fault.at < number => {
                self.hit.borrow_mut().push(what);
                Err(error(fault.number))
            }
            _ => Ok(()),
        }
    }

    /// Names of a directory.
    pub(super) fn names(&self, dir: Ino) -> io::Result<Names> {
        match &self.nodes.borrow()[&dir].body {
            Body::Directory { live, .. } => Ok(live.clone()),
            Body::File { .. } | Body::Link(_) => Err(error(errno::NOTDIR)),
        }
    }

    /// What `name` in `dir` is.
    pub(super) fn find(&self, dir: Ino, name: &[u8]) -> io::Result<Ino> {
        match &self.nodes.borrow()[&dir].body {
            Body::Directory { live, .. } => {
                live.get(name).copied().ok_or_else(|| error(errno::NOENT))
            }
            Body::File { .. } | Body::Link(_) => Err(error(errno::NOTDIR)),
        }
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.nodes.borrow()[&ino].body, Body::Directory { .. })
    }

    fn live<T>(&self, dir: Ino, change: impl FnOnce(&mut Names) -> T) -> T {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.get_mut(&dir).unwrap();
        node.modified = super::task::wall();
        match &mut node.body {
            Body::Directory { live, .. } => change(live),
            Body::File { .. } | Body::Link(_) => panic!("not a directory"),
        }
    }

    /// Makes a new object under a name that is free.
    pub(super) fn make(&self, dir: Ino, name: &[u8], body: Body, mode: u32) -> io::Result<Ino> {
        check(name)?;
        if self.find(dir, name).is_ok() {
            return Err(error(errno::EXIST));
        }
        let ino = self.ino_next.get();
        self.ino_next.set(ino + 1);
        let node = Node { body, mode, modified: super::task::wall() };
        self.nodes.borrow_mut().insert(ino, node);
        self.live(dir, |live| live.insert(name.to_vec(), ino));
        self.journal.borrow_mut().push(Entry::Set { dir, name: name.to_vec(), ino });
        Ok(ino)
    }

    /// Removes a file or link.
    pub(super) fn unlink(&self, dir: Ino, name: &[u8]) -> io::Result<()> {
        if self.is_dir(self.find(dir, name)?) {
            return Err(error(errno::ISDIR));
        }
        if !self.sabotage.get().unlink {
            self.clear(dir, name);
        }
        Ok(())
    }

    /// Removes an empty directory.
    pub(super) fn remove_dir(&self, dir: Ino, name: &[u8]) -> io::Result<()> {
        if !self.names(self.find(dir, name)?)?.is_empty() {
            return Err(error(errno::NOTEMPTY));
        }
        self.clear(dir, name);
        Ok(())
    }

    fn clear(&self, dir: Ino, name: &[u8]) {
        self.live(dir, |live| live.remove(name));
        self.journal.borrow_mut().push(Entry::Clear { dir, name: name.to_vec() });
    }

    /// Renames; the same object under both names stays as it is.
    pub(super) fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        replace: bool,
    ) -> io::Result<()> {
        check(to.1)?;
        let ino = self.find(from.0, from.1)?;
        if let Ok(old) = self.find(to.0, to.1) {
            if !replace {
                return Err(error(errno::EXIST));
            }
            if old == ino {
                return Ok(());
            }
            match (self.is_dir(ino), self.is_dir(old)) {
                (true, false) => return Err(error(errno::NOTDIR)),
                (false, true) => return Err(error(errno::ISDIR)),
                (true, true) if !self.names(old)?.is_empty() => return Err(error(errno::NOTEMPTY)),
                _ => {}
            }
        }
        if self.is_dir(ino) && self.is_within(to.0, ino) {
            return Err(error(errno::INVAL));
        }
        self.live(from.0, |live| live.remove(from.1));
        self.live(to.0, |live| live.insert(to.1.to_vec(), ino));
        if let Some(Body::Directory { parent, .. }) =
            self.nodes.borrow_mut().get_mut(&ino).map(|node| &mut node.body)
        {
            *parent = to.0;
        }
        let (from, to) = ((from.0, from.1.to_vec()), (to.0, to.1.to_vec()));
        self.journal.borrow_mut().push(Entry::Move { from, to, ino });
        Ok(())
    }

    pub(super) fn parent(&self, dir: Ino) -> Ino {
        match self.nodes.borrow()[&dir].body {
            Body::Directory { parent, .. } => parent,
            Body::File { .. } | Body::Link(_) => TOP,
        }
    }

    fn is_within(&self, mut dir: Ino, above: Ino) -> bool {
        while dir != above && dir != TOP {
            dir = self.parent(dir);
        }
        dir == above
    }

    /// Changes the content of a file.
    pub(super) fn change(&self, ino: Ino, change: Change) {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.get_mut(&ino).unwrap();
        node.modified = super::task::wall();
        if let Body::File { live, pending, .. } = &mut node.body {
            change.apply(live);
            pending.push(change);
        }
    }

    /// Content of a file.
    pub(super) fn content<T>(&self, ino: Ino, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match &self.nodes.borrow()[&ino].body {
            Body::File { live, .. } => Ok(look(live)),
            Body::Directory { .. } => Err(error(errno::ISDIR)),
            Body::Link(_) => Err(error(errno::LOOP)),
        }
    }

    /// Makes content durable; when it fails the pages count as clean and are lost, as on Linux.
    pub(super) fn sync(&self, ino: Ino, works: bool, rng: &Rng) {
        let lies = self.sabotage.get().sync;
        if let Some(Body::File { durable, pending, .. }) =
            self.nodes.borrow_mut().get_mut(&ino).map(|node| &mut node.body)
        {
            if works && lies {
                return;
            }
            for change in pending.drain(..) {
                if works || rng.percent(50) {
                    change.apply(durable);
                }
            }
        }
    }

    /// Writes past every cache: what was written at `offset` becomes durable when this says so. Until
    /// then it is among the changes that a crash may leave in part.
    pub(super) fn write_through(&self, ino: Ino, offset: usize, len: usize) {
        if self.sabotage.get().sync {
            return;
        }
        if let Some(Body::File { durable, pending, .. }) =
            self.nodes.borrow_mut().get_mut(&ino).map(|node| &mut node.body)
        {
            let own = pending.iter().position(|change| match change {
                Change::Write { offset: at, bytes } => (*at, bytes.len()) == (offset, len),
                Change::Truncate(_) => false,
            });
            if let Some(own) = own {
                pending.remove(own).apply(durable);
            }
        }
    }

    /// Makes the names of a directory durable.
    pub(super) fn sync_dir(&self, dir: Ino) {
        if self.sabotage.get().sync_dir {
            return;
        }
        let mut journal = self.journal.borrow_mut();
        let kept = match self.mode.get() {
            Journal::Ordered => BTreeSet::new(),
            Journal::Unordered => unrelated(&journal, dir),
        };
        let mut nodes = self.nodes.borrow_mut();
        let mut number = 0;
        journal.retain(|entry| {
            let keep = kept.contains(&number);
            number += 1;
            if !keep {
                entry.apply(&mut nodes);
            }
            keep
        });
    }
}

/// Entries that a sync of `dir` need not commit: they touch neither it nor a name that one after
/// them, which is committed, touches too.
fn unrelated(journal: &[Entry], dir: Ino) -> BTreeSet<usize> {
    let mut places: BTreeSet<(Ino, &[u8])> = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for (number, entry) in journal.iter().enumerate().rev() {
        let touched = entry.places();
        if touched.iter().any(|place| place.0 == dir || places.contains(place)) {
            places.extend(touched);
        } else {
            kept.insert(number);
        }
    }
    kept
}

fn check(name: &[u8]) -> io::Result<()> {
    match name {
        b"" | b"." | b".." => Err(error(errno::INVAL)),
        name if name.len() > 255 => Err(error(errno::NAMETOOLONG)),
        name if name.contains(&b'/') || name.contains(&0) => Err(error(errno::INVAL)),
        _ => Ok(()),
    }
}
