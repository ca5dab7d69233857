//! cli::stopped – the waiting mail of a server that does not run: the spool, read and appended to.
//!
//! Promises: holds the lock of the data directory throughout; changes are on stable storage when
//! [`Stopped::write`] returns; a message that lies in two logs, as after a crash while one was adopted,
//! is one message, and changed in both. What messages mean is decoded when it is asked for: there may be millions.
//! Not here: the octets of the spool (`store::spool::offline`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::place;
use crate::config::Config;
use crate::mail::dsn;
use crate::mail::route::Router;
use crate::mail::stored::{Message, Note, Target};
use crate::problem::Problem;
use crate::server::queue::{Ledger, Line, Places, destinations};
use crate::server::{Failure, routes_of};
use crate::store::lock::DataLock;
use crate::store::spool::QueueId;
use crate::store::spool::fold::Held;
use crate::store::spool::offline::{self, Change, Fault, Grade, Log};

/// A spool under the lock of its data directory.
pub(super) struct Stopped {
    _lock: DataLock,
    /// Its logs.
    pub(super) logs: Vec<Log>,
    /// What is wrong outside of the logs, and with what only the mail's format can tell.
    pub(super) faults: Vec<Fault>,
    /// Those that are understood, and the log each is read from.
    names: BTreeMap<QueueId, usize>,
    /// What became of those that were changed; `None`: settled.
    changed: BTreeMap<QueueId, Option<Message>>,
    changes: Vec<Vec<Change>>,
    /// What a server would name destinations by.
    routes: Option<Router>,
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
        let (names, changed) = (BTreeMap::new(), BTreeMap::new());
        let routes = routes_of(config);
        let mut stopped = Self { _lock: lock, logs, faults, names, changed, changes, routes };
        stopped.understand();
        Ok(stopped)
    }

    /// What the octets mean; what means nothing is a fault.
    fn understand(&mut self) {
        for (number, log) in self.logs.iter().enumerate() {
            for (id, held) in &log.messages {
                match decode(held) {
                    Ok(_) => drop(self.names.insert(*id, number)),
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
    pub(super) fn find(&self, id: QueueId) -> Option<(&Log, &Held, Message)> {
        let log = self.logs.get(*self.names.get(&id)?)?;
        let held = log.messages.get(&id)?;
        let message = match self.changed.get(&id) {
            Some(changed) => changed.clone()?,
            None => decode(held).ok()?,
        };
        Some((log, held, message))
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

impl Places for Stopped {
    fn destination(&self, message: &Message, target: &Target) -> Option<String> {
        match &self.routes {
            Some(router) => destinations::by_routes(router, message, target),
            None => destinations::as_stored(target),
        }
    }
}

impl Ledger for Stopped {
    fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool) {
        let from = match after {
            Some(QueueId(u64::MAX)) => return,
            Some(QueueId(id)) => QueueId(id + 1),
            None => QueueId(0),
        };
        for id in self.names.range(from..).map(|(id, _)| *id) {
            let Some((_, held, message)) = self.find(id) else { continue };
            if !visit(Line { id, size: held.size, message: &message }) {
                return;
            }
        }
    }

    fn note(&mut self, id: QueueId, notes: Vec<Note>) {
        let Some((_, _, mut message)) = self.find(id) else { return };
        let mut changes: Vec<Change> =
            notes.iter().map(|note| Change::Note(id, note.encode())).collect();
        for note in notes {
            message.apply(note);
        }
        // A report that somebody is owed is made at the next start.
        let over = message.settled() && dsn::due(&message).is_empty();
        if over {
            changes = vec![Change::Settled(id)];
        }
        self.changed.insert(id, (!over).then_some(message));
        for (log, list) in self.logs.iter().zip(&mut self.changes) {
            if log.messages.contains_key(&id) {
                list.extend(changes.iter().cloned());
            }
        }
    }
}
