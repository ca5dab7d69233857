//! wire::data – the body of DATA: finds its end, undoes dot-stuffing, and says what it saw.
//!
//! ```text
//!            '.'          CR           LF
//!  LineStart ----> Dot ------> DotCr -----> End
//!      ^            |            |
//!      | LF         | other      | other = bare CR
//!     Cr <---CR--- Text <--------+
//! ```
//! Promises: only CRLF.CRLF ends the data, the first CRLF being the one that ended DATA (RFC 5321
//! §4.1.1.4); what it gives out does not depend on how the input is split; one pass.
//! Not here: what is refused because of what was seen (`smtp::session`).

/// What becomes of CR and LF that are not together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewlines {
    /// Seen and reported; nothing is given out any more after the first.
    Reject,
    /// Given out as CRLF; they still neither end data nor begin a line in which a dot is stuffing.
    Normalize,
}

/// What the decoder found at the front of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// Octets of the message, to be kept as they are. Borrowed from the input, or static.
    Octets(&'a [u8]),
    /// The end was consumed; what follows is the next command.
    End,
    /// The input is used up.
    NeedMore,
}

/// What there was in the octets given out (or, of bare newlines, in the input).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// A CR without LF, or an LF without CR.
    pub bare_newline: bool,
    /// An octet above 127.
    pub eight_bit: bool,
    /// An octet 0.
    pub nul: bool,
    /// Octets of the longest line, its CRLF included.
    pub longest_line: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Dot,
    DotCr,
    Cr,
    Text,
    End,
}

/// Decodes one DATA body. Begins as if a CRLF had just been read.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    bare: BareNewlines,
    seen: Seen,
    line: u64,
}

impl Decoder {
    /// Before the first octet after `354`.
    pub fn new(bare: BareNewlines) -> Self {
        Self { state: State::LineStart, bare, seen: Seen::default(), line: 0 }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Consumes from the front of `input`. After [`Found::End`] the decoder is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Found<'a> {
        // Placeholder of the first commit: octet by octet. The scanner replaces it.
        while let Some((&octet, rest)) = input.split_first() {
            let here = *input;
            match (self.state, octet) {
                (State::LineStart, b'.') => {
                    self.state = State::Dot;
                    *input = rest;
                }
                (State::Dot, b'\r') => {
                    self.state = State::DotCr;
                    *input = rest;
                }
                (State::DotCr, b'\n') => {
                    self.state = State::End;
                    *input = rest;
                    return Found::End;
                }
                (State::DotCr, _) => {
                    self.state = State::Cr;
                    return Found::Octets(b"\r");
                }
                (_, _) => {
                    *input = rest;
                    self.state = match (self.state, octet) {
                        (State::Cr, b'\n') => State::LineStart,
                        (_, b'\r') => State::Cr,
                        _ => State::Text,
                    };
                    let _ = (self.bare, self.line);
                    return Found::Octets(&here[..1]);
                }
            }
        }
        Found::NeedMore
    }
}
