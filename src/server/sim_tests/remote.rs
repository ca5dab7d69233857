//! A simulated server that takes mail, well or badly.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::shard;
use crate::shard::client::{ClientListener, ClientSocket, elsewhere};

/// What a client is at when something happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Greeting,
    Hello,
    Mail,
    Rcpt,
    Data,
    /// Amid the octets of the message.
    Body,
    /// The message is whole, and the client waits to hear that.
    Dot,
    Quit,
}

pub(super) const PHASES: [Phase; 8] = [
    Phase::Greeting,
    Phase::Hello,
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
}

/// One message that was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) octets: Vec<u8>,
    /// The client was told, as far as the server knows.
    pub(super) told: bool,
}

/// The server, as the script sees it.
#[derive(Clone)]
pub(super) struct Remote(pub(super) Rc<State>);

pub(super) struct State {
    /// What EHLO is answered with, beside the name.
    pub(super) offers: RefCell<Vec<&'static str>>,
    pub(super) lmtp: Cell<bool>,
    /// What happens, and how often yet.
    pub(super) fault: Cell<Option<(Phase, Fault, usize)>>,
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
            fault: Cell::new(None),
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
        let mut session =
            Session { state, socket, sender: None, recipients: Vec::new(), octets: Vec::new() };
        // A client that goes away is its own affair.
        drop(session.talk().await);
        state.open.set(state.open.get() - 1);
    }
}

/// One connection.
struct Session<'s> {
    state: &'s State,
    socket: ClientSocket,
    sender: Option<String>,
    recipients: Vec<String>,
    /// Of chunks so far.
    octets: Vec<u8>,
}

impl Session<'_> {
    /// Does what is to go wrong here; false when nothing does.
    async fn wrong(&self, phase: Phase) -> io::Result<bool> {
        let Some((at, fault, times)) = self.state.fault.get() else { return Ok(false) };
        if at != phase || times == 0 {
            return Ok(false);
        }
        self.state.fault.set(Some((at, fault, times - 1)));
        match fault {
            Fault::Hang => std::future::pending::<()>().await,
            Fault::Reset => {
                self.socket.reset();
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
                shard::sleep_until(shard::now().after(std::time::Duration::from_millis(1))).await;
            },
            Fault::Say(line) => self.say(line).await?,
        }
        Ok(true)
    }

    async fn say(&self, line: &str) -> io::Result<()> {
        self.socket.write(format!("{line}\r\n").as_bytes()).await
    }

    /// `line`, unless something goes wrong here.
    async fn answer(&self, phase: Phase, line: &str) -> io::Result<bool> {
        if self.wrong(phase).await? {
            return Ok(false);
        }
        self.say(line).await.map(|()| true)
    }

    async fn talk(&mut self) -> io::Result<()> {
        self.answer(Phase::Greeting, "220 remote.example ESMTP").await?;
        loop {
            let line = self.socket.read_line().await?;
            if line.is_empty() {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.state.lines.borrow_mut().push(line.clone());
            let word = line.split(' ').next().unwrap().to_ascii_uppercase();
            match word.as_str() {
                "EHLO" | "LHLO" => self.hello().await?,
                "HELO" => drop(self.answer(Phase::Hello, "250 remote.example").await?),
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
                    self.say("220 2.0.0 go ahead").await?;
                    let hello = self.socket.read(1).await?;
                    assert_eq!(hello, [22], "a handshake begins");
                    // Whatever this is, it is no TLS.
                    self.socket.write(b"220 no, really\r\n").await?;
                    return Ok(());
                }
                "QUIT" => {
                    self.answer(Phase::Quit, "221 2.0.0 bye").await?;
                    return Ok(());
                }
                _ => self.say("500 5.5.1 what?").await?,
            }
        }
    }

    async fn hello(&self) -> io::Result<()> {
        if self.wrong(Phase::Hello).await? {
            return Ok(());
        }
        let offers = self.state.offers.borrow().clone();
        let mut text = String::new();
        for (number, line) in
            ["remote.example"].into_iter().chain(offers.iter().copied()).enumerate()
        {
            let last = if number == offers.len() { ' ' } else { '-' };
            text.push_str(&format!("250{last}{line}\r\n"));
        }
        self.socket.write(text.as_bytes()).await
    }

    async fn rcpt(&mut self, address: &str) -> io::Result<()> {
        let refusal = {
            let refusals = self.state.refusals.borrow();
            refusals.iter().find(|(one, _)| *one == address).map(|(_, reply)| *reply)
        };
        if let Some(reply) = refusal {
            return self.say(reply).await;
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
            let line = self.socket.read_line().await?;
            if half || line.is_empty() {
                self.wrong(Phase::Body).await?;
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
            let more = self.socket.read(end - self.octets.len()).await?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.octets.extend(more);
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
        let taken = Taken { sender, recipients, octets, told: false };
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
        self.state.taken.borrow_mut()[number].told = true;
        Ok(())
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let (_, rest) = line.split_once('<').unwrap();
    rest.split_once('>').unwrap().0.to_owned()
}
