//! cli::say – the only places where the program writes to its own output.
//!
//! Promises: a reader that goes away (`sluicegate … | head`) is no error. Not here: logs.

use std::io::{self, ErrorKind, Write};

use crate::server::Failure;

/// Writes `text` to standard output.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    out_while_read(text).map(drop)
}

/// The same; false when nobody reads any more.
pub(super) fn out_while_read(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::Running(format!("standard output: {error} (free the disk it goes to?)")))
        }
    }
}

/// Writes a value as JSON that people can read, too.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Running(format!("JSON: {error}")))?;
    out(&format!("{text}\n"))
}

/// Writes each line of `text` to standard error, with the program's name before it.
pub(super) fn error(text: &str) {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str("sluicegate: ");
        lines.push_str(line);
        lines.push('\n');
    }
    if io::stderr().lock().write_all(lines.as_bytes()).is_err() {
        // Nobody listens; the exit status still tells.
    }
}
