//! compare::mail::rows – the work: what is sent, how many sessions at once, and what is read.
//!
//! The number of messages is found by a warm-up, so that every measurement sends for about as long
//! as asked for. The wall time is the generator's from start to end; the server's processor time
//! goes on until everything accepted is settled.
//!
//! Promises: a generator that fails fails the row with its words (`smtp-source` ends at the first
//! reply that is not what it should be). Not here: repetition and order (`mod`).

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::servers::{Peers, Running, Server};
use super::{idle, slow};

/// Most messages of one measurement.
const MESSAGES_MAX: u64 = 2_000_000;
/// Octets written to learn the disk's own rate.
const DISK_BYTES: usize = 512 << 20;

/// One row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// 4 KiB messages, 20 sessions
    Small,
    /// 4 KiB messages, 100 sessions
    Many,
    /// 64 KiB messages, 20 sessions
    Medium,
    /// 1 MiB messages, 8 sessions
    Large,
    /// 100 KiB messages, 20 sessions
    Hundred,
    /// A connection for each 4 KiB message, 20 at once
    Connect,
    /// Sessions that say nothing
    Idle,
    /// 200 clients that send 20 MB each at once
    Bulk,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What `smtp-source` is told.
#[derive(Clone, Copy)]
struct Load {
    sessions: u32,
    octets: u64,
    keep: bool,
    /// Messages of the warm-up.
    warm: u64,
}

impl Row {
    fn load(self) -> Option<Load> {
        let load = |sessions, octets, warm| Some(Load { sessions, octets, keep: true, warm });
        match self {
            Self::Small => load(20, 4096, 2000),
            Self::Many => load(100, 4096, 3000),
            Self::Medium => load(20, 65_536, 1000),
            Self::Large => load(8, 1_048_576, 100),
            Self::Hundred => load(20, 102_400, 800),
            Self::Connect => Some(Load { sessions: 20, octets: 4096, keep: false, warm: 1000 }),
            Self::Idle | Self::Bulk => None,
        }
    }

    /// The work in words.
    pub fn work(self) -> &'static str {
        match self {
            Self::Small => "4 KiB, 20 sessions",
            Self::Many => "4 KiB, 100 sessions",
            Self::Medium => "64 KiB, 20 sessions",
            Self::Large => "1 MiB, 8 sessions",
            Self::Hundred => "100 KiB, 20 sessions",
            Self::Connect => "new connection per 4 KiB message, 20 at once",
            Self::Idle => "idle sessions",
            Self::Bulk => "200 clients sending 20 MB each",
        }
    }

    /// Does the row make sense for that server?
    pub fn concerns(self, server: Server) -> bool {
        // A Postfix session is a process: 200 of them do not tell anything about its memory.
        self != Self::Bulk || server == Server::Sluicegate
    }
}

/// What one row of one run yielded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Messages per second.
    pub rate: f64,
    /// Server CPU per message, µs.
    pub cpu_us: f64,
    /// Octets per second, MB (10⁶).
    pub megabytes: f64,
    /// Memory: KiB per idle session, or MiB resident at most.
    pub memory: f64,
    /// Messages sent.
    pub messages: u64,
    /// Seconds the generator took.
    pub seconds: f64,
    /// As the server was started.
    #[serde(skip)]
    pub config: String,
}

/// One server and where it is to be measured.
pub struct Bench<'a> {
    pub server: Server,
    pub peers: &'a Peers,
    pub sluicegate: &'a Path,
    pub folder: &'a Path,
    pub seconds: f64,
    pub idle: usize,
}

impl Bench<'_> {
    /// Does `row`.
    pub fn measure(&self, row: Row) -> Result<Sample, String> {
        settle_disk();
        let running = Running::start(self.server, self)?;
        let mut sample = match (row.load(), row) {
            (Some(load), _) => self.send_for(&running, load)?,
            (None, Row::Idle) => {
                let own = self.server == Server::Sluicegate;
                let count = if own { self.idle } else { self.idle.min(200) };
                Sample { memory: idle::per_session(&running, count)?, ..Sample::default() }
            }
            (None, _) => {
                Sample { memory: slow::most_resident(&running, self.seconds)?, ..Sample::default() }
            }
        };
        sample.config.clone_from(&running.config);
        Ok(sample)
    }

    fn send_for(&self, running: &Running, load: Load) -> Result<Sample, String> {
        // Twice: the first also starts processes and makes files.
        let few = ((load.warm as f64 * (self.seconds / 6.0).min(1.0)) as u64)
            .max(u64::from(load.sessions) * 2);
        self.send(running, load, few)?;
        let warm = self.send(running, load, few)?;
        running.settle()?;
        let wanted = few as f64 / warm.as_secs_f64() * self.seconds;
        let messages = (wanted as u64).clamp(few, MESSAGES_MAX);
        let before = running.meter.read()?;
        let took = self.send(running, load, messages)?.as_secs_f64();
        running.settle()?;
        let cpu = running.meter.read()?.since(&before).as_secs_f64();
        Ok(Sample {
            rate: messages as f64 / took,
            cpu_us: cpu * 1e6 / messages as f64,
            megabytes: (messages * load.octets) as f64 / took / 1e6,
            memory: 0.0,
            messages,
            seconds: took,
            config: String::new(),
        })
    }

    fn send(&self, running: &Running, load: Load, messages: u64) -> Result<Duration, String> {
        let mut command = self.peers.command(&self.peers.commands.join("smtp-source"));
        if load.keep {
            command.arg("-d");
        }
        let numbers = [("-s", u64::from(load.sessions)), ("-l", load.octets), ("-m", messages)];
        for (option, number) in numbers {
            command.args([option, &number.to_string()]);
        }
        command.args([
            "-f",
            "sender@client.test",
            "-t",
            "recipient@bench.test",
            &running.address.to_string(),
        ]);
        let begin = Instant::now();
        let output = command.output().map_err(|error| format!("smtp-source: {error}"))?;
        let took = begin.elapsed();
        if output.status.success() {
            return Ok(took);
        }
        Err(format!(
            "smtp-source: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// Writes out what earlier measurements left in the page cache.
fn settle_disk() {
    if let Err(why) = super::super::room::run("sync", &[]) {
        eprintln!("{why}");
    }
}

/// The disk's own sequential durable rate: 1 MiB at a time with O_DSYNC over blocks written before, MB/s.
pub fn durable_rate(folder: &Path) -> Result<f64, String> {
    let path = folder.join("rate");
    let context = |error: std::io::Error| format!("{}: {error}", path.display());
    let block = vec![0x5a_u8; 1 << 20];
    let mut best: f64 = 0.0;
    for flags in [0, libc::O_DSYNC, libc::O_DSYNC] {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(&path)
            .map_err(context)?;
        let begin = Instant::now();
        for _ in 0..DISK_BYTES / block.len() {
            std::io::Write::write_all(&mut file, &block).map_err(context)?;
        }
        file.sync_all().map_err(context)?;
        if flags != 0 {
            best = best.max(DISK_BYTES as f64 / begin.elapsed().as_secs_f64() / 1e6);
        }
    }
    fs::remove_file(&path).map_err(context)?;
    Ok(best)
}
