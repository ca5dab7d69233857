//! store::spool::open – from a directory to a running log.
//!
//! ```text
//!   FORMAT ─▶ directories ─▶ own log read ─▶ committer, keeper ─▶ other logs adopted ─▶ litter swept
//! ```
//! Litter: temporaries, and large files that no pointer names. Those stay while anything is damaged or
//! torn: the pointer may be what was lost.
//!
//! Promises: a crash at any point is followed by another open that finds the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::str::FromStr;

use super::adopt;
use super::bell::Bell;
use super::budget::Budget;
use super::disk;
use super::format::{ALIGN, FORMAT_LINE};
use super::kept::Finds;
use super::log::{Settings, Spool};
use super::recover::{self, Log};
use super::segment::Segment;
use super::state::{Inner, Phase, State};
use super::{QueueId, commit, keeper};
use crate::shard::{self, Dir, FileKind, Instant, Root};
use crate::store::packed::Packed;

/// What was noted of each message found.
pub(super) type Notes = Packed<Vec<Vec<u8>>>;

/// Smallest segment.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const FORMAT: &[u8] = b"FORMAT";

pub(super) async fn open(
    root: &Root,
    shard: usize,
    shards: usize,
    mut settings: Settings,
) -> io::Result<(Spool, Finds)> {
    let align = disk::wide(ALIGN);
    settings.segment_bytes = settings.segment_bytes.max(SEGMENT_BYTES_MIN) / align * align;
    let number = |value| u32::try_from(value).map_err(|_| io::Error::from(ErrorKind::InvalidInput));
    let (shard, shards) = (number(shard)?, number(shards)?.max(1));
    let above = root.open_dir(b"").await?;
    check_format(root, &above, shard).await?;
    let path = format!("shard-{shard}");
    let dir = disk::make_dir(root, &above, path.as_bytes()).await?;
    let large = disk::make_dir(root, &dir, format!("{path}/large").as_bytes()).await?;
    adopt::resume(root, shard).await?;
    let log = recover::read(root, path.as_bytes(), shard, settings.replaces).await?;
    let spare = log.damaged || log.torn;
    let (state, mut notes) = state(log);
    let inner = Rc::new(Inner {
        shard,
        root: root.clone(),
        dir,
        large,
        budget: Budget::new(settings.memory_bytes),
        settings,
        state: RefCell::new(state),
        work: Bell::default(),
        keep: Bell::default(),
        stuck: Bell::default(),
        ended: Bell::default(),
        on_commit: RefCell::new(None),
    });
    sweep_temporaries(&inner).await?;
    keeper::ask_free(&inner).await;
    shard::spawn("spool committer", commit::run(Rc::clone(&inner)));
    shard::spawn("spool keeper", keeper::run(Rc::clone(&inner)));
    let spool = Spool(inner);
    match settle_in(&spool.0, shards, spare, &mut notes).await {
        Ok(()) => Ok((spool.clone(), Finds::new(spool, notes))),
        Err(error) => {
            spool.close().await;
            Err(error)
        }
    }
}

/// What the running log is needed for.
async fn settle_in(
    inner: &Rc<Inner>,
    shards: u32,
    spare: bool,
    notes: &mut Notes,
) -> io::Result<()> {
    let orphans = adopt::orphans(&inner.root, inner.shard, shards).await?;
    adopt::finish_own(inner, &orphans).await?;
    for number in orphans.logs.iter().copied() {
        let messages = adopt::adopt(inner, &orphans, number, notes).await?;
        tracing::info!(shard = number, messages, "adopted a spool");
    }
    if !spare {
        sweep_large(inner).await?;
    }
    Ok(())
}

/// Makes `FORMAT`, or finds it as it must be.
async fn check_format(root: &Root, above: &Dir, shard: u32) -> io::Result<()> {
    let file = match root.open_file(FORMAT).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Every shard may find it missing at the same time; all write the same.
            let temporary = format!("FORMAT.{shard}.tmp").into_bytes();
            match above.unlink(&temporary).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let file = above.create(&temporary, disk::FILE_MODE).await?;
            disk::write_all(&file, FORMAT_LINE.as_bytes(), 0).await?;
            disk::sync(&file).await?;
            above.rename(&temporary, above, FORMAT, true).await?;
            disk::sync_dir(above).await?;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let says = disk::read(&file, 0, 2 * FORMAT_LINE.len()).await?;
    if says == FORMAT_LINE.as_bytes() {
        return Ok(());
    }
    let says = String::from_utf8_lossy(&says).trim().to_owned();
    let why = format!("FORMAT says {says:?}; this version reads {:?}", FORMAT_LINE.trim());
    Err(io::Error::new(ErrorKind::Unsupported, why))
}

/// The log as it runs, and what was noted of its messages.
fn state(log: Log) -> (State, Notes) {
    let by_generation: BTreeMap<u64, Rc<Segment>> =
        log.used.iter().map(|segment| (segment.generation(), Rc::clone(segment))).collect();
    let mut state = State {
        live: Packed::default(),
        large: BTreeMap::new(),
        carrying: BTreeMap::new(),
        messages: 0,
        bytes: 0,
        sealed: VecDeque::from(log.used),
        current: None,
        free: VecDeque::new(),
        stale: log.empty,
        queue: VecDeque::new(),
        urgent: 0,
        due: Instant::NEVER,
        lazy_due: Instant::NEVER,
        cuts: Vec::new(),
        generation: log.generation,
        number: log.number,
        last_id: log.last_id,
        drafts: 0,
        busy_since: None,
        trouble: None,
        free_bytes: u64::MAX,
        appended: 0,
        free_asked: shard::now(),
        free_wanted: true,
        phase: Phase::Open,
    };
    let mut notes = Notes::default();
    for (id, held) in log.messages {
        if let Some(segment) = by_generation.get(&held.generation) {
            state.hold_found(QueueId(id), segment, &held);
            notes.insert(id, held.notes);
        }
    }
    (state, notes)
}

async fn sweep_temporaries(inner: &Inner) -> io::Result<()> {
    let own = format!("shard-{}", inner.shard);
    for (dir, path) in [(&inner.dir, own.clone()), (&inner.large, format!("{own}/large"))] {
        for item in disk::list(&inner.root, path.as_bytes(), FileKind::File).await? {
            if item.name.ends_with(b".tmp") {
                dir.unlink(&item.name).await?;
            }
        }
    }
    Ok(())
}

/// Removes large files of messages that are not in the log: settled, or never committed.
async fn sweep_large(inner: &Inner) -> io::Result<()> {
    let path = format!("shard-{}/large", inner.shard);
    for item in disk::list(&inner.root, path.as_bytes(), FileKind::File).await? {
        let id = std::str::from_utf8(&item.name).ok().and_then(|name| QueueId::from_str(name).ok());
        let Some(id) = id else { continue };
        let known = inner.state.borrow().large.contains_key(&id);
        if !known {
            inner.large.unlink(&item.name).await?;
        }
    }
    Ok(())
}
