//! What arrives where, what is tried again, and what senders and operators see.

use super::*;
use crate::server::queue::{Action, Answer, Pick, Request};
use crate::shard::fault::errno;
use crate::shard::{BLOCK_BYTES, Weather};
use crate::smtp::envelope::Notify;

fn pick(id: QueueId) -> Pick {
    Pick { ids: vec![id], ..Pick::default() }
}

async fn ask(place: &Place, request: &Request) -> Answer {
    place.deliveries.answer(request, usize::MAX).await.unwrap().read()
}

async fn change(place: &Place, action: Action, id: QueueId) -> u64 {
    match ask(place, &Request::Change { action, pick: pick(id) }).await {
        Answer::Changed(changed) => changed.changed,
        other @ (Answer::Page(_) | Answer::Detail(_) | Answer::Destinations(_)) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn small_and_large_arrive_octet_by_octet() {
    seeds(25, |seed| {
        let sim = boot(seed);
        let sizes = [0, 1, 700, BLOCK_BYTES - 80, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 77];
        let place = sim.run(async {
            let place = Place::open().await;
            for (number, size) in (0..).zip(sizes) {
                let to = if number % 2 == 0 { "ann" } else { "both" };
                place.post(envelope("me", &[to]), &text(number, size)).await.unwrap();
            }
            assert!(place.settled(600).await);
            place
        });
        let mail = mail(&sim.disk());
        for (number, size) in (0..).zip(sizes) {
            let wanted = delivered("me", &text(number, size));
            assert!(mail["ann"].contains(&wanted), "seed {seed}: {size}");
            assert_eq!(mail["bob"].contains(&wanted), number % 2 == 1);
        }
        assert_eq!((mail["ann"].len(), mail["bob"].len()), (6, 3));
        assert_eq!(place.deliveries.counts().delivered.get(), 9);
        for (path, octets) in sim.disk().files(MAIL) {
            let size = format!(",S={}", octets.len());
            assert!(path.ends_with(size.as_bytes()), "{}", String::from_utf8_lossy(&path));
        }
        assert!(sim.disk().files(MAIL).keys().all(|path| !path.windows(5).any(|w| w == b"/tmp/")));
        assert_clean(&sim, place);
    });
}

#[test]
fn a_folder_takes_what_is_tagged_where_there_is_one() {
    let sim = boot(3);
    for part in ["tmp", "new", "cur"] {
        sim.disk().plant_dir(&format!("{MAIL}/ann/.lists/{part}"));
    }
    let place = sim.run(async {
        let place = Place::open().await;
        for to in ["ann+lists", "ann+none", "ann+../../x"] {
            place.post(envelope("", &[to]), b"x\r\n").await.unwrap();
        }
        assert!(place.settled(60).await);
        place
    });
    let mail = mail(&sim.disk());
    assert_eq!((mail["ann/.lists"].len(), mail["ann"].len(), mail.len()), (1, 2, 2));
    assert_clean(&sim, place);
}

#[test]
fn what_fails_is_tried_again_and_arrives_once() {
    let errors = [errno::IO, errno::NOSPC];
    let mut hit = std::collections::BTreeSet::new();
    for at in 1..90 {
        for (number, error) in (0..).zip(errors) {
            let sim = boot(at);
            let octets = [text(1, 700), text(2, 2 * BLOCK_BYTES)];
            sim.run(async {
                let place = Place::open().await;
                let disk = sim.disk();
                for octets in &octets {
                    place.post(envelope("me", &["both"]), octets).await.unwrap();
                }
                disk.fail_at(disk.operations() + at, error, number == 1 && at % 2 == 0);
                pause(8).await;
                hit.extend(disk.hit());
                disk.heal();
                // Where a write of the spool itself failed, the next start settles.
                place.settled(1200).await;
            });
            for name in ["ann", "bob"] {
                let mut found = mail(&sim.disk()).remove(name).unwrap_or_default();
                found.sort();
                let mut wanted = octets.each_ref().map(|octets| delivered("me", octets)).to_vec();
                wanted.sort();
                assert!(
                    found == wanted,
                    "operation {at}, error {error}: {name} has {}",
                    found.len()
                );
            }
        }
    }
    assert!(hit.len() > 5, "{hit:?}");
}

#[test]
fn a_full_mailbox_defers_and_then_the_sender_is_told() {
    seeds(25, |seed| {
        let sim = boot(seed);
        let place = sim.run(async {
            let policy = Policy { mailbox_bytes_max: 5000, ..policy() };
            let place = Place::open_with(policy).await;
            place.post(envelope("", &["ann"]), &text(1, 3000)).await.unwrap();
            assert!(place.settled(60).await);
            place.post(envelope("me", &["ann"]), &text(2, 3000)).await.unwrap();
            pause(150).await;
            assert_eq!(place.deliveries.figures().deferred, 1, "seed {seed}");
            assert!(place.deliveries.counts().deferred.get() >= 3);
            assert!(place.settled(400).await, "seed {seed}");
            place
        });
        let mail = mail(&sim.disk());
        assert_eq!(mail["ann"].len(), 1);
        let report = String::from_utf8_lossy(&mail["me"][0]).into_owned();
        assert!(report.starts_with("Return-Path: <>\r\nFrom: "), "{report}");
        assert!(report.contains("Status: 5.4.7\r\n") && report.contains("4.2.2 mailbox full"));
        assert!(report.contains("Subject: 2\r\n"));
        let counts = place.deliveries.counts();
        assert_eq!((counts.failed.get(), counts.reports.get()), (1, 1));
        assert_clean(&sim, place);
    });
}

/// A round that waits for nothing may be over before who began it looks at the clock again.
#[test]
fn what_is_deferred_is_tried_until_it_is_given_up() {
    seeds(50, |seed| {
        let sim = boot(seed);
        sim.weather(Weather::CALM);
        let place = sim.run(async {
            let quick = Policy {
                mailbox_bytes_max: 1,
                retry_seconds: 1,
                retry_seconds_max: 2,
                give_up_seconds: 10,
                ..policy()
            };
            let place = Place::open_with(quick).await;
            place.post(envelope("", &["ann"]), &text(1, 300)).await.unwrap();
            pause(1).await;
            place.post(envelope("", &["ann"]), &text(2, 300)).await.unwrap();
            assert!(place.settled(30).await, "seed {seed}: {:?}", place.deliveries.counts());
            place
        });
        assert_eq!(place.deliveries.counts().failed.get(), 2, "seed {seed}");
        assert_clean(&sim, place);
    });
}

#[test]
fn room_in_a_mailbox_is_seen() {
    let sim = boot(5);
    let place = sim.run(async {
        let place = Place::open_with(Policy { mailbox_bytes_max: 5000, ..policy() }).await;
        place.post(envelope("", &["ann"]), &text(1, 3000)).await.unwrap();
        assert!(place.settled(60).await);
        place.post(envelope("me", &["ann"]), &text(2, 3000)).await.unwrap();
        pause(30).await;
        let files = sim.disk().files(MAIL);
        let name = files.keys().next().unwrap().rsplit(|&c| c == b'/').next().unwrap();
        let root = Root::open(Path::new(MAIL), Links::Deny).unwrap();
        root.open_dir(b"ann/new").await.unwrap().unlink(name).await.unwrap();
        assert!(place.settled(200).await);
        place
    });
    assert_eq!(mail(&sim.disk())["ann"], [delivered("me", &text(2, 3000))]);
    assert_clean(&sim, place);
}

#[test]
fn who_is_told() {
    let sim = boot(7);
    let place = sim.run(async {
        let place = Place::open().await;
        // Nobody there at delivery: the sender here is told, one elsewhere and nobody are not.
        for sender in ["me", "far@elsewhere.example", ""] {
            place.post(envelope(sender, &["gone"]), b"Subject: x\r\n\r\n").await.unwrap();
        }
        assert!(place.settled(60).await);
        assert_eq!(place.deliveries.counts().reports.get(), 1);
        // A member of a list: its owner.
        place
            .post(envelope("far@elsewhere.example", &["list"]), b"Subject: y\r\n\r\n")
            .await
            .unwrap();
        assert!(place.settled(60).await);
        // Wanted news of success.
        let mut wanted = envelope("me", &["ann"]);
        let notify = Notify { success: true, failure: true, delay: false };
        wanted.recipients[0].notify = Some(notify);
        place.post(wanted, b"Subject: z\r\n\r\n").await.unwrap();
        assert!(place.settled(60).await);
        place
    });
    let mail = mail(&sim.disk());
    let text =
        |name: &str, number: usize| String::from_utf8_lossy(&mail[name][number]).into_owned();
    let me: Vec<String> = (0..mail["me"].len()).map(|number| text("me", number)).collect();
    assert_eq!(me.len(), 2);
    assert!(me.iter().any(|text| text.contains("Action: failed\r\nStatus: 5.1.1")));
    assert!(me.iter().any(|text| text.contains("Action: delivered\r\nStatus: 2.0.0")));
    assert_eq!(mail["bob"].len(), 1);
    assert!(text("bob", 0).contains("Final-Recipient: rfc822;gone@sim.example"));
    assert!(
        mail["ann"].iter().any(|one| one.starts_with(b"Return-Path: <owner-list@sim.example>"))
    );
    assert_clean(&sim, place);
}

#[test]
fn an_operator_holds_releases_retries_and_deletes() {
    seeds(25, |seed| {
        let sim = boot(seed);
        let place = sim.run(async {
            let place = Place::open_with(Policy {
                mailbox_bytes_max: 1,
                retry_seconds: 1000,
                retry_seconds_max: 1000,
                give_up_seconds: 100_000,
                ..policy()
            })
            .await;
            let mut ids = Vec::new();
            for _ in 0..3 {
                ids.push(place.post(envelope("me", &["ann"]), b"x\r\n").await.unwrap());
            }
            pause(50).await;
            let Answer::Page(page) =
                ask(&place, &Request::List { pick: Pick::default(), after: None }).await
            else {
                panic!("no page")
            };
            let states: Vec<_> = page.entries.iter().map(|entry| entry.state.as_str()).collect();
            assert_eq!(states, ["deferred"; 3]);
            place.policy.borrow_mut().mailbox_bytes_max = 0;
            assert_eq!(change(&place, Action::Hold, ids[0]).await, 1);
            assert_eq!(change(&place, Action::Retry, ids[1]).await, 1);
            assert_eq!(change(&place, Action::Delete, ids[2]).await, 1);
            place.deliveries.flush().await.unwrap();
            pause(50).await;
            assert_eq!(place.waiting(), 1, "seed {seed}");
            pause(2000).await;
            assert_eq!(place.waiting(), 1, "held");
            assert_eq!(change(&place, Action::Release, ids[0]).await, 1);
            assert!(place.settled(50).await);
            assert_eq!(place.deliveries.counts().removed.get(), 1);
            place
        });
        assert_eq!(mail(&sim.disk())["ann"].len(), 2);
        assert_clean(&sim, place);
    });
}

#[test]
fn an_operator_who_retries_makes_no_pause_longer() {
    let sim = boot(9);
    let place = sim.run(async {
        let policy = Policy {
            mailbox_bytes_max: 1,
            retry_seconds: 100,
            retry_seconds_max: 100_000,
            give_up_seconds: 1_000_000,
            ..policy()
        };
        let place = Place::open_with(policy).await;
        let id = place.post(envelope("me", &["ann"]), b"x\r\n").await.unwrap();
        for round in 1..6 {
            pause(10).await;
            assert_eq!(place.deliveries.counts().deferred.get(), round);
            let Answer::Detail(Some(detail)) = ask(&place, &Request::Show { id }).await else {
                panic!("no message")
            };
            let next = detail.entry.next.unwrap() - shard::wall().0;
            assert!((80..=100).contains(&next), "round {round}: {next} seconds");
            assert_eq!(detail.targets[0].attempts, 1);
            assert_eq!(change(&place, Action::Retry, id).await, 1);
        }
        assert_eq!(change(&place, Action::Delete, id).await, 1);
        pause(10).await;
        place
    });
    assert_clean(&sim, place);
}

#[test]
fn changes_survive_a_restart() {
    let sim = boot(11);
    let ids = sim.run(async {
        let place = Place::open_with(Policy { mailbox_bytes_max: 1, ..policy() }).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(place.post(envelope("me", &["ann"]), b"x\r\n").await.unwrap());
        }
        pause(5).await;
        assert_eq!(change(&place, Action::Hold, ids[0]).await, 1);
        assert_eq!(change(&place, Action::Delete, ids[1]).await, 1);
        place.deliveries.flush().await.unwrap();
        ids
    });
    let disk = sim.disk().crash(&shard::rng::Rng::new(1), shard::crash::Loss::All);
    drop(sim);
    let sim = Sim::with_disk(12, disk);
    let place = sim.run(async {
        let place = Place::open().await;
        pause(100).await;
        assert_eq!(place.waiting(), 1);
        assert_eq!(change(&place, Action::Hold, ids[0]).await, 0, "held already");
        assert_eq!(change(&place, Action::Release, ids[0]).await, 1);
        assert!(place.settled(50).await);
        place
    });
    assert_eq!(mail(&sim.disk())["ann"].len(), 2);
    assert_clean(&sim, place);
}

#[test]
fn a_slow_disk_delays_no_commit_of_others_and_few_rounds_run() {
    let sim = boot(13);
    let place = sim.run(async {
        let place = Place::open().await;
        for number in 0..40 {
            place.post(envelope("me", &["both"]), &text(number, 100)).await.unwrap();
            assert!(place.deliveries.0.queue.borrow().running <= PLACES);
            assert!(place.deliveries.0.queue.borrow().contents <= CONTENTS_MAX);
        }
        assert!(place.settled(600).await);
        place
    });
    assert_eq!(mail(&sim.disk())["bob"].len(), 40);
    assert_clean(&sim, place);
}

/// A place with so many users, `u0` and so on, on a disk that takes a tenth of a second for everything.
async fn place_of(users: usize, sim: &Sim) -> (Place, Vec<String>) {
    let names: Vec<String> = (0..users).map(|number| format!("u{number}")).collect();
    let user = |name: &String| User { name: name.clone(), addresses: Vec::new() };
    let router = Arc::new(Router::new(rules(), names.iter().map(user), Aliases::default()));
    let place = Place::open_with(Policy { router, ..policy() }).await;
    sim.disk().slow.set(Duration::from_millis(100));
    (place, names)
}

fn places_taken(place: &Place) -> usize {
    place.deliveries.0.queue.borrow().running + place.deliveries.0.spares.get()
}

#[test]
fn targets_of_one_message_overlap_and_let_others_in() {
    seeds(4, |seed| {
        let sim = boot(seed);
        sim.weather(Weather::CALM);
        let place = sim.run(async {
            let (place, names) = place_of(60, &sim).await;
            let to: Vec<&str> = names.iter().map(String::as_str).collect();
            let begun = shard::now();
            place.post(envelope("", &to[..1]), &text(1, 300)).await.unwrap();
            assert!(place.settled(60).await);
            let one = shard::now().since(begun);
            let begun = shard::now();
            place.post(envelope("", &to[1..]), &text(2, 300)).await.unwrap();
            let mut most = 0;
            for _ in 0..10 {
                shard::sleep_until(shard::now().after(Duration::from_millis(50))).await;
                most = most.max(places_taken(&place));
            }
            let other = place.post(envelope("", &to[..1]), &text(3, 300)).await.unwrap();
            while place.deliveries.0.queue.borrow().known(other).is_some() {
                shard::sleep_until(shard::now().after(Duration::from_millis(50))).await;
                most = most.max(places_taken(&place));
            }
            assert_eq!(place.deliveries.0.queue.borrow().figures().messages, 1, "waited for all");
            assert!(place.settled(600).await);
            let many = shard::now().since(begun);
            assert!(many < one * 59 / 3, "seed {seed}: {one:?} {many:?}");
            assert_eq!((most, places_taken(&place)), (PLACES, 0), "seed {seed}");
            place
        });
        assert_eq!(mail(&sim.disk()).values().map(Vec::len).sum::<usize>(), 61);
        assert_clean(&sim, place);
    });
}

/// What ended before the power failed is in the log, though the round was not over.
#[test]
fn each_target_is_noted_as_it_ends() {
    let sim = boot(3);
    sim.weather(Weather::CALM);
    let done = sim.run(async {
        let (place, names) = place_of(60, &sim).await;
        let to: Vec<&str> = names.iter().map(String::as_str).collect();
        place.post(envelope("", &to), &text(1, 300)).await.unwrap();
        let done = || usize::try_from(place.deliveries.counts().delivered.get()).unwrap();
        while done() < 20 {
            pause(1).await;
        }
        let done = done();
        assert!(done < 60, "over already: this shows nothing");
        place.spool.flush().await.unwrap();
        done
    });
    let left = sim.disk().crash(&shard::rng::Rng::new(1), shard::crash::Loss::All);
    drop(sim);
    let sim = Sim::with_disk(4, left);
    sim.run(async {
        let root = Root::open(Path::new(SPOOL), Links::Deny).unwrap();
        let settings = spool::Settings {
            segment_bytes: 64 << 10,
            memory_bytes: 100_000,
            reserve_bytes: 0,
            replaces: Note::replaces,
        };
        let (spool, found) = Spool::open(&root, 0, 1, settings).await.unwrap();
        let found = found.all().await.unwrap();
        assert!(found[0].notes.len() >= done, "{} of {done}", found[0].notes.len());
        spool.close().await;
    });
}

#[test]
fn old_messages_are_carried_along() {
    let sim = boot(17);
    let place = sim.run(async {
        let place = Place::open_with(Policy { mailbox_bytes_max: 2000, ..policy() }).await;
        let old = place.post(envelope("me", &["ann"]), &text(0, 2500)).await.unwrap();
        pause(5).await;
        place.policy.borrow_mut().give_up_seconds = 1_000_000;
        place.policy.borrow_mut().mailbox_bytes_max = 2000;
        for number in 1..150 {
            place
                .post(envelope("", &["nobody@elsewhere.example"]), &text(number, 4000))
                .await
                .unwrap();
        }
        pause(120).await;
        assert!(place.settled(1).await || place.waiting() == 1);
        let stats = place.spool.stats();
        assert!(stats.segments < 8, "{stats:?}");
        place.policy.borrow_mut().mailbox_bytes_max = 0;
        assert_eq!(change(&place, Action::Retry, old).await, 1);
        assert!(place.settled(100).await);
        place
    });
    assert_eq!(mail(&sim.disk())["ann"], [delivered("me", &text(0, 2500))]);
    assert_clean(&sim, place);
}
