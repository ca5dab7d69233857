//! cli::serve – what comes before the server: configuration, data directory, log.
//!
//! Promises: nothing in the data directory is touched before its lock is held.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::load;
use crate::config::{Config, Origin, make_data_dir};
use crate::log;
use crate::owner::Owner;
use crate::problem::Problem;
use crate::server::{self, Failure};
use crate::store::accounts;
use crate::store::lock::DataLock;

pub(super) fn serve(origin: Origin) -> Result<(), Failure> {
    let config = load(&origin)?;
    let wrong = |problem: Problem| Failure::Usage(problem.to_string());
    let failed = |problem: Problem| Failure::Running(problem.to_string());
    let owner = owner(&config);

    make_data_dir(&config, owner).map_err(wrong)?;
    let _lock = DataLock::take(&config.server.data_dir).map_err(failed)?;
    config.prepare(owner).map_err(wrong)?;
    accounts::make_if_missing(&config.users_file()).map_err(failed)?;

    let _log = log::start(&config.log.level, config.log.json).map_err(failed)?;
    server::serve(config, move || Config::load(&origin))
}

/// Who owns what is made: the user the server becomes, when it can become anybody.
fn owner(config: &Config) -> Option<Owner> {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    config.server.user.as_deref().filter(|_| root).and_then(Owner::of_user)
}
