//! wire::line – lines with a limit, over input that arrives in any portions.
//!
//! A line ends with LF; a CR before it belongs to the end. What precedes the LF is borrowed from
//! the input when it arrived in one portion, and collected only when it did not.
//!
//! Promises: memory is bounded by the limit, and there is none between lines; a line over the limit
//! is reported once, at its end, and the next line is read as if nothing had happened.
//! Not here: Telnet (`ftp::telnet`), which lines are commands.

use std::borrow::Cow;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// The octets before CRLF or LF.
    Whole(Cow<'a, [u8]>),
    /// It was longer than the limit; its octets are gone.
    TooLong,
}

/// Collects lines.
#[derive(Debug)]
pub struct Lines {
    partial: Vec<u8>,
    skipping: bool,
    limit_bytes: usize,
}

impl Lines {
    /// Lines of at most `limit_bytes`, their end included.
    pub const fn new(limit_bytes: usize) -> Self {
        Self { partial: Vec::new(), skipping: false, limit_bytes }
    }

    /// Consumes one line from the front of `input`, or all of it when no line ends there.
    pub fn take<'a>(&mut self, input: &mut &'a [u8]) -> Option<Line<'a>> {
        let bytes = *input;
        if let Some(at) = memchr::memchr(b'\n', bytes) {
            *input = &bytes[at + 1..];
            Some(self.end(&bytes[..at]))
        } else {
            *input = &[];
            self.keep(bytes);
            None
        }
    }

    /// Keeps `run`, in which no LF is, for the line that has begun.
    pub fn keep(&mut self, run: &[u8]) {
        if self.skipping || self.partial.len() + run.len() >= self.limit_bytes {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(run);
        }
    }

    /// An LF follows `run`: the line that has begun, and `run`, are a line.
    pub fn end<'a>(&mut self, run: &'a [u8]) -> Line<'a> {
        let too_long = self.skipping || self.partial.len() + run.len() >= self.limit_bytes;
        self.skipping = false;
        let mut partial = std::mem::take(&mut self.partial);
        if too_long {
            return Line::TooLong;
        }
        if partial.is_empty() {
            return Line::Whole(Cow::Borrowed(run.strip_suffix(b"\r").unwrap_or(run)));
        }
        partial.extend_from_slice(run);
        if partial.last() == Some(&b'\r') {
            partial.pop();
        }
        Line::Whole(Cow::Owned(partial))
    }

    /// Octets held for a line that has begun.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines, mut input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::new();
        while let Some(line) = lines.take(&mut input) {
            found.push(match line {
                Line::Whole(line) => Some(line.into_owned()),
                Line::TooLong => None,
            });
        }
        found
    }

    #[test]
    fn crlf_and_lf_end_lines_at_every_split() {
        let text = b"USER a\r\nPASS \rb\nx\r\r\n\n\r\nrest";
        let expected: Vec<Option<Vec<u8>>> =
            [&b"USER a"[..], b"PASS \rb", b"x\r", b"", b""].map(|l| Some(l.to_vec())).to_vec();
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut lines = Lines::new(64);
                let mut found = all(&mut lines, &text[..first]);
                found.extend(all(&mut lines, &text[first..second]));
                found.extend(all(&mut lines, &text[second..]));
                assert_eq!(found, expected, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_holds_nothing() {
        for length in 5..12 {
            let text = [vec![b'x'; length], b"\nok\n".to_vec()].concat();
            let mut whole = Lines::new(8);
            let mut bytewise = Lines::new(8);
            let found = all(&mut whole, &text);
            let mut pieces = Vec::new();
            for octet in text.chunks(1) {
                pieces.extend(all(&mut bytewise, octet));
                assert!(bytewise.held_bytes() <= 16);
            }
            assert_eq!(found, pieces);
            assert_eq!(found[0].is_none(), length + 1 > 8, "length {length}");
            assert_eq!(found[1], Some(b"ok".to_vec()));
            assert_eq!(whole.held_bytes() + bytewise.held_bytes(), 0);
        }
    }
}
