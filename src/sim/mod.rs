//! sim – a simulated shard: tasks, time, sockets and disk, all from one seed.
//!
//! A second implementation of the names of `shard`, chosen under `cfg(test)`, so that `server` and
//! `store` run unchanged while a test decides what the network, the disk and the clock do.
//!
//! ```text
//!   Sim ── World ─┬─ executor   run queue shuffled by the seed, virtual clock, timers
//!                 ├─ net        connections of two pipes: window, delay, segments, reset
//!                 ├─ disk       live state and durable state apart; faults; crash
//!                 └─ blocks     a small bounded pool
//! ```
//! Promises: the same seed gives the same run; every operation may be late, short or fail where a
//! kernel's may; what was not synced may be lost in a crash, in any order.
//! Not here: what a protocol expects of all this (`server::sim_tests`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a broken simulation stops the test"
)]

pub mod buffers;
pub mod client;
pub mod crash;
pub mod disk;
pub mod executor;
pub mod fault;
pub mod file;
pub mod kernel;
pub mod names;
pub mod net;
#[path = "../shard/patience.rs"]
mod patience;
pub mod pipe;
#[path = "../shard/preflight.rs"]
pub mod preflight;
#[path = "../shard/privileges.rs"]
pub mod privileges;
#[path = "../shard/probe.rs"]
pub mod probe;
pub mod promise;
pub mod rng;
pub mod start;
pub mod task;
#[cfg(test)]
mod tests;
pub mod tree;
#[path = "../shard/unix.rs"]
pub mod unix;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub use buffers::{BLOCK_BYTES, Block, block, try_block};
pub use executor::Sim;
pub use file::{File, FileKind, Stat};
pub use names::local_addresses;
pub use net::{Passive, Received, Stream, connect, dial, dial_unix};
pub use promise::{Promise, Promised, promise};
pub use start::{
    Board, Listeners, Main, PREEMPT, Plan, Ready, Shards, accept, give_memory_back, noticed,
};
pub use task::{
    Alarm, Instant, blocking, index, now, random, sleep_until, spawn, wall, within, yield_now,
};
pub use tree::{Cursor, Dir, Item, Links, Placement, Root};

/// Everything simulated that one shard sees.
pub struct World {
    /// Where all chance comes from.
    pub rng: rng::Rng,
    /// Tasks, timers and the clock.
    pub executor: executor::Executor,
    /// Ports and connections.
    pub net: pipe::Net,
    /// The file system; outlives a crash.
    pub disk: Rc<disk::Disk>,
    /// The pool of large buffers.
    pub blocks: Rc<buffers::Pool>,
    /// What is open now.
    pub open: Rc<Open>,
    /// How rough the run is.
    pub weather: Cell<Weather>,
    /// How often the shard was notified, and who waits for that.
    pub notices: (Cell<u64>, pipe::Signal),
    /// False after a crash: nothing that is still dropped reaches the disk.
    pub power: Cell<bool>,
}

/// How rough a run is; chances in percent.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Chance that an operation takes a few turns longer.
    pub late: u64,
    /// Chance that an operation takes up to `delay_millis`.
    pub slow: u64,
    /// Longest delay of a slow operation.
    pub delay_millis: u64,
    /// Largest segment a pipe moves at once, octets.
    pub segment: usize,
    /// Receive window and send buffer of a connection, octets.
    pub window: usize,
    /// Chance that a read or a write is cut short.
    pub short: u64,
}

impl Weather {
    /// Nothing late, nothing short: for counting steps.
    pub const CALM: Self =
        Self { late: 0, slow: 0, delay_millis: 0, segment: 65_536, window: 65_536, short: 0 };

    fn from(rng: &rng::Rng) -> Self {
        Self {
            late: rng.below(60),
            slow: rng.below(20),
            delay_millis: 1 + rng.below(80),
            segment: *rng.pick(&[1, 7, 100, 1460, 9000, 65_536]),
            window: *rng.pick(&[64, 512, 4096, 16_384, 65_536]),
            short: rng.below(50),
        }
    }
}

/// Descriptors and the like that are open at the moment.
#[derive(Debug, Default)]
pub struct Open {
    /// [`File`]s.
    pub files: Cell<usize>,
    /// [`Dir`]s and [`Root`]s.
    pub dirs: Cell<usize>,
    /// [`Stream`]s.
    pub streams: Cell<usize>,
    /// [`Passive`] ports.
    pub passives: Cell<usize>,
}

/// Counts of what is alive; equal before and after a scenario, or something leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Tasks of the code under test and of the script.
    pub tasks: usize,
    /// Open files.
    pub files: usize,
    /// Open directories and roots.
    pub dirs: usize,
    /// Sockets.
    pub streams: usize,
    /// Listening data ports.
    pub passives: usize,
    /// Blocks taken from the pool.
    pub blocks: usize,
}

impl World {
    fn new(seed: u64, disk: Rc<disk::Disk>) -> Rc<Self> {
        let rng = rng::Rng::new(seed);
        let weather = Weather::from(&rng);
        let blocks = buffers::Pool::new(rng.range(4, 12));
        let executor = executor::Executor::default();
        // From a stream of its own: the rest of a seed's run stays what it was.
        executor.eager.set(rng::Rng::new(seed ^ 0xEA6E4).percent(50));
        Rc::new(Self {
            rng,
            executor,
            net: pipe::Net::default(),
            disk,
            blocks: Rc::new(blocks),
            open: Rc::default(),
            weather: Cell::new(weather),
            notices: <(Cell<u64>, pipe::Signal)>::default(),
            power: Cell::new(true),
        })
    }

    /// What is alive now.
    pub fn census(&self) -> Census {
        Census {
            tasks: self.executor.tasks_alive(),
            files: self.open.files.get(),
            dirs: self.open.dirs.get(),
            streams: self.open.streams.get(),
            passives: self.open.passives.get(),
            blocks: self.blocks.taken(),
        }
    }

    /// Takes as long as an operation of this run's weather takes.
    pub async fn pause(&self) {
        let weather = self.weather.get();
        if self.rng.percent(weather.late) {
            for _ in 0..self.rng.range(1, 4) {
                yield_now().await;
            }
        }
        if self.rng.percent(weather.slow) {
            let nanos = self.rng.below(weather.delay_millis * 1_000_000);
            sleep_until(now().after(std::time::Duration::from_nanos(nanos))).await;
        }
    }

    /// `len`, or less of it where this run cuts short; never 0 of something.
    pub fn cut(&self, len: usize) -> usize {
        if len > 1 && self.rng.percent(self.weather.get().short) {
            self.rng.range(1, len)
        } else {
            len
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread; a default one where no [`Sim`] was made.
pub fn world() -> Rc<World> {
    CURRENT.with(|current| {
        Rc::clone(
            current.borrow_mut().get_or_insert_with(|| World::new(0, Rc::new(disk::Disk::new()))),
        )
    })
}

fn enter(world: Option<Rc<World>>) -> Option<Rc<World>> {
    CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), world))
}
