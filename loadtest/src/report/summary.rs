//! report::summary – a run on the terminal, as a person reads it.
//!
//! Promises: whether the run is valid stands above the figures; nothing is said that has no value.

use std::fmt::Write as _;

use super::capacity::{Capacity, Ended, Verdict};
use super::result::{Outcome, Percentiles, Repeat, Spread};
use super::units::{count, octets, rate, time};

/// The summary.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}  {}", outcome.target, load(outcome));
    for (name, value) in &outcome.settings {
        let _ = writeln!(text, "  {name}: {value}");
    }
    for line in verdicts(outcome) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(capacity) = &outcome.capacity {
        text.push_str(&steps(capacity));
    }
    for (index, repeat) in outcome.repeats.iter().enumerate() {
        if outcome.repeats.len() > 1 {
            let _ = writeln!(text, "\nrepeat {} of {}", index + 1, outcome.repeats.len());
        }
        text.push_str(&one(outcome, repeat));
    }
    if outcome.repeats.len() > 1 {
        text.push_str(&over_repeats(outcome));
    }
    text
}

/// The load in words.
pub fn load(outcome: &Outcome) -> String {
    let load = &outcome.load;
    let mut text = match load.rate {
        Some(per_second) => {
            let arrivals = load.arrivals.unwrap_or_default();
            format!("open loop, {}/s {arrivals}", rate(per_second))
        }
        None => format!(
            "closed loop, {} sessions (capacity; latencies leave out what waits)",
            load.sessions_max
        ),
    };
    let _ = write!(text, ", {} s", load.duration_seconds);
    if load.warm_up_seconds > 0.0 {
        let _ = write!(text, " of which {} s warm-up", load.warm_up_seconds);
    }
    if let Some(most) = load.count {
        let _ = write!(text, ", at most {} operations", count(most));
    }
    if load.idle_sessions > 0 {
        let _ = write!(text, ", {} idle sessions held", count(load.idle_sessions as u64));
    }
    let threads =
        if load.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", load.threads) };
    let _ = write!(text, ", {threads}");
    text
}

/// What invalidates the run, or that nothing does.
pub fn verdicts(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    let many = outcome.repeats.len() > 1;
    for (index, repeat) in outcome.repeats.iter().enumerate() {
        let which = if many { format!("repeat {}: ", index + 1) } else { String::new() };
        if !repeat.generator.valid {
            lines.push(format!(
                "INVALID: {which}the generator itself was late: p99 {} (allowed: {}); lower the rate, \
                 or give it more processors",
                time(repeat.generator.lateness.p99_us),
                time(outcome.load.late_limit_us)
            ));
        }
        if let Some(why) = &repeat.partial {
            lines.push(format!("PARTIAL: {which}{why}"));
        }
    }
    if outcome.repeats.is_empty() {
        lines.push("PARTIAL: nothing was measured".to_owned());
    }
    lines
}

fn one(outcome: &Outcome, one: &Repeat) -> String {
    let mut text = String::from("\n");
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let unfinished = if one.unfinished > 0 {
        format!(", {} unfinished", count(one.unfinished))
    } else {
        String::new()
    };
    line(
        "operations",
        format!(
            "{} done, {} failed{unfinished}, of {}",
            count(one.done),
            count(one.failed),
            count(one.scheduled)
        ),
    );
    let achieved = rate(one.achieved_rate);
    line(
        "rate",
        match outcome.load.rate {
            Some(asked) => format!("{achieved}/s achieved, {}/s asked", rate(asked)),
            None => format!("{achieved}/s"),
        },
    );
    if one.received + one.sent > 0 {
        line(
            "payload",
            format!(
                "{}/s received, {}/s sent",
                octets(one.received_per_second),
                octets(one.sent_per_second)
            ),
        );
    }
    if outcome.is_open() {
        line("backlog", format!("at most {} waited for a session", count(one.backlog_max)));
    }
    if one.idle_held > 0 {
        line("idle", format!("{} held, {} lost", count(one.idle_held), count(one.idle_lost)));
    }
    line("generator", generator(outcome, one));
    let counters: Vec<String> =
        one.counters.iter().map(|(name, number)| format!("{name} {}", count(*number))).collect();
    if !counters.is_empty() {
        line("counted", counters.join(", "));
    }
    text.push_str(&tables(outcome, one));
    text.push_str(&errors(one));
    text
}

/// How the generator itself did.
pub fn generator(outcome: &Outcome, one: &Repeat) -> String {
    let busy = format!("{:.0} % busy", one.generator.utilisation * 100.0);
    if !outcome.is_open() {
        return busy;
    }
    let validity = if one.generator.valid { "valid" } else { "INVALID" };
    format!(
        "{busy}, p99 lateness {} (allowed: {}): {validity}",
        time(one.generator.lateness.p99_us),
        time(outcome.load.late_limit_us)
    )
}

/// Names of the latencies with their percentiles, in the order of all reports.
pub fn distributions(outcome: &Outcome, one: &Repeat) -> Vec<(String, Percentiles)> {
    let mut all = Vec::new();
    if outcome.is_open() {
        all.push(("latency from the scheduled start".to_owned(), one.latency));
        all.push(("service time".to_owned(), one.service));
        all.push(("wait for a session".to_owned(), one.wait));
    } else {
        all.push(("service time (closed loop)".to_owned(), one.service));
    }
    if one.kinds.len() > 1 {
        all.extend(one.kinds.iter().map(|kind| (format!("  {}", kind.name), kind.times)));
    }
    all.extend(one.phases.iter().map(|phase| (format!("phase {}", phase.name), phase.times)));
    all
}

fn tables(outcome: &Outcome, one: &Repeat) -> String {
    let mut text = format!(
        "\n{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}\n",
        "", "p50", "p90", "p99", "p99.9", "max", "count"
    );
    for (name, times) in distributions(outcome, one) {
        let _ = write!(text, "{name:<34}");
        for us in [times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us] {
            let _ = write!(text, "{:>10}", time(us));
        }
        let _ = writeln!(text, "{:>12}", count(times.count));
    }
    text
}

fn errors(one: &Repeat) -> String {
    if one.errors.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nerrors\n");
    let mut errors: Vec<_> = one.errors.iter().collect();
    errors.sort_by(|one, other| other.1.cmp(one.1));
    for (kind, number) in errors {
        let _ = writeln!(text, "{:>10}  {kind}", count(*number));
    }
    text
}

fn over_repeats(outcome: &Outcome) -> String {
    let summary = &outcome.summary;
    let mut text = format!("\nmedian (least–greatest) of {} repeats\n", outcome.repeats.len());
    let mut line = |name: &str, spread: &Spread, shown: fn(f64) -> String| {
        let Spread { median, least, greatest } = *spread;
        let _ =
            writeln!(text, "{name:<12} {} ({}–{})", shown(median), shown(least), shown(greatest));
    };
    line("rate /s", &summary.achieved_rate, rate);
    line("received /s", &summary.received_per_second, octets);
    line("sent /s", &summary.sent_per_second, octets);
    line("failed", &summary.failed, |failed| count(failed.round() as u64));
    line("p50", &summary.p50_us, time);
    line("p90", &summary.p90_us, time);
    line("p99", &summary.p99_us, time);
    line("p99.9", &summary.p999_us, time);
    line("max", &summary.max_us, time);
    text
}

fn steps(capacity: &Capacity) -> String {
    let mut text = format!(
        "\n{:>12}{:>12}{:>11}{:>11}{:>10}\n",
        "rate /s", "achieved", "p50", "p99", "errors"
    );
    for step in &capacity.steps {
        let verdict = match step.verdict {
            Verdict::Holds => "holds",
            Verdict::Breaks => "breaks",
            Verdict::GeneratorLate => "the generator was late",
        };
        let _ = writeln!(
            text,
            "{:>12}{:>12}{:>11}{:>11}{:>8.2} %  {verdict}",
            rate(step.rate),
            rate(step.achieved_rate),
            time(step.p50_us),
            time(step.p99_us),
            step.errors_percent
        );
    }
    let _ = writeln!(text, "\n{}", knee(capacity));
    text
}

/// The result of the search in a sentence.
pub fn knee(capacity: &Capacity) -> String {
    let objective = format!(
        "p99 ≤ {}, errors ≤ {} %",
        time(capacity.p99_limit_us),
        capacity.errors_limit_percent
    );
    match (capacity.knee, capacity.ended) {
        (Some(knee), Ended::Found) => format!("capacity: {}/s with {objective}", rate(knee)),
        (Some(knee), Ended::GeneratorLimit) => format!(
            "capacity: at least {}/s with {objective}; beyond it the generator itself was late",
            rate(knee)
        ),
        (Some(knee), _) => {
            format!("capacity: at least {}/s with {objective}; the search ended early", rate(knee))
        }
        (None, Ended::GeneratorLimit) => {
            "capacity: unknown, the generator itself was late (begin at a lower --rate)".to_owned()
        }
        (None, _) => format!("capacity: no rate that was tried holds {objective}"),
    }
}
