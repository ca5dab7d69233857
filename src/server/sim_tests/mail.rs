//! Scenarios of SMTP sessions: good senders, senders that vanish, stall or speak out of turn, and the end.

use std::rc::Rc;
use std::time::Duration;

use super::post::{LIMIT, Post, assert_clean, mailbox, message, send};
use super::seeds;
use crate::server::Phase;
use crate::server::drain::drain_watch;
use crate::server::inlet::{self, Ends};
use crate::server::sockets::Service;
use crate::shard::client::ClientSocket;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather, start, world};

/// Longer than any limit of a session.
const PATIENCE: Duration = Duration::from_secs(700);

#[test]
fn messages_arrive_whole_and_once_whatever_the_network_does() {
    seeds(120, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        let rng = Rng::new(seed);
        let lengths: Vec<usize> = (0..4).map(|_| *rng.pick(&[0, 1, 700, 9000, 60_000])).collect();
        let post = sim.run(async {
            let post = Post::open().await;
            let mut client = post.greeted().await;
            for (number, len) in (0..).zip(&lengths) {
                let text = message(number, *len);
                let reply = send(&mut client, "ann", &text).await.unwrap();
                assert_eq!(reply.code, 250, "{reply:?}");
            }
            client.quit().await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        let mut expected: Vec<Vec<u8>> =
            (0..).zip(&lengths).map(|(number, len)| message(number, *len)).collect();
        let mut found = mailbox(&sim.disk(), "ann");
        expected.sort();
        found.sort();
        assert!(found == expected, "{} of {}", found.len(), expected.len());
        assert_clean(&sim, post);
    });
}

/// How a sender goes wrong, in the middle of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Reset,
    Close,
    Silence,
    Trickle,
    NeverReads,
}

const WRONGS: [Wrong; 5] =
    [Wrong::Reset, Wrong::Close, Wrong::Silence, Wrong::Trickle, Wrong::NeverReads];

#[test]
fn a_sender_that_goes_wrong_leaves_nothing_and_delays_nobody() {
    seeds(150, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        sim.weather(Weather { window: 16_384, segment: 1460, ..sim.world().weather.get() });
        let wrong = WRONGS[usize::try_from(seed).unwrap() % WRONGS.len()];
        let post = sim.run(async {
            let post = Post::open().await;
            let mut bad = post.greeted().await;
            bad.expect("MAIL FROM:<me@example.net>", 250).await;
            bad.expect("RCPT TO:<bob@sim.example>", 250).await;
            bad.expect("DATA", 354).await;
            bad.control.write(&message(seed, 30_000)).await.unwrap();
            match wrong {
                Wrong::Reset => bad.control.reset(),
                Wrong::Close => bad.control.shut(),
                Wrong::Silence => bad.control.silence(true),
                Wrong::Trickle => {}
                Wrong::NeverReads => {
                    bad.control.write(b".\r\n").await.unwrap();
                    for _ in 0..4000 {
                        let noop = bad.control.write(b"NOOP\r\n");
                        let patience = shard::now().after(Duration::from_secs(1));
                        if shard::within(patience, noop).await.is_none() {
                            break;
                        }
                    }
                }
            }
            // Another sends meanwhile.
            let begun = shard::now();
            let mut good = post.greeted().await;
            let reply = send(&mut good, "ann", &message(1, 3000)).await.unwrap();
            assert_eq!(reply.code, 250);
            assert!(shard::now().since(begun) < Duration::from_secs(30));
            good.quit().await;
            if wrong == Wrong::Trickle {
                // An octet a second: below the least rate, though never silent for long.
                let begun = shard::now();
                while bad.control.write(b"x").await.is_ok() {
                    assert!(shard::now().since(begun) < Duration::from_secs(660), "endured");
                    shard::sleep_until(shard::now().after(Duration::from_secs(1))).await;
                }
            }
            shard::sleep_until(shard::now().after(PATIENCE)).await;
            assert!(post.settled(PATIENCE).await);
            assert_eq!(post.ingress().local.sessions.get(), 0, "{wrong:?}");
            drop(bad);
            post
        });
        let whole = usize::from(wrong == Wrong::NeverReads);
        assert_eq!(mailbox(&sim.disk(), "bob").len(), whole, "{wrong:?}");
        assert_eq!(mailbox(&sim.disk(), "ann"), [message(1, 3000)]);
        assert_clean(&sim, post);
    });
}

#[test]
fn a_command_that_comes_octet_by_octet_does_not_move_the_deadline() {
    seeds(20, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open().await;
            let mut slow = post.greeted().await;
            let begun = shard::now();
            while slow.control.write(b"N").await.is_ok() {
                let took = shard::now().since(begun);
                assert!(took < Duration::from_secs(u64::from(LIMIT) + 60), "{took:?}");
                shard::sleep_until(shard::now().after(Duration::from_secs(10))).await;
            }
            let took = shard::now().since(begun);
            assert!(took > Duration::from_secs(u64::from(LIMIT) - 30), "{took:?}");
            // It was told, unless its own octets reset the connection first.
            if let Ok(reply) = slow.reply().await {
                assert_eq!(reply.code, 421);
            }
            post
        });
        assert_clean(&sim, post);
    });
}

#[test]
fn who_speaks_before_the_greeting_is_turned_away() {
    seeds(20, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open().await;
            let (mut early, stream) = ClientSocket::pair(25);
            early.write(b"EHLO bot\r\n").await.unwrap();
            while stream.unread() == 0 {
                shard::sleep_until(shard::now().after(Duration::from_secs(1))).await;
            }
            inlet::begin(Rc::clone(post.ingress()), stream, Service::Smtp);
            let said = early.read_to_end().await.unwrap_or_default();
            assert!(!said.starts_with(b"220"), "{:?}", String::from_utf8_lossy(&said));
            post.greeted().await.quit().await;
            post
        });
        assert_clean(&sim, post);
    });
}

#[test]
fn going_down_ends_the_idle_and_lets_a_message_end() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        sim.weather(Weather {
            window: 4096,
            segment: 1460,
            delay_millis: 20,
            ..sim.world().weather.get()
        });
        let post = sim.run(async {
            let post = Post::open().await;
            let (mut idle, mut busy) = (post.greeted().await, post.greeted().await);
            busy.expect("MAIL FROM:<me@example.net>", 250).await;
            busy.expect("RCPT TO:<ann@sim.example>", 250).await;
            busy.expect("DATA", 354).await;
            let text = message(seed, 5000);
            busy.control.write(&text[..2000]).await.unwrap();
            let local = Rc::clone(&post.ingress().local);
            shard::spawn("supervisor", async move {
                shard::sleep_until(
                    shard::now().after(Duration::from_millis(world().rng.below(50))),
                )
                .await;
                local.shared.enter(Phase::Draining);
                start::notify();
                drain_watch(local).await;
            });
            idle.expect_reply(&[421]).await;
            assert_eq!(idle.control.read_to_end().await.unwrap(), b"");
            post.connect().expect_reply(&[421]).await;
            busy.control.write(&text[2000..]).await.unwrap();
            busy.control.write(b".\r\n").await.unwrap();
            busy.expect_reply(&[250]).await;
            busy.expect_reply(&[421]).await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        assert_eq!(mailbox(&sim.disk(), "ann"), [message(seed, 5000)]);
        assert_clean(&sim, post);
    });
}

/// Ten thousand sessions wait most of the time: what each holds is bounded.
#[test]
fn an_idle_session_is_small() {
    let sim = Sim::new(1);
    Post::plant(&sim.disk());
    let post = sim.run(async {
        let post = Post::open().await;
        let (client, stream) = ClientSocket::pair(25);
        let ends = Ends::of(&stream, Service::Smtp);
        let ingress = Rc::clone(post.ingress());
        let session = crate::server::smtp::session(ingress, stream, Service::Smtp, ends);
        let octets = size_of_val(&session);
        assert!(octets <= 1536, "{octets}");
        drop((client, session));
        post
    });
    assert_clean(&sim, post);
}
