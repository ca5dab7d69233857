//! smtp::client::survey – what there is in a message, for a server that does not take all there may be.
//!
//! BODY and SMTPUTF8 say what a message may hold; most messages that bear them hold less, for some
//! clients say 8BITMIME of everything. So before one is returned for what it may hold, it is looked
//! through. That is rare: hardly a server is left that does not offer 8BITMIME.
//!
//! Promises: the same answer however the message is split.
//! Not here: what follows from it (`session`).

/// Octets of a line, its CRLF included (RFC 5321 §4.5.3.1.6).
const LINE_BYTES_MAX: u64 = 1000;

/// What was seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Survey {
    eight_bit: bool,
    eight_bit_header: bool,
    binary: bool,
    in_header: bool,
    /// Octets of the line that has begun.
    line: u64,
    after_cr: bool,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            eight_bit: false,
            eight_bit_header: false,
            binary: false,
            in_header: true,
            line: 0,
            after_cr: false,
        }
    }
}

impl Survey {
    /// Goes on with the message.
    pub fn feed(&mut self, octets: &[u8]) {
        for octet in octets {
            self.line += 1;
            let bare = (*octet == b'\n') != self.after_cr;
            self.binary |= bare || *octet == 0 || self.line > LINE_BYTES_MAX;
            if *octet == b'\n' {
                // An empty line ends the header; one that ends with a bare LF is as empty to who reads it.
                self.in_header &= self.line > 1 + u64::from(self.after_cr);
                self.line = 0;
            }
            let high = !octet.is_ascii();
            self.eight_bit |= high;
            self.eight_bit_header |= high && self.in_header;
            self.after_cr = *octet == b'\r';
        }
    }

    /// Is there an octet above 127?
    pub(super) fn has_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Is there one in the header?
    pub(super) fn has_eight_bit_header(&self) -> bool {
        self.eight_bit_header
    }

    /// Is there what only BINARYMIME allows: CR or LF alone, NUL, lines too long?
    pub(super) fn is_binary(&self) -> bool {
        self.binary || self.after_cr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_found_at_every_split() {
        let long = [&[b'x'; 998][..], b"\r\n"].concat();
        let longer = [&[b'x'; 999][..], b"\r\n"].concat();
        // Text; then: an octet above 127, one in the header, binary.
        let cases: [(&[u8], bool, bool, bool); 14] = [
            (b"", false, false, false),
            (b"A: b\r\n\r\nc\r\n", false, false, false),
            (b"A: b\r\n\r\nc", false, false, false),
            (b"A: \xc3\xa4\r\n\r\nc\r\n", true, true, false),
            (b"A: b\r\n\r\n\xc3\xa4\r\n", true, false, false),
            (b"\r\n\xc3\xa4\r\n", true, false, false),
            (b"A: b\n\n\xc3\xa4\r\n", true, false, true),
            (b"a\rb\r\n", false, false, true),
            (b"a\r\r\n", false, false, true),
            (b"a\r", false, false, true),
            (b"\n", false, false, true),
            (b"a\0\r\n", false, false, true),
            (&long, false, false, false),
            (&longer, false, false, true),
        ];
        for (text, eight_bit, header, binary) in cases {
            for at in 0..=text.len() {
                let mut survey = Survey::default();
                survey.feed(&text[..at]);
                survey.feed(&text[at..]);
                let found =
                    (survey.has_eight_bit(), survey.has_eight_bit_header(), survey.is_binary());
                assert_eq!(found, (eight_bit, header, binary), "{text:?} split at {at}");
            }
        }
    }
}
