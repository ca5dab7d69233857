//! server::ftp – the control connection: joins one FTP dialogue to one shard.
//!
//! ```text
//!   input ─▶ advance ─▶ Ask ─────▶ ask.rs ─────▶ resume
//!               ▲   └─▶ Transfer ▶ transfer.rs ▶ transfer (polled in this very task)
//!               │   └─▶ Receive ─▶ flush, then wait for input · transfer · deadline · notice
//!               └──────────────────────────────┘
//! ```
//! Promises: output is flushed here only, when this task is about to wait; the transfer is looked at once
//! before that, so that a small file costs one packet for both its replies. A control connection that
//! ends takes everything with it (RFC 959 §4.1.1): data connection, port, temporary.
//! Not here: replies, what a command means, how octets move.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::ask;
use super::door::{self, Place, farewell};
use super::input::Input;
use super::link::{self, Link};
use super::login::{self, Login};
use super::notice::Phase;
use super::poll::poll_once;
use super::shared::{Context, View};
use super::sockets::Service;
use super::transfer::{self, Change, Ground, Privacy, Running, Who};
use crate::ftp::reply;
use crate::ftp::session::{Session, Timer};
use crate::ftp::step::{Answer, Ask, Family, Fault, Job, Kind, News, Next, Secret, Transfer};
use crate::metrics::tls::Failed;
use crate::metrics::{Ending, Protocol, Refusal, Verb};
use crate::shard::{self, Instant, Passive, Received, Stream};
use crate::store::files::Tree;
use crate::tls::{Offer, Use};
use crate::wire::outbox::Outbox;

/// Bits cleared in the mode of what a client makes while it sets none itself.
const UMASK: u32 = 0o022;
/// Rounds of one session before others of the shard may run.
const ROUNDS: u32 = 64;

/// Serves one accepted control connection until it ends.
///
/// The state is made before the future, which borrows it: an `async fn` would keep a second copy of
/// everything it moves, in every idle session.
pub(super) fn session(
    context: Rc<Context>,
    stream: Stream,
    service: Service,
) -> impl Future<Output = ()> {
    let mut begun = Control::begin(context, stream, service);
    async move {
        match &mut begun {
            Ok(control) => {
                if !service.is_tls() || control.begin_secure().await {
                    control.serve().await;
                }
                control.end();
            }
            Err(refusal) => refusal.await,
        }
    }
}

struct Control {
    context: Rc<Context>,
    /// Held as long as the session lasts.
    _place: Place,
    view: Rc<View>,
    stream: Link,
    dialogue: Session,
    out: Outbox,
    input: Input,
    guest: Option<Guest>,
    passive: Option<Rc<Passive>>,
    running: Option<Running>,
    /// What the running transfer is, for the counters.
    verb: Verb,
    /// What became of the transfer while something else was waited for.
    change: Option<Change>,
    progress: Option<Rc<Cell<u64>>>,
    /// For the data connections of a session in TLS.
    offer: Option<Offer>,
    failures: u32,
    started: Instant,
    active: Instant,
    phase: Phase,
}

/// Who logged in, and to what.
struct Guest {
    tree: Rc<Tree>,
    who: Rc<Who>,
}

/// What ended a wait.
enum Event {
    /// Input that was left over can be used now.
    Ready,
    Input(Received),
    Change(Change),
    Deadline,
    Phase(Phase),
    /// The control connection is no more, or its client does not read.
    Gone,
}

impl Control {
    fn begin(
        context: Rc<Context>,
        stream: Stream,
        service: Service,
    ) -> Result<Self, Pin<Box<dyn Future<Output = ()>>>> {
        let view = context.view();
        let (local, peer) = (stream.local(), stream.peer());
        let mut out = Outbox::default();
        let place = match door::enter(&context.local, peer.ip(), Protocol::Ftp) {
            Ok(place) => place,
            Err(why) => {
                let busy = if why == Refusal::Draining { reply::DRAINING } else { reply::BUSY };
                busy.send(&mut out);
                let local = Rc::clone(&context.local);
                // Who expects TLS understands no other words, and a handshake is not for the unwanted.
                let last = if service.is_tls() { Vec::new() } else { out.take() };
                return Err(Box::pin(door::refuse(local, Link::new(stream), why, last)));
            }
        };
        tracing::debug!(%peer, "session begins");
        let mut dialogue = Session::new(Rc::clone(&view.settings), local, peer, &mut out);
        if service.is_tls() {
            dialogue = dialogue.implicit();
        }
        let now = shard::now();
        Ok(Self {
            phase: Phase::Running,
            context,
            _place: place,
            view,
            stream: Link::new(stream),
            dialogue,
            out,
            input: Input::Empty,
            guest: None,
            passive: None,
            verb: Verb::List,
            running: None,
            change: None,
            progress: None,
            offer: None,
            failures: 0,
            started: now,
            active: now,
        })
    }

    fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// Counts what the end of the session ends.
    fn end(&self) {
        tracing::debug!(peer = %self.stream.peer(), "session ends");
        if self.running.is_some() {
            self.context().counters().transferred(self.verb, Ending::Aborted);
        }
        if self.guest.is_some() {
            self.context().counters().sessions_ended.increment();
        }
    }

    /// The handshake of an implicit TLS connection; the greeting waits for it.
    async fn begin_secure(&self) -> bool {
        let begun = link::begin(&self.context.local, &self.stream, Use::Ftp);
        Box::pin(begun).await.is_some()
    }

    async fn serve(&mut self) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            if rounds % ROUNDS == 0 {
                shard::yield_now().await;
            }
            if let Some(progress) = &self.progress {
                self.dialogue.progress(progress.get());
            }
            match self.input.advance(&mut self.dialogue, &mut self.out) {
                Next::Receive => match self.wait().await {
                    Event::Ready => {}
                    Event::Input(received) => {
                        self.active = shard::now();
                        let lines = memchr::memchr_iter(b'\n', &received).count();
                        self.context().counters().commands.add(u64::try_from(lines).unwrap_or(0));
                        self.input.append(received);
                    }
                    Event::Change(change) => self.changed(change),
                    Event::Deadline => self.dialogue.timeout(&mut self.out),
                    Event::Gone => return,
                    Event::Phase(Phase::Stopping) => return Box::pin(self.stop()).await,
                    Event::Phase(phase) => {
                        self.phase = phase;
                        self.dialogue.drain(&mut self.out);
                    }
                },
                Next::Ask(ask) => Box::pin(self.ask(ask)).await,
                Next::Listen(family) => self.listen(family),
                Next::Unlisten => self.passive = None,
                Next::Transfer(transfer) => self.start(transfer),
                Next::Abort => self.abort(),
                Next::Secure => {
                    if !Box::pin(self.secure()).await {
                        return;
                    }
                }
                Next::Unsecure => {
                    if !Box::pin(self.unsecure()).await {
                        return;
                    }
                }
                Next::Close => {
                    if self.dialogue.is_injected() {
                        self.context().counters().tls.failed(Failed::Injected);
                    }
                    self.running = None;
                    return Box::pin(farewell(&self.stream, self.out.take())).await;
                }
            }
        }
    }

    /// AUTH: the reply goes out, and TLS begins. False when the connection is of no use any more.
    async fn secure(&mut self) -> bool {
        let left_over = self.input.len() + self.dialogue.held_bytes();
        let granted = self.out.take();
        let local = &self.context.local;
        let info = link::upgrade(local, &self.stream, left_over, granted, Use::Ftp).await;
        if info.is_none() {
            return false;
        }
        self.dialogue.secured();
        self.offer = None;
        self.active = shard::now();
        true
    }

    /// REIN: the reply goes out, and TLS ends. False when the connection is of no use any more.
    async fn unsecure(&mut self) -> bool {
        let last = self.out.take();
        let deadline = shard::now().after(self.view.stall);
        self.offer = None;
        match shard::within(deadline, self.stream.unsecure(last)).await {
            Some(Ok(behind)) => {
                self.input.append(behind);
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// What the data connections of a session in TLS must be.
    fn privacy(&mut self) -> Option<Privacy> {
        let offer = match &self.offer {
            Some(offer) => offer.clone(),
            None => self.offer.insert(self.stream.data_offer()?).clone(),
        };
        let binding = self.stream.info().and_then(|info| info.bound);
        Some(Privacy { offer, binding, policy: self.view.ftp.data_tls })
    }

    /// The time to drain is over: what runs is broken off, and the client is told.
    async fn stop(&mut self) {
        if self.running.take().is_some() {
            self.context().counters().transferred(self.verb, Ending::Aborted);
            self.dialogue.transfer(News::Broken, &mut self.out);
        }
        self.dialogue.drain(&mut self.out);
        farewell(&self.stream, self.out.take()).await;
    }

    /// Flushes and waits; but first looks whether there is anything to wait for.
    async fn wait(&mut self) -> Event {
        if let Some(change) = self.change.take() {
            return Event::Change(change);
        }
        if let Some(running) = &mut self.running
            && let Some(change) = poll_once(|context| running.poll(context)).await
        {
            return Event::Change(change);
        }
        if !self.out.is_empty() && !self.flush().await {
            return Event::Gone;
        }
        if let Some(change) = self.change.take() {
            return Event::Change(change);
        }
        let wants = self.dialogue.wants_input();
        if wants && !self.input.is_empty() {
            return Event::Ready;
        }
        self.input.settle();
        let deadline = self.deadline();
        let Self { stream, running, context, phase, .. } = self;
        let mut receive = pin!(stream.receive());
        let mut sleep = pin!(shard::sleep_until(deadline));
        let mut notice = pin!(context.notice.changed(*phase));
        std::future::poll_fn(|context| {
            if let Some(running) = running
                && let Poll::Ready(change) = running.poll(context)
            {
                return Poll::Ready(Event::Change(change));
            }
            if wants && let Poll::Ready(received) = receive.as_mut().poll(context) {
                return Poll::Ready(match received {
                    Ok(received) if !received.is_empty() => Event::Input(received),
                    Ok(_) | Err(_) => Event::Gone,
                });
            }
            if let Poll::Ready(phase) = notice.as_mut().poll(context) {
                return Poll::Ready(Event::Phase(phase));
            }
            if deadline != Instant::NEVER && sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Deadline);
            }
            Poll::Pending
        })
        .await
    }

    /// The one flush. False when the client does not read its replies, or is gone.
    async fn flush(&mut self) -> bool {
        let deadline = shard::now().after(self.view.stall);
        let Self { stream, running, change, out, .. } = self;
        let mut posted = pin!(stream.posted());
        let posted = match poll_once(|context| posted.as_mut().poll(context)).await {
            Some(posted) => Some(posted),
            None => alongside(running, change, Box::pin(shard::within(deadline, posted))).await,
        };
        match posted {
            Some(Ok(())) => {
                stream.post(out.take());
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    fn deadline(&self) -> Instant {
        match self.dialogue.timer() {
            Timer::Login => self.started.after(seconds(self.view.ftp.login_seconds)),
            Timer::Idle(limit) => self.active.after(seconds(limit)),
            Timer::None => Instant::NEVER,
        }
    }

    async fn ask(&mut self, ask: Ask) {
        // Octets wait in their own memory meanwhile, not in a buffer of the shard.
        self.input.settle();
        let answer = if let Ask::Login { user, password } = ask {
            self.log_in(user, password).await
        } else if let Some(tree) = self.guest.as_ref().map(|guest| Rc::clone(&guest.tree)) {
            let asked = ask::Asked {
                context: Rc::clone(self.context()),
                view: Rc::clone(&self.view),
                tree,
                umask: self.umask(),
            };
            let Self { running, change, .. } = self;
            alongside(running, change, Box::pin(ask::answer(asked, ask))).await
        } else {
            Answer::Refused(Fault::Denied)
        };
        // Time spent on an answer is not idleness.
        self.active = shard::now();
        self.dialogue.resume(answer, &mut self.out);
    }

    async fn log_in(&mut self, user: Vec<u8>, password: Secret) -> Answer {
        let context = Rc::clone(self.context());
        let login =
            Login { user, password, peer: self.stream.peer().ip(), failures: self.failures };
        let Self { running, change, .. } = self;
        let entered = alongside(running, change, Box::pin(login::login(context, login))).await;
        let counters = self.context().counters();
        match entered {
            Ok(entry) => {
                counters.logins_ok.increment();
                if self.guest.is_none() {
                    counters.sessions_started.increment();
                }
                self.guest = Some(Guest { tree: entry.tree, who: entry.who });
                self.view = entry.view;
                Answer::LoggedIn(entry.account)
            }
            Err(fault) => {
                counters.logins_failed.increment();
                self.failures += u32::from(fault == Fault::Denied);
                Answer::Refused(fault)
            }
        }
    }

    fn umask(&self) -> u32 {
        self.dialogue.umask().unwrap_or(UMASK)
    }

    fn listen(&mut self, family: Family) {
        self.passive = None;
        let address = self.stream.local().ip().to_canonical();
        let answer = if address.is_ipv4() != (family == Family::Inet) {
            Answer::Refused(Fault::Unsupported)
        } else {
            match Passive::bind(address, &self.view.ftp.passive_ports) {
                Ok(passive) => {
                    let local = passive.local();
                    self.passive = Some(Rc::new(passive));
                    Answer::Listening(local)
                }
                Err(error) => {
                    tracing::debug!(%error, "no passive port");
                    Answer::Refused(Fault::Exhausted)
                }
            }
        };
        self.dialogue.resume(answer, &mut self.out);
    }

    fn start(&mut self, transfer: Transfer) {
        let Some(guest) = &self.guest else {
            self.dialogue.transfer(News::Refused(Fault::Denied), &mut self.out);
            return;
        };
        let (tree, who) = (Rc::clone(&guest.tree), Rc::clone(&guest.who));
        self.verb = match &transfer.job {
            Job::Retrieve { .. } => Verb::Retr,
            Job::Store { offset_bytes: 0, .. } | Job::StoreUnique { .. } => Verb::Stor,
            Job::Store { .. } | Job::Append { .. } => Verb::Appe,
            Job::List { .. } => Verb::List,
        };
        let privacy = if transfer.private { self.privacy() } else { None };
        if transfer.private && privacy.is_none() {
            self.dialogue.transfer(News::NotSecured, &mut self.out);
            return;
        }
        let progress = Rc::new(Cell::new(0));
        self.progress = Some(Rc::clone(&progress));
        self.change = None;
        let ground = Ground {
            context: Rc::clone(self.context()),
            view: Rc::clone(&self.view),
            tree,
            passive: self.passive.clone(),
            local: self.stream.local(),
            peer: self.stream.peer(),
            progress,
            umask: self.umask(),
            who,
            begun: shard::now(),
            text: transfer.representation.kind != Kind::Image,
            privacy,
        };
        self.running = Some(transfer::start(ground, transfer));
    }

    fn changed(&mut self, change: Change) {
        let news = match change {
            Change::Opened(opened) => {
                self.passive = None;
                self.running = Some(Running::Moving(opened.pump));
                News::Opened { name: opened.name, size_bytes: opened.size_bytes }
            }
            Change::Ended(news) => {
                // A refused transfer leaves the port to the next one.
                if !matches!(news, News::Refused(_)) {
                    self.passive = None;
                }
                let counters = self.context().counters();
                match &news {
                    News::Done { .. } => counters.transferred(self.verb, Ending::Ok),
                    News::Broken | News::Aborted => {
                        counters.transferred(self.verb, Ending::Aborted);
                    }
                    News::Failed(_) | News::NoConnection | News::NotSecured | News::NotResumed => {
                        counters.transferred(self.verb, Ending::Failed);
                    }
                    News::Refused(_) | News::Opened { .. } => {}
                }
                self.running = None;
                self.progress = None;
                self.active = shard::now();
                news
            }
        };
        self.dialogue.transfer(news, &mut self.out);
    }

    fn abort(&mut self) {
        let news = match self.change.take() {
            Some(Change::Ended(news)) => news,
            Some(Change::Opened(_)) | None => News::Aborted,
        };
        self.changed(Change::Ended(news));
    }
}

/// Waits for `future` while the transfer goes on. The transfer's next change is kept for later.
async fn alongside<F: Future + Unpin>(
    running: &mut Option<Running>,
    change: &mut Option<Change>,
    mut future: F,
) -> F::Output {
    std::future::poll_fn(|context| {
        if change.is_none()
            && let Some(running) = running
            && let Poll::Ready(news) = running.poll(context)
        {
            *change = Some(news);
        }
        Pin::new(&mut future).poll(context)
    })
    .await
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
