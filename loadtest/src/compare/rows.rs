//! compare::rows – does one row of work against one running server and reads what it cost.
//!
//! Every row: sessions log in → warm-up → reading → work → reading → quit. The login row is the
//! exception: there the sessions are the work, so it waits for their processes to end before the
//! second reading.
//!
//! Promises: every transfer's bytes are counted and checked; uploads are counted and their lengths
//! checked on disk; any error fails the row with the server's words.
//! Not here: repetition and order (`mod`), contents (`verify`).

use std::time::Duration;

use serde::Serialize;

use super::figures::{Figure, Row};
use super::running::Running;
use super::servers::Server;
use super::tree::{self, Tree};
use super::{memory, processes};
use crate::client::fleet::{Fleet, Totals};
use crate::client::session::{Job, Verb};
use crate::sys::{self, Whose};

/// Time any single step of a row may take.
const STEP_LIMIT: Duration = Duration::from_secs(180);
const STOR_LARGE_BYTES: u64 = 8 << 20;
const STOR_SMALL_BYTES: u64 = 64 << 10;
/// Logins under way at once while sessions to be held are opened.
const LOGINS_AT_ONCE: usize = 32;
const IDLE_SESSIONS_PEER: usize = 1_000;
const IDLE_SESSIONS_OWN: usize = 10_000;

/// How much of each kind of work a run does.
#[derive(Clone, Copy, Debug, Serialize)]
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

/// What one row of one run yielded.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub figures: Vec<(Figure, f64)>,
    /// Server CPU in seconds over the work, as used for the figures.
    pub cpu_seconds: f64,
    /// The same by the process tree (10 ms ticks), a cross-check.
    pub cpu_tree_seconds: f64,
    /// CPU of this program over the work.
    pub generator_cpu_seconds: f64,
    pub wall_seconds: f64,
    pub units: u64,
}

/// A server under test with the tree it serves.
pub struct Bench<'a> {
    pub server: Server,
    pub running: &'a Running,
    pub tree: &'a Tree,
    pub amounts: Amounts,
}

struct Cost {
    totals: Totals,
    cpu: Duration,
    tree: Duration,
    own: Duration,
}

/// Does `row` and returns its figures.
pub fn measure(row: Row, bench: &Bench<'_>) -> Result<Sample, String> {
    let Amounts { retr_large, retr_small, stor_large, stor_small, lists, .. } = bench.amounts;
    let (cpu, rate) = figures_of(row);
    match row {
        Row::RetrLarge => {
            let cost = bench.transfers(8, 1, retr_large, &mut |_| large())?;
            Ok(per_gigabyte(cost, cpu, rate))
        }
        Row::StorLarge => {
            let make = &mut |index| store(index, STOR_LARGE_BYTES);
            let cost = bench.transfers(8, 16, stor_large, make)?;
            bench.tree.check_uploads(stor_large + 16, STOR_LARGE_BYTES)?;
            Ok(per_gigabyte(cost, cpu, rate))
        }
        Row::RetrSmall => {
            let warm = retr_small / 10;
            Ok(per_unit(bench.transfers(32, warm, retr_small, &mut small)?, cpu, rate))
        }
        Row::StorSmall => {
            let warm = stor_small / 10;
            let make = &mut |index| store(index, STOR_SMALL_BYTES);
            let cost = bench.transfers(16, warm, stor_small, make)?;
            bench.tree.check_uploads(stor_small + warm, STOR_SMALL_BYTES)?;
            Ok(per_unit(cost, cpu, rate))
        }
        Row::List => {
            let bytes = super::verify::listing(bench.running.address)?;
            let make = &mut |_| list(bytes);
            Ok(per_unit(bench.transfers(4, 8, lists, make)?, cpu, rate))
        }
        Row::Login => Ok(per_unit(bench.logins()?, cpu, rate)),
        Row::Idle => bench.idle(),
        Row::Idle10k => bench.held(),
    }
}

impl Bench<'_> {
    fn fleet(&self) -> Result<Fleet, String> {
        Fleet::new(self.running.address, STEP_LIMIT)
    }

    /// `count` transfers by `sessions` sessions after `warm` that are not measured.
    fn transfers(
        &self,
        sessions: usize,
        warm: u64,
        count: u64,
        make: &mut dyn FnMut(u64) -> Job,
    ) -> Result<Cost, String> {
        let mut fleet = self.fleet()?;
        fleet.log_in(sessions, sessions)?;
        fleet.run(sessions, &mut (0..warm).map(&mut *make))?;
        let cost = self.cost(|| fleet.run(sessions, &mut (warm..warm + count).map(&mut *make)))?;
        fleet.quit()?;
        Ok(cost)
    }

    fn logins(&self) -> Result<Cost, String> {
        const AT_ONCE: usize = 16;
        let settle = || {
            let idle = Duration::from_secs(3);
            self.running.wait_for_processes(self.running.processes_at_rest, idle);
        };
        self.fleet()?.cycle(self.amounts.logins / 10 + 1, AT_ONCE)?;
        settle();
        self.cost(|| {
            let totals = self.fleet()?.cycle(self.amounts.logins, AT_ONCE);
            settle();
            totals
        })
    }

    fn cost(&self, work: impl FnOnce() -> Result<Totals, String>) -> Result<Cost, String> {
        let own = || sys::cpu_time(Whose::Own).map_err(|error| format!("getrusage: {error}"));
        // Let the last reply's aftermath end before each reading.
        std::thread::sleep(Duration::from_millis(30));
        let (own_before, before) = (own()?, self.running.meter.read()?);
        let totals = work()?;
        let own_after = own()?;
        std::thread::sleep(Duration::from_millis(30));
        let after = self.running.meter.read()?;
        Ok(Cost {
            totals,
            cpu: after.since(&before),
            tree: after.tree_since(&before),
            own: own_after.saturating_sub(own_before),
        })
    }

    fn sessions_to_hold(&self) -> usize {
        match self.server {
            Server::Sluicegate => IDLE_SESSIONS_OWN,
            _ => IDLE_SESSIONS_PEER,
        }
    }

    fn idle(&self) -> Result<Sample, String> {
        let count = self.sessions_to_hold();
        let bare_end = memory::bare_end()?;
        let mut fleet = self.fleet()?;
        let before = memory::read();
        fleet.log_in(count, LOGINS_AT_ONCE)?;
        let each = memory::read().rise(&before, count);
        fleet.quit()?;
        let figures = vec![
            (Figure::IdleAttributed, each.attributed - bare_end.attributed),
            (Figure::IdleSystem, each.system - bare_end.system),
        ];
        Ok(Sample::of_memory(figures, count))
    }

    /// The server's memory with 10,000 sessions, and a transfer before and while they are held.
    fn held(&self) -> Result<Sample, String> {
        const SESSIONS: usize = 8;
        let bare_end = memory::bare_end()?;
        let mut fleet = self.fleet()?;
        fleet.log_in(SESSIONS, SESSIONS)?;
        let rate = |fleet: &mut Fleet| -> Result<f64, String> {
            fleet.run(SESSIONS, &mut (0..1).map(|_| large()))?;
            let jobs = self.amounts.retr_large;
            let totals = fleet.run(SESSIONS, &mut (0..jobs).map(|_| large()))?;
            Ok(totals.bytes as f64 / 1e9 / totals.elapsed.as_secs_f64())
        };
        let rate_before = rate(&mut fleet)?;
        let resting = processes::pss_kib() as f64;
        let before = memory::read();
        fleet.log_in(SESSIONS + IDLE_SESSIONS_OWN, LOGINS_AT_ONCE)?;
        let each = memory::read().rise(&before, IDLE_SESSIONS_OWN);
        let rate_held = rate(&mut fleet)?;
        let pss = processes::pss_kib() as f64;
        fleet.quit()?;
        // The whole server, not only the rise: what it had before any session counts too.
        let rise = (each.attributed - bare_end.attributed) * IDLE_SESSIONS_OWN as f64;
        let all = resting + rise;
        let figures = vec![
            (Figure::HeldMemory, all / 1024.0),
            (Figure::HeldServerMemory, pss / 1024.0),
            (Figure::HeldRateBefore, rate_before),
            (Figure::HeldRate, rate_held / rate_before),
        ];
        Ok(Sample::of_memory(figures, IDLE_SESSIONS_OWN))
    }
}

impl Sample {
    fn of_memory(figures: Vec<(Figure, f64)>, sessions: usize) -> Self {
        let units = sessions as u64;
        let none = 0.0;
        Self {
            figures,
            cpu_seconds: none,
            cpu_tree_seconds: none,
            generator_cpu_seconds: none,
            wall_seconds: none,
            units,
        }
    }

    fn of_cost(figures: Vec<(Figure, f64)>, cost: &Cost) -> Self {
        Self {
            figures,
            cpu_seconds: cost.cpu.as_secs_f64(),
            cpu_tree_seconds: cost.tree.as_secs_f64(),
            generator_cpu_seconds: cost.own.as_secs_f64(),
            wall_seconds: cost.totals.elapsed.as_secs_f64(),
            units: cost.totals.jobs,
        }
    }
}

fn figures_of(row: Row) -> (Figure, Figure) {
    match row {
        Row::RetrLarge => (Figure::RetrLargeCpu, Figure::RetrLargeRate),
        Row::RetrSmall => (Figure::RetrSmallCpu, Figure::RetrSmallRate),
        Row::StorLarge => (Figure::StorLargeCpu, Figure::StorLargeRate),
        Row::StorSmall => (Figure::StorSmallCpu, Figure::StorSmallRate),
        Row::Login => (Figure::LoginCpu, Figure::LoginRate),
        Row::List => (Figure::ListCpu, Figure::ListRate),
        Row::Idle => (Figure::IdleAttributed, Figure::IdleSystem),
        Row::Idle10k => (Figure::HeldMemory, Figure::HeldRate),
    }
}

fn per_gigabyte(cost: Cost, cpu: Figure, rate: Figure) -> Sample {
    let gigabytes = cost.totals.bytes as f64 / 1e9;
    let speed = gigabytes / cost.totals.elapsed.as_secs_f64();
    Sample::of_cost(vec![(cpu, cost.cpu.as_secs_f64() / gigabytes), (rate, speed)], &cost)
}

fn per_unit(cost: Cost, cpu: Figure, rate: Figure) -> Sample {
    let units = cost.totals.jobs as f64;
    let speed = units / cost.totals.elapsed.as_secs_f64();
    Sample::of_cost(vec![(cpu, cost.cpu.as_secs_f64() * 1e6 / units), (rate, speed)], &cost)
}

/// RETR of the large file.
fn large() -> Job {
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
