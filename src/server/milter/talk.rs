//! server::milter::talk – one connection to a milter: `crate::milter` joined to a stream.
//!
//! Promises: every wait has an end: its deadline, or that of the server; a sign of life moves the deadline of
//! one answer, never that of the message; a connection that failed is not used again.
//! Not here: what is asked, and what comes of it (`super`).

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::config::MilterAddress;
use crate::limits::MILTER_BODY_BYTES_MAX;
use crate::milter::Fault;
use crate::milter::agreement::Agreement;
use crate::milter::dialogue::{Answer, Asked, Command, Dialogue, Said, Stage};
use crate::milter::macros::Macros;
use crate::milter::response::Edit;
use crate::mx::Verdict;
use crate::server::ingress::Ingress;
use crate::server::notice::Phase;
use crate::shard::{self, Instant, Stream};
use crate::store::spool::{Draft, Trouble};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For each answer, from when it is awaited or the last sign of life.
    pub(super) each: Duration,
    /// For all of them.
    pub(super) limit: Instant,
}

impl Patience {
    fn due(self) -> Instant {
        shard::now().after(self.each).min(self.limit)
    }
}

/// Why a milter is of no use.
#[derive(Debug)]
pub(super) enum Broken {
    /// There is no connection to it.
    Unreachable(String),
    /// It did not answer in time.
    Late(Option<Stage>),
    /// The connection ended.
    Gone(Option<Stage>, io::Error),
    /// It broke the rules.
    Fault(Option<Stage>, Fault),
    /// An address it wants is none.
    Address(String),
    /// The message could not be read, or what it became not written.
    Spool(Trouble),
    /// The server stops.
    Stopping,
}

impl Broken {
    /// For the log.
    pub(super) fn text(&self) -> String {
        let at = |stage: &Option<Stage>| stage.map_or("", Stage::name);
        match self {
            Self::Unreachable(why) => format!("no connection: {why}"),
            Self::Late(stage) => format!("no answer in time ({})", at(stage)),
            Self::Gone(stage, error) => format!("connection lost ({}): {error}", at(stage)),
            Self::Fault(stage, fault) => format!("{fault} ({})", at(stage)),
            Self::Address(text) => format!("not an address: {text:?}"),
            Self::Spool(trouble) => format!("the spool fails: {trouble:?}"),
            Self::Stopping => "the server stops".to_owned(),
        }
    }
}

/// One connection.
pub(super) struct Talk {
    stream: Stream,
    dialogue: Dialogue,
    out: Vec<u8>,
    /// The name of HELO it was told, and whether that was in TLS.
    pub(super) helo: Option<(String, bool)>,
}

impl Talk {
    /// Connects, and settles what both sides can do.
    pub(super) async fn open(
        ingress: &Rc<Ingress>,
        address: &MilterAddress,
        patience: Patience,
    ) -> Result<Self, Broken> {
        let due = patience.due();
        let stream = wait(ingress, due, connect(ingress, address)).await?;
        let stream = match stream {
            Some(stream) => stream.map_err(Broken::Unreachable)?,
            None => return Err(Broken::Unreachable("it took too long".to_owned())),
        };
        let mut out = Vec::new();
        let dialogue = Dialogue::begin(&mut out);
        let mut talk = Self { stream, dialogue, out, helo: None };
        talk.flush(ingress, due).await?;
        match talk.hear(ingress, due).await? {
            Said::Agreed => Ok(talk),
            // `Dialogue` lets nothing else through here.
            Said::Progress | Said::Body(_) | Said::Answer(_) => {
                Err(talk.fault(Fault::OutOfPlace("negotiation")))
            }
        }
    }

    pub(super) fn agreed(&self) -> &Agreement {
        self.dialogue.agreed()
    }

    pub(super) fn take_edits(&mut self) -> Vec<Edit> {
        self.dialogue.take_edits()
    }

    /// What was under way is not to be; said together with what comes next.
    pub(super) fn abort(&mut self) {
        self.dialogue.abort(&mut self.out);
    }

    /// One command, and its answer.
    pub(super) async fn ask(
        &mut self,
        ingress: &Ingress,
        command: Command<'_>,
        macros: &Macros,
        patience: Patience,
    ) -> Result<Answer, Broken> {
        let asked = self.dialogue.say(command, macros, &mut self.out);
        if asked.map_err(|fault| self.fault(fault))? != Asked::Answer {
            // What needs no answer goes together, as far as it is not too much.
            if self.out.len() >= MILTER_BODY_BYTES_MAX {
                self.flush(ingress, patience.due()).await?;
            }
            return Ok(Answer::Continue);
        }
        self.flush(ingress, patience.due()).await?;
        let mut due = patience.due();
        loop {
            match self.hear(ingress, due).await? {
                Said::Answer(answer) => return Ok(answer),
                Said::Progress => due = patience.due(),
                Said::Agreed | Said::Body(_) => {
                    return Err(self.fault(Fault::OutOfPlace("body")));
                }
            }
        }
    }

    /// The end of the message: what is awaited has all the time there is. The new body, if there is one.
    pub(super) async fn ask_end(
        &mut self,
        ingress: &Ingress,
        macros: &Macros,
        patience: Patience,
    ) -> Result<(Answer, Option<Draft>), Broken> {
        let asked = self.dialogue.say(Command::EndOfMessage, macros, &mut self.out);
        asked.map_err(|fault| self.fault(fault))?;
        self.flush(ingress, patience.due()).await?;
        let most = ingress.rules().smtp.max_message_bytes;
        let mut body: Option<Draft> = None;
        loop {
            match self.hear(ingress, patience.limit).await? {
                Said::Answer(answer) => return Ok((answer, body)),
                Said::Progress => {}
                Said::Body(octets) => {
                    let body = body.get_or_insert_with(|| ingress.spool.draft());
                    body.append(&octets).await.map_err(Broken::Spool)?;
                    if most > 0 && body.len() > most {
                        return Err(self.fault(Fault::TooMuch));
                    }
                }
                Said::Agreed => return Err(self.fault(Fault::OutOfPlace("negotiation"))),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn quit(mut self) {
        self.dialogue.quit(&mut self.out);
        self.stream.post(std::mem::take(&mut self.out));
        // Whether it hears that is its own affair.
        drop(shard::within(shard::now().after(GOODBYE), self.stream.posted()).await);
    }

    fn fault(&self, fault: Fault) -> Broken {
        Broken::Fault(self.dialogue.awaited(), fault)
    }

    fn gone(&self, error: io::Error) -> Broken {
        Broken::Gone(self.dialogue.awaited(), error)
    }

    async fn flush(&mut self, ingress: &Ingress, due: Instant) -> Result<(), Broken> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream.post(std::mem::take(&mut self.out));
        match wait(ingress, due, self.stream.posted()).await? {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(self.gone(error)),
            None => Err(Broken::Late(self.dialogue.awaited())),
        }
    }

    async fn hear(&mut self, ingress: &Ingress, due: Instant) -> Result<Said, Broken> {
        loop {
            if let Some(said) = self.dialogue.said().map_err(|fault| self.fault(fault))? {
                return Ok(said);
            }
            match wait(ingress, due, self.stream.receive()).await? {
                Some(Ok(octets)) if octets.is_empty() => {
                    return Err(self.gone(ErrorKind::UnexpectedEof.into()));
                }
                Some(Ok(octets)) => self.dialogue.heard(&octets),
                Some(Err(error)) => return Err(self.gone(error)),
                None => return Err(Broken::Late(self.dialogue.awaited())),
            }
        }
    }
}

async fn connect(ingress: &Rc<Ingress>, address: &MilterAddress) -> Result<Stream, String> {
    let (host, port) = match address {
        MilterAddress::Unix(path) => {
            return shard::dial_unix(path).await.map_err(|error| error.to_string());
        }
        MilterAddress::Net { host, port } => (host, *port),
    };
    let mut why = "its name has no address".to_owned();
    for ip in addresses(ingress, host).await? {
        match shard::dial(None, SocketAddr::new(ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

async fn addresses(ingress: &Rc<Ingress>, host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    // RFC 6761 §6.3.
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    match ingress.resolver.addresses(host).await {
        Verdict::Reach(destination) => {
            Ok(destination.hosts.into_iter().flat_map(|host| host.addresses).collect())
        }
        Verdict::Never(refusal) | Verdict::Later(refusal) => Err(refusal.text),
    }
}

/// Waits for `future`, but not longer than the deadline (`None`), nor when the server stops.
async fn wait<F: Future>(
    ingress: &Ingress,
    due: Instant,
    future: F,
) -> Result<Option<F::Output>, Broken> {
    let notice = &ingress.local.notice;
    let mut future = pin!(shard::within(due, future));
    let mut stopping = pin!(async {
        let mut phase = notice.phase();
        while phase != Phase::Stopping {
            phase = notice.changed(phase).await;
        }
    });
    poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        stopping.as_mut().poll(context).map(|()| Err(Broken::Stopping))
    })
    .await
}
