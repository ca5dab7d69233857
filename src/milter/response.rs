//! milter::response – what a milter says, understood.
//!
//! Promises: a reply code is 4yz or 5yz and its lines hold no controls; names of header fields are names,
//! and a value is one field however many lines it has.
//! Not here: whether it may be said now (`dialogue`).

use super::Fault;
use super::agreement::word;
use super::packet::Packet;
use crate::limits::{MILTER_REPLY_LINE_BYTES_MAX, MILTER_REPLY_LINES_MAX};

/// `SMFIC_OPTNEG`, in both directions.
pub const NEGOTIATE: u8 = b'O';

/// A reply in a milter's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// 4yz or 5yz.
    pub code: u16,
    /// Enhanced code (RFC 3463), of the same class.
    pub status: String,
    /// At least one line of printable US-ASCII.
    pub lines: Vec<String>,
}

/// What a milter changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A field at the end of the header.
    Add {
        /// Its name.
        name: Vec<u8>,
        /// Its value, lines separated by LF.
        value: Vec<u8>,
    },
    /// A field before the one that has this number (0 and 1: the first).
    Insert {
        /// Its number.
        index: u32,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Another value for the n-th of the fields of this name; an empty one deletes it.
    Change {
        /// Its number among those of its name, from 1.
        index: u32,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Another sender of the envelope, as in `<a@example.org>`.
    Sender(String),
    /// One more recipient.
    AddRecipient(String),
    /// One less.
    DeleteRecipient(String),
    /// The message waits for the operator, and why.
    Quarantine(String),
}

impl Edit {
    /// What it weighs, octets.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Add { name, value }
            | Self::Insert { name, value, .. }
            | Self::Change { name, value, .. } => name.len() + value.len(),
            Self::Sender(text)
            | Self::AddRecipient(text)
            | Self::DeleteRecipient(text)
            | Self::Quarantine(text) => text.len(),
        }
    }
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Response {
    Negotiated(Vec<u8>),
    Continue,
    Accept,
    Reject,
    Tempfail,
    Discard,
    Words(Words),
    Skip,
    Progress,
    Failed,
    Shutdown,
    Edit(Edit),
    /// A recipient with parameters (`SMFIR_ADDRCPT_PAR`).
    AddWithParameters(String),
    Body(Vec<u8>),
}

impl Response {
    pub(super) fn understood(packet: Packet) -> Result<Self, Fault> {
        let Packet { command, data } = packet;
        Ok(match command {
            NEGOTIATE => Self::Negotiated(data),
            b'c' => Self::Continue,
            b'a' => Self::Accept,
            b'r' => Self::Reject,
            b't' => Self::Tempfail,
            b'd' => Self::Discard,
            b'y' => Self::Words(words(&data)?),
            b's' => Self::Skip,
            b'p' => Self::Progress,
            b'f' => Self::Failed,
            b'4' => Self::Shutdown,
            b'b' => Self::Body(data),
            b'h' => {
                let (name, value) = field(&data)?;
                Self::Edit(Edit::Add { name, value })
            }
            b'i' => {
                let (index, rest) = word(&data).ok_or(FIELD)?;
                let (name, value) = field(rest)?;
                Self::Edit(Edit::Insert { index, name, value })
            }
            b'm' => {
                let (index, rest) = word(&data).ok_or(FIELD)?;
                let (name, value) = field(rest)?;
                Self::Edit(Edit::Change { index, name, value })
            }
            b'e' => Self::Edit(Edit::Sender(first_text(&data, "sender")?)),
            b'+' => Self::Edit(Edit::AddRecipient(first_text(&data, "recipient")?)),
            b'2' => Self::AddWithParameters(first_text(&data, "recipient")?),
            b'-' => Self::Edit(Edit::DeleteRecipient(first_text(&data, "recipient")?)),
            b'q' => Self::Edit(Edit::Quarantine(printable(first(&data)))),
            other => return Err(Fault::UnknownResponse(other)),
        })
    }

    /// What it is called.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Negotiated(_) => "negotiation",
            Self::Continue => "continue",
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Tempfail => "tempfail",
            Self::Discard => "discard",
            Self::Words(_) => "reply code",
            Self::Skip => "skip",
            Self::Progress => "progress",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
            Self::Edit(Edit::Add { .. }) => "add header",
            Self::Edit(Edit::Insert { .. }) => "insert header",
            Self::Edit(Edit::Change { .. }) => "change header",
            Self::Edit(Edit::Sender(_)) => "change sender",
            Self::Edit(Edit::AddRecipient(_)) | Self::AddWithParameters(_) => "add recipient",
            Self::Edit(Edit::DeleteRecipient(_)) => "delete recipient",
            Self::Edit(Edit::Quarantine(_)) => "quarantine",
            Self::Body(_) => "replace body",
        }
    }
}

const FIELD: Fault = Fault::Malformed("header field");

/// Up to the first NUL, which libraries put at the end of every text.
fn first(data: &[u8]) -> &[u8] {
    data.split(|octet| *octet == 0).next().unwrap_or_default()
}

fn first_text(data: &[u8], what: &'static str) -> Result<String, Fault> {
    let text = first(data);
    str::from_utf8(text).map(str::to_owned).map_err(|_| Fault::Malformed(what))
}

/// Name, NUL, value, NUL.
fn field(data: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let mut parts = data.split(|octet| *octet == 0);
    let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return Err(FIELD) };
    if name.is_empty() || !name.iter().all(|octet| super::header::is_name(*octet)) {
        return Err(FIELD);
    }
    // Lines are separated by LF; some milters say CRLF, and some end the last one.
    let mut value: Vec<u8> = value.iter().copied().filter(|octet| *octet != b'\r').collect();
    while value.last() == Some(&b'\n') {
        value.pop();
    }
    // What follows a line's end without white space would be another field, or the body.
    let folded = value.windows(2).all(|two| two[0] != b'\n' || matches!(two[1], b' ' | b'\t'));
    if folded { Ok((name.to_vec(), value)) } else { Err(FIELD) }
}

/// `550 5.7.1 text`, or more such lines (`smfi_setmlreply`).
fn words(data: &[u8]) -> Result<Words, Fault> {
    const BAD: Fault = Fault::Malformed("reply code");
    let (mut code, mut status, mut lines) = (None, None, Vec::new());
    for line in first(data).split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        let digits = line.get(..3).and_then(|digits| str::from_utf8(digits).ok()).ok_or(BAD)?;
        let number: u16 = digits.parse().map_err(|_| BAD)?;
        if !(400..600).contains(&number) || *code.get_or_insert(number) != number {
            return Err(BAD);
        }
        let text = match line.get(3) {
            None | Some(b'\r') => &[],
            Some(b' ' | b'-') => line.get(4..).unwrap_or_default(),
            Some(_) => return Err(BAD),
        };
        let (enhanced, text) = enhanced(text, digits);
        if let (None, Some(enhanced)) = (&status, enhanced) {
            status = Some(enhanced.to_owned());
        }
        if lines.len() < MILTER_REPLY_LINES_MAX {
            // libmilter wants a percent sign doubled: Sendmail formats the text.
            lines.push(printable(text.trim_ascii_end()).replace("%%", "%"));
        }
    }
    let code = code.ok_or(BAD)?;
    if lines.iter().all(String::is_empty) {
        lines = vec!["Rejected".to_owned()];
    }
    let status = status.unwrap_or_else(|| format!("{}.7.1", code / 100));
    Ok(Words { code, status, lines })
}

/// An enhanced code of the class of the code, and what follows it.
fn enhanced<'a>(text: &'a [u8], digits: &str) -> (Option<&'a str>, &'a [u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    let first = str::from_utf8(first).unwrap_or_default();
    let mut parts = first.split('.');
    let class = parts.next().unwrap_or_default();
    let number = |part: Option<&str>| {
        part.is_some_and(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
        })
    };
    let whole = number(parts.next()) && number(parts.next()) && parts.next().is_none();
    if whole && digits.starts_with(class) && class.len() == 1 {
        (Some(first), rest.trim_ascii_start())
    } else {
        (None, text)
    }
}

/// One line that any client understands.
fn printable(text: &[u8]) -> String {
    let plain = |octet: &u8| match octet {
        b' '..=b'~' => char::from(*octet),
        _ => '?',
    };
    text.iter().take(MILTER_REPLY_LINE_BYTES_MAX).map(plain).collect()
}
