//! The schedule against a naive model, and what it promises one by one.
#![allow(
    clippy::disallowed_types,
    reason = "names are shared with who shows them; no order is ever taken from a map"
)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;

fn rules() -> Rules {
    Rules {
        retry_first_seconds: 300,
        retry_seconds: 1800,
        retry_seconds_max: 14_400,
        give_up_seconds: 432_000,
        connections_max: 8,
        seed: 7,
    }
}

fn limits(connections: u32, per_connection: u32, per_minute: u32) -> Limits {
    Limits { connections, per_connection, per_minute }
}

/// A name of a message accepted then.
fn id(seconds: i64, number: u64) -> u64 {
    (u64::try_from(seconds).unwrap() * 1000) << 22 | number
}

#[test]
fn pauses_are_as_configured() {
    let schedule = Schedule::new(rules());
    let bases = [300, 1800, 3600, 7200, 14_400, 14_400, 14_400];
    for (attempts, base) in (1..).zip(bases) {
        let pauses: BTreeSet<i64> = (0..1000).map(|id| schedule.pause(id, attempts)).collect();
        assert!(*pauses.first().unwrap() >= base && *pauses.last().unwrap() <= base + base / 4);
        assert!(pauses.len() > 50, "chance spreads them");
    }
    assert_eq!(schedule.pause(5, 3), Schedule::new(rules()).pause(5, 3), "from the seed");
    assert!(schedule.pause(5, u32::MAX) <= 18_000);
}

#[test]
fn what_is_overdue_at_the_start_comes_back_little_by_little() {
    let schedule = Schedule::new(rules());
    let times: Vec<i64> = (0..3000).map(|id| schedule.spread(id, NOW - 5, NOW)).collect();
    assert!(times.iter().all(|time| (NOW..NOW + 300).contains(time)));
    let busiest = (0..30).map(|slice| {
        let slice = NOW + slice * 10..NOW + slice * 10 + 10;
        times.iter().filter(|time| slice.contains(time)).count()
    });
    assert!(busiest.max().unwrap() < 200, "a tenth of a third, and a little");
    assert_eq!(schedule.spread(1, NOW + 9999, NOW), NOW + 9999);
}

#[test]
fn senders_take_turns() {
    let mut schedule = Schedule::new(Rules { connections_max: 1, ..rules() });
    let place = schedule.destination("a.example", limits(1, 0, 0));
    for number in 0..100 {
        schedule.add(place, number, 1, NOW, NOW);
    }
    schedule.add(place, 200, 2, NOW, NOW);
    schedule.add(place, 201, 2, NOW, NOW);
    schedule.add(place, 300, 3, NOW, NOW);
    let mut job = schedule.next(NOW).unwrap();
    let mut order = Vec::new();
    for sent in 1..=6 {
        order.push(job.id);
        schedule.done(job, NOW, Served::Over);
        job = schedule.next_for(place, sent, NOW).unwrap();
    }
    assert_eq!(order, [0, 200, 300, 1, 201, 2]);
}

#[test]
fn a_destination_that_is_not_there_is_tried_by_one() {
    let mut schedule = Schedule::new(rules());
    let place = schedule.destination("dead.example", limits(4, 0, 0));
    for number in 0..10 {
        schedule.add(place, id(NOW, number), 1, NOW, NOW);
    }
    let fail = |schedule: &mut Schedule, job: Job, now: i64| {
        let due = now + schedule.pause(job.id, 1);
        schedule.done(job, now, Served::Again(due));
        schedule.close(job.place, now, Ended::Unreachable("4.4.1 no answer".to_owned()));
    };
    let two = [schedule.next(NOW).unwrap(), schedule.next(NOW).unwrap()];
    assert_eq!(schedule.next(NOW), None, "two, before anybody answered");
    for job in two {
        fail(&mut schedule, job, NOW);
    }
    let mut now = NOW;
    for least in [300, 1800, 3600, 7200, 14_400, 14_400] {
        assert_eq!(schedule.next(now), None);
        let next = schedule.next_time().unwrap();
        assert!((now + least..=now + least + least / 4).contains(&next), "{least}");
        assert_eq!(schedule.next(next - 1), None);
        now = next;
        let job = schedule.next(now).unwrap();
        assert_eq!(schedule.next(now), None, "one tries it");
        fail(&mut schedule, job, now);
    }
    let figures: Vec<_> = schedule.figures(now).map(|it| (it.failures, it.error)).collect();
    assert_eq!(figures, [(7, Some("4.4.1 no answer"))]);
    // It answers: everybody comes.
    now = schedule.next_time().unwrap();
    let job = schedule.next(now).unwrap();
    schedule.done(job, now, Served::Over);
    let more = std::iter::from_fn(|| schedule.next(now)).count();
    assert_eq!(more, 1, "one more for each answer");
}

#[test]
fn what_waits_too_long_for_such_a_destination_is_told() {
    let mut schedule = Schedule::new(rules());
    let place = schedule.destination("dead.example", limits(4, 0, 0));
    let old = NOW - 432_000 + 50;
    schedule.add(place, id(old, 1), 1, NOW + 9000, NOW);
    schedule.add(place, id(old, 2), 1, NOW, NOW);
    schedule.add(place, id(NOW, 3), 1, NOW + 9000, NOW);
    let mut now = NOW;
    for _ in 0..2 {
        let job = schedule.next(now).unwrap();
        assert_eq!(job.id, id(old, 2));
        schedule.done(job, now, Served::Again(now + 1));
        schedule.close(place, now, Ended::Unreachable(format!("4.4.1 at {}", now - NOW)));
        if now == NOW {
            assert_eq!(schedule.lapsed(), None, "not yet");
        }
        now = schedule.next_time().unwrap();
    }
    let reason: Arc<str> = schedule.figures(now).next().unwrap().error.unwrap().into();
    let lapsed: Vec<_> = std::iter::from_fn(|| schedule.lapsed()).collect();
    let ids: Vec<u64> = lapsed.iter().map(|it| it.id).collect();
    assert_eq!(ids, [id(old, 2), id(old, 1)]);
    assert!(lapsed.iter().all(|it| it.reason == reason && *it.destination == *"dead.example"));
    assert_eq!(schedule.messages(), 1);
}

#[test]
fn slow_and_unknown_ones_leave_half_to_the_quick() {
    let mut schedule = Schedule::new(rules());
    for number in 0..20 {
        let place = schedule.destination(&format!("new{number}.example"), limits(2, 0, 0));
        schedule.add(place, number, 1, NOW, NOW);
    }
    let first = schedule.next(NOW).unwrap();
    schedule.done(first, NOW, Served::Over);
    schedule.add(first.place, 100, 1, NOW, NOW);
    let others = std::iter::from_fn(|| schedule.next(NOW)).map(|job| job.place).collect::<Vec<_>>();
    // The quick one has one connection and gets another; four go to the unknown.
    assert_eq!(others.iter().filter(|place| **place != first.place).count(), 4);
    assert!(others.contains(&first.place));
}

#[test]
fn who_has_many_gives_way_to_who_has_none() {
    let mut schedule = Schedule::new(Rules { connections_max: 2, ..rules() });
    let big = schedule.destination("big.example", limits(2, 0, 0));
    for number in 0..100 {
        schedule.add(big, number, 1, NOW, NOW);
    }
    let one = schedule.next(NOW).unwrap();
    schedule.done(one, NOW, Served::Over);
    assert_eq!(schedule.next(NOW).unwrap().place, big);
    let small = schedule.destination("small.example", limits(2, 0, 0));
    schedule.add(small, 1000, 1, NOW, NOW);
    assert_eq!(schedule.next(NOW), None, "no room");
    assert!(schedule.next_for(big, TURN_MESSAGES - 1, NOW).is_some());
    assert_eq!(schedule.next_for(big, TURN_MESSAGES, NOW), None);
    schedule.close(big, NOW, Ended::Fine);
    assert_eq!(schedule.next(NOW).unwrap().place, small);
}

#[test]
fn a_connection_carries_what_it_may() {
    let mut schedule = Schedule::new(rules());
    let place = schedule.destination("a.example", limits(1, 3, 0));
    (0..9).for_each(|number| schedule.add(place, number, 1, NOW, NOW));
    let job = schedule.next(NOW).unwrap();
    schedule.done(job, NOW, Served::Over);
    assert!(schedule.next_for(place, 2, NOW).is_some());
    assert_eq!(schedule.next_for(place, 3, NOW), None);
}

#[test]
fn what_the_operator_wants_or_removes() {
    let mut schedule = Schedule::new(rules());
    let place = schedule.destination("a.example", limits(4, 0, 0));
    let first = id(NOW, 0);
    (0..6).for_each(|number| schedule.add(place, first + number, 1, NOW + 500, NOW));
    assert_eq!((schedule.next(NOW), schedule.next_time()), (None, Some(NOW + 500)));
    schedule.retain(NOW, |id| id != first + 3);
    schedule.hasten(NOW, |id| (id - first).is_multiple_of(3));
    assert_eq!(schedule.next(NOW).unwrap().id, first);
    assert_eq!(schedule.next(NOW), None, "3 is gone, and nobody wants the others");
    assert_eq!(schedule.messages(), 5);
    schedule.close(place, NOW, Ended::Unreachable("4.4.1".to_owned()));
    assert!(schedule.next(NOW + 200).is_none());
    schedule.hasten(NOW + 200, |id| id == first + 4);
    assert_eq!(schedule.next(NOW + 200).unwrap().id, first + 4, "and its destination too");
}

#[test]
fn destinations_without_messages_take_no_memory() {
    let mut schedule = Schedule::new(rules());
    for number in 0..1000 {
        let place = schedule.destination(&format!("{number}.example"), limits(4, 0, 0));
        schedule.add(place, number, 1, NOW, NOW);
        let job = schedule.next(NOW).unwrap();
        schedule.done(job, NOW, Served::Over);
        schedule.close(place, NOW, Ended::Fine);
    }
    assert_eq!((schedule.figures(NOW).count(), schedule.destinations.len()), (0, 1));
    assert_eq!((schedule.open, schedule.open_others, schedule.next_time()), (0, 0, None));
    assert!(schedule.names.is_empty() && schedule.line.iter().all(BTreeSet::is_empty));
}

// ---------------------------------------------------------------- a model that knows everything

#[derive(Debug, Clone)]
enum Step {
    Add { place: u8, sender: u8, later: u16 },
    Next,
    More { which: u8 },
    Done { which: u8, how: u8 },
    Close { which: u8, how: u8 },
    Pass { seconds: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8, 0..3_u8, prop_oneof![Just(0), 0..900_u16])
            .prop_map(|(place, sender, later)| Step::Add { place, sender, later }),
        3 => Just(Step::Next),
        2 => any::<u8>().prop_map(|which| Step::More { which }),
        3 => any::<(u8, u8)>().prop_map(|(which, how)| Step::Done { which, how }),
        3 => any::<(u8, u8)>().prop_map(|(which, how)| Step::Close { which, how }),
        2 => prop_oneof![Just(0), 0..40_u16, any::<u16>()].prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// Where every message is, and what was promised about it.
struct Model {
    schedule: Schedule,
    now: i64,
    names: u64,
    /// (destination, message) → due.
    waiting: BTreeMap<(u8, u64), i64>,
    /// Connections: destination, messages it carried, the job under way.
    connections: Vec<(u8, u32, Option<Job>)>,
    /// When messages were given out, by destination.
    given: BTreeMap<u8, Vec<i64>>,
    tried: BTreeSet<u64>,
    all: BTreeSet<u64>,
}

const LIMITS: [Limits; 6] = [
    Limits { connections: 1, per_connection: 0, per_minute: 0 },
    Limits { connections: 3, per_connection: 2, per_minute: 0 },
    Limits { connections: 9, per_connection: 0, per_minute: 4 },
    Limits { connections: 2, per_connection: 0, per_minute: 90 },
    Limits { connections: 2, per_connection: 5, per_minute: 0 },
    Limits { connections: 4, per_connection: 1, per_minute: 0 },
];

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            schedule: Schedule::new(Rules { connections_max: 5, seed, ..rules() }),
            now: NOW,
            names: 0,
            waiting: BTreeMap::new(),
            connections: Vec::new(),
            given: BTreeMap::new(),
            tried: BTreeSet::new(),
            all: BTreeSet::new(),
        }
    }

    fn place(&mut self, number: u8) -> Place {
        self.schedule.destination(&format!("{number}.example"), LIMITS[usize::from(number)])
    }

    fn number(&self, place: Place) -> u8 {
        self.schedule.name(place).split('.').next().unwrap().parse().unwrap()
    }

    /// A job was given out: was that right?
    fn given(&mut self, job: Job, fresh: bool) {
        let number = self.number(job.place);
        let due = self.waiting.remove(&(number, job.id)).expect("it waits there, once");
        assert!(due <= self.now, "before its time");
        assert_eq!(job.begun, self.now);
        let most = LIMITS[usize::from(number)];
        let open = self.connections.iter().filter(|one| one.0 == number).count();
        let open = u32::try_from(open).unwrap() + u32::from(fresh);
        assert!(open <= most.connections, "connections");
        assert!(self.connections.len() + usize::from(fresh) <= 5, "connections in total");
        let given = self.given.entry(number).or_default();
        given.push(self.now);
        let minute = given.iter().filter(|at| **at > self.now - 60).count();
        assert!(most.per_minute == 0 || minute <= most.per_minute as usize, "a minute");
        self.tried.insert(job.id);
    }

    fn done(&mut self, at: usize, how: u8) {
        let Some(job) = self.connections[at].2.take() else { return };
        let number = self.connections[at].0;
        let served = match how % 4 {
            0 => Served::Again(self.now + self.schedule.pause(job.id, 1 + u32::from(how / 4))),
            1 => Served::Again(self.now),
            2 => Served::Nothing,
            _ => Served::Over,
        };
        if let Served::Again(due) = served {
            self.waiting.insert((number, job.id), due);
        }
        self.schedule.done(job, self.now, served);
    }

    fn close(&mut self, at: usize, how: u8) {
        self.done(at, how);
        let (number, _, _) = self.connections.remove(at);
        let place = self.schedule.names[format!("{number}.example").as_str()];
        let ended = match how % 3 {
            0 => Ended::Unreachable("4.4.1 gone".to_owned()),
            1 => Ended::Unused,
            _ => Ended::Fine,
        };
        self.schedule.close(place, self.now, ended);
        while let Some(lapsed) = self.schedule.lapsed() {
            let number: u8 = lapsed.destination.split('.').next().unwrap().parse().unwrap();
            assert!(self.waiting.remove(&(number, lapsed.id)).is_some());
            assert!(accepted(lapsed.id) + 432_000 <= self.now);
            self.tried.insert(lapsed.id);
        }
    }

    fn step(&mut self, step: &Step) {
        let at = |which: u8, len: usize| usize::from(which).checked_rem(len);
        match *step {
            Step::Add { place, sender, later } => {
                self.names += 1;
                let (id, due) = (id(self.now, self.names), self.now + i64::from(later));
                let here = self.place(place);
                self.schedule.add(here, id, sender.into(), due, self.now);
                self.waiting.insert((place, id), due);
                self.all.insert(id);
            }
            Step::Next => self.next(),
            Step::More { which } => {
                let Some(at) = at(which, self.connections.len()) else { return };
                let (number, sent, None) = self.connections[at] else { return };
                let place = self.schedule.names[format!("{number}.example").as_str()];
                if let Some(job) = self.schedule.next_for(place, sent, self.now) {
                    let most = LIMITS[usize::from(number)].per_connection;
                    assert!(job.place == place && (most == 0 || sent < most), "of one connection");
                    self.given(job, false);
                    self.connections[at] = (number, sent + 1, Some(job));
                }
            }
            Step::Done { which, how } => {
                if let Some(at) = at(which, self.connections.len()) {
                    self.done(at, how);
                }
            }
            Step::Close { which, how } => {
                if let Some(at) = at(which, self.connections.len()) {
                    self.close(at, how);
                }
            }
            Step::Pass { seconds } => self.now += i64::from(seconds),
        }
    }

    fn next(&mut self) {
        if let Some(job) = self.schedule.next(self.now) {
            self.given(job, true);
            self.connections.push((self.number(job.place), 1, Some(job)));
            return;
        }
        // Who is left in want has a reason: no connection is free, or it is let alone.
        if self.connections.len() >= 2 {
            return;
        }
        for (number, _) in self.waiting.iter().filter(|(_, due)| **due <= self.now).map(|it| it.0) {
            let figure = self.schedule.figures(self.now);
            let name = format!("{number}.example");
            let figure = figure.filter(|it| it.name == name).last().unwrap();
            let open = self.connections.iter().any(|one| one.0 == *number);
            assert!(open || figure.next.is_some_and(|next| next > self.now), "{name} starves");
        }
    }

    /// Time passes until nothing is left.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            while !self.connections.is_empty() {
                self.close(0, 3 * 4 + 3 + 8);
            }
            self.next();
            if self.connections.is_empty() {
                match self.schedule.next_time() {
                    Some(next) => self.now = self.now.max(next),
                    None => break,
                }
            }
        }
        assert!(self.waiting.is_empty(), "left: {:?}", self.waiting);
        assert_eq!(self.tried, self.all, "each was tried");
        assert_eq!((self.schedule.messages(), self.schedule.connections()), (0, 0));
        assert_eq!(self.schedule.open_others, 0);
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_early_or_too_much(
        steps in proptest::collection::vec(step(), 1..120),
        seed: u64,
    ) {
        let mut model = Model::new(seed);
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}
