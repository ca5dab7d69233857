//! server::queue tests: what is picked, shown and changed.

use std::collections::BTreeMap;

use super::*;
use crate::smtp::address::{Domain, Mailbox, Recipient};
use crate::smtp::envelope::{Envelope, Protocol, To};

const NOW: i64 = 10_000;

fn mailbox(text: &str) -> Mailbox {
    let (local, domain) = text.split_once('@').unwrap();
    Mailbox { local: local.into(), domain: Domain::Name(domain.into()) }
}

fn deferred(attempts: u32, next: i64) -> TargetState {
    TargetState::Deferred { attempts, next, reason: format!("4.2.2 full until {next}") }
}

fn message(sender: &str, accepted: i64, targets: &[(&str, TargetState)]) -> Message {
    let to = |text: &str| To {
        recipient: Recipient::Mailbox(mailbox(text)),
        notify: None,
        original: None,
    };
    let target = |(number, (address, state)): (u32, &(&str, TargetState))| Target {
        recipient: number,
        address: (*address).to_owned(),
        tag: None,
        to: Destination::Mailbox("box".into()),
        sender: None,
        state: state.clone(),
        via: None,
        told: false,
        delayed: false,
    };
    Message {
        envelope: Envelope {
            sender: (!sender.is_empty()).then(|| mailbox(sender)),
            recipients: targets.iter().map(|(address, _)| to(address)).collect(),
            body: BodyType::EightBitMime,
            ret: None,
            envelope_id: None,
            helo: "client".into(),
            peer: "192.0.2.1:25".parse().unwrap(),
            protocol: Protocol::default(),
        },
        accepted,
        trace: Vec::new(),
        targets: (0..).zip(targets).map(target).collect(),
        held: false,
    }
}

#[derive(Default)]
struct Book(BTreeMap<QueueId, Message>);

impl Places for Book {}

impl Ledger for Book {
    fn visit(&self, after: Option<QueueId>, visit: &mut dyn FnMut(Line<'_>) -> bool) {
        let from = after.map_or(0, |id| id.0 + 1);
        for (id, message) in self.0.range(QueueId(from)..) {
            if !visit(Line { id: *id, size: 100, message }) {
                return;
            }
        }
    }

    fn note(&mut self, id: QueueId, notes: Vec<Note>) {
        let message = self.0.get_mut(&id).unwrap();
        for note in notes {
            message.apply(note);
        }
        if message.settled() {
            self.0.remove(&id);
        }
    }
}

fn book() -> Book {
    use TargetState::{Delivered, Waiting};
    let messages = [
        message("a@x.org", 100, &[("One@here", Waiting), ("two@here", deferred(2, 20_000))]),
        message("", 5000, &[("two@here", Delivered), ("three@here", deferred(1, 15_000))]),
        message("b@x.org", 9999, &[("four@here", Waiting)]),
    ];
    Book((1..).map(QueueId).zip(messages).collect())
}

fn pick(change: impl FnOnce(&mut Pick)) -> Pick {
    let mut pick = Pick::default();
    change(&mut pick);
    pick
}

fn picked(pick: Pick) -> Vec<u64> {
    let request = Request::List { pick, after: None };
    let Answer::Page(page) = answer(&request, &mut book(), NOW) else { panic!("no page") };
    page.entries.iter().map(|entry| entry.id.0).collect()
}

#[test]
fn every_condition_must_hold() {
    assert_eq!(picked(Pick::default()), [1, 2, 3]);
    assert_eq!(picked(pick(|pick| pick.ids = vec![QueueId(3), QueueId(1), QueueId(9)])), [1, 3]);
    let sender = |text: &str| picked(pick(|pick| pick.sender = Some(text.into())));
    assert_eq!(sender("A@X.ORG"), [1]);
    assert_eq!(sender("*@x.org"), [1, 3]);
    assert_eq!(sender(""), [2]);
    assert_eq!(sender("*"), [1, 2, 3]);
    assert_eq!(sender("a@x"), [0_u64; 0]);
    let recipient = |text: &str| picked(pick(|pick| pick.recipient = Some(text.into())));
    // What was delivered already is no reason to find a message.
    assert_eq!(recipient("two@here"), [1]);
    assert_eq!(recipient("t*@h*e"), [1, 2]);
    assert_eq!(picked(pick(|pick| pick.older_than = Some(5000))), [1, 2]);
    assert_eq!(picked(pick(|pick| pick.older_than = Some(u64::MAX))), [0_u64; 0]);
    let both = pick(|pick| {
        pick.sender = Some("*@x.org".into());
        pick.older_than = Some(60);
    });
    assert_eq!(picked(both), [1]);
}

#[test]
fn stars_stand_for_anything() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "a", false),
        ("a", "a", true),
        ("*", "", true),
        ("a*b", "ab", true),
        ("a*b", "axxb", true),
        ("a*b", "a", false),
        ("ab*ba", "aba", false),
        ("*a*a*", "a", false),
        ("*a*a*", "aa", true),
        ("*.org", "x.ORG", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn lists_come_in_pages() {
    let one = message("a@x", 1, &[("b@y", TargetState::Waiting)]);
    let count = u64::try_from(QUEUE_PAGE_ENTRIES_MAX).unwrap() + 1;
    let mut book = Book((1..=count).map(|id| (QueueId(id), one.clone())).collect());
    let mut page = |after| {
        let request = Request::List { pick: Pick::default(), after };
        let Answer::Page(page) = answer(&request, &mut book, NOW) else { panic!("no page") };
        (page.entries.len(), page.entries[0].id.0, page.until)
    };
    assert_eq!(page(None), (QUEUE_PAGE_ENTRIES_MAX, 1, Some(QueueId(count - 1))));
    assert_eq!(page(Some(QueueId(1))), (QUEUE_PAGE_ENTRIES_MAX, 2, None));
    assert_eq!(page(Some(QueueId(count - 1))), (1, count, None));
}

fn change(book: &mut Book, action: Action, pick: Pick) -> (u64, u64) {
    let request = Request::Change { action, pick };
    let Answer::Changed(changed) = answer(&request, book, NOW) else { panic!("no change") };
    assert_eq!(changed.ids.len() as u64, changed.changed);
    (changed.picked, changed.changed)
}

#[test]
fn nothing_changes_without_a_selection() {
    for action in [Action::Hold, Action::Release, Action::Retry, Action::Delete] {
        let mut book = book();
        assert_eq!(change(&mut book, action, Pick::default()), (0, 0));
        assert_eq!(book.0, self::book().0);
    }
}

#[test]
fn what_is_held_is_released() {
    let mut book = book();
    let all = || pick(|pick| pick.all = true);
    let first = || pick(|pick| pick.ids = vec![QueueId(1)]);
    assert_eq!(change(&mut book, Action::Hold, first()), (1, 1));
    assert!(book.0[&QueueId(1)].held && !book.0[&QueueId(2)].held);
    assert_eq!(change(&mut book, Action::Hold, all()), (3, 2));
    assert_eq!(change(&mut book, Action::Release, all()), (3, 3));
    assert_eq!(change(&mut book, Action::Release, all()), (3, 0));
    assert_eq!(book.0, self::book().0);
}

#[test]
fn what_was_deferred_is_tried_now() {
    let mut book = book();
    assert_eq!(change(&mut book, Action::Retry, pick(|pick| pick.all = true)), (3, 2));
    let state = |id, target: usize| book.0[&QueueId(id)].targets[target].state.clone();
    let TargetState::Deferred { attempts, next, reason } = state(1, 1) else { panic!() };
    // Not one more after it: the pause that follows is as long as the one that was cut short.
    assert_eq!((attempts, next, reason.as_str()), (1, NOW, "4.2.2 full until 20000"));
    assert_eq!(state(1, 0), TargetState::Waiting);
    assert_eq!(state(2, 0), TargetState::Delivered);
    assert_eq!(change(&mut book, Action::Retry, pick(|pick| pick.all = true)), (3, 0));
}

#[test]
fn deleting_for_a_recipient_leaves_the_others() {
    let mut book = book();
    let two = || pick(|pick| pick.recipient = Some("two@here".into()));
    assert_eq!(change(&mut book, Action::Delete, two()), (1, 1));
    let states: Vec<_> = book.0[&QueueId(1)].targets.iter().map(|target| &target.state).collect();
    assert_eq!(states, [&TargetState::Waiting, &TargetState::Removed]);
    let three = pick(|pick| pick.recipient = Some("three@here".into()));
    assert_eq!(change(&mut book, Action::Delete, three), (1, 1));
    assert!(!book.0.contains_key(&QueueId(2)), "nothing is left to do for it");
    assert_eq!(change(&mut book, Action::Delete, pick(|pick| pick.all = true)), (2, 2));
    assert!(book.0.is_empty());
}

#[test]
fn entries_and_details_tell_what_there_is() {
    let book = book();
    let line = |id: u64| Line { id: QueueId(id), size: 100, message: &book.0[&QueueId(id)] };
    let entry = Entry::of(line(1)).owned();
    assert_eq!((entry.state.as_str(), entry.recipients_left), ("waiting", 2));
    assert_eq!(entry.recipients, ["One@here", "two@here"]);
    assert_eq!(
        (entry.next, entry.reason.as_deref()),
        (Some(20_000), Some("4.2.2 full until 20000"))
    );
    let entry = Entry::of(line(2)).owned();
    assert_eq!((entry.state.as_str(), entry.sender.as_str()), ("deferred", ""));
    assert_eq!(entry.recipients, ["three@here"]);
    let detail = Detail::of(line(2));
    assert_eq!(detail.to, ["two@here", "three@here"]);
    assert_eq!(detail.targets[0].state, "delivered");
    assert_eq!((detail.targets[1].attempts, detail.body.as_str()), (1, "8bitmime"));
    let text = serde_json::to_string(&detail).unwrap();
    assert_eq!(serde_json::from_str::<Detail>(&text).unwrap(), detail);
    assert!(text.contains(r#""id":"0000000000002""#), "{text}");
}

#[test]
fn answers_of_several_ledgers_are_one() {
    let request = |after| Request::List { pick: Pick::default(), after };
    let (mut one, mut two) = (book(), Book::default());
    let moved = one.0.remove(&QueueId(2)).unwrap();
    two.0.insert(QueueId(2), moved);
    let mut merged = answer(&request(None), &mut one, NOW);
    merged.merge(answer(&request(None), &mut two, NOW));
    assert_eq!(merged, answer(&request(None), &mut book(), NOW));
    for id in [1, 2, 3, 4] {
        let show = Request::Show { id: QueueId(id) };
        let mut merged = answer(&show, &mut two, NOW);
        merged.merge(answer(&show, &mut one, NOW));
        assert_eq!(merged, answer(&show, &mut book(), NOW), "{id}");
    }
}

/// Shows a ledger's messages a few at a time, as a server does.
fn in_pieces(request: &Request, book: &mut Book, most: usize) -> Answer {
    let mut asked = Asked::new(request, NOW, most);
    let names = match asked.names() {
        Names::Behind(after) => book.0.keys().copied().filter(|id| Some(*id) > after).collect(),
        Names::These(ids) => ids,
    };
    for piece in names.chunks(2) {
        let more = piece.iter().all(|id| match book.0.get(id) {
            Some(message) => asked.look(Line { id: *id, size: 100, message }, book),
            None => true,
        });
        for (id, notes) in asked.changes() {
            book.note(id, notes);
        }
        if !more {
            break;
        }
    }
    asked.answer()
}

#[test]
fn it_does_not_matter_how_many_are_shown_at_a_time() {
    let picks = [
        pick(|pick| pick.all = true),
        pick(|pick| pick.ids = vec![QueueId(9), QueueId(2), QueueId(1), QueueId(2)]),
        pick(|pick| pick.sender = Some("*@x.org".into())),
        Pick::default(),
    ];
    let change = |action| move |pick| Request::Change { action, pick };
    let list = |pick| Request::List { pick, after: Some(QueueId(1)) };
    let requests = picks.iter().cloned().map(list);
    let requests = requests
        .chain(picks.iter().cloned().map(change(Action::Retry)))
        .chain(picks.iter().cloned().map(change(Action::Delete)))
        .chain([1, 3, 7].map(|id| Request::Show { id: QueueId(id) }));
    for request in requests {
        let (mut one, mut other) = (book(), book());
        let whole = answer(&request, &mut one, NOW);
        assert_eq!(in_pieces(&request, &mut other, usize::MAX), whole, "{request:?}");
        assert_eq!(one.0, other.0, "{request:?}");
    }
}

#[test]
fn shards_that_stop_at_different_places_leave_nothing_out() {
    let one = message("a@x", 1, &[("b@y", TargetState::Waiting)]);
    let all: Vec<QueueId> = (1..=40).map(QueueId).collect();
    // The second has most of what comes first.
    let mut books = [Book::default(), Book::default()];
    for id in &all {
        let home = usize::from(id.0 % 7 != 0 && id.0 < 20);
        books[home].0.insert(*id, one.clone());
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let request = Request::List { pick: Pick::default(), after };
        let mut parts = books.iter_mut().map(|book| in_pieces(&request, book, 5));
        let mut answer = parts.next().unwrap();
        parts.for_each(|part| answer.merge(part));
        let Answer::Page(page) = answer else { panic!("no page") };
        seen.extend(page.entries.iter().map(|entry| entry.id));
        (after, pages) = (page.until, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    assert!(pages <= 12, "{pages} pages");
}

#[test]
fn requests_are_short_to_write() {
    let request: Request = serde_json::from_str(r#"{"do":"list"}"#).unwrap();
    assert_eq!(request, Request::List { pick: Pick::default(), after: None });
    let text =
        r#"{"do":"change","action":"hold","pick":{"ids":["0000000000001"],"older_than":60}}"#;
    let expected = pick(|pick| {
        pick.ids = vec![QueueId(1)];
        pick.older_than = Some(60);
    });
    let request: Request = serde_json::from_str(text).unwrap();
    assert_eq!(request, Request::Change { action: Action::Hold, pick: expected });
    assert!(serde_json::from_str::<Request>(r#"{"do":"show","id":"x"}"#).is_err());
}

#[test]
fn a_sheet_is_the_json_of_the_page() {
    let texts = ["a@x", "\"q\\ \"@x", "ü@bücher.example", "\u{1}\n@x", ""];
    let states = [TargetState::Waiting, deferred(3, 12_000), TargetState::Delivered];
    let mut books = [Book::default(), Book::default(), Book::default()];
    for number in 0..40_usize {
        let sender = if number % 4 == 0 { "" } else { "s\"\u{7f}@x.example" };
        let to: Vec<(&str, TargetState)> = (0..number % 13)
            .map(|it| (texts[(number + it) % 5], states[(number * 7 + it) % 3].clone()))
            .filter(|(address, _)| address.contains('@'))
            .collect();
        let mut one = message(sender, 5, &to);
        one.held = number % 5 == 0;
        books[number * number % 11 % 3].0.insert(QueueId(u64::try_from(number).unwrap()), one);
    }
    for (most, after) in (1..30).flat_map(|most| [(most, None), (most, Some(QueueId(most as u64)))])
    {
        let request = Request::List { pick: Pick::default(), after };
        let (mut page, mut sheet) = (None::<Page>, None::<Sheet>);
        for book in &books {
            let mut entries = Asked::<Page>::new(&request, NOW, most);
            let mut text = Asked::<Sheet>::new(&request, NOW, most);
            book.visit(after, &mut |line| entries.look(line, book));
            book.visit(after, &mut |line| text.look(line, book));
            let (Answer::Page(one), Answer::Page(two)) = (entries.answer(), text.answer()) else {
                panic!("no page")
            };
            match (&mut page, &mut sheet) {
                (Some(page), Some(sheet)) => {
                    page.merge(one);
                    sheet.merge(two);
                }
                _ => (page, sheet) = (Some(one), Some(two)),
            }
        }
        let mut written = Vec::new();
        sheet.unwrap().write(&mut written);
        let meant = serde_json::to_string(&page.unwrap()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), meant, "{most}");
    }
}
