//! The command parser: what it understands does not depend on case, and what it printed would be read the same.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use sluicegate::ftp::command::{Command, Site, is_foreign, parse};
use sluicegate::ftp::step::Family;

/// The line with its verb in the other case.
fn swapped(line: &[u8]) -> Vec<u8> {
    let verb = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb);
    let swap = |byte: &u8| {
        if byte.is_ascii_lowercase() {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        }
    };
    verb.iter().map(swap).chain(rest.iter().copied()).collect()
}

/// The command as a client would write it, where that is plain from the value.
fn printed(command: &Command<'_>) -> Option<Vec<u8>> {
    let with = |verb: &str, argument: &[u8]| Some([verb.as_bytes(), b" ", argument].concat());
    match command {
        Command::User(name) => with("USER", name),
        Command::Cwd(path) => with("CWD", path),
        Command::Retr(path) => with("RETR", path),
        Command::Stor(path) => with("STOR", path),
        Command::Appe(path) => with("APPE", path),
        Command::Rnfr(path) => with("RNFR", path),
        Command::Rnto(path) => with("RNTO", path),
        Command::Dele(path) => with("DELE", path),
        Command::Rmd(path) => with("RMD", path),
        Command::Mkd(path) => with("MKD", path),
        Command::Size(path) => with("SIZE", path),
        Command::Mdtm(path) => with("MDTM", path),
        Command::Rest(octets) => with("REST", octets.to_string().as_bytes()),
        Command::Port(address) => {
            let [a, b, c, d] = address.ip().octets();
            let [high, low] = address.port().to_be_bytes();
            with("PORT", format!("{a},{b},{c},{d},{high},{low}").as_bytes())
        }
        Command::Eprt(SocketAddr::V4(address)) => {
            with("EPRT", format!("|1|{}|{}|", address.ip(), address.port()).as_bytes())
        }
        Command::Eprt(SocketAddr::V6(address)) => {
            with("EPRT", format!("|2|{}|{}|", address.ip(), address.port()).as_bytes())
        }
        Command::Epsv(Some(Family::Inet)) => with("EPSV", b"1"),
        Command::Epsv(Some(Family::Inet6)) => with("EPSV", b"2"),
        Command::Site(Site::Chmod(mode, path)) => {
            with("SITE CHMOD", &[format!("{mode:o} ").as_bytes(), path].concat())
        }
        _ => None,
    }
}

fuzz_target!(|line: &[u8]| {
    // The line reader gives lines without their end.
    if line.contains(&b'\n') {
        return;
    }
    let command = parse(line);
    let other = swapped(line);
    assert_eq!(command, parse(&other), "case matters");
    assert_eq!(is_foreign(line), is_foreign(line));
    let Ok(command) = command else { return };
    if let Some(line) = printed(&command) {
        assert_eq!(
            parse(&line),
            Ok(command),
            "{:?} is read differently",
            String::from_utf8_lossy(&line)
        );
    }
    match command {
        Command::Rest(octets) => assert!(octets <= i64::MAX as u64),
        Command::Site(Site::Chmod(mode, _)) => assert!(mode <= 0o7777),
        Command::Site(Site::Umask(Some(mask))) => assert!(mask <= 0o777),
        _ => {}
    }
});
