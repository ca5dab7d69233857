//! Descriptors of dropped operations. A process of its own: it counts what the process has open.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sluicegate::shard::{self, Listeners, Passive, Plan, Shards};

type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `work` on one shard and returns what it returns.
fn on_shard<T, F>(work: impl Fn() -> F + Send + Sync + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let main = move |_| -> Life {
        let sender = sender.lock().unwrap().clone();
        let work = work();
        Box::pin(async move {
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
    receiver.recv_timeout(Duration::from_secs(30)).expect("the shard answers")
}

fn cpus() -> Vec<usize> {
    shard::preflight::processors()
}

#[test]
fn dropped_operations_give_everything_back() {
    let (before, after) = on_shard(|| async {
        let passive = Passive::bind("127.0.0.1".parse().unwrap(), &(40_000..=49_999)).unwrap();
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..300 {
            let client = shard::connect("127.0.0.1:0".parse().unwrap(), passive.local());
            let server = passive.accept(None);
            let (client, server) = both(client, server).await;
            let (client, server) = (client.unwrap(), server.unwrap());
            let soon = shard::now().after(Duration::from_millis(1));
            // Nothing arrives: the receives are cancelled in flight, with their buffers.
            assert!(
                shard::within(soon, client.receive_into(shard::block().await, 0)).await.is_none()
            );
            assert!(shard::within(soon, server.receive()).await.is_none());
        }
        let deadline = shard::now().after(Duration::from_secs(5));
        let mut after = usize::MAX;
        while after > before && shard::now() < deadline {
            shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
            after = std::fs::read_dir("/proc/self/fd").unwrap().count();
        }
        (before, after)
    });
    assert!(after <= before, "descriptors: {before} before, {after} after");
}

async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
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
