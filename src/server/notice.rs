//! server::notice – how the sessions of one shard learn that the server goes down.
//!
//! One slot of one waker per waiting session; each waker is woken once, in portions, so that ten
//! thousand sessions neither run in one turn nor pile up on one task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::shard;

/// Wakers woken before others may run.
const PORTION: usize = 256;

/// What the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serving.
    Running,
    /// No new work: idle sessions leave, running transfers may end.
    Draining,
    /// Everything ends now.
    Stopping,
}

/// The phase of one shard, and who waits for the next.
#[derive(Debug)]
pub(super) struct Notice {
    phase: Cell<Phase>,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Default for Notice {
    fn default() -> Self {
        Self { phase: Cell::new(Phase::Running), slots: RefCell::default() }
    }
}

impl Notice {
    /// What the server is doing.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Completes when the phase is another one than `seen`.
    pub(super) fn changed(&self, seen: Phase) -> Changed<'_> {
        Changed { notice: self, seen, slot: None }
    }

    /// Enters `phase` and wakes everyone who waits, a portion at a time.
    pub(super) async fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        let count = self.slots.borrow().wakers.len();
        for index in 0..count {
            let waker = self.slots.borrow_mut().wakers.get_mut(index).and_then(Option::take);
            if let Some(waker) = waker {
                waker.wake();
            }
            if index % PORTION == PORTION - 1 {
                shard::yield_now().await;
            }
        }
    }
}

/// See [`Notice::changed`].
#[derive(Debug)]
pub(super) struct Changed<'n> {
    notice: &'n Notice,
    seen: Phase,
    slot: Option<usize>,
}

impl Future for Changed<'_> {
    type Output = Phase;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Phase> {
        let phase = self.notice.phase();
        if phase != self.seen {
            return Poll::Ready(phase);
        }
        let mut slots = self.notice.slots.borrow_mut();
        let slot = match self.slot {
            Some(slot) => slot,
            None => match slots.free.pop() {
                Some(slot) => slot,
                None => {
                    slots.wakers.push(None);
                    slots.wakers.len() - 1
                }
            },
        };
        match &mut slots.wakers[slot] {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        drop(slots);
        self.slot = Some(slot);
        Poll::Pending
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut slots = self.notice.slots.borrow_mut();
            slots.wakers[slot] = None;
            slots.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::shard::Sim;

    #[test]
    fn everyone_is_woken_and_slots_are_used_again() {
        Sim::new(1).run(async {
            let notice = Rc::new(Notice::default());
            let woken = Rc::new(Cell::new(0));
            for _ in 0..1000 {
                let (notice, woken) = (Rc::clone(&notice), Rc::clone(&woken));
                shard::spawn("idle", async move {
                    assert_eq!(notice.changed(Phase::Running).await, Phase::Draining);
                    woken.set(woken.get() + 1);
                });
            }
            let later = || shard::now().after(std::time::Duration::from_secs(1));
            assert!(shard::within(later(), notice.changed(Phase::Running)).await.is_none());
            notice.enter(Phase::Draining).await;
            shard::sleep_until(later()).await;
            assert_eq!(woken.get(), 1000);
            let slots = notice.slots.borrow();
            assert!(slots.wakers.len() <= 1001 && slots.free.len() == slots.wakers.len());
        });
    }
}
