//! Files that are read again: each counts for itself.

use std::fs;
use std::net::Ipv4Addr;

use super::*;
use crate::config::Machine;
use crate::mail::route::{Client, Verdict};
use crate::smtp::address::{Mailbox, Recipient};

const ROUTES: &str = "[smtp]\nlisten = [\"127.0.0.1:0\"]\ndomains = [\"own.example\"]\n\
                      [[smtp.route]]\nrecipient = \"*@one.example\"\nto = \"relay:127.0.0.1:1\"\n\
                      recipients = \"one\"\n\
                      [[smtp.route]]\nrecipient = \"*@two.example\"\nto = \"relay:127.0.0.1:1\"\n\
                      recipients = \"two\"\n";

fn config(data: &Path, text: &str) -> Config {
    let machine = Machine { hostname: "edge".into(), cores: 1, directory: "/".into() };
    Config::parse(Path::new("s.toml"), text, &machine, Some(data)).unwrap()
}

fn takes(router: &Router, to: &str) -> bool {
    let client = Client { peer: Ipv4Addr::new(192, 0, 2, 1).into(), authenticated: false };
    let to = Recipient::Mailbox(Mailbox::parse(to, false).unwrap());
    router.verdict(None, &to, client, 0) == Verdict::Taken
}

#[test]
fn a_file_that_is_wrong_keeps_no_other_from_being_read() {
    let data = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    let (config, accounts) = (config(data.path(), ROUTES), Accounts::default());
    write("aliases", "first: postmaster\n");
    write("one", "ann\n");
    write("two", "bob\n");
    let mut routing = Routing::default();
    let old = routing.load(&config, &accounts, None).unwrap().unwrap();
    let all = ["first@own.example", "ann@one.example", "bob@two.example"];
    assert!(all.iter().all(|to| takes(&old, to)));
    // The table of the first route is wrong: it stays as it was, and the others count as they are.
    write("one", "ann\nwhat is this\n");
    write("two", "carl\n");
    write("aliases", "second: postmaster\n");
    assert!(routing.changed());
    let new = routing.load(&config, &accounts, Some(&old)).unwrap().unwrap();
    for (to, taken) in [
        ("ann@one.example", true),
        ("what@one.example", false),
        ("bob@two.example", false),
        ("carl@two.example", true),
        ("first@own.example", false),
        ("second@own.example", true),
    ] {
        assert_eq!(takes(&new, to), taken, "{to}");
    }
    // And the other way round, however often it is tried.
    write("aliases", "third: |/bin/sh\n");
    write("one", "dora\n");
    let new = routing.load(&config, &accounts, Some(&new)).unwrap().unwrap();
    let new = routing.load(&config, &accounts, Some(&new)).unwrap().unwrap();
    assert!(takes(&new, "dora@one.example") && takes(&new, "second@own.example"));
    assert!(!takes(&new, "ann@one.example") && !takes(&new, "third@own.example"));
    fs::remove_file(data.path().join("two")).unwrap();
    let new = routing.load(&config, &accounts, Some(&new)).unwrap().unwrap();
    assert!(takes(&new, "carl@two.example") && !takes(&new, "eve@two.example"));
}

#[test]
fn a_start_tells_everything_and_names_each_file() {
    let data = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    let config = config(data.path(), ROUTES);
    write("aliases", "ann: |/bin/sh\n");
    write("one", "# names\nann@\nbob carl\n");
    let told = Routing::default().load(&config, &Accounts::default(), None).unwrap_err();
    let here = format!("{}/", data.path().display());
    let told: Vec<String> = told.iter().map(|one| one.to_string().replace(&here, "")).collect();
    let what = "write name@example.org, name or @example.org, one a line";
    assert!(told[0].starts_with("aliases:1:"), "{told:?}");
    assert_eq!(
        told[1..],
        [
            format!("one:2:1: recipients: ann@: no address, no local part, no @domain ({what})"),
            format!("one:3:1: recipients: carl: more than a name ({what})"),
            "two: no such file (give a readable file of recipients, or take it out of the route)"
                .to_owned(),
        ]
    );
}
