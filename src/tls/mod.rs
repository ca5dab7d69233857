//! tls – TLS 1.2 and 1.3 as a value: octets of a connection in, octets of the dialogue out, and back.
//!
//! ```text
//!  PEM files ─▶ Identity ─▶ Keeper ─▶ Settings ─▶ Offer (one per control connection) ─▶ Session
//!                              └─ one ticketer, whatever is reloaded                     receive · seal · close
//!  roots of the system ─▶ Client (one per process) ─▶ Errand (one per connection) ─────────────┘
//! ```
//! Promises: the only folder that names rustls; touches no socket and waits for nothing; the end of a
//! stream is either said (`close_notify`) or cut off, and who asks is told which; a data connection of
//! FTP resumes a session only by a ticket that its own control connection gave; nothing secret is in
//! any `Debug` output or message.
//! Not here: when a connection becomes TLS, and what is said on it (`server::link`, the cores).

mod client;
#[cfg(test)]
mod client_tests;
mod identity;
mod keeper;
mod offer;
mod own;
mod records;
mod session;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use client::{Client, Demand, Errand, Roots};
pub use identity::{Certificate, Identity, Pair};
pub use keeper::{Keeper, Settings};
pub use offer::{Binding, Offer, Use};
pub use own::make as make_own;
pub use records::Records;
pub use session::{Progress, Session};

/// What a handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `TLSv1.2` or `TLSv1.3`, as RFC 8314 §7.4 and trace headers write it.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The name the client asked for; as the client: the host it was meant for.
    pub sni: Option<Box<str>>,
    /// The protocol both sides named.
    pub alpn: Option<Box<[u8]>>,
    /// A session was resumed.
    pub resumed: bool,
    /// The control session this connection belongs to: of a control connection its own number, of a
    /// data connection the number of the control session whose ticket it showed; `None` when it showed none.
    pub bound: Option<Binding>,
}

/// Why a TLS connection is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// What came is no TLS: plain text, or garbage.
    NotTls,
    /// The peer offered nothing that we speak.
    NothingInCommon,
    /// The peer broke the rules of the protocol.
    Misbehaved,
    /// A record was not made with the keys of this connection.
    BadRecord,
    /// The peer ended it with this alert (RFC 8446 §6.2; 42 to 46 and 48 say that it does not like our certificate).
    Alert(u8),
    /// We do not accept the certificate of the server, and why.
    Untrusted(&'static str),
    /// The handshake took more octets than any does.
    TooMuch,
    /// Ours: no randomness, no key.
    Internal,
}

impl Trouble {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotTls => "not TLS",
            Self::NothingInCommon => "no version, cipher or protocol in common",
            Self::Misbehaved => "the peer broke the rules of TLS",
            Self::BadRecord => "a record that does not verify",
            Self::Alert(42..=46 | 48) => "the peer does not accept our certificate",
            Self::Alert(_) => "the peer sent an alert",
            Self::Untrusted(why) => why,
            Self::TooMuch => "a handshake without end",
            Self::Internal => "internal error",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alert(number) => write!(f, "{} ({number})", self.text()),
            Self::NotTls
            | Self::NothingInCommon
            | Self::Misbehaved
            | Self::BadRecord
            | Self::Untrusted(_)
            | Self::TooMuch
            | Self::Internal => f.write_str(self.text()),
        }
    }
}

impl std::error::Error for Trouble {}
