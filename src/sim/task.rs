//! sim::task – the part of the contract that is about tasks and time.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::world;

/// Seconds since the epoch at which every simulated clock begins (2024-05-01 12:00:00).
pub const WALL_ORIGIN: i64 = 1_714_564_800;

/// Timers fire up to this much after their deadline.
const GRANULARITY_NANOS: u64 = 5_000_000;

/// Runs `task` on this shard. A panic in it ends that task only and is counted.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    world().executor.spawn(name, false, Box::pin(task));
}

/// Runs blocking work after a few turns. `Err` when it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let world = world();
    world.pause().await;
    yield_now().await;
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| io::Error::other("blocking work panicked"))
}

/// Lets every other runnable task of this shard run once.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Monotonic time of this shard, nanoseconds from an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub(super) u64);

impl Instant {
    /// Later than any other.
    pub const NEVER: Self = Self(u64::MAX);

    /// This much later; saturates at `NEVER`.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this; zero when that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The virtual time.
pub fn now() -> Instant {
    Instant(world().executor.now())
}

/// Wall clock: seconds and nanoseconds since the epoch.
pub fn wall() -> (i64, u32) {
    let now = world().executor.now();
    (
        WALL_ORIGIN + i64::try_from(now / 1_000_000_000).unwrap(),
        u32::try_from(now % 1_000_000_000).unwrap(),
    )
}

/// Completes at `deadline`, or up to 5 ms later.
pub async fn sleep_until(deadline: Instant) {
    Sleep { deadline, timer: None }.await;
}

/// `None` when `deadline` passed first; the future is dropped then.
pub async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(deadline));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// A random number from the seed.
pub fn random() -> u64 {
    world().rng.next()
}

/// This shard's number.
pub fn index() -> usize {
    0
}

struct Sleep {
    deadline: Instant,
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = world();
        let now = world.executor.now();
        let due = self.timer.map_or(self.deadline.0, |(due, _)| due);
        if due <= now {
            return Poll::Ready(());
        }
        if self.deadline == Instant::NEVER {
            return Poll::Pending;
        }
        let late = world.rng.below(GRANULARITY_NANOS);
        let due = if self.timer.is_some() { due } else { due.saturating_add(late) };
        self.timer = Some(world.executor.set_timer(self.timer, due, context.waker().clone()));
        Poll::Pending
    }
}

/// A deadline that moves while it is waited for.
pub struct Alarm(Sleep);

impl Default for Alarm {
    fn default() -> Self {
        Self(Sleep { deadline: Instant::NEVER, timer: None })
    }
}

impl Alarm {
    /// Has `deadline` passed? Wakes the task when it does (and perhaps once before).
    pub fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if deadline == Instant::NEVER {
            return Poll::Pending;
        }
        if deadline < self.0.deadline {
            self.0 = Sleep { deadline, timer: None };
        }
        while Pin::new(&mut self.0).poll(context).is_ready() {
            if now() >= deadline {
                return Poll::Ready(());
            }
            self.0 = Sleep { deadline, timer: None };
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            world().executor.clear_timer(timer);
        }
    }
}
