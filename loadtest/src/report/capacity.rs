//! report::capacity – the greatest rate at which a server keeps its promise.
//!
//! Open-loop steps: the rate grows by half until a step breaks the objective, then the gap between the
//! last rate that held and the first that did not is halved until it is narrow. The knee is the greatest
//! rate that held.
//!
//! Promises: a step that breaks is tried once more, so that one disturbance of the machine is not taken
//! for the server's limit; a step in which the generator was late ends the search as the generator's
//! limit, not the server's; the number of steps is bounded.
//! Not here: how a step is carried out (`run`).

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::result::Repeat;

/// Growth of the rate while it holds.
const GROWTH: f64 = 1.5;
/// The gap between what held and what did not, relative, at which the search ends.
const NARROW: f64 = 0.04;
/// Steps at most, repetitions included.
const STEPS_MAX: usize = 60;
/// Below this rate nothing is searched.
const RATE_MIN: f64 = 0.5;

/// When a server counts as overloaded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Capacity")]
pub struct CapacityOptions {
    /// Search the greatest rate at which the objectives hold, beginning at --rate; instead of --duration
    /// and --repeats
    #[arg(long, conflicts_with_all = ["closed", "repeats", "count", "duration"])]
    pub find_capacity: bool,
    /// Objective: 99th percentile of the latency from the scheduled start, at most
    #[arg(long, default_value_t = 100.0, value_name = "MS")]
    pub p99_ms: f64,
    /// Objective: operations that failed or did not finish, at most (percent)
    #[arg(long, default_value_t = 0.1, value_name = "PERCENT")]
    pub errors_max: f64,
    /// Time of each step, of which the first fifth is warm-up
    #[arg(long, value_parser = crate::options::duration, default_value = "3", value_name = "TIME")]
    pub step: Duration,
}

/// The result of a search.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    pub p99_limit_us: f64,
    pub errors_limit_percent: f64,
    pub steps: Vec<Step>,
    /// The greatest rate that held; `None` if none did.
    pub knee: Option<f64>,
    pub ended: Ended,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The knee is known as narrowly as it is searched.
    Found,
    /// Not even the least rate held.
    NothingHolds,
    /// The generator was late before the server was.
    GeneratorLimit,
    /// Somebody, or the bound on steps, ended it.
    Early,
}

/// One rate that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub rate: f64,
    pub achieved_rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub errors_percent: f64,
    pub verdict: Verdict,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Holds,
    Breaks,
    /// The generator was late: nothing can be said about the server.
    GeneratorLate,
}

impl CapacityOptions {
    /// Whether they make sense.
    pub fn check(&self) -> Result<(), String> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if !positive(self.p99_ms) {
            return Err(format!("--p99-ms {}: not a time", self.p99_ms));
        }
        if !(0.0..100.0).contains(&self.errors_max) {
            return Err(format!("--errors-max {}: not a percentage below 100", self.errors_max));
        }
        if self.step < Duration::from_millis(200) {
            return Err("--step: shorter than 200ms, nothing settles in that (try 3)".into());
        }
        Ok(())
    }

    /// What a step at `rate` showed.
    pub fn judge(&self, rate: f64, one: &Repeat) -> Step {
        let all = one.done + one.failed + one.unfinished;
        let bad = one.failed + one.unfinished;
        let errors_percent = if all == 0 { 100.0 } else { bad as f64 / all as f64 * 100.0 };
        let holds = errors_percent <= self.errors_max && one.latency.p99_us <= self.p99_ms * 1e3;
        let verdict = match (holds, one.generator.valid) {
            (true, true) => Verdict::Holds,
            (_, false) => Verdict::GeneratorLate,
            (false, true) => Verdict::Breaks,
        };
        Step {
            rate,
            achieved_rate: one.achieved_rate,
            p50_us: one.latency.p50_us,
            p99_us: one.latency.p99_us,
            errors_percent,
            verdict,
        }
    }

    /// Searches from `start` on; `measure` carries out one step, `None` ends the search.
    pub fn search(
        &self,
        start: f64,
        mut measure: impl FnMut(f64) -> Result<Option<Step>, String>,
    ) -> Result<Capacity, String> {
        let mut search = Search { steps: Vec::new(), held: None, broken: None };
        let ended = search.go(start, &mut measure)?;
        Ok(Capacity {
            p99_limit_us: self.p99_ms * 1e3,
            errors_limit_percent: self.errors_max,
            knee: search.held,
            steps: search.steps,
            ended,
        })
    }
}

struct Search {
    steps: Vec<Step>,
    /// Greatest rate that held.
    held: Option<f64>,
    /// Least rate that broke.
    broken: Option<f64>,
}

impl Search {
    fn go(
        &mut self,
        start: f64,
        measure: &mut impl FnMut(f64) -> Result<Option<Step>, String>,
    ) -> Result<Ended, String> {
        let mut rate = start;
        loop {
            match self.attempt(rate, measure)? {
                None => return Ok(Ended::Early),
                Some(Verdict::Holds) => self.held = Some(rate),
                Some(Verdict::Breaks) => self.broken = Some(rate),
                Some(Verdict::GeneratorLate) => return Ok(Ended::GeneratorLimit),
            }
            rate = match (self.held, self.broken) {
                (Some(held), None) => held * GROWTH,
                (None, Some(broken)) if broken / 2.0 < RATE_MIN => return Ok(Ended::NothingHolds),
                (None, Some(broken)) => broken / 2.0,
                (Some(held), Some(broken)) if broken / held - 1.0 <= NARROW => {
                    return Ok(Ended::Found);
                }
                // In the geometric middle: the gap is a ratio.
                (Some(held), Some(broken)) => (held * broken).sqrt(),
                (None, None) => rate,
            };
        }
    }

    /// A rate breaks if it does so twice; the generator is late if it is so twice.
    fn attempt(
        &mut self,
        rate: f64,
        measure: &mut impl FnMut(f64) -> Result<Option<Step>, String>,
    ) -> Result<Option<Verdict>, String> {
        let mut verdict = None;
        for _ in 0..2 {
            if self.steps.len() >= STEPS_MAX {
                return Ok(None);
            }
            let Some(step) = measure(rate)? else { return Ok(None) };
            verdict = Some(step.verdict);
            self.steps.push(step);
            if verdict == Some(Verdict::Holds) {
                break;
            }
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CapacityOptions {
        CapacityOptions {
            find_capacity: true,
            p99_ms: 10.0,
            errors_max: 0.1,
            step: Duration::from_secs(1),
        }
    }

    fn step(rate: f64, verdict: Verdict) -> Step {
        Step { rate, achieved_rate: rate, p50_us: 1.0, p99_us: 1.0, errors_percent: 0.0, verdict }
    }

    /// A server that bears `capacity`.
    fn server(capacity: f64) -> impl FnMut(f64) -> Result<Option<Step>, String> {
        move |rate| {
            let verdict = if rate <= capacity { Verdict::Holds } else { Verdict::Breaks };
            Ok(Some(step(rate, verdict)))
        }
    }

    #[test]
    fn finds_the_knee_from_below_and_from_above() {
        for (start, capacity) in [(1.0, 1000.0), (100.0, 137.0), (5000.0, 3.0), (1000.0, 1000.0)] {
            let found = options().search(start, server(capacity)).unwrap();
            let knee = found.knee.unwrap();
            assert_eq!(found.ended, Ended::Found);
            assert!(
                knee <= capacity && knee >= capacity / (1.0 + NARROW),
                "{knee} for {capacity} from {start}"
            );
        }
    }

    #[test]
    fn one_disturbance_is_not_the_limit() {
        let mut steps = 0;
        let mut honest = server(1000.0);
        let found = options()
            .search(100.0, |rate| {
                steps += 1;
                // Every fifth step is spoilt by something else.
                if steps % 5 == 0 { Ok(Some(step(rate, Verdict::Breaks))) } else { honest(rate) }
            })
            .unwrap();
        assert!(found.knee.unwrap() > 950.0, "{found:?}");
    }

    #[test]
    fn ends_in_any_case() {
        let nothing = options().search(100.0, server(0.0)).unwrap();
        assert_eq!((nothing.ended, nothing.knee), (Ended::NothingHolds, None));
        let endless = options().search(1.0, server(f64::INFINITY)).unwrap();
        assert_eq!(endless.ended, Ended::Early);
        assert_eq!(endless.steps.len(), STEPS_MAX);
        let late = |rate| {
            let verdict = if rate < 500.0 { Verdict::Holds } else { Verdict::GeneratorLate };
            Ok(Some(step(rate, verdict)))
        };
        let late = options().search(100.0, late).unwrap();
        assert_eq!(late.ended, Ended::GeneratorLimit);
        assert!(late.knee.unwrap() < 500.0);
        let interrupted = options().search(100.0, |_| Ok(None)).unwrap();
        assert_eq!(interrupted.ended, Ended::Early);
        assert_eq!(options().search(100.0, |_| Err("no ring".into())).unwrap_err(), "no ring");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            CapacityOptions { p99_ms: 0.0, ..options() },
            CapacityOptions { p99_ms: f64::NAN, ..options() },
            CapacityOptions { errors_max: 100.0, ..options() },
            CapacityOptions { errors_max: -1.0, ..options() },
            CapacityOptions { step: Duration::from_millis(10), ..options() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(options().check().is_ok());
    }
}
