//! compare – sluicegate and its peers side by side, on one machine, in one run.
//!
//! ```text
//! room (congestion control, file system, users) → suites (ftp, mail): find, prepare, verify
//!   for run, for row, for server: start → warm up → work → read → stop
//! → comparison.md, comparison.html, comparison.json
//! ```
//!
//! Reading order: `figures` (what is shown), `ftp` and `mail` (who, with which configuration, the
//! work), `interleave` (the order), `cpu` and `memory` (the readings), `room` and `running` (the machine),
//! `report`, `markdown` and `html`.
//!
//! Promises: loopback only; a server that is missing is skipped by name; a row that fails says why;
//! an interrupted comparison still writes what it has; everything changed on the machine is undone.

mod cpu;
mod environment;
mod figures;
mod ftp;
mod html;
mod interleave;
mod mail;
mod markdown;
mod memory;
mod processes;
mod report;
mod room;
mod running;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};

use self::environment::Environment;
use self::report::Report;
use crate::sys;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// sluicegate, vsftpd, Pure-FTPd, ProFTPD
    Ftp,
    /// sluicegate, Postfix, OpenSMTPD
    Smtp,
    /// All of them inside TLS, and openssl's handshakes
    Tls,
}

/// Options of `loadtest compare`.
#[derive(Args, Debug)]
pub struct Options {
    /// What to compare [default: all three]
    protocols: Vec<Protocol>,
    /// Rows of work to do, by name [default: all]
    #[arg(long, value_delimiter = ',', value_parser = row_names(), hide_possible_values = true)]
    #[arg(long_help = row_help())]
    rows: Vec<String>,
    /// Servers to compare, by name [default: all that are found]
    #[arg(long, value_delimiter = ',', value_parser = server_names())]
    servers: Vec<String>,
    /// Repetitions; the report shows the median with the least and the greatest
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Three runs of a part of the work; within ten minutes
    #[arg(long, conflicts_with_all = ["runs", "share", "seconds", "idle"])]
    quick: bool,
    /// FTP: share of the full amount of work per row, 0.01 to 1
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    share: f64,
    /// Mail: seconds that one measurement sends
    #[arg(long, default_value_t = 2.5, value_parser = seconds)]
    seconds: f64,
    /// Idle sessions held with sluicegate; peers hold fewer
    #[arg(long, default_value_t = 10_000, value_parser = idle)]
    idle: usize,
    /// The sluicegate program [default: beside this program, then PATH]
    #[arg(long, value_name = "PATH")]
    sluicegate: Option<PathBuf>,
    /// Folder of peers unpacked by `loadtest/unpack-peers` and `loadtest/unpack-mail-peers`
    /// [default: PATH and /usr/sbin]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Folder for comparison.md, comparison.html and comparison.json
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Write the tables into this file too, between lines `<!-- ftp figures -->` and `<!-- /ftp figures -->`
    /// (and `smtp`, `tls`)
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Folder for the file-system image (8 GiB, sparse), removed at the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Pin servers to processor 0 and this program to processor 1
    #[arg(long)]
    pin: bool,
}

fn row_names() -> clap::builder::PossibleValuesParser {
    let names: Vec<&str> = all_rows().map(|work| work.name).collect();
    names.into()
}

fn row_help() -> String {
    let lines: Vec<String> =
        all_rows().map(|work| format!("  {:<14} {}", work.name, work.work)).collect();
    format!("Rows of work to do, by name [default: all]\n\n{}", lines.join("\n"))
}

fn all_rows() -> impl Iterator<Item = figures::Work> {
    let ftp = ftp::rows::all().into_iter().map(|row| row.work());
    let mail = mail::rows::all().into_iter().map(|row| row.work());
    ftp.chain(mail).chain(tls::rows::all().into_iter().map(|row| row.work()))
}

fn server_names() -> clap::builder::PossibleValuesParser {
    let mut names: Vec<&str> = ftp::servers::ALL.iter().map(|server| server.program()).collect();
    names.extend(mail::servers::ALL.iter().map(|server| server.id()));
    names.extend(tls::servers::ALL.iter().map(|server| server.id()));
    names.sort_unstable();
    names.dedup();
    names.into()
}

fn share(text: &str) -> Result<f64, String> {
    between(text, 0.01, 1.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.1, 600.0)
}

fn idle(text: &str) -> Result<usize, String> {
    between(text, 10.0, 20_000.0).map(|count| count as usize)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let right = (least..=most).contains(&number);
    right.then_some(number).ok_or_else(|| format!("not between {least} and {most}"))
}

impl Options {
    /// Whether this protocol is to be compared.
    fn concerns(&self, protocol: Protocol) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&protocol)
    }

    /// Whether a server of that name is to take part.
    fn wants_server(&self, name: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|server| server == name)
    }

    /// Whether a row of that name is to be done.
    fn wants_row(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == name)
    }
}

/// Runs the comparison; what went wrong, if it could not be made at all.
pub fn run(mut options: Options) -> Result<(), String> {
    if options.quick {
        (options.runs, options.share, options.seconds) = (3, 0.25, 1.0);
    }
    // Servers are started in folders of their own, where a relative path would mean something else.
    for path in [&mut options.peers, &mut options.sluicegate].into_iter().flatten() {
        let whole = fs::canonicalize(&*path);
        *path = whole.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(readme) = &options.readme {
        fs::metadata(readme).map_err(|error| format!("{}: {error}", readme.display()))?;
    }
    prepare_process(&options)?;
    let begin = Instant::now();
    let mut report = Report {
        environment: Environment::read(),
        runs: options.runs,
        complete: false,
        took_seconds: 0.0,
        sections: Vec::new(),
    };
    let outcome = compare(&options, &mut report);
    report.complete = outcome.is_ok();
    report.took_seconds = begin.elapsed().as_secs_f64();
    report.environment.finish();
    for section in &mut report.sections {
        section.finish();
    }
    if report.sections.iter().all(|section| section.entrants.is_empty()) {
        return outcome.and(Err("no server to compare".into()));
    }
    write(&report, &options)?;
    outcome
}

/// What every comparison needs of this process.
fn prepare_process(options: &Options) -> Result<(), String> {
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
    if options.pin {
        sys::pin_to(1).map_err(|error| format!("--pin needs two processors: {error}"))?;
    }
    Ok(())
}

/// Prepares the machine, does all rows, undoes the preparation.
fn compare(options: &Options, report: &mut Report) -> Result<(), String> {
    let congestion = room::Congestion::set("cubic", &options.work)?;
    congestion.former().clone_into(&mut report.environment.former_congestion);
    let work = room::WorkFolder::make(&options.work)?;
    eprintln!("preparing the file system in {}", work.path().display());
    let mount = room::Mount::make_ext4(work.path())?;
    for protocol in [Protocol::Ftp, Protocol::Smtp, Protocol::Tls] {
        if !options.concerns(protocol) {
            continue;
        }
        report.sections.push(match protocol {
            Protocol::Ftp => ftp::section(),
            Protocol::Smtp => mail::section(),
            Protocol::Tls => tls::section(),
        });
        if let Some(section) = report.sections.last_mut() {
            match protocol {
                Protocol::Ftp => ftp::compare(options, mount.path(), section)?,
                Protocol::Smtp => mail::compare(options, mount.path(), section)?,
                Protocol::Tls => tls::compare(options, mount.path(), section)?,
            }
        }
    }
    Ok(())
}

/// Writes everything and prints the tables.
fn write(report: &Report, options: &Options) -> Result<(), String> {
    for section in &report.sections {
        println!("{}\n\n{}", section.title, markdown::table(section));
    }
    let folder = &options.out;
    let json = serde_json::to_string_pretty(report).map_err(|error| format!("JSON: {error}"))?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let texts = [("md", markdown::whole(report)), ("html", html::whole(report)), ("json", json)];
    for (ending, text) in texts {
        put(&folder.join(format!("comparison.{ending}")), &text)?;
    }
    // Half a comparison replaces nobody's table.
    if let Some(readme) = options.readme.as_ref().filter(|_| report.complete) {
        let former = fs::read_to_string(readme);
        let former = former.map_err(|error| format!("{}: {error}", readme.display()))?;
        let text = markdown::into_readme(report, &former);
        put(readme, &text.map_err(|why| format!("{}: {why}", readme.display()))?)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}

fn stop_if_interrupted() -> Result<(), String> {
    if sys::interrupted() { Err("interrupted".into()) } else { Ok(()) }
}
