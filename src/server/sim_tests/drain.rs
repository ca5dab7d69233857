//! The server goes down while sessions idle, move octets and stall.

use std::rc::Rc;
use std::time::Duration;

use super::house::{House, ROOT, assert_clean};
use super::{content, seeds};
use crate::server::Phase;
use crate::server::drain::drain_watch;
use crate::shard::{self, Sim, Weather, start, world};

#[test]
fn going_down_ends_the_idle_spares_the_busy_and_waits_for_nobody() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        let big = content(3, 40_000);
        sim.disk().plant(&format!("{ROOT}/big"), &big);
        sim.weather(Weather {
            window: 4096,
            segment: 1460,
            delay_millis: 20,
            ..sim.world().weather.get()
        });
        let house = House::open(1);
        sim.run(async {
            let watch = house.context();
            let (mut idle, mut busy, mut stalled) =
                (house.login().await, house.login().await, house.login().await);
            let mut data = busy.begin("RETR big").await.unwrap().unwrap();
            let stuck = stalled.begin("STOR new").await.unwrap().unwrap();
            stuck.write(&content(4, 2000)).await.unwrap();

            let begun = shard::now();
            shard::spawn("supervisor", async move {
                shard::sleep_until(
                    shard::now().after(Duration::from_millis(world().rng.below(50))),
                )
                .await;
                watch.shared.enter(Phase::Draining);
                start::notify();
                drain_watch(Rc::clone(&watch.local)).await;
            });
            idle.expect_reply(&[421]).await;
            assert_eq!(data.read_to_end().await.unwrap().len(), big.len());
            drop(data);
            busy.expect_reply(&[226]).await;
            busy.expect_reply(&[421]).await;
            let mut late = house.connect();
            late.expect_reply(&[421]).await;
            drop((idle, busy, late));
            while sim.census().tasks > 0 {
                shard::sleep_until(shard::now().after(Duration::from_secs(1))).await;
            }
            let took = shard::now().since(begun);
            assert!(took < Duration::from_secs(25), "{took:?}");
            drop((stalled, stuck));
            shard::sleep_until(shard::now().after(Duration::from_secs(5))).await;
        });
        assert_eq!(sim.disk().peek(&format!("{ROOT}/new")), None);
        assert_clean(&sim, house);
    });
}
