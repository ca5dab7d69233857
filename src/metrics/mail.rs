//! metrics::mail – what mail counts: messages, refusals, commits, deliveries, and how long the queue is.
//!
//! Promises: as for every counter, only the owning shard writes; a histogram costs three stores.
//! Not here: when something is counted (`server`).

use std::time::Duration;

use super::Count;

/// How the reception of a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// 250: it is durable.
    Accepted,
    /// Refused after it was read: its size, its line ends, a loop …
    Refused,
    /// The spool could not keep it.
    Failed,
    /// The client went away, or was too slow.
    Aborted,
}

/// Why a command or a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No such mailbox.
    NoUser,
    /// Relaying is not permitted.
    Relay,
    /// The recipient's mailbox takes nothing now.
    Mailbox,
    /// The disk is full or nearly.
    NoSpace,
    /// The spool does not work.
    Broken,
    /// Not permitted by the configuration.
    Denied,
    /// Too much at once.
    Busy,
    /// An alias that has no end.
    Loop,
    /// The client spoke before the greeting.
    Early,
    /// The client kept a deadline or the minimum rate not.
    Slow,
    /// A user sent under an address of somebody else.
    Sender,
    /// A proxy did not say, as it should, for whom it speaks.
    Proxy,
    /// A milter does not want it, or could not be asked.
    Milter,
}

/// What became of a message (or of a command) in one milter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milter {
    /// It went through as it was.
    Passed,
    /// It was changed.
    Changed,
    /// It was refused, now or for good.
    Refused,
    /// It is thrown away.
    Discarded,
    /// It is held.
    Quarantined,
    /// The milter failed.
    Failed,
}

/// What became of an AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// 235.
    Ok,
    /// Not this user, or not this password; also what was refused unheard.
    Failed,
    /// Not what the mechanism wants.
    Malformed,
    /// Passwords could not be looked at.
    Unavailable,
}

/// Labels, in the order of the enumerations.
pub(super) const RECEIVED: [&str; 4] = ["accepted", "refused", "failed", "aborted"];
pub(super) const REASONS: [&str; 13] = [
    "no_user", "relay", "mailbox", "no_space", "broken", "denied", "busy", "loop", "early", "slow",
    "sender", "proxy", "milter",
];
pub(super) const MILTERS: [&str; 6] =
    ["passed", "changed", "refused", "discarded", "quarantined", "failed"];
pub(super) const LOGINS: [&str; 4] = ["ok", "failed", "malformed", "unavailable"];
pub(super) const REPORTS: [&str; 2] = ["sent", "limited"];
pub(super) const DELIVERIES: [&str; 5] =
    ["delivered", "discarded", "deferred", "failed", "relayed"];

/// Upper bounds of the commit latency, microseconds.
pub(super) const LATENCY_MICROS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];
/// Upper bounds of the messages that one write made durable.
pub(super) const BATCH_MESSAGES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Numbers by size: how many fell below each bound.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    /// One more than there are bounds: the last is for everything larger.
    counts: [Count; N],
    larger: Count,
    sum: Count,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: &'static [u64; N]) -> Self {
        let counts = [const { Count::new() }; N];
        Self { bounds, counts, larger: Count::new(), sum: Count::new() }
    }

    /// One more number.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(at).unwrap_or(&self.larger).increment();
        self.sum.add(value);
    }

    /// Adds to `counts` how many fell between the bounds (the last: above all); the sum of the numbers.
    pub(super) fn read(&self, counts: &mut [u64]) -> u64 {
        for (total, count) in counts.iter_mut().zip(self.counts.iter().chain([&self.larger])) {
            *total += count.value();
        }
        self.sum.value()
    }
}

/// What one shard counts about mail.
#[derive(Debug)]
pub struct Mail {
    /// Octets of accepted messages.
    pub bytes: Count,
    /// Unsettled messages at this moment.
    pub queue_messages: Count,
    /// Their octets.
    pub queue_bytes: Count,
    /// When the oldest of them was accepted: seconds since 1970; 0 for none.
    pub queue_oldest: Count,
    /// Segments of the log, and of those free ones.
    pub segments: Count,
    /// Free segments.
    pub segments_free: Count,
    /// Segments condemned after a failed write.
    pub condemned: Count,
    /// From the end of a message to its being durable, microseconds.
    pub commits: Histogram<15>,
    /// Messages that one write made durable.
    pub batches: Histogram<10>,
    messages: [Count; 4],
    refusals: [Count; REASONS.len()],
    deliveries: [Count; 5],
    logins: [Count; 4],
    milters: [Count; MILTERS.len()],
    reports: [Count; 2],
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            bytes: Count::default(),
            queue_messages: Count::default(),
            queue_bytes: Count::default(),
            queue_oldest: Count::default(),
            segments: Count::default(),
            segments_free: Count::default(),
            condemned: Count::default(),
            commits: Histogram::new(&LATENCY_MICROS),
            batches: Histogram::new(&BATCH_MESSAGES),
            messages: Default::default(),
            refusals: Default::default(),
            deliveries: Default::default(),
            logins: Default::default(),
            milters: Default::default(),
            reports: Default::default(),
        }
    }
}

impl Mail {
    /// The reception of a message ended.
    pub fn received(&self, how: Received) {
        one_more(&self.messages, how as usize);
    }

    /// A message is durable: its octets, and how long that took.
    pub fn accepted(&self, bytes: u64, took: Duration) {
        self.received(Received::Accepted);
        self.bytes.add(bytes);
        self.commits.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A command or a client was refused.
    pub fn refused(&self, why: Reason) {
        one_more(&self.refusals, why as usize);
    }

    /// An AUTH came to its end.
    pub fn login(&self, how: Login) {
        one_more(&self.logins, how as usize);
    }

    /// One milter had its say.
    pub fn milter(&self, how: Milter) {
        one_more(&self.milters, how as usize);
    }

    pub(super) fn milters(&self, row: usize) -> u64 {
        self.milters.get(row).map_or(0, Count::value)
    }

    pub(super) fn logins(&self, row: usize) -> u64 {
        self.logins.get(row).map_or(0, Count::value)
    }

    /// Attempts to deliver that ended so, in the order of the labels: delivered, discarded, deferred, failed,
    /// relayed.
    pub fn show_deliveries(&self, totals: [u64; 5]) {
        for (count, total) in self.deliveries.iter().zip(totals) {
            count.show(total);
        }
    }

    /// Reports in the order of the labels: sent, limited.
    pub fn show_reports(&self, totals: [u64; 2]) {
        for (count, total) in self.reports.iter().zip(totals) {
            count.show(total);
        }
    }

    pub(super) fn report(&self, row: usize) -> u64 {
        self.reports.get(row).map_or(0, Count::value)
    }

    pub(super) fn message(&self, row: usize) -> u64 {
        self.messages.get(row).map_or(0, Count::value)
    }

    pub(super) fn refusal(&self, row: usize) -> u64 {
        self.refusals.get(row).map_or(0, Count::value)
    }

    pub(super) fn delivery(&self, row: usize) -> u64 {
        self.deliveries.get(row).map_or(0, Count::value)
    }
}

fn one_more(counts: &[Count], row: usize) {
    if let Some(count) = counts.get(row) {
        count.increment();
    }
}
