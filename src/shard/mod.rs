//! shard – one core's executor and ring: tasks, time, sockets, files.
//!
//! glommio schedules tasks; every byte goes through this shard's own io_uring ring. All state here
//! belongs to one thread and is reached through a thread-local: nothing is shared but the [`Board`].
//!
//! ```text
//!   spawn, within, blocking …        Stream, Passive, connect       Root, Dir, File      Block
//!          task, time                     net, accept                file, dir, sys     buffers
//!               └───────────────────────────── ring ─────────────────────────────────────┘
//!                      eventfd bridge ── glommio executor, one thread, one processor
//! ```
//!
//! Promises: the only folder that names glommio, io-uring, nix or libc, and the only one with
//! `unsafe` code; an operation owns its memory and descriptors until its last completion.
//! Not here: any protocol. `sim` offers the same names over a simulated machine, for tests.
//!
//! Reading order: `ring`, `buffers`, `net`, `file`, `start`.
#![allow(
    unsafe_code,
    reason = "the one folder that talks to the kernel; every block states its contract"
)]

mod accept;
mod board;
mod bridge;
mod buffers;
mod dir;
mod file;
mod interfaces;
mod net;
mod offers;
mod pacemaker;
mod patience;
mod pipes;
mod place;
pub mod preflight;
pub mod privileges;
pub mod probe;
mod pulse;
mod ring;
mod start;
mod sys;
mod task;
mod time;
mod turnover;
pub mod unix;
mod workers;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub use accept::{Listeners, accept};
pub use board::Board;
pub use buffers::{BLOCK_BYTES, Block, Received, block, try_block};
pub use dir::{Cursor, Dir, Item, Placement};
pub use file::{File, FileKind, Links, Root, Stat};
pub use interfaces::local_addresses;
pub use net::{Passive, Stream, connect, dial, dial_unix};
pub use start::{HEARTBEAT, Main, PREEMPT, Plan, Ready, Shards};
pub use sys::give_memory_back;
pub use task::{spawn, yield_now};
pub use time::{Alarm, Instant, now, sleep_until, wall, within};
pub use workers::{Promise, Promised, blocking, promise};

/// Everything one shard owns.
struct Core {
    index: usize,
    ring: ring::RingHandle,
    timers: time::Timers,
    blocks: buffers::Pool,
    workers: workers::Workers,
    boards: Arc<[Board]>,
    board: BoardRef,
    listeners: RefCell<Vec<(u8, OwnedFd)>>,
    listening: Cell<usize>,
    beating: Cell<bool>,
    turnover: turnover::Turnover,
    seen_notices: Cell<u64>,
    notice_wakers: RefCell<Vec<Waker>>,
    random: Cell<u64>,
    /// Polls of tasks, so that the driver knows whether anything ran.
    polls: Cell<u64>,
}

/// This shard's own board.
struct BoardRef {
    boards: Arc<[Board]>,
    index: usize,
}

impl std::ops::Deref for BoardRef {
    type Target = Board;

    fn deref(&self) -> &Board {
        &self.boards[self.index]
    }
}

thread_local! {
    static CORE: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// This thread's shard.
///
/// # Panics
/// Outside a shard: a programming error.
fn core<T>(work: impl FnOnce(&Rc<Core>) -> T) -> T {
    CORE.with_borrow(|core| match core {
        Some(core) => work(core),
        None => unreachable!("called outside a shard"),
    })
}

impl Core {
    fn install(
        index: usize,
        boards: Arc<[Board]>,
        ring: ring::RingHandle,
        workers: Arc<workers::Queue>,
        listeners: Vec<(u8, OwnedFd)>,
    ) -> io::Result<Rc<Self>> {
        let mut seed = [0u8; 8];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let board = BoardRef { boards: Arc::clone(&boards), index };
        let core = Rc::new(Self {
            index,
            ring,
            timers: time::Timers::default(),
            blocks: buffers::Pool::new()?,
            workers: workers::Workers::new(workers),
            polls: Cell::new(0),
            boards,
            board,
            listening: Cell::new(listeners.len()),
            listeners: RefCell::new(listeners),
            beating: Cell::new(false),
            turnover: turnover::Turnover::default(),
            seen_notices: Cell::new(0),
            notice_wakers: RefCell::new(Vec::new()),
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
        });
        CORE.set(Some(Rc::clone(&core)));
        Ok(core)
    }

    /// Wakes those who wait for a notice, if there is a new one.
    fn notice(&self) {
        let notices = self.board.notices();
        if notices != self.seen_notices.get() {
            self.seen_notices.set(notices);
            let wakers = std::mem::take(&mut *self.notice_wakers.borrow_mut());
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// A task is being polled.
    fn polled(&self) {
        self.polls.set(self.polls.get().wrapping_add(1));
    }

    fn polls(&self) -> u64 {
        self.polls.get()
    }

    /// Starts the heartbeat unless it runs: at the start and at the end, and while there are connections or timers,
    /// something wakes this executor every few milliseconds, whatever it sleeps on.
    fn ensure_heartbeat(self: &Rc<Self>) {
        if self.beating.replace(true) {
            return;
        }
        self.board.pulse.begin();
        let core = Rc::clone(self);
        glommio::spawn_local(async move {
            let wakeful = || core.board.wakeful.load(std::sync::atomic::Ordering::Relaxed);
            while core.board.load() > 0 || !core.timers.is_empty() || wakeful() {
                glommio::timer::sleep(HEARTBEAT).await;
                core.timers.fire();
                core.ring.with(ring::Ring::nudge);
            }
            core.beating.set(false);
            core.board.pulse.end();
        })
        .detach();
    }
}

/// This shard's number, from 0.
#[must_use]
pub fn index() -> usize {
    core(|core| core.index)
}

/// A random number, seeded from the system: for ports and names, not for secrets.
#[must_use]
pub fn random() -> u64 {
    core(|core| {
        // SplitMix64 (public domain, Steele et al. 2014): one addition and two multiplications.
        let state = core.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        core.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Returns when this shard was notified more often than `seen` times; the new count.
pub async fn noticed(seen: u64) -> u64 {
    poll_fn(|context| {
        core(|core| {
            let notices = core.board.notices();
            if notices > seen {
                return Poll::Ready(notices);
            }
            core.notice_wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
    })
    .await
}
