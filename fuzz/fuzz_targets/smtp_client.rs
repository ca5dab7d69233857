//! The SMTP and LMTP client against servers that say anything, and what it sends of a message.
//!
//! Octet 0 chooses the settings, octet 1 the length of portions, octet 2 the message and what it is said to be.
//! The rest is what the server says, line by line, each when the client waits; it is also the message.
//! Whole lines and portions of them must come to the same; each recipient gets one outcome; the message that
//! goes by DATA decodes to what it was, newlines mended.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use sluicegate::smtp::address::{Mailbox, Recipient};
use sluicegate::smtp::client::outcome::{Fate, Outcome};
use sluicegate::smtp::client::session::Session;
use sluicegate::smtp::client::step::{Mail, Next, Settings, Tls};
use sluicegate::smtp::client::survey::Survey;
use sluicegate::smtp::envelope::{BodyType, To};
use sluicegate::wire::outbox::Outbox;
use sluicegate::wire::secret::Secret;
use sluicegate::wire::stuff::Encoder;

#[path = "../../src/wire/data/naive.rs"]
mod naive;

/// What came of a dialogue.
#[derive(Debug, PartialEq, Eq)]
struct Dialogue {
    said: Vec<u8>,
    outcomes: Vec<Vec<Outcome>>,
    trouble: Option<Outcome>,
}

struct Driver<'a> {
    session: Session,
    out: Outbox,
    dialogue: Dialogue,
    mails: Vec<Mail>,
    message: &'a [u8],
    counts: Vec<usize>,
    secured: bool,
    closed: bool,
}

impl Driver<'_> {
    fn hear(&mut self, octets: &[u8]) {
        let mut input = octets;
        let mut steps = 0;
        while !self.closed {
            let next = self.session.advance(&mut input, &mut self.out);
            assert!(self.out.len() <= 16 * 1024, "more is under way than the window holds");
            self.dialogue.said.extend(self.out.take());
            steps += 1;
            assert!(steps < 100 + 2 * octets.len(), "it does not move: {next:?}");
            match next {
                Next::Receive => {
                    assert!(input.is_empty(), "it waits, and there is input");
                    return;
                }
                Next::Secure if input.is_empty() && !self.secured => {
                    self.secured = true;
                    self.session.secured();
                }
                Next::Secure => self.session.injected(),
                Next::Authenticate(mechanisms) if mechanisms.len() == 1 => {
                    let response = Secret::new(vec![b'x'; 3]);
                    self.session.authenticate(&mechanisms[0], Some(response), false);
                }
                Next::Authenticate(_) => self.session.unable("none"),
                Next::Challenge(octets) => self.session.respond(&Secret::new(octets), true),
                Next::Ready => match self.mails.pop() {
                    Some(mail) => {
                        self.counts.push(mail.recipients.len());
                        self.session.begin(mail);
                    }
                    None => self.session.quit(),
                },
                Next::Examine => {
                    let mut survey = Survey::default();
                    survey.feed(self.message);
                    self.session.examined(&survey);
                }
                Next::Body => {
                    let mut rest = self.message;
                    while let Some(run) = self.session.body(&mut rest) {
                        self.dialogue.said.extend_from_slice(run);
                    }
                    self.session.body_end();
                }
                Next::Done(outcomes) => self.dialogue.outcomes.push(outcomes),
                Next::Close => self.closed = true,
            }
        }
    }
}

fn mail(recipients: &[&str], body: BodyType, utf8: bool, bytes: usize) -> Mail {
    let to = |address: &&str| To {
        recipient: Mailbox::parse(address, true).map_or(Recipient::Postmaster, Recipient::Mailbox),
        notify: None,
        original: None,
    };
    Mail {
        sender: Mailbox::parse("sam@example.edu", false).ok(),
        recipients: recipients.iter().map(to).collect(),
        body,
        ret: None,
        envelope_id: None,
        utf8,
        bytes: bytes as u64,
    }
}

fn dialogue(how: u8, kind: u8, server: &[u8], portion: usize) -> Dialogue {
    let settings = Settings {
        hostname: "client.example".into(),
        lmtp: how & 1 != 0,
        tls: [Tls::Never, Tls::May, Tls::Must, Tls::May][usize::from(how >> 1 & 3)],
        secure: how & 8 != 0,
        login: how & 16 != 0,
    };
    let body =
        [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime][usize::from(kind % 3)];
    let mut driver = Driver {
        session: Session::new(Rc::new(settings)),
        out: Outbox::default(),
        dialogue: Dialogue { said: Vec::new(), outcomes: Vec::new(), trouble: None },
        mails: vec![
            mail(&["ann@example.net"], BodyType::SevenBit, false, server.len()),
            mail(
                &["ann@example.net", "j\u{f6}rg@b\u{fc}cher.example", "postmaster"],
                body,
                kind & 64 != 0,
                server.len(),
            ),
        ],
        message: server,
        counts: Vec::new(),
        secured: false,
        closed: false,
    };
    driver.hear(b"");
    for line in server.split_inclusive(|octet| *octet == b'\n') {
        for piece in line.chunks(portion) {
            driver.hear(piece);
        }
    }
    driver.session.lost("closed");
    driver.hear(b"");
    assert!(driver.closed, "lost, and still there");
    let counts: Vec<usize> = driver.dialogue.outcomes.iter().map(Vec::len).collect();
    assert_eq!(counts, driver.counts, "a recipient without its outcome");
    for outcome in driver.dialogue.outcomes.iter().flatten() {
        assert!(!outcome.in_doubt || outcome.fate == Fate::Deferred);
        assert!(outcome.told_by("mx").len() < 700);
    }
    driver.dialogue.trouble = driver.session.trouble().cloned();
    driver.dialogue
}

/// Every newline a CRLF, and one at the end.
fn mended(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\n' if at > 0 && message[at - 1] == b'\r' => {}
            b'\r' | b'\n' => whole.extend(b"\r\n"),
            other => whole.push(*other),
        }
    }
    if !whole.is_empty() && !whole.ends_with(b"\r\n") {
        whole.extend(b"\r\n");
    }
    whole
}

fuzz_target!(|input: &[u8]| {
    let [how, portion, kind, server @ ..] = input else { return };
    let portion = usize::from(*portion) + 1;
    let whole = dialogue(*how, *kind, server, usize::MAX);
    assert_eq!(dialogue(*how, *kind, server, portion), whole, "portions of {portion}");

    let mut encoder = Encoder::new();
    let mut sent = Vec::new();
    for mut piece in server.chunks(portion) {
        while let Some(run) = encoder.next(&mut piece) {
            assert!(!run.is_empty());
            sent.extend_from_slice(run);
        }
    }
    sent.extend_from_slice(encoder.end());
    let Some(decoded) = naive::decode(&sent, false) else { panic!("it has no end") };
    assert_eq!((decoded.bare_newline, decoded.end), (false, sent.len()));
    assert_eq!(decoded.octets, mended(server));
});
