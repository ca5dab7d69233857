//! The protocol core alone: what one command, one listing and one session cost without a kernel.
//!
//! Every bench asserts its answer before it measures. What the numbers mean: `benches/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a bench may stop at what it does not expect"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;

use criterion::{Criterion, Throughput};
use sluicegate::ftp::Session;
use sluicegate::ftp::command::{self, Command, Problem};
use sluicegate::ftp::convert::CodePage;
use sluicegate::ftp::listing;
use sluicegate::ftp::session::{Settings, Tls};
use sluicegate::ftp::step::{
    Account, Answer, Ask, Entry, EntryKind, Facts, ListForm, News, Next, UnixTime,
};
use sluicegate::smtp::command::{self as smtp, Why};
use sluicegate::smtp::session as smtp_session;
use sluicegate::smtp::step as smtp_step;
use sluicegate::wire::data::BareNewlines;
use sluicegate::wire::outbox::Outbox;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    parse_smtp(&mut criterion);
    list(&mut criterion);
    dialogue(&mut criterion);
    mail(&mut criterion);
    criterion.final_summary();
}

/// What mirrors, browsers and the curious send; the last four are refused.
const LINES: [&[u8]; 20] = [
    b"USER anonymous",
    b"PASS mirror@example.org",
    b"SYST",
    b"FEAT",
    b"TYPE I",
    b"CWD /pub/linux/releases",
    b"EPSV",
    b"PASV",
    b"PORT 192,0,2,7,200,10",
    b"EPRT |2|2001:db8::7|51210|",
    b"MLSD",
    b"LIST -la",
    b"SIZE disk image.iso",
    b"MDTM disk image.iso",
    b"REST 1073741824",
    b"RETR disk image.iso",
    b"stor",
    b"TYPE A C",
    b"AUTH TLS",
    b"GET / HTTP/1.1",
];

fn parse(criterion: &mut Criterion) {
    let understood = LINES.iter().filter(|line| command::parse(line).is_ok()).count();
    assert_eq!(understood, LINES.len() - 4);
    assert_eq!(command::parse(LINES[14]), Ok(Command::Rest(1 << 30)));
    assert_eq!(command::parse(LINES[15]), Ok(Command::Retr(b"disk image.iso")));
    let refused: Vec<_> = LINES[16..].iter().map(|line| command::parse(line).err()).collect();
    let expected = [Problem::Syntax, Problem::Parameter, Problem::Absent, Problem::Unknown];
    assert_eq!(refused, expected.map(Some));

    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(LINES.len() as u64));
    group.bench_function("20 lines", |bencher| {
        bencher.iter(|| {
            for line in LINES {
                let _command = black_box(command::parse(black_box(line)));
            }
        });
    });
    group.finish();
}

/// What senders send; the last three are refused.
const SMTP_LINES: [&[u8]; 12] = [
    b"EHLO mx7.mail.example.org",
    b"MAIL FROM:<bounces+4711@lists.example.org> SIZE=4096 BODY=8BITMIME",
    b"RCPT TO:<someone.else@example.net>",
    b"RCPT TO:<postmaster> NOTIFY=FAILURE,DELAY ORCPT=rfc822;postmaster+40example.net",
    b"RCPT TO: \"a b\"@[IPv6:2001:db8::7]",
    b"DATA",
    b"BDAT 86400 LAST",
    b"RSET",
    b"QUIT",
    b"MAIL FROM:<someone>",
    b"RCPT TO:<a@b> SIZE=1",
    b"GET / HTTP/1.1",
];

fn parse_smtp(criterion: &mut Criterion) {
    let syntax = smtp::Syntax { extended: true, ..smtp::Syntax::default() };
    let refused = SMTP_LINES.map(|line| smtp::parse(line, syntax).err().map(|bad| bad.why));
    let expected = [Why::BadAddress, Why::UnknownParameter, Why::Foreign];
    assert_eq!(refused[9..], expected.map(Some));
    assert!(refused[..9].iter().all(Option::is_none), "{refused:?}");

    let mut group = criterion.benchmark_group("parse SMTP");
    group.throughput(Throughput::Elements(SMTP_LINES.len() as u64));
    group.bench_function("12 lines", |bencher| {
        bencher.iter(|| {
            for line in SMTP_LINES {
                drop(black_box(smtp::parse(black_box(line), syntax)));
            }
        });
    });
    group.finish();
}

/// Entries of the listings.
const ENTRIES: u64 = 2_000;
/// 2026-09-03 10:33:18 UTC.
const NOW: UnixTime = UnixTime(1_788_431_598);

fn entries() -> Vec<Entry> {
    let entry = |number: u64| Entry {
        name: format!("package-{number:04}.tar.gz").into_bytes(),
        kind: EntryKind::File,
        size_bytes: 1_000_000 + number,
        modified: UnixTime(NOW.0 - 86_400),
        mode: 0o644,
        links: 1,
        unique: (0xfd00, 0x10_0000 + number),
        link_target: None,
        writable: false,
        readable: true,
        creatable: false,
        managed: false,
    };
    (0..ENTRIES).map(entry).collect()
}

fn list(criterion: &mut Criterion) {
    let entries = entries();
    let form = |form: ListForm, out: &mut Vec<u8>| {
        for entry in &entries {
            listing::line(form, entry, b"", NOW, out);
        }
    };
    let forms = [
        (
            "LIST",
            ListForm::Long,
            "-rw-r--r--   1 ftp      ftp           1000000 Sep  2 10:33 package-0000.tar.gz\r\n",
        ),
        (
            "MLSD",
            ListForm::Machine(Facts::ALL),
            "type=file;size=1000000;modify=20260902103318;perm=r;unique=fd00.100000;UNIX.mode=0644; package-0000.tar.gz\r\n",
        ),
    ];
    let mut group = criterion.benchmark_group("listing of 2,000 entries");
    group.throughput(Throughput::Elements(ENTRIES));
    for (name, kind, first) in forms {
        let mut out = Vec::new();
        form(kind, &mut out);
        assert!(
            out.starts_with(first.as_bytes()),
            "{name}: {:?}",
            String::from_utf8_lossy(&out[..first.len()])
        );
        // Every name and every number here has the same width.
        assert_eq!(out.len(), first.len() * entries.len(), "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                form(black_box(kind), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// Files fetched in one session.
const FILES: usize = 4;

/// A mirror that sends its next command without waiting where it may.
fn script() -> String {
    let mut script = String::from(
        "USER anonymous\r\nPASS mirror@example.org\r\nSYST\r\nFEAT\r\nPWD\r\nTYPE I\r\nCWD pub\r\n",
    );
    for number in 0..FILES {
        write!(script, "SIZE file-{number}\r\nEPSV\r\nRETR file-{number}\r\n").unwrap();
    }
    script.push_str("QUIT\r\n");
    script
}

/// Plays the script against a driver that answers at once. The replies.
fn play(settings: &Rc<Settings>, mut input: &[u8]) -> Vec<u8> {
    let local: SocketAddr = ([192, 0, 2, 1], 21).into();
    let peer: SocketAddr = ([192, 0, 2, 7], 51_210).into();
    let mut out = Outbox::default();
    let mut session = Session::new(Rc::clone(settings), local, peer, &mut out);
    let mut sent = Vec::new();
    let mut running = false;
    loop {
        match session.advance(&mut input, &mut out) {
            Next::Receive => {
                sent.extend(out.take());
                assert!(running, "the script is over and the session is not");
                running = false;
                let opened = News::Opened { name: None, size_bytes: Some(16_384) };
                session.transfer(opened, &mut out);
                session.transfer(News::Done { bytes: 16_384 }, &mut out);
            }
            Next::Ask(ask) => session.resume(answer(&ask), &mut out),
            Next::Listen(_) => {
                session.resume(Answer::Listening(([192, 0, 2, 1], 40_001).into()), &mut out);
            }
            Next::Transfer(_) => running = true,
            Next::Unlisten => {}
            Next::Secure | Next::Unsecure => unreachable!("nobody speaks TLS"),
            Next::Abort => unreachable!("nobody aborts"),
            Next::Close => {
                sent.extend(out.take());
                return sent;
            }
        }
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the script asks two questions; the rest are answered alike"
)]
fn answer(ask: &Ask) -> Answer {
    match ask {
        Ask::Login { .. } => Answer::LoggedIn(Account {
            name: b"anonymous".to_vec(),
            anonymous: true,
            writes: false,
            fxp: false,
            id: 0,
        }),
        Ask::Size(..) => Answer::Size(16_384),
        _ => Answer::Done,
    }
}

fn dialogue(criterion: &mut Criterion) {
    let settings = Rc::new(Settings {
        hostname: "edge.example.org".to_owned(),
        banner: String::new(),
        anonymous: true,
        login_failures_max: 5,
        passive_address: None,
        idle_seconds_max: 7_200,
        idle_seconds: 300,
        code_page: CodePage::default(),
        tls: Tls::Off,
    });
    let script = script();
    let sent = String::from_utf8(play(&settings, script.as_bytes())).unwrap();
    // The first digits of final and preliminary replies, in order.
    let codes: Vec<&str> = sent
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| &line[..3])
        .filter(|code| code.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    let mut expected = vec!["220", "331", "230", "215", "211", "257", "200", "250"];
    for _ in 0..FILES {
        expected.extend(["213", "229", "150", "226"]);
    }
    expected.push("221");
    assert_eq!(codes, expected, "{sent}");

    let commands = script.lines().count();
    let mut group = criterion.benchmark_group("dialogue");
    group.throughput(Throughput::Elements(commands as u64));
    group.bench_function("login, 4 RETR, QUIT", |bencher| {
        bencher.iter(|| black_box(play(&settings, black_box(script.as_bytes()))));
    });
    group.finish();
}

/// Messages of one session.
const MESSAGES: usize = 16;
/// Octets of one message, header and CRLFs included.
const MESSAGE_BYTES: usize = 4096;

/// A sender that uses PIPELINING: a group for each message, its body behind it.
fn letters() -> Vec<u8> {
    let mut body =
        b"From: sam@example.edu\r\nTo: ann@example.org\r\nSubject: a bench\r\n\r\n".to_vec();
    while body.len() < MESSAGE_BYTES {
        let left = MESSAGE_BYTES - body.len();
        body.extend(b"abcdefghijklmnopqrstuvwxyz0123456789".iter().cycle().take(70.min(left - 2)));
        body.extend_from_slice(b"\r\n");
        if MESSAGE_BYTES - body.len() == 1 {
            let end = body.len() - 2;
            body.insert(end, b'x');
        }
    }
    let mut script = b"EHLO client.example\r\n".to_vec();
    for _ in 0..MESSAGES {
        script.extend_from_slice(
            b"MAIL FROM:<sam@example.edu> SIZE=4096\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n",
        );
        script.extend_from_slice(&body);
        script.extend_from_slice(b".\r\n");
    }
    script.extend_from_slice(b"QUIT\r\n");
    script
}

/// Plays the script against a driver that answers at once: replies, messages, octets of them.
fn post(settings: &Rc<smtp_session::Settings>, mut input: &[u8]) -> (Vec<u8>, usize, usize) {
    use smtp_step::{Answer, Next};
    let local: SocketAddr = ([192, 0, 2, 1], 25).into();
    let peer: SocketAddr = ([192, 0, 2, 7], 51_210).into();
    let mut out = Outbox::default();
    let mut session = smtp_session::Session::new(Rc::clone(settings), local, peer, &mut out);
    let (mut sent, mut messages, mut octets) = (Vec::new(), 0, 0);
    loop {
        match session.advance(&mut input, &mut out) {
            Next::Receive => panic!("the script is over and the session is not"),
            Next::Ask(_) => session.resume(Answer::Done, &mut out),
            Next::Begin { .. } => {}
            Next::Body(slice) => octets += black_box(slice).len(),
            Next::Commit(envelope) => {
                drop(black_box(envelope));
                messages += 1;
                session.resume(Answer::Committed("0123456789ABCDEF".to_owned()), &mut out);
            }
            Next::Discard => panic!("every message is good"),
            Next::Close => {
                sent.extend(out.take());
                return (sent, messages, octets);
            }
        }
    }
}

fn mail(criterion: &mut Criterion) {
    let settings = Rc::new(smtp_session::Settings {
        hostname: "edge.example.org".to_owned(),
        banner: String::new(),
        message_bytes_max: 50 << 20,
        recipients_max: 1000,
        messages_max: 0,
        bare_newlines: BareNewlines::Reject,
        strict_syntax: false,
        verify: false,
        expand: false,
        hops_max: 100,
        errors_max: 20,
        idle_seconds: 300,
    });
    let script = letters();
    let (sent, messages, octets) = post(&settings, &script);
    assert_eq!((messages, octets), (MESSAGES, MESSAGES * MESSAGE_BYTES));
    let sent = String::from_utf8(sent).unwrap();
    let last = sent.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
    let codes: Vec<&str> = last.map(|line| &line[..3]).collect();
    let mut expected = vec!["220", "250"];
    for _ in 0..MESSAGES {
        expected.extend(["250", "250", "354", "250"]);
    }
    expected.push("221");
    assert_eq!(codes, expected, "{sent}");

    let mut group = criterion.benchmark_group("mail");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("16 messages of 4 KiB, pipelined", |bencher| {
        bencher.iter(|| black_box(post(&settings, black_box(&script))));
    });
    group.finish();
}
