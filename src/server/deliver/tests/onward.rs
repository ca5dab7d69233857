//! Messages for other servers, with a sender that answers as the test says.

use std::collections::BTreeSet;

use super::super::onward::{Errand, Outcome};
use super::*;
use crate::mail::hop::{Hop, Onward};
use crate::mail::route::{Route, RouteTo};
use crate::mail::schedule::Ended;
use crate::server::queue::{Action, Answer, Pick, Request};

/// Everything that is not ours goes on by MX, from whoever asks.
pub(super) fn onward_policy() -> Policy {
    let everywhere = Route::new("*", RouteTo::Onward(Arc::new(Onward::new(Hop::Mx))));
    let networks = vec![crate::mail::route::Network { address: [192, 0, 2, 0].into(), prefix: 24 }];
    let rules = Rules { routes: vec![everywhere], relay_from: networks, ..rules() };
    let user = |name: &str| User { name: name.to_owned(), addresses: Vec::new() };
    let aliases = Aliases::parse("out: x@bad.example\n", &mut |_| Err(String::new())).unwrap();
    let router = Router::new(rules, ["ann", "me"].map(user), aliases);
    Policy { router: Arc::new(router), ..policy() }
}

/// What was sent: destination, first target, how many, its octets.
pub(super) type Sent = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

/// How a destination answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Takes,
    Refuses,
    Busy,
    Gone,
}

pub(super) type Moods = Rc<RefCell<BTreeMap<String, Mood>>>;

/// Sends, one message a connection after another, until the deliveries are closed.
async fn send(deliveries: Deliveries, moods: Moods, sent: Sent) {
    loop {
        while let Some(errand) = deliveries.next_errand().await {
            shard::spawn(
                "sim relay",
                connection(deliveries.clone(), errand, moods.clone(), sent.clone()),
            );
        }
        deliveries.errands_due().await;
        if deliveries.is_closed() {
            return;
        }
    }
}

async fn connection(deliveries: Deliveries, errand: Errand, moods: Moods, sent: Sent) {
    let place = errand.place();
    let (mut errand, mut count) = (Some(errand), 0);
    let mut ended = Ended::Fine;
    while let Some(one) = errand.take() {
        pause(1).await;
        let mood = moods.borrow().get(&one.domain).copied().unwrap_or(Mood::Takes);
        let octets = one.content.read(0, usize::MAX).await.unwrap();
        let outcome = |number: u32| {
            let address = one.message.borrow().targets[number as usize].address.clone();
            match mood {
                Mood::Takes => {
                    sent.borrow_mut().push((address, octets.to_vec()));
                    Outcome::Delivered { reported: true, reply: "250 ok".to_owned() }
                }
                Mood::Refuses => Outcome::Failed("5.1.1 sim said: 550 nobody".to_owned()),
                Mood::Busy => Outcome::Deferred("4.2.0 sim said: 450 busy".to_owned()),
                Mood::Gone => Outcome::Deferred("4.4.1 no answer".to_owned()),
            }
        };
        let results: Vec<_> =
            one.targets.iter().map(|number| (*number, outcome(*number))).collect();
        deliveries.finish_errand(one, results, "sim[192.0.2.2]:25");
        count += 1;
        if mood == Mood::Gone {
            ended = Ended::Unreachable("4.4.1 no answer".to_owned());
            break;
        }
        errand = deliveries.next_errand_for(place, count).await;
    }
    deliveries.end_connection(place, ended);
}

pub(super) fn moods(list: &[(&str, Mood)]) -> Moods {
    Rc::new(RefCell::new(list.iter().map(|(name, mood)| ((*name).to_owned(), *mood)).collect()))
}

pub(super) async fn open(policy: Policy, moods: &Moods, sent: &Sent) -> Place {
    let place = Place::open_with(policy).await;
    shard::spawn("sim driver", send(place.deliveries.clone(), moods.clone(), sent.clone()));
    place
}

pub(super) fn addresses(sent: &Sent) -> Vec<String> {
    let mut all: Vec<String> = sent.borrow().iter().map(|(address, _)| address.clone()).collect();
    all.sort();
    all
}

#[test]
fn a_message_goes_here_and_there() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (moods, sent) = (moods(&[]), Sent::default());
        let place = sim.run(async {
            let place = open(onward_policy(), &moods, &sent).await;
            let to = ["ann", "x@b.example", "y@b.example", "z@c.example"];
            place.post(envelope("me", &to), &text(1, 9000)).await.unwrap();
            assert!(place.settled(60).await);
            place
        });
        assert_eq!(addresses(&sent), ["x@b.example", "y@b.example", "z@c.example"]);
        assert!(sent.borrow().iter().all(|(_, octets)| *octets == text(1, 9000)));
        assert_eq!(mail(&sim.disk())["ann"], [delivered("me", &text(1, 9000))]);
        assert_eq!(place.deliveries.counts().relayed.get(), 3);
        assert_clean(&sim, place);
    });
}

#[test]
fn what_is_refused_comes_back_to_its_sender() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (moods, sent) = (moods(&[("bad.example", Mood::Refuses)]), Sent::default());
        let place = sim.run(async {
            let place = open(onward_policy(), &moods, &sent).await;
            let to = ["x@bad.example", "y@good.example"];
            place.post(envelope("me", &to), &text(1, 100)).await.unwrap();
            assert!(place.settled(60).await);
            place
        });
        let boxes = mail(&sim.disk());
        let report = String::from_utf8_lossy(&boxes["me"][0]).into_owned();
        assert!(report.contains("x@bad.example") && report.contains("550 nobody"), "{report}");
        assert!(!report.contains("y@good.example, ") && boxes["me"].len() == 1);
        assert_eq!(addresses(&sent), ["y@good.example"]);
        assert_clean(&sim, place);
    });
}

#[test]
fn what_waits_is_tried_again_and_given_up() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let list = [("busy.example", Mood::Busy), ("gone.example", Mood::Gone)];
        let (moods, sent) = (moods(&list), Sent::default());
        let place = sim.run(async {
            let place = open(onward_policy(), &moods, &sent).await;
            for (number, to) in
                (0..).zip(["a@busy.example", "b@gone.example", "c@gone.example", "d@ok.example"])
            {
                place.post(envelope("me", &[to]), &text(number, 100)).await.unwrap();
            }
            pause(40).await;
            assert_eq!(place.deliveries.figures().messages, 3);
            let deferred = place.deliveries.counts().deferred.get();
            assert!((3..9).contains(&deferred), "{deferred}: back-off");
            moods.borrow_mut().insert("busy.example".to_owned(), Mood::Takes);
            // Five minutes is the patience here; what the schedule gives up later it looks at then.
            assert!(place.settled(900).await);
            place
        });
        assert_eq!(addresses(&sent), ["a@busy.example", "d@ok.example"]);
        let reports = mail(&sim.disk())["me"].clone();
        assert_eq!(reports.len(), 2);
        for report in reports {
            let report = String::from_utf8_lossy(&report).into_owned();
            assert!(report.contains("given up after") && report.contains("no answer"), "{report}");
        }
        assert_clean(&sim, place);
    });
}

#[test]
fn a_start_finds_them_and_asks_the_routes_again() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (dead, sent) = (moods(&[("b.example", Mood::Gone)]), Sent::default());
        sim.run(async {
            let place = open(onward_policy(), &dead, &sent).await;
            place.post(envelope("me", &["x@b.example", "ann"]), &text(1, 5000)).await.unwrap();
            place.post(envelope("me", &["y@b.example"]), &text(2, 100)).await.unwrap();
            pause(5).await;
            place.close().await;
        });
        assert_eq!(addresses(&sent), Vec::<String>::new());
        let well = moods(&[]);
        let place = sim.run(async {
            let place = open(onward_policy(), &well, &sent).await;
            assert!(place.settled(120).await);
            place
        });
        assert_eq!(addresses(&sent), ["x@b.example", "y@b.example"]);
        assert_eq!(mail(&sim.disk())["ann"].len(), 1, "not twice");
        assert_clean(&sim, place);
    });
}

#[test]
fn without_a_route_mail_waits() {
    let sim = boot(1);
    let (well, sent) = (moods(&[]), Sent::default());
    let place = sim.run(async {
        let place = open(onward_policy(), &well, &sent).await;
        let message = place.message(envelope("me", &["x@b.example"]));
        // The routes change between the reply and the first attempt.
        *place.policy.borrow_mut() = policy();
        let mut draft = place.spool.draft();
        draft.append(&text(1, 100)).await.unwrap();
        let committed = draft.commit(|_| message.encode()).await.unwrap();
        place.deliveries.accept(committed, message);
        pause(5).await;
        let Answer::Page(page) =
            ask(&place, Request::List { pick: Pick::default(), after: None }).await
        else {
            panic!()
        };
        assert_eq!(page.entries[0].reason.as_deref(), Some("4.4.4 no route leads there any more"));
        *place.policy.borrow_mut() = onward_policy();
        assert!(place.settled(120).await);
        place
    });
    assert_eq!(addresses(&sent), ["x@b.example"]);
    assert_clean(&sim, place);
}

async fn ask(place: &Place, request: Request) -> Answer {
    place.deliveries.answer(&request, usize::MAX).await.unwrap().read()
}

#[test]
fn the_operator_holds_releases_retries_and_deletes() {
    seeds(20, |seed| {
        let sim = boot(seed);
        let (moods, sent) = (moods(&[("gone.example", Mood::Gone)]), Sent::default());
        let place = sim.run(async {
            let place = open(onward_policy(), &moods, &sent).await;
            let mut ids = Vec::new();
            for (number, to) in (0..).zip(["a@gone.example", "b@gone.example", "c@gone.example"]) {
                ids.push(place.post(envelope("me", &[to]), &text(number, 100)).await.unwrap());
            }
            let change = async |action, ids: &[QueueId]| {
                let pick = Pick { ids: ids.to_vec(), ..Pick::default() };
                ask(&place, Request::Change { action, pick }).await;
            };
            pause(3).await;
            change(Action::Hold, &ids[..1]).await;
            change(Action::Delete, &ids[1..2]).await;
            place.deliveries.flush().await.unwrap();
            moods.borrow_mut().clear();
            let places = place.deliveries.destinations();
            let seen: Vec<_> = places.iter().map(|it| (it.name.as_str(), it.failures)).collect();
            assert_eq!(seen, [("gone.example", 1)]);
            let pick = Pick { destination: Some("GONE.*".to_owned()), ..Pick::default() };
            let Answer::Changed(changed) =
                ask(&place, Request::Change { action: Action::Retry, pick }).await
            else {
                panic!()
            };
            assert_eq!(changed.picked, 2, "held ones too, but they are not wanted");
            place.deliveries.flush().await.unwrap();
            pause(4).await;
            assert_eq!(addresses(&sent), ["c@gone.example"]);
            pause(100).await;
            assert_eq!(addresses(&sent), ["c@gone.example"], "held is held, deleted is deleted");
            change(Action::Release, &ids[..1]).await;
            place.deliveries.flush().await.unwrap();
            assert!(place.settled(100).await);
            place
        });
        let all: BTreeSet<String> = addresses(&sent).into_iter().collect();
        assert_eq!(all, BTreeSet::from(["a@gone.example", "c@gone.example"].map(String::from)));
        assert_clean(&sim, place);
    });
}
