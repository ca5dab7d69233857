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
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use io_uring::{opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::accept::Listeners;
use super::bridge::drive;
use super::pacemaker;
use super::pulse::Pulse;
use super::ring::{Keep, Ring, RingHandle};
use super::workers::Queue;
use super::{Core, now};

/// The heartbeat bounds glommio's sleep with runnable tasks (reference notes §2.4, trap 1).
pub const HEARTBEAT: Duration = Duration::from_millis(5);
/// How often an idle shard proves that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Memory glommio registers for its own files, of which there are none but an eventfd.
const GLOMMIO_IO_BYTES: usize = 64 << 10;
/// How long the last operations may take when a shard ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a shard shows to the rest of the process.
pub struct Board {
    /// Connections it has, or that are on their way to it.
    pub(super) load: Arc<AtomicUsize>,
    pub(super) ring_fd: AtomicI32,
    /// Panics caught in its tasks.
    panics: AtomicU64,
    beat_ns: AtomicU64,
    notices: AtomicU64,
    pub(super) pulse: Arc<Pulse>,
    /// The ring's completions signal it while the driver is parked.
    wake: EventFd,
    /// Other threads write to it; the ring reads it.
    knock: EventFd,
}

impl Board {
    fn new() -> io::Result<Self> {
        Ok(Self {
            load: Arc::new(AtomicUsize::new(0)),
            ring_fd: AtomicI32::new(-1),
            panics: AtomicU64::new(0),
            beat_ns: AtomicU64::new(now().nanos()),
            notices: AtomicU64::new(0),
            pulse: Arc::default(),
            // Blocking: the executor reads it through its ring, and O_NONBLOCK would turn that into EAGAIN.
            wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?,
            knock: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Connections it has, or that are on their way to it.
    #[must_use]
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// How often its executor had to be woken from a sleep with runnable tasks.
    #[must_use]
    pub fn rescues(&self) -> u64 {
        self.pulse.rescues()
    }

    /// Panics caught in its tasks.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Time since it last proved that executor, driver and ring go round.
    #[must_use]
    pub fn beat_age(&self) -> Duration {
        Duration::from_nanos(now().nanos().saturating_sub(self.beat_ns.load(Ordering::Relaxed)))
    }

    pub(super) fn beat(&self) {
        self.beat_ns.store(now().nanos(), Ordering::Relaxed);
    }

    /// Makes the shard look for what other threads have for it. From any thread.
    pub(super) fn knock(&self) {
        // A full counter (2^64 - 2 wake-ups unread) is the only reason not to, and then it is awake.
        if let Err(error) = self.knock.write(1) {
            tracing::error!(%error, "cannot wake a shard");
        }
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn notices(&self) -> u64 {
        self.notices.load(Ordering::Acquire)
    }

    /// Makes [`super::noticed`] return on that shard.
    pub fn notify(&self) {
        self.notices.fetch_add(1, Ordering::AcqRel);
        self.knock();
    }
}

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
pub struct Ready(Option<mpsc::Sender<io::Result<()>>>);

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
        if let Some(sender) = self.0.take() {
            report(&sender, outcome);
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
        let mut threads = Vec::new();
        for (index, &cpu) in plan.cpus.iter().enumerate() {
            let seat = Seat {
                index,
                cpu,
                preempt: plan.preempt,
                boards: Arc::clone(&boards),
                workers: Queue::start(index)?,
                listeners: plan.listeners.take(index),
                ready: ready.clone(),
            };
            let main = Arc::clone(&main);
            threads.push(
                std::thread::Builder::new()
                    .name(format!("shard-{index}"))
                    .spawn(move || run(seat, &main))?,
            );
        }
        drop(ready);
        pacemaker::start(Arc::clone(&boards))?;
        for _ in 0..plan.cpus.len() {
            match readiness.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("a shard ended while starting")),
            }
        }
        Ok(Self { boards, threads })
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
        self.threads.iter().all(std::thread::JoinHandle::is_finished)
    }
}

struct Seat {
    index: usize,
    cpu: usize,
    preempt: Duration,
    boards: Arc<[Board]>,
    workers: Arc<Queue>,
    listeners: Vec<(u8, OwnedFd)>,
    ready: mpsc::Sender<io::Result<()>>,
}

fn run(seat: Seat, main: &Arc<Main>) {
    let ready = seat.ready.clone();
    // Signals are for the main thread: one that interrupts io_uring_enter is a path glommio never tested.
    if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
        tracing::warn!(%error, "cannot block signals in a shard");
    }
    let builder = LocalExecutorBuilder::new(Placement::Fixed(seat.cpu))
        .name(&format!("shard-{}", seat.index))
        .preempt_timer(seat.preempt)
        .io_memory(GLOMMIO_IO_BYTES);
    // glommio panics where the kernel refuses it a ring; preflight should have seen that before.
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
        builder.make().map_err(|error| error.to_string())
    }));
    let executor = match made.unwrap_or_else(|_| Err("glommio could not make its rings".to_owned()))
    {
        Ok(executor) => executor,
        Err(error) => {
            let error = io::Error::other(format!("processor {}: {error}", seat.cpu));
            return report(&ready, Err(error));
        }
    };
    executor.run(live(seat, Arc::clone(main)));
    // Dropping it leaks a descriptor and frees buffers of operations still being cancelled; the
    // process ends right after its shards.
    #[allow(clippy::mem_forget, reason = "see above")]
    std::mem::forget(executor);
}

/// Tells whoever starts the shards how this one's start went. Nobody listens any more when another
/// could not start; the process ends then.
fn report(ready: &mpsc::Sender<io::Result<()>>, outcome: io::Result<()>) {
    drop(ready.send(outcome));
}

async fn live(seat: Seat, main: Arc<Main>) {
    let Seat { index, boards, workers, listeners, ready, .. } = seat;
    let core = match prepare(index, Arc::clone(&boards), workers, listeners) {
        Ok(core) => core,
        Err(error) => return report(&ready, Err(error)),
    };
    let eventfd = match boards[index].wake.as_fd().try_clone_to_owned() {
        Ok(eventfd) => eventfd,
        Err(error) => return report(&ready, Err(error)),
    };
    let stop = Rc::new(Cell::new(false));
    let turning = Rc::clone(&core);
    glommio::spawn_local(drive(turning, eventfd, Rc::clone(&stop))).detach();
    pacemaker::arm(&core.board.pulse);
    super::spawn("knock", answer(Rc::clone(&core)));
    boards[index].ring_fd.store(core.ring.with(|ring| ring.raw_fd()), Ordering::Release);
    super::spawn("beat", beat(Rc::clone(&core)));
    main(index, Ready(Some(ready))).await;
    boards[index].ring_fd.store(-1, Ordering::Release);
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
