//! smtp::mail – what all sessions of a run have in common: where to, how, what, for whom.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::corpus::Corpus;
use super::dialogue::Session;
use super::journal::Journal;
use crate::engine::session::Protocol;
use crate::engine::tls;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// Never.
    Plain,
    /// After STARTTLS (RFC 3207).
    StartTls,
    /// Before the greeting (RFC 8314 §3.3).
    Implicit,
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// In one line (RFC 4616)
    Plain,
    /// Name and password in a line each, as old clients do
    Login,
}

/// As whom.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) way: Way,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) target: SocketAddr,
    pub(crate) security: Security,
    pub(crate) tls: Option<tls::Context>,
    pub(crate) login: Option<Login>,
    pub(crate) helo: String,
    pub(crate) from: String,
    /// Everybody who may get a message.
    pub(crate) addresses: Vec<String>,
    pub(crate) recipients_per_message: usize,
    pub(crate) messages_per_connection: u64,
    pub(crate) pipelining: bool,
    pub(crate) chunk_octets: usize,
    pub(crate) segment_octets_max: Option<usize>,
    pub(crate) pace: Option<u64>,
    pub(crate) corpus: Corpus,
    /// Begins every mark of this run.
    pub(crate) run: String,
    pub(crate) seed: u64,
    pub(crate) written: Option<Journal>,
    /// Why the journal could not be written, the first time.
    pub(crate) unwritten: OnceLock<String>,
}

/// What is measured of every message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    Connect,
    Greeting,
    Tls,
    Ehlo,
    Auth,
    Envelope,
    Data,
    End,
    Transaction,
}

impl Phase {
    const NAMES: [&'static str; 9] = [
        "connect",
        "greeting",
        "TLS",
        "EHLO",
        "AUTH",
        "MAIL and RCPT",
        "354",
        "end of data to 250",
        "transaction",
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Kinds of operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Message,
    HostileAccepted,
    HostileRefused,
}

impl Kind {
    const NAMES: [&'static str; 3] = ["message", "hostile, accepted", "hostile, refused"];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl Mail {
    /// For whom message `number` is: indices of `addresses`, all different.
    pub(crate) fn recipients(&self, number: u64) -> impl Iterator<Item = usize> {
        let (all, each) = (self.addresses.len(), self.recipients_per_message);
        let first = number.wrapping_mul(each as u64) % all as u64;
        let first = usize::try_from(first).unwrap_or(0);
        (0..each).map(move |one| (first + one) % all)
    }

    /// Writes to the journal if there is one. `false`: it cannot be written, and the run is worth nothing.
    pub(crate) fn journal(&self, write: impl FnOnce(&Journal) -> Result<(), String>) -> bool {
        let Some(journal) = &self.written else { return true };
        match write(journal) {
            Ok(()) => true,
            Err(why) => {
                self.unwritten.get_or_init(|| why);
                false
            }
        }
    }
}

impl Protocol for Mail {
    type Session = Session;

    fn phases(&self) -> &[&'static str] {
        &Phase::NAMES
    }

    fn kinds(&self) -> &[&'static str] {
        &Kind::NAMES
    }

    fn session(self: &Arc<Self>, number: u64) -> Session {
        Session::new(self, number)
    }
}
