//! server::deliver::queue – the messages of a shard that are not settled, and when they are due.
//!
//! Promises: a message is in at most one of: under way, in line, waiting for its time. One that is not under
//! way is packed: its envelope as it lies in the spool, some hundred octets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::rc::Rc;

use super::{Figures, Job};
use crate::mail::stored::Message;
use crate::server::queue::Line;
use crate::store::maildir::Tried;
use crate::store::spool::{Content, QueueId};

/// A message as it is kept here.
enum Body {
    /// Under way, or just come.
    Open(Rc<RefCell<Message>>),
    /// As in the spool.
    Packed(Box<[u8]>),
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
    /// Octets of the message.
    size: u64,
    accepted: i64,
    tried: Tried,
    stand: Stand,
}

#[derive(Default)]
pub(super) struct Queue {
    entries: BTreeMap<QueueId, Entry>,
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
    pub(super) fn new(message: Message, size: u64, content: Option<Content>, tried: Tried) -> Self {
        let accepted = message.accepted;
        let body = Body::Open(Rc::new(RefCell::new(message)));
        Self { body, content, size, accepted, tried, stand: Stand::Aside }
    }

    pub(super) fn pack(&mut self) {
        let packed = match &self.body {
            Body::Open(message) => message.borrow().encode().into_boxed_slice(),
            Body::Packed(_) | Body::Unknown(_) => return,
        };
        self.body = Body::Packed(packed);
    }

    /// The message; `None` when nobody understands it.
    fn open(&self) -> Option<Rc<RefCell<Message>>> {
        match &self.body {
            Body::Open(message) => Some(Rc::clone(message)),
            Body::Packed(octets) => {
                Message::decode(octets).ok().map(|message| Rc::new(RefCell::new(message)))
            }
            Body::Unknown(_) => None,
        }
    }

    fn meta(&self) -> Vec<u8> {
        match &self.body {
            Body::Open(message) => message.borrow().encode(),
            Body::Packed(octets) | Body::Unknown(octets) => octets.to_vec(),
        }
    }
}

impl Queue {
    /// Adds a message.
    pub(super) fn insert(&mut self, id: QueueId, entry: Entry, stand: Stand) {
        self.earlier += usize::from(entry.tried == Tried::Earlier);
        self.contents += usize::from(entry.content.is_some());
        self.entries.insert(id, entry);
        self.stand(id, stand);
    }

    /// The message, for somebody beside its round; give it back with [`Queue::put_back`].
    pub(super) fn open(&mut self, id: QueueId) -> Option<Rc<RefCell<Message>>> {
        let entry = self.entries.get_mut(&id)?;
        let message = entry.open()?;
        entry.body = Body::Open(Rc::clone(&message));
        Some(message)
    }

    /// Nobody else than its round needs it any more: it is packed unless somebody has it.
    pub(super) fn put_back(&mut self, id: QueueId, message: &Rc<RefCell<Message>>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // It is here, and with whoever gives it back.
        let alone = matches!(&entry.body, Body::Open(_)) && Rc::strong_count(message) == 2;
        if alone && matches!(entry.stand, Stand::Aside | Stand::Until(_)) {
            entry.pack();
        }
    }

    /// The octets of the message, if they are at hand.
    pub(super) fn content(&mut self, id: QueueId) -> Option<Content> {
        let content = self.entries.get_mut(&id)?.content.take();
        self.contents -= usize::from(content.is_some());
        content
    }

    /// Looks at a message.
    pub(super) fn with<T>(&self, id: QueueId, look: impl FnOnce(&Message) -> T) -> Option<T> {
        let message = self.entries.get(&id)?.open()?;
        let seen = look(&message.borrow());
        Some(seen)
    }

    /// Adds what is not understood: it is carried along and shown in figures, nothing else.
    pub(super) fn keep_unknown(&mut self, id: QueueId, meta: Vec<u8>) {
        let body = Body::Unknown(meta.into_boxed_slice());
        let (content, tried, stand) = (None, Tried::Here, Stand::Aside);
        self.entries.insert(id, Entry { body, content, size: 0, accepted: 0, tried, stand });
    }

    /// Takes the message out of where it stands and puts it elsewhere.
    fn stand(&mut self, id: QueueId, stand: Stand) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match std::mem::replace(&mut entry.stand, stand) {
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
    pub(super) fn begin(&mut self, most: usize) -> Option<Job> {
        while self.running < most {
            let id = self.line.pop_front()?;
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.stand != Stand::InLine {
                continue;
            }
            let Some(message) = entry.open() else { continue };
            entry.stand = Stand::Running;
            entry.body = Body::Open(Rc::clone(&message));
            self.running += 1;
            let content = entry.content.take();
            self.contents -= usize::from(content.is_some());
            return Some(Job { id, message, content, tried: entry.tried });
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
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.stand == Stand::Running
        {
            entry.stand = Stand::Aside;
        }
        (self.earlier == 0, self.running == 0)
    }

    /// The message is settled.
    pub(super) fn remove(&mut self, id: QueueId) {
        self.stand(id, Stand::Aside);
        if let Some(entry) = self.entries.remove(&id) {
            self.contents -= usize::from(entry.content.is_some());
            self.earlier -= usize::from(entry.tried == Tried::Earlier);
        }
    }

    /// The round did not finish the message: it waits until `next`, or for the operator.
    pub(super) fn wait(&mut self, id: QueueId, next: Option<i64>, tried: Tried) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.earlier -= usize::from(entry.tried == Tried::Earlier && tried != Tried::Earlier);
            entry.tried = tried;
            // Somebody else may have it: a message has one state.
            let shared = matches!(&entry.body, Body::Open(one) if Rc::strong_count(one) > 2);
            if !shared {
                entry.pack();
            }
        }
        self.stand(id, next.map_or(Stand::Aside, Stand::Until));
    }

    /// The first message behind that one, and when it was accepted.
    pub(super) fn after(&self, id: QueueId) -> Option<(QueueId, i64)> {
        let behind = self.entries.range((Bound::Excluded(id), Bound::Unbounded)).next();
        behind.map(|(id, entry)| (*id, entry.accepted))
    }

    /// Puts everything in line whose time has come.
    pub(super) fn advance(&mut self, now: i64) {
        while let Some(&(_, id)) = self.timers.first().filter(|(next, _)| *next <= now) {
            self.stand(id, Stand::InLine);
        }
    }

    /// The earliest time a message waits for.
    pub(super) fn next_time(&self) -> Option<i64> {
        self.timers.first().map(|(next, _)| *next)
    }

    /// The operator changed something: the message stands where it belongs now.
    pub(super) fn restand(&mut self, id: QueueId, next: Option<i64>, now: i64) {
        let Some(entry) = self.entries.get(&id) else { return };
        match next {
            _ if entry.stand == Stand::Running => {}
            None => self.stand(id, Stand::Aside),
            Some(next) if next <= now => self.stand(id, Stand::InLine),
            Some(next) => self.stand(id, Stand::Until(next)),
        }
    }

    pub(super) fn is_running(&self, id: QueueId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.stand == Stand::Running)
    }

    /// What the spool would have to keep of it.
    pub(super) fn meta(&self, id: QueueId) -> Option<Vec<u8>> {
        self.entries.get(&id).map(Entry::meta)
    }

    /// Changes the message where it is.
    pub(super) fn change<T>(
        &mut self,
        id: QueueId,
        change: impl FnOnce(&mut Message) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let message = entry.open()?;
        let changed = change(&mut message.borrow_mut());
        if matches!(entry.body, Body::Packed(_)) {
            entry.body = Body::Open(message);
            entry.pack();
        }
        Some(changed)
    }

    /// Each message behind `after`, until `visit` says no.
    pub(super) fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool) {
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        for (id, entry) in self.entries.range(QueueId(from)..) {
            let Some(message) = entry.open() else { continue };
            let line = Line { id: *id, size: entry.size, message: &message.borrow() };
            if !visit(line) {
                return;
            }
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Figures {
            messages: count(self.entries.len()),
            deferred: count(self.timers.len()),
            // Names grow with time.
            oldest: self
                .entries
                .values()
                .map(|entry| entry.accepted)
                .find(|accepted| *accepted > 0),
        }
    }
}
