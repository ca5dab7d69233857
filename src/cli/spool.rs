//! cli::spool – `sluicegate spool …`: the spool of a stopped server, checked, exported, summarised.
//!
//! Promises: refuses while a server runs and says which process; reads only – but `export` writes
//! into the directory named, and nothing that is there already.
//! Not here: reading the spool (`stopped`, `store::spool::offline`).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::place::Where;
use super::stopped::Stopped;
use super::{human, say};
use crate::problem::Problem;
use crate::server::Failure;
use crate::server::queue::{Detail, Ledger, Line};
use crate::store::spool::QueueId;
use crate::store::spool::offline::{Fault, Grade, Log};

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// Read everything and say what is wrong, where
    ///
    /// Exit status 1 when anything is damaged. What a power cut leaves is told, but is no damage.
    Verify(Look),
    /// Write every message that waits into a directory, as ID.eml and ID.json
    Export(Export),
    /// Summarise what is there
    Stat(Look),
}

#[derive(Debug, Args)]
pub(super) struct Look {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Directory to write into; made when missing
    directory: PathBuf,
    /// Tell what was written as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(command: &SpoolCommand) -> Result<(), Failure> {
    match command {
        SpoolCommand::Verify(look) => verify(look),
        SpoolCommand::Export(export) => run_export(export),
        SpoolCommand::Stat(look) => stat(look),
    }
}

fn open(place: &Where) -> Result<Stopped, Failure> {
    Stopped::open(&place.config()?, "stop that server first, or work on a copy: --data DIR")
}

// ---------------------------------------------------------------- verify

fn verify(look: &Look) -> Result<(), Failure> {
    let stopped = open(&look.place)?;
    let bad = stopped.all_faults().filter(|fault| fault.grade != Grade::Trace).count();
    if look.json {
        let faults: Vec<Value> = stopped.all_faults().map(fault_json).collect();
        let logs: Vec<Value> = stopped.logs.iter().map(|log| log_json(log, &stopped)).collect();
        say::json(&json!({ "sound": bad == 0, "logs": logs, "faults": faults }))?;
    } else {
        let mut text: String = stopped.all_faults().map(told).collect();
        let (mut segments, mut records, mut messages) = (0, 0, 0);
        for log in &stopped.logs {
            segments += log.segments.len();
            records += log.segments.iter().map(|segment| segment.seen.records).sum::<u64>();
            messages += log.messages.len();
        }
        let verdict = if bad == 0 { "sound" } else { "DAMAGED" };
        let wait = if messages == 1 { "waits" } else { "wait" };
        text.push_str(&format!(
            "{}, {}, {}, {} that {wait}: {verdict}\n",
            counted(stopped.logs.len(), "log"),
            counted(segments, "segment"),
            human::count(records, "record"),
            counted(messages, "message"),
        ));
        say::out(&text)?;
    }
    if bad == 0 {
        return Ok(());
    }
    let remedy = "keep a copy of the spool; `sluicegate spool export DIR` saves what is whole, ask the \
                  sender for what is missing. A server starts all the same, and delivers the rest; damage is \
                  told until the segment is used again";
    Err(Failure::Running(Problem::new("spool", counted(bad, "fault"), remedy).to_string()))
}

fn counted(number: usize, what: &str) -> String {
    human::count(u64::try_from(number).unwrap_or(u64::MAX), what)
}

fn grade(fault: &Fault) -> &'static str {
    match fault.grade {
        Grade::Trace => "trace",
        Grade::Damage => "damage",
        Grade::Unreadable => "unreadable",
    }
}

fn told(fault: &Fault) -> String {
    let place = fault.offset.map(|offset| format!(", octet {offset}")).unwrap_or_default();
    let line = format!("{:10}  {}{place}: {}", grade(fault), fault.file.display(), fault.why);
    format!("{}\n", human::plain(&line))
}

fn fault_json(fault: &Fault) -> Value {
    json!({
        "grade": grade(fault),
        "file": fault.file.display().to_string(),
        "offset": fault.offset,
        "why": fault.why,
    })
}

// ---------------------------------------------------------------- stat

fn stat(look: &Look) -> Result<(), Failure> {
    let stopped = open(&look.place)?;
    if look.json {
        let logs: Vec<Value> = stopped.logs.iter().map(|log| log_json(log, &stopped)).collect();
        return say::json(&logs);
    }
    let now = human::now();
    let mut rows = Vec::new();
    for log in &stopped.logs {
        let sum = Sum::of(log, &stopped);
        rows.push(vec![
            log.shard.to_string(),
            log.segments.len().to_string(),
            log.free.to_string(),
            human::size(log.bytes),
            sum.messages.to_string(),
            human::size(sum.bytes),
            sum.held.to_string(),
            sum.deferred.to_string(),
            sum.oldest.map_or_else(|| "-".to_owned(), |oldest| human::age(now - oldest)),
        ]);
    }
    if rows.is_empty() {
        return say::out("no mail was ever taken here\n");
    }
    let headings =
        ["SHARD", "SEGMENTS", "FREE", "ON DISK", "MESSAGES", "SIZE", "HELD", "DEFERRED", "OLDEST"];
    say::out(&human::table(&headings, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &rows))
}

/// What waits in one log.
#[derive(Default)]
struct Sum {
    messages: usize,
    bytes: u64,
    held: u64,
    deferred: u64,
    oldest: Option<i64>,
}

impl Sum {
    fn of(log: &Log, stopped: &Stopped) -> Self {
        let mut sum = Self { messages: log.messages.len(), ..Self::default() };
        for (id, held) in &log.messages {
            sum.bytes += held.size;
            let Some((_, _, message)) = stopped.find(*id) else { continue };
            let detail = Detail::of(Line { id: *id, size: held.size, message: &message });
            sum.held += u64::from(message.held);
            sum.deferred += u64::from(detail.entry.reason.is_some());
            sum.oldest = sum.oldest.into_iter().chain([message.accepted]).min();
        }
        sum
    }
}

fn log_json(log: &Log, stopped: &Stopped) -> Value {
    let sum = Sum::of(log, stopped);
    let records: u64 = log.segments.iter().map(|segment| segment.seen.records).sum();
    json!({
        "shard": log.shard,
        "directory": log.directory.display().to_string(),
        "segments": log.segments.len(),
        "segments_free": log.free,
        "bytes_on_disk": log.bytes,
        "records": records,
        "messages": sum.messages,
        "bytes": sum.bytes,
        "held": sum.held,
        "deferred": sum.deferred,
        "oldest": sum.oldest,
    })
}

// ---------------------------------------------------------------- export

fn run_export(export: &Export) -> Result<(), Failure> {
    let stopped = open(&export.place)?;
    let directory = &export.directory;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| cannot(directory, &error, "name a directory that can be written"))?;
    let mut ids = Vec::new();
    stopped.visit(None, &mut |line| {
        ids.push(line.id);
        true
    });
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match write_message(&stopped, id, directory) {
            Ok(()) => written.push(id),
            // A full disk is no fault of this message: the next would fail as well.
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                let path = directory.join(id.to_string());
                return Err(cannot(&path, &error, "name an empty directory with enough space"));
            }
            Err(error) => failed.push((id, error.to_string())),
        }
    }
    for (id, why) in &failed {
        say::error(&format!("spool: {id}: {why} (not exported; see `sluicegate spool verify`)"));
    }
    if export.json {
        say::json(&json!({ "exported": written, "failed": failed }))?;
    } else {
        let written = counted(written.len(), "message");
        say::out(&format!("{written} exported to {}\n", directory.display()))?;
    }
    let lost = failed.len() + stopped.all_faults().filter(|one| one.grade != Grade::Trace).count();
    if lost == 0 {
        return Ok(());
    }
    let remedy = "`sluicegate spool verify` tells what is missing";
    Err(Failure::Running(Problem::new("spool", "it is damaged", remedy).to_string()))
}

fn cannot(path: &Path, error: &io::Error, remedy: &str) -> Failure {
    Failure::Running(Problem::path(path, error, remedy).to_string())
}

/// The message with its one trace header, and what is known about it. Neither or both are left.
fn write_message(stopped: &Stopped, id: QueueId, directory: &Path) -> io::Result<()> {
    let Some((log, held, message)) = stopped.find(id) else { return Ok(()) };
    let (eml, side) = (directory.join(format!("{id}.eml")), directory.join(format!("{id}.json")));
    let detail = Detail::of(Line { id, size: held.size, message: &message });
    let about = format!("{}\n", serde_json::to_string_pretty(&detail)?);
    create(&eml).and_then(|file| {
        let mut out = BufWriter::new(file);
        let copied = out
            .write_all(&message.trace)
            .and_then(|()| log.copy(id, held, &mut out))
            .and_then(|()| out.flush())
            .and_then(|()| create(&side)?.write_all(about.as_bytes()));
        copied.inspect_err(|_| drop(fs::remove_file(&eml)))
    })
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}
