//! smtp::tests::transitions – the whole table of state and command, as a snapshot.

use std::fmt::Write as _;

use super::random::{Auto, codes};
use super::script::{folder, settings};

const HELLO: &str = "EHLO c\r\n";
const MAIL: &str = "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\n";
const REFUSED: &str = "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<nobody@example.org>\r\n";
const RCPT: &str = "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n";
const BINARY: &str =
    "EHLO c\r\nMAIL FROM:<sam@example.edu> BODY=BINARYMIME\r\nRCPT TO:<ann@example.org>\r\n";
const CHUNK: &str =
    "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\nBDAT 1\r\nx";
const FAILED: &str =
    "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\nBDAT 1000001\r\n";

const STATES: [(&str, &str); 8] = [
    ("connected", ""),
    ("greeted", HELLO),
    ("sender", MAIL),
    ("all refused", REFUSED),
    ("recipient", RCPT),
    ("binary", BINARY),
    ("chunks", CHUNK),
    ("failed", FAILED),
];

const COMMANDS: [(&str, &str); 23] = [
    ("HELO", "HELO c\r\n"),
    ("EHLO", "EHLO c\r\n"),
    ("EHLO, bad", "EHLO\r\n"),
    ("MAIL", "MAIL FROM:<sam@example.edu>\r\n"),
    ("MAIL, bad", "MAIL FROM:<sam@>\r\n"),
    ("RCPT", "RCPT TO:<ann@example.org>\r\n"),
    ("RCPT, bad", "RCPT TO:<ann@>\r\n"),
    ("RCPT, no user", "RCPT TO:<nobody@example.org>\r\n"),
    ("DATA", "DATA\r\n"),
    ("DATA, bad", "DATA x\r\n"),
    ("BDAT", "BDAT 1\r\nx"),
    ("BDAT LAST", "BDAT 1 LAST\r\nx"),
    ("BDAT, bad", "BDAT x\r\n"),
    ("RSET", "RSET\r\n"),
    ("NOOP", "NOOP\r\n"),
    ("VRFY", "VRFY ann\r\n"),
    ("EXPN", "EXPN staff\r\n"),
    ("HELP", "HELP\r\n"),
    ("QUIT", "QUIT\r\n"),
    ("STARTTLS", "STARTTLS\r\n"),
    ("AUTH", "AUTH PLAIN\r\n"),
    ("XYZZY", "XYZZY\r\n"),
    ("GET", "GET / HTTP/1.1\r\n"),
];

/// The reply, and what the state lets happen then: which of MAIL, RCPT, DATA, BDAT are taken.
fn cell(before: &str, line: &str) -> String {
    let after = |probe: &str| {
        let mut auto = Auto::new(settings());
        auto.give(before.as_bytes());
        if before == FAILED {
            auto.give(&vec![b'x'; 1_000_001]);
        }
        auto.said.clear();
        auto.give(line.as_bytes());
        let said = codes(&auto.said);
        let closed = auto.closed;
        auto.said.clear();
        auto.give(probe.as_bytes());
        (said, closed, codes(&auto.said))
    };
    let (said, closed, _) = after("");
    let mut text: String = said.iter().map(u16::to_string).collect::<Vec<_>>().join("+");
    if closed {
        return text + " close";
    }
    if said == [354] {
        return text;
    }
    text.push(' ');
    for (letter, probe) in [
        ('m', "MAIL FROM:<sam@example.edu>\r\n"),
        ('r', "RCPT TO:<ann@example.org>\r\n"),
        ('d', "DATA\r\n"),
        ('b', "BDAT 1\r\nx"),
    ] {
        let taken = after(probe).2.first().is_some_and(|code| *code < 400);
        text.push(if taken { letter } else { '-' });
    }
    text
}

#[test]
fn every_command_in_every_state() {
    let mut table = String::from(
        "The reply to each command in each state, and which of mail, rcpt, data, bdat are taken then.\n\n",
    );
    write!(table, "{:14}", "").unwrap();
    for (state, _) in STATES {
        write!(table, "| {state:12}").unwrap();
    }
    table = table.trim_end().to_owned() + "\n";
    for (name, line) in COMMANDS {
        write!(table, "{name:14}").unwrap();
        for (_, before) in STATES {
            write!(table, "| {:12}", cell(before, line)).unwrap();
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
