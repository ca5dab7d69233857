//! The generator, its engine and real sockets, against a server of a hundred naive lines that keeps
//! what it is sent, and against the same server gone wrong in every way.
//!
//! No test needs a fast machine: runs end by count, and deadlines have room.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::corpus::{self, Corpus, Form};
use super::hostile::Hostile;
use super::journal::{Fate, Journal, Record};
use super::mail::{Login, Mail, Security, Way};
use crate::engine;
use crate::engine::plan::{Arrivals, Load, Plan};
use crate::engine::recorder::Recording;
use crate::sizes::Sizes;

/// What a server says instead of what is right.
enum Answer {
    Right,
    Say(&'static str),
    /// Says it and hangs up.
    Last(&'static str),
    /// Says nothing more, and stays.
    Silence,
    /// Says this for ever.
    Endless(&'static str),
}

const MANY_SIZES: &str = "lognormal:3KiB:1:100KiB";
/// Never a line.
const DIGITS: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// What one session of the server has been asked, in order.
type Fault = dyn Fn(&str) -> Answer + Send + Sync;

struct Letter {
    to: Vec<String>,
    content: Vec<u8>,
}

struct Server {
    address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    /// Commands of each session that is over, by their first word.
    sessions: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Server {
    fn start(careless: bool, fault: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            letters: Arc::default(),
            sessions: Arc::default(),
        };
        let (letters, sessions) = (Arc::clone(&server.letters), Arc::clone(&server.sessions));
        let fault: Arc<Fault> = Arc::new(fault);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (letters, sessions) = (Arc::clone(&letters), Arc::clone(&sessions));
                let fault = Arc::clone(&fault);
                thread::spawn(move || {
                    let mut one = Serving::new(stream, careless, fault, letters);
                    one.serve();
                    sessions.lock().unwrap().push(one.commands);
                });
            }
        });
        server
    }

    fn right() -> Self {
        Self::start(false, |_| Answer::Right)
    }

    /// Every letter by its mark, each of which must be there once, with its content behind the mark.
    fn content(&self) -> Vec<(String, Vec<String>, Vec<u8>)> {
        let letters = self.letters.lock().unwrap();
        let mut all: Vec<_> = letters
            .iter()
            .map(|letter| {
                let end = letter.content.iter().position(|&octet| octet == b'\r').unwrap();
                let mark = std::str::from_utf8(&letter.content[..end]).unwrap();
                let mark = mark.strip_prefix(corpus::MARK).unwrap().to_owned();
                let rest = &letter.content[end + 2..];
                let own = corpus::message_id(&mark) + "\r\n";
                let rest = rest.strip_prefix(own.as_bytes()).unwrap_or(rest);
                (mark, letter.to.clone(), rest.to_vec())
            })
            .collect();
        all.sort();
        assert!(all.windows(2).all(|two| two[0].0 != two[1].0), "a letter came twice");
        all
    }
}

struct Serving {
    input: BufReader<TcpStream>,
    output: TcpStream,
    careless: bool,
    fault: Arc<Fault>,
    letters: Arc<Mutex<Vec<Letter>>>,
    commands: Vec<String>,
    to: Vec<String>,
    chunks: Vec<u8>,
}

impl Serving {
    fn new(
        stream: TcpStream,
        careless: bool,
        fault: Arc<Fault>,
        letters: Arc<Mutex<Vec<Letter>>>,
    ) -> Self {
        stream.set_nodelay(true).unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        let (commands, to, chunks) = (Vec::new(), Vec::new(), Vec::new());
        Self { input, output: stream, careless, fault, letters, commands, to, chunks }
    }

    /// Says what is right, or what the fault wants; `false` ends the session.
    fn answer(&mut self, at: &str, right: &str) -> bool {
        let said = match (self.fault)(at) {
            Answer::Right => self.output.write_all(right.as_bytes()),
            Answer::Say(text) => self.output.write_all(text.as_bytes()),
            Answer::Last(text) => {
                self.output.write_all(text.as_bytes()).unwrap_or_default();
                return false;
            }
            Answer::Silence => {
                self.input.read_to_end(&mut Vec::new()).unwrap_or_default();
                return false;
            }
            Answer::Endless(text) => loop {
                if self.output.write_all(text.as_bytes()).is_err() {
                    return false;
                }
            },
        };
        said.is_ok()
    }

    fn serve(&mut self) {
        let mut open = self.answer("connect", "220 test\r\n");
        while open {
            let mut line = String::new();
            if !matches!(self.input.read_line(&mut line), Ok(1..)) {
                return;
            }
            assert!(line.ends_with("\r\n"), "{line:?}");
            let line = line.trim_end().to_owned();
            let verb = line.split(' ').next().unwrap_or_default().to_owned();
            self.commands.push(verb.clone());
            open = self.command(&verb, &line);
        }
    }

    fn command(&mut self, verb: &str, line: &str) -> bool {
        match verb {
            "EHLO" => self.answer(
                verb,
                "250-test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250-SIZE\r\n\
                 250 AUTH PLAIN LOGIN\r\n",
            ),
            "AUTH" if line.ends_with(" LOGIN") => {
                let mut answers = String::new();
                self.answer(verb, "334 VXNlcm5hbWU6\r\n")
                    && self.input.read_line(&mut answers).is_ok()
                    && self.answer(verb, "334 UGFzc3dvcmQ6\r\n")
                    && self.input.read_line(&mut answers).is_ok()
                    && self.answer(
                        verb,
                        if answers == "dQ==\r\ncA==\r\n" { "235 ok\r\n" } else { "535 no\r\n" },
                    )
            }
            "AUTH" => self.answer(
                verb,
                if line == "AUTH PLAIN AHUAcA==" { "235 ok\r\n" } else { "535 no\r\n" },
            ),
            "MAIL" => {
                self.to.clear();
                self.answer(verb, "250 ok\r\n")
            }
            "RCPT" => {
                let address = line["RCPT TO:<".len()..].trim_end_matches('>').to_owned();
                if address.starts_with("no") {
                    return self.answer(verb, "550 nobody\r\n");
                }
                self.to.push(address);
                self.answer(verb, "250 ok\r\n")
            }
            "DATA" if self.to.is_empty() => self.answer(verb, "554 for nobody\r\n"),
            "DATA" => self.answer(verb, "354 go\r\n") && self.data() && self.store(),
            "BDAT" => {
                let mut words = line.split(' ').skip(1);
                let octets: usize = words.next().unwrap().parse().unwrap();
                let mut chunk = vec![0; octets];
                if self.input.read_exact(&mut chunk).is_err() {
                    return false;
                }
                self.chunks.append(&mut chunk);
                if self.to.is_empty() {
                    self.answer("BDAT", "503 for nobody\r\n")
                } else if words.next() == Some("LAST") {
                    self.store()
                } else {
                    self.answer("BDAT", "250 ok\r\n")
                }
            }
            "QUIT" => {
                self.answer(verb, "221 bye\r\n");
                false
            }
            "RSET" => self.answer(verb, "250 ok\r\n"),
            _ => self.answer(verb, "500 what\r\n"),
        }
    }

    /// Line by line up to the end of data.
    fn data(&mut self) -> bool {
        self.chunks.clear();
        loop {
            let mut line = Vec::new();
            if !matches!(self.input.read_until(b'\n', &mut line), Ok(1..)) {
                return false;
            }
            let begins = self.careless || self.chunks.is_empty() || self.chunks.ends_with(b"\r\n");
            if begins && (line == b".\r\n" || self.careless && line == b".\n") {
                return true;
            }
            let stuffed = begins && line.starts_with(b".");
            self.chunks.extend_from_slice(&line[usize::from(stuffed)..]);
        }
    }

    fn store(&mut self) -> bool {
        let letter = Letter { to: self.to.clone(), content: std::mem::take(&mut self.chunks) };
        let number = {
            let mut letters = self.letters.lock().unwrap();
            letters.push(letter);
            letters.len()
        };
        self.answer("end", &format!("250 2.0.0 Ok: queued as Q{number}\r\n"))
    }
}

fn mail(server: &Server) -> Mail {
    Mail {
        target: server.address,
        security: Security::Plain,
        tls: None,
        login: None,
        helo: "me".to_owned(),
        from: "f@x".to_owned(),
        addresses: (0..7).map(|number| format!("u{number}@x")).collect(),
        recipients_per_message: 1,
        messages_per_connection: 1,
        pipelining: true,
        chunk_octets: 1000,
        segment_octets_max: None,
        pace: None,
        corpus: generated("1KiB", Form::Data),
        run: "r".to_owned(),
        seed: 1,
        written: None,
        unwritten: OnceLock::new(),
    }
}

fn generated(sizes: &str, form: Form) -> Corpus {
    Corpus::generated(&sizes.parse::<Sizes>().unwrap(), true, 1, form)
}

/// A closed loop of so many messages over a few sessions.
fn closed(count: u64) -> Plan {
    Plan {
        load: Load::Closed { sessions: 4 },
        duration: Duration::from_secs(60),
        count: Some(count),
        threads: 2,
        timeout: Duration::from_secs(30),
        ..Plan::small()
    }
}

fn run(mail: Mail, plan: &Plan) -> (Recording, Arc<Mail>) {
    let mail = Arc::new(mail);
    let recording = engine::run(&mail, plan, None).unwrap();
    (recording, mail)
}

/// Everything arrived, once, whole, and for whom it was.
fn check(server: &Server, mail: &Mail, count: u64) {
    let content = server.content();
    assert_eq!(content.len() as u64, count);
    for (mark, to, content) in content {
        let number: u64 = mark.strip_prefix("r.").unwrap().parse().unwrap();
        let body = mail.corpus.body(number);
        assert_eq!(corpus::digests(&content).0, body.sha256, "message {number}");
        let wanted: Vec<&str> =
            mail.recipients(number).map(|one| mail.addresses[one].as_str()).collect();
        assert_eq!(to, wanted, "message {number}");
    }
}

#[test]
fn every_way_of_sending_arrives_whole() {
    let chunked = || generated(MANY_SIZES, Form::Chunks);
    let ways: [(&str, &dyn Fn(Mail) -> Mail); 9] = [
        ("as it is", &|mail| Mail { corpus: generated(MANY_SIZES, Form::Data), ..mail }),
        ("many of a connection", &|mail| Mail { messages_per_connection: 7, ..mail }),
        ("no limit", &|mail| Mail { messages_per_connection: u64::MAX, ..mail }),
        ("one by one", &|mail| Mail { pipelining: false, recipients_per_message: 3, ..mail }),
        ("many recipients", &|mail| Mail { recipients_per_message: 7, ..mail }),
        ("chunks", &|mail| Mail { corpus: chunked(), messages_per_connection: 5, ..mail }),
        ("chunks one by one", &|mail| Mail { corpus: chunked(), pipelining: false, ..mail }),
        ("segments", &|mail| Mail {
            corpus: generated(MANY_SIZES, Form::Data),
            segment_octets_max: Some(700),
            ..mail
        }),
        ("segments of chunks", &|mail| Mail {
            corpus: chunked(),
            segment_octets_max: Some(3000),
            messages_per_connection: 4,
            ..mail
        }),
    ];
    for (name, change) in ways {
        let server = Server::right();
        let (recording, mail) = run(change(mail(&server)), &closed(60));
        assert!(recording.errors.is_empty(), "{name}: {:?}", recording.errors);
        assert_eq!((recording.done, recording.failed, recording.unfinished), (60, 0, 0), "{name}");
        check(&server, &mail, 60);
        // Everybody says goodbye: also the last ones of a run.
        let sessions = server.sessions.lock().unwrap();
        let polite = sessions.iter().all(|one| one.last().is_some_and(|last| last == "QUIT"));
        assert!(polite, "{name}: {sessions:?}");
        let (first, most) = (sessions.len() as u64, mail.messages_per_connection);
        assert!(
            first >= 60u64.div_ceil(most).min(60) && (most == u64::MAX || first <= 60),
            "{name}"
        );
        let phase = |wanted: &str| {
            let phase = recording.phases.iter().find(|phase| phase.name == wanted);
            phase.unwrap().histogram.len()
        };
        assert_eq!(
            [phase("end of data to 250"), phase("transaction"), phase("MAIL and RCPT")],
            [60; 3]
        );
        assert_eq!(phase("354"), if mail.corpus.form() == Form::Data { 60 } else { 0 }, "{name}");
        assert_eq!(
            [phase("connect"), phase("greeting"), phase("EHLO")],
            [recording.connections; 3]
        );
    }
}

#[test]
fn an_open_loop_with_logins_and_idle_ones() {
    for way in [Way::Plain, Way::Login] {
        let server = Server::right();
        let login = Login { way, user: "u".to_owned(), password: "p".to_owned() };
        let plan = Plan {
            load: Load::Open { rate: 100.0, arrivals: Arrivals::Poisson },
            count: Some(50),
            idle: 10,
            ..closed(50)
        };
        let (recording, mail) = run(Mail { login: Some(login), ..mail(&server) }, &plan);
        assert!(recording.errors.is_empty(), "{:?}", recording.errors);
        assert_eq!((recording.done, recording.held, recording.held_lost), (50, 10, 0));
        check(&server, &mail, 50);
    }
}

#[test]
fn the_journal_and_the_server_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let server = Server::right();
    let written = Some(Journal::open(&path, "r", "s").unwrap());
    let addresses = ["u0@x", "no@x", "u1@x"].map(str::to_owned).to_vec();
    let (recording, _) =
        run(Mail { written, addresses, recipients_per_message: 2, ..mail(&server) }, &closed(30));
    assert_eq!((recording.done, recording.counters["recipients refused"]), (30, 20));
    let mut record = Record::default();
    record.read(&path).unwrap();
    assert_eq!(record.entries.len(), 30);
    for (mark, to, content) in server.content() {
        let entry = &record.entries[&mark];
        assert_eq!(entry.sha256, corpus::digests(&content).0);
        let Fate::Accepted { queue_id: Some(queue_id), to: said } = &entry.fate else {
            panic!("{mark}: {:?}", entry.fate);
        };
        assert!(queue_id.starts_with('Q') && *said == to, "{mark}: {queue_id} for {said:?}");
    }
}

#[test]
fn a_journal_that_cannot_be_written_is_no_success() {
    let server = Server::right();
    let written = Journal::open(std::path::Path::new("/dev/full"), "r", "s");
    assert!(written.unwrap_err().contains("/dev/full"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let reader = {
        let path = path.clone();
        thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(std::fs::File::open(path).unwrap()).read_line(&mut line).unwrap();
        })
    };
    let written = Some(Journal::open(&path, "r", "s").unwrap());
    reader.join().unwrap();
    let (recording, mail) = run(Mail { written, ..mail(&server) }, &closed(3));
    assert_eq!((recording.done, recording.failed), (0, 3));
    assert_eq!(recording.errors.keys().collect::<Vec<_>>(), ["journal: it cannot be written"]);
    assert!(mail.unwritten.get().unwrap().contains("pipe"));
    assert!(
        server.letters.lock().unwrap().is_empty(),
        "nothing is sent that is not in the journal"
    );
}

#[test]
fn servers_gone_wrong_are_counted_by_kind_and_within_the_deadline() {
    let all: [(&str, Answer, &str); 16] = [
        ("connect", Answer::Endless("220-welcome\r\n"), "greeting: a reply without end"),
        ("connect", Answer::Endless(DIGITS), "greeting: a reply without end"),
        ("connect", Answer::Last("SSH-2.0-x\r\n"), "greeting: no reply but something else"),
        ("connect", Answer::Last("554 no\r\n"), "greeting: 554"),
        ("connect", Answer::Last(""), "greeting: closed by the server"),
        ("connect", Answer::Silence, "greeting: timeout"),
        ("EHLO", Answer::Last("250-a\r\n250-PIPE"), "EHLO: closed by the server"),
        ("EHLO", Answer::Say("421 full\r\n"), "EHLO: 421"),
        ("MAIL", Answer::Say("451 later\r\n"), "MAIL: 451"),
        ("RCPT", Answer::Last("421 full\r\n"), "RCPT: 421"),
        ("DATA", Answer::Say("250 what\r\n"), "DATA: unexpected 250"),
        ("DATA", Answer::Silence, "DATA: timeout"),
        ("end", Answer::Last(""), "end of data: closed by the server"),
        ("end", Answer::Say("354 again\r\n"), "end of data: unexpected 354"),
        ("end", Answer::Say("552 too much\r\n"), "end of data: 552"),
        ("end", Answer::Silence, "end of data: timeout"),
    ];
    for (at, answer, kind) in all {
        let silent = matches!(answer, Answer::Silence);
        let server = Server::start(false, move |verb| match (&answer, verb == at) {
            (_, false) => Answer::Right,
            (Answer::Right, _) => Answer::Right,
            (Answer::Say(text), _) => Answer::Say(text),
            (Answer::Last(text), _) => Answer::Last(text),
            (Answer::Silence, _) => Answer::Silence,
            (Answer::Endless(text), _) => Answer::Endless(text),
        });
        let timeout = Duration::from_secs(if silent { 1 } else { 30 });
        let plan = Plan { timeout, ..closed(5) };
        let begin = Instant::now();
        let (recording, _) = run(mail(&server), &plan);
        assert!(begin.elapsed() < Duration::from_secs(25), "{kind}: {:?}", begin.elapsed());
        assert_eq!((recording.done, recording.failed), (0, 5), "{kind}: {:?}", recording.errors);
        // A reset may overtake what was said before it.
        let told: u64 =
            recording.errors.iter().filter(|(one, _)| *one == kind).map(|(_, n)| n).sum();
        let resets: u64 = recording
            .errors
            .iter()
            .filter(|(one, _)| one.ends_with(": reset"))
            .map(|(_, n)| n)
            .sum();
        assert!(told > 0 && told + resets == 5, "{kind}: {:?}", recording.errors);
    }
}

#[test]
fn nobody_there_is_counted_too() {
    let closed_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let server = Server::right();
    let (recording, _) = run(Mail { target: closed_port, ..mail(&server) }, &closed(5));
    assert_eq!((recording.done, recording.failed), (0, 5));
    assert_eq!(recording.errors.keys().collect::<Vec<_>>(), ["connect: refused"]);
}

#[test]
fn a_server_that_can_be_fooled_is_told_from_one_that_cannot() {
    use clap::ValueEnum as _;
    for careless in [false, true] {
        let server = Server::start(careless, |_| Answer::Right);
        let kinds = [Hostile::SmuggleLf, Hostile::SmuggleCrlfLf, Hostile::SmuggleLfCrlf];
        let corpus = generated("2KiB", Form::Data).with_hostile(&kinds, 2, "r", "u0@x");
        let (recording, _) = run(Mail { corpus, ..mail(&server) }, &closed(12));
        let smuggled = recording.errors.get("end of data: smuggled: more replies than messages");
        let found = smuggled.copied().unwrap_or(0);
        assert_eq!(found, if careless { 6 } else { 0 }, "{:?}", recording.errors);
        assert_eq!(recording.done, 12 - found);
    }
    // All kinds, at a server that keeps what it gets.
    let server = Server::right();
    let corpus =
        generated("2KiB", Form::Data).with_hostile(Hostile::value_variants(), 1, "r", "u0@x");
    let count = 2 * Hostile::value_variants().len() as u64;
    let (recording, mail) = run(Mail { corpus, ..mail(&server) }, &closed(count));
    assert_eq!((recording.done, recording.failed), (count, 0), "{:?}", recording.errors);
    check(&server, &mail, count);
}
