//! sluicegate – an edge server for bulk file mirrors.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
pub mod wire;
pub mod ftp;

#[cfg(feature = "server")]
pub mod config;
#[cfg(all(feature = "server", not(test)))]
pub mod shard;
/// Tests run the server on simulated sockets, disk and clock.
#[cfg(all(feature = "server", test))]
#[path = "sim/mod.rs"]
pub mod shard;
