//! store::spool::recover – what a log holds when the server starts.
//!
//! All segments are read in the order of their generations, and their records verified. Nothing is
//! written to a segment that was found with records: a new one is begun. What is torn was never
//! acknowledged; what is damaged is said, with file and offset, and read around.
//!
//! Promises: reading changes nothing, so a crash meanwhile changes nothing; what cannot be read is left
//! where it is.
//! Not here: what records add up to (`fold`), logs of other shards (`adopt`).

use std::io;
use std::rc::Rc;

use bytes::Bytes;

use super::disk::{self, narrow, wide};
use super::fold::{Fold, Held, Replaces};
use super::format::{self, Cut, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::segment::{self, Segment};
use crate::shard::{BLOCK_BYTES, FileKind, Root};
use crate::store::packed::Packed;

/// What damage means, and what to do.
const LOST: &str = "an accepted message may be lost (the rest is read and delivered; stop the server and \
                    keep a copy of the spool, `sluicegate spool verify` tells more, `sluicegate spool export` \
                    saves what is whole; ask the sender for what is missing. Told at each start until the \
                    segment is used again)";

/// A log as it was found.
pub(super) struct Log {
    /// Segments with records, oldest first.
    pub(super) used: Vec<Rc<Segment>>,
    /// Segments without.
    pub(super) empty: Vec<Rc<Segment>>,
    /// Without what can be read again.
    pub(super) messages: Packed<Held>,
    /// Something was there once that cannot be read.
    pub(super) damaged: bool,
    /// A batch was not whole: the power failed, or its octets were lost later.
    pub(super) torn: bool,
    pub(super) last_id: u64,
    pub(super) generation: u64,
    /// The largest number of a segment.
    pub(super) number: u64,
}

/// Reads the log in directory `path` (`shard-N`).
pub(super) async fn read(
    root: &Root,
    path: &[u8],
    shard: u32,
    replaces: Replaces,
) -> io::Result<Log> {
    let mut log = Log {
        used: Vec::new(),
        empty: Vec::new(),
        messages: Packed::default(),
        damaged: false,
        torn: false,
        last_id: 0,
        generation: 0,
        number: 0,
    };
    let mut segments = Vec::new();
    let mut cuts = Vec::new();
    for item in disk::list(root, path, FileKind::File).await? {
        let Some(number) = segment::number(&item.name) else { continue };
        log.number = log.number.max(number);
        let place = [path, b"/", &item.name[..]].concat();
        let file = root.open_in_place(&place).await?;
        let start = disk::read(&file, 0, BLOCK_BYTES).await?;
        let header = match SegmentHeader::decode(&start) {
            Some(header) if header.number == number && header.bytes <= item.stat.size => header,
            _ => {
                let all = disk::read(&file, 0, narrow(item.stat.size)).await?;
                let Some(header) = SegmentHeader::from_first_record(&all, shard, number) else {
                    log.damaged = true;
                    let file = String::from_utf8_lossy(&place);
                    tracing::error!(%file, offset = 0, "a spool segment cannot be read and is left alone: {LOST}");
                    continue;
                };
                let file = String::from_utf8_lossy(&place);
                tracing::warn!(%file, offset = 0, "the header of a spool segment is damaged; its records are there");
                header
            }
        };
        cuts.extend(format::cuts(&header, &start));
        log.last_id = log.last_id.max(header.last_id);
        log.generation = log.generation.max(header.generation);
        segments.push(Segment::new(file, header, header.bytes));
    }
    segments.sort_by_key(|segment| segment.generation());
    log.generation = cuts.iter().fold(log.generation, |most, cut| most.max(cut.generation));
    let lean = Fold::new(cuts.clone()).lean(replaces);
    fold(&mut log, &String::from_utf8_lossy(path), segments, &cuts, lean).await?;
    Ok(log)
}

async fn fold(
    log: &mut Log,
    path: &str,
    segments: Vec<Rc<Segment>>,
    cuts: &[Cut],
    mut fold: Fold,
) -> io::Result<()> {
    for segment in segments {
        let header = segment.header.get();
        let octets = disk::read(&segment.file, 0, narrow(header.bytes)).await?;
        let seen = fold.segment(&header, &octets);
        let file = format!("{path}/{:08}.seg", segment.number());
        for (from, to) in &seen.damage {
            log.damaged = true;
            tracing::error!(
                file,
                offset = from,
                octets = to - from,
                "the spool is damaged: {LOST}"
            );
        }
        if seen.torn {
            log.torn = true;
            tracing::info!(
                file,
                offset = seen.end,
                "a batch is not whole, as after a power cut; it was not acknowledged"
            );
        }
        log.last_id = log.last_id.max(seen.last_id);
        let failed = cuts.iter().any(|cut| cut.generation == header.generation);
        segment.condemned.set(failed);
        if seen.records > 0 || !seen.damage.is_empty() || failed {
            log.used.push(segment);
        } else {
            log.empty.push(segment);
        }
    }
    log.messages = fold.into_packed();
    Ok(())
}

impl Log {
    /// The segment a message lies in.
    pub(super) fn segment(&self, held: &Held) -> Option<&Rc<Segment>> {
        self.used.iter().find(|segment| segment.generation() == held.generation)
    }
}

const _: () = assert!(BLOCK_BYTES > SEGMENT_HEADER_BYTES);

/// Octets of the body of an inline message, verified.
pub(super) async fn body(segment: &Segment, position: u64, bytes: u64) -> io::Result<Bytes> {
    Ok(body_and_place(segment, position, bytes).await?.0)
}

/// Meta and body of an inline message, verified.
pub(super) async fn meta_and_body(
    segment: &Segment,
    position: u64,
    bytes: u64,
) -> io::Result<(Vec<u8>, Bytes)> {
    let octets = Bytes::from(disk::read(&segment.file, position, narrow(bytes)).await?);
    let record = format::Record::parse(&segment.header.get(), &octets, position)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged spool record"))?;
    Ok((record.meta.to_vec(), octets.slice_ref(record.body)))
}

/// Its body, and where in the segment that begins.
pub(super) async fn body_and_place(
    segment: &Segment,
    position: u64,
    bytes: u64,
) -> io::Result<(Bytes, u64)> {
    let octets = disk::read(&segment.file, position, narrow(bytes)).await?;
    let record = format::Record::parse(&segment.header.get(), &octets, position)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged spool record"))?;
    let begin = wide(format::RECORD_HEADER_BYTES + record.meta.len());
    let range = narrow(begin)..narrow(begin) + record.body.len();
    Ok((Bytes::from(octets).slice(range), position + begin))
}
