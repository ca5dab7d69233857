//! shard::workers – threads off the shard for work that blocks: passwords, directory reading, stat.
//!
//! ```text
//!  shard ── job ──▶ queue ──▶ worker thread ── result, number ──▶ done ── knock ──▶ shard wakes the task
//! ```
//! A pool of our own because glommio's delivers results through glommio's reactor, which a busy shard
//! visits only when its preempt timer fires; here the result arrives as a completion of the shard's
//! own ring, like everything else.
//!
//! [`promise`] is the way back alone, for threads that are not these: the resolver's.
//!
//! Promises: bounded threads, never pinned to the shard's processor; a panic in a job is an error for
//! whoever waits; a job whose waiter left runs to its end and its result is dropped.
//! Not here: how many jobs may wait (`server::gate`).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Block, Board};

/// Threads per shard for work that may take long: passwords, directory reading.
const THREADS: usize = 4;
/// Threads per shard for work that ends with a sync. A disk that hangs holds all of them, and nobody else.
const DURABLE_THREADS: usize = 4;
/// Threads per shard for short work that changes directories: several would only fight for the
/// directory's lock, and each wake-up of another costs more than the work of the next job.
const QUICK_THREADS: usize = 1;

/// How long a job may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Tens of microseconds, unless the disk is in trouble.
    Quick,
    /// As long as the disk takes to make it durable.
    Durable,
    /// Anything else.
    Slow,
}

type Job = Box<dyn FnOnce() + Send>;

/// What a shard and its workers share.
pub(super) struct Queue {
    slow: Line,
    quick: Line,
    durable: Line,
    done: Mutex<Vec<u64>>,
}

/// Jobs in the order they came, and the threads that wait for them.
#[derive(Default)]
struct Line {
    jobs: Mutex<VecDeque<Job>>,
    available: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these: jobs run outside.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Starts the threads of shard `index`. Called on the main thread, so that they inherit its
    /// processors and not the one a shard is pinned to.
    pub(super) fn start(index: usize) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            slow: Line::default(),
            quick: Line::default(),
            durable: Line::default(),
            done: Mutex::default(),
        });
        let paces =
            [(Pace::Slow, THREADS), (Pace::Quick, QUICK_THREADS), (Pace::Durable, DURABLE_THREADS)];
        let threads = paces.into_iter().flat_map(|(pace, count)| std::iter::repeat_n(pace, count));
        for (number, pace) in threads.enumerate() {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("worker-{index}-{number}"))
                .spawn(move || queue.line(pace).work())?;
        }
        Ok(queue)
    }

    fn line(&self, pace: Pace) -> &Line {
        match pace {
            Pace::Quick => &self.quick,
            Pace::Slow => &self.slow,
            Pace::Durable => &self.durable,
        }
    }

    fn finished(&self, id: u64, board: &Board) {
        let mut done = lock(&self.done);
        done.push(id);
        let first = done.len() == 1;
        drop(done);
        if first {
            board.knock();
        }
    }
}

impl Line {
    fn push(&self, job: Job) {
        lock(&self.jobs).push_back(job);
        self.available.notify_one();
    }

    fn work(&self) {
        if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
            tracing::warn!(%error, "cannot block signals in a worker");
        }
        loop {
            let mut jobs = lock(&self.jobs);
            let job = loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => {
                        jobs = self.available.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(jobs);
            job();
        }
    }
}

/// Somebody who waits for a job, and what the job works on.
struct Waiter {
    waker: Option<Waker>,
    /// Lent to the job: comes back only when the job is over, whoever still waits for it.
    lent: Option<Block>,
    /// Nobody waits any more.
    left: bool,
}

/// The shard's side.
pub(super) struct Workers {
    queue: Arc<Queue>,
    waiting: RefCell<HashMap<u64, Waiter>>,
    next: Cell<u64>,
}

impl Workers {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, waiting: RefCell::default(), next: Cell::new(0) }
    }

    /// Wakes those whose results have come. Called when somebody knocked.
    pub(super) fn deliver(&self) {
        let done = std::mem::take(&mut *lock(&self.queue.done));
        for id in done {
            let mut waiting = self.waiting.borrow_mut();
            let Some(waiter) = waiting.get_mut(&id) else { continue };
            let (waker, gone) = (waiter.waker.take(), waiter.left.then(|| waiting.remove(&id)));
            drop(waiting);
            drop(gone);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// A result on its way.
struct Outcome<T> {
    id: u64,
    value: Arc<Mutex<Option<std::thread::Result<T>>>>,
}

impl<T> Outcome<T> {
    fn leave(&self) -> Option<Waiter> {
        super::core(|core| core.workers.waiting.borrow_mut().remove(&self.id))
    }
}

impl<T> Future for Outcome<T> {
    type Output = (std::thread::Result<T>, Option<Block>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = lock(&self.value).take() {
            return Poll::Ready((value, self.leave().and_then(|waiter| waiter.lent)));
        }
        // The value is stored before the number, and numbers are delivered on this thread: it cannot
        // slip in between the look above and this.
        super::core(|core| {
            if let Some(waiter) = core.workers.waiting.borrow_mut().get_mut(&self.id) {
                waiter.waker = Some(context.waker().clone());
            }
        });
        Poll::Pending
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        if lock(&self.value).is_some() {
            drop(self.leave());
            return;
        }
        super::core(|core| {
            if let Some(waiter) = core.workers.waiting.borrow_mut().get_mut(&self.id) {
                waiter.left = true;
                waiter.waker = None;
            }
        });
    }
}

/// Runs blocking work on a bounded pool of threads off the shard.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (value, _) = start(Pace::Slow, None, work).await;
    caught(value)
}

/// Octets of a block lent to a job.
struct Lent {
    start: *const u8,
    len: usize,
}

// SAFETY: the octets belong to a block that the shard keeps aside, untouched, until the job is over
// (`Waiter::lent`); a pool's arena is never unmapped.
unsafe impl Send for Lent {}

impl Lent {
    fn octets(&self) -> &[u8] {
        // SAFETY: `start` and `len` describe octets of the lent block, see above; nobody writes them
        // while the job reads.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// Like [`blocking`], for work that reads the first `len` octets of a block; gives the block back.
pub(super) async fn with_block<T: Send + 'static>(
    pace: Pace,
    block: Block,
    len: usize,
    work: impl FnOnce(&[u8]) -> T + Send + 'static,
) -> (io::Result<T>, Block) {
    let octets = &block[..len];
    let lent = Lent { start: octets.as_ptr(), len: octets.len() };
    let (value, block) = start(pace, Some(block), move || work(lent.octets())).await;
    let block = match block {
        Some(block) => block,
        // Unreachable by construction: a lent block comes back with its result.
        None => super::block().await,
    };
    (caught(value), block)
}

fn start<T: Send + 'static>(
    pace: Pace,
    lent: Option<Block>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    let (outcome, ticket) = ticket(lent);
    super::core(|core| {
        let job: Job = Box::new(move || ticket.finish(catch_unwind(AssertUnwindSafe(work))));
        core.workers.queue.line(pace).push(job);
    });
    outcome
}

/// Where a result goes, whichever thread has it.
struct Ticket<T> {
    id: u64,
    slot: Arc<Mutex<Option<std::thread::Result<T>>>>,
    queue: Arc<Queue>,
    boards: Arc<[Board]>,
    index: usize,
}

/// Enrols somebody who waits for a result.
fn ticket<T: Send + 'static>(lent: Option<Block>) -> (Outcome<T>, Ticket<T>) {
    let value = Arc::new(Mutex::new(None));
    super::core(|core| {
        let id = core.workers.next.get();
        core.workers.next.set(id + 1);
        core.workers.waiting.borrow_mut().insert(id, Waiter { waker: None, lent, left: false });
        let (slot, queue) = (Arc::clone(&value), Arc::clone(&core.workers.queue));
        let (boards, index) = (Arc::clone(&core.boards), core.index);
        (Outcome { id, value }, Ticket { id, slot, queue, boards, index })
    })
}

impl<T> Ticket<T> {
    fn finish(self, outcome: std::thread::Result<T>) {
        let Self { id, slot, queue, boards, index } = self;
        *lock(&slot) = Some(outcome);
        drop(slot);
        queue.finished(id, &boards[index]);
    }
}

// ---------------------------------------------------------------- results of other threads

/// A value that another thread will have.
#[must_use = "whoever waits learns of it when this is dropped"]
pub struct Promise<T>(Option<Ticket<Option<T>>>);

/// Waits for a [`Promise`]; `None` when it was dropped.
pub struct Promised<T>(Outcome<Option<T>>);

/// A promise that may be kept on any thread, and the future of its value on this shard.
pub fn promise<T: Send + 'static>() -> (Promise<T>, Promised<T>) {
    let (outcome, ticket) = ticket(None);
    (Promise(Some(ticket)), Promised(outcome))
}

impl<T> Promise<T> {
    /// Hands the value over. Nobody may wait for it any more; it is dropped then.
    pub fn keep(mut self, value: T) {
        if let Some(ticket) = self.0.take() {
            ticket.finish(Ok(Some(value)));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.finish(Ok(None));
        }
    }
}

impl<T> Future for Promised<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|(value, _)| value.ok().flatten())
    }
}

fn caught<T>(value: std::thread::Result<T>) -> io::Result<T> {
    value.map_err(|_| {
        super::core(|core| core.board.count_panic());
        io::Error::other("work off the shard panicked")
    })
}
