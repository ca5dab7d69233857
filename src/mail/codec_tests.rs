//! Identity, every truncation, every change of one octet, and any octets at all.
#![allow(clippy::disallowed_types, reason = "proptest's own macros name Arc")]

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z]{0,12}"]
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    let domain = prop_oneof![
        text().prop_map(Domain::Name),
        any::<IpAddr>().prop_map(Domain::Literal),
        text().prop_map(Domain::General),
    ];
    (text(), domain).prop_map(|(local, domain)| Mailbox { local, domain })
}

fn to() -> impl Strategy<Value = To> {
    let recipient =
        prop_oneof![mailbox().prop_map(Recipient::Mailbox), Just(Recipient::Postmaster)];
    let notify = any::<Option<[bool; 3]>>().prop_map(|notify| {
        notify.map(|[success, failure, delay]| Notify { success, failure, delay })
    });
    (recipient, notify, proptest::option::of((text(), text())))
        .prop_map(|(recipient, notify, original)| To { recipient, notify, original })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let body = proptest::sample::select(vec![
        BodyType::SevenBit,
        BodyType::EightBitMime,
        BodyType::BinaryMime,
    ]);
    let ret = proptest::sample::select(vec![None, Some(Return::Full), Some(Return::Headers)]);
    let protocol = any::<[bool; 5]>().prop_map(|[extended, utf8, secure, authenticated, lmtp]| {
        Protocol { extended, utf8, secure, authenticated, lmtp }
    });
    let said = (proptest::option::of(text()), text(), any::<SocketAddr>(), protocol);
    (proptest::option::of(mailbox()), proptest::collection::vec(to(), 0..5), body, ret, said)
        .prop_map(|(sender, recipients, body, ret, (envelope_id, helo, peer, protocol))| Envelope {
            sender,
            recipients,
            body,
            ret,
            envelope_id,
            helo,
            peer,
            protocol,
        })
}

fn state() -> impl Strategy<Value = TargetState> {
    prop_oneof![
        Just(TargetState::Waiting),
        (any::<u32>(), any::<i64>(), text()).prop_map(|(attempts, next, reason)| {
            TargetState::Deferred { attempts, next, reason }
        }),
        Just(TargetState::Delivered),
        text().prop_map(|reason| TargetState::Failed { reason }),
        Just(TargetState::Removed),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let hop = prop_oneof![
        Just(Hop::Mx),
        ("[a-z]{1,9}", 1_u16..).prop_map(|(host, port)| Hop::Relay { host, port }),
        Just(Hop::Lmtp { host: "2001:db8::1".to_owned(), port: 24 }),
        "/[a-z]{0,9}".prop_map(Hop::LmtpUnix),
    ];
    let to = prop_oneof![
        text().prop_map(Destination::Mailbox),
        Just(Destination::Discard),
        hop.prop_map(Destination::Remote),
    ];
    let maybe = || proptest::option::of(text());
    (any::<u32>(), text(), maybe(), to, [maybe(), maybe()], (state(), any::<[bool; 2]>())).prop_map(
        |(recipient, address, tag, to, [sender, via], (state, [told, delayed]))| Target {
            recipient,
            address,
            tag,
            to,
            sender,
            via,
            state,
            told,
            delayed,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let targets = proptest::collection::vec(target(), 0..5);
    (envelope(), any::<i64>(), any::<Vec<u8>>(), targets, any::<bool>()).prop_map(
        |(envelope, accepted, trace, targets, held)| Message {
            envelope,
            accepted,
            trace,
            targets,
            held,
        },
    )
}

fn note() -> impl Strategy<Value = Note> {
    prop_oneof![
        (any::<u32>(), state()).prop_map(|(number, state)| Note::Target(number, state)),
        any::<bool>().prop_map(Note::Held),
        any::<u32>().prop_map(Note::Told),
        any::<u32>().prop_map(Note::Delayed),
    ]
}

/// One value of one kind after another, so that the exhaustive tests see each.
fn sample() -> Message {
    let mailbox = |domain| Mailbox { local: "ann".to_owned(), domain };
    let to = |recipient, notify, original| To { recipient, notify, original };
    let notify = Notify { success: true, failure: false, delay: true };
    let state = |number| match number {
        0 => TargetState::Waiting,
        1 => TargetState::Deferred { attempts: 3, next: 77, reason: "4.2.2 full".to_owned() },
        2 => TargetState::Delivered,
        3 => TargetState::Failed { reason: "5.1.1 nobody".to_owned() },
        _ => TargetState::Removed,
    };
    let target = |number| Target {
        recipient: number,
        address: "ann@a.example".to_owned(),
        tag: (number == 1).then(|| "list".to_owned()),
        to: if number == 2 { Destination::Discard } else { Destination::Mailbox("ann".to_owned()) },
        sender: (number == 3).then(|| "owner-list@a.example".to_owned()),
        state: state(number),
        via: None,
        told: number == 3,
        delayed: false,
    };
    Message {
        envelope: Envelope {
            sender: Some(mailbox(Domain::Name("a.example".to_owned()))),
            recipients: vec![
                to(
                    Recipient::Mailbox(mailbox(Domain::Literal([192, 0, 2, 1].into()))),
                    Some(notify),
                    Some(("rfc822".to_owned(), "x@y".to_owned())),
                ),
                to(Recipient::Mailbox(mailbox(Domain::General("x:y".to_owned()))), None, None),
                to(Recipient::Postmaster, None, None),
            ],
            body: BodyType::EightBitMime,
            ret: Some(Return::Headers),
            envelope_id: Some("id".to_owned()),
            helo: "client.example".to_owned(),
            peer: "[2001:db8::1%7]:25".parse().unwrap(),
            protocol: Protocol { extended: true, ..Protocol::default() },
        },
        accepted: 1_700_000_000,
        trace: b"Received: from x\r\n".to_vec(),
        targets: (0..5).map(target).collect(),
        held: true,
    }
}

/// The same, some of it at other servers: the second version of the format.
fn sample_onward() -> Message {
    let mut message = sample();
    message.targets[0].to = Destination::Remote(Hop::LmtpUnix("/run/lmtp".to_owned()));
    message.targets[1].to = Destination::Remote(Hop::Mx);
    message.targets[1].delayed = true;
    message
}

/// The same through an alias: the third.
fn sample_forwarded() -> Message {
    let mut message = sample_onward();
    message.targets[1].via = Some("list@a.example".to_owned());
    message
}

#[test]
fn every_truncation_is_noticed() {
    for message in [sample(), sample_onward(), sample_forwarded()] {
        let octets = message.encode();
        assert_eq!(Message::decode(&octets), Ok(message));
        for end in 0..octets.len() {
            assert_eq!(Message::decode(&octets[..end]), Err(Malformed::Short), "{end}");
        }
        let long = [&octets[..], b"x"].concat();
        assert_eq!(Message::decode(&long), Err(Malformed::Long));
    }
}

#[test]
fn one_changed_octet_is_an_error_or_another_message() {
    for octets in [sample().encode(), sample_onward().encode(), sample_forwarded().encode()] {
        for at in 0..octets.len() {
            for value in 0..=255 {
                let mut changed = octets.clone();
                changed[at] = value;
                if let Ok(message) = Message::decode(&changed) {
                    assert_eq!(message.encode(), changed, "octet {at} = {value}");
                }
            }
        }
    }
}

/// A server that knows only the first version reads what needs no more.
#[test]
fn the_second_version_is_for_lmtp() {
    let mut message = sample();
    assert_eq!(message.encode()[0], FIRST_VERSION);
    message.envelope.protocol.lmtp = true;
    let mut octets = message.encode();
    assert_eq!(octets[0], SECOND_VERSION);
    assert_eq!(Message::decode(&octets), Ok(message));
    octets[0] = FIRST_VERSION;
    // The second has an octet more for each target, and bits that the first does not know.
    assert!(Message::decode(&octets).is_err());
    for version in [SECOND_VERSION, VERSION] {
        let mut octets = sample().encode();
        octets[0] = version;
        assert!(Message::decode(&octets).is_err());
    }
}

#[test]
fn what_is_not_new_is_written_as_before() {
    assert_eq!(sample().encode()[0], 1);
    assert_eq!(sample_onward().encode()[0], 2);
    assert_eq!(sample_forwarded().encode()[0], 3);
    assert_eq!(Note::Told(7).encode(), [1, b'N', 2, 7, 0, 0, 0]);
    assert_eq!(Note::Delayed(7).encode(), [2, b'N', 3, 7, 0, 0, 0]);
    assert_eq!(Note::decode(&[1, b'N', 3, 7, 0, 0, 0]), Err(Malformed::Value));
}

#[test]
fn an_unknown_version_is_said() {
    assert_eq!(Message::decode(&[9, MESSAGE]), Err(Malformed::Version(9)));
    assert_eq!(Message::decode(&[VERSION, NOTE]), Err(Malformed::Value));
    assert_eq!(Note::decode(&[VERSION, NOTE, 9]), Err(Malformed::Value));
    assert_eq!(Message::decode(&[]), Err(Malformed::Short));
}

#[test]
fn a_count_that_the_octets_cannot_hold_takes_no_memory() {
    // The count of targets: the last four octets of a message without any.
    let mut octets = Message { targets: Vec::new(), ..sample() }.encode();
    let at = octets.len() - 4;
    octets[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode(&octets), Err(Malformed::Short));
}

#[test]
fn the_shortest_items_are_as_short_as_said() {
    let to = To { recipient: Recipient::Postmaster, notify: None, original: None };
    let target = Target {
        recipient: 0,
        address: String::new(),
        tag: None,
        to: Destination::Discard,
        sender: None,
        state: TargetState::Waiting,
        via: None,
        told: false,
        delayed: false,
    };
    let (mut shortest_to, mut shortest_target) = (Vec::new(), Vec::new());
    put_to(&mut shortest_to, &to);
    put_target(&mut shortest_target, &target, FIRST_VERSION);
    assert_eq!((shortest_to.len(), shortest_target.len()), (LEAST_TO, LEAST_TARGET));
}

proptest! {
    #[test]
    fn messages_come_back(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn notes_come_back(note in note()) {
        let octets = note.encode();
        for end in 0..octets.len() {
            prop_assert_eq!(Note::decode(&octets[..end]), Err(Malformed::Short));
        }
        prop_assert_eq!(Note::decode(&octets), Ok(note));
    }

    #[test]
    fn any_octets_are_read_or_refused(
        mut octets: Vec<u8>, kind in 0_u8..3, version in FIRST_VERSION..=VERSION,
    ) {
        octets.splice(0..0, [version, [MESSAGE, NOTE, 0][usize::from(kind)]]);
        if let Ok(message) = Message::decode(&octets) {
            prop_assert_eq!(message.encode(), octets.clone());
        }
        if let Ok(note) = Note::decode(&octets) {
            prop_assert_eq!(note.encode(), octets);
        }
    }

    /// A log that leaves out replaced notes says the same as all of it.
    #[test]
    fn what_is_replaced_is_not_missed(
        message in message(),
        notes in proptest::collection::vec((note(), 0_u32..3), 0..10),
    ) {
        let near = |(note, number)| match note {
            Note::Target(_, state) => Note::Target(number, state),
            Note::Held(held) => Note::Held(held),
            Note::Told(_) => Note::Told(number),
            Note::Delayed(_) => Note::Delayed(number),
        };
        let (mut all, mut kept) = (message.clone(), Vec::<Vec<u8>>::new());
        for note in notes.into_iter().map(near) {
            let octets = note.encode();
            all.apply(note);
            kept.retain(|earlier| !Note::replaces(earlier, &octets));
            prop_assert!(kept.iter().all(|earlier| *earlier != octets), "a repeated note");
            kept.push(octets.clone());
            // What is not understood is left out at a start, and replaces nothing.
            prop_assert!(!Note::replaces(&octets, &octets[..octets.len() - 1]));
        }
        let mut fewer = message;
        kept.iter().for_each(|note| fewer.apply(Note::decode(note).unwrap()));
        prop_assert_eq!(fewer, all);
    }

    #[test]
    fn notes_change_what_they_name(mut message in message(), number: u32, state in state()) {
        let before = message.clone();
        message.apply(Note::Target(number, state.clone()));
        for (at, (old, new)) in before.targets.iter().zip(&message.targets).enumerate() {
            let hit = u32::try_from(at) == Ok(number);
            prop_assert_eq!(&new.state, if hit { &state } else { &old.state });
        }
        message.apply(Note::Held(!before.held));
        prop_assert_eq!(message.held, !before.held);
    }
}
