//! Scenarios of how connections of mail begin: proxies with and without a header, LMTP, peers that speak for others.

use std::time::Duration;

use super::client::Client;
use super::post::{self, Post, assert_clean, mailbox, message};
use super::secure::SecureSocket;
use super::seeds;
use super::tls::{fair, person};
use crate::config::{Config, Network};
use crate::limits::PROXY_HEADER_SECONDS_MAX;
use crate::server::sockets::Service;
use crate::shard::client::{CLIENT, ClientSocket};
use crate::shard::disk::Disk;
use crate::shard::{self, Sim, Weather};

/// Longer than any delivery.
const PATIENCE: Duration = Duration::from_secs(700);
const LINE: &str = "PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n";
/// Who relays here must come from there.
const CLIENT_OF_PROXY: &str = "203.0.113.9";

fn network(address: &str) -> Network {
    let address: std::net::IpAddr = address.parse().unwrap();
    Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
}

/// The script's address is that of a proxy.
fn behind_a_proxy() -> Config {
    let mut config = post::config();
    config.smtp.as_mut().unwrap().proxy_from.push(network(CLIENT));
    config
}

/// The script's address is that of a peer that may speak for others.
fn believing() -> Config {
    let mut config = post::config();
    let smtp = config.smtp.as_mut().unwrap();
    smtp.xclient_from.push(network(CLIENT));
    smtp.xforward_from.push(network(CLIENT));
    config
}

/// The header lines that the server added to the only message of `user`.
fn received(disk: &Disk, user: &str) -> String {
    let files = disk.files(post::MAIL);
    let new = format!("{user}/new/").into_bytes();
    let mut found = files.into_iter().filter(|(path, _)| path.starts_with(&new));
    let (_, octets) = found.next().expect("a message");
    assert!(found.next().is_none(), "more than one message");
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, _) = text.split_once("Subject:").unwrap();
    head.split_once("Received:").unwrap().1.to_owned()
}

/// The header of version 2 of the same, with a checksum.
fn block() -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    octets.extend([203, 0, 113, 9, 198, 51, 100, 1]);
    octets.extend([0x9C, 0x40, 0, 25, 3, 0, 4, 0, 0, 0, 0]);
    let sum = crc32c::crc32c(&octets).to_be_bytes();
    let at = octets.len() - 4;
    octets[at..].copy_from_slice(&sum);
    octets
}

#[test]
fn the_address_in_the_header_is_the_clients() {
    seeds(40, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open_with(behind_a_proxy()).await;
            let mut client = post.connect();
            let header = if seed % 2 == 0 { LINE.as_bytes().to_vec() } else { block() };
            client.control.write(&header).await.unwrap();
            client.expect_reply(&[220]).await;
            client.expect("EHLO sim.example.net", 250).await;
            let reply = post::send(&mut client, "ann", &message(seed, 300)).await.unwrap();
            assert_eq!(reply.code, 250);
            client.quit().await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        let lines = received(&sim.disk(), "ann");
        assert!(lines.contains(&format!("([{CLIENT_OF_PROXY}])")), "{lines}");
        assert_clean(&sim, post);
    });
}

#[test]
fn the_header_comes_before_the_handshake() {
    seeds(40, |seed| {
        let sim = fair(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open_with(behind_a_proxy()).await;
            let socket = post.connect_tls();
            socket.write(LINE.as_bytes()).await.unwrap();
            let mut client =
                SecureSocket::shake_hands(socket, person(seed).connect()).await.unwrap();
            assert!(client.reply().await.starts_with("220"));
            assert!(client.command("QUIT").await.starts_with("221"));
            post
        });
        sim.pass(PATIENCE);
        assert_clean(&sim, post);
    });
}

/// What a listed proxy does that is no header.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Nothing,
    Close,
    Half,
    Trickle,
    Smtp,
    Line,
    Reset,
}

const WRONGS: [Wrong; 7] = [
    Wrong::Nothing,
    Wrong::Close,
    Wrong::Half,
    Wrong::Trickle,
    Wrong::Smtp,
    Wrong::Line,
    Wrong::Reset,
];

#[test]
fn what_is_no_header_is_closed_unheard_and_in_time() {
    seeds(70, |seed| {
        let wrong = WRONGS[usize::try_from(seed).unwrap() % WRONGS.len()];
        let sim = Sim::new(seed);
        // So that what is late is the client's doing.
        sim.weather(Weather { delay_millis: 5, ..sim.world().weather.get() });
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open_with(behind_a_proxy()).await;
            let mut socket = post.connect_to(Service::Smtp, 25);
            let began = shard::now();
            match wrong {
                Wrong::Nothing => {}
                Wrong::Close => socket.shut(),
                Wrong::Half => socket.write(b"PROXY TCP4 203.0").await.unwrap(),
                Wrong::Trickle => trickle(&socket).await,
                Wrong::Smtp => socket.write(b"EHLO client.example\r\n").await.unwrap(),
                Wrong::Line => socket.write(b"PROXY TCP4 1.2.3.4\r\n").await.unwrap(),
                Wrong::Reset => socket.reset(),
            }
            let said = socket.read_to_end().await.unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&said), "", "{wrong:?}: no word of SMTP");
            let took = shard::now().since(began);
            assert!(
                took <= Duration::from_secs(PROXY_HEADER_SECONDS_MAX + 5),
                "{wrong:?}: {took:?}"
            );
            post
        });
        let refused = sim.run(async { post.ingress().local.sessions.get() });
        assert_eq!(refused, 0);
        assert_clean(&sim, post);
    });
}

async fn trickle(socket: &ClientSocket) {
    for octet in LINE.bytes() {
        if socket.write(&[octet]).await.is_err() {
            return;
        }
        shard::sleep_until(shard::now().after(Duration::from_millis(500))).await;
    }
}

#[test]
fn a_header_from_others_is_never_looked_at() {
    let sim = Sim::new(1);
    Post::plant(&sim.disk());
    let post = sim.run(async {
        let mut other = post::config();
        other.smtp.as_mut().unwrap().proxy_from.push(network("192.0.2.200"));
        let post = Post::open_with(other).await;
        let mut client = post.connect();
        client.expect_reply(&[220]).await;
        client.expect(LINE.trim_end(), 500).await;
        client.expect("XCLIENT ADDR=203.0.113.9", 550).await;
        client.expect("XFORWARD ADDR=203.0.113.9", 550).await;
        client.quit().await;
        post
    });
    assert_clean(&sim, post);
}

/// Limits are those of the address that was named.
#[test]
fn places_are_counted_by_the_address_that_is_named() {
    let sim = Sim::new(2);
    Post::plant(&sim.disk());
    let post = sim.run(async {
        let mut both = believing();
        both.server.max_connections_per_ip = 1;
        let post = Post::open_with(both).await;
        let mut first = post.connect();
        first.expect_reply(&[220]).await;
        first.expect("XCLIENT ADDR=203.0.113.9", 220).await;
        // Its own address is free again, that of its client is not.
        let mut second = post.connect();
        second.expect_reply(&[220]).await;
        second.expect("XCLIENT ADDR=203.0.113.9", 421).await;
        drop(second);
        sessions(&post, 1).await;
        first.quit().await;
        sessions(&post, 0).await;
        let mut third = post.connect();
        third.expect_reply(&[220]).await;
        third.expect("XCLIENT ADDR=203.0.113.9 LOGIN=nobody", 550).await;
        third.expect("XCLIENT ADDR=203.0.113.9 LOGIN=ann", 220).await;
        third.quit().await;
        post
    });
    sim.pass(Duration::from_secs(60));
    assert_clean(&sim, post);
}

/// Waits until there are so many.
async fn sessions(post: &Post, count: usize) {
    while post.ingress().local.sessions.get() != count {
        shard::sleep_until(shard::now().after(Duration::from_millis(100))).await;
    }
}

#[test]
fn who_is_spoken_for_is_believed_in_every_respect() {
    let sim = Sim::new(3);
    Post::plant(&sim.disk());
    let post = sim.run(async {
        let post = Post::open_with(believing()).await;
        let mut client = post.connect();
        client.expect_reply(&[220]).await;
        client.expect("XCLIENT ADDR=203.0.113.9 NAME=mx.example.net LOGIN=ann", 220).await;
        client.expect("EHLO mx.example.net", 250).await;
        // As ann: nothing under another's address.
        client.expect("MAIL FROM:<bob@sim.example>", 553).await;
        client.expect("XFORWARD NAME=origin.example ADDR=192.0.2.77 IDENT=4711", 250).await;
        client.expect("MAIL FROM:<ann@sim.example>", 250).await;
        client.expect("RCPT TO:<bob@sim.example>", 250).await;
        client.expect("DATA", 354).await;
        client.control.write(&message(3, 200)).await.unwrap();
        client.control.write(b".\r\n").await.unwrap();
        client.expect_reply(&[250]).await;
        client.expect("XCLIENT LOGIN=[UNAVAILABLE]", 220).await;
        client.expect("EHLO mx.example.net", 250).await;
        client.expect("MAIL FROM:<bob@sim.example>", 250).await;
        client.quit().await;
        assert!(post.settled(PATIENCE).await);
        post
    });
    let lines = received(&sim.disk(), "bob");
    assert!(lines.contains("([203.0.113.9])") && lines.contains("with ESMTPA"), "{lines}");
    assert_clean(&sim, post);
}

#[test]
fn lmtp_tells_each_recipient_and_delivers_to_each() {
    seeds(60, |seed| {
        let sim = Sim::new(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open().await;
            let service = if seed % 2 == 0 { Service::Lmtp } else { Service::LmtpUnix };
            let mut client = Client::new(post.connect_to(service, 24));
            client.expect_reply(&[220]).await;
            client.expect("EHLO sim.example.net", 500).await;
            client.expect("LHLO sim.example.net", 250).await;
            client.expect("MAIL FROM:<me@example.net>", 250).await;
            client.expect("RCPT TO:<ann@sim.example>", 250).await;
            client.expect("RCPT TO:<nobody@sim.example>", 550).await;
            client.expect("RCPT TO:<bob@sim.example>", 250).await;
            client.expect("RCPT TO:<ann@sim.example>", 250).await;
            client.expect("DATA", 354).await;
            client.control.write(&message(seed, 5000)).await.unwrap();
            client.control.write(b".\r\n").await.unwrap();
            for _ in 0..3 {
                client.expect_reply(&[250]).await;
            }
            client.expect("NOOP", 250).await;
            client.quit().await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        for user in ["ann", "bob"] {
            assert_eq!(mailbox(&sim.disk(), user), [message(seed, 5000)], "{user}");
        }
        let lines = received(&sim.disk(), "bob");
        assert!(lines.contains("with LMTP"), "{lines}");
        assert_clean(&sim, post);
    });
}

/// More replies than the outbox holds, to a client that takes its time.
#[test]
fn a_thousand_recipients_get_a_thousand_replies() {
    seeds(10, |seed| {
        let sim = Sim::new(seed);
        sim.weather(Weather { window: 4096, segment: 1460, ..sim.world().weather.get() });
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let mut many = post::config();
            many.smtp.as_mut().unwrap().max_recipients = 1000;
            let post = Post::open_with(many).await;
            let mut client = Client::new(post.connect_to(Service::Lmtp, 24));
            client.expect_reply(&[220]).await;
            client.expect("LHLO sim.example.net", 250).await;
            client.expect("MAIL FROM:<me@example.net>", 250).await;
            for _ in 0..1000 {
                client.expect("RCPT TO:<ann@sim.example>", 250).await;
            }
            client.expect("DATA", 354).await;
            client.control.write(b"Subject: x\r\n\r\n.\r\n").await.unwrap();
            for _ in 0..1000 {
                client.expect_reply(&[250]).await;
            }
            client.expect("NOOP", 250).await;
            client.quit().await;
            assert!(post.settled(PATIENCE).await);
            post
        });
        assert_eq!(mailbox(&sim.disk(), "ann").len(), 1);
        assert_clean(&sim, post);
    });
}
