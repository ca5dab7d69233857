//! smtp::client::tests::random – arbitrary servers.
//!
//! What holds for every server: no panic; every step is answered by progress or by waiting; each message
//! has one outcome for each recipient; memory stays bounded; the split changes nothing.

#![allow(clippy::disallowed_types, reason = "prop_oneof! holds its choices in an Arc")]

use std::rc::Rc;

use proptest::prelude::*;

use super::script::{plain, settings};
use crate::limits::{
    SMTP_CLIENT_REPLY_BYTES_MAX, SMTP_CLIENT_REPLY_KEPT_BYTES_MAX, SMTP_CLIENT_WINDOW_BYTES_MAX,
};
use crate::smtp::client::outcome::{Fate, Outcome};
use crate::smtp::client::session::Session;
use crate::smtp::client::step::{Mail, Next, Settings, Tls, Wait};
use crate::smtp::client::survey::Survey;
use crate::smtp::envelope::BodyType;
use crate::wire::outbox::Outbox;
use crate::wire::secret::Secret;

const MESSAGE: &[u8] = b"Subject: a\r\n\r\n.b\nc\r\n\xff\r\n";

/// A driver whose decisions depend on nothing but what it is asked.
struct Auto {
    session: Session,
    out: Outbox,
    said: Vec<u8>,
    mails: Vec<Mail>,
    outcomes: Vec<Vec<Outcome>>,
    /// Transactions begun.
    begun: usize,
    /// A handshake was asked for, and is done.
    secured: bool,
    closed: bool,
    /// Steps since the last octet.
    idle: usize,
}

impl Auto {
    fn new(settings: Settings, mut mails: Vec<Mail>) -> Self {
        mails.reverse();
        let session = Session::new(Rc::new(settings));
        let (out, said) = (Outbox::default(), Vec::new());
        Self {
            session,
            out,
            said,
            mails,
            outcomes: Vec::new(),
            begun: 0,
            secured: false,
            closed: false,
            idle: 0,
        }
    }

    /// Shows it octets, and follows until it waits for more.
    fn hear(&mut self, octets: &[u8]) {
        let mut input = octets;
        self.idle = 0;
        while !self.closed {
            let before = input.len();
            let next = self.session.advance(&mut input, &mut self.out);
            self.idle = if input.len() < before { 0 } else { self.idle + 1 };
            assert!(self.idle < 20, "it does not move: {next:?}");
            assert!(self.out.len() <= SMTP_CLIENT_WINDOW_BYTES_MAX + 2048);
            assert!(self.session.held_bytes() <= 4 * SMTP_CLIENT_REPLY_KEPT_BYTES_MAX);
            self.said.extend(self.out.take());
            if self.follow(next, input) {
                assert!(self.closed || input.is_empty(), "it waits with input left");
                return;
            }
        }
    }

    /// Does what was asked. Must it wait now?
    fn follow(&mut self, next: Next, rest: &[u8]) -> bool {
        match next {
            Next::Receive => return true,
            Next::Secure if rest.is_empty() && !self.secured => {
                self.secured = true;
                self.session.secured();
            }
            Next::Secure => self.session.injected(),
            Next::Authenticate(mechanisms) => match mechanisms.first() {
                Some(first) if first.len() > 3 => {
                    self.session.authenticate(first, Some(Secret::default()), false);
                }
                _ => self.session.unable("none"),
            },
            Next::Challenge(octets) if octets.len() > 4 => self.session.unable("too long"),
            Next::Challenge(octets) => self.session.respond(&Secret::new(octets), true),
            Next::Ready => match self.mails.pop() {
                Some(mail) => {
                    self.begun += 1;
                    self.session.begin(mail);
                }
                None => self.session.quit(),
            },
            Next::Examine => {
                let mut survey = Survey::default();
                survey.feed(MESSAGE);
                self.session.examined(&survey);
            }
            Next::Body => {
                let mut rest = MESSAGE;
                while let Some(run) = self.session.body(&mut rest) {
                    self.said.extend_from_slice(run);
                }
                self.session.body_end();
            }
            Next::Done(outcomes) => self.outcomes.push(outcomes),
            Next::Close => {
                self.closed = true;
                return true;
            }
        }
        false
    }

    /// The connection ends; nothing is left open.
    fn finish(&mut self, counts: &[usize]) {
        self.session.lost("closed");
        self.hear(b"");
        assert!(self.closed);
        assert_eq!(self.begun, self.outcomes.len(), "a message without an end, or with two");
        for (outcomes, count) in self.outcomes.iter().zip(counts) {
            assert_eq!(outcomes.len(), *count);
            for outcome in outcomes {
                assert!(!outcome.in_doubt || outcome.fate == Fate::Deferred);
                assert!(outcome.to_string().len() < 600);
                let class = match outcome.fate {
                    Fate::Delivered => 2,
                    Fate::Deferred | Fate::Leftover => 4,
                    Fate::Failed => 5,
                };
                assert_eq!(outcome.status.0, class, "{outcome}");
            }
        }
    }
}

fn mails() -> Vec<Mail> {
    let mut mails = vec![
        plain("sam@example.edu", &["ann@example.net", "j\u{f6}rg@example.net", "eve@example.net"]),
        plain("", &["ann@example.net"]),
        plain("sam@example.edu", &[]),
        plain("sam@example.edu", &["ann@example.net", "bob@example.net"]),
    ];
    mails[0].body = BodyType::BinaryMime;
    mails[1].body = BodyType::EightBitMime;
    mails[3].utf8 = true;
    for mail in &mut mails {
        mail.bytes = u64::try_from(MESSAGE.len()).unwrap();
    }
    mails
}

fn counts() -> Vec<usize> {
    mails().iter().map(|mail| mail.recipients.len()).collect()
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let tls = prop_oneof![Just(Tls::Never), Just(Tls::May), Just(Tls::Must)];
    (any::<bool>(), tls, any::<bool>(), any::<bool>())
        .prop_map(|(lmtp, tls, secure, login)| Settings { lmtp, tls, secure, login, ..settings() })
}

/// Replies that servers are made of, in their turn or not.
fn any_reply() -> impl Strategy<Value = Vec<u8>> {
    let text = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        6 => text("250 2.0.0 ok\r\n"),
        3 => text("250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"),
        2 => text("250-mx\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"),
        1 => text("250-mx\r\n250-SIZE 10\r\n250 LIMITS RCPTMAX=1\r\n"),
        3 => text("354 go on\r\n"),
        2 => text("220 mx\r\n"),
        1 => text("235 2.7.0 ok\r\n"),
        1 => text("334 eA==\r\n"),
        1 => text("334 \r\n"),
        2 => text("452 4.5.3 too many\r\n"),
        2 => text("550 5.1.1 nobody\r\n"),
        2 => text("450 4.2.1 busy\r\n"),
        1 => text("502 what\r\n"),
        1 => text("421 4.3.2 closing\r\n"),
        1 => text("399 what\n"),
        1 => "[0-9]{1,4}[- ]?[a-z\\x00\\x80]{0,9}\r?\n".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    /// A server that answers when something is awaited, whole or octet by octet.
    #[test]
    fn each_dialogue_is_the_same_whatever_the_split(
        settings in any_settings(),
        script in proptest::collection::vec(any_reply(), 0..40),
        portion in 1_usize..30,
    ) {
        let run = |portion: usize| {
            let mut auto = Auto::new(settings.clone(), mails());
            auto.hear(b"");
            for reply in &script {
                for piece in reply.chunks(portion) {
                    auto.hear(piece);
                }
            }
            auto.finish(&counts());
            (auto.said, auto.outcomes, auto.session.trouble().cloned())
        };
        // Only one reply is given at a time: with several, it would matter when the driver begins.
        let whole = run(usize::MAX);
        prop_assert_eq!(&whole, &run(1));
        prop_assert_eq!(&whole, &run(portion));
    }

    /// A server that talks without listening.
    #[test]
    fn a_server_that_talks_without_end_is_bounded(
        settings in any_settings(),
        octets in proptest::collection::vec(any_reply(), 0..60),
    ) {
        let mut auto = Auto::new(settings, mails());
        auto.hear(b"");
        auto.hear(&octets.concat());
        auto.finish(&counts());
    }
}

#[test]
fn an_endless_reply_ends_the_connection() {
    for flood in [&b"220-x\r\n"[..], b"x", b"220 ", b"\0"] {
        let mut auto = Auto::new(settings(), mails());
        let mut octets = 0;
        while !auto.closed {
            auto.hear(flood);
            octets += flood.len();
            assert!(octets <= SMTP_CLIENT_REPLY_BYTES_MAX + flood.len());
        }
        auto.finish(&counts());
        assert!(auto.outcomes.is_empty() && auto.session.trouble().is_some());
    }
}

#[test]
fn a_thousand_recipients_never_fill_the_window() {
    let addresses: Vec<String> =
        (0..1000).map(|number| format!("{}{number}@example.net", "r".repeat(50))).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut auto = Auto::new(settings(), vec![plain("sam@example.edu", &addresses)]);
    auto.hear(b"220 mx\r\n");
    auto.hear(b"250-mx\r\n250 PIPELINING\r\n");
    // The server reads nothing: what is under way stays bounded.
    let mut under_way = auto.said.len();
    let mut most = under_way;
    let mut answered = 0;
    let mut said = 0;
    while !auto.closed {
        // It takes the next line, and answers it.
        let rest = &auto.said[said..];
        let Some(length) = rest.iter().position(|octet| *octet == b'\n') else { break };
        let line = rest[..=length].to_vec();
        said += line.len();
        let reply: &[u8] = match line.as_slice() {
            b"DATA\r\n" => b"354 go on\r\n",
            line if line.starts_with(b"MAIL") || line.starts_with(b"RCPT") => b"250 ok\r\n",
            b".\r\n" | b"QUIT\r\n" => b"250 ok\r\n",
            // EHLO was answered before; lines of the message are not.
            _ => b"",
        };
        let before = auto.said.len();
        if !reply.is_empty() {
            answered += 1;
            auto.hear(reply);
        }
        under_way = (under_way + auto.said.len() - before) - line.len();
        most = most.max(under_way);
    }
    assert!(most <= SMTP_CLIENT_WINDOW_BYTES_MAX + 512, "{most} octets under way");
    assert!(most > SMTP_CLIENT_WINDOW_BYTES_MAX / 2, "it hardly runs ahead: {most}");
    assert!(answered > 1000);
    assert_eq!(auto.outcomes.len(), 1);
    assert!(auto.outcomes[0].iter().all(|outcome| outcome.fate == Fate::Delivered));
}

/// RFC 5321 §4.5.3.2, in its order; what it does not name has the time of MAIL.
#[test]
fn every_wait_has_its_deadline() {
    let minutes = |wait: Wait| wait.seconds().map(|seconds| seconds / 60);
    let waits = [Wait::Greeting, Wait::Mail, Wait::Rcpt, Wait::Data, Wait::Block, Wait::End];
    assert_eq!(waits.map(minutes), [5, 5, 5, 2, 3, 10].map(Some));
    for wait in [Wait::Hello, Wait::StartTls, Wait::Auth] {
        assert_eq!(wait.seconds(), Wait::Mail.seconds());
    }
    assert_eq!((Wait::Nothing.seconds(), Wait::Quit.seconds()), (None, Some(10)));
}
