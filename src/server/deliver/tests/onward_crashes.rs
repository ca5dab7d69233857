//! The power fails at every step of deliveries here and to other servers: nothing acknowledged is lost, and
//! nothing comes twice that was noted.

use std::cell::Cell;

use super::onward::{Mood, Moods, Sent, moods, onward_policy, open};
use super::*;
use crate::shard::Weather;
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::rng::Rng;

/// Messages of one scenario, each to a mailbox and two servers, one of which is busy at first.
const COUNT: u64 = 3;
const TO: [&str; 3] = ["ann", "x@b.example", "y@busy.example"];

/// How far a scenario came.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    /// Messages of which it is durable that all but the last target are done.
    begun: u64,
    /// Messages that are settled, durably.
    noted: u64,
    steps: u64,
}

/// What the crashes left.
#[derive(Debug, Default)]
struct Tally {
    crashes: usize,
    /// What came again, whose note was lost.
    again: usize,
    lost: Vec<String>,
    twice: Vec<String>,
}

fn sizes() -> [usize; 3] {
    [300, 20_000, 40]
}

/// Sends one message after another until the power fails before poll number `step`.
fn run(sim: &Sim, step: u64, sent: &Sent) -> Progress {
    let progress = Rc::new(Cell::new(Progress::default()));
    sim.run_until(step, async {
        let moods = moods(&[]);
        let place = open(onward_policy(), &moods, sent).await;
        for (number, size) in (0..COUNT).zip(sizes()) {
            moods.borrow_mut().insert("busy.example".to_owned(), Mood::Busy);
            place.post(envelope("me", &TO), &text(number, size)).await.unwrap();
            progress.set(Progress { acknowledged: number + 1, ..progress.get() });
            pause(5).await;
            // Nothing but the note of each target says that it is done.
            place.spool.flush().await.unwrap();
            progress.set(Progress { begun: number + 1, ..progress.get() });
            moods.borrow_mut().clear();
            assert!(place.settled(600).await);
            place.spool.flush().await.unwrap();
            progress.set(Progress { noted: number + 1, ..progress.get() });
        }
        for _ in 0..10 {
            pause(1).await;
        }
        progress.set(Progress { steps: sim.world().executor.steps(), ..progress.get() });
    });
    progress.get()
}

/// Starts anew on what a crash left; what was sent then.
fn recover(disk: &Rc<Disk>, seed: u64) -> Sent {
    let sim = Sim::with_disk(seed, Rc::clone(disk));
    let (moods, sent): (Moods, Sent) = (moods(&[]), Sent::default());
    sim.run(async {
        let place = open(onward_policy(), &moods, &sent).await;
        assert!(place.settled(600).await);
        place.close().await;
    });
    let panics = sim.world().executor.panics();
    assert!(panics.is_empty(), "{panics:?}");
    sent
}

fn crash(seed: u64, step: u64, tally: &mut Tally) {
    let sim = boot(seed);
    sim.weather(Weather::CALM);
    let before = Sent::default();
    let progress = run(&sim, step, &before);
    let disk = sim.disk();
    drop(sim);
    let rng = Rng::new(step ^ seed << 32);
    for loss in LOSSES.into_iter().chain([Loss::Random; 2]) {
        let what = format!("seed {seed} step {step} {loss:?}");
        let left = disk.crash(&rng, loss);
        let after = recover(&left, rng.next());
        let boxes = mail(&left);
        tally.crashes += 1;
        for (number, size) in (0..COUNT).zip(sizes()) {
            let octets = text(number, size);
            let whole = delivered("me", &octets);
            let here = boxes
                .get("ann")
                .map_or(0, |found| found.iter().filter(|one| **one == whole).count());
            let there = |address: &str| {
                let same = |one: &&(String, Vec<u8>)| one.0 == address && one.1 == octets;
                let count = |sent: &Sent| sent.borrow().iter().filter(same).count();
                (count(&before), count(&after))
            };
            for (address, first, second) in TO.map(|address| match address {
                "ann" => (address, here, 0),
                _ => (address, there(address).0, there(address).1),
            }) {
                let copies = first + second;
                if copies == 0 && number < progress.acknowledged {
                    tally.lost.push(format!("{what}: {number} {address}"));
                }
                let noted = if address == TO[2] { progress.noted } else { progress.begun };
                let excused = address != "ann" && number >= noted && copies == 2;
                if copies > 1 && !excused {
                    tally.twice.push(format!("{what}: {number} {address}"));
                }
                tally.again += usize::from(copies > 1 && excused);
            }
        }
    }
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_repeats_what_was_not_noted() {
    let mut tally = Tally::default();
    for seed in 0..2 {
        let sim = boot(seed);
        sim.weather(Weather::CALM);
        let progress = run(&sim, u64::MAX, &Sent::default());
        assert_eq!((progress.acknowledged, progress.noted), (COUNT, COUNT));
        for step in (1..=progress.steps).step_by(7) {
            crash(seed, step, &mut tally);
        }
    }
    assert!(tally.crashes > 200 && tally.again > 0, "{} {}", tally.crashes, tally.again);
    assert_eq!((tally.lost, tally.twice), (vec![], vec![]));
}
