//! server::deliver::desk – answers what the admin socket asks about this shard's queue.
//!
//! Messages are read from the spool some at a time, and others work between: a list of a million is many
//! reads of a millisecond. A list that takes long to find anything is given in part.
//!
//! Promises: a change is on stable storage before it is answered; memory is bounded by what is read at a
//! time, and by the names of those to be tried.
//! Not here: what requests mean (`queue`), the socket (`admin`).

use std::sync::Arc;
use std::time::Duration;

use super::Deliveries;
use super::wake::Seen;
use crate::limits::QUEUE_PAGE_ENTRIES_MAX;
use crate::mail::stored::Note;
use crate::server::queue::{Answer, Asked, Line, Names, Request, Sheet};
use crate::server::shared::Shared;
use crate::shard;
use crate::store::spool::{QueueId, Trouble};

/// Messages read at a time.
const AT_ONCE: usize = 256;
/// A list is answered in part after that.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes that may wait to be written.
const CHANGES_MAX: usize = 4096;
/// Fewest entries of a page that each shard gives.
const SHARE_MIN: usize = 32;

/// Answers for as long as the shard lives.
pub(in crate::server) async fn tend(shared: Arc<Shared>, deliveries: Deliveries) {
    let mut seen = 0;
    loop {
        while let Some(ticket) = shared.desks.get(shard::index()).and_then(|desk| desk.take()) {
            let share = (QUEUE_PAGE_ENTRIES_MAX / ticket.shards.max(1)).max(SHARE_MIN);
            let answer = deliveries.answer(&ticket.request, share).await;
            ticket.answer(answer.map_err(|trouble| {
                format!("the change could not be written: {trouble:?} (see the log of the server)")
            }));
        }
        seen = shard::noticed(seen).await;
    }
}

impl Deliveries {
    /// Answers a request, lists with `most` entries at most.
    ///
    /// # Errors
    /// A change could not be written.
    pub(super) async fn answer(
        &self,
        request: &Request,
        most: usize,
    ) -> Result<Answer<Sheet>, Trouble> {
        if *request == Request::Destinations {
            return Ok(Answer::Destinations(self.destinations()));
        }
        let begun = shard::now();
        let mut asked = Asked::new(request, shard::wall().0, most);
        let mut names = asked.names();
        let mut unwritten = 0;
        loop {
            let some = self.some(&mut names);
            let Some(last) = some.last().copied() else { break };
            let mut look = self.look_at(&some).await;
            // Nothing is waited for from here until all of these are changed.
            let mut seen = Vec::new();
            let enough = !look.all(|one| {
                let more = {
                    let message = &one.message.borrow();
                    asked.look(Line { id: one.id, size: one.size, message }, self)
                };
                if asked.changes_it(one.id) {
                    seen.push(one);
                }
                more
            });
            unwritten += self.make(asked.changes(), seen);
            self.wanted(&asked.wanted());
            if unwritten >= CHANGES_MAX {
                self.written().await?;
                unwritten = 0;
            }
            if enough || shard::now().since(begun) >= PATIENCE && asked.pause(last) {
                break;
            }
            shard::yield_now().await;
        }
        if matches!(request, Request::Change { .. }) {
            self.flush().await?;
        }
        Ok(asked.answer())
    }

    /// The next of the messages to be looked at.
    fn some(&self, names: &mut Names) -> Vec<QueueId> {
        match names {
            Names::Behind(after) => {
                let some = self.0.queue.borrow().names(*after, AT_ONCE);
                *after = some.last().copied().or(*after);
                some
            }
            Names::These(ids) => ids.drain(..AT_ONCE.min(ids.len())).collect(),
        }
    }

    /// Makes changes to some of what was just looked at. How many.
    fn make(&self, changes: Vec<(QueueId, Vec<Note>)>, seen: Vec<Seen>) -> usize {
        let count = changes.len();
        let mut changes = changes.into_iter().peekable();
        for Seen { id, message, .. } in seen {
            if let Some((_, notes)) = changes.next_if(|(one, _)| *one == id) {
                self.note(id, message, notes);
            }
        }
        count
    }
}
