//! server::deliver::timer – wakes messages whose next attempt has come.
//!
//! Promises: a shard whose queue has no such message has no timer. A clock that is set is noticed within a
//! minute.

use std::time::Duration;

use super::Deliveries;
use crate::shard;

/// Longest sleep.
const SLEEP_SECONDS_MAX: i64 = 60;

impl Deliveries {
    /// Starts the task, if there is something to wait for and it does not run; tells it of an earlier time.
    pub(super) fn wake_timer(&self) {
        let Some(next) = self.0.queue.borrow_mut().due(shard::wall().0) else { return };
        match self.0.timing.get() {
            _ if self.0.closed.get() => {}
            None => {
                self.0.timing.set(Some(next));
                shard::spawn("retries", watch(self.clone()));
            }
            Some(until) if next < until => {
                self.0.timing.set(Some(next));
                self.wake_all();
            }
            Some(_) => {}
        }
    }

    /// Returns when there is an earlier time than `until`, or when [`Deliveries::close`] was called.
    async fn disturbed(&self, until: i64) {
        self.until(|| self.0.closed.get() || self.0.timing.get() != Some(until)).await;
    }
}

async fn watch(deliveries: Deliveries) {
    loop {
        let now = shard::wall().0;
        let next = deliveries.0.queue.borrow_mut().due(now);
        deliveries.pump();
        let Some(next) = next.filter(|_| !deliveries.0.closed.get()) else {
            deliveries.0.timing.set(None);
            return;
        };
        deliveries.0.timing.set(Some(next));
        let seconds = u64::try_from((next - now).clamp(1, SLEEP_SECONDS_MAX)).unwrap_or(1);
        let deadline = shard::now().after(Duration::from_secs(seconds));
        // Whichever comes first: what is due is looked at either way.
        let _early: Option<()> = shard::within(deadline, deliveries.disturbed(next)).await;
    }
}
