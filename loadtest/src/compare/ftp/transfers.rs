//! compare::ftp::transfers – rows of work that sessions do: files to and fro, listings, logins.
//!
//! Every row: sessions log in → warm-up → reading → work → reading → quit. The login row is the
//! exception: there the sessions are the work, so it waits for their processes to end before the
//! second reading.
//!
//! Promises: uploads are counted and their lengths checked on disk.

use std::time::Duration;

use super::super::figures::{Aim, Figure, Work};
use super::super::processes;
use super::super::report::Sample;
use super::rows::{Amounts, Bench, Cost, Row, cost, fleet};
use super::running::Running;
use super::{tree, verify};
use crate::client::session::{Job, Verb};

const STOR_LARGE_BYTES: u64 = 8 << 20;
const STOR_SMALL_BYTES: u64 = 64 << 10;
const LOGINS_AT_ONCE: usize = 16;

const PER_FILE: &str = "CPU µs per file";

/// Files to or from the server.
struct Transfers {
    work: Work,
    sessions: usize,
    /// How many before the first reading, how many after it.
    amount: fn(&Amounts) -> (u64, u64),
    job: fn(u64) -> Job,
    sample: fn(&Cost) -> Sample,
    /// Length of each upload, if that is what they are.
    stored: Option<u64>,
}

/// Listings of the folder of 2,000 entries.
struct List;

/// Connect, log in, quit.
struct Login;

/// The rows of this file.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![
        Box::new(RETR_LARGE),
        Box::new(RETR_SMALL),
        Box::new(STOR_LARGE),
        Box::new(STOR_SMALL),
        Box::new(Login),
        Box::new(List),
    ]
}

const RETR_LARGE: Transfers = Transfers {
    work: Work {
        name: "retr-large",
        work: "RETR 2 GiB, 8 sessions",
        figures: &[
            Figure::less("cpu", "CPU s per GB", 3).aim(Aim::Below(1.1)),
            Figure::more("rate", "GB/s", 2).aim(Aim::Above(0.9)),
            Figure::memory(),
        ],
    },
    sessions: 8,
    amount: |amounts| (1, amounts.retr_large),
    job: |_| large(),
    sample: Cost::per_gigabyte,
    stored: None,
};

const RETR_SMALL: Transfers = Transfers {
    work: Work {
        name: "retr-small",
        work: "RETR 16 KiB files, 32 sessions, EPSV each",
        figures: &[
            Figure::less("cpu", PER_FILE, 0).aim(Aim::Below(0.5)),
            Figure::more("rate", "files/s", 0),
            Figure::memory(),
        ],
    },
    sessions: 32,
    amount: |amounts| (amounts.retr_small / 10, amounts.retr_small),
    job: small,
    sample: Cost::per_unit,
    stored: None,
};

const STOR_LARGE: Transfers = Transfers {
    work: Work {
        name: "stor-large",
        work: "STOR 8 MiB, 8 sessions, not durable",
        figures: &[
            Figure::less("cpu", "CPU s per GB", 3).aim(Aim::Below(0.6)),
            Figure::more("rate", "GB/s", 2),
            Figure::memory(),
        ],
    },
    sessions: 8,
    amount: |amounts| (16, amounts.stor_large),
    job: |index| store(index, STOR_LARGE_BYTES),
    sample: Cost::per_gigabyte,
    stored: Some(STOR_LARGE_BYTES),
};

const STOR_SMALL: Transfers = Transfers {
    work: Work {
        name: "stor-small",
        work: "STOR 64 KiB, a new name each, 16 sessions, not durable",
        figures: &[
            Figure::less("cpu", PER_FILE, 0).aim(Aim::Below(0.7)),
            Figure::more("rate", "files/s", 0),
            Figure::memory(),
        ],
    },
    sessions: 16,
    amount: |amounts| (amounts.stor_small / 10, amounts.stor_small),
    job: |index| store(index, STOR_SMALL_BYTES),
    sample: Cost::per_unit,
    stored: Some(STOR_SMALL_BYTES),
};

impl Row for Transfers {
    fn work(&self) -> Work {
        self.work
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = bench.start()?;
        let (warm, count) = (self.amount)(&bench.amounts);
        let (cost, memory) = transfers(&running, self.sessions, warm, count, self.job)?;
        if let Some(bytes) = self.stored {
            bench.tree.check_uploads(warm + count, bytes)?;
        }
        Ok(with_memory((self.sample)(&cost), memory))
    }
}

impl Row for List {
    fn work(&self) -> Work {
        Work {
            name: "list",
            work: "LIST of 2,000 entries, 4 sessions",
            figures: const {
                &[
                    Figure::less("cpu", "CPU µs", 0).aim(Aim::Below(0.25)),
                    Figure::more("rate", "listings/s", 0),
                    Figure::memory(),
                ]
            },
        }
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = bench.start()?;
        let bytes = verify::listing(running.address)?;
        let (cost, memory) = transfers(&running, 4, 8, bench.amounts.lists, |_| list(bytes))?;
        Ok(with_memory(cost.per_unit(), memory))
    }
}

impl Row for Login {
    fn work(&self) -> Work {
        Work {
            name: "login",
            work: "connect + login + quit, 16 at once",
            figures: const {
                &[
                    Figure::less("cpu", "CPU µs", 0).aim(Aim::Below(0.1)),
                    Figure::more("rate", "logins/s", 0),
                ]
            },
        }
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = bench.start()?;
        let settle = || {
            running.wait_for_processes(running.processes_at_rest, Duration::from_secs(3));
        };
        fleet(&running)?.cycle(bench.amounts.logins / 10 + 1, LOGINS_AT_ONCE)?;
        settle();
        let cost = cost(&running, || {
            let totals = fleet(&running)?.cycle(bench.amounts.logins, LOGINS_AT_ONCE);
            settle();
            totals
        })?;
        Ok(cost.per_unit())
    }
}

/// `count` transfers by `sessions` sessions after `warm` that are not measured; what they cost, and
/// the server's memory (MiB) with the sessions still open.
fn transfers(
    running: &Running,
    sessions: usize,
    warm: u64,
    count: u64,
    job: impl Fn(u64) -> Job,
) -> Result<(Cost, f64), String> {
    let mut fleet = fleet(running)?;
    fleet.log_in(sessions, sessions)?;
    fleet.run(sessions, &mut (0..warm).map(&job))?;
    let cost = cost(running, || fleet.run(sessions, &mut (warm..warm + count).map(&job)))?;
    let memory = processes::pss_kib() as f64 / 1024.0;
    fleet.quit()?;
    Ok((cost, memory))
}

fn with_memory(mut sample: Sample, memory: f64) -> Sample {
    sample.figures.insert("memory", memory);
    sample
}

/// RETR of the large file.
pub fn large() -> Job {
    let (path, bytes) = (tree::LARGE_PATH.into(), Some(tree::LARGE_BYTES));
    Job { verb: Verb::Retr, path, bytes, seed: tree::LARGE_SEED, keep: false }
}

/// RETR of the small file number `index`.
fn small(index: u64) -> Job {
    let (path, seed) = tree::small(index);
    Job { verb: Verb::Retr, path, bytes: Some(tree::SMALL_BYTES), seed, keep: false }
}

/// STOR under a name of its own.
fn store(index: u64, bytes: u64) -> Job {
    let path = format!("/incoming/u{index:06}.bin");
    Job { verb: Verb::Stor, path, bytes: Some(bytes), seed: index, keep: false }
}

/// LIST of the big folder.
fn list(bytes: u64) -> Job {
    let path = tree::LIST_PATH.into();
    Job { verb: Verb::List, path, bytes: Some(bytes), seed: 0, keep: false }
}
