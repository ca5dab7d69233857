//! milter::tests::fields – the header of a message, against a naive one: a list of lines.

use proptest::prelude::*;

use crate::milter::header::Header;

fn parsed(text: &str) -> Header {
    Header::parse(text.as_bytes().to_vec(), true).unwrap()
}

fn names(header: &Header) -> Vec<String> {
    let name = |number| String::from_utf8(header.field(number).unwrap().0).unwrap();
    (0..header.len()).map(name).collect()
}

#[test]
fn where_a_header_ends() {
    for (text, fields, octets) in [
        ("A: 1\r\nB: 2\r\n\r\nbody", &["A", "B"][..], 14),
        ("A: 1\nB: 2\n\nbody", &["A", "B"], 11),
        ("A: 1\r\n\tmore\r\nB : 2\r\n\r\n", &["A", "B"], 22),
        // What is no field begins the body.
        ("A: 1\r\nhello there\r\nB: 2\r\n", &["A"], 6),
        ("hello\r\n", &[], 0),
        (" folded\r\nA: 1\r\n", &[], 0),
        (": none\r\n", &[], 0),
        ("A b: none\r\n", &[], 0),
        ("\r\nA: 1\r\n", &[], 2),
        ("A: 1", &["A"], 4),
        ("", &[], 0),
    ] {
        let header = parsed(text);
        assert_eq!(
            (names(&header), header.octets()),
            (fields.iter().map(|it| (*it).into()).collect(), octets),
            "{text:?}"
        );
    }
    for text in ["", "A: 1", "A: 1\r\n", "A: 1\r\n\r"] {
        assert_eq!(Header::parse(text.into(), false), None, "{text:?}");
    }
}

#[test]
fn values_are_told_as_lines() {
    let header = parsed("A:  1\r\n\t2 \r\nB:\r\nC:3\0\n\r\n");
    let field = |number| header.field(number).unwrap().1;
    assert_eq!((field(0), field(1), field(2)), (b"  1\n\t2 ".to_vec(), vec![], b"3".to_vec()));
    assert_eq!(header.field(3), None);
}

#[test]
fn what_is_put_in_front_needs_no_other_message() {
    let mut header = parsed("A: 1\r\n\r\n");
    assert_eq!(header.lead(), Some(vec![]));
    header.insert(1, b"Second", b" x\n\ty", true);
    header.insert(0, b"First", b"z", false);
    assert_eq!(header.lead().unwrap(), b"First: z\r\nSecond: x\r\n\ty\r\n");
    // It can change its mind about what is its own.
    header.change(1, b"first", b"", false);
    assert_eq!(header.lead().unwrap(), b"Second: x\r\n\ty\r\n");
    header.add(b"Last", b"z", false);
    assert_eq!(header.lead(), None);
    assert_eq!(header.render(), b"Second: x\r\n\ty\r\nA: 1\r\nLast: z\r\n\r\n");
}

#[test]
fn a_message_without_a_header_gets_a_blank_line() {
    for (text, lead) in [("hello\r\n", None), ("\r\nhello\r\n", Some(b"A: 1\r\n".to_vec()))] {
        let mut header = parsed(text);
        header.insert(0, b"A", b"1", false);
        assert_eq!(header.lead(), lead, "{text:?}");
        assert_eq!(header.render(), b"A: 1\r\n\r\n");
    }
}

#[test]
fn fields_are_changed_by_name_and_number() {
    let mut header = parsed("a: 1\r\nB: 2\r\nA: 3\r\n\r\n");
    header.change(2, b"A", b"4", false);
    header.change(0, b"A", b"0", false);
    header.change(3, b"A", b"5", false);
    header.change(9, b"B", b"", false);
    assert_eq!(header.render(), b"A: 0\r\nB: 2\r\nA: 4\r\nA: 5\r\n\r\n");
    header.change(1, b"b", b"", false);
    assert_eq!(header.render(), b"A: 0\r\nA: 4\r\nA: 5\r\n\r\n");
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize),
    Insert(u32, usize),
    Change(u32, usize, bool),
}

const NAMES: [&str; 3] = ["A", "Bb", "C"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        name.clone().prop_map(Step::Add),
        (0..6_u32, name.clone()).prop_map(|(index, name)| Step::Insert(index, name)),
        (0..4_u32, name, any::<bool>())
            .prop_map(|(index, name, gone)| Step::Change(index, name, gone)),
    ];
    prop::collection::vec(step, 0..8)
}

proptest! {
    /// A list of whole lines does the same.
    #[test]
    fn changes_are_those_of_a_list(
        own in prop::collection::vec(0..NAMES.len(), 0..5),
        steps in steps(),
    ) {
        let line = |name: usize, value: &str| format!("{}: {value}\r\n", NAMES[name]);
        let mut list: Vec<String> =
            own.iter().enumerate().map(|(at, name)| line(*name, &at.to_string())).collect();
        let text = list.concat();
        let mut header = parsed(&format!("{text}\r\nbody\r\n"));
        for step in steps {
            match step {
                Step::Add(name) => {
                    header.add(NAMES[name].as_bytes(), b"new", false);
                    list.push(line(name, "new"));
                }
                Step::Insert(index, name) => {
                    header.insert(index, NAMES[name].as_bytes(), b"new", false);
                    let at = usize::try_from(index).unwrap().max(1) - 1;
                    list.insert(at.min(list.len()), line(name, "new"));
                }
                Step::Change(index, name, gone) => {
                    let value: &[u8] = if gone { b"" } else { b"changed" };
                    header.change(index, NAMES[name].to_lowercase().as_bytes(), value, false);
                    let nth = usize::try_from(index).unwrap().max(1) - 1;
                    let begins = format!("{}:", NAMES[name]).to_lowercase();
                    let is = |line: &String| line.to_lowercase().starts_with(&begins);
                    let at = list.iter().enumerate().filter(|(_, line)| is(line)).nth(nth);
                    let changed = format!("{} changed\r\n", begins);
                    match (at.map(|(at, _)| at), gone) {
                        (Some(at), true) => drop(list.remove(at)),
                        (Some(at), false) => list[at] = changed,
                        (None, true) => {}
                        (None, false) => list.push(changed),
                    }
                }
            }
        }
        let rendered = String::from_utf8(header.render()).unwrap();
        prop_assert_eq!(&rendered, &format!("{}\r\n", list.concat()));
        // The shorter way says the same.
        if let Some(lead) = header.lead() {
            let lead = String::from_utf8(lead).unwrap();
            prop_assert_eq!(format!("{lead}{text}\r\n"), rendered);
        }
    }

    /// Whatever a message begins with, nothing of it is lost, and where the header ends does not depend on
    /// what follows.
    #[test]
    fn any_octets_are_header_and_body(text in prop::collection::vec(
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'a'), any::<u8>()], 0..60,
    )) {
        let header = Header::parse(text.clone(), true).unwrap();
        prop_assert!(header.octets() <= text.len());
        let lead = header.lead().unwrap();
        prop_assert!(lead.is_empty());
        if let Some(early) = Header::parse(text, false) {
            prop_assert_eq!(early.octets(), header.octets());
        }
        let fields: Vec<_> = (0..header.len()).map(|number| header.field(number).unwrap()).collect();
        prop_assert!(fields.iter().all(|(name, _)| !name.is_empty()));
    }
}
