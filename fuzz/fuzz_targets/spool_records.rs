//! Any octets as a segment of the spool: the reader ends, never panics, and gives no record that is not sound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::store::spool::fold::Fold;
use sluicegate::store::spool::format::{self, Piece, Reader, Record, SegmentHeader};

fuzz_target!(|octets: &[u8]| {
    let mut segment = vec![0; format::SEGMENT_HEADER_BYTES];
    let header = octets.get(..60).unwrap_or_default();
    segment[..header.len()].copy_from_slice(header);
    segment.extend_from_slice(octets.get(60..).unwrap_or_default());
    let read = SegmentHeader::decode(&segment);
    let header = read.or_else(|| SegmentHeader::from_first_record(&segment, 0, 1));
    let header = header.unwrap_or(SegmentHeader {
        shard: 0,
        number: 1,
        generation: 1,
        salt: 1,
        bytes: 0,
        last_id: 0,
    });
    let mut last = 0;
    for piece in Reader::new(header, &segment) {
        let (from, to) = match piece {
            Piece::Record(record) => {
                assert_eq!(Record::at(&header, &segment, record.position), Some(record));
                (record.position, record.position + record.bytes())
            }
            Piece::Damage { from, to } => (from, to),
        };
        assert!(from >= last && to > from);
        last = to;
    }
    Fold::new(format::cuts(&header, &segment)).segment(&header, &segment);
});
