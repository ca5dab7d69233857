//! mail::schedule::figures – what a schedule says about its destinations.

use super::{Destination, Limits, Place, Schedule};

/// One destination, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure<'a> {
    /// Its name.
    pub name: &'a str,
    /// Messages that wait for another attempt.
    pub deferred: u64,
    /// Messages that could be sent now.
    pub ready: u64,
    /// Messages on their way.
    pub running: u64,
    /// Connections.
    pub connections: u32,
    /// Times in a row that it could not be reached.
    pub failures: u32,
    /// When something is tried next; `None`: as soon as there is room.
    pub next: Option<i64>,
    /// What was wrong last.
    pub error: Option<&'a str>,
}

impl Schedule {
    /// Each destination there is.
    pub fn figures(&self, now: i64) -> impl Iterator<Item = Figure<'_>> {
        self.destinations.iter().flatten().map(move |one| one.figure(now))
    }

    /// The name of a destination; empty when it is gone.
    #[must_use]
    pub fn name(&self, place: Place) -> &str {
        self.get(place).map_or("", |one| &one.name)
    }

    /// What a destination is allowed.
    #[must_use]
    pub fn limits(&self, place: Place) -> Option<Limits> {
        self.get(place).map(|one| one.limits)
    }

    /// Messages in it, those given out among them.
    #[must_use]
    pub fn messages(&self) -> u64 {
        let count = |one: &Destination| one.waiting.len() as u64 + one.ready + one.running;
        self.destinations.iter().flatten().map(count).sum()
    }

    /// Messages that wait for their time, once for each destination.
    #[must_use]
    pub fn deferred(&self) -> u64 {
        self.destinations.iter().flatten().map(|one| one.waiting.len() as u64).sum()
    }

    /// Connections there are.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.open
    }
}

impl Destination {
    fn figure(&self, now: i64) -> Figure<'_> {
        let next = self.next_time(now).map(i64::from);
        Figure {
            name: &self.name,
            deferred: self.waiting.len() as u64,
            ready: self.ready,
            running: self.running,
            connections: self.open,
            failures: self.failures,
            next: next.filter(|_| self.ready == 0 || !self.may_send(now)),
            error: self.error.as_deref(),
        }
    }
}
