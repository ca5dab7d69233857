//! smtp::tests::random – arbitrary sessions at arbitrary splits.
//!
//! What holds for every input: no panic; the split changes neither replies nor messages; each
//! command gets one reply; a draft that is begun is committed or dropped; memory stays bounded.

use std::rc::Rc;

use proptest::prelude::*;

use super::script::{MECHANISMS, commit, judge, settings};
use crate::limits::{SMTP_AUTH_LINE_BYTES_MAX, SMTP_LINE_BYTES_MAX, SMTP_OUTBOX_BYTES_MAX};
use crate::smtp::envelope::Envelope;
use crate::smtp::session::{Security, Session, Settings, Tls, Trust};
use crate::smtp::step::Next;
use crate::wire::outbox::Outbox;

/// A driver whose answers depend on nothing but what it is asked.
pub(super) struct Auto {
    pub(super) session: Session,
    out: Outbox,
    pub(super) said: Vec<u8>,
    draft: Option<Vec<u8>>,
    /// Messages accepted, with what they were accepted for.
    pub(super) messages: Vec<(Envelope, Vec<u8>)>,
    /// Drafts begun, and dropped.
    begun: usize,
    dropped: usize,
    most_waiting: usize,
    /// After 220 to STARTTLS.
    pub(super) securing: bool,
    pub(super) closed: bool,
}

/// What came of an input.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    said: Vec<u8>,
    messages: Vec<(Envelope, Vec<u8>)>,
    begun: usize,
    dropped: usize,
    closed: bool,
    in_message: bool,
}

impl Auto {
    pub(super) fn new(settings: Settings) -> Self {
        let mut out = Outbox::default();
        let local = "192.0.2.1:25".parse().unwrap();
        let peer = "198.51.100.7:50000".parse().unwrap();
        // What has AUTH and no STARTTLS has TLS from the start.
        let implicit =
            settings.security.tls == Tls::Off && !settings.security.mechanisms.is_empty();
        let mut session = Session::new(Rc::new(settings), local, peer, &mut out);
        session.trust(Trust { client: true, forward: true });
        if implicit {
            session.secured();
        }
        let said = out.take();
        Self {
            session,
            out,
            said,
            draft: None,
            messages: Vec::new(),
            begun: 0,
            dropped: 0,
            most_waiting: 0,
            securing: false,
            closed: false,
        }
    }

    pub(super) fn give(&mut self, input: &[u8]) {
        let mut input = input;
        self.closed |= self.securing && !input.is_empty();
        while !self.closed && !self.securing {
            let next = self.session.advance(&mut input, &mut self.out);
            self.most_waiting = self.most_waiting.max(self.out.len());
            assert!(self.out.len() <= SMTP_OUTBOX_BYTES_MAX + 4096);
            assert!(self.session.held_bytes() <= 2 * SMTP_AUTH_LINE_BYTES_MAX);
            match next {
                Next::Receive => {
                    self.said.extend(self.out.take());
                    if input.is_empty() {
                        return;
                    }
                }
                Next::Flush => {
                    assert!(self.out.len() >= SMTP_OUTBOX_BYTES_MAX, "nothing to flush");
                    self.said.extend(self.out.take());
                }
                Next::Ask(ask) => self.session.resume(judge(&ask), &mut self.out),
                Next::Begin { .. } => {
                    self.begun += 1;
                    assert!(self.draft.replace(Vec::new()).is_none());
                }
                Next::Body(octets) => self.draft.as_mut().unwrap().extend_from_slice(octets),
                Next::Commit(envelope, _) => {
                    let answer = commit(&envelope, self.messages.len() + 1);
                    self.messages.push((*envelope, self.draft.take().unwrap()));
                    self.session.resume(answer, &mut self.out);
                }
                Next::Discard => {
                    self.dropped += 1;
                    assert!(self.draft.take().is_some());
                }
                Next::Secure => {
                    self.said.extend(self.out.take());
                    self.securing = true;
                    self.closed = !input.is_empty();
                }
                Next::Close => {
                    assert!(self.draft.is_none());
                    self.said.extend(self.out.take());
                    self.closed = true;
                }
            }
        }
    }
}

fn run(settings: &Settings, portions: &[&[u8]]) -> Outcome {
    let mut auto = Auto::new(settings.clone());
    for portion in portions {
        auto.give(portion);
    }
    let drafts = usize::from(auto.draft.is_some());
    assert_eq!(auto.begun, auto.dropped + auto.messages.len() + drafts);
    Outcome {
        said: auto.said,
        messages: auto.messages,
        begun: auto.begun,
        dropped: auto.dropped,
        closed: auto.closed,
        in_message: auto.session.in_message(),
    }
}

/// The codes of replies; each is checked for its form.
pub(super) fn codes(said: &[u8]) -> Vec<u16> {
    let mut codes = Vec::new();
    let mut open: Option<String> = None;
    let text = String::from_utf8_lossy(said);
    for line in text.split_terminator("\r\n") {
        assert!(line.len() + 2 <= 512 && !line.contains(['\r', '\n']), "{line:?}");
        let (code, mark) = (line.get(..3).unwrap(), line.as_bytes()[3]);
        let number: u16 = code.parse().unwrap();
        assert!((200..600).contains(&number));
        assert!(open.as_ref().is_none_or(|open| open == code), "{line:?}");
        match mark {
            b'-' => open = Some(code.to_owned()),
            b' ' => {
                open = None;
                codes.push(number);
            }
            _ => panic!("not a reply: {line:?}"),
        }
    }
    assert!(open.is_none(), "a reply without its last line");
    codes
}

/// Lines that sessions are made of, in their turn or not.
const PARTS: &[&str] = &[
    "HELO client.example",
    "EHLO client.example",
    "MAIL FROM:<sam@example.edu>",
    "MAIL FROM: sam@example.edu SIZE=40 BODY=BINARYMIME",
    "MAIL FROM:<nobody@example.edu>",
    "MAIL FROM:<commit-broken@example.edu>",
    "RCPT TO:<ann@example.org>",
    "RCPT TO:<nobody@example.org>",
    "RCPT TO:<bob@elsewhere.example>",
    "RCPT TO:<postmaster> NOTIFY=NEVER",
    "DATA",
    "DATA",
    "RSET",
    "NOOP",
    "VRFY ann",
    "EXPN staff",
    "HELP",
    "BDAT x",
    "BDAT 2 MORE",
    "BDAT 0",
    "BDAT 0 LAST",
    "FROB",
    "",
    ".",
    "Received: x",
    ".x",
    "a\rb",
    "a\nb",
    "QUIT x",
    "STARTTLS",
    "STARTTLS x",
    "AUTH PLAIN AGFubgBwYXNz",
    "AUTH PLAIN",
    "AUTH LOGIN",
    "AUTH LOGIN =",
    "AUTH CRAM-MD5",
    "AUTH PLAIN A",
    "AGFubgBwYXNz",
    "YW5u",
    "cGFzcw==",
    "*",
    "=AAA",
    "LHLO client.example",
    "XCLIENT ADDR=192.0.2.9 NAME=mx.example",
    "XCLIENT LOGIN=ann HELO=inner.example PROTO=ESMTP",
    "XCLIENT LOGIN=broken",
    "XCLIENT ADDR=192.0.2.66",
    "XCLIENT FOO=x",
    "XFORWARD NAME=origin.example IDENT=1",
    "XFORWARD",
];

/// A part of a session, and how many replies it gets where it is its turn.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(PARTS);
    let piece = prop::sample::select(vec![
        "\r",
        "\n",
        ".",
        "\r\n",
        "x",
        "\0",
        "\u{e4}",
        "\r\n.\r\n",
        "\r\n..",
        "\n.\r\n",
        "Received: a",
    ]);
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let group = "EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n";
    (0..10_u8, line, pieces, any::<bool>()).prop_map(move |(kind, line, pieces, last)| {
        let body = pieces.as_bytes();
        let last = if last { " LAST" } else { "" };
        match kind {
            0 if last.is_empty() => {
                vec![b'x'; SMTP_LINE_BYTES_MAX + 9].into_iter().chain(*b"\r\n").collect()
            }
            0 => vec![b'x'; SMTP_AUTH_LINE_BYTES_MAX + 9].into_iter().chain(*b"\r\n").collect(),
            1 => [group.as_bytes(), b"DATA\r\n", body, b"\r\n.\r\n"].concat(),
            2 => [b"DATA\r\n", body, b"\r\n.\r\n"].concat(),
            3 => [format!("{group}BDAT {}{last}\r\n", body.len()).as_bytes(), body].concat(),
            4 => [format!("BDAT {}{last}\r\n", body.len()).as_bytes(), body].concat(),
            5 => body.to_vec(),
            _ => format!("{line}\r\n").into_bytes(),
        }
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (any::<[bool; 8]>(), 0_u32..3).prop_map(|(switches, few)| {
        let [small, strict, tell, normalize, auth, clear, submission, lmtp] = switches;
        Settings {
            message_bytes_max: if small { 30 } else { 1_000_000 },
            recipients_max: 3,
            messages_max: few,
            bare_newlines: if normalize {
                crate::wire::data::BareNewlines::Normalize
            } else {
                crate::wire::data::BareNewlines::Reject
            },
            strict_syntax: strict,
            verify: tell,
            expand: tell,
            hops_max: 3,
            errors_max: if few == 0 { 0 } else { 8 },
            security: Security {
                tls: if clear { Tls::Optional } else { Tls::Off },
                tls_ready: true,
                mechanisms: if auth { MECHANISMS.to_vec() } else { Vec::new() },
                submission: submission && auth,
                login_failures_max: few,
            },
            lmtp,
            ..settings()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_session_is_the_same_whatever_the_split(
        settings in any_settings(), parts in prop::collection::vec(part(), 0..30),
        at in prop::collection::vec(0_usize..4000, 0..8),
    ) {
        let input = parts.concat();
        let whole = run(&settings, &[&input]);
        codes(&whole.said);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&run(&settings, &single), &whole);
        let mut at: Vec<usize> = at.into_iter().map(|at| at.min(input.len())).collect();
        at.extend([0, input.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&run(&settings, &pieces), &whole);
    }

    /// Groups of which every command's turn it is: the messages are those that were sent.
    #[test]
    fn what_is_sent_is_what_is_kept(
        bodies in prop::collection::vec(
            (prop::collection::vec(prop::sample::select(vec!["a", ".", "..", "", "\0", "Received: x"]), 0..6), any::<bool>()), 1..6),
        portion in 1_usize..80,
    ) {
        let mut input = b"EHLO client.example\r\n".to_vec();
        let mut expected = Vec::new();
        for (lines, chunked) in &bodies {
            input.extend_from_slice(b"MAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n");
            let plain: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            if *chunked {
                for chunk in plain.chunks(3) {
                    input.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
                    input.extend_from_slice(chunk);
                }
                input.extend_from_slice(b"BDAT 0 LAST\r\n");
            } else {
                input.extend_from_slice(b"DATA\r\n");
                for line in lines {
                    if line.starts_with('.') {
                        input.push(b'.');
                    }
                    input.extend_from_slice(line.as_bytes());
                    input.extend_from_slice(b"\r\n");
                }
                input.extend_from_slice(b".\r\n");
            }
            expected.push(plain);
        }
        let portions: Vec<&[u8]> = input.chunks(portion).collect();
        let outcome = run(&settings(), &portions);
        let found: Vec<Vec<u8>> = outcome.messages.into_iter().map(|(_, body)| body).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(codes(&outcome.said).iter().all(|code| *code < 400));
    }

    /// LMTP, in the plainest of words: as many replies to a message as recipients were accepted, all alike,
    /// and one to everything else.
    #[test]
    fn each_recipient_gets_one_reply(
        messages in prop::collection::vec(
            (prop::collection::vec(prop::sample::select(vec!["ann", "nobody", "bob", "full"]), 0..5), 0..4_u8,
             prop::sample::select(vec!["sam", "commit-broken"])), 1..6),
        portion in 1_usize..60,
    ) {
        let mut input = b"LHLO client.example\r\n".to_vec();
        let mut expected = vec![220, 250];
        for (recipients, how, sender) in &messages {
            input.extend_from_slice(format!("MAIL FROM:<{sender}@example.edu>\r\n").as_bytes());
            expected.push(250);
            let mut accepted = 0;
            for recipient in recipients {
                input.extend_from_slice(format!("RCPT TO:<{recipient}@example.org>\r\n").as_bytes());
                let code = match *recipient {
                    "nobody" => 550,
                    "full" => 452,
                    _ => 250,
                };
                accepted += usize::from(code == 250);
                expected.push(code);
            }
            let (large, last) = (*how == 3, if *sender == "sam" { 250 } else { 451 });
            match how {
                0 if accepted > 0 => {
                    input.extend_from_slice(b"DATA\r\nx\r\n.\r\n");
                    expected.push(354);
                }
                0 => {
                    input.extend_from_slice(b"DATA\r\nRSET\r\n");
                    expected.extend([503, 250]);
                    continue;
                }
                // Without a recipient: no reply at all, and the transaction is over.
                1 => input.extend_from_slice(b"BDAT 3 LAST\r\nx\r\n"),
                _ if accepted == 0 => {
                    input.extend_from_slice(b"BDAT 1\r\nxRSET\r\n");
                    expected.extend([503, 250]);
                    continue;
                }
                _ => {
                    let first = if large { 31 } else { 1 };
                    input.extend_from_slice(format!("BDAT {first}\r\n{}", "x".repeat(first)).as_bytes());
                    input.extend_from_slice(b"BDAT 2 LAST\r\n\r\n");
                    expected.push(if large { 552 } else { 250 });
                }
            }
            expected.extend(std::iter::repeat_n(if large { 503 } else { last }, accepted));
        }
        let settings = Settings { lmtp: true, errors_max: 0, message_bytes_max: 30, ..settings() };
        let portions: Vec<&[u8]> = input.chunks(portion).collect();
        let outcome = run(&settings, &portions);
        prop_assert_eq!(codes(&outcome.said), expected);
    }

    /// No line is without its reply, and none has two.
    #[test]
    fn each_line_gets_one_reply(
        lines in prop::collection::vec(prop::sample::select(vec![
            "EHLO c", "HELO c", "MAIL FROM:<sam@example.edu>", "RCPT TO:<ann@example.org>",
            "RCPT TO:<nobody@example.org>", "RSET", "NOOP", "VRFY x", "EXPN x", "HELP", "FROB", "",
            "a\nb", "c\rd", "DATA x", "BDAT x", "AUTH x", "MAIL", "RCPT",
        ]), 0..60),
    ) {
        let settings = Settings { errors_max: 0, verify: true, expand: true, ..settings() };
        let input: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
        let outcome = run(&settings, &[&input]);
        prop_assert_eq!(codes(&outcome.said).len(), lines.len() + 1);
        prop_assert!(!outcome.closed);
    }

    #[test]
    fn any_octets_at_any_split(input in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
        let begin = b"EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n";
        for before in [&b""[..], &begin[..begin.len() - 6], begin] {
            let whole = [before, &input].concat();
            let at = at.min(input.len()) + before.len();
            prop_assert_eq!(run(&settings(), &[&whole[..at], &whole[at..]]), run(&settings(), &[&whole]));
        }
    }
}

#[test]
fn a_flood_of_recipients_is_bounded() {
    let mut auto = Auto::new(Settings { recipients_max: 1000, ..settings() });
    auto.give(b"EHLO client.example\r\nMAIL FROM:<sam@example.edu>\r\n");
    auto.said.clear();
    auto.give(&b"RCPT TO:<ann@example.org>\r\n".repeat(10_000));
    let replies = codes(&auto.said);
    assert_eq!(replies.len(), 10_000);
    assert!(replies[..1000].iter().all(|code| *code == 250));
    assert!(replies[1000..].iter().all(|code| *code == 452));
    assert!(auto.most_waiting >= SMTP_OUTBOX_BYTES_MAX, "the outbox was never full");
}

#[test]
fn the_replies_of_lmtp_are_bounded() {
    let settings = Settings { recipients_max: 10_000, lmtp: true, ..settings() };
    let mut auto = Auto::new(settings);
    auto.give(b"LHLO client.example\r\nMAIL FROM:<sam@example.edu>\r\n");
    auto.give(&b"RCPT TO:<ann@example.org>\r\n".repeat(10_000));
    auto.said.clear();
    (auto.most_waiting, auto.said) = (0, Vec::new());
    auto.give(b"DATA\r\n.\r\nNOOP\r\n");
    let replies = codes(&auto.said);
    assert_eq!(replies.len(), 1 + 10_000 + 1);
    assert!(replies[1..].iter().all(|code| *code == 250));
    assert!(auto.most_waiting >= SMTP_OUTBOX_BYTES_MAX, "the outbox was never full");
}

#[test]
fn a_million_chunks_of_one_octet_are_bounded() {
    let mut auto = Auto::new(Settings { message_bytes_max: 900_000, ..settings() });
    auto.give(b"EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n");
    let portion = b"BDAT 1\r\nx".repeat(1000);
    for _ in 0..900 {
        auto.said.clear();
        auto.give(&portion);
        assert_eq!(codes(&auto.said), [250; 1000]);
    }
    auto.said.clear();
    auto.give(&portion);
    // The first of those is one octet too many; the errors that follow end the session.
    assert_eq!(&codes(&auto.said)[..2], [552, 503]);
    assert!(auto.closed);
    assert_eq!((auto.begun, auto.dropped), (1, 1));
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 176, "{}", size_of::<Session>());
    let mut auto = Auto::new(settings());
    auto.give(b"EHLO client.example\r\nNOO");
    auto.give(b"P\r\n");
    assert_eq!(auto.session.held_bytes(), 0);
}
