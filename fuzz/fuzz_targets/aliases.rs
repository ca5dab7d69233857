//! Any aliases file: understood or refused with a place inside it; what is understood expands to an end, to
//! each mailbox once, and verdicts agree with targets.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use sluicegate::mail::aliases::Aliases;
use sluicegate::mail::name;
use sluicegate::mail::rewrite::Verp;
use sluicegate::mail::route::{Client, Router, Rules, Unknown, User, Verdict};
use sluicegate::mail::stored::{Destination, TargetState};
use sluicegate::smtp::address::{Domain, Mailbox, Recipient};
use sluicegate::smtp::envelope::{BodyType, Envelope, Protocol, To};

fuzz_target!(|octets: &[u8]| {
    let Some((flags, octets)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // Lists hold the file itself: whatever can be said there can be included, loops and all.
    let mut loads = 0;
    let mut load = |path: &str| {
        loads += 1;
        assert!(path.starts_with('/') && loads <= 10_000, "{loads} lists, {path:?}");
        if path.ends_with('x') { Err("none".to_owned()) } else { Ok(text.to_owned()) }
    };
    let aliases = match Aliases::parse(text, &mut load) {
        Ok(aliases) => aliases,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.what.is_empty() && !fault.remedy.is_empty());
                let line = text.lines().nth(fault.line - 1).expect("a line of the file");
                assert!((1..=line.chars().count() + 1).contains(&fault.column));
            }
            return;
        }
    };
    let names: Vec<String> = aliases.iter().take(20).map(|(name, _)| name.to_owned()).collect();
    let rules = Rules {
        hostname: "h.example".to_owned(),
        domains: vec!["a.example".to_owned()],
        routes: Vec::new(),
        relay_from: Vec::new(),
        unknown: if flags & 1 == 0 { Unknown::Reject } else { Unknown::Accept },
        catch_all: (flags & 2 != 0).then(|| names.first().cloned().unwrap_or_default()),
        separator: if flags & 4 == 0 { "+".to_owned() } else { String::new() },
        srs: None,
        verp: Verp::default(),
    };
    let users = ["a", "b"].map(|name| User { name: name.to_owned(), addresses: Vec::new() });
    let router = Router::new(rules, users, aliases);
    for name in names {
        expand(&router, name);
    }
});

fn expand(router: &Router, local: String) {
    let peer = std::net::SocketAddr::from(([192, 0, 2, 1], 25));
    let domain = Domain::Name("a.example".to_owned());
    let recipient = Recipient::Mailbox(Mailbox { local, domain });
    let client = Client { peer: peer.ip(), authenticated: false };
    let verdict = router.verdict(None, &recipient, client, 0);
    let envelope = Envelope {
        sender: None,
        recipients: vec![To { recipient, notify: None, original: None }],
        body: BodyType::default(),
        ret: None,
        envelope_id: None,
        helo: String::new(),
        peer,
        protocol: Protocol::default(),
    };
    let mut boxes = BTreeSet::new();
    let mut placed = false;
    for target in router.targets(&envelope, &[]) {
        match (target.to, target.state) {
            (_, TargetState::Failed { .. }) => {}
            (Destination::Mailbox(mailbox), _) => {
                placed = true;
                assert!(!mailbox.starts_with('.') && !mailbox.contains(['/', '\0']));
                assert_eq!(name::folded(&mailbox), mailbox);
                assert!(boxes.insert((mailbox, target.tag)), "twice");
            }
            (Destination::Discard, _) => panic!("nothing is discarded here"),
            (Destination::Remote(_), _) => panic!("no route leads to another server"),
        }
    }
    assert_eq!(verdict == Verdict::Taken, placed);
}
