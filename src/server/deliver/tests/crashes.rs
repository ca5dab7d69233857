//! The power fails at every step of a delivery: nothing acknowledged is lost, nothing in part is seen, nothing
//! comes twice.

use std::cell::Cell;

use super::*;
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::disk::Journal;
use crate::shard::fault::Sabotage;
use crate::shard::rng::Rng;
use crate::shard::{BLOCK_BYTES, Weather};

/// What the crashes of one scenario left.
#[derive(Debug, Default)]
struct Tally {
    crashes: usize,
    /// Crashes after which a mailbox held a message already.
    early: usize,
    /// In a mailbox, but not whole.
    torn: Vec<String>,
    /// Acknowledged, and not in a mailbox after recovery.
    lost: Vec<String>,
    /// There more than once.
    twice: Vec<String>,
}

#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    calm: bool,
    /// What the disk lies about while mail is delivered.
    sabotage: Sabotage,
}

/// Messages of one scenario.
const COUNT: usize = 3;

impl Plan {
    /// The last one is small or large: no later delivery syncs for it.
    fn sizes(&self) -> [usize; COUNT] {
        let (small, large) = (40, 2 * BLOCK_BYTES);
        if self.seed.is_multiple_of(4) { [300, small, large] } else { [300, large, small] }
    }

    fn boot(&self) -> Sim {
        let sim = boot(self.seed);
        if self.calm {
            sim.weather(Weather::CALM);
        }
        let journal =
            if self.seed.is_multiple_of(2) { Journal::Unordered } else { Journal::Ordered };
        sim.disk().mode.set(journal);
        sim
    }

    /// Accepts and delivers until the power fails before poll number `step`; how many messages were
    /// acknowledged, when that began and ended.
    fn run(&self, sim: &Sim, step: u64) -> (usize, [u64; 2]) {
        let acknowledged = Rc::new(Cell::new(0));
        let steps = Rc::new(Cell::new([0, 0]));
        sim.run_until(step, async {
            let place = Place::open().await;
            let begun = sim.world().executor.steps();
            for (number, size) in (0..).zip(self.sizes()) {
                let message = place.message(envelope("me", &["both"]));
                let mut draft = place.spool.draft();
                draft.append(&text(number, size)).await.unwrap();
                let committed = draft.commit(|_| message.encode()).await.unwrap();
                acknowledged.set(acknowledged.get() + 1);
                if acknowledged.get() == COUNT {
                    sim.disk().sabotage.set(self.sabotage);
                }
                place.deliveries.accept(committed, message);
            }
            assert!(place.settled(600).await);
            place.spool.flush().await.unwrap();
            steps.set([begun, sim.world().executor.steps() + 3]);
            pause(2).await;
        });
        (acknowledged.get(), steps.get())
    }

    fn crash(&self, step: u64, tally: &mut Tally) {
        let sim = self.boot();
        let (acknowledged, _) = self.run(&sim, step);
        let disk = sim.disk();
        drop(sim);
        let rng = Rng::new(step ^ self.seed << 32);
        for loss in LOSSES.into_iter().chain([Loss::Random; 3]) {
            let what = format!("seed {} step {step} {loss:?}", self.seed);
            let left = disk.crash(&rng, loss);
            tally.crashes += 1;
            let whole: Vec<_> = (0..)
                .zip(self.sizes())
                .map(|(number, size)| delivered("me", &text(number, size)))
                .collect();
            let seen = mail(&left);
            tally.early += usize::from(!seen.is_empty());
            if seen.values().flatten().any(|octets| !whole.contains(octets)) {
                tally.torn.push(what.clone());
                continue;
            }
            recover(&left, rng.next());
            let mail = mail(&left);
            for name in ["ann", "bob"] {
                for (number, octets) in whole.iter().enumerate() {
                    let copies = mail
                        .get(name)
                        .map_or(0, |found| found.iter().filter(|one| *one == octets).count());
                    if copies == 0 && number < acknowledged {
                        tally.lost.push(format!("{what}: {name} {number}"));
                    }
                    if copies > 1 {
                        tally.twice.push(format!("{what}: {name} {number}"));
                    }
                }
            }
        }
    }

    fn crash_everywhere(&self, stride: usize, tally: &mut Tally) {
        let (acknowledged, [begun, ended]) = self.run(&self.boot(), u64::MAX);
        assert_eq!(acknowledged, COUNT);
        for step in (begun..=ended).step_by(stride) {
            self.crash(step, tally);
        }
    }
}

/// Starts anew on what a crash left, and waits until nothing is left to do; how much there was.
pub(super) fn recover(disk: &Rc<Disk>, seed: u64) -> u64 {
    let sim = Sim::with_disk(seed, Rc::clone(disk));
    let found = sim.run(async {
        let place = Place::open().await;
        let found = place.waiting();
        assert!(place.settled(600).await);
        place.close().await;
        found
    });
    let panics = sim.world().executor.panics();
    assert!(panics.is_empty(), "{panics:?}");
    found
}

fn plan(seed: u64) -> Plan {
    Plan { seed, calm: true, sabotage: Sabotage::default() }
}

#[test]
fn a_crash_at_any_step_loses_tears_and_doubles_nothing() {
    few_seeds(2, |seed| {
        let mut tally = Tally::default();
        plan(seed).crash_everywhere(3, &mut tally);
        let rough = Plan { calm: false, ..plan(seed + 7) };
        rough.crash_everywhere(29, &mut tally);
        assert!(tally.early > 10 && tally.crashes > 200, "{} {}", tally.early, tally.crashes);
        assert_eq!((tally.torn, tally.lost, tally.twice), (vec![], vec![], vec![]));
    });
}

/// The checker is worth nothing if it does not notice: a mailbox whose files or names are not synced.
#[test]
fn lying_disks_are_noticed() {
    let mut tally = Tally::default();
    let sync = Sabotage { sync: true, ..Sabotage::default() };
    Plan { sabotage: sync, ..plan(0) }.crash_everywhere(11, &mut tally);
    assert!(!tally.torn.is_empty(), "a file without sync was not noticed");
    let mut tally = Tally::default();
    let names = Sabotage { sync_dir: true, ..Sabotage::default() };
    Plan { sabotage: names, ..plan(0) }.crash_everywhere(11, &mut tally);
    assert!(!tally.lost.is_empty(), "a name without sync was not noticed");
}

/// What its owner has read since, under another name in `cur/`, is found there too.
#[test]
fn what_was_read_meanwhile_does_not_come_again() {
    seeds(4, |seed| {
        let size = if seed % 4 < 2 { 300 } else { 2 * BLOCK_BYTES };
        let sim = plan(seed).boot();
        sim.run(async {
            let place = Place::open().await;
            place.post(envelope("me", &["ann"]), &text(1, size)).await.unwrap();
            let deadline = shard::now().after(Duration::from_secs(60));
            while mail(&sim.disk()).is_empty() && shard::now() < deadline {
                shard::yield_now().await;
            }
            let root = Root::open(Path::new(MAIL), Links::Deny).unwrap();
            let (new, cur) = (root.open_dir(b"ann/new").await, root.open_dir(b"ann/cur").await);
            let (new, cur) = (new.unwrap(), cur.unwrap());
            let files = sim.disk().files(MAIL);
            let name = files.keys().find(|path| path.starts_with(b"ann/new/")).unwrap();
            let name = name[b"ann/new/".len()..].to_vec();
            new.rename(&name, &cur, &[&name[..], b":2,RS"].concat(), false).await.unwrap();
            for dir in [&new, &cur] {
                dir.sync().await.unwrap();
            }
            let top = root.open_dir(b"").await.unwrap();
            root.open_dir(b"ann").await.unwrap().sync().await.unwrap();
            top.sync().await.unwrap();
        });
        let left = sim.disk().crash(&Rng::new(seed), Loss::All);
        drop(sim);
        assert_eq!(mail(&left)["ann"].len(), 1, "seed {seed}");
        assert!(recover(&left, seed) > 0, "settled already: this shows nothing");
        assert_eq!(mail(&left)["ann"], [delivered("me", &text(1, size))], "seed {seed}");
    });
}
