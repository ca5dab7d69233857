//! The thread that asks resolvers, against a resolver that cuts short, lies, loops and is silent.
//!
//! The server here is written out octet by octet (RFC 1035 §4): what it sends need not be a message.

#![allow(clippy::unwrap_used, clippy::panic, clippy::string_slice, reason = "these are tests")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use sluicegate::dns::{Client, Settings};
use sluicegate::mx::{Answer, Exchange, Found, Kind, Lookup, Question, Trouble};

const MX: u16 = 15;
const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// What is asked.
#[derive(Debug, Clone)]
struct Asked {
    id: [u8; 2],
    /// As it stood in the question.
    question: Vec<u8>,
    name: String,
    tcp: bool,
}

/// What comes back; nothing at all for `None`.
type Behaviour = Arc<dyn Fn(&Asked) -> Option<Vec<u8>> + Send + Sync>;

/// Octets made for a question.
type Message = fn(&Asked) -> Vec<u8>;

/// A server on one port, UDP and TCP.
struct Server {
    address: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

impl Server {
    fn start(behaviour: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let behaviour: Behaviour = Arc::new(behaviour);
        // A port that is free for both.
        let (udp, tcp) = std::iter::repeat_with(|| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            TcpListener::bind(udp.local_addr().unwrap()).map(|tcp| (udp, tcp))
        })
        .flatten()
        .next()
        .unwrap();
        let address = udp.local_addr().unwrap();
        let (by_udp, by_tcp) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, act) = (Arc::clone(&by_udp), Arc::clone(&behaviour));
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok((len, from)) = udp.recv_from(&mut room) {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = act(&asked(&room[..len], false)) {
                    udp.send_to(&reply, from).unwrap();
                }
            }
        });
        let count = Arc::clone(&by_tcp);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (count, act) = (Arc::clone(&count), Arc::clone(&behaviour));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut len = [0; 2];
                    while stream.read_exact(&mut len).is_ok() {
                        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
                        if stream.read_exact(&mut message).is_err() {
                            return;
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                        let Some(reply) = act(&asked(&message, true)) else { continue };
                        let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
                        if stream.write_all(&[&len[..], &reply].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, udp: by_udp, tcp: by_tcp }
    }

    fn asked_by_udp(&self) -> usize {
        self.udp.load(Ordering::SeqCst)
    }

    fn asked_by_tcp(&self) -> usize {
        self.tcp.load(Ordering::SeqCst)
    }
}

fn asked(message: &[u8], tcp: bool) -> Asked {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] > 0 {
        let len = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + len]).to_lowercase());
        at += 1 + len;
    }
    Asked {
        id: [message[0], message[1]],
        question: message[12..at + 5].to_vec(),
        name: labels.join("."),
        tcp,
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut octets = name(owner);
    octets.extend(kind.to_be_bytes());
    octets.extend([0, 1]);
    octets.extend(ttl.to_be_bytes());
    octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    octets.extend(data);
    octets
}

fn mx(owner: &str, preference: u16, target: &str) -> Vec<u8> {
    record(owner, MX, 300, &[&preference.to_be_bytes()[..], &name(target)].concat())
}

fn a(owner: &str, address: [u8; 4]) -> Vec<u8> {
    record(owner, A, 300, &address)
}

/// A message: flags and code, and sections of records.
fn reply(asked: &Asked, flags: u16, answers: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = asked.id.to_vec();
    octets.extend((0x8180 | flags).to_be_bytes());
    for count in [1, answers.len(), authority.len(), 0] {
        octets.extend(u16::try_from(count).unwrap().to_be_bytes());
    }
    octets.extend(&asked.question);
    octets.extend(answers.concat());
    octets.extend(authority.concat());
    octets
}

const TRUNCATED: u16 = 0x0200;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// How long is waited for an answer that will come, on a slow machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// And where none will.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Asks one question of those resolvers.
fn ask(resolvers: &[SocketAddr], name: &str, kind: Kind) -> Answer {
    ask_of(&client(resolvers), name, kind)
}

fn client(resolvers: &[SocketAddr]) -> Client {
    client_of(resolvers, PATIENCE)
}

fn client_of(resolvers: &[SocketAddr], patience: Duration) -> Client {
    let files = tempfile::tempdir().unwrap();
    let settings = Settings {
        resolvers: resolvers.to_vec(),
        patience,
        resolv_conf: files.path().join("resolv.conf"),
        hosts: files.path().join("hosts"),
    };
    Client::start(settings).unwrap()
}

fn ask_of(client: &Client, name: &str, kind: Kind) -> Answer {
    let (sender, receiver) = mpsc::channel();
    let question = Question { name: name.to_owned(), kind, files: false };
    client.ask(question, Box::new(move |answer| sender.send(answer).unwrap()));
    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn exchanges(all: &[(u16, &str)]) -> Found {
    let one = |(preference, name): &(u16, &str)| Exchange {
        preference: *preference,
        name: (*name).into(),
    };
    Found::Exchanges(all.iter().map(one).collect())
}

fn addresses(all: &[[u8; 4]]) -> Found {
    Found::Addresses(all.iter().map(|four| Ipv4Addr::from(*four).into()).collect())
}

#[test]
fn an_answer_is_an_answer() {
    let server = Server::start(|asked| {
        let answers = [
            mx("a.example", 20, "b.example"),
            mx("a.example", 10, "C.Example"),
            mx("a.example", 0, "."),
        ];
        Some(reply(asked, 0, &answers, &[]))
    });
    let answer = ask(&[server.address], "a.example", Kind::Mx);
    assert_eq!((answer.ttl_seconds, answer.alias), (300, false));
    let Found::Exchanges(found) = answer.found else { panic!("{answer:?}") };
    let mut found: Vec<(u16, String)> =
        found.into_iter().map(|one| (one.preference, one.name.to_lowercase())).collect();
    found.sort();
    let expected = [(0, ""), (10, "c.example"), (20, "b.example")];
    assert_eq!(found, expected.map(|(preference, name)| (preference, name.to_owned())));
}

#[test]
fn there_is_none_is_an_answer_with_the_life_of_its_soa() {
    let server = Server::start(|asked| {
        let numbers: Vec<u8> =
            [1u32, 2, 3, 4, 77].iter().flat_map(|number| number.to_be_bytes()).collect();
        let soa = record(
            "example",
            SOA,
            900,
            &[name("ns.example"), name("root.example"), numbers].concat(),
        );
        match asked.name.as_str() {
            "gone.example" => Some(reply(asked, NXDOMAIN, &[], &[soa])),
            "bare.example" => Some(reply(asked, 0, &[], &[])),
            _ => Some(reply(asked, 0, &[], &[soa])),
        }
    });
    let client = client(&[server.address]);
    let answer = |found, ttl_seconds| Answer { found, ttl_seconds, alias: false };
    assert_eq!(ask_of(&client, "gone.example", Kind::Mx), answer(Found::NoName, 77));
    assert_eq!(ask_of(&client, "here.example", Kind::Mx), answer(Found::Nothing, 77));
    assert_eq!(ask_of(&client, "bare.example", Kind::V6).found, Found::Nothing);
}

#[test]
fn what_udp_cuts_short_comes_by_tcp() {
    let server = Server::start(|asked| {
        if !asked.tcp {
            return Some(reply(asked, TRUNCATED, &[], &[]));
        }
        let answers: Vec<Vec<u8>> = (0..1500)
            .map(|number| mx("a.example", number, &format!("h{number}.example")))
            .collect();
        Some(reply(asked, 0, &answers, &[]))
    });
    let Found::Exchanges(found) = ask(&[server.address], "a.example", Kind::Mx).found else {
        panic!()
    };
    assert_eq!(found.len(), 1500);
    assert_eq!((server.asked_by_udp(), server.asked_by_tcp()), (1, 1));
}

#[test]
fn answers_that_are_not_to_the_question_are_not_believed() {
    let lies: [(&str, Message); 5] = [
        ("another number", |asked| {
            let mut message = reply(asked, 0, &[a("a.example", [203, 0, 113, 66])], &[]);
            message[0] ^= 0xff;
            message
        }),
        ("another question", |asked| {
            let question = [name("evil.example"), vec![0, 1, 0, 1]].concat();
            reply(
                &Asked { question, ..asked.clone() },
                0,
                &[a("evil.example", [203, 0, 113, 66])],
                &[],
            )
        }),
        ("records of another name", |asked| {
            reply(asked, 0, &[a("evil.example", [203, 0, 113, 66])], &[])
        }),
        ("an address of another name beside it", |asked| {
            let records = [a("evil.example", [203, 0, 113, 66]), a("a.example", [192, 0, 2, 10])];
            reply(asked, 0, &records, &[])
        }),
        ("a question, not an answer", |asked| {
            let mut message = reply(asked, 0, &[a("a.example", [203, 0, 113, 66])], &[]);
            message[2] &= 0x7f;
            message
        }),
    ];
    for (what, lie) in lies {
        let liar = Server::start(move |asked| Some(lie(asked)));
        let honest =
            Server::start(|asked| Some(reply(asked, 0, &[a("a.example", [192, 0, 2, 10])], &[])));
        let client = client_of(&[liar.address, honest.address], IMPATIENCE);
        let answer = ask_of(&client, "a.example", Kind::V4);
        assert!(liar.asked_by_udp() > 0, "{what}: never asked");
        let poisoned = matches!(&answer.found, Found::Addresses(all) if all.iter().any(|one| one.to_string() == "203.0.113.66"));
        assert!(!poisoned, "{what}: {answer:?}");
    }
}

#[test]
fn what_is_no_message_is_no_answer() {
    let broken: [(&str, Message); 6] = [
        ("nothing", |_| Vec::new()),
        ("half a header", |asked| asked.id.to_vec()),
        ("a length beyond the end", |asked| {
            let mut message = reply(asked, 0, &[a("a.example", [192, 0, 2, 1])], &[]);
            let at = message.len() - 5;
            message[at] = 200;
            message
        }),
        ("records that are counted and not there", |asked| {
            let mut message = reply(asked, 0, &[], &[]);
            message[6..8].copy_from_slice(&[0xff, 0xff]);
            message
        }),
        ("a name that points to itself", |asked| {
            let mut message = reply(asked, 0, &[], &[]);
            message[7] = 1;
            let at = 0xc000 | u16::try_from(message.len()).unwrap();
            message.extend(at.to_be_bytes());
            message.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            message
        }),
        ("an address of five octets", |asked| {
            reply(asked, 0, &[record("a.example", A, 9, &[192, 0, 2, 1, 1])], &[])
        }),
    ];
    for (what, message) in broken {
        let server = Server::start(move |asked| Some(message(asked)));
        let answer = ask_of(&client_of(&[server.address], IMPATIENCE), "a.example", Kind::V4);
        assert!(matches!(answer.found, Found::Trouble(_)), "{what}: {answer:?}");
        assert!(server.asked_by_udp() > 0);
    }
}

#[test]
fn aliases_are_followed_and_those_in_circles_are_trouble() {
    let server = Server::start(|asked| {
        let alias = |from: &str, to: &str| record(from, CNAME, 60, &name(to));
        Some(match asked.name.as_str() {
            "alias.example" => {
                let records =
                    [alias("alias.example", "real.example"), a("real.example", [192, 0, 2, 10])];
                reply(asked, 0, &records, &[])
            }
            "self.example" => reply(asked, 0, &[alias("self.example", "self.example")], &[]),
            "ring.example" => reply(asked, 0, &[alias("ring.example", "gnir.example")], &[]),
            "gnir.example" => reply(asked, 0, &[alias("gnir.example", "ring.example")], &[]),
            "gone.example" => reply(asked, NXDOMAIN, &[], &[]),
            "dead.example" => reply(asked, NXDOMAIN, &[alias("dead.example", "gone.example")], &[]),
            other => {
                // A chain without end.
                let next = format!("x{other}");
                reply(asked, 0, &[alias(other, &next[..next.len().min(60)])], &[])
            }
        })
    });
    let client = client(&[server.address]);
    let answer = ask_of(&client, "alias.example", Kind::V4);
    let expected = Answer { found: addresses(&[[192, 0, 2, 10]]), ttl_seconds: 60, alias: true };
    assert_eq!(answer, expected);
    for endless in ["self.example", "ring.example", "endless.example"] {
        let answer = ask_of(&client, endless, Kind::V4);
        assert!(matches!(answer.found, Found::Trouble(_)), "{endless}: {answer:?}");
    }
    assert_eq!(ask_of(&client, "dead.example", Kind::V4).found, Found::NoName);
    assert!(server.asked_by_udp() < 500, "{} questions", server.asked_by_udp());
}

#[test]
fn failures_and_refusals_are_reasons_to_ask_the_next() {
    for (flags, trouble) in [(SERVFAIL, Trouble::Failed), (REFUSED, Trouble::Refused)] {
        let bad = Server::start(move |asked| Some(reply(asked, flags, &[], &[])));
        let good =
            Server::start(|asked| Some(reply(asked, 0, &[mx("a.example", 10, "b.example")], &[])));
        let answer = ask(&[bad.address], "a.example", Kind::Mx);
        assert_eq!(answer.found, Found::Trouble(trouble));
        let answer = ask(&[bad.address, good.address], "a.example", Kind::Mx);
        assert_eq!(answer.found, exchanges(&[(10, "b.example")]));
    }
}

#[test]
fn silence_costs_its_patience_once() {
    let dead = Server::start(|_| None);
    let good =
        Server::start(|asked| Some(reply(asked, 0, &[mx("a.example", 10, "b.example")], &[])));
    let client = client_of(&[dead.address, good.address], 5 * IMPATIENCE);
    assert_eq!(ask_of(&client, "a.example", Kind::Mx).found, exchanges(&[(10, "b.example")]));
    let before = dead.asked_by_udp();
    for _again in 0..20 {
        ask_of(&client, "a.example", Kind::Mx);
    }
    assert_eq!(dead.asked_by_udp(), before, "who answered last is asked first");
    let client = client_of(&[dead.address], IMPATIENCE);
    assert_eq!(ask_of(&client, "a.example", Kind::Mx).found, Found::Trouble(Trouble::Timeout));
}

#[test]
fn a_closed_port_and_no_resolver_are_trouble() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = socket.local_addr().unwrap();
    drop(socket);
    let answer = ask_of(&client_of(&[closed], IMPATIENCE), "a.example", Kind::Mx);
    assert!(matches!(answer.found, Found::Trouble(_)), "{answer:?}");
    assert_eq!(ask(&[], "a.example", Kind::Mx).found, Found::Trouble(Trouble::NoResolver));
}

#[test]
fn more_questions_than_places_are_all_answered_and_the_rest_is_told_at_once() {
    let server = Server::start(|asked| {
        let last = u8::try_from(asked.name.len()).unwrap();
        Some(reply(asked, 0, &[a(&asked.name, [192, 0, 2, last])], &[]))
    });
    let client = client(&[server.address]);
    let answers: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let (sender, receiver) = mpsc::channel();
    const QUESTIONS: usize = 6000;
    for number in 0..QUESTIONS {
        let (answers, sender) = (Arc::clone(&answers), sender.clone());
        let question =
            Question { name: format!("h{number}.example"), kind: Kind::V4, files: false };
        let reply = move |answer: Answer| {
            let what = match answer.found {
                Found::Addresses(_) => "found".to_owned(),
                Found::Exchanges(_) | Found::Nothing | Found::NoName | Found::Trouble(_) => {
                    format!("{:?}", answer.found)
                }
            };
            *answers.lock().unwrap().entry(what).or_default() += 1;
            sender.send(()).unwrap();
        };
        client.ask(question, Box::new(reply));
    }
    for _answer in 0..QUESTIONS {
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let answers = answers.lock().unwrap();
    assert!(answers["found"] > 3000, "{answers:?}");
    let busy = answers.get("Trouble(Busy)").copied().unwrap_or(0);
    assert_eq!(answers["found"] + busy, QUESTIONS, "{answers:?}");
}

/// `sluicegate mx` with a server that asks there.
fn command(resolver: SocketAddr, domains: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sluicegate.toml");
    let text = format!(
        "[server]\nhostname = \"us.example\"\n[smtp]\nlisten = [\"192.0.2.250:0\"]\nresolvers = [\"{resolver}\"]\n\
         resolver_seconds = 3\n"
    );
    std::fs::write(&config, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["mx", "--config"])
        .arg(&config)
        .args(domains)
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_tries_the_resolvers_that_are_named() {
    let good = Server::start(|asked| Some(reply(asked, NXDOMAIN, &[], &[])));
    let bad = Server::start(|asked| Some(reply(asked, REFUSED, &[], &[])));
    let dead = Server::start(|_| None);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sluicegate.toml");
    let (good, bad, dead) = (good.address, bad.address, dead.address);
    let text = format!(
        "[server]\nmetrics_listen = \"\"\n[smtp]\nlisten = [\"127.0.0.1:0\"]\nresolvers = [\"{good}\", \"{bad}\", \"{dead}\"]\n"
    );
    std::fs::write(&config, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["check", "--config"])
        .arg(&config)
        .current_dir(directory.path())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = out.lines().filter(|line| line.contains("resolver ")).collect();
    let remedy = "(see that it runs and lets this machine ask, or change [smtp] resolvers)";
    let expected = [
        format!("ok    resolver {good} answers"),
        format!("warn  resolver {bad}: the resolver refused {remedy}"),
        format!("warn  resolver {dead}: no answer in time {remedy}"),
    ];
    assert_eq!(lines, expected, "{out}");
}

/// A question's type: what stands before its class.
fn kind_of(asked: &Asked) -> u16 {
    let at = asked.question.len() - 4;
    u16::from_be_bytes([asked.question[at], asked.question[at + 1]])
}

#[test]
fn the_command_says_where_mail_goes() {
    let server = Server::start(|asked| {
        let records = match (asked.name.as_str(), kind_of(asked)) {
            ("a.example", MX) => vec![
                mx("a.example", 20, "Other.Example"),
                mx("a.example", 10, "mx.a.example"),
                mx("a.example", 30, "us.example"),
                mx("a.example", 40, "worse.example"),
            ],
            ("null.example", MX) => vec![mx("null.example", 0, ".")],
            ("loop.example", MX) => vec![mx("loop.example", 5, "back.example")],
            ("back.example", A) => vec![a("back.example", [127, 0, 0, 1])],
            ("mx.a.example", A) => {
                vec![a("mx.a.example", [192, 0, 2, 10]), a("mx.a.example", [192, 0, 2, 11])]
            }
            ("other.example", A) => vec![a("other.example", [192, 0, 2, 20])],
            ("xn--bcher-kva.example", A) => vec![a("xn--bcher-kva.example", [192, 0, 2, 30])],
            ("late.example", _) => return None,
            ("mx.a.example" | "other.example" | "back.example" | "xn--bcher-kva.example", _) => {
                vec![]
            }
            _ => return Some(reply(asked, NXDOMAIN, &[], &[])),
        };
        Some(reply(asked, 0, &records, &[]))
    });
    let (status, out, err) =
        command(server.address, &["A.example", "b\u{fc}cher.example", "[192.0.2.40]"]);
    let expected = "A.example\n     10  mx.a.example  192.0.2.10 192.0.2.11\n     20  other.example  192.0.2.20\n   \
                    note  MX us.example is this server\nb\u{fc}cher.example\n      0  xn--bcher-kva.example  192.0.2.30\n\
                    [192.0.2.40]\n      0  192.0.2.40  192.0.2.40\n";
    assert_eq!((status, out.as_str(), err.as_str()), (0, expected, ""));
    let domains = ["null.example", "loop.example", "gone.example", "a.example", "late.example"];
    let (status, out, err) = command(server.address, &domains);
    let lines: Vec<&str> = out.lines().filter(|line| line.contains(':')).collect();
    let expected = [
        "  never  556 5.1.10 null.example: the domain takes no mail (null MX)",
        "  never  554 5.4.6 loop.example: mail for the domain would come back to this server",
        "  never  550 5.1.2 gone.example: no such domain",
        "  later  451 4.4.3 late.example: MX: no answer in time",
    ];
    assert_eq!(lines, expected);
    let said = "sluicegate: mx: mail cannot be brought to 4 of 5 (see above)\n";
    assert_eq!((status, err.as_str()), (1, said));
}

#[test]
fn other_resolvers_take_over_at_once_and_files_are_read() {
    let one = Server::start(|asked| Some(reply(asked, 0, &[a("a.example", [192, 0, 2, 1])], &[])));
    let two = Server::start(|asked| Some(reply(asked, 0, &[a("a.example", [192, 0, 2, 2])], &[])));
    let files = tempfile::tempdir().unwrap();
    let hosts = files.path().join("hosts");
    std::fs::write(&hosts, "192.0.2.77 a.example\n").unwrap();
    let settings = |resolvers: &[SocketAddr]| Settings {
        resolvers: resolvers.to_vec(),
        patience: PATIENCE,
        resolv_conf: files.path().join("resolv.conf"),
        hosts: hosts.clone(),
    };
    let client = Client::start(settings(&[one.address])).unwrap();
    assert_eq!(ask_of(&client, "a.example", Kind::V4).found, addresses(&[[192, 0, 2, 1]]));
    client.configure(settings(&[two.address]));
    assert_eq!(ask_of(&client, "a.example", Kind::V4).found, addresses(&[[192, 0, 2, 2]]));
    let (sender, receiver) = mpsc::channel();
    let question = Question { name: "a.example".to_owned(), kind: Kind::V4, files: true };
    client.ask(question, Box::new(move |answer| sender.send(answer).unwrap()));
    let answer = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(answer.found, addresses(&[[192, 0, 2, 77]]));
    client.configure(settings(&[]));
    assert_eq!(ask_of(&client, "a.example", Kind::V4).found, Found::Trouble(Trouble::NoResolver));
}
