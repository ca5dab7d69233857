//! What outlives a connection: the file tree and the accounts.
//!
//! Knows no protocol: paths are octets relative to a root, reasons are [`files::Trouble`].

pub mod accounts;
pub mod files;
pub mod lock;
