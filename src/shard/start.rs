//! shard::start – one thread, executor and ring per core, and what others may see of them.
//!
//! Promises: either every shard runs or none does; a shard that cannot start says why; signals are
//! blocked in all threads made here; the executor is never dropped while the kernel has operations
//! of its ring.
//! Not here: what a shard does (the `main` given), who watches the beats (`server::run`).

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use io_uring::{opcode, types};

use super::accept::Listeners;
use super::board::Board;
use super::bridge::drive;
use super::pacemaker;
use super::ring::{Keep, Ring, RingHandle};
use super::workers::Queue;
use super::{Core, now};

/// The heartbeat bounds glommio's sleep with runnable tasks (reference notes §2.4, trap 1).
pub const HEARTBEAT: Duration = Duration::from_millis(5);
/// How often an idle shard proves that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Memory glommio registers for its own files, of which there are none but an eventfd.
const GLOMMIO_IO_BYTES: usize = 64 << 10;
/// So long an executor may take to run for the first time; then another one gets its shard.
const FIRST_TURN: Duration = Duration::from_millis(500);
/// So many get it at most: a processor that runs nobody for this long is not there.
const EXECUTORS_MAX: u32 = 60;
/// How long the last operations may take when a shard ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// How to start.
pub struct Plan {
    /// One processor per shard.
    pub cpus: Vec<usize>,
    /// Bound for as many shards.
    pub listeners: Listeners,
    /// After how long glommio looks at its own rings while tasks run. Short ones provoke its sleep
    /// with runnable tasks: for tests.
    pub preempt: Duration,
}

/// glommio's own default, and nothing here waits for it.
pub const PREEMPT: Duration = Duration::from_millis(100);

/// Running shards.
pub struct Shards {
    boards: Arc<[Board]>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What a shard runs; called on its own thread. It says when it is [`Ready`].
pub type Main = dyn Fn(usize, Ready) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync;

/// How a shard says whether its start succeeded; dropped unsaid, it did not.
#[must_use = "whoever starts the shards waits for it"]
pub struct Ready(Option<(mpsc::Sender<io::Result<()>>, Arc<AtomicBool>)>);

impl Ready {
    /// The shard serves.
    pub fn done(mut self) {
        self.tell(Ok(()));
    }

    /// The shard cannot serve, and why.
    pub fn failed(mut self, error: io::Error) {
        self.tell(Err(error));
    }

    fn tell(&mut self, outcome: io::Result<()>) {
        if let Some((sender, wakeful)) = self.0.take() {
            wakeful.store(false, Ordering::Relaxed);
            // Nobody listens any more when another could not start; the process ends then.
            drop(sender.send(outcome));
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.tell(Err(io::Error::other("a shard ended while starting")));
    }
}

impl Shards {
    /// Starts all shards and returns when each said that it is ready.
    ///
    /// # Errors
    /// What the first shard that could not start said.
    pub fn start(mut plan: Plan, main: Arc<Main>) -> io::Result<Self> {
        let boards: Arc<[Board]> =
            plan.cpus.iter().map(|_| Board::new()).collect::<io::Result<_>>()?;
        let (ready, readiness) = mpsc::channel();
        let mut shards = Self { boards: Arc::clone(&boards), threads: Vec::new() };
        let mut chairs = Vec::new();
        for (index, &cpu) in plan.cpus.iter().enumerate() {
            let seat = Seat {
                index,
                boards: Arc::clone(&boards),
                workers: Queue::start(index)?,
                listeners: plan.listeners.take(index),
                ready: Ready(Some((ready.clone(), Arc::clone(&boards[index].wakeful)))),
            };
            let seat = Arc::new(Mutex::new(Some(seat)));
            chairs.push(Chair { index, cpu, preempt: plan.preempt, seat });
        }
        drop(ready);
        for chair in &chairs {
            shards.seat(chair, &main)?;
        }
        pacemaker::start(Arc::clone(&boards))?;
        let (mut awaited, mut executors) = (chairs.len(), 1);
        while awaited > 0 {
            match readiness.recv_timeout(FIRST_TURN) {
                Ok(Ok(())) => awaited -= 1,
                Ok(Err(error)) => return Err(error),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("a shard ended while starting"));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // glommio may sleep before it runs anything, and then nothing can wake it (`pacemaker`).
                    for chair in chairs.iter().filter(|chair| chair.is_free()) {
                        if executors == EXECUTORS_MAX {
                            return Err(chair.never_taken());
                        }
                        shards.seat(chair, &main)?;
                    }
                    executors += 1;
                }
            }
        }
        Ok(shards)
    }

    /// Starts an executor that takes the seat, unless another one is quicker.
    fn seat(&mut self, chair: &Chair, main: &Arc<Main>) -> io::Result<()> {
        let (chair, main) = (chair.clone(), Arc::clone(main));
        let name = format!("shard-{}", chair.index);
        self.threads
            .push(std::thread::Builder::new().name(name).spawn(move || run(&chair, &main))?);
        Ok(())
    }

    /// What each shard shows.
    #[must_use]
    pub fn boards(&self) -> Arc<[Board]> {
        Arc::clone(&self.boards)
    }

    /// Makes [`super::noticed`] return on every shard.
    pub fn notify(&self) {
        for board in self.boards.iter() {
            board.notify();
        }
    }

    /// Have all ended?
    #[must_use]
    pub fn finished(&self) -> bool {
        self.boards.iter().all(Board::has_ended)
    }
}

/// Where a shard is to live, and what it is made of until an executor takes it.
#[derive(Clone)]
struct Chair {
    index: usize,
    cpu: usize,
    preempt: Duration,
    seat: Arc<Mutex<Option<Seat>>>,
}

impl Chair {
    fn take(&self) -> Option<Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_free(&self) -> bool {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn never_taken(&self) -> io::Error {
        let seconds = (FIRST_TURN * EXECUTORS_MAX).as_secs();
        io::Error::other(format!(
            "processor {}: no thread came to run there within {seconds} s",
            self.cpu
        ))
    }
}

struct Seat {
    index: usize,
    boards: Arc<[Board]>,
    workers: Arc<Queue>,
    listeners: Vec<(u8, OwnedFd)>,
    ready: Ready,
}

/// Says that a shard has ended, by a panic too.
struct End(Arc<[Board]>, usize);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(board) = self.0.get(self.1) {
            board.end();
        }
    }
}

fn run(chair: &Chair, main: &Arc<Main>) {
    // Signals are for the main thread: one that interrupts io_uring_enter is a path glommio never tested.
    if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
        tracing::warn!(%error, "cannot block signals in a shard");
    }
    let builder = LocalExecutorBuilder::new(Placement::Fixed(chair.cpu))
        .name(&format!("shard-{}", chair.index))
        .preempt_timer(chair.preempt)
        .io_memory(GLOMMIO_IO_BYTES);
    // glommio panics where the kernel refuses it a ring; preflight should have seen that before.
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
        builder.make().map_err(|error| error.to_string())
    }));
    let executor = match made.unwrap_or_else(|_| Err("glommio could not make its rings".to_owned()))
    {
        Ok(executor) => executor,
        Err(error) => {
            let error = io::Error::other(format!("processor {}: {error}", chair.cpu));
            if let Some(seat) = chair.take() {
                seat.ready.failed(error);
            }
            return;
        }
    };
    let main = Arc::clone(main);
    executor.run(async move {
        if let Some(seat) = chair.take() {
            let _end = End(Arc::clone(&seat.boards), seat.index);
            live(seat, main).await;
        }
    });
    // Dropping it leaks a descriptor and frees buffers of operations still being cancelled; the
    // process ends right after its shards.
    #[allow(clippy::mem_forget, reason = "see above")]
    std::mem::forget(executor);
}

async fn live(seat: Seat, main: Arc<Main>) {
    let Seat { index, boards, workers, listeners, ready, .. } = seat;
    let core = match prepare(index, Arc::clone(&boards), workers, listeners) {
        Ok(core) => core,
        Err(error) => return ready.failed(error),
    };
    let eventfd = match boards[index].wake.as_fd().try_clone_to_owned() {
        Ok(eventfd) => eventfd,
        Err(error) => return ready.failed(error),
    };
    let stop = Rc::new(Cell::new(false));
    pacemaker::arm(&core.board.pulse).await;
    core.ensure_heartbeat();
    let turning = Rc::clone(&core);
    glommio::spawn_local(drive(turning, eventfd, Rc::clone(&stop))).detach();
    super::spawn("knock", answer(Rc::clone(&core)));
    boards[index].ring_fd.store(core.ring.with(|ring| ring.raw_fd()), Ordering::Release);
    super::spawn("beat", beat(Rc::clone(&core)));
    main(index, ready).await;
    boards[index].ring_fd.store(-1, Ordering::Release);
    core.board.wakeful.store(true, Ordering::Relaxed);
    core.ensure_heartbeat();
    farewell(&core).await;
    stop.set(true);
}

fn prepare(
    index: usize,
    boards: Arc<[Board]>,
    workers: Arc<Queue>,
    listeners: Vec<(u8, OwnedFd)>,
) -> io::Result<Rc<Core>> {
    let ring = RingHandle::new(Ring::new(boards[index].wake.as_fd().as_raw_fd())?);
    let core = Core::install(index, boards, ring, workers, listeners)?;
    let vectors = core.blocks.vectors();
    let count = super::preflight::registrable_blocks(core.boards.len()).min(vectors.len());
    core.ring.with(|ring| ring.register_blocks(&vectors[..count]));
    Ok(core)
}

/// Takes what other threads have for this shard whenever they knock.
async fn answer(core: Rc<Core>) {
    let knock = types::Fd(core.board.knock.as_fd().as_raw_fd());
    loop {
        let mut count = Box::new(0u64);
        let entry = opcode::Read::new(knock, (&raw mut *count).cast(), 8).build();
        if let Err(error) = core.ring.start(entry, Keep::Any(count)).result().await {
            tracing::error!(%error, "a shard cannot be woken by others");
            super::sleep_until(now().after(BEAT)).await;
        }
        core.workers.deliver();
        core.notice();
    }
}

/// Proves once a second that the executor, the driver and the ring go round.
async fn beat(core: Rc<Core>) {
    loop {
        let nop = core.ring.start(opcode::Nop::new().build(), Keep::Any(Box::new(())));
        if nop.result().await.is_ok() {
            core.board.beat();
        }
        // Not a timer of the shard: those keep the heartbeat going.
        glommio::timer::sleep(BEAT).await;
    }
}

/// Lets operations that were cancelled come home; listeners and the beat stay with the process.
async fn farewell(core: &Rc<Core>) {
    let deadline = now().after(FAREWELL);
    let idle = 2 + core.listening.get();
    while core.ring.in_flight() > idle && now() < deadline {
        super::yield_now().await;
        core.ring.with(Ring::forsake_handed);
    }
}
