//! wire::stuff – its tests: against words as plain as can be, and against the decoder of DATA.

#![allow(clippy::disallowed_types, reason = "prop_oneof! holds its choices in an Arc")]

use proptest::prelude::*;

use super::super::data::naive;
use super::*;

/// What the encoder is to send, its end included.
fn naively(message: &[u8]) -> Vec<u8> {
    let mut sent = mended(message);
    if !sent.is_empty() && !sent.ends_with(b"\r\n") {
        sent.extend(b"\r\n");
    }
    let lines = sent.split_inclusive(|octet| *octet == b'\n');
    let mut stuffed: Vec<u8> = Vec::new();
    for line in lines {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend(line);
    }
    stuffed.extend(b".\r\n");
    stuffed
}

/// Every newline a CRLF.
fn mended(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut rest = message;
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'\r', [b'\n', after @ ..]) => {
                whole.extend(b"\r\n");
                rest = after;
            }
            (b'\r' | b'\n', _) => {
                whole.extend(b"\r\n");
                rest = after;
            }
            _ => {
                whole.push(*first);
                rest = after;
            }
        }
    }
    whole
}

fn encode<'a>(portions: impl IntoIterator<Item = &'a [u8]>, kernel: Kernel) -> Vec<u8> {
    let mut encoder = Encoder { kernel, ..Encoder::new() };
    let mut sent = Vec::new();
    for portion in portions {
        let mut input = portion;
        while let Some(run) = encoder.next(&mut input) {
            assert!(!run.is_empty(), "nothing, given out");
            let borrowed = portion.as_ptr_range().contains(&run.as_ptr());
            assert!(borrowed || run.len() == 1, "{run:?} is a copy");
            sent.extend_from_slice(run);
        }
        assert!(input.is_empty());
    }
    sent.extend_from_slice(encoder.end());
    sent
}

#[test]
fn every_short_message_at_every_split() {
    const LETTERS: [u8; 4] = [b'\r', b'\n', b'.', b'x'];
    for length in 0..=6_u32 {
        for number in 0..4_usize.pow(length) {
            let message: Vec<u8> =
                (0..length).map(|digit| LETTERS[number / 4_usize.pow(digit) % 4]).collect();
            let expected = naively(&message);
            for at in 0..=message.len() {
                let found = encode([&message[..at], &message[at..]], Kernel::best());
                assert_eq!(found, expected, "{message:?} split at {at}");
            }
            for kernel in Kernel::available() {
                assert_eq!(encode(message.chunks(1), kernel), expected, "{message:?}, bytewise");
            }
        }
    }
}

#[test]
fn what_lies_across_a_step_is_seen() {
    for before in 0..=2 * STEP {
        for middle in [&b"\r\n."[..], b"\r\n..", b"\n.", b"\r.", b"\n", b"\r", b"\r\r\n.", b"."] {
            let message = [&vec![b'x'; before][..], middle, &[b'y'; STEP + 3]].concat();
            let expected = naively(&message);
            for kernel in Kernel::available() {
                assert_eq!(encode([&message[..]], kernel), expected, "{before} {middle:?}");
            }
        }
    }
}

/// Text of a mail, with more of what matters than mail has.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        3 => Just(b".".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
        4 => proptest::collection::vec(any::<u8>(), 0..90),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// What the decoder of DATA makes of it is what was put in, newlines mended.
    #[test]
    fn what_is_sent_decodes_to_what_there_was(message in messages(), portion in 1_usize..200) {
        let sent = encode(message.chunks(portion), Kernel::best());
        let decoded = naive::decode(&sent, false);
        let decoded = decoded.ok_or_else(|| TestCaseError::fail("it has no end"))?;
        prop_assert!(!decoded.bare_newline);
        prop_assert_eq!(decoded.end, sent.len(), "it ends before its end");
        let mut expected = mended(&message);
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend(b"\r\n");
        }
        prop_assert_eq!(decoded.octets, expected);
        prop_assert_eq!(sent, naively(&message));
    }
}
