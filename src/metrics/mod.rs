//! metrics – what the server did, counted per shard and added up when somebody asks.
//!
//! ```text
//!  shard 0 ──▶ Counters 0 ─┐
//!  shard 1 ──▶ Counters 1 ─┼─▶ render (text.rs) ─▶ GET /metrics (endpoint.rs, one thread)
//!             Metrics ─────┘   OpenMetrics text
//! ```
//! Each shard writes its own `Counters` only, with plain loads and stores: no cache line is ever
//! contended, no instruction is locked. A scrape may be a moment behind.
//!
//! Promises: counters never go back; names begin with `sluicegate_`, units are seconds and bytes.
//! Not here: when something is counted (`server`).

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod endpoint;
pub mod mail;
mod mail_text;
pub mod names;
mod text;
pub mod tls;

pub use endpoint::Endpoint;

/// A number that one thread counts up and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Shows `value`, of something that goes up and down. Only the owning shard may call this.
    pub fn show(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Counts `number` more. Only the owning shard may call this.
    pub fn add(&self, number: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    }

    /// Counts one more. Only the owning shard may call this.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// FTP control connections.
    Ftp,
    /// SMTP.
    Smtp,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `max_connections`.
    Total,
    /// `max_connections_per_ip`.
    Address,
    /// Too many failed logins from the address.
    Failures,
    /// The server is draining.
    Draining,
    /// No descriptor or memory was left.
    Resources,
}

/// What a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// RETR.
    Retr,
    /// STOR and STOU.
    Stor,
    /// APPE, and STOR after REST.
    Appe,
    /// LIST, NLST, MLSD.
    List,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Whole.
    Ok,
    /// The server or the disk failed, or the client broke a limit.
    Failed,
    /// The client stopped it or went away.
    Aborted,
}

/// What one shard counts. The alignment keeps two shards' counters off one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Sessions logged in, anonymous ones included.
    pub sessions_started: Count,
    /// Logged-in sessions that ended.
    pub sessions_ended: Count,
    /// Logins that succeeded.
    pub logins_ok: Count,
    /// Logins that failed.
    pub logins_failed: Count,
    /// Commands understood or not.
    pub commands: Count,
    /// Octets received on data connections.
    pub bytes_in: Count,
    /// Octets sent on data connections.
    pub bytes_out: Count,
    /// Tasks that panicked; written by the supervisor, from the shard's own count.
    pub panics: Count,
    /// Listings answered from the cache.
    pub listing_hits: Count,
    /// Listings that read the directory.
    pub listing_misses: Count,
    /// What mail counts.
    pub mail: mail::Mail,
    /// What looking up names counts.
    pub names: names::Names,
    /// Handshakes.
    pub tls: tls::Tls,
    opened: [Count; 2],
    closed: [Count; 2],
    refused: [Count; 5],
    transfers: [[Count; 3]; 4],
    /// Milliseconds from the start of `Metrics` to the last heartbeat, plus one; 0 before the first.
    beat: Count,
}

impl Counters {
    /// A connection was accepted.
    pub fn opened(&self, protocol: Protocol) {
        if let Some(count) = self.opened.get(protocol as usize) {
            count.increment();
        }
    }

    /// A connection that had been accepted was closed.
    pub fn closed(&self, protocol: Protocol) {
        if let Some(count) = self.closed.get(protocol as usize) {
            count.increment();
        }
    }

    /// A connection was turned away.
    pub fn refused(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.increment();
        }
    }

    /// A transfer ended.
    pub fn transferred(&self, verb: Verb, ending: Ending) {
        if let Some(count) =
            self.transfers.get(verb as usize).and_then(|row| row.get(ending as usize))
        {
            count.increment();
        }
    }
}

/// Everything that is counted in this process.
#[derive(Debug)]
pub struct Metrics {
    shards: Vec<Counters>,
    started: Instant,
    started_at: SystemTime,
    reload_ok: AtomicBool,
    /// Seconds since the epoch; 0 without a certificate.
    certificate_expiry: AtomicI64,
    dropped: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
}

impl Metrics {
    /// Counters for `shards` shards, all at zero.
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..shards).map(|_| Counters::default()).collect(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            reload_ok: AtomicBool::new(true),
            certificate_expiry: AtomicI64::new(0),
            dropped: Mutex::new(Vec::new()),
        })
    }

    /// The counters of shard `index`, which must be one of those made. Its own thread writes them.
    pub fn shard(&self, index: usize) -> &Counters {
        &self.shards[index]
    }

    /// What the supervisor saw of shard `index`: how long ago it beat, and how many of its tasks
    /// panicked. Only the supervisor calls this.
    pub fn note_shard(&self, index: usize, beat_age: Duration, panics: u64) {
        let beat = self.started.elapsed().saturating_sub(beat_age).as_millis();
        let counters = &self.shards[index];
        counters
            .beat
            .0
            .store(u64::try_from(beat).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
        counters.panics.0.store(panics, Ordering::Relaxed);
    }

    /// Time since the last heartbeat of shard `index`; since the start when there was none.
    pub fn beat_age(&self, index: usize) -> Duration {
        let last = self.shards[index].beat.value().saturating_sub(1);
        self.started.elapsed().saturating_sub(Duration::from_millis(last))
    }

    /// How the last reload went.
    pub fn set_reload(&self, ok: bool) {
        self.reload_ok.store(ok, Ordering::Relaxed);
    }

    /// When the first of the certificates in force expires, seconds since the epoch.
    pub fn set_certificate_expiry(&self, seconds: i64) {
        self.certificate_expiry.store(seconds, Ordering::Relaxed);
    }

    fn certificate_expiry(&self) -> Option<i64> {
        Some(self.certificate_expiry.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }

    /// Shows a counter of dropped log lines; `log` is "log" or "xferlog". One per name.
    pub fn watch_dropped(&self, log: &'static str, counter: Arc<AtomicU64>) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.retain(|(name, _)| *name != log);
        dropped.push((log, counter));
    }

    /// Connections open now, over all shards.
    pub fn connections(&self) -> u64 {
        let of = |protocol| self.connections_of(protocol);
        of(Protocol::Ftp) + of(Protocol::Smtp)
    }

    /// Connections open now that speak `protocol`, over all shards.
    pub fn connections_of(&self, protocol: Protocol) -> u64 {
        let at = protocol as usize;
        self.current(|counters| &counters.opened[at], |counters| &counters.closed[at])
    }

    /// Sessions logged in now, over all shards.
    pub fn sessions(&self) -> u64 {
        self.current(|counters| &counters.sessions_started, |counters| &counters.sessions_ended)
    }

    /// Everything as OpenMetrics text.
    pub fn render(self: &Arc<Self>) -> String {
        text::render(self)
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn sum(&self, pick: impl Fn(&Counters) -> &Count) -> u64 {
        self.shards.iter().map(|counters| pick(counters).value()).sum()
    }

    /// The ends are read first: read the other way round, a scrape could see more ends than starts.
    fn current(
        &self,
        starts: impl Fn(&Counters) -> &Count,
        ends: impl Fn(&Counters) -> &Count,
    ) -> u64 {
        let ended = self.sum(ends);
        self.sum(starts).saturating_sub(ended)
    }

    fn started_at_seconds(&self) -> f64 {
        self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up() {
        let metrics = Metrics::new(2);
        metrics.shard(0).opened(Protocol::Ftp);
        metrics.shard(0).opened(Protocol::Ftp);
        metrics.shard(0).opened(Protocol::Smtp);
        metrics.shard(1).closed(Protocol::Ftp);
        metrics.shard(1).bytes_out.add(1 << 40);
        metrics.shard(0).transferred(Verb::List, Ending::Aborted);
        metrics.shard(1).transferred(Verb::List, Ending::Aborted);
        metrics.shard(1).refused(Refusal::Resources);
        assert_eq!(metrics.connections(), 2);
        let text = metrics.render();
        for line in [
            "sluicegate_connections 2\n",
            "sluicegate_protocol_connections{protocol=\"smtp\"} 1\n",
            "sluicegate_protocol_connections_opened_total{protocol=\"ftp\"} 2\n",
            "sluicegate_connections_opened_total 3\n",
            "sluicegate_sent_bytes_total 1099511627776\n",
            "sluicegate_transfers_total{verb=\"list\",result=\"aborted\"} 2\n",
            "sluicegate_transfers_total{verb=\"retr\",result=\"ok\"} 0\n",
            "sluicegate_connections_refused_total{reason=\"resources\"} 1\n",
            "sluicegate_config_last_reload_successful 1\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn handshakes_have_a_version_and_failures_a_reason() {
        let metrics = Metrics::new(1);
        assert!(!metrics.render().contains("tls_certificate_expiry"), "without a certificate");
        metrics.shard(0).tls.done("TLSv1.3", true);
        metrics.shard(0).tls.failed(tls::Failed::Injected);
        metrics.set_certificate_expiry(4_733_510_400);
        let text = metrics.render();
        for line in [
            "sluicegate_tls_handshakes_total{version=\"TLSv1.3\",resumed=\"yes\"} 1\n",
            "sluicegate_tls_handshakes_total{version=\"TLSv1.2\",resumed=\"no\"} 0\n",
            "sluicegate_tls_handshakes_failed_total{reason=\"injected\"} 1\n",
            "sluicegate_tls_certificate_expiry_seconds 4733510400\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn every_name_follows_the_rules() {
        let metrics = Metrics::new(1);
        metrics.watch_dropped("log", Arc::new(AtomicU64::new(7)));
        let text = metrics.render();
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines().filter(|line| !line.starts_with("# EOF")) {
            let name = line
                .trim_start_matches("# HELP ")
                .trim_start_matches("# TYPE ")
                .trim_start_matches("# UNIT ");
            assert!(name.starts_with("sluicegate_"), "{line}");
        }
        let mut counters =
            text.lines().filter(|line| line.starts_with("# TYPE") && line.ends_with(" counter"));
        assert!(
            counters
                .all(|line| text.contains(&format!("\n{}_total", line.split(' ').nth(2).unwrap())))
        );
        assert!(text.contains("sluicegate_log_lines_dropped_total{log=\"log\"} 7\n"), "{text}");
        assert!(
            text.contains(&format!(
                "sluicegate_build_info{{version=\"{}\"}} 1\n",
                env!("CARGO_PKG_VERSION")
            )),
            "{text}"
        );
    }

    #[test]
    fn a_heart_that_beats_is_young() {
        let metrics = Metrics::new(1);
        std::thread::sleep(Duration::from_millis(20));
        assert!(metrics.beat_age(0) >= Duration::from_millis(20));
        let begin = Instant::now();
        metrics.note_shard(0, Duration::ZERO, 3);
        // It is kept in whole milliseconds.
        let age = metrics.beat_age(0);
        assert!(age <= begin.elapsed() + Duration::from_millis(1), "{age:?}");
        assert!(metrics.render().contains("sluicegate_task_panics_total 3\n"));
        metrics.set_reload(false);
        assert!(metrics.render().contains("sluicegate_config_last_reload_successful 0\n"));
    }

    #[test]
    fn neighbours_do_not_share_a_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}
