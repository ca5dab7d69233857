//! lines – a thread that writes lines, fed through a bounded queue that never makes anybody wait.
//!
//! ```text
//!  shard ──submit──▶ [ at most 8192 lines ] ──▶ thread ──▶ standard error or a file
//!                └── full: dropped and counted
//! ```
//! Promises: `submit` never blocks and never fails; a line is written whole or dropped whole.
//! Not here: what a line looks like (`log`, `xferlog`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::limits::LOG_LINES_QUEUED_MAX;

/// How long a caller waits for the thread to flush or reopen: it may be stuck in a full pipe.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Octets gathered before they are written although more lines wait.
const BATCH_BYTES: usize = 64 * 1024;

/// The near end of one log; clones feed the same thread.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<io::Result<()>>),
    Reopen(SyncSender<io::Result<()>>),
}

/// Where lines go.
#[derive(Debug)]
enum Target {
    Stderr,
    File { path: PathBuf, file: File },
}

impl Lines {
    /// Lines to standard error.
    pub fn to_stderr(name: &str) -> io::Result<Self> {
        Self::start(name, Target::Stderr)
    }

    /// Lines appended to a file, which is made when missing (mode 0640).
    pub fn to_file(name: &str, path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Self::start(name, Target::File { path, file })
    }

    fn start(name: &str, target: Target) -> io::Result<Self> {
        let (queue, messages) = sync_channel(LOG_LINES_QUEUED_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        thread::Builder::new().name(name.to_owned()).spawn(move || write_all(target, &messages, &counter))?;
        Ok(Self { queue, dropped })
    }

    /// Hands over one line, its newline included.
    pub fn submit(&self, line: Vec<u8>) {
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Lines dropped so far, as a counter that metrics may keep.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Waits (at most two seconds) until everything submitted before is written.
    pub fn flush(&self) -> io::Result<()> {
        self.ask(Message::Flush)
    }

    /// Opens the file of this name anew, for log rotation. On failure the old one stays.
    pub fn reopen(&self) -> io::Result<()> {
        self.ask(Message::Reopen)
    }

    fn ask(&self, message: impl FnOnce(SyncSender<io::Result<()>>) -> Message) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        let full = |_| io::Error::new(io::ErrorKind::WouldBlock, "the log's queue is full");
        self.queue.try_send(message(answer)).map_err(full)?;
        answered.recv_timeout(ANSWER_WAIT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The thread: gathers what waits, writes it at once. Ends when the last `Lines` is gone.
fn write_all(mut target: Target, messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut batch = Vec::new();
    let mut gathered = 0;
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.extend_from_slice(&line);
                    gathered += 1;
                }
                Message::Flush(answer) => {
                    let outcome = write_batch(&mut target, &mut batch, &mut gathered, dropped);
                    reply(&answer, outcome);
                }
                Message::Reopen(answer) => {
                    let written = write_batch(&mut target, &mut batch, &mut gathered, dropped);
                    reply(&answer, written.and_then(|()| reopen(&mut target)));
                }
            }
            next = if batch.len() < BATCH_BYTES { messages.try_recv().ok() } else { None };
        }
        if write_batch(&mut target, &mut batch, &mut gathered, dropped).is_err() {
            // Counted; a log that cannot be written has nowhere to say so.
        }
    }
}

fn write_batch(target: &mut Target, batch: &mut Vec<u8>, gathered: &mut u64, dropped: &AtomicU64) -> io::Result<()> {
    let outcome = match target {
        Target::Stderr => io::stderr().lock().write_all(batch),
        Target::File { file, .. } => file.write_all(batch),
    };
    if outcome.is_err() {
        dropped.fetch_add(*gathered, Ordering::Relaxed);
    }
    batch.clear();
    *gathered = 0;
    outcome
}

fn reopen(target: &mut Target) -> io::Result<()> {
    match target {
        Target::Stderr => Ok(()),
        Target::File { path, file } => append(path).map(|new| *file = new),
    }
}

fn reply(answer: &SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    if answer.send(outcome).is_err() {
        // Who asked has stopped waiting.
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_arrive_in_order_and_survive_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let lines = Lines::to_file("test", path.clone()).unwrap();
        for number in 0..100 {
            lines.submit(format!("{number}\n").into_bytes());
        }
        lines.flush().unwrap();
        fs::rename(&path, &old).unwrap();
        lines.submit(b"late\n".to_vec());
        lines.reopen().unwrap();
        lines.submit(b"new\n".to_vec());
        lines.flush().unwrap();
        let expected: String = (0..100).map(|number| format!("{number}\n")).chain(["late\n".to_owned()]).collect();
        assert_eq!(fs::read_to_string(&old).unwrap(), expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, messages) = sync_channel(2);
        let lines = Lines { queue, dropped: Arc::new(AtomicU64::new(0)) };
        for _ in 0..5 {
            lines.submit(b"x\n".to_vec());
        }
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 3);
        drop(messages);
        lines.submit(b"x\n".to_vec());
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 4);
        assert!(lines.flush().is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_counts() {
        let lines = Lines::to_file("test", "/dev/full".into()).unwrap();
        lines.submit(b"x\n".to_vec());
        let _ = lines.flush();
        while lines.dropped().load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
    }
}
