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
mod machine;
mod options;
mod page;
mod report;
mod run;
mod sizes;
mod smtp;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status.
const WRONG_USAGE: u8 = 2;

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
    /// Sends mail to any SMTP server at a rate, or from sessions that never rest, and measures it
    Smtp(Box<smtp::Options>),
    /// Compares what a server holds after a crash with a journal of `loadtest smtp`
    ///
    /// Exit status 0: nothing is missing; 1: something is lost, duplicated, altered or unknown.
    Audit(smtp::audit::Options),
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
    match Arguments::parse().command {
        Command::Smtp(options) => {
            if let Err(why) = options.check() {
                eprintln!("loadtest: smtp: {why}");
                return ExitCode::from(WRONG_USAGE);
            }
            ended("smtp", smtp::run(&options).map(|()| true))
        }
        Command::Audit(options) => ended("audit", smtp::audit::run(&options)),
        Command::Compare(options) => ended("compare", compare::run(options).map(|()| true)),
    }
}

/// `false` has been said already.
fn ended(name: &str, outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("loadtest: {name}: {why}");
            ExitCode::FAILURE
        }
    }
}
