//! store::spool::fold – what the records of a log add up to: the messages that are not settled.
//!
//! Segments are given in the order of their generations. A later message or pointer of the same id
//! stands for the earlier one and for the notes before it; what a failed batch left is cut away by the
//! cancellation at the front of the segment begun after it, so cuts are collected first.
//!
//! A server, which may find millions, has it leave out what can be read again ([`Fold::lean`]).
//!
//! Promises: the same segments give the same messages, whatever process reads them.
//! Not here: where the octets come from (`recover`, and the commands on a stopped spool).

use std::collections::BTreeMap;

use super::QueueId;
use super::format::{Cut, End, Kind, Piece, Reader, Record, SegmentHeader};
use crate::store::packed::Packed;

/// Does a note (the second) make an earlier one meaningless?
pub type Replaces = fn(&[u8], &[u8]) -> bool;

/// Where the octets of a message lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Octets {
    /// In the record.
    Inline,
    /// In `large/QUEUEID`: size and CRC-32C.
    Large(u64, u32),
}

/// A message that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of its record; empty where it is left out.
    pub meta: Vec<u8>,
    /// Octets of it, and its CRC-32C.
    pub meta_place: (u32, u32),
    /// Noted after that, in order.
    pub notes: Vec<Vec<u8>>,
    /// Octets of the message.
    pub size: u64,
    /// Where they lie.
    pub octets: Octets,
    /// Generation of the segment its record lies in.
    pub generation: u64,
    /// Where in that segment the record begins.
    pub position: u64,
    /// Octets of the record.
    pub record_bytes: u64,
}

/// What was seen in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Sound records.
    pub records: u64,
    /// Spans that were part of the log once and are no record: from, to.
    pub damage: Vec<(u64, u64)>,
    /// Where the log of the segment ends.
    pub end: u64,
    /// A batch was begun there and is not whole.
    pub torn: bool,
    /// The largest queue id.
    pub last_id: u64,
}

/// The messages so far.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    cuts: Vec<Cut>,
    messages: Packed<Held>,
    lean: Option<Replaces>,
}

impl Fold {
    /// Begins, with the cuts of all segments ([`super::format::cuts`]).
    #[must_use]
    pub fn new(cuts: Vec<Cut>) -> Self {
        Self { cuts, messages: Packed::default(), lean: None }
    }

    /// Keeps no meta, and of notes those only that no later one replaces.
    #[must_use]
    pub fn lean(self, replaces: Replaces) -> Self {
        Self { lean: Some(replaces), ..self }
    }

    /// Adds a whole segment. Generations must rise.
    pub fn segment(&mut self, header: &SegmentHeader, octets: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut reader = Reader::new(*header, octets);
        for piece in &mut reader {
            match piece {
                Piece::Record(record) => {
                    seen.records += 1;
                    seen.last_id = seen.last_id.max(record.id.0);
                    if !self.is_cut(header.generation, record.position) {
                        self.record(header.generation, &record);
                    }
                }
                Piece::Damage { from, to } => {
                    if !self.is_cut(header.generation, from) {
                        seen.damage.push((from, to));
                    }
                }
            }
        }
        let End { at, torn } = reader.end();
        seen.end = at;
        seen.torn = torn && !self.is_cut(header.generation, at);
        seen
    }

    fn is_cut(&self, generation: u64, position: u64) -> bool {
        self.cuts.iter().any(|cut| cut.generation == generation && position >= cut.from)
    }

    fn record(&mut self, generation: u64, record: &Record<'_>) {
        let size = u64::try_from(record.body.len()).unwrap_or(u64::MAX);
        match record.kind {
            Kind::Message => self.hold(generation, record, size, Octets::Inline),
            Kind::Pointer => {
                if let Some((size, sum)) = record.pointer() {
                    self.hold(generation, record, size, Octets::Large(size, sum));
                }
            }
            Kind::Note => {
                if let Some(held) = self.messages.get_mut(record.id.0) {
                    if let Some(replaces) = self.lean {
                        held.notes.retain(|earlier| !replaces(earlier, record.meta));
                        // Most have one.
                        held.notes.reserve_exact(1);
                    }
                    held.notes.push(record.meta.to_vec());
                }
            }
            Kind::Settled => drop(self.messages.remove(record.id.0)),
            Kind::Cancelled => {}
        }
    }

    fn hold(&mut self, generation: u64, record: &Record<'_>, size: u64, octets: Octets) {
        let held = Held {
            meta: if self.lean.is_some() { Vec::new() } else { record.meta.to_vec() },
            meta_place: meta_place(record.meta),
            notes: Vec::new(),
            size,
            octets,
            generation,
            position: record.position,
            record_bytes: record.bytes(),
        };
        self.messages.insert(record.id.0, held);
    }

    /// The messages that are not settled.
    #[must_use]
    pub fn into_messages(self) -> BTreeMap<QueueId, Held> {
        self.messages.into_iter().map(|(id, held)| (QueueId(id), held)).collect()
    }

    /// The same, by the numbers of their names.
    #[must_use]
    pub fn into_packed(self) -> Packed<Held> {
        self.messages
    }
}

/// Octets of a meta, and its CRC-32C: with them it is read again without the message behind it.
#[must_use]
pub fn meta_place(meta: &[u8]) -> (u32, u32) {
    (u32::try_from(meta.len()).unwrap_or(u32::MAX), crc32c::crc32c(meta))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::spool::format::{self, encode_header};

    type Item<'a> = (Kind, u64, &'a [u8], &'a [u8]);

    fn segment(generation: u64, items: &[Item<'_>]) -> (SegmentHeader, Vec<u8>) {
        let header = SegmentHeader {
            shard: 0,
            number: generation,
            generation,
            salt: generation,
            bytes: 8192,
            last_id: 0,
        };
        let mut octets = vec![0; 4096];
        for (kind, id, meta, body) in items {
            let position = u64::try_from(octets.len()).unwrap();
            let id = QueueId(*id);
            let record = Record { kind: *kind, id, position, batch: 4096, meta, body };
            octets.extend(encode_header(&header, &record));
            octets.extend(*meta);
            octets.extend(*body);
            octets.resize(octets.len().next_multiple_of(8), 0);
        }
        octets.resize(8192, 0);
        (header, octets)
    }

    fn fold(segments: &[(SegmentHeader, Vec<u8>)]) -> BTreeMap<QueueId, Held> {
        let cuts = segments.iter().flat_map(|(header, octets)| format::cuts(header, octets));
        let mut fold = Fold::new(cuts.collect());
        for (header, octets) in segments {
            assert!(fold.segment(header, octets).damage.is_empty());
        }
        fold.into_messages()
    }

    #[test]
    fn messages_are_held_until_settled_and_carry_their_notes() {
        let one = segment(
            1,
            &[
                (Kind::Message, 1, b"a", b"one"),
                (Kind::Message, 2, b"b", b"two"),
                (Kind::Pointer, 3, b"c", &format::pointer_body(9, 8)),
                (Kind::Note, 2, b"x", b""),
            ],
        );
        let two = segment(
            2,
            &[(Kind::Note, 2, b"y", b""), (Kind::Settled, 1, b"", b""), (Kind::Note, 1, b"z", b"")],
        );
        let held = fold(&[one, two]);
        assert_eq!(held.keys().map(|id| id.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(held[&QueueId(2)].notes, [b"x", b"y"]);
        assert_eq!((held[&QueueId(3)].size, held[&QueueId(3)].octets), (9, Octets::Large(9, 8)));
    }

    #[test]
    fn a_message_carried_on_stands_for_the_earlier_one_and_its_notes() {
        let one = segment(1, &[(Kind::Message, 1, b"a", b"one"), (Kind::Note, 1, b"x", b"")]);
        let two = segment(2, &[(Kind::Message, 1, b"ax", b"one"), (Kind::Note, 1, b"y", b"")]);
        let held = &fold(&[one, two])[&QueueId(1)];
        assert_eq!(
            (&held.meta[..], &held.notes[..], held.generation),
            (&b"ax"[..], &[b"y".to_vec()][..], 2)
        );
    }

    #[test]
    fn a_lean_fold_leaves_out_what_is_read_again_or_replaced() {
        let one = segment(
            1,
            &[
                (Kind::Message, 1, b"meta", b"one"),
                (Kind::Note, 1, b"x1", b""),
                (Kind::Note, 1, b"y1", b""),
                (Kind::Note, 1, b"x2", b""),
            ],
        );
        let same = |earlier: &[u8], later: &[u8]| earlier.first() == later.first();
        let mut fold = Fold::new(Vec::new()).lean(same);
        fold.segment(&one.0, &one.1);
        let held = fold.into_packed().remove(1).unwrap();
        assert_eq!(
            (&held.meta[..], &held.notes[..]),
            (&b""[..], &[b"y1".to_vec(), b"x2".to_vec()][..])
        );
        assert_eq!(held.meta_place, (4, crc32c::crc32c(b"meta")));
    }

    #[test]
    fn what_was_cancelled_never_was() {
        let one = segment(
            1,
            &[
                (Kind::Message, 1, b"", b""),
                (Kind::Message, 2, b"", b""),
                (Kind::Settled, 1, b"", b""),
            ],
        );
        let cut = format::cut_body(Cut { generation: 1, from: 4096 + 64 });
        let two = segment(2, &[(Kind::Cancelled, 0, b"", &cut), (Kind::Note, 1, b"n", b"")]);
        let held = fold(&[one.clone(), two]);
        assert_eq!(held.keys().map(|id| id.0).collect::<Vec<_>>(), [1]);
        assert_eq!(held[&QueueId(1)].notes, [b"n"]);
        assert_eq!(fold(&[one]).keys().map(|id| id.0).collect::<Vec<_>>(), [2]);
    }
}
