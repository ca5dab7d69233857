//! Scenarios of TLS: implicit sessions, the change from clear to TLS, and peers that spoil it.

use std::rc::Rc;
use std::time::Duration;

use super::house::{self, House};
use super::post::{self, Post};
use super::secure::SecureSocket;
use super::{content, seeds};
use crate::server::data_link::DataLink;
use crate::server::link::{HANDSHAKE, Link, Unsecured};
use crate::shard::client::ClientSocket;
use crate::shard::{self, File, Links, Root, Sim, Weather};
use crate::tls::testing::{self, BOTH, Person, Speaks};
use crate::tls::{Keeper, Use};

/// After this no handshake goes on any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// A handshake over the slowest network there is, octet by octet.
const SLOW: Duration = Duration::from_secs(600);

/// A network that takes a whole flight of a handshake, as every kernel's buffers do.
pub(super) fn fair(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    let segment = [1, 100, 1460][usize::try_from(seed % 3).unwrap()];
    let weather = Weather {
        late: 30,
        slow: if segment == 1 { 1 } else { 10 },
        delay_millis: 20,
        segment,
        window: 16_384,
        short: 30,
    };
    sim.weather(weather);
    sim
}

pub(super) fn person(seed: u64) -> Person {
    Person::new(&testing::keeper().1, BOTH[usize::try_from(seed % 2).unwrap()])
}

#[test]
fn implicit_ftps_is_ftp() {
    seeds(40, |seed| {
        let sim = fair(seed);
        sim.disk().plant_dir(house::ROOT);
        let house = sim.run(async {
            let house = House::open(1);
            let tls = person(seed).connect();
            let mut client = SecureSocket::shake_hands(house.connect_tls(), tls).await.unwrap();
            assert!(client.reply().await.starts_with("220"));
            assert!(client.command("NOOP").await.starts_with("200"));
            assert!(client.command("QUIT").await.starts_with("221"));
            assert_eq!(client.rest().await.unwrap(), b"", "and the end is said");
            house
        });
        sim.pass(PATIENCE);
        house::assert_clean(&sim, house);
    });
}

#[test]
fn implicit_smtps_is_smtp() {
    seeds(40, |seed| {
        let sim = fair(seed);
        Post::plant(&sim.disk());
        let post = sim.run(async {
            let post = Post::open().await;
            let tls = person(seed).connect();
            let mut client = SecureSocket::shake_hands(post.connect_tls(), tls).await.unwrap();
            assert!(client.reply().await.starts_with("220"));
            assert!(client.command("EHLO sim.example").await.starts_with("250"));
            assert!(client.command("QUIT").await.starts_with("221"));
            assert_eq!(client.rest().await.unwrap(), b"", "and the end is said");
            post
        });
        sim.pass(PATIENCE);
        post::assert_clean(&sim, post);
    });
}

/// What a client does that is no handshake.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Http,
    Garbage,
    Silence,
    Trickle,
    Half,
    Reset,
    Close,
}

const WRONGS: [Wrong; 7] = [
    Wrong::Http,
    Wrong::Garbage,
    Wrong::Silence,
    Wrong::Trickle,
    Wrong::Half,
    Wrong::Reset,
    Wrong::Close,
];

#[test]
fn what_is_no_handshake_ends_in_time_and_leaves_nothing() {
    seeds(70, |seed| {
        let wrong = WRONGS[usize::try_from(seed).unwrap() % WRONGS.len()];
        let sim = fair(seed);
        sim.disk().plant_dir(house::ROOT);
        let house = sim.run(async {
            let house = House::open(1);
            let mut socket = house.connect_tls();
            let hello = person(seed).connect().outgoing();
            let began = shard::now();
            match wrong {
                Wrong::Http => drop(socket.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await),
                Wrong::Garbage => drop(socket.write(&content(seed, 300)).await),
                Wrong::Silence => {}
                Wrong::Trickle => {
                    for octet in &hello {
                        let wait = shard::now().after(Duration::from_secs(1));
                        shard::sleep_until(wait).await;
                        if socket.write(&[*octet]).await.is_err() {
                            break;
                        }
                    }
                }
                Wrong::Half => socket.write(&hello[..hello.len() / 2]).await.unwrap(),
                Wrong::Reset => {
                    socket.write(&hello).await.unwrap();
                    socket.reset();
                }
                Wrong::Close => socket.shut(),
            }
            let last = socket.read_to_end().await;
            if let (Wrong::Http, Ok(last)) = (wrong, &last) {
                // RFC 8446 §6: an alert, fatal.
                assert_eq!((last.first(), last.get(5)), (Some(&21), Some(&2)), "{last:?}");
            }
            let most = HANDSHAKE + Duration::from_secs(2);
            // What trickles ends while the client sleeps; all else ends with the deadline at the latest.
            if !matches!(wrong, Wrong::Trickle) {
                assert!(shard::now().since(began) < most, "{wrong:?}");
            }
            house
        });
        sim.pass(PATIENCE);
        house::assert_clean(&sim, house);
    });
}

/// What a client sends, in two parts, before it was told that it gets TLS; `kept` octets of the end of the
/// first part are what the driver holds. The connection's fate.
async fn asked(keeper: &Keeper, clear: &[u8], kept: usize) -> (Result<(), Unsecured>, Vec<u8>) {
    let (mut socket, stream) = ClientSocket::pair(21);
    let link = Link::new(stream);
    socket.write(clear).await.unwrap();
    // The command itself, and what came with it.
    let mut received = 0;
    let command = b"AUTH TLS\r\n".len();
    while received < command + kept {
        received += link.receive().await.unwrap().len();
    }
    let pause = shard::now().after(Duration::from_secs(5));
    shard::sleep_until(pause).await;
    let offer = keeper.offer(Use::Ftp).unwrap();
    let deadline = shard::now().after(SLOW);
    let left_over = received - command;
    let done = link.upgrade(left_over, b"234 x\r\n".to_vec(), &offer, deadline).await;
    drop(link);
    let heard = socket.read_to_end().await.unwrap_or_default();
    (done.map(drop), heard)
}

#[test]
fn octets_in_clear_behind_the_request_end_the_connection() {
    let injected = b"AUTH TLS\r\nUSER a\r\nPASS b\r\n";
    let command = b"AUTH TLS\r\n".len();
    // The driver has the command and from none to all of what came behind; the rest is in the socket.
    for kept in 0..=injected.len() - command {
        seeds(3, |seed| {
            let sim = fair(seed);
            sim.run(async {
                let (keeper, _) = testing::keeper();
                let (done, heard) = asked(&keeper, injected, kept).await;
                assert!(matches!(done, Err(Unsecured::Injected)), "{kept}: {done:?}");
                assert_eq!(heard, b"", "no reply that grants it");
            });
        });
    }
}

#[test]
fn a_request_alone_gets_its_reply_and_the_handshake() {
    seeds(40, |seed| {
        let sim = fair(seed);
        sim.run(async {
            let (keeper, _) = testing::keeper();
            let (mut socket, stream) = ClientSocket::pair(21);
            let link = Rc::new(Link::new(stream));
            let server = Rc::clone(&link);
            shard::spawn("server", async move {
                let mut command = Vec::new();
                while !command.ends_with(b"\n") {
                    command.extend_from_slice(&server.receive().await.unwrap());
                }
                let offer = keeper.offer(Use::Ftp).unwrap();
                let deadline = shard::now().after(SLOW);
                let granted = b"200 before\r\n234 x\r\n".to_vec();
                let info = server.upgrade(0, granted, &offer, deadline).await.unwrap();
                assert_eq!(server.info(), Some(info));
                let mut heard = Vec::new();
                while heard.len() < 6 {
                    heard.extend_from_slice(&server.receive().await.unwrap());
                }
                server.post(heard);
                server.posted().await.unwrap();
                server.post_last(b"bye\r\n".to_vec());
                server.posted().await.unwrap();
                assert_eq!(&*server.receive().await.unwrap(), b"", "the end was said");
                server.finish().await.unwrap();
            });
            socket.write(b"AUTH TLS\r\n").await.unwrap();
            assert_eq!(socket.read_line().await.unwrap(), b"200 before\r\n");
            assert_eq!(socket.read_line().await.unwrap(), b"234 x\r\n");
            let mut client =
                SecureSocket::shake_hands(socket, person(seed).connect()).await.unwrap();
            client.write(b"NO").await.unwrap();
            client.write(b"OP\r\n").await.unwrap();
            assert_eq!(client.line().await.unwrap(), "NOOP\r\n");
            client.close().await.unwrap();
            assert_eq!(client.rest().await.unwrap(), b"bye\r\n");
        });
    });
}

#[test]
fn a_control_connection_that_is_cut_off_says_so() {
    seeds(10, |seed| {
        let sim = fair(seed);
        sim.run(async {
            let (keeper, _) = testing::keeper();
            let (socket, stream) = ClientSocket::pair(21);
            let link = Rc::new(Link::new(stream));
            let server = Rc::clone(&link);
            shard::spawn("server", async move {
                let offer = keeper.offer(Use::Ftp).unwrap();
                server.secure(&offer, shard::now().after(SLOW)).await.unwrap();
                let end = server.receive().await.map(|octets| octets.len());
                assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
            });
            let client = SecureSocket::shake_hands(socket, person(seed).connect()).await.unwrap();
            client.socket.shut();
            let later = shard::now().after(PATIENCE);
            shard::sleep_until(later).await;
        });
        assert!(sim.world().executor.panics().is_empty(), "{:?}", sim.world().executor.panics());
    });
}

/// A data connection in TLS and its client, with their handshake done.
async fn data(seed: u64, keeper: &Keeper, house: &House) -> (DataLink, SecureSocket) {
    let (socket, stream) = ClientSocket::pair(20);
    let tls = person(seed).connect();
    let shaking = async move { SecureSocket::shake_hands(socket, tls).await.unwrap() };
    let client = spawned(shaking);
    let offer = keeper.offer(Use::Ftp).unwrap().data();
    let deadline = shard::now().after(SLOW);
    let local = Rc::clone(&house.context().local);
    let (link, info) = DataLink::secure(&local, stream, &offer, deadline).await.unwrap();
    assert!(info.bound.is_none(), "it showed no ticket");
    (link, client.await)
}

/// Runs a future as a task of its own; its outcome.
fn spawned<T: 'static>(work: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
    let done = Rc::new(std::cell::RefCell::new(None));
    let there = Rc::clone(&done);
    shard::spawn("script", async move {
        let outcome = work.await;
        *there.borrow_mut() = Some(outcome);
    });
    async move {
        loop {
            if let Some(outcome) = done.borrow_mut().take() {
                return outcome;
            }
            let soon = shard::now().after(Duration::from_millis(10));
            shard::sleep_until(soon).await;
        }
    }
}

#[test]
fn files_go_out_whole_and_their_end_is_said() {
    seeds(60, |seed| {
        let sim = fair(seed);
        sim.disk().plant_dir(house::ROOT);
        let len = [0, 1, 16_384, 16_385, 65_536, 300_001][usize::try_from(seed).unwrap() % 6];
        let whole = content(seed, len);
        sim.disk().plant(&format!("{}/x", house::ROOT), &whole);
        let house = sim.run(async {
            let house = House::open(1);
            let (keeper, _) = testing::keeper();
            let (link, mut client) = data(seed, &keeper, &house).await;
            let received = spawned(async move { client.rest().await.unwrap() });
            let root = Root::open(house::ROOT.as_ref(), Links::InRoot).unwrap();
            let file: File = root.open_file(b"x").await.unwrap();
            let mut at = 0;
            while at < len {
                let moved = link.send_file(&file, at as u64, len - at).await.unwrap();
                assert!(moved > 0, "the file has more");
                at += moved;
            }
            assert_eq!(link.send_file(&file, len as u64, 1).await.unwrap(), 0, "the file ends");
            let text = bytes::Bytes::from_static(b"and words");
            assert_eq!(link.send_some(&text).await.unwrap(), text.len());
            link.finish().await.unwrap();
            let received = received.await;
            assert!(received[..len] == whole && &received[len..] == b"and words", "{len}");
            drop(link);
            house
        });
        sim.pass(PATIENCE);
        house::assert_clean(&sim, house);
    });
}

#[test]
fn uploads_come_whole_and_are_told_from_those_cut_off() {
    seeds(60, |seed| {
        let sim = fair(seed);
        sim.disk().plant_dir(house::ROOT);
        let len = [0, 1, 16_384, 16_385, 300_001][usize::try_from(seed).unwrap() % 5];
        let whole = content(seed, len);
        let cut = seed % 3 == 0;
        let house = sim.run(async {
            let house = House::open(1);
            let (keeper, _) = testing::keeper();
            let (link, mut client) = data(seed, &keeper, &house).await;
            let sent = whole.clone();
            let sending = spawned(async move {
                client.write(&sent).await.unwrap();
                if !cut {
                    client.close().await.unwrap();
                }
                client.socket.shut();
                client
            });
            let mut received = Vec::new();
            loop {
                link.readable().await.unwrap();
                let block = shard::block().await;
                let (count, block) = link.receive_into(block, 7).await;
                let count = count.unwrap();
                if count == 0 {
                    break;
                }
                received.extend_from_slice(&block[7..7 + count]);
            }
            assert!(received == whole, "{len}");
            assert_eq!(link.is_cut_off(), cut);
            link.close();
            drop(sending.await);
            drop(link);
            house
        });
        sim.pass(PATIENCE);
        house::assert_clean(&sim, house);
    });
}

#[test]
fn tickets_of_a_control_connection_open_its_data_connections() {
    for speaks in [Speaks::Tls12, Speaks::Tls13] {
        let sim = Sim::new(7);
        sim.disk().plant_dir(house::ROOT);
        let house = sim.run(async {
            let house = House::open(1);
            let (keeper, trust) = testing::keeper();
            let person = Person::new(&trust, speaks);
            let (socket, stream) = ClientSocket::pair(990);
            let control = Rc::new(Link::new(stream));
            let server = Rc::clone(&control);
            let offer = keeper.offer(Use::Ftp).unwrap();
            let shaken =
                spawned(
                    async move { server.secure(&offer, shard::now().after(SLOW)).await.unwrap() },
                );
            let tls = person.connect();
            let mut client = SecureSocket::shake_hands(socket, tls).await.unwrap();
            let first = shaken.await;
            control.post(b"220 x\r\n".to_vec());
            assert_eq!(client.line().await.unwrap(), "220 x\r\n", "with it came the tickets");
            for _ in 0..5 {
                let (socket, stream) = ClientSocket::pair(20);
                let tls = person.connect();
                let client = spawned(async move {
                    let mut client = SecureSocket::shake_hands(socket, tls).await.unwrap();
                    client.rest().await.unwrap();
                });
                let offer = control.data_offer().unwrap();
                let local = Rc::clone(&house.context().local);
                let deadline = shard::now().after(SLOW);
                let made = DataLink::secure(&local, stream, &offer, deadline).await;
                let (link, info) = made.unwrap();
                assert!(info.resumed, "{speaks:?}");
                assert_eq!(info.bound, first.bound);
                link.finish().await.unwrap();
                client.await;
            }
            drop((control, client));
            house
        });
        sim.pass(PATIENCE);
        house::assert_clean(&sim, house);
    }
}
