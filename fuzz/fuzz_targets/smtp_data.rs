//! The DATA decoder against the naive one, in whatever portions the octets come, with every kernel.
//!
//! Octet 0 chooses the mode and how many octets after it are lengths of portions; the rest is the
//! body and what a client sent after it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::wire::data::{BareNewlines, Decoder, Found, Kernel, Seen};

#[path = "../../src/wire/data/naive.rs"]
mod naive;

/// Octets given out, what was seen, and where the end was.
type Outcome = (Vec<u8>, Seen, Option<usize>);

/// Shows the decoder portions of these lengths, over and over; what it leaves is shown again.
fn decoded(mut decoder: Decoder, input: &[u8], lengths: &[u8]) -> Outcome {
    let mut octets = Vec::new();
    let mut consumed = 0;
    let mut turn = 0;
    while consumed < input.len() {
        let length = lengths
            .get(turn % lengths.len().max(1))
            .map_or(input.len(), |length| usize::from(*length) + 1);
        turn += 1;
        let portion = &input[consumed..input.len().min(consumed + length)];
        let mut rest = portion;
        // Where the length is odd the decoder is asked once, and then shown something else.
        loop {
            let found = decoder.next(&mut rest);
            match found {
                Found::Octets(more) => {
                    assert!(!more.is_empty(), "nothing, given out");
                    octets.extend_from_slice(more);
                }
                Found::End => {
                    let end = consumed + portion.len() - rest.len();
                    return (octets, decoder.seen(), Some(end));
                }
                Found::NeedMore => assert!(rest.is_empty(), "more is needed and there is some"),
            }
            if found == Found::NeedMore || length % 2 == 1 {
                break;
            }
        }
        consumed += portion.len() - rest.len();
    }
    (octets, decoder.seen(), None)
}

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    let (bare, normalize) =
        if how & 1 == 0 { (BareNewlines::Reject, false) } else { (BareNewlines::Normalize, true) };
    let (lengths, body) = rest.split_at(usize::from(how >> 1 & 15).min(rest.len()));

    // As it is: with an end or without, what comes out must not depend on portions.
    let open = decoded(Decoder::new(bare), body, &[]);
    // With an end.
    let whole = [body, b"\r\n.\r\nQUIT\r\n"].concat();
    let Some(expected) = naive::decode(&whole, normalize) else { unreachable!("it has an end") };
    let seen = Seen {
        bare_newline: expected.bare_newline,
        eight_bit: expected.octets.iter().any(|octet| *octet > 127),
        nul: expected.octets.contains(&0),
        longest_line: expected.longest_line(),
    };
    assert!(expected.octets.starts_with(&open.0), "what is given out is no beginning of the body");
    for kernel in Kernel::available() {
        for lengths in [lengths, &[], &[0]] {
            let decoder = Decoder::with_kernel(bare, kernel);
            assert_eq!(
                decoded(decoder.clone(), body, lengths),
                open,
                "{}, portions {lengths:?}, no end",
                kernel.name()
            );
            assert_eq!(
                decoded(decoder, &whole, lengths),
                (expected.octets.clone(), seen, Some(expected.end)),
                "{}, portions {lengths:?}",
                kernel.name()
            );
        }
    }
});
