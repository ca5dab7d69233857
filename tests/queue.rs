//! Waiting mail and the server's state, on a running server and on what a stopped one left behind.
//!
//! A mailbox that is a file takes nothing: what is sent to it waits, deferred, until it is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Client, Server, Setup, eventually, finish, program};
use serde_json::Value;

fn setup() -> Setup {
    let setup = Setup::new()
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("domains = [\"example.org\"]")
        .smtp("spool_segment_bytes = 1048576")
        .smtp("spool_reserve_bytes = 0")
        .mail("unknown_local_part = \"accept\"");
    fs::create_dir_all(setup.data().join("mail")).unwrap();
    fs::write(setup.data().join("mail/full"), "").unwrap();
    setup
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).arg("--config").arg(config);
    finish(command)
}

#[track_caller]
fn good(config: &Path, arguments: &[&str]) -> String {
    let output = run(config, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn bad(config: &Path, arguments: &[&str]) -> String {
    let output = run(config, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn json(config: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&good(config, &[arguments, &["--json"]].concat())).unwrap()
}

/// Sends a message; the name it got.
fn send(server: &Server, sender: &str, recipients: &[&str], text: &str) -> String {
    let mut client = Client::connect(server.smtp());
    client.expect("EHLO client.example.net", 250);
    client.expect(&format!("MAIL FROM:<{sender}>"), 250);
    for recipient in recipients {
        client.expect(&format!("RCPT TO:<{recipient}@example.org>"), 250);
    }
    client.expect("DATA", 354);
    client.send(format!("Subject: test\r\n\r\n{text}\r\n.\r\n"));
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    client.expect("QUIT", 221);
    reply.text.split_whitespace().next_back().unwrap().to_owned()
}

fn ids(config: &Path, arguments: &[&str]) -> Vec<String> {
    let list = json(config, &[&["queue", "list"], arguments].concat());
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(id).collect()
}

/// Messages for `full`, once all were tried and deferred.
fn deferred(server: &Server, config: &Path, senders: &[&str]) -> Vec<String> {
    let names: Vec<String> =
        senders.iter().map(|sender| send(server, sender, &["full", "box"], sender)).collect();
    eventually("all are deferred, and delivered where they can be", || {
        let list = json(config, &["queue", "list"]);
        let list = list.as_array().unwrap();
        (list.len() == senders.len()
            && list
                .iter()
                .all(|entry| entry["state"] == "deferred" && entry["recipients_left"] == 1))
        .then_some(())
    });
    names
}

fn mailbox(data: &Path, user: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(data.join("mail").join(user).join("new")) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What can be told and done is the same with a server and without.
fn steer(config: &Path, names: &[String]) {
    assert_eq!(ids(config, &[]), names);
    assert_eq!(ids(config, &["--sender", "*@ONE.example"]), names[..1]);
    assert_eq!(ids(config, &["--recipient", "full@example.org", "--sender", "b@*"]), names[1..2]);
    assert!(ids(config, &["--recipient", "box@example.org"]).is_empty(), "that one was delivered");
    assert!(ids(config, &["--older-than", "1d"]).is_empty());
    assert_eq!(ids(config, &["--older-than", "0s"]), names);
    let text = good(config, &["queue", "list"]);
    assert!(
        text.starts_with("ID ") && text.contains("<a@one.example>    full@example.org\n"),
        "{text}"
    );
    assert!(text.ends_with("3 messages, 98 B\n"), "{text}");

    let shown = json(config, &["queue", "show", &names[0]]);
    assert_eq!(shown["helo"], "client.example.net");
    assert_eq!(shown["to"], serde_json::json!(["full@example.org", "box@example.org"]));
    assert_eq!(shown["targets"][1]["state"], "delivered");
    assert!(good(config, &["queue", "show", &names[0]]).contains("mailbox full"));
    assert!(bad(config, &["queue", "show", "0000000000001"]).contains("no such message waits"));

    assert_eq!(good(config, &["queue", "hold", &names[0], &names[1]]), "2 messages held\n");
    assert_eq!(good(config, &["queue", "hold", "--all"]), "1 message held (2 needed no change)\n");
    assert_eq!(json(config, &["queue", "list"])[0]["state"], "held");
    assert_eq!(good(config, &["queue", "release", "--all"]), "3 messages released\n");
    let again = bad(config, &["queue", "hold", &names[2], "0000000000001"]);
    assert!(again.contains("1 of the 2 named: not waiting"), "{again}");
    assert_eq!(json(config, &["queue", "list"])[2]["state"], "held");
    assert_eq!(good(config, &["queue", "release", &names[2]]), "1 message released\n");
    let changed = json(config, &["queue", "delete", "--recipient", "full@*", "--sender", "b@*"]);
    assert_eq!(changed, serde_json::json!({ "picked": 1, "changed": 1, "ids": [names[1]] }));
    assert_eq!(ids(config, &[]), [names[0].clone(), names[2].clone()]);
    assert!(bad(config, &["queue", "delete", &names[1]]).contains("no such message waits"));
}

const SENDERS: [&str; 3] = ["a@one.example", "b@two.example", "c@three.example"];

#[test]
fn a_running_server_is_steered() {
    let server = setup().start();
    let config = server.outside().join("sluicegate.toml");
    let names = deferred(&server, &config, &SENDERS);
    steer(&config, &names);
    // What was said is on the disk: another process finds it so.
    good(&config, &["queue", "hold", &names[0]]);
    let server = server.crash_and_restart();
    let list = json(&config, &["queue", "list"]);
    assert_eq!(
        (list[0]["id"].as_str(), list[0]["state"].as_str()),
        (Some(names[0].as_str()), Some("held"))
    );
    assert_eq!(list.as_array().unwrap().len(), 2);
    // Once the mailbox is one, a retry delivers what is not held.
    fs::remove_file(server.data().join("mail/full")).unwrap();
    good(&config, &["queue", "retry", "--all"]);
    eventually("the retry", || (ids(&config, &[]) == names[..1]).then_some(()));
    assert_eq!(mailbox(&server.data(), "full").len(), 1);
    good(&config, &["queue", "release", "--all"]);
    good(&config, &["queue", "retry", "--all"]);
    eventually("the release", || ids(&config, &[]).is_empty().then_some(()));
    assert_eq!(mailbox(&server.data(), "full").len(), 2);
    assert_eq!(mailbox(&server.data(), "box").len(), 3);
    server.stop();
}

#[test]
fn a_stopped_server_is_steered_the_same_way() {
    let server = setup().start();
    let config = server.outside().join("sluicegate.toml");
    let names = deferred(&server, &config, &SENDERS);
    let setup = server.stopped();
    steer(&config, &names);
    assert!(good(&config, &["spool", "verify"]).ends_with("2 messages that wait: sound\n"));
    good(&config, &["queue", "hold", &names[0]]);
    assert_eq!(json(&config, &["spool", "stat"]).as_array().unwrap().len(), 2);
    fs::remove_file(setup.data().join("mail/full")).unwrap();
    good(&config, &["queue", "retry", "--all"]);
    // The server goes on from there.
    let server = setup.start();
    eventually("what is not held", || (ids(&config, &[]) == names[..1]).then_some(()));
    assert_eq!(mailbox(&server.data(), "full").len(), 1);
    assert_eq!(json(&config, &["queue", "list"])[0]["state"], "held");
    good(&config, &["queue", "delete", "--all"]);
    assert!(ids(&config, &[]).is_empty());
    let setup = server.stopped();
    assert!(good(&config, &["spool", "verify"]).ends_with("0 messages that wait: sound\n"));
    drop(setup);
}

#[test]
fn a_spool_is_exported_and_damage_is_found() {
    let server = setup().start();
    let config = server.outside().join("sluicegate.toml");
    let names = deferred(&server, &config, &SENDERS);
    let large = send(&server, "d@four.example", &["full"], &"y".repeat(3 << 20));
    for command in ["verify", "stat"] {
        let text = bad(&config, &["spool", command]);
        assert!(
            text.contains(&format!("in use by process {} (stop that server first", server.pid())),
            "{text}"
        );
    }
    let setup = server.stopped();
    let out = setup.outside().join("out");
    let text = good(&config, &["spool", "export", out.to_str().unwrap()]);
    assert!(text.starts_with("4 messages exported"), "{text}");
    let eml = fs::read_to_string(out.join(format!("{}.eml", names[0]))).unwrap();
    assert!(eml.starts_with("Received: ") && eml.ends_with("\r\n\r\na@one.example\r\n"), "{eml}");
    let eml = fs::read(out.join(format!("{large}.eml"))).unwrap();
    assert!(eml.ends_with(b"yyyy\r\n") && eml.len() > 3 << 20);
    let about: Value =
        serde_json::from_slice(&fs::read(out.join(format!("{large}.json"))).unwrap()).unwrap();
    assert_eq!(
        (&about["sender"], &about["size"]),
        (&"d@four.example".into(), &((3 << 20) + 19).into())
    );
    // Nothing that is there is overwritten.
    assert!(bad(&config, &["spool", "export", out.to_str().unwrap()]).contains("File exists"));

    let verify = |config: &Path| run(config, &["spool", "verify", "--json"]);
    assert!(verify(&config).status.success());
    let (path, position) = record_of(&setup.data().join("spool"), b"a@one.example\r\n");
    fs::File::options().write(true).open(&path).unwrap().write_all_at(b"X", position).unwrap();
    let output = verify(&config);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["sound"], &found["faults"][0]["grade"]), (&false.into(), &"damage".into()));
    assert_eq!(found["faults"][0]["file"], path.to_str().unwrap());
    assert!(found["faults"][0]["offset"].as_u64().unwrap() <= position);
    let told = run(&config, &["spool", "verify"]);
    let (out, error) =
        (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert!(out.contains("an accepted message may be lost"), "{out}");
    assert!(
        error.contains("spool: 1 fault (keep a copy") && error.contains("ask the sender"),
        "{error}"
    );
    // The others can be saved.
    let rest = setup.outside().join("rest");
    assert!(bad(&config, &["spool", "export", rest.to_str().unwrap()]).contains("it is damaged"));
    assert!(!rest.join(format!("{}.eml", names[0])).exists());
    assert!(rest.join(format!("{}.eml", names[1])).exists());
    // A start says where, what it means and what to do.
    let server = setup.start();
    let said = eventually("the damage in the log", || {
        let log = server.log();
        let mut lines = log.lines();
        lines.find(|line| line.contains("an accepted message may be lost")).map(str::to_owned)
    });
    let name = path.strip_prefix(server.data().join("spool")).unwrap().to_str().unwrap().to_owned();
    for part in [&name, "offset=", "keep a copy", "spool verify", "spool export", "ask the sender"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn numbers_of_one_are_one() {
    let server = setup().start();
    let config = server.outside().join("sluicegate.toml");
    let id = send(&server, "a@one.example", &["full"], "x");
    eventually("it waits", || (ids(&config, &[]) == [id.clone()]).then_some(()));
    let setup = server.stopped();
    let text = good(&config, &["spool", "verify"]);
    assert!(text.ends_with(", 1 message that waits: sound\n"), "{text}");
    let out = setup.outside().join("out");
    assert!(
        good(&config, &["spool", "export", out.to_str().unwrap()])
            .starts_with("1 message exported")
    );
}

/// Where the octets lie in a segment.
fn record_of(spool: &Path, octets: &[u8]) -> (PathBuf, u64) {
    for shard in ["shard-0", "shard-1"] {
        for entry in fs::read_dir(spool.join(shard)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let text = fs::read(&path).unwrap();
            if let Some(at) = text.windows(octets.len()).position(|window| window == octets) {
                return (path, at as u64);
            }
        }
    }
    panic!("the message is in no segment");
}

/// A port where nobody listens and nobody will.
fn closed_port() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// Mail for `one.test` and `two.test` goes to two servers that are not there.
fn setup_onward(port: u16) -> Setup {
    let route = |domain: &str, host: &str| {
        format!("[[smtp.route]]\nrecipient = \"*@{domain}\"\nto = \"relay:{host}:{port}\"\n")
    };
    // What is special about a route is part of the name of its destination.
    let source = "source_address = \"127.0.0.1\"\n";
    let relay = "[relay]\nretry_first_seconds = 3600\n";
    let routes =
        [route("one.test", "127.0.0.1"), route("two.test", "127.0.0.2") + source, relay.to_owned()];
    setup().smtp("relay_from = [\"127.0.0.0/8\"]").smtp(&routes.concat())
}

fn send_to(server: &Server, recipients: &[&str]) -> String {
    let mut client = Client::connect(server.smtp());
    client.expect("EHLO client.example.net", 250);
    client.expect("MAIL FROM:<a@one.example>", 250);
    for recipient in recipients {
        client.expect(&format!("RCPT TO:<{recipient}>"), 250);
    }
    client.expect("DATA", 354);
    client.send("Subject: test\r\n\r\ntext\r\n.\r\n");
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.text.split_whitespace().next_back().unwrap().to_owned()
}

/// Names, and what waits there.
fn destinations(config: &Path, command: &[&str]) -> Vec<(String, u64)> {
    let list = json(config, command);
    let one = |place: &Value| {
        let count = |name: &str| place[name].as_u64().unwrap();
        let all = count("ready") + count("deferred") + count("running");
        (place["name"].as_str().unwrap().to_owned(), all)
    };
    list.as_array().unwrap().iter().map(one).collect()
}

/// The same with a server and without.
fn steer_onward(config: &Path, port: u16, names: &[String]) {
    let [one, two] = ["127.0.0.1", "127.0.0.2"].map(|host| format!("relay:{host}:{port}"));
    let two = two + " from 127.0.0.1";
    let all = destinations(config, &["queue", "destinations"]);
    assert_eq!(all, [(one.clone(), 3), (two.clone(), 2)]);
    assert_eq!(destinations(config, &["queue", "top", "-n", "1"]), [(one.clone(), 3)]);
    let text = good(config, &["queue", "top"]);
    assert!(text.starts_with("DESTINATION ") && text.contains(&two), "{text}");
    assert_eq!(ids(config, &["--destination", &one]), names[..3]);
    assert_eq!(ids(config, &["--destination", "*127.0.0.2:*"]), names[2..]);
    assert_eq!(ids(config, &["--destination", "*", "--recipient", "c@two.test"]), names[2..3]);
    let none = good(config, &["queue", "retry", "--destination", "relay:127.0.0.3:1"]);
    assert_eq!(none, "no message matches (`sluicegate queue destinations` has the names)\n");
    assert_eq!(good(config, &["queue", "hold", "--sender", "x@y"]), "no message matches\n");
    let held = good(config, &["queue", "hold", "--destination", &two]);
    assert_eq!(held, "2 messages held\n");
    let released = good(config, &["queue", "release", "--all"]);
    assert_eq!(released, "2 messages released (2 needed no change)\n");
}

#[test]
fn other_servers_are_listed_and_select_mail() {
    let (_closed, port) = closed_port();
    let server = setup_onward(port).start();
    let config = server.outside().join("sluicegate.toml");
    let to: [&[&str]; 4] =
        [&["a@one.test"], &["b@one.test"], &["c@one.test", "c@two.test"], &["d@two.test"]];
    let names: Vec<String> = to.iter().map(|to| send_to(&server, to)).collect();
    let tried = |list: &Value| {
        let failed = |place: &Value| place["failures"].as_u64() >= Some(1) && place["running"] == 0;
        list.as_array().unwrap().iter().all(failed)
    };
    let tried = || tried(&json(&config, &["queue", "destinations"])).then_some(());
    eventually("both were tried", tried);
    steer_onward(&config, port, &names);
    let setup = server.stopped();
    steer_onward(&config, port, &names);
    let server = setup.start();
    let known = || (destinations(&config, &["queue", "destinations"]).len() == 2).then_some(());
    eventually("what waits is known again", known);
    // Only that delivery goes; the message stays for the other server.
    let two = format!("relay:127.0.0.2:{port} from 127.0.0.1");
    let retried = good(&config, &["queue", "retry", "--destination", &two]);
    assert!(retried.contains("to be tried now"), "{retried}");
    assert_eq!(good(&config, &["queue", "delete", "--destination", &two]), "2 messages deleted\n");
    assert_eq!(ids(&config, &[]), names[..3]);
    let shown = json(&config, &["queue", "show", &names[2]]);
    assert_eq!(shown["targets"][1]["state"], "removed");
    assert_ne!(shown["targets"][0]["state"], "removed");
    good(&config, &["queue", "delete", "--all"]);
    eventually("nothing is left", || ids(&config, &[]).is_empty().then_some(()));
    server.stop();
}

#[test]
fn status_tells_how_the_server_is() {
    let server = setup().start();
    let config = server.outside().join("sluicegate.toml");
    deferred(&server, &config, &SENDERS[..1]);
    let socket = server.data().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = server.anonymous();
    let status = eventually("the figures of the queue", || {
        let status = json(&config, &["status"]);
        (status["queue"]["messages"] == 1).then_some(status)
    });
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["phase"], "running");
    assert_eq!(status["protocols"], serde_json::json!(["ftp", "smtp"]));
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    let metrics = &status["metrics"];
    assert_eq!(metrics["sluicegate_protocol_connections{protocol=\"ftp\"}"], 1.0);
    assert_eq!(metrics["sluicegate_smtp_messages_total{result=\"accepted\"}"], 1.0);
    assert!(status["per_second"]["sluicegate_commands_total"].is_number());
    let text = good(&config, &["status"]);
    for line in
        ["SESSIONS", "ftp ", "smtp ", "mail accepted ", "queue  1 message, ", "spool  ", "SHARD "]
    {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "{line} is not in\n{text}");
    }
    client.expect("QUIT", 221);
    // A client that says nothing, or nonsense, keeps nobody out.
    let silent = UnixStream::connect(&socket).unwrap();
    UnixStream::connect(&socket).unwrap().write_all(&vec![0xff; 100_000]).unwrap();
    drop(silent);
    assert_eq!(json(&config, &["status"])["phase"], "running");
    // A second server is not let in; the first keeps its socket.
    let second = run(&config, &["serve"]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(socket.exists());
    // Killed, it cannot clear up; the next one does.
    let server = server.crash_and_restart();
    assert_eq!(json(&config, &["status"])["pid"], server.pid());
    let _setup = server.stopped();
    assert!(!socket.exists());
    assert!(bad(&config, &["status"]).contains("no server runs there"));
}

#[test]
fn without_a_socket_a_running_server_is_left_alone() {
    let server = setup().server("admin_socket = \"\"").start();
    let config = server.outside().join("sluicegate.toml");
    let text = bad(&config, &["queue", "list"]);
    assert!(text.contains("that server offers no admin socket here"), "{text}");
    let output = run(&config, &["status"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    server.stop();
}
