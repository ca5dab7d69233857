//! smtp::header – counts `Received:` lines in the header section of a message, as it passes.
//!
//! Promises: the count does not depend on how the octets are split; nothing is kept of them; what
//! follows the first blank line is not looked at.
//! Not here: what the count is compared with (`session`).

/// The name that is counted (RFC 5321 §4.4), lower case.
const NAME: &[u8] = b"received";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a name of which so many octets agree; 0 is the beginning of a line.
    Name(u8),
    /// After the name: white space before the colon (RFC 5322 §4.5.8).
    Space,
    /// A CR is the first octet of the line.
    Cr,
    /// In a line that is decided.
    Rest,
    /// Past the blank line.
    Body,
}

/// Counts the hops a message has behind it (RFC 5321 §6.3).
#[derive(Debug, Clone)]
pub struct Hops {
    at: At,
    count: u32,
}

impl Default for Hops {
    fn default() -> Self {
        Self::new()
    }
}

impl Hops {
    /// Before the first octet of a message.
    pub const fn new() -> Self {
        Self { at: At::Name(0), count: 0 }
    }

    /// `Received` lines so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Looks at the next octets of the message.
    pub fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            self.at = match (self.at, octet) {
                (At::Body, _) | (At::Name(0) | At::Cr, b'\n') => {
                    self.at = At::Body;
                    return;
                }
                (_, b'\n') => At::Name(0),
                (At::Name(0), b'\r') => At::Cr,
                (At::Name(8) | At::Space, b':') => {
                    self.count = self.count.saturating_add(1);
                    At::Rest
                }
                (At::Name(8) | At::Space, b' ' | b'\t') => At::Space,
                (At::Name(agreed), _)
                    if NAME.get(usize::from(agreed)) == Some(&octet.to_ascii_lowercase()) =>
                {
                    At::Name(agreed + 1)
                }
                (At::Name(_) | At::Space | At::Cr | At::Rest, _) => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.at = At::Rest;
                        return;
                    };
                    rest = &rest[end + 1..];
                    At::Name(0)
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(octets: &[u8], portion: usize) -> u32 {
        let mut hops = Hops::new();
        for piece in octets.chunks(portion) {
            hops.feed(piece);
        }
        hops.count()
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
                let mut hops = Hops::new();
                hops.feed(&message[..first]);
                hops.feed(&message[first..second]);
                hops.feed(&message[second..]);
                assert_eq!(hops.count(), 3, "split at {first} and {second}");
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
