//! Who is told of what, how often, and who gets a copy.

use std::cell::Cell;

use super::crashes::recover;
use super::onward::{Mood, Moods, Sent, addresses, moods, onward_policy, open};
use super::*;
use crate::shard::Weather;
use crate::shard::crash::LOSSES;
use crate::shard::rng::Rng;

const HOUR: u64 = 3600;

fn from_stranger(sender: &str, to: &[&str]) -> Envelope {
    Envelope { peer: "203.0.113.7:2000".parse().unwrap(), ..envelope(sender, to) }
}

/// Reports by their subjects.
fn subjects(mail: &BTreeMap<String, Vec<Vec<u8>>>, user: &str) -> Vec<String> {
    let all = mail.get(user).into_iter().flatten();
    let subject = |octets: &Vec<u8>| {
        let text = String::from_utf8_lossy(octets).into_owned();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    let mut all: Vec<String> = all.map(subject).collect();
    all.sort();
    all
}

#[test]
fn who_may_be_forged_is_not_told_without_end() {
    let sim = boot(1);
    let (moods, sent) = (moods(&[("bad.example", Mood::Refuses)]), Sent::default());
    let place = sim.run(async {
        let allowance = Allowance { total: 4, per_address: 2 };
        let place = open(Policy { allowance, ..onward_policy() }, &moods, &sent).await;
        let post = async |envelope: Envelope| {
            place.post(envelope, b"Subject: x\r\n\r\n").await.unwrap();
        };
        for victim in ["a", "a", "A", "b", "b", "b", "c", "c"] {
            let victim = format!("{victim}@victim.example");
            post(from_stranger(&victim, &["out"])).await;
            pause(1).await;
        }
        assert!(place.settled(100).await);
        // A user here, and who may relay: all of them.
        for _ in 0..5 {
            post(from_stranger("me", &["out"])).await;
            post(envelope("friend@elsewhere.example", &["y@bad.example"])).await;
            let user = Protocol { authenticated: true, ..Protocol::default() };
            post(Envelope {
                protocol: user,
                ..from_stranger("u@users.example", &["z@bad.example"])
            })
            .await;
        }
        assert!(place.settled(100).await);
        pause(HOUR).await;
        post(from_stranger("c@victim.example", &["out"])).await;
        assert!(place.settled(100).await);
        place
    });
    let mut wanted = vec!["a@victim.example"; 2];
    wanted.extend(vec!["b@victim.example"; 2]);
    wanted.push("c@victim.example");
    wanted.extend(vec!["friend@elsewhere.example"; 5]);
    wanted.extend(vec!["u@users.example"; 5]);
    assert_eq!(addresses(&sent), wanted);
    assert_eq!(mail(&sim.disk())["me"].len(), 5);
    let counts = place.deliveries.counts();
    assert_eq!((counts.reports.get(), counts.reports_limited.get()), (20, 4));
    assert_clean(&sim, place);
}

#[test]
fn the_postmaster_hears_of_what_the_operator_chose() {
    for (copies, wanted) in [
        (vec![], vec![]),
        (vec![Copies::Bounce], vec!["Copy: a message could not be delivered"]),
        (vec![Copies::Delay], vec!["Copy: a message is delayed"]),
        (
            vec![Copies::Delay, Copies::Bounce],
            vec!["Copy: a message could not be delivered", "Copy: a message is delayed"],
        ),
    ] {
        let sim = boot(2);
        let list = [("bad.example", Mood::Refuses), ("busy.example", Mood::Busy)];
        let (moods, sent) = (moods(&list), Sent::default());
        let place = sim.run(async {
            let relay = Relay { delay_notice_seconds: 30, ..relay() };
            let place = open(Policy { copies, relay, ..onward_policy() }, &moods, &sent).await;
            let text = b"Subject: mine\r\n\r\nthe body\r\n";
            place.post(envelope("me", &["x@bad.example"]), text).await.unwrap();
            place.post(envelope("me", &["y@busy.example"]), text).await.unwrap();
            // The postmaster's own is no copy.
            place.post(envelope("postmaster", &["z@bad.example"]), text).await.unwrap();
            pause(120).await;
            moods.borrow_mut().clear();
            assert!(place.settled(300).await);
            place
        });
        let mail = mail(&sim.disk());
        let own = "Your message could not be delivered";
        let late = "Your message is delayed; nothing is lost yet";
        assert_eq!(subjects(&mail, "me"), [own, late]);
        let mut all: Vec<&str> = wanted.clone();
        all.push(own);
        assert_eq!(subjects(&mail, "postmaster"), all);
        for octets in &mail["postmaster"] {
            let text = String::from_utf8_lossy(octets).into_owned();
            let copy = text.contains("Subject: Copy: ");
            assert_eq!(copy, text.contains("of a report to\r\n<me@sim.example>."), "{text}");
            assert_eq!(copy, !text.contains("the body"), "headers only: {text}");
            assert!(text.contains("Subject: mine"), "{text}");
        }
        assert_clean(&sim, place);
    }
}

/// What nobody tried yet, because the destination is dead, is late all the same.
#[test]
fn everybody_behind_a_dead_destination_is_told_once() {
    seeds(10, |seed| {
        let sim = boot(seed);
        let (dead, sent): (Moods, Sent) = (moods(&[("gone.example", Mood::Gone)]), Sent::default());
        let patient = || {
            let relay = Relay {
                delay_notice_seconds: 4 * 3600,
                retry_first_seconds: 300,
                retry_seconds: 1800,
                retry_seconds_max: 14_400,
                give_up_seconds: 432_000,
                ..relay()
            };
            Policy { relay, ..onward_policy() }
        };
        sim.run(async {
            let place = open(patient(), &dead, &sent).await;
            for number in 0..20 {
                let to = format!("u{number}@gone.example");
                place.post(envelope("me", &[&to]), &text(number, 100)).await.unwrap();
            }
            place.post(envelope("", &["z@gone.example"]), &text(20, 100)).await.unwrap();
            pause(4 * HOUR - 60).await;
            assert_eq!(place.deliveries.counts().reports.get(), 0);
            // One destination, so few were tried.
            assert!(place.deliveries.counts().deferred.get() < 12);
            pause(240).await;
            assert_eq!(place.deliveries.counts().reports.get(), 20);
            place.close().await;
        });
        // Not again after a start, nor later.
        let place = sim.run(async {
            let place = open(patient(), &dead, &sent).await;
            pause(10 * HOUR).await;
            assert_eq!(place.deliveries.counts().reports.get(), 0);
            dead.borrow_mut().clear();
            assert!(place.settled(12 * HOUR).await);
            place
        });
        let mail = mail(&sim.disk());
        assert_eq!(mail["me"].len(), 20, "seed {seed}");
        for report in &mail["me"] {
            let report = String::from_utf8_lossy(report).into_owned();
            // Why, also of those that were not tried.
            for wanted in ["Action: delayed", "Will-Retry-Until:", "Status: 4.4.1", "no answer"] {
                assert!(report.contains(wanted), "no {wanted:?} in {report}");
            }
        }
        assert_eq!(addresses(&sent).len(), 21);
        assert_clean(&sim, place);
    });
}

/// The last message is gone: so is the timer, a minute later at most.
#[test]
fn an_empty_queue_has_no_timer() {
    let sim = boot(3);
    sim.weather(Weather::CALM);
    let (moods, sent) = (moods(&[("busy.example", Mood::Busy)]), Sent::default());
    let place = sim.run(async {
        let relay = Relay { delay_notice_seconds: 14_400, ..relay() };
        let place = open(Policy { relay, ..onward_policy() }, &moods, &sent).await;
        place.post(envelope("me", &["y@busy.example"]), b"x\r\n").await.unwrap();
        pause(5).await;
        assert!(place.deliveries.0.timing.get());
        moods.borrow_mut().clear();
        assert!(place.settled(300).await);
        pause(61).await;
        assert!(!place.deliveries.0.timing.get());
        place
    });
    assert_clean(&sim, place);
}

/// A list with a member who is nobody: the copy for the other member, and the report to the owner, whenever the
/// power fails. A report may come again when it fails before the note about it is durable, half a second at most.
#[test]
fn a_crash_at_any_step_loses_no_report() {
    let run = |step: u64| {
        let sim = boot(3);
        sim.weather(Weather::CALM);
        let acknowledged = Rc::new(Cell::new(false));
        let said = Rc::clone(&acknowledged);
        let begun = Rc::new(Cell::new(0));
        let started = Rc::clone(&begun);
        let steps = sim.world().executor.steps();
        sim.run_until(step, async {
            let place = Place::open().await;
            started.set(sim.world().executor.steps());
            place.post(envelope("me", &["list"]), b"Subject: x\r\n\r\n").await.unwrap();
            said.set(true);
            assert!(place.settled(600).await);
            place.spool.flush().await.unwrap();
        });
        let ended = sim.world().executor.steps();
        assert!(ended >= steps);
        let disk = sim.disk();
        (disk, acknowledged.get(), [begun.get(), ended])
    };
    let (disk, acknowledged, [begun, ended]) = run(u64::MAX);
    assert!(acknowledged && mail(&disk)["bob"].len() == 1);
    let (mut crashes, mut twice, mut early) = (0, 0, 0);
    for step in (begun..=ended).step_by(2) {
        let (disk, acknowledged, _) = run(step);
        let rng = Rng::new(step);
        for loss in LOSSES {
            let left = disk.crash(&rng, loss);
            early += usize::from(mail(&left).contains_key("bob"));
            recover(&left, rng.next());
            let mail = mail(&left);
            let (copies, reports) =
                (mail.get("ann").map_or(0, Vec::len), mail.get("bob").map_or(0, Vec::len));
            let what = format!("step {step} {loss:?}: {copies} copies, {reports} reports");
            assert!(copies <= 1 && reports <= 2 && (copies == 1) == (reports > 0), "{what}");
            assert!(!acknowledged || reports > 0, "{what}: lost");
            crashes += 1;
            twice += usize::from(reports == 2);
        }
    }
    assert!(crashes > 60 && early > 3 && twice * 2 < crashes, "{crashes} {early} {twice}");
    println!(
        "{crashes} crashes, {early} with the report in its mailbox, {twice} reports that came again"
    );
}
