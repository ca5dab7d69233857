//! ftp – `loadtest ftp URL`: drives any FTP server.
//!
//! Reading order: `options` (what can be asked for), `work` (what operation n is), `session` (the
//! dialogue), `transfer` (one transfer and whether it was right), `reply` (what servers say).
//!
//! Promises: checks every reply code and length, with `--checksum` every octet; whatever a server
//! does ends in a count of its kind.
//! Not here: sockets, time, histograms (`engine`).

mod options;
mod reply;
mod session;
#[cfg(test)]
mod tests;
mod transfer;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::engine::session::Protocol;
use crate::engine::tls;

pub use options::{FtpOptions, run};
use session::Dialogue;
use work::{AbortBy, Verb, Work};

/// Phases, by number.
mod phase {
    /// From the attempt to the connection.
    pub const CONNECT: usize = 0;
    /// From the connection to 220.
    pub const GREETING: usize = 1;
    /// The handshake of the control connection.
    pub const TLS: usize = 2;
    /// From USER to 230.
    pub const LOGIN: usize = 3;
    /// From EPSV, PASV, EPRT or PORT to its reply.
    pub const PASSIVE: usize = 4;
    /// From RETR, LIST or MLSD to the first octet.
    pub const FIRST: usize = 5;
    /// From the command to the last octet.
    pub const LAST: usize = 6;
    /// From the last octet to the final reply.
    pub const FINAL: usize = 7;
}

/// Their names, by way of making data connections.
const PHASES: [[&str; 8]; 4] = [phases("EPSV"), phases("PASV"), phases("EPRT"), phases("PORT")];

const fn phases(data: &'static str) -> [&'static str; 8] {
    ["connect", "greeting", "TLS", "login", data, "first byte", "last byte", "226"]
}

/// How data connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DataMode {
    /// To a port the server names (RFC 2428)
    Epsv,
    /// To an address the server names
    Pasv,
    /// From the server to a port we name (RFC 2428)
    Eprt,
    /// From the server to an address we name
    Port,
}

impl DataMode {
    fn name(self) -> &'static str {
        match self {
            Self::Epsv => "EPSV",
            Self::Pasv => "PASV",
            Self::Eprt => "EPRT",
            Self::Port => "PORT",
        }
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsMode {
    /// Never
    Off,
    /// After AUTH TLS
    Explicit,
    /// At once
    Implicit,
}

/// Everything the sessions of a run have in common.
#[derive(Debug)]
pub struct Ftp {
    address: SocketAddr,
    /// Our address as the server sees it, for PORT and EPRT.
    local: IpAddr,
    user: String,
    password: String,
    tls_mode: TlsMode,
    tls: Option<tls::Context>,
    data_tls: bool,
    data: DataMode,
    work: Work,
    checksum: bool,
    delete: bool,
    operations_per_session: u32,
    slow_rate: u64,
    abort_by: AbortBy,
}

impl Ftp {
    /// Where the server is and the first file that is fetched.
    pub fn target(&self) -> (SocketAddr, &str) {
        (self.address, self.work.files.first().map_or("", |file| file.path.as_str()))
    }
}

impl Protocol for Ftp {
    type Session = Dialogue;

    fn phases(&self) -> &[&'static str] {
        &PHASES[self.data as usize]
    }

    fn kinds(&self) -> &[&'static str] {
        &Verb::NAMES
    }

    fn session(self: &Arc<Self>, number: u64) -> Dialogue {
        Dialogue::new(Arc::clone(self), number)
    }
}
