//! server::accept_mail – from the last octet of a message to its 250, and the answers before it.
//!
//! Promises: the answer to a commit is positive only when the spool said that the message is durable;
//! what is refused is not delivered; one line in the log per message, with the name its client was told.
//! Not here: the dialogue (`smtp`), the deliveries (`deliver`).

use std::net::IpAddr;
use std::rc::Rc;

use super::ingress::Ingress;
use super::milter::Settled;
use crate::config::Senders;
use crate::limits::LOOP_HEADER_BYTES_MAX;
use crate::log::Printable;
use crate::mail::rewrite;
use crate::mail::route::{Client, Verdict};
use crate::mail::stored::{Destination, Message, TargetState};
use crate::metrics::mail::{Reason, Received as How};
use crate::shard;
use crate::smtp::address::Mailbox;
use crate::smtp::claims::Forwarded;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply;
use crate::smtp::step::{Answer, Ask, Fault};
use crate::smtp::trace::{self, Arrival};
use crate::store::spool::{Draft, QueueId, Trouble};

/// What is known of a message beside its envelope.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    /// The cipher suite it came under.
    pub(super) cipher: Option<&'a str>,
    /// Who sent it.
    pub(super) user: Option<&'a str>,
    /// The client's name, as the peer that speaks for it has it.
    pub(super) name: Option<&'a str>,
    /// Where the peer has it from.
    pub(super) forwarded: Option<&'a Forwarded>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// Its address.
    pub(super) peer: IpAddr,
    /// Who it is.
    pub(super) user: Option<&'a str>,
    /// The envelope sender of the message that is begun.
    pub(super) sender: Option<&'a Mailbox>,
}

/// Answers a question of the dialogue, without waiting.
pub(super) fn answer(ingress: &Ingress, who: Asking<'_>, ask: &Ask) -> Answer {
    let Asking { peer, user, sender: from } = who;
    let rules = ingress.rules();
    let answer = match ask {
        // RFC 6409 §6.1. An empty sender is nobody's: reports have it.
        Ask::Mail { sender: Some(sender), .. }
            if user.is_some_and(|user| {
                rules.smtp.authenticated_senders == Senders::Own && !rules.router.owns(user, sender)
            }) =>
        {
            Answer::Refused(Fault::NotYours)
        }
        Ask::Mail { declared, .. } => match ingress.spool.room(declared.unwrap_or(0)) {
            Ok(()) => Answer::Done,
            Err(trouble) => Answer::Refused(fault(trouble)),
        },
        Ask::Rcpt(to) => {
            let client = Client { peer, authenticated: user.is_some() };
            match rules.router.verdict(from, to, client, shard::wall().0) {
                Verdict::Taken => Answer::Done,
                Verdict::NoUser => Answer::Refused(Fault::NoUser),
                Verdict::RelayDenied => Answer::Refused(Fault::RelayDenied),
                Verdict::Loop => Answer::Refused(Fault::Loop),
                Verdict::ForgedReturn => Answer::Refused(Fault::ForgedReturn),
                Verdict::ExpiredReturn => Answer::Refused(Fault::ExpiredReturn),
            }
        }
        Ask::Verify(text) => match rules.router.verify(text) {
            Some((name, mailbox)) => Answer::Verified(name, mailbox),
            None => Answer::Refused(Fault::NoUser),
        },
        Ask::Expand(text) => match rules.router.expand(text) {
            Some(members) => Answer::Expanded(members),
            None => Answer::Refused(Fault::NoUser),
        },
        // Asked elsewhere (`authenticate`).
        Ask::Auth { .. } | Ask::Respond(_) | Ask::Forget => Answer::Refused(Fault::NoLogins),
        // Answered by the session (`smtp`).
        Ask::Client { .. } => Answer::Refused(Fault::Denied),
    };
    if let Answer::Refused(fault) = &answer {
        ingress.local.counters().mail.refused(reason(*fault));
        tell(ingress, who, ask, &answer);
    }
    answer
}

/// Says in the log who was refused what. A dictionary of names costs its client nothing, so lines are limited.
pub(super) fn tell(ingress: &Ingress, who: Asking<'_>, ask: &Ask, answer: &Answer) {
    let shown = |one: &dyn ToString| Printable(one.to_string().as_bytes()).to_string();
    let (what, from, to) = match ask {
        Ask::Mail { sender, .. } => ("sender refused", sender.as_ref(), None),
        Ask::Rcpt(to) => ("recipient refused", who.sender, Some(shown(to))),
        Ask::Verify(_)
        | Ask::Expand(_)
        | Ask::Auth { .. }
        | Ask::Respond(_)
        | Ask::Forget
        | Ask::Client { .. } => return,
    };
    let reply = match answer {
        Answer::Refused(fault) => reply::refusal(*fault).shown(),
        Answer::Said(words) => words.shown(),
        Answer::Done
        | Answer::Verified(..)
        | Answer::Expanded(_)
        | Answer::Challenge(_)
        | Answer::Authenticated
        | Answer::Committed(_) => return,
    };
    let Some(unsaid) = ingress.refusal_lines.take() else { return };
    tracing::info!(
        peer = %who.peer,
        user = who.user.map(|user| shown(&user)).map(tracing::field::display),
        from = %from.map(|from| shown(from)).unwrap_or_default(),
        to = to.map(tracing::field::display),
        reply,
        unsaid,
        "{what}"
    );
}

/// Makes the message durable. The client may be gone meanwhile: the commit goes on.
pub(super) async fn commit(
    ingress: &Rc<Ingress>,
    draft: Option<Draft>,
    envelope: Box<Envelope>,
    arrived: Arrived<'_>,
    settled: Settled,
) -> Answer {
    let mail = &ingress.local.counters().mail;
    let Some(draft) = draft else {
        mail.received(How::Failed);
        return Answer::Refused(Fault::Broken);
    };
    let begun = shard::now();
    let (size, rules) = (draft.len(), ingress.rules());
    let been = if rules.router.forwards() { been_to(&draft).await } else { Vec::new() };
    let mut targets = rules.router.targets(&envelope, &been);
    if settled.discard {
        for target in &mut targets {
            (target.to, target.state) = (Destination::Discard, TargetState::Waiting);
        }
    }
    let mut whole = None;
    let committed = draft.commit(|id| {
        let (accepted, _) = shard::wall();
        let id = id.to_string();
        let arrival = Arrival {
            hostname: &rules.settings.hostname,
            id: &id,
            unix_seconds: accepted,
            cipher: arrived.cipher,
        };
        let mut trace = trace::received(&envelope, arrival);
        trace.extend(trace::missing(settled.lacks, arrival));
        trace.extend(&settled.lead);
        let held = settled.held;
        let message = Message { envelope: *envelope, accepted, trace, targets, held };
        let octets = message.encode();
        whole = Some(message);
        octets
    });
    let committed = match committed.await {
        Ok(committed) => committed,
        Err(trouble) => {
            mail.received(How::Failed);
            tracing::warn!(?trouble, "a message could not be kept; its client was told");
            return Answer::Refused(fault(trouble));
        }
    };
    mail.accepted(size, shard::now().since(begun));
    let name = committed.id.to_string();
    if let Some(message) = whole {
        log(committed.id, size, &message, arrived, &settled);
        ingress.watch();
        ingress.deliveries.accept(committed, message);
    }
    Answer::Committed(name)
}

/// The addresses of ours that the message went on from before. Of a header that cannot be read nothing is known:
/// then the count of `Received` lines ends a loop.
async fn been_to(draft: &Draft) -> Vec<String> {
    match draft.head(LOOP_HEADER_BYTES_MAX).await {
        Ok(head) => rewrite::been_to(&head),
        Err(error) => {
            tracing::warn!(%error, "the header of a message could not be looked at for loops");
            Vec::new()
        }
    }
}

fn log(id: QueueId, size: u64, message: &Message, arrived: Arrived<'_>, settled: &Settled) {
    let printable = |text: &str| Printable(text.as_bytes()).to_string();
    let Arrived { user, name, forwarded, .. } = arrived;
    let envelope = &message.envelope;
    let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::info!(
        %id,
        size,
        peer = %envelope.peer.ip(),
        helo = %Printable(envelope.helo.as_bytes()),
        from = %Printable(sender.as_bytes()),
        recipients = envelope.recipients.len(),
        with = envelope.protocol.with(),
        user = user.map(printable).map(tracing::field::display),
        name = name.map(printable).map(tracing::field::display),
        forwarded = forwarded.map(ToString::to_string),
        milter = match (settled.discard, settled.held) {
            (true, _) => Some("discarded"),
            (false, true) => Some("held"),
            (false, false) => None,
        },
        "message accepted"
    );
}

pub(super) fn fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::NoSpace => Fault::NoSpace,
        Trouble::Broken => Fault::Broken,
    }
}

fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::NoUser | Fault::Ambiguous | Fault::ForgedReturn | Fault::ExpiredReturn => {
            Reason::NoUser
        }
        Fault::RelayDenied => Reason::Relay,
        Fault::MailboxBusy | Fault::MailboxFull => Reason::Mailbox,
        Fault::NoSpace => Reason::NoSpace,
        Fault::Broken => Reason::Broken,
        Fault::Denied | Fault::TooLarge => Reason::Denied,
        Fault::NotYours => Reason::Sender,
        Fault::Credentials | Fault::Response => Reason::Denied,
        Fault::Busy | Fault::ShuttingDown | Fault::NoLogins => Reason::Busy,
        Fault::Loop => Reason::Loop,
        Fault::Filtered | Fault::Unfiltered | Fault::Dismissed => Reason::Milter,
    }
}
