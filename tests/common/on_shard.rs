//! A test on a real shard, in a process of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sluicegate::shard::{self, Listeners, Plan, Ready, Shards};

/// Runs a test in a process of its own, one at a time: a shard lives as long as its process, and all
/// shards of a user share what may be locked in memory. True in that process.
pub(crate) fn alone(test: &str) -> bool {
    const CHILD: &str = "SLUICEGATE_SHARD_TEST";
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        return true;
    }
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, test)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// How long anything may take that should take no time at all, on a slow machine with other things to do.
#[allow(dead_code, reason = "not every test binary waits itself")]
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a shard runs.
pub(crate) type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `work` on one shard and returns what it returns.
pub(crate) fn on_shard<T, F>(work: impl Fn() -> F + Send + Sync + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let main = move |_, ready: Ready| -> Life {
        let sender = sender.lock().unwrap().clone();
        let work = work();
        Box::pin(async move {
            ready.done();
            let value = work.await;
            // Nobody listens any more when the test gave up.
            drop(sender.send(value));
        })
    };
    let plan = Plan {
        cpus: vec![cpus()[0]],
        listeners: Listeners::bind(&[], 1).unwrap(),
        preempt: shard::PREEMPT,
    };
    let _shards = Shards::start(plan, Arc::new(main)).unwrap();
    receiver.recv_timeout(PATIENCE).expect("the shard answers")
}

/// Processors that may be used.
pub(crate) fn cpus() -> Vec<usize> {
    shard::preflight::processors()
}

/// Waits for two things at once.
#[allow(dead_code, reason = "not every test binary has two")]
pub(crate) async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let mut first = Box::pin(first);
    let mut second = Box::pin(second);
    let (mut one, mut two) = (None, None);
    std::future::poll_fn(|context| {
        if one.is_none()
            && let std::task::Poll::Ready(value) = first.as_mut().poll(context)
        {
            one = Some(value);
        }
        if two.is_none()
            && let std::task::Poll::Ready(value) = second.as_mut().poll(context)
        {
            two = Some(value);
        }
        if one.is_some() && two.is_some() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    (one.unwrap(), two.unwrap())
}
