//! server::gate – at most so many at a time, first come, first served; one shard only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Lets a fixed number pass at a time, and a bounded number wait.
#[derive(Debug)]
pub(super) struct Gate {
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    open: usize,
    waiting_max: usize,
    waiting: VecDeque<(u64, Option<Waker>)>,
    next: u64,
}

/// The right to be inside; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Pass {
    state: Rc<RefCell<State>>,
}

impl Gate {
    /// Lets `count` in at a time and `waiting_max` wait.
    pub(super) fn new(count: usize, waiting_max: usize) -> Self {
        let state = State { open: count, waiting_max, waiting: VecDeque::new(), next: 0 };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// Waits for its turn; `None` when too many wait already.
    pub(super) async fn pass(&self) -> Option<Pass> {
        let mut place = Place { state: Rc::clone(&self.state), ticket: None };
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            let first = state.waiting.front().map(|(ticket, _)| *ticket);
            if state.open > 0 && (first.is_none() || first == place.ticket) {
                if place.ticket.take().is_some() {
                    state.waiting.pop_front();
                }
                state.open -= 1;
                state.wake_first();
                return Poll::Ready(Some(Pass { state: Rc::clone(&self.state) }));
            }
            match place.ticket {
                Some(ticket) => {
                    if let Some(slot) = state.waiting.iter_mut().find(|(t, _)| *t == ticket) {
                        slot.1 = Some(context.waker().clone());
                    }
                }
                None if state.waiting.len() >= state.waiting_max => return Poll::Ready(None),
                None => {
                    let ticket = state.next;
                    state.next += 1;
                    state.waiting.push_back((ticket, Some(context.waker().clone())));
                    place.ticket = Some(ticket);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl State {
    fn wake_first(&mut self) {
        if self.open > 0
            && let Some((_, waker)) = self.waiting.front_mut()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.open += 1;
        state.wake_first();
    }
}

/// A place in the queue, given up when its owner goes away.
struct Place {
    state: Rc<RefCell<State>>,
    ticket: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut state = self.state.borrow_mut();
            state.waiting.retain(|(t, _)| *t != ticket);
            state.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{self, Sim};

    #[test]
    fn one_after_another_and_no_more_than_may_wait() {
        Sim::new(1).run(async {
            let gate = Rc::new(Gate::new(1, 2));
            let first = gate.pass().await;
            let order = Rc::new(RefCell::new(Vec::new()));
            for number in 0..2 {
                let (gate, order) = (Rc::clone(&gate), Rc::clone(&order));
                shard::spawn("waits", async move {
                    let pass = gate.pass().await;
                    order.borrow_mut().push((number, pass.is_some()));
                });
                shard::yield_now().await;
                shard::yield_now().await;
            }
            assert!(gate.pass().await.is_none(), "a third one may not wait");
            drop(first);
            let later = shard::now().after(std::time::Duration::from_secs(1));
            shard::sleep_until(later).await;
            let order = order.take();
            assert!(
                order == [(0, true), (1, true)] || order == [(1, true), (0, true)],
                "{order:?}"
            );
            assert!(gate.pass().await.is_some());
        });
    }

    #[test]
    fn who_goes_away_does_not_block_the_queue() {
        Sim::new(2).run(async {
            let gate = Gate::new(1, 8);
            let first = gate.pass().await;
            let soon = shard::now().after(std::time::Duration::from_millis(50));
            assert!(shard::within(soon, gate.pass()).await.is_none());
            drop(first);
            assert!(gate.pass().await.is_some());
        });
    }
}
