//! engine::plan – how much load, for how long, and when each operation starts.
//!
//! An open loop starts operations at times that were fixed before the run ([`schedule`]) and that
//! nothing the server does can move; a closed loop starts the next when one has ended, and so
//! waits with a server that stands still. Only the first measures latency as users see it.
//!
//! Promises: the schedule depends on the plan and its seed only; every run is bounded.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::engine::session::Nanoseconds;

/// Most operations one run may schedule; beyond, memory and not the network would be measured.
pub const OPERATIONS_MAX: u64 = 50_000_000;

/// When operations start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At `rate` per second, whatever the server does.
    Open {
        /// Operations per second.
        rate: f64,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// When the one before has ended, in each of so many sessions.
    Closed {
        /// Sessions, over all threads.
        sessions: usize,
    },
}

/// How the operations of an open loop are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Evenly.
    Fixed,
    /// As independent users come: exponentially distributed gaps.
    Poisson,
}

/// What to do to a server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When operations start.
    pub load: Load,
    /// How long operations are started, warm-up included.
    pub duration: Duration,
    /// Operations at most, if fewer than the duration allows.
    pub count: Option<u64>,
    /// What starts earlier than this is done and not counted.
    pub warm_up: Duration,
    /// Open loop: sessions at most, over all threads; arrivals beyond wait (the backlog).
    pub sessions_max: usize,
    /// Sessions that log in before the run and are held idle through it, over all threads.
    pub idle: usize,
    /// Threads, each with a ring of its own.
    pub threads: usize,
    /// The processor of each thread, if they are to be pinned.
    pub pins: Vec<usize>,
    /// An operation that takes longer has failed.
    pub timeout: Duration,
    /// How long operations that are open at the end may take before they count as unfinished.
    pub drain: Duration,
    /// Operations dispatched later than this are late; more than one in a hundred invalidates a run.
    pub late: Duration,
    /// Where chance begins.
    pub seed: u64,
}

impl Plan {
    /// A closed loop of one session for a second; tests change what they need.
    pub fn small() -> Self {
        Self {
            load: Load::Closed { sessions: 1 },
            duration: Duration::from_secs(1),
            count: None,
            warm_up: Duration::ZERO,
            sessions_max: 256,
            idle: 0,
            threads: 1,
            pins: Vec::new(),
            timeout: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            late: Duration::from_millis(10),
            seed: 1,
        }
    }

    /// Operations at most.
    pub fn count_max(&self) -> u64 {
        self.count.unwrap_or(u64::MAX).min(OPERATIONS_MAX)
    }
}

/// When each operation of an open loop starts, ascending; empty for a closed loop.
pub fn schedule(plan: &Plan) -> Vec<Nanoseconds> {
    let Load::Open { rate, arrivals } = plan.load else { return Vec::new() };
    let end = plan.duration.as_nanos() as f64;
    let gap = 1e9 / rate;
    let mut chance = SmallRng::seed_from_u64(plan.seed);
    let mut times = Vec::new();
    let mut at = 0.0_f64;
    while (times.len() as u64) < plan.count_max() {
        at = match arrivals {
            // Not by adding up: a million additions drift.
            Arrivals::Fixed => times.len() as f64 * gap,
            // 1 - [0, 1) is never 0, whose logarithm nobody could wait for.
            Arrivals::Poisson => at - gap * (1.0 - chance.random::<f64>()).ln(),
        };
        if at >= end {
            break;
        }
        times.push(at as Nanoseconds);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rate: f64, arrivals: Arrivals) -> Plan {
        Plan {
            load: Load::Open { rate, arrivals },
            duration: Duration::from_secs(10),
            ..Plan::small()
        }
    }

    #[test]
    fn fixed_arrivals_are_even_and_do_not_drift() {
        let times = schedule(&open(3000.0, Arrivals::Fixed));
        assert_eq!(times.len(), 30_000);
        assert_eq!((times[0], times[3], times[29_997]), (0, 1_000_000, 9_999_000_000));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let plan = open(1000.0, Arrivals::Poisson);
        let times = schedule(&plan);
        // 10,000 expected, with a standard deviation of 100.
        assert!((9_500..10_500).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.9..1.1).contains(&(variance.sqrt() / mean)), "{variance} {mean}");
        assert_eq!(times, schedule(&plan), "the same seed gives the same times");
        assert_ne!(times, schedule(&Plan { seed: 2, ..plan }));
    }

    #[test]
    fn a_count_bounds_the_schedule_and_a_closed_loop_has_none() {
        assert_eq!(schedule(&Plan { count: Some(7), ..open(1e6, Arrivals::Fixed) }).len(), 7);
        assert!(schedule(&Plan::small()).is_empty());
    }
}
