//! shard::offers – when a shard offers its processor to others before it waits.
//!
//! Who waits for the processor is, as a rule, whoever the shard has just answered or is about to hear from: the
//! next completions come meanwhile, and neither a sleep nor a wake-up is paid for them. Who computes instead keeps
//! it for a whole slice, and the shard's clients wait as long. Then there are no offers for a while, and the
//! scheduler lets the shard in as soon as something comes.
//!
//! A value that knows no clock: `tests/shard.rs` takes it in by itself.
//! Not here: the waiting (`bridge`).

use std::time::Duration;

/// Who keeps the processor for longer computes, and does not talk to us.
const TAKEN_MAX: Duration = Duration::from_millis(1);
/// Pauses without an offer then.
const WITHHELD: u32 = 250;

/// Whether the next pause begins with an offer.
#[derive(Debug, Default)]
pub(super) struct Offers {
    withheld: u32,
}

impl Offers {
    /// Asked once per pause.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.withheld == 0;
        self.withheld = self.withheld.saturating_sub(1);
        due
    }

    /// The processor was away for so long.
    pub(super) fn taken_for(&mut self, time: Duration) {
        if time > TAKEN_MAX {
            self.withheld = WITHHELD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_computes_is_offered_little() {
        let mut offers = Offers::default();
        for _ in 0..3 {
            assert!(offers.is_due());
            offers.taken_for(TAKEN_MAX);
        }
        assert!(offers.is_due());
        offers.taken_for(TAKEN_MAX + Duration::from_nanos(1));
        for _ in 0..WITHHELD {
            assert!(!offers.is_due());
        }
        assert!(offers.is_due());
    }
}
