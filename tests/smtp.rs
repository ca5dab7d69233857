//! Mail over real sockets: what clients are told, what the mailboxes hold, what survives.
//!
//! Each test has a server of its own on free ports, and waits for `ready`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use common::{Client, PATIENCE, Server, Setup, USER, eventually, eventually_within, pattern};
use nix::sys::signal::Signal;

/// What any message of these tests has before its text.
const HEADER: &str = "From: <me@example.net>\r\nSubject: test\r\n\r\n";

fn setup() -> Setup {
    Setup::new()
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("domains = [\"example.org\"]")
        .smtp("spool_segment_bytes = 4194304")
        .smtp("spool_reserve_bytes = 0")
        .user()
}

fn client(server: &Server) -> Client {
    let mut client = Client::connect(server.smtp());
    client.expect("EHLO client.example.net", 250);
    client
}

/// Sends one message by DATA; the name the server gave it.
fn send(client: &mut Client, text: &str) -> String {
    client.expect("MAIL FROM:<me@example.net>", 250);
    client.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    client.expect("DATA", 354);
    client.send(format!("{HEADER}{text}\r\n.\r\n"));
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    name_in(&reply.text)
}

/// The name of the message: the last word of its 250.
fn name_in(text: &str) -> String {
    text.split_whitespace().next_back().unwrap().to_owned()
}

/// Messages of a mailbox, in the order of their names.
fn mailbox(server: &Server, user: &str) -> Vec<Vec<u8>> {
    let folder = server.data().join("mail").join(user).join("new");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// The messages, once there are so many.
fn delivered(server: &Server, user: &str, count: usize) -> Vec<Vec<u8>> {
    let found = eventually(&format!("{count} messages for {user}"), || {
        Some(mailbox(server, user)).filter(|found| found.len() >= count)
    });
    assert_eq!(found.len(), count);
    found
}

/// What the client sent, less what the server put before it.
fn body(message: &[u8]) -> &[u8] {
    let text = String::from_utf8_lossy(message);
    assert!(text.starts_with("Return-Path: <"), "{text}");
    let received = text.find("\r\nReceived: ").expect("a Received line") + 2;
    let end = text
        .match_indices("\r\n")
        .map(|(at, _)| at + 2)
        .find(|at| *at > received && !matches!(message[*at], b' ' | b'\t'))
        .unwrap();
    &message[end..]
}

#[test]
fn a_textbook_dialogue_ends_in_the_mailbox_octet_by_octet() {
    let server = setup().start();
    let mut client = Client::connect(server.smtp());
    client.expect("HELO relay.example.edu", 250);
    client.expect("MAIL FROM: <smith@example.edu>", 250);
    client.expect(&format!("RCPT TO: {USER}@example.org"), 250);
    client.expect("RCPT TO:<nobody@example.org>", 550);
    client.expect("RCPT TO:<somebody@elsewhere.example>", 550);
    client.expect("DATA", 354);
    client.send("Subject: dots\r\n\r\n.. stuffed\r\n...\r\n\u{e9}\r\n.\r\n");
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    let name = name_in(&reply.text);
    client.expect("QUIT", 221);
    client.expect_end();
    let messages = delivered(&server, USER, 1);
    assert_eq!(body(&messages[0]), "Subject: dots\r\n\r\n. stuffed\r\n..\r\n\u{e9}\r\n".as_bytes());
    let head = String::from_utf8_lossy(&messages[0]);
    assert!(head.starts_with("Return-Path: <smith@example.edu>\r\n"), "{head}");
    assert!(head.contains(&name), "{name} is not in {head}");
    eventually("the line about the message", || server.log().contains(&name).then_some(()));
    server.counts("sluicegate_smtp_messages_total{result=\"accepted\"}", 1.0);
    server.counts("sluicegate_smtp_refusals_total{reason=\"no_user\"}", 1.0);
    server.counts("sluicegate_smtp_refusals_total{reason=\"relay\"}", 1.0);
    server.counts("sluicegate_smtp_commit_seconds_count", 1.0);
    eventually("the delivery is counted", || {
        (server.metric("sluicegate_deliveries_total{result=\"delivered\"}") >= 1.0).then_some(())
    });
    server.stop();
}

#[test]
fn a_pipelined_burst_is_answered_in_order_and_stored_whole() {
    let server = setup().start();
    let mut client = client(&server);
    let mut burst = String::new();
    for number in 0..50 {
        burst.push_str(&format!(
            "MAIL FROM:<me@example.net>\r\nRCPT TO:<{USER}@example.org>\r\nDATA\r\n{HEADER}number {number}\r\n.\r\nNOOP\r\n"
        ));
    }
    let mut writer = client_stream(&client);
    let writing = std::thread::spawn(move || writer.write_all(burst.as_bytes()).unwrap());
    for number in 0..50 {
        assert_eq!(client.codes(5), [250, 250, 354, 250, 250], "message {number}");
    }
    writing.join().unwrap();
    let mut numbers: Vec<String> = delivered(&server, USER, 50)
        .iter()
        .map(|message| String::from_utf8(body(message).to_vec()).unwrap())
        .collect();
    numbers.sort();
    let mut expected: Vec<String> =
        (0..50).map(|number| format!("{HEADER}number {number}\r\n")).collect();
    expected.sort();
    assert_eq!(numbers, expected);
    server.stop();
}

fn client_stream(client: &Client) -> TcpStream {
    client.stream.try_clone().unwrap()
}

#[test]
fn chunks_are_stored_bit_by_bit() {
    let server = setup().start();
    let mut client = client(&server);
    let octets = pattern(3_000_000);
    client.expect("MAIL FROM:<me@example.net> BODY=BINARYMIME", 250);
    client.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    let (last, first) = octets.split_last_chunk::<1000>().map(|(a, b)| (b, a)).unwrap();
    for chunk in first.chunks(700_001) {
        client.send(format!("BDAT {}\r\n", chunk.len()));
        client.send(chunk);
        client.expect_reply(250);
    }
    client.send("BDAT 1000 LAST\r\n");
    client.send(last);
    client.expect_reply(250);
    let messages = delivered(&server, USER, 1);
    // Whatever is binary: found by its length from the end.
    let whole = &messages[0];
    assert!(whole[whole.len() - octets.len()..] == octets[..]);
    server.stop();
}

#[test]
fn a_hundred_megabytes_stream_through_little_memory() {
    let server = setup().smtp("max_message_bytes = 209715200").start();
    let mut client = client(&server);
    let before = resident_peak(&server);
    let line = [&b"x".repeat(998)[..], b"\r\n"].concat();
    let block = line.repeat(1000);
    client.expect("MAIL FROM:<me@example.net> SIZE=104857600", 250);
    client.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    client.expect("DATA", 354);
    for _ in 0..100 {
        client.send(&block);
    }
    client.send(".\r\n");
    client.expect_reply(250);
    let messages = eventually_within(PATIENCE * 2, "the large message", || {
        Some(mailbox(&server, USER)).filter(|found| found.len() == 1)
    });
    assert_eq!(body(&messages[0]).len(), 100_000_000);
    let grown = resident_peak(&server) - before;
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    server.stop();
}

/// The most memory the server ever had, octets.
fn resident_peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn who_speaks_first_is_not_listened_to() {
    let server = setup().start();
    // The server stands still while the client connects and speaks.
    server.freeze();
    let mut early = common::patient(TcpStream::connect(server.smtp()).unwrap());
    early.write_all(b"EHLO bot\r\nMAIL FROM:<a@example.net>\r\n").unwrap();
    let polite = TcpStream::connect(server.smtp()).unwrap();
    server.thaw();
    let mut said = String::new();
    early.read_to_string(&mut said).unwrap_or(0);
    assert!(said.starts_with("554 ") || said.starts_with("421 "), "{said:?}");
    assert_eq!(said.lines().count(), 1, "{said:?}");
    let mut greeting = [0; 4];
    common::patient(polite).read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    server.counts("sluicegate_smtp_refusals_total{reason=\"early\"}", 1.0);
    server.stop();
}

#[test]
fn going_down_ends_the_idle_and_lets_a_message_end() {
    let mut server = setup().server("drain_seconds = 20").start();
    let mut idle = client(&server);
    let mut busy = client(&server);
    busy.expect("MAIL FROM:<me@example.net>", 250);
    busy.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    busy.expect("DATA", 354);
    busy.send(HEADER);
    server.signal(Signal::SIGTERM);
    idle.expect_reply(421);
    idle.expect_end();
    let mut late = Client::raw(server.smtp());
    assert_eq!(late.reply().code, 421);
    busy.send("the end\r\n.\r\n");
    busy.expect_reply(250);
    busy.expect_reply(421);
    busy.expect_end();
    assert!(server.wait().success());
    // What was accepted is delivered now, or by the next start.
    let server = server.crash_and_restart();
    assert_eq!(body(&delivered(&server, USER, 1)[0]), format!("{HEADER}the end\r\n").as_bytes());
    server.stop();
}

#[test]
fn who_does_not_end_in_time_is_told_so() {
    let mut server = setup().server("drain_seconds = 1").start();
    let mut busy = client(&server);
    let mut chunks = client(&server);
    for one in [&mut busy, &mut chunks] {
        one.expect("MAIL FROM:<me@example.net>", 250);
        one.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    }
    busy.expect("DATA", 354);
    busy.send(HEADER);
    chunks.send("BDAT 3\r\nabc");
    chunks.expect_reply(250);
    server.signal(Signal::SIGTERM);
    for mut one in [busy, chunks] {
        one.expect_reply(421);
        one.expect_end();
    }
    assert!(server.wait().success());
}

#[test]
fn aliases_are_read_again_and_broken_ones_change_nothing() {
    let setup = setup();
    let aliases = setup.data().join("aliases");
    let server = setup.start();
    // A new session each time: errors are counted.
    let asked = |server: &Server| {
        let mut client = client(server);
        client.expect("MAIL FROM:<me@example.net>", 250);
        let code = client.command("RCPT TO:<team@example.org>").code;
        (client, code)
    };
    assert_eq!(asked(&server).1, 550);
    fs::write(&aliases, format!("team: {USER}\n")).unwrap();
    // By itself, within two seconds.
    eventually("the alias is known", || (asked(&server).1 == 250).then_some(()));
    fs::write(&aliases, "team: |/bin/sh\n").unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the fault is reported", || {
        server.log().contains("aliases: not reloaded; what it said before").then_some(())
    });
    eventually("where it is", || server.log().contains("aliases:1:").then_some(()));
    let (mut client, code) = asked(&server);
    assert_eq!(code, 250);
    client.expect("DATA", 354);
    client.send(format!("{HEADER}hello\r\n.\r\n"));
    client.expect_reply(250);
    delivered(&server, USER, 1);
    fs::write(&aliases, "").unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the alias is gone", || (asked(&server).1 == 550).then_some(()));
    server.stop();
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut server = setup().start();
    let mut expected = Vec::new();
    for round in 0..4 {
        let mut client = client(&server);
        for number in 0..20 {
            let text = format!("round {round} number {number}");
            send(&mut client, &text);
            expected.push(format!("{HEADER}{text}\r\n").into_bytes());
        }
        // One that was never acknowledged.
        client.expect("MAIL FROM:<me@example.net>", 250);
        client.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
        client.expect("DATA", 354);
        client.send(format!("{HEADER}half of it"));
        server = server.crash_and_restart();
    }
    let messages = eventually("every message", || {
        let found = mailbox(&server, USER);
        (found.len() >= expected.len()).then_some(found)
    });
    let mut found: Vec<&[u8]> = messages.iter().map(|message| body(message)).collect();
    found.sort_unstable();
    expected.sort();
    assert_eq!(found, expected, "each once");
    server.stop();
}

#[test]
fn limits_on_connections_are_told_in_place_of_the_greeting() {
    let server = setup().server("max_connections_per_ip = 2").start();
    let first = client(&server);
    let _second = client(&server);
    let mut third = Client::raw(server.smtp());
    assert_eq!(third.reply().code, 421);
    third.expect_end();
    drop(first);
    eventually("a place is free again", || {
        (Client::raw(server.smtp()).reply().code == 220).then_some(())
    });
    server.stop();
}

#[test]
fn a_slow_disk_of_others_is_nobodys_business_and_many_send_at_once() {
    let server = setup().start();
    let sending: Vec<_> = (0..20)
        .map(|number| {
            let mut client = client(&server);
            std::thread::spawn(move || {
                for message in 0..10 {
                    send(&mut client, &format!("sender {number} message {message}"));
                }
            })
        })
        .collect();
    for sender in sending {
        sender.join().unwrap();
    }
    delivered(&server, USER, 200);
    eventually("the queue is empty", || {
        (server.metric("sluicegate_queue_messages") < 0.5).then_some(())
    });
    server.stop();
}

#[test]
fn without_ftp_there_is_mail_alone() {
    let server = setup().without_ftp().start();
    send(&mut client(&server), "alone");
    delivered(&server, USER, 1);
    assert!(!server.last_words().contains("listening ftp"));
}

#[test]
fn a_spool_of_another_format_is_not_touched() {
    let setup = setup();
    let server = setup.start();
    send(&mut client(&server), "before");
    delivered(&server, USER, 1);
    let format = server.data().join("spool/FORMAT");
    let setup = server.stopped();
    fs::write(&format, "sluicegate spool 99\n").unwrap();
    let output = setup.run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
    assert!(said.contains("FORMAT") || said.contains("format"), "{said}");
    assert!(!said.contains("ready"), "{said}");
}

#[test]
fn who_is_refused_is_in_the_log_and_does_not_fill_it() {
    let server = setup().start();
    let mut client = client(&server);
    client.expect("MAIL FROM:<\"a b\"@example.net>", 250);
    client.expect("RCPT TO:<nobody@example.org>", 550);
    client.expect("RCPT TO:<bob@elsewhere.example>", 550);
    let log = |wanted: &str| {
        eventually(wanted, || server.log().contains(wanted).then_some(()));
    };
    let from = "peer=127.0.0.1 from=\\\"a\\x20b\\\"@example.net";
    log(&format!(
        "recipient refused {from} to=nobody@example.org reply=\"550 5.1.1 No such mailbox here\" unsaid=0"
    ));
    log(&format!(
        "recipient refused {from} to=bob@elsewhere.example reply=\"550 5.7.1 Relaying denied\" unsaid=0"
    ));
    // A dictionary: each is refused, and of those beyond the limit of a second there is a count.
    eventually("some are left out", || {
        let mut client = self::client(&server);
        client.expect("MAIL FROM:<>", 250);
        let all: String =
            (0..19).map(|number| format!("RCPT TO:<x{number}@example.org>\r\n")).collect();
        client.send(all);
        assert_eq!(client.codes(19), [550; 19]);
        client.expect("RSET", 250);
        server
            .log()
            .lines()
            .any(|line| line.contains("unsaid=") && !line.ends_with("unsaid=0"))
            .then_some(())
    });
}
