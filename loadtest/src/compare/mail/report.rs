//! compare::mail::report – samples summed up, as a table a person reads and as JSON.
//!
//! Promises: median, least and greatest of every figure; the aim beside the ratio; what failed and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::super::environment::Environment;
use super::rows::{Row, Sample};
use super::servers::Server;

/// Everything that is written.
#[derive(Debug, Serialize)]
pub struct Report {
    environment: Environment,
    runs: u32,
    seconds: f64,
    disk_megabytes: f64,
    complete: bool,
    results: BTreeMap<Row, BTreeMap<Server, Results>>,
    configs: BTreeMap<Server, String>,
}

#[derive(Debug, Default, Serialize)]
struct Results {
    samples: Vec<Sample>,
    failure: Option<String>,
}

/// One figure of a row: its name, its unit, how it is read, and what it is to reach.
struct Figure {
    row: Row,
    unit: &'static str,
    of: fn(&Sample) -> f64,
    digits: usize,
    aim: Aim,
}

#[derive(Clone, Copy)]
enum Aim {
    /// So many times Postfix.
    Times(f64),
    /// So many times Postfix, or the disk's own durable rate, whichever is lower.
    TimesOrDisk(f64),
    /// At most one so-many-th of Postfix.
    Part(f64),
    /// At least, absolute.
    AtLeast(f64),
    /// At most, absolute.
    AtMost(f64),
    None,
}

const fn rate(row: Row, aim: Aim) -> Figure {
    Figure { row, unit: "messages/s", of: |sample| sample.rate, digits: 0, aim }
}

const fn cpu(row: Row, aim: Aim) -> Figure {
    Figure { row, unit: "CPU µs/message", of: |sample| sample.cpu_us, digits: 1, aim }
}

const fn memory(row: Row, unit: &'static str, aim: Aim) -> Figure {
    Figure { row, unit, of: |sample| sample.memory, digits: 1, aim }
}

const FIGURES: [Figure; 14] = [
    rate(Row::Small, Aim::Times(8.0)),
    cpu(Row::Small, Aim::Part(20.0)),
    rate(Row::Many, Aim::Times(10.0)),
    cpu(Row::Many, Aim::Part(20.0)),
    rate(Row::Medium, Aim::Times(3.0)),
    cpu(Row::Medium, Aim::Part(8.0)),
    Figure {
        row: Row::Large,
        unit: "MB/s",
        of: |sample| sample.megabytes,
        digits: 0,
        aim: Aim::TimesOrDisk(3.0),
    },
    cpu(Row::Large, Aim::Part(3.0)),
    rate(Row::Hundred, Aim::AtLeast(2250.0)),
    cpu(Row::Hundred, Aim::None),
    rate(Row::Connect, Aim::Times(4.0)),
    cpu(Row::Connect, Aim::Part(15.0)),
    memory(Row::Idle, "KiB each", Aim::AtMost(6.0)),
    memory(Row::Bulk, "MiB resident at most", Aim::AtMost(256.0)),
];

impl Report {
    /// An empty report.
    pub fn new(environment: Environment, runs: u32, seconds: f64) -> Self {
        let environment = Environment {
            file_system: "journalled ext4 (noatime) in a loop-mounted image, one for both servers, spool and queue on it",
            durability: "both have the message on stable storage before 250 (sluicegate: group commit, O_DIRECT + RWF_DSYNC; Postfix: fsync of the queue file); both discard it afterwards, which is part of the CPU figures",
            ..environment
        };
        Self {
            environment,
            runs,
            seconds,
            disk_megabytes: 0.0,
            complete: false,
            results: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// What was set before the run.
    pub fn former_congestion(&mut self, former: &str) {
        former.clone_into(&mut self.environment.former_congestion);
    }

    /// The disk's own sequential durable rate, MB/s.
    pub fn disk_rate(&mut self, megabytes: f64) {
        self.disk_megabytes = megabytes;
        eprintln!("the disk's own sequential durable rate: {megabytes:.0} MB/s");
    }

    /// Whether the row failed in an earlier run.
    pub fn has_failed(&self, row: Row, server: Server) -> bool {
        self.results
            .get(&row)
            .and_then(|servers| servers.get(&server))
            .is_some_and(|results| results.failure.is_some())
    }

    /// Keeps what one row of one run yielded.
    pub fn add(&mut self, row: Row, server: Server, outcome: Result<Sample, String>) {
        let results = self.results.entry(row).or_default().entry(server).or_default();
        match outcome {
            Ok(sample) => {
                self.configs.entry(server).or_insert_with(|| sample.config.clone());
                results.samples.push(sample);
            }
            Err(why) => results.failure = Some(why),
        }
    }

    /// The end of the run.
    pub fn finish(&mut self, complete: bool) {
        self.complete = complete;
        self.environment.finish();
    }

    /// Writes `comparison-smtp.md` and `.json` into `folder` and prints the table.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        println!("{}", self.table());
        let json = serde_json::to_string_pretty(self).map_err(|error| format!("JSON: {error}"))?;
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (name, text) in
            [("comparison-smtp.md", self.markdown()), ("comparison-smtp.json", json)]
        {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            println!("written: {}", path.display());
        }
        Ok(())
    }

    fn spread(&self, figure: &Figure, server: Server) -> Option<(f64, f64, f64)> {
        let results = self.results.get(&figure.row)?.get(&server)?;
        let mut values: Vec<f64> = results.samples.iter().map(figure.of).collect();
        values.sort_by(f64::total_cmp);
        let (&least, &greatest) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some((median, least, greatest))
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| work | figure | sluicegate | Postfix | ratio | to reach |\n|---|---|---|---|---|---|\n",
        );
        for figure in FIGURES.iter().filter(|figure| self.results.contains_key(&figure.row)) {
            let cell = |server| {
                self.spread(figure, server).map_or("–".to_owned(), |(median, least, greatest)| {
                    format!("{median:.0$} ({least:.0$}–{greatest:.0$})", figure.digits)
                })
            };
            let own = self.spread(figure, Server::Sluicegate).map(|spread| spread.0);
            let peer = self.spread(figure, Server::Postfix).map(|spread| spread.0);
            let (ratio, aim) = self.verdict(figure, own, peer);
            let (a, b) = (cell(Server::Sluicegate), cell(Server::Postfix));
            let _ = writeln!(
                text,
                "| {} | {} | {a} | {b} | {ratio} | {aim} |",
                figure.row.work(),
                figure.unit
            );
        }
        text
    }

    fn verdict(&self, figure: &Figure, own: Option<f64>, peer: Option<f64>) -> (String, String) {
        let ratio = own.zip(peer).map(|(own, peer)| own / peer);
        let (aim, met) = match figure.aim {
            Aim::Times(times) => (format!("≥ {times} ×"), ratio.map(|ratio| ratio >= times)),
            Aim::TimesOrDisk(times) => {
                let bound = peer.map(|peer| (peer * times).min(self.disk_megabytes));
                (
                    format!("≥ {times} ×, or the disk's {:.0}", self.disk_megabytes),
                    own.zip(bound).map(|(own, bound)| own >= bound),
                )
            }
            Aim::Part(part) => (format!("≤ 1/{part}"), ratio.map(|ratio| ratio <= 1.0 / part)),
            Aim::AtLeast(bound) => (format!("≥ {bound}"), own.map(|own| own >= bound)),
            Aim::AtMost(bound) => (format!("≤ {bound}"), own.map(|own| own <= bound)),
            Aim::None => ("–".into(), None),
        };
        let met = met.map_or("", |met| if met { ", reached" } else { ", **not reached**" });
        let ratio = ratio.map_or("–".to_owned(), |ratio| {
            if ratio >= 1.0 { format!("{ratio:.2}") } else { format!("1/{:.1}", 1.0 / ratio) }
        });
        (format!("{ratio}{met}"), aim)
    }

    fn markdown(&self) -> String {
        let environment = &self.environment;
        let mut text = String::from("# SMTP servers compared\n\n");
        if !self.complete {
            text.push_str("**Incomplete: the comparison ended early.**\n\n");
        }
        text.push_str(&self.table());
        for (row, servers) in &self.results {
            for (server, why) in servers
                .iter()
                .filter_map(|(server, results)| Some((server, results.failure.as_ref()?)))
            {
                let _ = write!(text, "\n- {}, row {row}: failed: {why}\n", server.name());
            }
        }
        let _ = write!(
            text,
            "\n## Circumstances\n\n- command: `{}`\n- runs: {}, interleaved, each of about {} s; shown: median (least–greatest)\n\
             - kernel: {}; processor: {} × {}; memory: {} MiB\n- congestion control: {} (restored to {})\n- file system: {}\n- durability: {}\n\
             - the disk's own sequential durable rate (1 MiB at a time, O_DSYNC, blocks written before): {:.0} MB/s\n\
             - generator: smtp-source, on the same processors\n- load averages: {} before, {} after\n\
             - CPU: control group of the server's own, all its processes and threads, until everything accepted was settled; kernel threads (loop device, journal) are counted for nobody\n\
             \n## Configurations\n",
            environment.command,
            self.runs,
            self.seconds,
            environment.kernel,
            environment.cpus,
            environment.cpu,
            environment.memory_mib,
            environment.congestion,
            environment.former_congestion,
            environment.file_system,
            environment.durability,
            self.disk_megabytes,
            environment.load_before,
            environment.load_after,
        );
        for (server, config) in &self.configs {
            let _ = write!(text, "\n### {}\n\n```\n{config}```\n", server.name());
        }
        text
    }
}

/// One line for the person who watches.
pub fn line(outcome: &Result<Sample, String>) -> String {
    match outcome {
        Err(why) => format!("FAILED: {why}"),
        Ok(sample) if sample.messages == 0 => format!("{:.1}", sample.memory),
        Ok(sample) => format!(
            "{:.0} messages/s, {:.1} µs CPU each, {:.0} MB/s ({} in {:.1} s)",
            sample.rate, sample.cpu_us, sample.megabytes, sample.messages, sample.seconds
        ),
    }
}
