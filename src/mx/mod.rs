//! mx – where mail for a domain goes, as a value: which questions the DNS is asked, and what its answers mean.
//!
//! ```text
//!  domain ─▶ walk.rs ── questions ──▶ cache.rs ──▶ whoever can ask (Lookup)
//!               │ ◀──── answers ─────────┘
//!               └─ select.rs: order, bounds, ourselves ─▶ Verdict: reach | never | later
//! ```
//! Promises: no socket, clock or thread; the same answers and the same seed give the same verdict; whatever
//! an answer holds, a verdict is bounded: [`MX_HOSTS_MAX`] hosts of [`HOST_ADDRESSES_MAX`] addresses.
//! Not here: asking (`dns`), connecting, and what a queue does with a verdict.
//!
//! [`MX_HOSTS_MAX`]: crate::limits::MX_HOSTS_MAX
//! [`HOST_ADDRESSES_MAX`]: crate::limits::HOST_ADDRESSES_MAX
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

mod cache;
#[cfg(test)]
mod cache_tests;
mod select;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::net::IpAddr;

pub use cache::Cache;
pub use walk::{Step, Walk};

// ---------------------------------------------------------------- questions and answers

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Mail exchangers.
    Mx,
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// A whole name: lower case, US-ASCII, no dot at its end.
    pub name: String,
    /// What about it.
    pub kind: Kind,
    /// `/etc/hosts` may answer: for names that the operator wrote, not for names that strangers did.
    pub files: bool,
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Lower is better.
    pub preference: u16,
    /// The name as it came, without the dot at its end; empty for the root.
    pub name: String,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What there is.
    pub found: Found,
    /// How long it may be kept, seconds; of a negative answer what its SOA says (RFC 2308 §5).
    pub ttl_seconds: u32,
    /// The name was an alias (CNAME).
    pub alias: bool,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// MX records; at least one.
    Exchanges(Vec<Exchange>),
    /// Addresses; at least one.
    Addresses(Vec<IpAddr>),
    /// The name is there, without records of this kind (NODATA).
    Nothing,
    /// The name is not there (NXDOMAIN).
    NoName,
    /// Nobody knows now.
    Trouble(Trouble),
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer in time.
    Timeout,
    /// SERVFAIL and its kin.
    Failed,
    /// REFUSED.
    Refused,
    /// Not an answer to the question, or none that can be read.
    Garbled,
    /// The resolver cannot be reached.
    Unreachable,
    /// Too many questions at once.
    Busy,
    /// There is no resolver to ask.
    NoResolver,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Failed => "the resolver failed",
            Self::Refused => "the resolver refused",
            Self::Garbled => "the answer makes no sense",
            Self::Unreachable => "the resolver cannot be reached",
            Self::Busy => "too many questions at once",
            Self::NoResolver => "there is no resolver",
        })
    }
}

impl Question {
    fn new(name: &str, kind: Kind, files: bool) -> Self {
        Self { name: name.to_owned(), kind, files }
    }
}

impl Answer {
    /// Nobody knows now.
    #[must_use]
    pub fn trouble(trouble: Trouble) -> Self {
        Self { found: Found::Trouble(trouble), ttl_seconds: 0, alias: false }
    }
}

/// Takes one answer.
pub type Reply = Box<dyn FnOnce(Answer) + Send>;

/// Whoever can ask.
pub trait Lookup: Send + Sync {
    /// Asks, without waiting. `reply` is called once, on any thread, and soon when nothing can be asked.
    fn ask(&self, question: Question, reply: Reply);
}

/// Knows nothing: where there is no resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Lookup for Nobody {
    fn ask(&self, _question: Question, reply: Reply) {
        reply(Answer::trouble(Trouble::NoResolver));
    }
}

// ---------------------------------------------------------------- what we are

/// What is ourselves: mail that would go there goes in circles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ourselves {
    /// Host names, lower case.
    pub names: Vec<String>,
    /// Addresses mail is taken on.
    pub addresses: Vec<IpAddr>,
    /// Every loopback address is ourselves as well.
    pub loopback: bool,
}

impl Ourselves {
    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn has_address(&self, address: &IpAddr) -> bool {
        (self.loopback && address.is_loopback()) || self.addresses.contains(address)
    }
}

// ---------------------------------------------------------------- verdicts

/// Where mail for a domain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There.
    Reach(Destination),
    /// Nowhere, and asking again will not help.
    Never(Refusal),
    /// Nobody knows now.
    Later(Refusal),
}

/// Where mail can be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// In the order they are tried; at least one.
    pub hosts: Vec<Host>,
    /// The shortest life of what this was made from, seconds.
    pub ttl_seconds: u32,
    /// What is odd about it.
    pub notes: Vec<Note>,
}

/// A host that takes the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name: lower case, no dot at its end; an address as text where there is no name.
    pub name: String,
    /// As in its MX record; 0 where there is none.
    pub preference: u16,
    /// In the order they are tried; at least one.
    pub addresses: Vec<IpAddr>,
}

/// Why mail cannot be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What a server would reply (RFC 5321 §4.2).
    pub code: u16,
    /// Its status (RFC 3463).
    pub status: &'static str,
    /// One line of US-ASCII.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.status, self.text)
    }
}

/// What is odd, and was put up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The domain or an MX is an alias; of an MX RFC 2181 §10.3 forbids it.
    Alias(String),
    /// An MX is an address, not a name.
    Numeric(String),
    /// `MX .` beside others, which RFC 7505 §3 forbids; it does not count.
    NullBesideOthers,
    /// An MX whose name is none; it does not count.
    BadName(String),
    /// Of that many MX only the first [`crate::limits::MX_HOSTS_MAX`] are tried.
    TooMany(usize),
    /// An MX without a usable address.
    NoAddress(String),
    /// An MX whose addresses nobody knows now.
    Failed(String, Trouble),
    /// We are an MX: this one and all of equal or worse preference do not count (RFC 5321 §5.1).
    Ourselves(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(name) => write!(f, "{name} is an alias"),
            Self::Numeric(name) => write!(f, "MX {name} is an address, not a name"),
            Self::NullBesideOthers => f.write_str("a null MX beside others"),
            Self::BadName(name) => write!(f, "MX {name} is no host name"),
            Self::TooMany(count) => write!(f, "{count} MX are more than are tried"),
            Self::NoAddress(name) => write!(f, "MX {name} has no usable address"),
            Self::Failed(name, trouble) => write!(f, "MX {name}: {trouble}"),
            Self::Ourselves(name) => write!(f, "MX {name} is this server"),
        }
    }
}
