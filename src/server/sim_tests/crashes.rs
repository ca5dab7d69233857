//! Scenario 3: the power fails at every step of an upload.

use std::cell::Cell;
use std::rc::Rc;

use super::house::{House, ROOT, temporaries};
use super::{content, seeds};
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::disk::{Disk, Journal};
use crate::shard::fault::Sabotage;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather};

/// How the crashes of one upload ended.
#[derive(Debug, Default)]
struct Tally {
    /// The old file was left, or none where there was none.
    old: usize,
    /// The new one.
    new: usize,
    /// Something else.
    torn: Vec<String>,
    /// Not the new one though the client had read 226.
    lost: Vec<String>,
}

/// One kind of upload, and the disk it goes to.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    calm: bool,
    journal: Journal,
    sabotage: Sabotage,
    /// Is there an old file?
    replace: bool,
}

const NEW_BYTES: usize = 18_000;

impl Plan {
    fn boot(&self) -> Sim {
        let sim = Sim::new(self.seed);
        if self.calm {
            sim.weather(Weather { window: 4096, segment: 1460, ..Weather::CALM });
        }
        let disk = sim.disk();
        disk.plant_dir(ROOT);
        if self.replace {
            disk.plant(&format!("{ROOT}/f"), &content(1, 9000));
        }
        disk.mode.set(self.journal);
        disk.sabotage.set(self.sabotage);
        sim
    }

    /// Uploads until the power fails before poll number `step`. Gives the steps at which the upload
    /// began and ended, whether the client read 226, and whether the run came to its end.
    fn upload(&self, sim: &Sim, step: u64) -> ([u64; 2], bool, bool) {
        let (steps, promised) = (Rc::new(Cell::new([0, 0])), Rc::new(Cell::new(false)));
        let house = House::open(1);
        let done = sim.run_until(step, async {
            let mut client = house.login().await;
            let begun = sim.world().executor.steps();
            let outcome = client.upload("STOR f", &content(2, NEW_BYTES)).await.unwrap();
            assert_eq!(outcome.last.code, 226, "{outcome:?}");
            promised.set(true);
            shard::yield_now().await;
            steps.set([begun, sim.world().executor.steps() + 5]);
            shard::sleep_until(shard::now().after(std::time::Duration::from_secs(1))).await;
        });
        (steps.get(), promised.get(), done.is_some())
    }

    /// Crashes at this step in every way and looks at what is left.
    fn crash(&self, step: u64, tally: &mut Tally) {
        let sim = self.boot();
        let (_, promised, _) = self.upload(&sim, step);
        let disk = sim.disk();
        drop(sim);
        let mut rng = Rng::new(step);
        for loss in LOSSES.into_iter().chain([Loss::Random; 4]) {
            let left = recover(&disk.crash(&rng, loss));
            rng = Rng::new(rng.next());
            let what = format!("seed {} step {step} {loss:?} {:?}", self.seed, self.journal);
            let old = self.replace.then(|| content(1, 9000));
            if left.as_ref() == Some(&content(2, NEW_BYTES)) {
                tally.new += 1;
                continue;
            }
            tally.old += usize::from(left == old);
            if left != old {
                tally.torn.push(format!("{what}: {:?} octets", left.as_ref().map(Vec::len)));
            }
            if promised {
                tally.lost.push(what);
            }
        }
    }

    /// Crashes at every `stride`th step of the upload.
    fn crash_everywhere(&self, stride: usize, tally: &mut Tally) {
        let ([begun, ended], promised, done) = self.upload(&self.boot(), u64::MAX);
        assert!(promised && done);
        for step in (begun..=ended).step_by(stride) {
            self.crash(step, tally);
        }
    }
}

/// Starts a server on what a crash left; gives the file and finds no temporary.
fn recover(disk: &Rc<Disk>) -> Option<Vec<u8>> {
    let sim = Sim::with_disk(9, Rc::clone(disk));
    let left = sim.run(async {
        House::sweep(2).await;
        let house = House::open(2);
        let mut client = house.login().await;
        let outcome = client.download("RETR f").await.unwrap();
        client.quit().await;
        (outcome.last.code == 226).then_some(outcome.received)
    });
    assert_eq!(temporaries(disk), Vec::<String>::new());
    left
}

fn plan(seed: u64) -> Plan {
    let journal = if seed.is_multiple_of(2) { Journal::Unordered } else { Journal::Ordered };
    Plan { seed, calm: true, journal, sabotage: Sabotage::default(), replace: seed % 4 < 2 }
}

#[test]
fn a_crash_at_every_step_leaves_old_or_new() {
    let mut tally = Tally::default();
    for seed in 0..4 {
        plan(seed).crash_everywhere(1, &mut tally);
    }
    assert!(tally.old > 0 && tally.new > 0, "{} {}", tally.old, tally.new);
    assert_eq!((tally.torn, tally.lost), (Vec::new(), Vec::new()));
}

#[test]
fn a_crash_in_rough_weather_leaves_old_or_new() {
    seeds(30, |seed| {
        let mut tally = Tally::default();
        let plan = Plan { calm: false, ..plan(seed) };
        let ([begun, ended], ..) = plan.upload(&plan.boot(), u64::MAX);
        let rng = Rng::new(seed);
        for _ in 0..8 {
            plan.crash(begun + rng.below(ended - begun), &mut tally);
        }
        plan.crash(ended, &mut tally);
        assert_eq!((tally.torn, tally.lost), (Vec::new(), Vec::new()));
    });
}

/// The checker is worth nothing if it does not notice.
#[test]
fn lying_disks_are_noticed() {
    let lies = [
        Sabotage { sync: true, ..Sabotage::default() },
        Sabotage { sync_dir: true, ..Sabotage::default() },
        Sabotage { write: true, ..Sabotage::default() },
    ];
    for sabotage in lies {
        let mut tally = Tally::default();
        Plan { sabotage, ..plan(1) }.crash_everywhere(3, &mut tally);
        assert!(!tally.lost.is_empty(), "{sabotage:?} was not noticed");
        assert_eq!(tally.torn.is_empty(), sabotage.sync_dir, "{sabotage:?}");
    }
}
