//! shard::time – monotonic time and timers of one shard.
//!
//! Timers are an ordered map that the ring's driver looks at every turn and the heartbeat at least
//! every 5 ms. A waiting session costs one map entry, no kernel timer.
//!
//! Promises: a timer never fires early, and at most one heartbeat plus one turn late.
//! Not here: what the limits are (`limits`, `config`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Monotonic time, nanoseconds from an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Later than every other.
    pub const NEVER: Self = Self(u64::MAX);

    /// `delay` later; saturates at [`Instant::NEVER`].
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Nanoseconds from the clock's origin.
    pub(super) fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Now, on the monotonic clock.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    Instant(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Wall clock: seconds and nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn wall() -> (i64, u32) {
    match clock_gettime(ClockId::CLOCK_REALTIME) {
        Ok(time) => (time.tv_sec(), u32::try_from(time.tv_nsec()).unwrap_or(0)),
        Err(_) => (0, 0),
    }
}

/// The timers of one shard.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_id: std::cell::Cell<u64>,
}

impl Timers {
    fn add(&self, deadline: Instant, waker: Waker) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.waiting.borrow_mut().insert((deadline.0, id), waker);
        id
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Instant {
        self.waiting.borrow().first_key_value().map_or(Instant::NEVER, |(key, _)| Instant(key.0))
    }

    /// Wakes everything whose deadline has passed. True when there was anything.
    pub(super) fn fire(&self) -> bool {
        let first = self.next();
        if first == Instant::NEVER {
            return false;
        }
        let now = now();
        let mut fired = false;
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(entry) = waiting.first_entry().filter(|entry| entry.key().0 <= now.0) else {
                return fired;
            };
            let waker = entry.remove();
            drop(waiting);
            waker.wake();
            fired = true;
        }
    }
}

/// Completes when its deadline has passed.
pub(super) struct Sleep {
    deadline: Instant,
    id: Option<u64>,
}

impl Sleep {
    pub(super) fn new(deadline: Instant) -> Self {
        Self { deadline, id: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.deadline == Instant::NEVER {
            return Poll::Pending;
        }
        if self.id.is_none() && now() < self.deadline {
            self.id = Some(super::core(|core| {
                let id = core.timers.add(self.deadline, context.waker().clone());
                core.ensure_heartbeat();
                id
            }));
            return Poll::Pending;
        }
        let Some(id) = self.id else { return Poll::Ready(()) };
        super::core(|core| {
            let mut waiting = core.timers.waiting.borrow_mut();
            match waiting.get_mut(&(self.deadline.0, id)) {
                Some(waker) => {
                    if !waker.will_wake(context.waker()) {
                        *waker = context.waker().clone();
                    }
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
    }
}

/// A deadline that moves while it is waited for. The timer behind it is set anew only when the deadline
/// comes nearer, or when it fired: a session whose deadline recedes with every command costs the shard
/// no timer per command.
pub struct Alarm(Sleep);

impl Default for Alarm {
    fn default() -> Self {
        Self(Sleep::new(Instant::NEVER))
    }
}

impl Alarm {
    /// Has `deadline` passed? Wakes the task when it does (and perhaps once before).
    pub fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if deadline == Instant::NEVER {
            return Poll::Pending;
        }
        if deadline < self.0.deadline {
            self.0 = Sleep::new(deadline);
        }
        while Pin::new(&mut self.0).poll(context).is_ready() {
            if now() >= deadline {
                return Poll::Ready(());
            }
            self.0 = Sleep::new(deadline);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker =
                super::core(|core| core.timers.waiting.borrow_mut().remove(&(self.deadline.0, id)));
            drop(waker);
        }
    }
}

/// Completes at `deadline`; granularity 5 ms.
pub async fn sleep_until(deadline: Instant) {
    Sleep::new(deadline).await;
}

/// Runs `future` until `deadline`; `None` when that passed first (the future is dropped then).
pub async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    Within { future, sleep: Sleep::new(deadline) }.await
}

struct Within<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: structural pinning: `future` is never moved out of the pinned struct, which has
        // no Drop of its own; `sleep` is Unpin.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above, `this.future` stays where the pinned struct is.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        if let Poll::Ready(value) = future.poll(context) {
            return Poll::Ready(Some(value));
        }
        Pin::new(&mut this.sleep).poll(context).map(|()| None)
    }
}
