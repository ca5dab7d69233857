//! Servers that mail is sent to and that do everything wrong, at every step: whatever they do, each message
//! arrives, comes back or waits, as RFC 5321 says, and in time.

use std::fs;
use std::time::Duration;

use super::few_seeds;
use super::post::{self, Post};
use super::relay::{self, HOUR, REMOTE, body, boot, reports, send, text};
use super::remote::{Fault, PASSWORD, PHASES, Phase, Remote, USER};
use crate::mail::hop::{Hop, Login, Onward, TlsPolicy};
use crate::shard::client::black_hole_at;
use crate::shard::names::Table;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather};
use crate::tls::testing::NAME;

const HERE: &str = "203.0.113.5";
const ELSEWHERE: &str = "203.0.113.6:25";
const MESSAGES: u64 = 2;
/// The longest wait of RFC 5321 §4.5.3.2 (10 min), what comes before it, and the pause to the next attempt.
const IN_TIME: Duration = Duration::from_secs(HOUR);

/// A way to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Clear,
    /// In chunks (RFC 3030).
    Chunks,
    Lmtp,
    /// In TLS to the right host alone, with a login.
    Secure,
    /// To the first of two hosts.
    Mx,
}

const WAYS: [Way; 5] = [Way::Clear, Way::Chunks, Way::Lmtp, Way::Secure, Way::Mx];

impl Way {
    fn route(self, password_file: &str) -> Onward {
        let hop = |text: &str| Onward::new(Hop::parse(text).unwrap());
        match self {
            Self::Clear | Self::Chunks => relay::relay(),
            Self::Lmtp => Onward { tls: TlsPolicy::None, ..hop(&format!("lmtp:{HERE}:25")) },
            Self::Secure => Onward {
                tls: TlsPolicy::Must,
                login: Some(Login { username: USER.into(), password_file: password_file.into() }),
                ..hop(&format!("relay:{NAME}:25"))
            },
            Self::Mx => hop("mx"),
        }
    }

    fn names() -> Table {
        Table::default()
            .host(NAME, &[HERE])
            .mx("far.example", &[(10, "one.far.example"), (20, "two.far.example")])
            .host("one.far.example", &[HERE])
            .host("two.far.example", &["203.0.113.6"])
    }

    fn set_up(self, remote: &Remote) {
        remote.0.lmtp.set(self == Self::Lmtp);
        remote.0.guarded.set(self == Self::Secure);
        let mut offers = remote.0.offers.borrow_mut();
        match self {
            Self::Chunks => offers.push("CHUNKING"),
            Self::Secure => offers.push("STARTTLS"),
            Self::Clear | Self::Lmtp | Self::Mx => {}
        }
    }

    /// Does a connection of this way come to that step?
    fn knows(self, phase: Phase) -> bool {
        match phase {
            Phase::StartTls | Phase::Handshake | Phase::Auth => self == Self::Secure,
            Phase::Data => self != Self::Chunks,
            Phase::Greeting
            | Phase::Hello
            | Phase::Mail
            | Phase::Rcpt
            | Phase::Body
            | Phase::Dot
            | Phase::Quit => true,
        }
    }
}

async fn pause(seconds: u64) {
    shard::sleep_until(shard::now().after(Duration::from_secs(seconds))).await;
}

/// A password in a file, for as long as the test runs.
fn password_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    file
}

/// Sends two messages while the first connection that comes to `phase` sees `fault`. The server in question
/// and another one; nothing is left of it all.
fn misfortune(seed: u64, way: Way, (phase, fault): (Phase, Fault)) -> (Sim, [Remote; 2]) {
    let what = format!("seed {seed}: {way:?}, {fault:?} at {phase:?}");
    let sim = boot(seed);
    let file = password_file();
    let (post, remotes) = sim.run(async {
        let remotes = [REMOTE, ELSEWHERE].map(Remote::begin);
        remotes.iter().for_each(|remote| way.set_up(remote));
        remotes[0].goes_wrong(phase, fault, 1);
        let config = relay::config(way.route(file.path().to_str().unwrap()));
        let post = Post::open_among(config, Way::names()).await;
        for number in 0..MESSAGES {
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(number, 40)).await;
        }
        assert!(post.settled(IN_TIME).await, "{what}: not in time");
        // The connection is kept a little, and then QUIT is said.
        pause(20).await;
        (post, remotes)
    });
    assert_eq!(remotes[0].0.fault.get(), Some((phase, fault, 0)), "{what}: never came to it");
    post::assert_clean(&sim, post);
    for number in 0..MESSAGES {
        let taken: Vec<_> = remotes.iter().flat_map(Remote::taken).collect();
        let copies: Vec<_> = taken.iter().filter(|one| body(one) == text(number, 40)).collect();
        // RFC 5321 §6.1: twice where the answer was lost, and only there.
        let told = copies.iter().filter(|one| one.told.is_some()).count();
        assert!(told <= 1, "{what}: {number} was answered {told} times");
        assert!(copies.len() <= 2, "{what}: {number} came {} times", copies.len());
        assert!(!copies.is_empty(), "{what}: {number} is lost");
    }
    (sim, remotes)
}

/// Every kind of misfortune at every step of every way: nothing is lost, nothing comes twice but where the
/// answer to the end of the message did not arrive, nobody is told anything, and nothing is left.
#[test]
fn whatever_happens_to_a_connection_the_message_arrives() {
    let faults = [
        Fault::Hang,
        Fault::Reset,
        Fault::Close,
        Fault::Garbage,
        Fault::Endless,
        Fault::Say("421 4.3.2 closing"),
        Fault::Say("451 4.3.0 not now"),
    ];
    few_seeds(1, |seed| {
        for way in WAYS {
            for phase in PHASES.into_iter().filter(|phase| way.knows(*phase)) {
                // The first seed has all of them; the others go for more weather.
                let one = [*Rng::new(seed ^ phase as u64).pick(&faults)];
                for fault in if seed == 0 { faults.to_vec() } else { one.to_vec() } {
                    let (sim, remotes) = misfortune(seed, way, (phase, fault));
                    let taken = remotes.iter().flat_map(Remote::taken).count();
                    let kept = !matches!(fault, Fault::Say(_) | Fault::Garbage);
                    let doubt = phase == Phase::Dot && kept;
                    let what = format!("seed {seed}: {way:?}, {fault:?} at {phase:?}");
                    assert_eq!(taken, 2 + usize::from(doubt), "{what}");
                    assert!(reports(&sim.disk(), "ann").is_empty(), "{what}");
                }
            }
        }
    });
}

/// Who says the wrong thing about a message that was kept is believed: RFC 5321 §4.2.1.
#[test]
fn the_first_digit_counts_whatever_was_done_with_the_message() {
    for (way, reply, copies, told) in [
        (Way::Clear, "451 4.3.0 I kept it", 3, 0),
        (Way::Chunks, "nonsense", 3, 0),
        (Way::Lmtp, "421 4.3.2 kept, and gone", 3, 0),
        (Way::Secure, "554 5.6.0 kept, but no", 2, 1),
        (Way::Mx, "354 go on", 3, 0),
    ] {
        let (sim, remotes) = misfortune(7, way, (Phase::Dot, Fault::KeepBut(reply)));
        assert_eq!(remotes.iter().flat_map(Remote::taken).count(), copies, "{reply}");
        assert_eq!(reports(&sim.disk(), "ann").len(), told, "{reply}");
    }
}

/// Octet by octet: in time it is an answer, too late it is none (RFC 5321 §4.5.3.2).
#[test]
fn an_answer_that_drips_counts_if_it_is_whole_in_time() {
    for phase in [Phase::Greeting, Phase::Hello, Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Dot]
    {
        for (seconds, late) in [(1, false), (70, true)] {
            let (_, remotes) = misfortune(5, Way::Clear, (phase, Fault::Drip(seconds)));
            let copies = 2 + usize::from(late && phase == Phase::Dot);
            assert_eq!(remotes[0].taken().len(), copies, "{phase:?}, {seconds} s");
        }
    }
}

/// Who never answers is not waited for longer than a connection may take, and the next host is asked.
#[test]
fn a_host_that_swallows_connections_delays_by_half_a_minute() {
    few_seeds(3, |seed| {
        let sim = boot(seed);
        sim.weather(Weather::CALM);
        let (post, remote) = sim.run(async {
            let remote = Remote::begin(ELSEWHERE);
            black_hole_at("203.0.113.7:25".parse().unwrap());
            let names = Table::default()
                .mx("far.example", &[(10, "hole.far.example"), (20, "two.far.example")])
                .host("hole.far.example", &["203.0.113.7"])
                .host("two.far.example", &["203.0.113.6"]);
            let config = relay::config(Way::Mx.route(""));
            let post = Post::open_among(config, names).await;
            let begun = shard::now();
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
            assert!(post.settled(IN_TIME).await);
            let took = shard::now().since(begun).as_secs();
            assert!((30..40).contains(&took), "{took} s");
            (post, remote)
        });
        assert_eq!(remote.taken().len(), 1);
        post::assert_clean(&sim, post);
    });
}

/// What a connection is lost with amid a message may be that message's doing: the server is not passed over, and
/// others are not kept from it. What it is lost with before is the server's.
#[test]
fn what_breaks_amid_a_message_says_nothing_about_the_server() {
    for (phase, others) in [(Phase::Body, 0), (Phase::Mail, 1)] {
        let (_, remotes) = misfortune(3, Way::Mx, (phase, Fault::Reset));
        assert_eq!(remotes[1].0.connections.get(), others, "{phase:?}");
    }
}

/// RFC 5321 §4.5.3.1.10: 452 is no refusal of those who have no room in a transaction; they are in the next one.
#[test]
fn who_does_not_fit_into_a_transaction_follows_at_once() {
    let sim = boot(8);
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        remote.0.recipients_max.set(2);
        let post = Post::open_with(relay::config(relay::relay())).await;
        let to: Vec<String> = (0..5).map(|number| format!("<r{number}@far.example>")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        send(&post, "<ann@sim.example>", &to, &text(1, 4)).await;
        assert!(post.settled(Duration::from_secs(60)).await, "somebody waits");
        (post, remote)
    });
    let mut counts: Vec<usize> = remote.taken().iter().map(|one| one.recipients.len()).collect();
    counts.sort_unstable();
    assert_eq!((counts, remote.0.connections.get()), (vec![1, 2, 2], 1));
    post::assert_clean(&sim, post);
}

/// A server that does not offer TLS gets nothing where it must be.
#[test]
fn where_tls_must_be_a_server_without_it_gets_nothing() {
    let sim = boot(22);
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let route = Onward { login: None, ..Way::Secure.route("") };
        let mut config = relay::config(route);
        config.relay.give_up_seconds = 600;
        let post = Post::open_among(config, Way::names()).await;
        send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
        assert!(post.settled(IN_TIME).await);
        (post, remote)
    });
    assert!(remote.taken().is_empty());
    let lines = remote.0.lines.borrow().clone();
    let few = |line: &String| line.starts_with("EHLO ") || line == "QUIT";
    assert!(lines.iter().all(few), "{lines:?}");
    let reports = reports(&sim.disk(), "ann");
    assert!(reports.len() == 1 && reports[0].contains("Status: 5.4.7"), "{reports:?}");
    post::assert_clean(&sim, post);
}

/// The certificate is not of the host of the route: no octet of mail, and no password, leaves.
#[test]
fn where_tls_must_be_nothing_is_said_to_somebody_else() {
    let sim = boot(21);
    let file = password_file();
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        Way::Secure.set_up(&remote);
        let route = Way::Secure.route(file.path().to_str().unwrap());
        let hop = Hop::parse("relay:one.far.example:25").unwrap();
        let mut config = relay::config(Onward { hop, ..route });
        config.relay.give_up_seconds = 600;
        let post = Post::open_among(config, Way::names()).await;
        send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
        assert!(post.settled(IN_TIME).await);
        (post, remote)
    });
    assert!(remote.taken().is_empty());
    let lines = remote.0.lines.borrow().clone();
    assert!(lines.iter().all(|line| line.starts_with("EHLO ") || line == "STARTTLS"), "{lines:?}");
    let reports = reports(&sim.disk(), "ann");
    assert!(reports.len() == 1 && reports[0].contains("Status: 5.4.7"), "{reports:?}");
    post::assert_clean(&sim, post);
}

/// The spool's disk is full while mail goes on: what was taken leaves all the same, what is not taken is
/// refused, and both are so only once.
#[test]
fn a_spool_that_fills_up_relays_what_it_has() {
    few_seeds(2, |seed| {
        let sim = boot(seed);
        sim.weather(Weather::CALM);
        let (post, remote, codes) = sim.run(async {
            let remote = Remote::begin(REMOTE);
            remote.goes_wrong(Phase::Mail, Fault::Say("450 4.2.0 not now"), 3);
            let post = Post::open_with(relay::config(relay::relay())).await;
            let mut codes = Vec::new();
            for number in 0..40 {
                if number == 5 {
                    sim.disk().space.set(seed % 20 * 20_000);
                }
                codes.push(attempt(&post, &text(number, 500)).await);
            }
            pause(600).await;
            sim.disk().space.set(u64::MAX);
            assert!(post.settled(4 * IN_TIME).await, "seed {seed}");
            (post, remote, codes)
        });
        assert!(codes[..5].iter().all(|code| *code == 250), "seed {seed}: {codes:?}");
        assert!(codes.contains(&452) || codes.contains(&451), "seed {seed}: never full: {codes:?}");
        let taken = remote.taken();
        for (number, code) in (0..).zip(&codes) {
            let copies = taken.iter().filter(|one| body(one) == text(number, 500)).count();
            assert_eq!(copies, usize::from(*code == 250), "seed {seed}: {number}, {code}");
        }
        post::assert_clean(&sim, post);
    });
}

/// The reply that decided about a message.
async fn attempt(post: &Post, text: &[u8]) -> u16 {
    let mut client = post.greeted().await;
    for line in ["MAIL FROM:<ann@sim.example>", "RCPT TO:<a@far.example>", "DATA"] {
        let reply = client.command(line).await.unwrap();
        if reply.code >= 400 {
            client.quit().await;
            return reply.code;
        }
    }
    client.control.write(text).await.unwrap();
    let reply = client.command(".").await.unwrap();
    client.quit().await;
    reply.code
}
