//! The drivers: the only code that joins a protocol core to a shard.
//!
//! Reading order: `run` (start to stop) · `ftp` (one control connection) · `transfer`, `retrieve`,
//! `store`, `list` (one data connection) · `ask`, `login` (answers) · `admit`, `drain` (limits and the end).

mod admit;
mod ask;
mod drain;
mod entry;
mod fault;
mod ftp;
mod gate;
mod input;
mod list;
mod lister;
mod listing_cache;
mod login;
mod notice;
mod pace;
mod pattern;
mod poll;
mod retrieve;
mod shared;
mod sink;
mod size;
#[cfg(test)]
mod sim_tests;
mod store;
mod transfer;

pub use drain::drain_watch;
pub use ftp::session;
pub use notice::Phase;
pub use shared::{Context, Shared};

use crate::config::Config;
use crate::problem::Problem;

/// Why a command ended without success; the exit status is in the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Wrong usage, configuration or environment: exit status 2. One problem per line.
    Usage(String),
    /// Failed while running: exit status 1. One problem per line.
    Running(String),
}

/// Serves until SIGTERM, SIGINT or a failure. `config` is prepared, its data directory locked and
/// the log started. `reload` reads the configuration again, from where it came (SIGHUP).
pub fn serve(
    config: Config,
    reload: impl Fn() -> Result<Config, Vec<Problem>> + Send + Sync + 'static,
) -> Result<(), Failure> {
    drop((config, reload));
    Err(Failure::Running("serve: not in this build".to_owned()))
}
