//! server::relay::letter – from targets to transactions: who is the sender, and what is asked about each.
//!
//! RFC 3461 §5.2.7: what goes through an alias keeps what its sender asked for; what goes through a list is
//! a message of its own, of the list's owner, who asked for nothing. Under which address either leaves is
//! said by the routes in force (`Router::sends_as`).
//!
//! Promises: every target is in one letter.

use std::collections::HashMap;

use crate::mail::name;
use crate::mail::rewrite;
use crate::mail::route::Router;
use crate::mail::stored::{Message, Target};
use crate::smtp::address::{Domain, Mailbox, Recipient, Sender};
use crate::smtp::client::step::Mail;
use crate::smtp::envelope::To;

/// Targets that go in one transaction, if it holds so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// Whose it is.
    pub(super) from: From,
    /// Their numbers.
    pub(super) targets: Vec<u32>,
}

/// What all targets of a letter have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct From {
    /// Its envelope sender; the outer `None`: it cannot be said.
    sender: Option<Sender>,
    /// It is of a list.
    listed: bool,
    /// The alias or list it went through.
    via: Option<String>,
}

/// All of `targets`, by who the sender is and what they went through.
pub(super) fn letters(message: &Message, targets: &[u32], router: &Router) -> Vec<Letter> {
    let mut letters: Vec<Letter> = Vec::new();
    // By VERP a list of ten thousand is as many letters.
    let mut known: HashMap<From, usize> = HashMap::new();
    for number in targets {
        let Some(target) = target(message, *number) else { continue };
        let sender = router.sends_as(message, target);
        let from = From { sender, listed: target.sender.is_some(), via: target.via.clone() };
        match known.get(&from).and_then(|at| letters.get_mut(*at)) {
            Some(letter) => letter.targets.push(*number),
            None => {
                if targets.len() > 1 {
                    known.insert(from.clone(), letters.len());
                }
                letters.push(Letter { from, targets: vec![*number] });
            }
        }
    }
    letters
}

/// What stands before the octets of the message: where it has been, our trace field, and what a submitted
/// message lacked.
pub(super) fn head(message: &Message, from: &From) -> Vec<u8> {
    let utf8 = message.envelope.protocol.utf8;
    let via = from.via.as_deref().map(|via| rewrite::delivered_to(via, utf8));
    [via.unwrap_or_default(), message.trace.clone()].concat()
}

/// What is said of them; `None` when one of the addresses is none. `bytes`: of the message, trace included.
pub(super) fn mail(message: &Message, from: &From, targets: &[u32], bytes: u64) -> Option<Mail> {
    let envelope = &message.envelope;
    let recipients: Option<Vec<To>> =
        targets.iter().map(|number| to(message, target(message, *number)?)).collect();
    let own = !from.listed;
    Some(Mail {
        sender: from.sender.clone()?,
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
    use crate::mail::aliases::Aliases;
    use crate::mail::rewrite::Verp;
    use crate::mail::route::{Rules, Unknown};
    use crate::mail::srs::Srs;
    use crate::mail::stored::{Destination, TargetState};
    use crate::smtp::envelope::{BodyType, Envelope, Notify, Protocol, Return};
    use crate::wire::secret::Secret;

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
            via: None,
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

    /// Owners as they are, no rewriting but what `change` asks for.
    fn router(change: impl FnOnce(&mut Rules)) -> Router {
        let mut rules = Rules {
            hostname: "mx.a.example".to_owned(),
            domains: vec!["a.example".to_owned()],
            routes: Vec::new(),
            relay_from: Vec::new(),
            unknown: Unknown::Reject,
            catch_all: None,
            separator: "+".to_owned(),
            srs: None,
            verp: Verp::Off,
        };
        change(&mut rules);
        Router::new(rules, [], Aliases::default())
    }

    fn said(letter: &Letter) -> (String, Vec<u32>) {
        let sender = letter.from.sender.clone().unwrap();
        (sender.map(|sender| sender.to_string()).unwrap_or_default(), letter.targets.clone())
    }

    #[test]
    fn a_list_is_a_letter_of_its_own() {
        let message = message(Some("me@a.example"));
        let found = letters(&message, &[0, 1, 2, 3], &router(|_| {}));
        let of = |sender: &str, targets: &[u32]| (sender.to_owned(), targets.to_vec());
        assert_eq!(
            found.iter().map(said).collect::<Vec<_>>(),
            [of("me@a.example", &[0, 3]), of("owner-list@a.example", &[1, 2])]
        );
        let own = mail(&message, &found[0].from, &[0, 3], 7).unwrap();
        assert_eq!(own.sender.unwrap().to_string(), "me@a.example");
        assert_eq!((own.ret, own.envelope_id.as_deref()), (Some(Return::Headers), Some("my id")));
        // An alias keeps what was asked for.
        assert!(own.recipients.iter().all(|to| to.notify.is_some() && to.original.is_some()));
        let list = mail(&message, &found[1].from, &[1, 2], 7).unwrap();
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
        let srs = Srs::new("srs.example", vec![Secret::new(vec![7; 32])]);
        let router = router(|rules| (rules.verp, rules.srs) = (Verp::All, Some(srs)));
        let found = letters(&message, &[1, 3], &router);
        assert_eq!(
            found.iter().map(said).collect::<Vec<_>>(),
            [(String::new(), vec![1]), (String::new(), vec![3])]
        );
        assert_eq!(mail(&message, &found[0].from, &[1], 7).unwrap().sender, None);
    }

    #[test]
    fn by_verp_each_member_is_a_letter() {
        let message = message(Some("me@a.example"));
        let found = letters(&message, &[0, 1, 2], &router(|rules| rules.verp = Verp::All));
        let all: Vec<_> = found.iter().map(|letter| said(letter).0).collect();
        assert_eq!(
            all,
            [
                "me@a.example",
                "owner-list+bob=b.example@a.example",
                "owner-list+carl=b.example@a.example"
            ]
        );
        // Nothing of what the sender asked for: it is the list's message all the same.
        assert_eq!(mail(&message, &found[1].from, &[1], 7).unwrap().envelope_id, None);
    }

    #[test]
    fn an_alias_goes_under_a_sender_of_ours() {
        let srs = || Srs::new("srs.example", vec![Secret::new(vec![7; 32])]);
        let router = router(|rules| rules.srs = Some(srs()));
        let mut message = message(Some("Me@far.example"));
        message.targets[3].via = Some("dan@a.example".to_owned());
        let found = letters(&message, &[0, 3], &router);
        assert_eq!(said(&found[0]).0, "Me@far.example", "no alias");
        let sender = found[1].from.sender.clone().unwrap().unwrap();
        let back = srs().back(&sender.local, Some(message.accepted));
        assert_eq!(back, Ok(("Me".to_owned(), "far.example".to_owned())));
        assert_eq!(head(&message, &found[0].from), b"");
        message.trace = b"Received: from x\r\n".to_vec();
        let wanted = b"Delivered-To: dan@a.example\r\nReceived: from x\r\n";
        assert_eq!(head(&message, &found[1].from), wanted);
        // What its sender asked for is kept (RFC 3461 §5.2.7.2).
        let mail = mail(&message, &found[1].from, &[3], 7).unwrap();
        assert!(mail.envelope_id.is_some() && mail.recipients[0].notify.is_some());

        // Ours, rewritten already by us, and to who keeps mailboxes: as they are.
        for sender in ["me@a.example", "x@srs.example"] {
            message.envelope.sender = Some(mailbox(sender).unwrap());
            assert_eq!(said(&letters(&message, &[3], &router)[0]).0, sender);
        }
        message.envelope.sender = Some(mailbox("me@far.example").unwrap());
        let lmtp = crate::mail::hop::Hop::LmtpUnix("/run/lmtp".to_owned());
        message.targets[3].to = Destination::Remote(lmtp);
        assert_eq!(said(&letters(&message, &[3], &router)[0]).0, "me@far.example");
    }
}
