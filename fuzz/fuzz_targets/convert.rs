//! Representations against what they say octet by octet, in whatever portions the octets come.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sluicegate::ftp::convert::{CodePage, Decoder, Encoder};
use sluicegate::ftp::step::{Kind, Representation, Structure};

#[derive(Debug, Arbitrary)]
struct Case {
    kind: u8,
    record: bool,
    other_page: bool,
    splits: Vec<u8>,
    octets: Vec<u8>,
}

/// The octets in portions.
fn portions<'a>(mut octets: &'a [u8], splits: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for length in splits {
        let (part, rest) = octets.split_at(usize::from(*length).min(octets.len()));
        parts.push(part);
        octets = rest;
    }
    parts.push(octets);
    parts
}

fn encoded(representation: Representation, page: CodePage, parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new(representation, page);
    let mut wire = Vec::new();
    for part in parts {
        encoder.encode(part, &mut wire);
    }
    encoder.finish(&mut wire);
    wire
}

fn decoded(representation: Representation, page: CodePage, parts: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::new(representation, page);
    let mut file = Vec::new();
    for part in parts {
        decoder.decode(part, &mut file);
    }
    let complete = decoder.finish(&mut file);
    (file, complete)
}

/// RFC 959 §3.1.1.1 for a Unix file: LF becomes CRLF, an existing CRLF stays.
fn text_out(file: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (at, octet) in file.iter().enumerate() {
        if *octet == b'\n' && (at == 0 || file[at - 1] != b'\r') {
            wire.push(b'\r');
        }
        wire.push(*octet);
    }
    wire
}

/// And back: CRLF becomes LF, a CR alone stays.
fn text_in(wire: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for (at, octet) in wire.iter().enumerate() {
        if *octet != b'\r' || wire.get(at + 1) != Some(&b'\n') {
            file.push(*octet);
        }
    }
    file
}

/// RFC 959 §3.4.1: after FF come 01, 02, 03 or FF, and the only EOF is at the end.
fn record_marks_are_sound(wire: &[u8]) {
    let mut octets = wire.iter();
    let mut ended = false;
    while let Some(octet) = octets.next() {
        assert!(!ended, "octets after the EOF mark");
        if *octet == 0xff {
            match octets.next() {
                Some(1 | 0xff) => {}
                Some(2 | 3) => ended = true,
                mark => panic!("FF {mark:?}"),
            }
        }
    }
    assert!(ended, "no EOF mark");
}

fuzz_target!(|case: Case| {
    let kind = [Kind::Ascii, Kind::Ebcdic, Kind::Image][usize::from(case.kind % 3)];
    let structure = if case.record { Structure::Record } else { Structure::File };
    let representation = Representation { kind, structure };
    let page = if case.other_page { CodePage::Cp037 } else { CodePage::Cp1047 };
    let octets = &case.octets[..];
    let parts = portions(octets, &case.splits);
    let single: Vec<&[u8]> = octets.chunks(1).collect();

    let wire = encoded(representation, page, &parts);
    assert_eq!(wire, encoded(representation, page, &[octets]), "splits change what is sent");
    assert_eq!(wire, encoded(representation, page, &single), "splits change what is sent");
    let mut counter = Encoder::new(representation, page);
    let counted: u64 =
        parts.iter().map(|part| counter.count(part)).sum::<u64>() + counter.count_finish();
    assert_eq!(counted, wire.len() as u64, "SIZE is not what is sent");

    let received = decoded(representation, page, &parts);
    assert_eq!(received, decoded(representation, page, &[octets]), "splits change what is stored");
    assert_eq!(received, decoded(representation, page, &single), "splits change what is stored");

    if Encoder::new(representation, page).is_identity() {
        assert_eq!(wire, octets);
    }
    if Decoder::new(representation, page).is_identity() {
        assert_eq!(received, (octets.to_vec(), true));
    }
    match (kind, structure) {
        (Kind::Image, Structure::File) => assert_eq!(wire, octets),
        (Kind::Ascii, Structure::File) => {
            assert_eq!(wire, text_out(octets));
            assert_eq!(received, (text_in(octets), true));
        }
        (_, Structure::Record) => record_marks_are_sound(&wire),
        (Kind::Ebcdic, Structure::File) => {}
    }
    // Plain text comes back as it was.
    let plain: Vec<u8> = octets
        .iter()
        .map(|octet| if octet % 9 == 0 { b'\n' } else { b' ' + octet % 95 })
        .chain([b'\n'])
        .collect();
    if kind != Kind::Image || structure == Structure::File {
        let wire = encoded(representation, page, &portions(&plain, &case.splits));
        assert_eq!(
            decoded(representation, page, &portions(&wire, &case.splits)),
            (plain, true),
            "text does not come back"
        );
    }
});
