//! server::quota – so many lines of the log per second about what strangers can provoke.

use std::cell::Cell;

use crate::shard;

/// Lines per second and shard.
const LINES_MAX: u32 = 10;

/// Lines said in this second.
#[derive(Debug, Default)]
pub(super) struct Quota {
    second: Cell<i64>,
    said: Cell<u32>,
    unsaid: Cell<u64>,
}

impl Quota {
    /// May a line be said now? With how many were not said since the last one.
    pub(super) fn take(&self) -> Option<u64> {
        let (now, _) = shard::wall();
        if self.second.replace(now) != now {
            self.said.set(0);
        }
        if self.said.get() >= LINES_MAX {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.said.set(self.said.get() + 1);
        Some(self.unsaid.replace(0))
    }
}
