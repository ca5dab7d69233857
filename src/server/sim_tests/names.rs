//! Where mail goes, asked by many tasks at once, of a resolver that is late, fails, lies or is silent.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{post, seeds};
use crate::config::Config;
use crate::limits::{DNS_FAILURE_SECONDS, RESOLUTION_SECONDS_MAX};
use crate::mx::{Answer, Destination, Found, Kind, Nobody, Ourselves, Question, Trouble, Verdict};
use crate::server::resolver::{Resolver, ourselves};
use crate::server::shared::{Local, Shared};
use crate::shard::names::{TTL_SECONDS, Table};
use crate::shard::{self, Sim};
use crate::store::accounts::Accounts;
use crate::tls::testing;

/// A server that the world can reach.
fn config() -> Config {
    let mut config = post::config();
    config.server.hostname = "US.example".into();
    if let Some(smtp) = &mut config.smtp {
        smtp.listen = vec!["0.0.0.0:25".parse().unwrap()];
    }
    config
}

fn resolver(table: &Arc<Table>) -> (Rc<Local>, Rc<Resolver>) {
    let shared = Shared::new(config(), Accounts::default(), testing::keeper().0, 1);
    let local = Local::new(Arc::new(shared.with_names(Arc::clone(table) as Arc<_>)));
    let resolver = Resolver::new(&local);
    (local, resolver)
}

fn world() -> Table {
    Table::default()
        .mx("a.example", &[(10, "mx.a.example"), (20, "us.example"), (30, "worse.example")])
        .host("mx.a.example", &["192.0.2.10", "2001:db8::10"])
        .host("plain.example", &["192.0.2.20"])
        .fails("late.example", Trouble::Timeout)
}

fn reached(verdict: Verdict) -> Destination {
    match verdict {
        Verdict::Reach(destination) => destination,
        Verdict::Never(refusal) | Verdict::Later(refusal) => panic!("{refusal}"),
    }
}

fn refused(verdict: Verdict) -> String {
    match verdict {
        Verdict::Reach(destination) => panic!("{destination:?}"),
        Verdict::Never(refusal) => format!("never {refusal}"),
        Verdict::Later(refusal) => format!("later {refusal}"),
    }
}

async fn pause(seconds: u32) {
    shard::sleep_until(shard::now().after(Duration::from_secs(u64::from(seconds)))).await;
}

#[test]
fn equal_questions_are_one_question_and_answers_are_kept() {
    seeds(30, |seed| {
        let sim = Sim::new(seed);
        let table = Arc::new(world().delay(Duration::from_secs(2)));
        sim.run(async {
            let (local, resolver) = resolver(&table);
            for _task in 0..20 {
                let resolver = Rc::clone(&resolver);
                shard::spawn("asks", async move {
                    let found = reached(resolver.resolve("a.example").await);
                    assert_eq!(found.hosts.len(), 1, "what is not better than we are is gone");
                    assert_eq!(found.hosts[0].name, "mx.a.example");
                });
            }
            pause(30).await;
            // The MX, and two families of the one host that is better than we are.
            assert_eq!(table.asked().len(), 3);
            let before = shard::now();
            reached(resolver.resolve("a.example").await);
            assert_eq!(table.asked(), []);
            assert!(shard::now().since(before) < Duration::from_secs(1), "kept, and waited for");
            pause(TTL_SECONDS).await;
            reached(resolver.resolve("a.example").await);
            assert_eq!(table.asked().len(), 3, "nothing is kept for ever");
            assert_eq!(resolver.under_way(), 0);
            let text = local.shared.metrics.render();
            for line in [
                "dns_questions_total{source=\"asked\"} 6\n",
                "dns_questions_total{source=\"cache\"} 3\n",
                "dns_questions_total{source=\"joined\"} 57\n",
                "dns_answers_total{result=\"found\"} 6\n",
            ] {
                assert!(text.contains(line), "{line} is not in {text}");
            }
        });
        let panics = sim.world().executor.panics();
        assert!(panics.is_empty(), "{panics:?}");
        assert_eq!(sim.census().tasks, 0);
    });
}

#[test]
fn a_resolution_that_is_dropped_leaves_the_others_and_the_answer() {
    seeds(30, |seed| {
        let sim = Sim::new(seed);
        let table = Arc::new(world().delay(Duration::from_secs(5)));
        sim.run(async {
            let (_, resolver) = resolver(&table);
            let other = Rc::clone(&resolver);
            shard::spawn("stays", async move {
                pause(1).await;
                reached(other.resolve("plain.example").await);
            });
            let deadline = shard::now().after(Duration::from_secs(2));
            assert!(shard::within(deadline, resolver.resolve("plain.example")).await.is_none());
            pause(30).await;
            assert_eq!(table.asked().len(), 3);
        });
        let panics = sim.world().executor.panics();
        assert!(panics.is_empty(), "{panics:?}");
    });
}

#[test]
fn a_resolver_that_never_answers_is_not_waited_for() {
    seeds(20, |seed| {
        let sim = Sim::new(seed);
        let table = Arc::new(world().silent());
        sim.run(async {
            let (_, resolver) = resolver(&table);
            let before = shard::now();
            let said = refused(resolver.resolve("plain.example").await);
            assert_eq!(said, "later 451 4.4.3 plain.example: MX: no answer in time");
            let took = shard::now().since(before);
            assert!(took <= Duration::from_secs(RESOLUTION_SECONDS_MAX + 1), "{took:?}");
            assert_eq!(resolver.under_way(), 0, "it may be asked again");
        });
    });
}

#[test]
fn trouble_is_kept_a_little_and_lies_break_nothing() {
    seeds(20, |seed| {
        let sim = Sim::new(seed);
        let exchanges = Found::Exchanges(Vec::new());
        let table = world()
            .answer("lies.example", Kind::Mx, Found::Addresses(Vec::new()))
            .answer("empty.example", Kind::Mx, Found::Nothing)
            .answer("empty.example", Kind::V4, exchanges);
        let table = Arc::new(table);
        sim.run(async {
            let (_, resolver) = resolver(&table);
            for _again in 0..3 {
                let said = refused(resolver.resolve("late.example").await);
                assert_eq!(said, "later 451 4.4.3 late.example: MX: no answer in time");
            }
            assert_eq!(table.asked().len(), 1);
            pause(DNS_FAILURE_SECONDS + 1).await;
            refused(resolver.resolve("late.example").await);
            assert_eq!(table.asked().len(), 1);
            for (domain, about) in [("lies.example", "MX"), ("empty.example", "addresses")] {
                let said = refused(resolver.resolve(domain).await);
                assert_eq!(
                    said,
                    format!("later 451 4.4.3 {domain}: {about}: the answer makes no sense")
                );
            }
            let never = "never 550 5.1.2 gone.example: no such domain";
            assert_eq!(refused(resolver.resolve("gone.example").await), never);
        });
    });
}

#[test]
fn our_own_addresses_are_known_and_routes_may_lead_to_them() {
    let sim = Sim::new(7);
    let table = world().host("loop.example", &["192.0.2.1"]).host("back.example", &["127.0.0.3"]);
    let table = Arc::new(table);
    sim.run(async {
        let (_, resolver) = resolver(&table);
        for domain in ["loop.example", "back.example", "[192.0.2.1]"] {
            let said = refused(resolver.resolve(domain).await);
            assert!(said.starts_with("never 554 5.4.6 "), "{domain}: {said}");
        }
        assert_eq!(reached(resolver.addresses("loop.example").await).hosts[0].name, "loop.example");
        table.asked();
        reached(resolver.addresses("127.0.0.1").await);
        assert_eq!(table.asked(), [], "an address is not looked up");
        reached(resolver.resolve("plain.example").await);
        reached(resolver.addresses("plain.example").await);
        let files = |question: &Question| question.files;
        assert_eq!(table.asked().iter().filter(|asked| files(asked)).count(), 2);
    });
}

#[test]
fn other_resolvers_are_asked_anew() {
    let sim = Sim::new(9);
    let table = Arc::new(world());
    sim.run(async {
        let (local, resolver) = resolver(&table);
        reached(resolver.resolve("plain.example").await);
        let gone = Answer { found: Found::NoName, ttl_seconds: 1, alias: false };
        table.set("plain.example", Kind::Mx, gone);
        // Something else was reloaded.
        local.shared.replace_config(config());
        reached(resolver.resolve("plain.example").await);
        let mut other = config();
        if let Some(smtp) = &mut other.smtp {
            smtp.resolvers = vec!["192.0.2.53:53".parse().unwrap()];
        }
        local.shared.replace_config(other);
        let never = "never 550 5.1.2 plain.example: no such domain";
        assert_eq!(refused(resolver.resolve("plain.example").await), never);
    });
}

#[test]
fn without_a_resolver_mail_waits() {
    let sim = Sim::new(3);
    sim.run(async {
        let shared = Shared::new(config(), Accounts::default(), testing::keeper().0, 1);
        let local = Local::new(Arc::new(shared.with_names(Arc::new(Nobody))));
        let said = refused(Resolver::new(&local).resolve("a.example").await);
        assert_eq!(said, "later 451 4.4.3 a.example: MX: there is no resolver");
    });
}

#[test]
fn what_is_ourselves_depends_on_where_we_listen() {
    let interfaces = ["127.0.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
    let of = |listen: &[&str]| {
        let mut config = config();
        if let Some(smtp) = &mut config.smtp {
            smtp.listen = listen.iter().map(|text| text.parse().unwrap()).collect();
        }
        ourselves(&config, &interfaces)
    };
    let expected = |addresses: &[&str], loopback| Ourselves {
        names: vec!["us.example".into(), "localhost".into()],
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        loopback,
    };
    assert_eq!(of(&["0.0.0.0:25"]), expected(&["127.0.0.1", "192.0.2.1"], true));
    assert_eq!(of(&["[::]:25", "0.0.0.0:587"]), expected(&["127.0.0.1", "192.0.2.1"], true));
    assert_eq!(of(&["203.0.113.5:25"]), expected(&["203.0.113.5"], true));
    assert_eq!(of(&["127.0.0.1:2525"]), expected(&["127.0.0.1"], false));
}
