//! smtp::address – mailboxes of RFC 5321 §4.1.2 and §4.1.3, and UTF-8 ones of RFC 6531 §3.3.
//!
//! Promises: a [`Mailbox`] holds no CR, LF, NUL or other control, is within the limits of §4.5.3.1,
//! keeps the case of its local part, and is written in one way only (unquoted where it may be).
//! Not here: whether the mailbox exists.

use std::fmt;
use std::net::IpAddr;

/// What follows the `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A host name, as the client wrote it (case kept; compare with [`Domain::key`]).
    Name(String),
    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
    /// `[tag:…]` of another kind, without the brackets.
    General(String),
}

/// `local-part@domain`. The local part is kept in its meaning: quotes and backslashes removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// Meaning of the local part, 1 to 64 octets; US-ASCII or UTF-8 without controls.
    pub local: String,
    /// The domain.
    pub domain: Domain,
}

/// A forward path: whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// Anybody.
    Mailbox(Mailbox),
    /// `<postmaster>` without a domain, in any case (§4.1.1.3).
    Postmaster,
}

/// A reverse path: `None` is the null sender `<>`.
pub type Sender = Option<Mailbox>;

/// Why a text is no mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadAddress {
    /// Not of the grammar.
    Syntax,
    /// A local part over 64 octets, a label over 63, a domain over 255, a path over 256.
    TooLong,
    /// Of the grammar of RFC 6531, where only that of RFC 5321 is allowed.
    NeedsUtf8,
}

impl Mailbox {
    /// Reads `local@domain`, without `<>`; `utf8` allows what RFC 6531 §3.3 adds.
    pub fn parse(text: &str, utf8: bool) -> Result<Self, BadAddress> {
        let _ = (text, utf8);
        todo!()
    }
}

impl Domain {
    /// For comparison: lower case, an internationalised name in its A-label form.
    pub fn key(&self) -> String {
        // The grammar's author completes this (IDNA).
        self.to_string().to_lowercase()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            Self::General(text) => write!(f, "[{text}]"),
        }
    }
}

/// As sent in a command: the local part quoted where it must be. Parses to the same value.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}
