//! server::status – how the server is, as `sluicegate status` shows it.
//!
//! Counters are those of the metrics, under the same names, so that there is one list of them.
//! Not here: asking the shards (`admin`), printing (`cli`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use crate::metrics::mail::Mail;

/// How the server is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// "running", "draining" or "stopping".
    pub phase: String,
    /// What it speaks: "ftp", "smtp".
    pub protocols: Vec<String>,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// What waits, all shards together; absent without SMTP.
    pub queue: Option<Depth>,
    /// One for each shard.
    pub shards: Vec<Shard>,
    /// Every metric by its name and labels, as Prometheus sees it.
    pub metrics: BTreeMap<String, f64>,
}

/// How one shard is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shard {
    /// Its number.
    pub index: usize,
    /// Connections it has.
    pub connections: u64,
    /// Octets received: on data connections, and of accepted messages.
    pub received_bytes: u64,
    /// Octets sent on data connections.
    pub sent_bytes: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Seconds since it proved that it lives.
    pub beat_age_seconds: f64,
    /// What waits for delivery; absent without SMTP.
    pub queue: Option<Depth>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Depth {
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// When the oldest was accepted, seconds since 1970.
    pub oldest: Option<u64>,
    /// Segments of the spool.
    pub segments: u64,
    /// Free ones among them.
    pub segments_free: u64,
    /// Those given up after a failed write.
    pub condemned: u64,
}

impl Depth {
    fn of(mail: &Mail) -> Self {
        Self {
            messages: mail.queue_messages.value(),
            bytes: mail.queue_bytes.value(),
            oldest: Some(mail.queue_oldest.value()).filter(|oldest| *oldest > 0),
            segments: mail.segments.value(),
            segments_free: mail.segments_free.value(),
            condemned: mail.condemned.value(),
        }
    }

    fn merge(mut self, other: &Self) -> Self {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.segments += other.segments;
        self.segments_free += other.segments_free;
        self.condemned += other.condemned;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self
    }
}

/// What a shard's board says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Connections.
    pub(super) connections: usize,
    /// Since its last beat.
    pub(super) beat_age: Duration,
    /// Tasks that panicked.
    pub(super) panics: u64,
}

impl Status {
    /// Gathers everything.
    pub(super) fn gather(
        metrics: &Arc<Metrics>,
        phase: &str,
        boards: &[Seen],
        protocols: &[&str],
    ) -> Self {
        let mail = protocols.contains(&"smtp");
        let shard = |(index, seen): (usize, &Seen)| {
            let counters = metrics.shard(index);
            Shard {
                index,
                connections: u64::try_from(seen.connections).unwrap_or(u64::MAX),
                received_bytes: counters.bytes_in.value() + counters.mail.bytes.value(),
                sent_bytes: counters.bytes_out.value(),
                panics: seen.panics,
                beat_age_seconds: seen.beat_age.as_secs_f64(),
                queue: mail.then(|| Depth::of(&counters.mail)),
            }
        };
        let shards: Vec<Shard> = boards.iter().enumerate().map(shard).collect();
        let depths = shards.iter().filter_map(|shard| shard.queue.as_ref());
        let queue = mail.then(|| depths.fold(Depth::default(), Depth::merge));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: phase.to_owned(),
            protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
            uptime_seconds: metrics.uptime().as_secs_f64(),
            queue,
            shards,
            metrics: values(&metrics.render()),
        }
    }
}

/// Values of a page of OpenMetrics.
fn values(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_boards_become_a_status() {
        let metrics = Metrics::new(2);
        metrics.shard(1).bytes_in.add(7);
        metrics.shard(0).logins_ok.add(3);
        let seen = Seen { connections: 5, beat_age: Duration::from_millis(1500), panics: 1 };
        let (one, two) = (&metrics.shard(0).mail, &metrics.shard(1).mail);
        one.queue_messages.show(2);
        one.queue_oldest.show(90);
        two.queue_messages.show(3);
        two.segments.show(4);
        let status = Status::gather(&metrics, "running", &[seen, seen], &["smtp"]);
        assert_eq!(status.metrics["sluicegate_received_bytes_total"], 7.0);
        assert_eq!(status.metrics["sluicegate_logins_total{result=\"ok\"}"], 3.0);
        assert_eq!((status.shards[0].received_bytes, status.shards[1].received_bytes), (0, 7));
        assert_eq!((status.shards[1].connections, status.shards[1].panics), (5, 1));
        let depth = Depth { messages: 5, oldest: Some(90), segments: 4, ..Depth::default() };
        assert_eq!((status.queue, status.shards[1].queue.unwrap().messages), (Some(depth), 3));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert_eq!(Status::gather(&metrics, "running", &[], &["ftp"]).queue, None);
    }

    #[test]
    fn an_older_or_newer_server_is_understood() {
        let status: Status = serde_json::from_str(r#"{"version":"9","news":[1]}"#).unwrap();
        assert_eq!(status.version, "9");
    }
}
