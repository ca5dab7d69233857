//! shard::bridge – drives the ring from a glommio task, and sleeps when there is nothing to do.
//!
//! ```text
//!  busy:  reap ─▶ timers ─▶ let every runnable task run ─▶ reap …
//!  pause: nothing ran, nothing queued: offer the processor, then wait in the ring itself, up to LINGER
//!  idle:  nothing came: signals on, look once more, sleep in glommio until the eventfd (or heartbeat)
//! ```
//! A sleep in glommio costs seven system calls and an inter-processor interrupt (membarrier), about
//! 20 µs; waiting in the ring costs one call. A loaded shard pauses thousands of times a second for
//! less than [`LINGER`], so it waits in its ring; glommio sleeps only when it is really idle.
//!
//! Promises: a wake-up is never lost, in either sleep; while anything is runnable nothing blocks.
//! Not here: the ring itself (`ring`).

use std::cell::Cell;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use super::offers::Offers;
use super::ring::Ring;
use super::{Core, now};

/// How long to wait in the ring before going to sleep in glommio. Below the heartbeat, which glommio
/// cannot fire meanwhile.
const LINGER: Duration = Duration::from_millis(4);

const _: () = assert!(LINGER.as_nanos() < super::HEARTBEAT.as_nanos());

/// Runs the ring of `core` until `stop` says so.
///
/// The order around the sleep matters, each line was needed (reference notes §2.6): notifications off
/// while draining; drain until nothing was reaped and nothing is queued; notifications on; drain once
/// more, because work that completed while they were off never signals; only then sleep, with `parked`
/// set so that whoever queues an operation meanwhile submits it itself.
pub(super) async fn drive(core: Rc<Core>, eventfd: OwnedFd, stop: Rc<Cell<bool>>) {
    // SAFETY: ownership of the eventfd moves into the file, which is never dropped while a read is
    // in flight (glommio would close it under the kernel): it is forgotten at the end.
    let signal = unsafe { glommio::io::BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
    let ring = core.ring.clone();
    let mut offers = Offers::default();
    while !stop.get() {
        ring.with(|ring| ring.set_signal(false));
        while turn(&core).await || pause(&core, &mut offers) {}
        ring.with(|ring| {
            ring.set_signal(true);
            ring.set_parked(true);
        });
        if ring.reap() > 0 || stop.get() {
            ring.with(|ring| ring.set_parked(false));
            continue;
        }
        let woken = signal.read_at(0, 8).await;
        ring.with(|ring| ring.set_parked(false));
        if let Err(error) = woken {
            tracing::error!(%error, "waiting for the ring failed");
            glommio::executor().yield_now().await;
        }
    }
    #[allow(
        clippy::mem_forget,
        reason = "closing it here would race with a read glommio may still have queued"
    )]
    std::mem::forget(signal);
}

/// Handles completions and timers and lets every runnable task run once. False when there was nothing
/// to do, for the ring or for any task.
async fn turn(core: &Rc<Core>) -> bool {
    core.board.pulse.turned();
    let reaped = core.ring.reap();
    let fired = core.timers.fire();
    let before = core.polls();
    glommio::executor().yield_now().await;
    reaped > 0 || fired || core.polls() != before || !core.ring.with(Ring::is_quiet)
}

/// Offers the processor to others, then waits in the ring for the next completion or timer. False when neither
/// came.
fn pause(core: &Rc<Core>, offers: &mut Offers) -> bool {
    let mut since = now();
    if offers.is_due() {
        std::thread::yield_now();
        let back = now();
        offers.taken_for(back.since(since));
        if !core.ring.with(Ring::is_quiet) {
            return true;
        }
        since = back;
    }
    let next = core.timers.next().since(since);
    core.ring.with(|ring| ring.wait(next.min(LINGER)));
    core.timers.fire() || !core.ring.with(Ring::is_quiet)
}
