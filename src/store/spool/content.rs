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
use super::format;
use super::recover;
use super::state::{Inner, Live, Pin};
use crate::shard::{self, BLOCK_BYTES, File};

/// The octets of a committed message: in memory while cheap, else in the log or a file of its own.
/// Holding one keeps memory, or keeps a segment from being recycled: drop it when the attempt is over
/// and use [`super::Spool::content`] later.
#[derive(Clone)]
pub struct Content {
    len: u64,
    place: Rc<Place>,
}

enum Place {
    Memory {
        octets: Bytes,
        _charge: Rc<Charge>,
    },
    Record {
        pin: Pin,
        position: u64,
        record_bytes: u64,
        verified: Cell<bool>,
    },
    File {
        file: File,
        sum: u32,
        verified: Cell<bool>,
    },
    /// A file not opened yet.
    Named {
        inner: Rc<Inner>,
        id: QueueId,
        sum: u32,
        verified: Cell<bool>,
    },
}

impl Content {
    fn new(len: u64, place: Place) -> Self {
        Self { len, place: Rc::new(place) }
    }

    pub(super) fn in_memory_of(octets: Bytes, charge: Rc<Charge>) -> Self {
        Self::new(wide(octets.len()), Place::Memory { octets, _charge: charge })
    }

    pub(super) fn of_file(file: File, size: u64, sum: u32) -> Self {
        Self::new(size, Place::File { file, sum, verified: Cell::new(true) })
    }

    pub(super) fn of_live(inner: &Rc<Inner>, id: QueueId, live: &Live) -> Self {
        let verified = Cell::new(false);
        let place = match live.large {
            Some(sum) => Place::Named { inner: Rc::clone(inner), id, sum, verified },
            None => Place::Record {
                pin: Pin::new(&live.segment, inner),
                position: live.position,
                record_bytes: live.record_bytes,
                verified,
            },
        };
        Self::new(live.size, place)
    }

    /// Octets.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All octets when they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &*self.place {
            Place::Memory { octets, .. } => Some(octets),
            Place::Record { .. } | Place::File { .. } | Place::Named { .. } => None,
        }
    }

    /// Some octets from `offset`, at most `max`; fewer only at the end. Verified against the record's checksum
    /// at the first read.
    ///
    /// # Errors
    /// EIO; InvalidData when the checksum does not match.
    pub async fn read(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let offset = offset.min(self.len);
        let count = max.min(narrow(self.len - offset));
        match &*self.place {
            Place::Memory { octets, .. } => {
                Ok(octets.slice(narrow(offset)..narrow(offset) + count))
            }
            Place::Record { pin, position, record_bytes, verified } => {
                let record = (*position, *record_bytes);
                self.from_record(pin, record, verified, offset..offset + wide(count)).await
            }
            Place::File { file, sum, verified } => {
                self.from_file(file, *sum, verified, offset, count).await
            }
            Place::Named { inner, id, sum, verified } => {
                let path = format!("shard-{}/large/{id}", inner.shard);
                let file = inner.root.open_file(path.as_bytes()).await?;
                self.from_file(&file, *sum, verified, offset, count).await
            }
        }
    }

    async fn from_record(
        &self,
        pin: &Pin,
        (position, bytes): (u64, u64),
        verified: &Cell<bool>,
        wanted: std::ops::Range<u64>,
    ) -> io::Result<Bytes> {
        let body = recover::body(&pin.segment, position, bytes).await?;
        verified.set(true);
        if wide(body.len()) != self.len {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(body.slice(narrow(wanted.start)..narrow(wanted.end)))
    }

    async fn from_file(
        &self,
        file: &File,
        sum: u32,
        verified: &Cell<bool>,
        offset: u64,
        count: usize,
    ) -> io::Result<Bytes> {
        if !verified.get() {
            if file_sum(file).await? != (self.len, sum) {
                return Err(io::Error::new(ErrorKind::InvalidData, "damaged spool file"));
            }
            verified.set(true);
        }
        let octets = disk::read(file, offset, count).await?;
        if octets.len() < count {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from(octets))
    }
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

const _: () = assert!(BLOCK_BYTES.is_multiple_of(format::ALIGN));
