//! server::deliver::steer – what an operator sees of the queue, and does to it.
//!
//! Promises: a change holds from now on, whatever is under way; it is durable after `flush`.

use std::cell::RefCell;
use std::rc::Rc;

use super::queue::Known;
use super::{Deliveries, add, has_remote, is_over, next_attempt};
use crate::mail::schedule::Figure;
use crate::mail::stored::{Message, Note, Target, TargetState};
use crate::server::queue::Places;
use crate::server::queue::destinations::Place;
use crate::shard;
use crate::store::spool::{QueueId, Trouble};

impl Places for Deliveries {
    fn destination(&self, message: &Message, target: &Target) -> Option<String> {
        self.destination_of(message, target)
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
    /// Other servers, and what waits for them.
    pub(super) fn destinations(&self) -> Vec<Place> {
        self.places(|figure| place(&figure))
    }

    /// The operator changes a message, which was just looked at.
    pub(super) fn note(&self, id: QueueId, seen: Rc<RefCell<Message>>, notes: Vec<Note>) {
        let now = shard::wall().0;
        let mut queue = self.0.queue.borrow_mut();
        let known = queue.known(id);
        let message = match known {
            Some(Known::Awake(message)) => message,
            Some(Known::Asleep) => {
                let read = Rc::try_unwrap(seen)
                    .map_or_else(|one| one.borrow().clone(), RefCell::into_inner);
                let Some(message) = queue.awaken(id, read) else { return };
                message
            }
            Some(Known::Unknown(_)) | None => return,
        };
        let removed =
            notes.iter().filter(|note| matches!(note, Note::Target(_, TargetState::Removed)));
        let removed = removed.count();
        add(&self.0.counts.removed, u64::try_from(removed).unwrap_or(0));
        let released = notes.contains(&Note::Held(false));
        let encoded: Vec<Vec<u8>> = notes.iter().map(Note::encode).collect();
        notes.into_iter().for_each(|note| message.borrow_mut().apply(note));
        if removed > 0 {
            self.removed_remotely(id, &message.borrow());
        }
        // A round under way settles it itself when it sees that nothing is left.
        if is_over(&message.borrow()) && !queue.is_running(id) {
            queue.remove(id);
            self.0.spool.settle(id);
            return;
        }
        for note in encoded {
            self.0.spool.note(id, note);
        }
        let next = next_attempt(&message.borrow(), now);
        queue.restand(id, next, now);
        drop(queue);
        if released && has_remote(&message.borrow()) {
            self.schedule(id, &message.borrow(), false);
        }
        self.0.queue.borrow_mut().put_back(id, &message);
        self.wake_timer();
        self.pump();
    }

    /// Returns when everything noted before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn written(&self) -> Result<(), Trouble> {
        self.0.spool.flush().await
    }

    /// Returns when everything changed before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        self.change_schedule();
        self.written().await
    }
}
