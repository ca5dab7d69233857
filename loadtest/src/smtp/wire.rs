//! smtp::wire – how a message travels: dot-stuffed behind DATA (RFC 5321 §4.5.2), in chunks behind
//! BDAT (RFC 3030), cut into segments.
//!
//! Promises: [`stuffed`] of a message whose lines end in CRLF is undone by [`arrived`], the naive
//! decoder that says what a strict server makes of a wire form; segments are the same for the same seed.
//! Not here: what is sent (`corpus`), when (`dialogue`).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The end of data, after a line end.
pub(crate) const END: &[u8] = b".\r\n";

/// Behind DATA: a dot before every line that begins with one. A line begins after CRLF and nowhere else.
/// `begins` says that the first octet begins a line.
pub(crate) fn stuffed(message: &[u8], begins: bool) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + message.len() / 64 + 1);
    if begins && message.first() == Some(&b'.') {
        wire.push(b'.');
    }
    let mut rest = message;
    while let Some(at) = rest.windows(3).position(|three| three == b"\r\n.") {
        wire.extend_from_slice(&rest[..at + 2]);
        wire.push(b'.');
        rest = &rest[at + 2..];
    }
    wire.extend_from_slice(rest);
    wire
}

/// What a strict server takes of `wire`, and how many octets up to its end of data: the message, or
/// `None` if its end is not there.
pub(crate) fn arrived(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut message = Vec::with_capacity(wire.len());
    let mut at = 0;
    loop {
        let line = &wire[at..];
        let length = line.windows(2).position(|two| two == b"\r\n")? + 2;
        let line = &line[..length];
        at += length;
        if line == END {
            return Some((message, at));
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
}

/// Draws the lengths of segments, each sent by a call of its own.
#[derive(Debug)]
pub(crate) struct Segments {
    chance: StdRng,
    octets_max: usize,
}

impl Segments {
    /// Segments of 1 to `octets_max` octets.
    pub(crate) fn new(seed: u64, octets_max: usize) -> Self {
        Self { chance: StdRng::seed_from_u64(seed), octets_max: octets_max.max(1) }
    }

    /// How much of `waiting` octets goes now.
    pub(crate) fn next(&mut self, waiting: usize) -> usize {
        // Of the logarithm, so that single octets are as frequent as long runs.
        let bits = usize::BITS - self.octets_max.leading_zeros();
        let limit = (1usize << self.chance.random_range(0..bits)).min(self.octets_max);
        self.chance.random_range(1..=limit).min(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octet by octet, from the words of the standard.
    fn naive(message: &[u8], begins: bool) -> Vec<u8> {
        let mut wire = Vec::new();
        for (at, &octet) in message.iter().enumerate() {
            let begins = if at == 0 { begins } else { message[..at].ends_with(b"\r\n") };
            if octet == b'.' && begins {
                wire.push(b'.');
            }
            wire.push(octet);
        }
        wire
    }

    /// Every text of `length` over the octets that matter.
    fn texts(length: usize) -> impl Iterator<Item = Vec<u8>> {
        let letters = b"\r\n.a";
        (0..letters.len().pow(u32::try_from(length).unwrap())).map(move |mut number| {
            let mut text = Vec::new();
            for _ in 0..length {
                text.push(letters[number % letters.len()]);
                number /= letters.len();
            }
            text
        })
    }

    #[test]
    fn stuffing_is_what_the_standard_says_and_is_undone() {
        for text in (0..=6).flat_map(texts) {
            for begins in [true, false] {
                assert_eq!(stuffed(&text, begins), naive(&text, begins), "{text:?}");
            }
            let mut message = text;
            message.extend_from_slice(b"\r\n");
            let mut wire = stuffed(&message, true);
            wire.extend_from_slice(END);
            let length = wire.len();
            wire.extend_from_slice(b"QUIT\r\n");
            assert_eq!(arrived(&wire), Some((message, length)));
        }
    }

    #[test]
    fn no_end_is_no_message() {
        for wire in [&b""[..], b"a\r\n", b".\n", b"a\n.\n", b"a\r\n.\n", b"\r.\r", b".\r"] {
            assert_eq!(arrived(wire), None, "{wire:?}");
        }
        assert_eq!(arrived(b".\r\n"), Some((Vec::new(), 3)));
    }

    #[test]
    fn segments_are_seeded_and_bounded() {
        let draw = |seed| {
            let mut segments = Segments::new(seed, 1000);
            (0..500).map(|_| segments.next(usize::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|&one| (1..=1000).contains(&one)));
        assert!(draw(7).contains(&1) && draw(7).iter().any(|&one| one > 256));
        assert_eq!(Segments::new(1, 1).next(9), 1);
        assert_eq!(Segments::new(1, 1000).next(0), 0);
    }
}
