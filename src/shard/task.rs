//! shard::task – tasks of one shard, and work that must not run on it.
//!
//! Promises: a panic in a task ends that task only, is logged with its name and counted; a panic in
//! blocking work is an error for whoever waits (glommio alone would leave them waiting for ever).
//! Not here: which tasks there are (`server`).

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Runs `task` on this shard.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(Isolated { name, task }).detach();
}

struct Isolated<F> {
    name: &'static str,
    task: F,
}

impl<F: Future<Output = ()>> Future for Isolated<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: structural pinning: `task` is never moved out of the pinned struct, which has no
        // Drop of its own.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let task = unsafe { Pin::new_unchecked(&mut this.task) };
        // Unwind safety: the task is not polled again after a panic, and what it shares with others
        // is shard state that never holds a broken invariant across a call.
        match catch_unwind(AssertUnwindSafe(|| task.poll(context))) {
            Ok(poll) => poll,
            Err(_) => {
                super::core(|core| core.board.panics.fetch_add(1, Ordering::Relaxed));
                tracing::error!(task = this.name, "a task panicked; its connection is closed, the others go on");
                Poll::Ready(())
            }
        }
    }
}

/// Lets every other runnable task of this shard run once.
pub async fn yield_now() {
    glommio::executor().yield_now().await;
}

/// Runs blocking work on a bounded pool of threads off the shard.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let caught = glommio::executor().spawn_blocking(move || catch_unwind(AssertUnwindSafe(work)).ok()).await;
    caught.ok_or_else(|| {
        super::core(|core| core.board.panics.fetch_add(1, Ordering::Relaxed));
        io::Error::other("work off the shard panicked")
    })
}
