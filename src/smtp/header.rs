//! smtp::header – looks at the header section of a message as it passes: how many `Received:` lines there
//! are, and whether there is a date and a message identifier.
//!
//! Promises: what is found does not depend on how the octets are split; nothing is kept of them; what
//! follows the first blank line is not looked at.
//! Not here: what the count is compared with (`session`), what is added (`trace`).

/// Names that are looked for, lower case: the one that is counted (RFC 5321 §4.4), and those that a message
/// should have (RFC 5322 §3.6).
const NAMES: [&[u8]; 3] = [b"received", b"date", b"message-id"];
const RECEIVED: u8 = 1;
const DATE: u8 = 2;
const MESSAGE_ID: u8 = 4;
const ALL: u8 = RECEIVED | DATE | MESSAGE_ID;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a name of which so many octets agree with those of `NAMES` in this set; 0 is the beginning of a
    /// line.
    Name(u8, u8),
    /// After one of the names: white space before the colon (RFC 5322 §4.5.8).
    Space(u8),
    /// A CR is the first octet of the line.
    Cr,
    /// In a line that is decided.
    Rest,
    /// Past the blank line.
    Body,
}

const START: At = At::Name(0, ALL);

/// What is missing from a header section (RFC 6409 §8.1, §8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacks {
    /// `Date:`.
    pub date: bool,
    /// `Message-ID:`.
    pub message_id: bool,
}

/// What a header section has.
#[derive(Debug, Clone)]
pub struct Fields {
    at: At,
    /// Hops the message has behind it (RFC 5321 §6.3).
    hops: u32,
    seen: u8,
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl Fields {
    /// Before the first octet of a message.
    pub const fn new() -> Self {
        Self { at: START, hops: 0, seen: 0 }
    }

    /// `Received` lines so far.
    pub const fn hops(&self) -> u32 {
        self.hops
    }

    /// What there was none of so far.
    pub const fn lacks(&self) -> Lacks {
        Lacks { date: self.seen & DATE == 0, message_id: self.seen & MESSAGE_ID == 0 }
    }

    /// Looks at the next octets of the message.
    pub fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            self.at = match (self.at, octet) {
                (At::Body, _) | (At::Name(0, _) | At::Cr, b'\n') => {
                    self.at = At::Body;
                    return;
                }
                (_, b'\n') => START,
                (At::Name(0, _), b'\r') => At::Cr,
                (At::Space(name), b':') => self.found(name),
                (At::Space(name), b' ' | b'\t') => At::Space(name),
                (At::Name(agreed, names), b':' | b' ' | b'\t') if ended(agreed, names) != 0 => {
                    let name = ended(agreed, names);
                    if octet == b':' { self.found(name) } else { At::Space(name) }
                }
                (At::Name(agreed, names), _) if agreeing(agreed, names, octet) != 0 => {
                    At::Name(agreed + 1, agreeing(agreed, names, octet))
                }
                (At::Name(..) | At::Space(_) | At::Cr | At::Rest, _) => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.at = At::Rest;
                        return;
                    };
                    rest = &rest[end + 1..];
                    START
                }
            };
        }
    }

    fn found(&mut self, name: u8) -> At {
        self.seen |= name;
        self.hops = self.hops.saturating_add(u32::from(name == RECEIVED));
        At::Rest
    }
}

/// Those of `names` that go on with `octet` after so many.
fn agreeing(agreed: u8, names: u8, octet: u8) -> u8 {
    let octet = octet.to_ascii_lowercase();
    those(names, |name| name.get(usize::from(agreed)) == Some(&octet))
}

/// The one of `names` that has so many octets.
fn ended(agreed: u8, names: u8) -> u8 {
    those(names, |name| name.len() == usize::from(agreed))
}

fn those(names: u8, has: impl Fn(&[u8]) -> bool) -> u8 {
    let one = |(bit, name): (u8, &&[u8])| if has(name) { 1 << bit } else { 0 };
    names & (0..).zip(&NAMES).map(one).fold(0, |set, bit| set | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(octets: &[u8], portion: usize) -> u32 {
        let mut hops = Fields::new();
        for piece in octets.chunks(portion) {
            hops.feed(piece);
        }
        hops.hops()
    }

    #[test]
    fn lines_of_the_header_are_counted_at_every_split() {
        let message = b"Received: a\r\nreceived : b\r\n\tReceived: folded\r\nX-Received: no\r\n\
            Received\r\nReceivedX: no\r\nRECEIVED:\r\n\r\nReceived: body\r\n\r\nReceived: body\r\n";
        for portion in 1..=message.len() {
            assert_eq!(count(message, portion), 3, "portions of {portion}");
        }
        for first in 0..message.len() {
            for second in first..message.len() {
                let mut hops = Fields::new();
                hops.feed(&message[..first]);
                hops.feed(&message[first..second]);
                hops.feed(&message[second..]);
                assert_eq!(hops.hops(), 3, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_a_submitted_message_lacks() {
        let lacks = |octets: &[u8], portion| {
            let mut fields = Fields::new();
            octets.chunks(portion).for_each(|piece| fields.feed(piece));
            fields.lacks()
        };
        for (message, date, message_id) in [
            ("", true, true),
            ("Date: x\r\n", false, true),
            ("dAtE\t: x\r\nMESSAGE-ID:<a@b>\r\n\r\n", false, false),
            ("Date\r\nDated: x\r\nX-Date: x\r\n Date: x\r\nMessage-Id-2: x\r\n", true, true),
            ("Subject: a\r\n\r\nDate: x\r\nMessage-ID: x\r\n", true, true),
            ("Received: x\r\nMessage-Id: x\r\nDa", true, false),
        ] {
            for portion in 1..=message.len().max(1) {
                assert_eq!(
                    lacks(message.as_bytes(), portion),
                    Lacks { date, message_id },
                    "{message:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_line_may_be_blank_and_ends_may_be_bare() {
        assert_eq!(count(b"\r\nReceived: a\r\n", 1), 0);
        assert_eq!(count(b"\nReceived: a\n", 1), 0);
        assert_eq!(count(b"Received: a\nReceived: b\n\nReceived: c\n", 1), 2);
        assert_eq!(count(b"\rReceived: a\r\nReceived: b\r\n", 1), 1);
    }
}
