//! server::resolver – where mail goes, asked by the tasks of one shard.
//!
//! ```text
//!  resolve(domain) ─▶ mx::Walk ── questions ─▶ cache ─▶ under way already? ─▶ Lookup (dns, another thread)
//!                        ▲                       │            │ joined              │ promise
//!                        └────────── answers ────┴────────────┴─────────────────────┘
//! ```
//! Promises: a verdict within [`RESOLUTION_SECONDS_MAX`]; equal questions of one shard are one question; a
//! resolution that is dropped costs nothing but the answer that is kept all the same; nothing here waits on
//! the shard's thread.
//! Not here: what answers mean (`mx`), asking (`dns`), what is done with a verdict.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::shared::Local;
use crate::config::{Config, Smtp};
use crate::dns;
use crate::limits::{DNS_QUESTION_SECONDS_MAX, RESOLUTION_SECONDS_MAX};
use crate::metrics::names::{Result, Source};
use crate::mx::{Answer, Cache, Found, Ourselves, Question, Step, Trouble, Verdict, Walk};
use crate::shard::{self, Instant};

/// How long the addresses of this machine are taken to stay what they are.
const OURSELVES: Duration = Duration::from_secs(60);
/// What a question may wait for its turn, beyond the time it has then.
const TURN: Duration = Duration::from_secs(DNS_QUESTION_SECONDS_MAX + 5);

/// Resolves for one shard.
pub struct Resolver {
    local: Rc<Local>,
    cache: RefCell<Cache>,
    flights: RefCell<BTreeMap<Question, Rc<Flight>>>,
    ourselves: RefCell<Option<Known>>,
    /// Whose answers are in the cache.
    resolvers: RefCell<Vec<SocketAddr>>,
    /// Seconds of the cache begin here.
    origin: Instant,
}

/// What is ourselves, and since when.
struct Known {
    ourselves: Rc<Ourselves>,
    generation: u64,
    at: Instant,
}

/// A question under way.
#[derive(Default)]
struct Flight {
    answer: RefCell<Option<Rc<Answer>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// A question that was put.
enum Put {
    Known(Rc<Answer>),
    Flying(Rc<Flight>),
}

impl Resolver {
    /// Asks what the shards share.
    pub(super) fn new(local: &Rc<Local>) -> Rc<Self> {
        Rc::new(Self {
            local: Rc::clone(local),
            cache: RefCell::default(),
            flights: RefCell::default(),
            ourselves: RefCell::default(),
            resolvers: RefCell::default(),
            origin: shard::now(),
        })
    }

    /// Where mail for a domain goes: `example.org` with A-labels, `[192.0.2.1]`, `[ipv6:2001:db8::1]`.
    pub async fn resolve(self: &Rc<Self>, domain: &str) -> Verdict {
        let ourselves = self.ourselves().await;
        let (walk, step) = Walk::mail(domain, shard::random(), &ourselves);
        self.follow(walk, step, &ourselves).await
    }

    /// The addresses of a host that a route names, be it a name or an address; `/etc/hosts` counts.
    pub async fn addresses(self: &Rc<Self>, host: &str) -> Verdict {
        let (walk, step) = Walk::host(host);
        self.follow(walk, step, &Ourselves::default()).await
    }

    /// Answers that are kept, and what they weigh, octets.
    pub fn cached(&self) -> (usize, usize) {
        let cache = self.cache.borrow();
        (cache.len(), cache.bytes())
    }

    async fn follow(
        self: &Rc<Self>,
        mut walk: Walk,
        mut step: Step,
        ourselves: &Ourselves,
    ) -> Verdict {
        let deadline = shard::now().after(Duration::from_secs(RESOLUTION_SECONDS_MAX));
        loop {
            let questions = match step {
                Step::Ask(questions) => questions,
                Step::Done(verdict) => {
                    if let Verdict::Reach(destination) = &verdict {
                        for note in &destination.notes {
                            tracing::debug!("{note}");
                        }
                    }
                    return verdict;
                }
            };
            self.follow_configuration();
            // All are under way before the first is waited for.
            let put: Vec<Put> = questions.into_iter().map(|question| self.put(question)).collect();
            let mut answers = Vec::with_capacity(put.len());
            for one in put {
                let late = || Rc::new(Answer::trouble(Trouble::Timeout));
                answers.push(shard::within(deadline, one.answer()).await.unwrap_or_else(late));
            }
            step = walk.resume(&answers, ourselves);
        }
    }

    /// Other resolvers may say otherwise.
    fn follow_configuration(&self) {
        let config = self.local.shared.config.load();
        let resolvers = config.smtp.as_ref().map(|smtp| &smtp.resolvers);
        if resolvers.is_some_and(|resolvers| *resolvers != *self.resolvers.borrow()) {
            self.cache.borrow_mut().clear();
            *self.resolvers.borrow_mut() = resolvers.cloned().unwrap_or_default();
        }
    }

    fn put(self: &Rc<Self>, question: Question) -> Put {
        let names = &self.local.counters().names;
        if let Some(answer) = self.cache.borrow().get(&question, self.seconds()) {
            names.question(Source::Cache);
            return Put::Known(answer);
        }
        if let Some(flight) = self.flights.borrow().get(&question) {
            names.question(Source::Joined);
            return Put::Flying(Rc::clone(flight));
        }
        names.question(Source::Asked);
        let flight = Rc::<Flight>::default();
        self.flights.borrow_mut().insert(question.clone(), Rc::clone(&flight));
        let (promise, promised) = shard::promise();
        let reply = Box::new(move |answer| promise.keep(answer));
        self.local.shared.names.ask(question.clone(), reply);
        let resolver = Rc::clone(self);
        // A task of its own: whoever asked first may go, and those who joined stay.
        shard::spawn("lookup", async move {
            let answer = shard::within(shard::now().after(TURN), promised).await;
            let late = || Some(Answer::trouble(Trouble::Timeout));
            let failed = || Answer::trouble(Trouble::Failed);
            resolver.land(&question, answer.unwrap_or_else(late).unwrap_or_else(failed));
        });
        Put::Flying(flight)
    }

    fn land(&self, question: &Question, answer: Answer) {
        self.local.counters().names.answer(match &answer.found {
            Found::Exchanges(_) | Found::Addresses(_) => Result::Found,
            Found::Nothing => Result::Nothing,
            Found::NoName => Result::NoName,
            Found::Trouble(_) => Result::Failed,
        });
        if let Found::Trouble(trouble) = &answer.found {
            tracing::debug!(name = question.name, kind = ?question.kind, "{trouble}");
        }
        let answer = Rc::new(answer);
        self.cache.borrow_mut().put(question, &answer, self.seconds());
        if let Some(flight) = self.flights.borrow_mut().remove(question) {
            flight.land(answer);
        }
    }

    fn seconds(&self) -> u64 {
        shard::now().since(self.origin).as_secs()
    }

    /// What is ourselves; found out again after a reload, and now and then.
    async fn ourselves(&self) -> Rc<Ourselves> {
        let generation = self.local.shared.generation();
        if let Some(known) = &*self.ourselves.borrow()
            && known.generation == generation
            && shard::now().since(known.at) < OURSELVES
        {
            return Rc::clone(&known.ourselves);
        }
        let interfaces = shard::blocking(shard::local_addresses).await.and_then(|found| found);
        let interfaces = interfaces.unwrap_or_else(|error| {
            tracing::warn!(%error, "the addresses of this machine are not known");
            Vec::new()
        });
        let ourselves = Rc::new(ourselves(&self.local.shared.config.load(), &interfaces));
        let at = shard::now();
        let known = Known { ourselves: Rc::clone(&ourselves), generation, at };
        *self.ourselves.borrow_mut() = Some(known);
        ourselves
    }
}

impl Put {
    async fn answer(&self) -> Rc<Answer> {
        match self {
            Self::Known(answer) => Rc::clone(answer),
            Self::Flying(flight) => {
                poll_fn(|context| match &*flight.answer.borrow() {
                    Some(answer) => Poll::Ready(Rc::clone(answer)),
                    None => {
                        flight.waiting.borrow_mut().push(context.waker().clone());
                        Poll::Pending
                    }
                })
                .await
            }
        }
    }
}

impl Flight {
    fn land(&self, answer: Rc<Answer>) {
        *self.answer.borrow_mut() = Some(answer);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Who is asked for names, and how.
pub fn settings(smtp: &Smtp) -> dns::Settings {
    let patience = Duration::from_secs(u64::from(smtp.resolver_seconds));
    dns::Settings::new(smtp.resolvers.clone(), patience)
}

/// What is this server to the rest of the world: its name, and where it takes mail. Where it listens on every
/// address, that is every one of `interfaces`.
///
/// Loopback is ourselves for any server that others can reach: an MX of strangers that points there points
/// to whatever else runs on this machine. A server that listens on loopback only is one for trying things out.
pub fn ourselves(config: &Config, interfaces: &[IpAddr]) -> Ourselves {
    let name = config.server.hostname.trim_end_matches('.').to_ascii_lowercase();
    let mut found = Ourselves { names: vec![name, "localhost".to_owned()], ..Ourselves::default() };
    let Some(smtp) = &config.smtp else { return found };
    let listen = [&smtp.listen, &smtp.listen_tls, &smtp.listen_submission].into_iter().flatten();
    for address in listen.map(|address| address.ip().to_canonical()) {
        found.loopback |= !address.is_loopback();
        if address.is_unspecified() {
            found.addresses.extend(interfaces.iter().map(IpAddr::to_canonical));
        } else {
            found.addresses.push(address);
        }
    }
    found.addresses.sort_unstable();
    found.addresses.dedup();
    found
}

/// Calls of one shard that are under way now: for tests of joining.
#[cfg(test)]
impl Resolver {
    pub(super) fn under_way(&self) -> usize {
        self.flights.borrow().len()
    }
}
