//! sluicegate – an edge server for bulk file mirrors.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
pub mod wire;
pub mod ftp;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod shard;
