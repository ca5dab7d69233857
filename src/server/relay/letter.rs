//! server::relay::letter – from targets to transactions: who is the sender, and what is asked about each.
//!
//! RFC 3461 §5.2.7: what goes through an alias keeps what its sender asked for; what goes through a list is
//! a message of its own, of the list's owner, who asked for nothing.
//!
//! Promises: every target is in one letter.

use crate::mail::name;
use crate::mail::stored::{Message, Target};
use crate::smtp::address::{Domain, Mailbox, Recipient};
use crate::smtp::client::step::Mail;
use crate::smtp::envelope::To;

/// Targets that go in one transaction, if it holds so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// The owner of the list they are members of.
    pub(super) sender: Option<String>,
    /// Their numbers.
    pub(super) targets: Vec<u32>,
}

/// All of `targets`, by who the sender is.
pub(super) fn letters(message: &Message, targets: &[u32]) -> Vec<Letter> {
    let mut letters: Vec<Letter> = Vec::new();
    for number in targets {
        let Some(target) = target(message, *number) else { continue };
        match letters.iter_mut().find(|letter| letter.sender == target.sender) {
            Some(letter) => letter.targets.push(*number),
            None => {
                letters.push(Letter { sender: target.sender.clone(), targets: vec![*number] });
            }
        }
    }
    letters
}

/// What is said of them; `None` when one of the addresses is none. `bytes`: of the message, trace included.
pub(super) fn mail(
    message: &Message,
    owner: Option<&str>,
    targets: &[u32],
    bytes: u64,
) -> Option<Mail> {
    let envelope = &message.envelope;
    let sender = match (owner, &envelope.sender) {
        // Nobody is told about a message that has no sender, by whatever way it goes (RFC 5321 §4.5.5).
        (Some(owner), Some(_)) => Some(mailbox(owner)?),
        (_, sender) => sender.clone(),
    };
    let recipients: Option<Vec<To>> =
        targets.iter().map(|number| to(message, target(message, *number)?)).collect();
    let own = owner.is_none();
    Some(Mail {
        sender,
        recipients: recipients?,
        body: envelope.body,
        ret: envelope.ret.filter(|_| own),
        envelope_id: envelope.envelope_id.clone().filter(|_| own),
        utf8: envelope.protocol.utf8,
        bytes,
    })
}

/// Did its sender ask to be told of success?
pub(super) fn wants_success(message: &Message, number: u32) -> bool {
    let to = target(message, number).and_then(|target| to(message, target));
    to.and_then(|to| to.notify).is_some_and(|notify| notify.success)
}

fn target(message: &Message, number: u32) -> Option<&Target> {
    message.targets.get(usize::try_from(number).ok()?)
}

fn to(message: &Message, target: &Target) -> Option<To> {
    let given = usize::try_from(target.recipient).ok();
    let given = given.and_then(|at| message.envelope.recipients.get(at));
    let recipient = match given {
        Some(to) if to.recipient.to_string() == target.address => to.recipient.clone(),
        Some(_) | None => Recipient::Mailbox(mailbox(&target.address)?),
    };
    let asked = given.filter(|_| target.sender.is_none());
    Some(To {
        recipient,
        notify: asked.and_then(|to| to.notify),
        original: asked.and_then(|to| to.original.clone()),
    })
}

fn mailbox(text: &str) -> Option<Mailbox> {
    let (local, domain) = name::split(text)?;
    Some(Mailbox { local, domain: Domain::Name(domain?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::stored::{Destination, TargetState};
    use crate::smtp::envelope::{BodyType, Envelope, Notify, Protocol, Return};

    fn message(sender: Option<&str>) -> Message {
        let notify = Notify { success: true, failure: true, delay: false };
        let recipient = |text: &str| To {
            recipient: Recipient::Mailbox(mailbox(text).unwrap()),
            notify: Some(notify),
            original: Some(("rfc822".to_owned(), "x@y.example".to_owned())),
        };
        let target = |recipient, address: &str, sender: Option<&str>| Target {
            recipient,
            address: address.to_owned(),
            tag: None,
            to: Destination::Remote(crate::mail::hop::Hop::Mx),
            sender: sender.map(str::to_owned),
            state: TargetState::Waiting,
            told: false,
            delayed: false,
        };
        let owner = Some("owner-list@a.example");
        Message {
            envelope: Envelope {
                sender: sender.map(|text| mailbox(text).unwrap()),
                recipients: vec![recipient("ann@b.example"), recipient("list@a.example")],
                body: BodyType::EightBitMime,
                ret: Some(Return::Headers),
                envelope_id: Some("my id".to_owned()),
                helo: "x".to_owned(),
                peer: "192.0.2.1:2000".parse().unwrap(),
                protocol: Protocol::default(),
            },
            accepted: 0,
            trace: Vec::new(),
            targets: vec![
                target(0, "ann@b.example", None),
                target(1, "bob@b.example", owner),
                target(1, "carl@b.example", owner),
                target(0, "dan@b.example", None),
            ],
            held: false,
        }
    }

    #[test]
    fn a_list_is_a_letter_of_its_own() {
        let message = message(Some("me@a.example"));
        let found = letters(&message, &[0, 1, 2, 3]);
        let owner = Some("owner-list@a.example".to_owned());
        assert_eq!(
            found,
            [Letter { sender: None, targets: vec![0, 3] }, Letter { sender: owner, targets: vec![1, 2] }]
        );
        let own = mail(&message, None, &[0, 3], 7).unwrap();
        assert_eq!(own.sender.unwrap().to_string(), "me@a.example");
        assert_eq!((own.ret, own.envelope_id.as_deref()), (Some(Return::Headers), Some("my id")));
        // An alias keeps what was asked for.
        assert!(own.recipients.iter().all(|to| to.notify.is_some() && to.original.is_some()));
        let list = mail(&message, found[1].sender.as_deref(), &[1, 2], 7).unwrap();
        assert_eq!(list.sender.unwrap().to_string(), "owner-list@a.example");
        assert_eq!((list.ret, list.envelope_id), (None, None));
        assert!(list.recipients.iter().all(|to| to.notify.is_none() && to.original.is_none()));
        let names: Vec<String> =
            list.recipients.iter().map(|to| to.recipient.to_string()).collect();
        assert_eq!(names, ["bob@b.example", "carl@b.example"]);
    }

    #[test]
    fn nobody_stays_nobody() {
        let message = message(None);
        let list = mail(&message, Some("owner-list@a.example"), &[1], 7).unwrap();
        assert_eq!(list.sender, None);
    }
}
