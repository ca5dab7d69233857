//! sim::crash – what a disk holds after the power failed, and the script's direct view of a disk.
//!
//! After a crash every file holds its durable content plus any part of what was written since, and
//! every directory its durable names plus any part (or, journalled, any beginning) of the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::disk::{Body, Change, Disk, Entry, Ino, Journal, Names, Node, TOP, grow};
use super::rng::Rng;

/// Octets that a disk writes whole.
const SECTOR: usize = 512;

/// How much of what was not synced a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Everything unsynced is gone.
    All,
    /// Nothing is gone: the process died, the machine did not.
    None,
    /// Names are kept, content is gone: what a missing fsync before rename leaves.
    Content,
    /// Content is kept, names are gone.
    Names,
    /// Any part.
    Random,
}

/// Every kind of loss.
pub const LOSSES: [Loss; 5] = [Loss::All, Loss::None, Loss::Content, Loss::Names, Loss::Random];

impl Disk {
    /// One of the states that a crash now may leave; this disk stays as it is.
    pub fn crash(&self, rng: &Rng, loss: Loss) -> Rc<Self> {
        let mut nodes = self.nodes.borrow().clone();
        for entry in survivors(&self.journal.borrow(), self.mode.get(), loss, rng) {
            entry.apply(&mut nodes);
        }
        for node in nodes.values_mut() {
            settle(&mut node.body, loss, rng);
        }
        sweep(&mut nodes);
        Rc::new(Self::from_nodes(nodes, self.mode.get()))
    }

    /// Makes everything durable and forgets the counts: the state a scenario begins with.
    pub fn settle(&self) {
        self.journal
            .borrow_mut()
            .drain(..)
            .for_each(|entry| entry.apply(&mut self.nodes.borrow_mut()));
        for node in self.nodes.borrow_mut().values_mut() {
            if let Body::File { live, durable, pending } = &mut node.body {
                durable.clone_from(live);
                pending.clear();
            }
        }
    }

    /// Makes a directory and those above it, durable at once.
    pub fn plant_dir(&self, path: &str) -> Ino {
        let mut dir = TOP;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            dir = self.find(dir, name.as_bytes()).unwrap_or_else(|_| {
                let body =
                    Body::Directory { live: Names::new(), durable: Names::new(), parent: dir };
                self.make(dir, name.as_bytes(), body, 0o755).unwrap()
            });
        }
        self.settle();
        dir
    }

    /// Makes a file, durable at once.
    pub fn plant(&self, path: &str, content: &[u8]) {
        let (dir, name) = path.rsplit_once('/').unwrap();
        let dir = self.plant_dir(dir);
        let ino = self.find(dir, name.as_bytes()).unwrap_or_else(|_| {
            let body = Body::File { live: Vec::new(), durable: Vec::new(), pending: Vec::new() };
            self.make(dir, name.as_bytes(), body, 0o644).unwrap()
        });
        self.change(ino, Change::Truncate(0));
        self.change(ino, Change::Write { offset: 0, bytes: content.to_vec() });
        self.settle();
    }

    /// Makes a symbolic link, durable at once.
    pub fn plant_link(&self, path: &str, target: &str) {
        let (dir, name) = path.rsplit_once('/').unwrap();
        let dir = self.plant_dir(dir);
        self.make(dir, name.as_bytes(), Body::Link(target.into()), 0o777).unwrap();
        self.settle();
    }

    fn walk(&self, path: &str) -> Option<Ino> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(TOP, |dir, name| self.find(dir, name.as_bytes()).ok())
    }

    /// Content of a file as the live system sees it; `None` when there is none. Follows no links.
    pub fn peek(&self, path: &str) -> Option<Vec<u8>> {
        self.content(self.walk(path)?, <[u8]>::to_vec).ok()
    }

    /// Every file below `path` with its path (below it) and content, in order.
    pub fn files(&self, path: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![(Vec::new(), self.walk(path).unwrap())];
        while let Some((prefix, dir)) = dirs.pop() {
            for (name, ino) in self.names(dir).unwrap() {
                let path = [&prefix[..], &name[..]].concat();
                if self.is_dir(ino) {
                    dirs.push(([&path[..], b"/"].concat(), ino));
                } else if let Ok(content) = self.content(ino, <[u8]>::to_vec) {
                    files.insert(path, content);
                }
            }
        }
        files
    }
}

/// Changes of names that reached the disk.
fn survivors(journal: &[Entry], mode: Journal, loss: Loss, rng: &Rng) -> Vec<Entry> {
    match (loss, mode) {
        (Loss::All | Loss::Names, _) => Vec::new(),
        (Loss::None | Loss::Content, _) => journal.to_vec(),
        (Loss::Random, Journal::Ordered) => journal[..rng.range(0, journal.len())].to_vec(),
        (Loss::Random, Journal::Unordered) => {
            let chance = *rng.pick(&[20, 50, 80]);
            journal.iter().filter(|_| rng.percent(chance)).cloned().collect()
        }
    }
}

/// Makes what a crash leaves of an object its live and durable state.
fn settle(body: &mut Body, loss: Loss, rng: &Rng) {
    match body {
        Body::File { live, durable, pending } => {
            match loss {
                Loss::All | Loss::Content => {}
                Loss::None | Loss::Names => durable.clone_from(live),
                Loss::Random => tear(durable, pending, rng),
            }
            pending.clear();
            live.clone_from(durable);
        }
        Body::Directory { live, durable, .. } => live.clone_from(durable),
        Body::Link(_) => {}
    }
}

/// Applies any part of `pending`, down to single sectors; the length may come before the content.
fn tear(content: &mut Vec<u8>, pending: &[Change], rng: &Rng) {
    let chance = *rng.pick(&[0, 50, 90, 100]);
    let length_first = rng.percent(50);
    for change in pending {
        match change {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if length_first {
                    grow(content, end);
                }
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    if rng.percent(chance) {
                        let offset = offset + number * SECTOR;
                        Change::Write { offset, bytes: sector.to_vec() }.apply(content);
                    }
                }
            }
            Change::Truncate(_) if rng.percent(chance) => change.apply(content),
            Change::Truncate(_) => {}
        }
    }
}

/// Forgets what no name leads to, and sets parents right; names that lead nowhere go too.
fn sweep(nodes: &mut BTreeMap<Ino, Node>) {
    let mut reached = BTreeSet::from([TOP]);
    let mut dirs = vec![TOP];
    while let Some(dir) = dirs.pop() {
        let names: Vec<Ino> = match &nodes[&dir].body {
            Body::Directory { live, .. } => live.values().copied().collect(),
            Body::File { .. } | Body::Link(_) => continue,
        };
        for ino in names {
            if reached.insert(ino) {
                dirs.push(ino);
                if let Some(Body::Directory { parent, .. }) =
                    nodes.get_mut(&ino).map(|node| &mut node.body)
                {
                    *parent = dir;
                }
            }
        }
    }
    nodes.retain(|ino, _| reached.contains(ino));
}
