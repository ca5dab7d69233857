//! Dialogues played without a socket: what the client says to what a server says, whole and octet by octet.

use std::sync::{Arc, OnceLock};

use super::super::corpus::{Corpus, Form};
use super::super::hostile::Hostile;
use super::super::journal::{Fate, Journal, Record};
use super::super::mail::{Login, Mail, Security, Way};
use super::super::wire;
use super::*;
use crate::engine::session::{Action, Protocol as _, Session as _};
use crate::engine::tls::{Context, Trust};
use crate::sizes::Sizes;

const EHLO: &str = "250-test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 9\r\n250-8BITMIME\r\n\
    250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n";
const OLD: &str = "250 test\r\n";

fn mail() -> Mail {
    Mail {
        target: "127.0.0.1:25".parse().unwrap(),
        security: Security::Plain,
        tls: None,
        login: None,
        helo: "me".to_owned(),
        from: "f@x".to_owned(),
        addresses: ["a@x", "b@x", "c@x"].map(str::to_owned).to_vec(),
        recipients_per_message: 2,
        messages_per_connection: u64::MAX,
        pipelining: true,
        chunk_octets: 100,
        segment_octets_max: None,
        pace: None,
        corpus: Corpus::generated(&Sizes::fixed(250), false, 1, Form::Data),
        run: "r".to_owned(),
        seed: 1,
        written: None,
        unwritten: OnceLock::new(),
    }
}

fn chunked() -> Mail {
    Mail { corpus: Corpus::generated(&Sizes::fixed(250), false, 1, Form::Chunks), ..mail() }
}

/// A session and what it asked for.
struct Play {
    session: Session,
    io: Io,
    /// Said since it was last asked, all links together.
    said: Vec<u8>,
    /// `done message`, `failed MAIL: 451`, `close 0`, …
    log: Vec<String>,
    link: Link,
    bytewise: bool,
}

impl Play {
    fn new(mail: Mail) -> Self {
        Self::with(&Arc::new(mail), false)
    }

    fn with(mail: &Arc<Mail>, bytewise: bool) -> Self {
        let session = mail.session(0);
        Self { session, io: Io::new(0), said: Vec::new(), log: Vec::new(), link: 0, bytewise }
    }

    fn on(&mut self, event: Event<'_>) {
        self.session.on(event, &mut self.io);
        let mut sent = false;
        for action in self.io.take().collect::<Vec<_>>() {
            match action {
                Action::Connect(link, ..) => {
                    self.link = link;
                    self.log.push(format!("connect {link}"));
                }
                Action::Send(_, payload) => {
                    assert!(!payload.octets().is_empty(), "nothing is sent");
                    self.said.extend_from_slice(payload.octets());
                    sent = true;
                }
                Action::Done { kind, moved, .. } => {
                    let kind = self.session.mail.kinds()[kind];
                    self.log.push(format!("done {kind} {}", moved.sent));
                }
                Action::Failed { at, what } => self.log.push(format!("failed {at}: {what}")),
                Action::Close(link) => self.log.push(format!("close {link}")),
                Action::Secure(..) => self.log.push("secure".to_owned()),
                Action::Held => self.log.push("held".to_owned()),
                Action::Finish => self.log.push("finish".to_owned()),
                Action::Count(what, _) => self.log.push(format!("count {what}")),
                Action::Phase(..) | Action::Timer(..) | Action::Pace(..) => {}
                other => panic!("{other:?}"),
            }
        }
        if sent {
            self.on(Event::Sent(self.link));
        }
    }

    /// The server says this; what the client says to it.
    fn hear(&mut self, text: &str) -> String {
        let link = self.link;
        if self.bytewise {
            text.as_bytes().chunks(1).for_each(|octet| self.on(Event::Received(link, octet)));
        } else {
            self.on(Event::Received(link, text.as_bytes()));
        }
        self.take()
    }

    fn take(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Connects and is greeted, up to the first MAIL.
    fn open(&mut self, number: u64, ehlo: &str) -> String {
        self.on(Event::Work(number));
        self.on(Event::Connected(self.link));
        assert_eq!(self.hear("220 test\r\n"), "EHLO me\r\n");
        self.log.clear();
        self.hear(ehlo)
    }
}

/// What goes behind 354 for message `number`, and its size without stuffing.
fn content(mail: &Mail, number: u64) -> (String, u64) {
    let body = mail.corpus.body(number);
    let head = body.head(&format!("r.{number}"));
    let size = (head.len() + body.octets) as u64;
    (head + std::str::from_utf8(&body.wire).unwrap(), size)
}

#[test]
fn pipelined_and_octet_by_octet() {
    for bytewise in [false, true] {
        let mail = Arc::new(mail());
        let mut play = Play::with(&mail, bytewise);
        for number in 0..3 {
            let (content, size) = content(&mail, number);
            let begin = if number == 0 {
                play.open(0, EHLO)
            } else {
                play.on(Event::Work(number));
                play.take()
            };
            let [a, b] = [["a", "b"], ["c", "a"], ["b", "c"]][usize::try_from(number).unwrap()];
            let wanted = format!(
                "MAIL FROM:<f@x> SIZE={size}\r\nRCPT TO:<{a}@x>\r\nRCPT TO:<{b}@x>\r\nDATA\r\n"
            );
            assert_eq!(begin, wanted);
            assert_eq!(play.hear("250 ok\r\n250 ok\r\n251 ok\r\n354 go\r\n"), content);
            assert_eq!(play.hear("250-2.0.0 ok\r\n250 2.0.0 queued as Q\r\n"), "");
            assert_eq!(play.log(), [format!("done message {size}")]);
        }
        play.on(Event::Quit);
        assert_eq!(play.take(), "QUIT\r\n");
        play.hear("221 bye\r\n");
        assert_eq!(&play.log()[..2], ["close 0", "finish"]);
    }
}

#[test]
fn one_command_at_a_time() {
    let offers = [(EHLO.replace("PIPELINING", "X"), true), (EHLO.to_owned(), false)];
    for (ehlo, pipelining) in offers {
        let mail = Arc::new(Mail { pipelining, ..mail() });
        let mut play = Play::with(&mail, false);
        let (content, size) = content(&mail, 0);
        assert_eq!(play.open(0, &ehlo), format!("MAIL FROM:<f@x> SIZE={size}\r\n"));
        assert_eq!(play.hear("250 ok\r\n"), "RCPT TO:<a@x>\r\n");
        assert_eq!(play.hear("250 ok\r\n"), "RCPT TO:<b@x>\r\n");
        assert_eq!(play.hear("250 ok\r\n"), "DATA\r\n");
        assert_eq!(play.hear("354 go\r\n"), content);
        assert_eq!(play.hear("250 ok\r\n"), "");
        assert_eq!(play.log(), [format!("done message {size}")]);
    }
}

#[test]
fn chunks_are_what_they_are_called() {
    for pipelining in [false, true] {
        let mail = Arc::new(Mail { pipelining, recipients_per_message: 1, ..chunked() });
        let mut play = Play::with(&mail, false);
        let (content, size) = content(&mail, 0);
        let mut said = play.open(0, EHLO);
        let mut answers = 0;
        while !said.contains(" LAST\r\n") || answers < said.matches("BDAT").count() + 1 {
            let more = play.hear("250 ok\r\n");
            answers += 1;
            assert!(!(pipelining && answers < 2) || more.is_empty());
            said.push_str(&more);
            assert!(answers < 50, "{said}");
        }
        let (envelope, mut rest) = said.split_at(said.find("BDAT").unwrap());
        assert_eq!(envelope, format!("MAIL FROM:<f@x> SIZE={size}\r\nRCPT TO:<a@x>\r\n"));
        let (mut arrived, mut last) = (String::new(), false);
        while let Some((command, tail)) = rest.split_once("\r\n") {
            assert!(!last);
            let words: Vec<&str> = command.split(' ').collect();
            last = words.len() == 3;
            let octets: usize = words[1].parse().unwrap();
            assert!(octets == 100 || last);
            arrived.push_str(&tail[..octets]);
            rest = &tail[octets..];
        }
        assert_eq!((arrived, last), (content, true));
        play.hear("250 ok\r\n");
        assert_eq!(play.log()[0], format!("done message {size}"));
    }
}

#[test]
fn chunks_do_not_run_ahead_without_end() {
    let mail = Mail { chunk_octets: 1, recipients_per_message: 1, ..chunked() };
    let mut play = Play::new(mail);
    let said = play.open(0, EHLO);
    assert_eq!(said.matches("BDAT 1\r\n").count(), 16);
    assert_eq!(play.hear("250 ok\r\n250 ok\r\n250 ok\r\n").matches("BDAT").count(), 1);
    // Refused in the middle: what is on its way is answered, then comes RSET.
    let refusals = "552 too much\r\n".to_owned() + &"503 no\r\n".repeat(14);
    assert_eq!(play.hear(&refusals), "");
    assert_eq!(play.hear("503 no\r\n"), "RSET\r\n");
    play.hear("250 ok\r\n");
    assert_eq!(play.log(), ["failed BDAT: 552"]);
}

#[test]
fn refusals_have_their_command_and_code_and_keep_step() {
    let all = [
        // Replies to MAIL, RCPT, RCPT and DATA, what the client says to them, the failure.
        ("451 no\r\n503 x\r\n503 x\r\n503 x\r\n", "RSET\r\n", "failed MAIL: 451"),
        ("250 ok\r\n550 x\r\n452 x\r\n554 x\r\n", "RSET\r\n", "failed RCPT: 550"),
        ("250 ok\r\n550 x\r\n452 x\r\n354 x\r\n", ".\r\n", "failed RCPT: 550"),
        ("250 ok\r\n250 x\r\n250 x\r\n451 x\r\n", "RSET\r\n", "failed DATA: 451"),
    ];
    for (replies, answer, failure) in all {
        for bytewise in [false, true] {
            let mut play = Play::with(&Arc::new(mail()), bytewise);
            play.open(0, EHLO);
            assert_eq!(play.hear(replies), answer, "{replies}");
            play.hear("250 ok\r\n");
            let log = play.log();
            assert_eq!(log.last().unwrap(), failure);
            assert!(!log.iter().any(|one| one.starts_with("close")), "{log:?}");
            // The next one goes over the same connection.
            play.on(Event::Work(1));
            assert!(play.take().starts_with("MAIL"));
        }
    }
    // One by one.
    let mut play = Play::new(Mail { pipelining: false, ..mail() });
    play.open(0, EHLO);
    play.hear("250 ok\r\n");
    assert_eq!(play.hear("550 no\r\n"), "RCPT TO:<b@x>\r\n");
    assert_eq!(play.hear("452 no\r\n"), "RSET\r\n");
    play.hear("250 ok\r\n");
    assert_eq!(play.log().last().unwrap(), "failed RCPT: 550");
}

#[test]
fn one_recipient_is_enough_and_the_journal_knows_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let written = Some(Journal::open(&path, "r", "s").unwrap());
    let mut play = Play::new(Mail { written, ..mail() });
    let fate = |id: &str| {
        let mut record = Record::default();
        record.read(&path).unwrap();
        record.entries.get(id).map(|entry| entry.fate.clone())
    };
    play.open(0, EHLO);
    play.hear("250 ok\r\n550 no\r\n250 ok\r\n");
    assert_eq!(fate("r.0"), None);
    play.hear("354 go\r\n");
    assert_eq!(fate("r.0"), Some(Fate::Open), "written before it is out");
    play.hear("250 2.0.0 Ok: queued as Q7\r\n");
    let to = vec!["b@x".to_owned()];
    assert_eq!(fate("r.0"), Some(Fate::Accepted { queue_id: Some("Q7".to_owned()), to }));
    assert!(play.log().last().unwrap().starts_with("done message"));
    play.on(Event::Work(1));
    play.hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n451 later\r\n");
    assert_eq!(fate("r.1"), Some(Fate::Refused(451)));
    assert_eq!(play.log(), ["failed end of data: 451"]);
}

#[test]
fn servers_that_make_no_sense_are_counted_by_kind() {
    let endless = "250-on\r\n".repeat(10_000);
    let all: [(&str, &str); 9] = [
        ("354 go\r\n", "failed MAIL: unexpected 354"),
        ("421 bye\r\n", "failed MAIL: 421"),
        ("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n", "failed DATA: unexpected 250"),
        ("250 ok\r\n334 ok\r\n", "failed RCPT: unexpected 334"),
        ("hello\r\n", "failed MAIL: no reply but something else"),
        ("250-ok\r\n251 ok\r\n", "failed MAIL: a reply with several codes"),
        (&endless, "failed MAIL: a reply without end"),
        (
            "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n221 bye\r\n",
            "failed end of data: unexpected 221",
        ),
        ("250 ok\r\n\0\0\0\n", "failed RCPT: no reply but something else"),
    ];
    for (replies, failure) in all {
        let mut play = Play::new(mail());
        play.open(0, EHLO);
        play.hear(replies);
        assert_eq!(play.log(), ["close 0", failure, "finish"], "{replies:.40}");
    }
    let openings = [
        ("554 no\r\n", "", "failed greeting: 554"),
        ("220 ok\r\n", "550 no\r\n", "failed EHLO: 550"),
        ("250 ok\r\n", "", "failed greeting: 250"),
    ];
    for (greeting, ehlo, failure) in openings {
        let mut play = Play::new(mail());
        play.on(Event::Work(0));
        play.on(Event::Connected(0));
        play.hear(greeting);
        play.hear(ehlo);
        assert_eq!(play.log(), ["connect 0", "close 0", failure, "finish"]);
    }
}

#[test]
fn ends_are_failures_where_the_dialogue_stood() {
    let mut play = Play::new(mail());
    play.on(Event::Work(0));
    assert_eq!(play.session.stage(), "connect");
    play.on(Event::Failed(0, "refused".into()));
    assert_eq!(play.log(), ["connect 0", "close 0", "failed connect: refused", "finish"]);
    let stages = [
        ("", "MAIL"),
        ("250 ok\r\n", "RCPT"),
        ("250 ok\r\n250 ok\r\n250 ok\r\n", "DATA"),
        ("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "end of data"),
    ];
    for (replies, stage) in stages {
        let mut play = Play::new(mail());
        play.open(0, EHLO);
        play.hear(replies);
        assert_eq!(play.session.stage(), stage);
        play.on(Event::Ended(0, true));
        let failure = format!("failed {stage}: closed by the server");
        assert_eq!(play.log(), ["close 0", &failure, "finish"]);
    }
    // Between messages it is no failure of any.
    let mut play = Play::new(Mail { recipients_per_message: 1, ..mail() });
    play.open(0, EHLO);
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n");
    play.log();
    play.hear("421 too idle\r\n");
    assert_eq!(play.log(), ["close 0", "count connections the server ended between messages"]);
}

#[test]
fn old_servers_get_helo() {
    let mut play = Play::new(Mail { recipients_per_message: 1, ..mail() });
    play.on(Event::Work(0));
    play.on(Event::Connected(0));
    play.hear("220 old\r\n");
    assert_eq!(play.hear("502 what\r\n"), "HELO me\r\n");
    assert_eq!(play.hear(OLD), "MAIL FROM:<f@x>\r\n");
}

#[test]
fn logins() {
    let login = |way| {
        let (user, password) = ("ann".to_owned(), "s3cret".to_owned());
        Play::new(Mail { login: Some(Login { way, user, password }), ..mail() })
    };
    let mut play = login(Way::Plain);
    assert_eq!(play.open(0, EHLO), "AUTH PLAIN AGFubgBzM2NyZXQ=\r\n");
    assert!(play.hear("235 welcome\r\n").starts_with("MAIL"));
    let mut play = login(Way::Login);
    assert_eq!(play.open(0, EHLO), "AUTH LOGIN\r\n");
    assert_eq!(play.hear("334 VXNlcm5hbWU6\r\n"), "YW5u\r\n");
    assert_eq!(play.hear("334 UGFzc3dvcmQ6\r\n"), "czNjcmV0\r\n");
    assert!(play.hear("235 welcome\r\n").starts_with("MAIL"));
    let mut play = login(Way::Login);
    play.open(0, EHLO);
    play.hear("535 no\r\n");
    assert_eq!(play.log(), ["close 0", "failed AUTH: 535", "finish"]);
    let mut play = login(Way::Plain);
    play.open(0, EHLO);
    play.hear("334 \r\n");
    assert_eq!(play.log(), ["close 0", "failed AUTH: one challenge too many", "finish"]);
    let mut play = login(Way::Plain);
    play.open(0, OLD);
    assert_eq!(play.log(), ["close 0", "failed AUTH: not offered", "finish"]);
}

#[test]
fn tls_before_the_greeting_and_after_starttls() {
    let secured = |security| {
        let tls = Some(Context::new(&Trust::Anybody, "localhost", true).unwrap());
        Play::new(Mail { security, tls, ..mail() })
    };
    let mut play = secured(Security::Implicit);
    play.on(Event::Work(0));
    play.on(Event::Connected(0));
    assert_eq!(
        (play.session.stage(), play.log()),
        ("TLS", vec!["connect 0".into(), "secure".into()])
    );
    play.on(Event::Secured(0, false));
    assert_eq!(play.hear("220 test\r\n"), "EHLO me\r\n");
    let mut play = secured(Security::StartTls);
    assert_eq!(play.open(0, EHLO), "STARTTLS\r\n");
    play.hear("220 go\r\n");
    assert_eq!(play.log(), ["secure"]);
    play.on(Event::Secured(0, true));
    assert_eq!(play.take(), "EHLO me\r\n");
    assert!(play.hear(EHLO).starts_with("MAIL"));
    // RFC 3207 §4.2, CVE-2011-0411 and its like.
    for (replies, failure) in [
        ("220 go\r\n250 injected\r\n", "failed STARTTLS: octets before the handshake"),
        ("454 not now\r\n", "failed STARTTLS: 454"),
    ] {
        let mut play = secured(Security::StartTls);
        play.open(0, EHLO);
        play.hear(replies);
        assert_eq!(play.log(), ["close 0", failure, "finish"]);
    }
    let mut play = secured(Security::StartTls);
    play.open(0, OLD);
    assert_eq!(play.log(), ["close 0", "failed STARTTLS: not offered", "finish"]);
}

#[test]
fn a_connection_has_its_messages_and_the_next_does_not_wait_for_goodbye() {
    let mail = Arc::new(Mail { messages_per_connection: 2, recipients_per_message: 1, ..mail() });
    let mut play = Play::with(&mail, false);
    play.open(0, EHLO);
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n");
    play.on(Event::Work(1));
    play.take();
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(play.hear("250 ok\r\n"), "QUIT\r\n");
    play.log();
    play.on(Event::Work(2));
    assert_eq!(play.log(), ["connect 1"]);
    play.on(Event::Connected(1));
    play.on(Event::Received(0, b"221 bye\r\n"));
    assert_eq!(play.log(), ["close 0"]);
    assert_eq!(play.hear("220 test\r\n"), "EHLO me\r\n");
    // A server that does not answer QUIT is left.
    play.hear(EHLO);
    play.hear("250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n");
    play.on(Event::Quit);
    play.log();
    play.io.at(PARTING - 1);
    play.on(Event::Timer(1));
    assert!(play.log().is_empty());
    play.io.at(PARTING);
    play.on(Event::Timer(1));
    assert_eq!(play.log(), ["close 1", "finish"]);
}

#[test]
fn idle_ones_log_in_and_stay() {
    let mut play = Play::new(mail());
    play.on(Event::Hold);
    play.on(Event::Connected(0));
    play.hear("220 test\r\n");
    assert_eq!(play.hear(EHLO), "");
    assert_eq!(play.log(), ["connect 0", "held"]);
    assert_eq!(play.session.stage(), "idle");
    play.hear("421 too idle\r\n");
    assert_eq!(play.log(), ["close 0", "failed idle: 421", "finish"]);
}

#[test]
fn segments_change_nothing_but_their_number() {
    for form in [Form::Data, Form::Chunks] {
        let corpus = || Corpus::generated(&Sizes::fixed(70_000), true, 1, form);
        let dialogue = |segments| {
            let whole = Mail { corpus: corpus(), segment_octets_max: segments, ..mail() };
            let mut play =
                Play::new(Mail { recipients_per_message: 1, chunk_octets: 9000, ..whole });
            let mut said = play.open(0, EHLO);
            for _ in 0..20 {
                let data = play.session.expects.front() == Some(&Expect::Data);
                said.push_str(&play.hear(if data { "354 go\r\n" } else { "250 ok\r\n" }));
                if play.log.iter().any(|one| one.starts_with("done")) {
                    return said;
                }
            }
            panic!("no end: {:?}", play.log());
        };
        assert_eq!(dialogue(Some(100)), dialogue(None), "{form:?}");
    }
}

#[test]
fn hostile_ones_may_be_refused_and_smuggling_shows() {
    let hostile = |kind| {
        let corpus = Corpus::generated(&Sizes::fixed(250), false, 1, Form::Data).with_hostile(
            &[kind],
            1,
            "r",
            "a@x",
        );
        Play::new(Mail { corpus, recipients_per_message: 1, ..mail() })
    };
    for (answer, kind) in [("550 no\r\n", "refused"), ("250 ok\r\n", "accepted")] {
        let mut play = hostile(Hostile::BareLf);
        play.open(0, EHLO);
        play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        play.hear(answer);
        assert!(play.log()[0].starts_with(&format!("done hostile, {kind}")));
    }
    let answers = [
        ("250 ok\r\n", "221 bye\r\n", "done hostile, accepted"),
        ("550 no\r\n", "221 bye\r\n", "done hostile, refused"),
        ("521 no\r\n", "", "done hostile, refused"),
        (
            "250 ok\r\n",
            "250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n",
            "failed end of data: smuggled",
        ),
        ("250 ok\r\n", "500 what\r\n", "failed end of data: smuggled"),
    ];
    for (answer, after, outcome) in answers {
        let mut play = hostile(Hostile::SmuggleLf);
        play.open(0, EHLO);
        let sent = play.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        assert!(wire::arrived(sent.as_bytes()).is_some_and(|(_, octets)| octets == sent.len()));
        assert_eq!(play.hear(answer), "QUIT\r\n");
        play.hear(after);
        play.on(Event::Ended(0, true));
        let log = play.log();
        assert!(log.iter().any(|one| one.starts_with(outcome)), "{outcome}: {log:?}");
        assert!(log.contains(&"close 0".to_owned()), "{log:?}");
    }
}
