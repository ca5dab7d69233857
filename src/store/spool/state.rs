//! store::spool::state – what one shard knows of its log, and what waits to be written.
//!
//! ```text
//!   queue ──▶ batch ──▶ current ─ full ─▶ sealed (oldest first) ─ spent ─▶ free ──▶ current
//! ```
//! Promises: everything here changes between two awaits of one thread; no borrow lives across one.
//! Not here: disks (`commit`, `keeper`, `recover`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use super::QueueId;
use super::bell::{Bell, Outcome};
use super::budget::{Budget, Charge};
use super::disk::{narrow, wide};
use super::fold::{Held, Octets};
use super::format::{self, Cut, Kind, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::log::{Commit, Settings, Stats, Trouble};
use super::segment::Segment;
use crate::shard::{self, Dir, Instant, Root};
use crate::store::packed::Packed;

/// Entries that may wait although nobody waits for them.
const LAZY_MAX: usize = 4096;
/// Sealed segments that may stand behind the oldest before messages are carried on.
const CARRY_AFTER: usize = 4;

/// The free space is looked at early when this part of what was left may be taken.
const LOOK_SHARE: u64 = 4;

/// Told of every group commit.
pub(super) type OnCommit = Box<dyn Fn(&Commit)>;

/// How far its end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It is open.
    Open,
    /// Nothing new is taken.
    Closing,
    /// The committer has ended.
    Written,
    /// So has the keeper.
    Ended,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) shard: u32,
    /// The directory of the spool.
    pub(super) root: Root,
    /// `shard-N`, and `shard-N/large`.
    pub(super) dir: Dir,
    pub(super) large: Dir,
    pub(super) state: RefCell<State>,
    pub(super) budget: Rc<Budget>,
    /// For the committer: something waits that is urgent, or a segment came free.
    pub(super) work: Bell,
    /// For the keeper.
    pub(super) keep: Bell,
    /// For those who carry messages on.
    pub(super) stuck: Bell,
    /// For those who close.
    pub(super) ended: Bell,
    pub(super) on_commit: RefCell<Option<OnCommit>>,
}

pub(super) struct State {
    pub(super) live: Packed<Live>,
    /// Size and CRC-32C of the messages of those that have a file of their own.
    pub(super) large: BTreeMap<QueueId, (u64, u32)>,
    /// While one is read to be carried on: what is noted meanwhile.
    pub(super) carrying: BTreeMap<QueueId, Vec<Vec<u8>>>,
    /// Messages not settled, and their octets.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// No longer written, oldest first, condemned ones among them.
    pub(super) sealed: VecDeque<Rc<Segment>>,
    pub(super) current: Option<Rc<Segment>>,
    /// With a header of their own and nothing else, oldest first.
    pub(super) free: VecDeque<Rc<Segment>>,
    /// Found empty at the start: free once they have a new header.
    pub(super) stale: Vec<Rc<Segment>>,
    pub(super) queue: VecDeque<Entry>,
    /// Entries of it that somebody waits for.
    pub(super) urgent: usize,
    /// When what waits is to be written, and when that is if nobody waits for it.
    pub(super) due: Instant,
    pub(super) lazy_due: Instant,
    /// What failed batches left, to be cancelled first of all; and the large messages among it.
    pub(super) cuts: Vec<(Cut, Vec<QueueId>)>,
    pub(super) generation: u64,
    pub(super) number: u64,
    pub(super) last_id: u64,
    pub(super) drafts: u64,
    /// When the write in flight began.
    pub(super) busy_since: Option<Instant>,
    /// Why no segment can be had.
    pub(super) trouble: Option<Trouble>,
    /// Free octets of the file system when it was last looked at.
    pub(super) free_bytes: u64,
    /// Octets that drafts took in since that look began.
    pub(super) appended: u64,
    pub(super) free_asked: Instant,
    pub(super) free_wanted: bool,
    pub(super) phase: Phase,
}

/// A message in the log: there may be millions, so what few have is kept beside it.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, in one octet")]
pub(super) struct Live {
    pub(super) segment: Rc<Segment>,
    /// Where in it its record begins, in eights of octets.
    eighths: u32,
    /// Octets of the body of its record.
    body: u32,
    /// Octets of its meta, and their CRC-32C.
    meta: (u32, u32),
    /// It has a file of its own.
    pub(super) large: bool,
    pub(super) settled: bool,
    /// Given to who carries messages on.
    pub(super) offered: bool,
}

const _: () = assert!(size_of::<Live>() <= 32);

/// Where a record lies, and how its meta is read again.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) position: u64,
    pub(super) record_bytes: u64,
    pub(super) meta_bytes: usize,
    pub(super) meta_sum: u32,
}

impl Live {
    pub(super) fn new(segment: &Rc<Segment>, position: u64, body: usize, meta: (u32, u32)) -> Self {
        Self {
            segment: Rc::clone(segment),
            eighths: u32::try_from(position / format::RECORD_ALIGN_BYTES).unwrap_or(u32::MAX),
            body: u32::try_from(body).unwrap_or(u32::MAX),
            meta,
            large: false,
            settled: false,
            offered: false,
        }
    }

    pub(super) fn spot(&self) -> Spot {
        let narrow = |len: u32| usize::try_from(len).unwrap_or(usize::MAX);
        let (meta_bytes, meta_sum) = (narrow(self.meta.0), self.meta.1);
        let record_bytes = wide(format::record_bytes(meta_bytes, narrow(self.body)));
        let position = u64::from(self.eighths) * format::RECORD_ALIGN_BYTES;
        Spot { position, record_bytes, meta_bytes, meta_sum }
    }
}

/// Something to be written.
pub(super) struct Entry {
    /// `None`: nothing, but whoever waits is told when all before it is durable.
    pub(super) kind: Option<Kind>,
    pub(super) id: QueueId,
    pub(super) meta: Vec<u8>,
    pub(super) body: Bytes,
    /// Size and CRC-32C of its own file, for [`Kind::Pointer`].
    pub(super) large: Option<(u64, u32)>,
    /// A message that is in the log already, or a note repeated behind it.
    pub(super) carried: bool,
    pub(super) outcome: Option<Rc<Outcome>>,
    /// Keeps the memory of the body charged.
    pub(super) _charge: Option<Rc<Charge>>,
}

impl Entry {
    pub(super) fn new(kind: Option<Kind>, id: QueueId, meta: Vec<u8>) -> Self {
        Self {
            kind,
            id,
            meta,
            body: Bytes::new(),
            large: None,
            carried: false,
            outcome: None,
            _charge: None,
        }
    }

    pub(super) fn pointer(id: QueueId, meta: Vec<u8>, size: u64, sum: u32) -> Self {
        let body = Bytes::copy_from_slice(&format::pointer_body(size, sum));
        Self { body, large: Some((size, sum)), ..Self::new(Some(Kind::Pointer), id, meta) }
    }

    /// Octets of its record.
    pub(super) fn bytes(&self) -> usize {
        match self.kind {
            Some(_) => format::record_bytes(self.meta.len(), self.body.len()),
            None => 0,
        }
    }

    pub(super) fn tell(&self, outcome: Result<(), Trouble>) {
        if let Some(waiting) = &self.outcome {
            waiting.tell(outcome);
        }
    }

    /// Goes into the next batch when its own failed; what is not is told so.
    pub(super) fn is_kept(&self) -> bool {
        match self.kind {
            Some(Kind::Note | Kind::Settled | Kind::Cancelled) => true,
            Some(Kind::Message | Kind::Pointer) | None => false,
        }
    }
}

impl Inner {
    /// The largest record that is written; what is larger has its octets in a file of its own.
    pub(super) fn record_max(&self) -> usize {
        (narrow(self.settings.segment_bytes) - SEGMENT_HEADER_BYTES) / 2
    }

    /// Has the keeper look at the free space, if that is due.
    pub(super) fn look_at_space(&self) {
        let mut state = self.state.borrow_mut();
        if state.is_look_due(self.settings.reserve_bytes) {
            state.free_wanted = true;
            drop(state);
            self.keep.ring();
        }
    }

    /// Queues something; urgent unless nobody waits for it.
    pub(super) fn push(&self, entry: Entry) {
        let urgent = entry.outcome.is_some();
        let mut state = self.state.borrow_mut();
        state.queue.push_back(entry);
        let mut due = shard::now();
        if urgent {
            state.urgent += 1;
        } else {
            due = due.after(super::commit::PATIENCE).min(state.lazy_due);
            state.lazy_due = due;
        }
        if due < state.due {
            state.due = due;
            drop(state);
            self.work.ring();
        }
    }

    /// Queues something that somebody waits for; `None` when the log is closing.
    pub(super) fn enqueue(&self, mut entry: Entry) -> Option<Rc<Outcome>> {
        if self.state.borrow().phase > Phase::Open {
            return None;
        }
        let outcome = Outcome::new();
        entry.outcome = Some(Rc::clone(&outcome));
        self.push(entry);
        Some(outcome)
    }

    /// Queues something and waits until it is durable.
    pub(super) async fn write(&self, entry: Entry) -> Result<(), Trouble> {
        self.enqueue(entry).ok_or(Trouble::Broken)?.known().await
    }

    /// Is anything the matter with the oldest segment that carrying messages on would mend?
    pub(super) fn tell_stuck(&self) {
        if self.state.borrow().is_stuck() {
            self.stuck.ring();
        }
    }
}

impl State {
    /// A name for a message, larger than any before it.
    pub(super) fn next_id(&mut self, shard: u32) -> QueueId {
        let (seconds, nanos) = shard::wall();
        let now = u64::try_from(seconds).unwrap_or(0) * 1000 + u64::from(nanos) / 1_000_000;
        let first = |millis: u64| millis << 22 | u64::from(shard & 0x3ff) << 12;
        let mut id = first(now);
        if id <= self.last_id {
            let (millis, next) = (self.last_id >> 22, self.last_id + 1);
            // Out of numbers for this millisecond, or another shard's: the next one.
            let own = next >> 12 == first(millis) >> 12;
            id = if own { next } else { first(millis + 1) };
        }
        self.last_id = id;
        QueueId(id)
    }

    /// What that look found less what came since: twice, for it goes into mailboxes as well, and those may
    /// lie on the same file system.
    pub(super) fn free_now(&self) -> u64 {
        self.free_bytes.saturating_sub(self.appended.saturating_mul(2))
    }

    /// Is what the last look found too old, or is too much of what was left above `reserve` taken since?
    pub(super) fn is_look_due(&self, reserve: u64) -> bool {
        let left = self.free_bytes.saturating_sub(reserve);
        let old = shard::now().since(self.free_asked) >= super::keeper::ASK_EVERY;
        !self.free_wanted && (old || self.appended > 0 && self.appended >= left / LOOK_SHARE / 2)
    }

    /// The header of the next use of a segment.
    pub(super) fn next_use(&mut self, shard: u32, number: u64, bytes: u64) -> SegmentHeader {
        self.generation += 1;
        let (generation, last_id) = (self.generation, self.last_id);
        SegmentHeader { shard, number, generation, salt: 0, bytes, last_id }
    }

    /// Nothing is to be written now; then says when something is.
    pub(super) fn is_idle(&mut self) -> bool {
        if self.queue.is_empty() {
            self.lazy_due = Instant::NEVER;
        }
        let late = self.lazy_due <= shard::now() || self.queue.len() >= LAZY_MAX;
        let any = self.urgent > 0 || late || self.phase > Phase::Open && !self.queue.is_empty();
        if any || !self.cuts.is_empty() {
            return false;
        }
        self.due = self.lazy_due;
        true
    }

    /// A message became durable, or came to another place. `large`: size and CRC-32C of its own file.
    pub(super) fn hold(&mut self, id: QueueId, mut live: Live, large: Option<(u64, u32)>) {
        let new = Rc::clone(&live.segment);
        let record_bytes = live.spot().record_bytes;
        live.large = large.is_some();
        match large {
            Some(large) => drop(self.large.insert(id, large)),
            None => drop(self.large.remove(&id)),
        }
        let size = self.size(id, &live);
        match self.live.insert(id.0, live) {
            // The old segment may be the new one.
            Some(old) => old.segment.release(id, old.spot().record_bytes),
            None => {
                self.messages += 1;
                self.bytes += size;
            }
        }
        new.hold(id, record_bytes);
    }

    /// A message as it was found at the start.
    pub(super) fn hold_found(&mut self, id: QueueId, segment: &Rc<Segment>, held: &Held) {
        let (body, large) = match held.octets {
            Octets::Inline => (narrow(held.size), None),
            Octets::Large(size, sum) => (format::POINTER_BYTES, Some((size, sum))),
        };
        self.hold(id, Live::new(segment, held.position, body, held.meta_place), large);
    }

    /// Octets of the message.
    pub(super) fn size(&self, id: QueueId, live: &Live) -> u64 {
        let large = if live.large { self.large.get(&id) } else { None };
        large.map_or_else(|| u64::from(live.body), |(size, _)| *size)
    }

    /// A message that is not settled.
    pub(super) fn unsettled(&self, id: QueueId) -> Option<&Live> {
        self.live.get(id.0).filter(|live| !live.settled)
    }

    /// A message is durably settled; true when it has a file of its own.
    pub(super) fn forget(&mut self, id: QueueId) -> bool {
        let Some(live) = self.live.remove(id.0) else { return false };
        live.segment.release(id, live.spot().record_bytes);
        self.carrying.remove(&id);
        self.large.remove(&id).is_some()
    }

    fn is_stuck(&self) -> bool {
        let sealed = || self.sealed.iter();
        let bytes: u64 = sealed().map(|segment| segment.header.get().bytes).sum();
        let live: u64 = sealed().map(|segment| segment.live_bytes.get()).sum();
        let spare: u64 = sealed().take(CARRY_AFTER).map(|one| one.header.get().bytes).sum();
        self.sealed.len() > CARRY_AFTER && bytes > spare.saturating_add(live.saturating_mul(2))
    }

    /// A message that stands in the way of recycling, each once.
    pub(super) fn next_stuck(&mut self) -> Option<QueueId> {
        if !self.is_stuck() {
            return None;
        }
        let front = Rc::clone(self.sealed.front()?);
        let ids = front.ids.borrow();
        let free = |id: &u64| self.live.get(*id).is_some_and(|one| !one.offered && !one.settled);
        let id = ids.iter().map(|(id, ())| id).find(free)?;
        if let Some(live) = self.live.get_mut(id) {
            live.offered = true;
        }
        Some(QueueId(id))
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Rc<Segment>> {
        self.sealed.iter().chain(&self.current).chain(&self.free).chain(&self.stale)
    }

    pub(super) fn stats(&self) -> Stats {
        let condemned = self.segments().filter(|segment| segment.condemned.get()).count();
        Stats {
            messages: self.messages,
            bytes: self.bytes,
            segments: wide(self.segments().count()),
            segments_free: wide(self.free.len() + self.stale.len()),
            condemned: wide(condemned),
        }
    }
}

/// A reader's hold on a segment.
pub(super) struct Pin {
    pub(super) segment: Rc<Segment>,
    inner: Rc<Inner>,
}

impl Pin {
    pub(super) fn new(segment: &Rc<Segment>, inner: &Rc<Inner>) -> Self {
        segment.readers.set(segment.readers.get() + 1);
        Self { segment: Rc::clone(segment), inner: Rc::clone(inner) }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let readers: &Cell<usize> = &self.segment.readers;
        readers.set(readers.get().saturating_sub(1));
        if self.segment.is_spent() {
            self.inner.keep.ring();
        }
    }
}
