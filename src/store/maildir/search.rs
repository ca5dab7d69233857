//! store::maildir::search – what a mailbox holds of ours already.
//!
//! Promises: a message that moves from `new/` to `cur/` while one looks is seen: `new/` is read first.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::rc::Rc;

use super::Folder;
use crate::shard::{Dir, Item, Root};
use crate::store::spool::QueueId;

/// Entries read at a time.
const BATCH: usize = 1024;
/// Names remembered over all mailboxes; more than that are looked for again.
const KEYS_MAX: usize = 1_000_000;

/// Names one target of one message: `Q0123456789ABCT7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) id: QueueId,
    pub(super) target: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q{}T{}", self.id, self.target)
    }
}

impl Key {
    /// Of the name of a file, whatever flags and sizes are behind it.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let part = name.split(|&octet| octet == b'.').nth(1)?;
        let part = std::str::from_utf8(part).ok()?.strip_prefix('Q')?;
        // By its length: a queue id may hold a T itself.
        let (id, target) = part.split_at_checked(13)?;
        let target = target.strip_prefix('T')?;
        Some(Self { id: id.parse().ok()?, target: target.parse().ok()? })
    }
}

/// What is in a mailbox at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    keys: HashSet<Key>,
}

impl Snapshot {
    pub(super) async fn take(root: &Root, place: &Folder) -> io::Result<Self> {
        let mut keys = HashSet::new();
        for (dir, part) in [(&place.new, "new"), (&place.cur, "cur")] {
            let path = format!("{}/{part}", place.path);
            each(root, dir, &path, |item| keys.extend(Key::of(&item.name))).await?;
        }
        Ok(Self { keys })
    }

    pub(super) fn holds(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }
}

/// Keeps a snapshot while there is room for all of them.
pub(super) fn keep(
    snapshots: &mut HashMap<String, Rc<Snapshot>>,
    path: &str,
    snapshot: Rc<Snapshot>,
) {
    let kept: usize = snapshots.values().map(|one| one.keys.len() + 1).sum();
    if kept + snapshot.keys.len() >= KEYS_MAX {
        snapshots.clear();
    }
    snapshots.insert(path.to_owned(), snapshot);
}

/// Everything in a directory.
pub(super) async fn each(
    root: &Root,
    dir: &Dir,
    path: &str,
    mut look: impl FnMut(&Item),
) -> io::Result<()> {
    let mut cursor = None;
    loop {
        let (items, next) = dir.read(root, path.as_bytes(), cursor, BATCH).await?;
        items.iter().for_each(&mut look);
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_names() {
        let key = Key { id: "0TTTTTTTTTTTT".parse().unwrap(), target: 12 };
        for rest in ["", ".host", ".host,S=12", ".host,S=12:2,RS"] {
            assert_eq!(Key::of(format!("1700000000.{key}{rest}").as_bytes()), Some(key), "{rest}");
        }
        for other in ["", "1.2.3", "1.Q0TTTTTTTTTTTTT.h", "1.QT1.h", "1.Qé000000000000T1", "x"] {
            assert_eq!(Key::of(other.as_bytes()), None, "{other}");
        }
    }
}
