//! Records written and read again; records torn, damaged, left over and forged.

use proptest::prelude::*;

use super::*;

const SEGMENT: SegmentHeader = SegmentHeader {
    shard: 3,
    number: 7,
    generation: 9,
    salt: 0x1122_3344,
    bytes: 65536,
    last_id: 5,
};

/// Writes batches of `(kind, id, meta, body)` into a segment as the committer does.
fn segment(header: SegmentHeader, stale: u8, batches: &[Vec<Item>]) -> Vec<u8> {
    let mut octets = vec![stale; narrow(header.bytes)];
    octets[..ALIGN].fill(0);
    octets[..60].copy_from_slice(&header.encode());
    let mut at = ALIGN;
    for items in batches {
        let batch = at;
        for (kind, id, meta, body) in items {
            let (position, batch) = (wide(at), wide(batch));
            let record = Record { kind: *kind, id: QueueId(*id), position, batch, meta, body };
            let bytes = [&encode_header(&header, &record)[..], meta, body].concat();
            let end = at + narrow(record.bytes());
            octets[at..end].fill(0);
            octets[at..at + bytes.len()].copy_from_slice(&bytes);
            at = end;
        }
        let end = batch_bytes(at);
        octets[at..end].fill(0);
        at = end;
    }
    octets
}

type Item = (Kind, u64, Vec<u8>, Vec<u8>);

fn message(id: u64, body: usize) -> Item {
    (Kind::Message, id, vec![1; 40], vec![7; body])
}

fn ids(octets: &[u8]) -> (Vec<u64>, Vec<(u64, u64)>, End) {
    let mut reader = Reader::new(SEGMENT, octets);
    let (mut ids, mut damage) = (Vec::new(), Vec::new());
    for piece in &mut reader {
        match piece {
            Piece::Record(record) => ids.push(record.id.0),
            Piece::Damage { from, to } => damage.push((from, to)),
        }
    }
    (ids, damage, reader.end())
}

/// Three batches: ids 1 2 3 (three pages), 4 (one page), 5 6.
fn example() -> Vec<u8> {
    let first = vec![message(1, 3000), message(2, 5000), message(3, 10)];
    segment(SEGMENT, 0xEE, &[first, vec![message(4, 100)], vec![message(5, 0), message(6, 1)]])
}

#[test]
fn a_header_is_read_again_and_no_other() {
    let octets = SEGMENT.encode();
    assert_eq!(SegmentHeader::decode(&octets), Some(SEGMENT));
    for at in 0..octets.len() {
        let mut bad = octets;
        bad[at] ^= 1;
        assert_eq!(SegmentHeader::decode(&bad), None, "octet {at}");
    }
    assert_eq!(SegmentHeader::decode(&octets[..59]), None);
}

#[test]
fn a_lost_header_is_found_again_from_the_first_record() {
    let mut octets = example();
    octets[..ALIGN].fill(0);
    let found = SegmentHeader::from_first_record(&octets, 3, 7).unwrap();
    assert_eq!(found, SegmentHeader { last_id: 0, ..SEGMENT });
    octets[ALIGN + 80] ^= 1;
    assert_eq!(SegmentHeader::from_first_record(&octets, 3, 7), None);
}

#[test]
fn whole_batches_end_cleanly_over_what_was_there_before() {
    let end = End { at: 6 * 4096, torn: false };
    assert_eq!(ids(&example()), (vec![1, 2, 3, 4, 5, 6], vec![], end));
}

#[test]
fn every_flipped_octet_is_noticed_and_costs_one_record_at_most() {
    let whole = example();
    for at in ALIGN..6 * 4096 {
        let mut octets = whole.clone();
        octets[at] ^= 0x10;
        let (left, damage, end) = ids(&octets);
        let full = (1..=6).filter(|id| left.contains(id)).count();
        assert!(left.is_sorted() && full == left.len(), "octet {at}: {left:?}");
        if at < 5 * 4096 {
            assert!(left.len() >= 5, "octet {at}: {left:?}");
            assert!(!damage.is_empty() || left.len() == 6, "octet {at}");
            assert_eq!(end, End { at: 6 * 4096, torn: false }, "octet {at}");
        } else {
            // The last batch: torn, as far as anybody can tell.
            assert!(left.starts_with(&[1, 2, 3, 4]), "octet {at}: {left:?}");
        }
    }
}

#[test]
fn a_torn_batch_is_dropped_from_its_first_bad_record_on() {
    let first = vec![message(1, 3000), message(2, 5000), message(3, 10)];
    let whole = segment(SEGMENT, 0, &[vec![message(9, 1)], first]);
    for lost in 1_usize..8 {
        let mut octets = whole.clone();
        for page in 0..3 {
            if lost >> page & 1 == 1 {
                octets[(2 + page) * ALIGN..][..ALIGN].fill(0);
            }
        }
        let (left, damage, end) = ids(&octets);
        let kept: &[u64] = if lost & 1 == 1 { &[9] } else { &[9, 1] };
        assert_eq!((&left[..], &damage[..]), (kept, &[][..]), "lost {lost:b}");
        assert_eq!(end.torn, lost & 1 == 0, "lost {lost:b}");
    }
}

#[test]
fn records_of_an_earlier_use_are_none() {
    let old = SegmentHeader { generation: 8, ..SEGMENT };
    let salted = SegmentHeader { salt: 1, ..SEGMENT };
    for other in [old, salted] {
        let octets = segment(other, 0, &[vec![message(1, 10)], vec![message(2, 10)]]);
        assert_eq!(ids(&octets), (vec![], vec![], End { at: 4096, torn: false }));
    }
}

#[test]
fn a_record_elsewhere_than_it_says_is_none() {
    let mut octets = segment(SEGMENT, 0, &[vec![message(1, 10)]]);
    let copy = octets[ALIGN..2 * ALIGN].to_vec();
    octets[3 * ALIGN..4 * ALIGN].copy_from_slice(&copy);
    assert_eq!(ids(&octets), (vec![1], vec![], End { at: 2 * 4096, torn: false }));
}

#[test]
fn cancellations_stand_at_the_front() {
    let cut = Cut { generation: 4, from: 8192 };
    let item = |cut| (Kind::Cancelled, 0, vec![], cut_body(cut).to_vec());
    let other = Cut { generation: 5, from: 4096 };
    let octets = segment(SEGMENT, 0, &[vec![item(cut), item(other), message(1, 1), item(cut)]]);
    assert_eq!(cuts(&SEGMENT, &octets), [cut, other]);
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Message, Kind::Pointer, Kind::Note, Kind::Settled])
}

fn items() -> impl Strategy<Value = Vec<Vec<Item>>> {
    let octets = |max| prop::collection::vec(any::<u8>(), 0..max);
    let item = (kinds(), any::<u64>(), octets(60), octets(3000));
    prop::collection::vec(prop::collection::vec(item, 1..4), 0..4)
}

proptest! {
    #[test]
    fn what_was_written_is_read(batches in items(), stale in any::<u8>()) {
        let octets = segment(SEGMENT, stale, &batches);
        let read: Vec<Item> = Reader::new(SEGMENT, &octets)
            .map(|piece| match piece {
                Piece::Record(one) => (one.kind, one.id.0, one.meta.to_vec(), one.body.to_vec()),
                Piece::Damage { .. } => panic!("damage where there is none"),
            })
            .collect();
        prop_assert_eq!(read, batches.concat());
    }

    #[test]
    fn any_octets_are_read_to_an_end(
        batches in items(),
        changes in prop::collection::vec((0_usize..65536, any::<u8>()), 0..40),
        cut in 0_usize..=65536,
    ) {
        let mut octets = segment(SEGMENT, 0, &batches);
        for (at, octet) in changes {
            octets[at] = octet;
        }
        octets.truncate(cut);
        let known: Vec<Item> = batches.concat();
        let mut last = 0;
        for piece in Reader::new(SEGMENT, &octets) {
            let (at, next) = match piece {
                Piece::Record(one) => {
                    let item = (one.kind, one.id.0, one.meta.to_vec(), one.body.to_vec());
                    prop_assert!(known.contains(&item));
                    (one.position, one.position + one.bytes())
                }
                Piece::Damage { from, to } => (from, to),
            };
            prop_assert!(at >= last && next > at);
            last = next;
        }
    }
}
