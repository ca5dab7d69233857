//! The spool on a simulated disk: what it promises, whatever fails and whenever the power does.
//!
//! `SIM_SEEDS=N` runs more seeds, `SIM_SEED=x` one; every failure prints its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod basics;
mod crashes;
mod damage;
mod faults;
mod kept;
mod model;
mod offline;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;

use super::{Found, Settings, Spool};
use crate::problem::Problem;
use crate::shard::disk::Disk;
use crate::shard::{Links, Root, Sim};

/// Where the spool lies.
const PLACE: &str = "/var/spool";

/// Small, so that everything happens soon.
fn settings() -> Settings {
    Settings {
        segment_bytes: 64 << 10,
        memory_bytes: 100_000,
        reserve_bytes: 1 << 20,
        replaces: |_, _| false,
    }
}

async fn open_one(shard: usize, shards: usize) -> Result<(Spool, Vec<Found>), Problem> {
    // On a disk that fails this may be what fails.
    let root = Root::open(Path::new(PLACE), Links::Deny)
        .map_err(|error| Problem::new(PLACE, error, "run it again"))?;
    let (spool, found) = Spool::open(&root, shard, shards, settings()).await?;
    match found.all().await {
        Ok(found) => Ok((spool, found)),
        Err(error) => {
            spool.close().await;
            Err(Problem::new(PLACE, error, "run it again"))
        }
    }
}

/// A shard with an empty spool directory.
fn boot(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    sim.disk().plant_dir(PLACE);
    sim
}

fn reboot(seed: u64, disk: &Rc<Disk>) -> Sim {
    Sim::with_disk(seed, Rc::clone(disk))
}

/// Runs `scenario` for `count` seeds, or as the environment says.
fn seeds(count: u64, scenario: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let one = number("SIM_SEED");
    let all = 0..number("SIM_SEEDS").unwrap_or(count);
    let range = one.map_or(all, |seed| seed..seed + 1);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    for seed in range {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            eprintln!(
                "failed with seed {seed}; to run it again: SIM_SEED={seed} cargo test --lib {test}"
            );
            resume_unwind(panic);
        }
    }
}
