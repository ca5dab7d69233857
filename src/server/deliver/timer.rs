//! server::deliver::timer – wakes messages whose next attempt has come.
//!
//! A round that needs not wait for the disk is over within the call that begins it, its message in line
//! for another attempt: so nothing read from the queue before rounds begin is believed after. The task
//! ends when the queue has no time left, asked for in the same breath; whoever adds one later finds no
//! task and begins one.
//!
//! Promises: a shard whose queue has no such message has no timer; one whose queue has one has a timer.
//! A clock that is set is noticed within a minute.

use std::time::Duration;

use super::Deliveries;
use crate::shard;

/// Longest sleep.
const SLEEP_SECONDS_MAX: i64 = 60;

impl Deliveries {
    /// Call it when a message was given a time: starts the task unless it runs, else has it look again.
    pub(super) fn wake_timer(&self) {
        if self.0.timing.get() {
            self.wake_all();
        } else if self.next_time().is_some() && !self.0.timing.replace(true) {
            shard::spawn("retries", watch(self.clone()));
        }
    }

    /// The earliest time a message waits for; `None` when there is none, or no rounds begin any more.
    fn next_time(&self) -> Option<i64> {
        if self.0.closed.get() { None } else { self.0.queue.borrow().next_time() }
    }
}

async fn watch(deliveries: Deliveries) {
    loop {
        deliveries.pump();
        let Some(next) = deliveries.next_time() else {
            deliveries.0.timing.set(false);
            return;
        };
        let seconds = next.saturating_sub(shard::wall().0).clamp(1, SLEEP_SECONDS_MAX);
        let deadline = shard::now().after(Duration::from_secs(seconds.unsigned_abs()));
        let disturbed = deliveries.until(|| deliveries.next_time() != Some(next));
        // Whichever comes first: what is due is looked at either way.
        let _early: Option<()> = shard::within(deadline, disturbed).await;
    }
}
