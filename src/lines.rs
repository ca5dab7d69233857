//! lines – a thread that writes lines, fed through a bounded queue that never makes anybody wait.
//!
//! ```text
//!  before begin: the thread that opened the log writes lines itself
//!  after:        shard ──submit──▶ [ at most 8192 lines ] ──▶ thread ──▶ standard error or a file
//!                             └── full: dropped and counted
//! ```
//! A log is opened while files can still be opened, and begun when the process has become the user
//! it stays: privileges are dropped before there is a second thread. Whoever forgets to begin is
//! helped by the first line of another thread.
//!
//! Promises: after `begin`, `submit` never blocks; it never fails; a line is written whole or
//! dropped whole. Not here: what a line looks like (`log`, `xferlog`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::limits::LOG_LINES_QUEUED_MAX;
use crate::owner::Owner;

/// How long a caller waits for the thread to flush or reopen: it may be stuck in a full pipe.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Rest of the thread after each write: lines that come meanwhile wake nobody. Waking a thread for each
/// line costs a busy shard more than making the line.
const REST: Duration = Duration::from_millis(5);
/// Octets gathered before they are written although more lines wait.
const BATCH_BYTES: usize = 64 * 1024;

/// The near end of one log; clones feed the same thread.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Log>);

#[derive(Debug)]
struct Log {
    name: String,
    /// The thread that opened the log; it alone writes before there is another.
    home: ThreadId,
    /// Where lines go, until the writing thread has it.
    idle: Mutex<Option<Target>>,
    queue: OnceLock<SyncSender<Message>>,
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
    /// Lines to standard error; the thread will be called `name`.
    pub fn to_stderr(name: &str) -> Self {
        Self::open(name, Target::Stderr)
    }

    /// Lines appended to a file, which is made when missing (mode 0640).
    pub fn to_file(name: &str, path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self::open(name, Target::File { path, file }))
    }

    fn open(name: &str, target: Target) -> Self {
        Self(Arc::new(Log {
            name: name.to_owned(),
            home: thread::current().id(),
            idle: Mutex::new(Some(target)),
            queue: OnceLock::new(),
            dropped: Arc::new(AtomicU64::new(0)),
        }))
    }

    /// Starts the thread. Again is fine.
    pub fn begin(&self) -> io::Result<()> {
        let log = &*self.0;
        let mut idle = log.idle();
        let Some(target) = idle.take() else { return Ok(()) };
        let (queue, messages) = sync_channel(LOG_LINES_QUEUED_MAX);
        let dropped = Arc::clone(&log.dropped);
        let write = move || write_all(target, &messages, &dropped);
        thread::Builder::new().name(log.name.clone()).spawn(write)?;
        // `idle` is held: nobody else sets the queue.
        log.queue.set(queue).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    /// Hands over one line, its newline included.
    pub fn submit(&self, line: Vec<u8>) {
        let log = &*self.0;
        if log.queue.get().is_none() {
            if thread::current().id() == log.home
                && let Some(target) = log.idle().as_mut()
            {
                log.count(target.write(&line).is_err());
                return;
            }
            if self.begin().is_err() {
                // The queue stays away; the line is counted below.
            }
        }
        let sent = log.queue.get().map(|queue| queue.try_send(Message::Line(line)));
        log.count(!matches!(sent, Some(Ok(()))));
    }

    /// Lines dropped so far, as a counter that metrics may keep.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.dropped)
    }

    /// Waits (at most two seconds) until everything submitted before is written.
    pub fn flush(&self) -> io::Result<()> {
        match self.0.queue.get() {
            Some(queue) => ask(queue, Message::Flush),
            None => Ok(()),
        }
    }

    /// Opens the file of this name anew, for log rotation. On failure the old one stays.
    pub fn reopen(&self) -> io::Result<()> {
        match (self.0.queue.get(), self.0.idle().as_mut()) {
            (Some(queue), _) => ask(queue, Message::Reopen),
            (None, Some(target)) => target.reopen(),
            (None, None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Log {
    fn idle(&self) -> MutexGuard<'_, Option<Target>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, dropped: bool) {
        self.dropped.fetch_add(u64::from(dropped), Ordering::Relaxed);
    }
}

impl Target {
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(octets),
            Self::File { file, .. } => file.write_all(octets),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr => Ok(()),
            Self::File { path, file } => append(path).map(|new| *file = new),
        }
    }
}

fn ask(
    queue: &SyncSender<Message>,
    message: impl FnOnce(SyncSender<io::Result<()>>) -> Message,
) -> io::Result<()> {
    let (answer, answered) = sync_channel(1);
    queue.try_send(message(answer)).map_err(|error| match error {
        TrySendError::Full(_) => io::Error::new(io::ErrorKind::WouldBlock, "the queue is full"),
        TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
    })?;
    answered.recv_timeout(ANSWER_WAIT).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    // Made by root, it must open again for the user the server has become by then.
    Owner::of_parent(path)?.give_file(&file)?;
    Ok(file)
}

/// The thread: gathers what waits, writes it at once. Ends when the last `Lines` is gone.
fn write_all(target: Target, messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut batch = Batch { target, octets: Vec::new(), lines: 0, dropped };
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.octets.extend_from_slice(&line);
                    batch.lines += 1;
                }
                Message::Flush(answer) => reply(&answer, batch.write()),
                Message::Reopen(answer) => {
                    let written = batch.write();
                    reply(&answer, batch.target.reopen().and(written));
                }
            }
            let room = batch.octets.len() < BATCH_BYTES;
            next = if room { messages.try_recv().ok() } else { None };
        }
        if batch.write().is_err() {
            // Counted; a log that cannot be written has nowhere to say so.
        }
        thread::sleep(REST);
    }
}

/// Lines on their way out.
struct Batch<'a> {
    target: Target,
    octets: Vec<u8>,
    lines: u64,
    dropped: &'a AtomicU64,
}

impl Batch<'_> {
    fn write(&mut self) -> io::Result<()> {
        let outcome = self.target.write(&self.octets);
        if outcome.is_err() {
            self.dropped.fetch_add(self.lines, Ordering::Relaxed);
        }
        self.octets.clear();
        self.lines = 0;
        outcome
    }
}

fn reply(answer: &SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    if answer.send(outcome).is_err() {
        // Who asked has stopped waiting.
    }
}

/// Characters that break lines, reverse text or show nothing: a log must read as it was written.
pub(crate) fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
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
        lines.begin().unwrap();
        for number in 0..100 {
            lines.submit(format!("{number}\n").into_bytes());
        }
        lines.flush().unwrap();
        fs::rename(&path, &old).unwrap();
        lines.submit(b"late\n".to_vec());
        lines.reopen().unwrap();
        lines.submit(b"new\n".to_vec());
        lines.flush().unwrap();
        let expected: String =
            (0..100).map(|number| format!("{number}\n")).chain(["late\n".to_owned()]).collect();
        assert_eq!(fs::read_to_string(&old).unwrap(), expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let lines = Lines::to_stderr("test");
        let (queue, messages) = sync_channel(2);
        lines.0.queue.set(queue).unwrap();
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
    fn no_thread_before_it_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let lines = Lines::to_file("test", path.clone()).unwrap();
        lines.submit(b"first\n".to_vec());
        assert!(lines.0.queue.get().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
        let other = lines.clone();
        thread::spawn(move || other.submit(b"second\n".to_vec())).join().unwrap();
        assert!(lines.0.queue.get().is_some());
        lines.submit(b"third\n".to_vec());
        lines.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\nthird\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_counts() {
        let lines = Lines::to_file("test", "/dev/full".into()).unwrap();
        lines.submit(b"x\n".to_vec());
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 1);
        lines.begin().unwrap();
        lines.submit(b"x\n".to_vec());
        drop(lines.flush());
        while lines.dropped().load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
    }
}
