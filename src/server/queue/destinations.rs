//! server::queue::destinations – other servers, and what waits for each.
//!
//! Not here: which there are (whoever keeps the ledger).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Ledger, Places, open};
use crate::limits::QUEUE_DESTINATIONS_MAX;
use crate::mail::hop::Onward;
use crate::mail::route::Router;
use crate::mail::stored::{Destination, Message, Target, TargetState};

/// One destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The domain, or the server that a route names; then what is special about the route.
    pub name: String,
    /// Messages that could be sent now.
    pub ready: u64,
    /// Messages that wait for another attempt.
    pub deferred: u64,
    /// Messages on their way.
    pub running: u64,
    /// Connections there.
    pub connections: u64,
    /// Times in a row that it could not be reached.
    pub failures: u64,
    /// When something is tried next, seconds since 1970.
    pub next: Option<i64>,
    /// What was wrong last.
    pub reason: Option<String>,
}

impl Place {
    /// Messages in all.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.ready.saturating_add(self.deferred).saturating_add(self.running)
    }

    fn add(&mut self, other: &Self) {
        self.ready += other.ready;
        self.deferred += other.deferred;
        self.running += other.running;
        self.connections += other.connections;
        self.failures = self.failures.max(other.failures);
        self.next = self.next.into_iter().chain(other.next).min();
        if self.reason.is_none() {
            self.reason.clone_from(&other.reason);
        }
    }
}

/// Lists of places as one, by name.
#[must_use]
pub fn merged(lists: impl IntoIterator<Item = Place>) -> Vec<Place> {
    let mut all: BTreeMap<String, Place> = BTreeMap::new();
    for place in lists {
        if let Some(known) = all.get_mut(&place.name) {
            known.add(&place);
        } else if all.len() < QUEUE_DESTINATIONS_MAX {
            all.insert(place.name.clone(), place);
        }
    }
    all.into_values().collect()
}

/// Where a target leads, by what was stored with it alone: routes may say otherwise now.
#[must_use]
pub fn as_stored(target: &Target) -> Option<String> {
    let Destination::Remote(hop) = &target.to else { return None };
    let domain = target.address.rsplit_once('@').map_or("", |(_, domain)| domain);
    Some(Onward::new(hop.clone()).destination(&domain.to_lowercase()))
}

/// Where a target leads by the routes that there are now.
#[must_use]
pub fn by_routes(router: &Router, message: &Message, target: &Target) -> Option<String> {
    match router.onward(&message.envelope, target) {
        Some((route, domain)) => Some(route.destination(&domain)),
        None => as_stored(target),
    }
}

/// What the messages of a ledger that no server runs say about destinations.
pub fn of_messages(ledger: &(impl Ledger + ?Sized), now: i64) -> Vec<Place> {
    let mut places = Vec::new();
    ledger.visit(None, &mut |line| {
        places.extend(
            merged(line.message.targets.iter().filter_map(|target| {
                let name = ledger.destination(line.message, target)?;
                of_target(name, target, now)
            }))
            .into_iter()
            .map(once),
        );
        // Gathered now and then, so that memory is bounded by destinations.
        if places.len() > QUEUE_DESTINATIONS_MAX {
            places = merged(std::mem::take(&mut places));
        }
        true
    });
    merged(places)
}

/// A message counts once for a destination, however many targets it has there.
fn once(place: Place) -> Place {
    let deferred = u64::from(place.ready == 0);
    Place { ready: 1 - deferred, deferred, ..place }
}

fn of_target(name: String, target: &Target, now: i64) -> Option<Place> {
    if !open(target) {
        return None;
    }
    let empty = Place { name, ..Place::default() };
    Some(match &target.state {
        TargetState::Deferred { next, reason, .. } => Place {
            ready: u64::from(*next <= now),
            deferred: u64::from(*next > now),
            next: Some(*next),
            reason: Some(reason.clone()),
            ..empty
        },
        TargetState::Waiting
        | TargetState::Delivered
        | TargetState::Failed { .. }
        | TargetState::Removed => Place { ready: 1, ..empty },
    })
}

/// Does the message wait for a destination of that name? `*` stands for anything.
pub(super) fn waits_for(
    pattern: &str,
    message: &Message,
    target: &Target,
    ledger: &(impl Places + ?Sized),
) -> bool {
    ledger.destination(message, target).is_some_and(|name| super::matches(pattern, &name))
}
