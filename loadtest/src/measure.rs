//! measure – what the generator itself costs.
//!
//! Two figures. Octets dropped per second of the engine's processor time, against a thread that
//! does nothing but write. Processor time per RETR of a small file, against a server given by its
//! URL, for the engine and for `client`, a bare epoll loop without histograms, schedule or TLS that
//! sends the same commands; the two take turns.
//!
//! Promises: both drop what they receive in the kernel, both log in anonymously; only the thread
//! that drives the sessions is counted. The median of the rounds is what to quote.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::client::fleet::Fleet;
use crate::client::session::{Job, Verb};
use crate::engine::plan::{Load, Plan};
use crate::engine::session::{Event, Io, Protocol, Receive, Session};
use crate::engine::{self};
use crate::ftp::FtpOptions;
use crate::options::Stop;
use crate::sys;

/// Octets one connection gives.
const STREAM_BYTES: u64 = 8 << 30;
/// Octets written at once.
const WRITE_BYTES: usize = 1 << 20;
/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct MeasureOptions {
    /// `ftp://HOST:PORT/PATH` of a small file that anonymous may fetch
    url: Option<String>,
    /// Rounds of each
    #[arg(long, default_value = "5", value_name = "N")]
    rounds: NonZeroUsize,
    /// RETR in a round
    #[arg(long, default_value = "20000", value_name = "N")]
    count: NonZeroU64,
    /// Sessions at once
    #[arg(long, default_value = "16", value_name = "N")]
    sessions: NonZeroUsize,
    /// Pin the generator to this processor
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,
}

/// Measures and prints.
pub fn run(options: &MeasureOptions) -> Result<(), Stop> {
    sys::catch_interrupts();
    let mut rates = Vec::new();
    for _ in 0..options.rounds.get() {
        rates.push(dropping(options.pin)?);
    }
    let per_second = median(rates.iter().map(|(wall, _)| *wall).collect());
    let per_core = median(rates.iter().map(|(_, cpu)| *cpu).collect());
    println!(
        "dropped with MSG_TRUNC: {per_core:.2} GB per second of processor time, {per_second:.2} GB/s"
    );
    let Some(url) = &options.url else { return Ok(()) };
    let ftp = FtpOptions::of(url).map_err(Stop::Usage)?;
    let mut costs = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.get() {
        costs.0.push(by_engine(&ftp, options)?);
        costs.1.push(by_epoll(&ftp, options)?);
    }
    let (engine, epoll) = (median(costs.0), median(costs.1));
    println!(
        "processor time per RETR: engine {engine:.2} µs, epoll {epoll:.2} µs, ratio {:.3}",
        engine / epoll
    );
    Ok(())
}

/// GB per second, and per second of the engine's processor time.
fn dropping(pin: Option<usize>) -> Result<(f64, f64), String> {
    let failed = |error: std::io::Error| format!("the writing server: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let server = listener.local_addr().map_err(failed)?;
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let octets = vec![0; WRITE_BYTES];
        for _ in 0..STREAM_BYTES / WRITE_BYTES as u64 {
            if stream.write_all(&octets).is_err() {
                return;
            }
        }
    });
    let recording = engine::run(&Arc::new(Sink { server }), &plan(1, 1, pin), None)?;
    if recording.received != STREAM_BYTES {
        return Err(format!("{} octets came: {:?}", recording.received, recording.errors));
    }
    let gigabytes = STREAM_BYTES as f64 / 1e9;
    Ok((gigabytes / recording.measured.as_secs_f64(), gigabytes / recording.cpu.as_secs_f64()))
}

fn plan(sessions: usize, count: u64, pin: Option<usize>) -> Plan {
    Plan {
        load: Load::Closed { sessions },
        sessions_max: sessions,
        count: Some(count),
        duration: LIMIT,
        timeout: LIMIT,
        pins: pin.into_iter().collect(),
        ..Plan::small()
    }
}

/// Microseconds of processor time per RETR.
fn by_engine(ftp: &FtpOptions, options: &MeasureOptions) -> Result<f64, String> {
    let (sessions, count) = (options.sessions.get(), options.count.get());
    let plan = plan(sessions, count, options.pin);
    let recording = engine::run(&Arc::new(ftp.protocol(0, 1)?), &plan, None)?;
    if recording.done != count {
        return Err(format!("{} of {count} done: {:?}", recording.done, recording.errors));
    }
    Ok(recording.cpu.as_secs_f64() * 1e6 / count as f64)
}

fn by_epoll(ftp: &FtpOptions, options: &MeasureOptions) -> Result<f64, String> {
    let (sessions, count) = (options.sessions.get(), options.count.get());
    let ftp = ftp.protocol(0, 1)?;
    let (SocketAddr::V4(target), path) = ftp.target() else {
        return Err("the epoll client speaks IPv4 only".to_owned());
    };
    let path = path.to_owned();
    let pin = options.pin;
    let work = move || -> Result<Duration, String> {
        if let Some(cpu) = pin {
            sys::pin_to(cpu).map_err(|error| format!("--pin {cpu}: {error}"))?;
        }
        let before = sys::cpu_time(sys::Whose::Thread).map_err(|error| error.to_string())?;
        fetch(target, sessions, count, &path)?;
        let after = sys::cpu_time(sys::Whose::Thread).map_err(|error| error.to_string())?;
        Ok(after.saturating_sub(before))
    };
    let cpu = thread::spawn(work).join().map_err(|_| "the epoll client panicked".to_owned())??;
    Ok(cpu.as_secs_f64() * 1e6 / count as f64)
}

fn fetch(target: SocketAddrV4, sessions: usize, count: u64, path: &str) -> Result<(), String> {
    let mut fleet = Fleet::new(target, LIMIT)?;
    fleet.log_in(sessions, sessions)?;
    let job = || Job { verb: Verb::Retr, path: path.to_owned(), bytes: None, seed: 0, keep: false };
    fleet.run(sessions, &mut (0..count).map(|_| job()))?;
    fleet.quit()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Connects and drops what comes.
struct Sink {
    server: SocketAddr,
}

#[derive(Default)]
struct Sinking {
    server: Option<SocketAddr>,
    received: u64,
}

impl Protocol for Sink {
    type Session = Sinking;

    fn phases(&self) -> &[&'static str] {
        &[]
    }

    fn kinds(&self) -> &[&'static str] {
        &["stream"]
    }

    fn session(self: &Arc<Self>, _number: u64) -> Sinking {
        Sinking { server: Some(self.server), received: 0 }
    }
}

impl Session for Sinking {
    fn on(&mut self, event: Event<'_>, io: &mut Io) {
        match event {
            Event::Work(_) => {
                if let Some(server) = self.server {
                    io.connect(0, server, Receive::Drop);
                }
            }
            Event::Dropped(_, count) => self.received += count,
            Event::Ended(..) => {
                io.done(0, self.received, 0);
                io.finish();
            }
            Event::Failed(_, why) => {
                io.failed("stream", why);
                io.finish();
            }
            _ => {}
        }
    }

    fn stage(&self) -> &'static str {
        "stream"
    }
}
