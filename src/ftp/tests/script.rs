//! ftp::tests::script – plays transcripts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::ftp::calendar::{parse_time_val, push_time_val};
use crate::ftp::convert::CodePage;
use crate::ftp::listing;
use crate::ftp::session::{Session, Settings, Timer, Tls};
use crate::ftp::step::{
    Account, Answer, Ask, Channel, Entry, EntryKind, Fault, Job, Kind, ListForm, ListOptions, News,
    Next, Representation, Structure, Transfer, UnixTime,
};
use crate::wire::outbox::Outbox;
use crate::wire::transcript::{self, Stage, show_replies, shown, unescaped};

/// Where transcripts are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ftp/transcripts")
}

/// Every transcript, by name.
pub(super) fn transcripts() -> Vec<(PathBuf, String)> {
    transcript::transcripts(&folder())
}

#[test]
fn transcripts_hold_whole_and_octet_by_octet() {
    transcript::check::<Player>(&folder());
}

/// The settings of every test.
pub(super) fn settings() -> Settings {
    Settings {
        hostname: "edge.example.org".into(),
        banner: String::new(),
        anonymous: false,
        login_failures_max: 3,
        passive_address: None,
        idle_seconds_max: 3600,
        idle_seconds: 300,
        code_page: CodePage::Cp1047,
        tls: Tls::Off,
    }
}

/// An account by its rights.
pub(super) fn account(rights: &str) -> Account {
    Account {
        name: b"ann".to_vec(),
        anonymous: rights == "anonymous",
        writes: matches!(rights, "write" | "fxp"),
        fxp: rights == "fxp",
        id: 7,
    }
}

struct SetUp {
    settings: Settings,
    local: SocketAddr,
    peer: SocketAddr,
    rights: Option<String>,
    /// Of the first session only: how it is secured before the login that is not shown.
    secured: Secured,
}

/// What is done about TLS before a transcript begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secured {
    Not,
    /// AUTH TLS, PBSZ and PROT P.
    Private,
    /// On a listener for TLS.
    Implicit,
}

impl Default for SetUp {
    fn default() -> Self {
        Self {
            settings: settings(),
            local: "192.0.2.1:21".parse().unwrap(),
            peer: "198.51.100.7:50000".parse().unwrap(),
            rights: None,
            secured: Secured::Not,
        }
    }
}

impl transcript::SetUp for SetUp {
    fn directive(&mut self, name: &str, value: &str) {
        match name {
            "peer" => self.peer = value.parse().unwrap(),
            "local" => self.local = value.parse().unwrap(),
            "anonymous" => self.settings.anonymous = value == "on",
            "banner" => self.settings.banner = value.replace("\\n", "\n"),
            "passive-address" => self.settings.passive_address = Some(value.parse().unwrap()),
            "failures" => self.settings.login_failures_max = value.parse().unwrap(),
            "tls" => {
                self.settings.tls = match value {
                    "optional" => Tls::Optional,
                    "required" => Tls::Required,
                    _ => panic!("= {name} {value}"),
                }
            }
            "secured" => {
                self.secured = match value {
                    "private" => Secured::Private,
                    "implicit" => Secured::Implicit,
                    _ => panic!("= {name} {value}"),
                }
            }
            "login" => self.rights = Some(value.to_owned()),
            _ => panic!("= {name} {value}"),
        }
    }
}

struct Player {
    session: Session,
    out: Outbox,
    /// Sent by the client, not consumed yet.
    buffer: Vec<u8>,
    /// Replies not shown yet.
    said: Vec<u8>,
    /// A question is pending: no input until it is answered.
    asked: bool,
    closed: bool,
}

impl Stage for Player {
    type SetUp = SetUp;

    fn new(set_up: &SetUp, log: &mut String) -> Self {
        let mut out = Outbox::default();
        let settings = Rc::new(set_up.settings.clone());
        let mut session = Session::new(settings, set_up.local, set_up.peer, &mut out);
        if set_up.secured == Secured::Implicit {
            session = session.implicit();
        }
        let mut player = Self {
            session,
            out,
            buffer: Vec::new(),
            said: Vec::new(),
            asked: false,
            closed: false,
        };
        if set_up.secured == Secured::Private {
            player.quietly(b"AUTH TLS\r\n", "secured");
            player.quietly(b"PBSZ 0\r\nPROT P\r\n", "");
        }
        if let Some(rights) = &set_up.rights {
            // Logged in from the start: that dialogue is shown elsewhere.
            player.quietly(b"USER ann\r\nPASS x\r\n", &format!("logged-in {rights}"));
        } else if set_up.secured != Secured::Private {
            player.pump(log);
            player.flush(log);
        }
        player
    }

    fn receive(&mut self, octets: &[u8], log: &mut String) {
        self.buffer.extend_from_slice(octets);
        self.pump(log);
    }

    fn answer(&mut self, words: &str, log: &mut String) {
        self.answered(words);
        self.pump(log);
    }

    fn flush(&mut self, log: &mut String) {
        show_replies(&std::mem::take(&mut self.said), log);
    }

    fn value(&self, question: &str) -> String {
        match question {
            "timer" => match self.session.timer() {
                Timer::Login => "login".into(),
                Timer::Idle(seconds) => format!("idle {seconds}"),
                Timer::None => "none".into(),
            },
            "input" => format!("wants input: {}", self.session.wants_input()),
            "umask" => format!("umask {:?}", self.session.umask()),
            "account" => format!("account {:?}", self.session.account().map(|account| account.id)),
            "held" if self.session.held_bytes() > 0 => "holds a part of a line".into(),
            "held" => "holds nothing".into(),
            _ => panic!("? {question}"),
        }
    }
}

impl Player {
    /// Lines and an answer that are shown elsewhere.
    fn quietly(&mut self, lines: &[u8], words: &str) {
        let mut quiet = String::new();
        self.buffer.extend_from_slice(lines);
        self.pump(&mut quiet);
        if !words.is_empty() {
            self.answered(words);
            self.pump(&mut quiet);
        }
        self.said.clear();
        self.out.take();
    }

    /// What a driver does until it has to wait.
    fn pump(&mut self, log: &mut String) {
        while !self.asked && !self.closed {
            let buffer = std::mem::take(&mut self.buffer);
            let mut input = buffer.as_slice();
            let next = self.session.advance(&mut input, &mut self.out);
            self.buffer = input.to_vec();
            self.said.extend(self.out.take());
            if next == Next::Receive {
                let left_over = self.session.wants_input() && !self.buffer.is_empty();
                if left_over {
                    continue;
                }
                break;
            }
            self.flush(log);
            writeln!(log, "> {}", step(&next)).unwrap();
            self.asked = matches!(next, Next::Ask(_) | Next::Listen(_) | Next::Secure);
            self.closed = next == Next::Close;
        }
    }

    fn answered(&mut self, words: &str) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "secured" => {
                self.asked = false;
                self.session.secured();
            }
            "progress" => self.session.progress(rest.parse().unwrap()),
            "timeout" => self.session.timeout(&mut self.out),
            "drain" => self.session.drain(&mut self.out),
            _ if std::mem::take(&mut self.asked) => {
                self.session.resume(answer(word, rest), &mut self.out);
            }
            _ => self.session.transfer(news(word, rest), &mut self.out),
        }
        self.said.extend(self.out.take());
    }
}

fn answer(word: &str, rest: &str) -> Answer {
    match word {
        "done" => Answer::Done,
        "logged-in" => Answer::LoggedIn(account(rest)),
        "size" => Answer::Size(rest.parse().unwrap()),
        "modified" => Answer::Modified(parse_time_val(rest.as_bytes()).unwrap()),
        "facts" => Answer::Facts(Box::new(entry(rest))),
        "lines" => Answer::Lines(
            rest.split(" | ").flat_map(|line| [&unescaped(line)[..], b"\r\n"].concat()).collect(),
        ),
        "listening" => Answer::Listening(rest.parse().unwrap()),
        "refused" => Answer::Refused(fault(rest)),
        _ => panic!("< {word}"),
    }
}

fn news(word: &str, rest: &str) -> News {
    match word {
        "refused" => News::Refused(fault(rest)),
        "no-connection" => News::NoConnection,
        "opened" => match rest.split_once(' ') {
            None => News::Opened { name: None, size_bytes: None },
            Some(("size", size)) => {
                News::Opened { name: None, size_bytes: Some(size.parse().unwrap()) }
            }
            Some((_, name)) => News::Opened { name: Some(unescaped(name)), size_bytes: None },
        },
        "done" => News::Done { bytes: rest.parse().unwrap() },
        "failed" => News::Failed(fault(rest)),
        "broken" => News::Broken,
        "aborted" => News::Aborted,
        "not-secured" => News::NotSecured,
        "not-resumed" => News::NotResumed,
        _ => panic!("< {word}"),
    }
}

fn fault(word: &str) -> Fault {
    const FAULTS: [Fault; 17] = [
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
    ];
    let plain = word.replace('-', "");
    *FAULTS.iter().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(&plain)).unwrap()
}

/// A file or directory of that name.
fn entry(words: &str) -> Entry {
    let (kind, name) = words.split_once(' ').unwrap();
    Entry {
        name: unescaped(name),
        kind: if kind == "file" { EntryKind::File } else { EntryKind::Directory },
        size_bytes: 42,
        modified: UnixTime(1_700_000_000),
        mode: if kind == "file" { 0o644 } else { 0o755 },
        links: 1,
        unique: (0x801, 0x1f),
        link_target: None,
        writable: true,
        readable: true,
        creatable: true,
        managed: true,
    }
}

fn step(next: &Next) -> String {
    match next {
        Next::Receive => "receive".into(),
        Next::Ask(ask) => question(ask),
        Next::Listen(family) => format!("listen {}", *family as u8),
        Next::Unlisten => "unlisten".into(),
        Next::Transfer(transfer) => transferred(transfer),
        Next::Abort => "abort".into(),
        Next::Secure => "secure".into(),
        Next::Unsecure => "unsecure".into(),
        Next::Close => "close".into(),
    }
}

fn question(ask: &Ask) -> String {
    let show = |path: &crate::ftp::path::VirtualPath| shown(path.as_bytes());
    match ask {
        Ask::Login { user, password } => {
            format!("login {} {}", shown(user), shown(&password.0))
        }
        Ask::Enter(path) => format!("enter {}", show(path)),
        Ask::Size(path, representation) => {
            format!("size {} {}", show(path), represented(*representation))
        }
        Ask::Modified(path) => format!("modified {}", show(path)),
        Ask::SetModified(path, time) => {
            let mut text = Vec::new();
            push_time_val(*time, &mut text);
            format!("set-modified {} {}", shown(&text), show(path))
        }
        Ask::MakeDirectory(path) => format!("make-directory {}", show(path)),
        Ask::RemoveDirectory(path) => format!("remove-directory {}", show(path)),
        Ask::Delete(path) => format!("delete {}", show(path)),
        Ask::RenameFrom(path) => format!("rename-from {}", show(path)),
        Ask::Rename { from, to } => format!("rename {} to {}", show(from), show(to)),
        Ask::Facts(path) => format!("facts {}", show(path)),
        Ask::Lines(path, options) => format!("lines {}{}", show(path), flags(options)),
        Ask::SetMode(path, mode) => format!("set-mode {mode:04o} {}", show(path)),
        Ask::Symlink { target, link } => format!("symlink {} -> {}", show(link), shown(target)),
        Ask::Allocate(octets) => format!("allocate {octets}"),
    }
}

fn transferred(transfer: &Transfer) -> String {
    let show = |path: &crate::ftp::path::VirtualPath| shown(path.as_bytes());
    let job = match &transfer.job {
        Job::Retrieve { path, offset_bytes } => format!("retrieve {} @{offset_bytes}", show(path)),
        Job::Store { path, offset_bytes } => format!("store {} @{offset_bytes}", show(path)),
        Job::StoreUnique { directory, stem } => {
            let stem = stem.as_deref().map_or_else(String::new, |stem| format!(" {}", shown(stem)));
            format!("store-unique {}{stem}", show(directory))
        }
        Job::Append { path } => format!("append {}", show(path)),
        Job::List { path, form, options } => {
            let form = match form {
                ListForm::Long => "long".into(),
                ListForm::Names => "names".into(),
                ListForm::Machine(facts) => {
                    let mut line = Vec::new();
                    listing::facts(*facts, &entry("file x"), &mut line);
                    format!("machine {}", shown(line.trim_ascii_end()))
                }
            };
            format!("list {} {form}{}", show(path), flags(options))
        }
    };
    let channel = match transfer.channel {
        Channel::Passive(Some(peer)) => format!("passive from {peer}"),
        Channel::Passive(None) => "passive from any".into(),
        Channel::Active(address) => format!("active to {address}"),
    };
    let private = if transfer.private { ", private" } else { "" };
    format!("{job}, {}, {channel}{private}", represented(transfer.representation))
}

fn flags(options: &ListOptions) -> String {
    let mut text = String::new();
    text.push_str(if options.all { " all" } else { "" });
    text.push_str(if options.recursive { " recursive" } else { "" });
    if let Some(pattern) = &options.pattern {
        write!(text, " pattern={}", shown(pattern)).unwrap();
    }
    if !options.prefix.is_empty() {
        write!(text, " prefix={}", shown(&options.prefix)).unwrap();
    }
    text
}

fn represented(representation: Representation) -> &'static str {
    match (representation.kind, representation.structure) {
        (Kind::Ascii, Structure::File) => "A F",
        (Kind::Ascii, Structure::Record) => "A R",
        (Kind::Ebcdic, Structure::File) => "E F",
        (Kind::Ebcdic, Structure::Record) => "E R",
        (Kind::Image, Structure::File) => "I F",
        (Kind::Image, Structure::Record) => "I R",
    }
}
