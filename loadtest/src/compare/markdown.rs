//! compare::markdown – the report as a person reads it.
//!
//! Promises: a failed row and a missing server are named with the reason; the ratio stands beside
//! the target; every server's exact configuration is printed.
//! Not here: what is summed up, and how (`report`).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::figures::{self, Figure, Target};
use super::report::{Report, Spread, best_peer};
use super::servers::Server;

const COLUMNS: [Server; 4] =
    [Server::Sluicegate, Server::Vsftpd, Server::PureFtpd, Server::Proftpd];

/// Writes `comparison.md` and `comparison.json` into `folder` and prints the table.
pub fn write(report: &Report, folder: &Path) -> Result<(), String> {
    let markdown = report.markdown();
    println!("{}", report.table());
    let json = serde_json::to_string_pretty(report).map_err(|error| format!("JSON: {error}"))?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, text) in [("comparison.md", markdown), ("comparison.json", json)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}

impl Report {
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
            let _ = write!(text, "\n### {}\n\n```\n{}```\n", entrant.name, entrant.config);
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
            let _ = writeln!(text, " {} | {} |", self.ratio(figure), target(meaning.target));
        }
        text
    }

    fn cell(&self, figure: Figure, server: Server) -> String {
        let meaning = figure.meaning();
        if self.failure(meaning.row, server).is_some() {
            return "failed".into();
        }
        let spread = self.summary.get(&figure).and_then(|servers| servers.get(&server));
        spread.map_or("–".into(), |Spread { median, least, greatest }| {
            let digits = meaning.decimals;
            format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
        })
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
            (Target::AtLeast(bound), _) => Some(own >= bound),
            _ => None,
        };
        let verdict = met.map_or("", |met| if met { ", reached" } else { ", **not reached**" });
        ratio.map_or(format!("–{verdict}"), |ratio| format!("{ratio:.3}{verdict}"))
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
        if text.is_empty() { text } else { format!("\nNot measured:\n{text}\n") }
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

fn target(target: Target) -> String {
    match target {
        Target::None => "–".into(),
        Target::Below(bound, stretch) => format!("≤ {bound}{stretch}"),
        Target::Above(bound) => format!("≥ {bound}"),
        Target::AtLeast(bound) => format!("≥ {bound} (absolute)"),
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
