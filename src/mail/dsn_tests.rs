//! Reports as another parser reads them, who gets one, and hostile input.
#![allow(clippy::disallowed_types, reason = "proptest's own macros name Arc")]

use mail_parser::{Message as Parsed, MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::parts::is_plain;
use super::*;
use crate::mail::stored::Destination;
use crate::smtp::address::Domain;
use crate::smtp::envelope::{BodyType, Envelope, Notify, Protocol, Return};

const FRAME: Frame<'_> =
    Frame { hostname: "mx.a.example", id: "0ABC", now: 1_700_000_060, until: 0, copy_of: None };

fn mailbox(local: &str) -> Mailbox {
    Mailbox { local: local.to_owned(), domain: Domain::Name("a.example".to_owned()) }
}

fn to(local: &str, notify: Option<[bool; 2]>) -> To {
    To {
        recipient: Recipient::Mailbox(mailbox(local)),
        notify: notify.map(|[success, failure]| Notify { success, failure, delay: false }),
        original: Some(("rfc822".to_owned(), format!("{local}+orig@x.example"))),
    }
}

fn failed(reason: &str) -> TargetState {
    TargetState::Failed { reason: reason.to_owned() }
}

fn target(recipient: u32, local: &str, state: TargetState) -> Target {
    Target {
        recipient,
        address: format!("{local}@a.example"),
        tag: None,
        to: Destination::Mailbox(local.to_owned()),
        sender: None,
        state,
        via: None,
        told: false,
        delayed: false,
    }
}

fn message(recipients: Vec<To>, targets: Vec<Target>) -> Message {
    Message {
        envelope: Envelope {
            sender: Some(mailbox("sender")),
            recipients,
            body: BodyType::default(),
            ret: None,
            envelope_id: Some("my id".to_owned()),
            helo: "client.example".to_owned(),
            peer: "192.0.2.1:2000".parse().unwrap(),
            protocol: Protocol::default(),
        },
        accepted: 1_700_000_000,
        trace: b"Received: from client.example\r\n".to_vec(),
        targets,
        held: false,
    }
}

fn whole(octets: &[u8]) -> Original<'_> {
    Original { octets, size: u64::try_from(octets.len()).unwrap() }
}

/// The three parts: human, for machines, returned.
fn parts(parsed: &Parsed<'_>) -> [String; 3] {
    assert!(parsed.is_content_type("multipart", "report"));
    assert_eq!(parsed.content_type().unwrap().attribute("report-type"), Some("delivery-status"));
    let PartType::Multipart(parts) = &parsed.root_part().body else { panic!("no multipart") };
    assert_eq!(parts.len(), 3);
    std::array::from_fn(|number| {
        let part = &parsed.parts[usize::try_from(parts[number]).unwrap()];
        match &part.body {
            PartType::Message(inner) => String::from_utf8_lossy(inner.raw_message()).into_owned(),
            PartType::Text(text) => text.to_string(),
            PartType::Html(_)
            | PartType::Binary(_)
            | PartType::InlineBinary(_)
            | PartType::Multipart(_) => String::from_utf8_lossy(part.contents()).into_owned(),
        }
    })
}

fn fields(text: &str, wanted: &[&str]) {
    for field in wanted {
        assert!(text.lines().any(|line| line == *field), "{field:?} is not in\n{text}");
    }
}

#[test]
fn an_alias_is_named_beside_where_it_led() {
    let away =
        Target { address: "ann@other.example".to_owned(), ..target(0, "ann", failed("5.1.1 no")) };
    let message = message(
        vec![to("alias", None), to("Bob", None)],
        vec![away, target(1, "bob", failed("5.1.1 no"))],
    );
    let octets = compose(&message, &due(&message)[0], whole(TEXT), FRAME);
    let parsed = MessageParser::default().parse(&octets).unwrap();
    let [human, status, _] = parts(&parsed);
    fields(
        &human,
        &["  <ann@other.example>", "    (expanded from <alias@a.example>)", "  <bob@a.example>"],
    );
    assert_eq!(human.matches("expanded from").count(), 1, "{human}");
    fields(&status, &["Final-Recipient: rfc822;ann@other.example"]);
    fields(&status, &["Original-Recipient: rfc822;alias+orig@x.example"]);
}

const TEXT: &[u8] = b"Subject: hello\r\nFrom: x\r\n\r\n--report-0ABC-0\r\nbody\r\n";

#[test]
fn a_failure_is_told_in_three_parts() {
    let message = message(
        vec![to("ann", None), to("bob", None)],
        vec![
            target(0, "ann", failed("5.1.1 no such\r\nuser: here")),
            target(1, "bob", TargetState::Delivered),
        ],
    );
    let notices = due(&message);
    assert_eq!(notices.len(), 1);
    let octets = compose(&message, &notices[0], whole(TEXT), FRAME);
    assert!(is_plain(&octets) && octets.is_ascii());
    let parsed = MessageParser::default().parse(&octets).unwrap();
    assert_eq!(parsed.subject(), Some("Your message could not be delivered"));
    let from = parsed.from().and_then(|from| from.first()).unwrap();
    assert_eq!(from.address(), Some("MAILER-DAEMON@mx.a.example"));
    assert_eq!(parsed.header_raw("To").unwrap().trim(), "<sender@a.example>");
    assert_eq!(parsed.header_raw("Auto-Submitted").unwrap().trim(), "auto-replied");
    assert_eq!(parsed.message_id(), Some("report-0ABC-1.1700000060.0@mx.a.example"));
    assert_eq!(parsed.date().unwrap().to_timestamp(), FRAME.now);
    let [human, status, returned] = parts(&parsed);
    fields(&human, &["It could not be delivered to:", "  <ann@a.example>"]);
    assert!(!human.contains("bob"));
    fields(
        &status,
        &[
            "Original-Envelope-Id: my id",
            "Reporting-MTA: dns; mx.a.example",
            "Received-From-MTA: dns; client.example",
            "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "",
            "Original-Recipient: rfc822;ann+orig@x.example",
            "Final-Recipient: rfc822;ann@a.example",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: x-sluicegate; 5.1.1 no such  user: here",
        ],
    );
    let wanted = [&message.trace[..], TEXT].concat();
    assert_eq!(returned.trim_end(), String::from_utf8_lossy(&wanted).trim_end());
}

#[test]
fn who_is_told_what() {
    let states = [failed("5.0.0 x"), TargetState::Delivered, TargetState::Removed];
    let told = |notify, state: &TargetState| {
        let message = message(vec![to("ann", notify)], vec![target(0, "ann", state.clone())]);
        due(&message).first().map(|notice| notice.targets[0].1)
    };
    let said = |notify| states.each_ref().map(|state| told(notify, state));
    // RFC 3461 §4.1: nothing said means failures; NEVER means never.
    assert_eq!(said(None), [Some(Action::Failed), None, None]);
    assert_eq!(said(Some([false, false])), [None; 3]);
    assert_eq!(said(Some([false, true])), [Some(Action::Failed), None, None]);
    assert_eq!(said(Some([true, false])), [None, Some(Action::Delivered), None]);

    let mut null = message(vec![to("ann", None)], vec![target(0, "ann", failed("5.0.0"))]);
    null.envelope.sender = None;
    assert_eq!(due(&null), []);
    let mut twice = message(vec![to("ann", None)], vec![target(0, "ann", failed("5.0.0"))]);
    twice.targets[0].told = true;
    assert_eq!(due(&twice), []);
    let waiting = message(vec![to("ann", None)], vec![target(0, "ann", TargetState::Waiting)]);
    assert_eq!(due(&waiting), []);
}

fn remote(to: Hop, state: TargetState) -> Target {
    Target { to: Destination::Remote(to), ..target(0, "ann", state) }
}

fn relay() -> Hop {
    Hop::Relay { host: "smart.example".to_owned(), port: 25 }
}

#[test]
fn who_sends_on_says_relayed_and_who_has_mailboxes_delivered() {
    let lmtp = Hop::LmtpUnix("/run/lmtp".to_owned());
    for (hop, action, field) in [
        (relay(), Action::Relayed, "Action: relayed"),
        (Hop::Mx, Action::Relayed, "Action: relayed"),
        (lmtp, Action::Delivered, "Action: delivered"),
    ] {
        let target = remote(hop, TargetState::Delivered);
        let message = message(vec![to("ann", Some([true, true]))], vec![target]);
        let notices = due(&message);
        assert_eq!(notices[0].targets, [(0, action)]);
        let octets = compose(&message, &notices[0], whole(TEXT), FRAME);
        let [_, status, _] = parts(&MessageParser::default().parse(&octets).unwrap());
        fields(&status, &[field, "Status: 2.0.0"]);
    }
}

#[test]
fn another_server_is_named_with_its_words() {
    let reason = said("5.1.1", "mx.b.example[192.0.2.1]", "550 5.1.1 no such\r\nX: user");
    let message = message(vec![to("ann", None)], vec![remote(relay(), failed(&reason))]);
    let octets = compose(&message, &due(&message)[0], whole(TEXT), FRAME);
    let [human, status, _] = parts(&MessageParser::default().parse(&octets).unwrap());
    fields(
        &status,
        &[
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.b.example",
            "Diagnostic-Code: smtp; 550 5.1.1 no such  X: user",
        ],
    );
    assert!(human.contains("mx.b.example[192.0.2.1] said: 550 5.1.1 no such"), "{human}");
}

#[test]
fn a_delay_is_told_once_to_who_did_not_decline() {
    let deferred = TargetState::Deferred {
        attempts: 3,
        next: 1_700_001_000,
        reason: "4.4.1 mx.b.example[192.0.2.1]:25: refused".to_owned(),
    };
    let told = |notify: Option<Notify>, target: Target| {
        let mut message = message(vec![to("ann", None)], vec![target]);
        message.envelope.recipients[0].notify = notify;
        late(&message)
    };
    let notify = |delay| Some(Notify { success: false, failure: true, delay });
    let waiting = remote(relay(), deferred);
    assert_eq!(told(None, waiting.clone())[0].targets, [(0, Action::Delayed)]);
    assert_eq!(told(notify(true), waiting.clone()).len(), 1);
    assert_eq!(told(notify(false), waiting.clone()), []);
    assert_eq!(told(None, Target { delayed: true, ..waiting.clone() }), []);
    assert_eq!(told(None, remote(relay(), TargetState::Delivered)), []);
    let mut null = message(vec![to("ann", None)], vec![waiting.clone()]);
    null.envelope.sender = None;
    assert_eq!(late(&null), []);

    let message = message(vec![to("ann", None)], vec![waiting]);
    let frame = Frame { until: 1_700_432_000, ..FRAME };
    let octets = compose(&message, &late(&message)[0], whole(TEXT), frame);
    let parsed = MessageParser::default().parse(&octets).unwrap();
    assert_eq!(parsed.subject(), Some("Your message is delayed; nothing is lost yet"));
    let [human, status, _] = parts(&parsed);
    fields(
        &status,
        &["Action: delayed", "Status: 4.4.1", "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000"],
    );
    assert!(human.contains("You need not send it again."), "{human}");
}

#[test]
fn an_owner_hears_of_members_and_the_sender_of_the_list() {
    let member = |local, state| Target {
        sender: Some("owner-list@a.example".to_owned()),
        ..target(0, local, state)
    };
    let message = message(
        vec![to("list", Some([true, true]))],
        vec![
            member("ann", TargetState::Delivered),
            member("bob", failed("5.2.1 x")),
            member("carl", TargetState::Delivered),
        ],
    );
    let notices = due(&message);
    assert_eq!(notices.len(), 2);
    assert_eq!(notices[0].to, "sender@a.example");
    let octets = compose(&message, &notices[0], whole(TEXT), FRAME);
    let [human, status, _] = parts(&MessageParser::default().parse(&octets).unwrap());
    fields(&status, &["Action: expanded", "Final-Recipient: rfc822;list@a.example"]);
    assert_eq!(status.matches("Final-Recipient").count(), 1);
    assert!(!human.contains("ann@") && !status.contains("ann@") && !status.contains("bob"));
    assert_eq!(notices[1].to, "owner-list@a.example");
    let octets = compose(&message, &notices[1], whole(TEXT), FRAME);
    let [_, status, _] = parts(&MessageParser::default().parse(&octets).unwrap());
    fields(&status, &["Final-Recipient: rfc822;bob@a.example", "Status: 5.2.1"]);
    assert!(!status.contains("Original-"), "what the sender said is not the owner's");
}

#[test]
fn how_much_goes_back() {
    let message = |ret| Message {
        envelope: Envelope { ret, ..message(vec![to("ann", None)], Vec::new()).envelope },
        ..message(vec![to("ann", None)], vec![target(0, "ann", failed("5.0.0"))])
    };
    let returned = |ret, octets: &[u8], size: Option<u64>| {
        let message = message(ret);
        let size = size.unwrap_or_else(|| u64::try_from(octets.len()).unwrap());
        let report = compose(&message, &due(&message)[0], Original { octets, size }, FRAME);
        assert!(report.len() < 250_000);
        let parsed = MessageParser::default().parse(&report).unwrap();
        let kind = parsed.parts.iter().filter_map(|part| part.content_type()).nth(3).unwrap();
        let kind = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
        let [human, _, returned] = parts(&parsed);
        (kind, human.contains("Only its header"), returned)
    };
    let headers = "Received: from client.example\r\nSubject: hello\r\nFrom: x\r\n";
    let (kind, noted, text) = returned(Some(Return::Headers), TEXT, None);
    assert_eq!(
        (kind.as_str(), noted, text.trim_end()),
        ("text/rfc822-headers", false, headers.trim_end())
    );
    let (kind, noted, text) = returned(Some(Return::Full), TEXT, Some(1 << 20));
    assert_eq!(
        (kind.as_str(), noted, text.trim_end()),
        ("text/rfc822-headers", true, headers.trim_end())
    );
    // What lines cannot carry.
    for binary in
        [&b"Subject: hello\r\nFrom: x\r\n\r\na\nb"[..], b"Subject: hello\r\nFrom: x\r\n\r\n\0"]
    {
        let (kind, noted, text) = returned(None, binary, None);
        assert_eq!(
            (kind.as_str(), noted, text.trim_end()),
            ("text/rfc822-headers", true, headers.trim_end())
        );
    }
    let eight = "Subject: grün\r\n\r\nbär\r\n".as_bytes();
    let (kind, noted, text) = returned(None, eight, None);
    assert_eq!((kind.as_str(), noted), ("message/rfc822", false));
    assert!(text.contains("bär"));
    let (_, _, text) = returned(Some(Return::Headers), eight, None);
    assert!(text.contains("Subject: grün") && !text.contains("bär"));
    // A header without end is cut at a line.
    let long = b"X: 0123456789\r\n".repeat(20_000);
    let (_, _, text) = returned(None, &long, None);
    let text = text.trim_end();
    assert!(text.len() <= 51_200 && text.ends_with("X: 0123456789"), "{}", text.len());
    let (.., text) = returned(Some(Return::Headers), b"\r\nbody", None);
    assert_eq!(text.trim_end(), "Received: from client.example");
}

#[test]
fn addresses_beyond_ascii_have_their_own_type() {
    let message = message(vec![to("ann", None)], vec![target(0, "bär", failed("5.1.1 x"))]);
    let octets = compose(&message, &due(&message)[0], whole(TEXT), FRAME);
    let text = String::from_utf8(octets).unwrap();
    assert!(text.contains("Content-Type: message/global-delivery-status\r\n"));
    assert!(text.contains("Final-Recipient: utf-8;bär@a.example\r\n"));
}

#[test]
fn reports_have_an_address() {
    let notice = |to: &str| Notice { to: to.to_owned(), targets: Vec::new() };
    let said = |to: &str| recipient(&notice(to)).map(|to| to.to_string());
    assert_eq!(said("ann@A.example").as_deref(), Some("ann@a.example"));
    assert_eq!(said("nobody"), None);
}

proptest! {
    /// Whatever clients put into addresses, names and reasons: no line of theirs begins one of ours.
    #[test]
    fn nothing_is_smuggled_in(evil in "[\r\n\0 -~é]{1,40}", original: Vec<u8>) {
        let reason = format!("5.1.1 {evil}");
        let mut message = message(vec![to("ann", Some([true, true]))], vec![target(0, "ann", failed(&reason))]);
        message.targets[0].address = format!("{evil}@x");
        message.envelope.helo = evil.clone();
        message.envelope.envelope_id = Some(evil.clone());
        message.envelope.recipients[0].original = Some((evil.clone(), evil.clone()));
        message.envelope.sender = Some(Mailbox { local: evil, ..mailbox("x") });
        let clean_one = {
            let mut clean_one = message.clone();
            clean_one.envelope.helo = "x".to_owned();
            clean_one
        };
        let lines = |message: &Message| {
            let octets = compose(message, &due(message)[0], whole(&original), FRAME);
            let text = String::from_utf8_lossy(&octets).into_owned();
            prop_assert!(!octets.contains(&0));
            for line in text.split("\r\n") {
                prop_assert!(line.len() <= 4 * 998);
            }
            Ok((octets, text.matches("\r\n").count()))
        };
        let (octets, count) = lines(&message)?;
        prop_assert!(is_plain(&octets) || !original.is_ascii() || octets.len() > 998);
        prop_assert_eq!(count, lines(&clean_one)?.1);
        let parsed = MessageParser::default().parse(&octets).unwrap();
        let [_, status, _] = parts(&parsed);
        prop_assert_eq!(status.matches("\nFinal-Recipient:").count(), 1);
        prop_assert_eq!(status.matches("\nAction:").count(), 1);
    }
}

/// One report of each kind, whole and octet by octet.
#[test]
fn reports_whole() {
    let reason =
        "550 5.1.1 there is nobody of that name here, and there never was, so do not try again";
    let reason = said("5.1.1", "mx.b.example[192.0.2.1]", reason);
    let mut message = message(vec![to("ann", None)], vec![remote(relay(), failed(&reason))]);
    let original = ("rfc822".to_owned(), "ann@old.example".to_owned());
    message.envelope.recipients[0].original = Some(original);
    let text = b"Subject: hello\r\n\r\n--report-0ABC-0\r\n";
    let octets = compose(&message, &due(&message)[0], whole(text), FRAME);
    assert_eq!(String::from_utf8(octets).unwrap(), FAILURE.replace('\n', "\r\n"));

    let reason = "4.4.1 mx.b.example: no answer".to_owned();
    message.targets[0].state = TargetState::Deferred { attempts: 0, next: 0, reason };
    let frame = Frame { until: 1_700_432_000, copy_of: Some("sender@a.example"), ..FRAME };
    let notice = Notice { to: "postmaster@a.example".to_owned(), ..late(&message).remove(0) };
    let text = "Subject: grün\r\n\r\ntext\r\n";
    let octets = compose(&message, &notice, whole(text.as_bytes()), frame);
    assert_eq!(String::from_utf8(octets).unwrap(), DELAY_COPY.replace('\n', "\r\n"));
}

const FAILURE: &str = r#"From: "Mail delivery" <MAILER-DAEMON@mx.a.example>
To: <sender@a.example>
Subject: Your message could not be delivered
Date: Tue, 14 Nov 2023 22:14:20 +0000
Message-ID: <report-0ABC-1.1700000060.0@mx.a.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type="delivery-status";
 boundary="report-0ABC-1"
Content-Transfer-Encoding: 7bit

--report-0ABC-1
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: 7bit

This is the mail server mx.a.example.
It is about the message you sent,
accepted on Tue, 14 Nov 2023 22:13:20 +0000 as 0ABC.

It could not be delivered to:

  <ann@a.example>
    5.1.1 mx.b.example[192.0.2.1] said: 550 5.1.1 there is nobody of
    that name here, and there never was, so do not try again

--report-0ABC-1
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Original-Envelope-Id: my id
Reporting-MTA: dns; mx.a.example
Received-From-MTA: dns; client.example
Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000

Original-Recipient: rfc822;ann@old.example
Final-Recipient: rfc822;ann@a.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550 5.1.1 there is nobody of that name here, and there never was, so do not try again
Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000

--report-0ABC-1
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

Received: from client.example
Subject: hello

--report-0ABC-0

--report-0ABC-1--
"#;

const DELAY_COPY: &str = r#"From: "Mail delivery" <MAILER-DAEMON@mx.a.example>
To: <postmaster@a.example>
Subject: Copy: a message is delayed
Date: Tue, 14 Nov 2023 22:14:20 +0000
Message-ID: <report-0ABC-0.1700000060.0.copy@mx.a.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type="delivery-status";
 boundary="report-0ABC-0"
Content-Transfer-Encoding: 7bit

--report-0ABC-0
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: 7bit

This is the mail server mx.a.example.
It is about a message from <sender@a.example>,
accepted on Tue, 14 Nov 2023 22:13:20 +0000 as 0ABC.
This is a copy, for the postmaster, of a report to
<sender@a.example>.

It has not been delivered yet, and is tried again, to:

  <ann@a.example>
    4.4.1 mx.b.example: no answer

It is tried until Sun, 19 Nov 2023 22:13:20 +0000.

--report-0ABC-0
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Reporting-MTA: dns; mx.a.example
Received-From-MTA: dns; client.example
Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000

Final-Recipient: rfc822;ann@a.example
Action: delayed
Status: 4.4.1
Diagnostic-Code: x-sluicegate; 4.4.1 mx.b.example: no answer
Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000

--report-0ABC-0
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: quoted-printable

Received: from client.example
Subject: gr=C3=BCn

--report-0ABC-0--
"#;
