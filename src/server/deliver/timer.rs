//! server::deliver::timer – wakes messages whose next attempt has come, and those that are late.
//!
//! A round that needs not wait for the disk is over within the call that begins it, its message in line
//! for another attempt: so nothing read from the queue before rounds begin is believed after. The task
//! ends when the queue has no time left, asked for in the same breath; whoever adds one later finds no
//! task and begins one.
//!
//! A sender is told that its message is late also when that was not tried, because its destination cannot be
//! reached or has too many others before it. Names of messages grow with time: one after the other is looked at
//! when it is old enough, each once in a start.
//!
//! Promises: a shard whose queue has been empty for a minute has no timer; one whose queue has a message that
//! waits for its time has a timer. A clock that is set is noticed within a minute.

use std::time::Duration;

use super::Deliveries;
use crate::shard;

/// Longest sleep.
const SLEEP_SECONDS_MAX: i64 = 60;
/// Late messages looked at in a second: after a start there may be millions.
const LATE_AT_ONCE: usize = 256;

impl Deliveries {
    /// Call it when a message was given a time: starts the task unless it runs, else has it look again.
    pub(super) fn wake_timer(&self) {
        if self.0.timing.get() {
            self.wake_all();
        } else {
            self.see_to_timer();
        }
    }

    /// Starts the task if it is needed and does not run.
    pub(super) fn see_to_timer(&self) {
        let needed = || self.next_time().is_some() || self.next_late().is_some();
        if !self.0.timing.get() && needed() {
            self.0.timing.set(true);
            shard::spawn("retries", watch(self.clone()));
        }
    }

    /// The earliest time a message waits for; `None` when there is none, or no rounds begin any more.
    fn next_time(&self) -> Option<i64> {
        if self.0.closed.get() { None } else { self.0.queue.borrow().next_time() }
    }

    /// When the next message is late.
    fn next_late(&self) -> Option<i64> {
        let after = i64::from(self.policy().relay.delay_notice_seconds);
        if after == 0 || self.0.closed.get() {
            return None;
        }
        let (_, accepted) = self.0.queue.borrow().after(self.0.seen_late.get())?;
        Some(accepted.saturating_add(after))
    }

    /// Has rounds tell the senders of those that are late.
    async fn tell_late(&self) {
        for _ in 0..LATE_AT_ONCE {
            let late = self.next_late().is_some_and(|late| late <= shard::wall().0);
            let next = self.0.queue.borrow().after(self.0.seen_late.get());
            let Some((id, _)) = next.filter(|_| late) else { return };
            self.0.seen_late.set(id);
            let told = self.0.queue.borrow().is_told_late(id);
            let message = if told { None } else { self.open(id).await };
            if let Some(message) = message {
                self.see_to(id, &message);
            }
        }
    }
}

async fn watch(deliveries: Deliveries) {
    loop {
        deliveries.pump();
        deliveries.tell_late().await;
        let (next, late) = (deliveries.next_time(), deliveries.next_late());
        let Some(first) = next.into_iter().chain(late).min() else {
            deliveries.0.timing.set(false);
            return;
        };
        let seconds = first.saturating_sub(shard::wall().0).clamp(1, SLEEP_SECONDS_MAX);
        let deadline = shard::now().after(Duration::from_secs(seconds.unsigned_abs()));
        // That fewer or others are late later is not worth waking for.
        let disturbed =
            deliveries.until(|| deliveries.next_time() != next || deliveries.0.closed.get());
        // Whichever comes first: what is due is looked at either way.
        let _early: Option<()> = shard::within(deadline, disturbed).await;
    }
}
