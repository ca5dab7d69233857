//! The power fails at any step of anything: commit, large messages, notes, recycling, carrying on,
//! adoption, recovery itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::Found;
use super::super::offline::Grade;
use super::model::{Client, Model, Shared, check_all};
use super::{PLACE, boot, offline, open_one, reboot, seeds};
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::disk::{Disk, Journal};
use crate::shard::fault::{Sabotage, errno};
use crate::shard::rng::Rng;
use crate::shard::{self, Sim};

/// Things that each client does in one life.
const DEEDS: usize = 30;
const CLIENTS: usize = 3;

/// One life of a server: opens its logs, works with them, perhaps closes them.
async fn life(seed: u64, round: u64, shards: usize, weak: bool, model: Shared) {
    // The clock goes on between lives.
    shard::sleep_until(shard::now().after(std::time::Duration::from_secs(600 * round))).await;
    let mut spools = Vec::new();
    let mut found = Vec::new();
    for shard in 0..shards {
        match open_one(shard, shards).await {
            Ok((spool, left)) => {
                spools.push(spool);
                found.push(left);
            }
            // An operation that fails may well prevent it.
            Err(_) if weak => return,
            Err(problem) => {
                model.borrow_mut().wrong.push(problem.to_string());
                return;
            }
        }
    }
    model.borrow_mut().found(&found);
    for (spool, found) in spools.iter().zip(&found) {
        if !weak {
            check_all(&model, spool, found).await;
        }
    }
    let left = Rc::new(Cell::new(shards * CLIENTS));
    for (home, spool) in spools.iter().enumerate() {
        for number in 0..CLIENTS {
            let rng = Rc::new(Rng::new(seed ^ ((home * CLIENTS + number + 1) as u64 * 0x9e37)));
            let client = Client { model: Rc::clone(&model), spool: spool.clone(), home, rng, weak };
            let left = Rc::clone(&left);
            shard::spawn("client", async move {
                client.run(DEEDS).await;
                left.set(left.get() - 1);
            });
        }
    }
    while left.get() > 0 {
        shard::sleep_until(shard::now().after(std::time::Duration::from_millis(5))).await;
    }
    if seed.is_multiple_of(2) {
        for spool in &spools {
            spool.close().await;
        }
    }
}

/// Opens everything and looks, without doing anything.
fn look(seed: u64, disk: &Rc<Disk>, shards: usize, model: &Shared) -> Vec<Vec<Found>> {
    let sim = reboot(seed, disk);
    sim.run(async {
        let mut found = Vec::new();
        let mut spools = Vec::new();
        for shard in 0..shards {
            let (spool, left) = open_one(shard, shards).await.unwrap();
            check_all(model, &spool, &left).await;
            found.push(left);
            spools.push(spool);
        }
        model.borrow_mut().found(&found);
        for spool in spools {
            spool.close().await;
        }
        found
    })
}

fn copy(disk: &Disk) -> Rc<Disk> {
    disk.crash(&Rng::new(0), Loss::None)
}

/// Several lives, each ended by a crash at some step, and recovery after the last, twice.
fn history(seed: u64, sabotage: Option<Sabotage>) -> Model {
    let rng = Rng::new(seed);
    let sim = boot(seed);
    let mut disk = sim.disk();
    drop(sim);
    disk.mode.set(if rng.percent(50) { Journal::Unordered } else { Journal::Ordered });
    let model = Shared::default();
    let mut shards = 1;
    for round in 0..3_u64 {
        shards = rng.range(1, 3);
        let life_seed = rng.next();
        // A rehearsal says how many steps there are.
        let rehearsal = Rc::new(RefCell::new(model.borrow().clone()));
        let weak = sabotage.is_none() && rng.percent(40);
        let fault = (20 + rng.below(900), *rng.pick(&[errno::IO, errno::NOSPC]), rng.percent(10));
        let disk_then = copy(&disk);
        if weak {
            disk_then.fail_at(fault.0, fault.1, fault.2);
        }
        let sim = Sim::with_disk(life_seed, disk_then);
        sim.run(life(life_seed, round, shards, weak, rehearsal));
        let steps = sim.world().executor.steps();
        drop(sim);
        let disk_now = copy(&disk);
        disk_now.sabotage.set(sabotage.unwrap_or_default());
        if weak {
            disk_now.fail_at(fault.0, fault.1, fault.2);
        }
        let sim = Sim::with_disk(life_seed, Rc::clone(&disk_now));
        // Often early, while it recovers.
        let step = if rng.percent(25) { rng.below(steps / 8 + 1) } else { rng.below(steps + 1) };
        let done = sim.run_until(step + 1, life(life_seed, round, shards, weak, Rc::clone(&model)));
        drop(sim);
        let loss = *rng.pick(&[&LOSSES[..], &[Loss::Random; 5]].concat());
        disk = disk_now.crash(&rng, loss);
        if !model.borrow().wrong.is_empty() {
            let mut model = model.borrow_mut();
            model.wrong.push(format!("in life {round} of seed {seed}, done {}", done.is_some()));
            break;
        }
    }
    let stopped = offline::export(&disk);
    let first = look(seed + 1, &disk, shards, &model);
    let second = look(seed + 2, &disk.crash(&rng, Loss::Random), shards, &model);
    if sabotage.is_none() {
        offline::assert_same(stopped.path(), &first.concat(), Grade::Trace);
    }
    let mut model = Rc::try_unwrap(model).unwrap().into_inner();
    if first != second {
        model.wrong.push("a second recovery changed something".into());
    }
    let files = disk.files(PLACE);
    let litter = |name: &&Vec<u8>| {
        name.ends_with(b".tmp")
            || name.windows(8).any(|part| part == b".adopted" || part == b"ADOPTING")
    };
    for name in files.keys().filter(litter) {
        model.wrong.push(format!("litter: {}", String::from_utf8_lossy(name)));
    }
    model
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_fails() {
    let happened = RefCell::new(Model::default());
    seeds(60, |seed| {
        let model = history(seed, None);
        assert_eq!(model.wrong, Vec::<String>::new());
        let mut happened = happened.borrow_mut();
        happened.acknowledged += model.acknowledged;
        happened.carried += model.carried;
        happened.settled += model.settled;
        happened.refused += model.refused;
    });
    let happened = happened.into_inner();
    assert!(happened.refused > 0);
    assert!(happened.acknowledged > 0 && happened.carried > 0 && happened.settled > 0);
}

/// The checker is worth nothing if it does not notice.
#[test]
fn lying_disks_are_noticed() {
    let lies = [
        Sabotage { sync: true, ..Sabotage::default() },
        Sabotage { sync_dir: true, ..Sabotage::default() },
    ];
    for sabotage in lies {
        let noticed = (0..40).any(|seed| !history(seed, Some(sabotage)).wrong.is_empty());
        assert!(noticed, "{sabotage:?} was not noticed");
    }
}
