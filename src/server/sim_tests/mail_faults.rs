//! The disk fails, fills up or hangs while messages come in and go out.

use std::time::Duration;

use super::client::Client;
use super::post::{Post, assert_clean, mailbox, message, send};
use super::seeds;
use crate::shard::fault::errno;
use crate::shard::{self, Sim, Weather};

/// Deliveries have come to an end after this.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Octets of the messages.
const LENGTHS: [usize; 3] = [400, 9000, 150_000];

/// Sends three messages over as many sessions as it takes. What each was answered, 0 for nothing.
async fn send_all(post: &Post) -> Vec<u16> {
    let mut codes = Vec::new();
    let mut client: Option<Client> = None;
    for (number, len) in (0..).zip(LENGTHS) {
        let mut session = match client.take() {
            Some(session) => session,
            None => post.greeted().await,
        };
        match send(&mut session, "ann", &message(number, len)).await {
            Ok(reply) => {
                codes.push(reply.code);
                client = Some(session);
            }
            Err(_) => codes.push(0),
        }
    }
    if let Some(mut client) = client {
        // In step whatever happened.
        client.expect("NOOP", 250).await;
        client.quit().await;
    }
    codes
}

/// The n-th operation fails. False when there are fewer.
fn fails(seed: u64, at: u64, number: i32, lasting: bool) -> bool {
    let sim = Sim::new(seed);
    sim.weather(Weather { window: 65_536, segment: 16_384, ..Weather::CALM });
    let disk = sim.disk();
    Post::plant(&disk);
    let what = format!("seed {seed}, operation {at}, error {number}, lasting {lasting}");
    let (post, codes) = sim.run(async {
        let post = Post::open().await;
        disk.fail_at(disk.operations() + at, number, lasting);
        let codes = send_all(&post).await;
        // A disk that came back is used again, for what is sent from now on and for deliveries.
        shard::sleep_until(shard::now().after(Duration::from_secs(60))).await;
        disk.heal();
        assert!(post.settled(PATIENCE).await, "{what}: something is never delivered");
        (post, codes)
    });
    let hit = !disk.hit().is_empty();
    let found = mailbox(&disk, "ann");
    for ((number, len), code) in (0..).zip(LENGTHS).zip(&codes) {
        let count = found.iter().filter(|one| **one == message(number, len)).count();
        assert!(matches!(code, 250 | 451 | 452), "{what}: message {number} was answered {code}");
        let expected = usize::from(*code == 250);
        assert_eq!(count, expected, "{what}: message {number}, answered {code}, {:?}", disk.hit());
    }
    if !hit {
        assert_eq!(codes, [250; 3], "{what}");
    }
    assert_clean(&sim, post);
    hit
}

#[test]
fn every_operation_may_fail_once() {
    for number in [errno::IO, errno::NOSPC] {
        let mut at = 1;
        while fails(at, at, number, false) {
            at += 1;
        }
        assert!(at > 10, "{at}");
    }
}

#[test]
fn every_operation_may_fail_from_then_on() {
    for number in [errno::IO, errno::NOSPC] {
        let mut at = 1;
        while fails(at, at, number, true) {
            at += 2;
        }
        assert!(at > 10, "{at}");
    }
}

/// Writes that fall short are those of rough weather; nothing else goes wrong then.
#[test]
fn short_writes_are_written_on_or_refused() {
    seeds(40, |seed| {
        let sim = Sim::new(seed);
        // A network quick enough for the least rate.
        let weather = sim.world().weather.get();
        sim.weather(Weather { short: 50, window: 65_536, segment: 1460, ..weather });
        Post::plant(&sim.disk());
        let (post, codes) = sim.run(async {
            let post = Post::open().await;
            let codes = send_all(&post).await;
            assert!(post.settled(PATIENCE).await);
            (post, codes)
        });
        let accepted = codes.iter().filter(|code| **code == 250).count();
        assert_eq!(mailbox(&sim.disk(), "ann").len(), accepted, "{codes:?}");
        assert!(codes.iter().all(|code| matches!(code, 250 | 451)), "{codes:?}");
        assert_clean(&sim, post);
    });
}

#[test]
fn a_disk_that_hangs_holds_up_messages_and_nobody_else() {
    seeds(30, |seed| {
        let sim = Sim::new(seed);
        sim.weather(Weather { slow: 0, window: 65_536, ..sim.world().weather.get() });
        let disk = sim.disk();
        Post::plant(&disk);
        let post = sim.run(async {
            let post = Post::open().await;
            let mut other = post.greeted().await;
            let mut sender = post.greeted().await;
            sender.expect("MAIL FROM:<me@example.net>", 250).await;
            sender.expect("RCPT TO:<ann@sim.example>", 250).await;
            sender.expect("DATA", 354).await;
            disk.slow.set(Duration::from_secs(15));
            sender.control.write(&message(seed, 3000)).await.unwrap();
            sender.control.write(b".\r\n").await.unwrap();
            // Commands of others are answered at once.
            for _ in 0..20 {
                let begun = shard::now();
                other.expect("MAIL FROM:<me@example.net>", 250).await;
                other.expect("RCPT TO:<ann@sim.example>", 250).await;
                other.expect("RSET", 250).await;
                let took = shard::now().since(begun);
                assert!(took < Duration::from_secs(20), "{took:?}");
            }
            let begun = shard::now();
            post.greeted().await.quit().await;
            assert!(shard::now().since(begun) < Duration::from_secs(20));
            sender.expect_reply(&[250]).await;
            disk.slow.set(Duration::ZERO);
            other.quit().await;
            sender.quit().await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        assert_eq!(mailbox(&disk, "ann"), [message(seed, 3000)]);
        assert_clean(&sim, post);
    });
}
