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

use super::ingress::Ingress;
use crate::shard;

mod body;
mod letter;
mod login;
mod reach;
mod talk;
mod visit;

pub use login::look as look_at_password;

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

/// Opens connections for whatever is due, until the deliveries close.
pub(super) async fn run(ingress: Rc<Ingress>) {
    let deliveries = &ingress.deliveries;
    while !deliveries.is_closed() {
        while let Some(errand) = deliveries.next_errand().await {
            shard::spawn("relay connection", visit::carry(Rc::clone(&ingress), errand));
        }
        deliveries.errands_due().await;
    }
}
