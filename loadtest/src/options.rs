//! options – the options that every generator has: how much load, for how long, from what.
//!
//! Promises: every default is bounded (ten seconds); a value that makes no sense is refused with
//! what would; an address that is not this machine needs `--i-own-this-host`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::Args;

use crate::engine::plan::{Arrivals, Load, Plan};

/// What is not counted at the begin of a run by default.
const WARM_UP: Duration = Duration::from_secs(1);
/// Open sessions of an open loop, unless told.
const SESSIONS_OPEN: usize = 256;
/// Sessions of a closed loop, unless told.
const SESSIONS_CLOSED: usize = 8;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Stop {
    /// It was asked for something that makes no sense; exit status 2.
    Usage(String),
    /// It failed; exit status 1.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// How much load, for how long.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Open loop: start so many operations per second, whatever the server does
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100.0)]
    pub rate: f64,
    /// Open loop: how operations are spaced
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Arrivals,
    /// Closed loop: each session starts its next operation when the one before has ended.
    /// For capacity only: its latencies leave out what waits while the server stands still
    #[arg(long, conflicts_with_all = ["rate", "arrivals"])]
    pub closed: bool,
    /// Sessions at once [default: 8 closed; at most 256 open, what arrives beyond waits]
    #[arg(long, value_name = "N")]
    pub sessions: Option<NonZeroUsize>,
    /// Start operations for so long, warm-up included (seconds, or 500ms, 2m, 1h)
    #[arg(long, value_parser = duration, default_value = "10", value_name = "TIME")]
    pub duration: Duration,
    /// Stop after so many operations
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Do, but do not count, what starts in the first so many seconds [default: 1; with --count 0]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub warm_up: Option<Duration>,
    /// Do everything so many times; the median is reported, with least and greatest
    #[arg(long, default_value = "1", value_name = "N")]
    pub repeats: NonZeroUsize,
    /// Log in with so many sessions before the run and hold them idle through it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub idle: usize,
    /// An operation that takes longer has failed
    #[arg(long, value_parser = duration, default_value = "30", value_name = "TIME")]
    pub timeout: Duration,
    /// How long what is open at the end may take before it counts as unfinished
    #[arg(long, value_parser = duration, default_value = "5", value_name = "TIME")]
    pub drain: Duration,
    /// The run is invalid if more than one operation in a hundred was dispatched later than this
    #[arg(long, value_parser = duration, default_value = "10ms", value_name = "TIME")]
    pub late: Duration,
    /// Threads of the generator [default: one per processor, or per processor of --pin]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Pin the threads to these processors, round and round
    #[arg(long, value_delimiter = ',', value_name = "CPU,…")]
    pub pin: Vec<usize>,
    /// Where chance begins: the same seed makes the same operations
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Allow an address that is not this machine's loopback. Only for hosts that are yours to load
    #[arg(long)]
    pub i_own_this_host: bool,
}

impl LoadOptions {
    /// The plan of one repeat.
    pub fn plan(&self) -> Result<Plan, String> {
        let sensible = self.rate > 0.0 && self.rate.is_finite();
        if !self.closed && !sensible {
            return Err(format!("--rate {}: not a number of operations per second", self.rate));
        }
        // A count is soon used up: it would be so before anything counts.
        let usual = if self.count.is_some() { Duration::ZERO } else { WARM_UP };
        let warm_up = self.warm_up.unwrap_or(usual);
        if warm_up >= self.duration {
            return Err(format!(
                "--warm-up {:?} leaves nothing of --duration {:?} to measure (shorten the one or \
                 lengthen the other)",
                warm_up, self.duration
            ));
        }
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let sessions = |default| self.sessions.map_or(default, NonZeroUsize::get);
        let load = if self.closed {
            Load::Closed { sessions: sessions(SESSIONS_CLOSED) }
        } else {
            Load::Open { rate: self.rate, arrivals: self.arrivals }
        };
        let wished = self.threads.map_or(
            if self.pin.is_empty() { processors } else { self.pin.len() },
            NonZeroUsize::get,
        );
        let most = match load {
            Load::Closed { sessions } => sessions,
            Load::Open { .. } => sessions(SESSIONS_OPEN),
        };
        Ok(Plan {
            load,
            duration: self.duration,
            count: self.count.map(NonZeroU64::get),
            warm_up,
            sessions_max: most,
            idle: self.idle,
            threads: wished.min(most),
            pins: self.pin.clone(),
            timeout: self.timeout,
            drain: self.drain,
            late: self.late,
            seed: self.seed,
        })
    }

    /// Where `host` is, if we may load it.
    pub fn resolve(&self, host: &str, port: u16) -> Result<SocketAddr, String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = (bare, port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error} (is the name right?)"))?;
        let address = addresses.next().ok_or_else(|| format!("{host}: has no address"))?;
        if address.ip().is_loopback() || self.i_own_this_host {
            return Ok(address);
        }
        Err(format!(
            "{host} is {}, which is not this machine's loopback (load on other people's hosts is an \
             attack; if it is yours to load, say --i-own-this-host)",
            address.ip()
        ))
    }
}

/// `10`, `1.5` (seconds), `500ms`, `10s`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time (ms, s, m, h)")),
    };
    let number: f64 = number.parse().map_err(|_| "not a time, like 10, 500ms or 2m".to_owned())?;
    let whole = number * seconds;
    // A week: beyond it somebody mistook the unit.
    if whole > 7.0 * 24.0 * 3600.0 {
        return Err("more than a week".to_owned());
    }
    Ok(Duration::from_secs_f64(whole))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        load: LoadOptions,
    }

    fn options(line: &str) -> Result<LoadOptions, String> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        Only::try_parse_from(words).map(|only| only.load).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_an_open_loop_of_ten_seconds() {
        let plan = options("").unwrap().plan().unwrap();
        assert_eq!(plan.load, Load::Open { rate: 100.0, arrivals: Arrivals::Poisson });
        assert_eq!(plan.duration, Duration::from_secs(10));
        assert!(plan.threads >= 1);
    }

    #[test]
    fn a_closed_loop_has_no_rate_and_no_more_threads_than_sessions() {
        let plan = options("--closed --sessions 1 --threads 4").unwrap().plan().unwrap();
        assert_eq!((plan.load, plan.threads), (Load::Closed { sessions: 1 }, 1));
        assert!(options("--closed --rate 5").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--rate 0", "--rate -1", "--rate inf", "--rate NaN", "--warm-up 10"] {
            assert!(options(line).and_then(|options| options.plan()).is_err(), "{line}");
        }
        for line in ["--duration 5x", "--duration 1e9", "--duration .", "--sessions 0"] {
            assert!(options(line).is_err(), "{line}");
        }
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn only_loopback_is_loaded_unasked() {
        let unasked = options("").unwrap();
        assert!(unasked.resolve("127.0.0.1", 21).is_ok());
        assert!(unasked.resolve("[::1]", 21).is_ok());
        let why = unasked.resolve("192.0.2.1", 21).unwrap_err();
        assert!(why.contains("--i-own-this-host"), "{why}");
        assert!(options("--i-own-this-host").unwrap().resolve("192.0.2.1", 21).is_ok());
    }
}
