//! server::deliver::steer – what an operator sees of the queue, and does to it.
//!
//! Promises: a change holds from now on, whatever is under way; it is durable after `flush`.

use super::{Deliveries, add, has_remote, is_over, next_attempt};
use crate::mail::schedule::Figure;
use crate::mail::stored::{Message, Note, Target, TargetState};
use crate::server::queue::destinations::Place;
use crate::server::queue::{Ledger, Line};
use crate::shard;
use crate::store::spool::{QueueId, Trouble};

impl Ledger for Deliveries {
    fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool) {
        self.0.queue.borrow().visit(after, visit);
    }

    fn note(&mut self, id: QueueId, notes: Vec<Note>) {
        let now = shard::wall().0;
        let mut queue = self.0.queue.borrow_mut();
        let removed =
            notes.iter().filter(|note| matches!(note, Note::Target(_, TargetState::Removed)));
        add(&self.0.counts.removed, u64::try_from(removed.count()).unwrap_or(0));
        self.changed_remotely(id, &notes);
        let released = notes.contains(&Note::Held(false));
        let encoded: Vec<Vec<u8>> = notes.iter().map(Note::encode).collect();
        let changed = queue.change(id, |message| {
            notes.into_iter().for_each(|note| message.apply(note));
            let again = (released && has_remote(message)).then(|| message.clone());
            (next_attempt(message, now), is_over(message), again)
        });
        let Some((next, over, again)) = changed else { return };
        // A round under way settles it itself when it sees that nothing is left.
        if over && !queue.is_running(id) {
            queue.remove(id);
            self.0.spool.settle(id);
            return;
        }
        for note in encoded {
            self.0.spool.note(id, note);
        }
        queue.restand(id, next, now);
        drop(queue);
        if let Some(message) = again {
            self.schedule(id, &message, false);
        }
        self.wake_timer();
        self.pump();
    }

    fn want(&mut self, ids: &[QueueId]) {
        self.wanted(ids);
    }

    fn destination(&self, message: &Message, target: &Target) -> Option<String> {
        self.destination_of(message, target)
    }

    fn destinations(&self, _now: i64) -> Vec<Place> {
        self.places(|figure| place(&figure))
    }
}

/// A destination as operators see it.
fn place(figure: &Figure<'_>) -> Place {
    Place {
        name: figure.name.to_owned(),
        ready: figure.ready,
        deferred: figure.deferred,
        running: figure.running,
        connections: figure.connections.into(),
        failures: figure.failures.into(),
        next: figure.next,
        reason: figure.error.map(str::to_owned),
    }
}

impl Deliveries {
    /// Returns when everything changed before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        self.change_schedule();
        self.0.spool.flush().await
    }
}
