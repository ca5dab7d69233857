//! compare::html – the report as one self-contained page: bars per row, the whole table, everything
//! a reader needs to judge it.
//!
//! Promises: says the same as `markdown`. Not here: how the page looks (`page`).

use std::fmt::Write as _;

use super::figures::{Better, Figure};
use super::markdown::{facts, times};
use super::report::{OWN, Report, RowResults, Section};
use crate::page::{self, escape};

/// The page.
pub fn whole(report: &Report) -> String {
    let mut body = String::from("<h1>Servers compared</h1>\n");
    let machine = &report.environment;
    let _ = writeln!(
        body,
        "<p class=\"lead\">{} interleaved runs on {} × {}, Linux {}. Medians; ratios are sluicegate ÷ peer.</p>",
        report.runs,
        machine.cpus,
        escape(&machine.cpu),
        escape(&machine.kernel)
    );
    if !report.complete {
        body.push_str(
            "<p class=\"card banner\"><b>Incomplete:</b> the comparison ended early.</p>\n",
        );
    }
    for section in &report.sections {
        let _ = writeln!(body, "<h2>{}</h2>", escape(section.title));
        body.push_str(&bars(section));
        body.push_str(&table(section));
        body.push_str(&not_measured(section));
    }
    body.push_str("<h2>Circumstances</h2>\n<div class=\"card\">\n");
    body.push_str(&page::definitions(facts(report)));
    body.push_str("</div>\n");
    for section in &report.sections {
        body.push_str(&entrants(section));
    }
    page::document("Servers compared", &body)
}

/// For each row its first figure, one bar for each server.
fn bars(section: &Section) -> String {
    let mut html = String::from("<div class=\"grid\">\n");
    for row in section.rows.iter().filter(|row| !row.summary.is_empty()) {
        let Some((figure, servers)) =
            row.work.figures.iter().find_map(|figure| Some((figure, row.summary.get(figure.key)?)))
        else {
            continue;
        };
        let most = servers.values().map(|spread| spread.median).fold(0.0, f64::max);
        let good = match figure.better {
            Better::Less => "less is better",
            Better::More => "more is better",
        };
        let _ = write!(
            html,
            "<div class=\"card\"><h3>{}</h3><p class=\"soft\">{}, {good}</p><div class=\"bars\">",
            escape(row.work.work),
            escape(figure.unit)
        );
        for entrant in &section.entrants {
            let Some(spread) = servers.get(entrant.name) else { continue };
            let width = if most > 0.0 { spread.median.max(0.0) / most * 70.0 } else { 0.0 };
            let own = if entrant.name == OWN { " own" } else { "" };
            let _ = write!(
                html,
                "<span>{}</span><div class=\"bar{own}\"><i style=\"width:{width:.1}%\"></i><span>{:.*}</span></div>",
                escape(entrant.name),
                figure.decimals,
                spread.median
            );
        }
        html.push_str("</div></div>\n");
    }
    html.push_str("</div>\n");
    html
}

fn table(section: &Section) -> String {
    let mut html = String::from(
        "<div class=\"card scroll\"><table>\n<thead><tr><th>work</th><th class=\"text\">figure</th>",
    );
    for entrant in &section.entrants {
        let _ = write!(html, "<th>{}</th>", escape(entrant.name));
    }
    let _ = writeln!(
        html,
        "<th>{}</th><th>to reach</th></tr></thead>\n<tbody>",
        escape(&section.ratio_title())
    );
    for row in section.rows.iter().filter(|row| !row.servers.is_empty()) {
        for (index, figure) in row.work.figures.iter().enumerate() {
            let work = if index == 0 { escape(row.work.work) } else { String::new() };
            let _ =
                write!(html, "<tr><td>{work}</td><td class=\"text\">{}</td>", escape(figure.unit));
            for entrant in &section.entrants {
                let own = if entrant.name == OWN { " class=\"own\"" } else { "" };
                let _ = write!(html, "<td{own}>{}</td>", cell(row, figure, entrant.name));
            }
            let _ = writeln!(
                html,
                "<td>{}</td><td>{}</td></tr>",
                verdict(section, row, figure),
                escape(&figure.aim.to_string())
            );
        }
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The median, and the spread below it in small.
fn cell(row: &RowResults, figure: &Figure, server: &str) -> String {
    let text = row.cell(figure, server);
    match text.split_once(" (") {
        Some((median, spread)) => {
            format!("{}<br><small>{}</small>", escape(median), escape(spread.trim_end_matches(')')))
        }
        None => escape(&text),
    }
}

fn verdict(section: &Section, row: &RowResults, figure: &Figure) -> String {
    let verdict = section.verdict(row, figure);
    let ratio = verdict.ratio.map_or("–".to_owned(), times);
    match verdict.reached {
        Some(true) => format!("{ratio} <span class=\"good\">reached</span>"),
        Some(false) => format!("{ratio} <span class=\"bad\">missed</span>"),
        None => ratio,
    }
}

fn not_measured(section: &Section) -> String {
    let mut lines = section.skipped.clone();
    for row in &section.rows {
        lines.extend(row.servers.iter().filter_map(|(server, results)| {
            let why = results.failure.as_ref()?;
            Some(format!("{server}, row {}: failed: {why}", row.work.name))
        }));
    }
    if lines.is_empty() {
        return String::new();
    }
    let mut html = String::from("<div class=\"card banner\"><h3>Not measured</h3>\n");
    for line in lines {
        let _ = writeln!(html, "<p>{}</p>", escape(&line));
    }
    html.push_str("</div>\n");
    html
}

/// Who took part, with which configuration.
fn entrants(section: &Section) -> String {
    let mut html = format!("<h2>{}: servers</h2>\n", escape(section.title));
    for note in &section.notes {
        let _ = writeln!(html, "<p>{}</p>", escape(note));
    }
    for entrant in &section.entrants {
        let _ = writeln!(html, "<div class=\"card\"><h3>{}</h3>", escape(entrant.name));
        html.push_str(&page::definitions([
            ("version", entrant.version.clone()),
            ("program", entrant.program.display().to_string()),
            ("durability", entrant.durability.to_owned()),
            ("processor time", entrant.method.to_owned()),
        ]));
        let _ = writeln!(
            html,
            "<details><summary>configuration</summary><pre>{}</pre></details></div>",
            escape(&entrant.config)
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::report::tests::section;
    use super::*;

    #[test]
    fn says_what_the_markdown_says() {
        let sections = vec![section(None)];
        let environment = Environment::read();
        let report = Report { environment, runs: 3, complete: false, took_seconds: 1.0, sections };
        let html = whole(&report);
        for part in [
            "Incomplete",
            "10<br><small>9–11</small>",
            "0.33 <span class=\"good\">reached</span>",
            "ProFTPD, row retr: failed: 421 &lt;full&gt;",
            "a = &quot;&lt;b&gt;&quot;",
        ] {
            assert!(html.contains(part), "{part} is not in\n{html}");
        }
    }
}
