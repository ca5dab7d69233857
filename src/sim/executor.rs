//! sim::executor – one thread, a run queue in an order fixed by the seed, and a clock that jumps.
//!
//! Turns: whatever is runnable is shuffled and run once; what was woken meanwhile waits for the
//! next turn. When nothing is runnable the clock jumps to the next timer.
//!
//! A new task waits for its turn, or runs at once within the call that begins it, as glommio has it: the
//! seed chooses one for the whole run.
//!
//! Promises: the same seed and the same tasks give the same trace; "nothing runnable and no timer"
//! and "runs for ever" stop the test, naming the tasks that are left.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Census, Weather, World, disk::Disk, enter};

/// Polls in one run before it counts as running for ever.
const STEPS_MAX: u64 = 20_000_000;
/// Virtual time of one run before it counts as waiting for ever.
const RUN_NANOS_MAX: u64 = 48 * 3600 * 1_000_000_000;
/// The clock moves on by up to this much with every poll.
const STEP_NANOS_MAX: u64 = 4_000;
/// The future given to `run`.
const ROOT: u64 = 0;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks, timers and the clock of one shard.
#[derive(Default)]
pub struct Executor {
    tasks: RefCell<BTreeMap<u64, Task>>,
    spawned: Cell<u64>,
    woken: Arc<Mutex<Vec<u64>>>,
    turn: RefCell<Vec<u64>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timers_made: Cell<u64>,
    now: Cell<u64>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    panics: RefCell<Vec<String>>,
    /// A new task runs until it first waits, before who began it goes on.
    pub(super) eager: Cell<bool>,
}

struct Task {
    name: &'static str,
    /// Part of the simulated kernel: not counted, and a panic in it is the simulation's own.
    kernel: bool,
    /// `None` while it is being polled.
    future: Option<Boxed>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.lock().unwrap().push(self.id);
        }
    }
}

impl Executor {
    pub(super) fn spawn(&self, name: &'static str, kernel: bool, future: Boxed) {
        let id = self.spawned.get() + 1;
        self.spawned.set(id);
        let waker = self.waker(id);
        let eager = self.eager.get() && !kernel;
        if !eager {
            waker.wake_by_ref();
        }
        self.tasks.borrow_mut().insert(id, Task { name, kernel, future: Some(future), waker });
        if eager {
            self.poll_task(id);
        }
    }

    fn waker(&self, id: u64) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { id, queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) })
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// Polls so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// A number that stands for the order of everything that ran.
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Messages of the panics of tasks so far.
    pub fn panics(&self) -> Vec<String> {
        self.panics.borrow().clone()
    }

    pub(super) fn tasks_alive(&self) -> usize {
        self.tasks.borrow().values().filter(|task| !task.kernel).count()
    }

    /// Names of the tasks that are alive.
    pub fn names_alive(&self) -> Vec<&'static str> {
        self.tasks.borrow().values().filter(|task| !task.kernel).map(|task| task.name).collect()
    }

    pub(super) fn set_timer(&self, old: Option<(u64, u64)>, due: u64, waker: Waker) -> (u64, u64) {
        let key = old.unwrap_or_else(|| {
            self.timers_made.set(self.timers_made.get() + 1);
            (due, self.timers_made.get())
        });
        self.timers.borrow_mut().insert(key, waker);
        key
    }

    pub(super) fn clear_timer(&self, key: (u64, u64)) {
        self.timers.borrow_mut().remove(&key);
    }

    /// Which task runs next; `None` when nothing can ever run again.
    fn next(&self, world: &World) -> Option<u64> {
        loop {
            if let Some(id) = self.turn.borrow_mut().pop() {
                return Some(id);
            }
            self.fire_timers();
            let mut turn = std::mem::take(&mut *self.woken.lock().unwrap());
            if turn.is_empty() {
                let due = self.timers.borrow().keys().next().map(|key| key.0)?;
                self.now.set(self.now.get().max(due));
                continue;
            }
            world.rng.shuffle(&mut turn);
            *self.turn.borrow_mut() = turn;
        }
    }

    fn fire_timers(&self) {
        let later = self.timers.borrow_mut().split_off(&(self.now.get() + 1, 0));
        let due = std::mem::replace(&mut *self.timers.borrow_mut(), later);
        due.into_values().for_each(Waker::wake);
    }

    fn step(&self, world: &World, id: u64) {
        self.steps.set(self.steps.get() + 1);
        self.now.set(self.now.get() + world.rng.below(STEP_NANOS_MAX));
        let mixed = (self.trace.get() ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.now.get();
        self.trace.set(mixed.rotate_left(17));
    }

    fn poll_task(&self, id: u64) {
        let Some((mut future, waker, kernel)) = self.take(id) else { return };
        waker.queued.store(false, Ordering::Relaxed);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&waker))))
        }));
        match polled {
            Ok(Poll::Pending) => {
                if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
                    task.future = Some(future);
                }
            }
            Ok(Poll::Ready(())) => self.end(id, future),
            Err(panic) if kernel => resume_unwind(panic),
            Err(panic) => {
                self.panics.borrow_mut().push(message(&*panic));
                self.end(id, future);
            }
        }
    }

    fn take(&self, id: u64) -> Option<(Boxed, Arc<TaskWaker>, bool)> {
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(&id)?;
        Some((task.future.take()?, Arc::clone(&task.waker), task.kernel))
    }

    fn end(&self, id: u64, future: Boxed) {
        drop(future);
        let ended = self.tasks.borrow_mut().remove(&id);
        drop(ended);
    }

    /// Drops every task, as the end of the process does.
    fn clear(&self) {
        while let Some((_, task)) = { self.tasks.borrow_mut().pop_first() } {
            drop(task);
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}

/// One simulated shard. Only one is current on a thread: the one made last.
pub struct Sim {
    seed: u64,
    world: Rc<World>,
    outer: Option<Rc<World>>,
}

impl Sim {
    /// A shard with an empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with_disk(seed, Rc::new(Disk::new()))
    }

    /// A shard that boots from `disk`.
    pub fn with_disk(seed: u64, disk: Rc<Disk>) -> Self {
        let world = World::new(seed, disk);
        let outer = enter(Some(Rc::clone(&world)));
        Self { seed, world, outer }
    }

    /// What is simulated.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Its file system.
    pub fn disk(&self) -> Rc<Disk> {
        Rc::clone(&self.world.disk)
    }

    /// Sets how rough the run is.
    pub fn weather(&self, weather: Weather) {
        self.world.weather.set(weather);
    }

    /// What is alive now.
    pub fn census(&self) -> Census {
        self.world.census()
    }

    /// Runs until `root` is complete.
    pub fn run<T>(&self, root: impl Future<Output = T>) -> T {
        self.run_until(u64::MAX, root).unwrap()
    }

    /// Runs until `root` is complete, or the power fails before poll number `step`: `None`.
    pub fn run_until<T>(&self, step: u64, root: impl Future<Output = T>) -> Option<T> {
        let executor = &self.world.executor;
        let mut root = pin!(root);
        let waker = executor.waker(ROOT);
        waker.wake_by_ref();
        let context = Waker::from(Arc::clone(&waker));
        let begun = (executor.steps(), executor.now());
        loop {
            if executor.steps() >= step {
                self.world.power.set(false);
                return None;
            }
            let Some(id) = executor.next(&self.world) else {
                self.stuck("nothing can run any more")
            };
            executor.step(&self.world, id);
            if executor.steps() - begun.0 > STEPS_MAX || executor.now() - begun.1 > RUN_NANOS_MAX {
                self.stuck("runs for ever");
            }
            if id != ROOT {
                executor.poll_task(id);
                continue;
            }
            waker.queued.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = root.as_mut().poll(&mut Context::from_waker(&context)) {
                return Some(output);
            }
        }
    }

    /// Lets `duration` of virtual time pass.
    pub fn pass(&self, duration: Duration) {
        self.run(super::sleep_until(super::now().after(duration)));
    }

    fn stuck(&self, why: &str) -> ! {
        let executor = &self.world.executor;
        panic!(
            "seed {}: {why} at {:?} after {} steps; alive: {:?}; panics: {:?}; {:?}",
            self.seed,
            Duration::from_nanos(executor.now()),
            executor.steps(),
            executor.names_alive(),
            executor.panics(),
            self.census(),
        )
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.world.power.set(false);
        self.world.executor.clear();
        drop(enter(self.outer.take()));
    }
}
