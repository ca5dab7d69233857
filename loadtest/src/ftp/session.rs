//! ftp::session – one FTP dialogue as a value: logs in, moves files, counts what happens.
//!
//! ```text
//! connect ▸ 220 ▸ [AUTH TLS ▸ TLS] ▸ USER ▸ PASS ▸ [PBSZ ▸ PROT] ▸ TYPE ▸ idle
//! idle ▸ EPSV|PASV|EPRT|PORT ▸ [REST] ▸ RETR|STOR|… ▸ 150, data, 226 ▸ [read back] ▸ [DELE] ▸ idle
//! ```
//!
//! Promises: one command at a time, so a reply always has its command; whatever a server says or
//! leaves out ends in `done` or `failed`, or in the engine's timeout.
//! Not here: what to do (`work`), whether a transfer was right (`transfer`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::client::pattern;
use crate::engine::session::{Event, Io, Moved, Nanoseconds, Payload, Receive, Session};
use crate::engine::tls;
use crate::ftp::reply::{self, Reader, Reply};
use crate::ftp::transfer::{Data, Transfer};
use crate::ftp::work::{AbortBy, Appended, Expected, Job, Verb};
use crate::ftp::{DataMode, Ftp, TlsMode, phase};

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

    /// Asks for a data connection for the part of the operation that is next.
    fn open_data(&mut self, io: &mut Io) {
        let Some(job) = &self.job else { return };
        let verb = if self.part == Part::ReadingBack { Verb::Retr } else { job.verb };
        let looked_at = self.ftp.checksum || self.part == Part::ReadingBack;
        let mut transfer = Transfer::new(verb, looked_at);
        match self.part {
            Part::First if job.verb.stores() && job.offset > 0 => {
                transfer.content = (job.content.0, job.offset);
            }
            Part::Second => {
                transfer.content = job.content;
                transfer.offset = job.offset;
            }
            Part::First => {
                transfer.content = job.content;
                transfer.offset = job.offset;
                let file = job.file.and_then(|at| self.ftp.work.files.get(at));
                if let Some((seed, size)) = file.and_then(|file| file.seed.zip(file.size)) {
                    let pieces = vec![(seed, size)];
                    transfer.expected = looked_at.then(|| Expected::new(pieces, job.offset));
                }
            }
            Part::ReadingBack => {
                let appended = job.verb == Verb::Appe;
                let pieces =
                    if appended { self.appended.pieces.clone() } else { vec![job.content] };
                transfer.expected = Some(Expected::new(pieces, 0));
            }
        }
        self.transfer = Some(transfer);
        match self.ftp.data {
            DataMode::Epsv => self.command(io, State::Passive, "EPSV"),
            DataMode::Pasv => self.command(io, State::Passive, "PASV"),
            DataMode::Eprt | DataMode::Port => {
                self.state = State::Passive;
                self.since = io.now();
                io.listen(DATA, self.ftp.local, self.receive());
            }
        }
    }

    fn receive(&self) -> Receive {
        let Some((transfer, job)) = self.transfer.as_ref().zip(self.job.as_ref()) else {
            return Receive::Off;
        };
        match transfer.verb {
            // TLS reads what it needs all the same.
            Verb::Stor | Verb::Appe => Receive::Off,
            _ if transfer.looked_at || job.abort_after.is_some() => Receive::Bulk,
            _ => Receive::Drop,
        }
    }

    fn on_listening(&mut self, address: SocketAddr, io: &mut Io) {
        let port = address.port();
        let line = match (self.ftp.data, address.ip()) {
            (DataMode::Port, IpAddr::V4(ip)) => {
                let [a, b, c, d] = ip.octets();
                let [high, low] = port.to_be_bytes();
                format!("PORT {a},{b},{c},{d},{high},{low}")
            }
            (_, ip) => {
                let family = if ip.is_ipv4() { 1 } else { 2 };
                format!("EPRT |{family}|{ip}|{port}|")
            }
        };
        self.command(io, State::Passive, &line);
    }

    fn on_data_ready(&mut self, reply: &Reply, io: &mut Io) {
        let port = match (self.ftp.data, reply.code) {
            (DataMode::Epsv, 229) => reply::epsv_port(&reply.text),
            // The address in it is not looked at: a server must not send us to a third host.
            (DataMode::Pasv, 227) => reply::pasv_address(&reply.text).map(|address| address.port()),
            (DataMode::Eprt | DataMode::Port, 200) => None,
            _ => {
                self.refused(reply, io);
                return;
            }
        };
        io.phase(phase::PASSIVE, self.since);
        if matches!(self.ftp.data, DataMode::Epsv | DataMode::Pasv) {
            let Some(port) = port else {
                self.fail(io, "address in its reply not understood", true);
                return;
            };
            io.connect(DATA, SocketAddr::new(self.ftp.address.ip(), port), self.receive());
        }
        let offset = self.transfer.as_ref().map_or(0, |transfer| transfer.offset);
        if offset > 0 {
            self.command(io, State::Rest, &format!("REST {offset}"));
        } else {
            self.transfer(io);
        }
    }

    /// Sends the command that moves the file.
    fn transfer(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        transfer.commanded_at = io.now();
        let name = transfer.verb.name();
        let space = if job.path.is_empty() { "" } else { " " };
        let line = format!("{name}{space}{}", job.path);
        self.command(io, State::Transfer, &line);
    }

    // ------------------------------------------------------------ the data connection

    fn on_data_open(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if job.slow && self.part != Part::ReadingBack {
            io.pace(DATA, self.ftp.slow_rate);
        }
        match &self.client {
            Some(client) if self.ftp.data_tls && transfer.data == Data::Opening => {
                io.secure(DATA, client.clone());
            }
            _ => {
                transfer.data = Data::Open;
                self.feed(io);
            }
        }
    }

    fn on_data_secured(&mut self, resumed: bool, io: &mut Io) {
        io.count(if resumed { "TLS resumed on data" } else { "TLS full on data" }, 1);
        if let Some(transfer) = &mut self.transfer {
            transfer.data = Data::Open;
            self.feed(io);
        }
    }

    /// Queues the next octets of an upload, or ends it.
    fn feed(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if !transfer.verb.stores() || !transfer.begun || transfer.data != Data::Open {
            return;
        }
        if job.abort_after.is_some_and(|after| transfer.moved >= after) {
            self.abort(io);
            return;
        }
        let remaining = transfer.remaining();
        if remaining == 0 {
            transfer.last_at = Some(io.now());
            io.phase(phase::LAST, transfer.commanded_at);
            transfer.data = Data::Ended;
            // In TLS tickets lie unread: a close would reset, and take the upload's end with it.
            if self.ftp.data_tls {
                io.shutdown(DATA)
            } else {
                io.close(DATA)
            }
            return;
        }
        let until_abort = job.abort_after.map_or(u64::MAX, |after| after - transfer.moved);
        let at = transfer.offset + transfer.moved;
        let run = pattern::run_at(transfer.content.0, at, remaining.min(CHUNK).min(until_abort));
        transfer.moved += run.len() as u64;
        io.send(DATA, Payload::Static(run));
    }

    fn on_data(&mut self, octets: Result<&[u8], u64>, io: &mut Io) {
        let now = io.now();
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if transfer.verb.stores() {
            return;
        }
        if transfer.first_at.is_none() && self.part == Part::First {
            io.phase(phase::FIRST, transfer.commanded_at);
        }
        match octets {
            Ok(octets) => transfer.received(octets, now),
            Err(count) => transfer.dropped(count, now),
        }
        let abort = job.abort_after.is_some_and(|after| transfer.moved >= after);
        if abort && !transfer.aborted {
            self.abort(io);
        }
    }

    /// Cuts the transfer short.
    fn abort(&mut self, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.aborted = true;
        match self.ftp.abort_by {
            AbortBy::Abor => {
                io.say(CONTROL, "ABOR\r\n");
                // One for the transfer, one for ABOR: RFC 959 §4.1.3.
                transfer.replies_missing += 1;
                if transfer.verb.stores() {
                    // A server that reads ABOR after the transfer only would wait for its end.
                    io.close(DATA);
                }
            }
            AbortBy::Reset => io.reset(DATA),
            AbortBy::Close => io.close(DATA),
        }
        // The final reply may have come before the octets it is about.
        self.settle(io);
    }

    fn on_data_end(&mut self, end: Result<bool, String>, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.data == Data::Ended {
            return;
        }
        transfer.data = match end {
            Err(why) => Data::Failed(why),
            Ok(_) if transfer.verb.stores() => Data::Failed("closed by the server".to_owned()),
            Ok(clean) => {
                if !clean {
                    io.count("TLS data cut off without its alert", 1);
                }
                transfer.last_at = Some(io.now());
                if self.part == Part::First && !transfer.aborted {
                    io.phase(phase::LAST, transfer.commanded_at);
                }
                Data::Ended
            }
        };
        io.close(DATA);
        self.settle(io);
    }

    fn on_transfer_reply(&mut self, reply: &Reply, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        if (100..200).contains(&reply.code) {
            if !transfer.begun {
                transfer.begun = true;
                if transfer.verb == Verb::Retr {
                    transfer.announced = reply::announced(&reply.text);
                }
                self.feed(io);
            }
            return;
        }
        transfer.replies_missing = transfer.replies_missing.saturating_sub(1);
        // Of an abort's two the first is the transfer's and the second ABOR's: a refusal counts.
        let before = transfer.reply.unwrap_or_default();
        if !(transfer.aborted && before >= 500) {
            transfer.reply = Some(reply.code);
        }
        if let Some(last) = transfer.last_at.filter(|_| self.part == Part::First)
            && !transfer.aborted
        {
            io.phase(phase::FINAL, last);
        }
        self.settle(io);
    }

    /// Ends the transfer when both of its ends are in.
    fn settle(&mut self, io: &mut Io) {
        if !self.transfer.as_ref().is_some_and(Transfer::is_over) {
            return;
        }
        let Some((transfer, job)) = self.transfer.take().zip(self.job.clone()) else { return };
        io.close(DATA);
        self.state = State::Idle;
        let file = job.file.and_then(|at| self.ftp.work.files.get(at));
        let file = file.filter(|_| self.part != Part::ReadingBack);
        if let Err(what) = transfer.verdict(&job, file) {
            let at = if self.part == Part::ReadingBack { "read back" } else { job.verb.name() };
            let gone = transfer.reply == Some(421);
            self.fail_at(io, at, what, gone);
            return;
        }
        let (received, sent) =
            if transfer.verb.stores() { (0, transfer.moved) } else { (transfer.moved, 0) };
        match self.part {
            Part::ReadingBack => self.tidy(&job, io),
            Part::First if job.verb == Verb::Stor && job.offset > 0 && !transfer.aborted => {
                self.part = Part::Second;
                self.open_data(io);
            }
            Part::First | Part::Second => {
                let kind = if transfer.aborted { Verb::ABORTED } else { job.verb as usize };
                let halves = if self.part == Part::Second { job.offset } else { 0 };
                self.ended = Some((kind, Moved { received, sent: sent + halves }, io.now()));
                if job.verb == Verb::Appe {
                    self.appended.pieces.push(job.content);
                }
                if self.ftp.checksum && job.verb.stores() && !transfer.aborted {
                    self.part = Part::ReadingBack;
                    self.open_data(io);
                } else {
                    self.tidy(&job, io);
                }
            }
        }
    }

    /// Deletes what was stored, if asked to, and completes the operation.
    fn tidy(&mut self, job: &Job, io: &mut Io) {
        if self.ftp.delete && job.verb.stores() {
            self.appended.next();
            self.command(io, State::Dele, &format!("DELE {}", job.path));
            return;
        }
        self.complete_ended(io);
    }

    fn complete_ended(&mut self, io: &mut Io) {
        if let Some((kind, moved, at)) = self.ended.take() {
            self.complete(io, kind, moved, at);
        }
    }

    fn complete(&mut self, io: &mut Io, kind: usize, moved: Moved, at: Nanoseconds) {
        self.operations += 1;
        let last = self.ftp.operations_per_session;
        if kind == Verb::Login as usize || (last > 0 && self.operations >= last) {
            self.ended = Some((kind, moved, at));
            self.command(io, State::Quit, "QUIT");
            return;
        }
        self.job = None;
        self.state = State::Idle;
        io.done_at(kind, moved, at);
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
