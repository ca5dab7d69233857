//! store::spool::log – the interface to the log of one shard.

use std::rc::Rc;

use super::QueueId;
use crate::problem::Problem;
use crate::shard::Root;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Octets of one segment; a multiple of 4096.
    pub segment_bytes: u64,
    /// Octets of messages that may be in memory at a time on this shard.
    pub memory_bytes: usize,
    /// Free octets of the file system below which [`Spool::room`] says no.
    pub reserve_bytes: u64,
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
pub struct Spool(Rc<Inner>);

struct Inner;

/// A message being received. Dropping it forgets it (and removes its file, if it has one).
pub struct Draft {
    _spool: Spool,
}

/// A message that is safe.
pub struct Committed {
    /// Its name.
    pub id: QueueId,
    /// Its octets, for the first delivery.
    pub content: Content,
}

/// The octets of a committed message: in memory while cheap, else in the log or a file of its own.
/// Holding one keeps memory: drop it when the first attempt is over and use [`Spool::content`] later.
#[derive(Clone)]
pub struct Content {
    _octets: Option<bytes::Bytes>,
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
    /// Opens (and makes) the log of this shard below `root`, verifies and reads it, adopts logs of shards
    /// that exist no more (`number % shards == shard`). Afterwards messages can be committed.
    ///
    /// # Errors
    /// A format of another version; a directory or file that cannot be read or made.
    pub async fn open(
        root: &Root,
        shard: usize,
        shards: usize,
        settings: Settings,
    ) -> Result<(Self, Vec<Found>), Problem> {
        let _ = (root, shard, shards, settings);
        todo!()
    }

    /// A new message.
    pub fn draft(&self) -> Draft {
        todo!()
    }

    /// Is there room for a message of about that many octets? Does not wait; in good time before it is full.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&self, octets: u64) -> Result<(), Trouble> {
        let _ = octets;
        todo!()
    }

    /// Remembers something about a message. Not urgent: rides with the next commit, at the latest after a second.
    pub fn note(&self, id: QueueId, note: Vec<u8>) {
        let _ = (id, note);
        todo!()
    }

    /// Nothing is left to do for the message: it is forgotten. Not urgent, like [`Spool::note`].
    pub fn settle(&self, id: QueueId) {
        let _ = id;
        todo!()
    }

    /// Returns when everything noted and settled before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn flush(&self) -> Result<(), Trouble> {
        todo!()
    }

    /// The octets of an unsettled message.
    pub fn content(&self, id: QueueId) -> Option<Content> {
        let _ = id;
        todo!()
    }

    /// Waits until an old message stands in the way of recycling; its owner then calls [`Spool::carry`].
    pub async fn next_to_carry(&self) -> QueueId {
        todo!()
    }

    /// Writes an unsettled message anew at the head of the log with this `meta` (which includes what was noted).
    ///
    /// # Errors
    /// [`Trouble`]; the old record stays.
    pub async fn carry(&self, id: QueueId, meta: Vec<u8>) -> Result<(), Trouble> {
        let _ = (id, meta);
        todo!()
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Commits what is pending and stops. Later commits fail.
    pub async fn close(&self) {
        todo!()
    }
}

impl Draft {
    /// Appends octets. May wait for the disk or for memory (back-pressure).
    ///
    /// # Errors
    /// [`Trouble`]; the draft is of no use then.
    pub async fn append(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        let _ = octets;
        todo!()
    }

    /// Octets so far.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Nothing yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the message durable. `meta` is asked for once the name is known. Dropping the future does not
    /// undo a commit that is under way.
    ///
    /// # Errors
    /// [`Trouble`]; then the message will not be delivered.
    pub async fn commit(self, meta: impl FnOnce(QueueId) -> Vec<u8>) -> Result<Committed, Trouble> {
        let _ = meta;
        todo!()
    }
}

impl Content {
    /// Octets.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All octets when they are in memory.
    pub fn in_memory(&self) -> Option<&bytes::Bytes> {
        todo!()
    }

    /// Some octets from `offset`, at most `max`; fewer only at the end. Verified against the record's checksum
    /// at the first read.
    ///
    /// # Errors
    /// EIO; InvalidData when the checksum does not match.
    pub async fn read(&self, offset: u64, max: usize) -> std::io::Result<bytes::Bytes> {
        let _ = (offset, max);
        todo!()
    }
}
