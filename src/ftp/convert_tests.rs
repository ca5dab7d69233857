//! ftp::convert_tests – conversion against a specification that is slow and easy to believe.

use proptest::prelude::*;

use super::*;

const ALPHABET: [u8; 4] = [CR, LF, b'x', 0xFF];
const LENGTH_MAX: u32 = 8;
const PAGE: CodePage = CodePage::Cp1047;

fn representations() -> Vec<Representation> {
    [Kind::Ascii, Kind::Ebcdic, Kind::Image]
        .into_iter()
        .flat_map(|kind| {
            [Structure::File, Structure::Record].map(|structure| Representation { kind, structure })
        })
        .collect()
}

/// Every string over the alphabet up to the length.
fn strings() -> impl Iterator<Item = Vec<u8>> {
    (0..=LENGTH_MAX).flat_map(|length| {
        (0..4_usize.pow(length))
            .map(move |number| (0..length).map(|at| ALPHABET[number >> (2 * at) & 3]).collect())
    })
}

/// The wire form by the letter of the table in the module's header, whole.
fn encoded(file: &[u8], representation: Representation) -> Vec<u8> {
    let record = representation.structure == Structure::Record;
    let mut wire = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let line_end = match file[at..] {
            [LF, ..] => 1,
            [CR, LF, ..] => 2,
            _ => 0,
        };
        if line_end > 0 && representation.kind != Kind::Image {
            match (representation.kind, record) {
                (_, true) => wire.extend([0xFF, 1]),
                (Kind::Ascii, false) => wire.extend(b"\r\n"),
                (Kind::Ebcdic | Kind::Image, false) => wire.push(0x15),
            }
            at += line_end;
            continue;
        }
        let octet = match representation.kind {
            Kind::Ebcdic => LATIN1_TO_CP1047[usize::from(file[at])],
            Kind::Ascii | Kind::Image => file[at],
        };
        wire.push(octet);
        if record && octet == 0xFF {
            wire.push(octet);
        }
        at += 1;
    }
    if record {
        let one = representation.kind == Kind::Image && !file.is_empty();
        wire.extend([0xFF, if one { 3 } else { 2 }]);
    }
    wire
}

/// The file form, whole; `None` for a stream that record structure does not allow.
fn decoded(wire: &[u8], representation: Representation) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    let mut at = 0;
    let text = |octet: u8| match representation.kind {
        Kind::Ebcdic => CP1047_TO_LATIN1[usize::from(octet)],
        Kind::Ascii | Kind::Image => octet,
    };
    if representation.structure == Structure::File {
        while at < wire.len() {
            if representation.kind == Kind::Ascii && wire[at..].starts_with(b"\r\n") {
                at += 1;
            }
            file.push(text(wire[at]));
            at += 1;
        }
        return Some(file);
    }
    while at < wire.len() {
        if wire[at] != 0xFF {
            file.push(text(wire[at]));
            at += 1;
            continue;
        }
        let last = at + 2 == wire.len();
        match *wire.get(at + 1)? {
            0xFF => file.push(text(0xFF)),
            end @ (1 | 3) => {
                if representation.kind != Kind::Image {
                    file.push(LF);
                }
                if end == 3 {
                    return last.then_some(file);
                }
            }
            2 => return last.then_some(file),
            _ => return None,
        }
        at += 2;
    }
    None
}

fn encode(portions: &[&[u8]], representation: Representation) -> Vec<u8> {
    let mut encoder = Encoder::new(representation, PAGE);
    let mut wire = Vec::new();
    portions.iter().for_each(|portion| encoder.encode(portion, &mut wire));
    encoder.finish(&mut wire);
    wire
}

fn count(portions: &[&[u8]], representation: Representation) -> u64 {
    let mut encoder = Encoder::new(representation, PAGE);
    let counted: u64 = portions.iter().map(|portion| encoder.count(portion)).sum();
    counted + encoder.count_finish()
}

fn decode(portions: &[&[u8]], representation: Representation) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(representation, PAGE);
    let mut file = Vec::new();
    portions.iter().for_each(|portion| decoder.decode(portion, &mut file));
    decoder.finish(&mut file).then_some(file)
}

#[test]
fn every_short_file_is_sent_as_specified_at_every_split() {
    for representation in representations() {
        for file in strings() {
            let expected = encoded(&file, representation);
            let pieces: Vec<&[u8]> = file.chunks(1).collect();
            assert_eq!(encode(&pieces, representation), expected, "{file:?} {representation:?}");
            for at in 0..=file.len() {
                let halves = [&file[..at], &file[at..]];
                assert_eq!(encode(&halves, representation), expected, "{file:?} at {at}");
                assert_eq!(count(&halves, representation), expected.len() as u64);
            }
        }
    }
}

#[test]
fn every_short_stream_is_stored_as_specified_at_every_split() {
    let marks = [b'x', 1, 2, 3, 0xFF];
    let streams = (0..=6_u32).flat_map(|length| {
        (0..5_usize.pow(length)).map(move |mut number| {
            let mut stream = Vec::new();
            for _ in 0..length {
                stream.push(marks[number % 5]);
                number /= 5;
            }
            stream
        })
    });
    for wire in strings().chain(streams) {
        for representation in representations() {
            let expected = decoded(&wire, representation);
            let pieces: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decode(&pieces, representation), expected, "{wire:?} {representation:?}");
            for at in 0..=wire.len() {
                let halves = [&wire[..at], &wire[at..]];
                assert_eq!(decode(&halves, representation), expected, "{wire:?} at {at}");
            }
        }
    }
}

#[test]
fn what_was_sent_comes_back() {
    for representation in representations() {
        for file in strings() {
            let back = decode(&[&encode(&[&file], representation)], representation);
            let expected = if representation.kind == Kind::Image {
                file
            } else {
                // CRLF in a file is an end of line, and comes back as one.
                decoded(&file, Representation::default()).unwrap()
            };
            assert_eq!(back, Some(expected), "{representation:?}");
        }
    }
}

#[test]
fn records_of_the_text_book_become_lines() {
    let representation = Representation { kind: Kind::Ebcdic, structure: Structure::Record };
    let wire = b"\xD9\xC5\xC3\xF1\xFF\x01\xD9\xC5\xC3\xF2\xFF\x03";
    assert_eq!(decode(&[wire], representation), Some(b"REC1\nREC2\n".to_vec()));
    assert_eq!(
        encode(&[b"REC1\nREC2\n"], representation),
        b"\xD9\xC5\xC3\xF1\xFF\x01\xD9\xC5\xC3\xF2\xFF\x01\xFF\x02"
    );
}

#[test]
fn only_image_and_file_is_the_identity() {
    for representation in representations() {
        let identity =
            representation == Representation { kind: Kind::Image, structure: Structure::File };
        assert_eq!(Encoder::new(representation, PAGE).is_identity(), identity);
        assert_eq!(Decoder::new(representation, PAGE).is_identity(), identity);
    }
}

proptest! {
    #[test]
    fn any_octets_in_any_portions(
        portions in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6), which in 0_usize..6,
    ) {
        let representation = representations()[which];
        let slices: Vec<&[u8]> = portions.iter().map(Vec::as_slice).collect();
        let whole = portions.concat();
        prop_assert_eq!(encode(&slices, representation), encoded(&whole, representation));
        prop_assert_eq!(decode(&slices, representation), decoded(&whole, representation));
        prop_assert_eq!(count(&slices, representation), encoded(&whole, representation).len() as u64);
    }
}
