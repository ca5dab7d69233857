//! store::spool::kept – what was committed with messages, read again when it is needed.
//!
//! A log may hold millions of messages, and what they mean to whoever keeps them is not in memory. Many
//! are read in the order in which they lie, neighbours at one go.
//!
//! Promises: what is given is what was committed, by its checksum; a segment is not recycled while it is
//! read; memory is bounded by what is asked for.

use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::QueueId;
use super::content::Content;
use super::disk::{self, narrow, wide};
use super::format::{RECORD_HEADER_BYTES, Record};
use super::log::{Found, Spool};
use super::recover;
use super::state::{Inner, Pin, Spot};
use crate::shard::BLOCK_BYTES;
use crate::store::packed::{IntoIter, Packed};

/// Octets between two records that are rather read than left out.
const GAP_BYTES: u64 = 16 << 10;
/// A record up to this size is read whole, its message with it.
const WHOLE_BYTES_MAX: u64 = 16 << 10;
/// Messages found at the start that are read at a time.
const FOUND_AT_ONCE: usize = 512;

/// What is kept of a message.
#[derive(Debug)]
pub struct Kept {
    /// Its name.
    pub id: QueueId,
    /// Octets of the message.
    pub size: u64,
    /// As given to [`super::Draft::commit`] or [`Spool::carry`] last; or why it cannot be read now.
    pub meta: io::Result<Vec<u8>>,
}

/// A place to be read.
struct Wanted {
    /// Which one it is of those asked for.
    at: usize,
    id: QueueId,
    size: u64,
    pin: Pin,
    spot: Spot,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.spot.position + wide(RECORD_HEADER_BYTES + self.spot.meta_bytes)
    }

    /// Its meta, from octets that were read from `begin` on.
    fn meta(&self, octets: &[u8], begin: u64) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(ErrorKind::InvalidData, "damaged spool record");
        let here = octets.get(narrow(self.spot.position - begin)..).unwrap_or_default();
        let header = self.pin.segment.header.get();
        let (id, meta) = Record::front(&header, here, self.spot.position).ok_or_else(damaged)?;
        let same = meta.len() == self.spot.meta_bytes && crc32c::crc32c(meta) == self.spot.meta_sum;
        if id == self.id && same { Ok(meta.to_vec()) } else { Err(damaged()) }
    }
}

/// How many of these, the first of which is read in any case, are read with it.
fn together(wanted: &[Wanted]) -> usize {
    let Some(first) = wanted.first() else { return 0 };
    let (begin, mut end) = (first.spot.position, first.end());
    let near = wanted.iter().skip(1).take_while(|next| {
        let near = Rc::ptr_eq(&next.pin.segment, &first.pin.segment)
            && next.spot.position <= end + GAP_BYTES
            && next.end() - begin <= wide(BLOCK_BYTES);
        end = end.max(next.end());
        near
    });
    1 + near.count()
}

pub(super) async fn metas(inner: &Rc<Inner>, ids: &[QueueId]) -> Vec<Kept> {
    let mut wanted: Vec<Wanted> = {
        let state = inner.state.borrow();
        let known = ids.iter().enumerate().filter_map(|(at, id)| {
            let live = state.unsettled(*id)?;
            let pin = Pin::new(&live.segment, inner);
            Some(Wanted { at, id: *id, size: state.size(*id, live), pin, spot: live.spot() })
        });
        known.collect()
    };
    wanted.sort_by_key(|one| (one.pin.segment.generation(), one.spot.position));
    let mut kept = Vec::with_capacity(wanted.len());
    let mut rest = wanted.as_slice();
    while let Some(first) = rest.first() {
        let (window, after) = rest.split_at(together(rest));
        let begin = first.spot.position;
        let end = window.iter().map(Wanted::end).max().unwrap_or(begin);
        let read = disk::read(&first.pin.segment.file, begin, narrow(end - begin)).await;
        for one in window {
            let meta = match &read {
                Ok(octets) => one.meta(octets, begin),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            kept.push((one.at, Kept { id: one.id, size: one.size, meta }));
        }
        rest = after;
    }
    kept.sort_by_key(|(at, _)| *at);
    kept.into_iter().map(|(_, kept)| kept).collect()
}

/// What is kept of a message, and its octets: those of a small one come with the same read.
pub(super) async fn load(inner: &Rc<Inner>, id: QueueId) -> Option<io::Result<(Vec<u8>, Content)>> {
    let (pin, spot, inline, content) = {
        let state = inner.state.borrow();
        let live = state.unsettled(id)?;
        let content = Content::of_live(&state, inner, id, live);
        (Pin::new(&live.segment, inner), live.spot(), !live.large, content)
    };
    if !inline || spot.record_bytes > WHOLE_BYTES_MAX {
        let kept = metas(inner, &[id]).await.pop()?;
        return Some(kept.meta.map(|meta| (meta, content)));
    }
    let whole = recover::meta_and_body(&pin.segment, spot.position, spot.record_bytes).await;
    Some(whole.map(|(meta, body)| (meta, Content::at_hand(body))))
}

/// The messages found at the start, in the order of their names. What was kept of each is read from the log
/// when its turn comes: together they may not fit into memory.
pub struct Finds {
    spool: Spool,
    left: IntoIter<Vec<Vec<u8>>>,
    count: usize,
}

impl Finds {
    /// `notes` has each message that was found.
    pub(super) fn new(spool: Spool, notes: Packed<Vec<Vec<u8>>>) -> Self {
        Self { spool, count: notes.len(), left: notes.into_iter() }
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.count
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Some that were not given yet; none when all were.
    ///
    /// # Errors
    /// One of them cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Vec<Found>> {
        let some: Vec<(u64, Vec<Vec<u8>>)> = self.left.by_ref().take(FOUND_AT_ONCE).collect();
        let ids: Vec<QueueId> = some.iter().map(|(id, _)| QueueId(*id)).collect();
        let mut kept = self.spool.metas(&ids).await.into_iter().peekable();
        let mut found = Vec::with_capacity(some.len());
        for (id, notes) in some {
            // Nothing is settled before it was found.
            let Some(Kept { id, size, meta }) = kept.next_if(|kept| kept.id.0 == id) else {
                continue;
            };
            found.push(Found { id, meta: meta?, notes, size });
        }
        Ok(found)
    }

    /// All that were not given yet.
    ///
    /// # Errors
    /// As [`Finds::next`].
    pub async fn all(mut self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        loop {
            let found = self.next().await?;
            if found.is_empty() {
                return Ok(all);
            }
            all.extend(found);
        }
    }
}
