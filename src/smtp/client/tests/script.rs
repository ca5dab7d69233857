//! smtp::client::tests::script – plays transcripts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::smtp::address::{Mailbox, Recipient};
use crate::smtp::client::outcome::{Fate, Outcome};
use crate::smtp::client::session::Session;
use crate::smtp::client::step::{Mail, Next, Settings, Tls};
use crate::smtp::client::survey::Survey;
use crate::smtp::envelope::{BodyType, Notify, Return, To};
use crate::wire::outbox::Outbox;
use crate::wire::secret::Secret;
use crate::wire::transcript::{self, Stage, show_lines, shown, unescaped};

/// Where transcripts are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smtp/client/transcripts")
}

#[test]
fn transcripts_hold_whole_and_octet_by_octet() {
    transcript::check::<Player>(&folder());
}

/// The settings of every test.
pub(super) fn settings() -> Settings {
    Settings {
        hostname: "edge.example.org".into(),
        lmtp: false,
        tls: Tls::May,
        secure: false,
        login: false,
    }
}

/// A transaction without anything special.
pub(super) fn plain(sender: &str, recipients: &[&str]) -> Mail {
    Mail {
        sender: (!sender.is_empty()).then(|| Mailbox::parse(sender, true).unwrap()),
        recipients: recipients.iter().map(|address| to(address)).collect(),
        body: BodyType::SevenBit,
        ret: None,
        envelope_id: None,
        utf8: false,
        bytes: 0,
    }
}

fn to(words: &str) -> To {
    let mut parts = words.split(';');
    let recipient = match parts.next().unwrap() {
        "postmaster" => Recipient::Postmaster,
        address => Recipient::Mailbox(Mailbox::parse(address, true).unwrap()),
    };
    let mut to = To { recipient, notify: None, original: None };
    for part in parts {
        match part.split_once('=').unwrap() {
            ("notify", words) => {
                let has = |word| words.split(',').any(|one| one == word);
                to.notify = Some(Notify {
                    success: has("success"),
                    failure: has("failure"),
                    delay: has("delay"),
                });
            }
            ("orcpt", words) => {
                let (kind, address) = words.split_once(':').unwrap();
                to.original = Some((kind.into(), address.into()));
            }
            _ => panic!("{part}"),
        }
    }
    to
}

pub(super) struct SetUp {
    settings: Settings,
    ready: Option<String>,
    message: Vec<u8>,
    hold: bool,
}

impl Default for SetUp {
    fn default() -> Self {
        let message = b"Subject: hello\r\n\r\n.dot\r\nbye\r\n".to_vec();
        Self { settings: settings(), ready: None, message, hold: false }
    }
}

impl transcript::SetUp for SetUp {
    fn directive(&mut self, name: &str, value: &str) {
        match name {
            "lmtp" => self.settings.lmtp = value == "on",
            "secure" => self.settings.secure = value == "on",
            "login" => self.settings.login = value == "on",
            "hold" => self.hold = value == "on",
            "tls" => {
                self.settings.tls = match value {
                    "never" => Tls::Never,
                    "may" => Tls::May,
                    "must" => Tls::Must,
                    _ => panic!("= {name} {value}"),
                }
            }
            "ready" => self.ready = Some(value.into()),
            "message" => self.message = unescaped(value),
            _ => panic!("= {name} {value}"),
        }
    }
}

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Player {
    session: Session,
    out: Outbox,
    /// Heard, not consumed yet.
    buffer: Vec<u8>,
    /// Said, not shown yet.
    said: Vec<u8>,
    message: Vec<u8>,
    recipients: Vec<String>,
    hold: bool,
    /// 220 to STARTTLS was heard: what comes now is in clear.
    securing: bool,
    /// The driver is to do something before more is read.
    asked: bool,
    /// The last step was `ready`, and was shown.
    ready: bool,
    closed: bool,
}

impl Stage for Player {
    type SetUp = SetUp;
    const HEARS: &'static str = "S:";
    const SAYS: &'static str = "C:";
    /// A reply waits until what it answers was sent.
    const TOGETHER: bool = false;

    fn new(set_up: &SetUp, log: &mut String) -> Self {
        let mut player = Self {
            session: Session::new(Rc::new(set_up.settings.clone())),
            out: Outbox::default(),
            buffer: Vec::new(),
            said: Vec::new(),
            message: set_up.message.clone(),
            recipients: Vec::new(),
            hold: set_up.hold,
            securing: false,
            asked: false,
            ready: false,
            closed: false,
        };
        match &set_up.ready {
            None => player.pump(log),
            Some(words) => {
                // That dialogue is shown elsewhere.
                let mut lines = vec!["mx.example.net"];
                lines.extend(words.split(',').filter(|word| *word != "-"));
                let last = lines.pop().unwrap();
                let mut hello = String::from("220 mx.example.net\r\n");
                for line in lines {
                    write!(hello, "250-{line}\r\n").unwrap();
                }
                write!(hello, "250 {last}\r\n").unwrap();
                player.receive(hello.as_bytes(), &mut String::new());
                player.said.clear();
                assert!(player.ready);
            }
        }
        player
    }

    fn receive(&mut self, octets: &[u8], log: &mut String) {
        if self.securing {
            self.securing = false;
            self.session.injected();
        }
        self.buffer.extend_from_slice(octets);
        self.pump(log);
    }

    fn answer(&mut self, words: &str, log: &mut String) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        self.asked = false;
        match word {
            "mail" => {
                let mail = self.mail(rest);
                self.session.begin(mail);
            }
            "quit" => self.session.quit(),
            "lost" => self.session.lost(rest),
            "secured" => {
                assert!(std::mem::take(&mut self.securing), "no handshake");
                self.session.secured();
            }
            "unable" => self.session.unable(rest),
            "authenticate" => {
                let (rest, complete) = completes(rest);
                let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, "none"));
                let initial = (initial != "none").then(|| Secret::new(unescaped(initial)));
                self.session.authenticate(mechanism, initial, complete);
            }
            "respond" => {
                let (rest, complete) = completes(rest);
                self.session.respond(&Secret::new(unescaped(rest)), complete);
            }
            "body" => self.give(&unescaped(rest)),
            "end" => self.session.body_end(),
            _ => panic!("< {words}"),
        }
        self.ready = false;
        self.pump(log);
    }

    fn value(&self, question: &str) -> String {
        match question {
            "timer" => match self.session.timer().seconds() {
                Some(seconds) => format!("{}: {seconds} s", self.session.timer().name()),
                None => "nothing".into(),
            },
            "offers" => format!("{:?}", self.session.offers()),
            "held" if self.session.held_bytes() > 0 => "holds a part of a reply".into(),
            "held" => "holds nothing".into(),
            "limits" => format!(
                "{} recipients, takes messages: {}",
                self.session.recipients_max(),
                self.session.takes_messages()
            ),
            _ => panic!("? {question}"),
        }
    }

    fn flush(&mut self, log: &mut String) {
        self.said.extend(self.out.take());
        show_lines("C:", &std::mem::take(&mut self.said), log);
    }
}

/// The same less a ` complete` at its end, and whether it was there.
fn completes(words: &str) -> (&str, bool) {
    words.strip_suffix(" complete").map_or((words, false), |rest| (rest, true))
}

impl Player {
    fn mail(&mut self, words: &str) -> Mail {
        let mut mail = plain("", &[]);
        mail.bytes = u64::try_from(self.message.len()).unwrap();
        self.recipients.clear();
        for word in words.split(' ') {
            let (name, value) = word.split_once([':', '=']).unwrap_or((word, ""));
            match name {
                "from" => mail.sender = plain(value, &[]).sender,
                "to" => {
                    self.recipients.push(value.split(';').next().unwrap().into());
                    mail.recipients.push(to(value));
                }
                "many" => {
                    for number in 0..value.parse().unwrap() {
                        let address = format!("r{number}@example.net");
                        mail.recipients.push(to(&address));
                        self.recipients.push(address);
                    }
                }
                "8bit" => mail.body = BodyType::EightBitMime,
                "binary" => mail.body = BodyType::BinaryMime,
                "utf8" => mail.utf8 = true,
                "ret" if value == "full" => mail.ret = Some(Return::Full),
                "ret" => mail.ret = Some(Return::Headers),
                "envid" => mail.envelope_id = Some(value.into()),
                "size" => mail.bytes = value.parse().unwrap(),
                _ => panic!("< mail {words}"),
            }
        }
        mail
    }

    fn give(&mut self, octets: &[u8]) {
        self.said.extend(self.out.take());
        let mut rest = octets;
        while let Some(run) = self.session.body(&mut rest) {
            self.said.extend_from_slice(run);
        }
    }

    /// What a driver does until it has to wait.
    fn pump(&mut self, log: &mut String) {
        while !self.asked && !self.closed {
            let buffer = std::mem::take(&mut self.buffer);
            let mut input = buffer.as_slice();
            let next = self.session.advance(&mut input, &mut self.out);
            self.buffer = input.to_vec();
            self.said.extend(self.out.take());
            if next != Next::Ready {
                self.ready = false;
            }
            match next {
                Next::Receive => {
                    assert!(input.is_empty());
                    return;
                }
                Next::Ready => {
                    assert!(input.is_empty());
                    if !std::mem::replace(&mut self.ready, true) {
                        self.flush(log);
                        log.push_str("> ready\n");
                    }
                    return;
                }
                Next::Body if self.hold => {
                    assert!(input.is_empty());
                    return;
                }
                Next::Body => {
                    let message = self.message.clone();
                    self.give(&message);
                    self.session.body_end();
                }
                Next::Secure => {
                    self.flush(log);
                    log.push_str("> secure\n");
                    if self.buffer.is_empty() {
                        self.securing = true;
                        return;
                    }
                    self.session.injected();
                }
                other @ (Next::Authenticate(_)
                | Next::Challenge(_)
                | Next::Examine
                | Next::Done(_)
                | Next::Close) => {
                    self.flush(log);
                    self.step(other, log);
                }
            }
        }
    }

    fn step(&mut self, next: Next, log: &mut String) {
        match next {
            Next::Receive | Next::Ready | Next::Body | Next::Secure => {}
            Next::Authenticate(mechanisms) => {
                writeln!(log, "> authenticate {}", mechanisms.join(" ")).unwrap();
                self.asked = true;
            }
            Next::Challenge(octets) => {
                writeln!(log, "> challenge {}", shown(&octets)).unwrap();
                self.asked = true;
            }
            Next::Examine => {
                log.push_str("> examine\n");
                let mut survey = Survey::default();
                survey.feed(&self.message);
                self.session.examined(&survey);
            }
            Next::Done(outcomes) => {
                assert_eq!(outcomes.len(), self.recipients.len());
                for (outcome, address) in outcomes.iter().zip(&self.recipients) {
                    let address = shown(address.as_bytes());
                    writeln!(log, "> {address} {}", told(outcome)).unwrap();
                }
            }
            Next::Close => {
                self.closed = true;
                match self.session.trouble() {
                    Some(trouble) => writeln!(log, "> close: {}", told(trouble)).unwrap(),
                    None => log.push_str("> close\n"),
                }
            }
        }
    }
}

fn told(outcome: &Outcome) -> String {
    let fate = match outcome.fate {
        Fate::Delivered => "delivered",
        Fate::Deferred => "deferred",
        Fate::Failed => "failed",
        Fate::Leftover => "left over",
    };
    let doubt = if outcome.in_doubt { " (in doubt)" } else { "" };
    format!("{fate}{doubt}: {}", shown(outcome.to_string().as_bytes()))
}
