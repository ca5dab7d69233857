//! shard::pacemaker – wakes a shard whose executor sleeps although it has work.
//!
//! glommio 0.9.0 may go to sleep with runnable tasks when its preempt timer fired before the first
//! task queue was looked at (reference notes §2.4, trap 1). A timer of its own, the heartbeat, wakes it
//! again – unless the heartbeat's task is itself among the runnable ones: then no timer is armed, and
//! the sleep lasts for ever (seen in one of three provoked runs). So there is a thread that looks
//! whether every shard with connections still turns, and wakes one that does not by waking a task that
//! nobody else ever wakes: such a wake-up always reaches the executor.
//!
//! Promises: a stalled shard moves again within [`PERIOD`] plus [`STALLED`]; a healthy one is never
//! disturbed; with no connections anywhere the thread looks twice a second.
//! Not here: a shard that is stuck in a task (the supervisor ends the process for that).

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::Board;

/// How often shards are looked at while there are connections.
const PERIOD: Duration = Duration::from_millis(5);
/// How often otherwise.
const PERIOD_IDLE: Duration = Duration::from_millis(500);
/// Without a turn for this long a shard with connections is taken for stalled: the heartbeat alone
/// makes it turn every 5 ms.
const STALLED: Duration = Duration::from_millis(25);
/// Tasks kept for waking, one per rescue until the executor runs again.
const ALARMS: usize = 4;

/// What a shard shows of its turning, and how to wake it.
#[derive(Default)]
pub(super) struct Pulse {
    turns: AtomicU64,
    rescues: AtomicU64,
    alarms: Mutex<Vec<Waker>>,
}

impl Pulse {
    /// The driver went round once more. Only the shard itself calls this.
    pub(super) fn turned(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
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

/// Tasks that do nothing but be woken. Called on the shard.
pub(super) fn arm(pulse: &Arc<Pulse>) {
    for _ in 0..ALARMS {
        let pulse = Arc::clone(pulse);
        glommio::spawn_local(async move {
            loop {
                let mut armed = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut armed, true) {
                        return Poll::Ready(());
                    }
                    pulse
                        .alarms
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(context.waker().clone());
                    Poll::Pending
                })
                .await;
            }
        })
        .detach();
    }
}

/// Starts the thread; it lives as long as the process.
///
/// # Errors
/// When no thread can be made.
pub(super) fn start(boards: Arc<[Board]>) -> std::io::Result<()> {
    std::thread::Builder::new().name("pacemaker".to_owned()).spawn(move || watch(&boards))?;
    Ok(())
}

fn watch(boards: &[Board]) {
    if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
        tracing::warn!(%error, "cannot block signals in the pacemaker");
    }
    let mut seen: Vec<(u64, Instant)> = boards.iter().map(|_| (0, Instant::now())).collect();
    loop {
        let now = Instant::now();
        let mut busy = false;
        for (board, (turns, since)) in boards.iter().zip(&mut seen) {
            let current = board.pulse.turns.load(Ordering::Relaxed);
            if current != *turns || board.load() == 0 {
                (*turns, *since) = (current, now);
            } else if now.duration_since(*since) >= STALLED {
                board.pulse.rescue();
                *since = now;
            }
            busy |= board.load() > 0;
        }
        std::thread::sleep(if busy { PERIOD } else { PERIOD_IDLE });
    }
}
