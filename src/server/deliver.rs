//! server::deliver – accepted messages on their way into mailboxes, one shard's.
//!
//! ```text
//!  commit ─▶ accept ─▶ ready ─▶ round: targets, each noted ─┬ all done ─▶ reports ─▶ settle
//!  start ──▶ recover ──┘  ▲     (≤ 8 targets at a time, all  └ not all ──▶ wait ──┐
//!                         │      rounds together)                                 │
//!                         └────────── timer, release, retry ◀─────────────────────┘
//! ```
//! Promises: nothing here delays a reply: `accept` only puts a message in line; a message is settled
//! when every target is done and every report about it that somebody is owed is safe; memory is bounded
//! by the number of messages that wait, not by their octets nor what their envelopes hold.
//! Not here: routing (`mail::route`), mailboxes (`store::maildir`), keeping (`store::spool`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::config::{Copies, Relay};
use crate::log::Printable;
use crate::mail::dsn;
use crate::mail::route::Router;
use crate::mail::stored::{Destination, Message, Note, TargetState};
use crate::mail::throttle::{Allowance, Throttle};
use crate::shard;
use crate::store::maildir::{Maildirs, Tried};
use crate::store::spool::{Committed, Content, Finds, Found, QueueId, Spool};

mod carry;
mod desk;
mod onward;
mod queue;
mod report;
mod round;
mod steer;
mod timer;
mod wake;

pub(super) use desk::tend;
pub(super) use onward::{Errand, Outcome};
use onward::{Remote, has_remote};
use queue::{Entry, Queue, Stand};

/// Targets under way at a time: a disk that hangs holds up these, and nobody else.
const PLACES: usize = crate::limits::DELIVERIES_MAX;
/// Messages in line that keep their octets at hand; later ones are read from the spool again.
const CONTENTS_MAX: usize = 64;
/// Octets of one of those that waits for another server.
const CONTENT_ASIDE_MAX: u64 = 64 << 10;

/// What the operator chose, as far as deliveries need it.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Who gets reports.
    pub(super) router: Arc<Router>,
    /// Our name.
    pub(super) hostname: String,
    /// Seconds until the second attempt; doubles from there.
    pub(super) retry_seconds: u32,
    /// Seconds between two attempts at most.
    pub(super) retry_seconds_max: u32,
    /// Seconds after which a target is given up.
    pub(super) give_up_seconds: u32,
    /// Octets of one mailbox; 0 = no limit.
    pub(super) mailbox_bytes_max: u64,
    /// `[relay]`.
    pub(super) relay: Relay,
    /// Of which reports the postmaster gets copies.
    pub(super) copies: Vec<Copies>,
    /// Reports to senders elsewhere about mail from strangers, in an hour of all shards together.
    pub(super) allowance: Allowance,
    /// How many there are.
    pub(super) shards: usize,
    /// All chance of retries comes from it.
    pub(super) seed: u64,
}

/// What became of deliveries since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Into mailboxes.
    pub(super) delivered: Cell<u64>,
    /// Thrown away as configured.
    pub(super) discarded: Cell<u64>,
    /// To other servers.
    pub(super) relayed: Cell<u64>,
    /// Attempts that failed for now.
    pub(super) deferred: Cell<u64>,
    /// Targets given up.
    pub(super) failed: Cell<u64>,
    /// Targets removed by the operator.
    pub(super) removed: Cell<u64>,
    /// Reports written.
    pub(super) reports: Cell<u64>,
    /// Reports not written: there were too many.
    pub(super) reports_limited: Cell<u64>,
}

/// How the queue is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Figures {
    /// Messages that are not settled.
    pub(super) messages: u64,
    /// Of those, waiting for another attempt.
    pub(super) deferred: u64,
    /// When the oldest was accepted, seconds since 1970.
    pub(super) oldest: Option<i64>,
}

/// The deliveries of one shard. Clones share them.
#[derive(Clone)]
pub(super) struct Deliveries(Rc<Inner>);

struct Inner {
    spool: Spool,
    maildirs: Maildirs,
    policy: Box<dyn Fn() -> Rc<Policy>>,
    queue: RefCell<Queue>,
    remote: Remote,
    /// Grows with every change that may bring an errand.
    errands: Cell<u64>,
    counts: Counts,
    throttle: RefCell<Throttle>,
    /// No new rounds begin.
    closed: Cell<bool>,
    /// Who waits for the last round to end, or for the end of everything.
    waiting: RefCell<Vec<Waker>>,
    /// Targets under way besides the first of each round.
    spares: Cell<usize>,
    /// The task of the timers runs.
    timing: Cell<bool>,
    /// All messages up to this one were looked at when they were late.
    seen_late: Cell<QueueId>,
    /// Somebody begins rounds, further up in the calls.
    pumping: Cell<bool>,
}

impl Deliveries {
    /// `policy` is asked before every round.
    pub(super) fn new(
        spool: Spool,
        maildirs: Maildirs,
        policy: impl Fn() -> Rc<Policy> + 'static,
    ) -> Self {
        let remote = Remote::new(&policy());
        Self(Rc::new(Inner {
            spool,
            maildirs,
            policy: Box::new(policy),
            queue: RefCell::default(),
            remote,
            errands: Cell::new(0),
            counts: Counts::default(),
            throttle: RefCell::default(),
            closed: Cell::new(false),
            waiting: RefCell::default(),
            spares: Cell::new(0),
            timing: Cell::new(false),
            seen_late: Cell::new(QueueId(0)),
            pumping: Cell::new(false),
        }))
    }

    /// Puts messages in line that an earlier process left. Call it once, before [`Deliveries::accept`].
    ///
    /// # Errors
    /// The spool cannot be read; nothing is delivered then.
    pub(super) async fn recover(&self, mut finds: Finds) -> io::Result<()> {
        loop {
            let found = finds.next().await?;
            if found.is_empty() {
                break;
            }
            found.into_iter().for_each(|one| self.recover_one(one));
        }
        // Not before all are known here: it asks for what the spool knows.
        shard::spawn("carry", carry::run(self.clone()));
        self.wake_timer();
        self.pump();
        Ok(())
    }

    fn recover_one(&self, found: Found) {
        let Found { id, meta, notes, .. } = found;
        let mut message = match Message::decode(&meta) {
            Ok(message) => message,
            Err(error) => {
                let what = "a message in the spool cannot be understood; it stays there";
                tracing::error!(%id, %error, what);
                self.0.queue.borrow_mut().keep_unknown(id, meta);
                return;
            }
        };
        for note in notes {
            match Note::decode(&note) {
                Ok(note) => message.apply(note),
                Err(error) => tracing::error!(%id, %error, "a note in the spool is left out"),
            }
        }
        if self.over(id, &message) {
            return;
        }
        self.schedule(id, &message, true);
        // Only those that a round is for are looked for in mailboxes.
        let tried = if is_for_rounds(&message) { Tried::Earlier } else { Tried::Here };
        let stand = stand(&message, shard::wall().0);
        self.0.queue.borrow_mut().insert_asleep(id, &message, stand, tried);
    }

    /// Puts a message in line that was just committed; what is to be thrown away is settled at once.
    pub(super) fn accept(&self, committed: Committed, mut message: Message) {
        let Committed { id, content } = committed;
        for target in &mut message.targets {
            let to = Printable(target.address.as_bytes());
            match (&target.state, &target.to) {
                // Millions of these say nothing: the line of the acceptance is enough.
                (TargetState::Waiting, Destination::Discard) => {
                    add(&self.0.counts.discarded, 1);
                    tracing::debug!(%id, %to, status = "discarded", "delivery");
                    target.state = TargetState::Delivered;
                }
                (TargetState::Failed { reason }, _) => {
                    add(&self.0.counts.failed, 1);
                    tracing::warn!(%id, %to, status = "failed", reason, "delivery");
                }
                (
                    TargetState::Waiting
                    | TargetState::Deferred { .. }
                    | TargetState::Delivered
                    | TargetState::Removed,
                    _,
                ) => {}
            }
        }
        if self.over(id, &message) {
            return;
        }
        let stand = stand(&message, shard::wall().0);
        let mut queue = self.0.queue.borrow_mut();
        // What waits for another server may wait long, and its octets are charged to the spool's memory.
        let kept = |content: &Content| stand != Stand::Aside || content.len() <= CONTENT_ASIDE_MAX;
        let content = Some(content).filter(|it| queue.contents < CONTENTS_MAX && kept(it));
        let remote = has_remote(&message).then(|| message.clone());
        queue.insert(id, Entry::new(message, content, Tried::Never), stand);
        drop(queue);
        if let Some(message) = remote {
            self.schedule(id, &message, false);
        }
        self.pump();
    }

    /// Settles the message if nothing is left to do for it.
    fn over(&self, id: QueueId, message: &Message) -> bool {
        let over = is_over(message);
        if over {
            self.0.spool.settle(id);
        }
        over
    }

    /// What became of deliveries since the start.
    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// How the queue is now.
    pub(super) fn figures(&self) -> Figures {
        let remote = self.remote_messages();
        let figures = self.0.queue.borrow().figures();
        Figures { deferred: figures.deferred.saturating_add(remote), ..figures }
    }

    /// Begins no more rounds, and returns when those under way are over. Call it before the spool closes;
    /// bound it in time: a disk may hang.
    pub(super) async fn close(&self) {
        self.0.closed.set(true);
        self.wake_all();
        self.until(|| self.0.queue.borrow().running == 0).await;
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Returns when it is so; looks whenever somebody calls [`Deliveries::wake_all`].
    async fn until(&self, so: impl Fn() -> bool) {
        poll_fn(|context| {
            if so() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns when [`Deliveries::close`] was called.
    async fn closing(&self) {
        self.until(|| self.0.closed.get()).await;
    }

    /// Begins rounds while there are messages in line, or due, and room for them. A round may be over when
    /// `spawn` returns; it leaves the next one to the loop here, for calls nest only so deep.
    fn pump(&self) {
        if self.0.pumping.replace(true) {
            return;
        }
        let _pumping = Pumping(self);
        self.0.queue.borrow_mut().advance(shard::wall().0);
        while !self.0.closed.get() {
            let most = PLACES.saturating_sub(self.0.spares.get());
            let Some(begun) = self.0.queue.borrow_mut().begin(most) else { return };
            let slot = Slot { deliveries: self.clone(), id: begun.id };
            shard::spawn("delivery", async move {
                let deliveries = slot.deliveries.clone();
                if let Some(job) = deliveries.job(begun).await {
                    deliveries.round(job).await;
                }
                drop(slot);
                deliveries.pump();
            });
        }
    }

    /// A place for another target of a round, if there is one that no message in line needs.
    fn spare(&self) -> Option<Spare> {
        let (queue, spares) = (self.0.queue.borrow(), &self.0.spares);
        let free = queue.is_nobody_in_line() && queue.running + spares.get() < PLACES;
        (free && !self.0.closed.get()).then(|| {
            spares.set(spares.get() + 1);
            Spare(self.clone())
        })
    }

    fn policy(&self) -> Rc<Policy> {
        (self.0.policy)()
    }

    fn content(&self, job: &mut Job) -> Option<Content> {
        job.content.take().or_else(|| self.0.spool.content(job.id))
    }
}

/// One round: the message, and its octets if they are at hand.
struct Job {
    id: QueueId,
    message: Rc<RefCell<Message>>,
    content: Option<Content>,
    tried: Tried,
}

/// Somebody begins rounds, until this is dropped.
struct Pumping<'a>(&'a Deliveries);

impl Drop for Pumping<'_> {
    fn drop(&mut self) {
        self.0.0.pumping.set(false);
    }
}

/// A place besides the round's own; given back when dropped. [`Deliveries::pump`] then sees to who is in line.
struct Spare(Deliveries);

impl Drop for Spare {
    fn drop(&mut self) {
        let spares = &self.0.0.spares;
        spares.set(spares.get().saturating_sub(1));
    }
}

/// A round under way; gives its place back however it ends.
struct Slot {
    deliveries: Deliveries,
    id: QueueId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let inner = &self.deliveries.0;
        let (recovered, idle) = inner.queue.borrow_mut().end(self.id);
        if recovered {
            inner.maildirs.forget();
        }
        if idle && inner.closed.get() {
            self.deliveries.wake_all();
        }
    }
}

/// When a round is to see to a message: `None` when it waits for the operator, or for other servers only.
fn next_attempt(message: &Message, now: i64) -> Option<i64> {
    if message.held {
        return None;
    }
    let here = message.targets.iter().filter(|one| !matches!(one.to, Destination::Remote(_)));
    let waits = here.filter_map(|target| match &target.state {
        TargetState::Waiting => Some(now),
        TargetState::Deferred { next, .. } => Some(*next),
        TargetState::Delivered | TargetState::Failed { .. } | TargetState::Removed => None,
    });
    // Nothing is left but a report, or one is due while other servers are waited for.
    let report = || (!has_remote(message) || !dsn::due(message).is_empty()).then_some(now);
    waits.min().or_else(report)
}

/// Where a message stands that is new here.
fn stand(message: &Message, now: i64) -> Stand {
    match next_attempt(message, now) {
        None => Stand::Aside,
        Some(next) if next > now => Stand::Until(next),
        Some(_) => Stand::InLine,
    }
}

/// Has it targets here that are not done with?
fn is_for_rounds(message: &Message) -> bool {
    let open =
        |state: &TargetState| matches!(state, TargetState::Waiting | TargetState::Deferred { .. });
    let here = |to: &Destination| !matches!(to, Destination::Remote(_));
    message.targets.iter().any(|target| here(&target.to) && open(&target.state))
}

/// Nothing is left to do.
fn is_over(message: &Message) -> bool {
    message.settled() && dsn::due(message).is_empty()
}

fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get().saturating_add(more));
}

#[cfg(test)]
mod tests;
