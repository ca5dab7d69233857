//! server::admin – the socket by which `status` and `queue` ask a running server.
//!
//! One thread, one JSON line in, one JSON line out per connection. Questions about waiting mail go
//! to the shards, each of which has a `Desk` where it finds them when it is notified.
//!
//! ```text
//!  client ─▶ admin.sock ─▶ thread ─┬▶ Desk 0 ─ notify ─▶ shard 0 ─┐
//!                                  └▶ Desk 1 ─ notify ─▶ shard 1 ─┴▶ answers, merged ─▶ client
//! ```
//! Promises: only the owner of the socket may ask; octets and time are bounded on every side; a stale
//! socket is replaced, one that somebody listens on is not; a shard is never waited for by a shard.
//! Not here: what the answers mean (`queue`, `status`).

use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::queue::{self, Answer, Page, Sheet};
use super::status::Status;
use crate::limits::{ADMIN_REQUEST_BYTES_MAX, ADMIN_REQUEST_SECONDS_MAX, ADMIN_RESPONSE_BYTES_MAX};
use crate::store::spool::QueueId;

/// After a failed accept (no descriptor left, say), so that the thread does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the shards have for an answer about waiting mail, and for a change of it, which may be of all.
const SHARDS: Duration = Duration::from_secs(5);
const CHANGES: Duration = Duration::from_secs(600);
/// Connections that may wait for the thread.
const BACKLOG: i32 = 16;
/// Letters and digits of a queue id.
const QUEUE_ID_BYTES: usize = 13;
/// Octets read at a time: a page of a list has some hundred thousand.
const PIECE_BYTES: usize = 64 << 10;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// How the server is.
    Status,
    /// About waiting mail.
    Queue(queue::Request),
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response<P = Page> {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Queue`].
    Queue(Answer<P>),
    /// Why there is no answer.
    Error(String),
}

impl Response<Sheet> {
    /// As it goes to the client.
    fn line(self) -> Vec<u8> {
        let whole: Response = match self {
            Self::Queue(Answer::Page(sheet)) => {
                let mut line = b"{\"queue\":{\"page\":".to_vec();
                sheet.write(&mut line);
                line.extend_from_slice(b"}}\n");
                return line;
            }
            Self::Queue(Answer::Detail(detail)) => Response::Queue(Answer::Detail(detail)),
            Self::Queue(Answer::Changed(changed)) => Response::Queue(Answer::Changed(changed)),
            Self::Queue(Answer::Destinations(places)) => {
                Response::Queue(Answer::Destinations(places))
            }
            Self::Status(status) => Response::Status(status),
            Self::Error(why) => Response::Error(why),
        };
        let mut line = serde_json::to_vec(&whole)
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}").into_bytes());
        line.push(b'\n');
        line
    }
}

// ---------------------------------------------------------------- shards

/// What a shard says, and all of them together.
type Given = Result<Answer<Sheet>, String>;

/// What a shard is asked about its waiting mail, and where its answer goes.
#[derive(Debug)]
pub(super) struct Ticket {
    /// What is asked.
    pub(super) request: queue::Request,
    /// How many shards are asked.
    pub(super) shards: usize,
    reply: SyncSender<Given>,
}

impl Ticket {
    /// Answers, or says why not. What was changed is on stable storage before. Who asked may have
    /// gone; that is no concern of the shard.
    pub(super) fn answer(self, answer: Given) {
        drop(self.reply.try_send(answer));
    }
}

/// Where one shard finds what it is asked.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<VecDeque<Ticket>>);

impl Desk {
    /// Leaves a request; the shard must be notified then. The answer comes at most once.
    fn leave(&self, request: queue::Request, shards: usize) -> Receiver<Given> {
        let (reply, answer) = mpsc::sync_channel(1);
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.push_back(Ticket { request, shards, reply });
        answer
    }

    /// The next request, if there is one.
    pub(super) fn take(&self) -> Option<Ticket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Asks every shard and makes one answer of theirs.
pub(super) fn ask(desks: &[Desk], request: &queue::Request, notify: impl Fn()) -> Given {
    let deadline = Instant::now() + patience(request);
    let leave = |desk: &Desk| desk.leave(request.clone(), desks.len());
    let answers: Vec<_> = desks.iter().map(leave).collect();
    notify();
    let mut merged: Option<Answer<Sheet>> = None;
    for (index, answer) in answers.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = answer.recv_timeout(left);
        let answer = answer
            .map_err(|_| format!("shard {index} does not answer"))?
            .map_err(|why| format!("shard {index}: {why}"))?;
        match &mut merged {
            Some(merged) => merged.merge(answer),
            None => merged = Some(answer),
        }
    }
    merged.ok_or_else(|| "there are no shards".to_owned())
}

fn patience(request: &queue::Request) -> Duration {
    match request {
        queue::Request::Change { .. } => CHANGES,
        queue::Request::List { .. }
        | queue::Request::Show { .. }
        | queue::Request::Destinations => SHARDS,
    }
}

// ---------------------------------------------------------------- the socket

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
}

impl Admin {
    /// Binds `path` for its owner only. What an earlier server left there is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody answers there; what bind(2) says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match UnixStream::connect(short(path)?.path()) {
            Ok(_) => return Err(ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Refused: a socket nobody listens on, or no socket at all.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                if !fs::symlink_metadata(path)?.file_type().is_socket() {
                    return Err(ErrorKind::AlreadyExists.into());
                }
            }
            Err(error) => return Err(error),
        }
        // Bound under another name and moved, so that there is always a socket that answers, or none.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        if let Err(error) = fs::remove_file(&draft)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The mode of the socket is that of its file from the first moment on.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(0o600))?;
        let socket = Socket::from(OwnedFd::from(file));
        socket.bind(&SockAddr::unix(short(&draft)?.path())?)?;
        let ready = fs::set_permissions(&draft, Permissions::from_mode(0o600))
            .and_then(|()| socket.listen(BACKLOG))
            .and_then(|()| fs::rename(&draft, path));
        if let Err(error) = ready {
            drop(fs::remove_file(&draft));
            return Err(error);
        }
        Ok(Self { listener: UnixListener::from(OwnedFd::from(socket)), path: path.to_owned() })
    }

    /// Answers from now on, one client after the other, until the process ends. The guard removes
    /// the socket's file.
    ///
    /// # Errors
    /// No thread could be made.
    pub fn start(
        self,
        answer: impl Fn(Request) -> Response<Sheet> + Send + 'static,
    ) -> io::Result<Gone> {
        let gone = Gone(self.path);
        let listener = self.listener;
        let serve = move || loop {
            match listener.accept() {
                Ok((stream, _)) => converse(stream, &answer),
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        };
        thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
        Ok(gone)
    }
}

/// Removes the socket's file when it is dropped.
#[derive(Debug)]
#[must_use = "the file goes when this is dropped"]
pub struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the admin socket stays");
        }
    }
}

fn converse(mut stream: UnixStream, answer: &impl Fn(Request) -> Response<Sheet>) {
    let deadline = Instant::now() + Duration::from_secs(ADMIN_REQUEST_SECONDS_MAX);
    let response = match read_line(&mut stream, ADMIN_REQUEST_BYTES_MAX, deadline) {
        Ok(line) => match serde_json::from_slice(&line) {
            Ok(request) => answer(request),
            Err(error) => Response::Error(format!("not understood: {error}")),
        },
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Response::Error("request too long".to_owned())
        }
        Err(_) => return,
    };
    let line = response.line();
    let patience = Some(Duration::from_secs(ADMIN_REQUEST_SECONDS_MAX));
    let sent = stream.set_write_timeout(patience).and_then(|()| stream.write_all(&line));
    if let Err(error) = sent {
        tracing::debug!(%error, "nobody took the answer");
    }
}

/// Reads up to a newline (or the end): at most `most` octets, until `deadline`.
fn read_line(stream: &mut UnixStream, most: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut piece) {
            Ok(0) if line.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(line),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = piece.get(..count).unwrap_or_default();
        if let Some(end) = memchr::memchr(b'\n', part) {
            line.extend_from_slice(part.get(..end).unwrap_or_default());
            return Ok(line);
        }
        line.extend_from_slice(part);
        if line.len() > most {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

/// Does a server listen at `path`?
///
/// # Errors
/// As [`query`].
pub fn reach(path: &Path) -> io::Result<()> {
    UnixStream::connect(short(path)?.path()).map(drop)
}

/// Asks the server that listens at `path`.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` when there is none; what else went wrong.
pub fn query(path: &Path, request: &Request) -> io::Result<Response> {
    Ok(serde_json::from_slice(&query_octets(path, request)?)?)
}

/// The same, not read yet.
///
/// # Errors
/// As [`query`], less what the answer may be.
pub fn query_octets(path: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let shards = match request {
        Request::Queue(request) => patience(request),
        Request::Status => SHARDS,
    };
    let patience = Duration::from_secs(ADMIN_REQUEST_SECONDS_MAX) + shards;
    let mut stream = UnixStream::connect(short(path)?.path())?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    read_line(&mut stream, ADMIN_RESPONSE_BYTES_MAX, Instant::now() + patience)
}

/// Behind which message the next page of a list begins, of an answer that is not read yet.
#[must_use]
pub fn until(answer: &[u8]) -> Option<QueueId> {
    /// What is skipped takes no memory.
    #[derive(Deserialize)]
    struct Head {
        until: Option<QueueId>,
    }
    // As this server ends a page; a name has nothing that JSON would escape.
    let name = answer
        .strip_prefix(b"{\"queue\":{\"page\":{\"entries\":[")
        .and_then(|rest| rest.strip_suffix(b"\"}}}"))
        .and_then(|rest| rest.split_last_chunk::<QUEUE_ID_BYTES>())
        .filter(|(before, _)| before.ends_with(b"],\"until\":\""));
    if let Some((_, name)) = name {
        return std::str::from_utf8(name).ok()?.parse().ok();
    }
    match serde_json::from_slice::<Response<Head>>(answer).ok()? {
        Response::Queue(Answer::Page(Head { until })) => until,
        Response::Queue(_) | Response::Status(_) | Response::Error(_) => None,
    }
}

/// A name of at most 107 octets for a socket anywhere, valid while this lives.
struct Short {
    _directory: Option<File>,
    path: PathBuf,
}

impl Short {
    fn path(&self) -> &Path {
        &self.path
    }
}

/// sockaddr_un holds 107 octets; paths may be longer, and then go by way of their directory.
fn short(path: &Path) -> io::Result<Short> {
    const SUN_PATH_BYTES_MAX: usize = 107;
    if path.as_os_str().len() <= SUN_PATH_BYTES_MAX {
        return Ok(Short { _directory: None, path: path.to_owned() });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok(Short { _directory: Some(directory), path })
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
