//! cli::status – `sluicegate status`: how a running server is, once or every second.
//!
//! Rates come from two looks at the same counters, a second apart.
//! Not here: the counters (`metrics`), the socket (`server::admin`).

use std::io::IsTerminal;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::place::Where;
use super::queue::unreachable;
use super::{human, say};
use crate::problem::Problem;
use crate::server::Failure;
use crate::server::admin::{self, Request, Response};
use crate::server::status::{Shard, Status};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,
    /// As JSON; with --watch one line each second
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(command: &StatusCommand) -> Result<(), Failure> {
    let config = command.place.config()?;
    let Some(path) = &config.server.admin_socket else {
        let remedy = "give it a path and restart the server";
        let problem = Problem::new("[server] admin_socket", "it is off", remedy);
        return Err(Failure::Usage(problem.to_string()));
    };
    let clear = command.watch && std::io::stdout().is_terminal();
    let mut before = Sample::take(path)?;
    loop {
        thread::sleep(PERIOD.saturating_sub(before.at.elapsed()));
        let sample = Sample::take(path)?;
        let text = match (command.json, command.watch) {
            (false, _) => page(&before, &sample),
            (true, false) => format!("{:#}\n", in_json(&before, &sample)),
            (true, true) => format!("{}\n", in_json(&before, &sample)),
        };
        let home = if clear { "\x1b[H\x1b[2J" } else { "" };
        let read = say::out_while_read(&format!("{home}{text}"))?;
        if !command.watch || !read {
            return Ok(());
        }
        before = sample;
    }
}

/// One look.
struct Sample {
    at: Instant,
    status: Status,
}

impl Sample {
    fn take(path: &Path) -> Result<Self, Failure> {
        let response = admin::query(path, &Request::Status);
        match response.map_err(|error| unreachable(path, &error))? {
            Response::Status(status) => Ok(Self { at: Instant::now(), status: *status }),
            Response::Error(why) => Err(Failure::Running(format!("status: {why}"))),
            Response::Queue(_) => Err(Failure::Running(
                "status: the server answered something else (is it of another version?)".to_owned(),
            )),
        }
    }

    /// A metric by its name without the prefix; 0 when the server has none of that name.
    fn value(&self, name: &str) -> f64 {
        self.status.metrics.get(&format!("sluicegate_{name}")).copied().unwrap_or(0.0)
    }
}

/// Per second, from one look to the next. A server that was restarted meanwhile begins at 0.
fn rate(before: &Sample, after: &Sample, value: impl Fn(&Sample) -> f64) -> f64 {
    let seconds = after.at.duration_since(before.at).as_secs_f64().max(0.001);
    (value(after) - value(before)).max(0.0) / seconds
}

fn in_json(before: &Sample, after: &Sample) -> serde_json::Value {
    let rates: serde_json::Map<String, serde_json::Value> = after
        .status
        .metrics
        .keys()
        .filter(|name| name.split('{').next().is_some_and(|name| name.ends_with("_total")))
        .map(|name| {
            let value = |sample: &Sample| sample.status.metrics.get(name).copied().unwrap_or(0.0);
            (name.clone(), json!(rate(before, after, value)))
        })
        .collect();
    let mut value = json!(after.status);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("per_second".to_owned(), rates.into());
    }
    value
}

// ---------------------------------------------------------------- the page

fn page(before: &Sample, after: &Sample) -> String {
    let status = &after.status;
    #[allow(clippy::cast_possible_truncation, reason = "whole seconds are shown")]
    let uptime = human::age(status.uptime_seconds as i64);
    let mut text = format!(
        "sluicegate {}, process {}, {} for {uptime}\n\n",
        human::plain(&status.version),
        status.pid,
        human::plain(&status.phase)
    );
    text.push_str(&connections(before, after));
    text.push('\n');
    text.push_str(&activity(before, after));
    if let Some(queue) = &status.queue {
        let oldest = queue.oldest.and_then(|oldest| i64::try_from(oldest).ok());
        let oldest = oldest.map(|oldest| format!(", oldest {}", human::age(human::now() - oldest)));
        let condemned = match queue.condemned {
            0 => String::new(),
            condemned => format!(", {condemned} CONDEMNED after failed writes"),
        };
        text.push_str(&format!(
            "\nqueue  {}, {}{}\nspool  {}, {} free{condemned}\n",
            human::count(queue.messages, "message"),
            human::size(queue.bytes),
            oldest.unwrap_or_default(),
            human::count(queue.segments, "segment"),
            queue.segments_free,
        ));
    }
    text.push('\n');
    text.push_str(&shards(before, after));
    text
}

fn connections(before: &Sample, after: &Sample) -> String {
    let mut rows = Vec::new();
    for protocol in &after.status.protocols {
        let open = format!("protocol_connections{{protocol=\"{protocol}\"}}");
        let opened = format!("protocol_connections_opened_total{{protocol=\"{protocol}\"}}");
        rows.push(vec![
            human::plain(protocol),
            whole(after.value(&open)),
            whole(after.value(&opened)),
            per_second(rate(before, after, |sample| sample.value(&opened))),
        ]);
    }
    human::table(&["SESSIONS", "OPEN", "IN ALL", "PER S"], &[1, 2, 3], &rows)
}

/// What is counted: of which protocol, shown as, metric, in octets.
const ACTIVITY: [(&str, &str, &str, bool); 16] = [
    ("ftp", "downloads", "transfers_total{verb=\"retr\",result=\"ok\"}", false),
    ("ftp", "uploads", "transfers_total{verb=\"stor\",result=\"ok\"}", false),
    ("ftp", "listings", "transfers_total{verb=\"list\",result=\"ok\"}", false),
    ("ftp", "commands", "commands_total", false),
    ("ftp", "logins", "logins_total{result=\"ok\"}", false),
    ("ftp", "logins failed", "logins_total{result=\"failed\"}", false),
    ("ftp", "sent", "sent_bytes_total", true),
    ("ftp", "received", "received_bytes_total", true),
    ("smtp", "mail accepted", "smtp_messages_total{result=\"accepted\"}", false),
    ("smtp", "mail accepted, bytes", "smtp_received_bytes_total", true),
    ("smtp", "mail refused", "smtp_messages_total{result=\"refused\"}", false),
    ("smtp", "mail not kept", "smtp_messages_total{result=\"failed\"}", false),
    ("smtp", "mail delivered", "deliveries_total{result=\"delivered\"}", false),
    ("smtp", "mail passed on", "deliveries_total{result=\"relayed\"}", false),
    ("smtp", "mail discarded", "deliveries_total{result=\"discarded\"}", false),
    ("smtp", "deliveries deferred", "deliveries_total{result=\"deferred\"}", false),
];

fn activity(before: &Sample, after: &Sample) -> String {
    let mut rows = Vec::new();
    for (protocol, shown, metric, octets) in ACTIVITY {
        if !after.status.protocols.iter().any(|one| one == protocol) {
            continue;
        }
        let rate = rate(before, after, |sample| sample.value(metric));
        let total = after.value(metric);
        let (total, rate) = if octets {
            (human::amount(total), human::amount(rate))
        } else {
            (whole(total), per_second(rate))
        };
        rows.push(vec![shown.to_owned(), total, rate]);
    }
    human::table(&["ACTIVITY", "IN ALL", "PER S"], &[1, 2], &rows)
}

fn shards(before: &Sample, after: &Sample) -> String {
    let row = |shard: &Shard| {
        let of = |sample: &Sample, pick: fn(&Shard) -> u64| {
            #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
            sample.status.shards.get(shard.index).map_or(0.0, |shard| pick(shard) as f64)
        };
        let rate = |pick| human::amount(rate(before, after, |sample| of(sample, pick)));
        vec![
            shard.index.to_string(),
            shard.connections.to_string(),
            rate(|shard| shard.received_bytes),
            rate(|shard| shard.sent_bytes),
            shard.queue.map_or_else(|| "-".to_owned(), |queue| queue.messages.to_string()),
            shard.panics.to_string(),
            format!("{:.1} s ago", shard.beat_age_seconds),
        ]
    };
    let rows: Vec<Vec<String>> = after.status.shards.iter().map(row).collect();
    let headings = ["SHARD", "CONNECTIONS", "IN PER S", "OUT PER S", "QUEUE", "PANICS", "BEAT"];
    human::table(&headings, &[0, 1, 2, 3, 4, 5, 6], &rows)
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn per_second(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::server::status::Depth;

    fn sample(at: Instant, metrics: &[(&str, f64)], queue: Option<Depth>) -> Sample {
        let metrics: BTreeMap<String, f64> =
            metrics.iter().map(|(name, value)| (format!("sluicegate_{name}"), *value)).collect();
        let shard = Shard { index: 0, connections: 3, queue, ..Shard::default() };
        let status = Status {
            version: "1.2".into(),
            pid: 7,
            phase: "running".into(),
            protocols: if queue.is_some() {
                vec!["ftp".into(), "smtp".into()]
            } else {
                vec!["ftp".into()]
            },
            uptime_seconds: 7300.0,
            queue,
            shards: vec![shard],
            metrics,
        };
        Sample { at, status }
    }

    #[test]
    fn a_page_shows_totals_and_rates() {
        let start = Instant::now();
        let depth = Depth { messages: 4, bytes: 2048, segments: 3, ..Depth::default() };
        let name = "smtp_messages_total{result=\"accepted\"}";
        let before = sample(start, &[(name, 100.0), ("sent_bytes_total", 0.0)], Some(depth));
        let after = [(name, 150.0), ("sent_bytes_total", 4096.0)];
        let after = sample(start + Duration::from_secs(2), &after, Some(depth));
        let text = page(&before, &after);
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start));
            let words: Vec<&str> =
                line.unwrap_or_else(|| panic!("{start}:\n{text}")).split_whitespace().collect();
            words.join(" ")
        };
        assert_eq!(line("sluicegate"), "sluicegate 1.2, process 7, running for 2 h");
        assert_eq!(line("mail accepted "), "mail accepted 150 25");
        assert_eq!(line("sent"), "sent 4.0 KiB 2.0 KiB");
        assert_eq!(line("queue"), "queue 4 messages, 2.0 KiB");
        assert_eq!(line("spool"), "spool 3 segments, 0 free");
        assert_eq!(line("    0"), "0 3 0 B 0 B 4 0 0.0 s ago");
        let one = Depth { messages: 1, bytes: 2048, segments: 1, ..Depth::default() };
        let one = sample(start, &[], Some(one));
        let one = page(&one, &one);
        assert!(
            one.contains("queue  1 message, 2.0") && one.contains("spool  1 segment, "),
            "{one}"
        );
        let value = in_json(&before, &after);
        assert_eq!(value["per_second"][format!("sluicegate_{name}")], json!(25.0));
        assert_eq!(value["pid"], json!(7));
        // Restarted meanwhile: no rate below nothing.
        assert_eq!(rate(&after, &before, |sample| sample.value(name)), 0.0);
    }

    #[test]
    fn without_mail_there_are_no_lines_about_it() {
        let start = Instant::now();
        let text = page(&sample(start, &[], None), &sample(start, &[], None));
        assert!(
            !text.contains("mail") && !text.contains("smtp") && !text.contains("queue "),
            "{text}"
        );
        assert!(text.contains("downloads") && text.contains("QUEUE"), "{text}");
    }
}
