//! What each answer of the DNS comes to, whole; and what holds for every answer.
#![allow(clippy::disallowed_types, reason = "macros of proptest use Arc")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::limits::{HOST_ADDRESSES_MAX, MX_HOSTS_MAX};

/// A zone as lines: `NAME MX 10 TARGET`, `NAME A ADDRESS`, `NAME AAAA ADDRESS`, `NAME KIND TROUBLE`,
/// `NAME ALIAS` (what is said of it was said of another name), `NAME HERE` (no records).
#[derive(Debug, Default)]
struct Zone {
    records: BTreeMap<(String, Kind), Answer>,
    names: BTreeSet<String>,
    aliases: BTreeSet<String>,
}

const TTL: u32 = 300;

impl Zone {
    fn read(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words[0].to_owned();
            zone.names.insert(name.clone());
            let found = match words[1..] {
                ["HERE"] => continue,
                ["ALIAS"] => {
                    zone.aliases.insert(name);
                    continue;
                }
                ["MX", preference, target] => {
                    let name = if target == "." { "" } else { target }.to_owned();
                    let preference = preference.parse().unwrap();
                    (Kind::Mx, Found::Exchanges(vec![Exchange { preference, name }]))
                }
                ["A", address] if address.contains('.') => {
                    (Kind::V4, Found::Addresses(vec![address.parse().unwrap()]))
                }
                ["AAAA", address] if address.contains(':') => {
                    (Kind::V6, Found::Addresses(vec![address.parse().unwrap()]))
                }
                [kind, trouble] => {
                    let kind = match kind {
                        "MX" => Kind::Mx,
                        "A" => Kind::V4,
                        _ => Kind::V6,
                    };
                    let trouble = match trouble {
                        "TIMEOUT" => Trouble::Timeout,
                        "SERVFAIL" => Trouble::Failed,
                        _ => Trouble::Refused,
                    };
                    (kind, Found::Trouble(trouble))
                }
                _ => panic!("{line}"),
            };
            zone.add(&name, found);
        }
        zone
    }

    fn add(&mut self, name: &str, (kind, found): (Kind, Found)) {
        let new = Answer { found, ttl_seconds: TTL, alias: false };
        let place = self
            .records
            .entry((name.to_owned(), kind))
            .or_insert_with(|| Answer { found: Found::Nothing, ..new.clone() });
        match (&mut place.found, new.found) {
            (Found::Exchanges(all), Found::Exchanges(more)) => all.extend(more),
            (Found::Addresses(all), Found::Addresses(more)) => all.extend(more),
            (place, new) => *place = new,
        }
    }

    fn answer(&self, question: &Question) -> Rc<Answer> {
        let key = (question.name.clone(), question.kind);
        let none = if self.names.contains(&question.name) { Found::Nothing } else { Found::NoName };
        let none = Answer { found: none, ttl_seconds: 60, alias: false };
        let mut answer = self.records.get(&key).cloned().unwrap_or(none);
        answer.alias = self.aliases.contains(&question.name);
        Rc::new(answer)
    }

    fn follow(&self, (mut walk, mut step): (Walk, Step), ourselves: &Ourselves) -> Verdict {
        for _round in 0..3 {
            match step {
                Step::Done(verdict) => return verdict,
                Step::Ask(questions) => {
                    let answers: Vec<Rc<Answer>> =
                        questions.iter().map(|question| self.answer(question)).collect();
                    step = walk.resume(&answers, ourselves);
                }
            }
        }
        panic!("more than two rounds")
    }

    fn mail(&self, domain: &str, seed: u64) -> Verdict {
        let ourselves = us();
        self.follow(Walk::mail(domain, seed, &ourselves), &ourselves)
    }
}

/// This server.
fn us() -> Ourselves {
    Ourselves {
        names: vec!["us.example".to_owned()],
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        loopback: true,
    }
}

/// One line per host, then the notes.
fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Reach(destination) => {
            let host = |host: &Host| {
                let addresses = host.addresses.iter().map(|address| format!(" {address}"));
                format!("{} {}{}", host.preference, host.name, addresses.collect::<String>())
            };
            let notes = destination.notes.iter().map(|note| format!("({note})"));
            let lines: Vec<String> = destination.hosts.iter().map(host).chain(notes).collect();
            lines.join("\n")
        }
        Verdict::Never(refusal) => format!("never {refusal}"),
        Verdict::Later(refusal) => format!("later {refusal}"),
    }
}

#[track_caller]
fn comes_to(zone: &str, domain: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(shown(&Zone::read(zone).mail(domain, 1)), expected.join("\n"));
}

// ---------------------------------------------------------------- tables

#[test]
fn the_better_preference_is_tried_first() {
    comes_to(
        "a.example MX 20 b.mx.example\n a.example MX 10 a.mx.example\n a.example MX 30 c.mx.example
         a.mx.example A 192.0.2.10\n b.mx.example A 192.0.2.20\n c.mx.example A 192.0.2.30",
        "a.example",
        "10 a.mx.example 192.0.2.10\n20 b.mx.example 192.0.2.20\n30 c.mx.example 192.0.2.30",
    );
}

#[test]
fn all_addresses_are_tried_both_families_by_turns() {
    comes_to(
        "a.example MX 10 a.mx.example
         a.mx.example A 192.0.2.10\n a.mx.example A 192.0.2.11\n a.mx.example A 192.0.2.12
         a.mx.example AAAA 2001:db8::10\n a.mx.example AAAA 2001:db8::11",
        "a.example",
        "10 a.mx.example 2001:db8::10 192.0.2.10 2001:db8::11 192.0.2.11 192.0.2.12",
    );
}

#[test]
fn without_mx_the_domain_itself_is_the_host() {
    comes_to(
        "a.example A 192.0.2.10\n a.example AAAA 2001:db8::10",
        "A.Example",
        "0 a.example 2001:db8::10 192.0.2.10",
    );
    comes_to("a.example A 192.0.2.10", "a.example.", "0 a.example 192.0.2.10");
}

#[test]
fn with_mx_the_domain_itself_is_no_host() {
    let zone = "a.example MX 10 gone.example\n a.example A 192.0.2.10";
    comes_to(zone, "a.example", "never 550 5.4.4 a.example: no MX of the domain has an address");
}

#[test]
fn a_null_mx_takes_no_mail() {
    let zone = "a.example MX 0 .\n a.example A 192.0.2.10";
    let expected = "never 556 5.1.10 a.example: the domain takes no mail (null MX)";
    comes_to(zone, "a.example", expected);
    comes_to("a.example MX 7 .\n a.example MX 8 .", "a.example", expected);
}

#[test]
fn a_null_mx_beside_others_does_not_count() {
    comes_to(
        "a.example MX 0 .\n a.example MX 10 b.example\n b.example A 192.0.2.10",
        "a.example",
        "10 b.example 192.0.2.10\n(a null MX beside others)",
    );
}

#[test]
fn what_is_not_there_is_for_ever() {
    comes_to("", "a.example", "never 550 5.1.2 a.example: no such domain");
    let nothing = "never 550 5.1.2 a.example: the domain has neither MX nor addresses";
    comes_to("a.example HERE", "a.example", nothing);
}

#[test]
fn what_nobody_knows_now_is_not_for_ever() {
    for (said, why) in [
        ("TIMEOUT", "no answer in time"),
        ("SERVFAIL", "the resolver failed"),
        ("REFUSED", "the resolver refused"),
    ] {
        let expected = format!("later 451 4.4.3 a.example: MX: {why}");
        comes_to(&format!("a.example MX {said}"), "a.example", &expected);
        let zone = format!("a.example A {said}\n a.example AAAA {said}");
        comes_to(&zone, "a.example", &format!("later 451 4.4.3 a.example: addresses: {why}"));
        let zone = format!("a.example MX 10 b.example\n b.example A {said}");
        let expected = format!("later 451 4.4.3 a.example: addresses of its MX: {why}");
        comes_to(&zone, "a.example", &expected);
    }
}

#[test]
fn one_family_is_enough() {
    comes_to(
        "a.example MX 10 b.example\n b.example A 192.0.2.10\n b.example AAAA SERVFAIL",
        "a.example",
        "10 b.example 192.0.2.10",
    );
}

#[test]
fn hosts_without_addresses_are_passed_over() {
    comes_to(
        "a.example MX 10 gone.example\n a.example MX 20 late.example\n a.example MX 30 b.example
         late.example A TIMEOUT\n b.example A 192.0.2.10",
        "a.example",
        "30 b.example 192.0.2.10\n(MX gone.example has no usable address)
         (MX late.example: no answer in time)",
    );
    comes_to(
        "a.example MX 10 gone.example\n a.example MX 20 late.example\n late.example A TIMEOUT",
        "a.example",
        "later 451 4.4.3 a.example: addresses of its MX: no answer in time",
    );
}

#[test]
fn we_and_all_that_is_not_better_do_not_count() {
    let rest = "better.example A 192.0.2.10\n same.example A 192.0.2.20\n worse.example A 192.0.2.30
                us.example A 203.0.113.1\n nat.example A 192.0.2.1\n nat.example A 192.0.2.99\n six.example AAAA 2001:db8::1
                back.example A 127.1.2.3\n";
    for own in ["us.example", "US.Example", "nat.example", "six.example", "back.example"] {
        let all = format!(
            "a.example MX 20 same.example\n a.example MX 20 {own}\n a.example MX 30 worse.example\n"
        );
        let loops = "never 554 5.4.6 a.example: mail for the domain would come back to this server";
        comes_to(&format!("{all}{rest}"), "a.example", loops);
        let better = format!("{all}a.example MX 10 better.example\n{rest}");
        let note = format!("(MX {} is this server)", own.to_lowercase());
        comes_to(&better, "a.example", &format!("10 better.example 192.0.2.10\n{note}"));
        // Better than we are, but nobody knows where: that is no loop.
        let late = format!("{all}a.example MX 10 late.example\n late.example A TIMEOUT\n{rest}");
        let expected = "later 451 4.4.3 a.example: addresses of its MX: no answer in time";
        comes_to(&late, "a.example", expected);
        // Worse than we are, and nobody knows where: that is no excuse.
        let late = format!("{all}a.example MX 40 late.example\n late.example A TIMEOUT\n{rest}");
        comes_to(&late, "a.example", loops);
    }
}

#[test]
fn a_domain_that_is_ourselves_goes_in_circles() {
    let loops = "never 554 5.4.6 a.example: mail for the domain would come back to this server";
    comes_to("a.example A 192.0.2.1", "a.example", loops);
    comes_to("a.example A 127.0.0.1", "a.example", loops);
}

#[test]
fn loopback_is_ours_only_where_others_can_reach_us() {
    let zone = Zone::read("a.example MX 10 b.example\n b.example A 127.0.0.2");
    let private =
        Ourselves { addresses: vec!["127.0.0.1".parse().unwrap()], ..Ourselves::default() };
    let verdict = zone.follow(Walk::mail("a.example", 1, &private), &private);
    assert_eq!(shown(&verdict), "10 b.example 127.0.0.2");
}

#[test]
fn an_mx_that_is_an_address_or_an_alias_is_put_up_with() {
    comes_to(
        "a.example MX 10 192.0.2.10\n a.example MX 20 b.example\n b.example A 192.0.2.20\n b.example ALIAS",
        "a.example",
        "10 192.0.2.10 192.0.2.10\n20 b.example 192.0.2.20
         (MX 192.0.2.10 is an address, not a name)\n(b.example is an alias)",
    );
    let loops = "never 554 5.4.6 a.example: mail for the domain would come back to this server";
    comes_to("a.example MX 10 192.0.2.1", "a.example", loops);
    comes_to("a.example MX 10 127.0.0.1", "a.example", loops);
    comes_to(
        "a.example MX 10 0.0.0.0",
        "a.example",
        "never 550 5.4.4 a.example: no MX of the domain has an address",
    );
}

#[test]
fn a_domain_that_is_an_alias_is_what_it_stands_for() {
    comes_to(
        "a.example ALIAS\n a.example MX 10 b.example\n b.example A 192.0.2.10",
        "a.example",
        "10 b.example 192.0.2.10\n(a.example is an alias)",
    );
}

#[test]
fn an_mx_that_is_named_twice_counts_once_where_it_is_better() {
    comes_to(
        "a.example MX 30 B.example\n a.example MX 10 b.example\n a.example MX 20 c.example
         b.example A 192.0.2.10\n c.example A 192.0.2.20",
        "a.example",
        "10 b.example 192.0.2.10\n20 c.example 192.0.2.20",
    );
}

#[test]
fn addresses_that_nobody_has_are_passed_over() {
    comes_to(
        "a.example A 0.0.0.0\n a.example A 224.0.0.1\n a.example A 255.255.255.255\n a.example A 192.0.2.10
         a.example A 192.0.2.10\n a.example AAAA ::\n a.example AAAA ff02::1\n a.example AAAA fe80::1
         a.example AAAA ::ffff:192.0.2.11",
        "a.example",
        "0 a.example 192.0.2.11 192.0.2.10",
    );
    comes_to(
        "a.example AAAA ::ffff:192.0.2.1",
        "a.example",
        "never 554 5.4.6 a.example: mail for the domain would come back to this server",
    );
}

#[test]
fn names_that_are_none_are_not_asked_for() {
    comes_to(
        "a.example MX 10 bad\\032name.example\n a.example MX 20 b.example\n b.example A 192.0.2.10",
        "a.example",
        "20 b.example 192.0.2.10\n(MX bad\\\\032name.example is no host name)",
    );
    comes_to(
        "a.example MX 10 b..example",
        "a.example",
        "never 550 5.4.4 a.example: no MX of the domain has a usable name",
    );
    let long = format!("{}.example", "a".repeat(64));
    for bad in ["a b.example", "a..example", "", ".", "b\u{fc}cher.example", "a\r\nb", &long] {
        let verdict = Zone::default().mail(bad, 1);
        let Verdict::Never(refusal) = &verdict else { panic!("{verdict:?}") };
        assert_eq!((refusal.code, refusal.status), (550, "5.1.2"), "{bad:?}");
        assert!(refusal.text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{refusal}");
        assert!(refusal.text.len() < 400);
    }
}

#[test]
fn addresses_in_brackets_need_no_dns() {
    comes_to("", "[192.0.2.10]", "0 192.0.2.10 192.0.2.10");
    comes_to("", "[IPv6:2001:db8::10]", "0 2001:db8::10 2001:db8::10");
    let loops = |shown: &str| {
        format!("never 554 5.4.6 {shown}: mail for the domain would come back to this server")
    };
    comes_to("", "[192.0.2.1]", &loops("[192.0.2.1]"));
    comes_to("", "[ipv6:2001:db8:0::1]", &loops("[ipv6:2001:db8:0::1]"));
    comes_to("", "[ipv6:::ffff:192.0.2.1]", &loops("[ipv6:::ffff:192.0.2.1]"));
    comes_to("", "[127.0.0.1]", &loops("[127.0.0.1]"));
    comes_to("", "[224.0.0.1]", "never 550 5.1.2 [224.0.0.1]: no host can have this address");
    comes_to(
        "",
        "[x400:c=de]",
        "never 550 5.1.2 [x400:c=de]: an address of a kind that is not known here",
    );
}

#[test]
fn equals_come_in_every_order_and_the_seed_chooses() {
    let zone = Zone::read(
        "a.example MX 10 a.mx.example\n a.example MX 10 b.mx.example\n a.example MX 10 c.mx.example
         a.mx.example A 192.0.2.10\n b.mx.example A 192.0.2.20\n c.mx.example A 192.0.2.30",
    );
    let orders: BTreeSet<String> =
        (0..100).map(|seed| shown(&zone.mail("a.example", seed))).collect();
    assert_eq!(orders.len(), 6);
    assert_eq!(zone.mail("a.example", 3), zone.mail("a.example", 3));
}

#[test]
fn thousands_of_records_are_a_few_hosts() {
    let mut zone = Zone::default();
    for number in 0..5000u16 {
        let name = format!("h{number}.example");
        let exchange = Exchange { preference: number / 3, name: name.clone() };
        zone.add("a.example", (Kind::Mx, Found::Exchanges(vec![exchange])));
        let addresses = (0..100)
            .map(|last| IpAddr::from([10, number.to_be_bytes()[0], number.to_be_bytes()[1], last]));
        zone.add(&name, (Kind::V4, Found::Addresses(addresses.collect())));
    }
    let Verdict::Reach(destination) = zone.mail("a.example", 1) else { panic!() };
    assert_eq!(destination.hosts.len(), MX_HOSTS_MAX);
    assert!(destination.hosts.iter().all(|host| host.addresses.len() == HOST_ADDRESSES_MAX));
    assert!(destination.notes.contains(&Note::TooMany(5000)));
    // We are looked for among all of them, not only those that are tried.
    let own = Exchange { preference: 1, name: "us.example".to_owned() };
    zone.add("a.example", (Kind::Mx, Found::Exchanges(vec![own])));
    let Verdict::Reach(destination) = zone.mail("a.example", 1) else { panic!() };
    assert_eq!(destination.hosts.len(), 3);
}

#[test]
fn the_host_of_a_route_is_looked_up_and_never_given_up() {
    let zone = Zone::read(
        "b.example A 192.0.2.10\n b.example AAAA 2001:db8::10\n us.example A 192.0.2.1
         empty.example HERE\n late.example A TIMEOUT\n b.example MX 10 other.example",
    );
    let host = |name: &str| shown(&zone.follow(Walk::host(name), &us()));
    assert_eq!(host("B.example"), "0 b.example 2001:db8::10 192.0.2.10");
    // A filter on this machine is a route like any other.
    assert_eq!(host("us.example"), "0 us.example 192.0.2.1");
    for written in ["127.0.0.1", "[127.0.0.1]"] {
        assert_eq!(host(written), "0 127.0.0.1 127.0.0.1");
    }
    for written in ["::1", "[::1]", "[IPv6:::1]"] {
        assert!(host(written).ends_with(" ::1"), "{}", host(written));
    }
    assert_eq!(
        host("gone.example"),
        "later 451 4.4.4 gone.example: the host of the route has no address"
    );
    assert_eq!(
        host("empty.example"),
        "later 451 4.4.4 empty.example: the host of the route has no address"
    );
    assert_eq!(host("late.example"), "later 451 4.4.3 late.example: addresses: no answer in time");
    assert_eq!(host("a b"), "later 451 4.4.4 a b: the host of the route is no name");
    let (_, Step::Ask(questions)) = Walk::host("b.example") else { panic!() };
    assert!(questions.iter().all(|question| question.files), "/etc/hosts counts");
    let (_, Step::Ask(questions)) = Walk::mail("b.example", 1, &us()) else { panic!() };
    assert!(questions.iter().all(|question| !question.files), "/etc/hosts is not for strangers");
}

#[test]
fn the_shortest_life_is_that_of_the_whole() {
    let mut zone = Zone::read("a.example MX 10 b.example\n b.example A 192.0.2.10");
    let key = ("b.example".to_owned(), Kind::V4);
    zone.records.get_mut(&key).unwrap().ttl_seconds = 7;
    let Verdict::Reach(destination) = zone.mail("a.example", 1) else { panic!() };
    assert_eq!(destination.ttl_seconds, 7);
}

#[test]
fn answers_that_were_not_asked_for_are_no_answers() {
    let lie = |found| vec![Rc::new(Answer { found, ttl_seconds: 1, alias: false })];
    let here: IpAddr = "192.0.2.10".parse().unwrap();
    for lies in [vec![], lie(Found::Addresses(vec![here]))] {
        let (mut walk, _) = Walk::mail("a.example", 1, &us());
        let Step::Done(verdict) = walk.resume(&lies, &us()) else { panic!() };
        let expected = "later 451 4.4.3 a.example: MX: the answer makes no sense";
        assert_eq!(shown(&verdict), expected);
    }
    let exchange = Exchange { preference: 1, name: "b.example".to_owned() };
    for lies in [vec![], lie(Found::Exchanges(vec![exchange]))] {
        let (mut walk, _) = Walk::mail("a.example", 1, &us());
        let Step::Ask(_) = walk.resume(&lie(Found::Nothing), &us()) else { panic!() };
        let Step::Done(verdict) = walk.resume(&lies, &us()) else { panic!() };
        let expected = "later 451 4.4.3 a.example: addresses: the answer makes no sense";
        assert_eq!(shown(&verdict), expected);
    }
}

// ---------------------------------------------------------------- what holds always

/// What may become of one MX.
#[derive(Debug, Clone)]
enum Kept {
    At(Vec<IpAddr>),
    Late,
    Gone,
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => (2u8..6, 0u8..8).prop_map(|(third, last)| IpAddr::from([192, 0, third, last])),
        4 => (0u16..20).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    prop_oneof![
        6 => prop::collection::vec(address(), 1..12).prop_map(Kept::At),
        1 => Just(Kept::Late),
        1 => Just(Kept::Gone),
    ]
}

fn exchanges() -> impl Strategy<Value = Vec<(u16, String)>> {
    let name = prop_oneof![
        20 => (0u8..20).prop_map(|number| format!("h{number}.example")),
        2 => Just("us.example".to_owned()),
        1 => Just(String::new()),
        1 => address().prop_map(|address| address.to_string()),
        1 => "[ -~]{0,12}",
    ];
    prop::collection::vec((0u16..6, name), 1..40)
}

proptest! {
    /// The oracle knows nothing of the order in which things are done: it says what may be in the list.
    #[test]
    fn nothing_that_is_not_better_than_we_are(
        exchanges in exchanges(),
        hosts in prop::collection::vec(kept(), 20),
        seed: u64,
    ) {
        let mut zone = Zone::default();
        for (preference, name) in &exchanges {
            let one = Exchange { preference: *preference, name: name.clone() };
            zone.add("a.example", (Kind::Mx, Found::Exchanges(vec![one])));
        }
        for (number, kept) in hosts.iter().enumerate() {
            let name = format!("h{number}.example");
            match kept {
                Kept::At(addresses) => for address in addresses {
                    let kind = if address.is_ipv4() { Kind::V4 } else { Kind::V6 };
                    zone.add(&name, (kind, Found::Addresses(vec![*address])));
                },
                Kept::Late => zone.add(&name, (Kind::V4, Found::Trouble(Trouble::Timeout))),
                Kept::Gone => {}
            }
        }
        let verdict = zone.mail("a.example", seed);
        prop_assert_eq!(&verdict, &zone.mail("a.example", seed));
        let Verdict::Reach(destination) = verdict else { return Ok(()) };
        let reached = &destination.hosts;
        prop_assert!(!reached.is_empty() && reached.len() <= MX_HOSTS_MAX);
        prop_assert!(reached.windows(2).all(|pair| pair[0].preference <= pair[1].preference));
        let names: BTreeSet<&str> = reached.iter().map(|host| host.name.as_str()).collect();
        prop_assert_eq!(names.len(), reached.len(), "a host twice");
        let us = us();
        for host in reached {
            prop_assert!(!host.addresses.is_empty() && host.addresses.len() <= HOST_ADDRESSES_MAX);
            prop_assert!(host.addresses.iter().all(|address| !us.has_address(address)));
            prop_assert!(host.addresses.iter().all(select::is_usable));
            let named = |one: &&(u16, String)| one.1.to_ascii_lowercase() == host.name;
            let best = exchanges.iter().filter(named).map(|one| one.0).min();
            prop_assert_eq!(best, Some(host.preference));
        }
        let worst = reached.last().map_or(0, |host| host.preference);
        for (preference, name) in &exchanges {
            let number = name.strip_prefix('h').and_then(|rest| rest.strip_suffix(".example"));
            let number = number.and_then(|number| number.parse::<usize>().ok());
            let ours = match number.and_then(|number| hosts.get(number)) {
                // Looked up only when it was among the first: one that was not is worse than all of them, or equal.
                Some(Kept::At(addresses)) if exchanges.len() <= MX_HOSTS_MAX => {
                    addresses.iter().any(|address| us.has_address(&address.to_canonical()))
                }
                _ => {
                    let address = name.parse::<IpAddr>().map(|address| address.to_canonical());
                    name == "us.example" || address.is_ok_and(|address| us.has_address(&address))
                }
            };
            prop_assert!(!ours || worst < *preference, "{name} {preference} is ours, {worst} is tried");
        }
    }

    /// Whatever is said, in any order and number: no panic, two rounds at most, bounded and printable.
    #[test]
    fn no_answer_breaks_it(
        domain: String,
        found in prop::collection::vec(any_found(), 0..80),
        seed: u64,
    ) {
        let ourselves = us();
        for walk in [Walk::mail(&domain, seed, &ourselves), Walk::host(&domain)] {
            let (mut walk, mut step) = walk;
            let mut rest = found.iter();
            for round in 0..3 {
                match step {
                    Step::Done(verdict) => {
                        let text = shown(&verdict);
                        prop_assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
                        prop_assert!(text.len() < 40_000);
                        break;
                    }
                    Step::Ask(questions) => {
                        prop_assert!(round < 2 && questions.len() <= 2 * MX_HOSTS_MAX);
                        let answers: Vec<Rc<Answer>> = questions
                            .iter()
                            .filter_map(|_| rest.next())
                            .map(|found| Answer { found: found.clone(), ttl_seconds: 0, alias: true })
                            .map(Rc::new)
                            .collect();
                        step = walk.resume(&answers, &ourselves);
                    }
                }
            }
        }
    }
}

fn any_found() -> impl Strategy<Value = Found> {
    let exchange = (any::<u16>(), any::<String>())
        .prop_map(|(preference, name)| Exchange { preference, name });
    prop_oneof![
        prop::collection::vec(exchange, 0..40).prop_map(Found::Exchanges),
        prop::collection::vec(address(), 0..40).prop_map(Found::Addresses),
        Just(Found::Nothing),
        Just(Found::NoName),
        Just(Found::Trouble(Trouble::Refused)),
    ]
}
