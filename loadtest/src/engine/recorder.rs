//! engine::recorder – what a run measured: histograms, counters and a series of seconds.
//!
//! Each thread has a [`Recording`] of its own; [`Recording::merge`] adds them up. Percentiles are
//! only ever taken of a merged histogram, never averaged.
//!
//! Promises: a measured value is recorded whole (the histograms grow), in nanoseconds with three
//! digits; kinds of errors are bounded in number, whatever a server says.
//! Not here: how a person sees it (`report`).

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::session::Nanoseconds;

/// Kinds of errors told apart; more are counted together.
const ERROR_KINDS_MAX: usize = 200;

/// Digits of every histogram of a whole run.
const DIGITS: u8 = 3;

/// Digits of the histograms of one second, of which there are many.
const SECOND_DIGITS: u8 = 2;

/// A histogram with the name of what it holds, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Named {
    /// Of a phase (`EPSV`) or a kind of operation (`RETR`).
    pub name: &'static str,
    /// Nanoseconds.
    pub histogram: Histogram<u64>,
}

/// One second of a run, by the time things happened.
#[derive(Clone, Debug)]
pub struct Second {
    /// Operations that were to start in it.
    pub scheduled: u64,
    /// Operations that succeeded in it.
    pub done: u64,
    /// Operations that failed in it.
    pub failed: u64,
    /// Octets received in it, of dialogues and data, as they came.
    pub received: u64,
    /// Octets sent in it.
    pub sent: u64,
    /// Most operations that were due and had no session, at once.
    pub backlog: u64,
    /// Sessions at its end that had an operation open.
    pub busy: u64,
    /// Latencies (as `Recording::latency`) of what succeeded in it, in microseconds, warm-up included.
    pub latency_us: Histogram<u64>,
}

/// What one thread, or all of them, measured.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Open loop: from the scheduled start to success. Closed loop: the same as `service`.
    pub latency: Histogram<u64>,
    /// From when a session began the operation to success.
    pub service: Histogram<u64>,
    /// Open loop: from the scheduled start to when a session began the operation.
    pub wait: Histogram<u64>,
    /// Open loop: how late the generator itself noticed that an operation was due.
    pub lateness: Histogram<u64>,
    /// By phase, in the protocol's order.
    pub phases: Vec<Named>,
    /// Latency by kind of operation, in the protocol's order.
    pub kinds: Vec<Named>,
    /// Failed operations by `stage: what`, e.g. `login: 530`.
    pub errors: BTreeMap<String, u64>,
    /// What protocols count for themselves.
    pub counters: BTreeMap<&'static str, u64>,
    /// Second by second from the beginning, warm-up included.
    pub seconds: Vec<Second>,
    /// Operations scheduled (open loop) or started (closed), without warm-up; likewise below.
    pub scheduled: u64,
    /// Operations that succeeded.
    pub done: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations that were open, or still waited for a session, at the end.
    pub unfinished: u64,
    /// Operations of the warm-up, however they ended.
    pub warm_up_operations: u64,
    /// Payload octets received by operations that succeeded.
    pub received: u64,
    /// Payload octets sent by operations that succeeded.
    pub sent: u64,
    /// Most operations that were due and had no session, at once (summed over threads: at most).
    pub backlog_max: u64,
    /// Connections opened, of any kind, warm-up included.
    pub connections: u64,
    /// Idle sessions that were held at the beginning, and of them those lost before the end.
    pub held: u64,
    /// Idle sessions lost.
    pub held_lost: u64,
    /// From the end of the warm-up to the last end of an operation.
    pub measured: Duration,
    /// Processor time of the generator's threads, warm-up included.
    pub cpu: Duration,
    /// Wall time of the generator's threads summed up; `cpu / wall` near 1 means it was at its limit.
    pub wall: Duration,
    /// Interrupted, or the server refused everything: what is here is not the whole plan.
    pub partial: Option<String>,
}

impl Second {
    fn new() -> Self {
        Self {
            scheduled: 0,
            done: 0,
            failed: 0,
            received: 0,
            sent: 0,
            backlog: 0,
            busy: 0,
            latency_us: histogram(SECOND_DIGITS),
        }
    }

    /// Adds another thread's figures for the same second.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.done += other.done;
        self.failed += other.failed;
        self.received += other.received;
        self.sent += other.sent;
        self.backlog += other.backlog;
        self.busy += other.busy;
        add(&mut self.latency_us, &other.latency_us);
    }
}

impl Recording {
    /// Nothing yet, with room for these phases and kinds.
    pub fn new(phases: &[&'static str], kinds: &[&'static str]) -> Self {
        let named = |names: &[&'static str]| {
            names.iter().map(|&name| Named { name, histogram: histogram(DIGITS) }).collect()
        };
        Self {
            latency: histogram(DIGITS),
            service: histogram(DIGITS),
            wait: histogram(DIGITS),
            lateness: histogram(DIGITS),
            phases: named(phases),
            kinds: named(kinds),
            errors: BTreeMap::new(),
            counters: BTreeMap::new(),
            seconds: Vec::new(),
            scheduled: 0,
            done: 0,
            failed: 0,
            unfinished: 0,
            warm_up_operations: 0,
            received: 0,
            sent: 0,
            backlog_max: 0,
            connections: 0,
            held: 0,
            held_lost: 0,
            measured: Duration::ZERO,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            partial: None,
        }
    }

    /// Adds another thread's recording of the same run.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.latency, &other.latency);
        add(&mut self.service, &other.service);
        add(&mut self.wait, &other.wait);
        add(&mut self.lateness, &other.lateness);
        for (own, theirs) in [(&mut self.phases, &other.phases), (&mut self.kinds, &other.kinds)] {
            for (one, another) in own.iter_mut().zip(theirs) {
                add(&mut one.histogram, &another.histogram);
            }
        }
        for (kind, count) in &other.errors {
            self.error(kind.clone(), *count);
        }
        for (what, count) in &other.counters {
            *self.counters.entry(what).or_default() += count;
        }
        for (index, second) in other.seconds.iter().enumerate() {
            self.second(index).merge(second);
        }
        self.scheduled += other.scheduled;
        self.done += other.done;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        self.warm_up_operations += other.warm_up_operations;
        self.received += other.received;
        self.sent += other.sent;
        self.backlog_max += other.backlog_max;
        self.connections += other.connections;
        self.held += other.held;
        self.held_lost += other.held_lost;
        self.measured = self.measured.max(other.measured);
        self.cpu += other.cpu;
        self.wall += other.wall;
        if self.partial.is_none() {
            self.partial.clone_from(&other.partial);
        }
    }

    /// Counts failures of a kind.
    pub fn error(&mut self, kind: String, count: u64) {
        let full = self.errors.len() >= ERROR_KINDS_MAX && !self.errors.contains_key(&kind);
        let kind = if full { "other: too many kinds to tell apart".to_owned() } else { kind };
        *self.errors.entry(kind).or_default() += count;
    }

    /// The second of that number, made if it was not reached before.
    pub fn second(&mut self, index: usize) -> &mut Second {
        while self.seconds.len() <= index {
            self.seconds.push(Second::new());
        }
        &mut self.seconds[index]
    }

    /// The second in which `now` lies.
    pub fn second_at(&mut self, now: Nanoseconds) -> &mut Second {
        self.second((now / 1_000_000_000) as usize)
    }

    /// Whether the generator was itself late: the 99th percentile of its lateness if beyond `late`.
    pub fn late(&self, late: Duration) -> Option<Duration> {
        let p99 = Duration::from_nanos(self.lateness.value_at_quantile(0.99));
        (p99 > late).then_some(p99)
    }
}

/// Records a value of any size.
pub fn record(histogram: &mut Histogram<u64>, value: u64) {
    // Only a histogram that may not grow refuses; these may.
    histogram.record(value).unwrap_or_default();
}

fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.add(other).unwrap_or_default();
}

fn histogram(digits: u8) -> Histogram<u64> {
    let mut histogram = Histogram::new(digits).unwrap_or_else(|_| unreachable!("0 to 5 digits"));
    histogram.auto(true);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_threads_is_recording_in_one() {
        let (mut one, mut two, mut all) = (
            Recording::new(&["connect"], &["RETR"]),
            Recording::new(&["connect"], &["RETR"]),
            Recording::new(&["connect"], &["RETR"]),
        );
        for value in 1..2000_u64 {
            let nanoseconds = value * value * 1000;
            let own = if value % 3 == 0 { &mut one } else { &mut two };
            for recording in [own, &mut all] {
                record(&mut recording.latency, nanoseconds);
                record(&mut recording.phases[0].histogram, nanoseconds * 2);
                recording.second_at(nanoseconds).done += 1;
                recording.error(format!("RETR: {}", value % 4), 1);
            }
        }
        one.merge(&two);
        assert_eq!(one.latency, all.latency);
        assert_eq!(one.phases[0].histogram, all.phases[0].histogram);
        assert_eq!(one.errors, all.errors);
        let done = |recording: &Recording| -> Vec<u64> {
            recording.seconds.iter().map(|second| second.done).collect()
        };
        assert_eq!(done(&one), done(&all));
    }

    #[test]
    fn a_day_fits_into_a_histogram() {
        let mut recording = Recording::new(&[], &[]);
        record(&mut recording.latency, 86_400_000_000_000);
        assert!(recording.latency.max() >= 86_400_000_000_000);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut recording = Recording::new(&[], &[]);
        for number in 0..10_000 {
            recording.error(format!("RETR: {number}"), 1);
        }
        assert!(recording.errors.len() <= ERROR_KINDS_MAX + 1);
        assert_eq!(recording.errors.values().sum::<u64>(), 10_000);
    }
}
