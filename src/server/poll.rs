//! server::poll – looking at a future once.

use std::future::poll_fn;
use std::task::{Context, Poll};

/// What `poll` gives now, without waiting; `None` when it would wait.
pub(super) async fn poll_once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}
