//! compare::ftp::rows – what a row of work is, how much of it a run does, and what it cost.
//!
//! A row gets a [`Bench`]: it starts the server, warms up, reads, works, reads. To add one, write a
//! type with [`Row`] and name it in [`all`]; its figures say the rest.
//!
//! Promises: every transfer's bytes are counted and checked; any error fails the row with the
//! server's words.
//! Not here: the rows (`transfers`, `idle`), repetition and order (`interleave`), contents (`verify`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::figures::Work;
use super::super::report::Sample;
use super::running::{Launcher, Running};
use super::servers::Server;
use super::tree::Tree;
use super::{idle, transfers};
use crate::client::fleet::{Fleet, Totals};
use crate::sys::{self, Whose};

/// Time any single step of a row may take.
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// A kind of work that servers are compared in.
pub trait Row {
    /// Its name, the work in words, its figures.
    fn work(&self) -> Work;

    /// Whether the row makes sense for that server.
    fn concerns(&self, _server: Server) -> bool {
        true
    }

    /// Whether a third of the runs is enough, because it varies little and takes long.
    fn seldom(&self) -> bool {
        false
    }

    /// Does it once. Uploads are empty; the server is to be started.
    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String>;
}

/// Every row in the order of the report.
pub fn all() -> Vec<Box<dyn Row>> {
    let mut rows = transfers::all();
    rows.extend(idle::all());
    rows
}

/// How much of each kind of work a run does.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    pub retr_large: u64,
    pub retr_small: u64,
    pub stor_large: u64,
    pub stor_small: u64,
    pub logins: u64,
    pub lists: u64,
}

impl Amounts {
    /// The full amounts, times `share` (0 < share ≤ 1); always one large file per session.
    pub fn full(share: f64) -> Self {
        let part = |whole: u64| ((whole as f64 * share) as u64).max(1);
        Self {
            retr_large: 8,
            retr_small: part(20_000),
            stor_large: part(256),
            stor_small: part(8_000),
            logins: part(1_500),
            lists: part(500),
        }
    }
}

impl std::fmt::Display for Amounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Work per run: {} × 256 MiB RETR, {} × 16 KiB RETR over 4,000 names, {} × 8 MiB STOR, \
             {} × 64 KiB STOR, {} logins, {} listings.",
            self.retr_large,
            self.retr_small,
            self.stor_large,
            self.stor_small,
            self.logins,
            self.lists
        )
    }
}

/// A server to be measured, with the tree it serves.
pub struct Bench<'a> {
    pub server: Server,
    pub program: &'a Path,
    pub launcher: &'a Launcher<'a>,
    pub tree: &'a Tree,
    pub amounts: Amounts,
    /// Idle sessions held with sluicegate; a tenth with peers.
    pub idle: usize,
}

/// What a piece of work cost.
pub struct Cost {
    pub totals: Totals,
    pub cpu: Duration,
    pub tree: Duration,
    pub own: Duration,
}

impl Bench<'_> {
    /// Starts the server; it ends when dropped.
    pub fn start(&self) -> Result<Running, String> {
        self.launcher.start(self.server, self.program)
    }
}

/// A fleet for that server without sessions.
pub fn fleet(running: &Running) -> Result<Fleet, String> {
    Fleet::new(running.address, STEP_LIMIT)
}

/// What `work` cost the server, and us.
pub fn cost(
    running: &Running,
    work: impl FnOnce() -> Result<Totals, String>,
) -> Result<Cost, String> {
    let own = || sys::cpu_time(Whose::Own).map_err(|error| format!("getrusage: {error}"));
    // Let the last reply's aftermath end before each reading.
    std::thread::sleep(Duration::from_millis(30));
    let (own_before, before) = (own()?, running.meter.read()?);
    let totals = work()?;
    let own_after = own()?;
    std::thread::sleep(Duration::from_millis(30));
    let after = running.meter.read()?;
    Ok(Cost {
        totals,
        cpu: after.since(&before),
        tree: after.tree_since(&before),
        own: own_after.saturating_sub(own_before),
    })
}

impl Cost {
    /// `cpu` in seconds per GB, `rate` in GB/s.
    pub fn per_gigabyte(&self) -> Sample {
        let gigabytes = self.totals.bytes as f64 / 1e9;
        let speed = gigabytes / self.totals.elapsed.as_secs_f64();
        self.sample([("cpu", self.cpu.as_secs_f64() / gigabytes), ("rate", speed)])
    }

    /// `cpu` in microseconds per unit, `rate` in units per second.
    pub fn per_unit(&self) -> Sample {
        let units = self.totals.jobs as f64;
        let speed = units / self.totals.elapsed.as_secs_f64();
        self.sample([("cpu", self.cpu.as_secs_f64() * 1e6 / units), ("rate", speed)])
    }

    fn sample(&self, figures: [(&'static str, f64); 2]) -> Sample {
        Sample {
            figures: BTreeMap::from(figures),
            cpu_seconds: self.cpu.as_secs_f64(),
            cpu_tree_seconds: self.tree.as_secs_f64(),
            generator_cpu_seconds: self.own.as_secs_f64(),
            wall_seconds: self.totals.elapsed.as_secs_f64(),
            units: self.totals.jobs,
        }
    }
}
