//! sim::buffers – the bounded pool of large buffers, first come, first served.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::world;

/// Octets of one [`Block`]; small, so that small files take many.
pub const BLOCK_BYTES: usize = 8 * 1024;

/// Octets that blocks and small buffers of one real shard lock.
pub fn arena_bytes() -> usize {
    32 << 20
}

/// Blocks that are free, and who waits for one.
pub struct Pool {
    total: usize,
    taken: Cell<usize>,
    asked: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Option<Waker>)>>,
}

impl Pool {
    pub(super) fn new(total: usize) -> Self {
        Self { total, taken: Cell::new(0), asked: Cell::new(0), waiting: RefCell::default() }
    }

    /// Blocks that somebody holds.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Blocks in all.
    pub fn total(&self) -> usize {
        self.total
    }

    fn wake_first(&self) {
        if self.taken.get() < self.total
            && let Some((_, waker)) = self.waiting.borrow_mut().front_mut()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}

/// A large buffer from the shard's bounded pool; goes back when dropped.
pub struct Block {
    bytes: Box<[u8]>,
    pool: Rc<Pool>,
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.taken.set(self.pool.taken.get() - 1);
        self.pool.wake_first();
    }
}

/// Waits until a block is free (first come, first served). It holds what the last user left in it.
pub async fn block() -> Block {
    let pool = Rc::clone(&world().blocks);
    let ticket = Ticket::new(&pool);
    poll_fn(|context| {
        let mut waiting = pool.waiting.borrow_mut();
        let first = waiting.front().is_some_and(|(number, _)| *number == ticket.number);
        if first && pool.taken.get() < pool.total {
            return Poll::Ready(());
        }
        if let Some(place) = waiting.iter_mut().find(|(number, _)| *number == ticket.number) {
            place.1 = Some(context.waker().clone());
        }
        Poll::Pending
    })
    .await;
    pool.taken.set(pool.taken.get() + 1);
    drop(ticket);
    let bytes = vec![0xA5; BLOCK_BYTES].into_boxed_slice();
    Block { bytes, pool }
}

/// A block if one is free now and nobody waits for it.
pub fn try_block() -> Option<Block> {
    let pool = Rc::clone(&world().blocks);
    if pool.taken.get() >= pool.total || !pool.waiting.borrow().is_empty() {
        return None;
    }
    pool.taken.set(pool.taken.get() + 1);
    let bytes = vec![0xA5; BLOCK_BYTES].into_boxed_slice();
    Some(Block { bytes, pool })
}

struct Ticket {
    pool: Rc<Pool>,
    number: u64,
}

impl Ticket {
    fn new(pool: &Rc<Pool>) -> Self {
        let number = pool.asked.get();
        pool.asked.set(number + 1);
        pool.waiting.borrow_mut().push_back((number, None));
        Self { pool: Rc::clone(pool), number }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pool.waiting.borrow_mut().retain(|(number, _)| *number != self.number);
        self.pool.wake_first();
    }
}
