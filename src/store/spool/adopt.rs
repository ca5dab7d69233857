//! store::spool::adopt – logs of shards that exist no more, taken over by one that does.
//!
//! ```text
//!   shard-J/ADOPTING says "M, and from generation G on"
//!   shard-M ─ read ─▶ messages, notes ─▶ own log from generation G on, durably
//!   shard-M renamed to shard-M.adopted-J, durably          ◀── from here on the messages are J's
//!   ADOPTING removed, durably
//!   large files moved to J's, durably; what is left of shard-M.adopted-J removed
//! ```
//! Nobody is told of a message, and none is taken from a client, before all this is over.
//! Crash before the rename: the next start of J (or of who adopts J) finds ADOPTING and no
//! shard-M.adopted-J, and removes its segments from generation G on: all of that was copies. Crash
//! after it: ADOPTING is only removed. Crash later: what is left is finished.
//! So a message counts in one of the two logs at any time, whatever number of shards comes next.
//! A damaged log becomes shard-M.damaged-J instead and is kept, less what could be read.
//!
//! Promises: adoption as a whole happens or does not.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::str::FromStr;

use super::QueueId;
use super::bell::Outcome;
use super::disk;
use super::fold::{Held, Octets};
use super::format::{Kind, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::large;
use super::log::Trouble;
use super::open::Notes;
use super::recover::{self, Log};
use super::segment;
use super::state::{Entry, Inner};
use crate::shard::{Dir, FileKind, Root};

/// Octets handed to the committer before it is waited for.
const AHEAD_BYTES_MAX: u64 = 4 << 20;
/// What an adopted log is called, and a damaged one; the adopter's number follows.
const ADOPTED: &str = ".adopted-";
const DAMAGED: &str = ".damaged-";
/// Says in the adopter's directory what is going on.
const INTENT: &[u8] = b"ADOPTING";
const INTENT_NEW: &[u8] = b"ADOPTING.tmp";

/// What lies beside the own log and is this shard's business.
#[derive(Default)]
pub(super) struct Orphans {
    /// Logs to be adopted.
    pub(super) logs: Vec<u32>,
    /// Logs that were adopted, by whom, and where they are.
    left: Vec<(u32, String)>,
}

/// What the name of a log that was adopted says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Whose it was.
    pub(super) of: u32,
    /// Who has its messages.
    pub(super) by: u32,
    /// Not all of it could be read.
    pub(super) damaged: bool,
}

/// A number as the names of logs have it.
pub(super) fn parse(digits: &str) -> Option<u32> {
    digits.parse::<u32>().ok().filter(|number| number.to_string() == digits)
}

/// Is it the name of a log that was adopted?
pub(super) fn left(name: &str) -> Option<Left> {
    let rest = name.strip_prefix("shard-")?;
    let adopted = rest.split_once(ADOPTED).map(|parts| (parts, false));
    let ((of, by), damaged) =
        adopted.or_else(|| rest.split_once(DAMAGED).map(|parts| (parts, true)))?;
    Some(Left { of: parse(of)?, by: parse(by)?, damaged })
}

/// What `ADOPTING` says: whose log, and from which generation on the own one holds copies.
pub(super) fn intent(says: &[u8]) -> Option<(u32, u64)> {
    let (of, from) = std::str::from_utf8(says).ok()?.trim().split_once(' ')?;
    Some((of.parse().ok()?, from.parse().ok()?))
}

/// Looks for logs that shard `own` of `shards` is to adopt, and what is left of those adopted before.
pub(super) async fn orphans(root: &Root, own: u32, shards: u32) -> io::Result<Orphans> {
    let mut orphans = Orphans::default();
    for item in disk::list(root, b"", FileKind::Directory).await? {
        let Ok(name) = String::from_utf8(item.name) else { continue };
        let ours = |by: &u32| *by == own || *by >= shards && by % shards == own;
        if let Some(Left { by, .. }) = left(&name) {
            if ours(&by) {
                orphans.left.push((by, name));
            }
        } else {
            let number = name.strip_prefix("shard-").and_then(parse);
            orphans.logs.extend(number.filter(|one| *one >= shards && one % shards == own));
        }
    }
    Ok(orphans)
}

fn path_of(shard: u32) -> String {
    format!("shard-{shard}")
}

async fn unlink(dir: &Dir, name: &[u8]) -> io::Result<()> {
    match dir.unlink(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Ends an adoption by `shard` that a crash interrupted: it never was, or it is done.
pub(super) async fn resume(root: &Root, shard: u32) -> io::Result<()> {
    let path = path_of(shard);
    let file = match root.open_file(format!("{path}/ADOPTING").as_bytes()).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let says = disk::read(&file, 0, 64).await?;
    let (of, from) = intent(&says).ok_or(ErrorKind::InvalidData)?;
    let mut happened = false;
    for suffix in [ADOPTED, DAMAGED] {
        match root.stat(format!("shard-{of}{suffix}{shard}").as_bytes()).await {
            Ok(_) => happened = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let dir = root.open_dir(path.as_bytes()).await?;
    if !happened {
        for item in disk::list(root, path.as_bytes(), FileKind::File).await? {
            let Some(number) = segment::number(&item.name) else { continue };
            let place = [path.as_bytes(), b"/", &item.name].concat();
            let file = root.open_file(&place).await?;
            let start = disk::read(&file, 0, SEGMENT_HEADER_BYTES).await?;
            let header = match SegmentHeader::decode(&start) {
                Some(header) => Some(header),
                // Recovery would read it all the same.
                None => {
                    let all = disk::read(&file, 0, disk::narrow(item.stat.size)).await?;
                    SegmentHeader::from_first_record(&all, shard, number)
                }
            };
            if header.is_some_and(|header| header.generation >= from) {
                dir.unlink(&item.name).await?;
            }
        }
        disk::sync_dir(&dir).await?;
    }
    dir.unlink(INTENT).await?;
    disk::sync_dir(&dir).await
}

/// Says that a log is being adopted, and from where on its messages lie in the own one.
async fn intend(inner: &Inner, of: u32) -> io::Result<()> {
    let from = {
        let mut state = inner.state.borrow_mut();
        // Segments used from now on have larger generations than this one and those before it.
        if let Some(current) = state.current.take() {
            state.sealed.push_back(current);
        }
        let last = state.sealed.iter().map(|segment| segment.generation()).max();
        last.unwrap_or(0) + 1
    };
    unlink(&inner.dir, INTENT_NEW).await?;
    let file = inner.dir.create(INTENT_NEW, disk::FILE_MODE).await?;
    disk::write_all(&file, format!("{of} {from}\n").as_bytes(), 0).await?;
    disk::sync(&file).await?;
    inner.dir.rename(INTENT_NEW, &inner.dir, INTENT, true).await?;
    disk::sync_dir(&inner.dir).await
}

/// Takes over one log; its messages are durable in the own one afterwards.
pub(super) async fn adopt(
    inner: &Rc<Inner>,
    orphans: &Orphans,
    number: u32,
    notes: &mut Notes,
) -> io::Result<usize> {
    let path = path_of(number);
    resume(&inner.root, number).await?;
    let replaces = inner.settings.replaces;
    let log = recover::read(&inner.root, path.as_bytes(), number, replaces).await?;
    let theirs = inner.root.open_dir(format!("{path}/large").as_bytes()).await;
    if let Ok(theirs) = &theirs {
        let wanted = log.messages.iter().filter(|(_, held)| held.octets != Octets::Inline);
        let wanted = wanted.map(|(id, _)| QueueId(id)).collect();
        finish(&inner.root, orphans, number, theirs, &wanted).await?;
    }
    {
        let mut state = inner.state.borrow_mut();
        state.last_id = state.last_id.max(log.last_id);
    }
    set_aside(inner, &format!("{path}{DAMAGED}{}", inner.shard)).await?;
    intend(inner, number).await?;
    copy(inner, &log, notes).await?;
    let suffix = if log.damaged { DAMAGED } else { ADOPTED };
    let taken = format!("{path}{suffix}{}", inner.shard);
    let above = inner.root.open_dir(b"").await?;
    above.rename(path.as_bytes(), &above, taken.as_bytes(), false).await?;
    disk::sync_dir(&above).await?;
    inner.dir.unlink(INTENT).await?;
    disk::sync_dir(&inner.dir).await?;
    if log.damaged {
        tracing::error!(kept = %taken, "a damaged spool was adopted as far as it could be read");
    }
    let left = Orphans { logs: Vec::new(), left: vec![(inner.shard, taken)] };
    finish_own(inner, &left).await?;
    Ok(log.messages.len())
}

/// Gives a damaged log that an earlier adoption kept another name, so that its own says of the next one
/// whether it happened. Large files that are still needed were moved out of it before.
async fn set_aside(inner: &Inner, kept: &str) -> io::Result<()> {
    let above = inner.root.open_dir(b"").await?;
    for number in 1_u32.. {
        let aside = format!("{kept}.{number}");
        match above.rename(kept.as_bytes(), &above, aside.as_bytes(), false).await {
            Ok(()) => return disk::sync_dir(&above).await,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Finishes what the own shard adopted.
pub(super) async fn finish_own(inner: &Inner, orphans: &Orphans) -> io::Result<()> {
    let wanted = {
        let state = inner.state.borrow();
        state.large.keys().copied().collect()
    };
    finish(&inner.root, orphans, inner.shard, &inner.large, &wanted).await
}

/// Moves the large files that shard `by` needs from the logs it adopted, and removes those.
async fn finish(
    root: &Root,
    orphans: &Orphans,
    by: u32,
    target: &Dir,
    wanted: &BTreeSet<QueueId>,
) -> io::Result<()> {
    for (_, path) in orphans.left.iter().filter(|(one, _)| *one == by) {
        let large = format!("{path}/large").into_bytes();
        if let Ok(from) = root.open_dir(&large).await {
            for item in disk::list(root, &large, FileKind::File).await? {
                let name = std::str::from_utf8(&item.name).ok();
                let id = name.and_then(|name| QueueId::from_str(name).ok());
                if id.is_some_and(|id| wanted.contains(&id)) {
                    from.rename(&item.name, target, &item.name, true).await?;
                }
            }
            disk::sync_dir(target).await?;
            disk::sync_dir(&from).await?;
        }
        if path.contains(ADOPTED) {
            clear(root, path.as_bytes()).await?;
        }
    }
    Ok(())
}

/// Writes what a log holds to the own one, durably.
async fn copy(inner: &Rc<Inner>, log: &Log, notes: &mut Notes) -> io::Result<()> {
    let (mut waiting, mut ahead) = (Vec::new(), 0);
    for (id, held) in log.messages.iter() {
        let mut entry = entry(inner, log, QueueId(id), held).await?;
        let outcome = Outcome::new();
        entry.outcome = Some(Rc::clone(&outcome));
        ahead += disk::wide(entry.bytes());
        inner.push(entry);
        for note in &held.notes {
            inner.push(Entry::new(Some(Kind::Note), QueueId(id), note.clone()));
        }
        waiting.push(outcome);
        if ahead >= AHEAD_BYTES_MAX {
            all(&mut waiting).await?;
            ahead = 0;
        }
        notes.insert(id, held.notes.clone());
    }
    all(&mut waiting).await?;
    // The notes, too.
    inner.write(Entry::new(None, QueueId(0), Vec::new())).await.map_err(broken)
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

async fn entry(inner: &Inner, log: &Log, id: QueueId, held: &Held) -> io::Result<Entry> {
    let segment = log.segment(held).ok_or(ErrorKind::NotFound)?;
    let (meta, body) = recover::meta_and_body(segment, held.position, held.record_bytes).await?;
    match held.octets {
        Octets::Inline => {
            let entry = Entry { body, ..Entry::new(Some(Kind::Message), id, meta) };
            large::fitting(inner, entry).await
        }
        // Its file follows when the log is adopted.
        Octets::Large(size, sum) => Ok(Entry::pointer(id, meta, size, sum)),
    }
}

/// Removes an adopted log: the files, `large`, the directory.
async fn clear(root: &Root, path: &[u8]) -> io::Result<()> {
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
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    above.remove_dir(path).await?;
    disk::sync_dir(&above).await
}
