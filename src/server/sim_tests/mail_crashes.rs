//! The power fails at every step of accepting and delivering messages.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::post::{Post, mailbox, message, send};
use super::seeds;
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::disk::{Disk, Journal};
use crate::shard::fault::Sabotage;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather};

/// How the crashes of one run ended.
#[derive(Debug, Default)]
struct Tally {
    /// Messages that were there after the recovery, and had been acknowledged.
    kept: usize,
    /// There, though their client had not read the 250 yet.
    early: usize,
    /// Not acknowledged and not there.
    never: usize,
    /// Acknowledged and not there.
    lost: Vec<String>,
    /// Neither whole nor absent.
    torn: Vec<String>,
    /// There more than once.
    doubled: Vec<String>,
}

/// One run.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    calm: bool,
    journal: Journal,
    sabotage: Sabotage,
    lies: bool,
    /// Octets of each message.
    lengths: [usize; 3],
}

/// Deliveries have come to an end after this.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Plan {
    fn boot(&self) -> Sim {
        let sim = Sim::new(self.seed);
        if self.calm {
            sim.weather(Weather { window: 65_536, segment: 16_384, ..Weather::CALM });
        }
        let disk = sim.disk();
        Post::plant(&disk);
        disk.mode.set(self.journal);
        disk.sabotage.set(self.sabotage);
        sim
    }

    /// Sends its messages until the power fails before poll number `step`. The steps at which that began
    /// and ended, how many messages were acknowledged, and whether the run came to its end.
    fn send(&self, sim: &Sim, step: u64) -> ([u64; 2], usize, bool) {
        let (steps, promised) = (Rc::new(Cell::new([0, 0])), Rc::new(Cell::new(0)));
        let done = sim.run_until(step, async {
            let post = Post::open().await;
            let begun = sim.world().executor.steps();
            let mut client = post.greeted().await;
            for (number, len) in (0..).zip(self.lengths) {
                let reply = send(&mut client, "ann", &message(number, len)).await.unwrap();
                assert_eq!(reply.code, 250, "{reply:?}");
                promised.set(promised.get() + 1);
            }
            client.quit().await;
            assert!(post.settled(PATIENCE).await);
            steps.set([begun, sim.world().executor.steps()]);
        });
        (steps.get(), promised.get(), done.is_some())
    }

    /// Crashes at this step in every way, starts again, and looks into the mailbox.
    fn crash(&self, step: u64, tally: &mut Tally) {
        let sim = self.boot();
        let (_, promised, _) = self.send(&sim, step);
        let disk = sim.disk();
        drop(sim);
        let mut rng = Rng::new(step);
        for loss in LOSSES.into_iter().chain([Loss::Random; 2]) {
            let left = disk.crash(&rng, loss);
            rng = Rng::new(rng.next());
            let what = format!("seed {} step {step} {loss:?} {:?}", self.seed, self.journal);
            // What a lying disk leaves may be no spool at all.
            match catch_unwind(AssertUnwindSafe(|| recover(&left))) {
                Ok(found) => self.judge(&found, promised, &what, tally),
                Err(panic) if self.lies => {
                    drop(panic);
                    tally.lost.push(what);
                }
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    fn judge(&self, found: &[Vec<u8>], promised: usize, what: &str, tally: &mut Tally) {
        let texts: Vec<Vec<u8>> =
            (0..).zip(self.lengths).map(|(number, len)| message(number, len)).collect();
        for (number, text) in texts.iter().enumerate() {
            let count = found.iter().filter(|one| *one == text).count();
            match (count, number < promised) {
                (0, true) => tally.lost.push(format!("{what}: message {number}")),
                (0, false) => tally.never += 1,
                (_, true) => tally.kept += 1,
                (_, false) => tally.early += 1,
            }
            if count > 1 {
                tally.doubled.push(format!("{what}: message {number} {count} times"));
            }
        }
        if let Some(other) = found.iter().find(|one| !texts.contains(one)) {
            tally.torn.push(format!("{what}: {} octets", other.len()));
        }
    }

    fn crash_everywhere(&self, stride: usize, tally: &mut Tally) {
        let ([begun, ended], promised, done) = self.send(&self.boot(), u64::MAX);
        assert!(promised == self.lengths.len() && done);
        for step in (begun..=ended).step_by(stride) {
            self.crash(step, tally);
        }
    }
}

/// Starts a server on what a crash left, lets it deliver, and a second one, which changes nothing.
fn recover(disk: &Rc<Disk>) -> Vec<Vec<u8>> {
    let start = || {
        let sim = Sim::with_disk(9, Rc::clone(disk));
        sim.weather(Weather::CALM);
        sim.run(async {
            let post = Post::open().await;
            assert!(post.settled(PATIENCE).await, "something is never delivered");
            post.close().await;
            shard::sleep_until(shard::now().after(Duration::from_secs(1))).await;
        });
        mailbox(disk, "ann")
    };
    let found = start();
    assert_eq!(start().len(), found.len(), "a second recovery changes something");
    found
}

fn plan(seed: u64) -> Plan {
    let journal = if seed.is_multiple_of(2) { Journal::Unordered } else { Journal::Ordered };
    let lengths = if seed % 4 < 2 { [300, 5000, 1] } else { [20_000, 200_000, 10] };
    Plan { seed, calm: true, journal, sabotage: Sabotage::default(), lies: false, lengths }
}

fn assert_kept(tally: Tally) {
    assert!(tally.kept > 0 && tally.never > 0, "{tally:?}");
    let Tally { lost, torn, doubled, .. } = tally;
    assert_eq!((lost, torn, doubled), (Vec::new(), Vec::new(), Vec::new()));
}

#[test]
fn a_crash_at_any_step_keeps_what_was_acknowledged() {
    let mut tally = Tally::default();
    for seed in 0..4 {
        plan(seed).crash_everywhere(if seed < 2 { 3 } else { 17 }, &mut tally);
    }
    assert_kept(tally);
}

#[test]
fn a_crash_in_rough_weather_keeps_what_was_acknowledged() {
    seeds(40, |seed| {
        let mut tally = Tally::default();
        let plan = Plan { calm: false, lengths: [300, 5000, 1], ..plan(seed) };
        let ([begun, ended], ..) = plan.send(&plan.boot(), u64::MAX);
        let rng = Rng::new(seed);
        for _ in 0..6 {
            plan.crash(begun + rng.below(ended - begun), &mut tally);
        }
        plan.crash(ended, &mut tally);
        assert_kept(Tally { never: 1, ..tally });
    });
}

/// The checker is worth nothing if it does not notice.
#[test]
fn lying_disks_are_noticed() {
    let lies = [
        Sabotage { sync: true, ..Sabotage::default() },
        Sabotage { sync_dir: true, ..Sabotage::default() },
    ];
    for sabotage in lies {
        let mut tally = Tally::default();
        Plan { sabotage, lies: true, ..plan(1) }.crash_everywhere(23, &mut tally);
        assert!(!tally.lost.is_empty(), "{sabotage:?} was not noticed");
    }
}
