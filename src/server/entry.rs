//! server::entry – what the tree shows of an object, in the words of the core, with the rights of one account.

use crate::ftp::step::{Entry, EntryKind, UnixTime};
use crate::shard::{FileKind, Item, Stat};
use crate::store::files::Tree;

/// Any read bit: nobody may read a file without one.
const READ_BITS: u32 = 0o444;

/// One entry of the directory at `parent`.
pub(super) fn of_item(tree: &Tree, parent: &[u8], item: Item) -> Entry {
    let path = below(parent, &item.name);
    let (stat, link) = match item.link {
        Some((says, leads)) => (leads.unwrap_or(item.stat), Some(says)),
        None => (item.stat, None),
    };
    let mut entry = of_stat(tree, &path, &stat);
    entry.name = item.name;
    entry.link_target = link;
    entry
}

/// The object at `path`, named by its last component.
pub(super) fn of_stat(tree: &Tree, path: &[u8], stat: &Stat) -> Entry {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let kind = match stat.kind {
        FileKind::File => EntryKind::File,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Link => EntryKind::Link,
        FileKind::Other => EntryKind::Other,
    };
    let directory = kind == EntryKind::Directory;
    let bits = stat.mode & READ_BITS != 0;
    Entry {
        name: if name.is_empty() { b"/".to_vec() } else { name.to_vec() },
        kind,
        size_bytes: stat.size,
        modified: UnixTime(stat.modified.0),
        mode: stat.mode & 0o7777,
        links: stat.links,
        unique: (stat.device, stat.inode),
        link_target: None,
        writable: writable(tree, path, directory),
        readable: bits && (directory || tree.may_read(path)),
        creatable: directory && tree.may_store_in(path),
        managed: directory && tree.may_change(),
    }
}

/// The listed directory itself, or its parent.
pub(super) fn special(tree: &Tree, path: &[u8], stat: &Stat, kind: EntryKind) -> Entry {
    let name: &[u8] = if kind == EntryKind::Parent { b".." } else { b"." };
    Entry { kind, name: name.to_vec(), ..of_stat(tree, path, stat) }
}

/// `parent/name`.
pub(super) fn below(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn writable(tree: &Tree, path: &[u8], directory: bool) -> bool {
    if path.is_empty() {
        return false;
    }
    let parent = crate::store::files::split(path).map_or(&[][..], |(parent, _)| parent);
    tree.may_change() || (!directory && tree.may_replace() && tree.may_store_in(parent))
}
