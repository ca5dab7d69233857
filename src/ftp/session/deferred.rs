//! ftp::session::deferred – lines that wait for the end of a transfer.
//!
//! Promises: answered in the order they came; bounded by `limits::FTP_DEFERRED_BYTES_MAX` and one
//! line; no memory when nothing waits.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::ftp::command::Request;
use crate::ftp::verb::Verb;
use crate::limits::FTP_DEFERRED_BYTES_MAX;
use crate::wire::line::Line;

/// Lines that wait.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    lines: VecDeque<Line<'static>>,
    bytes: usize,
}

impl Deferred {
    pub(super) fn push(&mut self, line: Line<'_>) {
        self.bytes += cost(&line);
        self.lines.push_back(match line {
            Line::Whole(line) => Line::Whole(Cow::Owned(line.into_owned())),
            Line::TooLong => Line::TooLong,
        });
    }

    pub(super) fn pop(&mut self) -> Option<Line<'static>> {
        let line = self.lines.pop_front()?;
        self.bytes -= cost(&line);
        if self.lines.is_empty() {
            self.lines = VecDeque::new();
        }
        Some(line)
    }

    /// Takes out the first ABOR among the lines; false when there is none.
    pub(super) fn take_abort(&mut self) -> bool {
        let abort = |line: &Line<'_>| match line {
            Line::Whole(line) => {
                Request::read(line).is_some_and(|request| request.verb == Verb::Abor)
            }
            Line::TooLong => false,
        };
        let found = self.lines.iter().position(abort).and_then(|at| self.lines.remove(at));
        if let Some(line) = &found {
            self.bytes -= cost(line);
        }
        found.is_some()
    }

    pub(super) fn first(&self) -> Option<&Line<'static>> {
        self.lines.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FTP_DEFERRED_BYTES_MAX
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }
}

/// What a line costs in memory: an empty one is not free.
fn cost(line: &Line<'_>) -> usize {
    size_of::<Line<'_>>()
        + match line {
            Line::Whole(line) => line.len(),
            Line::TooLong => 0,
        }
}
