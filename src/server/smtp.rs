//! server::smtp – one SMTP connection: joins one dialogue to one shard.
//!
//! ```text
//!   input ─▶ advance ─▶ Ask ────▶ answered at once (router, room in the spool) ─▶ resume
//!               ▲   ├─▶ Body ───▶ draft.append
//!               │   ├─▶ Commit ─▶ draft.commit ─▶ resume ─▶ deliveries (after the reply)
//!               │   ├─▶ Secure ─▶ link::upgrade: nothing in clear behind it, flush, handshake
//!               │   └─▶ Receive ▶ flush, then wait for input · deadline · notice
//!               └──────────────────────────────┘
//! ```
//! Promises: output is flushed here only, when this task is about to wait for the client; a commit that
//! is under way goes on when the client vanishes; a slow client holds no buffer of the shard, and its
//! deadlines do not move when it sends an octet now and then.
//! Not here: replies, what a command means (`smtp`), how a message is kept (`store::spool`).

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use super::accept_mail::{self, Arrived, Asking};
use super::authenticate::Client;
use super::door::{self, Place, farewell};
use super::haste::{Haste, Least};
use super::ingress::{Ingress, Rules};
use super::inlet::Ends;
use super::link::{self, Link, Manner};
use super::milter::{About, Milters, Settled, Who};
use super::notice::{Changed, Phase};
use super::poll::poll_once;
use super::sockets::Service;
use crate::metrics::mail::{Reason, Received as How};
use crate::metrics::{Protocol, Refusal};
use crate::shard::{self, Alarm, Instant, Received, Stream};
use crate::smtp::envelope::Envelope;
use crate::smtp::header::Lacks;
use crate::smtp::reply;
use crate::smtp::session::Session;
use crate::smtp::step::{Answer, Ask, Fault, Login, Next, Timer};
use crate::store::spool::{Draft, Trouble};
use crate::tls::{Info, Use};
use crate::wire::outbox::Outbox;

/// Rounds of one session before others of the shard may run.
const ROUNDS: u32 = 64;
/// Octets of a message from which on as much is received at once as a block holds.
const LARGE_BYTES: u64 = 16 * 1024;
/// Octets of input that a session keeps in memory of its own while it waits for its outbox; what is
/// more stays in the block it came in.
const KEPT_BYTES: usize = 4 * 1024;
/// A client that is silent for so long is waited for at less cost: most sessions that idle go on idling.
const REST: Duration = Duration::from_millis(250);
/// How long replies may wait to be taken.
const STALL: Duration = Duration::from_secs(60);

/// Serves one accepted connection until it ends.
///
/// The state is made before the future, which borrows it: an `async fn` would keep a second copy of
/// everything it moves, in every idle session.
pub(super) fn session(
    ingress: Rc<Ingress>,
    stream: Stream,
    service: Service,
    ends: Ends,
) -> impl Future<Output = ()> {
    let mut begun = Reception::begin(ingress, stream, service, ends);
    async move {
        match &mut begun {
            Ok(reception) => {
                if !service.is_tls() || reception.begin_secure().await {
                    reception.serve().await;
                }
            }
            Err(refusal) => refusal.await,
        }
    }
}

struct Reception {
    ingress: Rc<Ingress>,
    /// Held as long as the session lasts.
    place: Place,
    /// Where the peer is; it may speak for a client elsewhere (`link`).
    peer: SocketAddr,
    /// As they were when the session began; who gets mail is looked up in those in force.
    rules: Rc<Rules>,
    stream: Link,
    dialogue: Session,
    /// Who the client is; none before it says so.
    client: Option<Box<Client>>,
    /// What TLS it speaks.
    cipher: Option<&'static str>,
    out: Outbox,
    message: Message,
    /// Who else is asked; nobody, as a rule.
    milters: Option<Box<Milters>>,
    alarm: Alarm,
    /// The last whole command was answered.
    active: Instant,
    phase: Phase,
    rounds: u32,
}

/// The message that is being received.
#[derive(Default)]
struct Message {
    /// `None` before the first, after the last, and when the octets cannot be kept.
    draft: Option<Draft>,
    /// `SIZE=`.
    declared: Option<u64>,
    haste: Haste,
    /// Between its first octet and its end.
    open: bool,
}

/// How a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// All input was used: wait for more.
    Wait,
    /// The outbox is full: flush it, then use the rest.
    Flush,
    /// STARTTLS was granted.
    Secure,
    /// Say what is left to say, and close.
    Close,
    /// The client is no more, or does not read.
    Gone,
}

/// What ended a wait.
enum Event {
    Input(Received),
    Deadline,
    Phase(Phase),
    Gone,
}

impl Reception {
    fn begin(
        ingress: Rc<Ingress>,
        stream: Stream,
        service: Service,
        Ends { local, peer }: Ends,
    ) -> Result<Self, Pin<Box<dyn Future<Output = ()>>>> {
        let rules = ingress.rules();
        let configured = &rules.smtp.milters;
        let milters = Milters::new(&ingress, configured, Ends { local, peer }, service);
        let link = |stream: Stream| {
            let link = Link::new(stream);
            link.speak_for(peer);
            link
        };
        let mut out = Outbox::default();
        let place = match door::enter(&ingress.local, peer.ip(), Protocol::Smtp) {
            Ok(place) => place,
            Err(why) => {
                let busy = match why {
                    Refusal::Draining => reply::DRAINING,
                    Refusal::Address => reply::TOO_MANY_OF_ADDRESS,
                    Refusal::Total | Refusal::Failures | Refusal::Resources => {
                        reply::TOO_MANY_CONNECTIONS
                    }
                };
                busy.fill(&[rules.settings.hostname.as_bytes()], &mut out);
                let local = Rc::clone(&ingress.local);
                // Who expects TLS understands no other words, and a handshake is not for the unwanted.
                let last = if service.is_tls() { Vec::new() } else { out.take() };
                return Err(Box::pin(door::refuse(local, link(stream), why, last)));
            }
        };
        tracing::debug!(%peer, "session begins");
        let settings = rules.settings_of(service);
        let mut dialogue = Session::new(Rc::clone(settings), local, peer, &mut out);
        dialogue.trust(rules.peers.trust(peer.ip()));
        // RFC 5321 §4.3.1: the client waits for the greeting. Who does not is a program that does not
        // listen, or another protocol.
        if rules.smtp.drop_early_talkers && !service.is_tls() && stream.unread() > 0 {
            out = Outbox::default();
            dialogue.early(&mut out);
            ingress.local.counters().mail.refused(Reason::Early);
        }
        Ok(Self {
            ingress,
            place,
            peer,
            rules,
            stream: link(stream),
            dialogue,
            client: None,
            cipher: None,
            out,
            message: Message::default(),
            milters,
            alarm: Alarm::default(),
            active: shard::now(),
            phase: Phase::Running,
            rounds: 0,
        })
    }

    /// The handshake of an implicit TLS connection; the greeting waits for it.
    async fn begin_secure(&mut self) -> bool {
        let begun = link::begin(&self.ingress.local, &self.stream, Use::Smtp);
        let info = Box::pin(begun).await;
        self.secured(info)
    }

    /// STARTTLS was granted, with so many octets behind it. The shared rule judges them.
    async fn upgrade(&mut self, left_over: usize) -> After {
        let granted = self.out.take();
        let Self { ingress, stream, .. } = self;
        let upgraded = link::upgrade(&ingress.local, stream, left_over, granted, Use::Smtp);
        let info = Box::pin(upgraded).await;
        if self.secured(info) { After::Wait } else { After::Gone }
    }

    fn secured(&mut self, info: Option<Info>) -> bool {
        let Some(info) = info else { return false };
        self.dialogue.secured();
        // What was said in clear of another client is forgotten.
        self.stream.speak_for(self.peer);
        self.client = None;
        self.cipher = Some(info.cipher);
        self.another_client(self.peer);
        // Time spent on a handshake is not idleness.
        self.active = shard::now();
        true
    }

    async fn serve(&mut self) {
        let local = Rc::clone(&self.ingress.local);
        let mut notice = local.notice.changed(self.phase);
        let mut input = None;
        loop {
            // In the heap: a session that waits has no use for the room.
            match Box::pin(self.take(input.take())).await {
                After::Wait | After::Flush | After::Secure => {}
                After::Gone => return self.end(),
                After::Close => {
                    self.end();
                    if self.dialogue.has_quit() && self.stream.unread() == 0 {
                        return self.adieu().await;
                    }
                    return Box::pin(farewell(&self.stream, self.out.take())).await;
                }
            }
            match self.wait(&mut notice).await {
                Event::Input(received) => input = Some(received),
                Event::Deadline => {
                    local.counters().mail.refused(Reason::Slow);
                    self.dialogue.timeout(&mut self.out);
                }
                Event::Phase(phase) => {
                    self.phase = phase;
                    notice = local.notice.changed(phase);
                    self.dialogue.drain(&mut self.out);
                    if phase == Phase::Stopping {
                        self.dialogue.stop(&mut self.out);
                        self.end();
                        return Box::pin(farewell(&self.stream, self.out.take())).await;
                    }
                }
                Event::Gone => return self.end(),
            }
        }
    }

    /// Counts what the end of the session ends.
    fn end(&mut self) {
        tracing::debug!(peer = %self.stream.peer(), "session ends");
        if let Some(milters) = &mut self.milters {
            milters.farewell();
        }
        if std::mem::take(&mut self.message).open {
            self.ingress.local.counters().mail.received(How::Aborted);
        }
    }

    /// Uses all of what was received.
    async fn take(&mut self, received: Option<Received>) -> After {
        let Some(received) = received else {
            let after = self.digest(&[]).await.1;
            return if after == After::Flush { Box::pin(self.take_rest(&[])).await } else { after };
        };
        let secrets = self.dialogue.hears_secrets();
        let (used, after) = self.digest(&received).await;
        let rest = received.get(used..).unwrap_or_default();
        let left_over = rest.len();
        let after = match after {
            After::Flush if left_over > KEPT_BYTES => Box::pin(self.take_rest(rest)).await,
            After::Flush => {
                // A client that does not read its replies shall not hold the shard's small buffers.
                let kept = Zeroizing::new(rest.to_vec());
                wipe(received, secrets);
                return Box::pin(self.take_rest(&kept)).await;
            }
            After::Wait | After::Secure | After::Close | After::Gone => after,
        };
        wipe(received, secrets);
        if after == After::Secure { Box::pin(self.upgrade(left_over)).await } else { after }
    }

    /// Flushes and goes on, until all is used.
    async fn take_rest(&mut self, mut rest: &[u8]) -> After {
        loop {
            if !self.out.is_empty() && !self.flush().await {
                return After::Gone;
            }
            let (used, after) = self.digest(rest).await;
            rest = rest.get(used..).unwrap_or_default();
            match after {
                After::Flush => {}
                After::Secure => return Box::pin(self.upgrade(rest.len())).await,
                After::Wait | After::Close | After::Gone => return after,
            }
        }
    }

    /// Lets the dialogue consume, and does what it asks for. How much was used.
    async fn digest(&mut self, octets: &[u8]) -> (usize, After) {
        let mut rest = octets;
        let after = loop {
            self.rounds = self.rounds.wrapping_add(1);
            if self.rounds.is_multiple_of(ROUNDS) {
                shard::yield_now().await;
            }
            match self.dialogue.advance(&mut rest, &mut self.out) {
                Next::Receive if rest.is_empty() => break After::Wait,
                Next::Receive | Next::Flush => break After::Flush,
                Next::Ask(ask @ (Ask::Auth { .. } | Ask::Respond(_) | Ask::Forget)) => {
                    let answer = Box::pin(self.authenticate(ask)).await;
                    self.dialogue.resume(answer, &mut self.out);
                }
                Next::Ask(Ask::Client { address, login }) => {
                    let answer = self.speak_for(address, login);
                    self.dialogue.resume(answer, &mut self.out);
                }
                Next::Ask(ask) => {
                    let answer = match self.milters {
                        Some(_) => Box::pin(self.answer_filtered(ask)).await,
                        None => self.answer(&ask),
                    };
                    self.dialogue.resume(answer, &mut self.out);
                }
                Next::Begin { declared } => self.open(declared),
                Next::Body(part) => self.keep(part).await,
                Next::Commit(envelope, lacks) => {
                    let answer = Box::pin(self.finish(envelope, lacks)).await;
                    // Time spent on a commit is not idleness.
                    self.active = shard::now();
                    self.dialogue.resume(answer, &mut self.out);
                }
                Next::Discard => {
                    // Its octets may still come; their clock goes on.
                    self.message.draft = None;
                    if std::mem::take(&mut self.message.open) {
                        self.ingress.local.counters().mail.received(How::Refused);
                    }
                }
                Next::Secure => break After::Secure,
                Next::Close => break After::Close,
            }
        };
        (octets.len() - rest.len(), after)
    }

    /// The message is whole: the milters have their say, and then it is committed.
    async fn finish(&mut self, mut envelope: Box<Envelope>, lacks: Lacks) -> Answer {
        let mut draft = std::mem::take(&mut self.message).draft;
        let mut settled = Settled { lacks, ..Settled::default() };
        if let Some(milters) = &mut self.milters
            && let Some(whole) = draft.take()
        {
            match milters.message(whole, &mut envelope, lacks).await {
                Ok((whole, what)) => (draft, settled) = (Some(whole), what),
                Err(refused) => {
                    self.ingress.local.counters().mail.received(How::Refused);
                    return refused;
                }
            }
        }
        let arrived = Arrived {
            cipher: self.cipher,
            user: self.user(),
            name: self.dialogue.client_name(),
            forwarded: self.dialogue.forwarded(),
        };
        accept_mail::commit(&self.ingress, draft, envelope, arrived, settled).await
    }

    fn answer(&self, ask: &Ask) -> Answer {
        accept_mail::answer(&self.ingress, self.asking(), ask)
    }

    fn asking(&self) -> Asking<'_> {
        let peer = self.stream.peer().ip();
        Asking { peer, user: self.user(), sender: self.dialogue.sender() }
    }

    /// The same, and what is fine with us is asked of the milters.
    async fn answer_filtered(&mut self, ask: Ask) -> Answer {
        let about = match &ask {
            Ask::Mail { declared, .. } => About::Sender(*declared),
            Ask::Rcpt(recipient) => About::Recipient(recipient.clone()),
            Ask::Verify(_)
            | Ask::Expand(_)
            | Ask::Auth { .. }
            | Ask::Respond(_)
            | Ask::Forget
            | Ask::Client { .. } => return self.answer(&ask),
        };
        let answer = self.answer(&ask);
        let Some(mut milters) = self.milters.take_if(|_| answer == Answer::Done) else {
            return answer;
        };
        let tls = self.stream.info();
        let client = self.client.as_ref();
        let user = client.and_then(|client| Some((&**client.user()?, client.mechanism()?)));
        let name = self.dialogue.client_name();
        let refused = match self.dialogue.envelope() {
            Some(envelope) => {
                milters.ask(&Who { envelope, user, name, tls: tls.as_ref() }, about).await
            }
            None => None,
        };
        self.milters = Some(milters);
        // Time spent on an answer is not idleness.
        self.active = shard::now();
        let Some(refused) = refused else { return Answer::Done };
        self.ingress.local.counters().mail.refused(Reason::Milter);
        accept_mail::tell(&self.ingress, self.asking(), &ask, &refused);
        refused
    }

    /// Nothing that milters were told of the client is true any more.
    fn another_client(&mut self, peer: SocketAddr) {
        if let Some(milters) = &mut self.milters {
            milters.speak_for(peer);
        }
    }

    /// Who the client is, if it said so.
    fn user(&self) -> Option<&str> {
        self.client.as_ref()?.user().map(|user| &**user)
    }

    /// XCLIENT, from a peer that is trusted with it.
    fn speak_for(&mut self, address: SocketAddr, login: Login) -> Answer {
        let local = &self.ingress.local;
        let client = match login {
            Login::Same => self.client.take(),
            Login::Nobody => None,
            Login::User(name) => {
                let accounts = local.shared.accounts.load();
                let Some(user) = accounts.find(name.as_bytes()) else {
                    return Answer::Refused(Fault::Denied);
                };
                Some(Box::new(Client::vouched(&user.name)))
            }
        };
        if self.place.go_to(address.ip()).is_err() {
            local.counters().refused(Refusal::Address);
            return Answer::Refused(Fault::Busy);
        }
        self.client = client;
        self.stream.speak_for(address);
        self.another_client(address);
        Answer::Done
    }

    /// AUTH. The client waits for its answer, so nothing else is looked at meanwhile.
    async fn authenticate(&mut self, ask: Ask) -> Answer {
        let peer = self.stream.peer().ip();
        let client = self.client.get_or_insert_default();
        let local = &self.ingress.local;
        let answer = match ask {
            Ask::Auth { mechanism, initial } => {
                client.begin(local, peer, &mechanism, initial).await
            }
            Ask::Respond(response) => client.respond(local, peer, response).await,
            Ask::Forget
            | Ask::Mail { .. }
            | Ask::Rcpt(_)
            | Ask::Verify(_)
            | Ask::Expand(_)
            | Ask::Client { .. } => {
                client.forget();
                Answer::Done
            }
        };
        // Time spent on an answer is not idleness.
        self.active = shard::now();
        answer
    }

    /// The last reply after QUIT: nothing comes any more that could make the close a reset, so the kernel
    /// sends what is left.
    async fn adieu(&mut self) {
        let Self { stream, out, .. } = self;
        let said = async {
            stream.posted().await?;
            stream.post_final(out.take());
            stream.posted().await
        };
        drop(shard::within(shard::now().after(STALL), said).await);
    }

    fn open(&mut self, declared: Option<u64>) {
        let draft = Some(self.ingress.spool.draft());
        self.message = Message { draft, declared, haste: Haste::default(), open: true };
    }

    /// Appends to the draft. What cannot be kept is read on to its end, and refused then.
    async fn keep(&mut self, part: &[u8]) {
        let Some(draft) = &mut self.message.draft else { return };
        if let Err(trouble) = draft.append(part).await {
            self.message.draft = None;
            self.message.open = false;
            self.ingress.local.counters().mail.received(How::Failed);
            let fault = match trouble {
                Trouble::NoSpace => Fault::NoSpace,
                Trouble::Broken => Fault::Broken,
            };
            self.dialogue.poison(fault);
        }
    }

    /// Flushes and waits.
    async fn wait(&mut self, notice: &mut Changed<'_>) -> Event {
        if !self.out.is_empty() && !self.flush().await {
            return Event::Gone;
        }
        loop {
            let (began, deadline) = match self.dialogue.timer() {
                Timer::Message => {
                    let now = shard::now();
                    (now, now.after(self.message.haste.left(self.least())))
                }
                Timer::Command(limit) => {
                    let limit = Duration::from_secs(u64::from(limit));
                    return self.event(self.active, self.active.after(limit), notice).await;
                }
                Timer::None => return self.event(self.active, Instant::NEVER, notice).await,
            };
            let event = self.event(began, deadline, notice).await;
            let octets = if let Event::Input(received) = &event { received.len() } else { 0 };
            self.message.haste.came(octets, shard::now().since(began));
            if !matches!(event, Event::Deadline) {
                return event;
            }
            let least = self.least();
            if self.message.haste.too_slow(least) {
                return event;
            }
        }
    }

    /// What comes first, of a client that is expected to speak since `began`.
    async fn event(
        &mut self,
        began: Instant,
        deadline: Instant,
        notice: &mut Changed<'_>,
    ) -> Event {
        let rest = began.after(REST);
        let mut manner = if self.expects_much() { Manner::Large } else { Manner::Usual };
        loop {
            let until = if manner == Manner::Usual { rest.min(deadline) } else { deadline };
            let event = self.event_before(until, manner, notice).await;
            if !matches!(event, Event::Deadline) || until == deadline {
                return event;
            }
            manner = Manner::AtRest;
        }
    }

    async fn event_before(
        &mut self,
        deadline: Instant,
        manner: Manner,
        notice: &mut Changed<'_>,
    ) -> Event {
        let Self { stream, alarm, .. } = self;
        let mut receive = pin!(stream.receive_in(manner));
        std::future::poll_fn(|context| {
            if let Poll::Ready(received) = receive.as_mut().poll(context) {
                return Poll::Ready(match received {
                    Ok(received) if !received.is_empty() => Event::Input(received),
                    Ok(_) | Err(_) => Event::Gone,
                });
            }
            if let Poll::Ready(phase) = Pin::new(&mut *notice).poll(context) {
                return Poll::Ready(Event::Phase(phase));
            }
            alarm.poll(deadline, context).map(|()| Event::Deadline)
        })
        .await
    }

    /// Is a large part of a message still to come?
    fn expects_much(&self) -> bool {
        let had = self.message.haste.octets();
        let rest = self.message.declared.map_or(u64::MAX, |all| all.saturating_sub(had));
        self.dialogue.in_message() && had >= LARGE_BYTES && rest >= LARGE_BYTES / 2
    }

    fn least(&self) -> Least {
        let smtp = &self.rules.smtp;
        let patience = Duration::from_secs(u64::from(smtp.message_seconds));
        Least { patience, rate: smtp.min_rate_bytes }
    }

    /// The one flush. False when the client does not read its replies, or is gone.
    async fn flush(&mut self) -> bool {
        let Self { stream, out, .. } = self;
        let posted = {
            let mut posted = pin!(stream.posted());
            match poll_once(|context| posted.as_mut().poll(context)).await {
                Some(posted) => Some(posted),
                None => Box::pin(shard::within(shard::now().after(STALL), posted)).await,
            }
        };
        if !matches!(posted, Some(Ok(()))) {
            return false;
        }
        stream.post(out.take());
        // A reply ends a command; octets of one that is not whole change nothing.
        self.active = shard::now();
        true
    }
}

/// What came may have held a password: nothing of it is left in a buffer of the shard.
fn wipe(mut received: Received, secrets: bool) {
    if secrets {
        received.zeroize();
    }
}
