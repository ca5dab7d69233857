//! dns – questions to resolvers, on one thread with a runtime of its own.
//!
//! ```text
//!  any thread ── ask ──▶ [ at most 4096 questions ] ──▶ thread "resolver" ── at most 256 at a time ──▶ upstream.rs
//!            ◀─────────────────────── reply, called on that thread ───────────────────────┘
//! ```
//! A thread of its own because the library (hickory) wants a tokio runtime, whose futures and sockets do not fit a
//! shard's ring; a resolution is rare beside what a shard does, and nobody waits for it on the shard.
//!
//! Promises: `ask` never waits; a question has one answer within [`DNS_QUESTION_SECONDS_MAX`] of its turn; a
//! panic costs one question; `/etc/resolv.conf` and `/etc/hosts` are read again when they change. The only
//! folder that names hickory and tokio.
//! Not here: what answers mean, keeping them (`mx`), joining equal questions (`server::resolver`).

mod files;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::limits::{DNS_QUESTION_SECONDS_MAX, DNS_QUESTIONS_MAX, DNS_QUESTIONS_WAITING_MAX};
use crate::mx::{Answer, Lookup, Question, Reply, Trouble};

use files::{Hosts, Resolvers};
use upstream::Upstream;

/// Who is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In the order they are asked; empty: those of `resolv_conf`.
    pub resolvers: Vec<SocketAddr>,
    /// How long one resolver has for one answer.
    pub patience: Duration,
    /// Where the machine's resolvers stand.
    pub resolv_conf: PathBuf,
    /// Where names stand that need no resolver.
    pub hosts: PathBuf,
}

impl Settings {
    /// With the files of this machine.
    #[must_use]
    pub fn new(resolvers: Vec<SocketAddr>, patience: Duration) -> Self {
        let (resolv_conf, hosts) = ("/etc/resolv.conf".into(), "/etc/hosts".into());
        Self { resolvers, patience, resolv_conf, hosts }
    }

    /// Who would be asked now.
    #[must_use]
    pub fn in_force(&self) -> Vec<SocketAddr> {
        if self.resolvers.is_empty() {
            Resolvers::new(&self.resolv_conf).now().to_vec()
        } else {
            self.resolvers.clone()
        }
    }
}

/// Asks the resolvers; clones feed the same thread, which ends with the last of them.
#[derive(Clone)]
pub struct Client {
    questions: Sender<Waiting>,
    settings: Arc<Mutex<Arc<Settings>>>,
}

/// A question that waits for its turn.
struct Waiting {
    question: Question,
    reply: Reply,
    since: Instant,
}

impl Client {
    /// Starts the thread. To be called where no processor is pinned, for it inherits that.
    ///
    /// # Errors
    /// When the kernel has no thread, or no descriptors for the runtime.
    pub fn start(settings: Settings) -> io::Result<Self> {
        // The runtime is made here: what it lacks is an error of the start.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (questions, waiting) = channel(DNS_QUESTIONS_WAITING_MAX);
        let settings = Arc::new(Mutex::new(Arc::new(settings)));
        let state = State::new(Arc::clone(&settings));
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || runtime.block_on(serve(state, waiting)))?;
        Ok(Self { questions, settings })
    }

    /// From the next question on.
    pub fn configure(&self, settings: Settings) {
        *lock(&self.settings) = Arc::new(settings);
    }
}

impl Lookup for Client {
    fn ask(&self, question: Question, reply: Reply) {
        let waiting = Waiting { question, reply, since: Instant::now() };
        match self.questions.try_send(waiting) {
            Ok(()) => {}
            Err(TrySendError::Full(waiting)) => (waiting.reply)(Answer::trouble(Trouble::Busy)),
            Err(TrySendError::Closed(waiting)) => (waiting.reply)(Answer::trouble(Trouble::Failed)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread knows.
struct State {
    wanted: Arc<Mutex<Arc<Settings>>>,
    settings: Arc<Settings>,
    resolvers: Resolvers,
    hosts: Hosts,
    upstream: Arc<Upstream>,
}

impl State {
    fn new(wanted: Arc<Mutex<Arc<Settings>>>) -> Self {
        let settings = Arc::clone(&lock(&wanted));
        let (resolvers, hosts) =
            (Resolvers::new(&settings.resolv_conf), Hosts::new(&settings.hosts));
        let upstream = Arc::new(Upstream::new(&[], settings.patience));
        Self { wanted, settings, resolvers, hosts, upstream }
    }

    /// Those to ask now.
    fn upstream(&mut self) -> Arc<Upstream> {
        let wanted = Arc::clone(&lock(&self.wanted));
        if !Arc::ptr_eq(&wanted, &self.settings) {
            *self = Self::new(Arc::clone(&self.wanted));
        }
        let addresses = match self.settings.resolvers.as_slice() {
            [] => self.resolvers.now(),
            given => given,
        };
        if self.upstream.addresses() != addresses {
            self.upstream = Arc::new(Upstream::new(addresses, self.settings.patience));
        }
        Arc::clone(&self.upstream)
    }
}

async fn serve(mut state: State, mut waiting: Receiver<Waiting>) {
    let patience = Duration::from_secs(DNS_QUESTION_SECONDS_MAX);
    let places = Arc::new(Semaphore::new(DNS_QUESTIONS_MAX));
    while let Some(Waiting { question, reply, since }) = waiting.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        // Whoever asked has given up: asking all the same would only make the next ones late.
        if since.elapsed() > patience {
            reply(Answer::trouble(Trouble::Busy));
            continue;
        }
        let upstream = state.upstream();
        if let Some(answer) = question.files.then(|| state.hosts.answer(&question)).flatten() {
            reply(answer);
            continue;
        }
        tokio::spawn(async move {
            let answer = tokio::time::timeout(patience, upstream.answer(&question)).await;
            reply(answer.unwrap_or_else(|_| Answer::trouble(Trouble::Timeout)));
            drop(place);
        });
    }
}
