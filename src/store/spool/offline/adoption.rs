//! store::spool::offline::adoption – what an interrupted adoption left, judged as the next start will.
//!
//! The states are those of `STATES.md`: while `ADOPTING` names a log and neither its `.adopted-J` nor its
//! `.damaged-J` is there, the copies do not count; afterwards they do, and large files may still lie in
//! the log that was adopted.
//!
//! Promises: a message counts in one log, whenever the power failed.
//! Not here: adopting (`adopt`), reading segments.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Fault, Grade, Log, fault};
use crate::store::spool::adopt::{self, Left};
use crate::store::spool::format::SegmentHeader;

/// What says in a log that it adopts another.
pub(super) const INTENT: &str = "ADOPTING";

/// Logs that were adopted, as far as they are still there.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Vec<(Left, PathBuf)>);

impl Neighbours {
    pub(super) fn add(&mut self, left: Left, path: PathBuf) {
        self.0.push((left, path));
    }

    /// Where large files of messages of this shard may lie that were not moved yet.
    pub(super) fn large_for(&self, shard: u32) -> Vec<PathBuf> {
        let own = self.0.iter().filter(|(left, _)| left.by == shard);
        own.map(|(_, path)| path.join("large")).collect()
    }

    /// Did the adoption of that log happen?
    fn happened(&self, of: u32, by: u32) -> bool {
        self.0.iter().any(|(left, _)| (left.of, left.by) == (of, by))
    }

    /// One line for each, whatever is in it: its messages are judged where they are now.
    pub(super) fn judge(&self, logs: &[(u32, PathBuf)]) -> Vec<Fault> {
        let judge = |(left, path): &(Left, PathBuf)| {
            let by = left.by;
            if left.damaged {
                let why = format!(
                    "was damaged; what could be read of it is in shard-{by} now, and an accepted \
                     message may be missing: it is kept until you move it away"
                );
                return fault(Grade::Damage, path, None, why);
            }
            let then = if logs.iter().any(|(shard, _)| *shard == by) {
                "removed at the next start"
            } else {
                "it may be moved away"
            };
            fault(Grade::Trace, path, None, format!("its messages are in shard-{by} now: {then}"))
        };
        self.0.iter().map(judge).collect()
    }
}

impl Log {
    /// Reads `ADOPTING`.
    pub(super) fn look_for_adoption(&mut self, neighbours: &Neighbours) {
        let path = self.directory.join(INTENT);
        let says = match fs::read(&path) {
            Ok(says) => says,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.faults.push(fault(Grade::Unreadable, &path, None, error)),
        };
        let Some((of, from)) = adopt::intent(&says) else {
            let why = "does not say which log is being adopted: no server starts with it";
            // Nobody knows which segments count.
            return self.faults.push(fault(Grade::Unreadable, &path, None, why));
        };
        let why = if neighbours.happened(of, self.shard) {
            format!("shard-{of} was adopted when the server stopped: ended at the next start")
        } else {
            self.copies_from = Some(from);
            format!(
                "shard-{of} was being adopted when the server stopped: undone at the next start"
            )
        };
        self.faults.push(fault(Grade::Trace, &path, None, why));
    }

    /// Does this segment hold copies of what still counts in another log? Then it is left out.
    pub(super) fn is_copy(&mut self, path: &Path, header: &SegmentHeader) -> bool {
        let copy = self.copies_from.is_some_and(|from| header.generation >= from);
        if copy {
            self.copies.push(path.to_owned());
        }
        copy
    }

    /// Removes the copies, as the next start would.
    pub(super) fn undo_adoption(&self) -> io::Result<()> {
        if self.copies_from.is_none() {
            return Ok(());
        }
        let gone = |path: &Path| match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        let directory = File::open(&self.directory)?;
        for copy in &self.copies {
            gone(copy)?;
        }
        directory.sync_all()?;
        gone(&self.directory.join(INTENT))?;
        directory.sync_all()
    }
}
