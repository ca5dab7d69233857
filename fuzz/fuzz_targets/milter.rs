//! Milters that say anything, and what becomes of a message's header.
//!
//! Octet 0 chooses what was agreed on, octet 1 the command that is answered, octet 2 the length of portions. Up to
//! the first blank line the rest is a header section, then what the milter says: packets as they are, so that
//! lengths may be anything. Whole and in portions it comes to the same; replies and changes have their form;
//! however a header is changed, it has the fields that were meant, and none more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::milter::Fault;
use sluicegate::milter::dialogue::{Answer, Asked, Command, Dialogue, Said};
use sluicegate::milter::header::Header;
use sluicegate::milter::macros::Macros;
use sluicegate::milter::packet;
use sluicegate::milter::response::Edit;

const COMMANDS: [Command<'static>; 6] = [
    Command::EndOfMessage,
    Command::Mail("ann@example.org", &[]),
    Command::Helo("mail.example"),
    Command::Header(b"Subject", b" x"),
    Command::Body(b"body"),
    Command::Data,
];

/// What was said, why it ended, and what is to be changed.
type Heard = (Vec<Said>, Option<Fault>, Vec<Edit>);

fn heard(choice: u8, command: Command<'_>, octets: &[u8], portion: usize) -> Heard {
    let mut dialogue = Dialogue::begin(&mut Vec::new());
    let mut agreed = Vec::new();
    let (actions, protocol) = (if choice & 1 == 0 { 0x1FF } else { u32::from(choice) }, 0x400);
    let words = [6, actions, protocol].map(u32::to_be_bytes);
    packet::push(b'O', &[words.as_flattened()], &mut agreed);
    dialogue.heard(&agreed);
    assert_eq!(dialogue.said(), Ok(Some(Said::Agreed)));
    let asked = dialogue.say(command, &Macros::default(), &mut Vec::new());
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

fn check(said: &Said) {
    if let Said::Answer(Answer::Words(words)) = said {
        assert!((400..600).contains(&words.code) && !words.lines.is_empty());
        assert_eq!(words.status.as_bytes()[0], b'0' + (words.code / 100) as u8);
        assert!(
            words.lines.iter().all(|line| line.bytes().all(|octet| (b' '..=b'~').contains(&octet)))
        );
    }
}

fn change(header: &mut Header, edit: &Edit, exact: bool) {
    let before = header.len();
    match edit {
        Edit::Add { name, value } => header.add(name, value, exact),
        Edit::Insert { index, name, value } => header.insert(*index, name, value, exact),
        Edit::Change { index, name, value } => {
            header.change(*index, name, value, exact);
            assert!(header.len().abs_diff(before) <= 1);
            return;
        }
        _ => return,
    }
    assert_eq!(header.len(), before + 1);
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, command, portion], rest)) = input.split_first_chunk() else { return };
    let end = rest.windows(2).position(|two| two == b"\n\n").map_or(0, |at| at + 2);
    let (text, says) = rest.split_at(end);
    let command = COMMANDS[usize::from(command) % COMMANDS.len()];
    let whole = heard(choice, command, says, usize::MAX);
    assert_eq!(whole, heard(choice, command, says, usize::from(portion).max(1)));
    whole.0.iter().for_each(check);

    let Some(mut header) = Header::parse(text.to_vec(), true) else { panic!("all of it is there") };
    assert!(header.octets() <= text.len());
    assert_eq!(header.lead().as_deref(), Some(&b""[..]));
    for edit in &whole.2 {
        change(&mut header, edit, choice & 2 == 0);
    }
    let rendered = header.render();
    let Some(again) = Header::parse(rendered.clone(), false) else { panic!("it has an end") };
    assert_eq!((again.len(), again.octets()), (header.len(), rendered.len()));
    for number in 0..header.len() {
        assert_eq!(again.field(number), header.field(number));
    }
});
