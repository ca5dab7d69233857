//! smtp::tests::script – plays transcripts.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::smtp::address::{Domain, Mailbox, Recipient, Sender};
use crate::smtp::envelope::{BodyType, Envelope, Return, To};
use crate::smtp::header::Lacks;
use crate::smtp::reply::Words;
use crate::smtp::session::{Security, Session, Settings, Tls, Trust};
use crate::smtp::step::{Answer, Ask, Fault, Login, Next, Timer};
use crate::wire::data::BareNewlines;
use crate::wire::outbox::Outbox;
use crate::wire::transcript::{self, Stage, show_replies, shown};

/// Where transcripts are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smtp/transcripts")
}

#[test]
fn transcripts_hold_whole_and_octet_by_octet() {
    transcript::check::<Player>(&folder());
}

/// The settings of every test.
pub(super) fn settings() -> Settings {
    Settings {
        hostname: "edge.example.org".into(),
        banner: String::new(),
        message_bytes_max: 1_000_000,
        recipients_max: 100,
        messages_max: 0,
        bare_newlines: BareNewlines::Reject,
        strict_syntax: false,
        verify: false,
        expand: false,
        hops_max: 100,
        errors_max: 20,
        idle_seconds: 300,
        security: Security { tls_ready: true, login_failures_max: 5, ..Security::default() },
        lmtp: false,
    }
}

/// The mechanisms of tests that have some.
pub(super) const MECHANISMS: [&str; 3] = ["SCRAM-SHA-256", "PLAIN", "LOGIN"];

const FAULTS: [(&str, Fault); 16] = [
    ("nobody", Fault::NoUser),
    ("relay", Fault::RelayDenied),
    ("two", Fault::Ambiguous),
    ("busy", Fault::MailboxBusy),
    ("full", Fault::MailboxFull),
    ("no-space", Fault::NoSpace),
    ("broken", Fault::Broken),
    ("crowd", Fault::Busy),
    ("denied", Fault::Denied),
    ("large", Fault::TooLarge),
    ("loop", Fault::Loop),
    ("closing", Fault::ShuttingDown),
    ("theirs", Fault::NotYours),
    ("filtered", Fault::Filtered),
    ("unfiltered", Fault::Unfiltered),
    ("dismissed", Fault::Dismissed),
];

pub(super) fn fault(name: &str) -> Option<Fault> {
    FAULTS.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault)
}

/// `said-550` and the like: two lines of somebody else.
fn said(name: &str) -> Option<Answer> {
    let code: u16 = name.strip_prefix("said-")?.parse().unwrap();
    let lines = vec!["not this".into(), "nor\r\n250 that".into()];
    Words::new(code, format!("{}.7.9", code / 100), lines)
        .map(|words| Answer::Said(Box::new(words)))
}

/// Answers by name: `nobody@…` is unknown, `full@…` is full, and so on.
pub(super) fn judge(ask: &Ask) -> Answer {
    let by_name = |local: &str| {
        said(local).unwrap_or_else(|| fault(local).map_or(Answer::Done, Answer::Refused))
    };
    match ask {
        Ask::Mail { sender: None, .. } | Ask::Rcpt(Recipient::Postmaster) => Answer::Done,
        Ask::Mail { sender: Some(mailbox), .. } => by_name(&mailbox.local),
        Ask::Rcpt(Recipient::Mailbox(mailbox))
            if mailbox.domain == Domain::Name("elsewhere.example".into()) =>
        {
            Answer::Refused(Fault::RelayDenied)
        }
        Ask::Rcpt(Recipient::Mailbox(mailbox)) => by_name(&mailbox.local),
        Ask::Verify(text) | Ask::Expand(text) if fault(text).is_some() => by_name(text),
        Ask::Verify(text) => match text.as_str() {
            "shy" => Answer::Done,
            "long" => Answer::Verified(Some("n".repeat(600)), mailbox("long")),
            "plain" => Answer::Verified(None, mailbox("plain")),
            "j\u{f6}rg" => Answer::Verified(Some("J\u{f6}rg".into()), mailbox("j\u{f6}rg")),
            "joerg" => Answer::Verified(Some("J\u{f6}rg".into()), mailbox("joerg")),
            other => Answer::Verified(Some("Full Name".into()), mailbox(other)),
        },
        Ask::Expand(text) => match text.as_str() {
            "empty" => Answer::Expanded(Vec::new()),
            "world" => Answer::Expanded(vec![mailbox("ann"), mailbox("j\u{f6}rg")]),
            "shy" => Answer::Done,
            _ => Answer::Expanded(vec![mailbox("ann"), mailbox("a b"), mailbox("bob")]),
        },
        Ask::Auth { mechanism, initial: None } => Answer::Challenge(match mechanism.as_str() {
            "LOGIN" => b"Username:".to_vec(),
            _ => Vec::new(),
        }),
        Ask::Auth { initial: Some(response), .. } if response.as_bytes().is_empty() => {
            Answer::Refused(Fault::Response)
        }
        Ask::Auth { initial: Some(response), .. } | Ask::Respond(response) => {
            proof(response.as_bytes())
        }
        Ask::Forget => Answer::Done,
        Ask::Client { address, .. } if address.ip() == CROWDED => Answer::Refused(Fault::Busy),
        Ask::Client { login: Login::User(name), .. } if name != "ann" => {
            Answer::Refused(fault(name).unwrap_or(Fault::Denied))
        }
        Ask::Client { .. } => Answer::Done,
    }
}

/// An address that has too many sessions.
const CROWDED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

/// Ann's password is `pass`; other names are those of faults.
fn proof(response: &[u8]) -> Answer {
    match response {
        b"\0ann\0pass" | b"pass" | b"" => Answer::Authenticated,
        b"ann" => Answer::Challenge(b"Password:".to_vec()),
        b"n,,n=ann,r=x" => Answer::Challenge(b"r=xy,s=c2FsdA==,i=4096".to_vec()),
        b"c=biws,r=xy,p=proof" => Answer::Challenge(b"v=signature".to_vec()),
        b"odd" => Answer::Refused(Fault::Response),
        other => Answer::Refused(
            str::from_utf8(other).ok().and_then(fault).unwrap_or(Fault::Credentials),
        ),
    }
}

/// A commit fails for `commit-FAULT@…`, or `commit-said-CODE@…`.
pub(super) fn commit(envelope: &Envelope, number: usize) -> Answer {
    let local = envelope.sender.as_ref().map_or("", |sender| sender.local.as_str());
    let wanted = local.strip_prefix("commit-");
    if let Some(answer) = wanted.and_then(said) {
        return answer;
    }
    match wanted.and_then(fault) {
        Some(fault) => Answer::Refused(fault),
        None => Answer::Committed(format!("Q{number}")),
    }
}

fn mailbox(local: &str) -> Mailbox {
    Mailbox { local: local.into(), domain: Domain::Name("example.org".into()) }
}

pub(super) struct SetUp {
    settings: Settings,
    peer: SocketAddr,
    /// What was said before the transcript begins.
    before: &'static [u8],
    /// Questions wait for a line `<`.
    hold: bool,
    /// Under TLS from the start.
    secure: bool,
    trust: Trust,
}

impl Default for SetUp {
    fn default() -> Self {
        let peer = "198.51.100.7:50000".parse().unwrap();
        let trust = Trust::default();
        Self { settings: settings(), peer, before: b"", hold: false, secure: false, trust }
    }
}

impl transcript::SetUp for SetUp {
    fn directive(&mut self, name: &str, value: &str) {
        let settings = &mut self.settings;
        match name {
            "peer" => self.peer = value.parse().unwrap(),
            "banner" => settings.banner = value.into(),
            "size" => settings.message_bytes_max = value.parse().unwrap(),
            "recipients" => settings.recipients_max = value.parse().unwrap(),
            "messages" => settings.messages_max = value.parse().unwrap(),
            "hops" => settings.hops_max = value.parse().unwrap(),
            "errors" => settings.errors_max = value.parse().unwrap(),
            "bare" => settings.bare_newlines = BareNewlines::Normalize,
            "strict" => settings.strict_syntax = value == "on",
            "verify" => settings.verify = value == "on",
            "expand" => settings.expand = value == "on",
            "hold" => self.hold = value == "on",
            "tls" => {
                settings.security.tls = match value {
                    "off" => Tls::Off,
                    "optional" => Tls::Optional,
                    "required" => Tls::Required,
                    _ => panic!("= {name} {value}"),
                }
            }
            "certificate" => settings.security.tls_ready = value == "on",
            "auth" => settings.security.mechanisms = MECHANISMS.to_vec(),
            "submission" => settings.security.submission = value == "on",
            "logins" => settings.security.login_failures_max = value.parse().unwrap(),
            "secure" => self.secure = value == "on",
            "lmtp" => settings.lmtp = value == "on",
            "trust" => {
                let named = |word: &str| value.split(' ').any(|one| one == word);
                self.trust = Trust { client: named("xclient"), forward: named("xforward") };
            }
            "hello" if settings.lmtp => self.before = b"LHLO client.example\r\n",
            "transaction" if settings.lmtp => {
                self.before =
                    b"LHLO client.example\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n";
            }
            "hello" => self.before = b"EHLO client.example\r\n",
            "transaction" => {
                self.before =
                    b"EHLO client.example\r\nMAIL FROM:<sam@example.edu>\r\nRCPT TO:<ann@example.org>\r\n";
            }
            _ => panic!("= {name} {value}"),
        }
    }
}

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Player {
    session: Session,
    out: Outbox,
    /// Sent by the client, not consumed yet.
    buffer: Vec<u8>,
    /// Replies not shown yet.
    said: Vec<u8>,
    hold: bool,
    /// A question is pending: no input until it is answered.
    asked: bool,
    /// 220 to STARTTLS waits: what comes now is in clear.
    securing: bool,
    closed: bool,
    draft: Option<Vec<u8>>,
    messages: usize,
}

impl Stage for Player {
    type SetUp = SetUp;

    fn new(set_up: &SetUp, _log: &mut String) -> Self {
        let mut out = Outbox::default();
        let settings = Rc::new(set_up.settings.clone());
        let local = "192.0.2.1:25".parse().unwrap();
        let mut session = Session::new(settings, local, set_up.peer, &mut out);
        session.trust(set_up.trust);
        if set_up.secure {
            session.secured();
        }
        let mut player = Self {
            session,
            out,
            buffer: Vec::new(),
            said: Vec::new(),
            hold: false,
            asked: false,
            securing: false,
            closed: false,
            draft: None,
            messages: 0,
        };
        if set_up.before.is_empty() {
            // The greeting stays in the outbox: `< early` comes before it is sent.
            player.hold = set_up.hold;
            return player;
        }
        // That dialogue is shown elsewhere.
        player.receive(set_up.before, &mut String::new());
        player.said.clear();
        player.hold = set_up.hold;
        player
    }

    fn receive(&mut self, octets: &[u8], log: &mut String) {
        if self.securing {
            return self.injected(log);
        }
        self.buffer.extend_from_slice(octets);
        self.pump(log);
    }

    fn answer(&mut self, words: &str, log: &mut String) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "early" => self.session.early(&mut self.out),
            "timeout" => self.session.timeout(&mut self.out),
            "drain" => self.session.drain(&mut self.out),
            "poison" => self.session.poison(fault(rest).unwrap()),
            "secured" => {
                assert!(std::mem::take(&mut self.securing), "no handshake");
                self.flush(log);
                self.session.secured();
            }
            "done" => self.resume(Answer::Done),
            "authenticated" => self.resume(Answer::Authenticated),
            "committed" => self.resume(Answer::Committed(rest.into())),
            "refused" => self.resume(Answer::Refused(fault(rest).unwrap())),
            _ => panic!("< {words}"),
        }
        self.pump(log);
    }

    fn value(&self, question: &str) -> String {
        match question {
            "timer" => match self.session.timer() {
                Timer::Command(seconds) => format!("command {seconds}"),
                Timer::Message => "message".into(),
                Timer::None => "none".into(),
            },
            "message" => format!("in a message: {}", self.session.in_message()),
            "held" if self.session.held_bytes() > 0 => "holds a part of a line".into(),
            "held" => "holds nothing".into(),
            _ => panic!("? {question}"),
        }
    }

    fn flush(&mut self, log: &mut String) {
        if self.securing {
            return;
        }
        self.said.extend(self.out.take());
        show_replies(&std::mem::take(&mut self.said), log);
    }
}

impl Player {
    fn resume(&mut self, answer: Answer) {
        assert!(std::mem::take(&mut self.asked), "nothing was asked");
        self.session.resume(answer, &mut self.out);
    }

    /// Octets in clear behind STARTTLS: the connection is dropped, and nothing is said (`server::link`).
    fn injected(&mut self, log: &mut String) {
        self.securing = false;
        self.closed = true;
        self.said.clear();
        drop(self.out.take());
        log.push_str("> dropped\n");
    }

    /// What a driver does until it has to wait.
    fn pump(&mut self, log: &mut String) {
        while !self.asked && !self.closed {
            let buffer = std::mem::take(&mut self.buffer);
            let mut input = buffer.as_slice();
            let next = self.session.advance(&mut input, &mut self.out);
            let rest = input.len();
            self.said.extend(self.out.take());
            match next {
                Next::Receive => {
                    self.buffer = buffer[buffer.len() - rest..].to_vec();
                    if rest == 0 {
                        break;
                    }
                    continue;
                }
                Next::Flush => {}
                Next::Body(octets) => {
                    assert!(!octets.is_empty());
                    self.draft.as_mut().unwrap().extend_from_slice(octets);
                }
                Next::Secure => {
                    self.securing = true;
                    log.push_str("> secure\n");
                    if rest > 0 {
                        self.injected(log);
                    }
                    break;
                }
                Next::Begin { .. }
                | Next::Ask(_)
                | Next::Commit(..)
                | Next::Discard
                | Next::Close => {
                    self.flush(log);
                    self.step(&next, log);
                }
            }
            self.buffer = buffer[buffer.len() - rest..].to_vec();
        }
    }

    fn step(&mut self, next: &Next<'_>, log: &mut String) {
        match next {
            Next::Receive | Next::Flush | Next::Body(_) | Next::Secure => {}
            Next::Begin { declared } => {
                writeln!(log, "> begin{}", sized(*declared)).unwrap();
                assert!(self.draft.replace(Vec::new()).is_none());
            }
            Next::Ask(ask) => {
                writeln!(log, "> {}", question(ask)).unwrap();
                self.asked = true;
                if !self.hold {
                    self.resume(judge(ask));
                }
            }
            Next::Commit(envelope, lacks) => {
                write!(log, "> commit {}{}", enveloped(envelope), lacking(*lacks)).unwrap();
                if let Some(name) = self.session.client_name() {
                    write!(log, ", of {name}").unwrap();
                }
                if let Some(forwarded) = self.session.forwarded() {
                    write!(log, ", forwarded {forwarded}").unwrap();
                }
                log.push('\n');
                show_body(&self.draft.take().unwrap(), log);
                self.asked = true;
                self.messages += 1;
                if !self.hold {
                    self.resume(commit(envelope, self.messages));
                }
            }
            Next::Discard => {
                assert!(self.draft.take().is_some());
                log.push_str("> discard\n");
            }
            Next::Close => {
                assert!(self.draft.is_none(), "closed with a draft");
                self.closed = true;
                log.push_str("> close\n");
            }
        }
    }
}

/// The octets of a message, a line each; of a long one how many and their FNV-1a.
fn show_body(body: &[u8], log: &mut String) {
    const SHOWN_MAX: usize = 800;
    if body.len() > SHOWN_MAX {
        let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
        });
        writeln!(log, "> body {} octets, {hash:016x}", body.len()).unwrap();
        return;
    }
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        writeln!(log, "> body {}", shown(line)).unwrap();
    }
    if body.is_empty() {
        log.push_str("> body empty\n");
    }
}

fn sized(octets: Option<u64>) -> String {
    octets.map_or_else(String::new, |octets| format!(" size={octets}"))
}

fn question(ask: &Ask) -> String {
    match ask {
        Ask::Mail { sender, declared } => format!("mail {}{}", from(sender), sized(*declared)),
        Ask::Rcpt(recipient) => format!("rcpt <{}>", shown(recipient.to_string().as_bytes())),
        Ask::Verify(text) => format!("verify {}", shown(text.as_bytes())),
        Ask::Expand(text) => format!("expand {}", shown(text.as_bytes())),
        Ask::Auth { mechanism, initial: None } => format!("auth {mechanism}"),
        Ask::Auth { mechanism, initial: Some(response) } => {
            format!("auth {mechanism} \"{}\"", shown(response.as_bytes()))
        }
        Ask::Respond(response) => format!("response \"{}\"", shown(response.as_bytes())),
        Ask::Forget => "forget".into(),
        Ask::Client { address, login } => {
            let login = match login {
                Login::Same => "the same".into(),
                Login::Nobody => "nobody".into(),
                Login::User(name) => format!("user {}", shown(name.as_bytes())),
            };
            format!("client {address} {login}")
        }
    }
}

fn lacking(lacks: Lacks) -> &'static str {
    match (lacks.date, lacks.message_id) {
        (false, false) => "",
        (true, false) => ", lacks a date",
        (false, true) => ", lacks an identifier",
        (true, true) => ", lacks a date and an identifier",
    }
}

fn from(sender: &Sender) -> String {
    sender.as_ref().map_or_else(
        || "<>".to_owned(),
        |mailbox| format!("<{}>", shown(mailbox.to_string().as_bytes())),
    )
}

fn enveloped(envelope: &Envelope) -> String {
    let Envelope { sender, recipients, body, ret, envelope_id, helo, peer, protocol } = envelope;
    let mut text = format!("from {}", from(sender));
    for To { recipient, notify, original } in recipients {
        write!(text, " to <{}>", shown(recipient.to_string().as_bytes())).unwrap();
        if let Some(notify) = notify {
            let word = |on: bool, word: &'static str| if on { word } else { "" };
            let (success, failure, delay) =
                (word(notify.success, "s"), word(notify.failure, "f"), word(notify.delay, "d"));
            write!(text, " notify={success}{failure}{delay}").unwrap();
        }
        if let Some((kind, address)) = original {
            write!(text, " orcpt={};{}", shown(kind.as_bytes()), shown(address.as_bytes()))
                .unwrap();
        }
    }
    text.push_str(match body {
        BodyType::SevenBit => "",
        BodyType::EightBitMime => ", 8bit",
        BodyType::BinaryMime => ", binary",
    });
    text.push_str(match ret {
        None => "",
        Some(Return::Full) => ", ret=full",
        Some(Return::Headers) => ", ret=headers",
    });
    if let Some(id) = envelope_id {
        write!(text, ", envid={}", shown(id.as_bytes())).unwrap();
    }
    write!(text, ", {helo} [{}] with {}", peer.ip(), protocol.with()).unwrap();
    text
}
