//! store::spool::adopt – logs of shards that exist no more, taken over by one that does.
//!
//! ```text
//!   shard-M ─ read ─▶ messages and notes ─▶ own log, durably ─▶ shard-M renamed to shard-M.adopted, durably
//!        large/ID ─ renamed ─▶ own large/ID, durably ┘            └─▶ its files removed, then itself
//! ```
//! Crash before the rename: the log is read again; messages that the own log has already are skipped –
//! none of them can have been settled, since nobody is told of any before this is over – and a large file
//! that was moved already is found in its new place. Crash after it: what is left is only removed.
//!
//! A damaged log becomes shard-M.damaged instead and is kept, less the messages that could be read.
//!
//! Promises: no message is in none of the two logs at any time.

use std::io;
use std::rc::Rc;

use super::QueueId;
use super::bell::Outcome;
use super::disk;
use super::fold::{Held, Octets};
use super::format::Kind;
use super::large;
use super::log::{Found, Trouble};
use super::recover::{self, Log};
use super::state::{Entry, Inner};
use crate::shard::{FileKind, Root};

/// Octets handed to the committer before it is waited for.
const AHEAD_BYTES_MAX: u64 = 4 << 20;
const SUFFIX: &str = ".adopted";
const DAMAGED: &str = ".damaged";

/// Logs that shard `own` of `shards` is to adopt, and what is left of those adopted before.
pub(super) async fn orphans(
    root: &Root,
    own: u32,
    shards: u32,
) -> io::Result<(Vec<u32>, Vec<Vec<u8>>)> {
    let (mut logs, mut left) = (Vec::new(), Vec::new());
    for item in disk::list(root, b"", FileKind::Directory).await? {
        let Ok(name) = std::str::from_utf8(&item.name) else { continue };
        let Some(rest) = name.strip_prefix("shard-") else { continue };
        let digits = rest.strip_suffix(SUFFIX).unwrap_or(rest);
        let Ok(number) = digits.parse::<u32>() else { continue };
        if number % shards != own || number.to_string() != digits {
            continue;
        }
        if digits != rest {
            left.push(item.name);
        } else if number >= shards {
            logs.push(number);
        }
    }
    Ok((logs, left))
}

/// Takes over one log; its messages are durable in the own one afterwards.
pub(super) async fn adopt(inner: &Rc<Inner>, number: u32) -> io::Result<Vec<Found>> {
    let path = format!("shard-{number}").into_bytes();
    let log = recover::read(&inner.root, &path, number).await?;
    {
        let mut state = inner.state.borrow_mut();
        state.last_id = state.last_id.max(log.last_id);
    }
    let mut found = Vec::new();
    let (mut waiting, mut ahead) = (Vec::new(), 0);
    for (id, held) in &log.messages {
        if inner.state.borrow().live.contains_key(id) {
            continue;
        }
        let mut entry = entry(inner, &log, &path, *id, held).await?;
        let outcome = Outcome::new();
        entry.outcome = Some(Rc::clone(&outcome));
        ahead += disk::wide(entry.bytes());
        inner.push(entry);
        for note in &held.notes {
            inner.push(Entry::new(Some(Kind::Note), *id, note.clone()));
        }
        waiting.push(outcome);
        if ahead >= AHEAD_BYTES_MAX {
            all(&mut waiting).await?;
            ahead = 0;
        }
        found.push(Found {
            id: *id,
            meta: held.meta.clone(),
            notes: held.notes.clone(),
            size: held.size,
        });
    }
    all(&mut waiting).await?;
    // The notes, too.
    inner.write(Entry::new(None, QueueId(0), Vec::new())).await.map_err(broken)?;
    if log.damaged {
        // What could not be read may be messages: left for who can make something of it.
        let kept = put_aside(inner, &path, DAMAGED).await?;
        tracing::error!(%kept, "a damaged spool was adopted as far as it could be read, and is kept");
    } else {
        let taken = put_aside(inner, &path, SUFFIX).await?;
        clear(&inner.root, taken.as_bytes()).await?;
    }
    Ok(found)
}

/// Renames a log that was read, durably.
async fn put_aside(inner: &Inner, path: &[u8], suffix: &str) -> io::Result<String> {
    let above = inner.root.open_dir(b"").await?;
    let first = format!("{}{suffix}", String::from_utf8_lossy(path));
    let mut name = first.clone();
    for number in 2.. {
        match above.rename(path, &above, name.as_bytes(), false).await {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                name = format!("{first}.{number}");
            }
            Err(error) => return Err(error),
        }
    }
    disk::sync_dir(&above).await?;
    Ok(name)
}

fn broken(trouble: Trouble) -> io::Error {
    io::Error::other(format!("not written to the log: {trouble:?}"))
}

async fn all(waiting: &mut Vec<Rc<Outcome>>) -> io::Result<()> {
    for outcome in waiting.drain(..) {
        outcome.known().await.map_err(broken)?;
    }
    Ok(())
}

async fn entry(
    inner: &Inner,
    log: &Log,
    path: &[u8],
    id: QueueId,
    held: &Held,
) -> io::Result<Entry> {
    let meta = held.meta.clone();
    match held.octets {
        Octets::Inline => {
            let segment = log.segment(held).ok_or(io::ErrorKind::NotFound)?;
            let body = recover::body(segment, held.position, held.record_bytes).await?;
            let entry = Entry { body, ..Entry::new(Some(Kind::Message), id, meta) };
            large::fitting(inner, entry).await
        }
        Octets::Large(size, sum) => {
            let name = id.to_string().into_bytes();
            let theirs = inner.root.open_dir(&[path, b"/large"].concat()).await?;
            match theirs.rename(&name, &inner.large, &name, true).await {
                Ok(()) => {}
                // It was moved before a crash, or is lost.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            disk::sync_dir(&inner.large).await?;
            Ok(Entry::pointer(id, meta, size, sum))
        }
    }
}

/// Removes an adopted log: the files, `large`, the directory.
pub(super) async fn clear(root: &Root, path: &[u8]) -> io::Result<()> {
    let above = root.open_dir(b"").await?;
    let dir = root.open_dir(path).await?;
    for (dir, path) in [
        (root.open_dir(&[path, b"/large"].concat()).await, [path, b"/large"].concat()),
        (Ok(dir.clone()), path.to_vec()),
    ] {
        let Ok(dir) = dir else { continue };
        for item in disk::list(root, &path, FileKind::File).await? {
            dir.unlink(&item.name).await?;
        }
    }
    match dir.remove_dir(b"large").await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    above.remove_dir(path).await?;
    disk::sync_dir(&above).await
}
