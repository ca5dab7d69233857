//! compare – sluicegate and its peers side by side, on one machine, in one run.
//!
//! ```text
//! room (congestion control, file system, user) → tree → verify each server
//!   for run, for row, for server: empty uploads → start → warm up → work → read → stop
//! → comparison.md, comparison.json
//! ```
//!
//! Reading order: `figures` (what is shown), `servers` (who, with which configuration), `rows`
//! (the work), `cpu` and `memory` (the readings), `room` and `running` (the machine), `report` and `markdown`.
//!
//! Promises: loopback only; a server that is missing is skipped by name; a row that fails says why;
//! an interrupted comparison still writes what it has; everything changed on the machine is undone.

mod cpu;
mod environment;
mod figures;
pub mod mail;
mod markdown;
mod memory;
mod processes;
mod report;
mod room;
mod rows;
mod running;
mod servers;
mod tree;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use self::environment::Environment;
use self::figures::Row;
use self::report::{Entrant, Report};
use self::rows::{Amounts, Bench, Sample};
use self::running::Launcher;
use self::servers::Server;
use self::tree::Tree;
use crate::sys;

/// Options of `loadtest compare ftp`.
#[derive(Args, Debug)]
pub struct Options {
    /// Rows of work to do, in this order
    #[arg(long, value_delimiter = ',', default_values_t = default_rows(), hide_default_value = true)]
    rows: Vec<Row>,
    /// Repetitions; the report shows the median with the least and the greatest
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Servers to compare [default: all four]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Server>,
    /// The sluicegate program [default: beside this program, then PATH]
    #[arg(long, value_name = "PATH")]
    sluicegate: Option<PathBuf>,
    /// Folder of peers unpacked by `loadtest/unpack-peers` [default: PATH and /usr/sbin]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Folder for comparison.md and comparison.json
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Folder for the file-system image (8 GiB, sparse), removed at the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Share of the full amount of work per row, 0.01 to 1
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    share: f64,
    /// Three runs of a quarter of the work
    #[arg(long, conflicts_with_all = ["runs", "share"])]
    quick: bool,
    /// Pin servers to processor 0 and this program to processor 1
    #[arg(long)]
    pin: bool,
}

fn default_rows() -> Vec<Row> {
    <Row as clap::ValueEnum>::value_variants().to_vec()
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.01..=1.0).contains(&share) { Ok(share) } else { Err("not between 0.01 and 1".into()) }
}

/// Runs the comparison; what went wrong, if it could not be made at all.
pub fn run(mut options: Options) -> Result<(), String> {
    if options.quick {
        (options.runs, options.share) = (3, 0.25);
    }
    if options.servers.is_empty() {
        options.servers = <Server as clap::ValueEnum>::value_variants().to_vec();
    }
    prepare_process(&options)?;
    let libraries = options.peers.as_ref().map(|peers| peers.join("lib-of-peers"));
    let (mut entrants, mut skipped) = (Vec::new(), Vec::new());
    for &server in &options.servers {
        match server.find(options.sluicegate.as_deref(), options.peers.as_deref()) {
            Some(program) => entrants.push(Entrant::new(server, program, libraries.as_deref())),
            None => {
                let line = format!("{}: not found, skipped ({})", server.name(), server.remedy());
                eprintln!("{line}");
                skipped.push(line);
            }
        }
    }
    if entrants.is_empty() {
        return Err("no server to compare".into());
    }
    let amounts = Amounts::full(options.share);
    let environment = Environment::read();
    let mut report = Report::new(environment, options.runs, amounts, entrants, skipped);
    let outcome = compare(&options, amounts, &mut report);
    report.complete = outcome.is_ok();
    report.finish();
    markdown::write(&report, &options.out)?;
    outcome
}

/// What every comparison needs of this process.
fn prepare_process_alone() -> Result<(), String> {
    if !sys::is_root() {
        return Err(
            "must run as root: it mounts a file system, sets congestion control and starts \
                    servers that switch users (try: sudo)"
                .into(),
        );
    }
    sys::catch_interrupts();
    let context = |what: &'static str| move |error| format!("{what}: {error}");
    sys::become_subreaper().map_err(context("prctl"))?;
    sys::private_mounts().map_err(context("a mount namespace of our own"))?;
    let limit = sys::raise_descriptor_limit().map_err(context("descriptor limit"))?;
    if limit < 12_000 {
        eprintln!("the descriptor limit is {limit}; the rows of idle sessions need 12,000");
    }
    Ok(())
}

fn prepare_process(options: &Options) -> Result<(), String> {
    prepare_process_alone()?;
    if options.pin {
        sys::pin_to(1).map_err(|error| format!("--pin needs two processors: {error}"))?;
    }
    Ok(())
}

/// Prepares the machine, does all rows, undoes the preparation.
fn compare(options: &Options, amounts: Amounts, report: &mut Report) -> Result<(), String> {
    let congestion = room::Congestion::set("cubic", &options.work)?;
    report.environment.former_congestion = congestion.former().to_owned();
    let work = room::WorkFolder::make(&options.work)?;
    eprintln!("preparing the file system and the tree in {}", work.path().display());
    let mount = room::Mount::make_ext4(work.path())?;
    let tree = Tree::make(mount.path())?;
    let _user = room::FtpUser::make(tree.root())?;
    tree.warm_cache()?;
    // Private folders on the same file system, so that logs and the like cost each the same.
    let folder = mount.path().join("servers");
    let launcher = Launcher {
        folder: &folder,
        root: tree.root(),
        libraries: options.peers.as_ref().map(|peers| peers.join("lib-of-peers")),
        pin: options.pin.then_some(0),
    };
    verify_all(&launcher, &tree, report)?;
    let ground = Ground { amounts, launcher: &launcher, tree: &tree };
    for run in 0..options.runs {
        for &row in &options.rows {
            round(run, row, &ground, report)?;
        }
    }
    Ok(())
}

/// Lets every server prove itself once; one that cannot is left out.
fn verify_all(launcher: &Launcher<'_>, tree: &Tree, report: &mut Report) -> Result<(), String> {
    let mut unfit = BTreeMap::new();
    for entrant in &mut report.entrants {
        eprint!("verify {}: ", entrant.name);
        let verified = tree.empty_uploads().and_then(|()| {
            let running = launcher.start(entrant.server, &entrant.program)?;
            entrant.method = running.meter.method();
            entrant.config.clone_from(&running.config);
            verify::verify(running.address, tree)
        });
        match verified {
            Ok(()) => eprintln!("contents and listing are right"),
            Err(why) => {
                eprintln!("{why}");
                unfit.insert(entrant.server, why);
            }
        }
        stop_if_interrupted()?;
    }
    report.leave_out(&unfit);
    if report.entrants.is_empty() { Err("no server passed".into()) } else { Ok(()) }
}

/// What every server is measured on.
struct Ground<'a> {
    amounts: Amounts,
    launcher: &'a Launcher<'a>,
    tree: &'a Tree,
}

/// One row of one run: every server in turn, another one first in each run.
fn round(run: u32, row: Row, ground: &Ground<'_>, report: &mut Report) -> Result<(), String> {
    let count = report.entrants.len();
    for turn in 0..count {
        let entrant = &report.entrants[(turn + run as usize) % count];
        let (server, program) = (entrant.server, entrant.program.clone());
        if row == Row::Idle10k && server != Server::Sluicegate {
            continue;
        }
        if report.has_failed(row, server) {
            continue;
        }
        let begin = Instant::now();
        let outcome = one(row, server, &program, ground);
        stop_if_interrupted()?;
        let line = report::sample_line(&outcome);
        let (of, took) = (report.runs, begin.elapsed().as_secs_f64());
        eprintln!("run {}/{of} {row} {}: {line} [{took:.1} s]", run + 1, server.name());
        report.add(row, server, outcome);
    }
    Ok(())
}

fn one(row: Row, server: Server, program: &Path, ground: &Ground<'_>) -> Result<Sample, String> {
    let Ground { amounts, launcher, tree } = *ground;
    tree.empty_uploads()?;
    let running = launcher.start(server, program)?;
    rows::measure(row, &Bench { server, running: &running, tree, amounts })
}

fn stop_if_interrupted() -> Result<(), String> {
    if sys::interrupted() { Err("interrupted".into()) } else { Ok(()) }
}
