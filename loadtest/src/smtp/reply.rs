//! smtp::reply – splits what a server says into replies (RFC 5321 §4.2).
//!
//! Promises: replies may arrive in pieces or several at a time; a line that is no reply, lines of one
//! reply whose codes differ, and a reply without an end are errors, each of its own kind; every octet
//! is looked at once. A line end without CR is taken, and counted.
//! Not here: what a code means for the dialogue.

/// Octets of one reply that are held; four times what RFC 5321 §4.5.3.1.5 allows a line, by 32 lines.
pub(crate) const REPLY_OCTETS_MAX: usize = 64 * 1024;

/// One whole reply; its text is below [`Replies::text`] until the next call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The three digits.
    pub(crate) code: u16,
    /// Octets of all its lines.
    range: std::ops::Range<usize>,
}

/// Why what the server says is no dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nonsense {
    /// A line that does not begin with a code.
    NoReply,
    /// A reply of several lines with several codes.
    CodesDiffer,
    /// No end within [`REPLY_OCTETS_MAX`].
    Endless,
}

/// Collects received octets.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    buffer: Vec<u8>,
    /// Octets at the front that belong to replies already taken.
    taken: usize,
    /// Octets after `taken` in whole lines of an unfinished reply.
    lines: usize,
    /// Octets known to hold no line end beyond that.
    searched: usize,
    code: Option<u16>,
    bare: u64,
}

impl Replies {
    /// Appends what was received.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole reply, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Nonsense> {
        loop {
            let begin = self.taken + self.lines;
            let from = begin + self.searched;
            let Some(length) = self.buffer[from..].iter().position(|&octet| octet == b'\n') else {
                self.searched = self.buffer.len() - begin;
                if self.buffer.len() - self.taken > REPLY_OCTETS_MAX {
                    return Err(Nonsense::Endless);
                }
                return Ok(None);
            };
            let end = from + length + 1;
            let line = &self.buffer[begin..end - 1];
            let (line, bare) = line.strip_suffix(b"\r").map_or((line, true), |line| (line, false));
            self.bare += u64::from(bare);
            let code = code_of(line).ok_or(Nonsense::NoReply)?;
            let last = match line.get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return Err(Nonsense::NoReply),
            };
            if self.code.is_some_and(|first| first != code) {
                return Err(Nonsense::CodesDiffer);
            }
            (self.lines, self.searched) = (end - self.taken, 0);
            if last {
                let range = self.taken..end;
                (self.taken, self.lines, self.code) = (end, 0, None);
                return Ok(Some(Reply { code, range }));
            }
            self.code = Some(code);
            if self.lines > REPLY_OCTETS_MAX {
                return Err(Nonsense::Endless);
            }
        }
    }

    /// All lines of a reply just taken, with their line ends.
    pub(crate) fn text(&self, reply: &Reply) -> &[u8] {
        self.buffer.get(reply.range.clone()).unwrap_or_default()
    }

    /// Octets after the last whole reply.
    pub(crate) fn rest(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Lines that ended without CR since it was last asked.
    pub(crate) fn take_bare_line_ends(&mut self) -> u64 {
        std::mem::take(&mut self.bare)
    }

    /// Gives back its memory if nothing is held: thousands of idle sessions must not hold buffers.
    pub(crate) fn shrink(&mut self) {
        if self.rest() == 0 {
            self.buffer = Vec::new();
            self.taken = 0;
        }
    }
}

fn code_of(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    let valid = digits.iter().all(u8::is_ascii_digit) && (b'2'..=b'5').contains(&digits[0]);
    valid.then(|| digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

/// The words behind the code of every line: what EHLO announces, or the text of a reply.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&octet| octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.get(4..).unwrap_or_default().trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(parts: &[&[u8]]) -> Result<Vec<(u16, Vec<u8>)>, Nonsense> {
        let mut replies = Replies::default();
        let mut seen = Vec::new();
        for part in parts {
            replies.feed(part);
            while let Some(reply) = replies.next()? {
                seen.push((reply.code, replies.text(&reply).to_vec()));
            }
        }
        assert_eq!(replies.rest(), 0);
        Ok(seen)
    }

    #[test]
    fn replies_in_any_split() {
        let text = b"220 ready\r\n250-one\r\n250-SIZE 10\r\n250 last\r\n354\r\n250 ok\n";
        let whole = taken(&[text]).unwrap();
        let codes: Vec<u16> = whole.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [220, 250, 354, 250]);
        let mut replies = Replies::default();
        replies.feed(text);
        while replies.next().unwrap().is_some() {}
        assert_eq!((replies.take_bare_line_ends(), replies.take_bare_line_ends()), (1, 0));
        assert_eq!(whole[1].1, b"250-one\r\n250-SIZE 10\r\n250 last\r\n");
        for split in 0..text.len() {
            assert_eq!(taken(&[&text[..split], &text[split..]]).unwrap(), whole);
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(taken(&single).unwrap(), whole);
    }

    #[test]
    fn nonsense_has_kinds() {
        let all: [(&[u8], Nonsense); 6] = [
            (b"HTTP/1.1 400\r\n", Nonsense::NoReply),
            (b"2500 ok\r\n", Nonsense::NoReply),
            (b"650 ok\r\n", Nonsense::NoReply),
            (b"\r\n", Nonsense::NoReply),
            (b"250-ok\r\nmore\r\n", Nonsense::NoReply),
            (b"250-ok\r\n220 more\r\n", Nonsense::CodesDiffer),
        ];
        for (text, kind) in all {
            assert_eq!(taken(&[text]).unwrap_err(), kind, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_reply_without_end_is_not_collected() {
        for endless in [&b"250-on and on\r\n"[..], b"2"] {
            let mut replies = Replies::default();
            let mut octets = 0;
            let outcome = loop {
                replies.feed(endless);
                octets += endless.len();
                match replies.next() {
                    Ok(None) => assert!(octets < 2 * REPLY_OCTETS_MAX),
                    other => break other,
                }
            };
            assert_eq!(outcome, Err(Nonsense::Endless));
        }
    }

    #[test]
    fn words_of_ehlo() {
        let text = b"250-host greets\r\n250-SIZE 10\r\n250 PIPELINING\r\n";
        let words: Vec<&[u8]> = lines(text).collect();
        assert_eq!(words, [&b"host greets"[..], b"SIZE 10", b"PIPELINING"]);
        assert_eq!(lines(b"250\r\n").collect::<Vec<_>>(), [b""]);
    }
}
