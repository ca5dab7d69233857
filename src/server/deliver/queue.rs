//! server::deliver::queue – the messages of a shard that are not settled, and when they are due.
//!
//! ```text
//!  accept ─▶ awake: the whole message ─ tried, or too many ─▶ asleep: what became of its targets
//!              ▲                                                 │
//!              └──────────── awaken, with what was read ◀────────┘
//! ```
//! Promises: a message is in at most one of: under way, in line, waiting for its time. One that waits costs the
//! same whatever its envelope holds, some fifty octets; so many are awake at most, and those somebody has.
//! Not here: reading from the spool (`wake`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::Figures;
use crate::mail::progress::{Progress, Reasons};
use crate::mail::stored::Message;
use crate::store::maildir::Tried;
use crate::store::packed::Packed;
use crate::store::spool::{Content, QueueId};

/// Messages awake: the last that came, which most likely go at once. Under simulation sleep is common.
const AWAKE_MAX: usize = if cfg!(test) { 4 } else { 2048 };
/// Milliseconds after which one of those makes room for one that comes.
const AWAKE_MILLIS: u64 = 10_000;
/// How many of the oldest are looked at for that.
const LOOKED_AT: usize = 4;

/// A message as it is kept awake.
enum Body {
    /// Under way, or just come.
    Open(Rc<RefCell<Message>>),
    /// What the spool holds and nobody understands.
    Unknown(Box<[u8]>),
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Waits for the operator.
    Aside,
    /// Will be tried as soon as there is room.
    InLine,
    /// Will be tried then, seconds since 1970.
    Until(i64),
    /// Under way.
    Running,
}

pub(super) struct Entry {
    body: Body,
    content: Option<Content>,
    accepted: i64,
    tried: Tried,
    stand: Stand,
}

/// A message that is in the spool only, but for what became of it.
struct Asleep {
    progress: Progress,
    accepted: u32,
    stand: Short,
    tried: Tried,
    held: bool,
}

const _: () = assert!(size_of::<Asleep>() <= 40);

/// [`Stand`] in four octets.
#[derive(Clone, Copy)]
struct Short(u32);

impl Short {
    const ASIDE: u32 = 0;
    const RUNNING: u32 = u32::MAX - 1;
    const IN_LINE: u32 = u32::MAX;

    fn of(stand: Stand) -> Self {
        Self(match stand {
            Stand::Aside => Self::ASIDE,
            Stand::InLine => Self::IN_LINE,
            Stand::Running => Self::RUNNING,
            Stand::Until(next) => u32::try_from(next).unwrap_or(Self::ASIDE + 1),
        })
    }

    fn stand(self) -> Stand {
        match self.0 {
            Self::ASIDE => Stand::Aside,
            Self::IN_LINE => Stand::InLine,
            Self::RUNNING => Stand::Running,
            next => Stand::Until(i64::from(next)),
        }
    }
}

/// A round to begin.
pub(super) struct Begun {
    pub(super) id: QueueId,
    /// `None`: asleep.
    pub(super) message: Option<Rc<RefCell<Message>>>,
    pub(super) content: Option<Content>,
    pub(super) tried: Tried,
}

/// A message as it is here.
pub(super) enum Known {
    Awake(Rc<RefCell<Message>>),
    Asleep,
    /// Octets that nobody understands.
    Unknown(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Queue {
    awake: BTreeMap<QueueId, Entry>,
    asleep: Packed<Asleep>,
    reasons: Reasons,
    line: VecDeque<QueueId>,
    timers: BTreeSet<(i64, QueueId)>,
    /// Rounds under way.
    pub(super) running: usize,
    /// Entries that hold octets.
    pub(super) contents: usize,
    /// Messages of an earlier process that were not tried yet.
    earlier: usize,
}

impl Entry {
    pub(super) fn new(message: Message, content: Option<Content>, tried: Tried) -> Self {
        let accepted = message.accepted;
        let body = Body::Open(Rc::new(RefCell::new(message)));
        Self { body, content, accepted, tried, stand: Stand::Aside }
    }
}

impl Queue {
    /// Adds a message that just came.
    pub(super) fn insert(&mut self, id: QueueId, entry: Entry, stand: Stand) {
        self.earlier += usize::from(entry.tried == Tried::Earlier);
        self.contents += usize::from(entry.content.is_some());
        self.awake.insert(id, entry);
        self.set_stand(id, stand);
        if self.awake.len() > AWAKE_MAX {
            let old = |one: &QueueId| (one.0 >> 22) + AWAKE_MILLIS <= id.0 >> 22;
            let first = self.awake.iter().take(LOOKED_AT);
            let tired = first.filter(|(one, entry)| old(one) && entry.is_idle()).map(|(id, _)| *id);
            let tired = tired.collect::<Vec<_>>().first().copied();
            self.sleep(tired.unwrap_or(id));
        }
    }

    /// Adds a message that an earlier process left.
    pub(super) fn insert_asleep(
        &mut self,
        id: QueueId,
        message: &Message,
        stand: Stand,
        tried: Tried,
    ) {
        self.earlier += usize::from(tried == Tried::Earlier);
        let asleep = self.nap(message, Stand::Aside, tried);
        self.asleep.insert(id.0, asleep);
        self.set_stand(id, stand);
    }

    fn nap(&mut self, message: &Message, stand: Stand, tried: Tried) -> Asleep {
        Asleep {
            progress: Progress::of(message, &mut self.reasons),
            accepted: u32::try_from(message.accepted.max(0)).unwrap_or(u32::MAX),
            stand: Short::of(stand),
            tried,
            held: message.held,
        }
    }

    /// Puts a message to sleep. The spool has what it is.
    fn sleep(&mut self, id: QueueId) {
        let Some(entry) = self.awake.remove(&id) else { return };
        match &entry.body {
            Body::Unknown(_) => drop(self.awake.insert(id, entry)),
            Body::Open(message) => {
                self.contents -= usize::from(entry.content.is_some());
                let asleep = self.nap(&message.borrow(), entry.stand, entry.tried);
                self.asleep.insert(id.0, asleep);
            }
        }
    }

    /// How a message is here; `None`: it is not.
    pub(super) fn known(&self, id: QueueId) -> Option<Known> {
        let Some(entry) = self.awake.get(&id) else {
            return self.asleep.contains(id.0).then_some(Known::Asleep);
        };
        Some(match &entry.body {
            Body::Open(message) => Known::Awake(Rc::clone(message)),
            Body::Unknown(octets) => Known::Unknown(octets.to_vec()),
        })
    }

    /// Makes what was read of a message what it is now. False: it is not asleep.
    pub(super) fn put_on(&self, id: QueueId, message: &mut Message) -> bool {
        let Some(asleep) = self.asleep.get(id.0) else { return false };
        asleep.progress.put_on(message);
        message.held = asleep.held;
        true
    }

    /// The message, which was asleep and is read, for somebody beside its round; give it back with
    /// [`Queue::put_back`]. `None`: it is not here any more.
    pub(super) fn awaken(
        &mut self,
        id: QueueId,
        mut message: Message,
    ) -> Option<Rc<RefCell<Message>>> {
        if self.put_on(id, &mut message)
            && let Some(asleep) = self.asleep.remove(id.0)
        {
            let entry = Entry::new(message, None, asleep.tried);
            self.awake.insert(id, Entry { stand: asleep.stand.stand(), ..entry });
        }
        match self.known(id)? {
            // Somebody else was quicker, perhaps.
            Known::Awake(message) => Some(message),
            Known::Asleep | Known::Unknown(_) => None,
        }
    }

    /// Nobody else than its round needs it any more: it falls asleep unless somebody has it.
    pub(super) fn put_back(&mut self, id: QueueId, message: &Rc<RefCell<Message>>) {
        let Some(entry) = self.awake.get(&id) else { return };
        // It is here, and with whoever gives it back.
        let alone = matches!(&entry.body, Body::Open(_)) && Rc::strong_count(message) == 2;
        if alone && entry.stand != Stand::Running {
            self.sleep(id);
        }
    }

    /// The octets of the message, if they are at hand.
    pub(super) fn content(&mut self, id: QueueId) -> Option<Content> {
        let content = self.awake.get_mut(&id)?.content.take();
        self.contents -= usize::from(content.is_some());
        content
    }

    /// Adds what is not understood: it is carried along and shown in figures, nothing else.
    pub(super) fn keep_unknown(&mut self, id: QueueId, meta: Vec<u8>) {
        let body = Body::Unknown(meta.into_boxed_slice());
        let (content, tried, stand) = (None, Tried::Here, Stand::Aside);
        self.awake.insert(id, Entry { body, content, accepted: 0, tried, stand });
    }

    fn stand(&self, id: QueueId) -> Option<Stand> {
        let awake = self.awake.get(&id).map(|entry| entry.stand);
        awake.or_else(|| self.asleep.get(id.0).map(|asleep| asleep.stand.stand()))
    }

    /// Takes the message out of where it stands and puts it elsewhere.
    fn set_stand(&mut self, id: QueueId, stand: Stand) {
        // As it fits four octets.
        let stand = match stand {
            Stand::Until(next) => Stand::Until(next.clamp(1, i64::from(Short::RUNNING) - 1)),
            Stand::Aside | Stand::InLine | Stand::Running => stand,
        };
        let Some(before) = self.stand(id) else { return };
        if let Some(entry) = self.awake.get_mut(&id) {
            entry.stand = stand;
        } else if let Some(asleep) = self.asleep.get_mut(id.0) {
            asleep.stand = Short::of(stand);
        }
        match before {
            Stand::Until(next) => {
                self.timers.remove(&(next, id));
            }
            Stand::InLine if stand == Stand::InLine => return,
            // A name left in line is passed over when its turn comes.
            Stand::InLine | Stand::Aside | Stand::Running => {}
        }
        match stand {
            Stand::Until(next) => {
                self.timers.insert((next, id));
            }
            Stand::InLine => self.line.push_back(id),
            Stand::Aside | Stand::Running => {}
        }
    }

    /// The next message in line, if there is room for another round.
    pub(super) fn begin(&mut self, most: usize) -> Option<Begun> {
        while self.running < most {
            let id = self.line.pop_front()?;
            if self.stand(id) != Some(Stand::InLine) {
                continue;
            }
            self.set_stand(id, Stand::Running);
            self.running += 1;
            let content = self.content(id);
            let message = match self.known(id) {
                Some(Known::Awake(message)) => Some(message),
                Some(Known::Asleep | Known::Unknown(_)) | None => None,
            };
            let awake = self.awake.get(&id).map(|entry| entry.tried);
            let asleep = || self.asleep.get(id.0).map(|asleep| asleep.tried);
            let tried = awake.or_else(asleep).unwrap_or(Tried::Here);
            return Some(Begun { id, message, content, tried });
        }
        None
    }

    /// Is there no message that a round could begin with? (A name left in line counts until it is passed over.)
    pub(super) fn is_nobody_in_line(&self) -> bool {
        self.line.is_empty()
    }

    /// A round is over: was it the last one for messages of an earlier process, and is none under way now?
    pub(super) fn end(&mut self, id: QueueId) -> (bool, bool) {
        self.running -= 1;
        // A round that broke off: the message waits for the operator, or the next start.
        if self.is_running(id) {
            self.set_stand(id, Stand::Aside);
        }
        (self.earlier == 0, self.running == 0)
    }

    /// The message is settled.
    pub(super) fn remove(&mut self, id: QueueId) {
        self.set_stand(id, Stand::Aside);
        if let Some(entry) = self.awake.remove(&id) {
            self.contents -= usize::from(entry.content.is_some());
            self.earlier -= usize::from(entry.tried == Tried::Earlier);
        } else if let Some(asleep) = self.asleep.remove(id.0) {
            self.earlier -= usize::from(asleep.tried == Tried::Earlier);
        }
    }

    /// The round did not finish the message: it waits until `next`, or for the operator.
    pub(super) fn wait(&mut self, id: QueueId, next: Option<i64>, tried: Tried) {
        self.set_stand(id, next.map_or(Stand::Aside, Stand::Until));
        if let Some(entry) = self.awake.get_mut(&id) {
            self.earlier -= usize::from(entry.tried == Tried::Earlier && tried != Tried::Earlier);
            entry.tried = tried;
            // Somebody else than the round may have it: a message has one state.
            if matches!(&entry.body, Body::Open(one) if Rc::strong_count(one) == 2) {
                self.sleep(id);
            }
        }
    }

    /// The round could not even read the message.
    pub(super) fn wait_unread(&mut self, id: QueueId, next: i64) {
        self.set_stand(id, Stand::Until(next));
    }

    /// The first message behind that one, and when it was accepted. Nothing is read for it.
    pub(super) fn after(&self, id: QueueId) -> Option<(QueueId, i64)> {
        let next = self.names(Some(id), 1).pop()?;
        Some((next, self.accepted(next)))
    }

    /// Is it known without reading it that its sender was told it takes long?
    pub(super) fn is_told_late(&self, id: QueueId) -> bool {
        self.asleep.get(id.0).is_some_and(|asleep| asleep.progress.is_told_late())
    }

    /// Puts everything in line whose time has come.
    pub(super) fn advance(&mut self, now: i64) {
        while let Some(&(_, id)) = self.timers.first().filter(|(next, _)| *next <= now) {
            self.set_stand(id, Stand::InLine);
        }
    }

    /// The earliest time a message waits for.
    pub(super) fn next_time(&self) -> Option<i64> {
        self.timers.first().map(|(next, _)| *next)
    }

    /// The operator changed something: the message stands where it belongs now.
    pub(super) fn restand(&mut self, id: QueueId, next: Option<i64>, now: i64) {
        match next {
            _ if self.is_running(id) => {}
            None => self.set_stand(id, Stand::Aside),
            Some(next) if next <= now => self.set_stand(id, Stand::InLine),
            Some(next) => self.set_stand(id, Stand::Until(next)),
        }
    }

    pub(super) fn is_running(&self, id: QueueId) -> bool {
        self.stand(id) == Some(Stand::Running)
    }

    /// The names behind one, in order, so many at most.
    pub(super) fn names(&self, after: Option<QueueId>, most: usize) -> Vec<QueueId> {
        let from = after.map_or(Some(0), |id| id.0.checked_add(1));
        let Some(from) = from else { return Vec::new() };
        let mut awake = self.awake.range(QueueId(from)..).map(|(id, _)| id.0).peekable();
        let mut asleep = self.asleep.range_from(from).map(|(id, _)| id).peekable();
        let next = std::iter::from_fn(|| match (awake.peek(), asleep.peek()) {
            (Some(one), Some(other)) if one < other => awake.next(),
            (Some(_), None) => awake.next(),
            (_, _) => asleep.next(),
        });
        next.take(most).map(QueueId).collect()
    }

    fn accepted(&self, id: QueueId) -> i64 {
        let awake = self.awake.get(&id).map(|entry| entry.accepted);
        let asleep = || self.asleep.get(id.0).map(|asleep| i64::from(asleep.accepted));
        awake.or_else(asleep).unwrap_or(0)
    }

    pub(super) fn figures(&self) -> Figures {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // Names grow with time.
        let awake = self.awake.iter().find(|(_, entry)| entry.accepted > 0).map(|(id, _)| *id);
        let oldest = awake.into_iter().chain(self.asleep.first().map(QueueId)).min();
        Figures {
            messages: count(self.awake.len() + self.asleep.len()),
            deferred: count(self.timers.len()),
            oldest: oldest.map(|id| self.accepted(id)).filter(|accepted| *accepted > 0),
        }
    }
}

impl Entry {
    /// Nobody has it, nor is it about to be begun.
    fn is_idle(&self) -> bool {
        let alone = matches!(&self.body, Body::Open(one) if Rc::strong_count(one) == 1);
        alone && matches!(self.stand, Stand::Aside | Stand::Until(_))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
