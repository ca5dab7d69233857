//! The queue, whose messages fall asleep, against one that keeps everything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use super::super::tests::{TRACE, envelope};
use super::*;
use crate::mail::stored::{Destination, Note, Target, TargetState};
use crate::shard::rng::Rng;

fn message(rng: &Rng) -> Message {
    let targets = 1 + rng.below(3);
    let target = |number: u64| Target {
        recipient: u32::try_from(number).unwrap(),
        address: format!("{number}@far.example"),
        tag: None,
        via: None,
        to: Destination::Mailbox("ann".to_owned()),
        sender: None,
        state: TargetState::Waiting,
        told: false,
        delayed: false,
    };
    Message {
        envelope: envelope("me", &["a@far.example"]),
        accepted: 1000 + i64::try_from(rng.below(1000)).unwrap(),
        trace: TRACE.to_vec(),
        targets: (0..targets).map(target).collect(),
        held: false,
    }
}

fn note(rng: &Rng) -> Note {
    let number = u32::try_from(rng.below(3)).unwrap();
    let next = i64::try_from(rng.below(5000)).unwrap();
    let reason = format!("4.4.1 {}", rng.below(4));
    match rng.below(8) {
        0 => Note::Held(rng.below(2) == 0),
        1 => Note::Told(number),
        2 => Note::Delayed(number),
        3 => Note::Target(number, TargetState::Delivered),
        4 => Note::Target(number, TargetState::Failed { reason }),
        _ => Note::Target(number, TargetState::Deferred { attempts: 3, next, reason }),
    }
}

/// What the naive one knows: the message as it came, as it is, and where it stands.
struct Naive {
    accepted: Message,
    now: Message,
    stand: Stand,
}

#[derive(Default)]
struct Both {
    queue: Queue,
    naive: BTreeMap<QueueId, Naive>,
    clock: u64,
    number: u64,
    slept: usize,
}

impl Both {
    fn comes(&mut self, rng: &Rng) {
        self.clock += rng.below(20_000);
        self.number += 1;
        let (id, message) = (QueueId(self.clock << 22 | self.number), message(rng));
        let stand = match rng.below(3) {
            0 => Stand::Aside,
            1 => Stand::InLine,
            _ => Stand::Until(i64::try_from(rng.below(5000)).unwrap().max(1)),
        };
        if rng.below(4) == 0 {
            self.queue.insert_asleep(id, &message, stand, Tried::Here);
        } else {
            self.queue.insert(id, Entry::new(message.clone(), None, Tried::Never), stand);
        }
        self.naive.insert(id, Naive { accepted: message.clone(), now: message, stand });
    }

    fn some(&self, rng: &Rng) -> Option<QueueId> {
        let at = usize::try_from(rng.below(self.naive.len().max(1) as u64)).unwrap();
        self.naive.keys().nth(at).copied()
    }

    /// As who reads it from the spool.
    fn open(&mut self, id: QueueId) -> Rc<RefCell<Message>> {
        match self.queue.known(id).unwrap() {
            Known::Awake(message) => message,
            Known::Asleep => {
                self.slept += 1;
                self.queue.awaken(id, self.naive[&id].accepted.clone()).unwrap()
            }
            Known::Unknown(_) => panic!("{id}"),
        }
    }

    fn changes(&mut self, rng: &Rng) {
        let Some(id) = self.some(rng) else { return };
        let (message, note) = (self.open(id), note(rng));
        assert_eq!(*message.borrow(), self.naive[&id].now);
        message.borrow_mut().apply(note.clone());
        self.naive.get_mut(&id).unwrap().now.apply(note);
        let next = (rng.below(2) == 0).then(|| i64::try_from(rng.below(5000)).unwrap().max(1));
        let now = i64::try_from(rng.below(5000)).unwrap();
        self.queue.restand(id, next, now);
        let naive = self.naive.get_mut(&id).unwrap();
        naive.stand = match (naive.stand, next) {
            (Stand::Running, _) => Stand::Running,
            (_, None) => Stand::Aside,
            (_, Some(next)) if next <= now => Stand::InLine,
            (_, Some(next)) => Stand::Until(next),
        };
        self.queue.put_back(id, &message);
    }

    fn rounds(&mut self, rng: &Rng) {
        let now = i64::try_from(rng.below(5000)).unwrap();
        self.queue.advance(now);
        for naive in self.naive.values_mut() {
            if matches!(naive.stand, Stand::Until(next) if next <= now) {
                naive.stand = Stand::InLine;
            }
        }
        let Some(begun) = self.queue.begin(3) else {
            let running = self.naive.values().filter(|one| one.stand == Stand::Running).count();
            let in_line = self.naive.values().any(|one| one.stand == Stand::InLine);
            assert!(running == 3 || !in_line);
            return;
        };
        let naive = self.naive.get_mut(&begun.id).unwrap();
        assert_eq!(naive.stand, Stand::InLine);
        naive.stand = Stand::Running;
    }

    fn ends(&mut self, rng: &Rng) {
        let running = self.naive.iter().find(|(_, one)| one.stand == Stand::Running);
        let Some(id) = running.map(|(id, _)| *id) else { return };
        let message = self.open(id);
        if rng.below(3) == 0 {
            self.queue.remove(id);
            self.naive.remove(&id);
        } else {
            let next = (rng.below(3) > 0).then(|| i64::try_from(rng.below(5000)).unwrap().max(1));
            self.queue.wait(id, next, Tried::Here);
            self.naive.get_mut(&id).unwrap().stand = next.map_or(Stand::Aside, Stand::Until);
        }
        drop(message);
        self.queue.end(id);
    }

    fn same(&self, rng: &Rng) {
        let names: Vec<QueueId> = self.naive.keys().copied().collect();
        assert_eq!(self.queue.names(None, usize::MAX), names);
        let after = self.some(rng);
        let behind = names.iter().copied().filter(|id| Some(*id) > after);
        assert_eq!(self.queue.names(after, 3), behind.take(3).collect::<Vec<_>>());
        for (id, naive) in &self.naive {
            assert_eq!(self.queue.stand(*id), Some(naive.stand), "{id}");
            let mut message = naive.accepted.clone();
            match self.queue.known(*id).unwrap() {
                Known::Awake(awake) => message.clone_from(&awake.borrow()),
                Known::Asleep => assert!(self.queue.put_on(*id, &mut message)),
                Known::Unknown(_) => panic!("{id}"),
            }
            assert_eq!(message, naive.now, "{id}");
        }
        let waits = |one: &&Naive| matches!(one.stand, Stand::Until(_));
        let next = self.naive.values().filter_map(|one| match one.stand {
            Stand::Until(next) => Some(next),
            Stand::Aside | Stand::InLine | Stand::Running => None,
        });
        assert_eq!(self.queue.next_time(), next.min());
        let figures = self.queue.figures();
        assert_eq!(figures.messages, self.naive.len() as u64);
        assert_eq!(figures.deferred, self.naive.values().filter(waits).count() as u64);
        assert_eq!(figures.oldest, self.naive.values().next().map(|one| one.now.accepted));
        assert!(self.queue.awake.len() <= AWAKE_MAX + 3 + 3, "those under way, and those begun");
    }
}

#[test]
fn it_is_as_one_that_keeps_everything() {
    let mut slept = 0;
    for seed in 0..40 {
        let (rng, mut both) = (Rng::new(seed), Both::default());
        for _ in 0..300 {
            match rng.below(8) {
                0 | 1 => both.comes(&rng),
                2..=4 => both.changes(&rng),
                5 | 6 => both.rounds(&rng),
                _ => both.ends(&rng),
            }
            both.same(&rng);
        }
        slept += both.slept;
    }
    assert!(slept > 1000, "only {slept} times was one awakened: this shows little");
}

#[test]
fn what_just_came_is_awake_and_what_waited_makes_room() {
    let (rng, mut queue) = (Rng::new(1), Queue::default());
    let id = |second: u64, number: u64| QueueId((second * 1000) << 22 | number);
    let mut comes =
        |id| queue.insert(id, Entry::new(message(&rng), None, Tried::Never), Stand::Aside);
    let most = u64::try_from(AWAKE_MAX).unwrap();
    (0..most).for_each(|number| comes(id(1, number)));
    // Not yet: the others came in the same second.
    comes(id(1, most));
    comes(id(60, 0));
    let asleep = |id| matches!(queue.known(id), Some(Known::Asleep));
    assert!(asleep(id(1, most)) && asleep(id(1, 0)));
    assert!(!asleep(id(1, 1)) && !asleep(id(60, 0)));
}
