//! shard::pacemaker – wakes a shard whose executor sleeps although it has work.
//!
//! glommio 0.9.0 may go to sleep with runnable tasks when its preempt timer fired before the first
//! task queue was looked at (reference notes §2.4, trap 1). A timer of its own, the heartbeat, wakes it
//! again – unless the heartbeat's task is itself among the runnable ones: then no timer is armed, and
//! the sleep lasts for ever (seen in one of three provoked runs). So there is a thread that looks
//! whether every shard that has a heartbeat still turns, and wakes one that does not by waking a task
//! that nobody else ever wakes: such a wake-up always reaches the executor.
//!
//! Promises: a stalled shard moves again within [`PERIOD`] plus [`super::pulse::STALLED`], its first connection after
//! a pause included: a heartbeat that begins wakes the thread; a healthy shard is never disturbed; while
//! no heart beats the thread sleeps.
//! Not here: who is taken for stalled (`pulse`), a shard that is stuck in a task (the supervisor ends the process for that).

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Board;
use super::pulse::{Pulse, Watch};

/// How often shards are looked at while a heart beats.
const PERIOD: Duration = Duration::from_millis(5);
/// Tasks kept for waking, one per rescue until the executor runs again: it may fall asleep again at once.
const ALARMS: usize = 32;

/// Tasks that do nothing but be woken. Called on the shard, by a task that may be woken for nothing: it is
/// the first alarm, before the others have run.
pub(super) async fn arm(pulse: &Arc<Pulse>) {
    poll_fn(|context| {
        let mut alarms = pulse.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.push(context.waker().clone());
        Poll::Ready(())
    })
    .await;
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
    let watched = Arc::clone(&boards);
    let thread =
        std::thread::Builder::new().name("pacemaker".to_owned()).spawn(move || watch(&watched))?;
    for board in boards.iter() {
        board.pulse.watcher.get_or_init(|| thread.thread().clone());
    }
    // A heart that began before it could say so.
    thread.thread().unpark();
    Ok(())
}

fn watch(boards: &[Board]) {
    if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
        tracing::warn!(%error, "cannot block signals in the pacemaker");
    }
    let mut watch = Watch::new(boards.len(), Instant::now());
    loop {
        if watch.look(boards.iter().map(|board| &*board.pulse), Instant::now()) {
            std::thread::sleep(PERIOD);
        } else {
            // A heartbeat that begins ends this, also one that began since it was looked at.
            std::thread::park();
            watch = Watch::new(boards.len(), Instant::now());
        }
    }
}
