//! server::deliver::report – tells senders what became of their messages.
//!
//! A report is a message of its own, with the null sender, committed to the spool like any other before
//! the message it is about is settled. It goes to a mailbox here, or wherever a route leads mail of our own;
//! where none leads to the sender the log says so. The postmaster gets a copy where the operator wants one.
//!
//! Promises: no report about a report; a crash may repeat one (and its copy), never lose one. That a message is
//! late is told once. Senders that may be forged get no more reports than are allowed (`mail::throttle`).

use super::{Deliveries, Job, Policy, add};
use crate::config::Copies;
use crate::limits::DSN_ORIGINAL_BYTES_MAX;
use crate::log::Printable;
use crate::mail::dsn::{self, Action, Frame, Notice, Original};
use crate::mail::hop::share;
use crate::mail::rewrite;
use crate::mail::stored::{Destination, Message, Note, Target, TargetState};
use crate::mail::throttle::Allowance;
use crate::shard;
use crate::smtp::envelope::{BodyType, Envelope, Notify, Protocol, To};
use crate::store::spool::{Content, Trouble};

impl Deliveries {
    /// Makes the reports that are due. False when one could not be made now.
    pub(super) async fn report(
        &self,
        job: &Job,
        content: Option<&Content>,
        policy: &Policy,
    ) -> bool {
        let notices = dsn::due(&job.message.borrow());
        if !self.tell(job, &notices, &Note::Told, content, policy).await {
            return false;
        }
        if is_late(&job.message.borrow(), policy) {
            let notices = dsn::late(&job.message.borrow());
            // What cannot be told now is told when the message is looked at again.
            self.tell(job, &notices, &Note::Delayed, content, policy).await;
        }
        true
    }

    /// Sends each, and remembers it of its targets with `note`.
    #[allow(clippy::too_many_arguments, reason = "as for `report`, and what is remembered")]
    async fn tell(
        &self,
        job: &Job,
        notices: &[Notice],
        note: &dyn Fn(u32) -> Note,
        content: Option<&Content>,
        policy: &Policy,
    ) -> bool {
        for notice in notices {
            match self.inform(job, notice, content, policy).await {
                Ok(()) => {
                    for (number, _) in &notice.targets {
                        job.message.borrow_mut().apply(note(*number));
                        self.0.spool.note(job.id, note(*number).encode());
                    }
                }
                Err(trouble) => {
                    tracing::warn!(id = %job.id, ?trouble, "a report could not be kept; tried again later");
                    return false;
                }
            }
        }
        true
    }

    /// Sends it, and its copy.
    async fn inform(
        &self,
        job: &Job,
        notice: &Notice,
        content: Option<&Content>,
        policy: &Policy,
    ) -> Result<(), Trouble> {
        self.send(job, Letter { notice, copy_of: None }, content, policy).await?;
        match copy(notice, policy) {
            Some(copy) => {
                let letter = Letter { notice: &copy, copy_of: Some(&notice.to) };
                self.send(job, letter, content, policy).await
            }
            None => Ok(()),
        }
    }

    /// The message, with what is wrong at the destinations of those targets that nobody tried.
    fn explained(&self, job: &Job, notice: &Notice) -> Message {
        let mut message = job.message.borrow().clone();
        for (number, _) in &notice.targets {
            let at = usize::try_from(*number).ok();
            let Some(target) = at.and_then(|at| message.targets.get(at)) else { continue };
            let waits = target.state == TargetState::Waiting;
            let destination = self.destination_of(&message, target).filter(|_| waits);
            let reason = destination.and_then(|name| self.error_at(&name));
            let target = at.and_then(|at| message.targets.get_mut(at));
            if let (Some(target), Some(reason)) = (target, reason) {
                target.state = TargetState::Deferred { attempts: 0, next: 0, reason };
            }
        }
        message
    }

    /// May it go there, whoever that is? What our own users are told, and owners of lists, is no backscatter, nor is
    /// what stays here.
    fn may_send(&self, job: &Job, notice: &Notice, targets: &[Target], policy: &Policy) -> bool {
        let envelope = &job.message.borrow().envelope;
        let to_sender =
            envelope.sender.as_ref().is_some_and(|sender| sender.to_string() == notice.to);
        let leaves = targets.iter().any(|one| matches!(one.to, Destination::Remote(_)));
        if !to_sender || !leaves || policy.router.is_trusted(envelope) {
            return true;
        }
        let Allowance { total, per_address } = policy.allowance;
        let total = match total {
            0 => 0,
            total => share(total, shard::index(), policy.shards).max(1),
        };
        let allowance = Allowance { total, per_address };
        self.0.throttle.borrow_mut().allows(&notice.to, allowance, shard::wall().0)
    }

    async fn send(
        &self,
        job: &Job,
        letter: Letter<'_>,
        content: Option<&Content>,
        policy: &Policy,
    ) -> Result<(), Trouble> {
        let Letter { notice, copy_of } = letter;
        let to = Printable(notice.to.as_bytes());
        let Some(envelope) = envelope(notice, policy) else {
            tracing::warn!(id = %job.id, %to, "no report: the sender's address is none");
            return Ok(());
        };
        let targets = policy.router.targets_from_here(&envelope);
        if !targets.iter().any(|target| target.state == TargetState::Waiting) {
            tracing::warn!(id = %job.id, %to, "no report: the sender has no mailbox here, and no route leads there");
            return Ok(());
        }
        if copy_of.is_none() && !self.may_send(job, notice, &targets, policy) {
            tracing::warn!(id = %job.id, %to, "no report: too many in this hour to senders that may be forged");
            add(&self.0.counts.reports_limited, 1);
            return Ok(());
        }
        let (octets, size) = match content {
            Some(content) => (start_of(content).await, content.len()),
            None => (Ok(Vec::new()), 0),
        };
        let octets = octets.unwrap_or_else(|error| {
            tracing::warn!(id = %job.id, %error, "a report without the message it is about");
            Vec::new()
        });
        let now = shard::wall().0;
        let id = job.id.to_string();
        let original = Original { octets: &octets, size };
        let until =
            job.message.borrow().accepted.saturating_add(i64::from(policy.relay.give_up_seconds));
        let frame = Frame { hostname: &policy.hostname, id: &id, now, until, copy_of };
        let report = dsn::compose(&self.explained(job, notice), notice, original, frame);
        let eight_bit = !report.is_ascii();
        let mut draft = self.0.spool.draft();
        draft.append(&report).await?;
        drop(report);
        let body = if eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
        let message = Message {
            envelope: Envelope { body, ..envelope },
            accepted: now,
            trace: Vec::new(),
            targets,
            held: false,
        };
        let committed = draft.commit(|_| message.encode()).await?;
        tracing::info!(id = %committed.id, about = %job.id, %to, "report");
        add(&self.0.counts.reports, 1);
        self.accept(committed, message);
        Ok(())
    }
}

/// What is sent, and to whom the report itself went if it is a copy.
#[derive(Clone, Copy)]
struct Letter<'a> {
    notice: &'a Notice,
    copy_of: Option<&'a str>,
}

/// What the postmaster hears of it.
fn copy(notice: &Notice, policy: &Policy) -> Option<Notice> {
    let wanted = |action: Action| match action {
        Action::Failed => policy.copies.contains(&Copies::Bounce),
        Action::Delayed => policy.copies.contains(&Copies::Delay),
        Action::Delivered | Action::Expanded | Action::Relayed => false,
    };
    let targets = notice.targets.iter().filter(|(_, action)| wanted(*action));
    let targets: Vec<_> = targets.copied().collect();
    let to = policy.router.postmaster().to_string();
    let other = rewrite::key(&to) != rewrite::key(&notice.to);
    (other && !targets.is_empty()).then_some(Notice { to, targets })
}

/// Has it waited so long that its sender is told?
pub(super) fn is_late(message: &Message, policy: &Policy) -> bool {
    let after = i64::from(policy.relay.delay_notice_seconds);
    after > 0 && shard::wall().0 >= message.accepted.saturating_add(after)
}

/// From nobody, to the sender, about which nobody is told (RFC 3461 §6.1).
fn envelope(notice: &Notice, policy: &Policy) -> Option<Envelope> {
    let never = Notify { success: false, failure: false, delay: false };
    Some(Envelope {
        sender: None,
        recipients: vec![To {
            recipient: dsn::recipient(notice)?,
            notify: Some(never),
            original: None,
        }],
        body: BodyType::default(),
        ret: None,
        envelope_id: None,
        helo: policy.hostname.clone(),
        peer: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
        protocol: Protocol::default(),
    })
}

/// As much of the message as a report may hold.
async fn start_of(content: &Content) -> std::io::Result<Vec<u8>> {
    let most = usize::try_from(DSN_ORIGINAL_BYTES_MAX).unwrap_or(0);
    let mut octets = Vec::new();
    while octets.len() < most {
        let at = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let more = content.read(at, most - octets.len()).await?;
        if more.is_empty() {
            break;
        }
        octets.extend_from_slice(&more);
    }
    Ok(octets)
}
