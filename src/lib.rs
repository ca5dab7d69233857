//! sluicegate – an edge server for bulk file mirrors.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
pub mod wire;
pub mod ftp;

#[cfg(feature = "server")]
pub mod problem;
#[cfg(feature = "server")]
pub mod document;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod lines;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod xferlog;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod cli;
