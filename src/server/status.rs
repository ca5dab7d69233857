//! server::status – how the server is, as `sluicegate status` shows it.
//!
//! Counters are those of the metrics, under the same names, so that there is one list of them.
//! Not here: asking the shards (`admin`), printing (`cli`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::queue::Depth;
use crate::metrics::Metrics;

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
    /// Octets received on data connections.
    pub received_bytes: u64,
    /// Octets sent on data connections.
    pub sent_bytes: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Seconds since it proved that it lives.
    pub beat_age_seconds: f64,
    /// What waits for delivery.
    pub queue: Option<Depth>,
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
    /// Gathers everything. `depths` is empty without SMTP, and lacks those of shards that do not answer.
    pub(super) fn gather(
        metrics: &Arc<Metrics>,
        phase: &str,
        boards: &[Seen],
        depths: &[Option<Depth>],
    ) -> Self {
        let queue = (!depths.is_empty()).then(|| {
            depths.iter().flatten().fold(Depth::default(), |mut sum, depth| {
                sum.merge(depth);
                sum
            })
        });
        let shards = boards.iter().enumerate().map(|(index, seen)| {
            let counters = metrics.shard(index);
            Shard {
                index,
                connections: u64::try_from(seen.connections).unwrap_or(u64::MAX),
                received_bytes: counters.bytes_in.value(),
                sent_bytes: counters.bytes_out.value(),
                panics: seen.panics,
                beat_age_seconds: seen.beat_age.as_secs_f64(),
                queue: depths.get(index).copied().flatten(),
            }
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: phase.to_owned(),
            uptime_seconds: metrics.uptime().as_secs_f64(),
            queue,
            shards: shards.collect(),
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
        let depth = |messages, oldest| Depth { messages, oldest, ..Depth::default() };
        let depths = [Some(depth(2, Some(90))), None];
        let status = Status::gather(&metrics, "running", &[seen, seen], &depths);
        assert_eq!(status.metrics["sluicegate_received_bytes_total"], 7.0);
        assert_eq!(status.metrics["sluicegate_logins_total{result=\"ok\"}"], 3.0);
        assert_eq!((status.shards[0].received_bytes, status.shards[1].received_bytes), (0, 7));
        assert_eq!((status.shards[1].connections, status.shards[1].panics), (5, 1));
        assert_eq!(status.queue, Some(depth(2, Some(90))));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert_eq!(Status::gather(&metrics, "running", &[], &[]).queue, None);
    }

    #[test]
    fn an_older_or_newer_server_is_understood() {
        let status: Status = serde_json::from_str(r#"{"version":"9","news":[1]}"#).unwrap();
        assert_eq!(status.version, "9");
    }
}
