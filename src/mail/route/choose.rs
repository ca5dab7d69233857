//! mail::route::choose – routes as the operator wrote them, and which mail they are for.
//!
//! Not here: what is behind a route (`hop`, `walk`).
#![allow(
    clippy::disallowed_types,
    reason = "the router is one for all shards: its routes are shared by their threads"
)]

use std::sync::Arc;

use super::super::hop::Onward;
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

    /// Is it for this recipient?
    pub(super) fn fits(&self, folded: &str, domain: &str) -> bool {
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
