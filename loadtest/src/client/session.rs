//! client::session – one FTP dialogue as a state machine over two non-blocking sockets.
//!
//! ```text
//! Greeting → User → Pass → Type → Ready ⇄ Epsv → Transfer
//!                                   └→ Quit → Closed
//! ```
//!
//! Promises: one command is outstanding at a time, as with a plain client; a transfer is done only
//! when the data connection has ended *and* the server has said 226, and its bytes are counted.
//! Not here: which job comes next, and waiting (`fleet`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use super::pattern;
use super::reply::{Replies, Reply, epsv_port};
use crate::sys::{self, Epoll};

/// Bytes taken off or put onto a data connection before other sessions get their turn.
const TURN_BYTES: usize = 4 << 20;
/// Bytes asked of the kernel at once.
const CALL_BYTES: usize = 1 << 20;

/// What a transfer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Retr,
    Stor,
    List,
}

/// One transfer to do.
#[derive(Clone, Debug)]
pub struct Job {
    pub verb: Verb,
    pub path: String,
    /// Bytes to send, or that must arrive; `None` accepts any number.
    pub bytes: Option<u64>,
    /// Seed of the contents to send (`pattern`).
    pub seed: u64,
    /// Keep what arrives instead of discarding it in the kernel.
    pub keep: bool,
}

/// What became of an event.
#[derive(Debug)]
pub enum Progress {
    /// Nothing to react to.
    Waiting,
    /// Logged in; the session takes a job.
    LoggedIn,
    /// The job is done; the bytes moved, and the bytes themselves if asked for.
    Done(u64, Vec<u8>),
    /// The server said goodbye and closed.
    Closed,
}

/// How often a session may be refused a passive port before that is an error of the server.
const REFUSED_PORTS_MAX: u32 = 100;

/// What a session needs of its surroundings for one event.
pub struct Context<'a> {
    pub epoll: &'a Epoll,
    pub target: SocketAddrV4,
    pub scratch: &'a mut [u8],
}

/// One control connection with at most one data connection.
pub struct Session {
    control: TcpStream,
    replies: Replies,
    token: u64,
    source: Option<Ipv4Addr>,
    binary: bool,
    stage: Stage,
    /// EPSV refused for now, over the whole session.
    refused_ports: u32,
}

enum Stage {
    Greeting,
    User,
    Pass,
    Type,
    Ready,
    Epsv(Box<Job>),
    Transfer(Box<Transfer>),
    Quit { answered: bool },
    Closed,
}

struct Transfer {
    job: Job,
    data: Option<TcpStream>,
    opened: bool,
    finished: bool,
    bytes: u64,
    kept: Vec<u8>,
}

impl Session {
    /// Begins to connect. `token` reports the control connection, `token + 1` the data connection;
    /// with `binary` the login ends with `TYPE I`.
    pub fn open(
        context: &Context<'_>,
        token: u64,
        source: Option<Ipv4Addr>,
        binary: bool,
    ) -> Result<Self, String> {
        let socket = sys::connect(source, context.target).map_err(|e| format!("connect: {e}"))?;
        context.epoll.add(&socket, token, false).map_err(|e| format!("epoll: {e}"))?;
        let control = TcpStream::from(socket);
        let (replies, stage) = (Replies::default(), Stage::Greeting);
        Ok(Self { control, replies, token, source, binary, stage, refused_ports: 0 })
    }

    /// Starts a transfer; the session must be ready.
    pub fn start(&mut self, job: Job) -> Result<(), String> {
        debug_assert!(matches!(self.stage, Stage::Ready), "a job for a busy session");
        self.send("EPSV", "")?;
        self.stage = Stage::Epsv(Box::new(job));
        Ok(())
    }

    /// Says goodbye; the session must be ready.
    pub fn quit(&mut self) -> Result<(), String> {
        self.send("QUIT", "")?;
        self.stage = Stage::Quit { answered: false };
        Ok(())
    }

    /// The control connection is readable.
    pub fn on_control(&mut self, context: &mut Context<'_>) -> Result<Progress, String> {
        match self.control.read(&mut context.scratch[..4096]) {
            Ok(0) => self.on_end(),
            Ok(count) => {
                self.replies.feed(&context.scratch[..count]);
                let mut progress = Progress::Waiting;
                while let Some(reply) = self.replies.next()? {
                    progress = self.on_reply(&reply, context)?;
                }
                Ok(progress)
            }
            Err(error) if retry(&error) => Ok(Progress::Waiting),
            Err(error) => Err(format!("control connection, {}: {error}", self.doing())),
        }
    }

    /// The data connection is ready.
    pub fn on_data(&mut self, context: &mut Context<'_>) -> Result<Progress, String> {
        let doing = self.doing();
        let Stage::Transfer(transfer) = &mut self.stage else {
            return Ok(Progress::Waiting); // an event of a connection that is gone already
        };
        let pumped = match transfer.job.verb {
            Verb::Stor => transfer.send(),
            Verb::Retr | Verb::List => transfer.receive(context.scratch),
        };
        pumped.map_err(|error| format!("data connection, {doing}: {error}"))?;
        self.settle()
    }

    fn on_end(&mut self) -> Result<Progress, String> {
        if matches!(self.stage, Stage::Quit { answered: true }) {
            self.stage = Stage::Closed;
            return Ok(Progress::Closed);
        }
        Err(format!("{}: the server closed the connection", self.doing()))
    }

    fn on_reply(&mut self, reply: &Reply, context: &Context<'_>) -> Result<Progress, String> {
        match (&mut self.stage, reply.code) {
            (Stage::Greeting, 220) => self.step(Stage::User, "USER", "anonymous"),
            (Stage::User, 331) => self.step(Stage::Pass, "PASS", "guest@example.org"),
            (Stage::User | Stage::Pass, 230) if self.binary => self.step(Stage::Type, "TYPE", "I"),
            (Stage::User | Stage::Pass, 230) | (Stage::Type, 200) => {
                self.stage = Stage::Ready;
                Ok(Progress::LoggedIn)
            }
            (Stage::Epsv(_), 229) => self.on_passive(reply, context),
            // No port free at the moment (Pure-FTPd, when two sessions try the same one): a client
            // asks again.
            (Stage::Epsv(_), 425) if self.refused_ports < REFUSED_PORTS_MAX => {
                self.refused_ports += 1;
                self.send("EPSV", "")?;
                Ok(Progress::Waiting)
            }
            (Stage::Transfer(transfer), 125 | 150) if !transfer.opened => {
                transfer.opened = true;
                if let (Verb::Stor, Some(data)) = (transfer.job.verb, &transfer.data) {
                    let added = context.epoll.add(data, self.token + 1, true);
                    added.map_err(|error| format!("epoll: {error}"))?;
                }
                Ok(Progress::Waiting)
            }
            (Stage::Transfer(transfer), 226 | 250) if transfer.opened && !transfer.finished => {
                transfer.finished = true;
                self.settle()
            }
            (Stage::Quit { answered }, 221) if !*answered => {
                *answered = true;
                Ok(Progress::Waiting)
            }
            _ => Err(format!("{}: the server said {:?}", self.doing(), reply.line)),
        }
    }

    fn on_passive(&mut self, reply: &Reply, context: &Context<'_>) -> Result<Progress, String> {
        let port = epsv_port(&reply.line).ok_or_else(|| format!("EPSV: {:?}", reply.line))?;
        let target = SocketAddrV4::new(*context.target.ip(), port);
        let socket = sys::connect(self.source, target)
            .map_err(|error| format!("data connection to {target}: {error}"))?;
        let Stage::Epsv(job) = std::mem::replace(&mut self.stage, Stage::Ready) else {
            return Ok(Progress::Waiting);
        };
        let verb = match job.verb {
            Verb::Retr => "RETR",
            Verb::Stor => "STOR",
            Verb::List => "LIST",
        };
        if job.verb != Verb::Stor {
            let added = context.epoll.add(&socket, self.token + 1, false);
            added.map_err(|error| format!("epoll: {error}"))?;
        }
        self.send(verb, &job.path)?;
        self.stage = Stage::Transfer(Box::new(Transfer {
            job: *job,
            data: Some(TcpStream::from(socket)),
            opened: false,
            finished: false,
            bytes: 0,
            kept: Vec::new(),
        }));
        Ok(Progress::Waiting)
    }

    /// Ends the transfer when both of its ends are in.
    fn settle(&mut self) -> Result<Progress, String> {
        let Stage::Transfer(transfer) = &mut self.stage else {
            return Ok(Progress::Waiting);
        };
        if !transfer.finished || transfer.data.is_some() {
            return Ok(Progress::Waiting);
        }
        let (bytes, kept) = (transfer.bytes, std::mem::take(&mut transfer.kept));
        if let Some(expected) = transfer.job.bytes.filter(|&expected| expected != bytes) {
            return Err(format!("{}: {bytes} bytes moved, not {expected}", self.doing()));
        }
        self.stage = Stage::Ready;
        Ok(Progress::Done(bytes, kept))
    }

    fn step(&mut self, next: Stage, verb: &str, argument: &str) -> Result<Progress, String> {
        self.send(verb, argument)?;
        self.stage = next;
        Ok(Progress::Waiting)
    }

    fn send(&mut self, verb: &str, argument: &str) -> Result<(), String> {
        let space = if argument.is_empty() { "" } else { " " };
        let line = format!("{verb}{space}{argument}\r\n");
        // A few bytes into an empty send buffer: a short write means that something is wrong.
        self.control.write_all(line.as_bytes()).map_err(|error| format!("sending {verb}: {error}"))
    }

    fn doing(&self) -> String {
        match &self.stage {
            Stage::Greeting => "waiting for the greeting".into(),
            Stage::User => "USER".into(),
            Stage::Pass => "PASS".into(),
            Stage::Type => "TYPE I".into(),
            Stage::Ready => "idle".into(),
            Stage::Epsv(_) => "EPSV".into(),
            Stage::Transfer(transfer) => format!("{:?} {}", transfer.job.verb, transfer.job.path),
            Stage::Quit { .. } => "QUIT".into(),
            Stage::Closed => "closed".into(),
        }
    }
}

impl Transfer {
    fn receive(&mut self, scratch: &mut [u8]) -> std::io::Result<()> {
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        let mut turn = 0;
        while turn < TURN_BYTES {
            let received =
                if self.job.keep { data.read(scratch) } else { sys::discard(data, CALL_BYTES) };
            match received {
                Ok(0) => {
                    self.data = None;
                    return Ok(());
                }
                Ok(count) => {
                    if self.job.keep {
                        self.kept.extend_from_slice(&scratch[..count]);
                    }
                    self.bytes += count as u64;
                    turn += count;
                }
                Err(error) if retry(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        let total = self.job.bytes.unwrap_or(0);
        let mut turn = 0;
        while turn < TURN_BYTES {
            if self.bytes == total {
                self.data = None; // nothing unread on it: closing sends FIN after the last byte
                return Ok(());
            }
            match data.write(pattern::run_at(self.job.seed, self.bytes, total - self.bytes)) {
                Ok(count) => {
                    self.bytes += count as u64;
                    turn += count;
                }
                Err(error) if retry(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn retry(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
