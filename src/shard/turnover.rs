//! shard::turnover – how many short connections a shard has had of late.
//!
//! Where connections come and go by the hundred, what each shard has at one moment says little of its load, and to
//! hand one over costs more than it evens out. Few that stay are handed over as soon as they are uneven.
//!
//! Promises: what is remembered fades, whatever comes or does not. A value that knows no clock: `tests/shard.rs`
//! takes it in by itself. Times are nanoseconds from any origin.
//! Not here: who is handed over (`accept`).

use std::cell::Cell;

/// A connection that ends within this time was a short one.
const SHORT_NANOS: u64 = 250_000_000;
/// What is remembered is halved once in this time.
const HALF_LIFE_NANOS: u64 = 64_000_000;
/// For so many short connections, a shard may have one more than another.
const SHORT_PER_TOLERATED: usize = 8;

/// Short connections of late.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    count: Cell<usize>,
    /// Halved up to here.
    halved: Cell<u64>,
}

impl Turnover {
    /// A connection that began then ended now.
    pub(super) fn ended(&self, begun: u64, now: u64) {
        if now.saturating_sub(begun) < SHORT_NANOS {
            self.fade(now);
            self.count.set(self.count.get().saturating_add(1));
        }
    }

    /// By how many connections this shard may be ahead of another.
    pub(super) fn tolerated(&self, now: u64) -> usize {
        self.fade(now);
        self.count.get() / SHORT_PER_TOLERATED
    }

    fn fade(&self, now: u64) {
        let halves = now.saturating_sub(self.halved.get()) / HALF_LIFE_NANOS;
        if halves > 0 {
            let halves = u32::try_from(halves).unwrap_or(u32::MAX);
            self.count.set(self.count.get().checked_shr(halves).unwrap_or(0));
            self.halved.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_connections_count_and_fade() {
        const MILLI: u64 = 1_000_000;
        let (turnover, start) = (Turnover::default(), 3600 * 1000 * MILLI);
        let after = |millis: u64| start + millis * MILLI;
        for _ in 0..1000 {
            turnover.ended(after(0), after(250));
        }
        assert_eq!(turnover.tolerated(after(250)), 0, "they were not short");
        for _ in 0..160 {
            turnover.ended(after(1), after(250));
        }
        assert_eq!(turnover.tolerated(after(250)), 20);
        assert_eq!(turnover.tolerated(after(313)), 20);
        assert_eq!(turnover.tolerated(after(314)), 10);
        assert_eq!(turnover.tolerated(after(314 + 128)), 2);
        assert_eq!(turnover.tolerated(after(314 + 128 + 64)), 1);
        turnover.ended(after(500), after(510));
        assert_eq!(turnover.tolerated(after(1_000_000)), 0);
        assert_eq!(turnover.tolerated(after(0)), 0, "a clock that went back is no reason");
    }
}
