//! server::queue – waiting mail as an operator sees and steers it: requests, answers, and what a
//! change is in notes of the spool.
//!
//! ```text
//!  sluicegate queue ─▶ admin socket ─▶ shard: its ledger is what it delivers from ─┐
//!          └── no server runs ─▶ cli: its ledger is the spool on disk ─────────────┴▶ [`answer`]
//! ```
//! Promises: the same request means the same on a running and on a stopped server; nothing changes
//! without a selection; answers are bounded, long lists come in pages.
//! Not here: sockets (`admin`), how changes reach the disk (whoever keeps the ledger).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{QUEUE_PAGE_ENTRIES_MAX, QUEUE_RECIPIENTS_SHOWN_MAX};
use crate::mail::stored::{Destination, Message, Note, Target, TargetState};
use crate::smtp::envelope::BodyType;
use crate::store::spool::QueueId;

/// Octets that most senders fit in.
const SENDER_BYTES: usize = 64;

mod asked;
pub mod destinations;
mod page;

pub use asked::{Asked, Names};
pub use page::{Page, Paper, Sheet, Text};

/// Which messages; every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pick {
    /// One of these.
    pub ids: Vec<QueueId>,
    /// The envelope sender: an address, `*` standing for anything; empty for the null sender.
    pub sender: Option<String>,
    /// A recipient that is not done with, in the same way.
    pub recipient: Option<String>,
    /// Another server that it waits for, by the name that destinations have, in the same way.
    pub destination: Option<String>,
    /// Accepted at least so many seconds ago.
    pub older_than: Option<u64>,
    /// Without any condition: every message. Needed by changes only.
    pub all: bool,
}

/// What is done to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Not delivered until released.
    Hold,
    /// No longer held.
    Release,
    /// What was deferred is tried now; that does not count as another attempt. Another server that could not
    /// be reached is asked again for it.
    Retry,
    /// Not delivered at all, and nobody is told.
    Delete,
}

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Messages in the order of their names.
    List {
        /// Which.
        #[serde(default)]
        pick: Pick,
        /// Only those behind this one.
        #[serde(default)]
        after: Option<QueueId>,
    },
    /// Everything about one message.
    Show {
        /// Its name.
        id: QueueId,
    },
    /// Something is done.
    Change {
        /// What.
        action: Action,
        /// To which.
        pick: Pick,
    },
    /// Other servers, and what waits for them.
    Destinations,
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer<P = Page> {
    /// To a list.
    Page(P),
    /// To show; nothing when there is no such message.
    Detail(Option<Box<Detail>>),
    /// To a change.
    Changed(Changed),
    /// To a question about other servers.
    Destinations(Vec<destinations::Place>),
}

/// What became of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Messages that were meant.
    pub picked: u64,
    /// Those of them that were changed.
    pub changed: u64,
    /// Names of those changed, as many as fit a page.
    pub ids: Vec<QueueId>,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<T = String> {
    /// The name the client saw in its 250.
    pub id: QueueId,
    /// Seconds since 1970.
    pub accepted: i64,
    /// Octets.
    pub size: u64,
    /// Envelope sender, empty for the null sender.
    pub sender: T,
    /// "waiting", "deferred" or "held".
    pub state: T,
    /// Recipients that are not done with, the first of them.
    pub recipients: Vec<T>,
    /// How many those are in all.
    pub recipients_left: u64,
    /// The earliest next attempt, seconds since 1970.
    pub next: Option<i64>,
    /// Why the last attempt failed.
    pub reason: Option<T>,
}

/// Everything about one message, less its octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// As in a list.
    #[serde(flatten)]
    pub entry: Entry,
    /// The name the client gave.
    pub helo: String,
    /// Its address.
    pub client: String,
    /// How it spoke: `ESMTP` and the like.
    pub protocol: String,
    /// `7bit`, `8bitmime` or `binarymime`.
    pub body: String,
    /// ENVID.
    pub envelope_id: Option<String>,
    /// Recipients as the client gave them.
    pub to: Vec<String>,
    /// Whom it goes to, aliases and lists expanded.
    pub targets: Vec<TargetDetail>,
}

/// One place a message goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetDetail {
    /// The address.
    pub address: String,
    /// Where that leads: `mailbox alice`, `discard`.
    pub to: String,
    /// "waiting", "deferred", "delivered", "failed" or "removed".
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The next one, seconds since 1970.
    pub next: Option<i64>,
    /// Why the last one failed.
    pub reason: Option<String>,
}

// ---------------------------------------------------------------- answering

/// One message that is not settled.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its name.
    pub id: QueueId,
    /// Its octets.
    pub size: u64,
    /// What is known, notes included.
    pub message: &'a Message,
}

/// Knows where messages go.
pub trait Places {
    /// The name of the destination that a target at another server goes to.
    fn destination(&self, _message: &Message, target: &Target) -> Option<String> {
        destinations::as_stored(target)
    }
}

/// Where the messages that wait are kept, all of them in memory.
pub trait Ledger: Places {
    /// Calls `visit` for each message behind `after` in the order of names, until it says no.
    fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool);

    /// Notes these things about a message, and settles it when nothing is left to do.
    fn note(&mut self, id: QueueId, notes: Vec<Note>);
}

/// Answers a request from a ledger. `now` is in seconds since 1970.
pub fn answer(request: &Request, ledger: &mut impl Ledger, now: i64) -> Answer {
    if *request == Request::Destinations {
        return Answer::Destinations(destinations::of_messages(ledger, now));
    }
    let mut asked = Asked::new(request, now, QUEUE_PAGE_ENTRIES_MAX);
    match asked.names() {
        Names::Behind(after) => ledger.visit(after, &mut |line| asked.look(line, ledger)),
        Names::These(ids) => {
            for id in ids {
                let mut more = true;
                ledger.visit(id.0.checked_sub(1).map(QueueId), &mut |line| {
                    more = line.id != id || asked.look(line, ledger);
                    false
                });
                if !more {
                    break;
                }
            }
        }
    }
    for (id, notes) in asked.changes() {
        ledger.note(id, notes);
    }
    asked.answer()
}

impl<P: Paper> Answer<P> {
    /// Adds the answer of another ledger to the same request.
    pub fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Page(page), Self::Page(other)) => page.merge(other),
            (Self::Detail(detail), Self::Detail(other)) => {
                if detail.is_none() {
                    *detail = other;
                }
            }
            (Self::Changed(changed), Self::Changed(other)) => {
                changed.picked += other.picked;
                changed.changed += other.changed;
                changed.ids.extend(other.ids);
                changed.ids.sort();
                changed.ids.truncate(QUEUE_PAGE_ENTRIES_MAX);
            }
            (Self::Destinations(places), Self::Destinations(other)) => {
                *places = destinations::merged(std::mem::take(places).into_iter().chain(other));
            }
            // Answers to one request are of one kind.
            (Self::Page(_) | Self::Detail(_) | Self::Changed(_) | Self::Destinations(_), _) => {}
        }
    }
}

// ---------------------------------------------------------------- choosing and changing

impl Pick {
    /// No condition at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { ids, sender, recipient, destination, older_than, all: _ } = self;
        ids.is_empty()
            && [sender, recipient, destination].iter().all(|text| text.is_none())
            && older_than.is_none()
    }

    /// Is this message meant?
    #[must_use]
    pub fn takes(&self, line: Line<'_>, now: i64, ledger: &impl Places) -> bool {
        let message = line.message;
        let old = |seconds: u64| {
            now.saturating_sub(message.accepted) >= i64::try_from(seconds).unwrap_or(i64::MAX)
        };
        (self.ids.is_empty() || self.ids.contains(&line.id))
            && self.older_than.is_none_or(old)
            && self.sender.as_ref().is_none_or(|sender| matches(sender, &sender_of(message)))
            && (self.is_for_all_targets()
                || message.targets.iter().any(|it| open(it) && self.to(message, it, ledger)))
    }

    fn is_for_all_targets(&self) -> bool {
        self.recipient.is_none() && self.destination.is_none()
    }

    /// Is this recipient meant, where a recipient or a destination was named?
    fn to(&self, message: &Message, target: &Target, ledger: &impl Places) -> bool {
        let waits = |name: &String| destinations::waits_for(name, message, target, ledger);
        if !self.destination.as_ref().is_none_or(waits) {
            return false;
        }
        let Some(wanted) = &self.recipient else { return true };
        let given = usize::try_from(target.recipient).ok();
        let given = given.and_then(|number| message.envelope.recipients.get(number));
        matches(wanted, &target.address)
            || given.is_some_and(|to| matches(wanted, &to.recipient.to_string()))
    }
}

impl Action {
    /// What the action is in notes; none when it changes nothing. Where a recipient or a destination was
    /// picked, only those deliveries are retried or deleted; holding is for whole messages.
    fn notes(self, pick: &Pick, message: &Message, now: i64, ledger: &impl Places) -> Vec<Note> {
        let targets = |become_: &dyn Fn(&TargetState) -> Option<TargetState>| {
            targets(message, become_, |target| pick.to(message, target, ledger))
        };
        match self {
            Self::Hold if !message.held => vec![Note::Held(true)],
            Self::Release if message.held => vec![Note::Held(false)],
            Self::Hold | Self::Release => Vec::new(),
            Self::Retry => targets(&|state| match state {
                TargetState::Deferred { attempts, next, reason } if *next > now => {
                    // The attempt to come takes the place of the last one: an operator who asks for it
                    // makes the pauses after it no longer.
                    let (attempts, reason) = (attempts.saturating_sub(1), reason.clone());
                    Some(TargetState::Deferred { attempts, next: now, reason })
                }
                TargetState::Deferred { .. }
                | TargetState::Waiting
                | TargetState::Delivered
                | TargetState::Failed { .. }
                | TargetState::Removed => None,
            }),
            Self::Delete => targets(&|_| Some(TargetState::Removed)),
        }
    }
}

/// Notes about the targets that are picked and not done with.
fn targets(
    message: &Message,
    become_: impl Fn(&TargetState) -> Option<TargetState>,
    picked: impl Fn(&Target) -> bool,
) -> Vec<Note> {
    (0_u32..)
        .zip(&message.targets)
        .filter(|(_, target)| open(target) && picked(target))
        .filter_map(|(number, target)| Some(Note::Target(number, become_(&target.state)?)))
        .collect()
}

/// Is anything left to do for this target?
fn open(target: &Target) -> bool {
    matches!(target.state, TargetState::Waiting | TargetState::Deferred { .. })
}

fn sender_of(message: &Message) -> Cow<'_, str> {
    let Some(sender) = &message.envelope.sender else { return Cow::Borrowed("") };
    // One piece of memory for nearly every sender: lists have many.
    let mut text = String::with_capacity(SENDER_BYTES);
    match write!(text, "{sender}") {
        Ok(()) => Cow::Owned(text),
        Err(_) => Cow::Owned(sender.to_string()),
    }
}

/// Is `text` what the pattern says, `*` standing for anything, in any case?
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

// ---------------------------------------------------------------- showing

impl<'a> Entry<Text<'a>> {
    /// What a list shows of a message.
    #[must_use]
    pub fn of(line: Line<'a>) -> Self {
        let message = line.message;
        let left = || message.targets.iter().filter(|target| open(target));
        // The reason worth telling is that of the delivery tried last, which is the one tried again last.
        let deferred = || {
            left().filter_map(|target| match &target.state {
                TargetState::Deferred { next, reason, .. } => Some((*next, reason)),
                TargetState::Waiting
                | TargetState::Delivered
                | TargetState::Failed { .. }
                | TargetState::Removed => None,
            })
        };
        let waiting = left().any(|target| target.state == TargetState::Waiting);
        let state = match (message.held, deferred().next()) {
            (true, _) => "held",
            (false, Some(_)) if !waiting => "deferred",
            (false, _) => "waiting",
        };
        let shown = left().take(QUEUE_RECIPIENTS_SHOWN_MAX);
        Self {
            id: line.id,
            accepted: message.accepted,
            size: line.size,
            sender: Text(sender_of(message)),
            state: state.into(),
            recipients: shown.map(|target| target.address.as_str().into()).collect(),
            recipients_left: u64::try_from(left().count()).unwrap_or(u64::MAX),
            next: deferred().map(|(next, _)| next).min(),
            reason: deferred()
                .max_by_key(|(next, _)| *next)
                .map(|(_, reason)| reason.as_str().into()),
        }
    }

    /// The same, for longer.
    #[must_use]
    pub fn owned(self) -> Entry {
        let Self { id, accepted, size, sender, state, recipients, recipients_left, next, reason } =
            self;
        let text = |text: Text<'_>| text.0.into_owned();
        Entry {
            id,
            accepted,
            size,
            sender: text(sender),
            state: text(state),
            recipients: recipients.into_iter().map(text).collect(),
            recipients_left,
            next,
            reason: reason.map(text),
        }
    }
}

impl Detail {
    /// What is known about a message.
    #[must_use]
    pub fn of(line: Line<'_>) -> Self {
        let envelope = &line.message.envelope;
        Self {
            entry: Entry::of(line).owned(),
            helo: envelope.helo.clone(),
            client: envelope.peer.to_string(),
            protocol: envelope.protocol.with().to_owned(),
            body: match envelope.body {
                BodyType::SevenBit => "7bit",
                BodyType::EightBitMime => "8bitmime",
                BodyType::BinaryMime => "binarymime",
            }
            .to_owned(),
            envelope_id: envelope.envelope_id.clone(),
            to: envelope.recipients.iter().map(|to| to.recipient.to_string()).collect(),
            targets: line.message.targets.iter().map(TargetDetail::of).collect(),
        }
    }
}

impl TargetDetail {
    fn of(target: &Target) -> Self {
        let (state, attempts, next, reason) = match &target.state {
            TargetState::Waiting => ("waiting", 0, None, None),
            TargetState::Deferred { attempts, next, reason } => {
                ("deferred", *attempts, Some(*next), Some(reason))
            }
            TargetState::Delivered => ("delivered", 0, None, None),
            TargetState::Failed { reason } => ("failed", 0, None, Some(reason)),
            TargetState::Removed => ("removed", 0, None, None),
        };
        Self {
            address: target.address.clone(),
            to: match &target.to {
                Destination::Mailbox(name) => format!("mailbox {name}"),
                Destination::Discard => "discard".to_owned(),
                Destination::Remote(hop) => hop.to_string(),
            },
            state: state.to_owned(),
            attempts,
            next,
            reason: reason.cloned(),
        }
    }
}

impl Serialize for QueueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Without a string of its own: lists have many.
        struct Name;
        impl Visitor<'_> for Name {
            type Value = QueueId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a queue id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<QueueId, E> {
                text.parse().map_err(|()| E::custom("not a queue id"))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
