//! run::tests – whole runs with their reports, against servers of a few lines.
//!
//! The protocol says `x` and waits for `y`. The server's capacity does not depend on the machine: its
//! answers are due at fixed distances, and a thread that slept too long does not move the next.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;

use super::*;
use crate::engine::session::{Event, Io, Nanoseconds, Payload, Receive, Session};
use crate::report::capacity::Ended;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: OutputOptions,
}

struct Ask {
    server: SocketAddr,
}

struct Asking {
    server: SocketAddr,
    connected: bool,
    since: Nanoseconds,
}

impl Protocol for Ask {
    type Session = Asking;
    fn phases(&self) -> &[&'static str] {
        &["connect", "answer"]
    }
    fn kinds(&self) -> &[&'static str] {
        &["ask"]
    }
    fn session(self: &Arc<Self>, _number: u64) -> Asking {
        Asking { server: self.server, connected: false, since: 0 }
    }
}

impl Session for Asking {
    fn on(&mut self, event: Event<'_>, io: &mut Io) {
        match event {
            Event::Work(_) if !self.connected => {
                self.since = io.now();
                io.connect(0, self.server, Receive::Small);
            }
            Event::Connected(_) => {
                io.phase(0, self.since);
                self.connected = true;
                self.since = io.now();
                io.send(0, Payload::Static(b"x"));
            }
            Event::Work(_) => {
                self.since = io.now();
                io.send(0, Payload::Static(b"x"));
            }
            Event::Received(..) => {
                io.phase(1, self.since);
                io.done(0, 1, 1);
            }
            Event::Failed(_, why) => {
                io.failed(self.stage(), why);
                io.finish();
            }
            Event::Ended(..) => {
                io.failed(self.stage(), "closed");
                io.finish();
            }
            Event::Quit => io.finish(),
            _ => {}
        }
    }

    fn stage(&self) -> &'static str {
        if self.connected { "answer" } else { "connect" }
    }
}

/// A server that answers once in `gap`, whoever asks.
fn server(gap: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let next = Arc::new(Mutex::new(Instant::now()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let mut octet = [0];
                while stream.read_exact(&mut octet).is_ok() {
                    let due = {
                        let mut next = next.lock().unwrap();
                        *next = (*next).max(Instant::now()) + gap;
                        *next
                    };
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stream.write_all(b"y").is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn about(server: SocketAddr) -> About {
    About {
        protocol: "ask",
        target: format!("ask://{server}/"),
        settings: vec![("octets", "1".into())],
    }
}

fn go(server: SocketAddr, line: &str) -> Result<Vec<Recording>, String> {
    let words = std::iter::once("loadtest").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    run(&cli.load, &cli.output, &about(server), |_| Ok(Arc::new(Ask { server })))
}

/// A folder of this test, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.0.join("run.json")).unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn finds_a_known_capacity() {
    let server = server(Duration::from_millis(5));
    let scratch = Scratch::new("capacity");
    let line = format!(
        "--quiet --find-capacity --rate 60 --arrivals fixed --p99-ms 100 --step 1 --late 1 --threads 1 \
         --json {0}/run.json --report {0}/run.html",
        scratch.0.display()
    );
    let recordings = go(server, &line).unwrap();
    assert_eq!(recordings.len(), 1, "that of the knee");
    let capacity = &scratch.json()["capacity"];
    // 200/s; a step of one second with a tenth more ends 100 ms behind. A disturbed machine finds less.
    let knee = capacity["knee"].as_f64().unwrap();
    assert!((60.0..=260.0).contains(&knee), "{capacity:#}");
    assert_eq!(capacity["ended"], serde_json::to_value(Ended::Found).unwrap());
    let steps = capacity["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["verdict"] == "breaks"), "{capacity:#}");
    assert_eq!(scratch.json()["load"]["rate"], knee);
    let page = fs::read_to_string(scratch.0.join("run.html")).unwrap();
    assert!(page.contains("<h2>Search</h2>") && page.contains("objective"));
}

#[test]
fn every_form_of_report_is_written() {
    let server = server(Duration::from_micros(100));
    let scratch = Scratch::new("forms");
    let line = format!(
        "--quiet --rate 200 --duration 2.2 --warm-up 200ms --repeats 3 --late 1 --json {0}/run.json \
         --report {0}/run.html --series {0}/run.csv --hgrm {0}/hgrm",
        scratch.0.display()
    );
    let recordings = go(server, &line).unwrap();
    let json = scratch.json();
    assert_eq!(recordings.len(), 3);
    for (index, recording) in recordings.iter().enumerate() {
        assert_eq!(json["repeats"][index]["done"], recording.done);
        assert_eq!(json["repeats"][index]["latency"]["count"], recording.latency.len());
    }
    let median = json["summary"]["p99_us"]["median"].as_f64().unwrap();
    let mut p99: Vec<f64> =
        recordings.iter().map(|one| one.latency.value_at_quantile(0.99) as f64 / 1e3).collect();
    p99.sort_by(f64::total_cmp);
    assert_eq!(median, p99[1]);
    assert!(json["machine"]["kernel"].as_str().is_some_and(|kernel| kernel != "unknown"));
    let page = fs::read_to_string(scratch.0.join("run.html")).unwrap();
    for part in ["Latency by percentile", "Second by second", "Repeats", "congestion control"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("NaN"));
    assert!(fs::read_to_string(scratch.0.join("run.csv")).unwrap().lines().count() > 6);
    let hgrm = fs::read_to_string(scratch.0.join("hgrm/repeat-1/phase-answer.hgrm")).unwrap();
    assert!(hgrm.contains("#[Max"), "{hgrm}");
}

#[test]
fn nobody_there_is_reported_and_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let scratch = Scratch::new("nobody");
    let line = format!(
        "--quiet --rate 50 --duration 1 --warm-up 100ms --json {0}/run.json --report {0}/run.html",
        scratch.0.display()
    );
    let why = go(nobody, &line).unwrap_err();
    assert!(why.contains("no operation succeeded") && why.contains("refused"), "{why}");
    let json = scratch.json();
    assert_eq!(json["repeats"][0]["done"], 0);
    assert!(json["repeats"][0]["errors"].as_object().is_some_and(|kinds| !kinds.is_empty()));
    assert!(fs::read_to_string(scratch.0.join("run.html")).unwrap().contains("refused"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let server = server(Duration::from_micros(100));
    let line = "--quiet --rate 50 --duration 1 --warm-up 100ms --json /nowhere/run.json";
    let why = go(server, line).unwrap_err();
    assert!(why.contains("/nowhere/run.json"), "{why}");
}
