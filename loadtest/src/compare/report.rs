//! compare::report – samples collected and summed up; what `comparison.json` holds.
//!
//! Promises: every figure has median, least and greatest; the best peer is chosen per figure.
//! Not here: measuring (`rows`), the printed form (`markdown`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::environment::Environment;
use super::figures::{self, Figure, Row};
use super::rows::{Amounts, Sample};
use super::servers::Server;

/// A server that takes part.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    pub server: Server,
    pub name: &'static str,
    pub version: String,
    pub program: PathBuf,
    /// How its processor time was read.
    pub method: &'static str,
    /// Command line and configuration file.
    pub config: String,
}

impl Entrant {
    /// An entrant whose program was found.
    pub fn new(server: Server, program: PathBuf, libraries: Option<&Path>) -> Self {
        let version = server.version(&program, libraries);
        let name = server.name();
        Self { server, name, version, program, method: "", config: String::new() }
    }
}

/// Median, least and greatest of the runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

/// What one server yielded in one row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    pub samples: Vec<Sample>,
    pub failure: Option<String>,
}

/// Everything that is written.
#[derive(Debug, Serialize)]
pub struct Report {
    pub environment: Environment,
    pub runs: u32,
    pub amounts: Amounts,
    pub entrants: Vec<Entrant>,
    pub skipped: Vec<String>,
    pub complete: bool,
    pub results: BTreeMap<Row, BTreeMap<Server, Results>>,
    pub summary: BTreeMap<Figure, BTreeMap<Server, Spread>>,
}

impl Report {
    /// An empty report.
    pub fn new(
        environment: Environment,
        runs: u32,
        amounts: Amounts,
        entrants: Vec<Entrant>,
        skipped: Vec<String>,
    ) -> Self {
        let (results, summary) = (BTreeMap::new(), BTreeMap::new());
        Self { environment, runs, amounts, entrants, skipped, complete: false, results, summary }
    }

    /// Leaves out servers that failed their verification.
    pub fn leave_out(&mut self, unfit: &BTreeMap<Server, String>) {
        self.entrants.retain(|entrant| !unfit.contains_key(&entrant.server));
        let lines = unfit.iter().map(|(server, why)| format!("{}: left out: {why}", server.name()));
        self.skipped.extend(lines);
    }

    /// Keeps what one row of one run yielded.
    pub fn add(&mut self, row: Row, server: Server, outcome: Result<Sample, String>) {
        let results = self.results.entry(row).or_default().entry(server).or_default();
        match outcome {
            Ok(sample) => results.samples.push(sample),
            Err(why) => results.failure = Some(why),
        }
    }

    /// Whether the row failed in an earlier run.
    pub fn has_failed(&self, row: Row, server: Server) -> bool {
        self.failure(row, server).is_some()
    }

    /// Sums up the samples.
    pub fn finish(&mut self) {
        self.environment.finish();
        for figure in figures::ALL {
            for (&server, results) in self.results.get(&figure.meaning().row).into_iter().flatten()
            {
                if results.failure.is_some() {
                    continue;
                }
                if let Some(spread) = spread(figure, &results.samples) {
                    self.summary.entry(figure).or_default().insert(server, spread);
                }
            }
        }
    }

    /// Why the row failed, if it did.
    pub fn failure(&self, row: Row, server: Server) -> Option<&str> {
        self.results.get(&row)?.get(&server)?.failure.as_deref()
    }
}

/// One line for the person who watches.
pub fn sample_line(outcome: &Result<Sample, String>) -> String {
    let sample = match outcome {
        Ok(sample) => sample,
        Err(why) => return format!("FAILED: {why}"),
    };
    let figures = sample.figures.iter().map(|&(figure, value)| {
        let meaning = figure.meaning();
        format!("{value:.*} {}", meaning.decimals, meaning.unit)
    });
    let mut line = figures.collect::<Vec<_>>().join(", ");
    if sample.cpu_seconds > 0.0 {
        let (cpu, tree) = (sample.cpu_seconds, sample.cpu_tree_seconds);
        let _ = write!(line, " (cpu {cpu:.2} s, by tree {tree:.2} s)");
    }
    line
}

fn spread(figure: Figure, samples: &[Sample]) -> Option<Spread> {
    let of = |sample: &Sample| sample.figures.iter().find(|(name, _)| *name == figure).map(|f| f.1);
    let mut values: Vec<f64> = samples.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    let (&least, &greatest) = (values.first()?, values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    Some(Spread { median, least, greatest })
}

/// The best median among the peers.
pub fn best_peer(figure: Figure, servers: &BTreeMap<Server, Spread>) -> Option<f64> {
    let peers = servers.iter().filter(|(server, _)| **server != Server::Sluicegate);
    let medians = peers.map(|(_, spread)| spread.median);
    if figure.more_is_better() {
        medians.max_by(f64::total_cmp)
    } else {
        medians.min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            figures: vec![(Figure::LoginCpu, value)],
            cpu_seconds: 0.0,
            cpu_tree_seconds: 0.0,
            generator_cpu_seconds: 0.0,
            wall_seconds: 0.0,
            units: 1,
        }
    }

    #[test]
    fn medians_and_spread() {
        let samples: Vec<Sample> = [5.0, 1.0, 3.0, 9.0].map(sample).to_vec();
        let even = spread(Figure::LoginCpu, &samples).unwrap();
        assert_eq!((even.median, even.least, even.greatest), (4.0, 1.0, 9.0));
        assert_eq!(spread(Figure::LoginCpu, &samples[..3]).unwrap().median, 3.0);
        assert!(spread(Figure::ListCpu, &samples).is_none());
    }

    #[test]
    fn the_best_peer_depends_on_the_figure() {
        let at = |median| Spread { median, least: median, greatest: median };
        let servers = BTreeMap::from([
            (Server::Sluicegate, at(1.0)),
            (Server::Vsftpd, at(3.0)),
            (Server::Proftpd, at(5.0)),
        ]);
        assert_eq!(best_peer(Figure::LoginCpu, &servers), Some(3.0));
        assert_eq!(best_peer(Figure::LoginRate, &servers), Some(5.0));
    }
}
