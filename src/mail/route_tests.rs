//! Who gets what, who is refused, and that everything ends.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::mail::hop::Hop;
use crate::mail::recipients::Known;
use crate::mail::stored::{Destination, TargetState};
use crate::smtp::envelope::{BodyType, Protocol, To};
use crate::wire::secret::Secret;

const STRANGER: &str = "203.0.113.9:1000";
const FRIEND: &str = "192.0.2.77:1000";

fn rules() -> Rules {
    Rules {
        hostname: "mx.a.example".to_owned(),
        domains: vec!["a.example".to_owned(), "B.example".to_owned()],
        routes: Vec::new(),
        relay_from: vec![Network { address: [192, 0, 2, 0].into(), prefix: 24 }],
        unknown: Unknown::Reject,
        catch_all: None,
        separator: "+".to_owned(),
        srs: None,
        verp: Verp::Off,
    }
}

fn routes(list: &[(&str, RouteTo)]) -> Vec<Route> {
    list.iter().map(|(recipient, to)| Route::new(recipient, to.clone())).collect()
}

fn users() -> Vec<User> {
    let user = |name: &str, addresses: &[&str]| User {
        name: name.to_owned(),
        addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
    };
    vec![
        user("ann", &["Ann.Smith@a.example"]),
        user("Bob", &["office@b.example", "bob@c.example"]),
        user("carl", &[]),
        user("x+y", &[]),
    ]
}

const ALIASES: &str = "team: ann, bob, ANN@a.example\n\
    staff: team, carl, gone\n\
    owner-staff: carl\n\
    self: self, ann\n\
    ann: \\ann, bob\n\
    ring: gnir\ngnir: ring\n\
    out: x@elsewhere.example\n\
    both: out, carl\n\
    inner: staff, x@elsewhere.example\n\
    owner-inner: bob\n";

fn router_of(rules: Rules, aliases: &str) -> Router {
    let aliases = Aliases::parse(aliases, &mut |_| Err(String::new())).unwrap();
    Router::new(rules, users(), aliases)
}

fn recipient(text: &str) -> Recipient {
    if text == "postmaster" {
        return Recipient::Postmaster;
    }
    let (local, domain) = text.rsplit_once('@').unwrap();
    let domain = match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => Domain::Literal(address.parse().unwrap()),
        None => Domain::Name(domain.to_owned()),
    };
    Recipient::Mailbox(Mailbox { local: local.to_owned(), domain })
}

fn envelope(peer: &str, recipients: &[&str]) -> Envelope {
    let to = |text: &&str| To { recipient: recipient(text), notify: None, original: None };
    Envelope {
        sender: None,
        recipients: recipients.iter().map(to).collect(),
        body: BodyType::default(),
        ret: None,
        envelope_id: None,
        helo: "x".to_owned(),
        peer: peer.parse().unwrap(),
        protocol: Protocol::default(),
    }
}

/// `recipient number: address → mailbox/tag, or nowhere, or why not (sender of the list)`.
fn targets(router: &Router, peer: &str, recipients: &[&str]) -> Vec<String> {
    let say = |target: Target| {
        let mut line = format!("{}: {} → ", target.recipient, target.address);
        match (&target.to, &target.state) {
            (_, TargetState::Failed { reason }) => line.extend(reason.chars().take(5)),
            (Destination::Mailbox(name), _) => line.push_str(name),
            (Destination::Discard, _) => line.push_str("nowhere"),
            (Destination::Remote(hop), _) => line.push_str(&hop.to_string()),
        }
        if let Some(tag) = target.tag {
            line.push_str(&format!("/{tag}"));
        }
        if let Some(sender) = target.sender {
            line.push_str(&format!(" ({sender})"));
        }
        line
    };
    router.targets(&envelope(peer, recipients), &[]).into_iter().map(say).collect()
}

fn client(peer: SocketAddr, authenticated: bool) -> Client {
    Client { peer: peer.ip(), authenticated }
}

fn verdict(router: &Router, peer: &str, to: &str) -> Verdict {
    let peer: SocketAddr = peer.parse().unwrap();
    router.verdict(None, &recipient(to), client(peer, false), 0)
}

#[test]
fn users_addresses_and_extensions() {
    let router = router_of(rules(), "");
    let one = |to| targets(&router, STRANGER, &[to]).remove(0);
    assert_eq!(one("ANN@A.Example"), "0: ANN@a.example → ann");
    assert_eq!(one("ann.smith@a.example"), "0: ann.smith@a.example → ann");
    assert_eq!(one("ann.smith@b.example"), "0: ann.smith@b.example → 5.1.1");
    assert_eq!(one("office@b.example"), "0: office@b.example → bob");
    assert_eq!(one("Carl+News+x@b.example"), "0: Carl+News+x@b.example → carl/news+x");
    assert_eq!(one("office+news@b.example"), "0: office+news@b.example → bob/news");
    // The whole local part first.
    assert_eq!(one("x+y@a.example"), "0: x+y@a.example → x+y");
    assert_eq!(one("x+y+z@a.example"), "0: x+y+z@a.example → 5.1.1");
    assert_eq!(one("+ann@a.example"), "0: +ann@a.example → 5.1.1");
    let all = ["ann@a.example", "ann.smith@a.example", "ann+x@a.example", "ANN@b.example"];
    let wanted = ["0: ann@a.example → ann", "2: ann+x@a.example → ann/x"];
    assert_eq!(targets(&router, STRANGER, &all), wanted, "the same place once");
}

#[test]
fn who_is_refused() {
    let router = router_of(rules(), ALIASES);
    let said = |to: &str| [STRANGER, FRIEND].map(|peer| verdict(&router, peer, to));
    use Verdict::{Loop, NoUser, RelayDenied, Taken};
    assert_eq!(said("carl@a.example"), [Taken; 2]);
    assert_eq!(said("nobody@a.example"), [NoUser; 2]);
    // A client that may relay has nowhere to relay to yet.
    assert_eq!(said("carl@elsewhere.example"), [RelayDenied; 2]);
    assert_eq!(said("bob@c.example"), [RelayDenied; 2], "an address of a user outside our domains");
    assert_eq!(said("carl@[192.0.2.1]"), [RelayDenied; 2]);
    assert_eq!(said("ring@a.example"), [Loop; 2]);
    assert_eq!(said("out@a.example"), [NoUser; 2], "an alias that leads nowhere");
    assert_eq!(said("both@a.example"), [Taken; 2]);
    for to in ["postmaster", "PostMaster@b.example", "postmaster@[192.0.2.1]"] {
        assert_eq!(said(to), [Taken; 2], "{to}");
    }
    assert_eq!(said("postmaster@elsewhere.example"), [RelayDenied; 2]);
    // Routes hidden in the local part lead nowhere.
    for hidden in ["carl%elsewhere.example", "elsewhere.example!carl", "@a.example:carl"] {
        assert_eq!(said(&format!("{hidden}@a.example")), [NoUser; 2], "{hidden}");
        assert_eq!(said(&format!("{hidden}@elsewhere.example")), [RelayDenied; 2], "{hidden}");
    }
}

#[test]
fn the_first_route_wins() {
    let routes = routes(&[
        ("dora@bench.example", RouteTo::Local),
        ("*@Bench.example", RouteTo::Discard),
        ("Sink@*", RouteTo::Discard),
        ("carl@mail.example", RouteTo::Local),
    ]);
    let router = router_of(Rules { routes, ..rules() }, ALIASES);
    let said = |to: &str| [STRANGER, FRIEND].map(|peer| verdict(&router, peer, to));
    use Verdict::{NoUser, RelayDenied, Taken};
    // A pattern that names a domain makes it ours, for what it matches.
    assert_eq!(said("x@bench.example"), [Taken; 2]);
    assert_eq!(said("dora@bench.example"), [NoUser; 2]);
    assert_eq!(said("carl@mail.example"), [Taken; 2]);
    assert_eq!(said("ann@mail.example"), [RelayDenied; 2]);
    // One that does not, does not.
    assert_eq!(said("sink@a.example"), [Taken; 2]);
    assert_eq!(said("SINK@elsewhere.example"), [RelayDenied, Taken]);
    let all = ["x@bench.example", "X@bench.example", "carl@mail.example", "sink@b.example"];
    assert_eq!(
        targets(&router, STRANGER, &all),
        [
            "0: x@bench.example → nowhere",
            "2: carl@mail.example → carl",
            "3: sink@b.example → nowhere"
        ]
    );
    let all = Rules { routes: self::routes(&[("*", RouteTo::Discard)]), ..rules() };
    let router = router_of(all, "");
    assert_eq!(verdict(&router, STRANGER, "x@elsewhere.example"), RelayDenied);
    assert_eq!(verdict(&router, FRIEND, "x@elsewhere.example"), Taken);
    assert_eq!(verdict(&router, STRANGER, "x@a.example"), Taken);
    assert_eq!(verdict(&router, STRANGER, "postmaster"), Taken);
}

#[test]
fn aliases_and_lists() {
    let router = router_of(rules(), ALIASES);
    let one = |to| targets(&router, STRANGER, &[to]);
    let both = ["0: ann@a.example → ann", "0: bob@a.example → bob"];
    assert_eq!(one("ann@a.example"), both);
    assert_eq!(one("Team@a.example"), both, "once each");
    assert_eq!(one("self@a.example")[1..], both, "and what means itself");
    assert_eq!(one("self@a.example")[0], "0: self@a.example → 5.4.6");
    assert_eq!(
        one("staff+x@b.example"),
        [
            "0: ann@b.example → ann (owner-staff@b.example)",
            "0: bob@b.example → bob (owner-staff@b.example)",
            "0: carl@b.example → carl (owner-staff@b.example)",
            "0: gone@b.example → 5.1.1 (owner-staff@b.example)",
        ]
    );
    let inner = one("inner@a.example");
    assert_eq!(inner[2], "0: carl@a.example → carl (owner-staff@a.example)", "the innermost");
    assert_eq!(inner[4], "0: x@elsewhere.example → 5.4.4 (owner-inner@a.example)");
    assert_eq!(one("owner-staff@a.example"), ["0: carl@a.example → carl"]);
    assert_eq!(one("both@a.example")[1], "0: carl@a.example → carl");
    // What one recipient gave, another does not give again.
    let all = ["team@a.example", "carl@a.example", "staff@a.example"];
    assert_eq!(targets(&router, STRANGER, &all).len(), 4);
    let warned: Vec<&str> = router.warnings().iter().map(|w| w.what.as_str()).collect();
    assert_eq!(
        warned,
        [
            "user Bob: bob@c.example is in none of our domains",
            "gnir: leads in a circle, gnir@a.example is no user",
            "inner: no route leads to x@elsewhere.example",
            "out: no route leads to x@elsewhere.example",
            "ring: leads in a circle, ring@a.example is no user",
            "self: leads in a circle, self@a.example is no user",
        ]
    );
}

#[test]
fn a_route_to_mailboxes_that_nobody_has_is_named() {
    let list = [
        ("ann@other.example", RouteTo::Local),
        ("gone@other.example", RouteTo::Local),
        ("gone@*", RouteTo::Local),
        ("gone@third.example", RouteTo::Discard),
        ("*@third.example", RouteTo::Local),
        ("*", RouteTo::Local),
    ];
    let about = |router: &Router| -> Vec<About> {
        let routes = router.warnings().iter().filter(|one| matches!(one.about, About::Route(_)));
        routes.map(|one| one.about).collect()
    };
    let with = || Rules { routes: routes(&list), ..rules() };
    assert_eq!(about(&router_of(with(), "")), [About::Route(1), About::Route(2)]);
    assert_eq!(about(&router_of(with(), "gone: ann")), []);
    let empty = |rules| about(&Router::new(rules, [], Aliases::default()));
    assert_eq!(empty(with()), [0, 1, 2, 4, 5].map(About::Route));
    assert_eq!(empty(Rules { unknown: Unknown::Accept, ..with() }), []);
}

#[test]
fn nobody_catch_all_and_anybody() {
    let accept = Rules { unknown: Unknown::Accept, ..rules() };
    let router = router_of(accept, "");
    let one = |router: &Router, to| targets(router, STRANGER, &[to]).remove(0);
    assert_eq!(one(&router, "No/Body+x@a.example"), "0: No/Body+x@a.example → no%2fbody/x");
    assert_eq!(one(&router, "../x@a.example"), "0: \"../x\"@a.example → %2e.%2fx");
    assert_eq!(one(&router, "postmaster"), "0: postmaster@a.example → postmaster");
    assert_eq!(verdict(&router, STRANGER, "PostMaster@MX.a.example"), Verdict::Taken);
    assert_eq!(verdict(&router, STRANGER, "someone@mx.a.example"), Verdict::RelayDenied);
    let long = format!("{}@a.example", "/".repeat(86));
    assert_eq!(verdict(&router, STRANGER, &long), Verdict::NoUser);

    let catching = |to: &str| Rules { catch_all: Some(to.to_owned()), ..rules() };
    let router = router_of(catching("ann"), "");
    assert_eq!(one(&router, "nobody@b.example"), "0: ann@a.example → ann");
    assert_eq!(one(&router, "postmaster"), "0: ann@a.example → ann");
    assert_eq!(one(&router, "nobody@elsewhere.example"), "0: nobody@elsewhere.example → 5.4.4");
    // By way of an alias that leads to what nobody is, too.
    let router = router_of(catching("team"), "team: carl, gone");
    assert_eq!(
        targets(&router, STRANGER, &["nobody@b.example"]),
        ["0: carl@a.example → carl", "0: gone@a.example → 5.1.1"]
    );
    for nobody in ["gone", "x@elsewhere.example", "a b@", "ring"] {
        let router = router_of(catching(nobody), "ring: gnir\ngnir: ring");
        assert_eq!(verdict(&router, STRANGER, "nobody@a.example"), Verdict::NoUser, "{nobody}");
        assert_eq!(one(&router, "postmaster"), "0: postmaster@a.example → postmaster");
        let about = |w: &Warning| w.about == About::CatchAll && w.what.starts_with("catch_all: ");
        assert!(router.warnings().iter().any(about));
    }
    let none = Router::default();
    assert_eq!(verdict(&none, FRIEND, "x@localhost"), Verdict::RelayDenied);
    assert_eq!(verdict(&none, FRIEND, "postmaster"), Verdict::Taken);
}

#[test]
fn users_gone_since_their_rcpt_fail() {
    let router = router_of(rules(), "");
    assert_eq!(
        targets(&router, STRANGER, &["gone@a.example", "x@elsewhere.example", "ann@a.example"]),
        ["0: gone@a.example → 5.1.1", "1: x@elsewhere.example → 5.4.4", "2: ann@a.example → ann"]
    );
}

#[test]
fn vrfy_and_expn() {
    let router = router_of(rules(), ALIASES);
    let found = |text: &str| router.verify(text).map(|(_, mailbox)| mailbox.to_string());
    assert_eq!(found("carl").as_deref(), Some("carl@a.example"));
    assert_eq!(found("<Carl@b.example>").as_deref(), Some("Carl@b.example"));
    assert_eq!(found("Carl Smith <carl@b.example>").as_deref(), Some("carl@b.example"));
    for nobody in ["gone", "carl@elsewhere.example", "", "<", ">", "@", "carl smith>", "ring"] {
        assert_eq!(found(nobody), None, "{nobody:?}");
    }
    let members = |text: &str| {
        let members = router.expand(text)?;
        Some(members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(
        members("staff@b.example").as_deref(),
        Some("team@b.example carl@b.example gone@b.example")
    );
    assert_eq!(members("inner").as_deref(), Some("staff@a.example x@elsewhere.example"));
    assert_eq!(members("carl"), None);
    assert_eq!(members("staff@elsewhere.example"), None);
}

#[test]
fn too_many_and_too_deep_are_refused() {
    let many: String = (0..10_001).map(|n| format!("u{n},")).collect();
    let chain: String = (0..50).map(|n| format!("c{n}: c{}\n", n + 1)).collect();
    let router = router_of(rules(), &format!("many: {many}\n{chain}c50: ann\nok: many, ann"));
    let said = |to: &str| verdict(&router, STRANGER, &format!("{to}@a.example"));
    assert_eq!(said("many"), Verdict::Loop);
    assert_eq!(said("c0"), Verdict::Loop);
    assert_eq!(said("c40"), Verdict::Taken);
    assert_eq!(said("ok"), Verdict::Loop);
    assert_eq!(targets(&router, STRANGER, &["many@a.example"]), ["0: many@a.example → 5.4.6"]);
}

#[test]
fn networks() {
    let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
    let ip = |text: &str| text.parse().unwrap();
    assert!(network("192.0.2.0", 24).contains(ip("::ffff:192.0.2.9")));
    assert!(!network("192.0.2.0", 24).contains(ip("192.0.3.0")));
    assert!(network("::ffff:192.0.2.0", 120).contains(ip("192.0.2.9")));
    assert!(!network("::ffff:192.0.2.0", 120).contains(ip("192.0.3.9")));
    assert!(network("0.0.0.0", 0).contains(ip("203.0.113.1")));
    assert!(!network("0.0.0.0", 0).contains(ip("2001:db8::1")));
    assert!(!network("::", 0).contains(ip("203.0.113.1")));
    assert!(network("2001:db8::", 32).contains(ip("2001:db8:7::1")));
    assert!(network("192.0.2.1", 99).contains(ip("192.0.2.1")));
    assert!(!network("192.0.2.1", 99).contains(ip("192.0.2.0")));
}

proptest! {
    /// Any small tangle of aliases ends; each place comes once, and verdict and targets agree.
    #[test]
    fn every_expansion_ends(
        tangle in proptest::collection::vec(proptest::collection::vec(0_usize..14, 1..5), 8),
        accept: bool,
        catch_all in proptest::option::of(0_usize..14),
        ask in 0_usize..14,
    ) {
        let member = |n: usize| match n {
            0..8 => format!("a{n}"),
            8 => "ann".to_owned(),
            9 => "\\bob".to_owned(),
            10 => "gone".to_owned(),
            11 => "x@elsewhere.example".to_owned(),
            12 => "A1@b.example".to_owned(),
            _ => "\\a2".to_owned(),
        };
        let text: String = tangle
            .iter()
            .enumerate()
            .map(|(n, members)| {
                let members: Vec<_> = members.iter().map(|&n| member(n)).collect();
                format!("a{n}: {}\n", members.join(","))
            })
            .collect();
        let unknown = if accept { Unknown::Accept } else { Unknown::Reject };
        let catch_all = catch_all.map(|n| member(n).trim_start_matches('\\').to_owned());
        let router = router_of(Rules { unknown, catch_all, ..rules() }, &text);
        let to = format!("{}@a.example", member(ask).trim_start_matches('\\').split('@').next().unwrap());
        let targets = router.targets(&envelope(STRANGER, &[&to]), &[]);
        let placed = |target: &&Target| target.state == TargetState::Waiting;
        let places: Vec<_> = targets.iter().filter(placed).map(|target| format!("{:?}", target.to)).collect();
        let distinct: BTreeSet<_> = places.iter().collect();
        prop_assert_eq!(distinct.len(), places.len());
        prop_assert!(targets.len() <= 40);
        let taken = verdict(&router, STRANGER, &to) == Verdict::Taken;
        prop_assert_eq!(taken, !places.is_empty(), "{}: {:?}", text, targets);
    }
}

#[test]
fn who_is_authenticated_may_send_where_a_route_leads() {
    let discarded = routes(&[("*@elsewhere.example", RouteTo::Discard)]);
    let router = router_of(Rules { routes: discarded, ..rules() }, ALIASES);
    let peer: SocketAddr = STRANGER.parse().unwrap();
    let said = |to: &str| router.verdict(None, &recipient(to), client(peer, true), 0);
    assert_eq!(said("x@elsewhere.example"), Verdict::Taken);
    assert_eq!(said("x@nowhere.example"), Verdict::RelayDenied);
    assert_eq!(said("nobody@a.example"), Verdict::NoUser);
    let routed =
        router_of(Rules { routes: routes(&[("*", RouteTo::Discard)]), ..rules() }, ALIASES);
    assert_eq!(
        routed.verdict(None, &recipient("x@y.example"), client(peer, false), 0),
        Verdict::RelayDenied
    );
    assert_eq!(
        routed.verdict(None, &recipient("x@y.example"), client(peer, true), 0),
        Verdict::Taken
    );
    let mut letter = envelope(STRANGER, &["x@y.example"]);
    let failed = |letter: &Envelope| {
        let targets = routed.targets(letter, &[]);
        targets.iter().any(|target| matches!(target.state, TargetState::Failed { .. }))
    };
    assert!(failed(&letter));
    letter.protocol.authenticated = true;
    assert!(!failed(&letter));
}

#[test]
fn addresses_belong_to_users() {
    let router = router_of(rules(), ALIASES);
    let owns = |user: &str, address: &str| {
        let Recipient::Mailbox(mailbox) = recipient(address) else { panic!() };
        router.owns(user, &mailbox)
    };
    for (user, address) in [
        ("ann", "ann@a.example"),
        ("ann", "ANN@B.Example"),
        ("ann", "ann+shop@a.example"),
        ("ann", "ann.smith@a.example"),
        ("ann", "Ann.Smith+x@A.example"),
        ("Bob", "bob@b.example"),
        ("Bob", "bob@c.example"),
        ("Bob", "office@b.example"),
        ("x+y", "x+y@a.example"),
    ] {
        assert!(owns(user, address), "{user} {address}");
    }
    for (user, address) in [
        ("ann", "bob@a.example"),
        ("ann", "carl@a.example"),
        ("ann", "ann@c.example"),
        ("ann", "ann@elsewhere.example"),
        ("ann", "ann.smith@b.example"),
        ("ann", "team@a.example"),
        ("carl", "carl@c.example"),
        ("carl", "nobody@a.example"),
        ("gone", "ann@a.example"),
        ("gone", "gone@a.example"),
        ("ann", "ann@[192.0.2.1]"),
    ] {
        assert!(!owns(user, address), "{user} {address}");
    }
}

// ---------------------------------------------------------------- other servers

fn onward(hop: &str) -> RouteTo {
    RouteTo::Onward(Arc::new(Onward::new(hop.parse_hop())))
}

/// Texts in tests are right.
trait ParseHop {
    fn parse_hop(&self) -> Hop;
}

impl ParseHop for str {
    fn parse_hop(&self) -> Hop {
        Hop::parse(self).unwrap()
    }
}

/// Mail goes out for those who may; one domain is stored elsewhere, and one sender has a server of its own.
fn onward_router() -> Router {
    let known = Known::parse("ann@in.example\nBob\n").unwrap();
    let list = vec![
        Route {
            sender: Some("*@b.example".to_owned()),
            ..Route::new("*", onward("relay:smart.example:587"))
        },
        Route {
            known: Some(Arc::new(known)),
            ..Route::new("*@in.example", onward("lmtp:unix:/run/lmtp"))
        },
        Route {
            authenticated: Some(true),
            ..Route::new("*@users.example", onward("relay:users.example:25"))
        },
        Route::new("*", onward("mx")),
    ];
    router_of(Rules { routes: list, ..rules() }, ALIASES)
}

#[test]
fn nobody_sends_elsewhere_who_may_not() {
    use Verdict::{NoUser, RelayDenied, Taken};
    let router = onward_router();
    let said = |sender: &str, to: &str| {
        let sender = (!sender.is_empty()).then(|| {
            let Recipient::Mailbox(mailbox) = recipient(sender) else { panic!() };
            mailbox
        });
        let ask = |peer: &str, authenticated| {
            let peer: SocketAddr = peer.parse().unwrap();
            router.verdict(sender.as_ref(), &recipient(to), client(peer, authenticated), 0)
        };
        [ask(STRANGER, false), ask(FRIEND, false), ask(STRANGER, true)]
    };
    assert_eq!(said("", "x@y.example"), [RelayDenied, Taken, Taken]);
    // Whoever claims to be somebody gets no further by it.
    assert_eq!(said("z@b.example", "x@y.example"), [RelayDenied, Taken, Taken]);
    assert_eq!(said("", "x@users.example"), [RelayDenied, Taken, Taken]);
    assert_eq!(said("", "ann@in.example"), [Taken; 3]);
    assert_eq!(said("", "ANN+tag@IN.example"), [Taken; 3]);
    assert_eq!(said("", "bob@in.example"), [Taken; 3]);
    assert_eq!(said("", "postmaster@in.example"), [Taken; 3], "RFC 5321 §4.5.1");
    assert_eq!(said("", "carl@in.example"), [NoUser; 3]);
    // The table is that of the server behind it; a sender with another server is not asked there.
    assert_eq!(said("z@b.example", "carl@in.example"), [Taken; 3]);
    assert_eq!(said("", "ann@a.example"), [Taken; 3], "a star is for others than ours");
}

#[test]
fn every_target_has_its_route() {
    let router = onward_router();
    let mut letter =
        envelope(FRIEND, &["X@Y.example", "x@y.example", "Ann@in.example", "both@a.example"]);
    let to = |letter: &Envelope| {
        let targets = router.targets(letter, &[]);
        let show = |target: &Target| {
            let hop = match &target.to {
                Destination::Remote(hop) => hop.to_string(),
                Destination::Mailbox(name) => name.clone(),
                Destination::Discard => "nowhere".to_owned(),
            };
            let now = router.onward(letter, target);
            let now = now.map(|(onward, domain)| onward.destination(&domain)).unwrap_or_default();
            format!("{} {hop} {now}", target.address)
        };
        targets.iter().map(show).collect::<Vec<_>>()
    };
    // A local part is as it was written: only its own server knows what case means there.
    assert_eq!(
        to(&letter),
        [
            "X@y.example mx y.example",
            "x@y.example mx y.example",
            "Ann@in.example lmtp:unix:/run/lmtp lmtp:unix:/run/lmtp",
            "x@elsewhere.example mx elsewhere.example",
            "carl@a.example carl ",
        ]
    );
    letter.sender = Some(Mailbox { local: "z".into(), domain: Domain::Name("B.example".into()) });
    assert_eq!(to(&letter)[0], "X@y.example relay:smart.example:587 relay:smart.example:587");
    assert_eq!(router.targets(&envelope(STRANGER, &["x@y.example"]), &[]).len(), 1);
    let stranger = &router.targets(&envelope(STRANGER, &["x@y.example"]), &[])[0];
    assert!(matches!(stranger.state, TargetState::Failed { .. }));
    // What this server sends itself goes where users' mail goes.
    let own = router.targets_from_here(&envelope("0.0.0.0:0", &["x@y.example", "u@users.example"]));
    let hops: Vec<_> = own.iter().map(|target| target.to.clone()).collect();
    assert_eq!(
        hops,
        ["mx", "relay:users.example:25"].map(|hop| Destination::Remote(hop.parse_hop()))
    );
    assert!(own.iter().all(|target| target.state == TargetState::Waiting));
    let letter = envelope("0.0.0.0:0", &["u@users.example"]);
    assert!(router.onward(&letter, &own[1]).is_some());
}

#[test]
fn a_route_that_is_gone_is_missed() {
    let letter = envelope(FRIEND, &["x@y.example"]);
    let target = onward_router().targets(&letter, &[]).remove(0);
    assert!(router_of(rules(), ALIASES).onward(&letter, &target).is_none());
    // Another rule to the same server will do; one to another server takes its place.
    let other = |recipient: &str, hop: &str| {
        let list = vec![Route::new(recipient, onward(hop))];
        let router = router_of(Rules { routes: list, ..rules() }, ALIASES);
        router.onward(&letter, &target).map(|(onward, _)| onward.hop.to_string())
    };
    assert_eq!(other("*@else.example", "mx").as_deref(), Some("mx"));
    assert_eq!(other("*@else.example", "relay:s:25"), None);
    assert_eq!(other("*@y.example", "relay:s:25").as_deref(), Some("relay:s:25"));
}

fn srs() -> Srs {
    Srs::new("srs.example", vec![Secret::new(b"a secret for tests".to_vec())])
}

#[test]
fn what_an_alias_leads_elsewhere_says_so() {
    let list = vec![Route::new("*", onward("mx"))];
    let rules = Rules { routes: list, catch_all: Some("x@caught.example".to_owned()), ..rules() };
    let router = router_of(rules, ALIASES);
    let via = |to: &[&str], been: &[&str]| {
        let been: Vec<String> = been.iter().map(|text| (*text).to_owned()).collect();
        let targets = router.targets(&envelope(STRANGER, to), &been);
        let show = |target: &Target| {
            let why = match &target.state {
                TargetState::Failed { reason } => reason.chars().take(5).collect(),
                TargetState::Waiting
                | TargetState::Deferred { .. }
                | TargetState::Delivered
                | TargetState::Removed => target.via.clone().unwrap_or_default(),
            };
            format!("{} {why}", target.address)
        };
        targets.iter().map(show).collect::<Vec<_>>()
    };
    assert_eq!(
        via(&["both@a.example"], &[]),
        ["x@elsewhere.example both@a.example", "carl@a.example "]
    );
    // The same place once, by the first way.
    let two = via(&["Out+tag@B.example", "both@a.example"], &["z@a.example"]);
    assert_eq!(two, ["x@elsewhere.example out@b.example", "carl@a.example "]);
    assert_eq!(via(&["nobody@a.example"], &[]), ["x@caught.example nobody@a.example"]);
    // Where it has been before it goes no further, not even to mailboxes here.
    assert_eq!(via(&["both@a.example"], &["both@a.example"]), ["both@a.example 5.4.6"]);
    assert_eq!(via(&["Nobody@a.example"], &["nobody@a.example"]), ["Nobody@a.example 5.4.6"]);
    assert_eq!(
        via(&["ann@a.example"], &["ann@a.example"]),
        ["ann@a.example 5.4.6"],
        "an alias of hers"
    );
    assert_eq!(via(&["carl@a.example"], &["carl@a.example"]), ["carl@a.example "], "no alias");
    // An alias on the way does not count: only what was asked for is said at the next server.
    assert_eq!(via(&["both@a.example"], &["out@a.example"]).len(), 2);
    assert!(router.forwards());
}

#[test]
fn a_rewritten_sender_leads_back() {
    const DAY: i64 = 86_400;
    let list = vec![Route::new("*", onward("mx"))];
    let router = router_of(Rules { routes: list, srs: Some(srs()), ..rules() }, "");
    let far = Mailbox { local: "Me".into(), domain: Domain::Name("far.example".into()) };
    let made = srs().forward(&far, 0).unwrap().to_string();
    let peer: SocketAddr = STRANGER.parse().unwrap();
    let said =
        |to: &str, days| router.verdict(None, &recipient(to), client(peer, false), days * DAY);
    assert_eq!(said(&made, 21), Verdict::Taken);
    assert_eq!(said(&made.to_uppercase(), 0), Verdict::Taken);
    assert_eq!(said(&made, 22), Verdict::ExpiredReturn);
    assert_eq!(said(&made.replace("=Me@", "=You@"), 0), Verdict::ForgedReturn);
    assert_eq!(said(&made.replace("srs.example", "b.example"), 0), Verdict::NoUser);
    assert_eq!(said("ann@srs.example", 0), Verdict::RelayDenied);
    // RFC 5321 §4.5.1: whoever sees the domain may write to its postmaster.
    assert_eq!(said("Postmaster@SRS.example", 0), Verdict::Taken);
    assert_eq!(said("postmaster+x@srs.example", 0), Verdict::RelayDenied);
    let targets = router.targets(&envelope(STRANGER, &[&made]), &[]);
    assert_eq!((targets.len(), targets[0].address.as_str()), (1, "Me@far.example"));
    assert_eq!(targets[0].via.as_deref(), Some(made.as_str()));
    let again = router.targets(&envelope(STRANGER, &[&made]), &[crate::mail::rewrite::key(&made)]);
    assert!(
        matches!(&again[0].state, TargetState::Failed { reason } if reason.starts_with("5.4.6"))
    );
    // A user of ours whose mail somebody forwarded to somebody else by us.
    let ann = Mailbox { local: "ann".into(), domain: Domain::Name("a.example".into()) };
    let made = srs().forward(&ann, 0).unwrap().to_string();
    assert_eq!(targets_of(&router, &made), ["0: ann@a.example → ann"]);
    // Without a route to the sender there is nobody.
    assert!(!router_of(rules(), "").forwards());
    let closed = router_of(Rules { srs: Some(srs()), ..rules() }, "");
    let made = srs().forward(&far, 0).unwrap().to_string();
    let verdict = closed.verdict(None, &recipient(&made), client(peer, false), 0);
    assert_eq!(verdict, Verdict::NoUser);
}

fn targets_of(router: &Router, to: &str) -> Vec<String> {
    targets(router, STRANGER, &[to])
}

#[test]
fn circles_of_aliases_are_told() {
    let circles = |text: &str| {
        let router = router_of(rules(), text);
        let told = router.warnings().iter().filter(|one| one.what.contains("in a circle"));
        told.map(|one| (one.about, one.what.clone())).collect::<Vec<_>>()
    };
    let what = |line, name: &str, back: &str| {
        (About::Alias(line), format!("{name}: leads in a circle, {back}@a.example is no user"))
    };
    assert_eq!(
        circles("ring: gnir, carl\ngnir: ring\n\nout: Ring+x\n"),
        [what(2, "gnir", "gnir"), what(4, "out", "ring"), what(1, "ring", "ring")]
    );
    assert_eq!(
        circles("lost: lost@B.example\n"),
        [(About::Alias(1), "lost: leads in a circle, lost@b.example is no user".to_owned())]
    );
    // A user's own name, another server's user of that name, `\user`, and an alias met twice are none.
    for fine in
        ["ann: ann, bob", "lost: lost@elsewhere.example", "carl: \\carl", "a: b, c\nb: c\nc: carl"]
    {
        assert_eq!(circles(fine), [], "{fine}");
    }
}
