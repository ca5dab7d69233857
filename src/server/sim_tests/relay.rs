//! Mail that goes on: a whole server before a simulated one that takes it well, badly, or not at all.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::post::{self, Post};
use super::remote::{Fault, Phase, Remote, Taken};
use super::{few_seeds, seeds};
use crate::config::{At, Config, Route, RouteTo};
use crate::mail::hop::{Hop, Onward, TlsPolicy};
use crate::shard::crash::Loss;
use crate::shard::disk::Disk;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim, Weather};

pub(super) const REMOTE: &str = "203.0.113.5:25";
const SOCKET: &str = "/run/lmtp";
pub(super) const HOUR: u64 = 3600;

pub(super) fn config(onward: Onward) -> Config {
    let mut config = post::config();
    let smtp = config.smtp.as_mut().unwrap();
    smtp.routes = vec![Route {
        recipient: "*@far.example".into(),
        sender: None,
        authenticated: None,
        to: RouteTo::Onward(Box::new(onward)),
        recipients: None,
        at: At::default(),
    }];
    config
}

pub(super) fn relay() -> Onward {
    let hop = Hop::parse(&format!("relay:{REMOTE}")).unwrap();
    Onward { tls: TlsPolicy::None, ..Onward::new(hop) }
}

pub(super) fn boot(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    Post::plant(&sim.disk());
    sim
}

/// Accepts one message.
pub(super) async fn send(post: &Post, mail: &str, to: &[&str], text: &[u8]) {
    let mut client = post.greeted().await;
    client.expect(&format!("MAIL FROM:{mail}"), 250).await;
    for one in to {
        client.expect(&format!("RCPT TO:{one}"), 250).await;
    }
    client.expect("DATA", 354).await;
    client.control.write(text).await.unwrap();
    client.expect(".", 250).await;
    client.expect("QUIT", 221).await;
}

/// Lines that no other number has.
pub(super) fn text(number: u64, lines: usize) -> Vec<u8> {
    const LONGEST: usize = 60;
    let rng = Rng::new(number ^ 0x5EA);
    let letters = super::letters(&rng);
    let mut text = format!("Subject: {number}\r\n\r\n").into_bytes();
    for _ in 0..lines {
        let at = rng.range(0, letters.len() - LONGEST);
        text.push(b'x');
        text.extend_from_slice(&letters[at..at + rng.range(0, LONGEST)]);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Less the field that we add; that it is there, and once.
pub(super) fn body(taken: &Taken) -> Vec<u8> {
    let text = String::from_utf8_lossy(&taken.octets);
    assert!(text.starts_with("Received: from sim.example.net"), "{text}");
    assert_eq!(text.matches("Received:").count(), 1, "{text}");
    let at = text.find("Subject: ").unwrap();
    taken.octets[at..].to_vec()
}

async fn pause(seconds: u64) {
    shard::sleep_until(shard::now().after(Duration::from_secs(seconds))).await;
}

pub(super) fn reports(disk: &Disk, user: &str) -> Vec<String> {
    let files = disk.files(post::MAIL);
    let new = format!("{user}/new/").into_bytes();
    let found = files.into_iter().filter(|(path, _)| path.starts_with(&new));
    found.map(|(_, octets)| String::from_utf8_lossy(&octets).into_owned()).collect()
}

#[test]
fn what_is_accepted_goes_on_as_it_is() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (post, remote) = sim.run(async {
            let remote = Remote::begin(REMOTE);
            if seed % 3 == 1 {
                remote.0.offers.borrow_mut().push("CHUNKING");
            }
            if seed % 3 == 2 {
                remote.0.offers.borrow_mut().clear();
            }
            let post = Post::open_with(config(relay())).await;
            for number in 0..3 {
                let to = ["<a@far.example>", "<b@far.example>"];
                send(&post, "<ann@sim.example>", &to, &text(number, 1 << (4 * number))).await;
            }
            assert!(post.settled(Duration::from_secs(HOUR)).await, "seed {seed}");
            (post, remote)
        });
        let taken = remote.taken();
        assert_eq!(taken.len(), 3, "seed {seed}");
        for number in 0..3 {
            let wanted = text(number, 1 << (4 * number));
            assert!(taken.iter().any(|one| body(one) == wanted), "seed {seed}: {number}");
        }
        for one in &taken {
            assert_eq!(one.sender, "ann@sim.example");
            assert_eq!(one.recipients, ["a@far.example", "b@far.example"]);
        }
        assert!(reports(&sim.disk(), "ann").is_empty(), "nobody asked to be told");
        post::assert_clean(&sim, post);
    });
}

#[test]
fn a_connection_is_used_again_and_not_for_ever() {
    let sim = boot(3);
    sim.weather(Weather::CALM);
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let route = Onward { max_connections: 1, max_messages_per_connection: 4, ..relay() };
        let post = Post::open_with(config(route)).await;
        remote.goes_wrong(Phase::Greeting, Fault::Say("421 4.3.2 not yet"), 1);
        for number in 0..9 {
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(number, 3)).await;
        }
        assert!(post.settled(Duration::from_secs(HOUR)).await);
        (post, remote)
    });
    assert_eq!(remote.taken().len(), 9);
    // One that was turned away, and 4 + 4 + 1.
    assert_eq!((remote.0.connections.get(), remote.0.open_most.get()), (4, 1));
    post::assert_clean(&sim, post);
}

/// What waits goes on a new connection at once, however long an idle one is kept.
#[test]
fn a_connection_that_carried_enough_is_not_kept() {
    let sim = boot(4);
    sim.weather(Weather::CALM);
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let route = Onward { max_connections: 1, max_messages_per_connection: 2, ..relay() };
        let mut config = config(route);
        config.relay.idle_seconds = 600;
        let post = Post::open_with(config).await;
        for number in 0..7 {
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(number, 3)).await;
        }
        assert!(
            post.settled(Duration::from_secs(60)).await,
            "something waits for a lazy connection"
        );
        (post, remote)
    });
    assert_eq!((remote.taken().len(), remote.0.connections.get()), (7, 4));
    post::assert_clean(&sim, post);
}

#[test]
fn what_is_refused_for_good_comes_back_and_names_who_refused() {
    for (phase, reply) in [
        (Phase::Greeting, "554 5.3.2 no mail here"),
        (Phase::Mail, "550 5.7.1 not from you"),
        (Phase::Rcpt, "550 5.1.1 no such user"),
        (Phase::Data, "554 5.5.0 no valid recipients"),
        (Phase::Dot, "554 5.7.1 this is spam"),
    ] {
        let sim = boot(11);
        let post = sim.run(async {
            let remote = Remote::begin(REMOTE);
            remote.goes_wrong(phase, Fault::Say(reply), 9);
            let post = Post::open_with(config(relay())).await;
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
            send(&post, "<>", &["<a@far.example>"], &text(2, 4)).await;
            assert!(post.settled(Duration::from_secs(HOUR)).await, "{reply}");
            assert!(remote.taken().is_empty());
            post
        });
        let reports = reports(&sim.disk(), "ann");
        assert_eq!(reports.len(), 1, "{reply}: the null sender is never told");
        let report = &reports[0];
        for wanted in [
            "Action: failed\r\n".to_owned(),
            format!("Status: {}\r\n", reply.get(4..9).unwrap()),
            "Remote-MTA: dns; 203.0.113.5\r\n".to_owned(),
            format!("Diagnostic-Code: smtp; {reply}\r\n"),
            "Final-Recipient: rfc822;a@far.example\r\n".to_owned(),
        ] {
            assert!(report.contains(&wanted), "{reply}: no {wanted:?} in {report}");
        }
        post::assert_clean(&sim, post);
    }
}

/// Two servers refuse at one moment: what the second said while the first was written about is told too, at once.
#[test]
fn what_is_refused_while_a_report_is_written_is_told_as_well() {
    const OTHER: &str = "203.0.113.6:25";
    seeds(20, |seed| {
        let sim = boot(seed);
        let post = sim.run(async {
            let (one, other) = (Remote::begin(REMOTE), Remote::begin(OTHER));
            one.0.refusals.borrow_mut().push(("a@far.example", "550 5.1.1 no such user"));
            other.0.refusals.borrow_mut().push(("b@farther.example", "550 5.1.1 nor this one"));
            let mut config = config(relay());
            config.mail.retry_seconds = 3600;
            config.mail.retry_seconds_max = 3600;
            let smtp = config.smtp.as_mut().unwrap();
            let hop = Hop::parse(&format!("relay:{OTHER}")).unwrap();
            let onward = Onward { tls: TlsPolicy::None, ..Onward::new(hop) };
            smtp.routes.push(Route {
                recipient: "*@farther.example".into(),
                to: RouteTo::Onward(Box::new(onward)),
                ..smtp.routes[0].clone()
            });
            let post = Post::open_with(config).await;
            let to = ["<a@far.example>", "<b@farther.example>"];
            send(&post, "<ann@sim.example>", &to, &text(1, 4)).await;
            assert!(
                post.settled(Duration::from_secs(30)).await,
                "seed {seed}: something is untold"
            );
            post
        });
        let reports = reports(&sim.disk(), "ann").concat();
        for who in ["a@far.example", "b@farther.example"] {
            let line = format!("Final-Recipient: rfc822;{who}\r\n");
            assert_eq!(reports.matches(&line).count(), 1, "seed {seed}: {reports}");
        }
        post::assert_clean(&sim, post);
    });
}

#[test]
fn each_recipient_has_its_own_fate() {
    for lmtp in [false, true] {
        let sim = boot(12);
        let (post, remote) = sim.run(async {
            let remote =
                if lmtp { Remote::begin_path(Path::new(SOCKET)) } else { Remote::begin(REMOTE) };
            remote.0.lmtp.set(lmtp);
            remote.0.refusals.borrow_mut().extend([
                ("never@far.example", "550 5.1.1 nobody"),
                ("later@far.example", "450 4.2.1 not now"),
            ]);
            let route = Onward::new(Hop::LmtpUnix(SOCKET.to_owned()));
            let post = Post::open_with(config(if lmtp { route } else { relay() })).await;
            let to = ["<now@far.example>", "<never@far.example>", "<later@far.example>"];
            send(&post, "<ann@sim.example>", &to, &text(1, 4)).await;
            pause(30).await;
            assert_eq!(remote.taken().len(), 1);
            remote.0.refusals.borrow_mut().clear();
            assert!(post.settled(Duration::from_secs(HOUR)).await);
            (post, remote)
        });
        let to: Vec<Vec<String>> = remote.taken().into_iter().map(|one| one.recipients).collect();
        assert_eq!(to, [["now@far.example"], ["later@far.example"]]);
        let first = remote.0.lines.borrow()[0].clone();
        assert!(first.starts_with(if lmtp { "LHLO " } else { "EHLO " }), "{first}");
        let reports = reports(&sim.disk(), "ann");
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("never@far.example") && !reports[0].contains("later@"));
        post::assert_clean(&sim, post);
    }
}

#[test]
fn success_is_told_by_who_is_last() {
    for (offers, lmtp, told) in [
        (vec!["DSN"], false, None),
        (vec![], false, Some("Action: relayed\r\n")),
        (vec![], true, Some("Action: delivered\r\n")),
    ] {
        let sim = boot(13);
        let (post, remote) = sim.run(async {
            let remote =
                if lmtp { Remote::begin_path(Path::new(SOCKET)) } else { Remote::begin(REMOTE) };
            remote.0.lmtp.set(lmtp);
            *remote.0.offers.borrow_mut() = offers.clone();
            let route = Onward::new(Hop::LmtpUnix(SOCKET.to_owned()));
            let post = Post::open_with(config(if lmtp { route } else { relay() })).await;
            let to = "<a@far.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.example";
            send(&post, "<ann@sim.example> RET=HDRS ENVID=q1", &[to], &text(1, 4)).await;
            assert!(post.settled(Duration::from_secs(HOUR)).await);
            (post, remote)
        });
        assert_eq!(remote.taken().len(), 1);
        let lines = remote.0.lines.borrow().join("\n");
        let passed = lines.contains("RET=HDRS ENVID=q1")
            && lines.contains("NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.example");
        assert_eq!(passed, !offers.is_empty(), "{lines}");
        let reports = reports(&sim.disk(), "ann");
        assert_eq!(reports.len(), usize::from(told.is_some()));
        assert!(told.is_none_or(|action| reports[0].contains(action)), "{reports:?}");
        post::assert_clean(&sim, post);
    }
}

#[test]
fn without_tls_where_it_may_be_and_not_at_all_where_it_must() {
    for (tls, arrives) in [(TlsPolicy::May, true), (TlsPolicy::Must, false)] {
        let sim = boot(14);
        let (post, remote) = sim.run(async {
            let remote = Remote::begin(REMOTE);
            remote.0.offers.borrow_mut().push("STARTTLS");
            let mut config = config(Onward { tls, ..relay() });
            config.relay.give_up_seconds = 600;
            let post = Post::open_with(config).await;
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
            assert!(post.settled(Duration::from_secs(HOUR)).await);
            (post, remote)
        });
        assert_eq!(remote.taken().len(), usize::from(arrives), "{tls:?}");
        let reports = reports(&sim.disk(), "ann");
        assert_eq!(reports.len(), usize::from(!arrives));
        assert!(arrives || reports[0].contains("Status: 5.4.7"), "{reports:?}");
        post::assert_clean(&sim, post);
    }
}

#[test]
fn a_delay_is_told_once_and_the_end_of_patience_too() {
    let sim = boot(15);
    let post = sim.run(async {
        let remote = Remote::begin(REMOTE);
        remote.goes_wrong(Phase::Rcpt, Fault::Say("450 4.2.0 try again"), usize::MAX);
        let mut config = config(relay());
        config.relay.delay_notice_seconds = 1800;
        config.relay.give_up_seconds = 9 * 3600;
        let post = Post::open_with(config).await;
        send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(1, 4)).await;
        pause(8 * HOUR).await;
        let early = reports(&sim.disk(), "ann");
        assert_eq!(early.len(), 1, "{early:?}");
        assert!(early[0].contains("Action: delayed\r\nStatus: 4.2.0\r\n"), "{early:?}");
        assert!(early[0].contains("Will-Retry-Until: "));
        assert!(post.settled(Duration::from_secs(24 * HOUR)).await);
        post
    });
    let reports = reports(&sim.disk(), "ann");
    assert_eq!(reports.len(), 2);
    let last = reports.iter().find(|one| one.contains("Action: failed")).unwrap();
    assert!(last.contains("Status: 5.4.7\r\nRemote-MTA: dns; 203.0.113.5\r\n"), "{last}");
    post::assert_clean(&sim, post);
}

/// Who cannot be told here is told there.
#[test]
fn a_report_goes_where_a_route_leads() {
    let sim = boot(16);
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        remote.0.refusals.borrow_mut().push(("gone@far.example", "550 5.1.1 nobody"));
        let post = Post::open_with(config(relay())).await;
        send(&post, "<x@far.example>", &["<gone@far.example>"], &text(1, 4)).await;
        assert!(post.settled(Duration::from_secs(HOUR)).await);
        (post, remote)
    });
    let taken = remote.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(
        (taken[0].sender.as_str(), taken[0].recipients.as_slice()),
        ("", &["x@far.example".to_owned()][..])
    );
    assert!(String::from_utf8_lossy(&taken[0].octets).contains("Action: failed"));
    post::assert_clean(&sim, post);
}

/// The power fails at any step; the other server lives on. Nothing that was acknowledged is lost, and what comes
/// twice was not answered, or so lately that nobody can have noted it.
#[test]
fn a_crash_at_any_step_loses_nothing() {
    few_seeds(2, |seed| {
        let (all, _, steps) = until(&calm(seed), u64::MAX);
        assert_eq!(all, COUNT);
        let (mut twice, mut crashes) = (0, 0);
        for step in (1..steps).step_by(usize::try_from(steps / 120).unwrap().max(1)) {
            let sim = calm(seed);
            let (acknowledged, before, _) = until(&sim, step);
            let now = sim.world().executor.now();
            let left = sim.disk().crash(&Rng::new(step), Loss::Random);
            drop(sim);
            crashes += 1;
            let after = recover(step, left);
            for number in 0..COUNT {
                let wanted = text(number, 30);
                let same = |one: &&Taken| body(one) == wanted;
                let early: Vec<u64> =
                    before.iter().filter(same).filter_map(|one| one.told).collect();
                let copies = before.iter().chain(&after).filter(same).count();
                assert!(copies > 0 || number >= acknowledged, "step {step}: {number} is lost");
                assert!(copies <= 2, "step {step}: {number} came {copies} times");
                if copies == 2 {
                    twice += 1;
                    let noted = early.iter().any(|told| told + NOTED_NANOS < now);
                    assert!(!noted, "step {step}: {number} came again, told {early:?}, now {now}");
                }
            }
        }
        assert!(crashes > 60 && twice > 0, "{twice} of {crashes}");
    });
}

const COUNT: u64 = 2;
/// Half a second until a note is written, and the write.
const NOTED_NANOS: u64 = 600_000_000;

fn calm(seed: u64) -> Sim {
    let sim = boot(seed);
    sim.weather(Weather::CALM);
    sim
}

/// Sends some messages until the power fails before that step: how many were acknowledged, what the other server
/// has, and the last step.
fn until(sim: &Sim, step: u64) -> (u64, Vec<Taken>, u64) {
    let acknowledged = Cell::new(0);
    let last = Cell::new(0);
    let kept = RefCell::new(None);
    sim.run_until(step, async {
        let remote = Remote::begin(REMOTE);
        *kept.borrow_mut() = Some(remote.clone());
        let post = Post::open_with(config(relay())).await;
        for number in 0..COUNT {
            send(&post, "<ann@sim.example>", &["<a@far.example>"], &text(number, 30)).await;
            acknowledged.set(number + 1);
        }
        assert!(post.settled(Duration::from_secs(HOUR)).await);
        // Steps at which everything is noted already.
        for _ in 0..60 {
            shard::sleep_until(shard::now().after(Duration::from_millis(50))).await;
        }
        last.set(sim.world().executor.steps());
    });
    let taken = kept.borrow().as_ref().map(Remote::taken).unwrap_or_default();
    (acknowledged.get(), taken, last.get())
}

/// Starts again on what a crash left; what the other server gets then.
fn recover(seed: u64, left: Rc<Disk>) -> Vec<Taken> {
    Sim::with_disk(seed, left).run(async {
        let remote = Remote::begin(REMOTE);
        let post = Post::open_with(config(relay())).await;
        assert!(post.settled(Duration::from_secs(4 * HOUR)).await, "step {seed}");
        post.close().await;
        remote.taken()
    })
}
