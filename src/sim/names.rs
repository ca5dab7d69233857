//! sim::names – a resolver that knows a table by heart: late, failing or lying as the test wants.
//!
//! Promises: every question is answered once, after the delay, in virtual time; what is not in the table
//! is not there (NXDOMAIN); a name that is there for one kind has nothing of the others (NODATA).
//! Not here: what answers mean (`mx`).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::mx::{Answer, Exchange, Found, Kind, Lookup, Question, Reply, Trouble};

/// Seconds that answers of the table may be kept, unless they say otherwise.
pub const TTL_SECONDS: u32 = 300;

/// What names there are.
#[derive(Debug, Default)]
pub struct Table(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<(String, Kind), Answer>,
    troubled: BTreeMap<String, Trouble>,
    delay: Duration,
    asked: Vec<Question>,
    silent: bool,
}

impl Table {
    /// MX records of a domain.
    #[must_use]
    pub fn mx(self, domain: &str, exchanges: &[(u16, &str)]) -> Self {
        let exchange = |(preference, name): &(u16, &str)| Exchange {
            preference: *preference,
            name: (*name).into(),
        };
        let found = Found::Exchanges(exchanges.iter().map(exchange).collect());
        self.answer(domain, Kind::Mx, found)
    }

    /// Addresses of a host.
    #[must_use]
    pub fn host(self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv4);
        let found = |addresses: Vec<IpAddr>| match addresses.is_empty() {
            true => Found::Nothing,
            false => Found::Addresses(addresses),
        };
        self.answer(name, Kind::V4, found(v4)).answer(name, Kind::V6, found(v6))
    }

    /// Any answer, lies included.
    #[must_use]
    pub fn answer(self, name: &str, kind: Kind, found: Found) -> Self {
        self.set(name, kind, Answer { found, ttl_seconds: TTL_SECONDS, alias: false });
        self
    }

    /// Nobody knows anything about a name.
    #[must_use]
    pub fn fails(self, name: &str, trouble: Trouble) -> Self {
        self.inner().troubled.insert(name.to_owned(), trouble);
        self
    }

    /// Every answer takes this long.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.inner().delay = delay;
        self
    }

    /// Questions are taken, and never answered.
    #[must_use]
    pub fn silent(self) -> Self {
        self.inner().silent = true;
        self
    }

    /// From now on, this is the answer.
    pub fn set(&self, name: &str, kind: Kind, answer: Answer) {
        self.inner().answers.insert((name.to_owned(), kind), answer);
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut self.inner().asked)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn find(&self, question: &Question) -> Answer {
        let inner = self.inner();
        if let Some(trouble) = inner.troubled.get(&question.name) {
            return Answer::trouble(*trouble);
        }
        let key = (question.name.clone(), question.kind);
        inner.answers.get(&key).cloned().unwrap_or_else(|| {
            let there = inner.answers.keys().any(|(name, _)| *name == question.name);
            let found = if there { Found::Nothing } else { Found::NoName };
            Answer { found, ttl_seconds: TTL_SECONDS, alias: false }
        })
    }
}

impl Lookup for Table {
    fn ask(&self, question: Question, reply: Reply) {
        let answer = self.find(&question);
        let (delay, silent) = {
            let mut inner = self.inner();
            inner.asked.push(question);
            (inner.delay, inner.silent)
        };
        super::world().executor.spawn(
            "resolver",
            true,
            Box::pin(async move {
                super::world().pause().await;
                if silent {
                    return std::future::pending().await;
                }
                super::sleep_until(super::now().after(delay)).await;
                reply(answer);
            }),
        );
    }
}

/// The addresses of the simulated machine.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(["127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()).to_vec())
}
