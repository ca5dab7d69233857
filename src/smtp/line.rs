//! smtp::line – command lines, over input that arrives in any portions.
//!
//! Only CRLF ends a line (RFC 5321 §2.3.8): a CR or LF on its own makes the whole line, up to the
//! next CRLF, one that must not be executed. What arrived in one portion is borrowed from the input.
//!
//! Promises: memory is bounded by `limits::SMTP_LINE_BYTES_MAX`, or by what the caller allows, and there
//! is none between lines; a line that is wrong is reported once, at its end, whatever the splits; what is
//! held of a line is wiped when it goes, for it may hold a password.
//! Not here: which lines are commands (`command`).

use std::borrow::Cow;

use zeroize::Zeroize;

use crate::limits::SMTP_LINE_BYTES_MAX;
use crate::wire::secret;

/// One line, without its CRLF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// The octets before CRLF; no CR and no LF among them.
    Whole(Cow<'a, [u8]>),
    /// There was a CR or an LF on its own; its octets are gone.
    Bare,
    /// It was longer than the limit; its octets are gone.
    TooLong,
}

/// What is known of the line that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its octets are kept.
    Kept,
    Bare,
    TooLong,
}

/// Collects lines.
#[derive(Debug)]
pub struct Lines {
    /// The octets of the line so far; none once its fate is sealed.
    partial: Vec<u8>,
    fate: Fate,
    /// The last octet taken was a CR, of which it is not known yet whether an LF follows.
    after_cr: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Lines {
    /// Before the first line.
    pub const fn new() -> Self {
        Self { partial: Vec::new(), fate: Fate::Kept, after_cr: false }
    }

    /// Has no line begun?
    pub fn at_start(&self) -> bool {
        self.partial.is_empty() && self.fate == Fate::Kept && !self.after_cr
    }

    /// Octets held for a line that has begun.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Consumes one line from the front of `input`, or all of it when no line ends there.
    pub fn take<'a>(&mut self, input: &mut &'a [u8]) -> Option<Line<'a>> {
        self.take_within(input, SMTP_LINE_BYTES_MAX)
    }

    /// The same, of lines that have at most so many octets, CRLF included.
    pub fn take_within<'a>(&mut self, input: &mut &'a [u8], most: usize) -> Option<Line<'a>> {
        let bytes = *input;
        let mut searched = 0;
        while let Some(found) = memchr::memchr(b'\n', &bytes[searched..]) {
            let at = searched + found;
            let ends = match at.checked_sub(1) {
                Some(before) => bytes[before] == b'\r',
                None => self.after_cr,
            };
            if ends {
                *input = &bytes[at + 1..];
                return Some(self.end(&bytes[..at], most));
            }
            self.condemn(Fate::Bare);
            searched = at + 1;
        }
        *input = &[];
        self.keep(bytes, most);
        None
    }

    /// The line goes on after `run`.
    fn keep(&mut self, run: &[u8], most: usize) {
        let Some(&last) = run.last() else { return };
        let closed = &run[..run.len() - 1];
        // A CR that was last before, and what precedes the last octet now, are judged: the last
        // octet may be the CR of the end.
        if self.after_cr || memchr::memchr(b'\r', closed).is_some() {
            self.condemn(Fate::Bare);
        }
        if self.partial.len() + run.len() > most - 1 {
            self.condemn(Fate::TooLong);
        }
        if self.fate == Fate::Kept {
            secret::append(&mut self.partial, run);
        }
        self.after_cr = last == b'\r';
    }

    /// An LF follows `run`, which ends with CR or is empty after one.
    fn end<'a>(&mut self, run: &'a [u8], most: usize) -> Line<'a> {
        let bare = match run.split_last() {
            Some((_, text)) => self.after_cr || memchr::memchr(b'\r', text).is_some(),
            None => false,
        };
        if bare {
            self.condemn(Fate::Bare);
        }
        if self.partial.len() + run.len() + 1 > most {
            self.condemn(Fate::TooLong);
        }
        let mut partial = std::mem::take(&mut self.partial);
        self.after_cr = false;
        match std::mem::replace(&mut self.fate, Fate::Kept) {
            Fate::Bare => Line::Bare,
            Fate::TooLong => Line::TooLong,
            Fate::Kept if partial.is_empty() => {
                Line::Whole(Cow::Borrowed(run.strip_suffix(b"\r").unwrap_or(run)))
            }
            Fate::Kept => {
                secret::append(&mut partial, run);
                partial.pop();
                Line::Whole(Cow::Owned(partial))
            }
        }
    }

    fn condemn(&mut self, fate: Fate) {
        self.partial.zeroize();
        self.partial = Vec::new();
        // What was seen first would depend on the split: a bare CR or LF outweighs the length.
        if self.fate != Fate::Bare {
            self.fate = fate;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.partial.zeroize();
    }
}

/// Wipes what was gathered of a line. What was borrowed is its owner's.
pub fn wipe(line: Cow<'_, [u8]>) {
    if let Cow::Owned(mut octets) = line {
        octets.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines, mut input: &[u8]) -> Vec<Line<'static>> {
        let mut found = Vec::new();
        while let Some(line) = lines.take(&mut input) {
            found.push(match line {
                Line::Whole(line) => Line::Whole(Cow::Owned(line.into_owned())),
                Line::Bare => Line::Bare,
                Line::TooLong => Line::TooLong,
            });
        }
        assert!(input.is_empty());
        found
    }

    /// What RFC 5321 §2.3.8 says, in the plainest words.
    fn naive(mut text: &[u8]) -> Vec<Line<'_>> {
        let mut found = Vec::new();
        while let Some(at) = memchr::memmem::find(text, b"\r\n") {
            let line = &text[..at];
            found.push(if line.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
                Line::Bare
            } else if at + 2 > SMTP_LINE_BYTES_MAX {
                Line::TooLong
            } else {
                Line::Whole(Cow::Borrowed(line))
            });
            text = &text[at + 2..];
        }
        found
    }

    #[test]
    fn every_short_text_at_every_split() {
        const LETTERS: [u8; 3] = [b'\r', b'\n', b'x'];
        for length in 0..=7_u32 {
            for number in 0..3_usize.pow(length) {
                let text: Vec<u8> =
                    (0..length).map(|digit| LETTERS[number / 3_usize.pow(digit) % 3]).collect();
                let expected = naive(&text);
                for first in 0..=text.len() {
                    for second in first..=text.len() {
                        let mut lines = Lines::new();
                        let mut found = all(&mut lines, &text[..first]);
                        found.extend(all(&mut lines, &text[first..second]));
                        found.extend(all(&mut lines, &text[second..]));
                        assert_eq!(found, expected, "{text:?} split at {first} and {second}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_holds_nothing() {
        for length in SMTP_LINE_BYTES_MAX - 4..SMTP_LINE_BYTES_MAX + 4 {
            for tail in [&b"\r\nok\r\n"[..], b"\nx\r\nok\r\n", b"\r\r\nok\r\n"] {
                let text = [&vec![b'x'; length][..], tail].concat();
                let expected = naive(&text);
                for portion in [1, 2, 3, 1000, text.len()] {
                    let mut lines = Lines::new();
                    let mut found = Vec::new();
                    for piece in text.chunks(portion) {
                        found.extend(all(&mut lines, piece));
                        assert!(lines.held_bytes() <= 2 * SMTP_LINE_BYTES_MAX);
                    }
                    assert_eq!(found, expected, "length {length}, portions of {portion}");
                    assert!(lines.at_start() && lines.held_bytes() == 0);
                }
            }
        }
    }
}
