//! store – what outlives a connection: accounts, locks, and the trees that are served.
//!
//! Paths are octets relative to a root, reasons are [`files::Trouble`]: no protocol is known here.
//! Promises: a file is replaced whole or not at all. Not here: protocols, sessions.

#[cfg(feature = "server")]
pub mod accounts;
#[cfg(feature = "server")]
pub mod files;
#[cfg(feature = "server")]
pub mod lock;
#[cfg(feature = "server")]
pub mod maildir;
pub mod packed;
pub mod spool;
