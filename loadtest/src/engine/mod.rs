//! engine – drives many client sessions over io_uring, one thread and one ring per core.
//!
//! Reading order: `session` (what a protocol is: events in, actions out), `plan` (when operations
//! start), `recorder` (what was measured); then `worker` (the loop of one thread), `desk` and
//! `places` (its operations and sessions), `wires`, `wire` and `ring` (its connections), `tls`.
//!
//! Promises: an operation's latency counts from its scheduled start; the generator's own lateness
//! is measured; nothing outlives the plan's deadlines; every failure is counted by kind.
//! Not here: any protocol (`ftp`, `smtp`), any output (`report`).

mod desk;
mod places;
pub mod plan;
pub mod recorder;
mod ring;
pub mod session;
pub mod tls;
mod wire;
mod wires;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use desk::Shared;
use plan::Plan;
use recorder::{Recording, Second};
use session::Protocol;
use worker::Worker;

use crate::sys;

/// One second of one thread, as soon as it is over; for the live view.
#[derive(Debug)]
pub struct Tick {
    /// Which second of the run.
    pub second: usize,
    /// This thread's part of it.
    pub figures: Second,
}

/// Where ticks go, if anywhere.
type Ticks = Option<Sender<Tick>>;

/// Carries out `plan` and returns what all threads measured.
///
/// Returns after the plan's duration and drain at the latest (and, with idle sessions, their log-in
/// before), on SIGINT sooner; `Recording::partial` says if it was sooner. An error is one of this
/// machine: no ring, no thread.
pub fn run<P: Protocol>(protocol: &Arc<P>, plan: &Plan, ticks: Ticks) -> Result<Recording, String> {
    let shared = Arc::new(Shared::new(plan, plan::schedule(plan)));
    let mut threads = Vec::new();
    for number in 0..plan.threads {
        let (protocol, plan, shared) = (Arc::clone(protocol), plan.clone(), Arc::clone(&shared));
        let ticks = ticks.clone();
        let work = move || {
            if let Some(&cpu) = plan.pins.get(number % plan.pins.len().max(1)) {
                sys::pin_to(cpu).map_err(|error| format!("--pin {cpu}: {error}"))?;
            }
            let own = Arc::clone(&shared);
            let outcome =
                Worker::new(protocol, &plan, shared, number, ticks).and_then(Worker::work);
            if let Err(why) = &outcome {
                own.stop(why);
            }
            outcome
        };
        let thread = thread::Builder::new().name(format!("engine-{number}")).spawn(work);
        threads.push(thread.map_err(|error| format!("no thread: {error}")));
    }
    drop(ticks);
    let mut whole = Recording::new(protocol.phases(), protocol.kinds());
    let mut failure = None;
    for thread in threads {
        let outcome = thread.and_then(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread of the generator panicked".to_owned()))
        });
        match outcome {
            Ok(recording) => whole.merge(&recording),
            Err(why) => failure = Some(why),
        }
    }
    failure.map_or(Ok(whole), Err)
}

#[cfg(test)]
mod tests;
