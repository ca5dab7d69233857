//! store::spool::log – the interface to the log of one shard.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::QueueId;
use super::bell::Bell;
use super::content::Content;
use super::draft::Draft;
use super::fold::Replaces;
use super::format::Kind;
use super::kept::{self, Finds, Kept};
use super::large;
use super::open;
use super::recover;
use super::state::{Entry, Inner, Phase, Pin};
use crate::problem::Problem;
use crate::shard::{self, Root};

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Octets of one segment; rounded to a multiple of 4096, at least 64 KiB.
    pub segment_bytes: u64,
    /// Octets of messages that may be in memory at a time on this shard.
    pub memory_bytes: usize,
    /// Free octets of the file system below which [`Spool::room`] says no.
    pub reserve_bytes: u64,
    /// Whether a note makes an earlier one of the same message meaningless, which is then not given at a
    /// start.
    pub replaces: Replaces,
}

/// Why a message could not be kept. Nothing of it will be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space.
    NoSpace,
    /// A write or a sync failed.
    Broken,
}

/// The log of one shard. Clones share it.
#[derive(Clone)]
pub struct Spool(pub(super) Rc<Inner>);

/// A message that is safe.
pub struct Committed {
    /// Its name.
    pub id: QueueId,
    /// Its octets, for the first delivery.
    pub content: Content,
}

/// An unsettled message found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub id: QueueId,
    /// As given to [`Draft::commit`] or [`Spool::carry`] last.
    pub meta: Vec<u8>,
    /// What [`Spool::note`] was given after that, in order.
    pub notes: Vec<Vec<u8>>,
    /// Octets of the message.
    pub size: u64,
}

/// One group commit, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commit {
    /// Nanoseconds from the batch's beginning until it was durable.
    pub nanos: u64,
    /// New messages in it.
    pub messages: u64,
    /// Octets written.
    pub bytes: u64,
}

/// Figures for metrics and `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Unsettled messages.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Segments there are, and of those free ones.
    pub segments: u64,
    /// Free segments.
    pub segments_free: u64,
    /// Segments condemned after a failed write.
    pub condemned: u64,
}

impl Spool {
    /// Opens (and makes) the log of this shard in `root`, the directory of the spool; verifies and reads
    /// it, adopts logs of shards that exist no more (`number % shards == shard`). Afterwards messages can
    /// be committed, unless [`Spool::room`] says why not.
    ///
    /// # Errors
    /// A format of another version; a directory or file that cannot be read or made.
    pub async fn open(
        root: &Root,
        shard: usize,
        shards: usize,
        settings: Settings,
    ) -> Result<(Self, Finds), Problem> {
        open::open(root, shard, shards, settings).await.map_err(|error| {
            Problem::new(
                format!("spool of shard {shard}"),
                error,
                "sluicegate spool verify says what is wrong, and where",
            )
        })
    }

    /// A new message.
    pub fn draft(&self) -> Draft {
        Draft::new(self.clone())
    }

    /// Has `told` called after every group commit. One at a time: the last one counts.
    pub fn on_commit(&self, told: impl Fn(&Commit) + 'static) {
        *self.0.on_commit.borrow_mut() = Some(Box::new(told));
    }

    /// Is there room for a message of about that many octets? Does not wait; in good time before it is full:
    /// what this shard took in since the free space was last looked at counts twice, once for mailboxes.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&self, octets: u64) -> Result<(), Trouble> {
        self.0.look_at_space();
        let state = self.0.state.borrow();
        if state.phase > Phase::Open {
            return Err(Trouble::Broken);
        }
        if state.busy_since.is_some_and(|since| shard::now().since(since) > HUNG) {
            return Err(Trouble::Broken);
        }
        if let Some(trouble) = state.trouble {
            let left = state.current.as_ref().map_or(0, |current| current.room());
            if left < octets.saturating_mul(2) || state.current.is_none() {
                return Err(trouble);
            }
        }
        let wanted = self.0.settings.reserve_bytes.saturating_add(octets);
        if state.free_now() < wanted { Err(Trouble::NoSpace) } else { Ok(()) }
    }

    /// Remembers something about a message. Not urgent: rides with the next commit, at the latest after a second.
    pub fn note(&self, id: QueueId, note: Vec<u8>) {
        {
            let mut state = self.0.state.borrow_mut();
            if state.unsettled(id).is_none() {
                return;
            }
            if let Some(meanwhile) = state.carrying.get_mut(&id) {
                meanwhile.push(note.clone());
            }
        }
        self.0.push(Entry::new(Some(Kind::Note), id, note));
    }

    /// Nothing is left to do for the message: it is forgotten. Not urgent, like [`Spool::note`].
    pub fn settle(&self, id: QueueId) {
        {
            let mut state = self.0.state.borrow_mut();
            let Some(size) = state.unsettled(id).map(|live| state.size(id, live)) else { return };
            if let Some(live) = state.live.get_mut(id.0) {
                live.settled = true;
            }
            state.messages -= 1;
            state.bytes -= size;
        }
        self.0.push(Entry::new(Some(Kind::Settled), id, Vec::new()));
    }

    /// Returns when everything noted and settled before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn flush(&self) -> Result<(), Trouble> {
        self.0.write(Entry::new(None, QueueId(0), Vec::new())).await
    }

    /// The octets of an unsettled message.
    pub fn content(&self, id: QueueId) -> Option<Content> {
        let state = self.0.state.borrow();
        let live = state.unsettled(id)?;
        Some(Content::of_live(&state, &self.0, id, live))
    }

    /// Octets of an unsettled message.
    pub fn size(&self, id: QueueId) -> Option<u64> {
        let state = self.0.state.borrow();
        Some(state.size(id, state.unsettled(id)?))
    }

    /// What is kept of each of these messages, in this order; those settled are left out.
    pub async fn metas(&self, ids: &[QueueId]) -> Vec<Kept> {
        kept::metas(&self.0, ids).await
    }

    /// What is kept of a message, and its octets, with one read where they are few. `None`: it is settled.
    ///
    /// # Errors
    /// EIO; `InvalidData` when it is not what was committed.
    pub async fn load(&self, id: QueueId) -> Option<io::Result<(Vec<u8>, Content)>> {
        kept::load(&self.0, id).await
    }

    /// Waits until an old message stands in the way of recycling; its owner then calls [`Spool::carry`].
    pub async fn next_to_carry(&self) -> QueueId {
        loop {
            let next = self.0.state.borrow_mut().next_stuck();
            if let Some(id) = next {
                return id;
            }
            self.0.stuck.heard().await;
        }
    }

    /// Writes an unsettled message anew at the head of the log with this `meta` (which includes what was
    /// noted before this call; what is noted later stays noted). Begins at once, not when first polled.
    ///
    /// # Errors
    /// [`Trouble`], also when the message is being carried on already; the old record stays.
    pub fn carry(
        &self,
        id: QueueId,
        meta: Vec<u8>,
    ) -> impl Future<Output = Result<(), Trouble>> + use<> {
        let carrying = Carrying::begin(&self.0, id);
        async move {
            let Some((carrying, source)) = carrying? else { return Ok(()) };
            let inner = Rc::clone(&carrying.inner);
            let entry = match source {
                Source::File(size, sum) => Entry::pointer(id, meta, size, sum),
                Source::Record(pin, position, bytes) => {
                    let body = recover::body(&pin.segment, position, bytes).await?;
                    let entry = Entry { body, ..Entry::new(Some(Kind::Message), id, meta) };
                    large::fitting(&inner, entry).await?
                }
            };
            if entry.bytes() > inner.record_max() {
                return Err(Trouble::Broken);
            }
            carrying.queue(Entry { carried: true, ..entry }).await
        }
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        self.0.state.borrow().stats()
    }

    /// Commits what is pending and stops. Later commits fail.
    pub async fn close(&self) {
        {
            let mut state = self.0.state.borrow_mut();
            state.phase = state.phase.max(Phase::Closing);
        }
        self.0.work.ring();
        self.0.keep.ring();
        let ended: &Bell = &self.0.ended;
        while self.0.state.borrow().phase != Phase::Ended {
            // Another one who closes may have heard it first.
            let look = shard::now().after(CLOSE_LOOK);
            let (Some(()) | None) = shard::within(look, ended.heard()).await;
        }
    }
}

/// A write that takes longer than this does not look like one that ends.
const HUNG: Duration = Duration::from_secs(20);
/// How often one who closes looks whether it is over.
const CLOSE_LOOK: Duration = Duration::from_millis(50);

/// A message being carried on; lets go of it however that ends.
struct Carrying {
    inner: Rc<Inner>,
    id: QueueId,
    queued: bool,
}

/// Where its octets are.
enum Source {
    Record(Pin, u64, u64),
    File(u64, u32),
}

impl Carrying {
    /// From now on notes are remembered; `None` when the message is settled.
    fn begin(inner: &Rc<Inner>, id: QueueId) -> Result<Option<(Self, Source)>, Trouble> {
        let mut state = inner.state.borrow_mut();
        let Some(live) = state.unsettled(id) else { return Ok(None) };
        if state.carrying.contains_key(&id) {
            return Err(Trouble::Broken);
        }
        let source = match state.large.get(&id).filter(|_| live.large) {
            Some((size, sum)) => Source::File(*size, *sum),
            None => {
                let spot = live.spot();
                let pin = Pin::new(&live.segment, inner);
                Source::Record(pin, spot.position, spot.record_bytes)
            }
        };
        state.carrying.insert(id, Vec::new());
        Ok(Some((Self { inner: Rc::clone(inner), id, queued: false }, source)))
    }

    /// Queues the new record, and behind it what was noted since its `meta` was made.
    async fn queue(mut self, entry: Entry) -> Result<(), Trouble> {
        let inner = Rc::clone(&self.inner);
        let meanwhile = {
            let mut state = inner.state.borrow_mut();
            let there = state.unsettled(self.id).is_some();
            state.carrying.remove(&self.id).filter(|_| there)
        };
        // Settled meanwhile.
        let Some(notes) = meanwhile else { return Ok(()) };
        let outcome = inner.enqueue(entry).ok_or(Trouble::Broken)?;
        self.queued = true;
        for note in notes {
            let copy = Entry::new(Some(Kind::Note), self.id, note);
            inner.push(Entry { carried: true, ..copy });
        }
        outcome.known().await
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        if self.queued {
            return;
        }
        let mut state = self.inner.state.borrow_mut();
        state.carrying.remove(&self.id);
        if let Some(live) = state.live.get_mut(self.id.0) {
            live.offered = false;
        }
    }
}
