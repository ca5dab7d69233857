//! sluicegate – an edge server for bulk file mirrors.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect"))]

pub mod limits;
pub mod wire;
pub mod ftp;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod shard;
