//! mail::route::choose – routes as the operator wrote them, and which mail they are for.
//!
//! Promises: a route is found in as many steps as its domain's name has halvings among all, whatever their number.
//! Not here: what is behind a route (`hop`, `walk`).
#![allow(
    clippy::disallowed_types,
    reason = "the router is one for all shards: its routes are shared by their threads"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::hop::{Hop, Onward};
use super::super::name;
use super::super::recipients::Known;
use crate::smtp::address::{Domain, Mailbox};
use crate::smtp::envelope::Envelope;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `*`, `*@example.org`, `user@example.org` or `user@*`.
    pub recipient: String,
    /// Envelope senders in the same way; empty: the null sender. `None`: any.
    pub sender: Option<String>,
    /// Of users only, or of others only; `None`: of both.
    pub authenticated: Option<bool>,
    /// Where they go.
    pub to: RouteTo,
    /// Recipients that the other server has; `None`: whoever it will say.
    pub known: Option<Arc<Known>>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTo {
    /// Into mailboxes.
    Local,
    /// Nowhere.
    Discard,
    /// To another server.
    Onward(Arc<Onward>),
}

impl Route {
    /// For these recipients, whoever sends.
    #[must_use]
    pub fn new(recipient: &str, to: RouteTo) -> Self {
        let recipient = recipient.to_owned();
        Self { recipient, sender: None, authenticated: None, to, known: None }
    }
}

/// Who sends a message, as far as routes ask.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Local part in lower case, and key of the domain; `None`: the null sender.
    sender: Option<(String, String)>,
    /// A user of ours.
    pub(super) authenticated: bool,
}

impl Origin {
    pub(super) fn new(sender: Option<&Mailbox>, authenticated: bool) -> Self {
        let key = |sender: &Mailbox| (name::folded(&sender.local), sender.domain.key());
        Self { sender: sender.map(key), authenticated }
    }

    pub(super) fn of(envelope: &Envelope) -> Self {
        Self::new(envelope.sender.as_ref(), envelope.protocol.authenticated)
    }

    /// For questions that are not about a message.
    pub(super) fn nobody() -> Self {
        Self { sender: None, authenticated: false }
    }
}

/// A route as it is compared.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// In lower case; `None`: any.
    pub(super) local: Option<String>,
    /// Its key; `None`: any.
    pub(super) domain: Option<String>,
    sender: Option<Senders>,
    authenticated: Option<bool>,
    pub(super) to: RouteTo,
    pub(super) known: Option<Arc<Known>>,
}

/// Envelope senders.
#[derive(Debug, Clone)]
enum Senders {
    Null,
    /// Local part and domain; `None`: any.
    Like(Option<String>, Option<String>),
}

impl Pattern {
    pub(super) fn new(route: &Route) -> Self {
        let (local, domain) = parts(&route.recipient);
        let sender = route.sender.as_ref().map(|text| match text.as_str() {
            "" => Senders::Null,
            text => {
                let (local, domain) = parts(text);
                Senders::Like(local, domain)
            }
        });
        let (to, known) = (route.to.clone(), route.known.clone());
        Self { local, domain, sender, authenticated: route.authenticated, to, known }
    }

    /// Is it for this recipient? [`Routes::fitting`] finds those that are.
    #[cfg(test)]
    fn fits(&self, folded: &str, domain: &str) -> bool {
        is(self.local.as_deref(), folded) && is(self.domain.as_deref(), domain)
    }

    /// Is it for mail of any sender?
    pub(super) fn is_for_all(&self) -> bool {
        self.sender.is_none() && self.authenticated.is_none()
    }

    /// Is it for mail that comes from there?
    pub(super) fn is_for(&self, origin: &Origin) -> bool {
        let sender = match (&self.sender, &origin.sender) {
            (None, _) | (Some(Senders::Null), None) => true,
            (Some(Senders::Like(local, domain)), Some((folded, key))) => {
                is(local.as_deref(), folded) && is(domain.as_deref(), key)
            }
            (Some(Senders::Null), Some(_)) => false,
            // `*` is everybody, and so is nobody.
            (Some(Senders::Like(local, domain)), None) => local.is_none() && domain.is_none(),
        };
        sender && self.authenticated.is_none_or(|wanted| wanted == origin.authenticated)
    }
}

fn is(pattern: Option<&str>, text: &str) -> bool {
    pattern.is_none_or(|pattern| pattern == text)
}

/// Local part in lower case and key of the domain; `None` for a star.
fn parts(pattern: &str) -> (Option<String>, Option<String>) {
    let (local, domain) = pattern.rsplit_once('@').unwrap_or((pattern, "*"));
    let some = |text: &str| (text != "*").then(|| text.to_owned());
    let local = some(local).map(|local| name::folded(&local));
    (local, some(domain).map(|domain| Domain::Name(domain).key()))
}

// ---------------------------------------------------------------- finding one among many

/// All routes, and where those for a recipient are among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    /// In the order of the configuration.
    all: Vec<Pattern>,
    /// By the key of the domain.
    domains: BTreeMap<String, Locals>,
    /// Those for any domain.
    anywhere: Locals,
    /// The first that leads to each other server, by the server.
    hops: BTreeMap<String, usize>,
}

/// Numbers of routes for one domain or for any, rising.
#[derive(Debug, Clone, Default)]
struct Locals {
    /// By local part in lower case.
    named: BTreeMap<String, Vec<usize>>,
    /// Those for any local part.
    any: Vec<usize>,
}

impl Locals {
    fn add(&mut self, local: Option<&str>, number: usize) {
        match local {
            Some(local) => self.named.entry(local.to_owned()).or_default().push(number),
            None => self.any.push(number),
        }
    }

    fn find(&self, folded: &str) -> [&[usize]; 2] {
        [self.named.get(folded).map_or(&[], Vec::as_slice), &self.any]
    }
}

impl Routes {
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut found = Self::default();
        for (number, pattern) in routes.iter().map(Pattern::new).enumerate() {
            let locals = match &pattern.domain {
                Some(domain) => found.domains.entry(domain.clone()).or_default(),
                None => &mut found.anywhere,
            };
            locals.add(pattern.local.as_deref(), number);
            if let RouteTo::Onward(onward) = &pattern.to {
                found.hops.entry(onward.hop.to_string()).or_insert(number);
            }
            found.all.push(pattern);
        }
        found
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.all.iter()
    }

    /// Those for this recipient, in order.
    pub(super) fn fitting(&self, folded: &str, domain: &str) -> impl Iterator<Item = &Pattern> {
        let here = self.domains.get(domain).map_or([&[][..]; 2], |here| here.find(folded));
        let anywhere = self.anywhere.find(folded);
        let mut lists = [here[0], here[1], anywhere[0], anywhere[1]];
        std::iter::from_fn(move || {
            let next = lists.iter_mut().filter(|list| !list.is_empty());
            let next = next.min_by_key(|list| list.first().copied())?;
            let (number, rest) = next.split_first()?;
            *next = rest;
            self.all.get(*number)
        })
    }

    /// The first that leads to this server.
    pub(super) fn to(&self, hop: &Hop) -> Option<&Arc<Onward>> {
        let pattern = self.all.get(*self.hops.get(&hop.to_string())?)?;
        match &pattern.to {
            RouteTo::Onward(onward) => Some(onward),
            RouteTo::Local | RouteTo::Discard => None,
        }
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
