//! shard::pulse – what a shard shows of its turning, and who stands still by that.
//!
//! Promises: [`Watch::look`] wakes a shard that has a heartbeat and did not turn for [`STALLED`], and no
//! other. A value that knows neither glommio nor the clock: `tests/shard_stall.rs` takes it in by itself.
//! Not here: the thread that looks (`pacemaker`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Without a turn for this long a shard with a heartbeat is taken for stalled: that alone makes it
/// turn every 5 ms.
const STALLED: Duration = Duration::from_millis(25);

/// What a shard shows of its turning, and how to wake it.
#[derive(Default)]
pub(super) struct Pulse {
    turns: AtomicU64,
    rescues: AtomicU64,
    pub(super) alarms: Mutex<Vec<Waker>>,
    /// It has a heartbeat, so it must turn.
    beating: AtomicBool,
    /// Who looks whether it does.
    pub(super) watcher: OnceLock<Thread>,
}

impl Pulse {
    /// The driver went round once more. Only the shard itself calls this.
    pub(super) fn turned(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// A heartbeat begins: from now on it is looked after.
    pub(super) fn begin(&self) {
        self.beating.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }

    /// The heartbeat ended.
    pub(super) fn end(&self) {
        self.beating.store(false, Ordering::Release);
    }

    /// How often it had to be woken from a sleep it should not have slept.
    pub(super) fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    fn rescue(&self) {
        let alarm = self.alarms.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(alarm) = alarm {
            self.rescues.fetch_add(1, Ordering::Relaxed);
            alarm.wake();
        }
    }
}

/// What was seen of each shard: its turns, and since when they are as many.
pub(super) struct Watch(Vec<(u64, Instant)>);

impl Watch {
    /// Nobody was seen yet.
    pub(super) fn new(shards: usize, now: Instant) -> Self {
        Self(vec![(0, now); shards])
    }

    /// Looks once, wakes who stands still. Does any heart beat?
    pub(super) fn look<'a>(
        &mut self,
        pulses: impl Iterator<Item = &'a Pulse>,
        now: Instant,
    ) -> bool {
        let mut busy = false;
        for (pulse, (turns, since)) in pulses.zip(&mut self.0) {
            let beating = pulse.beating.load(Ordering::Acquire);
            let current = pulse.turns.load(Ordering::Relaxed);
            if current != *turns || !beating {
                (*turns, *since) = (current, now);
            } else if now.duration_since(*since) >= STALLED {
                pulse.rescue();
                *since = now;
            }
            busy |= beating;
        }
        busy
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn who_stands_still_is_woken_and_who_turns_is_not() {
        let pulse = Pulse::default();
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut watch = Watch::new(1, begin);
        let mut look = |millis| watch.look([&pulse].into_iter(), after(millis));
        pulse.alarms.lock().unwrap().extend([Waker::noop().clone(), Waker::noop().clone()]);
        assert!(!look(1000), "no heart beats");
        pulse.begin();
        assert!(look(1010) && look(1024));
        assert_eq!(pulse.rescues(), 0);
        assert!(look(1025));
        assert_eq!(pulse.rescues(), 1, "25 ms without a turn");
        pulse.turned();
        assert!(look(1055) && look(1079));
        assert_eq!(pulse.rescues(), 1, "it turned");
        pulse.end();
        assert!(!look(1500));
        assert_eq!(pulse.rescues(), 1);
    }

    #[test]
    fn a_heart_that_begins_wakes_the_watcher() {
        let pulse = Pulse::default();
        pulse.watcher.set(std::thread::current()).unwrap();
        pulse.begin();
        let begin = Instant::now();
        std::thread::park_timeout(Duration::from_secs(60));
        assert!(begin.elapsed() < Duration::from_secs(50), "nobody woke it");
    }
}
