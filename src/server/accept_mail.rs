//! server::accept_mail – from the last octet of a message to its 250, and the answers before it.
//!
//! Promises: the answer to a commit is positive only when the spool said that the message is durable;
//! what is refused is not delivered; one line in the log per message, with the name its client was told.
//! Not here: the dialogue (`smtp`), the deliveries (`deliver`).

use std::rc::Rc;

use super::ingress::Ingress;
use super::link::Link;
use crate::log::Printable;
use crate::mail::route::Verdict;
use crate::mail::stored::Message;
use crate::metrics::mail::{Reason, Received as How};
use crate::shard;
use crate::smtp::envelope::Envelope;
use crate::smtp::step::{Answer, Ask, Fault};
use crate::smtp::trace;
use crate::store::spool::{Draft, QueueId, Trouble};

/// Answers a question of the dialogue, without waiting.
pub(super) fn answer(ingress: &Ingress, stream: &Link, ask: Ask) -> Answer {
    let rules = ingress.rules();
    let answer = match ask {
        Ask::Mail { declared, .. } => match ingress.spool.room(declared.unwrap_or(0)) {
            Ok(()) => Answer::Done,
            Err(trouble) => Answer::Refused(fault(trouble)),
        },
        Ask::Rcpt(recipient) => match rules.router.verdict(&recipient, stream.peer().ip()) {
            Verdict::Taken => Answer::Done,
            Verdict::NoUser => Answer::Refused(Fault::NoUser),
            Verdict::RelayDenied => Answer::Refused(Fault::RelayDenied),
            Verdict::Loop => Answer::Refused(Fault::Loop),
        },
        Ask::Verify(text) => match rules.router.verify(&text) {
            Some((name, mailbox)) => Answer::Verified(name, mailbox),
            None => Answer::Refused(Fault::NoUser),
        },
        Ask::Expand(text) => match rules.router.expand(&text) {
            Some(members) => Answer::Expanded(members),
            None => Answer::Refused(Fault::NoUser),
        },
    };
    if let Answer::Refused(fault) = &answer {
        ingress.local.counters().mail.refused(reason(*fault));
    }
    answer
}

/// Makes the message durable. The client may be gone meanwhile: the commit goes on.
pub(super) async fn commit(
    ingress: &Rc<Ingress>,
    draft: Option<Draft>,
    envelope: Box<Envelope>,
) -> Answer {
    let mail = &ingress.local.counters().mail;
    let Some(draft) = draft else {
        mail.received(How::Failed);
        return Answer::Refused(Fault::Broken);
    };
    let begun = shard::now();
    let (size, rules) = (draft.len(), ingress.rules());
    let targets = rules.router.targets(&envelope);
    let mut whole = None;
    let committed = draft.commit(|id| {
        let (accepted, _) = shard::wall();
        let trace = trace::received(&envelope, &rules.settings.hostname, &id.to_string(), accepted);
        let message = Message { envelope: *envelope, accepted, trace, targets, held: false };
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
        log(committed.id, size, &message);
        ingress.watch();
        ingress.deliveries.accept(committed, message);
    }
    Answer::Committed(name)
}

fn log(id: QueueId, size: u64, message: &Message) {
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
        "message accepted"
    );
}

fn fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::NoSpace => Fault::NoSpace,
        Trouble::Broken => Fault::Broken,
    }
}

fn reason(fault: Fault) -> Reason {
    match fault {
        Fault::NoUser | Fault::Ambiguous => Reason::NoUser,
        Fault::RelayDenied => Reason::Relay,
        Fault::MailboxBusy | Fault::MailboxFull => Reason::Mailbox,
        Fault::NoSpace => Reason::NoSpace,
        Fault::Broken => Reason::Broken,
        Fault::Denied | Fault::TooLarge => Reason::Denied,
        Fault::Busy | Fault::ShuttingDown => Reason::Busy,
        Fault::Loop => Reason::Loop,
    }
}
