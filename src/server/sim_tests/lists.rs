//! Aliases and lists that lead to another server: under whose name mail goes there, how it comes back, and
//! that no loop goes on.

use std::path::Path;
use std::time::Duration;

use super::client::Client;
use super::post::{self, Post};
use super::remote::Remote;
use crate::config::{At, Config, Route, RouteTo};
use crate::mail::hop::{Hop, Onward, TlsPolicy};
use crate::shard::Sim;

const REMOTE: &str = "203.0.113.5:25";
const HOUR: Duration = Duration::from_secs(3600);
const ALIASES: &str = "both: x@far.example, ann\nout: both\n\
    staff: x@far.example, y@far.example, ann, q\nowner-staff: ann\nq: \"a b\"@far.example\n";
const TEXT: &[u8] = b"Subject: hello\r\n\r\ntext\r\n";

/// Files that the server under test reads.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("aliases"), ALIASES).unwrap();
        std::fs::write(files.path().join("secret"), "0123456789abcdef\n").unwrap();
        Self(files)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Everything that is not ours goes on to one server, where an alias leads there.
    fn config(&self) -> Config {
        let mut config = post::config();
        let hop = Hop::parse(&format!("relay:{REMOTE}")).unwrap();
        let onward = Onward { tls: TlsPolicy::None, ..Onward::new(hop) };
        config.smtp.as_mut().unwrap().routes = vec![Route {
            recipient: "*".into(),
            sender: None,
            authenticated: None,
            to: RouteTo::Onward(Box::new(onward)),
            recipients: None,
            at: At::default(),
        }];
        config.mail.aliases = self.path().join("aliases");
        config.mail.srs_domain = Some("srs.example".to_owned());
        config.mail.srs_secret = self.path().join("secret");
        config.mail.verp_lists = vec!["Staff".to_owned()];
        config
    }
}

async fn send(client: &mut Client, from: &str, to: &str, text: &[u8]) {
    client.expect(&format!("MAIL FROM:<{from}>"), 250).await;
    client.expect(&format!("RCPT TO:<{to}>"), 250).await;
    client.expect("DATA", 354).await;
    client.control.write(text).await.unwrap();
    client.expect(".", 250).await;
}

/// What a message is like at the other server: sender, recipients, and its first line if that is not ours.
fn taken(remote: &Remote) -> Vec<(String, Vec<String>, String)> {
    let mut all: Vec<_> = remote
        .taken()
        .into_iter()
        .map(|one| {
            let text = String::from_utf8(one.octets).unwrap();
            let (first, rest) = text.split_once("\r\n").unwrap();
            assert!(rest.starts_with("Received: from sim.example.net"), "{text}");
            assert!(text.ends_with("Subject: hello\r\n\r\ntext\r\n"), "{text}");
            (one.sender, one.recipients, first.to_owned())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_is_forwarded_comes_from_us_and_its_bounce_goes_back() {
    let files = Files::new();
    let sim = Sim::new(5);
    Post::plant(&sim.disk());
    let (post, sender) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let post = Post::open_with(files.config()).await;
        let mut client = post.greeted().await;
        send(&mut client, "me@else.example", "out@sim.example", TEXT).await;
        assert!(post.settled(HOUR).await);
        let [(sender, to, first)] = &taken(&remote)[..] else { panic!("{:?}", remote.taken()) };
        assert!(sender.starts_with("SRS0=") && sender.ends_with("=else.example=me@srs.example"));
        // The alias that was asked for, however many were behind it.
        assert_eq!(
            (&to[..], first.as_str()),
            (&["x@far.example".to_owned()][..], "Delivered-To: out@sim.example")
        );

        // The bounce, by somebody who writes in lower case.
        let sender = sender.to_lowercase();
        send(&mut client, "", &sender, TEXT).await;
        assert!(post.settled(HOUR).await);
        let back = taken(&remote).into_iter().find(|(sender, ..)| sender.is_empty()).unwrap();
        assert_eq!(back.1, ["me@else.example"]);
        assert_eq!(back.2, format!("Delivered-To: {sender}"));

        // Nobody else gets anywhere by that domain.
        client.expect("MAIL FROM:<>", 250).await;
        for (to, said) in [
            (
                sender.replace("=me@", "=you@"),
                "550 5.1.1 That return address was not made here\r\n",
            ),
            ("SRS0=@srs.example".to_owned(), "550 5.1.1 That return address was not made here\r\n"),
            ("me@srs.example".to_owned(), "550 5.7.1 Relaying denied\r\n"),
        ] {
            let reply = client.command(&format!("RCPT TO:<{to}>")).await.unwrap();
            assert_eq!(reply.text, said, "{to}");
        }
        client.expect("QUIT", 221).await;
        (post, sender)
    });
    for _ in 0..23 {
        sim.pass(24 * HOUR);
    }
    sim.run(async {
        let mut client = post.greeted().await;
        client.expect("MAIL FROM:<>", 250).await;
        let reply = client.command(&format!("RCPT TO:<{sender}>")).await.unwrap();
        assert_eq!(reply.text, "550 5.1.6 That return address has expired\r\n");
        client.expect("QUIT", 221).await;
    });
    // In a mailbox here nothing is different from what came.
    let [copy] = &files_of(&sim, "ann")[..] else { panic!() };
    assert!(copy.starts_with("Return-Path: <me@else.example>\r\nReceived: from"), "{copy}");
    assert!(!copy.contains("Delivered-To"));
    post::assert_clean(&sim, post);
}

fn files_of(sim: &Sim, user: &str) -> Vec<String> {
    let new = format!("{user}/new/").into_bytes();
    let files = sim.disk().files(post::MAIL);
    let found = files.into_iter().filter(|(path, _)| path.starts_with(&new));
    found.map(|(_, octets)| String::from_utf8(octets).unwrap()).collect()
}

#[test]
fn what_comes_back_to_its_alias_goes_no_further() {
    let files = Files::new();
    let sim = Sim::new(6);
    Post::plant(&sim.disk());
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let post = Post::open_with(files.config()).await;
        let mut client = post.greeted().await;
        let text =
            [b"Received: from far.example\r\nDelivered-To:\r\n OUT@sim.example\r\n", TEXT].concat();
        send(&mut client, "bob@sim.example", "out@sim.example", &text).await;
        // By another alias it has not been.
        send(&mut client, "bob@sim.example", "both@sim.example", &text).await;
        // One that is so large that it is in a file, and whose header is not at hand.
        let large = [&text[..], &b"x".repeat(70), b"\r\n"].concat();
        let large = [&large[..], &b"0123456789abcdef\r\n".repeat(100_000)].concat();
        send(&mut client, "bob@sim.example", "out@sim.example", &large).await;
        client.expect("QUIT", 221).await;
        assert!(post.settled(HOUR).await);
        (post, remote)
    });
    let all = taken(&remote);
    assert_eq!(all.len(), 1, "{all:?}");
    // A sender of ours stays.
    assert_eq!(
        (all[0].0.as_str(), all[0].2.as_str()),
        ("bob@sim.example", "Delivered-To: both@sim.example")
    );
    assert_eq!(files_of(&sim, "ann").len(), 1, "nor to members here");
    let reports = files_of(&sim, "bob");
    assert_eq!(reports.len(), 2);
    for report in reports {
        for wanted in [
            "Final-Recipient: rfc822;out@sim.example\r\n",
            "Action: failed\r\n",
            "Status: 5.4.6\r\n",
        ] {
            assert!(report.contains(wanted), "no {wanted:?} in {report}");
        }
        assert!(!report.contains("x@far.example"), "who is behind an alias is not told");
    }
    post::assert_clean(&sim, post);
}

#[test]
fn each_member_of_a_list_has_a_sender_of_its_own() {
    let files = Files::new();
    let sim = Sim::new(7);
    Post::plant(&sim.disk());
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        let post = Post::open_with(files.config()).await;
        let mut client = post.greeted().await;
        send(&mut client, "me@else.example", "staff@sim.example", TEXT).await;
        assert!(post.settled(HOUR).await);
        // Who bounces is seen in the address; it finds the owner.
        send(&mut client, "", "owner-staff+y=far.example@sim.example", TEXT).await;
        client.expect("QUIT", 221).await;
        assert!(post.settled(HOUR).await);
        (post, remote)
    });
    let sent = taken(&remote);
    let wanted = [
        ("\"owner-staff+a b=far.example\"@sim.example", "\"a b\"@far.example"),
        ("owner-staff+x=far.example@sim.example", "x@far.example"),
        ("owner-staff+y=far.example@sim.example", "y@far.example"),
    ]
    .map(|(from, to)| {
        (from.to_owned(), vec![to.to_owned()], "Delivered-To: staff@sim.example".to_owned())
    });
    assert_eq!(sent, wanted);
    assert!(remote.0.connections.get() < 3, "one connection takes several transactions");
    let mut here: Vec<_> = files_of(&sim, "ann")
        .iter()
        .map(|text| text.split_once("\r\n").unwrap().0.to_owned())
        .collect();
    here.sort();
    assert_eq!(here, ["Return-Path: <>", "Return-Path: <owner-staff@sim.example>"]);
    post::assert_clean(&sim, post);
}

/// RFC 3461 §6.1: nobody is told about a report, and nothing else is asked for it.
#[test]
fn a_report_says_that_nobody_is_told_about_it() {
    let files = Files::new();
    let sim = Sim::new(8);
    Post::plant(&sim.disk());
    let (post, remote) = sim.run(async {
        let remote = Remote::begin(REMOTE);
        remote.0.offers.borrow_mut().push("DSN");
        let refused = ("x@far.example", "550 5.1.1 nobody");
        remote.0.refusals.borrow_mut().push(refused);
        let post = Post::open_with(files.config()).await;
        let mut client = post.greeted().await;
        client.expect("MAIL FROM:<me@else.example> RET=HDRS ENVID=mine", 250).await;
        client.expect("RCPT TO:<out@sim.example> ORCPT=rfc822;first@else.example", 250).await;
        client.expect("DATA", 354).await;
        client.control.write(TEXT).await.unwrap();
        client.expect(".", 250).await;
        client.expect("QUIT", 221).await;
        assert!(post.settled(HOUR).await);
        (post, remote)
    });
    let lines = remote.0.lines.borrow().clone();
    let said = |verb: &str| {
        lines.iter().filter(|line| line.starts_with(verb)).cloned().collect::<Vec<_>>()
    };
    let [forwarded, report] = &said("MAIL")[..] else { panic!("{lines:?}") };
    // An alias passes on what was asked for, under a sender of ours.
    assert!(forwarded.starts_with("MAIL FROM:<SRS0="), "{forwarded}");
    assert!(forwarded.contains(" RET=HDRS") && forwarded.contains(" ENVID=mine"), "{forwarded}");
    assert_eq!(report.split(' ').take(2).collect::<Vec<_>>(), ["MAIL", "FROM:<>"]);
    assert!(!report.contains("RET=") && !report.contains("ENVID="), "{report}");
    let to = said("RCPT");
    assert_eq!(to.last().unwrap(), "RCPT TO:<me@else.example> NOTIFY=NEVER");
    assert!(to[0].contains("ORCPT=rfc822;first@else.example"), "{}", to[0]);
    let [taken] = &remote.taken()[..] else { panic!() };
    let text = String::from_utf8(taken.octets.clone()).unwrap();
    assert!(
        text.starts_with("From: \"Mail delivery\" <MAILER-DAEMON@"),
        "no field in front: {text}"
    );
    assert!(text.contains("To: <me@else.example>\r\n") && text.contains("Status: 5.1.1\r\n"));
    post::assert_clean(&sim, post);
}
