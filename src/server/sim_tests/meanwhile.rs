//! Commands while a transfer begins, runs or ends: ABOR at any moment, QUIT, STAT and others.

use super::client::Client;
use super::house::{House, PATIENCE, ROOT, assert_clean};
use super::{content, seeds};
use crate::shard::client::ClientSocket;
use crate::shard::{self, Sim, Weather, world};

/// Replies that a transfer and an ABOR may get together, in this order.
const ENDINGS: [&[u16]; 3] = [
    &[150, 426, 226],
    // It was over before.
    &[150, 226, 225],
    // Aborted before there was a data connection.
    &[426, 226],
];

#[test]
fn abor_at_any_moment_keeps_replies_in_step() {
    seeds(200, |seed| {
        let sim = Sim::new(seed);
        let old = content(1, 12_000);
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        let weather = sim.world().weather.get();
        sim.weather(Weather { segment: weather.segment.max(100), ..weather });
        let house = House::open(1);
        sim.run(async {
            let mut client = house.login().await;
            for _ in 0..3 {
                abort_somewhere(&mut client).await;
                assert!(client.download("RETR f").await.unwrap().received == old);
            }
            client.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert!(sim.disk().peek(&format!("{ROOT}/f")).unwrap() == old);
        assert_clean(&sim, house);
    });
}

async fn abort_somewhere(client: &mut Client) {
    let rng = &world().rng;
    let line = *rng.pick(&["RETR f", "STOR f", "MLSD", "STOU"]);
    let reply = client.expect("EPSV", 229).await;
    let at = Client::passive(client.control.peer().ip(), &reply);
    let early = if rng.percent(50) { ClientSocket::connect(at).await.ok() } else { None };
    client.send(line).await.unwrap();
    turns(rng.below(60)).await;
    let late = if rng.percent(50) { ClientSocket::connect(at).await.ok() } else { None };
    turns(rng.below(60)).await;
    if rng.percent(30) {
        client.send("NOOP").await.unwrap();
        client.send("ABOR\r\nPWD").await.unwrap();
    } else {
        client.send("ABOR\r\nPWD").await.unwrap();
    }
    let mut codes = Vec::new();
    loop {
        let code = client.reply().await.unwrap().code;
        if code == 257 {
            break;
        }
        // NOOP is answered at its place or after the transfer it came in.
        if code != 200 {
            codes.push(code);
        }
    }
    assert!(ENDINGS.contains(&&codes[..]), "{line}: {codes:?}");
    drop((early, late));
}

async fn turns(count: u64) {
    for _ in 0..count {
        shard::yield_now().await;
    }
}

#[test]
fn quit_waits_for_the_transfer() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        let old = content(1, 20_000);
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        let house = House::open(1);
        let store = seed % 2 == 0;
        sim.run(async {
            let mut client = house.login().await;
            let mut data =
                client.begin(if store { "STOR g" } else { "RETR f" }).await.unwrap().unwrap();
            client.send("QUIT").await.unwrap();
            if store {
                data.write(&old).await.unwrap();
                data.shut();
            } else {
                assert!(data.read_to_end().await.unwrap() == old);
            }
            drop(data);
            client.expect_reply(&[226]).await;
            client.expect_reply(&[221]).await;
            assert!(client.control.read_to_end().await.unwrap().is_empty());
            drop(client);
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert!(!store || sim.disk().peek(&format!("{ROOT}/g")).unwrap() == old);
        assert_clean(&sim, house);
    });
}

#[test]
fn stat_is_answered_while_octets_move() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        let old = content(1, 30_000);
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        sim.weather(Weather { window: 4096, ..sim.world().weather.get() });
        let house = House::open(1);
        sim.run(async {
            let mut client = house.login().await;
            let mut data = client.begin("RETR f").await.unwrap().unwrap();
            let first = data.read(100).await.unwrap();
            client.expect("STAT", 211).await;
            client.send("PWD\r\nNOOP").await.unwrap();
            assert!([first, data.read_to_end().await.unwrap()].concat() == old);
            drop(data);
            client.expect_reply(&[226]).await;
            client.expect_reply(&[257]).await;
            client.expect_reply(&[200]).await;
            client.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert_clean(&sim, house);
    });
}
