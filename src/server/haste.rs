//! server::haste – does a message come in fast enough?
//!
//! Only time spent waiting for the client counts: where the spool makes it wait, that is not its fault.
//!
//! Promises: no client keeps a message open for longer than `message_seconds` of waiting, nor, where a
//! minimum rate is configured, for longer than two [`STRETCH`]es with fewer octets than that.

use std::time::Duration;

/// The rate is judged once for every stretch of this much waiting: five minutes, so that a client may be
/// silent as long as RFC 5321 §4.5.3.2 lets it (3 minutes in a message, 5 between commands, which BDATs are).
const STRETCH: Duration = Duration::from_secs(300);

/// The clock of one message.
#[derive(Debug, Default)]
pub(super) struct Haste {
    /// Octets so far.
    octets: u64,
    /// Waited for the client so far.
    waited: Duration,
    /// Of that, in the stretch that is being measured.
    stretch: Duration,
    /// Octets that came in that stretch.
    stretch_octets: u64,
}

/// What is asked of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Least {
    /// Waiting in all.
    pub(super) patience: Duration,
    /// Octets per second; 0 for any.
    pub(super) rate: u64,
}

impl Haste {
    /// Octets of the message's input so far.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// How long may be waited until [`Haste::too_slow`] is asked again.
    pub(super) fn left(&self, least: Least) -> Duration {
        let whole = least.patience.saturating_sub(self.waited);
        if least.rate == 0 { whole } else { whole.min(STRETCH.saturating_sub(self.stretch)) }
    }

    /// Octets came (or none) after this much waiting.
    pub(super) fn came(&mut self, octets: usize, waited: Duration) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.octets = self.octets.saturating_add(octets);
        self.stretch_octets = self.stretch_octets.saturating_add(octets);
        self.waited += waited;
        self.stretch += waited;
    }

    /// Judges the message, and a stretch that is over.
    pub(super) fn too_slow(&mut self, least: Least) -> bool {
        if self.waited >= least.patience {
            return true;
        }
        if least.rate == 0 || self.stretch < STRETCH {
            return false;
        }
        let asked = least.rate.saturating_mul(self.stretch.as_secs());
        let slow = self.stretch_octets < asked;
        (self.stretch, self.stretch_octets) = (Duration::ZERO, 0);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Least = Least { patience: Duration::from_secs(6000), rate: 100 };

    /// Receives `octets` every `seconds` until it is too slow; how long that took.
    fn endures(octets: usize, seconds: u64) -> Option<u64> {
        let mut haste = Haste::default();
        for turn in 1..=1000 {
            haste.came(octets, Duration::from_secs(seconds));
            if haste.left(LEAST).is_zero() && haste.too_slow(LEAST) {
                return Some(turn * seconds);
            }
        }
        None
    }

    #[test]
    fn a_trickle_ends_after_a_stretch_and_a_stream_after_its_time() {
        assert_eq!(endures(1, 1), Some(300));
        assert_eq!(endures(99, 1), Some(300));
        assert_eq!(endures(100, 1), None);
        assert_eq!(endures(30_000, 300), Some(6000));
        assert_eq!(endures(29_999, 300), Some(300));
        assert_eq!(endures(1, 0), None);
    }

    #[test]
    fn who_stops_after_a_burst_is_noticed_at_the_end_of_the_next_stretch() {
        let mut haste = Haste::default();
        haste.came(1 << 30, Duration::from_secs(1));
        assert_eq!(haste.left(LEAST), Duration::from_secs(299));
        haste.came(0, haste.left(LEAST));
        assert!(!haste.too_slow(LEAST));
        haste.came(0, haste.left(LEAST));
        assert!(haste.too_slow(LEAST));
    }

    #[test]
    fn without_a_rate_only_the_whole_counts() {
        let least = Least { rate: 0, ..LEAST };
        let mut haste = Haste::default();
        haste.came(1, Duration::from_secs(5999));
        assert!(!haste.too_slow(least));
        haste.came(1, haste.left(least));
        assert!(haste.too_slow(least));
    }
}
