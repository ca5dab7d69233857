//! compare::report – samples collected and summed up; what `comparison.json` holds.
//!
//! Promises: every figure has median, least and greatest; the reference is chosen per figure: the
//! best peer, or the peer the section names.
//! Not here: measuring (`ftp`, `mail`), the printed forms (`markdown`, `html`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::environment::Environment;
use super::figures::{Better, Figure, Work};

/// The server that the others are compared with.
pub const OWN: &str = "sluicegate";

/// Everything that is written.
#[derive(Debug, Serialize)]
pub struct Report {
    pub environment: Environment,
    pub runs: u32,
    /// Whether every row of every run was visited.
    pub complete: bool,
    pub took_seconds: f64,
    pub sections: Vec<Section>,
}

/// A protocol: who took part, what was done, what came of it.
#[derive(Debug, Serialize)]
pub struct Section {
    /// `ftp`, `smtp`.
    pub key: &'static str,
    pub title: &'static str,
    /// The peer that aims refer to; without one the best of them.
    pub reference: Option<&'static str>,
    pub entrants: Vec<Entrant>,
    /// Servers and rows that are not in it, by name, with the reason.
    pub skipped: Vec<String>,
    /// What a reader must know: amounts, file system, method.
    pub notes: Vec<String>,
    pub rows: Vec<RowResults>,
}

/// A server that takes part.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    pub name: &'static str,
    pub version: String,
    pub program: PathBuf,
    /// What is on stable storage when it says that it is done.
    pub durability: &'static str,
    /// How its processor time was read.
    pub method: &'static str,
    /// Command line and configuration file.
    pub config: String,
}

/// What one row of one run yielded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// By the keys of the row's figures.
    pub figures: BTreeMap<&'static str, f64>,
    /// Server CPU in seconds over the work, as used for the figures.
    pub cpu_seconds: f64,
    /// The same by the process tree (10 ms ticks), a cross-check; 0 where it was not read.
    pub cpu_tree_seconds: f64,
    /// CPU of this program over the work; 0 where another generates.
    pub generator_cpu_seconds: f64,
    pub wall_seconds: f64,
    pub units: u64,
}

/// A row with what every server yielded in it.
#[derive(Debug, Serialize)]
pub struct RowResults {
    #[serde(flatten)]
    pub work: Work,
    pub servers: BTreeMap<&'static str, Results>,
    pub summary: BTreeMap<&'static str, BTreeMap<&'static str, Spread>>,
}

/// What one server yielded in one row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    pub samples: Vec<Sample>,
    pub failure: Option<String>,
}

/// Median, least and greatest of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

/// How we stand in one figure.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub ratio: Option<f64>,
    pub reached: Option<bool>,
}

impl Section {
    /// An empty section.
    pub fn new(key: &'static str, title: &'static str, reference: Option<&'static str>) -> Self {
        let (entrants, skipped, notes, rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { key, title, reference, entrants, skipped, notes, rows }
    }

    /// Says who or what is not in it, now and in the report.
    pub fn skip(&mut self, line: String) {
        eprintln!("{line}");
        self.skipped.push(line);
    }

    /// The rows to be filled.
    pub fn expect(&mut self, works: impl Iterator<Item = Work>) {
        let row = |work| RowResults { work, servers: BTreeMap::new(), summary: BTreeMap::new() };
        self.rows = works.map(row).collect();
    }

    /// Sums up the samples.
    pub fn finish(&mut self) {
        for row in &mut self.rows {
            for figure in row.work.figures {
                for (&server, results) in &row.servers {
                    if results.failure.is_some() {
                        continue;
                    }
                    if let Some(spread) = spread(figure.key, &results.samples) {
                        row.summary.entry(figure.key).or_default().insert(server, spread);
                    }
                }
            }
        }
    }

    /// How we stand in `figure` of `row`, which is finished.
    pub fn verdict(&self, row: &RowResults, figure: &Figure) -> Verdict {
        let servers = row.summary.get(figure.key);
        let Some(own) = servers.and_then(|servers| servers.get(OWN)).map(|own| own.median) else {
            return Verdict { ratio: None, reached: None };
        };
        let reference = servers.and_then(|servers| self.reference_of(figure, servers));
        let bound = |key: &str| row.summary.get(key)?.get(OWN).map(|spread| spread.median);
        let ratio = reference.filter(|&other| other != 0.0).map(|other| own / other);
        Verdict { ratio, reached: figure.aim.reached(own, reference, bound) }
    }

    fn reference_of(
        &self,
        figure: &Figure,
        servers: &BTreeMap<&'static str, Spread>,
    ) -> Option<f64> {
        if let Some(name) = self.reference {
            return servers.get(name).map(|spread| spread.median);
        }
        let peers = servers.iter().filter(|(server, _)| **server != OWN);
        let medians = peers.map(|(_, spread)| spread.median);
        match figure.better {
            Better::More => medians.max_by(f64::total_cmp),
            Better::Less => medians.min_by(f64::total_cmp),
        }
    }

    /// What the ratios relate to, in words.
    pub fn ratio_title(&self) -> String {
        self.reference.map_or("to the best peer".into(), |name| format!("to {name}"))
    }
}

impl RowResults {
    /// Keeps what one server yielded in one run.
    pub fn add(&mut self, server: &'static str, outcome: Result<Sample, String>) {
        let results = self.servers.entry(server).or_default();
        match outcome {
            Ok(sample) => results.samples.push(sample),
            Err(why) => results.failure = Some(why),
        }
    }

    /// Why the row failed, if it did.
    pub fn failure(&self, server: &str) -> Option<&str> {
        self.servers.get(server)?.failure.as_deref()
    }

    /// Median and spread as printed.
    pub fn cell(&self, figure: &Figure, server: &str) -> String {
        if self.failure(server).is_some() {
            return "failed".into();
        }
        let spread = self.summary.get(figure.key).and_then(|servers| servers.get(server));
        spread.map_or("–".into(), |Spread { median, least, greatest }| {
            let digits = figure.decimals;
            format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
        })
    }
}

/// One line for the person who watches.
pub fn sample_line(work: &Work, outcome: &Result<Sample, String>) -> String {
    let sample = match outcome {
        Ok(sample) => sample,
        Err(why) => return format!("FAILED: {why}"),
    };
    let figures = work.figures.iter().filter_map(|figure| {
        let value = sample.figures.get(figure.key)?;
        Some(format!("{value:.*} {}", figure.decimals, figure.unit))
    });
    let mut line = figures.collect::<Vec<_>>().join(", ");
    if sample.cpu_tree_seconds > 0.0 {
        let (cpu, tree) = (sample.cpu_seconds, sample.cpu_tree_seconds);
        let _ = write!(line, " (cpu {cpu:.2} s, by tree {tree:.2} s)");
    }
    line
}

fn spread(key: &str, samples: &[Sample]) -> Option<Spread> {
    let mut values: Vec<f64> =
        samples.iter().filter_map(|sample| sample.figures.get(key).copied()).collect();
    values.sort_by(f64::total_cmp);
    let (&least, &greatest) = (values.first()?, values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    Some(Spread { median, least, greatest })
}

#[cfg(test)]
pub mod tests {
    use super::super::figures::Aim;
    use super::*;

    /// One row, three servers, one of which failed.
    pub fn section(reference: Option<&'static str>) -> Section {
        const FIGURES: [Figure; 2] = [
            Figure::less("cpu", "CPU µs", 0).aim(Aim::Below(0.5)),
            Figure::more("rate", "files/s", 0),
        ];
        let mut section = Section::new("ftp", "FTP", reference);
        for name in [OWN, "vsftpd", "Pure-FTPd", "ProFTPD"] {
            section.entrants.push(Entrant {
                name,
                version: "1".into(),
                program: "/usr/sbin/x".into(),
                durability: "none",
                method: "",
                config: "a = \"<b>\"\n".into(),
            });
        }
        section.expect(std::iter::once(Work { name: "retr", work: "RETR", figures: &FIGURES }));
        let sample = |cpu, rate| {
            Ok(Sample {
                figures: BTreeMap::from([("cpu", cpu), ("rate", rate)]),
                ..Sample::default()
            })
        };
        for cpu in [11.0, 9.0, 10.0] {
            section.rows[0].add(OWN, sample(cpu, 5.0));
        }
        section.rows[0].add("vsftpd", sample(30.0, 2.0));
        section.rows[0].add("Pure-FTPd", sample(40.0, 4.0));
        section.rows[0].add("ProFTPD", Err("421 <full>".into()));
        section.finish();
        section
    }

    #[test]
    fn medians_and_spread() {
        let sample =
            |value| Sample { figures: BTreeMap::from([("x", value)]), ..Sample::default() };
        let samples: Vec<Sample> = [5.0, 1.0, 3.0, 9.0].map(sample).to_vec();
        let even = spread("x", &samples).unwrap();
        assert_eq!((even.median, even.least, even.greatest), (4.0, 1.0, 9.0));
        assert_eq!(spread("x", &samples[..3]).unwrap().median, 3.0);
        assert!(spread("y", &samples).is_none());
    }

    #[test]
    fn the_reference_depends_on_the_figure_or_is_named() {
        let section = section(None);
        let row = &section.rows[0];
        let [cpu, rate] = [0, 1].map(|at| section.verdict(row, &row.work.figures[at]));
        assert_eq!((cpu.ratio, cpu.reached), (Some(10.0 / 30.0), Some(true)));
        assert_eq!((rate.ratio, rate.reached), (Some(5.0 / 4.0), None));
        let section = super::tests::section(Some("vsftpd"));
        let row = &section.rows[0];
        assert_eq!(section.verdict(row, &row.work.figures[1]).ratio, Some(2.5));
    }

    #[test]
    fn a_failed_row_has_no_figure() {
        let section = section(None);
        let row = &section.rows[0];
        assert_eq!(row.cell(&row.work.figures[0], "ProFTPD"), "failed");
        assert_eq!(row.cell(&row.work.figures[0], OWN), "10 (9–11)");
        assert_eq!(row.cell(&row.work.figures[0], "unknown"), "–");
    }
}
