//! Scenario 4: peers that reset, vanish, or stall at any point.

use std::time::Duration;

use super::client::Client;
use super::house::{House, PATIENCE, ROOT, assert_clean};
use super::{content, seeds};
use crate::shard::client::{ClientSocket, black_hole};
use crate::shard::{self, Sim, Weather, world};

/// How a client goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    ResetControl,
    CloseControl,
    ResetData,
    CloseData,
    SilenceControl,
    SilenceData,
    NeverReadsData,
    NeverWritesData,
    NeverConnects,
    NeverReadsReplies,
}

const WRONGS: [Wrong; 10] = [
    Wrong::ResetControl,
    Wrong::CloseControl,
    Wrong::ResetData,
    Wrong::CloseData,
    Wrong::SilenceControl,
    Wrong::SilenceData,
    Wrong::NeverReadsData,
    Wrong::NeverWritesData,
    Wrong::NeverConnects,
    Wrong::NeverReadsReplies,
];

impl Wrong {
    /// Does the server learn of it at once, and not only from a limit?
    fn is_seen_at_once(self) -> bool {
        matches!(self, Self::ResetControl | Self::CloseControl)
    }
}

#[test]
fn nothing_stays_when_peers_go_wrong() {
    seeds(200, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant(&format!("{ROOT}/big"), &content(3, 90_000));
        // Quick enough that a window cannot take longer to fill than a limit.
        let window = *sim.world().rng.pick(&[512, 4096, 16_384]);
        sim.weather(Weather { window, segment: 1460, ..sim.world().weather.get() });
        let house = House::open(1);
        let wrong = WRONGS[usize::try_from(seed).unwrap() % WRONGS.len()];
        let client = sim.run(async {
            let client = house.login().await;
            let kept = misbehave(client, wrong).await;
            let wait = if wrong.is_seen_at_once() { Duration::from_secs(5) } else { PATIENCE };
            shard::sleep_until(shard::now().after(wait)).await;
            kept
        });
        let stored = sim.disk().peek(&format!("{ROOT}/new"));
        assert!(
            stored.is_none_or(|left| left == content(4, 60_000) || wrong == Wrong::CloseData),
            "{wrong:?}"
        );
        assert_clean(&sim, house);
        drop(client);
    });
}

/// Starts something and goes wrong after a while. Gives the sockets, so that they stay open.
async fn misbehave(mut client: Client, wrong: Wrong) -> (Client, Option<ClientSocket>) {
    let line = *world().rng.pick(&["RETR big", "STOR new", "APPE new", "MLSD"]);
    if wrong == Wrong::NeverConnects {
        client.expect("EPSV", 229).await;
        client.send(line).await.unwrap();
        return (client, None);
    }
    if wrong == Wrong::NeverReadsReplies {
        let flood = "HELP\r\nSTAT\r\nFEAT\r\n".repeat(2000);
        drop(shard::within(after(5000), client.control.write(flood.as_bytes())).await);
        return (client, None);
    }
    let Ok(mut data) = client.begin(line).await.unwrap() else { panic!("{line} refused") };
    let upload = line.starts_with("STOR") || line.starts_with("APPE");
    if wrong != Wrong::NeverReadsData && wrong != Wrong::NeverWritesData {
        let until = after(world().rng.below(300));
        if upload {
            let bytes = content(4, 60_000);
            drop(shard::within(until, data.write(&bytes)).await);
        } else {
            drop(shard::within(until, data.read_to_end()).await);
        }
    }
    match wrong {
        Wrong::ResetControl => client.control.reset(),
        Wrong::CloseControl => client.control.shut(),
        Wrong::ResetData => data.reset(),
        Wrong::CloseData => return (client, None),
        Wrong::SilenceControl => client.control.silence(true),
        Wrong::SilenceData => data.silence(true),
        Wrong::NeverReadsData
        | Wrong::NeverWritesData
        | Wrong::NeverConnects
        | Wrong::NeverReadsReplies => {}
    }
    (client, Some(data))
}

fn after(millis: u64) -> shard::Instant {
    shard::now().after(Duration::from_millis(millis))
}

/// Resets at a random step, wherever the server happens to be.
#[test]
fn resets_at_any_step_leave_nothing() {
    seeds(200, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant(&format!("{ROOT}/big"), &content(3, 20_000));
        let house = House::open(1);
        let line = *sim.world().rng.pick(&["RETR big", "STOR new", "STOR big", "APPE big", "LIST"]);
        sim.run(async {
            let mut client = house.login().await;
            let turns = world().rng.below(400);
            cut(&mut client, line, turns).await;
            client.control.reset();
            shard::sleep_until(after(5000)).await;
        });
        let big = sim.disk().peek(&format!("{ROOT}/big")).unwrap();
        let old = content(3, 20_000);
        // A data connection that ends cleanly ends the file, whatever becomes of the control connection.
        let new = content(4, 20_000);
        let whole = new.starts_with(&big) && line.starts_with("STOR");
        assert!(whole || big.starts_with(&old), "{line}: {} octets", big.len());
        assert_clean(&sim, house);
    });
}

/// Does what `line` says, but at most for so many turns.
async fn cut(client: &mut Client, line: &str, turns: u64) {
    let mut work = Box::pin(async {
        if line.starts_with("STOR") || line.starts_with("APPE") {
            drop(client.upload(line, &content(4, 20_000)).await);
        } else {
            drop(client.download(line).await);
        }
    });
    for _ in 0..turns {
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(work.as_mut().poll(context)))
                .await;
        if polled.is_ready() {
            return;
        }
        shard::yield_now().await;
    }
}

#[test]
fn active_connections_that_never_come_about_end_with_425() {
    seeds(20, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant(&format!("{ROOT}/big"), &content(3, 20_000));
        let house = House::open(1);
        sim.run(async {
            let mut client = house.login().await;
            let refused = world().rng.percent(50);
            let at = if refused { "192.0.2.7:4999".parse().unwrap() } else { black_hole() };
            client.expect(&format!("EPRT |1|{}|{}|", at.ip(), at.port()), 200).await;
            let line = *world().rng.pick(&["RETR big", "STOR new", "LIST"]);
            client.send(line).await.unwrap();
            client.expect_reply(&[425]).await;
            client.assert_in_step().await;
            client.quit().await;
            shard::sleep_until(after(5000)).await;
        });
        assert_clean(&sim, house);
    });
}

/// The pool of blocks is bounded: those who stall must not keep it from the others.
#[test]
fn those_who_stall_do_not_stop_others() {
    seeds(40, |seed| {
        let sim = Sim::new(seed);
        sim.disk().plant(&format!("{ROOT}/big"), &content(3, 60_000));
        sim.weather(Weather { window: 4096, segment: 1460, ..sim.world().weather.get() });
        let house = House::open(1);
        sim.run(async {
            let mut stalled = Vec::new();
            for number in 0..16 {
                let mut client = house.login().await;
                if number % 4 == 0 {
                    client.expect("TYPE A", 200).await;
                }
                let line =
                    if number % 2 == 0 { format!("STOR s{number}") } else { "RETR big".into() };
                let data = client.begin(&line).await.unwrap().unwrap();
                if number % 2 == 0 {
                    drop(shard::within(after(20), data.write(&content(4, 20_000))).await);
                }
                stalled.push((client, data));
            }
            let begun = shard::now();
            let mut client = house.login().await;
            assert_eq!(client.upload("STOR ok", &content(5, 9000)).await.unwrap().last.code, 226);
            assert!(client.download("RETR ok").await.unwrap().received == content(5, 9000));
            let took = shard::now().since(begun);
            assert!(took < Duration::from_secs(9), "{took:?}");
            client.quit().await;
            shard::sleep_until(shard::now().after(PATIENCE)).await;
            stalled.len()
        });
        assert_clean(&sim, house);
    });
}
