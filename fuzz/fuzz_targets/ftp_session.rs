//! The dialogue with a driver that answers at will: the same replies however the octets are split, exactly one
//! final reply for every line, every reply well formed, nothing unbounded.
#![no_main]

use std::net::SocketAddr;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sluicegate::ftp::Session;
use sluicegate::ftp::convert::CodePage;
use sluicegate::ftp::session::{Settings, Tls};
use sluicegate::ftp::step::{
    Account, Answer, Ask, Entry, EntryKind, Family, Fault, Job, News, Next, Transfer, UnixTime,
};
use sluicegate::limits::OUTBOX_BYTES_MAX;
use sluicegate::wire::outbox::Outbox;

/// One reply may still be appended when the outbox is just not full.
const REPLY_BYTES_MAX: usize = 20 * 1024;

/// What the world does next.
#[derive(Debug, Clone, Arbitrary)]
enum Event {
    /// One of the lines that sessions are made of.
    Line(u8),
    /// Two lines that belong together.
    Login,
    /// Any octets.
    Octets(Vec<u8>),
    /// The running transfer moves on or ends.
    News(u8),
    /// The limit of the timer passed.
    Timeout,
    /// The server goes down.
    Drain,
}

#[derive(Debug, Arbitrary)]
struct Script {
    events: Vec<Event>,
    answers: Vec<u8>,
    v6: bool,
    /// TLS is offered: then octets behind AUTH and REIN end the session, so that splits matter.
    tls: bool,
}

const LINES: &[&[u8]] = &[
    b"USER anonymous\r\n",
    b"PASS x\r\n",
    b"ACCT x\r\n",
    b"CWD d\r\n",
    b"CDUP\r\n",
    b"SMNT x\r\n",
    b"REIN\r\n",
    b"QUIT\r\n",
    b"PORT 127,0,0,1,200,10\r\n",
    b"PASV\r\n",
    b"EPSV\r\n",
    b"EPSV ALL\r\n",
    b"EPSV 1\r\n",
    b"EPSV 2\r\n",
    b"EPRT |1|127.0.0.1|51210|\r\n",
    b"EPRT |2|::1|51210|\r\n",
    b"EPRT |3|x|1|\r\n",
    b"TYPE I\r\n",
    b"TYPE A\r\n",
    b"TYPE E\r\n",
    b"STRU R\r\n",
    b"STRU F\r\n",
    b"MODE S\r\n",
    b"RETR f\r\n",
    b"STOR f\r\n",
    b"STOU\r\n",
    b"STOU f\r\n",
    b"APPE f\r\n",
    b"ALLO 100\r\n",
    b"REST 10\r\n",
    b"RNFR f\r\n",
    b"RNTO g\r\n",
    b"ABOR\r\n",
    b"DELE f\r\n",
    b"RMD d\r\n",
    b"MKD d\r\n",
    b"PWD\r\n",
    b"LIST\r\n",
    b"LIST -la\r\n",
    b"LIST *.c\r\n",
    b"NLST\r\n",
    b"NLST d\r\n",
    b"MLSD\r\n",
    b"MLST\r\n",
    b"MLST f\r\n",
    b"SITE HELP\r\n",
    b"SITE CHMOD 644 f\r\n",
    b"SITE UTIME 20200101000000 f\r\n",
    b"SITE UMASK 022\r\n",
    b"SITE IDLE 10\r\n",
    b"SITE SYMLINK f g\r\n",
    b"SYST\r\n",
    b"STAT\r\n",
    b"STAT d\r\n",
    b"HELP\r\n",
    b"HELP RETR\r\n",
    b"NOOP\r\n",
    b"FEAT\r\n",
    b"OPTS UTF8 ON\r\n",
    b"OPTS MLST size;\r\n",
    b"MDTM f\r\n",
    b"SIZE f\r\n",
    b"MFMT 20200101000000 f\r\n",
    b"CLNT x\r\n",
    b"NONSENSE\r\n",
    b"\r\n",
    b"GET / HTTP/1.1\r\n",
    b"USER bob\r\n",
    b"PASS wrong\r\n",
    b"\xff\xf4\xff\xf2ABOR\r\n",
    b"noop\n",
    b"AUTH TLS\r\n",
    b"AUTH SSL\r\n",
    b"PBSZ 0\r\n",
    b"PROT P\r\n",
    b"PROT C\r\n",
    b"CCC\r\n",
];

struct Driver {
    session: Session,
    outbox: Outbox,
    sent: Vec<u8>,
    answers: Vec<u8>,
    asked: usize,
    running: Option<Transfer>,
    opened: bool,
    transfers: usize,
    extra_finals: usize,
    closed: bool,
    /// What the session would not take yet.
    kept: Vec<u8>,
    v6: bool,
}

impl Driver {
    fn new(script: &Script) -> Self {
        let settings = Settings {
            hostname: "edge.example.org".into(),
            banner: "first line\nsecond line".into(),
            anonymous: true,
            login_failures_max: 5,
            passive_address: None,
            idle_seconds_max: 7200,
            idle_seconds: 300,
            code_page: CodePage::default(),
            tls: if script.tls { Tls::Optional } else { Tls::Off },
        };
        let (local, peer): (SocketAddr, SocketAddr) = if script.v6 {
            ("[::1]:2121".parse().unwrap(), "[::1]:40000".parse().unwrap())
        } else {
            ("127.0.0.1:2121".parse().unwrap(), "127.0.0.1:40000".parse().unwrap())
        };
        let mut outbox = Outbox::default();
        let session = Session::new(Rc::new(settings), local, peer, &mut outbox);
        Self {
            session,
            outbox,
            sent: Vec::new(),
            answers: script.answers.clone(),
            asked: 0,
            running: None,
            opened: false,
            transfers: 0,
            extra_finals: 0,
            closed: false,
            kept: Vec::new(),
            v6: script.v6,
        }
    }

    /// The n-th question has the same answer however the octets are split.
    fn choice(&mut self) -> u8 {
        self.asked += 1;
        self.answers.get(self.asked - 1).copied().unwrap_or(0)
    }

    fn fault(choice: u8) -> Fault {
        [
            Fault::Missing,
            Fault::Denied,
            Fault::IsDirectory,
            Fault::NotDirectory,
            Fault::Exists,
            Fault::NotEmpty,
            Fault::BadName,
            Fault::BadOffset,
            Fault::Busy,
            Fault::NoSpace,
            Fault::TooLarge,
            Fault::NotRegular,
            Fault::Link,
            Fault::Changed,
            Fault::Exhausted,
            Fault::Local,
            Fault::Unsupported,
        ][usize::from(choice) % 17]
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        let choice = self.choice();
        if choice & 3 == 3 {
            return Answer::Refused(Self::fault(choice >> 2));
        }
        match ask {
            Ask::Login { user, password } => {
                if password.0 == b"wrong" {
                    return Answer::Refused(Fault::Denied);
                }
                let anonymous = user == b"anonymous";
                Answer::LoggedIn(Account {
                    name: user.clone(),
                    anonymous,
                    writes: choice & 4 == 0,
                    fxp: choice & 8 != 0,
                    id: 1,
                })
            }
            Ask::Size(..) => Answer::Size(u64::from(choice)),
            Ask::Modified(_) => Answer::Modified(UnixTime(i64::from(choice) * 10_000_000)),
            Ask::Facts(_) => Answer::Facts(Box::new(Entry {
                name: b"f".to_vec(),
                kind: EntryKind::File,
                size_bytes: u64::from(choice),
                modified: UnixTime(0),
                mode: 0o644,
                links: 1,
                unique: (1, 2),
                link_target: None,
                writable: true,
                readable: true,
                creatable: false,
                managed: false,
            })),
            Ask::Lines(..) => Answer::Lines(
                b"-rw-r--r-- 1 ftp ftp 1 Jan  1  1970 f\r\n".repeat(usize::from(choice)),
            ),
            _ => Answer::Done,
        }
    }

    /// Calls `advance` until it waits, with these octets.
    fn feed(&mut self, octets: &[u8]) {
        let mut waiting = std::mem::take(&mut self.kept);
        waiting.extend_from_slice(octets);
        let mut input = &waiting[..];
        let mut idle = 0;
        while !self.closed {
            let before = input.len();
            let next = self.session.advance(&mut input, &mut self.outbox);
            assert!(
                self.outbox.len() <= OUTBOX_BYTES_MAX + REPLY_BYTES_MAX,
                "the outbox holds {}",
                self.outbox.len()
            );
            idle = if input.len() == before { idle + 1 } else { 0 };
            assert!(idle < 100, "no progress: {next:?}");
            match next {
                Next::Receive => {
                    let taken = self.outbox.take();
                    let flushed = !taken.is_empty();
                    self.sent.extend(taken);
                    if input.is_empty() {
                        return;
                    }
                    if !self.session.wants_input() {
                        assert!(self.running.is_some(), "input is refused though nothing runs");
                        break;
                    }
                    assert!(flushed || input.len() < before, "input is left though it is wanted");
                }
                Next::Ask(ask) => {
                    let answer = self.answer(&ask);
                    self.session.resume(answer, &mut self.outbox);
                }
                Next::Listen(family) => {
                    assert!(!(self.v6 && family == Family::Inet), "IPv4 on an IPv6 session");
                    let choice = self.choice();
                    let answer = if choice & 7 == 7 {
                        Answer::Refused(Fault::Exhausted)
                    } else if self.v6 {
                        Answer::Listening("[::1]:40001".parse().unwrap())
                    } else {
                        Answer::Listening("127.0.0.1:40001".parse().unwrap())
                    };
                    self.session.resume(answer, &mut self.outbox);
                }
                Next::Unlisten => {}
                Next::Secure => {
                    assert!(input.is_empty(), "octets in clear behind AUTH");
                    assert!(self.running.is_none(), "AUTH while a transfer runs");
                    self.session.secured();
                }
                Next::Unsecure => assert!(input.is_empty(), "octets behind the end of TLS"),
                Next::Transfer(transfer) => {
                    assert!(self.running.is_none(), "two transfers at once");
                    self.running = Some(transfer);
                    self.opened = false;
                    self.transfers += 1;
                }
                Next::Abort => {
                    assert!(self.running.is_some(), "nothing to abort");
                    // It may have ended in the meantime.
                    let news = if self.choice() & 3 == 3 && self.opened {
                        News::Done { bytes: 1 }
                    } else {
                        News::Aborted
                    };
                    self.running = None;
                    self.session.transfer(news, &mut self.outbox);
                }
                Next::Close => {
                    self.sent.extend(self.outbox.take());
                    self.closed = true;
                    return;
                }
            }
        }
        self.kept = input.to_vec();
    }

    /// The running transfer moves on.
    fn news(&mut self, choice: u8) {
        let Some(transfer) = &self.running else { return };
        let unique = matches!(transfer.job, Job::StoreUnique { .. });
        self.session.progress(u64::from(choice));
        let news = if self.opened {
            match choice & 3 {
                0 | 1 => News::Done { bytes: 10 },
                2 => News::Broken,
                _ => News::Failed(Self::fault(choice >> 2)),
            }
        } else {
            match choice & 7 {
                0 => News::Refused(Self::fault(choice >> 3)),
                1 => News::NoConnection,
                _ => News::Opened { name: unique.then(|| b"made".to_vec()), size_bytes: Some(10) },
            }
        };
        if matches!(news, News::Opened { .. }) {
            self.opened = true;
        } else {
            self.running = None;
        }
        self.session.transfer(news, &mut self.outbox);
        self.feed(b"");
    }

    fn finish(&mut self) {
        // Whatever runs ends, and what was kept back is answered.
        for _ in 0..10_000 {
            if self.closed || self.running.is_none() {
                break;
            }
            self.news(if self.opened { 0 } else { 7 });
        }
        assert!(self.closed || self.running.is_none(), "transfers never end");
        assert!(self.closed || self.kept.is_empty(), "input was kept though nothing runs");
    }
}

fn run(script: &Script, bytewise: bool) -> Driver {
    let mut driver = Driver::new(script);
    driver.feed(b"");
    for event in &script.events {
        let octets: &[u8] = match event {
            Event::Line(number) => LINES[usize::from(*number) % LINES.len()],
            Event::Login => b"USER anonymous\r\nPASS x\r\n",
            Event::Octets(octets) => octets,
            Event::News(choice) => {
                driver.news(*choice);
                continue;
            }
            Event::Timeout => {
                if !driver.closed && driver.running.is_none() {
                    driver.extra_finals += 1;
                    driver.session.timeout(&mut driver.outbox);
                    driver.feed(b"");
                }
                continue;
            }
            Event::Drain => {
                if !driver.closed {
                    driver.extra_finals += 1;
                    driver.session.drain(&mut driver.outbox);
                    driver.feed(b"");
                }
                continue;
            }
        };
        if driver.closed {
            break;
        }
        if bytewise {
            for octet in octets {
                driver.feed(&[*octet]);
            }
        } else {
            driver.feed(octets);
        }
        let _login = driver.session.account();
        let _timer = driver.session.timer();
    }
    driver.finish();
    driver
}

/// Checks the form of every reply; counts preliminary and final ones.
fn replies(sent: &[u8]) -> (usize, usize) {
    let (mut preliminary, mut finals) = (0, 0);
    let mut open: Option<Vec<u8>> = None;
    let Some(text) = sent.strip_suffix(b"\r\n") else {
        assert!(sent.is_empty(), "the last reply is not ended");
        return (0, 0);
    };
    let text = text.to_vec();
    let mut rest = &text[..];
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        assert!(!line.contains(&b'\n'), "a bare LF in a reply");
        let code = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        match (&open, code, line.get(3)) {
            (None, Some(code), Some(b' ')) | (Some(_), Some(code), Some(b' ')) => {
                assert!(open.as_ref().is_none_or(|open| open == code), "ends with another code");
                open = None;
                if code[0] == b'1' { preliminary += 1 } else { finals += 1 }
            }
            (None, Some(code), Some(b'-')) => open = Some(code.to_vec()),
            (Some(open), code, _) => {
                assert!(code.is_none() || code == Some(open), "digits begin a middle line")
            }
            (None, ..) => panic!("not a reply: {:?}", String::from_utf8_lossy(line)),
        }
        match end {
            Some(end) => rest = &rest[end + 2..],
            None => break,
        }
    }
    assert!(open.is_none(), "a reply of many lines is not ended");
    (preliminary, finals)
}

fuzz_target!(|script: Script| {
    let whole = run(&script, false);
    let bytewise = run(&script, true);
    if !script.tls {
        assert_eq!(
            String::from_utf8_lossy(&whole.sent),
            String::from_utf8_lossy(&bytewise.sent),
            "splits change the replies"
        );
    }
    // Answers to Telnet options are no replies, and an IAC may hide an end of line from this count.
    let telnet = script
        .events
        .iter()
        .any(|event| matches!(event, Event::Octets(octets) if octets.contains(&0xff)));
    if telnet {
        return;
    }
    let (preliminary, finals) = replies(&whole.sent);
    assert!(preliminary <= whole.transfers, "more preliminary replies than transfers");
    if !whole.closed {
        let lines = script.events.iter().map(|event| match event {
            Event::Line(_) => 1,
            Event::Login => 2,
            Event::Octets(octets) => octets.iter().filter(|octet| **octet == b'\n').count(),
            Event::News(_) | Event::Timeout | Event::Drain => 0,
        });
        assert_eq!(finals, 1 + lines.sum::<usize>(), "not one final reply for each line");
    }
});
