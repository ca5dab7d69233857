//! server::deliver::round – one message, every target of it that is due, in order, a few at a time.
//!
//! Deliveries wait for the disk to sync, and one message may have thousands of targets: a round has
//! several under way where nobody else needs the place ([`Deliveries::spare`]). Two targets in one mailbox
//! follow each other.
//!
//! Promises: what the operator does meanwhile holds: a held message stops before its next target, a target
//! that was removed is not tried; what failed for now is noted with its reason and its next time; each
//! target is noted as it ends, so that a crash repeats what was under way and little more.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::{Deliveries, Job, Policy, Spare, add, is_over, next_attempt};
use crate::log::Printable;
use crate::mail::dsn;
use crate::mail::name;
use crate::mail::stored::{Destination, Message, Note, TargetState};
use crate::shard;
use crate::smtp::address::Mailbox;
use crate::store::maildir::{Letter, Refusal, Tried};
use crate::store::spool::{Content, QueueId};

/// A target that is due, and what is needed of it while the message may change.
struct Due {
    number: u32,
    attempts: u32,
    address: String,
    mailbox: Option<String>,
    folder: Option<String>,
    head: Vec<u8>,
    accepted: i64,
}

/// A target under way.
struct Flight<'a> {
    due: Rc<Due>,
    attempt: Pin<Box<dyn Future<Output = Result<(), Refusal>> + 'a>>,
    /// The first of a round has the round's own place.
    spare: Option<Spare>,
}

impl Deliveries {
    pub(super) async fn round(&self, mut job: Job) {
        let policy = self.policy();
        let content = self.content(&mut job);
        let unsure = match &content {
            Some(content) => self.targets(&job, content, &policy).await,
            None => self.without_content(&job, &policy),
        };
        if is_over(&job.message.borrow()) {
            self.finish(job.id);
            return;
        }
        let mut told = self.report(&job, content.as_ref(), &policy).await;
        // What other servers said while it was written is in none of these reports, and nobody else looks.
        while told && !dsn::due(&job.message.borrow()).is_empty() {
            told = self.report(&job, content.as_ref(), &policy).await;
        }
        drop(content);
        let now = shard::wall().0;
        let message = job.message.borrow();
        if message.settled() && told && dsn::due(&message).is_empty() {
            self.finish(job.id);
            return;
        }
        let tried = match job.tried {
            _ if unsure => Tried::Here,
            Tried::Never => Tried::Never,
            Tried::Earlier | Tried::Here => Tried::Here,
        };
        let retry = now.saturating_add(i64::from(policy.retry_seconds.max(1)));
        // Not before the next second at the earliest: a clock that stands does not make this spin.
        let next = next_attempt(&message, retry).map(|next| next.max(now.saturating_add(1)));
        let next = if told { next } else { next.map(|next| next.min(retry)) };
        drop(message);
        self.0.queue.borrow_mut().wait(job.id, next, tried);
        self.wake_timer();
    }

    fn finish(&self, id: QueueId) {
        self.0.spool.settle(id);
        self.0.queue.borrow_mut().remove(id);
    }

    /// Tries what is due. Says whether one may be there though it failed.
    async fn targets(&self, job: &Job, content: &Content, policy: &Policy) -> bool {
        let mut flights: Vec<Flight<'_>> = Vec::new();
        let (mut number, mut unsure) = (0, false);
        loop {
            while let Some(due) = due(&job.message.borrow(), number, shard::wall().0) {
                if flights.iter().any(|flight| flight.due.mailbox == due.mailbox) {
                    break;
                }
                let spare = if flights.is_empty() { None } else { self.spare() };
                if spare.is_none() && !flights.is_empty() {
                    break;
                }
                number = due.number + 1;
                let due = Rc::new(due);
                let attempt = Box::pin(self.attempt(job, Rc::clone(&due), content, policy));
                flights.push(Flight { due, attempt, spare });
            }
            if flights.is_empty() {
                return unsure;
            }
            let (flight, outcome) = first(&mut flights).await;
            unsure |= matches!(&outcome, Err(refusal) if *refusal != Refusal::Full);
            let state = self.judge(job.id, &flight.due, outcome, policy);
            self.end_target(job, flight.due.number, state);
            // Who goes on keeps the round's own place; a spare one is free again for whoever is in line.
            let spare =
                flight.spare.or_else(|| flights.iter_mut().find_map(|one| one.spare.take()));
            if spare.is_some() {
                drop(spare);
                self.pump();
            }
        }
    }

    /// The target is as this try left it; the log of the spool hears of it, unless nothing is left to do for
    /// the message: its settlement says that.
    fn end_target(&self, job: &Job, number: u32, state: TargetState) {
        let mut message = job.message.borrow_mut();
        let at = usize::try_from(number).ok();
        let Some(target) = at.and_then(|at| message.targets.get_mut(at)) else { return };
        // What the operator took away meanwhile stays away, unless it arrived before.
        if target.state == TargetState::Removed && state != TargetState::Delivered {
            return;
        }
        target.state = state.clone();
        if !is_over(&message) {
            self.0.spool.note(job.id, Note::Target(number, state).encode());
        }
    }

    async fn attempt(
        &self,
        job: &Job,
        due: Rc<Due>,
        content: &Content,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let Some(mailbox) = &due.mailbox else { return Ok(()) };
        let letter = Letter {
            mailbox,
            folder: due.folder.as_deref(),
            id: job.id,
            target: due.number,
            accepted: due.accepted,
            tried: job.tried,
            head: &due.head,
            content,
            bytes_max: policy.mailbox_bytes_max,
        };
        self.0.maildirs.deliver(&letter).await
    }

    /// What an attempt makes of a target; one line in the log.
    fn judge(
        &self,
        id: QueueId,
        due: &Due,
        outcome: Result<(), Refusal>,
        policy: &Policy,
    ) -> TargetState {
        let (counts, now) = (&self.0.counts, shard::wall().0);
        let to = Printable(due.address.as_bytes());
        let delay = now.saturating_sub(due.accepted);
        let refusal = match outcome {
            Ok(()) => {
                let kept = due.mailbox.is_some();
                add(if kept { &counts.delivered } else { &counts.discarded }, 1);
                let status = if kept { "delivered" } else { "discarded" };
                tracing::info!(%id, %to, status, delay, "delivery");
                return TargetState::Delivered;
            }
            Err(refusal) => refusal,
        };
        let reason = reason(&refusal);
        if delay >= i64::from(policy.give_up_seconds) {
            add(&counts.failed, 1);
            tracing::warn!(%id, %to, status = "failed", delay, reason, "delivery");
            return TargetState::Failed {
                reason: format!("5.4.7 given up after {delay} seconds: {reason}"),
            };
        }
        add(&counts.deferred, 1);
        let attempts = due.attempts.saturating_add(1);
        let end = due.accepted.saturating_add(i64::from(policy.give_up_seconds));
        let next = now.saturating_add(pause(policy, attempts)).min(end.max(now + 1));
        tracing::warn!(%id, %to, status = "deferred", delay, attempts, reason, "delivery");
        TargetState::Deferred { attempts, next, reason }
    }

    /// The spool does not have the octets any more, or cannot say now. As [`Deliveries::targets`].
    fn without_content(&self, job: &Job, policy: &Policy) -> bool {
        let now = shard::wall().0;
        let mut number = 0;
        loop {
            let due = due(&job.message.borrow(), number, now);
            let Some(due) = due else { return false };
            number = due.number + 1;
            let refusal = Refusal::Broken("the spool does not give the message".to_owned());
            let state = self.judge(job.id, &due, Err(refusal), policy);
            self.end_target(job, due.number, state);
        }
    }
}

/// Waits until one of them ends, and takes it out.
async fn first<'a>(flights: &mut Vec<Flight<'a>>) -> (Flight<'a>, Result<(), Refusal>) {
    poll_fn(|context| {
        for at in 0..flights.len() {
            if let Poll::Ready(outcome) = flights[at].attempt.as_mut().poll(context) {
                return Poll::Ready((flights.remove(at), outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// Seconds until the attempt after so many.
fn pause(policy: &Policy, attempts: u32) -> i64 {
    let doubled = 1_i64.checked_shl(attempts.saturating_sub(1).min(40)).unwrap_or(i64::MAX);
    let most = i64::from(policy.retry_seconds_max.max(policy.retry_seconds).max(1));
    i64::from(policy.retry_seconds.max(1)).saturating_mul(doubled).min(most)
}

/// Enhanced status and text (RFC 3463).
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Full => "4.2.2 mailbox full".to_owned(),
        Refusal::NoSpace => "4.3.1 no space for mailboxes".to_owned(),
        Refusal::Denied => "4.3.5 the mailbox may not be written".to_owned(),
        Refusal::Broken(why) => format!("4.3.0 the mailbox cannot be written: {why}"),
    }
}

/// The first target from `number` on that is due.
fn due(message: &Message, number: u32, now: i64) -> Option<Due> {
    if message.held {
        return None;
    }
    let skip = usize::try_from(number).ok()?;
    let (number, target, attempts) =
        (0..).zip(&message.targets).skip(skip).find_map(|(number, target)| match target.state {
            // Those are on their own ways (`onward`).
            _ if matches!(target.to, Destination::Remote(_)) => None,
            TargetState::Waiting => Some((number, target, 0)),
            TargetState::Deferred { attempts, next, .. } if next <= now => {
                Some((number, target, attempts))
            }
            TargetState::Deferred { .. }
            | TargetState::Delivered
            | TargetState::Failed { .. }
            | TargetState::Removed => None,
        })?;
    let mailbox = match &target.to {
        Destination::Mailbox(name) => Some(name.clone()),
        Destination::Discard | Destination::Remote(_) => None,
    };
    let sender = match (&target.sender, &message.envelope.sender) {
        (Some(owner), _) => owner.clone(),
        (None, sender) => sender.as_ref().map(Mailbox::to_string).unwrap_or_default(),
    };
    // RFC 5321 §4.4: the one line that final delivery adds. No address brings a line of its own along.
    let sender: String = sender.chars().filter(|c| !c.is_control()).collect();
    let head = [format!("Return-Path: <{sender}>\r\n").as_bytes(), &message.trace].concat();
    Some(Due {
        number,
        attempts,
        address: target.address.clone(),
        mailbox,
        folder: target.tag.as_deref().and_then(name::mailbox),
        head,
        accepted: message.accepted,
    })
}
