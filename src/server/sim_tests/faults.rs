//! Scenario 2: the n-th file operation fails, for every n, once and from then on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::client::{Client, Outcome};
use super::house::{House, PATIENCE, ROOT, assert_clean, temporaries};
use super::{content, seeds};
use crate::shard::fault::{Operation, Sabotage, errno};
use crate::shard::{self, Sim, Weather};
use crate::store::files::is_temporary;

/// Whether octets move, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upload,
    Download,
    Neither,
}

/// A command under test, and whether its promise was kept when it said 2xx.
struct Case {
    name: &'static str,
    /// Sent first, without faults: what is asked and the code of its answer.
    before: Option<(&'static str, u16)>,
    line: &'static str,
    kind: Kind,
    kept: fn(&Sim, &[u8]) -> bool,
    /// After a failure.
    unharmed: fn(&Sim) -> bool,
}

const OLD_BYTES: usize = 20_000;
const NEW_BYTES: usize = 18_000;

fn old() -> Vec<u8> {
    content(1, OLD_BYTES)
}

fn new() -> Vec<u8> {
    content(2, NEW_BYTES)
}

fn peek(sim: &Sim, name: &str) -> Option<Vec<u8>> {
    sim.disk().peek(&format!("{ROOT}/{name}"))
}

const CASES: [Case; 10] = [
    Case {
        name: "a new file",
        before: None,
        line: "STOR new",
        kind: Kind::Upload,
        kept: |sim, _| peek(sim, "new") == Some(new()),
        unharmed: |sim| peek(sim, "new").is_none_or(|left| left == new()),
    },
    Case {
        name: "a replaced file",
        before: None,
        line: "STOR old",
        kind: Kind::Upload,
        kept: |sim, _| peek(sim, "old") == Some(new()),
        unharmed: |sim| peek(sim, "old").is_some_and(|left| left == new() || left == old()),
    },
    Case {
        name: "an extended file",
        before: None,
        line: "APPE old",
        kind: Kind::Upload,
        kept: |sim, _| peek(sim, "old") == Some([old(), new()].concat()),
        unharmed: |sim| peek(sim, "old").is_some_and(|left| left.starts_with(&old())),
    },
    Case {
        name: "a download",
        before: None,
        line: "RETR old",
        kind: Kind::Download,
        kept: |_, received| received == old(),
        unharmed: |sim| peek(sim, "old") == Some(old()),
    },
    Case {
        name: "a listing",
        before: None,
        line: "MLSD",
        kind: Kind::Download,
        kept: |_, received| {
            String::from_utf8_lossy(received).lines().any(|line| line.ends_with(" old"))
        },
        unharmed: |sim| peek(sim, "old") == Some(old()),
    },
    Case {
        name: "a listing of a directory",
        before: None,
        line: "LIST dir",
        kind: Kind::Download,
        kept: |_, received| String::from_utf8_lossy(received).lines().count() >= 30,
        unharmed: |sim| peek(sim, "old") == Some(old()),
    },
    Case {
        name: "a renamed file",
        before: Some(("RNFR other", 350)),
        line: "RNTO moved",
        kind: Kind::Neither,
        kept: |sim, _| peek(sim, "moved") == Some(new()) && peek(sim, "other").is_none(),
        unharmed: |sim| peek(sim, "moved").is_some() != peek(sim, "other").is_some(),
    },
    Case {
        name: "a file replaced by a rename",
        before: Some(("RNFR other", 350)),
        line: "RNTO victim",
        kind: Kind::Neither,
        kept: |sim, _| peek(sim, "victim") == Some(new()) && peek(sim, "other").is_none(),
        unharmed: |sim| {
            peek(sim, "victim").is_some_and(|left| left.is_empty() == peek(sim, "other").is_some())
        },
    },
    Case {
        name: "a deleted file",
        before: None,
        line: "DELE victim",
        kind: Kind::Neither,
        kept: |sim, _| peek(sim, "victim").is_none(),
        unharmed: |_| true,
    },
    Case {
        name: "a unique file",
        before: None,
        line: "STOU",
        kind: Kind::Upload,
        kept: |sim, _| {
            sim.disk().files(ROOT).values().filter(|content| **content == new()).count() == 2
        },
        unharmed: |sim| {
            let names: Vec<_> = sim.disk().files(ROOT).into_keys().collect();
            let strange = |name: &&Vec<u8>| {
                !is_temporary(name)
                    && !name.starts_with(b"dir/")
                    && ![&b"old"[..], b"other", b"victim"].contains(&&name[..])
            };
            // Already under its name when only the sync of the directory failed.
            names
                .iter()
                .filter(strange)
                .all(|name| peek(sim, &String::from_utf8_lossy(name)) == Some(new()))
        },
    },
];

#[test]
fn every_file_operation_may_fail() {
    for case in &CASES {
        for number in [errno::IO, errno::NOSPC] {
            for lasting in [false, true] {
                let mut at = 1;
                while fails(case, at, number, lasting) {
                    at += 1;
                }
                assert!(at > 1, "{}: no file operation at all", case.name);
            }
        }
    }
}

/// The same at random places in rough weather.
#[test]
fn file_operations_fail_in_rough_weather() {
    seeds(100, |seed| {
        let sim = Sim::new(seed);
        let rng = &sim.world().rng;
        let case = rng.pick(&CASES);
        let number = *rng.pick(&[errno::IO, errno::NOSPC]);
        one(&sim, case, (rng.below(20) + 1, number, rng.percent(50)));
    });
}

/// True when the fault was reached.
fn fails(case: &Case, at: u64, number: i32, lasting: bool) -> bool {
    let sim = Sim::new(at);
    sim.weather(Weather { window: 4096, ..Weather::CALM });
    one(&sim, case, (at, number, lasting))
}

fn one(sim: &Sim, case: &Case, (at, number, lasting): (u64, i32, bool)) -> bool {
    let disk = sim.disk();
    disk.plant(&format!("{ROOT}/old"), &old());
    disk.plant(&format!("{ROOT}/other"), &new());
    disk.plant(&format!("{ROOT}/victim"), b"");
    (0..30).for_each(|number| disk.plant(&format!("{ROOT}/dir/{number}"), b""));
    let house = House::open(1);
    let what = format!("{}: error {number} at operation {at}, lasting: {lasting}", case.name);
    let outcome = sim.run(async {
        let mut client = house.login_writer().await;
        if let Some((line, code)) = case.before {
            client.expect(line, code).await;
        }
        disk.fail_at(disk.operations() + at, number, lasting);
        let outcome = run(&mut client, case).await;
        shard::sleep_until(shard::now().after(PATIENCE / 10)).await;
        let hit = disk.hit();
        disk.heal();
        client.assert_in_step().await;
        let again = client.download("RETR old").await.unwrap();
        assert_eq!(again.last.code, 226, "{what}, {hit:?}: {again:?}");
        client.quit().await;
        shard::sleep_until(shard::now().after(PATIENCE)).await;
        outcome
    });
    let hit = disk.hit();
    judge(sim, case, &outcome, &hit, &format!("{what}, {hit:?} failed, {:?}", outcome.last));
    if hit.contains(&Operation::Unlink) {
        drop(house);
    } else {
        assert_clean(sim, house);
    }
    !hit.is_empty()
}

async fn run(client: &mut Client, case: &Case) -> Outcome {
    match case.kind {
        Kind::Upload => client.upload(case.line, &new()).await.unwrap(),
        Kind::Download => client.download(case.line).await.unwrap(),
        Kind::Neither => {
            let last = client.command(case.line).await.unwrap();
            Outcome { begun: false, last, received: Vec::new() }
        }
    }
}

fn judge(sim: &Sim, case: &Case, outcome: &Outcome, hit: &[Operation], what: &str) {
    let advisory = [
        Operation::Allocate,
        Operation::Prefetch,
        Operation::Unlink,
        Operation::Stat,
        Operation::Truncate,
    ];
    if outcome.last.code < 400 {
        let success = if case.kind == Kind::Neither { 250 } else { 226 };
        assert_eq!(outcome.last.code, success, "{what}");
        assert!((case.kept)(sim, &outcome.received), "{what}: the promise was not kept");
        assert!(
            hit.iter().all(|operation| advisory.contains(operation)),
            "{what}: succeeded all the same"
        );
    } else {
        assert!(!hit.is_empty(), "{what}: failed without a reason");
        let precise: &[u16] = match (outcome.begun, case.line.starts_with("RNTO")) {
            (true, _) => &[451, 452, 552],
            (false, true) => &[553],
            (false, false) => &[450, 451, 452, 550, 552],
        };
        assert!(precise.contains(&outcome.last.code), "{what}: not a precise reply");
        assert!((case.unharmed)(sim), "{what}: harm was done");
    }
    if !hit.contains(&Operation::Unlink) {
        assert!(temporaries(&sim.disk()).is_empty(), "{what}: left {:?}", temporaries(&sim.disk()));
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    for space in (0..NEW_BYTES).step_by(1500) {
        for line in ["STOR new", "STOR old", "APPE old"] {
            let sim = Sim::new(u64::try_from(space).unwrap());
            let disk = sim.disk();
            disk.plant(&format!("{ROOT}/old"), &old());
            disk.space.set(u64::try_from(space).unwrap());
            let house = House::open(1);
            sim.run(async {
                let mut client = house.login_writer().await;
                let outcome = client.upload(line, &new()).await.unwrap();
                assert!(
                    [452, 552].contains(&outcome.last.code),
                    "{line}, {space} octets: {outcome:?}"
                );
                client.assert_in_step().await;
                client.quit().await;
                shard::sleep_until(shard::now().after(PATIENCE)).await;
            });
            assert_eq!(peek(&sim, "new"), None);
            assert!(peek(&sim, "old").unwrap().starts_with(&old()), "{line}, {space} octets");
            assert_clean(&sim, house);
        }
    }
}

#[test]
fn a_slow_disk_delays_and_breaks_nothing() {
    let sim = Sim::new(3);
    let disk = sim.disk();
    disk.plant(&format!("{ROOT}/old"), &old());
    let house = House::open(1);
    sim.run(async {
        let mut client = house.login_writer().await;
        disk.slow.set(Duration::from_secs(4));
        assert_eq!(client.upload("STOR new", &new()).await.unwrap().last.code, 226);
        assert!(client.download("RETR new").await.unwrap().received == new());
        assert_eq!(client.download("MLSD").await.unwrap().last.code, 226);
        client.quit().await;
        shard::sleep_until(shard::now().after(PATIENCE)).await;
    });
    assert_clean(&sim, house);
}

#[test]
fn a_file_that_shrinks_gives_451() {
    seeds(40, |seed| {
        let sim = Sim::new(seed);
        let disk = sim.disk();
        disk.plant(&format!("{ROOT}/old"), &content(1, 200_000));
        sim.weather(Weather { window: 4096, segment: 1460, ..sim.world().weather.get() });
        let house = House::open(1);
        sim.run(async {
            let mut client = house.login_writer().await;
            client.expect(if seed % 2 == 0 { "TYPE I" } else { "TYPE A" }, 200).await;
            let mut data = client.begin("RETR old").await.unwrap().unwrap();
            let first = data.read(1000).await.unwrap();
            disk.plant(&format!("{ROOT}/old"), &content(1, 1000));
            while data.read(65_536).await.is_ok_and(|more| !more.is_empty()) {}
            assert!(!first.is_empty());
            drop(data);
            client.expect_reply(&[451]).await;
            client.assert_in_step().await;
            client.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert_clean(&sim, house);
    });
}

/// The checker is worth nothing if it does not notice.
#[test]
fn a_temporary_that_stays_is_noticed() {
    let noticed = catch_unwind(AssertUnwindSafe(|| {
        for at in 1..20 {
            let sim = Sim::new(at);
            sim.disk().sabotage.set(Sabotage { unlink: true, ..Sabotage::default() });
            one(&sim, &CASES[0], (at, errno::IO, false));
        }
    }));
    let message = noticed.unwrap_err().downcast_ref::<String>().cloned().unwrap();
    assert!(message.contains(": left "), "{message}");
}
