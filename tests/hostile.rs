//! Clients that mean harm, or have none left: over real sockets, with the limits turned down.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{
    Client, PASSWORD, Server, Setup, USER, closed, connect_from, eventually_within, patient,
    pattern, reset,
};

/// How long what a client left behind may stay: far beyond the limits of [`short_limits`], far below the usual ones.
const SOON: Duration = Duration::from_secs(30);

fn short_limits() -> Setup {
    let setup = Setup::new()
        .user()
        .ftp("stall_seconds = 2")
        .ftp("login_seconds = 2")
        .ftp("accept_seconds = 2")
        .file("pub/small", b"contents");
    fs::File::create(setup.root().join("pub/large")).unwrap().set_len(256 << 20).unwrap();
    setup
}

/// Has used everything a session uses once, so that what stays open is meant to stay.
fn warm(server: &Server) -> usize {
    for _ in 0..4 {
        let mut client = server.login();
        assert_eq!(client.fetch("RETR /pub/small").1.code, 226);
        assert_eq!(client.store("STOR /pub/warm", b"x").code, 226);
        assert_eq!(client.fetch("LIST").1.code, 226);
        client.expect("DELE /pub/warm", 250);
        client.expect("QUIT", 221);
        client.expect_end();
    }
    server.settled_descriptors()
}

/// Descriptors and files are back to what they were, within [`SOON`].
fn nothing_left(server: &Server, descriptors: usize, files: usize) {
    let mut last = Vec::new();
    let deadline = Instant::now() + SOON;
    while server.descriptors().len() > descriptors || server.files().len() > files {
        last.clear();
        last.extend(server.descriptors());
        assert!(
            Instant::now() < deadline,
            "left: {last:?} {:?}, expected {descriptors} and {files}",
            server.files()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn other_protocols_are_closed_at_once() {
    let server = Setup::new().start();
    for opening in [
        "GET / HTTP/1.1\r\nHost: <script>\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nUSER anonymous\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "PUT / HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "EHLO example.org\r\n",
        "HELO example.org\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let mut client = server.connect();
        client.send(opening);
        let said = String::from_utf8_lossy(&client.drain()).into_owned();
        assert!(said.lines().count() <= 1, "{opening:?}: {said:?}");
        assert!(
            !said.contains("script") && !said.contains("example") && !said.contains("OpenSSH"),
            "echoed: {said:?}"
        );
    }
    server.stop();
}

#[test]
fn a_tls_hello_does_not_confuse_the_session() {
    let mut server = Setup::new().ftp("login_seconds = 2").start();
    let mut client = server.connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\x00\xff\xff\x00");
    client.drain();
    assert!(server.alive());
    server.connect().expect("NOOP", 200);
    server.stop();
}

#[test]
fn nothing_reaches_a_log_unescaped() {
    let server = Setup::new().user().log("level = \"debug\"").log("xferlog = \"xfer.log\"").start();
    let mut client = server.connect();
    client.command(b"USER evil\x1b[31m\x07\x08\x00\x9b\xff\xff\x7fname");
    client.command(b"PASS secret\x1b[2J");
    client.command(b"\x1b]0;title\x07 x");
    let mut client = server.login();
    client.send(b"STAT a\rb\x1b[1m\r\n");
    client.reply();
    assert_eq!(client.store("STOR /pub/ba\x1bd\x07 name", b"x").code, 226);
    let (_, reply) = client.fetch("RETR /pub/ba\x1bd\x07 name");
    assert_eq!(reply.code, 226);
    client.expect("QUIT", 221);
    let path = server.data().join("xfer.log");
    let transfers = eventually_within(SOON, "two lines in the xferlog", || {
        fs::read(&path)
            .ok()
            .filter(|bytes| bytes.iter().filter(|byte| **byte == b'\n').count() == 2)
    });
    let plain = |byte: &u8| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\n';
    assert!(transfers.iter().all(plain), "{:?}", String::from_utf8_lossy(&transfers));
    let log = server.last_words();
    assert!(log.contains("evil"), "{log:?}");
    assert!(log.bytes().all(|byte| plain(&byte)), "{log:?}");
    assert!(!log.contains('\u{9b}') && !log.contains("secret"), "{log:?}");
}

#[test]
fn too_many_sessions_get_421() {
    let server = Setup::new().server("max_connections = 3").start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    let mut refused = Client::raw(server.v4());
    refused.expect_reply(421);
    refused.expect_end();
    let mut gone = clients.pop().unwrap();
    gone.expect("QUIT", 221);
    gone.expect_end();
    eventually_within(SOON, "a place becomes free", || {
        (Client::raw(server.v4()).reply().code == 220).then_some(())
    });
    server.stop();
}

#[test]
fn too_many_sessions_of_one_address_get_421() {
    let server = Setup::new().server("max_connections_per_ip = 2").start();
    let clients = [server.connect(), server.connect()];
    let mut refused = Client::raw(server.v4());
    refused.expect_reply(421);
    refused.expect_end();
    let mut other = Client::raw_from(Ipv4Addr::new(127, 0, 0, 2), server.v4());
    other.expect_reply(220);
    drop(clients);
    eventually_within(SOON, "a place becomes free", || {
        (Client::raw(server.v4()).reply().code == 220).then_some(())
    });
    server.stop();
}

#[test]
fn five_wrong_passwords_end_the_session() {
    let server = Setup::new().user().start();
    let mut client = server.connect();
    for attempt in 1..=5 {
        client.expect(&format!("USER {USER}"), 331);
        let reply = client.command("PASS wrong");
        assert_eq!(
            reply.code,
            if attempt == 5 { 421 } else { 530 },
            "attempt {attempt}: {reply:?}"
        );
    }
    client.expect_end();
    // An unknown name looks the same as a wrong password.
    let mut other = Client::raw_from(Ipv4Addr::new(127, 0, 0, 9), server.v4());
    other.expect_reply(220);
    let known = other.command(format!("USER {USER}")).text;
    let known_refused = other.command("PASS wrong").text;
    let unknown = other.command("USER nobody-here").text;
    let unknown_refused = other.command("PASS wrong").text;
    assert_eq!(known.replace(USER, "?"), unknown.replace("nobody-here", "?"));
    assert_eq!(known_refused, unknown_refused);
    server.stop();
}

#[test]
fn the_delay_for_a_wrong_password_blocks_nobody_else() {
    let server = Setup::new().user().server("shards = 1").file("pub/small", b"contents").start();
    let mut measured = server.connect();
    measured.expect(&format!("USER {USER}"), 331);
    let begin = Instant::now();
    measured.expect("PASS wrong", 530);
    let delay = begin.elapsed();
    // A machine with other things to do may be slow by itself, but not each time.
    let mut all = Vec::new();
    for attempt in 3..13 {
        let mut slow = Client::raw_from(Ipv4Addr::new(127, 0, 0, attempt), server.v4());
        slow.expect_reply(220);
        slow.expect(&format!("USER {USER}"), 331);
        slow.send("PASS wrong\r\n");
        let begin = Instant::now();
        let mut other = Client::raw_from(Ipv4Addr::new(127, 0, 0, 2), server.v4());
        other.expect_reply(220);
        other.login("anonymous", "x");
        let (bytes, _) = other.fetch("RETR /pub/small");
        assert_eq!(bytes, b"contents");
        all.push(begin.elapsed());
        slow.expect_reply(530);
        if all.last().is_some_and(|taken| *taken < delay / 2) {
            server.stop();
            return;
        }
    }
    panic!("a whole session took {all:?}, the delay is {delay:?}");
}

#[test]
fn a_client_that_never_reads_is_given_up() {
    let server = short_limits().start();
    let (descriptors, files) = (warm(&server), server.files().len());
    let mut client = server.login();
    let mut data = client.data();
    client.expect("RETR /pub/large", 150);
    let reply = client.reply();
    assert!([426, 451].contains(&reply.code), "{reply:?}");
    assert!(closed(&mut data));
    client.expect("QUIT", 221);
    client.expect_end();
    nothing_left(&server, descriptors, files);
    server.stop();
}

#[test]
fn an_upload_that_never_comes_is_given_up() {
    let server = short_limits().start();
    let (descriptors, files) = (warm(&server), server.files().len());
    let mut client = server.login();
    let mut data = client.data();
    client.expect("STOR /pub/up", 150);
    data.write_all(b"a beginning").unwrap();
    let reply = client.reply();
    assert!([426, 451].contains(&reply.code), "{reply:?}");
    assert!(closed(&mut data));
    client.expect("QUIT", 221);
    nothing_left(&server, descriptors, files);
    assert!(!server.root().join("pub/up").exists());
    server.stop();
}

#[test]
fn a_data_connection_that_never_comes_is_given_up() {
    let server = short_limits().start();
    let (descriptors, files) = (warm(&server), server.files().len());
    let mut client = server.login();
    client.passive();
    client.send("RETR /pub/small\r\n");
    let reply = client.reply();
    let reply = if reply.code == 150 { client.reply() } else { reply };
    assert_eq!(reply.code, 425, "{reply:?}");
    client.passive();
    client.send("STOR /pub/up\r\n");
    let reply = client.reply();
    let reply = if reply.code == 150 { client.reply() } else { reply };
    assert_eq!(reply.code, 425, "{reply:?}");
    client.expect("QUIT", 221);
    nothing_left(&server, descriptors, files);
    server.stop();
}

#[test]
fn a_login_that_never_comes_is_ended() {
    let server = short_limits().start();
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send("USER anonym");
    // A limit from the start of the connection, not from the last octet.
    let begin = Instant::now();
    slow.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut part = [0; 200];
    let ended = loop {
        match slow.stream.read(&mut part) {
            Ok(0) => break true,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break true;
            }
            Ok(_) | Err(_) if begin.elapsed() > SOON => break false,
            Ok(_) | Err(_) => drop(slow.stream.write_all(b"x")),
        }
    };
    assert!(ended, "one octet now and then holds a session for ever");
    silent.expect_reply(421);
    silent.expect_end();
    server.stop();
}

/// One client in each state a client can vanish in.
fn vanishing(server: &Server, number: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let keep = |client: Client, held: &mut Vec<TcpStream>| held.push(client.stream);
    held.push(TcpStream::connect(server.v4()).unwrap());
    let mut client = server.connect();
    client.send("USER anony");
    keep(client, &mut held);
    keep(server.anonymous(), &mut held);
    let mut client = server.anonymous();
    client.passive();
    keep(client, &mut held);
    let mut client = server.anonymous();
    held.push(client.data());
    keep(client, &mut held);
    let mut client = server.anonymous();
    client.passive();
    client.send("RETR /pub/large\r\n");
    keep(client, &mut held);
    let mut client = server.anonymous();
    let data = client.data();
    client.expect("RETR /pub/large", 150);
    held.push(data);
    keep(client, &mut held);
    for command in ["STOR", "APPE"] {
        let mut client = server.login();
        let mut data = client.data();
        client.expect(&format!("{command} /pub/warm-{command}"), 150);
        data.write_all(&pattern(50_000 + number)).unwrap();
        held.push(data);
        keep(client, &mut held);
    }
    let mut client = server.login();
    let mut data = client.data();
    client.expect("STOU", 150);
    data.write_all(b"x").unwrap();
    held.push(data);
    keep(client, &mut held);
    let mut client = server.login();
    client.send("PASS x\r\nUSER mirror\r\nPASS wrong\r\n");
    keep(client, &mut held);
    held
}

#[test]
fn clients_that_vanish_leave_nothing() {
    let server = short_limits().start();
    let (descriptors, files) = (warm(&server), server.files().len());
    for round in 0..4 {
        let held: Vec<TcpStream> = (0..5).flat_map(|number| vanishing(&server, number)).collect();
        assert!(server.descriptors().len() > descriptors);
        for stream in held {
            if round % 2 == 0 {
                reset(stream);
            } else {
                drop(stream);
            }
        }
        // What APPE wrote in place, or a STOR whose end looked like an orderly one, may stay as a file of its name.
        nothing_left(&server, descriptors, usize::MAX);
        eventually_within(SOON, "temporary files are gone", || {
            let hidden = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            };
            (!server.files().iter().any(hidden)).then_some(())
        });
    }
    assert!(server.files().len() <= files + 2 + 4 * 5, "{:?}", server.files());
    server.stop();
}

#[test]
fn clients_that_close_only_their_half_leave_nothing() {
    let server = short_limits().start();
    let descriptors = warm(&server);
    let held: Vec<TcpStream> = (0..3).flat_map(|number| vanishing(&server, number)).collect();
    for stream in &held {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    eventually_within(SOON * 2, "sessions of half-closed clients end", || {
        (server.descriptors().len() <= descriptors).then_some(())
    });
    drop(held);
    server.stop();
}

#[test]
fn replies_that_nobody_reads_stop_the_reading() {
    let server = short_limits().start();
    let descriptors = warm(&server);
    let before = resident_kib(&server);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let client = server.anonymous();
        client.stream.set_nonblocking(true).unwrap();
        streams.push(client.stream);
    }
    let lines = "HELP\r\nFEAT\r\nSTAT\r\n".repeat(1000);
    let mut blocked = 0;
    let deadline = Instant::now() + SOON * 2;
    // Blocked everywhere, and again and again: the server has stopped reading. Or it has closed.
    while blocked < 50 {
        let mut progress = false;
        for stream in &mut streams {
            progress |= matches!(stream.write(lines.as_bytes()), Ok(length) if length > 0);
        }
        blocked = if progress { 0 } else { blocked + 1 };
        if !progress {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(
            Instant::now() < deadline,
            "the server reads commands though nobody reads its replies"
        );
        let grown = resident_kib(&server).saturating_sub(before);
        assert!(grown < 32 * 1024, "grown by {grown} KiB");
    }
    server.connect().expect("NOOP", 200);
    drop(streams);
    nothing_left(&server, descriptors, usize::MAX);
    server.stop();
}

#[test]
fn a_flood_of_silent_connections_does_not_keep_others_out() {
    let server = short_limits().start();
    let descriptors = warm(&server);
    let held: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(server.v4()).unwrap()).collect();
    let mut client = server.anonymous();
    assert_eq!(client.fetch("RETR /pub/small").1.code, 226);
    client.expect("QUIT", 221);
    eventually_within(SOON * 2, "silent connections are closed", || {
        (server.descriptors().len() <= descriptors).then_some(())
    });
    drop(held);
    server.stop();
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let mut server = short_limits().start();
    let before = resident_kib(&server);
    let mut client = server.anonymous();
    let line = vec![b'A'; 8 << 20];
    // It may be closed in the middle.
    let sent =
        client.stream.write_all(&line).and_then(|()| client.stream.write_all(b"\r\nNOOP\r\n"));
    if sent.is_ok()
        && let Some(reply) = client.reply_or_end()
    {
        assert!([500, 421].contains(&reply.code), "{reply:?}");
        if reply.code == 500 {
            client.expect_reply(200);
        }
    }
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 8 * 1024, "grown by {grown} KiB");
    assert!(server.alive());
    server.stop();
}

#[test]
fn passive_ports_are_not_hoarded() {
    let server = short_limits().start();
    warm(&server);
    let mut client = server.anonymous();
    let descriptors = server.settled_descriptors();
    let mut ports: Vec<u16> = (0..500).map(|_| client.passive().port()).collect();
    eventually_within(SOON, "the earlier ones are closed", || {
        (server.descriptors().len() <= descriptors + 1).then_some(())
    });
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() > 400, "only {} different ports of 500", ports.len());
    server.stop();
}

#[test]
fn rubbish_gets_replies_and_nothing_worse() {
    let mut server = short_limits().start();
    let verbs = [
        "RETR", "STOR", "LIST", "MLST", "PORT", "EPRT", "REST", "TYPE", "OPTS", "SITE", "ALLO",
        "RNFR", "RNTO", "MFMT", "STAT",
    ];
    let noise = pattern(64 * 1024);
    for (number, chunk) in noise.chunks(512).enumerate() {
        let mut client = server.anonymous();
        let mut bytes = Vec::new();
        for (index, part) in chunk.chunks(16).enumerate() {
            bytes.extend_from_slice(verbs[(number + index) % verbs.len()].as_bytes());
            bytes.push(b' ');
            bytes.extend(part.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0xff)));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"QUIT\r\n");
        client.send(bytes);
        // Every reply is well-formed: `reply_or_end` checks.
        while let Some(reply) = client.reply_or_end() {
            if [221, 421].contains(&reply.code) {
                break;
            }
        }
    }
    assert!(server.alive());
    assert_eq!(server.anonymous().fetch("RETR /pub/small").0, b"contents");
    server.stop();
}

fn with_links(policy: &str) -> Server {
    let setup = Setup::new()
        .user()
        .ftp(&format!("symlinks = \"{policy}\""))
        .file("pub/file", b"inside")
        .file("etc/passwd", b"fake");
    fs::write(setup.outside().join("secret"), b"secret").unwrap();
    let root = setup.root();
    symlink("/etc/passwd", root.join("pub/absolute")).unwrap();
    symlink(setup.outside().join("secret"), root.join("pub/outside")).unwrap();
    symlink("../../../secret", root.join("pub/up")).unwrap();
    symlink("../../../../../../../../etc", root.join("pub/up-folder")).unwrap();
    symlink("/", root.join("pub/top")).unwrap();
    symlink("file", root.join("pub/beside")).unwrap();
    symlink("../pub/file", root.join("pub/around")).unwrap();
    symlink("/proc/self/root/etc/passwd", root.join("pub/proc")).unwrap();
    symlink("loop", root.join("pub/loop")).unwrap();
    setup.start()
}

fn contents(client: &mut Client, path: &str) -> Option<Vec<u8>> {
    let (bytes, reply) = client.fetch(&format!("RETR {path}"));
    if reply.code == 226 {
        return Some(bytes);
    }
    assert!([550, 553].contains(&reply.code), "{path}: {reply:?}");
    None
}

#[test]
fn links_are_taken_from_the_root() {
    let server = with_links("in-root");
    let mut client = server.login();
    assert_eq!(contents(&mut client, "/pub/absolute").as_deref(), Some(&b"fake"[..]));
    assert_eq!(contents(&mut client, "/pub/outside"), None);
    assert_eq!(contents(&mut client, "/pub/up"), None);
    assert_eq!(contents(&mut client, "/pub/up-folder/passwd").as_deref(), Some(&b"fake"[..]));
    assert_eq!(contents(&mut client, "/pub/top/pub/file").as_deref(), Some(&b"inside"[..]));
    assert_eq!(contents(&mut client, "/pub/beside").as_deref(), Some(&b"inside"[..]));
    assert_eq!(contents(&mut client, "/pub/around").as_deref(), Some(&b"inside"[..]));
    assert_eq!(contents(&mut client, "/pub/proc"), None);
    assert_eq!(contents(&mut client, "/pub/loop"), None);
    server.stop();
}

#[test]
fn links_that_leave_the_root_are_refused_beneath() {
    let server = with_links("beneath");
    let mut client = server.login();
    for path in ["absolute", "outside", "up", "up-folder/passwd", "top/pub/file", "proc", "loop"] {
        assert_eq!(contents(&mut client, &format!("/pub/{path}")), None, "{path}");
    }
    assert_eq!(contents(&mut client, "/pub/beside").as_deref(), Some(&b"inside"[..]));
    assert_eq!(contents(&mut client, "/pub/around").as_deref(), Some(&b"inside"[..]));
    server.stop();
}

#[test]
fn links_can_be_denied() {
    let server = with_links("deny");
    let mut client = server.login();
    for path in [
        "absolute",
        "outside",
        "up",
        "up-folder/passwd",
        "top/pub/file",
        "proc",
        "loop",
        "beside",
        "around",
    ] {
        assert_eq!(contents(&mut client, &format!("/pub/{path}")), None, "{path}");
    }
    assert_eq!(contents(&mut client, "/pub/file").as_deref(), Some(&b"inside"[..]));
    server.stop();
}

#[test]
fn no_command_leaves_the_root() {
    let server = with_links("in-root");
    let secret = server.outside().join("secret");
    let mut client = server.login();
    for path in [
        "../../../secret",
        "/../../secret",
        "..//..//../secret",
        "/pub/../../../secret",
        "/./../secret",
        "pub/./../../../secret",
    ] {
        for verb in ["RETR", "STOR", "APPE"] {
            let reply = if verb == "RETR" {
                client.fetch(&format!("RETR {path}")).1
            } else {
                client.store(&format!("{verb} {path}"), b"evil")
            };
            assert!(
                reply.code == 550 || reply.code == 553 || verb != "RETR",
                "{verb} {path}: {reply:?}"
            );
        }
        for verb in [
            "DELE",
            "SIZE",
            "MDTM",
            "MLST",
            "RNFR",
            "MFMT 20200101000000",
            "SITE CHMOD 777",
            "CWD",
            "RMD",
            "STAT",
        ] {
            client.command(format!("{verb} {path}"));
        }
    }
    client.expect("CWD /../../..", 250);
    assert!(client.expect("PWD", 257).text.contains("\"/\""));
    // Through a link made over FTP.
    let absolute = secret.display().to_string();
    let _made_or_not = client.command(format!("SITE SYMLINK {absolute} /pub/made"));
    assert_eq!(contents(&mut client, "/pub/made"), None);
    client.store("STOR /pub/outside", b"evil");
    client.store("APPE /pub/up", b"evil");
    client.command("RNFR /pub/file");
    client.command("RNTO /pub/up-folder/../../moved");
    client.command("MKD /pub/up-folder/made");
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    let entries: Vec<_> =
        fs::read_dir(server.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries.len(), 3, "{entries:?}");
    server.stop();
}

#[test]
fn data_from_an_address_that_changes_is_refused() {
    let server = short_limits().start();
    // PASV in one session cannot be used by another client's address, even before the owner connects.
    let mut client = server.anonymous();
    let address = client.passive();
    let stolen: Vec<_> = (2..7)
        .filter_map(|last| connect_from(Ipv4Addr::new(127, 0, 0, last), address).ok())
        .collect();
    let own = patient(TcpStream::connect(address).unwrap());
    client.expect("RETR /pub/small", 150);
    for mut stream in stolen {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        assert!(bytes.is_empty());
    }
    drop(own);
    let reply = client.reply();
    assert!([226, 426].contains(&reply.code), "{reply:?}");
    server.stop();
}

#[test]
fn many_logins_at_once_are_all_answered() {
    let server = Setup::new().user().start();
    std::thread::scope(|scope| {
        for number in 0..12_u8 {
            let server = &server;
            scope.spawn(move || {
                let mut client =
                    Client::raw_from(Ipv4Addr::new(127, 0, 1, number + 1), server.v4());
                client.expect_reply(220);
                client.expect(&format!("USER {USER}"), 331);
                if number % 2 == 0 {
                    client.expect(&format!("PASS {PASSWORD}"), 230);
                } else {
                    client.expect("PASS wrong", 530);
                }
                client.expect("QUIT", 221);
            });
        }
    });
    server.stop();
}
