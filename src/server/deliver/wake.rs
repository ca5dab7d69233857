//! server::deliver::wake – messages that are asleep are read from the spool when somebody needs them.
//!
//! Promises: a message that is awake is had at once; of several who wake one, all have the same. Nothing is
//! lost when it cannot be read: it stays where it is.

use std::cell::RefCell;
use std::io;
use std::iter::Peekable;
use std::rc::Rc;

use super::queue::{Begun, Known};
use super::{Deliveries, Job};
use crate::mail::stored::Message;
use crate::shard;
use crate::store::spool::{Content, Kept, QueueId};

/// A message that is awake, and its octets if they came with it.
pub(super) type Woken = (Rc<RefCell<Message>>, Option<Content>);

/// A message as it was when it was looked at: the one that is awake, or one that nobody else has.
pub(super) struct Seen {
    pub(super) id: QueueId,
    /// Octets of the message.
    pub(super) size: u64,
    pub(super) message: Rc<RefCell<Message>>,
}

impl Deliveries {
    /// The message, for somebody beside its round; give it back with `Queue::put_back`. `None`: it is not here,
    /// or nobody understands it.
    ///
    /// # Errors
    /// The spool does not give it now, which is logged.
    pub(super) async fn wake(&self, id: QueueId) -> io::Result<Option<Woken>> {
        let known = self.0.queue.borrow().known(id);
        match known {
            Some(Known::Awake(message)) => return Ok(Some((message, None))),
            Some(Known::Asleep) => {}
            Some(Known::Unknown(_)) | None => return Ok(None),
        }
        let Some(read) = self.0.spool.load(id).await else { return Ok(None) };
        let read = read.and_then(|(meta, content)| Ok((decode(&meta)?, content)));
        match read {
            Ok((message, content)) => {
                let awake = self.0.queue.borrow_mut().awaken(id, message);
                Ok(awake.map(|message| (message, Some(content))))
            }
            Err(error) => Err(told(id, error)),
        }
    }

    /// The message, for those who need no octets and to whom a reason means nothing.
    pub(super) async fn open(&self, id: QueueId) -> Option<Rc<RefCell<Message>>> {
        Some(self.wake(id).await.ok()??.0)
    }

    /// Has the message of a round at hand. `None`: there is none, or it is tried again later.
    pub(super) async fn job(&self, begun: Begun) -> Option<Job> {
        let Begun { id, message, content, tried } = begun;
        if let Some(message) = message {
            return Some(Job { id, message, content, tried });
        }
        match self.wake(id).await {
            Ok(woken) => {
                let (message, read) = woken?;
                Some(Job { id, message, content: content.or(read), tried })
            }
            Err(_) => {
                let pause = i64::from(self.policy().retry_seconds.max(1));
                let next = shard::wall().0.saturating_add(pause);
                self.0.queue.borrow_mut().wait_unread(id, next);
                self.wake_timer();
                None
            }
        }
    }

    /// Messages as they are now, to be looked at, with their sizes; `names` are in order, and so are they. What
    /// is not here any more, or cannot be read, is left out; what somebody has awake is that same message.
    /// Nothing may be waited for, nor changed, until the last was given.
    pub(super) async fn look_at<'a>(&'a self, names: &'a [QueueId]) -> Look<'a> {
        let (mut asked, mut read): (Vec<QueueId>, Vec<Kept>) = (Vec::new(), Vec::new());
        loop {
            // Some may fall asleep while others are read.
            let new = |id: &&QueueId| asked.binary_search(*id).is_err();
            let asleep = self.asleep(names.iter().filter(new));
            if asleep.is_empty() {
                break;
            }
            read.extend(self.0.spool.metas(&asleep).await);
            asked.extend(asleep);
            asked.sort();
        }
        read.sort_by_key(|kept| kept.id);
        Look { deliveries: self, names: names.iter(), read: read.into_iter().peekable() }
    }

    /// The message, with what the spool gave of it if it was asleep.
    fn seen(&self, id: QueueId, kept: Option<Kept>) -> Option<Seen> {
        let queue = self.0.queue.borrow();
        if let Some(Known::Awake(message)) = queue.known(id) {
            return Some(Seen { id, size: self.0.spool.size(id).unwrap_or(0), message });
        }
        // `None`: it is not here any more.
        let Kept { size, meta, .. } = kept?;
        let mut message = match meta.and_then(|meta| decode(&meta)) {
            Ok(message) => message,
            Err(error) => {
                drop(told(id, error));
                return None;
            }
        };
        let here = queue.put_on(id, &mut message);
        here.then(|| Seen { id, size, message: Rc::new(RefCell::new(message)) })
    }

    fn asleep<'a>(&self, names: impl Iterator<Item = &'a QueueId>) -> Vec<QueueId> {
        let queue = self.0.queue.borrow();
        let asleep = |id: &QueueId| matches!(queue.known(*id), Some(Known::Asleep));
        names.copied().filter(asleep).collect()
    }

    /// What the spool would have to keep of a message now. `None`: it is not here, or cannot be read.
    pub(super) async fn meta(&self, id: QueueId) -> Option<Vec<u8>> {
        let known = self.0.queue.borrow().known(id)?;
        match known {
            Known::Awake(message) => Some(message.borrow().encode()),
            Known::Unknown(octets) => Some(octets),
            Known::Asleep => {
                let Seen { message, .. } = self.look_at(&[id]).await.next()?;
                let meta = message.borrow().encode();
                Some(meta)
            }
        }
    }
}

/// Messages that are looked at. One is understood when its turn comes: a list needs it for no longer.
pub(super) struct Look<'a> {
    deliveries: &'a Deliveries,
    names: std::slice::Iter<'a, QueueId>,
    read: Peekable<std::vec::IntoIter<Kept>>,
}

impl Iterator for Look<'_> {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        let Self { deliveries, names, read } = self;
        names.find_map(|id| deliveries.seen(*id, read.next_if(|kept| kept.id == *id)))
    }
}

fn decode(meta: &[u8]) -> io::Result<Message> {
    Message::decode(meta).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn told(id: QueueId, error: io::Error) -> io::Error {
    tracing::error!(%id, %error, "the spool does not give a message now");
    error
}
