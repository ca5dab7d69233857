//! The data connection breaks, or the last octets do not arrive: what the reply says must be so.

use super::client::Client;
use super::house::{House, PATIENCE, ROOT, assert_clean};
use super::{content, seeds};
use crate::shard::client::ClientSocket;
use crate::shard::{self, Sim, Weather, world};

#[test]
fn a_data_connection_that_breaks_gives_426() {
    seeds(100, |seed| {
        let sim = Sim::new(seed);
        let (old, new) = (content(1, 30_000), content(2, 40_000));
        sim.disk().plant(&format!("{ROOT}/f"), &old);
        sim.weather(Weather { window: 4096, ..sim.world().weather.get() });
        let house = House::open(1);
        let stored = sim.run(async {
            let mut client = house.login().await;
            let store = world().rng.percent(60);
            let mut data =
                client.begin(if store { "STOR f" } else { "RETR f" }).await.unwrap().unwrap();
            let octets = world().rng.range(0, 20_000);
            if store {
                data.write(&new[..octets]).await.unwrap();
            } else {
                read(&mut data, octets).await;
            }
            data.reset();
            client.expect_reply(&[426]).await;
            client.assert_in_step().await;
            client.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
            sim.disk().peek(&format!("{ROOT}/f")).unwrap()
        });
        assert!(stored == old, "{} octets", stored.len());
        assert_clean(&sim, house);
    });
}

async fn read(data: &mut ClientSocket, octets: usize) {
    let mut got = 0;
    while got < octets {
        got += data.read(octets - got).await.unwrap().len();
    }
}

/// 226 means that the peer has every octet, not that they were handed to a socket.
#[test]
fn what_does_not_arrive_is_not_complete() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant(&format!("{ROOT}/f"), &content(1, 2000));
        sim.weather(Weather { window: 16_384, segment: 1460, ..sim.world().weather.get() });
        let house = House::open(1);
        sim.run(async {
            let mut client = house.login().await;
            let line = *world().rng.pick(&["RETR f", "MLSD", "LIST", "NLST"]);
            client.expect(if world().rng.percent(50) { "TYPE A" } else { "TYPE I" }, 200).await;
            let reply = client.expect("EPSV", 229).await;
            let at = Client::passive(client.control.peer().ip(), &reply);
            let data = ClientSocket::connect(at).await.unwrap();
            data.silence(true);
            client.expect(line, 150).await;
            client.expect_reply(&[426]).await;
            client.assert_in_step().await;
            client.quit().await;
            drop(data);
            shard::sleep_until(shard::now().after(PATIENCE)).await;
        });
        assert_clean(&sim, house);
    });
}

/// Ten ports: who finds none is told, and may try again.
#[test]
fn ports_run_out_and_come_back() {
    let sim = Sim::new(5);
    sim.disk().plant_dir(ROOT);
    let house = House::open(1);
    sim.run(async {
        let mut clients = Vec::new();
        for number in 0..13 {
            let mut client = house.login().await;
            let reply = client.command("EPSV").await.unwrap();
            assert_eq!(reply.code == 229, number < 10, "{reply:?}");
            assert!(reply.code == 229 || (400..500).contains(&reply.code), "{reply:?}");
            client.assert_in_step().await;
            clients.push(client);
        }
        clients.remove(0).quit().await;
        let mut last = clients.pop().unwrap();
        last.expect("EPSV", 229).await;
        last.quit().await;
        drop(clients);
        shard::sleep_until(shard::now().after(PATIENCE)).await;
    });
    assert_clean(&sim, house);
}
