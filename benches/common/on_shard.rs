//! A shard of its own that does what a bench sends it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::time::Duration;

use sluicegate::shard::{self, Listeners, Main, Plan, Ready, Shards};

type Life = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> Life + Send>;

/// How long a job may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A shard on the first processor, and the way to give it work. It ends with the process.
pub(crate) struct Lab {
    jobs: Arc<Mutex<Vec<Job>>>,
    shards: Shards,
}

impl Lab {
    pub(crate) fn start() -> Self {
        let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
        let waiting = Arc::clone(&jobs);
        let main = move |_, ready: Ready| -> Life {
            let waiting = Arc::clone(&waiting);
            Box::pin(async move {
                ready.done();
                let mut notices = 0;
                loop {
                    notices = shard::noticed(notices).await;
                    let taken = std::mem::take(
                        &mut *waiting.lock().unwrap_or_else(PoisonError::into_inner),
                    );
                    for job in taken {
                        job().await;
                    }
                }
            })
        };
        let plan = Plan {
            cpus: vec![shard::preflight::processors()[0]],
            listeners: Listeners::bind(&[], 1).unwrap(),
            preempt: shard::PREEMPT,
        };
        let main: Arc<Main> = Arc::new(main);
        Self { jobs, shards: Shards::start(plan, main).unwrap() }
    }

    /// Wakes the shard.
    pub(crate) fn notify(&self) {
        self.shards.notify();
    }

    /// Has the shard do something; what it gives comes later.
    pub(crate) fn begin<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> mpsc::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move || {
            let work = work();
            Box::pin(async move {
                // Nobody listens any more when the bench gave up.
                drop(sender.send(work.await));
            })
        });
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        self.notify();
        receiver
    }

    /// Has the shard do something; what it gives.
    pub(crate) fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        self.begin(work).recv_timeout(PATIENCE).expect("the shard answers, and does not panic")
    }
}

/// Polls all of them until each has ended; what they gave, in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut given: Vec<_> = waiting.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut left = false;
        for (slot, value) in waiting.iter_mut().zip(&mut given) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(output) => {
                    *value = Some(output);
                    *slot = None;
                }
                Poll::Pending => left = true,
            }
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    given.into_iter().flatten().collect()
}
