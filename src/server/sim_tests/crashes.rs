//! Scenario 3: the power fails at every step of an upload.

use std::cell::Cell;
use std::collections::BTreeMap;
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
    /// What a new start found on a disk with these files.
    found: BTreeMap<Files, Option<Vec<u8>>>,
}

/// Every file of a disk.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

impl Tally {
    fn recover(&mut self, disk: &Rc<Disk>) -> Option<Vec<u8>> {
        self.found.entry(disk.files(ROOT)).or_insert_with(|| recover(disk)).clone()
    }
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
    /// How the new content comes to its name.
    way: Way,
}

/// How content comes to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// STOR.
    Whole,
    /// APPE to the old file.
    Append,
    /// STOR under another name, RNFR, RNTO.
    Rename,
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
            let mut client = house.login_writer().await;
            let begun = sim.world().executor.steps();
            let line = match self.way {
                Way::Whole => "STOR f",
                Way::Append => "APPE f",
                Way::Rename => "STOR g",
            };
            let outcome = client.upload(line, &content(2, NEW_BYTES)).await.unwrap();
            assert_eq!(outcome.last.code, 226, "{outcome:?}");
            if self.way == Way::Rename {
                client.expect("RNFR g", 350).await;
                client.expect("RNTO f", 250).await;
            }
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
            let left = tally.recover(&disk.crash(&rng, loss));
            rng = Rng::new(rng.next());
            let what = format!("seed {} step {step} {loss:?} {:?}", self.seed, self.journal);
            let old = self.replace.then(|| content(1, 9000));
            if left.as_ref() == Some(&self.whole()) {
                tally.new += 1;
                continue;
            }
            // What is appended may be there in part, but never at the expense of what was there.
            let part =
                |left: &Vec<u8>| self.way == Way::Append && left.starts_with(&content(1, 9000));
            let kept = left == old || left.as_ref().is_some_and(part);
            tally.old += usize::from(kept);
            if !kept {
                tally.torn.push(format!("{what}: {:?} octets", left.as_ref().map(Vec::len)));
            }
            // A rename is not promised to survive, only to be whole.
            if promised && self.way != Way::Rename {
                tally.lost.push(what);
            }
        }
    }

    /// The file when all went well.
    fn whole(&self) -> Vec<u8> {
        let before = if self.way == Way::Append { content(1, 9000) } else { Vec::new() };
        [before, content(2, NEW_BYTES)].concat()
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
    Plan {
        seed,
        calm: true,
        journal,
        sabotage: Sabotage::default(),
        replace: seed % 4 < 2,
        way: Way::Whole,
    }
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
fn a_crash_while_appending_keeps_what_was_there() {
    let mut tally = Tally::default();
    for seed in 0..2 {
        let plan = Plan { replace: true, way: Way::Append, ..plan(seed) };
        plan.crash_everywhere(3, &mut tally);
    }
    assert!(tally.old > 0 && tally.new > 0, "{} {}", tally.old, tally.new);
    assert_eq!((tally.torn, tally.lost), (Vec::new(), Vec::new()));
}

#[test]
fn a_crash_while_renaming_leaves_one_whole_file() {
    let mut tally = Tally::default();
    for seed in 0..2 {
        let plan = Plan { replace: true, way: Way::Rename, ..plan(seed) };
        plan.crash_everywhere(3, &mut tally);
    }
    assert!(tally.old > 0 && tally.new > 0, "{} {}", tally.old, tally.new);
    assert_eq!(tally.torn, Vec::<String>::new());
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
