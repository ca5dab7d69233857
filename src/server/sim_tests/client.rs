//! The script's FTP client: as orderly as its caller wants it to be.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::shard::client::{ClientListener, ClientSocket};
use crate::shard::{self, world};

/// A reply that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(600);

/// One reply of the server.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

impl fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.text.trim_end())
    }
}

/// How a data connection is to come about.
enum Door {
    Passive(SocketAddr),
    Active(ClientListener),
}

/// One control connection, seen from the client.
pub(super) struct Client {
    pub(super) control: ClientSocket,
    log: Vec<String>,
}

/// What came of a transfer.
#[derive(Debug)]
pub(super) struct Outcome {
    /// False when it was refused before it began.
    pub(super) begun: bool,
    /// The last reply.
    pub(super) last: Reply,
    /// What arrived, when something was to arrive.
    pub(super) received: Vec<u8>,
}

impl Client {
    pub(super) fn new(control: ClientSocket) -> Self {
        Self { control, log: Vec::new() }
    }

    /// Sends a command.
    pub(super) async fn send(&mut self, line: &str) -> io::Result<()> {
        self.log.push(format!("C {line}"));
        self.patiently(line, self.control.write(format!("{line}\r\n").as_bytes())).await
    }

    async fn patiently<T>(&self, what: &str, wait: impl Future<Output = T>) -> T {
        match shard::within(shard::now().after(PATIENCE), wait).await {
            Some(done) => done,
            None => panic!("{what}: nothing for {PATIENCE:?}; so far {:#?}", self.log),
        }
    }

    /// The next reply, all its lines.
    pub(super) async fn reply(&mut self) -> io::Result<Reply> {
        let deadline = shard::now().after(PATIENCE);
        let Some(reply) = shard::within(deadline, read_reply(&mut self.control)).await else {
            panic!("no reply for {PATIENCE:?}; so far {:#?}", self.log);
        };
        self.log.push(format!("S {reply:?}"));
        reply
    }

    /// Sends a command and reads its reply.
    pub(super) async fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(line).await?;
        self.reply().await
    }

    /// The same, and the reply must have this code.
    pub(super) async fn expect(&mut self, line: &str, code: u16) -> Reply {
        let reply = self.command(line).await.unwrap();
        self.check(&reply, &[code]);
        reply
    }

    /// The next reply must have one of these codes.
    pub(super) async fn expect_reply(&mut self, codes: &[u16]) -> Reply {
        let reply = self.reply().await.unwrap();
        self.check(&reply, codes);
        reply
    }

    fn check(&self, reply: &Reply, codes: &[u16]) {
        assert!(
            codes.contains(&reply.code),
            "{reply:?} is none of {codes:?}; so far {:#?}",
            self.log
        );
    }

    /// Greeting, anonymous login, TYPE I.
    pub(super) async fn login(&mut self) {
        self.login_as("anonymous", "sim@example.org").await;
    }

    /// Greeting, login, TYPE I.
    pub(super) async fn login_as(&mut self, user: &str, password: &str) {
        self.expect_reply(&[220]).await;
        self.expect(&format!("USER {user}"), 331).await;
        self.expect(&format!("PASS {password}"), 230).await;
        self.expect("TYPE I", 200).await;
    }

    async fn door(&mut self) -> io::Result<Result<Door, Reply>> {
        if world().rng.percent(25) {
            let listener = ClientListener::bind();
            let at = listener.local();
            let reply = self.command(&format!("EPRT |1|{}|{}|", at.ip(), at.port())).await?;
            return Ok(if reply.code == 200 { Ok(Door::Active(listener)) } else { Err(reply) });
        }
        let reply = self.command("EPSV").await?;
        if reply.code != 229 {
            return Ok(Err(reply));
        }
        Ok(Ok(Door::Passive(Self::passive(self.control.peer().ip(), &reply))))
    }

    /// Where a 229 says that the server listens.
    pub(super) fn passive(ip: IpAddr, reply: &Reply) -> SocketAddr {
        SocketAddr::new(ip, reply.text.split('|').nth(3).unwrap().parse().unwrap())
    }

    /// Begins a transfer: its data connection, or the reply that refused it.
    pub(super) async fn begin(&mut self, line: &str) -> io::Result<Result<ClientSocket, Reply>> {
        let door = match self.door().await? {
            Ok(door) => door,
            Err(reply) => return Ok(Err(reply)),
        };
        let early = match &door {
            Door::Passive(at) if world().rng.percent(50) => Some(ClientSocket::connect(*at).await?),
            Door::Passive(_) | Door::Active(_) => None,
        };
        self.send(line).await?;
        let early = match (early, &door) {
            (None, Door::Passive(at)) => ClientSocket::connect(*at).await.ok(),
            (early, _) => early,
        };
        let reply = self.reply().await?;
        if reply.code != 150 && reply.code != 125 {
            return Ok(Err(reply));
        }
        Ok(Ok(match (early, door) {
            (Some(socket), _) => socket,
            (None, Door::Active(listener)) => self.patiently("accept", listener.accept()).await,
            (None, Door::Passive(_)) => panic!("{reply:?} without a connection; {:#?}", self.log),
        }))
    }

    /// STOR, APPE and the like, whole.
    pub(super) async fn upload(&mut self, line: &str, content: &[u8]) -> io::Result<Outcome> {
        let data = match self.begin(line).await? {
            Ok(data) => data,
            Err(last) => return Ok(Outcome { begun: false, last, received: Vec::new() }),
        };
        if self.patiently("sending", data.write(content)).await.is_ok() {
            data.shut();
        }
        if world().rng.percent(50) {
            drop(data);
            let last = self.reply().await?;
            return Ok(Outcome { begun: true, last, received: Vec::new() });
        }
        let last = self.reply().await?;
        Ok(Outcome { begun: true, last, received: Vec::new() })
    }

    /// RETR, LIST and the like, whole.
    pub(super) async fn download(&mut self, line: &str) -> io::Result<Outcome> {
        let mut data = match self.begin(line).await? {
            Ok(data) => data,
            Err(last) => return Ok(Outcome { begun: false, last, received: Vec::new() }),
        };
        let (mut received, mut whole) = (Vec::new(), false);
        while let Ok(more) = self.patiently("receiving", data.read(65_536)).await {
            whole = more.is_empty();
            if whole {
                break;
            }
            received.extend(more);
        }
        drop(data);
        let last = self.reply().await?;
        assert!(whole || last.code >= 400, "{last:?} after a reset; so far {:#?}", self.log);
        Ok(Outcome { begun: true, last, received })
    }

    /// NOOP is answered, and by the next reply: commands and replies are in step.
    pub(super) async fn assert_in_step(&mut self) {
        self.expect("NOOP", 200).await;
        let unknown = self.command("SIMX").await.unwrap();
        assert!(unknown.code == 500 || unknown.code == 502, "{unknown:?}; so far {:#?}", self.log);
    }

    /// Says QUIT and sees the connection closed in order.
    pub(super) async fn quit(mut self) {
        self.expect("QUIT", 221).await;
        assert_eq!(self.control.read_to_end().await.unwrap(), b"", "after 221");
    }
}

async fn read_reply(control: &mut ClientSocket) -> io::Result<Reply> {
    let mut text = String::new();
    loop {
        let line = control.read_line().await?;
        if !line.ends_with(b"\r\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        text.push_str(&line);
        let code = line.get(..3).and_then(|digits| digits.parse().ok());
        let first = text.get(..3).and_then(|digits| digits.parse::<u16>().ok());
        let Some(first) = first else { panic!("not a reply: {text:?}") };
        if code == Some(first) && line.as_bytes().get(3) == Some(&b' ') {
            return Ok(Reply { code: first, text });
        }
    }
}
