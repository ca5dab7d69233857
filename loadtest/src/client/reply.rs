//! client::reply – splits what a server says into replies (RFC 959 §4.2).
//!
//! Promises: handles replies that arrive in pieces or several at a time, and multi-line replies;
//! a line that is no reply, or a reply beyond the limit, is an error that quotes it.
//! Not here: what a code means for the session.

/// Bytes of unfinished reply we are willing to hold.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One whole reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// Its last line, code included, without the line end.
    pub line: String,
}

/// Collects received bytes.
#[derive(Default)]
pub struct Replies {
    buffer: Vec<u8>,
}

impl Replies {
    /// Appends what was received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes out the next whole reply, if there is one.
    pub fn next(&mut self) -> Result<Option<Reply>, String> {
        let mut start = 0;
        let mut opening: Option<u16> = None;
        while let Some(length) = self.buffer[start..].iter().position(|&byte| byte == b'\n') {
            let line = self.buffer[start..start + length].trim_ascii_end();
            start += length + 1;
            let code = code_of(line);
            match (opening, code, line.get(3)) {
                (None, Some(code), Some(b'-')) => opening = Some(code),
                (None, Some(_), None | Some(b' ')) => {
                    return Ok(Some(self.take(start, line.len())));
                }
                (None, _, _) => return Err(format!("not a reply: {:?}", lossy(line))),
                (Some(first), Some(last), None | Some(b' ')) if first == last => {
                    return Ok(Some(self.take(start, line.len())));
                }
                (Some(_), _, _) => {}
            }
        }
        if self.buffer.len() > REPLY_BYTES_MAX {
            return Err(format!("a reply beyond {REPLY_BYTES_MAX} bytes"));
        }
        Ok(None)
    }

    /// Removes everything before `end`; the last line of it, `length` long, is the reply.
    fn take(&mut self, end: usize, length: usize) -> Reply {
        let text = &self.buffer[..end];
        let begin = text[..end - 1].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let line = &text[begin..begin + length];
        let reply = Reply { code: code_of(line).unwrap_or(0), line: lossy(line) };
        self.buffer.drain(..end);
        if self.buffer.is_empty() {
            self.buffer = Vec::new(); // thousands of idle sessions must not hold empty buffers
        }
        reply
    }
}

fn code_of(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    let valid = digits.iter().all(u8::is_ascii_digit) && (b'1'..=b'6').contains(&digits[0]);
    valid.then(|| digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// The port in `229 Entering Extended Passive Mode (|||PORT|)` (RFC 2428 §3).
pub fn epsv_port(line: &str) -> Option<u16> {
    let inner = line.rsplit_once('(')?.1.split_once(')')?.0;
    let delimiter = inner.chars().next()?;
    let fields: Vec<&str> = inner.split(delimiter).collect();
    match fields[..] {
        ["", "", "", port, ""] => port.parse().ok().filter(|&port| port != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_in_any_split() {
        let text = b"220-hello\r\n 220 not yet\r\n220 ready\r\n331 password\r\n";
        for split in 0..text.len() {
            let mut replies = Replies::default();
            let mut seen = Vec::new();
            for part in [&text[..split], &text[split..]] {
                replies.feed(part);
                while let Some(reply) = replies.next().unwrap() {
                    seen.push((reply.code, reply.line));
                }
            }
            assert_eq!(seen, [(220, "220 ready".to_owned()), (331, "331 password".to_owned())]);
        }
    }

    #[test]
    fn nonsense_is_quoted() {
        let mut replies = Replies::default();
        replies.feed(b"HTTP/1.1 400\r\n");
        assert!(replies.next().unwrap_err().contains("HTTP/1.1 400"));
    }

    #[test]
    fn epsv_ports() {
        assert_eq!(epsv_port("229 Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(epsv_port("229 ok (!!!21!)."), Some(21));
        for bad in ["229 ok", "229 (|||0|)", "229 (|||70000|)", "229 (|1|127.0.0.1|21|)"] {
            assert_eq!(epsv_port(bad), None, "{bad}");
        }
    }
}
