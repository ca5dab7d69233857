//! The dialogue and the transfers over real sockets: what a core fed with slices cannot show.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use common::{
    Client, PASSWORD, Setup, USER, closed, connect_from, only_left, patient, pattern, reset,
};

/// More than all socket buffers on the way can hold, so that a transfer nobody reads is still running.
const LARGE_BYTES: u64 = 256 << 20;

fn large(setup: Setup) -> Setup {
    let path = setup.root().join("pub/large");
    let file = fs::File::create(path).unwrap();
    file.set_len(LARGE_BYTES).unwrap();
    setup
}

/// A RETR that is certainly running: some of it has arrived, and nobody reads on.
fn running_retr(client: &mut Client) -> TcpStream {
    let mut data = client.data();
    client.expect("RETR /pub/large", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    data
}

/// A STOR that is certainly running.
fn running_stor(client: &mut Client, path: &str, first: &[u8]) -> TcpStream {
    let mut data = client.data();
    client.expect(&format!("STOR {path}"), 150);
    data.write_all(first).unwrap();
    data
}

#[test]
fn many_commands_in_one_packet_are_answered_in_order() {
    let server = Setup::new().start();
    let mut client = server.connect();
    client.send(
        "USER anonymous\r\nPASS x\r\nTYPE I\r\nPWD\r\nNOOP\r\nSYST\r\nNONSENSE\r\nFEAT\r\nPWD\r\n",
    );
    assert_eq!(client.codes(9), [331, 230, 200, 257, 200, 215, 500, 211, 257]);
    client.send("NOOP\r\n".repeat(1000));
    assert_eq!(client.codes(1000), [200; 1000]);
    server.stop();
}

#[test]
fn one_octet_per_packet_means_the_same() {
    let server = Setup::new().file("pub/file", b"contents").start();
    let mut client = server.connect();
    for byte in b"USER anonymous\r\nPASS x\r\nTYPE I\r\nPWD\r\nNOOP\r\nSYST\r\nNONSENSE\r\nFEAT\r\n"
    {
        client.send([*byte]);
    }
    assert_eq!(client.codes(8), [331, 230, 200, 257, 200, 215, 500, 211]);
    let mut data = client.data();
    for byte in b"RETR /pub/file\r\nNOOP\r\n" {
        client.send([*byte]);
    }
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"contents");
    assert_eq!(client.codes(3), [150, 226, 200]);
    server.stop();
}

#[test]
fn abor_without_a_transfer_gets_one_reply() {
    let server = Setup::new().start();
    let mut client = server.anonymous();
    let reply = client.command("ABOR");
    assert!([225, 226].contains(&reply.code), "{reply:?}");
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn abor_closes_an_unused_data_connection() {
    let server = Setup::new().start();
    let mut client = server.anonymous();
    let mut data = client.data();
    let reply = client.command("ABOR");
    assert!([225, 226].contains(&reply.code), "{reply:?}");
    assert!(closed(&mut data));
    client.expect("NOOP", 200);
    client.expect("RETR /pub/none", 550);
    server.stop();
}

#[test]
fn abor_breaks_a_running_retr() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    let mut data = running_retr(&mut client);
    client.send("ABOR\r\n");
    assert_eq!(client.codes(2), [426, 226]);
    assert!(closed(&mut data));
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn abor_and_the_end_of_the_data_connection_may_meet() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    // Many clients close the data connection as soon as ABOR is on its way: whichever is seen first,
    // 426 is for the transfer and 226 for the ABOR.
    for _ in 0..10 {
        let data = running_retr(&mut client);
        client.send("ABOR\r\n");
        drop(data);
        assert_eq!(client.codes(2), [426, 226]);
        client.expect("NOOP", 200);
    }
    server.stop();
}

#[test]
fn abor_breaks_a_running_stor_and_keeps_the_old_file() {
    let server = Setup::new().user().file("pub/file", b"old").start();
    let mut client = server.login();
    let mut data = running_stor(&mut client, "/pub/file", &pattern(100_000));
    client.send("ABOR\r\n");
    assert_eq!(client.codes(2), [426, 226]);
    assert!(closed(&mut data));
    client.expect("NOOP", 200);
    assert_eq!(fs::read(server.root().join("pub/file")).unwrap(), b"old");
    only_left(&server, &["pub/file"]);
    server.stop();
}

#[test]
fn abor_as_telnet_says_it() {
    let server = large(Setup::new()).start();
    // As BSD clients do: the urgent octet is the IAC before DM.
    let bsd = |client: &mut Client| {
        client.send_urgent(b"\xff\xf4\xff");
        client.send(b"\xf2ABOR\r\n");
    };
    // As RFC 854 says: the urgent octet is DM itself.
    let synch = |client: &mut Client| {
        client.send(b"\xff\xf4");
        client.send_urgent(b"\xff\xf2");
        client.send(b"ABOR\r\n");
    };
    // The mark without an interrupt before it.
    let mark = |client: &mut Client| {
        client.send_urgent(b"\xff\xf2");
        client.send(b"ABOR\r\n");
    };
    // Without urgent data.
    let plain = |client: &mut Client| client.send(b"\xff\xf4\xff\xf2ABOR\r\n");
    let ways: [&dyn Fn(&mut Client); 4] = [&bsd, &synch, &mark, &plain];
    for (name, way) in ["bsd", "synch", "mark", "plain"].into_iter().zip(ways) {
        let mut client = server.anonymous();
        way(&mut client);
        let reply = client.reply();
        assert!([225, 226].contains(&reply.code), "idle, {name}: {reply:?}");
        client.expect("NOOP", 200);
        let mut data = running_retr(&mut client);
        way(&mut client);
        assert_eq!(client.codes(2), [426, 226], "running, {name}");
        assert!(closed(&mut data));
        client.expect("PWD", 257);
        // No octet of the next command is lost.
        let data = running_retr(&mut client);
        client.send(b"\xff\xf4\xff\xf2STAT\r\n");
        let reply = client.reply();
        assert!([211, 213].contains(&reply.code), "STAT, {name}: {reply:?}");
        client.send("ABOR\r\n");
        assert_eq!(client.codes(2), [426, 226]);
        drop(data);
    }
    server.stop();
}

#[test]
fn a_command_before_abor_does_not_hide_it() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    let mut data = running_retr(&mut client);
    client.send("NOOP\r\nPWD\r\nABOR\r\n");
    // The transfer ends though nobody reads the data connection; every command has its reply.
    let mut codes = client.codes(4);
    assert!(closed(&mut data));
    codes.sort_unstable();
    assert_eq!(codes, [200, 226, 257, 426]);
    client.expect("SYST", 215);
    server.stop();
}

#[test]
fn quit_during_stor_waits_for_it() {
    let server = Setup::new().user().start();
    let contents = pattern(3_000_000);
    let mut client = server.login();
    let mut data = running_stor(&mut client, "/pub/file", &contents[..1_000_000]);
    client.send("QUIT\r\n");
    data.write_all(&contents[1_000_000..]).unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.codes(2), [226, 221]);
    client.expect_end();
    assert!(fs::read(server.root().join("pub/file")).unwrap() == contents);

    let mut client = server.login();
    let mut data = client.data();
    client.send("STOR /pub/pipelined\r\nQUIT\r\n");
    client.expect_reply(150);
    data.write_all(&contents).unwrap();
    drop(data);
    assert_eq!(client.codes(2), [226, 221]);
    client.expect_end();
    assert!(fs::read(server.root().join("pub/pipelined")).unwrap() == contents);
    server.stop();
}

#[test]
fn stat_during_a_transfer_is_answered_at_once() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    let data = running_retr(&mut client);
    for _ in 0..3 {
        let reply = client.command("STAT");
        assert!([211, 213].contains(&reply.code), "{reply:?}");
    }
    drop(data);
    let reply = client.reply();
    assert!([426, 451].contains(&reply.code), "{reply:?}");
    server.stop();
}

#[test]
fn a_retr_that_the_client_breaks_is_never_complete() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    for _ in 0..5 {
        reset(running_retr(&mut client));
        let reply = client.reply();
        assert!([426, 451].contains(&reply.code), "{reply:?}");
    }
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn a_stor_that_the_client_breaks_leaves_the_old_file() {
    let server = Setup::new().user().file("pub/file", b"old").start();
    let mut client = server.login();
    reset(running_stor(&mut client, "/pub/file", &pattern(1_000_000)));
    let reply = client.reply();
    assert!([426, 451].contains(&reply.code), "{reply:?}");
    assert_eq!(fs::read(server.root().join("pub/file")).unwrap(), b"old");
    only_left(&server, &["pub/file"]);
    server.stop();
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_never_complete() {
    let server = large(Setup::new()).start();
    let mut client = server.anonymous();
    let mut data = running_retr(&mut client);
    fs::OpenOptions::new()
        .write(true)
        .open(server.root().join("pub/large"))
        .unwrap()
        .set_len(10)
        .unwrap();
    let mut bytes = Vec::new();
    // The end may be a reset.
    drop(data.read_to_end(&mut bytes));
    assert!((bytes.len() as u64) < LARGE_BYTES - 1000);
    let reply = client.reply();
    assert!([451, 426].contains(&reply.code), "{reply:?}");
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn a_file_replaced_or_deleted_while_it_is_sent_finishes_whole() {
    let contents = pattern(40_000_000);
    let server =
        Setup::new().user().file("pub/replaced", &contents).file("pub/deleted", &contents).start();
    let mut editor = server.login();
    for (name, first, second) in [
        ("replaced", "RNFR /pub/new", "RNTO /pub/replaced"),
        ("deleted", "NOOP", "DELE /pub/deleted"),
    ] {
        assert_eq!(editor.store("STOR /pub/new", b"something else").code, 226);
        let mut client = server.anonymous();
        let mut data = client.data();
        client.expect(&format!("RETR /pub/{name}"), 150);
        let mut bytes = vec![0; 1000];
        data.read_exact(&mut bytes).unwrap();
        editor.command(first);
        editor.expect(second, 250);
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == contents, "{name}");
        client.expect_reply(226);
    }
    assert_eq!(fs::read(server.root().join("pub/replaced")).unwrap(), b"something else");
    assert!(!server.root().join("pub/deleted").exists());
    server.stop();
}

#[test]
fn a_stranger_on_the_passive_port_gets_nothing() {
    let server = Setup::new().user().file("pub/file", b"contents").start();
    let mut client = server.login();
    let address = client.passive();
    let stranger = connect_from(Ipv4Addr::new(127, 0, 0, 2), address);
    let mut own = patient(TcpStream::connect(address).unwrap());
    client.expect("RETR /pub/file", 150);
    let mut bytes = Vec::new();
    own.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"contents");
    client.expect_reply(226);
    if let Ok(mut stranger) = stranger {
        let mut got = Vec::new();
        drop(stranger.read_to_end(&mut got));
        assert!(got.is_empty(), "a stranger got {got:?}");
    }

    // Nor can a stranger put octets into an upload.
    let address = client.passive();
    if let Ok(mut stranger) = connect_from(Ipv4Addr::new(127, 0, 0, 2), address) {
        drop(stranger.write_all(b"evil"));
    }
    let mut own = patient(TcpStream::connect(address).unwrap());
    client.expect("STOR /pub/up", 150);
    own.write_all(b"mine").unwrap();
    drop(own);
    client.expect_reply(226);
    assert_eq!(fs::read(server.root().join("pub/up")).unwrap(), b"mine");
    server.stop();
}

#[test]
fn data_connections_to_others_are_refused() {
    let server = Setup::new().file("pub/file", b"contents").start();
    let mut client = server.anonymous();
    for line in [
        "PORT 127,0,0,2,200,10",
        "PORT 192,0,2,1,200,10",
        "PORT 127,0,0,1,0,22",
        "PORT 127,0,0,1,3,255",
        "EPRT |1|127.0.0.2|51210|",
        "EPRT |1|127.0.0.1|22|",
        "EPRT |2|::1|51210|",
    ] {
        let reply = client.command(line);
        assert!([500, 501, 504, 522].contains(&reply.code), "{line}: {reply:?}");
    }
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn every_way_to_a_data_connection_works() {
    let contents = pattern(300_000);
    let server = Setup::new().user().file("pub/file", &contents).start();
    for address in [server.v4(), server.v6()] {
        let mut client = Client::connect(address);
        client.login(USER, PASSWORD);
        client.expect("TYPE I", 200);
        let (bytes, reply) = client.fetch("RETR /pub/file");
        assert_eq!((bytes == contents, reply.code), (true, 226));
        assert_eq!(client.store("STOR /pub/up", &contents).code, 226);
        assert!(fs::read(server.root().join("pub/up")).unwrap() == contents);
        let listener = client.active();
        client.expect("RETR /pub/file", 150);
        let (mut data, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), address.ip());
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == contents);
        client.expect_reply(226);
        let listener = client.active();
        client.expect("STOR /pub/active", 150);
        let (mut data, _) = listener.accept().unwrap();
        data.write_all(&contents).unwrap();
        drop(data);
        client.expect_reply(226);
        assert!(fs::read(server.root().join("pub/active")).unwrap() == contents);
        client.expect("EPSV ALL", 200);
        let refused = client.command("PASV");
        assert!(refused.code >= 500, "{refused:?}");
        assert_eq!(client.fetch("RETR /pub/file").1.code, 226);
    }
    let mut client = server.anonymous();
    let reply = client.expect("PASV", 227);
    assert!(reply.text.contains("(127,0,0,1,"), "{reply:?}");
    let mut client = Client::connect(server.v6());
    client.login("anonymous", "x");
    let reply = client.command("PASV");
    assert!([425, 501, 522].contains(&reply.code), "{reply:?}");
    server.stop();
}

#[test]
fn nobody_at_the_default_data_port_gives_425() {
    let server = Setup::new().file("pub/file", b"contents").start();
    let mut client = server.anonymous();
    let reply = client.command("RETR /pub/file");
    let reply = if reply.code == 150 { client.reply() } else { reply };
    assert_eq!(reply.code, 425, "{reply:?}");
    client.expect("NOOP", 200);
    server.stop();
}

#[test]
fn stored_in_place_appended_and_unique() {
    let server = Setup::new().user().start();
    let mut client = server.login();
    assert_eq!(client.store("STOR /pub/file", b"0123456789").code, 226);
    client.expect("REST 4", 350);
    assert_eq!(client.store("STOR /pub/file", b"abc").code, 226);
    let file = server.root().join("pub/file");
    let stored = fs::read(&file).unwrap();
    assert!(stored == b"0123abc789" || stored == b"0123abc", "{stored:?}");
    assert_eq!(client.store("APPE /pub/file", b"XYZ").code, 226);
    assert!(fs::read(&file).unwrap().ends_with(b"XYZ"));
    client.expect("REST 3", 350);
    let (bytes, reply) = client.fetch("RETR /pub/file");
    assert_eq!((bytes, reply.code), (fs::read(&file).unwrap()[3..].to_vec(), 226));
    client.expect("REST 1000", 350);
    let (bytes, reply) = client.fetch("RETR /pub/file");
    assert!(bytes.is_empty() && reply.code >= 500, "{reply:?}");

    client.expect("CWD /pub", 250);
    let mut data = client.data();
    let reply = client.expect("STOU", 150);
    let name = reply
        .text
        .trim_end()
        .strip_prefix("150 FILE: ")
        .unwrap_or_else(|| panic!("{reply:?}"))
        .to_owned();
    data.write_all(b"unique").unwrap();
    drop(data);
    client.expect_reply(226);
    assert_eq!(fs::read(server.root().join("pub").join(name)).unwrap(), b"unique");
    server.stop();
}

#[test]
fn records_in_ebcdic_as_in_the_text_book() {
    let setup = Setup::new().user();
    fs::create_dir_all(setup.root().join("usr/user/reports")).unwrap();
    let server = setup.start();
    let mut client = server.connect();
    client.login(USER, PASSWORD);
    let listener = client.active();
    client.expect("TYPE EBCDIC", 200);
    client.expect("STRU R", 200);
    client.expect("STOR /usr/user/reports/file1", 150);
    let (mut data, _) = listener.accept().unwrap();
    // "HELLO" and "WORLD", each ended by EOR; the last with EOF as well.
    data.write_all(b"\xc8\xc5\xd3\xd3\xd6\xff\x01\xe6\xd6\xd9\xd3\xc4\xff\x03").unwrap();
    drop(data);
    client.expect_reply(226);
    client.expect("QUIT", 221);
    client.expect_end();
    assert_eq!(fs::read(server.root().join("usr/user/reports/file1")).unwrap(), b"HELLO\nWORLD\n");
    server.stop();
}

#[test]
fn text_is_converted_both_ways() {
    let server = Setup::new().user().file("pub/text", b"one\ntwo\n").start();
    let mut client = server.login();
    client.expect("TYPE A", 200);
    assert_eq!(client.expect("SIZE /pub/text", 213).text, "213 10\r\n");
    assert_eq!(client.fetch("RETR /pub/text").0, b"one\r\ntwo\r\n");
    assert_eq!(client.store("STOR /pub/up", b"a\r\nb\rc\n\r\n").code, 226);
    assert_eq!(fs::read(server.root().join("pub/up")).unwrap(), b"a\nb\rc\n\n");
    server.stop();
}

#[test]
fn listings_agree_with_the_tree() {
    let mut setup = Setup::new().user();
    for number in 0..500 {
        setup = setup.file(&format!("pub/many/file-{number:04}"), &pattern(number));
    }
    let server = setup.start();
    let mut client = server.login();
    let (names, reply) = client.fetch("NLST /pub/many");
    assert_eq!(reply.code, 226);
    let names = String::from_utf8(names).unwrap();
    let mut names: Vec<&str> =
        names.split_terminator("\r\n").map(|name| name.rsplit('/').next().unwrap()).collect();
    names.sort_unstable();
    let expected: Vec<String> = (0..500).map(|number| format!("file-{number:04}")).collect();
    assert_eq!(names, expected);
    let (lines, _) = client.fetch("MLSD /pub/many");
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(
        lines.lines().filter(|line| line.to_ascii_lowercase().contains("type=file;")).count(),
        500
    );
    let (lines, _) = client.fetch("LIST /pub/many");
    assert_eq!(String::from_utf8(lines).unwrap().matches("file-0").count(), 500);
    // What this session changed is seen at once, whatever is cached.
    assert_eq!(client.store("STOR /pub/many/new", b"x").code, 226);
    assert!(String::from_utf8(client.fetch("NLST /pub/many").0).unwrap().contains("new\r\n"));
    client.expect("DELE /pub/many/new", 250);
    assert!(!String::from_utf8(client.fetch("NLST /pub/many").0).unwrap().contains("new\r\n"));
    server.stop();
}

#[test]
fn anonymous_may_store_only_where_it_says() {
    let server = Setup::new().file("incoming/old", b"old").file("pub/file", b"x").start();
    let mut client = server.anonymous();
    assert_eq!(client.store("STOR /incoming/new", b"contents").code, 226);
    assert_eq!(fs::read(server.root().join("incoming/new")).unwrap(), b"contents");
    for line in [
        "STOR /pub/new",
        "STOR /new",
        "STOR /incoming/../pub/new",
        "STOR /incoming/old",
        "APPE /pub/file",
    ] {
        let reply = client.store(line, b"evil");
        assert!([550, 553].contains(&reply.code), "{line}: {reply:?}");
    }
    // Not overwritten, not readable (anonymous_overwrite and uploads_readable are off).
    let (bytes, reply) = client.fetch("RETR /incoming/new");
    assert!(bytes.is_empty() && reply.code == 550, "{reply:?}");
    for line in [
        "DELE /incoming/new",
        "DELE /pub/file",
        "RMD /pub",
        "RNFR /pub/file",
        "MKD /pub/x",
        "SITE CHMOD 777 /pub/file",
    ] {
        let reply = client.command(line);
        assert!([550, 553, 530].contains(&reply.code), "{line}: {reply:?}");
    }
    assert_eq!(fs::read(server.root().join("incoming/old")).unwrap(), b"old");
    assert_eq!(server.files().len(), 3);
    server.stop();
}

#[test]
fn an_upload_over_the_limit_leaves_nothing() {
    let server =
        Setup::new().user().ftp("max_upload_bytes = 100000").file("pub/file", b"old").start();
    let mut client = server.login();
    let mut data = client.data();
    client.expect("STOR /pub/file", 150);
    // The server may close before it has read everything.
    drop(data.write_all(&pattern(1_000_000)));
    drop(data);
    let reply = client.reply();
    assert!([552, 452].contains(&reply.code), "{reply:?}");
    assert_eq!(fs::read(server.root().join("pub/file")).unwrap(), b"old");
    only_left(&server, &["pub/file"]);
    assert_eq!(client.store("STOR /pub/file", &pattern(100_000)).code, 226);
    server.stop();
}

#[test]
fn thirty_sessions_at_once_get_their_own_octets() {
    let server = Setup::new().user().start();
    std::thread::scope(|scope| {
        for number in 0..30 {
            let server = &server;
            scope.spawn(move || {
                let contents: Vec<u8> =
                    pattern(400_000 + number).into_iter().skip(number).collect();
                let mut client = server.login();
                for round in 0..3 {
                    let path = format!("/pub/file-{number}-{round}");
                    assert_eq!(client.store(&format!("STOR {path}"), &contents).code, 226);
                    let (bytes, reply) = client.fetch(&format!("RETR {path}"));
                    assert_eq!((bytes == contents, reply.code), (true, 226), "{path}");
                }
                client.expect("QUIT", 221);
            });
        }
    });
    server.stop();
}

/// RFC 959 §3.2, RFC 1123 §4.1.2.12: data leaves from the address the client reached.
#[test]
fn active_data_leaves_from_the_control_address() {
    let server = Setup::new().ftp("listen = [\"0.0.0.0:0\"]").file("pub/file", b"contents").start();
    let port = server.v4().port();
    for last in [1, 3, 7] {
        let reached = Ipv4Addr::new(127, 0, 0, last);
        let mut client = Client::connect(SocketAddr::from((reached, port)));
        client.login("anonymous", "guest");
        let own = client.stream.local_addr().unwrap().ip();
        let listener = TcpListener::bind((own, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        client.expect(&format!("EPRT |1|{own}|{port}|"), 200);
        client.send("RETR /pub/file\r\n");
        let (mut data, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), reached);
        let mut got = Vec::new();
        data.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"contents");
        client.expect_reply(150);
        client.expect_reply(226);
    }
    server.stop();
}

/// RFC 2577 §7, RFC 959 §3.2.
#[test]
fn passive_ports_are_random_and_end_with_the_next() {
    let server = Setup::new().start();
    let mut client = server.anonymous();
    let mut ports = Vec::new();
    let mut last: Option<SocketAddr> = None;
    for _ in 0..40 {
        let address = client.passive();
        if let Some(last) = last.filter(|last| *last != address) {
            assert!(TcpStream::connect(last).is_err(), "{last} is still open");
        }
        last = Some(address);
        ports.push(address.port());
    }
    // Of 40 random ports of thousands hardly any two are neighbours, and they are in no order.
    let steps = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
    let rising = ports.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(steps < 10 && (4..36).contains(&rising), "{ports:?}");
    server.stop();
}

/// RFC 1123 §4.1.3.2.
#[test]
fn an_idle_session_ends_and_a_transfer_does_not() {
    let contents = pattern(64 << 20);
    let server = Setup::new().ftp("idle_seconds = 4").file("pub/large", &contents).start();
    let mut idle = server.anonymous();
    let mut busy = server.anonymous();
    let mut data = busy.data();
    busy.expect("RETR /pub/large", 150);
    let mut got = vec![0; 1000];
    data.read_exact(&mut got).unwrap();
    // The other session, begun before, ends for being idle: this one has waited as long.
    idle.expect_reply(421);
    idle.expect_end();
    let mut third = server.anonymous();
    third.expect_reply(421);
    data.read_to_end(&mut got).unwrap();
    busy.expect_reply(226);
    assert!(got == contents);
    server.stop();
}
