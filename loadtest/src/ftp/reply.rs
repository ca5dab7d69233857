//! ftp::reply – octets of the control connection to replies, and what stands in them.
//!
//! Promises: bounded whatever a server sends; accepts what RFC 959 §4.2 allows, at any split.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Longest line of a reply.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Longest reply; a greeting may be a page, not a book.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// Its last line, without them.
    pub text: String,
}

/// What is wrong with what the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No three digits.
    NoCode,
    /// Longer than anybody needs.
    TooLong,
}

impl Malformed {
    /// For the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCode => "not a reply",
            Self::TooLong => "reply without end",
        }
    }
}

/// Collects octets until a reply is whole.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// Code of a reply of several lines whose last one is still to come.
    open: Option<u16>,
    octets: usize,
}

impl Reader {
    /// Takes octets off the front of `input` until a reply is whole or nothing is left.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        while !input.is_empty() {
            let end = input.iter().position(|&octet| octet == b'\n');
            let taken = end.map_or(input.len(), |at| at + 1);
            self.octets += taken;
            if self.octets > REPLY_BYTES_MAX || self.line.len() + taken > LINE_BYTES_MAX {
                return Err(Malformed::TooLong);
            }
            self.line.extend_from_slice(&input[..taken]);
            *input = &input[taken..];
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if let Some(reply) = self.line(line.trim_ascii_end())? {
                    self.octets = 0;
                    return Ok(Some(reply));
                }
            }
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, Malformed> {
        let code = line.first_chunk::<3>().filter(|code| code.iter().all(u8::is_ascii_digit));
        let code = code.map(|code| code.iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0')));
        let text = || String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned();
        let goes_on = line.get(3) == Some(&b'-');
        match (self.open, code) {
            (None, Some(code)) if goes_on => {
                self.open = Some(code);
                Ok(None)
            }
            (None, Some(code)) => Ok(Some(Reply { code, text: text() })),
            (None, None) => Err(Malformed::NoCode),
            (Some(open), Some(code)) if open == code && !goes_on => {
                self.open = None;
                Ok(Some(Reply { code, text: text() }))
            }
            (Some(_), _) => Ok(None),
        }
    }
}

/// The port in `229 … (|||6446|)`; RFC 2428 §3.
pub fn epsv_port(text: &str) -> Option<u16> {
    let inside = text.split_once('(')?.1.split_once(')')?.0;
    let mark = inside.chars().next()?;
    let mut parts = inside.split(mark).skip(3);
    parts.next()?.parse().ok().filter(|&port| port != 0)
}

/// The address in `227 … (127,0,0,1,25,46)`; RFC 959 §4.1.2. The brackets are often missing.
pub fn pasv_address(text: &str) -> Option<SocketAddrV4> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let rest = &text[start..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ',')).unwrap_or(rest.len());
    let parts: Vec<u8> = rest[..end].split(',').map_while(|part| part.parse().ok()).collect();
    let [a, b, c, d, high, low] = parts[..] else { return None };
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then_some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// The length many servers announce: `150 Opening … (1234 bytes).`
pub fn announced(text: &str) -> Option<u64> {
    let before = text[..text.find(" bytes")?].rsplit(['(', ' ']).next()?;
    before.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], piece: usize) -> Result<Vec<(u16, String)>, Malformed> {
        let (mut reader, mut replies) = (Reader::default(), Vec::new());
        for mut input in text.chunks(piece) {
            while let Some(reply) = reader.next(&mut input)? {
                replies.push((reply.code, reply.text));
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_of_one_and_of_many_lines_at_every_split() {
        let text = b"220 hello\r\n230-first\r\n 230 not the end\r\n231 nor this\r\n230-nor this\r\n230 end\r\n\
                     200 bare\n226\r\n";
        let expected = [(220, "hello"), (230, "end"), (200, "bare"), (226, "")];
        let expected = expected.map(|(code, text)| (code, text.to_owned()));
        for piece in 1..=text.len() {
            assert_eq!(all(text, piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_no_reply_ends_it() {
        assert_eq!(all(b"SSH-2.0-x\r\n", 3), Err(Malformed::NoCode));
        assert_eq!(all(b"\r\n", 3), Err(Malformed::NoCode));
        assert_eq!(all(&[b'2'; 10_000], 1000), Err(Malformed::TooLong));
        assert_eq!(all(&b"220-more\r\n".repeat(10_000), 1000), Err(Malformed::TooLong));
    }

    #[test]
    fn addresses_and_lengths() {
        assert_eq!(epsv_port("Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(epsv_port("(!!!1!)"), Some(1));
        for wrong in ["", "()", "(|||0|)", "(|||65536|)", "(|||x|)", "|||6446|", "(||)"] {
            assert_eq!(epsv_port(wrong), None, "{wrong}");
        }
        let address = "127.0.0.1:6446".parse().ok();
        assert_eq!(pasv_address("Entering Passive Mode (127,0,0,1,25,46)."), address);
        assert_eq!(pasv_address("=127,0,0,1,25,46"), address);
        for wrong in ["", "(1,2,3,4,5)", "(1,2,3,4,5,6,7)", "(256,0,0,1,1,1)", "(1,2,3,4,0,0)"] {
            assert_eq!(pasv_address(wrong), None, "{wrong}");
        }
        assert_eq!(
            announced("Opening BINARY mode data connection for x (1234 bytes)."),
            Some(1234)
        );
        assert_eq!(announced("here it comes, many bytes"), None);
        assert_eq!(announced("ok"), None);
    }
}
