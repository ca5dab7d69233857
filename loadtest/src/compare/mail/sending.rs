//! compare::mail::sending – rows of work that `smtp-source` does: how large, how many sessions.
//!
//! The number of messages is found by a warm-up, so that every measurement sends for about as long
//! as asked for. The wall time is the generator's from start to end; the server's processor time
//! goes on until everything accepted is settled.
//!
//! Promises: a generator that fails fails the row with its words (`smtp-source` ends at the first
//! reply that is not what it should be).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::super::figures::{Aim, Figure, Work};
use super::super::processes;
use super::super::report::Sample;
use super::rows::{Bench, Row};
use super::servers::{Running, Server};

/// Sessions of a row that is not about sessions, at most.
const SESSIONS_USUAL: u32 = 20;
/// Most messages of one measurement.
const MESSAGES_MAX: u64 = 2_000_000;
/// For this many seconds of sending the warm-ups below are made.
const WARM_FOR_SECONDS: f64 = 6.0;

pub const RATE: &str = "messages/s";
pub const CPU: &str = "CPU µs per message";

/// What `smtp-source` is told.
struct Sending {
    work: Work,
    sessions: u32,
    octets: u64,
    /// Many messages in a session.
    keep: bool,
    /// Messages of the warm-up.
    warm: u64,
}

/// The rows of this file.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![
        Box::new(SMALL),
        Box::new(MANY),
        Box::new(MEDIUM),
        Box::new(LARGE),
        Box::new(HUNDRED),
        Box::new(CONNECT),
    ]
}

const SMALL: Sending = Sending {
    work: Work {
        name: "small",
        work: "4 KiB, 20 sessions",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::Above(8.0)),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(0.05)),
            Figure::memory(),
        ],
    },
    sessions: 20,
    octets: 4096,
    keep: true,
    warm: 2000,
};

const MANY: Sending = Sending {
    work: Work {
        name: "many",
        work: "4 KiB, 100 sessions",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::Above(10.0)),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(0.05)),
            Figure::memory(),
        ],
    },
    sessions: 100,
    warm: 3000,
    ..SMALL
};

const MEDIUM: Sending = Sending {
    work: Work {
        name: "medium",
        work: "64 KiB, 20 sessions",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::Above(3.0)),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(0.125)),
            Figure::memory(),
        ],
    },
    octets: 65_536,
    warm: 1000,
    ..SMALL
};

const LARGE: Sending = Sending {
    work: Work {
        name: "large",
        work: "1 MiB, 8 sessions",
        figures: &[
            Figure::more("megabytes", "MB/s", 0).aim(Aim::AboveOr(3.0, "disk")),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(1.0 / 3.0)),
            Figure::more("disk", "MB/s the disk alone does, durably", 0).detail(),
            Figure::memory(),
        ],
    },
    sessions: 8,
    octets: 1_048_576,
    warm: 100,
    ..SMALL
};

const HUNDRED: Sending = Sending {
    work: Work {
        name: "hundred",
        work: "100 KiB, 20 sessions",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::AtLeast(2250.0)),
            Figure::less("cpu", CPU, 1),
            Figure::memory(),
        ],
    },
    octets: 102_400,
    warm: 800,
    ..SMALL
};

const CONNECT: Sending = Sending {
    work: Work {
        name: "connect",
        work: "new connection per 4 KiB message, 20 at once",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::Above(4.0)),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(1.0 / 15.0)),
            Figure::memory(),
        ],
    },
    keep: false,
    warm: 1000,
    ..SMALL
};

impl Row for Sending {
    fn work(&self) -> Work {
        self.work
    }

    fn concerns(&self, server: Server) -> bool {
        // A row about sessions or connections says nothing of a server that gets few.
        let about_sessions = self.sessions > SESSIONS_USUAL || !self.keep;
        !about_sessions || server.sessions_max() >= self.sessions
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = Running::start(bench)?;
        let messages = warm_up(bench, self.sessions, self.warm, |messages| {
            self.send(bench, &running, messages)
        })?;
        running.settle()?;
        let before = running.meter.read()?;
        let took = self.send(bench, &running, messages)?.as_secs_f64();
        let memory = processes::pss_kib() as f64 / 1024.0;
        running.settle()?;
        let after = running.meter.read()?;
        let cpu = after.since(&before).as_secs_f64();
        let mut figures = BTreeMap::from([
            ("rate", messages as f64 / took),
            ("cpu", cpu * 1e6 / messages as f64),
            ("megabytes", (messages * self.octets) as f64 / took / 1e6),
            ("memory", memory),
        ]);
        if bench.server == Server::Sluicegate {
            figures.insert("disk", bench.disk);
        }
        Ok(Sample {
            figures,
            cpu_seconds: cpu,
            wall_seconds: took,
            units: messages,
            ..Sample::default()
        })
    }
}

impl Sending {
    fn send(
        &self,
        bench: &Bench<'_>,
        running: &Running,
        messages: u64,
    ) -> Result<Duration, String> {
        let sessions = self.sessions.min(bench.server.sessions_max());
        source(bench, running.address, (sessions, self.octets, messages), self.keep)
    }
}

/// Warms up; how many messages take as long as asked for. A slow server is warm sooner. `carry` does so many and
/// says how long they took.
pub fn warm_up(
    bench: &Bench<'_>,
    sessions: u32,
    warm: u64,
    carry: impl Fn(u64) -> Result<Duration, String>,
) -> Result<u64, String> {
    let least = u64::from(sessions) * 2;
    let full = (warm as f64 * (bench.seconds / WARM_FOR_SECONDS).min(1.0)) as u64;
    let mut messages = least;
    // The first also starts processes and makes files.
    for most in [full, full, MESSAGES_MAX] {
        let took = carry(messages)?.as_secs_f64();
        let wanted = messages as f64 / took * bench.seconds;
        messages = (wanted as u64).clamp(least, most.max(least));
    }
    Ok(messages)
}

/// Sends so many messages of so many octets in so many sessions; `keep`: many messages in a session.
pub fn source(
    bench: &Bench<'_>,
    address: SocketAddrV4,
    (sessions, octets, messages): (u32, u64, u64),
    keep: bool,
) -> Result<Duration, String> {
    let mut command = bench.programs.command(&bench.programs.generator());
    if keep {
        command.arg("-d");
    }
    for (option, number) in [("-s", u64::from(sessions)), ("-l", octets), ("-m", messages)] {
        command.args([option, &number.to_string()]);
    }
    command.args(["-f", "sender@client.test", "-t", "recipient@bench.test"]);
    command.arg(address.to_string());
    let begin = Instant::now();
    let output = command.output().map_err(|error| format!("smtp-source: {error}"))?;
    let took = begin.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("smtp-source: {}: {}", output.status, said.trim()))
}
