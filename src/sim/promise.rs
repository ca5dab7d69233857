//! sim::promise – a value that something outside the shard will have, as `shard::workers` gives it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// What both ends share.
struct Slot<T> {
    /// `Some(None)`: the promise was dropped.
    value: Option<Option<T>>,
    waker: Option<Waker>,
}

type Shared<T> = Arc<Mutex<Slot<T>>>;

/// A value that another thread will have.
#[must_use = "whoever waits learns of it when this is dropped"]
pub struct Promise<T>(Shared<T>);

/// Waits for a [`Promise`]; `None` when it was dropped.
pub struct Promised<T>(Shared<T>);

/// A promise that may be kept on any thread, and the future of its value on this shard.
pub fn promise<T: Send + 'static>() -> (Promise<T>, Promised<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
    (Promise(Arc::clone(&slot)), Promised(slot))
}

fn lock<T>(slot: &Shared<T>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap()
}

fn end<T>(slot: &Shared<T>, value: Option<T>) {
    let mut slot = lock(slot);
    if slot.value.is_none() {
        slot.value = Some(value);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Promise<T> {
    /// Hands the value over. Nobody may wait for it any more; it is dropped then.
    pub fn keep(self, value: T) {
        end(&self.0, Some(value));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        end(&self.0, None);
    }
}

impl<T> Future for Promised<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.0);
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
