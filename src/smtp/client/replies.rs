//! smtp::client::replies – what the server says, over input that arrives in any portions.
//!
//! Read as RFC 5321 §4.2 asks of clients, which is to say generously: a code alone, a text without its
//! space, an LF without its CR, any code from 200 to 599. What cannot be a reply ends the connection:
//! three digits missing, a code outside, lines of one reply whose first digits differ, a reply of more
//! than `limits::SMTP_CLIENT_REPLY_BYTES_MAX` octets.
//!
//! Promises: memory is bounded by `limits::SMTP_CLIENT_REPLY_KEPT_BYTES_MAX` for a line and as much for the
//! reply's text, whatever comes; there is none between replies.
//! Not here: what a reply means.

use super::outcome::{self, Outcome};
use crate::limits::{SMTP_CLIENT_REPLY_BYTES_MAX, SMTP_CLIENT_REPLY_KEPT_BYTES_MAX};

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// That of its last line.
    pub(super) code: u16,
    /// What followed the codes; lines are separated by LF. What is not UTF-8 is replaced.
    pub(super) text: String,
}

/// Collects replies.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The octets of the line that has begun, as many as are kept.
    line: Vec<u8>,
    /// Of the lines before it: the code of the first, and their text.
    before: Option<(u16, Vec<u8>)>,
    /// Octets of this reply so far.
    octets: usize,
}

impl Replies {
    /// Consumes one reply from the front of `input`, or all of it when none ends there.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Option<Result<Heard, Outcome>> {
        while !input.is_empty() {
            let (run, ends) = match memchr::memchr(b'\n', input) {
                Some(at) => (at + 1, true),
                None => (input.len(), false),
            };
            let left = SMTP_CLIENT_REPLY_BYTES_MAX - self.octets;
            if run > left {
                // As many octets as would be read of it, were it to come bit by bit.
                *input = input.get(left + 1..).unwrap_or(&[]);
                *self = Self::default();
                return Some(Err(outcome::ENDLESS));
            }
            let (front, rest) = input.split_at(run);
            *input = rest;
            self.octets += run;
            let room = SMTP_CLIENT_REPLY_KEPT_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend(front.iter().take(room));
            if ends && let Some(reply) = self.end_line() {
                *self = Self::default();
                return Some(reply);
            }
        }
        None
    }

    /// Octets held for a reply that has begun.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.line.capacity() + self.before.as_ref().map_or(0, |(_, text)| text.capacity())
    }

    /// A line is whole. Is the reply?
    fn end_line(&mut self) -> Option<Result<Heard, Outcome>> {
        let line = std::mem::take(&mut self.line);
        let Some((code, more, text)) = parts(&line) else {
            return Some(Err(outcome::NO_REPLY));
        };
        let (first, mut whole) = match self.before.take() {
            Some((first, mut whole)) => {
                if whole.len() < SMTP_CLIENT_REPLY_KEPT_BYTES_MAX {
                    whole.push(b'\n');
                }
                (first, whole)
            }
            None => (code, Vec::new()),
        };
        // RFC 5321 §4.2.1: the codes are the same. Only the first digits are relied upon.
        if first / 100 != code / 100 {
            return Some(Err(outcome::MIXED));
        }
        let room = SMTP_CLIENT_REPLY_KEPT_BYTES_MAX.saturating_sub(whole.len());
        whole.extend(text.iter().take(room));
        if more {
            self.before = Some((first, whole));
            return None;
        }
        Some(Ok(Heard { code, text: String::from_utf8_lossy(&whole).into_owned() }))
    }
}

/// Code, whether more lines follow, and text of one line.
fn parts(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(3)?;
    let code = digits.iter().try_fold(0_u16, |code, digit| {
        digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0'))
    })?;
    if !(200..600).contains(&code) {
        return None;
    }
    match rest {
        [] => Some((code, false, rest)),
        [b'-', text @ ..] => Some((code, true, text)),
        [b' ' | b'\t', text @ ..] => Some((code, false, text)),
        [b'0'..=b'9', ..] => None,
        text => Some((code, false, text)),
    }
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
