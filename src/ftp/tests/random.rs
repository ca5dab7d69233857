//! ftp::tests::random – arbitrary input at arbitrary splits.
//!
//! What holds for every input: no panic; the split changes nothing; each line gets one reply; memory
//! stays within its bound.

use std::rc::Rc;

use proptest::prelude::*;

use super::script::{account, settings};
use crate::ftp::session::{Session, Settings, Tls};
use crate::ftp::step::{Answer, Ask, Entry, EntryKind, Fault, News, Next, UnixTime};
use crate::limits;
use crate::wire::outbox::Outbox;

/// What came of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) said: Vec<u8>,
    pub(super) closed: bool,
}

/// A driver whose answers depend on nothing but what it is asked.
pub(super) struct Auto {
    pub(super) session: Session,
    pub(super) out: Outbox,
    pub(super) said: Vec<u8>,
    pub(super) transferring: bool,
    pub(super) closed: bool,
    /// Handshakes there were, and returns to clear.
    pub(super) changes: usize,
}

impl Auto {
    pub(super) fn new(tls: Tls) -> Self {
        let mut out = Outbox::default();
        let local = "192.0.2.1:21".parse().unwrap();
        let peer = "198.51.100.7:50000".parse().unwrap();
        let settings = Settings { tls, ..settings() };
        let session = Session::new(Rc::new(settings), local, peer, &mut out);
        let said = out.take();
        Self { session, out, said, transferring: false, closed: false, changes: 0 }
    }

    /// Gives input; returns what the session would not take yet.
    pub(super) fn give(&mut self, input: &[u8]) -> Vec<u8> {
        let mut input = input;
        while !self.closed {
            let next = self.session.advance(&mut input, &mut self.out);
            assert!(self.out.len() <= limits::OUTBOX_BYTES_MAX + 8192);
            match next {
                Next::Receive => {
                    self.said.extend(self.out.take());
                    assert!(
                        self.session.held_bytes()
                            <= limits::FTP_DEFERRED_BYTES_MAX + 2 * limits::FTP_LINE_BYTES_MAX + 64
                    );
                    if input.is_empty() || !self.session.wants_input() {
                        return input.to_vec();
                    }
                }
                Next::Ask(ask) => self.session.resume(answer(&ask), &mut self.out),
                Next::Listen(_) => {
                    let bound = "192.0.2.1:40001".parse().unwrap();
                    self.session.resume(Answer::Listening(bound), &mut self.out);
                }
                Next::Unlisten => {}
                Next::Secure => {
                    assert!(input.is_empty() && self.session.held_bytes() == 0);
                    self.said.extend(self.out.take());
                    self.changes += 1;
                    self.session.secured();
                }
                Next::Unsecure => {
                    assert!(input.is_empty() && self.session.held_bytes() == 0);
                    self.said.extend(self.out.take());
                    self.changes += 1;
                }
                Next::Transfer(_) => {
                    self.transferring = true;
                    let opened = News::Opened { name: Some(b"new".to_vec()), size_bytes: None };
                    self.session.transfer(opened, &mut self.out);
                }
                Next::Abort => {
                    self.transferring = false;
                    self.session.transfer(News::Aborted, &mut self.out);
                }
                Next::Close => {
                    self.said.extend(self.out.take());
                    self.closed = true;
                }
            }
        }
        Vec::new()
    }

    /// Lets the running transfer end.
    pub(super) fn complete(&mut self) {
        self.transferring = false;
        self.session.transfer(News::Done { bytes: 1 }, &mut self.out);
    }
}

fn answer(ask: &Ask) -> Answer {
    let missing = |path: &crate::ftp::path::VirtualPath| path.as_bytes().contains(&b'm');
    match ask {
        Ask::Login { password, .. } if password.0 == b"wrong" => Answer::Refused(Fault::Denied),
        Ask::Login { .. } => Answer::LoggedIn(account("write")),
        Ask::Size(path, _)
        | Ask::Modified(path)
        | Ask::Facts(path)
        | Ask::Enter(path)
        | Ask::Lines(path, _)
            if missing(path) =>
        {
            Answer::Refused(Fault::Missing)
        }
        Ask::Size(..) => Answer::Size(42),
        Ask::Modified(_) => Answer::Modified(UnixTime(0)),
        Ask::Facts(path) => Answer::Facts(Box::new(Entry {
            name: path.relative().to_vec(),
            kind: EntryKind::File,
            size_bytes: 42,
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
        Ask::Lines(..) => Answer::Lines(b"213 End of nothing\r\n".to_vec()),
        Ask::Enter(_)
        | Ask::SetModified(..)
        | Ask::MakeDirectory(_)
        | Ask::RemoveDirectory(_)
        | Ask::Delete(_)
        | Ask::RenameFrom(_)
        | Ask::Rename { .. }
        | Ask::SetMode(..)
        | Ask::Symlink { .. }
        | Ask::Allocate(_) => Answer::Done,
    }
}

/// Runs portions; a transfer ends when nothing more can be given.
pub(super) fn run(portions: &[&[u8]]) -> Outcome {
    let mut auto = Auto::new(Tls::Off);
    let mut left = Vec::new();
    for portion in portions {
        left.extend_from_slice(portion);
        left = auto.give(&left);
    }
    while auto.transferring && !auto.closed {
        auto.complete();
        left = auto.give(&left);
    }
    Outcome { said: auto.said, closed: auto.closed }
}

/// The codes of the replies that end an exchange, and whether all is well formed.
pub(super) fn codes(said: &[u8]) -> Vec<u16> {
    let mut codes = Vec::new();
    let mut open: Option<&str> = None;
    let text = String::from_utf8_lossy(said);
    for line in text.split_terminator("\r\n") {
        let (code, mark) = (line.get(..3), line.as_bytes().get(3));
        match (open, code, mark) {
            (Some(wanted), Some(code), Some(b' ')) if code == wanted => open = None,
            (Some(_), _, _) => {
                assert!(!line.as_bytes().first().is_some_and(u8::is_ascii_digit), "{line:?}");
                continue;
            }
            (None, Some(code), Some(b'-')) => {
                open = Some(code);
                continue;
            }
            (None, Some(_), Some(b' ')) => {}
            (None, _, _) => panic!("not a reply: {line:?}"),
        }
        codes.push(code.unwrap().parse().unwrap());
    }
    assert!(open.is_none(), "a reply without its last line");
    codes
}

pub(super) fn lines() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "USER ann",
        "PASS x",
        "PASS wrong",
        "NOOP",
        "ABOR",
        "STAT",
        "STAT /",
        "PASV",
        "EPSV",
        "EPSV ALL",
        "PORT 198,51,100,7,200,1",
        "EPRT |1|198.51.100.7|2000|",
        "RETR a",
        "STOR a",
        "STOU",
        "APPE a",
        "LIST",
        "NLST *",
        "MLSD",
        "MLST",
        "REST 5",
        "RNFR a",
        "RNTO b",
        "CWD /d",
        "CWD missing",
        "CDUP",
        "PWD",
        "MKD \"q\"",
        "RMD d",
        "DELE a",
        "SIZE a",
        "MDTM a",
        "MFMT 20240102030405 a",
        "TYPE E",
        "TYPE I",
        "STRU R",
        "MODE S",
        "MODE B",
        "ALLO 9",
        "SITE UMASK 077",
        "SITE IDLE 60",
        "SITE HELP",
        "FEAT",
        "OPTS MLST size;",
        "HELP",
        "REIN",
        "HELP RETR",
        "ACCT a",
        "CLNT x",
        "LANG",
        "AUTH TLS",
        "XYZZY",
        "",
        "MDTM 20240102030405 m",
    ]);
    let octet = any::<u8>()
        .prop_filter("no end of line, no Telnet", |octet| !matches!(octet, b'\n' | 0xFF));
    let junk = prop::collection::vec(octet, 0..20);
    (0..10_u8, known, junk).prop_map(|(which, known, junk)| match which {
        0 => vec![b'x'; limits::FTP_LINE_BYTES_MAX + 9],
        1 => junk,
        _ => known.as_bytes().to_vec(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_line_gets_one_reply_whatever_the_split(
        lines in prop::collection::vec(lines(), 0..60), logged_in: bool, at in prop::collection::vec(0_usize..3000, 0..6),
    ) {
        let mut input = if logged_in { b"USER ann\r\nPASS x\r\n".to_vec() } else { Vec::new() };
        for line in &lines {
            input.extend_from_slice(line);
            input.extend_from_slice(b"\r\n");
        }
        let whole = run(&[&input]);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&run(&single), &whole);
        let mut at: Vec<usize> = at.into_iter().map(|at| at.min(input.len())).collect();
        at.extend([0, input.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&run(&pieces), &whole);

        let replies = codes(&whole.said).iter().filter(|code| **code >= 200).count();
        let sent = memchr::memchr_iter(b'\n', &input).count();
        if whole.closed {
            prop_assert!(replies <= sent + 1);
        } else {
            prop_assert_eq!(replies, sent + 1);
        }
    }

    #[test]
    fn any_octets_at_any_split(input in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
        let login = b"USER ann\r\nPASS x\r\n";
        let whole = [&login[..], &input].concat();
        let at = at.min(input.len()) + login.len();
        prop_assert_eq!(run(&[&whole[..at], &whole[at..]]), run(&[&whole]));
    }
}

#[test]
fn a_flood_during_a_transfer_is_bounded_and_answered_in_order() {
    let mut auto = Auto::new(Tls::Off);
    auto.give(b"USER ann\r\nPASS x\r\nRETR a\r\n");
    auto.said.clear();
    let flood = b"NOOP\r\n".repeat(10_000);
    let mut left = auto.give(&flood);
    assert!(!auto.session.wants_input() && !left.is_empty());
    assert!(auto.said.is_empty());
    auto.complete();
    left = auto.give(&left);
    assert!(left.is_empty());
    let replies = codes(&auto.said);
    assert_eq!((replies[0], replies.len()), (226, 10_001));
    assert!(replies[1..].iter().all(|code| *code == 200));
    assert_eq!(auto.session.held_bytes(), 0);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 640, "{}", size_of::<Session>());
    let mut auto = Auto::new(Tls::Off);
    auto.give(b"USER ann\r\nPASS x\r\nCWD /d\r\nNOO");
    auto.give(b"P\r\n");
    assert_eq!(auto.session.held_bytes(), 0);
}
