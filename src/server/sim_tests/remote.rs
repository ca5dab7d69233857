//! A simulated server that takes mail, well or badly.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::line::Line;
use crate::sasl::scram::Verifier;
use crate::sasl::{Exchange, Mechanism, Step};
use crate::shard;
use crate::shard::client::{ClientListener, ClientSocket, elsewhere};
use crate::wire::secret::Secret;

/// Who may send where a login is asked for.
pub(super) const USER: &str = "edge";
pub(super) const PASSWORD: &str = "secret";
/// Computed once.
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(PASSWORD, b"salt", 4096).unwrap());

/// What a client is at when something happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Greeting,
    Hello,
    /// The answer to STARTTLS, and then the handshake.
    StartTls,
    Handshake,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// Amid the octets of the message.
    Body,
    /// The message is whole, and the client waits to hear that.
    Dot,
    Quit,
}

pub(super) const PHASES: [Phase; 11] = [
    Phase::Greeting,
    Phase::Hello,
    Phase::StartTls,
    Phase::Handshake,
    Phase::Auth,
    Phase::Mail,
    Phase::Rcpt,
    Phase::Data,
    Phase::Body,
    Phase::Dot,
    Phase::Quit,
];

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is said for ever.
    Hang,
    Reset,
    /// The connection ends as if all were well.
    Close,
    /// What is said is no reply.
    Garbage,
    /// A reply without end.
    Endless,
    /// This is said instead.
    Say(&'static str),
    /// The same at the end of a message, which is kept all the same.
    KeepBut(&'static str),
    /// What is right is said, an octet in so many seconds.
    Drip(u64),
}

/// One message that was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) octets: Vec<u8>,
    /// When the client was told, in nanoseconds of the simulation; `None`: it was not.
    pub(super) told: Option<u64>,
}

/// The server, as the script sees it.
#[derive(Clone)]
pub(super) struct Remote(pub(super) Rc<State>);

pub(super) struct State {
    /// What EHLO is answered with, beside the name.
    pub(super) offers: RefCell<Vec<&'static str>>,
    pub(super) lmtp: Cell<bool>,
    /// Mail is taken after a login alone.
    pub(super) guarded: Cell<bool>,
    /// What happens, and how often yet.
    pub(super) fault: Cell<Option<(Phase, Fault, usize)>>,
    /// Recipients of one transaction at most.
    pub(super) recipients_max: Cell<usize>,
    /// Recipients that are refused, and how.
    pub(super) refusals: RefCell<Vec<(&'static str, &'static str)>>,
    pub(super) taken: RefCell<Vec<Taken>>,
    pub(super) lines: RefCell<Vec<String>>,
    pub(super) connections: Cell<usize>,
    /// Open now, and most at a time.
    pub(super) open: Cell<usize>,
    pub(super) open_most: Cell<usize>,
}

impl Remote {
    /// Listens; serves for as long as the run lasts.
    pub(super) fn begin(address: &str) -> Self {
        Self::serve_on(ClientListener::bind_at(address.parse().unwrap()))
    }

    /// The same behind a socket with a name in the file system.
    pub(super) fn begin_path(path: &Path) -> Self {
        Self::serve_on(ClientListener::bind_path(path))
    }

    fn serve_on(listener: ClientListener) -> Self {
        let state = State {
            offers: RefCell::new(vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 100000000"]),
            lmtp: Cell::new(false),
            guarded: Cell::new(false),
            fault: Cell::new(None),
            recipients_max: Cell::new(usize::MAX),
            refusals: RefCell::default(),
            taken: RefCell::default(),
            lines: RefCell::default(),
            connections: Cell::new(0),
            open: Cell::new(0),
            open_most: Cell::new(0),
        };
        let remote = Self(Rc::new(state));
        let own = remote.clone();
        elsewhere("remote", async move {
            loop {
                let (socket, one) = (listener.accept().await, own.clone());
                elsewhere("remote session", one.serve(socket));
            }
        });
        remote
    }

    /// The next `times` clients that come to `phase` see this.
    pub(super) fn goes_wrong(&self, phase: Phase, fault: Fault, times: usize) {
        self.0.fault.set(Some((phase, fault, times)));
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.0.taken.borrow().clone()
    }

    async fn serve(self, socket: ClientSocket) {
        let state = &self.0;
        state.connections.set(state.connections.get() + 1);
        state.open.set(state.open.get() + 1);
        state.open_most.set(state.open_most.get().max(state.open.get()));
        let mut session = Session {
            state,
            line: Line::new(socket),
            known: false,
            sender: None,
            recipients: Vec::new(),
            octets: Vec::new(),
        };
        // A client that goes away is its own affair.
        drop(session.talk().await);
        state.open.set(state.open.get() - 1);
    }
}

/// One connection.
struct Session<'s> {
    state: &'s State,
    line: Line,
    /// Logged in.
    known: bool,
    sender: Option<String>,
    recipients: Vec<String>,
    /// Of chunks so far.
    octets: Vec<u8>,
}

impl Session<'_> {
    /// Does what is to go wrong here; false when nothing does.
    async fn wrong(&mut self, phase: Phase) -> io::Result<bool> {
        let Some((at, fault, times)) = self.state.fault.get() else { return Ok(false) };
        if at != phase || times == 0 {
            return Ok(false);
        }
        self.state.fault.set(Some((at, fault, times - 1)));
        match fault {
            Fault::Hang => std::future::pending::<()>().await,
            Fault::Reset => {
                self.line.reset();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Fault::Close => return Err(io::ErrorKind::UnexpectedEof.into()),
            Fault::Garbage => {
                self.say("\u{1}\u{2}nonsense \u{0} 777").await?;
                return Ok(true);
            }
            Fault::Endless => loop {
                self.say("250-and another thing").await?;
                // Somebody who sends without end is slowed down by the network at the least.
                pause(Duration::from_millis(1)).await;
            },
            Fault::Say(line) | Fault::KeepBut(line) => self.say(line).await?,
            // Who asked does that himself.
            Fault::Drip(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.line.write(format!("{line}\r\n").as_bytes()).await
    }

    /// `line`, unless something goes wrong here.
    async fn answer(&mut self, phase: Phase, line: &str) -> io::Result<bool> {
        let slow = match self.state.fault.get() {
            Some((at, Fault::Drip(seconds), times)) if at == phase && times > 0 => Some(seconds),
            _ => None,
        };
        if self.wrong(phase).await? {
            return Ok(false);
        }
        let Some(seconds) = slow else { return self.say(line).await.map(|()| true) };
        for octet in format!("{line}\r\n").into_bytes() {
            pause(Duration::from_secs(seconds)).await;
            self.line.write(&[octet]).await?;
        }
        Ok(true)
    }

    async fn talk(&mut self) -> io::Result<()> {
        self.answer(Phase::Greeting, "220 remote.example ESMTP").await?;
        loop {
            let line = self.line.read_line().await?;
            if line.is_empty() {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.state.lines.borrow_mut().push(line.clone());
            let word = line.split(' ').next().unwrap().to_ascii_uppercase();
            match word.as_str() {
                "EHLO" | "LHLO" => self.hello().await?,
                "HELO" => drop(self.answer(Phase::Hello, "250 remote.example").await?),
                "AUTH" if self.line.is_secure() => self.login(&line).await?,
                "MAIL" if self.state.guarded.get() && !self.known => {
                    self.say("530 5.7.0 who are you?").await?;
                }
                "MAIL" => {
                    if self.answer(Phase::Mail, "250 2.1.0 ok").await? {
                        self.sender = Some(path(&line));
                        self.recipients.clear();
                    }
                }
                "RCPT" => self.rcpt(&path(&line)).await?,
                "DATA" if self.recipients.is_empty() => self.say("503 5.5.1 for whom?").await?,
                "DATA" => self.data().await?,
                "BDAT" => self.chunk(&line).await?,
                "RSET" => {
                    self.recipients.clear();
                    self.say("250 2.0.0 ok").await?;
                }
                "STARTTLS" => {
                    if !self.answer(Phase::StartTls, "220 2.0.0 go ahead").await? {
                        continue;
                    }
                    // Whatever is said here, it is no TLS.
                    if self.wrong(Phase::Handshake).await? {
                        return Ok(());
                    }
                    self.line.secure().await?;
                }
                "QUIT" => {
                    self.answer(Phase::Quit, "221 2.0.0 bye").await?;
                    return Ok(());
                }
                _ => self.say("500 5.5.1 what?").await?,
            }
        }
    }

    async fn hello(&mut self) -> io::Result<()> {
        let secure = self.line.is_secure();
        let offers = self.state.offers.borrow().clone().into_iter();
        let mut offers: Vec<&str> =
            offers.filter(|offer| !secure || *offer != "STARTTLS").collect();
        if secure && self.state.guarded.get() {
            offers.push("AUTH PLAIN LOGIN SCRAM-SHA-256");
        }
        let mut text = String::new();
        for (number, line) in
            ["remote.example"].into_iter().chain(offers.iter().copied()).enumerate()
        {
            let last = if number == offers.len() { ' ' } else { '-' };
            text.push_str(&format!("250{last}{line}\r\n"));
        }
        self.answer(Phase::Hello, text.trim_end()).await.map(drop)
    }

    /// The client is who it says, by SCRAM.
    async fn login(&mut self, line: &str) -> io::Result<()> {
        if self.wrong(Phase::Auth).await? {
            return Ok(());
        }
        let mut words = line.split(' ').skip(1);
        let mut exchange = Exchange::new(Mechanism::named(words.next().unwrap()).unwrap());
        let mut said = words.next().map(str::to_owned);
        loop {
            let octets = said.as_deref().map(|said| Secret::new(STANDARD.decode(said).unwrap()));
            let mut step = exchange.respond(octets.as_ref());
            if let Step::Verifier { name } = &step {
                assert_eq!(name, USER);
                step = exchange.verifier(Some(&VERIFIER), &VERIFIER, "nonce");
            }
            match step {
                Step::Challenge(octets) => {
                    self.say(&format!("334 {}", STANDARD.encode(octets))).await?;
                    let line = self.line.read_line().await?;
                    said = Some(String::from_utf8(line).unwrap().trim_end().to_owned());
                }
                Step::Proven { name } => {
                    assert_eq!(name, USER);
                    self.known = true;
                    return self.say("235 2.7.0 it is you").await;
                }
                Step::Password { .. }
                | Step::Verifier { .. }
                | Step::Malformed
                | Step::Refused { .. } => panic!("{step:?}"),
            }
        }
    }

    async fn rcpt(&mut self, address: &str) -> io::Result<()> {
        let refusal = {
            let refusals = self.state.refusals.borrow();
            refusals.iter().find(|(one, _)| *one == address).map(|(_, reply)| *reply)
        };
        if let Some(reply) = refusal {
            return self.say(reply).await;
        }
        if self.recipients.len() >= self.state.recipients_max.get() {
            return self.say("452 4.5.3 too many recipients").await;
        }
        if self.answer(Phase::Rcpt, "250 2.1.5 ok").await? {
            self.recipients.push(address.to_owned());
        }
        Ok(())
    }

    async fn data(&mut self) -> io::Result<()> {
        if !self.answer(Phase::Data, "354 go on").await? {
            return Ok(());
        }
        let mut octets = Vec::new();
        let half = self
            .state
            .fault
            .get()
            .is_some_and(|(phase, _, times)| phase == Phase::Body && times > 0);
        loop {
            let line = self.line.read_line().await?;
            if half || line.is_empty() {
                // Who speaks amid a message takes none of it.
                if self.wrong(Phase::Body).await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // Cut off amid a line, or between two.
            if !line.ends_with(b"\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                break;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.whole(octets).await
    }

    async fn chunk(&mut self, line: &str) -> io::Result<()> {
        let mut words = line.split(' ').skip(1);
        let wanted: usize = words.next().unwrap().parse().unwrap();
        let end = self.octets.len() + wanted;
        while self.octets.len() < end {
            let more = self.line.read(end - self.octets.len()).await?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.octets.extend(more);
            // Who speaks amid a message takes none of it.
            if self.wrong(Phase::Body).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if words.next() != Some("LAST") {
            return self.say("250 ok").await;
        }
        let octets = std::mem::take(&mut self.octets);
        self.whole(octets).await
    }

    async fn whole(&mut self, octets: Vec<u8>) -> io::Result<()> {
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        let replies = if self.state.lmtp.get() { recipients.len() } else { 1 };
        let number = self.state.taken.borrow().len();
        let taken = Taken { sender, recipients, octets, told: None };
        // Who says that it did not take it did not; who is cut off did.
        let refuses = matches!(
            self.state.fault.get(),
            Some((Phase::Dot, Fault::Say(_) | Fault::Garbage, times)) if times > 0
        );
        if !refuses {
            self.state.taken.borrow_mut().push(taken);
        }
        for _ in 0..replies {
            if !self.answer(Phase::Dot, "250 2.0.0 taken").await? {
                return Ok(());
            }
        }
        self.state.taken.borrow_mut()[number].told = Some(shard::world().executor.now());
        Ok(())
    }
}

async fn pause(duration: Duration) {
    shard::sleep_until(shard::now().after(duration)).await;
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let (_, rest) = line.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}
