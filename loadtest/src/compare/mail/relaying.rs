//! compare::mail::relaying – rows of work in which mail goes on: `smtp-source` → server → `smtp-sink`.
//!
//! The time is from the start of the source to the last message at the sink, so that what a server accepts
//! faster than it passes on gains it nothing; the processor time goes on until everything is settled.
//!
//! Promises: the sink counts, and ends when it has as many messages as were sent; one that does not get them
//! fails the row. As it ends before it answers the last of them, that one stays with the server, for each.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::super::figures::{Aim, Figure, Work};
use super::super::processes;
use super::super::report::Sample;
use super::super::running;
use super::patience;
use super::rows::{Bench, Row};
use super::sending::{CPU, RATE, source, warm_up};
use super::servers::{Running, Server};

const SESSIONS: u32 = 20;
/// What is under way may need so long to arrive.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);
const SINK_LIMIT: Duration = Duration::from_secs(10);
/// Connections that may wait for the sink.
const BACKLOG: &str = "1024";

struct Relaying {
    work: Work,
    octets: u64,
    /// Messages of the warm-up.
    warm: u64,
}

/// The rows of this file.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![Box::new(SMALL), Box::new(HUNDRED)]
}

const SMALL: Relaying = Relaying {
    work: Work {
        name: "relay-small",
        work: "4 KiB, 20 sessions, on to smtp-sink",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::Above(5.0)),
            Figure::less("cpu", CPU, 1).aim(Aim::Below(0.125)),
            Figure::more("accepted", "messages/s accepted meanwhile", 0).detail(),
            Figure::memory(),
        ],
    },
    octets: 4096,
    warm: 1500,
};

const HUNDRED: Relaying = Relaying {
    work: Work {
        name: "relay-hundred",
        work: "100 KiB, 20 sessions, on to smtp-sink",
        figures: &[
            Figure::more("rate", RATE, 0).aim(Aim::AtLeast(750.0)),
            Figure::less("cpu", CPU, 1),
            Figure::more("accepted", "messages/s accepted meanwhile", 0).detail(),
            Figure::memory(),
        ],
    },
    octets: 102_400,
    warm: 600,
};

/// How long the source took, and how long until the sink had everything.
struct Took {
    source: Duration,
    whole: Duration,
}

impl Row for Relaying {
    fn work(&self) -> Work {
        self.work
    }

    fn concerns(&self, server: Server) -> bool {
        // What is not durable, or gets a quarter of the sessions, says nothing here.
        matches!(server, Server::Sluicegate | Server::Postfix)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let (sink, _) = running::free_ports()?;
        let running = Running::start_onward(bench, Some(sink))?;
        let messages = warm_up(bench, SESSIONS, self.warm, |messages| {
            Ok(self.carry(bench, &running, sink, messages)?.whole)
        })?;
        running.settle()?;
        let before = running.meter.read()?;
        let took = self.carry(bench, &running, sink, messages)?;
        let memory = processes::pss_kib() as f64 / 1024.0;
        running.settle()?;
        let after = running.meter.read()?;
        let cpu = after.since(&before).as_secs_f64();
        let figures = BTreeMap::from([
            ("rate", messages as f64 / took.whole.as_secs_f64()),
            ("accepted", messages as f64 / took.source.as_secs_f64()),
            ("cpu", cpu * 1e6 / messages as f64),
            ("memory", memory),
        ]);
        Ok(Sample {
            figures,
            cpu_seconds: cpu,
            wall_seconds: took.whole.as_secs_f64(),
            units: messages,
            ..Sample::default()
        })
    }
}

impl Relaying {
    /// So many messages from one end to the other.
    fn carry(
        &self,
        bench: &Bench<'_>,
        running: &Running,
        port: u16,
        messages: u64,
    ) -> Result<Took, String> {
        let mut sink = Sink::open(bench, port, messages)?;
        let begin = Instant::now();
        source(bench, running.address, (SESSIONS, self.octets, messages), true)?;
        let source = begin.elapsed();
        sink.wait().map_err(|why| format!("smtp-sink, {messages} messages: {why}"))?;
        Ok(Took { source, whole: begin.elapsed() })
    }
}

/// `smtp-sink`, until it has what it waits for.
struct Sink(Child);

impl Sink {
    fn open(bench: &Bench<'_>, port: u16, messages: u64) -> Result<Self, String> {
        let mut command = bench.programs.command(&bench.programs.commands().join("smtp-sink"));
        // It wants to be somebody else than root; whom is the same.
        command.args(["-u", "nobody", "-M", &messages.to_string()]);
        command.args([&format!("127.0.0.1:{port}"), BACKLOG]).stdin(Stdio::null());
        let child = command.spawn().map_err(|error| format!("smtp-sink: {error}"))?;
        let sink = Self(child);
        patience(SINK_LIMIT, || TcpStream::connect(("127.0.0.1", port)).is_ok())
            .map_err(|why| format!("smtp-sink: does not listen: {why}"))?;
        Ok(sink)
    }

    fn wait(&mut self) -> Result<(), String> {
        let mut failed = None;
        patience(ARRIVAL_LIMIT, || match self.0.try_wait() {
            Ok(None) => false,
            Ok(Some(status)) => {
                failed = (!status.success()).then(|| status.to_string());
                true
            }
            Err(error) => {
                failed = Some(error.to_string());
                true
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It ended by itself, or is of no use any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
