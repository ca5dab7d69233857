//! The `suppaftp` crate as a client: everything it can ask, in every data-connection mode it has.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod common;

use std::fs;
use std::io::{Cursor, Read};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use common::{PASSWORD, PATIENCE, Server, Setup, USER, pattern};
use suppaftp::list::{File, ListParser};
use suppaftp::types::{FileType, FormatControl};
use suppaftp::{FtpError, FtpStream, Mode, Status};

fn server() -> Server {
    let setup = Setup::new()
        .user()
        .file("pub/big", &pattern(2_000_003))
        .file("pub/text", b"one\ntwo\n")
        .file("pub/empty", b"");
    // More than the sockets on the way hold: a transfer that nobody reads is still running.
    fs::File::create(setup.root().join("pub/endless")).unwrap().set_len(256 << 20).unwrap();
    setup.start()
}

fn session(address: SocketAddr, mode: Mode) -> FtpStream {
    let mut client = FtpStream::connect_timeout(address, PATIENCE).unwrap().active_mode(PATIENCE);
    client.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_mode(mode);
    client.login(USER, PASSWORD).unwrap();
    client.transfer_type(FileType::Binary).unwrap();
    client
}

fn everything(address: SocketAddr, mode: Mode, server: &Server) {
    let contents = pattern(2_000_003);
    let mut client = session(address, mode);
    assert!(client.feat().unwrap().contains_key("REST"));

    // Down, whole and from an offset.
    assert!(client.retr_as_buffer("/pub/big").unwrap().into_inner() == contents);
    assert_eq!(client.retr_as_buffer("/pub/empty").unwrap().into_inner(), b"");
    client.resume_transfer(1_500_000).unwrap();
    assert!(client.retr_as_buffer("/pub/big").unwrap().into_inner() == contents[1_500_000..]);

    // Up, whole, the rest from an offset, and appended.
    client.mkdir("/work").unwrap();
    client.cwd("/work").unwrap();
    assert_eq!(client.pwd().unwrap(), "/work");
    assert_eq!(client.put_file("whole", &mut Cursor::new(&contents)).unwrap(), 2_000_003);
    client.put_file("part", &mut Cursor::new(&contents[..700_000])).unwrap();
    client.resume_transfer(700_000).unwrap();
    client.put_file("part", &mut Cursor::new(&contents[700_000..])).unwrap();
    client.put_file("appended", &mut Cursor::new(&contents[..1])).unwrap();
    client.append_file("appended", &mut Cursor::new(&contents[1..])).unwrap();
    for name in ["whole", "part", "appended"] {
        assert!(fs::read(server.root().join("work").join(name)).unwrap() == contents, "{name}");
    }

    // Lists and facts.
    let mut names = client.nlst(None).unwrap();
    names.sort();
    assert_eq!(names, ["appended", "part", "whole"]);
    let lines = client.list(Some("/work")).unwrap();
    let files: Vec<File> = lines
        .iter()
        .map(|line| File::from_str(line).unwrap_or_else(|_| panic!("{line:?}")))
        .collect();
    assert_eq!(files.iter().filter(|file| file.is_file() && file.size() == 2_000_003).count(), 3);
    let lines = client.mlsd(Some("/work")).unwrap();
    let lines = lines.iter().filter(|line| line.to_ascii_lowercase().contains("type=file;"));
    let files: Vec<File> = lines
        .map(|line| ListParser::parse_mlsd(line).unwrap_or_else(|_| panic!("{line:?}")))
        .collect();
    assert_eq!(files.iter().filter(|file| file.is_file() && file.size() == 2_000_003).count(), 3);
    assert!(client.mlst(Some("whole")).unwrap().contains("whole"));
    assert_eq!(client.size("whole").unwrap(), 2_000_003);
    client.mdtm("whole").unwrap();

    // Names.
    client.rename("whole", "renamed").unwrap();
    assert!(fs::read(server.root().join("work/renamed")).unwrap() == contents);
    for name in ["renamed", "part", "appended"] {
        client.rm(name).unwrap();
    }
    client.cdup().unwrap();
    client.rmdir("/work").unwrap();
    assert!(!server.root().join("work").exists());

    // A transfer broken off leaves the session in step.
    let mut stream = client.retr_as_stream("/pub/endless").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    client.abort(stream).unwrap();
    client.noop().unwrap();
    client.quit().unwrap();
}

#[test]
fn extended_passive_over_ipv4() {
    let server = server();
    everything(server.v4(), Mode::ExtendedPassive, &server);
    server.stop();
}

#[test]
fn extended_passive_over_ipv6() {
    let server = server();
    everything(server.v6(), Mode::ExtendedPassive, &server);
    server.stop();
}

#[test]
fn passive() {
    let server = server();
    everything(server.v4(), Mode::Passive, &server);
    server.stop();
}

#[test]
fn active_over_ipv4() {
    let server = server();
    everything(server.v4(), Mode::Active, &server);
    server.stop();
}

#[test]
fn active_over_ipv6() {
    let server = server();
    everything(server.v6(), Mode::Active, &server);
    server.stop();
}

#[test]
fn text() {
    let server = server();
    let mut client = session(server.v4(), Mode::ExtendedPassive);
    client.transfer_type(FileType::Ascii(FormatControl::NonPrint)).unwrap();
    client.put_file("/pub/up", &mut Cursor::new(b"a\r\nb\r\n")).unwrap();
    assert_eq!(fs::read(server.root().join("pub/up")).unwrap(), b"a\nb\n");
    assert_eq!(client.size("/pub/text").unwrap(), 10);
    client.quit().unwrap();
    server.stop();
}

#[test]
fn anonymous() {
    let server = server();
    let mut client = FtpStream::connect_timeout(server.v4(), Duration::from_secs(20)).unwrap();
    client.set_mode(Mode::ExtendedPassive);
    client.login("anonymous", "guest@example.org").unwrap();
    client.transfer_type(FileType::Binary).unwrap();
    assert!(client.retr_as_buffer("/pub/big").unwrap().into_inner() == pattern(2_000_003));
    client.put_file("/incoming/new", &mut Cursor::new(b"contents")).unwrap();
    assert_eq!(fs::read(server.root().join("incoming/new")).unwrap(), b"contents");
    let refused = client.put_file("/pub/new", &mut Cursor::new(b"contents"));
    let Err(FtpError::UnexpectedResponse(reply)) = refused else { panic!("{refused:?}") };
    assert!([Status::FileUnavailable, Status::BadFilename].contains(&reply.status), "{reply:?}");
    client.quit().unwrap();
    server.stop();
}
