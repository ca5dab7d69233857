//! The dialogue with a driver that answers at will: the same replies and messages however the octets
//! are split, exactly one reply for every command, messages as a naive reader of the same octets has
//! them, drafts that are begun and ended, nothing unbounded.
#![no_main]

use std::net::SocketAddr;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sluicegate::limits::{SMTP_AUTH_LINE_BYTES_MAX, SMTP_LINE_BYTES_MAX, SMTP_OUTBOX_BYTES_MAX};
use sluicegate::smtp::address::{Domain, Mailbox};
use sluicegate::smtp::claims::Claim;
use sluicegate::smtp::command::{self, Command, Syntax, Why};
use sluicegate::smtp::session::{Security, Session, Settings, Tls, Trust};
use sluicegate::smtp::step::{Answer, Ask, Fault, Next};
use sluicegate::wire::data::BareNewlines;
use sluicegate::wire::outbox::Outbox;

/// One reply may still be appended when the outbox is just not full.
const REPLY_BYTES_MAX: usize = 4 * 1024;

/// What the world does next.
#[derive(Debug, Clone, Arbitrary)]
enum Event {
    /// One of the lines that sessions are made of.
    Line(u8),
    /// EHLO, MAIL, RCPT.
    Group,
    /// DATA with pieces of which bodies are made, and its end.
    Data(Vec<u8>),
    /// BDAT with such pieces.
    Chunk(Vec<u8>, bool),
    /// Any octets.
    Octets(Vec<u8>),
    /// The draft fails.
    Poison(u8),
    /// The limit of the timer passed.
    Timeout,
    /// The server goes down.
    Drain,
}

#[derive(Debug, Arbitrary)]
struct Script {
    events: Vec<Event>,
    answers: Vec<u8>,
    normalize: bool,
    strict: bool,
    tell: bool,
    small: bool,
    patient: bool,
    /// From the start.
    tls: bool,
    auth: bool,
    submission: bool,
    /// The peer may speak for others.
    trusted: bool,
    lmtp: bool,
    portions: Vec<u8>,
}

const LINES: &[&[u8]] = &[
    b"HELO client.example\r\n",
    b"EHLO client.example\r\n",
    b"EHLO\r\n",
    b"MAIL FROM:<sam@example.edu>\r\n",
    b"MAIL FROM: sam@example.edu SIZE=10\r\n",
    b"MAIL FROM:<> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<j\xC3\xB6rg@example.edu> SMTPUTF8\r\n",
    b"MAIL FROM:<sam@>\r\n",
    b"RCPT TO:<ann@example.org>\r\n",
    b"RCPT TO:<postmaster> NOTIFY=NEVER\r\n",
    b"RCPT TO:<>\r\n",
    b"DATA\r\n",
    b"DATA x\r\n",
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 2 MORE\r\n",
    b"BDAT x\r\n",
    b"BDAT 9223372036854775807 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY ann SMTPUTF8\r\n",
    b"EXPN staff\r\n",
    b"HELP\r\n",
    b"HELP MAIL\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH PLAIN AGFubgBwYXNz\r\n",
    b"AUTH LOGIN =\r\n",
    b"AUTH SCRAM-SHA-256 biws\r\n",
    b"AUTH CRAM-MD5\r\n",
    b"AUTH X A\r\n",
    b"AGFubgBwYXNz\r\n",
    b"*\r\n",
    b"=AAA\r\n",
    b"LHLO client.example\r\n",
    b"XCLIENT ADDR=192.0.2.9 NAME=mx.example\r\n",
    b"XCLIENT LOGIN=ann HELO=inner.example PROTO=ESMTP\r\n",
    b"XCLIENT ADDR=[UNAVAILABLE] LOGIN=[UNAVAILABLE]\r\n",
    b"XCLIENT FOO=x\r\n",
    b"XFORWARD NAME=origin.example IDENT=1+20\r\n",
    b"FROB\r\n",
    b"\r\n",
    b".\r\n",
    b"NOOP\n",
    b"NOOP\r",
    b"GET / HTTP/1.1\r\n",
];

const PIECES: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"..",
    b"\r\n.\r\n",
    b"\r\n.",
    b"\n.\r\n",
    b"x",
    b"\0",
    b"\xE4",
    b"Received: x\r\n",
    b"QUIT\r\n",
    b"text",
    b"\r\n\r\n",
];

fn pieces(choices: &[u8]) -> Vec<u8> {
    choices.iter().flat_map(|choice| PIECES[usize::from(*choice) % PIECES.len()]).copied().collect()
}

impl Event {
    fn octets(&self, lmtp: bool) -> Vec<u8> {
        match self {
            Self::Line(choice) => LINES[usize::from(*choice) % LINES.len()].to_vec(),
            Self::Group if lmtp => {
                b"LHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<ann@example.org>\r\n"
                    .to_vec()
            }
            Self::Group => {
                b"EHLO c\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n".to_vec()
            }
            Self::Data(choices) => [b"DATA\r\n", &pieces(choices)[..], b"\r\n.\r\n"].concat(),
            Self::Chunk(choices, last) => {
                let octets = pieces(choices);
                let last = if *last { " LAST" } else { "" };
                [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), &octets].concat()
            }
            Self::Octets(octets) => octets.clone(),
            Self::Poison(_) | Self::Timeout | Self::Drain => Vec::new(),
        }
    }
}

struct Driver {
    session: Session,
    outbox: Outbox,
    sent: Vec<u8>,
    answers: Vec<u8>,
    asked: usize,
    draft: Option<Vec<u8>>,
    accepted: Vec<Vec<u8>>,
    drafts: (usize, usize),
    /// After 220 to STARTTLS.
    securing: bool,
    closed: bool,
}

impl Driver {
    fn new(script: &Script) -> Self {
        let settings = settings(script);
        let local: SocketAddr = "127.0.0.1:25".parse().unwrap();
        let peer: SocketAddr = "[::1]:40000".parse().unwrap();
        let mut outbox = Outbox::default();
        let mut session = Session::new(Rc::new(settings), local, peer, &mut outbox);
        session.trust(Trust { client: script.trusted, forward: script.trusted });
        if script.tls {
            session.secured();
        }
        Self {
            session,
            outbox,
            sent: Vec::new(),
            answers: script.answers.clone(),
            asked: 0,
            draft: None,
            accepted: Vec::new(),
            drafts: (0, 0),
            securing: false,
            closed: false,
        }
    }

    /// The n-th question has the same answer however the octets are split.
    fn choice(&mut self) -> u8 {
        self.asked += 1;
        self.answers.get(self.asked - 1).copied().unwrap_or(0)
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        let choice = self.choice();
        if choice & 7 == 7 {
            return Answer::Refused(fault(choice >> 3));
        }
        let domain = Domain::Name("example.org".into());
        let mailbox = Mailbox { local: "j\u{f6}rg \"x".into(), domain };
        match ask {
            Ask::Mail { .. } | Ask::Rcpt(_) => Answer::Done,
            Ask::Verify(name) => Answer::Verified(Some(name.clone()), mailbox),
            Ask::Expand(_) => Answer::Expanded(vec![mailbox; usize::from(choice)]),
            Ask::Auth { .. } | Ask::Respond(_) if choice & 1 == 0 => {
                Answer::Challenge(vec![choice; usize::from(choice)])
            }
            Ask::Auth { .. } | Ask::Respond(_) => Answer::Authenticated,
            Ask::Forget | Ask::Client { .. } => Answer::Done,
        }
    }

    /// Calls `advance` until it waits, with these octets.
    fn feed(&mut self, mut input: &[u8]) {
        let mut idle = 0;
        self.closed |= self.securing && !input.is_empty();
        while !self.closed && !self.securing {
            let before = input.len();
            let next = self.session.advance(&mut input, &mut self.outbox);
            assert!(self.outbox.len() <= SMTP_OUTBOX_BYTES_MAX + 256 * 128 + REPLY_BYTES_MAX);
            assert!(self.session.held_bytes() <= 2 * SMTP_AUTH_LINE_BYTES_MAX);
            idle = if input.len() == before { idle + 1 } else { 0 };
            assert!(idle < 20, "no progress: {next:?}");
            match next {
                Next::Receive => {
                    let taken = self.outbox.take();
                    assert!(input.is_empty() || !taken.is_empty(), "waits with input");
                    self.sent.extend(taken);
                    if input.is_empty() {
                        return;
                    }
                }
                Next::Flush => {
                    let taken = self.outbox.take();
                    assert!(!taken.is_empty(), "flushes nothing");
                    self.sent.extend(taken);
                }
                Next::Ask(ask) => {
                    let answer = self.answer(&ask);
                    self.session.resume(answer, &mut self.outbox);
                }
                Next::Begin { .. } => {
                    self.drafts.0 += 1;
                    assert!(self.draft.replace(Vec::new()).is_none(), "two drafts");
                }
                Next::Body(octets) => {
                    assert!(!octets.is_empty());
                    self.draft.as_mut().expect("no draft").extend_from_slice(octets);
                }
                Next::Commit(envelope, _) => {
                    assert!(!envelope.recipients.is_empty());
                    self.drafts.1 += 1;
                    let body = self.draft.take().expect("no draft");
                    let choice = self.choice();
                    let answer = if choice & 7 == 7 {
                        Answer::Refused(fault(choice >> 3))
                    } else {
                        self.accepted.push(body);
                        Answer::Committed(format!("Q{}", self.accepted.len()))
                    };
                    self.session.resume(answer, &mut self.outbox);
                }
                Next::Discard => {
                    self.drafts.1 += 1;
                    assert!(self.draft.take().is_some(), "no draft to drop");
                }
                // What comes in clear from now on ends the connection, in this portion or the next.
                Next::Secure => {
                    self.sent.extend(self.outbox.take());
                    self.securing = true;
                    self.closed = !input.is_empty();
                }
                Next::Close => {
                    assert!(self.draft.is_none(), "closed with a draft");
                    self.sent.extend(self.outbox.take());
                    self.closed = true;
                }
            }
        }
    }
}

fn settings(script: &Script) -> Settings {
    Settings {
        hostname: "edge.example.org".into(),
        banner: "ready".into(),
        message_bytes_max: if script.small { 20 } else { 100_000 },
        recipients_max: 3,
        messages_max: if script.small { 4 } else { 0 },
        bare_newlines: if script.normalize {
            BareNewlines::Normalize
        } else {
            BareNewlines::Reject
        },
        strict_syntax: script.strict,
        verify: script.tell,
        expand: script.tell,
        hops_max: 3,
        errors_max: if script.patient { 0 } else { 10 },
        idle_seconds: 300,
        security: Security {
            tls: if script.tls || script.strict { Tls::Optional } else { Tls::Required },
            tls_ready: !script.small,
            mechanisms: if script.auth {
                vec!["SCRAM-SHA-256", "PLAIN", "LOGIN"]
            } else {
                Vec::new()
            },
            submission: script.submission,
            login_failures_max: 3,
        },
        lmtp: script.lmtp,
    }
}

fn fault(choice: u8) -> Fault {
    [
        Fault::NoUser,
        Fault::RelayDenied,
        Fault::Ambiguous,
        Fault::MailboxBusy,
        Fault::MailboxFull,
        Fault::NoSpace,
        Fault::Broken,
        Fault::Busy,
        Fault::Denied,
        Fault::TooLarge,
        Fault::Loop,
        Fault::Credentials,
        Fault::Response,
        Fault::NoLogins,
        Fault::NotYours,
        Fault::ShuttingDown,
    ][usize::from(choice) % 16]
}

fn run(script: &Script, portions: &[usize]) -> (Driver, Vec<u8>) {
    let mut driver = Driver::new(script);
    let mut stream = Vec::new();
    let mut portions = portions.iter().copied().cycle();
    driver.feed(b"");
    for event in &script.events {
        match event {
            Event::Poison(choice) => driver.session.poison(fault(*choice)),
            Event::Timeout => driver.session.timeout(&mut driver.outbox),
            Event::Drain => driver.session.drain(&mut driver.outbox),
            Event::Line(_)
            | Event::Group
            | Event::Data(_)
            | Event::Chunk(..)
            | Event::Octets(_) => {}
        }
        let octets = event.octets(script.lmtp);
        stream.extend_from_slice(&octets);
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let portion = portions.next().unwrap_or(usize::MAX).clamp(1, rest.len());
            driver.feed(&rest[..portion]);
            rest = &rest[portion..];
        }
        driver.feed(b"");
        let _timer = driver.session.timer();
    }
    (driver, stream)
}

/// Checks the form of every reply; their codes.
fn codes(sent: &[u8]) -> Vec<u16> {
    let mut codes = Vec::new();
    let mut open: Option<&[u8]> = None;
    let mut rest = sent;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a reply is not ended");
        let line = &rest[..end];
        assert!(line.len() <= 510 && !line.iter().any(u8::is_ascii_control), "{line:?}");
        let (code, mark) = (&line[..3], line[3]);
        assert!(open.is_none_or(|open| open == code), "another code");
        let number: u16 = std::str::from_utf8(code).unwrap().parse().unwrap();
        open = (mark == b'-').then_some(code);
        match mark {
            b' ' => codes.push(number),
            other => assert_eq!(other, b'-'),
        }
        rest = &rest[end + 2..];
    }
    assert!(open.is_none(), "a reply of many lines is not ended");
    codes
}

/// The body at the front of `raw` in the plainest words; `None` when its end has not come. What
/// follows the end is left in `raw`.
fn naive_body(raw: &mut &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut at = 0;
    let mut start = true;
    while at < raw.len() {
        let here = &raw[at..];
        if start && here.starts_with(b".\r\n") {
            *raw = &here[3..];
            return Some(body);
        }
        if start && here[0] == b'.' {
            at += 1;
            start = false;
            continue;
        }
        start = here.starts_with(b"\r\n");
        if start {
            body.extend_from_slice(b"\r\n");
            at += 2;
        } else {
            match here[0] {
                b'\r' | b'\n' => body.extend_from_slice(b"\r\n"),
                octet => body.push(octet),
            }
            at += 1;
        }
    }
    None
}

/// Reads the same octets without any state but the codes that came back: where commands and messages
/// begin and end. The messages that were answered 250.
///
/// In LMTP there is a reply for each recipient that was accepted, none to BDAT LAST where there is none
/// (RFC 2033 §4), and all are alike; 421 is the last word.
fn naive(stream: &[u8], mut codes: &[u16], closed: bool, lmtp: bool) -> Vec<Vec<u8>> {
    let mut rest = stream;
    let mut accepted = Vec::new();
    let mut chunks: Vec<u8> = Vec::new();
    let next = |codes: &mut &[u16]| {
        let (first, after) = codes.split_first()?;
        *codes = after;
        Some(*first)
    };
    assert_eq!(next(&mut codes), Some(220), "the greeting");
    let mut challenged = false;
    let (mut greeted, mut recipients) = (false, 0);
    let others = |first: u16, count: usize, codes: &mut &[u16]| {
        for _ in 1..if lmtp && first != 421 { count } else { 1 } {
            assert_eq!(next(codes), Some(first), "replies to the recipients of one message");
        }
    };
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { break };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        let syntax = Syntax { strict: false, utf8: true, extended: true };
        let bare = line.iter().any(|octet| matches!(octet, b'\r' | b'\n'));
        // What follows a challenge is no command.
        let readable = !challenged && !bare && line.len() + 2 <= SMTP_LINE_BYTES_MAX;
        let parsed = readable.then(|| command::parse(line, syntax));
        let (size, last) = match &parsed {
            Some(Ok(Command::Bdat { size, last })) => (Some(*size), *last),
            Some(Err(malformed)) => match malformed.why {
                Why::BadBdat(size) => (size, false),
                _ => (None, false),
            },
            _ => (None, false),
        };
        let mut octets = &b""[..];
        if let Some(size) = size {
            let Some((front, after)) =
                usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size))
            else {
                break;
            };
            (octets, rest) = (front, after);
        }
        if lmtp && last && greeted && recipients == 0 {
            chunks.clear();
            continue;
        }
        let Some(code) = next(&mut codes) else { break };
        challenged = code == 334;
        match &parsed {
            Some(Ok(Command::Rcpt(_))) if code == 250 => recipients += 1,
            Some(Ok(Command::Mail(_) | Command::Rset)) if code == 250 => recipients = 0,
            Some(Ok(Command::Lhlo(_))) if code == 250 => (greeted, recipients) = (true, 0),
            Some(Ok(Command::XClient(claims))) if code == 220 => {
                greeted = claims.iter().any(|claim| matches!(claim, Claim::Helo(Some(_))));
                recipients = 0;
            }
            _ => {}
        }
        match code {
            221 | 421 | 554 if codes.is_empty() && closed => break,
            354 => {
                let Some(body) = naive_body(&mut rest) else { break };
                let Some(first) = next(&mut codes) else { break };
                if first == 250 {
                    accepted.push(body);
                }
                others(first, recipients, &mut codes);
                recipients = 0;
                chunks.clear();
            }
            250 if size.is_some() => {
                chunks.extend_from_slice(octets);
                if last {
                    accepted.push(std::mem::take(&mut chunks));
                    others(code, recipients, &mut codes);
                    recipients = 0;
                }
            }
            _ if last => {
                chunks.clear();
                if recipients > 0 && code != 530 {
                    others(code, recipients, &mut codes);
                    recipients = 0;
                }
            }
            250 if matches!(
                parsed,
                Some(Ok(Command::Rset | Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_)))
            ) =>
            {
                chunks.clear();
            }
            _ => {}
        }
    }
    // What is left is the last word to somebody who was not asked, or who began no line.
    assert!(codes.len() <= usize::from(closed), "more replies than commands: {codes:?}");
    if !closed {
        assert!(!codes.contains(&421));
    }
    accepted
}

fuzz_target!(|script: Script| {
    let (whole, stream) = run(&script, &[usize::MAX]);
    let codes = codes(&whole.sent);
    let drafts = usize::from(whole.draft.is_some());
    assert_eq!(whole.drafts.0, whole.drafts.1 + drafts, "a draft was left behind");
    let some: Vec<usize> = script.portions.iter().map(|portion| usize::from(*portion)).collect();
    for portions in [&[1][..], &some] {
        let (other, _) = run(&script, portions);
        assert_eq!(
            String::from_utf8_lossy(&whole.sent),
            String::from_utf8_lossy(&other.sent),
            "splits change the replies"
        );
        assert_eq!(whole.accepted, other.accepted, "splits change the messages");
        assert_eq!((whole.closed, whole.drafts), (other.closed, other.drafts));
    }
    assert_eq!(
        naive(&stream, &codes, whole.closed, script.lmtp),
        whole.accepted,
        "messages as read naively"
    );
});
