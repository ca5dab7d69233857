//! ftp::session – the dialogue of RFC 959 as a value.
//!
//! Octets enter at `advance`, what came of a step at `resume`, what became of a transfer at
//! `transfer`. Replies leave in the outbox, everything else as one [`Next`]; at most one step is
//! pending. `(state, command)` is decided in `Session::command`; the handlers sit by subject:
//! `login`, `security`, `parameters`, `channel`, `files`, `transfer`, `texts`.
//!
//! Promises: one reply per command, in order; lines that arrive during a transfer wait for its end,
//! but for STAT and ABOR; nothing the client sent is shown before login.
//! Not here: sockets, clocks, files, TLS; the wording of replies (`reply`).

mod channel;
mod deferred;
mod files;
mod login;
mod parameters;
mod security;
mod texts;
mod transfer;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use self::channel::Data;
use self::deferred::Deferred;
use self::files::Question;
use self::login::Login;
use self::parameters::Parameters;
use self::security::Security;
pub use self::security::Tls;
use self::transfer::Running;
use super::command::{self, Command, Problem, Request};
use super::path::VirtualPath;
use super::reply;
use super::step::{Account, Answer, Next};
use super::telnet::Reader;
use super::verb::{Gate, Verb};
use crate::limits;
use crate::wire::line::Line;
use crate::wire::outbox::Outbox;

/// Unknown commands before login, after which the session ends (SEC-07).
const UNKNOWN_MAX: u8 = 10;

/// What every session of a listener has in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name in the greeting.
    pub hostname: String,
    /// Lines before the greeting's last; empty for none.
    pub banner: String,
    /// Is anonymous login on? (Asked all the same; this is for texts only.)
    pub anonymous: bool,
    /// Wrong passwords before 421.
    pub login_failures_max: u8,
    /// Address announced by PASV instead of the local one.
    pub passive_address: Option<std::net::Ipv4Addr>,
    /// Idle limit a client may ask for with SITE IDLE, seconds.
    pub idle_seconds_max: u32,
    /// Idle limit without SITE IDLE, seconds.
    pub idle_seconds: u32,
    /// Code page of TYPE E.
    pub code_page: super::convert::CodePage,
    /// What is done about TLS.
    pub tls: Tls,
}

/// Which limit runs while the session waits. The driver owns the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Not logged in yet: runs from the connection's start, whatever arrives.
    Login,
    /// Logged in and idle: seconds since the last command.
    Idle(u32),
    /// A transfer runs; the driver watches that instead.
    None,
}

/// What the session waits for.
#[derive(Debug)]
enum State {
    /// The next line.
    Ready,
    /// The answer to a question, or to `Listen`.
    Asking(Question),
    /// The end of a transfer.
    Transferring(Running),
    /// Nothing: the connection is to be closed.
    Closing,
}

/// What the command before this one prepared.
#[derive(Debug, Default)]
enum Prepared {
    /// Nothing.
    #[default]
    Nothing,
    /// REST.
    Restart(u64),
    /// RNFR.
    RenameFrom(VirtualPath),
    /// A transfer broke off: an ABOR that was on its way meets it (RFC 959 §4.1.3).
    Broken,
}

/// One control connection's dialogue.
#[derive(Debug)]
pub struct Session {
    settings: Rc<Settings>,
    local: SocketAddr,
    peer: SocketAddr,
    reader: Reader,
    login: Login,
    security: Security,
    parameters: Parameters,
    data: Data,
    /// EPSV ALL was given (RFC 2428 §4); outlives failed and aborted transfers.
    epsv_only: bool,
    prepared: Prepared,
    directory: VirtualPath,
    state: State,
    /// A step that follows a reply already given.
    step: Option<Next>,
    deferred: Deferred,
    /// Say 421 as soon as nothing is under way.
    draining: bool,
    /// Unknown commands so far, while not logged in.
    unknown: u8,
    umask: Option<u32>,
    idle_seconds: u32,
}

impl Session {
    /// A new session; its greeting is in `out`.
    pub fn new(
        settings: Rc<Settings>,
        local: SocketAddr,
        peer: SocketAddr,
        out: &mut Outbox,
    ) -> Self {
        reply::greeting(&settings.hostname, &settings.banner, out);
        Self {
            idle_seconds: settings.idle_seconds,
            settings,
            local: canonical(local),
            peer: canonical(peer),
            reader: Reader::new(),
            login: Login::default(),
            security: Security::default(),
            parameters: Parameters::default(),
            data: Data::Unset,
            epsv_only: false,
            prepared: Prepared::Nothing,
            directory: VirtualPath::root(),
            state: State::Ready,
            step: None,
            deferred: Deferred::default(),
            draining: false,
            unknown: 0,
            umask: None,
        }
    }

    /// Consumes from the front of `input` until something must be done. All of `input` is consumed
    /// when it returns `Next::Receive`, unless `wants_input` is false or the outbox is full
    /// (`limits::OUTBOX_BYTES_MAX`): then what is left is to be given again, see [`Next::Receive`].
    ///
    /// Call it after `new`, `resume`, `transfer`, `timeout` and `drain` too, with what input there
    /// is, be it none: lines that waited are answered then.
    pub fn advance(&mut self, input: &mut &[u8], out: &mut Outbox) -> Next {
        loop {
            if let Some(step) = self.step.take() {
                return step;
            }
            if out.len() >= limits::OUTBOX_BYTES_MAX {
                return Next::Receive;
            }
            let next = match &self.state {
                State::Closing => Some(Next::Close),
                State::Asking(_) => Some(Next::Receive),
                State::Transferring(_) if self.deferred.is_full() => Some(Next::Receive),
                State::Transferring(_) => match self.reader.take(input, out) {
                    Some(line) => self.line_during_transfer(line, out),
                    None => Some(Next::Receive),
                },
                State::Ready if self.draining => {
                    self.close(reply::DRAINING, out);
                    None
                }
                State::Ready => match self.deferred.pop() {
                    Some(line) => self.line(&line, out),
                    None => match self.reader.take(input, out) {
                        Some(line) => self.line(&line, out),
                        None => Some(Next::Receive),
                    },
                },
            };
            if let Some(next) = next {
                return self.guarded(next, !input.is_empty(), out);
            }
        }
    }

    /// May more input be given? False while lines deferred during a transfer fill their bound.
    pub fn wants_input(&self) -> bool {
        match &self.state {
            State::Ready | State::Asking(_) => true,
            State::Transferring(_) => !self.deferred.is_full(),
            State::Closing => false,
        }
    }

    /// Which limit runs now.
    pub fn timer(&self) -> Timer {
        match &self.state {
            State::Transferring(_) => Timer::None,
            State::Ready | State::Asking(_) | State::Closing if self.login.has_succeeded() => {
                Timer::Idle(self.idle_seconds)
            }
            State::Ready | State::Asking(_) | State::Closing => Timer::Login,
        }
    }

    /// The limit of `timer()` passed: 421, then `advance` gives `Next::Close`.
    pub fn timeout(&mut self, out: &mut Outbox) {
        let reply = match self.timer() {
            Timer::Login => reply::LOGIN_TIMEOUT,
            Timer::Idle(_) | Timer::None => reply::TIMEOUT,
        };
        self.close(reply, out);
    }

    /// The server is going down: 421 now, or after the running transfer; then `advance` gives `Next::Close`.
    pub fn drain(&mut self, out: &mut Outbox) {
        match &self.state {
            State::Ready => self.close(reply::DRAINING, out),
            // RFC 959 §4.2.1 (421): the command under way gets its own reply first.
            State::Asking(_) | State::Transferring(_) => self.draining = true,
            State::Closing => {}
        }
    }

    /// The account, once logged in.
    pub fn account(&self) -> Option<&Account> {
        self.login.account()
    }

    /// What a client set with SITE UMASK: bits to clear in the mode of what it makes. `None` while
    /// it set nothing and the server's own default holds.
    pub fn umask(&self) -> Option<u32> {
        self.umask
    }

    /// The directory relative names are resolved against.
    pub fn directory(&self) -> &VirtualPath {
        &self.directory
    }

    /// Octets this session holds beyond itself for input it has not acted upon: none when idle.
    pub fn held_bytes(&self) -> usize {
        self.reader.held_bytes() + self.deferred.held_bytes()
    }

    /// One line while nothing is under way.
    fn line(&mut self, line: &Line<'_>, out: &mut Outbox) -> Option<Next> {
        match line {
            Line::Whole(line) => self.command(line, out),
            Line::TooLong => self.unrecognized(reply::TOO_LONG, out),
        }
    }

    /// The whole table of commands.
    fn command(&mut self, line: &[u8], out: &mut Outbox) -> Option<Next> {
        let Some(request) = Request::read(line) else {
            self.prepared = Prepared::Nothing;
            self.login.forget_name();
            if command::is_foreign(line) {
                self.close(reply::NOT_FTP, out);
                return None;
            }
            return self.unrecognized(reply::UNKNOWN, out);
        };
        let prepared = self.take_prepared(request.verb);
        if request.verb != Verb::Pass {
            self.login.forget_name();
        }
        if let Some(answer) = self.gated(request.verb) {
            return self.say(answer, out);
        }
        let command = match request.command() {
            Ok(command) => command,
            Err(problem) => return self.problem(problem, out),
        };
        match command {
            Command::User(name) => self.user(name, out),
            Command::Pass(password) => self.pass(password, out),
            Command::Acct => self.say(reply::ACCOUNT, out),
            Command::Rein => self.reinitialize(out),
            Command::Quit => self.quit(out),
            Command::Type(kind) => self.set_type(kind, out),
            Command::Stru(structure) => self.set_structure(structure, out),
            Command::Mode => self.say(reply::MODE_STREAM, out),
            Command::Port(address) => self.active(address.into(), out),
            Command::Eprt(address) => self.active(address, out),
            Command::Pasv => self.passive(out),
            Command::Epsv(family) => self.extended_passive(family, out),
            Command::EpsvAll => self.extended_passive_only(out),
            Command::Cwd(path) => self.enter(path, out),
            Command::Cdup => self.enter(b"..", out),
            Command::Pwd => self.show_directory(out),
            Command::Mkd(path) => self.make_directory(path, out),
            Command::Rmd(path) => self.remove_directory(path, out),
            Command::Dele(path) => self.delete(path, out),
            Command::Rnfr(path) => self.rename_from(path, out),
            Command::Rnto(path) => self.rename_to(prepared, path, out),
            Command::Rest(offset) => self.restart(offset, out),
            Command::Retr(path) => self.retrieve(&prepared, path, out),
            Command::Stor(path) => self.store(&prepared, path, out),
            Command::Stou(stem) => self.store_unique(&prepared, stem, out),
            Command::Appe(path) => self.append(&prepared, path, out),
            Command::Allo(octets) => self.allocate(octets),
            Command::Abor => self.abort_idle(&prepared, out),
            Command::List(argument) => self.list(argument, out),
            Command::Nlst(argument) => self.list_names(argument, out),
            Command::Mlsd(argument) => self.list_machine(argument, out),
            Command::Mlst(argument) => self.facts(argument, out),
            Command::Size(path) => self.size(path, out),
            Command::Mdtm(path) => self.modified(path, out),
            Command::Mfmt(time, path) => self.set_modified(time, path, out),
            Command::Stat(None) => self.status(out),
            Command::Stat(Some(argument)) => self.list_status(argument, out),
            Command::Site(site) => self.site(site, out),
            Command::Syst => self.say(reply::SYSTEM, out),
            Command::Help(topic) => self.help(topic, out),
            Command::Noop => self.say(reply::NOOP, out),
            Command::Feat => self.features(out),
            Command::OptsMlst(names) => self.select_facts(names, out),
            Command::OptsUtf8 => self.say(reply::OPTION_UTF8, out),
            Command::Clnt => self.say(reply::CLIENT, out),
            Command::Security(command) => self.secure(command, out),
        }
    }

    /// Why this verb may not be used now, whatever its argument.
    fn gated(&self, verb: Verb) -> Option<reply::Reply> {
        match verb.gate() {
            Gate::Login if self.account().is_none() => Some(reply::LOGIN_NEEDED),
            Gate::Secure if self.settings.tls == Tls::Off => Some(reply::NOT_IMPLEMENTED),
            Gate::Login | Gate::Secure | Gate::Open | Gate::Absent => None,
        }
    }

    /// What the command before prepared, if this one may use it.
    fn take_prepared(&mut self, verb: Verb) -> Prepared {
        let between = matches!(verb, Verb::Pasv | Verb::Epsv | Verb::Port | Verb::Eprt);
        match &self.prepared {
            // RFC 959 §4.1.3: REST and RNFR are directly followed by the command they prepare.
            // Clients do send `REST`, `PASV`, `RETR`; to forget the offset then would make them
            // append the beginning of a file to its middle.
            Prepared::Restart(_) if between => Prepared::Nothing,
            Prepared::Nothing
            | Prepared::Restart(_)
            | Prepared::RenameFrom(_)
            | Prepared::Broken => std::mem::take(&mut self.prepared),
        }
    }

    fn problem(&self, problem: Problem, out: &mut Outbox) -> Option<Next> {
        match problem {
            Problem::Unknown => self.say(reply::UNKNOWN, out),
            Problem::Syntax => self.say(reply::SYNTAX, out),
            Problem::Absent => self.say(reply::NOT_IMPLEMENTED, out),
            Problem::Parameter => self.say(reply::PARAMETER, out),
            Problem::Family => {
                // RFC 2428 §2: the protocols that are supported, in the only parentheses.
                reply::PROTOCOL.fill(&[b"1,2"], out);
                None
            }
        }
    }

    /// A line that is no command. Before login their number is limited: such a peer is no FTP client.
    fn unrecognized(&mut self, answer: reply::Reply, out: &mut Outbox) -> Option<Next> {
        if self.account().is_none() {
            self.unknown += 1;
            if self.unknown >= UNKNOWN_MAX {
                self.close(reply::TOO_MANY_UNKNOWN, out);
                return None;
            }
        }
        self.say(answer, out)
    }

    #[expect(clippy::unused_self, reason = "reads as the last step of a handler")]
    fn say(&self, answer: reply::Reply, out: &mut Outbox) -> Option<Next> {
        answer.send(out);
        None
    }

    fn close(&mut self, answer: reply::Reply, out: &mut Outbox) {
        answer.send(out);
        self.state = State::Closing;
        self.step = None;
        self.deferred = Deferred::default();
    }

    /// RFC 959 §4.1.1: a QUIT during a transfer waits for its end; it waited as a deferred line.
    fn quit(&mut self, out: &mut Outbox) -> Option<Next> {
        self.close(reply::BYE, out);
        None
    }

    /// Reports what came of `Next::Ask` or `Next::Listen`.
    pub fn resume(&mut self, answer: Answer, out: &mut Outbox) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Asking(question) => self.answered(question, answer, out),
            // The limit passed while the question was pending: nobody waits for the answer.
            State::Closing => self.state = State::Closing,
            other @ (State::Ready | State::Transferring(_)) => {
                debug_assert!(false, "an answer nobody asked for");
                self.state = other;
            }
        }
    }
}

/// An IPv4 client of a socket that serves both families is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}
