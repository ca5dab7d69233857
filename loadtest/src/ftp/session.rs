//! ftp::session – one FTP dialogue as a value: logs in, moves files, counts what happens.
//!
//! ```text
//! connect ▸ 220 ▸ [AUTH TLS ▸ TLS] ▸ USER ▸ PASS ▸ [PBSZ ▸ PROT] ▸ TYPE ▸ idle
//! idle ▸ EPSV|PASV|EPRT|PORT ▸ [REST] ▸ RETR|STOR|… ▸ 150, data, 226 ▸ [read back] ▸ [DELE] ▸ idle
//! ```
//!
//! Promises: one command at a time, so a reply always has its command; whatever a server says or
//! leaves out ends in `done` or `failed`, or in the engine's timeout.
//! Not here: the data connection (`data`), what to do (`work`), whether a transfer was right (`transfer`).

mod data;

use std::sync::Arc;

use crate::engine::session::{Event, Io, Moved, Nanoseconds, Receive, Session};
use crate::engine::tls;
use crate::ftp::reply::{Reader, Reply};
use crate::ftp::transfer::Transfer;
use crate::ftp::work::{Appended, Job, Verb};
use crate::ftp::{Ftp, TlsMode, phase};

/// The control connection.
const CONTROL: u8 = 0;
/// The data connection.
const DATA: u8 = 1;
/// Octets queued at once.
const CHUNK: u64 = 1 << 20;

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Connecting,
    Greeting,
    Auth,
    Securing,
    User,
    Pass,
    Pbsz,
    Prot,
    Type,
    Idle,
    Passive,
    Rest,
    Transfer,
    Dele,
    Quit,
}

/// What an operation is at, if at more than its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The operation itself; of a resumed upload, its first half.
    First,
    /// The second half of a resumed upload.
    Second,
    /// Reading back what was stored.
    ReadingBack,
}

/// One dialogue.
pub struct Dialogue {
    ftp: Arc<Ftp>,
    number: u64,
    client: Option<tls::Client>,
    state: State,
    replies: Reader,
    holding: bool,
    /// When what is awaited was begun.
    since: Nanoseconds,
    /// When the log-in was begun.
    login_since: Nanoseconds,
    job: Option<Job>,
    part: Part,
    transfer: Option<Transfer>,
    /// What the operation came to, while its upload is read back or the server says goodbye.
    ended: Option<(usize, Moved, Nanoseconds)>,
    appended: Appended,
    operations: u32,
}

impl Dialogue {
    /// A dialogue that has not begun.
    pub fn new(ftp: Arc<Ftp>, number: u64) -> Self {
        let client = ftp.tls.as_ref().map(tls::Context::client);
        Self {
            ftp,
            number,
            client,
            state: State::New,
            replies: Reader::default(),
            holding: false,
            since: 0,
            login_since: 0,
            job: None,
            part: Part::First,
            transfer: None,
            ended: None,
            appended: Appended::default(),
            operations: 0,
        }
    }

    // ------------------------------------------------------------ operations

    fn work(&mut self, number: u64, io: &mut Io) {
        let job = self.ftp.work.job(number, self.number, &mut self.appended);
        let login = job.verb == Verb::Login;
        self.job = Some(job);
        self.part = Part::First;
        match self.state {
            State::Idle if !login => self.begin(io),
            State::Idle => {
                // A log-in of its own: the old connection gets a word and is left.
                io.say(CONTROL, "QUIT\r\n");
                self.connect(io);
            }
            _ => self.connect(io),
        }
    }

    fn connect(&mut self, io: &mut Io) {
        self.replies = Reader::default();
        self.state = State::Connecting;
        self.since = io.now();
        io.connect(CONTROL, self.ftp.address, Receive::Small);
    }

    /// Begins the operation in a session that is logged in.
    fn begin(&mut self, io: &mut Io) {
        let Some(job) = &self.job else { return };
        match job.verb {
            Verb::Dele => self.command(io, State::Dele, &format!("DELE {}", job.path)),
            Verb::Login => self.complete(io, Verb::Login as usize, Moved::default(), io.now()),
            Verb::Retr | Verb::Stor | Verb::Appe | Verb::List | Verb::Mlsd => self.open_data(io),
        }
    }

    // ------------------------------------------------------------ the control connection

    fn on_connected(&mut self, io: &mut Io) {
        io.phase(phase::CONNECT, self.since);
        self.since = io.now();
        match (&self.client, self.ftp.tls_mode) {
            (Some(client), TlsMode::Implicit) => {
                self.state = State::Securing;
                io.secure(CONTROL, client.clone());
            }
            _ => self.state = State::Greeting,
        }
    }

    fn on_secured(&mut self, resumed: bool, io: &mut Io) {
        io.phase(phase::TLS, self.since);
        io.count(if resumed { "TLS resumed on control" } else { "TLS full on control" }, 1);
        self.since = io.now();
        if self.ftp.tls_mode == TlsMode::Implicit {
            self.state = State::Greeting;
        } else {
            self.log_in(io);
        }
    }

    fn log_in(&mut self, io: &mut Io) {
        self.login_since = io.now();
        self.command(io, State::User, &format!("USER {}", self.ftp.user));
    }

    fn logged_in(&mut self, io: &mut Io) {
        io.phase(phase::LOGIN, self.login_since);
        if self.client.is_some() {
            self.command(io, State::Pbsz, "PBSZ 0");
        } else {
            self.binary(io);
        }
    }

    fn binary(&mut self, io: &mut Io) {
        if self.job.as_ref().is_some_and(|job| job.verb == Verb::Login) {
            self.begin(io);
        } else {
            self.command(io, State::Type, "TYPE I");
        }
    }

    fn on_reply(&mut self, reply: &Reply, io: &mut Io) {
        match (self.state, reply.code) {
            (State::Greeting, 220) => {
                io.phase(phase::GREETING, self.since);
                if self.client.is_some() && self.ftp.tls_mode == TlsMode::Explicit {
                    self.command(io, State::Auth, "AUTH TLS");
                } else {
                    self.log_in(io);
                }
            }
            // RFC 959: 120 is a greeting that says "later".
            (State::Greeting, 120) => {}
            (State::Auth, 234) => {
                if let Some(client) = &self.client {
                    self.state = State::Securing;
                    self.since = io.now();
                    io.secure(CONTROL, client.clone());
                }
            }
            (State::User, 331) => {
                let line = format!("PASS {}", self.ftp.password);
                self.command(io, State::Pass, &line);
            }
            (State::User | State::Pass, 230) => self.logged_in(io),
            (State::Pbsz, 200) => {
                let level = if self.ftp.data_tls { "PROT P" } else { "PROT C" };
                self.command(io, State::Prot, level);
            }
            (State::Prot, 200) => self.binary(io),
            (State::Type, 200) => {
                self.state = State::Idle;
                if self.holding { io.held() } else { self.begin(io) }
            }
            (State::Passive, _) => self.on_data_ready(reply, io),
            (State::Rest, 350) => self.transfer(io),
            (State::Transfer, _) => self.on_transfer_reply(reply, io),
            (State::Dele, 250 | 200) => {
                self.state = State::Idle;
                if self.ended.is_some() {
                    self.complete_ended(io);
                } else {
                    self.complete(io, Verb::Dele as usize, Moved::default(), io.now());
                }
            }
            (State::Quit, _) => self.parted(io),
            _ => self.refused(reply, io),
        }
    }

    /// A reply that ends the operation, or the session.
    fn refused(&mut self, reply: &Reply, io: &mut Io) {
        // What goes wrong before the log-in is complete will go wrong again.
        let early = !matches!(self.state, State::Passive | State::Rest | State::Dele);
        let over = early || reply.code == 421 || reply.code < 400;
        self.fail(io, &reply.code.to_string(), over);
    }

    fn parted(&mut self, io: &mut Io) {
        if let Some((kind, moved, at)) = self.ended.take() {
            io.done_at(kind, moved, at);
        }
        self.state = State::New;
        io.finish();
    }

    fn on_control(&mut self, mut input: &[u8], io: &mut Io) {
        while self.state != State::New {
            match self.replies.next(&mut input) {
                Ok(None) => return,
                Ok(Some(reply)) => self.on_reply(&reply, io),
                Err(malformed) => self.fail(io, malformed.name(), true),
            }
            if self.state == State::Securing && !input.is_empty() {
                // Octets in plain text behind the go-ahead for TLS: somebody in between put them there.
                self.fail(io, "plain text where TLS begins", true);
            }
        }
    }

    fn command(&mut self, io: &mut Io, state: State, line: &str) {
        self.state = state;
        self.since = io.now();
        io.say(CONTROL, format!("{line}\r\n"));
    }

    fn fail(&mut self, io: &mut Io, what: &str, over: bool) {
        self.fail_at(io, self.stage(), what.to_owned(), over);
    }

    /// The operation failed; with `over` the session is useless.
    fn fail_at(&mut self, io: &mut Io, at: &'static str, what: String, over: bool) {
        io.failed(at, what);
        self.job = None;
        self.ended = None;
        self.transfer = None;
        self.appended.next();
        if over {
            self.state = State::New;
            io.finish();
        } else {
            self.state = State::Idle;
            io.close(DATA);
        }
    }

    fn on_control_gone(&mut self, why: String, io: &mut Io) {
        match self.state {
            State::Quit => self.parted(io),
            State::Idle if self.job.is_none() => io.finish(),
            _ => self.fail_at(io, self.stage(), why, true),
        }
    }
}

impl Session for Dialogue {
    fn on(&mut self, event: Event<'_>, io: &mut Io) {
        match event {
            Event::Work(number) => self.work(number, io),
            Event::Hold => {
                self.holding = true;
                self.connect(io);
            }
            Event::Quit if self.state == State::Idle => self.command(io, State::Quit, "QUIT"),
            Event::Quit => io.finish(),
            Event::Connected(CONTROL) => self.on_connected(io),
            Event::Secured(CONTROL, resumed) => self.on_secured(resumed, io),
            Event::Received(CONTROL, octets) => self.on_control(octets, io),
            Event::Ended(CONTROL, _) => self.on_control_gone("closed".to_owned(), io),
            Event::Failed(CONTROL, why) => self.on_control_gone(why.into_owned(), io),
            Event::Listening(DATA, address) => self.on_listening(address, io),
            Event::Connected(DATA) => self.on_data_open(io),
            Event::Secured(DATA, resumed) => self.on_data_secured(resumed, io),
            Event::Received(DATA, octets) => self.on_data(Ok(octets), io),
            Event::Dropped(DATA, count) => self.on_data(Err(count), io),
            Event::Sent(DATA) => self.feed(io),
            Event::Ended(DATA, clean) => self.on_data_end(Ok(clean), io),
            Event::Failed(DATA, why) => self.on_data_end(Err(why.into_owned()), io),
            Event::Connected(_)
            | Event::Secured(..)
            | Event::Received(..)
            | Event::Dropped(..)
            | Event::Sent(_)
            | Event::Ended(..)
            | Event::Failed(..)
            | Event::Listening(..)
            | Event::Timer(_) => {}
        }
    }

    fn stage(&self) -> &'static str {
        match self.state {
            State::New | State::Connecting => "connect",
            State::Greeting => "greeting",
            State::Auth => "AUTH",
            State::Securing => "TLS",
            State::User => "USER",
            State::Pass => "PASS",
            State::Pbsz => "PBSZ",
            State::Prot => "PROT",
            State::Type => "TYPE",
            State::Idle => "idle",
            State::Passive => self.ftp.data.name(),
            State::Rest => "REST",
            State::Transfer => match (&self.transfer, self.part) {
                (_, Part::ReadingBack) => "read back",
                (Some(transfer), _) => transfer.verb.name(),
                (None, _) => "transfer",
            },
            State::Dele => "DELE",
            State::Quit => "QUIT",
        }
    }
}
