//! server::sim_tests – whole sessions on simulated sockets, disk and clock.
//!
//! Each scenario runs over many seeds. `SIM_SEEDS=N` runs more of them, `SIM_SEED=x` one; every
//! failure prints its seed and how to run it again.
//!
//! Promises checked: contents are whole and replies in order whatever the network does; the n-th
//! failing file operation gives a precise reply and leaves nothing behind; a crash at any step
//! leaves the old file or the new one; nothing leaks when a peer vanishes or stalls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod chaos;
mod client;
mod crashes;
mod data;
mod drain;
mod faults;
mod ftps;
mod hostile;
mod house;
mod inlet;
mod limits;
mod line;
mod lists;
mod mail;
mod mail_crashes;
mod mail_faults;
mod meanwhile;
mod milter;
mod names;
mod post;
mod races;
mod random;
mod relay;
mod remote;
mod secure;
mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::shard::rng::Rng;

/// Runs `scenario` for `count` seeds, or as the environment says.
pub(in crate::server) fn seeds(count: u64, scenario: impl Fn(u64)) {
    some_seeds(count, 1, scenario);
}

/// The same for a scenario that goes through every step by itself: a twentieth of what the environment says.
pub(in crate::server) fn few_seeds(count: u64, scenario: impl Fn(u64)) {
    some_seeds(count, 20, scenario);
}

fn some_seeds(count: u64, part: u64, scenario: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let one = number("SIM_SEED");
    let all = 0..number("SIM_SEEDS")
        .map_or(count, |asked| if part == 1 { asked } else { (asked / part).max(count) });
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

/// Letters to cut lines from: one by one they took a third of the simulation's time.
fn letters(rng: &Rng) -> Vec<u8> {
    rng.bytes(512).into_iter().map(|octet| b'a' + octet % 26).collect()
}

/// Content that no other seed and no other length has.
fn content(seed: u64, len: usize) -> Vec<u8> {
    Rng::new(seed ^ 0xF17E).bytes(len)
}
