//! Milters that do well, badly, or nothing at all, before a whole server.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::few_seeds;
use super::post::{self, Post, mailbox, message};
use crate::config::{Config, Milter, MilterAddress, OnFailure};
use crate::milter::packet;
use crate::server::notice::Phase;
use crate::shard::client::{ClientListener, ClientSocket, elsewhere};
use crate::shard::{self, Sim, Weather};

/// Seconds for each answer, and for all to a message.
const EACH: u32 = 7;
const WHOLE: u32 = 20;
/// The commands, in their order.
const STEPS: &[u8] = b"OCHMRTLNBE";

/// What happens in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Hang,
    Reset,
    Close,
    Garbage,
    /// Signs of life for ever.
    Progress,
    /// Changes without end.
    Endless,
}

const FAULTS: [Fault; 6] =
    [Fault::Hang, Fault::Reset, Fault::Close, Fault::Garbage, Fault::Progress, Fault::Endless];

/// A milter, as the script sees it.
#[derive(Clone)]
struct Puppet(Rc<State>);

#[derive(Default)]
struct State {
    fault: Cell<Option<(u8, Fault)>>,
    /// The answer to the end of a message; one that is empty: go on.
    end: RefCell<Vec<u8>>,
    /// Commands it heard.
    told: RefCell<Vec<u8>>,
    body: RefCell<Vec<u8>>,
    open: Cell<usize>,
}

impl Puppet {
    fn begin(address: &str) -> Self {
        let listener = ClientListener::bind_at(address.parse().unwrap());
        let puppet = Self(Rc::default());
        let own = puppet.clone();
        elsewhere("milter", async move {
            loop {
                let (socket, one) = (listener.accept().await, own.clone());
                elsewhere("milter session", async move {
                    one.0.open.set(one.0.open.get() + 1);
                    // A server that goes away is its own affair.
                    drop(one.serve(socket).await);
                    one.0.open.set(one.0.open.get() - 1);
                });
            }
        });
        puppet
    }

    async fn serve(&self, mut socket: ClientSocket) -> io::Result<()> {
        let state = &self.0;
        loop {
            let head = exactly(&mut socket, 4).await?;
            let length = u32::from_be_bytes(head.try_into().unwrap());
            let data = exactly(&mut socket, usize::try_from(length).unwrap()).await?;
            let letter = data[0];
            state.told.borrow_mut().push(letter);
            if letter == b'B' {
                state.body.borrow_mut().extend_from_slice(&data[1..]);
            }
            if matches!(letter, b'D' | b'A' | b'Q') {
                continue;
            }
            match state.fault.get() {
                Some((at, fault)) if at == letter => fail(&socket, fault).await?,
                _ => {}
            }
            let mut answer = Vec::new();
            match letter {
                b'O' => {
                    packet::push(b'O', &[&[0, 0, 0, 6, 0, 0, 1, 0xFF, 0, 0, 0, 0]], &mut answer);
                }
                b'E' if !state.end.borrow().is_empty() => answer = state.end.borrow().clone(),
                _ => packet::push(b'c', &[], &mut answer),
            }
            socket.write(&answer).await?;
        }
    }
}

async fn fail(socket: &ClientSocket, fault: Fault) -> io::Result<()> {
    let say = |letter: u8, data: &[u8]| {
        let mut octets = Vec::new();
        packet::push(letter, &[data], &mut octets);
        octets
    };
    let octets = match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Reset => {
            socket.reset();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Fault::Close => return Err(io::ErrorKind::UnexpectedEof.into()),
        Fault::Garbage => return socket.write(b"220 I am something else\r\n").await,
        Fault::Progress => say(b'p', b""),
        Fault::Endless => say(b'h', b"X-More\0and more\0"),
    };
    loop {
        socket.write(&octets).await?;
        shard::sleep_until(shard::now().after(Duration::from_millis(100))).await;
    }
}

async fn exactly(socket: &mut ClientSocket, count: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    while octets.len() < count {
        let more = socket.read(count - octets.len()).await?;
        if more.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        octets.extend(more);
    }
    Ok(octets)
}

const ADDRESS: &str = "203.0.113.9:8891";

fn config(on_failure: OnFailure) -> Config {
    let mut config = post::config();
    let (host, port) = ADDRESS.split_once(':').unwrap();
    let address = MilterAddress::Net { host: host.into(), port: port.parse().unwrap() };
    let milter = Milter {
        address,
        on_failure,
        authenticated: None,
        timeout_seconds: EACH,
        message_seconds: WHOLE,
    };
    config.smtp.as_mut().unwrap().milters = vec![milter];
    config
}

fn boot(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    Post::plant(&sim.disk());
    sim
}

/// The code of the command that decided, and how long the longest answer took.
async fn send(post: &Post, text: &[u8]) -> (u16, Duration) {
    let mut client = post.greeted().await;
    let mut longest = Duration::ZERO;
    let mut last = 0;
    let data = [text, b".\r\n"].concat();
    for line in ["MAIL FROM:<me@example.net>", "RCPT TO:<ann@sim.example>", "DATA", ""] {
        let begun = shard::now();
        let reply = if line.is_empty() {
            client.control.write(&data).await.unwrap();
            client.reply().await.unwrap()
        } else {
            client.command(line).await.unwrap()
        };
        longest = longest.max(shard::now().since(begun));
        last = reply.code;
        if last >= 400 {
            break;
        }
    }
    if last != 421 {
        client.expect("QUIT", 221).await;
    }
    (last, longest)
}

/// Every kind of misfortune at every step: the policy decides, within its time, and nothing is lost or left.
#[test]
fn whatever_a_milter_does_the_policy_decides() {
    few_seeds(2, |seed| {
        for policy in [OnFailure::Tempfail, OnFailure::Accept] {
            for (step, fault) in STEPS.iter().flat_map(|step| FAULTS.map(|fault| (*step, fault))) {
                let what = format!("seed {seed}: {fault:?} at {}, {policy:?}", char::from(step));
                let sim = boot(seed);
                // Short: there is weather in which an octet takes a hundredth of a second.
                let text = message(seed, 200);
                let (post, puppet) = sim.run(async {
                    let puppet = Puppet::begin(ADDRESS);
                    let post = Post::open_with(config(policy)).await;
                    puppet.0.fault.set(Some((step, fault)));
                    let (code, took) = send(&post, &text).await;
                    let expected = if policy == OnFailure::Accept { 250 } else { 451 };
                    assert_eq!(code, expected, "{what}");
                    // Connecting and an answer; those to one message together.
                    let most = u64::from(if step == b'E' || fault == Fault::Progress {
                        WHOLE
                    } else {
                        EACH
                    });
                    assert!(took < Duration::from_secs(most + 5), "{what}: {took:?}");
                    // It is asked again, and is well now.
                    puppet.0.fault.set(None);
                    assert_eq!(send(&post, &text).await.0, 250, "{what}");
                    assert!(post.settled(Duration::from_secs(60)).await, "{what}");
                    shard::sleep_until(shard::now().after(Duration::from_secs(5))).await;
                    (post, puppet)
                });
                let expected = if policy == OnFailure::Accept { 2 } else { 1 };
                assert_eq!(mailbox(&sim.disk(), "ann"), vec![text; expected], "{what}");
                if fault != Fault::Hang {
                    assert_eq!(puppet.0.open.get(), 0, "{what}: connections to it");
                }
                post::assert_clean(&sim, post);
            }
        }
    });
}

/// Header and body of messages of every size, those in files of their own too, changed or not.
#[test]
fn messages_of_every_size_go_through_and_may_change() {
    few_seeds(12, |seed| {
        for len in [10, 5_000, 70_000, 1_300_000] {
            for change in 0..4 {
                let sim = boot(seed);
                sim.weather(Weather { window: 65_536, segment: 16_384, ..Weather::CALM });
                let text = message(seed, len);
                let header = format!("Subject: {seed}\r\n");
                let post = sim.run(async {
                    let puppet = Puppet::begin(ADDRESS);
                    let post = Post::open_with(config(OnFailure::Tempfail)).await;
                    let mut end = Vec::new();
                    match change {
                        1 => packet::push(b'i', &[&[0, 0, 0, 1], b"X-Sign\0ed\0"], &mut end),
                        2 => packet::push(b'h', &[b"X-Last\0one\0"], &mut end),
                        3 => {
                            let body = text[header.len() + 2..].repeat(3);
                            for portion in body.chunks(65_535) {
                                packet::push(b'b', &[portion], &mut end);
                            }
                        }
                        _ => {}
                    }
                    packet::push(b'c', &[], &mut end);
                    *puppet.0.end.borrow_mut() = end;
                    assert_eq!(send(&post, &text).await.0, 250);
                    assert!(post.settled(Duration::from_secs(600)).await);
                    assert_eq!(*puppet.0.body.borrow(), text[header.len() + 2..]);
                    post
                });
                let found = mailbox(&sim.disk(), "ann");
                let body = text[header.len()..].to_vec();
                let expected = match change {
                    2 => [header.as_bytes(), b"X-Last: one\r\n", &body].concat(),
                    3 => [header.as_bytes(), b"\r\n", &body[2..].repeat(3)].concat(),
                    _ => text,
                };
                assert!(found == [expected], "seed {seed}, {len} octets, change {change}");
                if change == 1 {
                    let files = sim.disk().files(post::MAIL);
                    let whole = files.values().next().unwrap();
                    let whole = String::from_utf8_lossy(whole);
                    let at = whole.find("X-Sign: ed\r\nSubject:").unwrap();
                    assert!(whole.find("Received:").unwrap() < at);
                }
                post::assert_clean(&sim, post);
            }
        }
    });
}

#[test]
fn a_message_is_held_or_thrown_away_as_it_says() {
    for (answer, held) in [(&b"q"[..], true), (b"d", false)] {
        let sim = boot(3);
        let post = sim.run(async {
            let puppet = Puppet::begin(ADDRESS);
            let post = Post::open_with(config(OnFailure::Tempfail)).await;
            let mut end = Vec::new();
            packet::push(answer[0], &[b"odd\0"], &mut end);
            packet::push(b'c', &[], &mut end);
            if !held {
                end.truncate(end.len() - 5);
            }
            *puppet.0.end.borrow_mut() = end;
            assert_eq!(send(&post, &message(3, 500)).await.0, 250);
            assert_eq!(post.settled(Duration::from_secs(3600)).await, !held);
            post
        });
        assert!(mailbox(&sim.disk(), "ann").is_empty());
        post::assert_clean(&sim, post);
        if held {
            // It still is after the next start.
            let post = sim.run(async {
                let post = Post::open().await;
                assert!(!post.settled(Duration::from_secs(3600)).await);
                post
            });
            assert!(mailbox(&sim.disk(), "ann").is_empty());
            post::assert_clean(&sim, post);
        }
    }
}

#[test]
fn a_session_that_resets_aborts_and_one_connection_serves_many_messages() {
    let sim = boot(5);
    let post = sim.run(async {
        let puppet = Puppet::begin(ADDRESS);
        let post = Post::open_with(config(OnFailure::Tempfail)).await;
        let mut client = post.greeted().await;
        client.expect("MAIL FROM:<me@example.net>", 250).await;
        client.expect("RSET", 250).await;
        client.expect("MAIL FROM:<you@example.net>", 250).await;
        client.expect("RCPT TO:<nobody@sim.example>", 550).await;
        client.expect("EHLO other.example", 250).await;
        client.expect("MAIL FROM:<you@example.net>", 250).await;
        client.expect("QUIT", 221).await;
        shard::sleep_until(shard::now().after(Duration::from_secs(5))).await;
        let told = puppet.0.told.borrow();
        // Who is refused here is none of its business.
        assert_eq!(String::from_utf8_lossy(&told), "ODCHDMADMAHDMAQ");
        post
    });
    post::assert_clean(&sim, post);
}

#[test]
fn a_server_that_stops_waits_for_no_milter() {
    for step in STEPS {
        let sim = boot(7);
        let post = sim.run(async {
            let puppet = Puppet::begin(ADDRESS);
            let post = Post::open_with(config(OnFailure::Accept)).await;
            puppet.0.fault.set(Some((*step, Fault::Hang)));
            let stopping = post.clone();
            let begun = shard::now();
            shard::spawn("stops", async move {
                shard::sleep_until(shard::now().after(Duration::from_secs(3))).await;
                stopping.ingress().local.notice.enter(Phase::Stopping).await;
            });
            let (code, _) = send(&post, &message(7, 500)).await;
            assert_eq!(code, 421, "{}", char::from(*step));
            assert!(shard::now().since(begun) < Duration::from_secs(5));
            post
        });
        assert!(mailbox(&sim.disk(), "ann").is_empty());
        post::assert_clean(&sim, post);
    }
}
