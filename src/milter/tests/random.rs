//! milter::tests::random – milters that say anything.

use proptest::prelude::*;

use super::script::{agreed, macros};
use crate::limits::{MILTER_EDITS_BYTES_MAX, MILTER_EDITS_MAX};
use crate::milter::Fault;
use crate::milter::dialogue::{Answer, Asked, Command, Dialogue, Said};
use crate::milter::packet;
use crate::milter::response::Edit;

/// A dialogue after its negotiation.
fn ready(actions: u32, protocol: u32) -> Dialogue {
    let mut dialogue = Dialogue::begin(&mut Vec::new());
    dialogue.heard(&agreed(6, actions, protocol));
    assert_eq!(dialogue.said(), Ok(Some(Said::Agreed)));
    dialogue
}

/// Everything that was said, in portions; a fault is the last.
fn heard(octets: &[u8], portion: usize) -> (Vec<Said>, Option<Fault>, Vec<Edit>) {
    let mut dialogue = ready(0x1FF, 0x400);
    let asked = dialogue.say(Command::EndOfMessage, &macros(), &mut Vec::new());
    assert_eq!(asked, Ok(Asked::Answer));
    let mut all = Vec::new();
    for piece in octets.chunks(portion) {
        dialogue.heard(piece);
        loop {
            match dialogue.said() {
                Ok(Some(said)) => all.push(said),
                Ok(None) => break,
                Err(fault) => return (all, Some(fault), dialogue.take_edits()),
            }
        }
    }
    (all, None, dialogue.take_edits())
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![prop::sample::select(b"cartdyspf4bhimeq+-2O".to_vec()), any::<u8>()];
    let data = prop::collection::vec(
        prop_oneof![
            Just(0_u8),
            Just(b'\n'),
            Just(b'\r'),
            Just(b':'),
            Just(b' '),
            32..127_u8,
            any::<u8>()
        ],
        0..30,
    );
    prop::collection::vec((letter, data), 0..6).prop_map(|packets| {
        let mut octets = Vec::new();
        for (letter, data) in packets {
            packet::push(letter, &[&data], &mut octets);
        }
        octets
    })
}

proptest! {
    /// The splits change nothing, and what comes out fits its form.
    #[test]
    fn anything_is_understood_or_a_fault(octets in packets(), portion in 1..9_usize) {
        let whole = heard(&octets, usize::MAX);
        prop_assert_eq!(&whole, &heard(&octets, 1));
        prop_assert_eq!(&whole, &heard(&octets, portion));
        for said in &whole.0 {
            if let Said::Answer(Answer::Words(words)) = said {
                let class = char::from_digit(u32::from(words.code) / 100, 10).unwrap();
                prop_assert!((400..600).contains(&words.code) && words.status.starts_with(class));
                let plain = |line: &String| line.bytes().all(|octet| (b' '..=b'~').contains(&octet));
                prop_assert!(!words.lines.is_empty() && words.lines.iter().all(plain));
            }
        }
        for edit in &whole.2 {
            if let Edit::Add { name, value } | Edit::Insert { name, value, .. } | Edit::Change { name, value, .. } = edit {
                prop_assert!(!name.is_empty() && name.iter().all(|octet| (33..127).contains(octet) && *octet != b':'));
                let text = String::from_utf8_lossy(value).into_owned();
                prop_assert!(!text.contains(['\r', '\0']));
                prop_assert!(text.split('\n').skip(1).all(|line| line.starts_with([' ', '\t'])), "{:?}", text);
            }
        }
    }

    #[test]
    fn any_octets_come_to_an_end(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(heard(&octets, usize::MAX), heard(&octets, 1));
    }
}

#[test]
fn changes_have_bounds() {
    let mut many = Vec::new();
    for _ in 0..=MILTER_EDITS_MAX {
        packet::push(b'-', &[b"a\0"], &mut many);
    }
    assert_eq!(heard(&many, usize::MAX).1, Some(Fault::TooMuch));
    let mut large = Vec::new();
    let value = vec![b'x'; MILTER_EDITS_BYTES_MAX / 2];
    for _ in 0..3 {
        packet::push(b'h', &[b"A\0", &value, b"\0"], &mut large);
    }
    assert_eq!(heard(&large, usize::MAX).1, Some(Fault::TooMuch));
    // Those of one message do not count for the next.
    let mut dialogue = ready(0x1FF, 0);
    for _ in 0..3 {
        assert!(dialogue.say(Command::Mail("", &[]), &macros(), &mut Vec::new()).is_ok());
        dialogue.heard(b"\0\0\0\x01c");
        assert_eq!(dialogue.said(), Ok(Some(Said::Answer(Answer::Continue))));
        assert!(dialogue.say(Command::EndOfMessage, &macros(), &mut Vec::new()).is_ok());
        let mut one = Vec::new();
        packet::push(b'h', &[b"A\0", &value, b"\0"], &mut one);
        packet::push(b'r', &[], &mut one);
        dialogue.heard(&one);
        assert_eq!(dialogue.said(), Ok(Some(Said::Answer(Answer::Reject))));
    }
}
