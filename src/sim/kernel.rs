//! sim::kernel – how a file operation is carried out: late, perhaps failing, perhaps for nobody.
//!
//! Each operation is a task of the simulated kernel. It waits as the weather will have it, may fail,
//! and goes on (or not) when its future is dropped.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;

use super::fault::Operation;
use super::pipe::Signal;
use super::{World, world};

struct Slot<T> {
    result: RefCell<Option<T>>,
    dropped: Cell<bool>,
    done: Signal,
}

struct Pending<T>(Rc<Slot<T>>);

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.dropped.set(true);
    }
}

/// Hands `work` to the kernel at once; the future waits for its end. When that is dropped the work
/// may or may not be done all the same.
pub(super) fn submit<T: 'static>(
    work: impl Future<Output = T> + 'static,
) -> impl Future<Output = T> {
    let world = world();
    let slot = Rc::new(Slot {
        result: RefCell::new(None),
        dropped: Cell::new(false),
        done: Signal::default(),
    });
    let kernel = {
        let (slot, world) = (Rc::clone(&slot), Rc::clone(&world));
        async move {
            world.pause().await;
            let slow = world.disk.slow.get();
            if !slow.is_zero() {
                super::sleep_until(super::now().after(slow)).await;
            }
            if slot.dropped.get() && world.rng.percent(50) {
                return;
            }
            let result = work.await;
            slot.result.replace(Some(result));
            slot.done.notify();
        }
    };
    if world.power.get() {
        world.executor.spawn("file operation", true, Box::pin(kernel));
    }
    let pending = Pending(slot);
    async move { pending.0.done.until(|| pending.0.result.take()).await }
}

/// Is it over without any waiting? Opening what the kernel has at hand is, where new tasks run at once.
fn is_cached(world: &World, what: Operation) -> bool {
    world.executor.eager.get()
        && world.power.get()
        && world.disk.slow.get().is_zero()
        && matches!(what, Operation::Open)
        && world.rng.percent(80)
}

/// One operation that is over in a moment.
pub(super) async fn operate<T: 'static>(
    what: Operation,
    work: impl FnOnce(&World) -> io::Result<T> + 'static,
) -> io::Result<T> {
    if is_cached(&world(), what) {
        let world = world();
        world.disk.begin(what)?;
        return work(&world);
    }
    submit(async move {
        let world = world();
        world.disk.begin(what)?;
        work(&world)
    })
    .await
}
