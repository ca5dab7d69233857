//! Scenario 5: two sessions store under one name while others read it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::house::{House, PATIENCE, ROOT, assert_clean};
use super::{content, seeds};
use crate::shard::{self, Sim, Weather, world};

#[test]
fn each_reader_gets_one_whole_version() {
    seeds(100, |seed| {
        let sim = Sim::new(seed);
        let versions: Rc<Vec<Vec<u8>>> = Rc::new(
            (0..5)
                .map(|number| content(100 + number, 7000 + 2000 * usize::try_from(number).unwrap()))
                .collect(),
        );
        let weather = sim.world().weather.get();
        sim.weather(Weather { segment: weather.segment.max(100), ..weather });
        sim.disk().plant(&format!("{ROOT}/f"), &versions[0]);
        let house = House::open(1);
        let ended = Rc::new(Cell::new(0));
        let read = Rc::new(RefCell::new(Vec::new()));
        sim.run(async {
            for writer in 0..2 {
                let (house, versions, ended) =
                    (house.clone(), Rc::clone(&versions), Rc::clone(&ended));
                shard::spawn("writer", async move {
                    let mut client = house.login().await;
                    for round in 0..2 {
                        let outcome = client
                            .upload("STOR f", &versions[1 + writer * 2 + round])
                            .await
                            .unwrap();
                        assert_eq!(outcome.last.code, 226, "{outcome:?}");
                    }
                    client.quit().await;
                    ended.set(ended.get() + 1);
                });
            }
            for _ in 0..3 {
                let (house, ended, read) = (house.clone(), Rc::clone(&ended), Rc::clone(&read));
                shard::spawn("reader", async move {
                    let mut client = house.login().await;
                    for _ in 0..world().rng.range(1, 4) {
                        let outcome = client.download("RETR f").await.unwrap();
                        assert_eq!(outcome.last.code, 226, "{:?}", outcome.last);
                        read.borrow_mut().push(outcome.received);
                    }
                    client.quit().await;
                    ended.set(ended.get() + 1);
                });
            }
            shard::sleep_until(shard::now().after(PATIENCE * 20)).await;
        });
        let panics = sim.world().executor.panics();
        assert_eq!(ended.get(), 5, "{panics:?}");
        for received in read.take() {
            assert!(versions.contains(&received), "a mixture of {} octets", received.len());
        }
        let last = sim.disk().peek(&format!("{ROOT}/f")).unwrap();
        assert!(versions[1..].contains(&last));
        assert_clean(&sim, house);
    });
}

/// A file that is deleted, renamed or replaced while it is sent goes out whole.
#[test]
fn a_file_that_goes_away_is_sent_whole() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        let old = content(1, 40_000);
        // Quick enough that nobody stalls while the other is busy.
        sim.weather(Weather { window: 4096, segment: 1460, ..sim.world().weather.get() });
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        let house = House::open(1);
        sim.run(async {
            let mut other = house.login_writer().await;
            let mut client = house.login().await;
            let mut data = client.begin("RETR f").await.unwrap().unwrap();
            match seed % 3 {
                0 => drop(other.expect("DELE f", 250).await),
                1 => {
                    other.expect("RNFR f", 350).await;
                    other.expect("RNTO g", 250).await;
                }
                _ => assert_eq!(
                    other.upload("STOR f", &content(2, 9000)).await.unwrap().last.code,
                    226
                ),
            }
            assert!(data.read_to_end().await.unwrap() == old);
            drop(data);
            client.expect_reply(&[226]).await;
            client.quit().await;
            other.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert_clean(&sim, house);
    });
}
