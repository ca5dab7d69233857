//! compare::report – from samples to `comparison.md` and `comparison.json`.
//!
//! Promises: every figure shows median, least and greatest; a failed row shows the server's words;
//! the best peer is chosen per figure; every server's exact configuration is printed.
//! Not here: measuring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::environment::Environment;
use super::figures::{self, Figure, Row, Target};
use super::rows::{Amounts, Sample};
use super::servers::Server;

const COLUMNS: [Server; 4] = [
    Server::Sluicegate,
    Server::Vsftpd,
    Server::PureFtpd,
    Server::Proftpd,
];

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
        Self {
            server,
            name,
            version,
            program,
            method: "",
            config: String::new(),
        }
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
        Self {
            environment,
            runs,
            amounts,
            entrants,
            skipped,
            complete: false,
            results,
            summary,
        }
    }

    /// Leaves out servers that failed their verification.
    pub fn leave_out(&mut self, unfit: &BTreeMap<Server, String>) {
        self.entrants
            .retain(|entrant| !unfit.contains_key(&entrant.server));
        let lines = unfit
            .iter()
            .map(|(server, why)| format!("{}: left out: {why}", server.name()));
        self.skipped.extend(lines);
    }

    /// Keeps what one row of one run yielded.
    pub fn add(&mut self, row: Row, server: Server, outcome: Result<Sample, String>) {
        let results = self
            .results
            .entry(row)
            .or_default()
            .entry(server)
            .or_default();
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
            for (&server, results) in self
                .results
                .get(&figure.meaning().row)
                .into_iter()
                .flatten()
            {
                if results.failure.is_some() {
                    continue;
                }
                if let Some(spread) = spread(figure, &results.samples) {
                    self.summary
                        .entry(figure)
                        .or_default()
                        .insert(server, spread);
                }
            }
        }
    }

    /// Writes both files into `folder` and prints the table.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let markdown = self.markdown();
        println!("{}", self.table());
        let json = serde_json::to_string_pretty(self).map_err(|error| format!("JSON: {error}"))?;
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (name, text) in [("comparison.md", markdown), ("comparison.json", json)] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            println!("written: {}", path.display());
        }
        Ok(())
    }

    fn failure(&self, row: Row, server: Server) -> Option<&str> {
        self.results.get(&row)?.get(&server)?.failure.as_deref()
    }

    fn markdown(&self) -> String {
        let mut text = String::from("# FTP servers compared\n\n");
        if !self.complete {
            text.push_str("**Incomplete: the comparison ended early.**\n\n");
        }
        text.push_str(&self.table());
        text.push_str(&self.failures());
        text.push_str(&self.circumstances());
        text.push_str(METHOD);
        text.push_str("\n## Configurations\n");
        for entrant in &self.entrants {
            let _ = write!(
                text,
                "\n### {}\n\n```\n{}```\n",
                entrant.name, entrant.config
            );
        }
        text
    }

    fn table(&self) -> String {
        let mut text = String::from("| work | figure |");
        for server in COLUMNS {
            let _ = write!(text, " {} |", server.name());
        }
        text.push_str(" ratio to the best peer | to reach |\n|---|---|---|---|---|---|---|---|\n");
        for figure in figures::ALL {
            let meaning = figure.meaning();
            if !self.results.contains_key(&meaning.row) {
                continue;
            }
            let _ = write!(text, "| {} | {} |", meaning.work, meaning.unit);
            for server in COLUMNS {
                let _ = write!(text, " {} |", self.cell(figure, server));
            }
            let _ = writeln!(
                text,
                " {} | {} |",
                self.ratio(figure),
                target(meaning.target)
            );
        }
        text
    }

    fn cell(&self, figure: Figure, server: Server) -> String {
        let meaning = figure.meaning();
        if self.failure(meaning.row, server).is_some() {
            return "failed".into();
        }
        let spread = self
            .summary
            .get(&figure)
            .and_then(|servers| servers.get(&server));
        spread.map_or(
            "–".into(),
            |Spread {
                 median,
                 least,
                 greatest,
             }| {
                let digits = meaning.decimals;
                format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
            },
        )
    }

    /// sluicegate ÷ best peer, and whether the target is met.
    fn ratio(&self, figure: Figure) -> String {
        let Some(servers) = self.summary.get(&figure) else {
            return "–".into();
        };
        let Some(own) = servers.get(&Server::Sluicegate).map(|spread| spread.median) else {
            return "–".into();
        };
        let best = best_peer(figure, servers);
        let ratio = best.map(|best| own / best);
        let met = match (figure.meaning().target, ratio) {
            (Target::Below(bound, _), Some(ratio)) => Some(ratio <= bound),
            (Target::Above(bound), Some(ratio)) => Some(ratio >= bound),
            (Target::AtMost(bound, _), _) => Some(own <= bound),
            _ => None,
        };
        let verdict = met.map_or("", |met| {
            if met {
                ", reached"
            } else {
                ", **not reached**"
            }
        });
        ratio.map_or(format!("–{verdict}"), |ratio| {
            format!("{ratio:.3}{verdict}")
        })
    }

    fn failures(&self) -> String {
        let mut text = String::new();
        for line in &self.skipped {
            let _ = write!(text, "\n- {line}");
        }
        for (row, servers) in &self.results {
            for (server, results) in servers {
                if let Some(why) = &results.failure {
                    let _ = write!(text, "\n- {}, row {row}: failed: {why}", server.name());
                }
            }
        }
        if text.is_empty() {
            text
        } else {
            format!("\nNot measured:\n{text}\n")
        }
    }

    fn circumstances(&self) -> String {
        let environment = &self.environment;
        let mut text = format!(
            "\n## Circumstances\n\n\
             - command: `{}`\n\
             - runs: {}, interleaved (every row of every run visits all servers; each run begins \
             with another one); shown: median (least–greatest)\n\
             - kernel: {}; processor: {} × {}; memory: {} MiB\n\
             - congestion control: {} (restored to {})\n\
             - file system: {}\n\
             - durability: {}\n\
             - load averages: {} before, {} after\n",
            environment.command,
            self.runs,
            environment.kernel,
            environment.cpus,
            environment.cpu,
            environment.memory_mib,
            environment.congestion,
            environment.former_congestion,
            environment.file_system,
            environment.durability,
            environment.load_before,
            environment.load_after,
        );
        let amounts = &self.amounts;
        let _ = writeln!(
            text,
            "- work per run: {} × 256 MiB RETR, {} × 16 KiB RETR over 4,000 names, {} × 8 MiB \
             STOR, {} × 64 KiB STOR, {} logins, {} listings",
            amounts.retr_large,
            amounts.retr_small,
            amounts.stor_large,
            amounts.stor_small,
            amounts.logins,
            amounts.lists,
        );
        for entrant in &self.entrants {
            let _ = writeln!(
                text,
                "- {}: {} (`{}`); processor time: {}",
                entrant.name,
                entrant.version,
                entrant.program.display(),
                entrant.method
            );
        }
        text
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
    let of = |sample: &Sample| {
        sample
            .figures
            .iter()
            .find(|(name, _)| *name == figure)
            .map(|f| f.1)
    };
    let mut values: Vec<f64> = samples.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    let (&least, &greatest) = (values.first()?, values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    Some(Spread {
        median,
        least,
        greatest,
    })
}

fn best_peer(figure: Figure, servers: &BTreeMap<Server, Spread>) -> Option<f64> {
    let peers = servers
        .iter()
        .filter(|(server, _)| **server != Server::Sluicegate);
    let medians = peers.map(|(_, spread)| spread.median);
    if figure.more_is_better() {
        medians.max_by(f64::total_cmp)
    } else {
        medians.min_by(f64::total_cmp)
    }
}

fn target(target: Target) -> String {
    match target {
        Target::None => "–".into(),
        Target::Below(bound, stretch) => format!("≤ {bound}{stretch}"),
        Target::Above(bound) => format!("≥ {bound}"),
        Target::AtMost(bound, stretch) => format!("≤ {bound} (absolute){stretch}"),
    }
}

const METHOD: &str = "
## Method

- CPU is the server's own, all its processes and threads, from the first command to the last reply
  of the work (for logins: until the session processes have ended). Kernel threads and interrupts
  that hit somebody else are counted for nobody. GB = 10⁹ bytes.
- RETR data is discarded in the kernel (MSG_TRUNC); byte counts are checked for every transfer,
  contents once per server before the runs. Sessions are logged in and warmed up before the reading.
- Idle memory, from the started server to the held sessions: rise of the PSS of the server's
  processes and of the kernel's slab, stacks, page tables and per-processor memory, less the
  client's half of the sockets (as measured with a bare listener). The line below it is the rise of
  all memory in use on the machine, less the same and this program's own: a cross-check that moves
  with whatever else runs.
- Peers hold 1,000 idle sessions, sluicegate 10,000.
";

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
        let at = |median| Spread {
            median,
            least: median,
            greatest: median,
        };
        let servers = BTreeMap::from([
            (Server::Sluicegate, at(1.0)),
            (Server::Vsftpd, at(3.0)),
            (Server::Proftpd, at(5.0)),
        ]);
        assert_eq!(best_peer(Figure::LoginCpu, &servers), Some(3.0));
        assert_eq!(best_peer(Figure::LoginRate, &servers), Some(5.0));
    }
}
