//! compare::markdown – the report as a person reads it, and the table of the README.
//!
//! Promises: a failed row and a missing server are named with the reason; the ratio stands beside
//! the aim; every server's exact configuration is printed.
//! Not here: what is summed up, and how (`report`).

use std::fmt::Write as _;

use super::figures::Figure;
use super::report::{OWN, Report, RowResults, Section};

/// The whole report.
pub fn whole(report: &Report) -> String {
    let mut text = String::from("# Servers compared\n\n");
    if !report.complete {
        text.push_str("**Incomplete: the comparison ended early.**\n\n");
    }
    for section in &report.sections {
        let _ = write!(text, "## {}\n\n{}", section.title, table(section));
        text.push_str(&not_measured(section));
        text.push('\n');
    }
    text.push_str(&circumstances(report));
    text.push_str("\n## Configurations\n");
    for entrant in report.sections.iter().flat_map(|section| &section.entrants) {
        let _ = write!(text, "\n### {}\n\n```\n{}```\n", entrant.name, entrant.config);
    }
    text
}

/// Every figure of every server.
pub fn table(section: &Section) -> String {
    let mut text = String::from("| work | figure |");
    for entrant in &section.entrants {
        let _ = write!(text, " {} |", entrant.name);
    }
    let _ = write!(text, " {} | to reach |\n|---|---|", section.ratio_title());
    text.push_str(&"---|".repeat(section.entrants.len() + 2));
    text.push('\n');
    for row in section.rows.iter().filter(|row| !row.servers.is_empty()) {
        for (index, figure) in row.work.figures.iter().enumerate() {
            let work = if index == 0 { row.work.work } else { "" };
            let _ = write!(text, "| {work} | {} |", figure.unit);
            for entrant in &section.entrants {
                let _ = write!(text, " {} |", row.cell(figure, entrant.name));
            }
            let _ = writeln!(text, " {} | {} |", verdict(section, row, figure), figure.aim);
        }
    }
    text
}

/// Ratio, and whether the aim is reached.
fn verdict(section: &Section, row: &RowResults, figure: &Figure) -> String {
    let verdict = section.verdict(row, figure);
    let met = match verdict.reached {
        Some(true) => ", reached",
        Some(false) => ", **missed**",
        None => "",
    };
    verdict.ratio.map_or(format!("–{met}"), |ratio| format!("{}{met}", times(ratio)))
}

/// A ratio in as many digits as it deserves.
pub fn times(ratio: f64) -> String {
    let digits = match ratio {
        ratio if ratio >= 10.0 => 1,
        ratio if ratio >= 0.1 => 2,
        _ => 3,
    };
    format!("{ratio:.digits$}")
}

fn not_measured(section: &Section) -> String {
    let mut text = String::new();
    for line in &section.skipped {
        let _ = write!(text, "\n- {line}");
    }
    for row in &section.rows {
        for (server, results) in &row.servers {
            if let Some(why) = &results.failure {
                let _ = write!(text, "\n- {server}, row {}: failed: {why}", row.work.name);
            }
        }
    }
    if text.is_empty() { text } else { format!("\nNot measured:\n{text}\n") }
}

/// Names and values that hold for the whole run.
pub fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let machine = &report.environment;
    let mut facts = machine.facts();
    facts.push((
        "runs",
        format!(
            "{}, interleaved: every row of every run visits all servers, each run begins with \
             another one (rows of memory: a third of the runs); shown: median (least–greatest)",
            report.runs
        ),
    ));
    facts.push(("took", format!("{:.1} min", report.took_seconds / 60.0)));
    facts
}

fn circumstances(report: &Report) -> String {
    let mut text = String::from("## Circumstances\n\n");
    for (name, value) in facts(report) {
        let value = if name == "command" { format!("`{value}`") } else { value };
        let _ = writeln!(text, "- {name}: {value}");
    }
    for section in &report.sections {
        for entrant in &section.entrants {
            let _ = writeln!(
                text,
                "- {} ({}): {} (`{}`); durability: {}; processor time: {}",
                entrant.name,
                section.title,
                entrant.version,
                entrant.program.display(),
                entrant.durability,
                entrant.method
            );
        }
        for note in &section.notes {
            let _ = writeln!(text, "- {}: {note}", section.title);
        }
    }
    text
}

/// The table of the README: ratios to each peer, and absolute figures only where the aim is one.
pub fn readme_table(report: &Report, section: &Section) -> String {
    let peers: Vec<_> = section.entrants.iter().filter(|entrant| entrant.name != OWN).collect();
    let mut text = String::from("| work | figure |");
    for peer in &peers {
        let _ = write!(text, " to {} |", peer.name);
    }
    text.push_str(" aim |\n|---|---|");
    text.push_str(&"---|".repeat(peers.len() + 1));
    text.push('\n');
    for row in section.rows.iter().filter(|row| !row.summary.is_empty()) {
        let mut work = row.work.work;
        for figure in row.work.figures.iter().filter(|figure| !figure.detail) {
            let Some(servers) = row.summary.get(figure.key) else { continue };
            let Some(own) = servers.get(OWN).map(|spread| spread.median) else { continue };
            let absolute = if figure.aim.is_absolute() {
                format!("{}: **{own:.*}**", figure.unit, figure.decimals)
            } else {
                figure.unit.to_owned()
            };
            let _ = write!(text, "| {work} | {absolute} |");
            work = "";
            for peer in &peers {
                let other = servers.get(peer.name).map(|spread| spread.median);
                let ratio = other.filter(|&other| other != 0.0);
                let _ = match ratio {
                    Some(other) => write!(text, " {} |", times(own / other)),
                    None => write!(text, " – |"),
                };
            }
            let missed = match section.verdict(row, figure).reached {
                Some(false) => ", **missed**",
                _ => "",
            };
            let _ = writeln!(text, " {}{missed} |", figure.aim);
        }
    }
    let versions: Vec<_> =
        peers.iter().map(|peer| format!("{} {}", peer.name, bare_version(&peer.version))).collect();
    let machine = &report.environment;
    let _ = write!(
        text,
        "\nMedians of {} interleaved runs, sluicegate ÷ peer; {}. {} × {}, Linux {}.\n",
        report.runs,
        versions.join(", "),
        machine.cpus,
        machine.cpu,
        machine.kernel
    );
    text
}

/// The number out of what a program says about itself.
fn bare_version(text: &str) -> &str {
    let word = text.split([' ', ':']).find_map(|word| {
        let word = word.trim_start_matches('v');
        word.starts_with(|c: char| c.is_ascii_digit()).then_some(word)
    });
    word.unwrap_or(text)
}

/// `readme` with the text between the markers of each section replaced by its table.
pub fn into_readme(report: &Report, readme: &str) -> Result<String, String> {
    let mut text = readme.to_owned();
    for section in &report.sections {
        let (open, close) = (
            format!("<!-- {} figures -->\n", section.key),
            format!("<!-- /{} figures -->", section.key),
        );
        let missing = |marker: &str| format!("has no line {:?}", marker.trim());
        let from = text.find(&open).ok_or_else(|| missing(&open))? + open.len();
        let to = text[from..].find(&close).ok_or_else(|| missing(&close))? + from;
        text.replace_range(from..to, &readme_table(report, section));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::report::tests::section;
    use super::*;

    fn report() -> Report {
        let environment = Environment::read();
        let sections = vec![section(None)];
        Report { environment, runs: 3, complete: false, took_seconds: 60.0, sections }
    }

    #[test]
    fn everything_is_said() {
        let text = whole(&report());
        for part in [
            "**Incomplete",
            "| RETR | CPU µs | 10 (9–11) | 30 (30–30) | 40 (40–40) | failed | 0.33, reached | ≤ 0.5 |",
            "- ProFTPD, row retr: failed: 421 <full>",
            "### vsftpd\n\n```\na = \"<b>\"\n```",
            "durability: none",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn only_the_place_between_the_markers_changes() {
        let readme = "before\n<!-- ftp figures -->\nold\n<!-- /ftp figures -->\nafter\n";
        let text = into_readme(&report(), readme).unwrap();
        assert!(text.starts_with("before\n<!-- ftp figures -->\n| work |"), "{text}");
        assert!(text.ends_with("<!-- /ftp figures -->\nafter\n"), "{text}");
        assert!(text.contains("| RETR | CPU µs | 0.33 | 0.25 | – | ≤ 0.5 |"), "{text}");
        assert!(!text.contains("old"));
        assert!(into_readme(&report(), "nothing").unwrap_err().contains("<!-- ftp figures -->"));
    }

    #[test]
    fn versions_lose_their_words() {
        assert_eq!(bare_version("vsftpd: version 3.0.3"), "3.0.3");
        assert_eq!(bare_version("pure-ftpd v1.0.50 [privsep]"), "1.0.50");
        assert_eq!(bare_version("unknown"), "unknown");
    }
}
