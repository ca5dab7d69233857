//! wire::data::naive – what the decoder is to do, said as simply as can be; the oracle of its tests.
//!
//! It sees a whole body at once, so there are no splits here. Also part of `benches/data.rs` and of
//! the fuzz target, therefore without anything of the crate.

/// What a body decodes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) octets: Vec<u8>,
    pub(crate) bare_newline: bool,
    /// Where in the input the next command begins.
    pub(crate) end: usize,
}

impl Decoded {
    /// Octets of the longest line, its CRLF included.
    pub(crate) fn longest_line(&self) -> u64 {
        let (mut longest, mut line) = (0, 0);
        for (at, octet) in self.octets.iter().enumerate() {
            line += 1;
            longest = line.max(longest);
            if *octet == b'\n' && at > 0 && self.octets[at - 1] == b'\r' {
                line = 0;
            }
        }
        longest
    }
}

/// Decodes what follows the CRLF of DATA. `None`: it has no end.
pub(crate) fn decode(input: &[u8], normalize: bool) -> Option<Decoded> {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|five| five == b"\r\n.\r\n")?;
    // The body's last CRLF is that before the dot; of an empty body it is that of DATA.
    let mut rest = &input[..end];
    let mut decoded = Decoded { octets: Vec::new(), bare_newline: false, end: end + 3 };
    let mut line_start = true;
    while let [first, after @ ..] = rest {
        if line_start && *first == b'.' {
            line_start = false;
            rest = after;
        } else if let [b'\r', b'\n', after @ ..] = rest {
            decoded.octets.extend_from_slice(b"\r\n");
            line_start = true;
            rest = after;
        } else {
            let bare = matches!(first, b'\r' | b'\n');
            decoded.bare_newline |= bare;
            match (bare, normalize) {
                (true, true) => decoded.octets.extend_from_slice(b"\r\n"),
                (true, false) if *first == b'\n' => return Some(decoded),
                (true, false) => {
                    decoded.octets.push(b'\r');
                    return Some(decoded);
                }
                (false, _) => decoded.octets.push(*first),
            }
            line_start = false;
            rest = after;
        }
    }
    Some(decoded)
}
