//! report::result – everything that is told about a run; what `--json` writes.
//!
//! Promises: times are microseconds, rates per second, sizes octets; every percentile is of one
//! merged histogram; the median over repeats stands beside least and greatest.
//! Not here: any form (`summary`, `files`, `html`).

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::capacity::Capacity;
use crate::engine::plan::{Arrivals, Load, Plan};
use crate::engine::recorder::{Named, Recording, Second};
use crate::machine::{self, Machine};
use crate::run::About;

/// A whole run with its repeats.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub protocol: &'static str,
    pub target: String,
    pub command: String,
    pub settings: Vec<(&'static str, String)>,
    pub load: LoadInfo,
    pub machine: Machine,
    /// No repeat was invalid or ended early.
    pub valid: bool,
    pub summary: Summary,
    pub repeats: Vec<Repeat>,
    pub capacity: Option<Capacity>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct LoadInfo {
    /// `open` or `closed`.
    pub r#loop: &'static str,
    pub rate: Option<f64>,
    pub arrivals: Option<&'static str>,
    pub sessions_max: usize,
    pub idle_sessions: usize,
    pub duration_seconds: f64,
    pub warm_up_seconds: f64,
    pub count: Option<u64>,
    pub timeout_seconds: f64,
    pub threads: usize,
    pub pinned_to: Vec<usize>,
    pub seed: u64,
    pub late_limit_us: f64,
}

/// Over the repeats.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub achieved_rate: Spread,
    pub received_per_second: Spread,
    pub sent_per_second: Spread,
    pub failed: Spread,
    pub p50_us: Spread,
    pub p90_us: Spread,
    pub p99_us: Spread,
    pub p999_us: Spread,
    pub max_us: Spread,
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

/// One repeat.
#[derive(Clone, Debug, Serialize)]
pub struct Repeat {
    pub scheduled: u64,
    pub done: u64,
    pub failed: u64,
    pub unfinished: u64,
    pub warm_up_operations: u64,
    pub measured_seconds: f64,
    pub achieved_rate: f64,
    pub received: u64,
    pub sent: u64,
    pub received_per_second: f64,
    pub sent_per_second: f64,
    /// Open loop: from the scheduled start; closed: as `service`.
    pub latency: Percentiles,
    /// From when a session began.
    pub service: Percentiles,
    /// From the scheduled start to when a session began.
    pub wait: Percentiles,
    pub backlog_max: u64,
    pub phases: Vec<NamedPercentiles>,
    pub kinds: Vec<NamedPercentiles>,
    pub errors: BTreeMap<String, u64>,
    pub counters: BTreeMap<&'static str, u64>,
    pub connections: u64,
    pub idle_held: u64,
    pub idle_lost: u64,
    pub generator: Generator,
    /// Why it is not whole.
    pub partial: Option<String>,
    pub series: Vec<SecondInfo>,
}

/// How the generator itself did.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    pub cpu_seconds: f64,
    /// Of its threads, 0 to 1; near 1 it was at its own limit.
    pub utilisation: f64,
    /// How late it noticed that operations were due.
    pub lateness: Percentiles,
    pub valid: bool,
}

/// A distribution of times in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// A distribution with its name.
#[derive(Clone, Debug, Serialize)]
pub struct NamedPercentiles {
    pub name: &'static str,
    #[serde(flatten)]
    pub times: Percentiles,
}

/// One second.
#[derive(Clone, Debug, Serialize)]
pub struct SecondInfo {
    pub second: usize,
    /// Whether it lies (also in part) in the warm-up.
    pub warm_up: bool,
    pub scheduled: u64,
    pub done: u64,
    pub failed: u64,
    pub received: u64,
    pub sent: u64,
    pub backlog: u64,
    pub busy: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Outcome {
    /// What these recordings of repeats of `plan` tell.
    pub fn new(
        about: &About,
        plan: &Plan,
        machine: Machine,
        recordings: &[Recording],
        capacity: Option<Capacity>,
    ) -> Self {
        let repeats: Vec<Repeat> = recordings.iter().map(|one| Repeat::new(one, plan)).collect();
        let whole = |repeat: &Repeat| repeat.generator.valid && repeat.partial.is_none();
        Self {
            protocol: about.protocol,
            target: about.target.clone(),
            command: machine::command(),
            settings: about.settings.clone(),
            load: LoadInfo::new(plan),
            machine,
            valid: !repeats.is_empty() && repeats.iter().all(whole),
            summary: Summary::new(&repeats),
            repeats,
            capacity,
        }
    }

    /// The repeat whose p99 is the median, which plots show.
    pub fn typical(&self) -> usize {
        let mut order: Vec<usize> = (0..self.repeats.len()).collect();
        let p99 = |index: &usize| self.repeats[*index].latency.p99_us;
        order.sort_by(|one, other| p99(one).total_cmp(&p99(other)));
        order.get(order.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// Whether latencies count from a schedule.
    pub fn is_open(&self) -> bool {
        self.load.rate.is_some()
    }
}

impl LoadInfo {
    fn new(plan: &Plan) -> Self {
        let (kind, rate, arrivals) = match plan.load {
            Load::Open { rate, arrivals: Arrivals::Fixed } => ("open", Some(rate), Some("fixed")),
            Load::Open { rate, arrivals: Arrivals::Poisson } => {
                ("open", Some(rate), Some("poisson"))
            }
            Load::Closed { .. } => ("closed", None, None),
        };
        Self {
            r#loop: kind,
            rate,
            arrivals,
            sessions_max: plan.sessions_max,
            idle_sessions: plan.idle,
            duration_seconds: plan.duration.as_secs_f64(),
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            count: plan.count,
            timeout_seconds: plan.timeout.as_secs_f64(),
            threads: plan.threads,
            pinned_to: plan.pins.clone(),
            seed: plan.seed,
            late_limit_us: us(plan.late),
        }
    }
}

impl Summary {
    fn new(repeats: &[Repeat]) -> Self {
        let of = |value: fn(&Repeat) -> f64| Spread::of(repeats.iter().map(value).collect());
        Self {
            achieved_rate: of(|one| one.achieved_rate),
            received_per_second: of(|one| one.received_per_second),
            sent_per_second: of(|one| one.sent_per_second),
            failed: of(|one| one.failed as f64),
            p50_us: of(|one| one.latency.p50_us),
            p90_us: of(|one| one.latency.p90_us),
            p99_us: of(|one| one.latency.p99_us),
            p999_us: of(|one| one.latency.p999_us),
            max_us: of(|one| one.latency.max_us),
        }
    }
}

impl Spread {
    /// Of these values; zero of none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (values.first(), values.last()) else {
            return Self { median: 0.0, least: 0.0, greatest: 0.0 };
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Self { median, least, greatest }
    }
}

impl Repeat {
    /// What one recording tells.
    pub fn new(recording: &Recording, plan: &Plan) -> Self {
        let seconds = recording.measured.as_secs_f64();
        let per_second = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let warm = plan.warm_up.as_secs_f64();
        let series = recording.seconds.iter().enumerate();
        Self {
            scheduled: recording.scheduled,
            done: recording.done,
            failed: recording.failed,
            unfinished: recording.unfinished,
            warm_up_operations: recording.warm_up_operations,
            measured_seconds: seconds,
            achieved_rate: per_second(recording.done),
            received: recording.received,
            sent: recording.sent,
            received_per_second: per_second(recording.received),
            sent_per_second: per_second(recording.sent),
            latency: Percentiles::of(&recording.latency),
            service: Percentiles::of(&recording.service),
            wait: Percentiles::of(&recording.wait),
            backlog_max: recording.backlog_max,
            phases: named(&recording.phases),
            kinds: named(&recording.kinds),
            errors: recording.errors.clone(),
            counters: recording.counters.clone(),
            connections: recording.connections,
            idle_held: recording.held,
            idle_lost: recording.held_lost,
            generator: Generator {
                cpu_seconds: recording.cpu.as_secs_f64(),
                utilisation: recording.cpu.as_secs_f64()
                    / recording.wall.as_secs_f64().max(f64::MIN_POSITIVE),
                lateness: Percentiles::of(&recording.lateness),
                valid: recording.late(plan.late).is_none(),
            },
            partial: recording.partial.clone(),
            series: series
                .map(|(second, figures)| SecondInfo::new(second, (second as f64) < warm, figures))
                .collect(),
        }
    }
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let some = !histogram.is_empty();
        Self {
            count: histogram.len(),
            mean_us: if some { histogram.mean() / 1e3 } else { 0.0 },
            min_us: histogram.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl SecondInfo {
    fn new(second: usize, warm_up: bool, figures: &Second) -> Self {
        let at = |quantile: f64| figures.latency_us.value_at_quantile(quantile) as f64;
        Self {
            second,
            warm_up,
            scheduled: figures.scheduled,
            done: figures.done,
            failed: figures.failed,
            received: figures.received,
            sent: figures.sent,
            backlog: figures.backlog,
            busy: figures.busy,
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: figures.latency_us.max() as f64,
        }
    }
}

fn named(all: &[Named]) -> Vec<NamedPercentiles> {
    let some = all.iter().filter(|one| !one.histogram.is_empty());
    some.map(|one| NamedPercentiles { name: one.name, times: Percentiles::of(&one.histogram) })
        .collect()
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::{outcome, recording};
    use crate::engine::recorder::record;

    #[test]
    fn the_typical_repeat_has_the_median_p99() {
        let slower = |by: u64| {
            let mut one = recording();
            (0..1000).for_each(|_| record(&mut one.latency, by * 1_000_000_000));
            one
        };
        let recordings = [slower(9), slower(1), slower(5), slower(2), slower(7)];
        assert_eq!(outcome(&recordings).typical(), 2);
        assert_eq!(outcome(&recordings[..1]).typical(), 0);
        assert_eq!(outcome(&[]).typical(), 0);
        assert!(!outcome(&[]).valid);
    }

    #[test]
    fn a_late_generator_invalidates() {
        let mut late = recording();
        (0..1000).for_each(|_| record(&mut late.lateness, 5_000_000_000));
        let outcome = outcome(&[recording(), late]);
        assert!(!outcome.valid);
        assert_eq!([0, 1].map(|at| outcome.repeats[at].generator.valid), [true, false]);
        let text = super::super::summary::text(&outcome);
        assert!(text.contains("INVALID: repeat 2: the generator itself was late"), "{text}");
    }
}
