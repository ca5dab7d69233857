//! ftp::tests::transitions – the whole table of state and command, as a snapshot.

use std::fmt::Write as _;

use super::random::{Auto, codes};
use super::script::folder;
use crate::ftp::session::Tls;
use crate::ftp::verb::VERBS;

const STATES: [(&str, &str); 7] = [
    ("before login", ""),
    ("secured", "AUTH TLS\r\n"),
    ("awaiting password", "USER ann\r\n"),
    ("logged in", "USER ann\r\nPASS x\r\n"),
    ("after RNFR", "USER ann\r\nPASS x\r\nRNFR a\r\n"),
    ("after REST", "USER ann\r\nPASS x\r\nTYPE I\r\nREST 5\r\n"),
    ("transferring", "USER ann\r\nPASS x\r\nRETR a\r\n"),
];

/// A command with an argument that is right.
fn sample(verb: &str) -> String {
    let argument = match verb {
        "PORT" => "198,51,100,7,200,1",
        "EPRT" => "|1|198.51.100.7|2000|",
        "TYPE" => "I",
        "STRU" => "F",
        "MODE" => "S",
        "ALLO" | "REST" => "9",
        "OPTS" => "UTF8 ON",
        "SITE" => "UMASK",
        "MFMT" => "20240102030405 a",
        "AUTH" => "TLS",
        "PBSZ" => "0",
        "PROT" => "P",
        "CDUP" | "XCUP" | "REIN" | "QUIT" | "PASV" | "STOU" | "ABOR" | "PWD" | "XPWD" | "LIST"
        | "NLST" | "SYST" | "STAT" | "HELP" | "NOOP" | "FEAT" | "EPSV" | "MLST" | "MLSD"
        | "CCC" => "",
        _ => "a",
    };
    format!("{verb} {argument}").trim_end().to_owned() + "\r\n"
}

fn cell(before: &str, line: &str) -> String {
    let mut auto = Auto::new(Tls::Optional);
    auto.give(before.as_bytes());
    let running = auto.transferring;
    auto.said.clear();
    auto.give(line.as_bytes());
    let at_once = shown(&auto.said);
    if !running {
        if auto.transferring {
            auto.complete();
            auto.give(b"");
        }
        return shown(&auto.said) + if auto.closed { " close" } else { "" };
    }
    if !auto.transferring {
        return at_once;
    }
    auto.said.clear();
    while auto.transferring && !auto.closed {
        auto.complete();
        auto.give(b"");
    }
    let later = shown(&auto.said) + if auto.closed { " close" } else { "" };
    if at_once.is_empty() { format!("waits: {later}") } else { format!("{at_once}, then {later}") }
}

fn shown(said: &[u8]) -> String {
    codes(said).iter().map(u16::to_string).collect::<Vec<_>>().join("+")
}

#[test]
fn every_command_in_every_state() {
    let mut table = String::new();
    write!(table, "{:8}", "").unwrap();
    for (state, _) in STATES {
        write!(table, "| {state:26}").unwrap();
    }
    table = table.trim_end().to_owned() + "\n";
    let unknown = ["XYZZY", "GET"];
    let verbs = VERBS.iter().map(|verb| std::str::from_utf8(verb.name()).unwrap());
    for verb in verbs.chain(unknown) {
        write!(table, "{verb:8}").unwrap();
        for (_, before) in STATES {
            write!(table, "| {:26}", cell(before, &sample(verb))).unwrap();
        }
        table = table.trim_end().to_owned() + "\n";
    }
    let path = folder().join("transitions.txt");
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(table == expected, "found\n{table}expected\n{expected}");
}
