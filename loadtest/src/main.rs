//! loadtest – drives FTP and SMTP servers and compares them.
//!
//! Map: `engine` drives sessions over io_uring, `options` and `run` are what every generator has in
//! common, `client` is the older generator, `compare` runs servers side by side, `report` tells what came
//! of a run, `page` is what its pages look like, `machine` knows this machine, `sys` holds the kernel
//! calls. Shares no code with the server it measures.
//!
//! Promises: loopback only; bounded in time; exit status 0 done, 1 failed, 2 wrong usage.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod compare;
mod engine;
#[allow(dead_code, reason = "the generators are being built on it")]
mod machine;
mod options;
mod page;
#[allow(dead_code, reason = "the generators are being built on it")]
mod report;
#[allow(dead_code, reason = "the generators are being built on it")]
mod run;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(
    version,
    about = "Load generators and comparisons for FTP and SMTP servers (loopback only)"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs sluicegate and its peers side by side and writes a report
    ///
    /// Starts every server on random loopback ports with a fair, written configuration, on one
    /// journalled ext4 image, with cubic congestion control; interleaves the runs; writes
    /// comparison.md, comparison.html and comparison.json. Needs root. Everything changed on the
    /// machine (congestion control, mounts, users, processes) is put back at the end, on errors and
    /// on Ctrl-C too. A missing server is skipped by name. Run it on a quiet machine.
    Compare(compare::Options),
}

fn main() -> ExitCode {
    let Command::Compare(options) = Arguments::parse().command;
    match compare::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("loadtest: compare: {why}");
            ExitCode::FAILURE
        }
    }
}
