//! wire::transcript – plays dialogues written as text, for the tests of protocols.
//!
//! A transcript is a file of lines; which there are is said in `tests.rs` of each protocol. It is
//! played whole and octet by octet: both must give the text of the file. With
//! `UPDATE_TRANSCRIPTS=1` the files are written anew.
//!
//! Not here: sessions; each protocol has a [`Stage`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a protocol's session is set up with.
pub(crate) trait SetUp: Default {
    /// `= name value`.
    fn directive(&mut self, name: &str, value: &str);
}

/// A session with a driver that follows the script.
pub(crate) trait Stage {
    type SetUp: SetUp;
    /// How lines begin that the session hears, and those it says.
    const HEARS: &'static str = "C:";
    const SAYS: &'static str = "S:";
    /// Neighbouring lines come in one portion.
    const TOGETHER: bool = true;
    /// A session begins.
    fn new(set_up: &Self::SetUp, log: &mut String) -> Self;
    /// `C: …` (or [`Stage::HEARS`]): the other side sent octets.
    fn receive(&mut self, octets: &[u8], log: &mut String);
    /// `< …`: the driver answers, or has news.
    fn answer(&mut self, words: &str, log: &mut String);
    /// `? …`: what the session says of itself.
    fn value(&self, question: &str) -> String;
    /// Shows what was not shown yet.
    fn flush(&mut self, log: &mut String);
}

/// Every transcript of a folder of `src/`, by name.
pub(crate) fn transcripts(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "transitions.txt"))
        .collect();
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// Plays every transcript of a folder, whole and octet by octet.
pub(crate) fn check<S: Stage>(folder: &Path) {
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut differences = String::new();
    for (path, text) in transcripts(folder) {
        let whole = play::<S>(&text, usize::MAX);
        let bytewise = play::<S>(&text, 1);
        assert!(
            whole == bytewise,
            "{}: the split changes the dialogue\n--- whole\n{whole}--- bytewise\n{bytewise}",
            path.display()
        );
        if update {
            std::fs::write(&path, whole).unwrap();
        } else if whole != text {
            writeln!(differences, "{}\n--- found\n{whole}--- expected\n{text}", path.display())
                .unwrap();
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// Plays a transcript in portions of at most `portion` octets and returns it as it happened.
fn play<S: Stage>(text: &str, portion: usize) -> String {
    let mut stage: Option<S> = None;
    let mut set_up = S::SetUp::default();
    let mut log = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with(S::SAYS) || line.starts_with("> ") || line.starts_with("! ") {
            continue;
        }
        if line == "---" {
            // A session of its own begins.
            stage.get_or_insert_with(|| S::new(&set_up, &mut log));
            (stage, set_up) = (None, S::SetUp::default());
            writeln!(log, "{line}").unwrap();
            continue;
        }
        if let Some(directive) = line.strip_prefix("= ") {
            let (name, value) = directive.split_once(' ').unwrap();
            set_up.directive(name, value);
            writeln!(log, "{line}").unwrap();
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            writeln!(log, "{line}").unwrap();
            continue;
        }
        let stage = stage.get_or_insert_with(|| S::new(&set_up, &mut log));
        writeln!(log, "{line}").unwrap();
        if let Some(sent) = line.strip_prefix(S::HEARS) {
            let mut octets = sent_octets(sent);
            while S::TOGETHER
                && let Some(more) = lines.peek().and_then(|line| line.strip_prefix(S::HEARS))
            {
                octets.extend(sent_octets(more));
                writeln!(log, "{}{more}", S::HEARS).unwrap();
                lines.next();
            }
            for piece in octets.chunks(portion.min(octets.len())) {
                stage.receive(piece, &mut log);
            }
        } else if let Some(words) = line.strip_prefix("< ") {
            stage.answer(words, &mut log);
        } else if let Some(question) = line.strip_prefix("? ") {
            stage.flush(&mut log);
            writeln!(log, "! {}", stage.value(question)).unwrap();
        } else {
            panic!("not a line of a transcript: {line}");
        }
        stage.flush(&mut log);
    }
    if stage.is_none() {
        S::new(&set_up, &mut log);
    }
    log
}

/// Shows replies, a line each.
pub(crate) fn show_replies(said: &[u8], log: &mut String) {
    show_lines("S:", said, log);
}

/// Shows what was said, a line each.
pub(crate) fn show_lines(who: &str, said: &[u8], log: &mut String) {
    for line in said.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(b"") => writeln!(log, "{who}").unwrap(),
            Some(line) => writeln!(log, "{who} {}", shown(line)).unwrap(),
            None => writeln!(log, "{who} {}\\", shown(line)).unwrap(),
        }
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

/// `\r \n \t \0 \\ \xFF` as in Rust, and `\{x*5000}` for many of one character.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
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
            b't' => {
                octets.push(b'\t');
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
pub(crate) fn shown(octets: &[u8]) -> String {
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
