//! store::spool::kept – what was committed with messages, read again when it is needed.
//!
//! A log may hold millions of messages, and what they mean to whoever keeps them is not in memory. Many
//! are read in the order in which they lie, neighbours at one go.
//!
//! Promises: what is given is what was committed, by its checksum; a segment is not recycled while it is
//! read; memory is bounded by what is asked for.

use std::io::{self, ErrorKind};
use std::ops::{Deref, Range};
use std::rc::Rc;

use super::QueueId;
use super::content::Content;
use super::disk::{self, narrow, wide};
use super::format::{ALIGN, RECORD_HEADER_BYTES, Record};
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
    pub meta: io::Result<Meta>,
}

/// Octets that lie beside those of all that were asked for with them: a list of a million messages would
/// otherwise be as many pieces of memory, each for a moment.
#[derive(Debug, Clone)]
pub struct Meta {
    all: Rc<[u8]>,
    own: Range<usize>,
}

impl Deref for Meta {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.all.get(self.own.clone()).unwrap_or_default()
    }
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
    fn meta<'o>(&self, octets: &'o [u8], begin: u64) -> io::Result<&'o [u8]> {
        let damaged = || io::Error::new(ErrorKind::InvalidData, "damaged spool record");
        let here = octets.get(narrow(self.spot.position - begin)..).unwrap_or_default();
        let header = self.pin.segment.header.get();
        let (id, meta) = Record::front(&header, here, self.spot.position).ok_or_else(damaged)?;
        let same = meta.len() == self.spot.meta_bytes && crc32c::crc32c(meta) == self.spot.meta_sum;
        if id == self.id && same { Ok(meta) } else { Err(damaged()) }
    }
}

/// How many of these, the first of which is read in any case, are read with it.
fn together(wanted: &[Wanted]) -> usize {
    let Some(first) = wanted.first() else { return 0 };
    let (page, begin, mut end) = (wide(ALIGN), first.spot.position, first.end());
    let near = wanted.iter().skip(1).take_while(|next| {
        let near = Rc::ptr_eq(&next.pin.segment, &first.pin.segment)
            && next.spot.position <= end + GAP_BYTES
            && next.end().next_multiple_of(page) - begin / page * page <= wide(BLOCK_BYTES);
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
    let mut all = Vec::with_capacity(wanted.iter().map(|one| one.spot.meta_bytes).sum());
    let mut found = Vec::with_capacity(wanted.len());
    let mut rest = wanted.as_slice();
    while !rest.is_empty() {
        let (window, after) = rest.split_at(together(rest));
        read(window, &mut all, &mut found).await;
        rest = after;
    }
    found.sort_by_key(|(at, ..)| *at);
    let all: Rc<[u8]> = all.into();
    let kept = |(_, id, size, own): (usize, QueueId, u64, io::Result<Range<usize>>)| {
        let meta = own.map(|own| Meta { all: Rc::clone(&all), own });
        Kept { id, size, meta }
    };
    found.into_iter().map(kept).collect()
}

/// Which one of those asked for, what it is, and where among all metas its own lies.
type Place = (usize, QueueId, u64, io::Result<Range<usize>>);

/// Reads neighbours at one go and adds their metas to `all`.
async fn read(window: &[Wanted], all: &mut Vec<u8>, found: &mut Vec<Place>) {
    let Some(first) = window.first() else { return };
    let begin = first.spot.position;
    let end = window.iter().map(Wanted::end).max().unwrap_or(begin);
    let read = disk::peek(&first.pin.segment.file, begin, narrow(end - begin), |octets| {
        for one in window {
            let own = one.meta(octets, begin).map(|meta| {
                let from = all.len();
                all.extend_from_slice(meta);
                from..all.len()
            });
            found.push((one.at, one.id, one.size, own));
        }
    });
    if let Err(error) = read.await {
        let own = || Err(io::Error::new(error.kind(), error.to_string()));
        found.extend(window.iter().map(|one| (one.at, one.id, one.size, own())));
    }
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
        return Some(kept.meta.map(|meta| (meta.to_vec(), content)));
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
            found.push(Found { id, meta: meta?.to_vec(), notes, size });
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
