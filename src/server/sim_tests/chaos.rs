//! Everything at once: sessions that store and read, a weak disk, connections that break, and at
//! last the power. Whatever happened, every name shows one whole version, and what was promised is there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::client::Client;
use super::house::{House, PATIENCE, ROOT, assert_clean, temporaries};
use super::{content, seeds};
use crate::shard::crash::LOSSES;
use crate::shard::fault::Operation;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather, world};

/// What one writer knows of its own file.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Every version it tried to store.
    tried: Vec<Vec<u8>>,
    /// The version of its last 226, when nothing was tried after it.
    promised: Option<Vec<u8>>,
}

type Ledger = Rc<RefCell<BTreeMap<String, Known>>>;

/// How long a run goes on, in polls, before the power fails; or it does not.
fn script(sim: &Sim, house: &House, ledger: &Ledger, power: u64) -> bool {
    let left = Rc::new(Cell::new(0));
    let run = sim.run_until(power, async {
        for number in 0..3 {
            let (house, ledger, left) = (house.clone(), Rc::clone(ledger), Rc::clone(&left));
            left.set(left.get() + 1);
            shard::spawn("chaos", async move {
                let name = format!("f{number}");
                for _ in 0..3 {
                    // A session that breaks is no failure of the test.
                    drop(session(&house, &name, &ledger).await);
                }
                left.set(left.get() - 1);
            });
        }
        while left.get() > 0 {
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        }
        sim.disk().heal();
        shard::sleep_until(shard::now().after(PATIENCE)).await;
    });
    run.is_some()
}

async fn session(house: &House, name: &str, ledger: &Ledger) -> std::io::Result<()> {
    let mut client = house.connect();
    let first = client.reply().await?.code;
    let second = client.command("USER anonymous").await?.code;
    let third = client.command("PASS x").await?.code;
    assert_eq!((first, second, third), (220, 331, 230));
    client.command("TYPE I").await?;
    for _ in 0..world().rng.range(1, 4) {
        match world().rng.below(10) {
            0..=4 => store(&mut client, name, ledger).await?,
            5..=7 => read(&mut client, ledger).await?,
            8 => broken(&mut client, name).await?,
            _ => {
                client.control.reset();
                return Ok(());
            }
        }
    }
    client.command("QUIT").await.map(drop)
}

fn version(ledger: &Ledger, name: &str) -> Vec<u8> {
    let bytes = content(world().rng.next(), world().rng.range(0, 20_000));
    let mut ledger = ledger.borrow_mut();
    let known = ledger.entry(name.to_owned()).or_default();
    known.promised = None;
    known.tried.push(bytes.clone());
    bytes
}

async fn store(client: &mut Client, name: &str, ledger: &Ledger) -> std::io::Result<()> {
    let bytes = version(ledger, name);
    let outcome = client.upload(&format!("STOR {name}"), &bytes).await?;
    if outcome.last.code == 226 {
        ledger.borrow_mut().get_mut(name).unwrap().promised = Some(bytes);
    } else {
        assert!(outcome.last.code >= 400, "{outcome:?}");
    }
    Ok(())
}

async fn read(client: &mut Client, ledger: &Ledger) -> std::io::Result<()> {
    let name = format!("f{}", world().rng.below(3));
    let outcome = client.download(&format!("RETR {name}")).await?;
    if outcome.last.code == 226 {
        assert!(ledger.borrow()[&name].tried.contains(&outcome.received), "a mixture");
    }
    Ok(())
}

/// An upload that ends in a reset: nothing of it is ever seen.
async fn broken(client: &mut Client, name: &str) -> std::io::Result<()> {
    if let Ok(data) = client.begin(&format!("STOR {name}")).await? {
        let bytes = content(world().rng.next(), 9000);
        drop(data.write(&bytes).await);
        data.reset();
        assert!(client.reply().await?.code >= 400);
    }
    Ok(())
}

fn judge(files: &BTreeMap<Vec<u8>, Vec<u8>>, ledger: &Ledger, what: &str) {
    for (name, known) in ledger.borrow().iter() {
        let left = files.get(name.as_bytes());
        if let Some(promised) = &known.promised {
            assert!(
                left == Some(promised),
                "{what}: {name} was promised, and is {:?} octets",
                left.map(Vec::len)
            );
        }
        assert!(left.is_none_or(|left| known.tried.contains(left)), "{what}: {name} is a mixture");
    }
}

fn boot(seed: u64) -> (Sim, House, Ledger) {
    let sim = Sim::new(seed);
    sim.disk().plant_dir(ROOT);
    let house = House::open(1);
    sim.disk().weak.set(*sim.world().rng.pick(&[0, 0, 10, 50]));
    let weather = sim.world().weather.get();
    sim.weather(Weather { segment: weather.segment.max(100), ..weather });
    (sim, house, Ledger::default())
}

#[test]
fn whatever_happens_every_name_shows_one_whole_version() {
    seeds(100, |seed| {
        let (sim, house, ledger) = boot(seed);
        assert!(script(&sim, &house, &ledger, u64::MAX));
        judge(&sim.disk().files(ROOT), &ledger, "at the end");
        let panics = sim.world().executor.panics();
        assert!(panics.is_empty(), "{panics:?}");
        if !sim.disk().hit().contains(&Operation::Unlink) {
            assert_clean(&sim, house);
        }
        let steps = sim.world().executor.steps();
        drop(sim);
        crash(seed, Rng::new(seed).below(steps));
    });
}

/// The same run, but the power fails at `step`.
fn crash(seed: u64, step: u64) {
    let (sim, house, ledger) = boot(seed);
    script(&sim, &house, &ledger, step.max(100));
    let disk = sim.disk();
    drop((sim, house));
    for (number, loss) in LOSSES.into_iter().enumerate() {
        let left = disk.crash(&Rng::new(step + u64::try_from(number).unwrap()), loss);
        let sim = Sim::with_disk(seed, Rc::clone(&left));
        sim.run(House::sweep(2));
        judge(&left.files(ROOT), &ledger, &format!("{loss:?} at step {step}"));
        assert_eq!(temporaries(&left), Vec::<String>::new());
    }
}
