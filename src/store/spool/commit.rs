//! store::spool::commit – the one task of a shard that writes records.
//!
//! One batch is in flight; whatever is queued meanwhile rides the next. Everybody whose record was in
//! a batch is told by its one completion. A batch is assembled in blocks of the shard and written past
//! the page cache, durable with the write itself; where the file system refuses that, through the page
//! cache and synced.
//!
//! A write that fails or is short condemns its segment: it is never written again, those who waited are
//! told, and the next batch goes to another segment. What the failed batch may have left on the disk
//! is cancelled by the first records there; notes and settlements of it are written again.
//!
//! Crash at any point: batches before the one in flight are whole. Of that one any part may be there;
//! the reader drops it from its first bad record on, and nobody was told of any of it.
//!
//! Promises: nobody is told before the disk said yes; a failed batch is not tried again in its place.
//! Not here: making and recycling segments (`keeper`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::QueueId;
use super::disk::{self, wide};
use super::fold;
use super::format::{
    self, ALIGN, Cut, Kind, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::log::{Commit, Trouble};
use super::segment::Segment;
use super::state::{Entry, Inner, Live, Phase, State};
use crate::shard::{self, BLOCK_BYTES, Block, Instant};

/// Longest that what nobody waits for stays unwritten. A timer is late by a few milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Octets of one batch at most, unless a single record is larger.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// Writes of one batch in flight.
const WRITES_MAX: usize = 8;
/// Longest pause before what nobody waits for is tried again after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// What goes to the disk at once.
struct Batch {
    segment: Rc<Segment>,
    /// Where in the segment.
    from: u64,
    entries: Vec<Entry>,
    /// Octets, a multiple of [`ALIGN`].
    bytes: u64,
}

/// Writes what is queued until the log is closed.
pub(super) async fn run(inner: Rc<Inner>) {
    loop {
        wait(&inner).await;
        let finished = work(&inner).await;
        if finished {
            break;
        }
    }
    let mut state = inner.state.borrow_mut();
    state.phase = Phase::Written;
    let left = std::mem::take(&mut state.queue);
    drop(state);
    left.iter().for_each(|entry| refuse(&inner, entry, Trouble::Broken));
    inner.keep.ring();
}

/// Waits until something is due.
async fn wait(inner: &Inner) {
    loop {
        let (due, closing) = {
            let state = inner.state.borrow();
            (state.due, state.phase > Phase::Open)
        };
        if closing || due <= shard::now() {
            return;
        }
        if due == Instant::NEVER {
            inner.work.heard().await;
        } else {
            // Either way the clock is asked again.
            let (Some(()) | None) = shard::within(due, inner.work.heard()).await;
        }
    }
}

/// Writes batches until nothing is left or nothing can be written; true when that was all for good.
async fn work(inner: &Rc<Inner>) -> bool {
    loop {
        let begun = shard::now();
        let batch = {
            let mut state = inner.state.borrow_mut();
            if state.is_idle() {
                return state.phase > Phase::Open;
            }
            next_batch(&mut state)
        };
        let Some(batch) = batch else {
            inner.keep.ring();
            match unable(inner) {
                Some(true) => return true,
                Some(false) => return false,
                None => inner.work.heard().await,
            }
            continue;
        };
        inner.state.borrow_mut().busy_since = Some(begun);
        let written = if batch.bytes == 0 { Ok(()) } else { write(&batch).await };
        inner.state.borrow_mut().busy_since = None;
        match written {
            Ok(()) => finish(inner, &batch, begun),
            Err(error) => fail(inner, batch, &error),
        }
    }
}

/// No segment can be had. `None`: one is being made, wait. Else those who wait are told, and what
/// nobody waits for stays; true when the log closes.
fn unable(inner: &Inner) -> Option<bool> {
    let mut state = inner.state.borrow_mut();
    let trouble = state.trouble?;
    let queue = std::mem::take(&mut state.queue);
    let (kept, told): (Vec<_>, Vec<_>) =
        without_copies(queue, &mut BTreeSet::new()).partition(Entry::is_kept);
    state.queue.extend(kept);
    state.urgent = 0;
    state.due = shard::now().after(PAUSE);
    state.lazy_due = state.due;
    let closing = state.phase > Phase::Open;
    for entry in told.iter().filter(|entry| entry.carried) {
        release_carried(&mut state, entry.id);
    }
    drop(state);
    told.iter().for_each(|entry| refuse(inner, entry, trouble));
    Some(closing)
}

/// Says no to what was never written.
fn refuse(inner: &Inner, entry: &Entry, trouble: Trouble) {
    if entry.large.is_some() && !entry.carried {
        inner.large.unlink_detached(entry.id.to_string().as_bytes());
    }
    entry.tell(Err(trouble));
}

/// Leaves out the notes repeated behind a message carried on that is itself not written: the record
/// they were noted for stays, and they with it. `failed` gathers the names of those messages.
fn without_copies(
    entries: impl IntoIterator<Item = Entry>,
    failed: &mut BTreeSet<QueueId>,
) -> impl Iterator<Item = Entry> {
    entries.into_iter().filter(|entry| {
        if entry.carried && !entry.is_kept() {
            failed.insert(entry.id);
        }
        !(entry.carried && entry.is_kept() && failed.contains(&entry.id))
    })
}

/// The same in what is queued behind a batch that failed: up to the next time the message is carried on.
fn forget_copies(queue: &mut VecDeque<Entry>, mut failed: BTreeSet<QueueId>) {
    if failed.is_empty() {
        return;
    }
    queue.retain(|entry| {
        if entry.carried && !entry.is_kept() {
            failed.remove(&entry.id);
        }
        !(entry.carried && failed.contains(&entry.id))
    });
}

fn release_carried(state: &mut State, id: QueueId) {
    if let Some(live) = state.live.get_mut(id.0) {
        live.offered = false;
    }
}

/// The next batch and where it goes; `None` while there is no segment for it.
fn next_batch(state: &mut State) -> Option<Batch> {
    let cuts = state.cuts.len() * format::record_bytes(0, format::CUT_BYTES);
    let first = cuts + state.queue.front().map_or(0, Entry::bytes);
    let segment = match &state.current {
        // Cuts stand at the front of a segment or nowhere.
        Some(segment) if cuts == 0 && wide(format::batch_bytes(first)) <= segment.room() => {
            Rc::clone(segment)
        }
        _ => {
            let fresh = state.free.pop_front()?;
            if let Some(full) = state.current.replace(Rc::clone(&fresh)) {
                state.sealed.push_back(full);
            }
            fresh
        }
    };
    let mut entries: Vec<Entry> = state.cuts.iter().map(|(cut, _)| cancelled(*cut)).collect();
    let mut bytes = cuts;
    let room = disk::narrow(segment.room());
    while let Some(entry) = state.queue.front() {
        let more = bytes + entry.bytes();
        if format::batch_bytes(more) > room || more > BATCH_BYTES_MAX && bytes > cuts {
            break;
        }
        bytes = more;
        state.urgent -= usize::from(entry.outcome.is_some());
        entries.extend(state.queue.pop_front());
    }
    let from = segment.at.get();
    let bytes = wide(format::batch_bytes(bytes));
    segment.at.set(from + bytes);
    Some(Batch { segment, from, entries, bytes })
}

fn cancelled(cut: Cut) -> Entry {
    let body = Bytes::copy_from_slice(&format::cut_body(cut));
    Entry { body, ..Entry::new(Some(Kind::Cancelled), QueueId(0), Vec::new()) }
}

/// Copies records into blocks as they are asked for.
struct Records<'a> {
    header: SegmentHeader,
    batch: u64,
    entries: &'a [Entry],
    /// Octets of the batch copied so far.
    done: usize,
    /// The record being copied: where it begins in the batch, and its header.
    record: Option<(usize, [u8; RECORD_HEADER_BYTES])>,
}

impl Records<'_> {
    /// Fills the block with what comes next, zeros up to a multiple of [`ALIGN`] after the last record.
    fn fill(&mut self, block: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(entry) = self.entries.first() {
            let Some(kind) = entry.kind else {
                self.entries = &self.entries[1..];
                continue;
            };
            let (begin, header) = match self.record {
                Some(record) => record,
                None => (self.done, self.encode(kind, entry)),
            };
            self.record = Some((begin, header));
            let total = entry.bytes();
            let zeros = [0; 8];
            let padding = total - RECORD_HEADER_BYTES - entry.meta.len() - entry.body.len();
            let mut part_begin = begin;
            for part in [&header[..], &entry.meta, &entry.body, &zeros[..padding]] {
                let skip = self.done.saturating_sub(part_begin).min(part.len());
                let rest = &part[skip..];
                let count = rest.len().min(block.len() - filled);
                block[filled..filled + count].copy_from_slice(&rest[..count]);
                filled += count;
                self.done += count;
                part_begin += part.len();
            }
            if self.done < begin + total {
                return filled;
            }
            self.record = None;
            self.entries = &self.entries[1..];
        }
        let end = format::batch_bytes(filled).min(block.len());
        block[filled..end].fill(0);
        end
    }

    fn encode(&self, kind: Kind, entry: &Entry) -> [u8; RECORD_HEADER_BYTES] {
        let record = Record {
            kind,
            id: entry.id,
            position: self.batch + wide(self.done),
            batch: self.batch,
            meta: &entry.meta,
            body: &entry.body,
        };
        format::encode_header(&self.header, &record)
    }

    fn is_done(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Writes a batch through as many blocks as are free, at least one; durable when it returns.
///
/// A batch of one block is durable with its write. Of several, each would flush the disk for itself:
/// they are written first and synced once (1 MiB on a loop device: 4 flushes or 1).
async fn write(batch: &Batch) -> io::Result<()> {
    let segment = &batch.segment;
    let through = segment.direct.get() && batch.bytes <= wide(BLOCK_BYTES);
    let header = segment.header.get();
    let mut records =
        Records { header, batch: batch.from, entries: &batch.entries, done: 0, record: None };
    let mut at = batch.from;
    let mut outcome = Ok(());
    while !records.is_done() && outcome.is_ok() {
        let mut writes = Vec::new();
        let mut next: Option<Block> = Some(shard::block().await);
        while let Some(mut block) = next.take() {
            let len = records.fill(&mut block);
            writes.push(disk::write(&segment.file, block, len, at, through));
            at += wide(len);
            if !records.is_done() && writes.len() < WRITES_MAX {
                next = shard::try_block();
            }
        }
        for write in writes {
            // All are waited for: none is under way when the segment is condemned.
            let (written, block) = write.await;
            drop(block);
            outcome = outcome.and(written);
        }
    }
    if outcome.is_ok() && !through {
        outcome = disk::sync(&segment.file).await;
    }
    outcome
}

/// The batch is durable: everything in it counts, everybody is told.
fn finish(inner: &Inner, batch: &Batch, begun: Instant) {
    let mut unlink = Vec::new();
    let mut commit = Commit { bytes: batch.bytes, ..Commit::default() };
    {
        let mut state = inner.state.borrow_mut();
        if batch.from == wide(SEGMENT_HEADER_BYTES) {
            unlink.extend(state.cuts.drain(..).flat_map(|(_, large)| large));
        }
        let mut position = batch.from;
        for entry in &batch.entries {
            match entry.kind {
                Some(Kind::Message | Kind::Pointer) => {
                    commit.messages += u64::from(!entry.carried);
                    settle_place(&mut state, batch, entry, position);
                }
                Some(Kind::Settled) => {
                    if state.forget(entry.id) {
                        unlink.push(entry.id);
                    }
                }
                Some(Kind::Note | Kind::Cancelled) | None => {}
            }
            position += wide(entry.bytes());
        }
    }
    batch.entries.iter().for_each(|entry| entry.tell(Ok(())));
    for id in unlink {
        inner.large.unlink_detached(id.to_string().as_bytes());
    }
    if batch.bytes > 0 {
        commit.nanos = u64::try_from(shard::now().since(begun).as_nanos()).unwrap_or(u64::MAX);
        if let Some(told) = &*inner.on_commit.borrow() {
            told(&commit);
        }
    }
    inner.keep.ring();
    inner.tell_stuck();
}

fn settle_place(state: &mut State, batch: &Batch, entry: &Entry, position: u64) {
    if entry.carried && !state.live.contains(entry.id.0) {
        return;
    }
    let settled = state.live.get(entry.id.0).is_some_and(|live| live.settled);
    let meta = fold::meta_place(&entry.meta);
    let mut live = Live::new(&batch.segment, position, entry.body.len(), meta);
    live.settled = settled;
    state.carrying.remove(&entry.id);
    state.hold(entry.id, live, entry.large);
}

/// The segment is condemned. What others wait for has failed, the rest is written again elsewhere.
fn fail(inner: &Inner, batch: Batch, error: &io::Error) {
    let Batch { segment, from, entries, .. } = batch;
    let trouble = Trouble::of(error);
    let number = segment.number();
    tracing::error!(%error, segment = number, offset = from, "a write to the spool failed; the segment is condemned");
    let mut state = inner.state.borrow_mut();
    segment.condemned.set(true);
    if state.current.as_ref().is_some_and(|current| Rc::ptr_eq(current, &segment)) {
        state.current = None;
        state.sealed.push_back(Rc::clone(&segment));
    }
    let large = entries.iter().filter(|entry| entry.large.is_some() && !entry.carried);
    let cut = Cut { generation: segment.generation(), from };
    let large = large.map(|entry| entry.id).collect();
    state.cuts.push((cut, large));
    let mut failed = BTreeSet::new();
    let (kept, told): (Vec<_>, Vec<_>) =
        without_copies(entries, &mut failed).partition(Entry::is_kept);
    forget_copies(&mut state.queue, failed);
    for entry in kept.into_iter().rev() {
        // Cuts are made anew from the list above.
        if entry.kind != Some(Kind::Cancelled) {
            state.queue.push_front(entry);
        }
    }
    for entry in told.iter().filter(|entry| entry.carried) {
        release_carried(&mut state, entry.id);
    }
    drop(state);
    told.iter().for_each(|entry| entry.tell(Err(trouble)));
    inner.keep.ring();
}

const _: () = assert!(BLOCK_BYTES.is_multiple_of(ALIGN));
