//! smtp::tests::loopback – our client against our server, in memory, by SMTP and by LMTP.
//!
//! What the server says it took is what was given to the client: envelope and octets; what the client says
//! became of each recipient is what the server's driver decided; neither waits for the other for ever.

#![allow(clippy::disallowed_types, reason = "prop_oneof! holds its choices in an Arc")]

use std::rc::Rc;

use proptest::prelude::*;

use super::random::Auto;
use super::script::{MECHANISMS, fault, settings};
use crate::smtp::address::{Mailbox, Recipient};
use crate::smtp::client::outcome::Fate;
use crate::smtp::client::session::Session;
use crate::smtp::client::step::{self, Mail, Next, Tls};
use crate::smtp::client::survey::Survey;
use crate::smtp::envelope::{BodyType, Notify, Return, To};
use crate::smtp::reply;
use crate::smtp::session as server;
use crate::wire::outbox::Outbox;
use crate::wire::secret::Secret;

/// Both ends, and octets between them.
struct Pair {
    client: Session,
    out: Outbox,
    server: Auto,
    /// Octets that come in one portion.
    portion: usize,
}

impl Pair {
    fn new(lmtp: bool, recipients_max: u32, portion: usize) -> Self {
        let mut settings = settings();
        settings.lmtp = lmtp;
        settings.errors_max = 0;
        settings.recipients_max = recipients_max;
        settings.security.tls = server::Tls::Optional;
        settings.security.mechanisms = MECHANISMS.to_vec();
        let client = step::Settings {
            hostname: "client.example".into(),
            lmtp,
            tls: Tls::Must,
            secure: false,
            login: true,
        };
        let client = Session::new(Rc::new(client));
        Self { client, out: Outbox::default(), server: Auto::new(settings), portion }
    }

    /// What the client asks for, once it has what the server has to say.
    fn next(&mut self) -> Next {
        loop {
            let portion = self.portion.min(self.server.said.len());
            let said = self.server.said.split_off(portion);
            let heard = std::mem::replace(&mut self.server.said, said);
            let mut input = heard.as_slice();
            let next = self.client.advance(&mut input, &mut self.out);
            let rest = input.to_vec();
            self.server.said.splice(..0, rest);
            let octets = self.out.take();
            self.give(&octets);
            match next {
                Next::Receive => assert!(
                    !self.server.said.is_empty() || self.server.closed,
                    "both wait: {:?}",
                    self.client.timer()
                ),
                Next::Secure => {
                    assert!(std::mem::take(&mut self.server.securing));
                    self.server.session.secured();
                    self.client.secured();
                }
                Next::Authenticate(offered) => {
                    assert_eq!(offered, MECHANISMS);
                    let response = Secret::new(b"\0ann\0pass".to_vec());
                    self.client.authenticate("PLAIN", Some(response), true);
                }
                other @ (Next::Challenge(_)
                | Next::Ready
                | Next::Examine
                | Next::Body
                | Next::Done(_)
                | Next::Close) => return other,
            }
        }
    }

    fn give(&mut self, octets: &[u8]) {
        for piece in octets.chunks(self.portion) {
            self.server.give(piece);
        }
    }

    /// Sends it, what is left over too: the fate of each recipient, by its place.
    fn send(&mut self, mail: &Mail, message: &[u8]) -> Vec<Fate> {
        let mut fates = vec![Fate::Leftover; mail.recipients.len()];
        let mut rounds = 0;
        while fates.contains(&Fate::Leftover) {
            let open: Vec<usize> =
                (0..fates.len()).filter(|at| fates[*at] == Fate::Leftover).collect();
            let recipients = open.iter().map(|at| mail.recipients[*at].clone()).collect();
            assert_eq!(self.next(), Next::Ready, "{:?}", self.client.trouble());
            self.client.begin(Mail { recipients, ..mail.clone() });
            let outcomes = loop {
                match self.next() {
                    Next::Body => self.body(message),
                    Next::Examine => {
                        let mut survey = Survey::default();
                        survey.feed(message);
                        self.client.examined(&survey);
                    }
                    Next::Done(outcomes) => break outcomes,
                    other @ (Next::Receive
                    | Next::Secure
                    | Next::Authenticate(_)
                    | Next::Challenge(_)
                    | Next::Ready
                    | Next::Close) => panic!("{other:?}: {:?}", self.client.trouble()),
                }
            };
            for (at, outcome) in open.iter().zip(&outcomes) {
                assert!(!outcome.in_doubt);
                fates[*at] = outcome.fate;
            }
            rounds += 1;
            assert!(rounds <= mail.recipients.len(), "a round that settles nobody");
        }
        fates
    }

    fn body(&mut self, message: &[u8]) {
        for block in message.chunks(self.portion) {
            let mut rest = block;
            while let Some(run) = self.client.body(&mut rest) {
                self.server.give(run);
            }
        }
        self.client.body_end();
    }
}

/// What the server's reply to this name is worth.
fn expected(local: &str, otherwise: Fate) -> Fate {
    fault(local).map_or(otherwise, |fault| match reply::refusal(fault).code() {
        400..=499 => Fate::Deferred,
        _ => Fate::Failed,
    })
}

/// Newlines mended as they must be where DATA carries the message.
fn mended(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\n' if at > 0 && message[at - 1] == b'\r' => {}
            b'\r' | b'\n' => whole.extend(b"\r\n"),
            other => whole.push(*other),
        }
    }
    if !whole.is_empty() && !whole.ends_with(b"\r\n") {
        whole.extend(b"\r\n");
    }
    whole
}

const SENDERS: [&str; 6] =
    ["sam", "denied", "no-space", "commit-no-space", "commit-denied", "j\u{f6}rg"];
const RECIPIENTS: [&str; 7] = ["ann", "nobody", "busy", "full", "a b", "j\u{f6}rg", "postmaster"];

fn any_to() -> impl Strategy<Value = To> {
    let notify = proptest::option::of(any::<(bool, bool, bool)>());
    let original = proptest::option::of(prop_oneof![
        Just(("rfc822", "Ann+x=y Lee@example.net")),
        Just(("utf-8", "j\u{f6}rg\\+@example.net")),
        Just(("x400", "c=de")),
    ]);
    (proptest::sample::select(&RECIPIENTS[..]), notify, original).prop_map(
        |(local, notify, original)| To {
            recipient: match local {
                "postmaster" => Recipient::Postmaster,
                local => Recipient::Mailbox(mailbox(local)),
            },
            notify: notify.map(|(success, failure, delay)| Notify { success, failure, delay }),
            original: original.map(|(kind, address)| (kind.into(), address.into())),
        },
    )
}

fn mailbox(local: &str) -> Mailbox {
    let quoted = if local.contains(' ') { format!("\"{local}\"") } else { local.into() };
    Mailbox::parse(&format!("{quoted}@example.org"), true).unwrap()
}

fn any_mail() -> impl Strategy<Value = (Mail, Vec<u8>)> {
    let piece = prop_oneof![
        3 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        2 => Just(b"\r\n.".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
        3 => proptest::collection::vec(any::<u8>(), 0..80),
    ];
    let message = proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat());
    let body = prop_oneof![
        Just(BodyType::SevenBit),
        Just(BodyType::EightBitMime),
        Just(BodyType::BinaryMime)
    ];
    let ret = prop_oneof![Just(None), Just(Some(Return::Full)), Just(Some(Return::Headers))];
    let id = proptest::option::of(Just("an id=+ ".to_owned()));
    let sender = proptest::option::of(proptest::sample::select(&SENDERS[..]));
    let recipients = proptest::collection::vec(any_to(), 1..9);
    (sender, recipients, body, ret, id, message).prop_map(
        |(sender, recipients, body, ret, envelope_id, message)| {
            let mail = Mail {
                sender: sender.map(mailbox),
                recipients,
                body,
                ret,
                envelope_id,
                utf8: false,
                bytes: u64::try_from(message.len()).unwrap(),
            };
            (mail, message)
        },
    )
}

fn local(recipient: &Recipient) -> &str {
    match recipient {
        Recipient::Postmaster => "",
        Recipient::Mailbox(mailbox) => &mailbox.local,
    }
}

proptest! {
    #[test]
    fn what_our_client_sends_our_server_takes(
        mails in proptest::collection::vec(any_mail(), 1..4),
        lmtp in any::<bool>(),
        recipients_max in 1_u32..6,
        portion in prop_oneof![1_usize..40, Just(usize::MAX)],
    ) {
        let mut pair = Pair::new(lmtp, recipients_max, portion);
        for (mail, message) in &mails {
            let before = pair.server.messages.len();
            let fates = pair.send(mail, message);
            let sender = mail.sender.as_ref().map_or("", |sender| sender.local.as_str());
            let committed = expected(sender.strip_prefix("commit-").unwrap_or(""), Fate::Delivered);
            let mut taken = Vec::new();
            for (to, fate) in mail.recipients.iter().zip(&fates) {
                let of_recipient = expected(local(&to.recipient), committed);
                prop_assert_eq!(*fate, expected(sender, of_recipient));
                if fault(sender).is_none() && fault(local(&to.recipient)).is_none() {
                    taken.push(to);
                }
            }
            let sent = &pair.server.messages[before..];
            let got: Vec<&To> = sent.iter().flat_map(|(envelope, _)| &envelope.recipients).collect();
            prop_assert_eq!(got, taken, "each in its order, once");
            for (envelope, octets) in sent {
                prop_assert_eq!(&envelope.sender, &mail.sender);
                prop_assert_eq!((envelope.ret, envelope.body), (mail.ret, mail.body));
                prop_assert_eq!(&envelope.envelope_id, &mail.envelope_id);
                let exact = mail.body == BodyType::BinaryMime;
                let expected = if exact { message.clone() } else { mended(message) };
                prop_assert_eq!(octets, &expected);
            }
        }
        prop_assert_eq!(pair.next(), Next::Ready);
        pair.client.quit();
        prop_assert_eq!(pair.next(), Next::Close);
        prop_assert!(pair.client.trouble().is_none() && pair.client.secure());
    }
}
