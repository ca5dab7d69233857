//! smtp::tests::transitions – the whole table of state and command, as a snapshot.

use std::fmt::Write as _;

use super::random::{Auto, codes};
use super::script::{MECHANISMS, folder, settings};
use crate::smtp::session::{Settings, Tls, Trust};

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

/// What TLS and AUTH allow, in states of their own: what the listener demands, and what was said.
const SECURED: [(&str, &str, &str); 9] = [
    ("optional", "optional auth", HELLO),
    ("required", "required auth", HELLO),
    ("no cert", "optional cert-off", HELLO),
    ("tls", "secure auth", HELLO),
    ("tls, helo", "secure auth", "HELO c\r\n"),
    ("tls, sender", "secure auth", MAIL),
    ("authenticated", "secure auth", "EHLO c\r\nAUTH PLAIN AGFubgBwYXNz\r\n"),
    ("submit", "optional submission auth", HELLO),
    ("submit, tls", "secure submission auth", HELLO),
];

const SECURED_COMMANDS: [(&str, &str); 16] = [
    ("HELO", "HELO c\r\n"),
    ("EHLO", "EHLO c\r\n"),
    ("MAIL", "MAIL FROM:<sam@example.edu>\r\n"),
    ("RCPT", "RCPT TO:<ann@example.org>\r\n"),
    ("DATA", "DATA\r\n"),
    ("BDAT", "BDAT 1\r\nx"),
    ("RSET", "RSET\r\n"),
    ("NOOP", "NOOP\r\n"),
    ("VRFY", "VRFY ann\r\n"),
    ("HELP", "HELP\r\n"),
    ("QUIT", "QUIT\r\n"),
    ("STARTTLS", "STARTTLS\r\n"),
    ("STARTTLS, bad", "STARTTLS x\r\n"),
    ("AUTH", "AUTH PLAIN AGFubgBwYXNz\r\n"),
    ("AUTH, bad", "AUTH PLAIN A\r\n"),
    ("AUTH, unknown", "AUTH XYZZY\r\n"),
];

/// LMTP, and peers that are believed.
const RELAYED: [(&str, &str, &str); 6] = [
    ("connected", "lmtp", ""),
    ("greeted", "lmtp", "LHLO c\r\n"),
    ("sender", "lmtp", "LHLO c\r\nMAIL FROM:<sam@example.edu>\r\n"),
    (
        "all refused",
        "lmtp",
        "LHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<nobody@example.org>\r\n",
    ),
    ("recipient", "lmtp", "LHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n"),
    ("not believed", "stranger", HELLO),
];

const RELAYED_COMMANDS: [(&str, &str); 13] = [
    ("HELO", "HELO c\r\n"),
    ("EHLO", "EHLO c\r\n"),
    ("LHLO", "LHLO c\r\n"),
    ("LHLO, bad", "LHLO\r\n"),
    ("MAIL", "MAIL FROM:<sam@example.edu>\r\n"),
    ("DATA", "DATA\r\n"),
    ("BDAT", "BDAT 1\r\nx"),
    ("BDAT LAST", "BDAT 1 LAST\r\nx"),
    ("RSET", "RSET\r\n"),
    ("XCLIENT", "XCLIENT ADDR=192.0.2.9\r\n"),
    ("XCLIENT, HELO", "XCLIENT HELO=c PROTO=ESMTP\r\n"),
    ("XCLIENT, bad", "XCLIENT FOO=x\r\n"),
    ("XFORWARD", "XFORWARD NAME=x\r\n"),
];

/// Settings as their words say.
fn set_up(words: &str) -> (Settings, bool) {
    let mut settings = settings();
    let security = &mut settings.security;
    let mut secure = false;
    for word in words.split_whitespace() {
        match word {
            "optional" => security.tls = Tls::Optional,
            "required" => security.tls = Tls::Required,
            "cert-off" => security.tls_ready = false,
            "auth" => security.mechanisms = MECHANISMS.to_vec(),
            "submission" => security.submission = true,
            "secure" => (security.tls, secure) = (Tls::Optional, true),
            "lmtp" => settings.lmtp = true,
            "stranger" => {}
            _ => panic!("{word}"),
        }
    }
    (settings, secure)
}

/// The reply, and what the state lets happen then: which of MAIL, RCPT, DATA, BDAT are taken.
fn cell(words: &str, before: &str, line: &str) -> String {
    let after = |probe: &str| {
        let (settings, secure) = set_up(words);
        let mut auto = Auto::new(settings);
        if words == "stranger" {
            auto.session.trust(Trust::default());
        }
        if secure {
            auto.session.secured();
        }
        auto.give(before.as_bytes());
        if before == FAILED {
            auto.give(&vec![b'x'; 1_000_001]);
        }
        auto.said.clear();
        auto.give(line.as_bytes());
        let said = codes(&auto.said);
        let (closed, handshake) = (auto.closed, auto.securing);
        auto.said.clear();
        auto.give(probe.as_bytes());
        (said, closed, handshake, codes(&auto.said))
    };
    let (said, closed, handshake, _) = after("");
    let mut text: String = said.iter().map(u16::to_string).collect::<Vec<_>>().join("+");
    if closed {
        return text + " close";
    }
    if handshake {
        return text + " tls";
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
        let taken = after(probe).3.first().is_some_and(|code| *code < 400);
        text.push(if taken { letter } else { '-' });
    }
    text
}

/// One table: a row per command, a column per state.
fn table<'a>(
    states: impl Iterator<Item = (&'a str, &'a str, &'a str)> + Clone,
    commands: &[(&str, &str)],
) -> String {
    let mut table = format!("{:14}", "");
    for (state, ..) in states.clone() {
        write!(table, "| {state:14}").unwrap();
    }
    table = table.trim_end().to_owned() + "\n";
    for (name, line) in commands {
        write!(table, "{name:14}").unwrap();
        for (_, words, before) in states.clone() {
            write!(table, "| {:14}", cell(words, before, line)).unwrap();
        }
        table = table.trim_end().to_owned() + "\n";
    }
    table
}

#[test]
fn every_command_in_every_state() {
    let plain = STATES.iter().map(|(state, before)| (*state, "", *before));
    let table = format!(
        "The reply to each command in each state, and which of mail, rcpt, data, bdat are taken then.\n\n{}\n\
         The same where there are TLS and AUTH.\n\n{}\n\
         LMTP, and peers that speak for others.\n\n{}",
        table(plain, &COMMANDS),
        table(SECURED.iter().copied(), &SECURED_COMMANDS),
        table(RELAYED.iter().copied(), &RELAYED_COMMANDS),
    );
    let path = folder().join("transitions.txt");
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(table == expected, "found\n{table}expected\n{expected}");
}
