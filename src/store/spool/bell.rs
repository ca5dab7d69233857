//! store::spool::bell – one task tells another that there is something to do.
//!
//! Promises: a ring before the wait is heard; several rings are heard as one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::log::Trouble;

/// Rung by anybody, heard by those who wait.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.rung.replace(true) {
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Returns when it was rung since the last time.
    pub(super) async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// What became of something queued, told once to the one who waits.
#[derive(Default)]
pub(super) struct Outcome {
    told: Cell<Option<Result<(), Trouble>>>,
    waiting: Cell<Option<Waker>>,
}

impl Outcome {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    pub(super) fn tell(&self, outcome: Result<(), Trouble>) {
        self.told.set(Some(outcome));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    pub(super) async fn known(&self) -> Result<(), Trouble> {
        poll_fn(|context| match self.told.get() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                self.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}
