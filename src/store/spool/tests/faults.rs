//! The n-th operation on the disk fails, once or for ever, in every way there is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::super::Trouble;
use super::model::{Client, Model, Shared, check_all};
use super::{boot, open_one, reboot, seeds};
use crate::shard::crash::Loss;
use crate::shard::disk::Disk;
use crate::shard::fault::errno;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather};

const DEEDS: usize = 25;
const CLIENTS: usize = 2;

/// What fails and how.
#[derive(Debug, Clone, Copy)]
struct Fault {
    at: u64,
    number: i32,
    lasting: bool,
}

/// Works while something fails; then all is well, and what works must work again. Gives whether it could be opened.
async fn life(seed: u64, disk: Rc<Disk>, model: Shared) -> bool {
    let Ok((spool, found)) = open_one(0, 1).await else { return false };
    assert!(found.is_empty());
    let left = Rc::new(Cell::new(CLIENTS));
    for number in 0..CLIENTS {
        let rng = Rc::new(Rng::new(seed ^ ((number + 1) as u64 * 0x9e37)));
        let (model, spool) = (Rc::clone(&model), spool.clone());
        let client = Client { model, spool, home: 0, rng, weak: true };
        let left = Rc::clone(&left);
        shard::spawn("client", async move {
            client.run(DEEDS).await;
            left.set(left.get() - 1);
        });
    }
    while left.get() > 0 {
        shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
    }
    disk.heal();
    let rng = Rc::new(Rng::new(seed));
    let client =
        Client { model: Rc::clone(&model), spool: spool.clone(), home: 0, rng, weak: false };
    let before = model.borrow().acknowledged;
    for _ in 0..20 {
        client.send().await;
        shard::sleep_until(shard::now().after(Duration::from_secs(1))).await;
    }
    if model.borrow().acknowledged == before {
        model.borrow_mut().wrong.push("nothing works after the disk was well again".into());
    }
    if spool.room(1000).is_err() {
        model.borrow_mut().wrong.push("no room after the disk was well again".into());
    }
    client.flush().await;
    spool.close().await;
    true
}

/// One life with this fault, then recovery after a crash that loses whatever it may.
fn suffer(seed: u64, calm: bool, fault: Option<Fault>) -> (Model, u64) {
    let model = Shared::default();
    let sim = boot(seed);
    if calm {
        sim.weather(Weather::CALM);
    }
    if let Some(fault) = fault {
        sim.disk().fail_at(fault.at, fault.number, fault.lasting);
    }
    let opened = sim.run(life(seed, sim.disk(), Rc::clone(&model)));
    let operations = sim.disk().operations();
    let panics = sim.world().executor.panics();
    let disk = sim.disk();
    disk.heal();
    let left = disk.crash(&Rng::new(seed), Loss::Random);
    drop(sim);
    let sim = reboot(seed + 1, &left);
    sim.run(async {
        // After the clock went on.
        shard::sleep_until(shard::now().after(Duration::from_secs(600))).await;
        let (spool, found) = open_one(0, 1).await.unwrap();
        check_all(&model, &spool, &found).await;
        model.borrow_mut().found(&[found]);
        spool.close().await;
    });
    drop(sim);
    let mut model = Rc::try_unwrap(model).map(RefCell::into_inner).unwrap_or_default();
    model.wrong.extend(panics);
    assert!(opened || fault.is_some());
    (model, operations)
}

fn faults(at: u64) -> Vec<Fault> {
    let fault = |number, lasting| Fault { at, number, lasting };
    vec![
        fault(errno::IO, false),
        fault(errno::IO, true),
        fault(errno::NOSPC, false),
        fault(errno::NOSPC, true),
        fault(errno::SHORT, false),
    ]
}

#[test]
fn whatever_operation_fails_nothing_acknowledged_is_lost() {
    let (_, operations) = suffer(7, true, None);
    assert!(operations > 100, "{operations}");
    let mut refused = 0;
    // All of them take minutes: SIM_STRIDE=1.
    let stride = std::env::var("SIM_STRIDE").map_or(11, |text| text.parse().expect("a number"));
    for at in (2..operations).step_by(stride) {
        for fault in faults(at) {
            let (model, _) = suffer(7, true, Some(fault));
            assert_eq!(model.wrong, Vec::<String>::new(), "{fault:?}");
            refused += model.refused;
        }
    }
    assert!(refused > 0);
}

#[test]
fn whatever_fails_in_any_weather_nothing_acknowledged_is_lost() {
    seeds(60, |seed| {
        let rng = Rng::new(seed);
        let (model, operations) = suffer(seed, false, None);
        assert_eq!(model.wrong, Vec::<String>::new());
        for _ in 0..4 {
            let fault = *rng.pick(&faults(2 + rng.below(operations)));
            let (model, _) = suffer(seed, false, Some(fault));
            assert_eq!(model.wrong, Vec::<String>::new(), "{fault:?}");
        }
    });
}

/// A disk that fails now and then.
#[test]
fn a_weak_disk_loses_nothing_acknowledged() {
    seeds(60, |seed| {
        let sim = boot(seed);
        let model = Shared::default();
        let disk = sim.disk();
        sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            disk.weak.set(30);
            let rng = Rc::new(Rng::new(seed));
            let client =
                Client { model: Rc::clone(&model), spool: spool.clone(), home: 0, rng, weak: true };
            client.run(150).await;
            spool.close().await;
        });
        disk.heal();
        let left = disk.crash(&Rng::new(seed), Loss::All);
        drop(sim);
        let sim = Sim::with_disk(seed + 1, left);
        sim.run(async {
            let (spool, found) = open_one(0, 1).await.unwrap();
            check_all(&model, &spool, &found).await;
            model.borrow_mut().found(&[found]);
            spool.close().await;
        });
        assert_eq!(model.borrow().wrong, Vec::<String>::new());
    });
}

#[test]
fn a_full_disk_is_said_in_good_time_and_forgotten_when_it_is_not_full() {
    let sim = boot(3);
    let disk = sim.disk();
    sim.run(async {
        let (spool, _) = open_one(0, 1).await.unwrap();
        assert_eq!(spool.room(1000), Ok(()));
        disk.space.set(super::settings().reserve_bytes);
        for expected in [Err(Trouble::NoSpace), Ok(())] {
            shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
            let (Ok(()) | Err(_)) = spool.room(1000);
            shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
            assert_eq!(spool.room(1000), expected);
            disk.space.set(1 << 30);
        }
        spool.close().await;
    });
}

/// Messages one behind the other, each within the second between two looks at the disk.
#[test]
fn what_was_taken_in_since_the_last_look_counts() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (disk, reserve) = (sim.disk(), super::settings().reserve_bytes);
        sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            let (Ok(()) | Err(_)) = spool.room(0);
            disk.space.set(reserve + 1_000_000);
            shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
            let (Ok(()) | Err(_)) = spool.room(0);
            shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
            // Nothing looks any more: only what is counted can say it.
            disk.slow.set(Duration::from_secs(10));
            let mut drafts = Vec::new();
            while spool.room(0).is_ok() {
                assert!(drafts.len() < 51, "seed {seed}: {} octets taken", drafts.len() * 10_000);
                let mut draft = spool.draft();
                // Small enough for the memory: no write to the disk.
                for _ in 0..10 {
                    draft.append(&[b'x'; 1000]).await.unwrap();
                }
                drafts.push(());
            }
            assert!(drafts.len() > 45, "seed {seed}: too early, after {}", drafts.len());
            // It was not written after all: the next look shows that.
            disk.slow.set(Duration::ZERO);
            shard::sleep_until(shard::now().after(Duration::from_secs(20))).await;
            let (Ok(()) | Err(_)) = spool.room(0);
            shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
            assert_eq!(spool.room(0), Ok(()), "seed {seed}");
            spool.close().await;
        });
    });
}

/// With little left the disk is looked at before a second is over.
#[test]
fn what_is_little_is_looked_at_early() {
    let sim = boot(4);
    let disk = sim.disk();
    sim.weather(Weather::CALM);
    sim.run(async {
        let (spool, _) = open_one(0, 1).await.unwrap();
        disk.space.set(super::settings().reserve_bytes + 100_000);
        shard::sleep_until(shard::now().after(Duration::from_secs(2))).await;
        let (Ok(()) | Err(_)) = spool.room(0);
        shard::sleep_until(shard::now().after(Duration::from_millis(100))).await;
        assert_eq!(spool.room(0), Ok(()));
        // Others fill it meanwhile.
        disk.space.set(super::settings().reserve_bytes - 1);
        let mut draft = spool.draft();
        draft.append(&[b'x'; 13_000]).await.unwrap();
        shard::sleep_until(shard::now().after(Duration::from_millis(100))).await;
        assert_eq!(spool.room(0), Err(Trouble::NoSpace));
        drop(draft);
        spool.close().await;
    });
}
