//! server::deliver::steer – what an operator sees of the queue, and does to it.
//!
//! Promises: a change holds from now on, whatever is under way; it is durable after `flush`.

use super::{Deliveries, add, next_attempt};
use crate::mail::stored::{Message, Note, TargetState};
use crate::shard;
use crate::store::spool::{QueueId, Trouble};

impl Deliveries {
    /// Each message behind `after` in the order of names, with its octets, until `visit` says no.
    pub(super) fn visit(
        &self,
        after: Option<QueueId>,
        visit: &mut dyn FnMut(QueueId, u64, &Message) -> bool,
    ) {
        self.0.queue.borrow().visit(after, visit);
    }

    /// Applies these notes, and settles the message when nothing is left to do.
    pub(super) fn note(&self, id: QueueId, notes: Vec<Note>) {
        let now = shard::wall().0;
        let mut queue = self.0.queue.borrow_mut();
        let removed =
            notes.iter().filter(|note| matches!(note, Note::Target(_, TargetState::Removed)));
        add(&self.0.counts.removed, u64::try_from(removed.count()).unwrap_or(0));
        let encoded: Vec<Vec<u8>> = notes.iter().map(Note::encode).collect();
        let changed = queue.change(id, |message| {
            notes.into_iter().for_each(|note| message.apply(note));
            (next_attempt(message, now), message.settled())
        });
        let Some((next, settled)) = changed else { return };
        let done = settled && !queue.is_running(id);
        let unreported = done
            && queue
                .change(id, |message| crate::mail::dsn::due(message).is_empty())
                .is_some_and(|none| !none);
        if done && !unreported {
            queue.remove(id);
            self.0.spool.settle(id);
            return;
        }
        for note in encoded {
            self.0.spool.note(id, note);
        }
        queue.restand(id, next, now);
        drop(queue);
        self.wake_timer();
        self.pump();
    }

    /// Returns when everything changed before is durable.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        self.0.spool.flush().await
    }
}
