//! store::spool::content – the octets of a committed message.
//!
//! Promises: what is read from a disk is verified against its checksum first; a segment is not recycled
//! while somebody reads from it.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use bytes::Bytes;

use super::QueueId;
use super::budget::Charge;
use super::disk::{self, narrow, wide};
use super::recover;
use super::state::{Inner, Live, Pin, Spot, State};
use crate::shard::{self, File};

/// The octets of a committed message: in memory while cheap, else in the log or a file of its own.
/// Holding one keeps memory, or keeps a segment from being recycled: drop it when the attempt is over
/// and use [`super::Spool::content`] later.
#[derive(Clone)]
pub struct Content(Rc<Shared>);

struct Shared {
    len: u64,
    place: Place,
    /// The checksum was looked at.
    verified: Cell<bool>,
    /// Where in its segment the body begins, once the record was verified.
    body_at: Cell<Option<u64>>,
}

enum Place {
    /// A small one that was read.
    Read(Bytes),
    Memory {
        octets: Bytes,
        _charge: Rc<Charge>,
    },
    Record {
        pin: Pin,
        position: u64,
        record_bytes: u64,
    },
    File {
        file: File,
        sum: u32,
    },
    /// A file not opened yet.
    Named {
        inner: Rc<Inner>,
        id: QueueId,
        sum: u32,
    },
}

impl Content {
    fn new(len: u64, place: Place, verified: bool) -> Self {
        Self(Rc::new(Shared {
            len,
            place,
            verified: Cell::new(verified),
            body_at: Cell::new(None),
        }))
    }

    pub(super) fn in_memory_of(octets: Bytes, charge: Rc<Charge>) -> Self {
        Self::new(wide(octets.len()), Place::Memory { octets, _charge: charge }, true)
    }

    pub(super) fn of_file(file: File, size: u64, sum: u32) -> Self {
        Self::new(size, Place::File { file, sum }, true)
    }

    /// A small message that was read, and verified, with what is kept of it.
    pub(super) fn at_hand(octets: Bytes) -> Self {
        Self::new(wide(octets.len()), Place::Read(octets), true)
    }

    pub(super) fn of_live(state: &State, inner: &Rc<Inner>, id: QueueId, live: &Live) -> Self {
        let place = match state.large.get(&id).filter(|_| live.large) {
            Some((_, sum)) => Place::Named { inner: Rc::clone(inner), id, sum: *sum },
            None => {
                let Spot { position, record_bytes, .. } = live.spot();
                Place::Record { pin: Pin::new(&live.segment, inner), position, record_bytes }
            }
        };
        Self::new(state.size(id, live), place, false)
    }

    /// Octets.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All octets when they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.0.place {
            Place::Memory { octets, .. } | Place::Read(octets) => Some(octets),
            Place::Record { .. } | Place::File { .. } | Place::Named { .. } => None,
        }
    }

    /// Some octets from `offset`, at most `max`; fewer only at the end. Verified against the record's checksum
    /// at the first read.
    ///
    /// # Errors
    /// EIO; InvalidData when the checksum does not match.
    pub async fn read(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let begin = offset.min(self.len());
        let count = max.min(narrow(self.len() - begin));
        match &self.0.place {
            Place::Memory { octets, .. } | Place::Read(octets) => {
                Ok(octets.slice(narrow(begin)..narrow(begin) + count))
            }
            Place::Record { pin, position, record_bytes } => {
                if let Some(body_at) = self.0.body_at.get() {
                    let octets = disk::read(&pin.segment.file, body_at + begin, count).await?;
                    return whole(octets, count);
                }
                let (body, body_at) =
                    recover::body_and_place(&pin.segment, *position, *record_bytes).await?;
                if wide(body.len()) != self.len() {
                    return Err(ErrorKind::InvalidData.into());
                }
                self.0.body_at.set(Some(body_at));
                Ok(body.slice(narrow(begin)..narrow(begin) + count))
            }
            Place::File { file, sum } => self.read_file(file, *sum, begin, count).await,
            Place::Named { inner, id, sum } => {
                let path = format!("shard-{}/large/{id}", inner.shard);
                let file = inner.root.open_file(path.as_bytes()).await?;
                self.read_file(&file, *sum, begin, count).await
            }
        }
    }

    async fn read_file(
        &self,
        file: &File,
        sum: u32,
        offset: u64,
        count: usize,
    ) -> io::Result<Bytes> {
        if !self.0.verified.get() {
            if file_sum(file).await? != (self.len(), sum) {
                return Err(io::Error::new(ErrorKind::InvalidData, "damaged spool file"));
            }
            self.0.verified.set(true);
        }
        whole(disk::read(file, offset, count).await?, count)
    }
}

/// All that was asked for, or an error.
fn whole(octets: Vec<u8>, count: usize) -> io::Result<Bytes> {
    if octets.len() < count {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(octets))
}

/// Size and CRC-32C of a file.
async fn file_sum(file: &File) -> io::Result<(u64, u32)> {
    let (mut size, mut sum) = (0, 0);
    loop {
        let (count, block) = file.read_at(shard::block().await, size).await;
        let octets = block.get(..count?).unwrap_or_default();
        if octets.is_empty() {
            return Ok((size, sum));
        }
        size += wide(octets.len());
        sum = crc32c::crc32c_append(sum, octets);
    }
}
