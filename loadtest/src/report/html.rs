//! report::html – a run as one self-contained page: verdict, figures, latency by percentile, the
//! seconds, errors, the machine and the exact command.
//!
//! Promises: shows the repeat whose p99 is the median, and says so.
//! Not here: how lines are drawn (`plot`), how the page looks (`page`).

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::capacity::{Capacity, Verdict};
use super::plot::{Axis, Line, chart};
use super::result::{Outcome, Repeat, SecondInfo, Spread};
use super::summary::{distributions, generator, knee, load, verdicts};
use super::units::{count, octets, rate, time};
use crate::engine::recorder::Recording;
use crate::page::{self, escape};

/// Percentiles that get a label on the axis.
const NINES: [(f64, &str); 7] = [
    (0.0, "0 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
    (0.999999, "99.9999 %"),
];

/// The page.
pub fn whole(outcome: &Outcome, recordings: &[Recording]) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"lead\">{}</p>\n",
        escape(&outcome.target),
        escape(&load(outcome))
    );
    let verdicts = verdicts(outcome);
    for line in &verdicts {
        let _ = writeln!(body, "<p class=\"card banner\">{}</p>", escape(line));
    }
    if let Some(capacity) = &outcome.capacity {
        body.push_str(&search(capacity));
    }
    let typical = outcome.typical();
    if let (Some(repeat), Some(recording)) = (outcome.repeats.get(typical), recordings.get(typical))
    {
        body.push_str(&tiles(outcome));
        if outcome.repeats.len() > 1 {
            body.push_str(&repeats(outcome));
            let _ = writeln!(
                body,
                "<p class=\"soft\">Below: repeat {}, whose p99 is the median.</p>",
                typical + 1
            );
        }
        body.push_str(&by_percentile(outcome, recording));
        body.push_str(&seconds(outcome, repeat));
        body.push_str(&table(outcome, repeat));
        body.push_str(&errors(repeat));
        body.push_str(&particulars(outcome, repeat));
    }
    body.push_str(&circumstances(outcome));
    page::document(&format!("loadtest {}", outcome.target), &body)
}

fn tiles(outcome: &Outcome) -> String {
    let summary = &outcome.summary;
    let asked = outcome.load.rate.map_or("operations per second".into(), |asked| {
        format!("operations per second of {} asked", rate(asked))
    });
    let failed: u64 = outcome.repeats.iter().map(|one| one.failed).sum();
    let mut tiles = vec![
        (rate(summary.achieved_rate.median), asked),
        (time(summary.p50_us.median), "median latency".into()),
        (time(summary.p99_us.median), "99th percentile".into()),
        (time(summary.p999_us.median), "99.9th percentile".into()),
        (count(failed), "failed".into()),
    ];
    for (spread, what) in
        [(summary.received_per_second, "received /s"), (summary.sent_per_second, "sent /s")]
    {
        if spread.median > 0.0 {
            tiles.push((octets(spread.median), what.into()));
        }
    }
    let mut html = String::from("<div class=\"tiles\">\n");
    for (value, what) in tiles {
        let _ = writeln!(
            html,
            "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
            escape(&value),
            escape(&what)
        );
    }
    html.push_str("</div>\n");
    html
}

fn repeats(outcome: &Outcome) -> String {
    let mut html =
        String::from("<h2>Repeats</h2>\n<div class=\"card scroll\"><table><thead><tr><th></th>");
    for number in 1..=outcome.repeats.len() {
        let _ = write!(html, "<th>{number}</th>");
    }
    html.push_str("<th>median</th><th>least–greatest</th></tr></thead><tbody>\n");
    let summary = &outcome.summary;
    type Line = (&'static str, fn(&Repeat) -> f64, Spread, fn(f64) -> String);
    let rows: [Line; 6] = [
        ("achieved /s", |one| one.achieved_rate, summary.achieved_rate, rate),
        ("failed", |one| one.failed as f64, summary.failed, whole_number),
        ("p50", |one| one.latency.p50_us, summary.p50_us, time),
        ("p99", |one| one.latency.p99_us, summary.p99_us, time),
        ("p99.9", |one| one.latency.p999_us, summary.p999_us, time),
        ("max", |one| one.latency.max_us, summary.max_us, time),
    ];
    for (name, of, spread, shown) in rows {
        let _ = write!(html, "<tr><td>{name}</td>");
        for one in &outcome.repeats {
            let _ = write!(html, "<td>{}</td>", shown(of(one)));
        }
        let _ = writeln!(
            html,
            "<td class=\"own\">{}</td><td>{}–{}</td></tr>",
            shown(spread.median),
            shown(spread.least),
            shown(spread.greatest)
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn whole_number(number: f64) -> String {
    count(number.round() as u64)
}

/// The classic plot: each nine of the percentile takes the same width.
fn by_percentile(outcome: &Outcome, recording: &Recording) -> String {
    let mut lines = Vec::new();
    let mut add = |name, colour, histogram: &Histogram<u64>| {
        if !histogram.is_empty() {
            lines.push(Line { name, colour, points: curve(histogram), area: false });
        }
    };
    if outcome.is_open() {
        add("latency from the scheduled start", 1, &recording.latency);
        add("service time", 2, &recording.service);
    } else {
        add("service time (closed loop: what waits is left out)", 2, &recording.service);
    }
    let mut phases: Vec<_> = recording.phases.iter().collect();
    phases.sort_by_key(|one| std::cmp::Reverse(one.histogram.value_at_quantile(0.99)));
    // The three that count most at p99; more lines could not be told apart.
    for (index, one) in phases.into_iter().take(3).enumerate() {
        add(one.name, 3 + index as u8, &one.histogram);
    }
    if lines.is_empty() {
        return String::new();
    }
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let widest = lines.iter().filter_map(|line| line.points.last()).map(|point| point.0);
    let far = widest.fold(1.0, f64::max);
    let ticks = NINES.iter().map(|&(quantile, label)| (nines(quantile), label.to_owned()));
    let x = Axis {
        title: "percentile",
        least: 0.0,
        most: far,
        logarithmic: false,
        ticks: ticks.filter(|(at, _)| *at <= far).collect(),
    };
    let y = Axis::log("latency", least, most, time);
    format!(
        "<h2>Latency by percentile</h2>\n<div class=\"card\"><figure>{}</figure></div>\n",
        chart(&x, &y, 380.0, &lines)
    )
}

/// How many nines a quantile has.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

/// A histogram of nanoseconds: nines against microseconds, as far as its count carries.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let most = (histogram.len() as f64).log10().clamp(1.0, 6.5);
    let steps = 240;
    (0..=steps)
        .map(|step| {
            let at = most * f64::from(step) / f64::from(steps);
            let quantile = 1.0 - 10_f64.powf(-at);
            (at, (histogram.value_at_quantile(quantile) as f64 / 1e3).max(0.1))
        })
        .collect()
}

fn seconds(outcome: &Outcome, repeat: &Repeat) -> String {
    let series = &repeat.series;
    if series.len() < 2 {
        return String::new();
    }
    let last = series.len() as f64 - 1.0;
    let x = || Axis::linear("second", last, |second| format!("{second:.0}"));
    let x = || Axis {
        most: last,
        ticks: x().ticks.into_iter().filter(|t| t.0 <= last).collect(),
        ..x()
    };
    let points = |of: fn(&SecondInfo) -> f64| -> Vec<(f64, f64)> {
        series.iter().map(|one| (one.second as f64, of(one))).collect()
    };
    let line = |name, colour, of: fn(&SecondInfo) -> f64, area| Line {
        name,
        colour,
        points: points(of),
        area,
    };
    let most = |lines: &[Line]| {
        lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max)
    };
    let mut html = String::from("<h2>Second by second</h2>\n");
    let mut card = |title: &str, chart: String| {
        let _ = writeln!(
            html,
            "<div class=\"card\"><h3>{}</h3><figure>{chart}</figure></div>",
            escape(title)
        );
    };
    let mut rates = vec![line("done", 1, |one| one.done as f64, true)];
    if outcome.is_open() {
        rates.push(line("scheduled", 4, |one| one.scheduled as f64, false));
    }
    rates.push(line("failed", 5, |one| one.failed as f64, false));
    card(
        "Operations per second",
        chart(&x(), &Axis::linear("operations", most(&rates), rate), 230.0, &rates),
    );
    let latencies = [
        line("max", 5, |one| one.max_us, false),
        line("p99", 2, |one| one.p99_us, false),
        line("p50", 1, |one| one.p50_us, false),
    ];
    let positive = latencies.iter().flat_map(|line| &line.points).map(|point| point.1);
    let least = positive.filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
    card(
        "Latency",
        chart(&x(), &Axis::log("latency", least, most(&latencies), time), 260.0, &latencies),
    );
    if series.iter().any(|one| one.received + one.sent > 0) {
        let moved = [
            line("received", 1, |one| one.received as f64, true),
            line("sent", 3, |one| one.sent as f64, true),
        ];
        card(
            "Payload per second",
            chart(&x(), &Axis::linear("octets", most(&moved), octets), 200.0, &moved),
        );
    }
    if outcome.is_open() && repeat.backlog_max > 0 {
        let waiting = [
            line("waiting for a session", 5, |one| one.backlog as f64, true),
            line("sessions busy", 1, |one| one.busy as f64, false),
        ];
        card(
            "Backlog",
            chart(&x(), &Axis::linear("operations", most(&waiting), rate), 200.0, &waiting),
        );
    }
    html
}

fn table(outcome: &Outcome, repeat: &Repeat) -> String {
    let mut html = String::from(
        "<h2>Latencies</h2>\n<div class=\"card scroll\"><table><thead><tr><th></th><th>mean</th><th>p50</th>\
         <th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>count</th></tr></thead><tbody>\n",
    );
    for (name, times) in distributions(outcome, repeat) {
        let _ = write!(html, "<tr><td>{}</td>", escape(&name));
        for us in
            [times.mean_us, times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us]
        {
            let _ = write!(html, "<td>{}</td>", time(us));
        }
        let _ = writeln!(html, "<td>{}</td></tr>", count(times.count));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn errors(repeat: &Repeat) -> String {
    if repeat.errors.is_empty() {
        return String::new();
    }
    let mut errors: Vec<_> = repeat.errors.iter().collect();
    errors.sort_by(|one, other| other.1.cmp(one.1));
    let mut html = String::from(
        "<h2>Errors</h2>\n<div class=\"card\"><table><thead><tr><th>kind</th><th>count</th></tr></thead><tbody>\n",
    );
    for (kind, number) in errors {
        let _ = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(kind), count(*number));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn particulars(outcome: &Outcome, repeat: &Repeat) -> String {
    let mut facts = vec![
        (
            "operations",
            format!(
                "{} done, {} failed, {} unfinished, of {}; {} in the warm-up",
                count(repeat.done),
                count(repeat.failed),
                count(repeat.unfinished),
                count(repeat.scheduled),
                count(repeat.warm_up_operations)
            ),
        ),
        ("connections", count(repeat.connections)),
        ("generator", generator(outcome, repeat)),
    ];
    if outcome.is_open() {
        facts.push(("backlog", format!("at most {}", count(repeat.backlog_max))));
    }
    if repeat.idle_held > 0 {
        let held = format!("{} held, {} lost", count(repeat.idle_held), count(repeat.idle_lost));
        facts.push(("idle sessions", held));
    }
    facts.extend(repeat.counters.iter().map(|(name, number)| (*name, count(*number))));
    format!("<h2>Counts</h2>\n<div class=\"card\">{}</div>\n", page::definitions(facts))
}

fn search(capacity: &Capacity) -> String {
    let mut html = format!(
        "<p class=\"card banner ok\"><b>{}</b></p>\n<h2>Search</h2>\n",
        escape(&knee(capacity))
    );
    let mut steps: Vec<_> = capacity.steps.iter().collect();
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let points: Vec<(f64, f64)> = steps.iter().map(|step| (step.rate, step.p99_us)).collect();
    let median: Vec<(f64, f64)> = steps.iter().map(|step| (step.rate, step.p50_us)).collect();
    if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
        let limit = vec![(first.rate, capacity.p99_limit_us), (last.rate, capacity.p99_limit_us)];
        let lines = [
            Line { name: "p99", colour: 2, points, area: false },
            Line { name: "p50", colour: 1, points: median, area: false },
            Line { name: "objective", colour: 5, points: limit, area: false },
        ];
        let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        let least = values().filter(|&us| us > 0.0).fold(f64::INFINITY, f64::min);
        let x = Axis::linear("operations per second", last.rate, rate);
        let y = Axis::log("latency", least, values().fold(0.0, f64::max), time);
        let _ = writeln!(
            html,
            "<div class=\"card\"><figure>{}</figure></div>",
            chart(&x, &y, 300.0, &lines)
        );
    }
    html.push_str(
        "<div class=\"card scroll\"><table><thead><tr><th>rate /s</th><th>achieved</th><th>p50</th><th>p99</th>\
         <th>errors</th><th></th></tr></thead><tbody>\n",
    );
    for step in &capacity.steps {
        let verdict = match step.verdict {
            Verdict::Holds => "<span class=\"good\">holds</span>",
            Verdict::Breaks => "<span class=\"bad\">breaks</span>",
            Verdict::GeneratorLate => "<span class=\"bad\">generator late</span>",
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2} %</td><td>{verdict}</td></tr>",
            rate(step.rate),
            rate(step.achieved_rate),
            time(step.p50_us),
            time(step.p99_us),
            step.errors_percent
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn circumstances(outcome: &Outcome) -> String {
    let mut facts: Vec<(&str, String)> =
        outcome.settings.iter().map(|(name, value)| (*name, value.clone())).collect();
    facts.extend(outcome.machine.facts());
    let pins = match outcome.load.pinned_to.as_slice() {
        [] => "not pinned".to_owned(),
        pins => format!("pinned to {pins:?}"),
    };
    facts.push(("threads", format!("{}, {pins}", outcome.load.threads)));
    facts.push(("seed", outcome.load.seed.to_string()));
    format!(
        "<h2>Circumstances</h2>\n<div class=\"card\">{}</div>\n<pre>{}</pre>\n",
        page::definitions(facts),
        escape(&outcome.command)
    )
}
