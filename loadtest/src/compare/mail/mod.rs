//! compare::mail – sluicegate and Postfix as they take mail, on one machine, in one run.
//!
//! ```text
//! room (congestion control, journalled ext4) → for run, for row, for server: start → warm up → send → settle → read → stop
//! → comparison-smtp.md, comparison-smtp.json
//! ```
//! The generator is Postfix's own `smtp-source`, for both. Both servers are durable before their 250
//! and discard the message afterwards; what that costs them is measured until it is done.
//!
//! Reading order: `rows` (the work), `servers` (who, with which configuration), `report`.
//!
//! Promises: as `compare`: loopback, bounded, everything on the machine undone, nothing skipped in silence.

mod idle;
mod report;
mod rows;
mod servers;
mod slow;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use self::report::Report;
use self::rows::Row;
use self::servers::{Peers, Server};
use super::environment::Environment;
use super::{cpu, room, stop_if_interrupted};
use crate::sys;

/// Options of `loadtest compare smtp`.
#[derive(Args, Debug)]
pub struct Options {
    /// Rows of work to do, in this order
    #[arg(long, value_delimiter = ',', default_values_t = default_rows(), hide_default_value = true)]
    rows: Vec<Row>,
    /// Repetitions; the report shows the median with the least and the greatest
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Servers to compare [default: both]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Server>,
    /// The sluicegate program [default: beside this program, then PATH]
    #[arg(long, value_name = "PATH")]
    sluicegate: Option<PathBuf>,
    /// Folder of peers unpacked by `loadtest/unpack-mail-peers` [default: an installed Postfix]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Folder for comparison-smtp.md and comparison-smtp.json
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Folder for the file-system image (8 GiB, sparse), removed at the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Seconds that one measurement sends
    #[arg(long, default_value_t = 6.0, value_parser = seconds)]
    seconds: f64,
    /// Idle sessions held with sluicegate
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
}

fn default_rows() -> Vec<Row> {
    <Row as clap::ValueEnum>::value_variants().to_vec()
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("not between 0.1 and 600".into())
    }
}

/// Runs the comparison; what went wrong, if it could not be made at all.
pub fn run(mut options: Options) -> Result<(), String> {
    if options.servers.is_empty() {
        options.servers = vec![Server::Sluicegate, Server::Postfix];
    }
    super::prepare_process_alone()?;
    if cpu::Group::make().is_none() {
        return Err(
            "needs control groups (v1 cpuacct or v2): the generator runs beside the servers".into(),
        );
    }
    let peers = Peers::find(options.peers.as_deref())?;
    let sluicegate = servers::sluicegate(options.sluicegate.as_deref())?;
    let mut report = Report::new(Environment::read(), options.runs, options.seconds);
    let outcome = compare(&options, &peers, &sluicegate, &mut report);
    report.finish(outcome.is_ok());
    report.write(&options.out)?;
    outcome
}

fn compare(
    options: &Options,
    peers: &Peers,
    sluicegate: &Path,
    report: &mut Report,
) -> Result<(), String> {
    let congestion = room::Congestion::set("cubic", &options.work)?;
    report.former_congestion(congestion.former());
    let work = room::WorkFolder::make(&options.work)?;
    let mount = room::Mount::make_ext4(work.path())?;
    let users = servers::Users::make()?;
    report.disk_rate(rows::durable_rate(mount.path())?);
    for run in 0..options.runs {
        for &row in &options.rows {
            let count = options.servers.len();
            for turn in 0..count {
                let server = options.servers[(turn + run as usize) % count];
                if report.has_failed(row, server) || !row.concerns(server) {
                    continue;
                }
                let begin = Instant::now();
                let bench = rows::Bench {
                    server,
                    peers,
                    sluicegate,
                    folder: mount.path(),
                    seconds: options.seconds,
                    idle: options.idle,
                };
                let outcome = bench.measure(row);
                stop_if_interrupted()?;
                let took = begin.elapsed().as_secs_f64();
                eprintln!(
                    "run {}/{} {row} {}: {} [{took:.1} s]",
                    run + 1,
                    options.runs,
                    server.name(),
                    report::line(&outcome)
                );
                report.add(row, server, outcome);
            }
        }
    }
    drop(users);
    Ok(())
}

/// Whether somebody asked us to stop while we waited.
fn patience(limit: std::time::Duration, mut done: impl FnMut() -> bool) -> Result<(), String> {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > limit {
            return Err(format!("not done within {} s", limit.as_secs()));
        }
        if sys::interrupted() {
            return Err("interrupted".into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}
