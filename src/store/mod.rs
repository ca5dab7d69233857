//! store – what outlives a connection: accounts, locks, and the trees that are served.
//!
//! Promises: a file is replaced whole or not at all. Not here: protocols, sessions.

pub mod accounts;
pub mod lock;
