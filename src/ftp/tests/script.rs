//! ftp::tests::script – plays transcripts.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::ftp::calendar::{parse_time_val, push_time_val};
use crate::ftp::convert::CodePage;
use crate::ftp::listing;
use crate::ftp::session::{Session, Settings, Timer};
use crate::ftp::step::{
    Account, Answer, Ask, Channel, Entry, EntryKind, Fault, Job, Kind, ListForm, ListOptions, News,
    Next, Representation, Structure, Transfer, UnixTime,
};
use crate::wire::outbox::Outbox;

/// Where transcripts are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ftp/transcripts")
}

/// Every transcript, by name.
pub(super) fn transcripts() -> Vec<(PathBuf, String)> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "transitions.txt"))
        .collect();
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn transcripts_hold_whole_and_octet_by_octet() {
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut differences = String::new();
    for (path, text) in transcripts() {
        let whole = play(&text, usize::MAX);
        let bytewise = play(&text, 1);
        assert_eq!(whole, bytewise, "{}: the split changes the dialogue", path.display());
        if update {
            std::fs::write(&path, whole).unwrap();
        } else if whole != text {
            writeln!(differences, "{}\n--- found\n{whole}--- expected\n{text}", path.display())
                .unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
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

/// Plays a transcript in portions of at most `portion` octets and returns it as it happened.
fn play(text: &str, portion: usize) -> String {
    let mut player: Option<Player> = None;
    let mut set_up = SetUp::default();
    let mut log = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("S:") || line.starts_with("> ") || line.starts_with("! ") {
            continue;
        }
        if line == "---" {
            // A session of its own begins.
            player.get_or_insert_with(|| Player::new(&set_up, &mut log));
            (player, set_up) = (None, SetUp::default());
            writeln!(log, "{line}").unwrap();
            continue;
        }
        if let Some(directive) = line.strip_prefix("= ") {
            set_up.directive(directive);
            writeln!(log, "{line}").unwrap();
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            writeln!(log, "{line}").unwrap();
            continue;
        }
        let player = player.get_or_insert_with(|| Player::new(&set_up, &mut log));
        writeln!(log, "{line}").unwrap();
        if let Some(sent) = line.strip_prefix("C:") {
            let mut octets = sent_octets(sent);
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix("C:")) {
                octets.extend(sent_octets(more));
                writeln!(log, "C:{more}").unwrap();
                lines.next();
            }
            for piece in octets.chunks(portion.min(octets.len())) {
                player.buffer.extend_from_slice(piece);
                player.pump(&mut log);
            }
        } else if let Some(words) = line.strip_prefix("< ") {
            player.answer(words);
            player.pump(&mut log);
        } else if let Some(question) = line.strip_prefix("? ") {
            player.flush(&mut log);
            writeln!(log, "! {}", player.value(question)).unwrap();
        } else {
            panic!("not a line of a transcript: {line}");
        }
        player.flush(&mut log);
    }
    if player.is_none() {
        Player::new(&set_up, &mut log);
    }
    log
}

struct SetUp {
    settings: Settings,
    local: SocketAddr,
    peer: SocketAddr,
    rights: Option<String>,
}

impl Default for SetUp {
    fn default() -> Self {
        Self {
            settings: settings(),
            local: "192.0.2.1:21".parse().unwrap(),
            peer: "198.51.100.7:50000".parse().unwrap(),
            rights: None,
        }
    }
}

impl SetUp {
    fn directive(&mut self, directive: &str) {
        let (name, value) = directive.split_once(' ').unwrap();
        match name {
            "peer" => self.peer = value.parse().unwrap(),
            "local" => self.local = value.parse().unwrap(),
            "anonymous" => self.settings.anonymous = value == "on",
            "banner" => self.settings.banner = value.replace("\\n", "\n"),
            "passive-address" => self.settings.passive_address = Some(value.parse().unwrap()),
            "failures" => self.settings.login_failures_max = value.parse().unwrap(),
            "login" => self.rights = Some(value.to_owned()),
            _ => panic!("= {directive}"),
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

impl Player {
    fn new(set_up: &SetUp, log: &mut String) -> Self {
        let mut out = Outbox::default();
        let settings = Rc::new(set_up.settings.clone());
        let session = Session::new(settings, set_up.local, set_up.peer, &mut out);
        let mut player = Self {
            session,
            out,
            buffer: Vec::new(),
            said: Vec::new(),
            asked: false,
            closed: false,
        };
        if let Some(rights) = &set_up.rights {
            // Logged in from the start: that dialogue is shown elsewhere.
            let mut quiet = String::new();
            player.buffer.extend_from_slice(b"USER ann\r\nPASS x\r\n");
            player.pump(&mut quiet);
            player.answer(&format!("logged-in {rights}"));
            player.pump(&mut quiet);
            player.said.clear();
            player.out.take();
        } else {
            player.pump(log);
            player.flush(log);
        }
        player
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
            self.asked = matches!(next, Next::Ask(_) | Next::Listen(_));
            self.closed = next == Next::Close;
        }
    }

    /// Shows the replies since the last time, a line each.
    fn flush(&mut self, log: &mut String) {
        let said = std::mem::take(&mut self.said);
        for line in said.split_inclusive(|octet| *octet == b'\n') {
            match line.strip_suffix(b"\r\n") {
                Some(b"") => log.push_str("S:\n"),
                Some(line) => writeln!(log, "S: {}", shown(line)).unwrap(),
                None => writeln!(log, "S: {}\\", shown(line)).unwrap(),
            }
        }
    }

    fn answer(&mut self, words: &str) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
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
    format!("{job}, {}, {channel}", represented(transfer.representation))
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

/// The octets of a `C:` line.
fn sent_octets(text: &str) -> Vec<u8> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let (text, end) = match text.strip_suffix('\\') {
        Some(open) => (open, &b""[..]),
        None => (text, &b"\r\n"[..]),
    };
    [&unescaped(text), end].concat()
}

/// `\r \n \0 \\ \xFF` as in Rust, and `\{x*5000}` for many of one character.
fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let used = match escape.as_bytes()[0] {
            b'r' => {
                octets.push(b'\r');
                1
            }
            b'n' => {
                octets.push(b'\n');
                1
            }
            b'0' => {
                octets.push(0);
                1
            }
            b'\\' => {
                octets.push(b'\\');
                1
            }
            b'x' => {
                octets.push(u8::from_str_radix(escape.get(1..3).unwrap(), 16).unwrap());
                3
            }
            b'{' => {
                let (inside, _) = escape.split_once('}').unwrap();
                let (octet, times) = inside.get(1..).unwrap().split_once('*').unwrap();
                octets.extend(octet.repeat(times.parse().unwrap()).into_bytes());
                inside.len() + 1
            }
            other => panic!("\\{} in {text}", other.escape_ascii()),
        };
        rest = escape.get(used..).unwrap();
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

/// Octets as a transcript shows them.
fn shown(octets: &[u8]) -> String {
    let mut text = String::new();
    for &octet in octets {
        match octet {
            b'\\' => text.push_str("\\\\"),
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            0 => text.push_str("\\0"),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => write!(text, "\\x{octet:02X}").unwrap(),
        }
    }
    // No line of a text file should end with a space.
    if text.ends_with(' ') {
        text.truncate(text.len() - 1);
        text.push_str("\\x20");
    }
    text
}
