//! server – joins the protocol cores to the shards.
//!
//! STUB: the signature that `cli` builds on.

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
