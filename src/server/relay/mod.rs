//! server::relay – mail on its way to other servers, one shard's.
//!
//! ```text
//!  deliver/onward (schedule) ─ next_errand ─▶ run ─ a task for each connection ─▶ visit
//!      ▲                                                reach: addresses, connect, TLS
//!      └── outcomes: noted, tried again, reported ◀──── talk: the dialogue; body: from the spool
//! ```
//! Promises: a destination that does not answer holds its own tasks and nothing else; every message that
//! was taken from the schedule goes back with what became of it, also when a task panics; a message is
//! delivered at least once, and twice only where the reply to its end was lost (RFC 5321 §6.1) or the
//! power failed before the reply was noted.
//! Not here: which message is next (`mail::schedule`), what becomes of targets (`deliver`).

use std::rc::Rc;
use std::sync::Arc;

use super::deliver::Deliveries;
use super::resolver::Resolver;
use super::shared::Shared;
use crate::shard;

mod body;
mod letter;
mod login;
mod reach;
mod talk;
#[cfg(test)]
mod tests;
mod visit;

/// Why nothing can be sent to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// Enhanced status, who, and what.
    reason: String,
    /// It will not be otherwise later.
    forever: bool,
}

impl Refusal {
    fn later(reason: String) -> Self {
        Self { reason, forever: false }
    }

    fn never(reason: String) -> Self {
        Self { reason, forever: true }
    }
}

/// What the connections of one shard share.
pub(super) struct Relay {
    pub(super) deliveries: Deliveries,
    pub(super) resolver: Rc<Resolver>,
    pub(super) shared: Arc<Shared>,
}

/// Opens connections for whatever is due, until the deliveries close.
pub(super) async fn run(relay: Rc<Relay>) {
    while relay.deliveries.errands_due().await {
        while let Some(errand) = relay.deliveries.next_errand() {
            shard::spawn("relay", visit::carry(Rc::clone(&relay), errand));
        }
    }
}
