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
mod ftp;
mod machine;
mod measure;
mod options;
mod page;
mod report;
mod run;
mod sizes;
mod smtp;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use options::Stop;

/// Exit statuses.
const FAILED: u8 = 1;
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
    /// Drives an FTP server: so many transfers a second (open loop), or as many as it can (--closed)
    ///
    /// Latency counts from the moment an operation was to start by a schedule made beforehand, so that a
    /// server that stands still is not spared what would have come meanwhile. Only this machine is
    /// loaded unless you say --i-own-this-host.
    Ftp(Box<ftp::FtpOptions>),
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
    Compare(Box<compare::Options>),
    /// Measures the generator itself: octets dropped per second of processor time, and, given the URL
    /// of a small file, processor time per RETR beside that of a bare epoll client
    Measure(measure::MeasureOptions),
}

fn main() -> ExitCode {
    let whole = |()| true;
    let (name, outcome) = match Arguments::parse().command {
        Command::Ftp(options) => ("ftp", ftp::run(&options).map(whole)),
        Command::Smtp(options) => {
            let checked = options.check().map_err(Stop::Usage);
            ("smtp", checked.and_then(|()| Ok(smtp::run(&options)?)).map(whole))
        }
        Command::Audit(options) => ("audit", smtp::audit::run(&options).map_err(Stop::Failed)),
        Command::Compare(options) => {
            ("compare", compare::run(*options).map(whole).map_err(Stop::Failed))
        }
        Command::Measure(options) => ("measure", measure::run(&options).map(whole)),
    };
    let (status, why) = match outcome {
        Ok(true) => return ExitCode::SUCCESS,
        // It has been said already.
        Ok(false) => return ExitCode::from(FAILED),
        Err(Stop::Failed(why)) => (FAILED, why),
        Err(Stop::Usage(why)) => (WRONG_USAGE, why),
    };
    eprintln!("loadtest: {name}: {why}");
    ExitCode::from(status)
}
