//! wire::data::tests – the decoder against the naive one: every short body, at every split.

use super::naive::{self, Decoded};
use super::{BareNewlines, Decoder, Found, Kernel, NEWLINES, Seen};

const MODES: [BareNewlines; 2] = [BareNewlines::Reject, BareNewlines::Normalize];
/// Shifts of a body against the vectors' alignment.
const SHIFTS: usize = 65;
/// What a pipelining client may have sent after the end.
const NEXT: &[u8] = b"NOOP\xff\0\r\n";

/// What comes out of `parts`, which are the whole input, one after the other.
struct Play {
    octets: Vec<u8>,
    seen: Seen,
    end: Option<usize>,
}

fn play<'a>(mut decoder: Decoder, parts: impl IntoIterator<Item = &'a [u8]>) -> Play {
    let mut play = Play { octets: Vec::new(), seen: Seen::default(), end: None };
    let mut before = 0;
    'parts: for part in parts {
        let mut input = part;
        loop {
            let left = input.len();
            match decoder.next(&mut input) {
                Found::Octets(octets) => {
                    assert!(!octets.is_empty(), "nothing, given out");
                    let end = part.len() - input.len();
                    // What precedes them are dots that are not the sender's.
                    let borrowed = octets.len() <= left - input.len()
                        && part[end - octets.len()..].as_ptr() == octets.as_ptr();
                    let is_static = NEWLINES.as_ptr_range().contains(&octets.as_ptr());
                    assert!(borrowed || is_static || octets == b"\r", "{octets:?}");
                    play.octets.extend_from_slice(octets);
                }
                Found::End => {
                    play.end = Some(before + part.len() - input.len());
                    assert_eq!(decoder.next(&mut input), Found::End);
                    break 'parts;
                }
                Found::NeedMore => {
                    assert!(input.is_empty(), "more is needed and there is some");
                    break;
                }
            }
        }
        before += part.len();
    }
    play.seen = decoder.seen();
    play
}

fn expected(input: &[u8], bare: BareNewlines) -> (Decoded, Seen) {
    let decoded = naive::decode(input, bare == BareNewlines::Normalize).unwrap();
    let seen = Seen {
        bare_newline: decoded.bare_newline,
        eight_bit: decoded.octets.iter().any(|octet| *octet > 127),
        nul: decoded.octets.contains(&0),
        longest_line: decoded.longest_line(),
    };
    (decoded, seen)
}

#[track_caller]
fn same(play: &Play, expected: &(Decoded, Seen), context: std::fmt::Arguments<'_>) {
    assert!(
        play.octets == expected.0.octets
            && play.seen == expected.1
            && play.end == Some(expected.0.end),
        "{context}: {:?} {:?} {:?} instead of {:?}",
        String::from_utf8_lossy(&play.octets),
        play.seen,
        play.end,
        expected,
    );
}

/// All strings of up to `length` of these octets.
fn strings(octets: &[u8], length: u32) -> impl Iterator<Item = Vec<u8>> {
    let base = octets.len();
    (0..=length).flat_map(move |length| {
        (0..base.pow(length)).map(move |mut number| {
            (0..length)
                .map(|_| {
                    let octet = octets[number % base];
                    number /= base;
                    octet
                })
                .collect()
        })
    })
}

#[test]
fn every_short_body_at_every_split() {
    let mut cases = 0_u32;
    for body in strings(b"\r\n.x", 8) {
        let input = [&body, &b"\r\n.\r\n"[..], NEXT].concat();
        // Beyond the first command nothing is split that matters.
        let splits = body.len() + 6;
        for bare in MODES {
            let expected = expected(&input, bare);
            for at in 0..=splits {
                let (first, second) = input.split_at(at);
                let play = play(Decoder::new(bare), [first, second]);
                same(&play, &expected, format_args!("{bare:?} {body:?} split at {at}"));
                cases += 1;
            }
            let play = play(Decoder::new(bare), input.chunks(1));
            same(&play, &expected, format_args!("{bare:?} {body:?} bytewise"));
        }
    }
    assert_eq!(cases, 2_563_182);
}

#[test]
fn every_kernel_decodes_every_short_body() {
    for kernel in Kernel::available() {
        // Before the 64th octet, and around it.
        for filled in [0, 58, 61, 63] {
            for body in strings(b"\r\n.x\0\xc3", 5) {
                let filling = vec![b'-'; filled];
                let input = [&filling, &body, &b"\r\n.\r\n"[..], NEXT].concat();
                for bare in MODES {
                    let play = play(Decoder::with_kernel(bare, kernel), [&input[..]]);
                    let expected = expected(&input, bare);
                    same(&play, &expected, format_args!("{kernel:?} {bare:?} {filled} {body:?}"));
                }
            }
        }
    }
}

/// Small, and good enough for choosing octets (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// Pieces of mail, of attacks, or of both; it has an end.
    fn body(&mut self, length: usize, rare: usize) -> Vec<u8> {
        const PIECES: [&[u8]; 14] = [
            b"\r\n",
            b"\r\n.",
            b"\r\n..",
            b"\r\n.\r",
            b".\r\n",
            b"\r",
            b"\n",
            b"\r\r\r\r",
            b"\n\n\n\n",
            b"....",
            b"\0",
            b"\xc3\xa9",
            b"\r\n.\n",
            b"\n.\r\n",
        ];
        let mut body = Vec::new();
        while body.len() < length {
            if self.below(rare) == 0 {
                body.extend_from_slice(PIECES[self.below(PIECES.len())]);
            } else if self.below(12) == 0 {
                body.extend_from_slice(b"\r\n");
            } else {
                body.extend(std::iter::repeat_n(b'x', 1 + self.below(24)));
            }
        }
        body.extend_from_slice(b"\r\n.\r\n");
        body.extend_from_slice(NEXT);
        body
    }
}

#[test]
fn long_bodies_at_all_alignments_and_splits() {
    let mut random = Random(0x5eed_0001);
    let mut whole = 0;
    for round in 0..60 {
        let rare = [1, 3, 30, 300][round % 4];
        let length = 40 + random.below(600);
        let input = random.body(length, rare);
        for bare in MODES {
            let expected = expected(&input, bare);
            whole += usize::from(expected.0.end + NEXT.len() == input.len());
            for kernel in Kernel::available() {
                for shift in 0..SHIFTS {
                    let moved = [vec![b'\n'; shift], input.clone()].concat();
                    let play = play(Decoder::with_kernel(bare, kernel), [&moved[shift..]]);
                    same(&play, &expected, format_args!("{kernel:?} {round} shifted {shift}"));
                }
                for at in 0..=input.len() {
                    let (first, second) = input.split_at(at);
                    let play = play(Decoder::with_kernel(bare, kernel), [first, second]);
                    same(&play, &expected, format_args!("{kernel:?} {round} split at {at}"));
                }
            }
        }
    }
    assert!(whole > 25, "only {whole} bodies were not over at once");
}

#[test]
fn random_portions_change_nothing() {
    let mut random = Random(0x5eed_0002);
    for round in 0..2_000 {
        let length = random.below(1_500);
        let input = random.body(length, [1, 4, 60][round % 3]);
        let mut parts = Vec::new();
        let mut rest = &input[..];
        let most = [2, 9, 70, 400][round % 4];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(random.below(most + 1).min(rest.len()));
            parts.push(part);
            rest = after;
        }
        for bare in MODES {
            let expected = expected(&input, bare);
            for kernel in Kernel::available() {
                let play = play(Decoder::with_kernel(bare, kernel), parts.iter().copied());
                same(&play, &expected, format_args!("{kernel:?} {bare:?} {round}"));
            }
        }
    }
}

/// Whoever calls may show less the next time than was there the last time, and may have moved it.
#[test]
fn what_is_not_consumed_may_be_shown_again_in_part() {
    let mut random = Random(0x5eed_0003);
    for round in 0..4_000 {
        let length = random.below(300);
        let input = random.body(length, [1, 5][round % 2]);
        for bare in MODES {
            let expected = expected(&input, bare);
            let mut decoder = Decoder::new(bare);
            let (mut octets, mut consumed) = (Vec::new(), 0);
            loop {
                let shown = random.below(90).min(input.len() - consumed);
                let moved = input[consumed..consumed + shown].to_vec();
                let mut portion = &moved[..];
                let found = decoder.next(&mut portion);
                consumed += shown - portion.len();
                match found {
                    Found::Octets(more) => octets.extend_from_slice(more),
                    Found::End => break,
                    Found::NeedMore => assert!(portion.is_empty()),
                }
            }
            let play = Play { octets, seen: decoder.seen(), end: Some(consumed) };
            same(&play, &expected, format_args!("{bare:?} {round}"));
        }
    }
}

#[test]
fn seen_is_what_was_given_out_so_far() {
    for kernel in Kernel::available() {
        let mut decoder = Decoder::with_kernel(BareNewlines::Normalize, kernel);
        let mut input = &b"abc\r\n.d\0\r\n.\xff\r\nlonger line\nx"[..];
        let mut seen = Vec::new();
        while let Found::Octets(_) = decoder.next(&mut input) {
            let Seen { bare_newline, eight_bit, nul, longest_line } = decoder.seen();
            seen.push((bare_newline, eight_bit, nul, longest_line));
        }
        let expected = [
            (false, false, false, 5),
            (false, false, true, 5),
            (false, true, true, 11),
            (true, true, true, 13),
            (true, true, true, 13),
        ];
        assert_eq!(seen, expected, "{}", kernel.name());
    }
}

/// A line without an end is seen to be long before it ends.
#[test]
fn an_endless_line_is_seen() {
    for kernel in Kernel::available() {
        let mut decoder = Decoder::with_kernel(BareNewlines::Reject, kernel);
        for portion in 1..=5 {
            let mut input = &[b'x'; 1_000][..];
            assert_eq!(decoder.next(&mut input), Found::Octets(&[b'x'; 1_000]));
            assert_eq!(decoder.seen().longest_line, portion * 1_000);
        }
    }
}

/// The set of CVE-2023-51764 and its kin: none of them ends data. RFC 5321 §2.3.8, §4.1.1.4.
#[test]
fn what_smugglers_send_is_no_end() {
    let smuggled: [&[u8]; 13] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\n.\r",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r.\r",
        b"\r.\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n. \r\n",
    ];
    for attempt in smuggled {
        let body = [b"a", attempt, b"MAIL FROM:<>\r\nb"].concat();
        let input = [&body, &b"\r\n.\r\n"[..], NEXT].concat();
        for bare in MODES {
            for kernel in Kernel::available() {
                let play = play(Decoder::with_kernel(bare, kernel), [&input[..]]);
                assert_eq!(play.end, Some(body.len() + 5), "{kernel:?} {attempt:?}");
                same(&play, &expected(&input, bare), format_args!("{kernel:?} {attempt:?}"));
            }
        }
    }
}

/// Nothing but one thing: as many of it as steps can hold, and some more.
#[test]
fn monotonous_bodies_of_every_length() {
    let repeated: [&[u8]; 12] = [
        b"\r",
        b"\n",
        b".",
        b"\r\n",
        b"\r\n.x",
        b"\r\n..",
        b"x\n",
        b"x\r",
        b"\n\r",
        b".\n",
        b"\r\n.\n",
        b"\r\n.\rx",
    ];
    for what in repeated {
        for length in 0..=200 {
            let body: Vec<u8> = what.iter().copied().cycle().take(length).collect();
            for before in [&b""[..], b"x\n"] {
                let input = [before, &body, b"\r\n.\r\n", NEXT].concat();
                for bare in MODES {
                    let expected = expected(&input, bare);
                    for kernel in Kernel::available() {
                        let play = play(Decoder::with_kernel(bare, kernel), [&input[..]]);
                        same(&play, &expected, format_args!("{kernel:?} {length} of {what:?}"));
                    }
                }
            }
        }
    }
}

/// Runs are as long as they can be: what comes after is told by the number of calls.
#[test]
fn runs_end_only_where_they_must() {
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    let body = [line.repeat(500), b"..".to_vec(), line.repeat(500), b".\r\n".to_vec()].concat();
    for kernel in Kernel::available() {
        let mut decoder = Decoder::with_kernel(BareNewlines::Reject, kernel);
        let mut input = &body[..];
        let half = 500 * line.len();
        assert_eq!(decoder.next(&mut input), Found::Octets(&body[..half]));
        assert_eq!(decoder.next(&mut input), Found::Octets(&body[half + 1..body.len() - 3]));
        assert_eq!(decoder.next(&mut input), Found::End);
    }
}
