//! What was put away comes back, on whatever was read again; reasons are shared, and go.
#![allow(clippy::disallowed_types, reason = "proptest's own macros name Arc")]
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::mail::stored::{Destination, Note};
use crate::smtp::envelope::{BodyType, Envelope, Protocol};

fn message(targets: u32) -> Message {
    let target = |number: u32| Target {
        recipient: number,
        address: format!("{number}@far.example"),
        tag: None,
        via: None,
        to: Destination::Discard,
        sender: None,
        state: TargetState::Waiting,
        told: false,
        delayed: false,
    };
    let envelope = Envelope {
        sender: None,
        recipients: Vec::new(),
        body: BodyType::SevenBit,
        ret: None,
        envelope_id: None,
        helo: String::new(),
        peer: "192.0.2.1:25".parse().unwrap(),
        protocol: Protocol::default(),
    };
    let targets = (0..targets).map(target).collect();
    Message { envelope, accepted: 1, trace: Vec::new(), targets, held: false }
}

fn notes() -> impl Strategy<Value = Vec<Note>> {
    let reason = prop_oneof![Just("4.4.1 no answer".to_owned()), "[a-z]{0,3}"];
    let state = prop_oneof![
        4 => (any::<u32>(), any::<u32>(), reason.clone()).prop_map(|(attempts, next, reason)| {
            TargetState::Deferred { attempts, next: i64::from(next), reason }
        }),
        1 => Just(TargetState::Delivered),
        1 => reason.prop_map(|reason| TargetState::Failed { reason }),
        1 => Just(TargetState::Removed),
    ];
    let note = prop_oneof![
        4 => (0_u32..5, state).prop_map(|(number, state)| Note::Target(number, state)),
        1 => (0_u32..5).prop_map(Note::Told),
        1 => (0_u32..5).prop_map(Note::Delayed),
    ];
    prop::collection::vec(note, 0..12)
}

proptest! {
    /// Whatever record of the message is read: the first, or one that it was carried on to since.
    #[test]
    fn it_is_put_on_any_message_that_was(targets in 0_u32..5, notes in notes(), seen in 0_usize..12) {
        let mut reasons = Reasons::default();
        let (mut now, mut read) = (message(targets), message(targets));
        for (at, note) in notes.into_iter().enumerate() {
            now.apply(note.clone());
            if at < seen {
                read.apply(note);
            }
        }
        let progress = Progress::of(&now, &mut reasons);
        progress.put_on(&mut read);
        prop_assert_eq!(&read, &now);
        prop_assert_eq!(progress.is_told_late(), now.targets.iter().any(|target| target.delayed));
        prop_assert_eq!(Progress::of(&read, &mut reasons), progress);
    }
}

fn deferred(reason: &str) -> Message {
    let mut message = message(1);
    let state = TargetState::Deferred { attempts: 1, next: 5, reason: reason.to_owned() };
    message.apply(Note::Target(0, state));
    message
}

#[test]
fn a_reason_is_kept_once_and_goes_with_the_last_who_has_it() {
    let mut reasons = Reasons::default();
    let many: Vec<Progress> =
        (0..10_000).map(|_| Progress::of(&deferred("4.4.1 gone"), &mut reasons)).collect();
    assert_eq!(reasons.known.len(), 1);
    for number in 0..10_000 {
        drop(Progress::of(&deferred(&number.to_string()), &mut reasons));
        assert!(reasons.known.len() <= SWEEP_MIN + 1);
    }
    let mut back = message(1);
    many[9999].put_on(&mut back);
    assert_eq!(back, deferred("4.4.1 gone"));
}

#[test]
fn times_that_do_not_fit_become_the_nearest() {
    for (next, becomes) in [(-5, 0), (1 << 40, i64::from(u32::MAX))] {
        let mut far = message(1);
        let state = |next| TargetState::Deferred { attempts: 1, next, reason: String::new() };
        far.apply(Note::Target(0, state(next)));
        let mut back = message(1);
        Progress::of(&far, &mut Reasons::default()).put_on(&mut back);
        assert_eq!(back.targets[0].state, state(becomes));
    }
}
