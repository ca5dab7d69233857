//! store::spool::keeper – the task that keeps segments at hand: makes them ahead of need, recycles the
//! spent ones, removes the condemned ones.
//!
//! Recycling goes strictly oldest first. A settlement lies in a segment at least as young as its
//! message; were the younger one recycled first, a crash would find the message and not the settlement.
//! So the oldest segment gets its next header, durably, before another is looked at, and it is
//! overwritten only after that.
//!
//! Crash while a header is written: the old one is there, or the new one. With the old one all messages
//! of the segment are found settled, as every younger segment still is as it was. With the new one the
//! segment is empty: nothing in it bears the new generation and salt.
//! Crash while a segment is made: its temporary name is swept at the next start.
//! Crash while a condemned one is removed: it is there, and so is the cancellation in a younger one.
//!
//! Promises: one change at a time; what fails is tried again later, ever less often, and never on a file
//! that a write failed on.
//! Not here: which segment is written (`commit`).

use std::rc::Rc;
use std::time::Duration;

use super::disk;
use super::log::Trouble;
use super::segment::{self, Segment};
use super::state::{Inner, Phase};
use crate::shard;

/// First and longest pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often free space is asked for, at most, while there is plenty.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// Keeps until the log is closed.
pub(super) async fn run(inner: Rc<Inner>) {
    keep(&inner).await;
    inner.state.borrow_mut().phase = Phase::Ended;
    inner.ended.ring();
}

async fn keep(inner: &Rc<Inner>) {
    let mut pause = PAUSE;
    loop {
        if inner.state.borrow().phase > Phase::Closing {
            break;
        }
        ask_free(inner).await;
        match step(inner).await {
            Ok(true) => pause = PAUSE,
            Ok(false) => {
                pause = PAUSE;
                inner.keep.heard().await;
            }
            Err(_) => {
                let until = shard::now().after(pause);
                pause = (pause * 2).min(PAUSE_MAX);
                // Free space is still asked for meanwhile, and the end is noticed.
                while shard::within(until, inner.keep.heard()).await.is_some() {
                    if inner.state.borrow().phase > Phase::Closing {
                        break;
                    }
                    ask_free(inner).await;
                }
            }
        }
    }
}

/// Asks how much is free when somebody wants to know.
pub(super) async fn ask_free(inner: &Inner) {
    let before = {
        let mut state = inner.state.borrow_mut();
        if !std::mem::take(&mut state.free_wanted) {
            return;
        }
        state.appended
    };
    let free = inner.root.free_bytes().await;
    let mut state = inner.state.borrow_mut();
    state.free_asked = shard::now();
    match free {
        Ok(free) => {
            state.free_bytes = free;
            // What comes while the system answers may be counted in, or not.
            state.appended = state.appended.saturating_sub(before);
        }
        Err(error) => tracing::warn!(%error, "cannot tell how much space the spool has left"),
    }
}

enum Task {
    Renew(Rc<Segment>),
    Recycle(Rc<Segment>),
    Remove(Rc<Segment>),
    Create,
}

/// Does one thing that is to be done; false when there is none.
///
/// # Errors
/// It failed; `state.trouble` says so while there is no segment to go on with.
pub(super) async fn step(inner: &Rc<Inner>) -> Result<bool, Trouble> {
    let Some(task) = next(inner) else { return Ok(false) };
    let outcome = match task {
        Task::Renew(segment) => renew(inner, &segment).await,
        Task::Recycle(segment) => {
            let renewed = renew(inner, &segment).await;
            if renewed.is_ok() {
                inner.state.borrow_mut().sealed.pop_front();
            }
            renewed
        }
        Task::Remove(segment) => remove(inner, &segment).await,
        Task::Create => create(inner).await,
    };
    let mut state = inner.state.borrow_mut();
    state.trouble = match &outcome {
        Err(trouble) if state.free.is_empty() => Some(*trouble),
        Ok(()) | Err(_) => None,
    };
    drop(state);
    inner.work.ring();
    outcome.map(|()| true)
}

fn next(inner: &Inner) -> Option<Task> {
    let mut state = inner.state.borrow_mut();
    let useless = |segment: &Segment| {
        segment.condemned.get() || segment.header.get().bytes != inner.settings.segment_bytes
    };
    if let Some(segment) = state.stale.pop() {
        if !useless(&segment) {
            return Some(Task::Renew(segment));
        }
        state.sealed.push_back(segment);
    }
    if let Some(front) = state.sealed.front().filter(|front| front.is_spent()) {
        let front = Rc::clone(front);
        return Some(if useless(&front) { Task::Remove(front) } else { Task::Recycle(front) });
    }
    // A log that closes needs one only for what it still has to say: without it, it would wait for ever.
    let needed = match state.phase {
        Phase::Open => true,
        Phase::Closing => !state.queue.is_empty() || !state.cuts.is_empty(),
        Phase::Written | Phase::Ended => false,
    };
    (state.free.is_empty() && needed).then_some(Task::Create)
}

async fn renew(inner: &Inner, segment: &Rc<Segment>) -> Result<(), Trouble> {
    let header = inner.state.borrow_mut().next_use(
        inner.shard,
        segment.number(),
        inner.settings.segment_bytes,
    );
    let renewed = segment.renew(header).await;
    let mut state = inner.state.borrow_mut();
    match renewed {
        Ok(()) => {
            state.free.push_back(Rc::clone(segment));
            Ok(())
        }
        Err(error) => {
            let number = segment.number();
            tracing::error!(%error, segment = number, "a spool segment cannot be recycled; it will be removed");
            segment.condemned.set(true);
            if !state.sealed.front().is_some_and(|front| Rc::ptr_eq(front, segment)) {
                state.sealed.push_back(Rc::clone(segment));
            }
            Err(error.into())
        }
    }
}

async fn remove(inner: &Inner, segment: &Segment) -> Result<(), Trouble> {
    match inner.dir.unlink(&segment::name(segment.number())).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    disk::sync_dir(&inner.dir).await?;
    inner.state.borrow_mut().sealed.pop_front();
    Ok(())
}

async fn create(inner: &Inner) -> Result<(), Trouble> {
    let header = {
        let mut state = inner.state.borrow_mut();
        state.number += 1;
        let number = state.number;
        state.next_use(inner.shard, number, inner.settings.segment_bytes)
    };
    match Segment::create(&inner.dir, header).await {
        Ok(segment) => {
            inner.state.borrow_mut().free.push_back(segment);
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "a spool segment cannot be made");
            Err(error.into())
        }
    }
}
