//! store::spool::draft – a message being received.
//!
//! It gathers in memory charged to the shard's budget. When it grows past what a record takes, or the
//! budget is used up, it goes to a file of its own, and on through one block at a time.
//!
//! Promises: a draft waits for nothing that another draft holds; memory is bounded by the budget.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;

use bytes::Bytes;

use super::QueueId;
use super::bell::Outcome;
use super::budget::Charge;
use super::content::Content;
use super::disk::{narrow, wide};
use super::format::{self, Kind};
use super::large::Large;
use super::log::{Committed, Spool, Trouble};
use super::state::Entry;
use crate::shard::{self, BLOCK_BYTES};

/// Octets of a message that still ride in a record: 1 MiB and its header lines.
pub(super) const INLINE_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Least memory asked for.
const FIRST_BYTES: usize = 4096;

/// A message being received. Dropping it forgets it (and removes its file, if it has one).
pub struct Draft {
    spool: Spool,
    /// All of it, or what is not in the file yet.
    octets: Vec<u8>,
    charge: Charge,
    len: u64,
    large: Option<Box<Large>>,
    /// The name it will have; 0 before somebody asks for it.
    name: QueueId,
    /// Set while octets are under way to the file: a future dropped there leaves no whole message.
    unsure: Option<Trouble>,
}

impl Draft {
    pub(super) fn new(spool: Spool) -> Self {
        let charge = Charge::nothing(&spool.0.budget);
        Self {
            spool,
            octets: Vec::new(),
            charge,
            len: 0,
            large: None,
            name: QueueId(0),
            unsure: None,
        }
    }

    /// Appends octets. May wait for the disk or for memory (back-pressure).
    ///
    /// # Errors
    /// [`Trouble`]; the draft is of no use then.
    pub async fn append(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        if let Some(trouble) = self.unsure {
            return Err(trouble);
        }
        self.len += wide(octets.len());
        self.count(octets.len());
        let max = if self.large.is_some() { BLOCK_BYTES } else { self.inline_max() };
        if self.octets.len() + octets.len() <= max && self.grow(octets.len()) {
            self.octets.extend_from_slice(octets);
            return Ok(());
        }
        self.unsure = Some(Trouble::Broken);
        // In the heap: otherwise every session would keep room for it, idle ones too.
        let spilled = Box::pin(self.spill(octets)).await;
        self.unsure = spilled.err();
        spilled
    }

    /// Has the octets taken into account before the file system shows them.
    fn count(&self, more: usize) {
        let inner = &self.spool.0;
        {
            let mut state = inner.state.borrow_mut();
            state.appended = state.appended.saturating_add(wide(more));
        }
        inner.look_at_space();
    }

    fn inline_max(&self) -> usize {
        INLINE_BYTES_MAX.min(self.spool.0.record_max())
    }

    /// Makes room for `more` octets in memory, if the budget allows.
    fn grow(&mut self, more: usize) -> bool {
        let wanted = self.octets.len() + more;
        if wanted <= self.octets.capacity() {
            return true;
        }
        let ample = wanted.max(2 * self.octets.capacity()).max(FIRST_BYTES);
        let Some(capacity) = [ample, wanted].into_iter().find(|bytes| self.charge.raise_to(*bytes))
        else {
            return false;
        };
        self.octets.reserve_exact(capacity - self.octets.len());
        true
    }

    /// Writes what has gathered to the file, and `octets` behind it.
    async fn spill(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        if self.large.is_none() {
            self.large = Some(Box::new(Large::create(&self.spool.0).await?));
        }
        let Some(large) = &mut self.large else { return Err(Trouble::Broken) };
        let gathered = std::mem::take(&mut self.octets);
        large.write(&gathered).await?;
        if gathered.capacity() <= BLOCK_BYTES {
            // Serves again, and stays charged.
            self.octets = gathered;
            self.octets.clear();
        } else {
            drop(gathered);
            self.charge.release();
        }
        if octets.len() < BLOCK_BYTES
            && self.octets.capacity() == 0
            && self.charge.raise_to(BLOCK_BYTES)
        {
            self.octets.reserve_exact(BLOCK_BYTES);
        }
        if octets.len() <= self.octets.capacity() {
            self.octets.extend_from_slice(octets);
            return Ok(());
        }
        match &mut self.large {
            Some(large) => large.write(octets).await,
            None => Err(Trouble::Broken),
        }
    }

    /// Octets so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Its first octets, `max` at most. Nothing is read while all of them are in memory.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn head(&self, max: usize) -> io::Result<Cow<'_, [u8]>> {
        let from_memory = |count: usize| self.octets.get(..count.min(self.octets.len()));
        let Some(large) = &self.large else {
            return Ok(Cow::Borrowed(from_memory(max).unwrap_or_default()));
        };
        let mut head = large.read(0, max).await?;
        head.extend_from_slice(from_memory(max - head.len()).unwrap_or_default());
        Ok(Cow::Owned(head))
    }

    /// Nothing yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name it will have when it is durable.
    pub fn name(&mut self) -> QueueId {
        if self.name == QueueId(0) {
            let inner = &self.spool.0;
            self.name = inner.state.borrow_mut().next_id(inner.shard);
        }
        self.name
    }

    /// Takes the place of `other`, which will not be durable.
    pub fn take_name(&mut self, other: &mut Self) {
        self.name = std::mem::replace(&mut other.name, QueueId(0));
    }

    /// Some octets from `offset`, at most `max`; none only at the end.
    ///
    /// # Errors
    /// [`Trouble`]: the disk does not give back what it was given.
    pub async fn read(&self, offset: u64, max: usize) -> Result<Vec<u8>, Trouble> {
        if let Some(trouble) = self.unsure {
            return Err(trouble);
        }
        let written = self.large.as_deref().map_or(0, Large::written);
        if let Some(large) = self.large.as_deref().filter(|_| offset < written) {
            let octets = large.read(offset, max).await?;
            return if octets.is_empty() { Err(Trouble::Broken) } else { Ok(octets) };
        }
        let from = narrow(offset - written).min(self.octets.len());
        let end = from.saturating_add(max).min(self.octets.len());
        Ok(self.octets.get(from..end).unwrap_or_default().to_vec())
    }

    /// Makes the message durable. `meta` is asked for once the name is known. Dropping the future does not
    /// undo a commit that is under way.
    ///
    /// # Errors
    /// [`Trouble`]; then the message will not be delivered.
    pub async fn commit(
        mut self,
        meta: impl FnOnce(QueueId) -> Vec<u8>,
    ) -> Result<Committed, Trouble> {
        if let Some(trouble) = self.unsure {
            return Err(trouble);
        }
        let inner = Rc::clone(&self.spool.0);
        let id = self.name();
        let meta = meta(id);
        if format::record_bytes(meta.len(), format::CUT_BYTES) > inner.record_max() {
            tracing::error!(%id, bytes = meta.len(), "an envelope too large for a spool segment");
            return Err(Trouble::Broken);
        }
        let record = format::record_bytes(meta.len(), self.octets.len());
        if self.large.is_none() && record > inner.record_max() {
            self.spill(&[]).await?;
        }
        match self.large.take() {
            None => self.commit_inline(id, meta).await,
            Some(large) => self.commit_large(*large, id, meta).await,
        }
    }

    async fn commit_inline(self, id: QueueId, meta: Vec<u8>) -> Result<Committed, Trouble> {
        let body = Bytes::from(self.octets);
        let charge = Rc::new(self.charge);
        let entry = Entry {
            body: body.clone(),
            _charge: Some(Rc::clone(&charge)),
            ..Entry::new(Some(Kind::Message), id, meta)
        };
        self.spool.0.write(entry).await?;
        Ok(Committed { id, content: Content::in_memory_of(body, charge) })
    }

    async fn commit_large(
        self,
        mut large: Large,
        id: QueueId,
        meta: Vec<u8>,
    ) -> Result<Committed, Trouble> {
        let inner = Rc::clone(&self.spool.0);
        let (told, file) = (Outcome::new(), Rc::new(std::cell::Cell::new(None)));
        let (outcome, kept) = (Rc::clone(&told), Rc::clone(&file));
        let (octets, charge) = (self.octets, self.charge);
        // A task of its own: it goes on when nobody waits for it any more.
        shard::spawn("large message", async move {
            let finished = async {
                large.write(&octets).await?;
                drop((octets, charge));
                let (file, size, sum) = large.finish(id).await?;
                let Some(written) = inner.enqueue(Entry::pointer(id, meta, size, sum)) else {
                    inner.large.unlink_detached(id.to_string().as_bytes());
                    return Err(Trouble::Broken);
                };
                written.known().await?;
                kept.set(Some((file, size, sum)));
                Ok(())
            };
            outcome.tell(finished.await);
        });
        told.known().await?;
        let (file, size, sum) = file.take().ok_or(Trouble::Broken)?;
        Ok(Committed { id, content: Content::of_file(file, size, sum) })
    }
}
