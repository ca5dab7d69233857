//! cli::stopped – the waiting mail of a server that does not run: the spool, read and appended to.
//!
//! Promises: holds the lock of the data directory throughout; changes are on stable storage when
//! [`Stopped::write`] returns; a message that lies in two logs, as after a crash while one was adopted,
//! is one message, and changed in both.
//! Not here: the octets of the spool (`store::spool::offline`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::place;
use crate::config::Config;
use crate::mail::dsn;
use crate::mail::stored::{Message, Note};
use crate::problem::Problem;
use crate::server::Failure;
use crate::server::queue::{Ledger, Line, Places};
use crate::store::lock::DataLock;
use crate::store::spool::QueueId;
use crate::store::spool::fold::Held;
use crate::store::spool::offline::{self, Change, Fault, Grade, Log};

/// One message that waits.
struct Waiting {
    size: u64,
    message: Message,
}

/// A spool under the lock of its data directory.
pub(super) struct Stopped {
    _lock: DataLock,
    /// Its logs.
    pub(super) logs: Vec<Log>,
    /// What is wrong outside of the logs, and with what only the mail's format can tell.
    pub(super) faults: Vec<Fault>,
    messages: BTreeMap<QueueId, Waiting>,
    changes: Vec<Vec<Change>>,
}

impl Stopped {
    /// Reads everything. `remedy` tells what to do when a server runs.
    pub(super) fn open(config: &Config, remedy: &str) -> Result<Self, Failure> {
        let spool = &place::smtp(config)?.spool;
        let lock = place::lock(config, remedy)?;
        let (logs, faults) = match offline::read(spool) {
            Ok(found) => found,
            // A server that never took mail has no spool.
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), Vec::new()),
            Err(error) => return Err(cannot(spool, &error)),
        };
        let changes = logs.iter().map(|_| Vec::new()).collect();
        let mut stopped = Self { _lock: lock, logs, faults, messages: BTreeMap::new(), changes };
        stopped.understand();
        Ok(stopped)
    }

    /// What the octets mean; what means nothing is a fault.
    fn understand(&mut self) {
        for log in &self.logs {
            for (id, held) in &log.messages {
                match decode(held) {
                    Ok(message) => {
                        let size = held.size;
                        self.messages.insert(*id, Waiting { size, message });
                    }
                    Err(why) => {
                        let (file, offset) = log.place(held).unwrap_or((&log.directory, 0));
                        let why = format!("message {id}: {why}");
                        let (file, offset) = (file.to_owned(), Some(offset));
                        self.faults.push(Fault { grade: Grade::Damage, file, offset, why });
                    }
                }
            }
        }
    }

    /// The message of this name, the log it lies in, and where.
    pub(super) fn find(&self, id: QueueId) -> Option<(&Log, &Held, &Message)> {
        let message = &self.messages.get(&id)?.message;
        self.logs.iter().find_map(|log| Some((log, log.messages.get(&id)?, message)))
    }

    /// Faults of the spool and of all logs.
    pub(super) fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().chain(self.logs.iter().flat_map(|log| &log.faults))
    }

    /// Makes the changes durable.
    pub(super) fn write(self) -> Result<(), Failure> {
        for (log, changes) in self.logs.iter().zip(&self.changes) {
            log.append(changes).map_err(|error| cannot(&log.directory, &error))?;
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    let remedy = "see `sluicegate spool verify`; run it as the user of the server";
    Failure::Running(Problem::path(path, error, remedy).to_string())
}

fn decode(held: &Held) -> Result<Message, String> {
    let mut message = Message::decode(&held.meta).map_err(|why| format!("its envelope {why}"))?;
    for note in &held.notes {
        message.apply(Note::decode(note).map_err(|why| format!("a note about it {why}"))?);
    }
    Ok(message)
}

impl Places for Stopped {}

impl Ledger for Stopped {
    fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool) {
        let from = match after {
            Some(QueueId(u64::MAX)) => return,
            Some(QueueId(id)) => QueueId(id + 1),
            None => QueueId(0),
        };
        for (id, waiting) in self.messages.range(from..) {
            if !visit(Line { id: *id, size: waiting.size, message: &waiting.message }) {
                return;
            }
        }
    }

    fn note(&mut self, id: QueueId, notes: Vec<Note>) {
        let Some(waiting) = self.messages.get_mut(&id) else { return };
        let mut changes: Vec<Change> =
            notes.iter().map(|note| Change::Note(id, note.encode())).collect();
        for note in notes {
            waiting.message.apply(note);
        }
        // A report that somebody is owed is made at the next start.
        if waiting.message.settled() && dsn::due(&waiting.message).is_empty() {
            changes = vec![Change::Settled(id)];
            self.messages.remove(&id);
        }
        for (log, list) in self.logs.iter().zip(&mut self.changes) {
            if log.messages.contains_key(&id) {
                list.extend(changes.iter().cloned());
            }
        }
    }
}
