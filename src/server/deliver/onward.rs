//! server::deliver::onward – messages for other servers: from the schedule to who sends them, and back.
//!
//! ```text
//!  accept, recover ─▶ schedule ─ due ─▶ errand ─▶ (whoever sends: connections are not here)
//!                        ▲                           │
//!                        └── deferred ◀── finish ◀───┘── delivered, failed ─▶ a round: report, settle
//! ```
//! Where a message goes is asked when it is due: what waits follows a configuration that changes. The
//! schedule may know a message at a place where nothing is to be done for it any more (it is held, was
//! removed, takes another route now); that is found out here, before a connection is made.
//!
//! Promises: every outcome is noted in the spool; an errand that is dropped unfinished comes back later; a
//! message is with one connection to a destination at a time.
//! Not here: which message is next (`mail::schedule`), dialogues and connections.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Deliveries, Policy, add, is_over};
use crate::log::Printable;
use crate::mail::dsn;
use crate::mail::hop::{Onward, share};
use crate::mail::schedule::{
    self, Ended, Figure, Job, Lapsed, Limits, Place, Rules, Schedule, Served,
};
use crate::mail::stored::{Destination, Message, Note, Target, TargetState};
use crate::shard;
use crate::smtp::address::Mailbox;
use crate::store::spool::{Content, QueueId};

/// Longest sleep: a clock that is set is noticed after it.
const SLEEP_SECONDS_MAX: i64 = 60;
/// Why a message waits that no route is for.
const NO_ROUTE: &str = "4.4.4 no route leads there any more";

/// What is kept for messages to other servers.
pub(super) struct Remote {
    pub(super) schedule: RefCell<Schedule>,
    /// Given out, by destination.
    under_way: RefCell<HashSet<(Place, u64)>>,
    /// Messages whose waiting deliveries the operator removed, or wants now.
    removed: RefCell<HashSet<u64>>,
    wanted: RefCell<HashSet<u64>>,
    /// The task of those given up runs.
    lapsing: Cell<bool>,
}

/// A message to be sent to one destination.
pub(in crate::server) struct Errand {
    deliveries: Deliveries,
    job: Job,
    over: bool,
    /// The message.
    pub(in crate::server) id: QueueId,
    /// What is known of it; may change meanwhile.
    pub(in crate::server) message: Rc<RefCell<Message>>,
    /// Numbers of the targets that are due there.
    pub(in crate::server) targets: Vec<u32>,
    /// How to get there.
    pub(in crate::server) route: Arc<Onward>,
    /// The recipients' domain; by MX, that of all of them.
    pub(in crate::server) domain: String,
    /// Its octets.
    pub(in crate::server) content: Content,
}

/// What became of a target. Texts begin with an enhanced status code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Outcome {
    /// The next server took it.
    Delivered {
        /// It, or nobody, tells the sender.
        reported: bool,
        /// What it said; for the log.
        reply: String,
    },
    /// Not now.
    Deferred(String),
    /// Never.
    Failed(String),
}

/// Which target an outcome is of, and who said it.
#[derive(Clone, Copy)]
struct End<'a> {
    id: QueueId,
    number: u32,
    relay: &'a str,
}

/// A target for another server, as the routes in force have it.
struct Due {
    number: u32,
    name: String,
    route: Option<Arc<Onward>>,
    domain: String,
    next: i64,
}

impl Remote {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            schedule: RefCell::new(Schedule::new(rules(policy))),
            under_way: RefCell::default(),
            removed: RefCell::default(),
            wanted: RefCell::default(),
            lapsing: Cell::new(false),
        }
    }
}

impl Errand {
    /// Where it goes, for [`Deliveries::next_errand_for`] and [`Deliveries::end_connection`].
    pub(in crate::server) fn place(&self) -> Place {
        self.job.place
    }
}

/// A connection counted by the schedule that nobody has yet; gives it back.
struct Unused<'a> {
    deliveries: &'a Deliveries,
    place: Option<Place>,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut schedule = self.deliveries.remote().schedule.borrow_mut();
            schedule.close(place, shard::wall().0, Ended::Unused);
        }
    }
}

/// A message given out that is being read; gives it back when nobody waits for it any more.
struct Taken<'a> {
    deliveries: &'a Deliveries,
    job: Option<Job>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            let now = shard::wall().0;
            self.deliveries.remote().schedule.borrow_mut().done(job, now, Served::Again(now));
            self.deliveries.errands_changed();
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if !self.over {
            let policy = self.deliveries.policy();
            let later = shard::wall().0.saturating_add(i64::from(policy.relay.retry_first_seconds));
            self.deliveries.end_job(self.job, Served::Again(later));
            self.deliveries.0.queue.borrow_mut().put_back(self.id, &self.message);
        }
    }
}

impl Deliveries {
    /// A message that another connection may be made for; `None`: there is none, or no room. The connection
    /// counts until [`Deliveries::end_connection`].
    pub(in crate::server) async fn next_errand(&self) -> Option<Errand> {
        let policy = self.policy();
        self.remote().schedule.borrow_mut().set_rules(rules(&policy));
        while !self.0.closed.get() {
            let now = shard::wall().0;
            let job = self.remote().schedule.borrow_mut().next(now)?;
            let mut unused = Unused { deliveries: self, place: Some(job.place) };
            if let Some(errand) = self.live(job, 0, &policy).await {
                unused.place = None;
                return Some(errand);
            }
        }
        None
    }

    /// Another message for a connection there that carried `sent` of them.
    pub(in crate::server) async fn next_errand_for(
        &self,
        place: Place,
        sent: u32,
    ) -> Option<Errand> {
        if self.0.closed.get() {
            return None;
        }
        let job = self.remote().schedule.borrow_mut().next_for(place, sent, shard::wall().0)?;
        self.live(job, sent, &self.policy()).await
    }

    /// Whether a connection there that carried `sent` of them gets no other.
    pub(in crate::server) fn is_spent(&self, place: Place, sent: u32) -> bool {
        self.remote().schedule.borrow().is_spent(place, sent)
    }

    /// Notes what became of an errand's targets. Those not named were not tried. `relay` is who was asked.
    pub(in crate::server) fn finish_errand(
        &self,
        mut errand: Errand,
        results: Vec<(u32, Outcome)>,
        relay: &str,
    ) {
        let policy = self.policy();
        errand.over = true;
        // What is given up here was not answered there.
        let answered = results.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Deferred(_)));
        for (number, outcome) in results {
            let end = End { id: errand.id, number, relay };
            let deferred = self.end_remote(&errand.message, end, outcome, &policy);
            if let Some(reason) = deferred {
                self.remote().schedule.borrow_mut().remember(errand.job.place, &reason);
            }
        }
        let next = {
            let message = errand.message.borrow();
            let mine = |due: &Due| errand.targets.contains(&due.number);
            let due = self.due(&message, &policy);
            let next = due.iter().filter(|due| mine(due)).map(|due| due.next).min();
            // What was not tried this time comes next, but a connection that tries nothing does not spin.
            next.map(|next| next.max(shard::wall().0.saturating_add(1)))
        };
        let over = if answered { Served::Over } else { Served::Nothing };
        self.end_job(errand.job, next.map_or(over, Served::Again));
        self.see_to(errand.id, &errand.message);
    }

    /// A connection is gone, after its last errand was finished.
    pub(in crate::server) fn end_connection(&self, place: Place, ended: Ended) {
        self.remote().schedule.borrow_mut().close(place, shard::wall().0, ended);
        self.see_to_lapsed();
        self.see_to_timer();
        self.errands_changed();
    }

    /// Has those given up whose time is over. There may be as many as ever waited there: they are read one
    /// after the other.
    fn see_to_lapsed(&self) {
        let deliveries = self.clone();
        if !self.remote().schedule.borrow().has_lapsed() || self.remote().lapsing.replace(true) {
            return;
        }
        shard::spawn("given up", async move {
            while !deliveries.is_closed() {
                let lapsed = deliveries.remote().schedule.borrow_mut().lapsed();
                let Some(lapsed) = lapsed else { break };
                deliveries.give_up(&lapsed).await;
            }
            deliveries.remote().lapsing.set(false);
        });
    }

    /// Returns when [`Deliveries::next_errand`], which just gave nothing, may give something; at once when
    /// deliveries are closed.
    pub(in crate::server) async fn errands_due(&self) {
        let (seen, next) = (self.0.errands.get(), self.remote().schedule.borrow().next_time());
        let changed = self.until(|| self.0.errands.get() != seen || self.0.closed.get());
        let Some(next) = next else { return changed.await };
        let seconds = next.saturating_sub(shard::wall().0).clamp(1, SLEEP_SECONDS_MAX);
        let deadline = shard::now().after(Duration::from_secs(seconds.unsigned_abs()));
        let _early: Option<()> = shard::within(deadline, changed).await;
    }

    /// No errands are given out any more.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Each destination there is.
    pub(super) fn places<T>(&self, each: impl Fn(Figure<'_>) -> T) -> Vec<T> {
        self.remote().schedule.borrow().figures(shard::wall().0).map(each).collect()
    }

    /// Messages that wait for another attempt at another server.
    pub(super) fn remote_messages(&self) -> u64 {
        self.remote().schedule.borrow().deferred()
    }

    /// What was wrong at a destination last.
    pub(super) fn error_at(&self, name: &str) -> Option<String> {
        self.remote().schedule.borrow().error(name).map(str::to_owned)
    }

    /// The name of the destination that a target goes to now.
    pub(super) fn destination_of(&self, message: &Message, target: &Target) -> Option<String> {
        Some(due_of(&self.policy(), message, 0, target)?.name)
    }

    // ------------------------------------------------------------ towards the schedule

    /// Puts what the message has for other servers into the schedule. `spread`: it was there before.
    pub(super) fn schedule(&self, id: QueueId, message: &Message, spread: bool) {
        let (policy, now) = (self.policy(), shard::wall().0);
        let mut due = self.due(message, &policy);
        if message.held || due.is_empty() {
            return;
        }
        due.sort_by(|a, b| (&a.name, a.next).cmp(&(&b.name, b.next)));
        due.dedup_by(|later, first| later.name == first.name);
        let sender = sender(message);
        let mut schedule = self.remote().schedule.borrow_mut();
        for due in due {
            let place = schedule.destination(&due.name, limits(&due, &policy));
            let tried = due.next > 0;
            let when =
                if spread && tried { schedule.spread(id.0, due.next, now) } else { due.next };
            schedule.add(place, id.0, sender, when, now);
        }
        drop(schedule);
        self.errands_changed();
    }

    /// The operator removed deliveries of this message, which is so now.
    pub(super) fn removed_remotely(&self, id: QueueId, message: &Message) {
        if !has_remote(message) {
            self.remote().removed.borrow_mut().insert(id.0);
        }
    }

    /// The operator wants these tried now, once [`Deliveries::change_schedule`] is called.
    pub(super) fn wanted(&self, ids: &[QueueId]) {
        self.remote().wanted.borrow_mut().extend(ids.iter().map(|id| id.0));
    }

    /// What the operator did to many messages, at one go.
    pub(super) fn change_schedule(&self) {
        let now = shard::wall().0;
        let removed = std::mem::take(&mut *self.remote().removed.borrow_mut());
        let wanted = std::mem::take(&mut *self.remote().wanted.borrow_mut());
        if removed.is_empty() && wanted.is_empty() {
            return;
        }
        let mut schedule = self.remote().schedule.borrow_mut();
        if !removed.is_empty() {
            schedule.retain(now, |id| !removed.contains(&id));
        }
        if !wanted.is_empty() {
            schedule.hasten(now, |id| wanted.contains(&id));
        }
        drop(schedule);
        self.errands_changed();
    }

    // ------------------------------------------------------------ inside

    fn remote(&self) -> &Remote {
        &self.0.remote
    }

    fn errands_changed(&self) {
        self.0.errands.set(self.0.errands.get().wrapping_add(1));
        self.wake_all();
    }

    fn end_job(&self, job: Job, served: Served) {
        self.remote().under_way.borrow_mut().remove(&(job.place, job.id));
        self.remote().schedule.borrow_mut().done(job, shard::wall().0, served);
        self.errands_changed();
    }

    /// The first of the jobs of this connection that there is something to do for.
    async fn live(&self, job: Job, sent: u32, policy: &Policy) -> Option<Errand> {
        let mut job = Some(job);
        while let Some(one) = job {
            let mut taken = Taken { deliveries: self, job: Some(one) };
            let errand = self.errand(one, policy).await;
            taken.job = None;
            match errand {
                Ok(errand) => return Some(errand),
                Err(served) => {
                    let mut schedule = self.remote().schedule.borrow_mut();
                    let now = shard::wall().0;
                    schedule.done(one, now, served);
                    job = schedule.next_for(one.place, sent, now);
                }
            }
        }
        None
    }

    /// What is to be done for a job; or what became of it.
    async fn errand(&self, job: Job, policy: &Policy) -> Result<Errand, Served> {
        let id = QueueId(job.id);
        let woken = self.wake(id).await.map_err(|_| {
            let pause = i64::from(policy.relay.retry_first_seconds.max(1));
            Served::Again(shard::wall().0.saturating_add(pause))
        })?;
        let Some((message, read)) = woken else { return Err(Served::Nothing) };
        let now = shard::wall().0;
        if self.remote().under_way.borrow().contains(&(job.place, job.id)) {
            return Err(Served::Nothing);
        }
        let (here, elsewhere) = {
            let known = message.borrow();
            let all = if known.held { Vec::new() } else { self.due(&known, policy) };
            let name = self.remote().schedule.borrow().name(job.place).to_owned();
            all.into_iter().partition::<Vec<_>, _>(|due| due.name == name)
        };
        let next = here.iter().map(|due| due.next).min();
        let due: Vec<&Due> = here.iter().filter(|due| due.next <= now).collect();
        let Some(first) = due.first() else {
            if here.is_empty() && !elsewhere.is_empty() {
                self.schedule(id, &message.borrow(), false);
            }
            self.0.queue.borrow_mut().put_back(id, &message);
            return Err(next.map_or(Served::Nothing, Served::Again));
        };
        let targets: Vec<u32> = due.iter().map(|due| due.number).collect();
        let content = self.0.queue.borrow_mut().content(id).or(read);
        let content = content.or_else(|| self.0.spool.content(id));
        let (Some(route), Some(content)) = (first.route.clone(), content) else {
            let reason = if first.route.is_none() {
                NO_ROUTE
            } else {
                "4.3.0 the spool does not give the message"
            };
            for number in targets {
                let deferred = Outcome::Deferred(reason.to_owned());
                self.end_remote(&message, End { id, number, relay: "" }, deferred, policy);
            }
            let left = self.due(&message.borrow(), policy);
            let next = left.iter().filter(|due| due.name == first.name).map(|due| due.next).min();
            self.see_to(id, &message);
            return Err(next.map_or(Served::Nothing, Served::Again));
        };
        self.remote().under_way.borrow_mut().insert((job.place, job.id));
        let domain = first.domain.clone();
        let deliveries = self.clone();
        Ok(Errand { deliveries, job, over: false, id, message, targets, route, domain, content })
    }

    /// The targets for other servers that are not done with.
    fn due(&self, message: &Message, policy: &Policy) -> Vec<Due> {
        let targets = (0..).zip(&message.targets);
        targets.filter_map(|(number, target)| due_of(policy, message, number, target)).collect()
    }

    /// A target is as this attempt left it. Why it waits, if it does.
    fn end_remote(
        &self,
        message: &Rc<RefCell<Message>>,
        end: End<'_>,
        outcome: Outcome,
        policy: &Policy,
    ) -> Option<String> {
        let mut message = message.borrow_mut();
        let End { id, number, .. } = end;
        let accepted = message.accepted;
        let at = usize::try_from(number).ok();
        let target = at.and_then(|at| message.targets.get_mut(at))?;
        let (state, told) = self.judge_remote(target, end, outcome, accepted, policy)?;
        target.state = state.clone();
        target.told |= told;
        let reason = match &state {
            TargetState::Deferred { reason, .. } => Some(reason.clone()),
            TargetState::Waiting
            | TargetState::Delivered
            | TargetState::Failed { .. }
            | TargetState::Removed => None,
        };
        if !is_over(&message) {
            self.0.spool.note(id, Note::Target(number, state).encode());
            if told {
                self.0.spool.note(id, Note::Told(number).encode());
            }
        }
        reason
    }

    /// What an attempt makes of a target, and whether its sender is told elsewhere; one line in the log. `None`:
    /// nothing.
    #[allow(clippy::too_many_arguments, reason = "what is judged, and by what")]
    fn judge_remote(
        &self,
        target: &Target,
        end: End<'_>,
        outcome: Outcome,
        accepted: i64,
        policy: &Policy,
    ) -> Option<(TargetState, bool)> {
        let (id, now, counts) = (end.id, shard::wall().0, &self.0.counts);
        let to = Printable(target.address.as_bytes());
        let relay = Printable(end.relay.as_bytes());
        let attempts = match &target.state {
            TargetState::Deferred { attempts, .. } => attempts.saturating_add(1),
            TargetState::Waiting
            | TargetState::Delivered
            | TargetState::Failed { .. }
            | TargetState::Removed => 1,
        };
        let (delay, patience) =
            (now.saturating_sub(accepted), i64::from(policy.relay.give_up_seconds));
        let removed = target.state == TargetState::Removed;
        let reason = match outcome {
            Outcome::Delivered { reported, reply } => {
                add(&counts.relayed, 1);
                tracing::info!(%id, %to, status = "relayed", delay, %relay, reply, "delivery");
                return Some((TargetState::Delivered, reported));
            }
            // What the operator took away meanwhile stays away, unless it arrived before.
            Outcome::Deferred(_) | Outcome::Failed(_) if removed => return None,
            Outcome::Deferred(reason) if delay < patience => {
                add(&counts.deferred, 1);
                let end = accepted.saturating_add(patience).max(now + 1);
                let pause = self.remote().schedule.borrow().pause(id.0, attempts);
                let next = now.saturating_add(pause).min(end);
                tracing::warn!(
                    %id, %to, status = "deferred", delay, attempts, %relay, reason, "delivery"
                );
                return Some((TargetState::Deferred { attempts, next, reason }, false));
            }
            Outcome::Deferred(reason) => {
                format!("5.4.7 given up after {delay} seconds: {reason}")
            }
            Outcome::Failed(reason) => reason,
        };
        add(&counts.failed, 1);
        tracing::warn!(%id, %to, status = "failed", delay, %relay, reason, "delivery");
        Some((TargetState::Failed { reason }, false))
    }

    /// Settles the message, or has a round see to its report.
    pub(super) fn see_to(&self, id: QueueId, message: &Rc<RefCell<Message>>) {
        let (over, next) = {
            let (message, now) = (message.borrow(), shard::wall().0);
            let next = super::next_attempt(&message, now);
            let late = super::report::is_late(&message, &self.policy()) && !message.held;
            let told = !late || dsn::late(&message).is_empty();
            (is_over(&message), if told { next } else { Some(now) })
        };
        let mut queue = self.0.queue.borrow_mut();
        if over && !queue.is_running(id) {
            queue.remove(id);
            self.0.spool.settle(id);
            return;
        }
        queue.restand(id, next, shard::wall().0);
        queue.put_back(id, message);
        drop(queue);
        self.wake_timer();
        self.pump();
    }

    /// A message that waited too long for a destination that cannot be reached.
    async fn give_up(&self, lapsed: &Lapsed) {
        let id = QueueId(lapsed.id);
        // One that cannot be read now is seen to by the next start.
        let Some(message) = self.open(id).await else { return };
        let policy = &self.policy();
        let due = self.due(&message.borrow(), policy);
        let there = due.iter().filter(|due| *due.name == *lapsed.destination);
        let numbers: Vec<u32> = there.map(|due| due.number).collect();
        let accepted = message.borrow().accepted;
        let delay = shard::wall().0.saturating_sub(accepted);
        let reason = format!("5.4.7 given up after {delay} seconds: {}", lapsed.reason);
        for number in numbers {
            let failed = Outcome::Failed(reason.clone());
            self.end_remote(&message, End { id, number, relay: "" }, failed, policy);
        }
        self.see_to(id, &message);
    }
}

fn rules(policy: &Policy) -> Rules {
    let relay = &policy.relay;
    Rules {
        retry_first_seconds: relay.retry_first_seconds,
        retry_seconds: relay.retry_seconds,
        retry_seconds_max: relay.retry_seconds_max,
        give_up_seconds: relay.give_up_seconds,
        connections_max: share(relay.max_connections, shard::index(), policy.shards).max(1),
        seed: policy.seed,
    }
}

fn limits(due: &Due, policy: &Policy) -> Limits {
    let nothing = Limits { connections: 1, per_connection: 0, per_minute: 0 };
    due.route.as_ref().map_or(nothing, |route| route.limits(shard::index(), policy.shards))
}

/// Whoever sent it, as a number.
fn sender(message: &Message) -> u32 {
    let sender = message.envelope.sender.as_ref().map(Mailbox::to_string).unwrap_or_default();
    let [a, b, c, d, ..] = schedule::hash(&sender).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Is anything left to do for another server?
pub(super) fn has_remote(message: &Message) -> bool {
    let open = |target: &Target| {
        matches!(target.to, Destination::Remote(_))
            && matches!(target.state, TargetState::Waiting | TargetState::Deferred { .. })
    };
    message.targets.iter().any(open)
}

/// A target for another server that is not done with; one that was not tried is due since ever.
fn due_of(policy: &Policy, message: &Message, number: u32, target: &Target) -> Option<Due> {
    let Destination::Remote(hop) = &target.to else { return None };
    let next = match &target.state {
        TargetState::Waiting => 0,
        TargetState::Deferred { next, .. } => *next,
        TargetState::Delivered | TargetState::Failed { .. } | TargetState::Removed => return None,
    };
    let (route, domain) = match policy.router.onward(&message.envelope, target) {
        Some((route, domain)) => (Some(route), domain),
        None => {
            let domain = target.address.rsplit_once('@').map_or("", |(_, domain)| domain);
            (None, domain.to_lowercase())
        }
    };
    let name = match &route {
        Some(route) => route.destination(&domain),
        None => Onward::new(hop.clone()).destination(&domain),
    };
    Some(Due { number, name, route, domain, next })
}
