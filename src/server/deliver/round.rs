//! server::deliver::round – one message, every target of it that is due, one after the other.
//!
//! Promises: what the operator does meanwhile holds: a held message stops before its next target, a target
//! that was removed is not tried; what failed for now is noted with its reason and its next time.

use super::{Deliveries, Job, Policy, add, next_attempt};
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

impl Deliveries {
    pub(super) async fn round(&self, mut job: Job) {
        let policy = self.policy();
        let content = self.content(&mut job);
        let (changed, unsure) = match &content {
            Some(content) => self.targets(&job, content, &policy).await,
            None => self.without_content(&job, &policy),
        };
        let over = job.message.borrow().settled() && dsn::due(&job.message.borrow()).is_empty();
        if over {
            self.finish(job.id);
            return;
        }
        for number in changed {
            self.note_target(job.id, &job.message.borrow(), number);
        }
        let told = self.report(&job, content.as_ref(), &policy).await;
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

    pub(super) fn note_target(&self, id: QueueId, message: &Message, number: u32) {
        let target = usize::try_from(number).ok().and_then(|at| message.targets.get(at));
        if let Some(target) = target {
            self.0.spool.note(id, Note::Target(number, target.state.clone()).encode());
        }
    }

    /// Tries what is due. Gives the targets that changed, and whether one may be there though it failed.
    async fn targets(&self, job: &Job, content: &Content, policy: &Policy) -> (Vec<u32>, bool) {
        let (mut changed, mut unsure) = (Vec::new(), false);
        let mut number = 0;
        loop {
            let due = due(&job.message.borrow(), number, shard::wall().0);
            let Some(due) = due else { return (changed, unsure) };
            number = due.number + 1;
            let outcome = self.attempt(job, &due, content, policy).await;
            unsure |= matches!(&outcome, Err(refusal) if *refusal != Refusal::Full);
            let state = self.judge(job.id, &due, outcome, policy);
            let mut message = job.message.borrow_mut();
            let at = usize::try_from(due.number).ok();
            if let Some(target) = at.and_then(|at| message.targets.get_mut(at)) {
                // What the operator took away meanwhile stays away, unless it arrived before.
                if target.state != TargetState::Removed || state == TargetState::Delivered {
                    target.state = state;
                    changed.push(due.number);
                }
            }
        }
    }

    async fn attempt(
        &self,
        job: &Job,
        due: &Due,
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

    /// The spool does not have the octets any more, or cannot say now.
    fn without_content(&self, job: &Job, policy: &Policy) -> (Vec<u32>, bool) {
        let now = shard::wall().0;
        let mut changed = Vec::new();
        let mut number = 0;
        loop {
            let due = due(&job.message.borrow(), number, now);
            let Some(due) = due else { return (changed, false) };
            number = due.number + 1;
            let refusal = Refusal::Broken("the spool does not give the message".to_owned());
            let state = self.judge(job.id, &due, Err(refusal), policy);
            let at = usize::try_from(due.number).ok();
            let mut message = job.message.borrow_mut();
            if let Some(target) = at.and_then(|at| message.targets.get_mut(at)) {
                target.state = state;
                changed.push(due.number);
            }
        }
    }
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
        Destination::Discard => None,
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
