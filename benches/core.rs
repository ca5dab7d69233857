//! The protocol core alone: what one command, one listing and one session cost without a kernel.
//!
//! Every bench asserts its answer before it measures. What the numbers mean: `benches/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a bench may stop at what it does not expect"
)]

#[path = "common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;

use common::Path;
use criterion::Throughput;
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
use sluicegate::store::spool::QueueId;
use sluicegate::store::spool::format::{Kind, Record, SegmentHeader, encode_header};
use sluicegate::wire::data::BareNewlines;
use sluicegate::wire::outbox::Outbox;

fn main() {
    let mut paths = vec![parse(), parse_smtp()];
    paths.extend(list());
    paths.extend(reply());
    paths.extend(dialogue());
    paths.extend(dialogue_smtp());
    paths.push(mail());
    paths.extend(keep());
    common::main(paths);
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
    b"SMNT /other",
    b"GET / HTTP/1.1",
];

fn parse() -> Path {
    let understood = LINES.iter().filter(|line| command::parse(line).is_ok()).count();
    assert_eq!(understood, LINES.len() - 4);
    assert_eq!(command::parse(LINES[14]), Ok(Command::Rest(1 << 30)));
    assert_eq!(command::parse(LINES[15]), Ok(Command::Retr(b"disk image.iso")));
    let refused: Vec<_> = LINES[16..].iter().map(|line| command::parse(line).err()).collect();
    let expected = [Problem::Syntax, Problem::Parameter, Problem::Absent, Problem::Unknown];
    assert_eq!(refused, expected.map(Some));

    Path::new("parse", "20 lines", Throughput::Elements(LINES.len() as u64), || {
        for line in LINES {
            let _command = black_box(command::parse(black_box(line)));
        }
    })
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

fn parse_smtp() -> Path {
    let syntax = smtp::Syntax { extended: true, ..smtp::Syntax::default() };
    let refused = SMTP_LINES.map(|line| smtp::parse(line, syntax).err().map(|bad| bad.why));
    let expected = [Why::BadAddress, Why::UnknownParameter, Why::Foreign];
    assert_eq!(refused[9..], expected.map(Some));
    assert!(refused[..9].iter().all(Option::is_none), "{refused:?}");

    Path::new("parse SMTP", "12 lines", Throughput::Elements(SMTP_LINES.len() as u64), move || {
        for line in SMTP_LINES {
            drop(black_box(smtp::parse(black_box(line), syntax)));
        }
    })
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

fn list() -> Vec<Path> {
    let entries: Rc<[Entry]> = entries().into();
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
    let path = |(name, form, first): (&str, ListForm, &str)| {
        let entries = Rc::clone(&entries);
        let mut out = Vec::new();
        lines(&entries, form, &mut out);
        assert!(
            out.starts_with(first.as_bytes()),
            "{name}: {:?}",
            String::from_utf8_lossy(&out[..first.len()])
        );
        // Every name and every number here has the same width.
        assert_eq!(out.len(), first.len() * entries.len(), "{name}");
        Path::new("listing of 2,000 entries", name, Throughput::Elements(ENTRIES), move || {
            out.clear();
            lines(&entries, black_box(form), &mut out);
            black_box(out.len());
        })
    };
    forms.map(path).into()
}

fn lines(entries: &[Entry], form: ListForm, out: &mut Vec<u8>) {
    for entry in entries {
        listing::line(form, entry, b"", NOW, out);
    }
}

/// From the table to the octets that are sent: a plain line, lines with places to fill, one of several lines.
fn reply() -> Vec<Path> {
    use sluicegate::{ftp::reply as ftp, smtp::reply as smtp};
    let say = |out: &mut Outbox| {
        ftp::TYPE_IMAGE.send(out);
        ftp::VALUE.fill(&[b"16384"], out);
        ftp::EXTENDED_PASSIVE.fill(&[b"|||40001|"], out);
        ftp::OPENING_SIZE.fill(&[b"16384"], out);
        ftp::COMPLETE.send(out);
        ftp::FEATURES.begin(&[], out);
        ftp::indented(&[b"MLST type*;size*;modify*;"], out);
        ftp::FEATURES_END.send(out);
    };
    let say_smtp = |out: &mut Outbox| {
        smtp::SENDER.send(out);
        smtp::RECIPIENT.send(out);
        smtp::SEND_DATA.send(out);
        smtp::QUEUED.fill(&[b"0123456789ABC"], out);
    };
    let mut out = Outbox::default();
    say(&mut out);
    let expected = "200 Type is I.\r\n213 16384\r\n229 Entering Extended Passive Mode (|||40001|)\r\n\
        150 Opening data connection (16384 bytes).\r\n226 Transfer complete.\r\n\
        211-Extensions:\r\n MLST type*;size*;modify*;\r\n211 End\r\n";
    assert_eq!(String::from_utf8(out.take()).unwrap(), expected);
    say_smtp(&mut out);
    let expected = "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n\
        250 2.0.0 Ok: queued as 0123456789ABC\r\n";
    assert_eq!(String::from_utf8(out.take()).unwrap(), expected);
    vec![
        Path::new("reply", "6 of FTP", Throughput::Elements(6), move || {
            let mut out = Outbox::default();
            say(black_box(&mut out));
            drop(black_box(out.take()));
        }),
        Path::new("reply", "4 of SMTP", Throughput::Elements(4), move || {
            let mut out = Outbox::default();
            say_smtp(black_box(&mut out));
            drop(black_box(out.take()));
        }),
    ]
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

/// The codes of the final and preliminary replies, in order.
fn codes(sent: &[u8]) -> Vec<&str> {
    std::str::from_utf8(sent)
        .unwrap()
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| &line[..3])
        .filter(|code| code.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}

/// How often a command is repeated where it is looked at alone.
const REPEATED: usize = 64;

fn dialogue() -> Vec<Path> {
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
    let sent = play(&settings, script.as_bytes());
    let mut expected = vec!["220", "331", "230", "215", "211", "257", "200", "250"];
    for _ in 0..FILES {
        expected.extend(["213", "229", "150", "226"]);
    }
    expected.push("221");
    assert_eq!(codes(&sent), expected, "{}", String::from_utf8_lossy(&sent));

    let commands = Throughput::Elements(script.lines().count() as u64);
    let whole = Rc::clone(&settings);
    let mut paths = vec![Path::new("dialogue", "login, 4 RETR, QUIT", commands, move || {
        drop(black_box(play(&whole, black_box(script.as_bytes()))));
    })];
    for (line, code) in [("NOOP", "200"), ("CWD pub", "250"), ("SIZE file", "213"), ("EPSV", "229")]
    {
        let settings = Rc::clone(&settings);
        let script = format!(
            "USER anonymous\r\nPASS x@example.org\r\n{}QUIT\r\n",
            format!("{line}\r\n").repeat(REPEATED)
        );
        let sent = play(&settings, script.as_bytes());
        assert_eq!(codes(&sent).iter().filter(|one| **one == code).count(), REPEATED, "{line}");
        let name = format!("{REPEATED} {}", line.split(' ').next().unwrap());
        paths.push(Path::new("dialogue", name, Throughput::Elements(REPEATED as u64), move || {
            drop(black_box(play(&settings, black_box(script.as_bytes()))));
        }));
    }
    paths
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
            Next::Commit(envelope, _) => {
                drop(black_box(envelope));
                messages += 1;
                session.resume(Answer::Committed("0123456789ABCDEF".to_owned()), &mut out);
            }
            Next::Flush => panic!("a message has one recipient"),
            Next::Discard | Next::Secure => panic!("every message is good, and in clear"),
            Next::Close => {
                sent.extend(out.take());
                return (sent, messages, octets);
            }
        }
    }
}

fn smtp_settings() -> Rc<smtp_session::Settings> {
    Rc::new(smtp_session::Settings {
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
        security: smtp_session::Security::default(),
        lmtp: false,
    })
}

/// Commands that carry no message, each many times in one session.
fn dialogue_smtp() -> Vec<Path> {
    let settings = smtp_settings();
    let mail = "MAIL FROM:<sam@example.edu> SIZE=4096\r\n";
    let cases = [
        ("NOOP", "", "NOOP\r\n".to_owned(), 2),
        ("MAIL, RSET", "", format!("{mail}RSET\r\n"), 2 + REPEATED),
        ("RCPT", mail, "RCPT TO:<ann@example.org>\r\n".to_owned(), 3),
    ];
    let path = |(name, before, repeated, more): (&str, &str, String, usize)| {
        let settings = Rc::clone(&settings);
        let script =
            format!("EHLO client.example\r\n{before}{}RSET\r\nQUIT\r\n", repeated.repeat(REPEATED));
        let (sent, messages, _) = post(&settings, script.as_bytes());
        let done = codes(&sent).iter().filter(|code| **code == "250").count();
        // Besides the repeated ones: EHLO, the last RSET, and what stands before or comes in pairs.
        assert_eq!((done, messages), (REPEATED + more, 0), "{}", String::from_utf8_lossy(&sent));
        let name = format!("{REPEATED} {name}");
        Path::new("dialogue SMTP", name, Throughput::Elements(REPEATED as u64), move || {
            drop(black_box(post(&settings, black_box(script.as_bytes()))));
        })
    };
    cases.map(path).into()
}

fn mail() -> Path {
    let settings = smtp_settings();
    let script = letters();
    let (sent, messages, octets) = post(&settings, &script);
    assert_eq!((messages, octets), (MESSAGES, MESSAGES * MESSAGE_BYTES));
    let mut expected = vec!["220", "250"];
    for _ in 0..MESSAGES {
        expected.extend(["250", "250", "354", "250"]);
    }
    expected.push("221");
    assert_eq!(codes(&sent), expected, "{}", String::from_utf8_lossy(&sent));

    let messages = Throughput::Elements(MESSAGES as u64);
    Path::new("mail", "16 messages of 4 KiB, pipelined", messages, move || {
        drop(black_box(post(&settings, black_box(&script))));
    })
}

/// A message as the spool keeps it, and back: its header with a checksum over everything.
fn keep() -> Vec<Path> {
    const ROOM: u64 = 1 << 20;
    let segment =
        SegmentHeader { shard: 0, number: 1, generation: 7, salt: 42, bytes: ROOM, last_id: 3 };
    let (meta, body) = ([b'm'; 300], [b'x'; MESSAGE_BYTES]);
    let whole = move |header: &[u8]| [header, &meta, &body].concat();
    let record = move |position| Record {
        kind: Kind::Message,
        id: QueueId(4),
        position,
        batch: 4096,
        meta: &[],
        body: &[],
    };
    let header = move |position| {
        encode_header(&segment, &Record { meta: &meta, body: &body, ..record(position) })
    };
    let octets = whole(&header(4096));
    let read = Record::parse(&segment, &octets, 4096).unwrap();
    assert_eq!(
        (read.kind, read.id, read.meta, read.body),
        (Kind::Message, QueueId(4), &meta[..], &body[..])
    );
    let mut damaged = octets.clone();
    damaged[400] ^= 1;
    assert_eq!(Record::parse(&segment, &damaged, 4096), None);
    let bytes = Throughput::Bytes(octets.len() as u64);
    vec![
        Path::new("spool record of 4 KiB", "write", bytes.clone(), move || {
            black_box(header(black_box(4096)));
        }),
        Path::new("spool record of 4 KiB", "read", bytes, move || {
            black_box(Record::parse(&segment, black_box(&octets), 4096).is_some());
        }),
    ]
}
