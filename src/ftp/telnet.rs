//! ftp::telnet – the Telnet half of the control connection (RFC 959 §4.1.3, RFC 1123 §4.1.2.12).
//!
//! Takes Telnet commands out of the stream and hands on lines. No option is ever agreed to.
//!
//! ```text
//!  Data ──IAC──▶ Command ──DO/DONT/WILL/WONT──▶ Option(which) ──any──▶ Data
//!                  │ IAC → octet 255    IP → Interrupted ──DM──▶ Data
//!                  │ other ≥ 240 → swallowed    < 240 → that octet is data
//! ```
//!
//! Promises: no octet of a command is lost, whether a client's urgent octet arrives in line or was
//! taken out of line by the kernel; the meaning does not depend on how the input is split.
//! Not here: what a line means; sending (the answers go to the outbox with the replies).

use std::borrow::Cow;

use super::reply;
use crate::limits;
use crate::wire::line::{Line, Lines};
use crate::wire::outbox::Outbox;

/// Interpret as command.
pub const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const INTERRUPT_PROCESS: u8 = 244;
const DATA_MARK: u8 = 242;
/// Octets below are no Telnet commands (RFC 854).
const COMMAND_MIN: u8 = 240;

/// Where in a Telnet command the input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In data.
    Data,
    /// After IAC.
    Command,
    /// After IAC and this verb: an option follows.
    Option(u8),
    /// After IAC IP: the rest of a Synch may follow.
    Interrupted,
}

/// Reads command lines.
#[derive(Debug)]
pub struct Reader {
    lines: Lines,
    state: State,
}

impl Reader {
    /// At the start of the connection.
    pub const fn new() -> Self {
        Self { lines: Lines::new(limits::FTP_LINE_BYTES_MAX), state: State::Data }
    }

    /// Consumes one line from the front of `input`, or all of it when no line ends there. Refusals
    /// of Telnet options go to `out`.
    pub fn take<'a>(&mut self, input: &mut &'a [u8], out: &mut Outbox) -> Option<Line<'a>> {
        loop {
            let bytes = *input;
            if self.state != State::Data {
                let (&octet, rest) = bytes.split_first()?;
                if self.command(octet, out) {
                    *input = rest;
                }
                continue;
            }
            // An LF is an end of line only outside Telnet commands: `IAC DO 10` holds one.
            match memchr::memchr2(b'\n', IAC, bytes) {
                None => {
                    self.lines.keep(bytes);
                    *input = &[];
                    return None;
                }
                Some(at) => {
                    *input = &bytes[at + 1..];
                    if bytes[at] == b'\n' {
                        return Some(decoded(self.lines.end(&bytes[..at])));
                    }
                    self.lines.keep(&bytes[..at]);
                    self.state = State::Command;
                }
            }
        }
    }

    /// Octets held for a line that has begun.
    pub fn held_bytes(&self) -> usize {
        self.lines.held_bytes()
    }

    /// One octet inside a Telnet command; false when it belongs to the data after all.
    fn command(&mut self, octet: u8, out: &mut Outbox) -> bool {
        match self.state {
            State::Data => return false,
            State::Option(verb) => {
                self.state = State::Data;
                match verb {
                    // RFC 1123 §4.1.2.12: answer a request for an option with a refusal.
                    DO => reply::telnet(&[IAC, WONT, octet], out),
                    WILL => reply::telnet(&[IAC, DONT, octet], out),
                    _ => {}
                }
            }
            State::Interrupted => {
                // The clients of BSD mark the second IAC of `IAC IP IAC DM` urgent. A kernel that
                // keeps urgent data out of line takes it out, and a lone DM is left over.
                self.state = if octet == IAC { State::Command } else { State::Data };
                return matches!(octet, IAC | DATA_MARK);
            }
            State::Command => match octet {
                IAC => {
                    self.state = State::Data;
                    self.lines.keep(&[IAC]);
                }
                DO | DONT | WILL | WONT => self.state = State::Option(octet),
                INTERRUPT_PROCESS => self.state = State::Interrupted,
                // Other clients mark the DM urgent; taken out of line, IAC stands before the verb.
                0..COMMAND_MIN => {
                    self.state = State::Data;
                    return false;
                }
                COMMAND_MIN.. => self.state = State::Data,
            },
        }
        true
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// CR NUL stands for CR (RFC 2640 §3.1). A name with LF in it cannot be said: LF ends every line,
/// since some clients send nothing else, and a name of two lines is good for nothing but mischief.
fn decoded(line: Line<'_>) -> Line<'_> {
    match line {
        Line::Whole(bytes) if memchr::memmem::find(&bytes, b"\r\0").is_some() => {
            let mut plain = Vec::with_capacity(bytes.len());
            let mut after_return = false;
            for &octet in bytes.iter() {
                if !(after_return && octet == 0) {
                    plain.push(octet);
                }
                after_return = octet == b'\r';
            }
            Line::Whole(Cow::Owned(plain))
        }
        other @ (Line::Whole(_) | Line::TooLong) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(portions: &[&[u8]]) -> (Vec<Line<'static>>, Vec<u8>) {
        let (mut reader, mut out, mut found) = (Reader::new(), Outbox::default(), Vec::new());
        for portion in portions {
            let mut input = *portion;
            while let Some(line) = reader.take(&mut input, &mut out) {
                found.push(match line {
                    Line::Whole(line) => Line::Whole(Cow::Owned(line.into_owned())),
                    Line::TooLong => Line::TooLong,
                });
            }
            assert!(input.is_empty());
        }
        (found, out.take())
    }

    fn check(input: &[u8], lines: &[&[u8]], answer: &[u8]) {
        let lines: Vec<Line<'static>> =
            lines.iter().map(|line| Line::Whole(Cow::Owned(line.to_vec()))).collect();
        for at in 0..=input.len() {
            let (found, out) = read(&[&input[..at], &input[at..]]);
            assert_eq!(found, lines, "{input:?} split at {at}");
            assert_eq!(out, answer);
        }
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(read(&single), (lines, answer.to_vec()));
    }

    #[test]
    fn options_are_refused() {
        check(b"\xFF\xFD\x01NOOP\r\n", &[b"NOOP"], b"\xFF\xFC\x01");
        check(b"NO\xFF\xFB\x0AOP\r\n", &[b"NOOP"], b"\xFF\xFE\x0A");
        check(b"\xFF\xFE\x01\xFF\xFC\x03NOOP\n", &[b"NOOP"], b"");
    }

    #[test]
    fn synch_loses_no_octet_in_line_or_out_of_line() {
        for before in [
            &b"\xFF\xF4\xFF\xF2"[..], // in line
            b"\xFF\xF4\xFF",          // DM was urgent and is out of line
            b"\xFF\xF4\xF2",          // the second IAC was
            b"\xFF\xF4",              // both are gone
            b"\xFF\xF2",
            b"",
        ] {
            check(&[before, b"ABOR\r\n"].concat(), &[b"ABOR"], b"");
            check(&[before, b"STAT\r\n"].concat(), &[b"STAT"], b"");
        }
    }

    #[test]
    fn doubled_iac_is_an_octet_and_cr_nul_a_cr() {
        check(b"CWD \xFF\xFFx\xFF\xFF\r\n", &[b"CWD \xFFx\xFF"], b"");
        check(b"CWD a\r\0b\r\0\r\n", &[b"CWD a\rb\r"], b"");
        check(b"\xFF\xF1\xFF\xF6NOOP\r\n", &[b"NOOP"], b"");
    }
}
