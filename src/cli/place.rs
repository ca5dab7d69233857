//! cli::place – which data directory a command means.

use std::path::PathBuf;

use clap::Args;

use super::load;
use crate::config::{Config, Origin, Smtp};
use crate::problem::Problem;
use crate::server::Failure;
use crate::store::lock::DataLock;

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Where {
    /// Data directory [default: ./sluicegate-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file that names the data directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Where {
    /// The configuration in force there.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        load(&Origin { file: self.config.clone(), data: self.data.clone() })
    }
}

/// The section without which there is no mail.
pub(super) fn smtp(config: &Config) -> Result<&Smtp, Failure> {
    config.smtp.as_ref().ok_or_else(|| {
        let why = "the configuration has no such section, so there is no mail";
        Failure::Usage(Problem::new("[smtp]", why, "name the right one: --config FILE").to_string())
    })
}

/// The right to a data directory that no server has open.
pub(super) fn lock(config: &Config, remedy: &str) -> Result<DataLock, Failure> {
    let data_dir = &config.server.data_dir;
    if !data_dir.is_dir() {
        let remedy = "start the server once, or name the right one: --data DIR, --config FILE";
        let problem = Problem::path(data_dir, "no such data directory", remedy);
        return Err(Failure::Running(problem.to_string()));
    }
    DataLock::take(data_dir).map_err(|problem| {
        Failure::Running(Problem { remedy: remedy.to_owned(), ..problem }.to_string())
    })
}
