//! smtp::client::outcome – what became of a recipient, or of a connection.
//!
//! The first digit of a reply decides (RFC 5321 §4.2.1): 2 delivered, 4 to be tried again, 5 given up.
//! What is no reply – a connection that breaks, a server that cannot be understood – is to be tried
//! again, as if the reply had been 451 (§3.8).
//!
//! Promises: texts are one line, printable, and at most `limits::SMTP_REPLY_LINE_BYTES_MAX` octets.
//! Not here: when it is tried again, and who is told.

use std::fmt;

use super::replies::Heard;
use crate::limits::SMTP_REPLY_LINE_BYTES_MAX;

/// Octets of a code and the space after it.
const CODE_BYTES: usize = 4;

/// What is to be done about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: the server has taken responsibility.
    Delivered,
    /// To be tried again.
    Deferred,
    /// Given up.
    Failed,
    /// Nothing became of it: the transaction was full. To be given to `Session::begin` at once, on this
    /// connection: of each transaction at least one recipient gets another fate.
    Leftover,
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8, pub u16, pub u16);

/// What the server said, as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    text: String,
}

/// What became of a recipient, or why the connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be done.
    pub fate: Fate,
    /// Its code: what the server gave, or what is said here.
    pub status: Status,
    /// What the server said, if it was the server.
    pub reply: Option<Reply>,
    /// What is said here, where it was not.
    pub text: &'static str,
    /// What the driver said of a connection that broke, in place of `text`.
    pub detail: Option<String>,
    /// The end of the message was sent, and what the server answered is not known: it may be delivered
    /// twice (RFC 5321 §6.1: better than not at all).
    pub in_doubt: bool,
}

impl Status {
    /// The code at the beginning of a reply's text (RFC 2034 §4), if it agrees with the reply.
    fn read(code: u16, text: &str) -> Option<Self> {
        let word = text.split([' ', '\n']).next()?;
        let mut parts = word.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| {
            let plain = (1..=3).contains(&text.len()) && text.bytes().all(|o| o.is_ascii_digit());
            plain.then(|| text.parse::<u16>().ok())?
        };
        let class = number(class).filter(|class| *class == code / 100)?;
        let status = Self(u8::try_from(class).ok()?, number(subject)?, number(detail)?);
        parts.next().is_none().then_some(status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Reply {
    pub(super) fn of(heard: &Heard) -> Self {
        Self { code: heard.code, text: line(&heard.text, SMTP_REPLY_LINE_BYTES_MAX - CODE_BYTES) }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What followed them, its lines joined by spaces.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.text.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.code, self.text)
    }
}

impl Outcome {
    /// What a reply of this code says by its first digit. 3 is for the caller to understand.
    pub(super) fn of(heard: &Heard) -> Self {
        let (fate, class) = match heard.code / 100 {
            2 => (Fate::Delivered, 2),
            5 => (Fate::Failed, 5),
            _ => (Fate::Deferred, 4),
        };
        let status = Status::read(heard.code, &heard.text).unwrap_or(Status(class, 0, 0));
        let reply = Some(Reply::of(heard));
        Self { fate, status, reply, text: "", detail: None, in_doubt: false }
    }

    /// What is said here.
    pub(super) const fn ours(fate: Fate, status: Status, text: &'static str) -> Self {
        Self { fate, status, reply: None, text, detail: None, in_doubt: false }
    }

    /// The same, but to be tried again.
    pub(super) fn deferred(mut self) -> Self {
        self.fate = Fate::Deferred;
        self.status.0 = 4;
        self
    }

    /// The connection broke: RFC 5321 §3.8, as if 451 had been said.
    pub(super) fn lost(why: &str) -> Self {
        let detail = Some(line(why, SMTP_REPLY_LINE_BYTES_MAX));
        Self { detail, ..Self::ours(Fate::Deferred, Status(4, 4, 2), "") }
    }

    /// For logs and notices, with the name of the server: `5.1.1 mx.example.org said: 550 …`.
    pub fn told_by(&self, server: &str) -> String {
        let status = self.status;
        match (&self.reply, &self.detail) {
            (Some(reply), _) => format!("{status} {server} said: {reply}"),
            (None, Some(detail)) => format!("{status} {server}: {detail}"),
            (None, None) => format!("{status} {server}: {}", self.text),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reply, &self.detail) {
            (Some(reply), _) => write!(f, "{} said: {reply}", self.status),
            (None, Some(detail)) => write!(f, "{} {detail}", self.status),
            (None, None) => write!(f, "{} {}", self.status, self.text),
        }
    }
}

/// A text on one line of at most so many octets: controls become `?`, newlines and runs of blanks a space.
fn line(text: &str, most: usize) -> String {
    let mut short = String::with_capacity(text.len().min(most));
    for word in text.split([' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        for (at, octet) in word.chars().enumerate() {
            let blank = usize::from(at == 0 && !short.is_empty());
            if short.len() + blank + octet.len_utf8() > most {
                return short;
            }
            if blank > 0 {
                short.push(' ');
            }
            short.push(if octet.is_control() { '?' } else { octet });
        }
    }
    short
}

// ---------------------------------------------------------------- what is said here

const fn broken(text: &'static str) -> Outcome {
    Outcome::ours(Fate::Deferred, Status(4, 5, 0), text)
}

pub(super) const NO_REPLY: Outcome = broken("what it says is no reply of SMTP");
pub(super) const ENDLESS: Outcome = broken("its reply does not end");
pub(super) const MIXED: Outcome = broken("the lines of its reply contradict each other");
pub(super) const UNASKED: Outcome = broken("it speaks when nothing was asked");
pub(super) const UNFIT: Outcome = broken("its reply does not fit the command");
pub(super) const TOO_EARLY: Outcome = broken("it answered before the message was whole");
pub(super) const SHORT: Outcome =
    Outcome::ours(Fate::Deferred, Status(4, 3, 0), "the message was not as long as announced");
pub(super) const NO_TLS: Outcome =
    Outcome::ours(Fate::Deferred, Status(4, 7, 4), "TLS is required, and not offered");
pub(super) const INJECTED: Outcome = Outcome::ours(
    Fate::Deferred,
    Status(4, 7, 0),
    "octets in clear came behind the answer to STARTTLS",
);
pub(super) const CLEAR_LOGIN: Outcome =
    Outcome::ours(Fate::Deferred, Status(4, 7, 0), "a login is configured, and there is no TLS");
pub(super) const NO_LOGIN: Outcome =
    Outcome::ours(Fate::Deferred, Status(4, 7, 0), "a login is configured, and none is offered");
pub(super) const UNPROVEN: Outcome = Outcome::ours(
    Fate::Deferred,
    Status(4, 7, 0),
    "it accepted the login without proof that it knows the password",
);
pub(super) const BAD_CHALLENGE: Outcome =
    Outcome::ours(Fate::Deferred, Status(4, 7, 0), "its challenge is not base64");
pub(super) const FULL: Outcome =
    Outcome::ours(Fate::Leftover, Status(4, 5, 3), "no more recipients in this transaction");
/// RFC 1870 §6.1: it is not sent to hear that.
pub(super) const TOO_LARGE: Outcome =
    Outcome::ours(Fate::Failed, Status(5, 3, 4), "the message is larger than it accepts");
/// RFC 6152 §3 and RFC 3030 §3: converted, or returned. It is not converted here: what was signed would
/// not be what arrives.
pub(super) const NEEDS_EIGHT_BIT: Outcome =
    Outcome::ours(Fate::Failed, Status(5, 6, 3), "the message has 8-bit octets, and it takes none");
pub(super) const NEEDS_BINARY: Outcome =
    Outcome::ours(Fate::Failed, Status(5, 6, 3), "the message is binary, and it takes none");
/// RFC 6531 §3.2, §3.5.
pub(super) const NEEDS_UTF8_ADDRESS: Outcome = Outcome::ours(
    Fate::Failed,
    Status(5, 6, 7),
    "the address is not US-ASCII, and it does not offer SMTPUTF8",
);
pub(super) const NEEDS_UTF8_HEADER: Outcome = Outcome::ours(
    Fate::Failed,
    Status(5, 6, 9),
    "the header is not US-ASCII, and it does not offer SMTPUTF8",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(code: u16, text: &str) -> Heard {
        Heard { code, text: text.into() }
    }

    #[test]
    fn the_first_digit_decides_and_the_enhanced_code_is_believed_if_it_agrees() {
        let of = |code, text| {
            let outcome = Outcome::of(&heard(code, text));
            (outcome.fate, outcome.status)
        };
        assert_eq!(of(250, "2.1.5 ok"), (Fate::Delivered, Status(2, 1, 5)));
        assert_eq!(of(251, "will forward"), (Fate::Delivered, Status(2, 0, 0)));
        assert_eq!(of(452, "4.2.2"), (Fate::Deferred, Status(4, 2, 2)));
        assert_eq!(of(550, "5.1.1\nno such user"), (Fate::Failed, Status(5, 1, 1)));
        for text in ["4.1.1 x", "5.1 x", "5.1.1.1 x", "5.1.1000 x", "5..1 x", "5.+1.1 x", ""] {
            assert_eq!(of(550, text), (Fate::Failed, Status(5, 0, 0)), "{text}");
        }
    }

    #[test]
    fn what_is_told_is_one_printable_line_of_bounded_length() {
        let outcome = Outcome::of(&heard(550, "5.1.1 no\nsuch  \x07user\t"));
        assert_eq!(outcome.told_by("mx"), "5.1.1 mx said: 550 5.1.1 no such ?user");
        assert_eq!(outcome.to_string(), "5.1.1 said: 550 5.1.1 no such ?user");
        let long = Outcome::of(&heard(450, &"\u{e4} ".repeat(1000)));
        let told = long.reply.unwrap().to_string();
        assert!(told.len() <= SMTP_REPLY_LINE_BYTES_MAX && told.len() > 500, "{}", told.len());
        assert_eq!(Outcome::lost("reset\r\nx").told_by("mx"), "4.4.2 mx: reset? x");
        assert_eq!(NO_TLS.told_by("mx"), "4.7.4 mx: TLS is required, and not offered");
        assert_eq!(Outcome::of(&heard(450, "")).told_by("mx"), "4.0.0 mx said: 450");
    }
}
