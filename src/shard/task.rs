//! shard::task – tasks of one shard.
//!
//! Promises: a panic in a task ends that task only, is logged with its name and counted.
//! Not here: which tasks there are (`server`), work that blocks (`workers`).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
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
        super::core(|core| core.polled());
        match catch_unwind(AssertUnwindSafe(|| task.poll(context))) {
            Ok(poll) => poll,
            Err(_) => {
                super::core(|core| core.board.count_panic());
                tracing::error!(
                    task = this.name,
                    "a task panicked; its connection is closed, the others go on"
                );
                Poll::Ready(())
            }
        }
    }
}

/// Lets every other runnable task of this shard run once.
pub async fn yield_now() {
    glommio::executor().yield_now().await;
}
