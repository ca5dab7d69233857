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
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use options::Stop;

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
    let (name, outcome) = match Arguments::parse().command {
        Command::Ftp(options) => {
            sys::catch_interrupts();
            ("ftp", raise_limits().and_then(|()| ftp::run(&options)))
        }
        Command::Compare(options) => ("compare", compare::run(*options).map_err(Stop::Failed)),
        Command::Measure(options) => ("measure", measure::run(&options)),
    };
    let (status, why) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Failed(why)) => (1, why),
        Err(Stop::Usage(why)) => (2, why),
    };
    eprintln!("loadtest: {name}: {why}");
    ExitCode::from(status)
}

/// A generator of many sessions has many descriptors.
fn raise_limits() -> Result<(), Stop> {
    let raised = sys::raise_descriptor_limit();
    raised.map(drop).map_err(|error| Stop::Failed(format!("descriptor limit: {error}")))
}
