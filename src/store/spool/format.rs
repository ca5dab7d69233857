//! store::spool::format – the octets of a segment: its header, its records, and a reader of both.
//!
//! ```text
//!  0      magic version shard number generation salt length last-id CRC-32C, then zeros
//!  4096   record record … zeros │ record … zeros │ …        a batch begins at a multiple of 4096
//!         └ 64 octets of header, meta, body, zeros up to a multiple of 8
//! ```
//! Numbers are little-endian. A record names the generation and the salt of its segment, its own
//! position and that of its batch: what an earlier use of the segment left is never taken for one,
//! nor is anything a client put into a message, since the salt is chosen at random for each use.
//!
//! Promises: any octets are read to an end without a panic; a record is given only when its CRC-32C
//! holds; what was encoded is read again as it was.
//! Not here: files (`recover`), what records add up to (`fold`).

use super::QueueId;

/// Octets of the body of a cancellation.
pub const CUT_BYTES: usize = 16;
/// Unit of direct writes: batches begin at multiples of it.
pub const ALIGN: usize = 4096;
/// Octets of a segment before its first record.
pub const SEGMENT_HEADER_BYTES: usize = ALIGN;
/// Octets of a record before its meta.
pub const RECORD_HEADER_BYTES: usize = 64;
/// Records begin at multiples of it.
const RECORD_ALIGN: usize = 8;
/// The same, for positions.
pub const RECORD_ALIGN_BYTES: u64 = 8;
/// Octets of the body of a pointer.
pub const POINTER_BYTES: usize = 12;
/// Version of everything here.
pub const VERSION: u32 = 1;
/// What `spool/FORMAT` says.
pub const FORMAT_LINE: &str = "sluicegate spool 1\n";

const SEGMENT_MAGIC: [u8; 8] = *b"SgSpool\n";
const RECORD_MAGIC: [u8; 4] = *b"SgR\x1e";
/// Octets of a segment's header that the checksum covers.
const SEGMENT_SUMMED: usize = 56;
/// Octets of a record's header that the checksum covers.
const RECORD_SUMMED: usize = 60;

/// Says which use of which segment the records below belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The shard it was made for.
    pub shard: u32,
    /// Its number, as in the name of the file.
    pub number: u64,
    /// Counts uses of segments of this log: larger is later.
    pub generation: u64,
    /// Chosen at random for this use.
    pub salt: u64,
    /// Octets of the segment.
    pub bytes: u64,
    /// The last queue id given out before this use.
    pub last_id: u64,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message: meta and body.
    Message,
    /// A message whose octets lie in `large/QUEUEID`: meta, and in the body size and CRC-32C of that file.
    Pointer,
    /// Something about a message, in meta.
    Note,
    /// Nothing is left to do for a message.
    Settled,
    /// A batch that failed: what lies in that generation from that position on never was. Only at
    /// the very front of a segment.
    Cancelled,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Pointer => 2,
            Self::Note => 3,
            Self::Settled => 4,
            Self::Cancelled => 5,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Message, Self::Pointer, Self::Note, Self::Settled, Self::Cancelled]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// Where the log was cut: nothing of this generation counts from this position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Generation of the segment condemned.
    pub generation: u64,
    /// First position that does not count.
    pub from: u64,
}

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: Kind,
    /// Of which message; 0 for [`Kind::Cancelled`].
    pub id: QueueId,
    /// Where it begins in the segment.
    pub position: u64,
    /// Where its batch begins.
    pub batch: u64,
    /// Opaque.
    pub meta: &'a [u8],
    /// The message, or what the kind says.
    pub body: &'a [u8],
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// Rounds up to a multiple of `unit`, a power of two.
const fn round_up(value: usize, unit: usize) -> usize {
    value.saturating_add(unit - 1) & !(unit - 1)
}

/// Octets that a batch of `len` octets of records takes.
#[must_use]
pub const fn batch_bytes(len: usize) -> usize {
    round_up(len, ALIGN)
}

/// Octets that a record takes.
#[must_use]
pub const fn record_bytes(meta: usize, body: usize) -> usize {
    round_up(RECORD_HEADER_BYTES.saturating_add(meta).saturating_add(body), RECORD_ALIGN)
}

impl SegmentHeader {
    /// As it stands at the beginning of the segment; zeros follow up to [`SEGMENT_HEADER_BYTES`].
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_SUMMED + 4] {
        let mut octets = [0; SEGMENT_SUMMED + 4];
        octets[..8].copy_from_slice(&SEGMENT_MAGIC);
        octets[8..12].copy_from_slice(&VERSION.to_le_bytes());
        octets[12..16].copy_from_slice(&self.shard.to_le_bytes());
        let numbers = [self.number, self.generation, self.salt, self.bytes, self.last_id];
        for (place, number) in octets[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = crc32c::crc32c(&octets[..SEGMENT_SUMMED]);
        octets[SEGMENT_SUMMED..].copy_from_slice(&sum.to_le_bytes());
        octets
    }

    /// Reads it; `None` when it does not hold.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let summed = octets.get(..SEGMENT_SUMMED)?;
        let sound = summed.starts_with(&SEGMENT_MAGIC)
            && u32_at(octets, 8)? == VERSION
            && u32_at(octets, SEGMENT_SUMMED)? == crc32c::crc32c(summed);
        sound.then_some(Self {
            shard: u32_at(octets, 12)?,
            number: u64_at(octets, 16)?,
            generation: u64_at(octets, 24)?,
            salt: u64_at(octets, 32)?,
            bytes: u64_at(octets, 40)?,
            last_id: u64_at(octets, 48)?,
        })
    }

    /// What the header must have said where it does not hold but the first record does. `octets` is the
    /// whole segment.
    #[must_use]
    pub fn from_first_record(octets: &[u8], shard: u32, number: u64) -> Option<Self> {
        let first = octets.get(SEGMENT_HEADER_BYTES..)?;
        let (salt, generation) = (u64_at(first, 8)?, u64_at(first, 16)?);
        let header =
            Self { shard, number, generation, salt, bytes: wide(octets.len()), last_id: 0 };
        let record = Record::at(&header, octets, wide(SEGMENT_HEADER_BYTES))?;
        (record.batch == record.position).then_some(header)
    }
}

/// Makes the header of a record; meta and body follow it, and zeros up to [`Record::bytes`].
#[must_use]
pub fn encode_header(segment: &SegmentHeader, record: &Record<'_>) -> [u8; RECORD_HEADER_BYTES] {
    let mut octets = [0; RECORD_HEADER_BYTES];
    octets[..4].copy_from_slice(&RECORD_MAGIC);
    octets[4] = record.kind.number();
    octets[6] = 64;
    let numbers = [segment.salt, segment.generation, record.position, record.batch, record.id.0];
    for (place, number) in octets[8..48].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    for (place, part) in octets[48..56].chunks_exact_mut(4).zip([record.meta, record.body]) {
        place.copy_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    let sum = checksum(&octets, record.meta, record.body);
    octets[RECORD_SUMMED..].copy_from_slice(&sum.to_le_bytes());
    octets
}

fn checksum(header: &[u8], meta: &[u8], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c(header.get(..RECORD_SUMMED).unwrap_or_default());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, meta), body)
}

impl<'a> Record<'a> {
    /// The record at a position of a segment, if there is a sound one.
    #[must_use]
    pub fn at(segment: &SegmentHeader, octets: &'a [u8], position: u64) -> Option<Self> {
        Self::parse(segment, octets.get(narrow(position)..)?, position)
    }

    /// The record that these octets, taken from a position of a segment, begin with.
    #[must_use]
    pub fn parse(segment: &SegmentHeader, octets: &'a [u8], position: u64) -> Option<Self> {
        if !begins(segment, octets) || u64_at(octets, 24)? != position {
            return None;
        }
        let meta = narrow(u64::from(u32_at(octets, 48)?));
        let body = narrow(u64::from(u32_at(octets, 52)?));
        let (header, rest) = octets.split_at_checked(RECORD_HEADER_BYTES)?;
        let (meta, rest) = rest.split_at_checked(meta)?;
        let body = rest.get(..body)?;
        if u32_at(header, RECORD_SUMMED)? != checksum(header, meta, body) {
            return None;
        }
        let kind = Kind::from_number(header[4])?;
        let (batch, id) = (u64_at(header, 32)?, QueueId(u64_at(header, 40)?));
        Some(Self { kind, id, position, batch, meta, body })
    }

    /// Message and meta of the record that these octets, taken from a position of a segment, begin with.
    /// Its body need not be at hand, so the checksum is not looked at.
    #[must_use]
    pub fn front(
        segment: &SegmentHeader,
        octets: &'a [u8],
        position: u64,
    ) -> Option<(QueueId, &'a [u8])> {
        if !begins(segment, octets) || u64_at(octets, 24)? != position {
            return None;
        }
        let meta = narrow(u64::from(u32_at(octets, 48)?));
        let meta = octets.get(RECORD_HEADER_BYTES..)?.get(..meta)?;
        Some((QueueId(u64_at(octets, 40)?), meta))
    }

    /// Octets it takes in its segment.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        wide(record_bytes(self.meta.len(), self.body.len()))
    }

    /// Size and CRC-32C of the file a [`Kind::Pointer`] stands for.
    #[must_use]
    pub fn pointer(&self) -> Option<(u64, u32)> {
        let holds = self.kind == Kind::Pointer && self.body.len() == POINTER_BYTES;
        if holds { Some((u64_at(self.body, 0)?, u32_at(self.body, 8)?)) } else { None }
    }

    /// What a [`Kind::Cancelled`] cancels.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        let holds = self.kind == Kind::Cancelled && self.body.len() == CUT_BYTES;
        if !holds {
            return None;
        }
        Some(Cut { generation: u64_at(self.body, 0)?, from: u64_at(self.body, 8)? })
    }
}

/// Body of a [`Kind::Pointer`].
#[must_use]
pub fn pointer_body(size: u64, sum: u32) -> [u8; POINTER_BYTES] {
    let mut octets = [0; POINTER_BYTES];
    octets[..8].copy_from_slice(&size.to_le_bytes());
    octets[8..].copy_from_slice(&sum.to_le_bytes());
    octets
}

/// Body of a [`Kind::Cancelled`].
#[must_use]
pub fn cut_body(cut: Cut) -> [u8; CUT_BYTES] {
    let mut octets = [0; CUT_BYTES];
    octets[..8].copy_from_slice(&cut.generation.to_le_bytes());
    octets[8..].copy_from_slice(&cut.from.to_le_bytes());
    octets
}

/// Does something begin here that calls itself a record of this use of the segment?
fn begins(segment: &SegmentHeader, octets: &[u8]) -> bool {
    octets.starts_with(&RECORD_MAGIC)
        && u64_at(octets, 8) == Some(segment.salt)
        && u64_at(octets, 16) == Some(segment.generation)
}

/// What a reader comes upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A sound record.
    Record(Record<'a>),
    /// Octets that were a complete batch once, or part of one, and are no sound record.
    Damage {
        /// First octet that is not sound.
        from: u64,
        /// Where a sound record begins again.
        to: u64,
    },
}

/// Why a reader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Where the log of this segment ends.
    pub at: u64,
    /// A batch was begun there and is not whole: the power failed, or the last batch was damaged.
    pub torn: bool,
}

/// Reads the records of a whole segment in order.
///
/// A record that is not sound ends the log unless a sound batch begins behind it: batches are written
/// one after the other, so the earlier one was whole once, and what is sound of it is still given.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    segment: SegmentHeader,
    octets: &'a [u8],
    at: u64,
    /// Where the batch being read begins.
    batch: u64,
    end: Option<End>,
}

impl<'a> Reader<'a> {
    /// `octets` is the whole segment, `segment` its header.
    #[must_use]
    pub fn new(segment: SegmentHeader, octets: &'a [u8]) -> Self {
        let at = wide(SEGMENT_HEADER_BYTES);
        Self { segment, octets, at, batch: at, end: None }
    }

    /// Why it stopped; before that, where it is.
    #[must_use]
    pub fn end(&self) -> End {
        self.end.unwrap_or(End { at: self.at, torn: false })
    }

    /// The sound record at `at`, of the batch being read or the first of another.
    fn sound(&self, at: u64) -> Option<Record<'a>> {
        let record = Record::at(&self.segment, self.octets, at)?;
        let first = record.batch == at && at.is_multiple_of(wide(ALIGN));
        (first || record.batch == self.batch && at > self.batch).then_some(record)
    }

    /// The first sound batch from a multiple of [`ALIGN`] after `at`.
    fn next_batch(&self, at: u64) -> Option<u64> {
        let first = round_up(narrow(at).saturating_add(1), ALIGN);
        (first..self.octets.len()).step_by(ALIGN).map(wide).find(|&at| {
            Record::at(&self.segment, self.octets, at).is_some_and(|record| record.batch == at)
        })
    }

    /// The first sound record after `at`, up to `until` where there is one, of whatever batch.
    fn salvage(&self, at: u64, until: u64) -> u64 {
        let mut places = (narrow(at)..narrow(until)).step_by(RECORD_ALIGN).skip(1).map(wide);
        places
            .find(|&at| {
                Record::at(&self.segment, self.octets, at).is_some_and(|record| record.batch <= at)
            })
            .unwrap_or(until)
    }

    /// Is there nothing but the end of a batch from `at` to the next multiple of [`ALIGN`]?
    fn padded(&self, at: u64) -> bool {
        let rest = narrow(at)..round_up(narrow(at), ALIGN);
        self.octets.get(rest).is_some_and(|rest| rest.iter().all(|octet| *octet == 0))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.end.is_some() {
            return None;
        }
        if self.padded(self.at) {
            self.at = wide(round_up(narrow(self.at), ALIGN));
        }
        if let Some(record) = self.sound(self.at) {
            self.batch = record.batch;
            self.at += record.bytes();
            return Some(Piece::Record(record));
        }
        let from = self.at;
        let Some(batch) = self.next_batch(from) else {
            let here = self.octets.get(narrow(from)..).unwrap_or_default();
            let torn = !from.is_multiple_of(wide(ALIGN)) || begins(&self.segment, here);
            self.end = Some(End { at: from, torn });
            return None;
        };
        self.at = self.salvage(from, batch);
        if let Some(record) = Record::at(&self.segment, self.octets, self.at)
            && record.batch < self.at
        {
            // It is given next, as one of the batch it says it is of.
            self.batch = record.batch;
        }
        Some(Piece::Damage { from, to: self.at })
    }
}

/// What a segment cancels; `octets` is its beginning, as much as is at hand (256 KiB is plenty).
#[must_use]
pub fn cuts(segment: &SegmentHeader, octets: &[u8]) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut at = wide(SEGMENT_HEADER_BYTES);
    while let Some(record) = Record::at(segment, octets, at)
        && let Some(cut) = record.cut()
    {
        cuts.push(cut);
        at += record.bytes();
    }
    cuts
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
