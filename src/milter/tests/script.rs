//! milter::tests::script – plays transcripts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::milter::agreement::{actions, protocol};
use crate::milter::dialogue::{Answer, Command, Dialogue, Said};
use crate::milter::macros::Macros;
use crate::milter::packet::{self, Reader};
use crate::milter::response::Edit;
use crate::wire::transcript::{self, Stage, shown, unescaped};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/milter/transcripts")
}

#[test]
fn transcripts_hold_whole_and_octet_by_octet() {
    transcript::check::<Player>(&folder());
}

/// Values of every macro in these tests.
pub(super) fn macros() -> Macros {
    let mut macros = Macros::default();
    for (name, value) in [
        ("j", "edge.example.org"),
        ("_", "unknown [192.0.2.7]"),
        ("daemon_name", "smtp"),
        ("client_addr", "192.0.2.7"),
        ("tls_version", "TLSv1.3"),
        ("auth_authen", "a\0nn"),
        ("mail_addr", "ann@example.org"),
        ("rcpt_addr", "bob@example.org"),
        ("i", "QID"),
    ] {
        macros.set(name, Some(value.to_owned()));
    }
    macros
}

/// The octets of a negotiation that ends so.
pub(super) fn agreed(version: u32, actions: u32, protocol: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    let words = [version, actions, protocol].map(u32::to_be_bytes);
    packet::push(b'O', &[words.as_flattened()], &mut octets);
    octets
}

#[derive(Default)]
pub(super) struct SetUp {
    agreed: Option<[u32; 3]>,
}

impl transcript::SetUp for SetUp {
    fn directive(&mut self, name: &str, value: &str) {
        assert_eq!(name, "agreed");
        let number = |word| u32::from_str_radix(word, 16).unwrap();
        let words: Vec<u32> = value.split(' ').map(number).collect();
        self.agreed = Some(words.try_into().unwrap());
    }
}

pub(super) struct Player {
    dialogue: Dialogue,
    out: Vec<u8>,
    /// A line of the script that is not whole.
    line: Vec<u8>,
    broken: bool,
}

impl Stage for Player {
    type SetUp = SetUp;
    const HEARS: &'static str = "S:";
    const SAYS: &'static str = "C:";
    const TOGETHER: bool = false;

    fn new(set_up: &SetUp, _: &mut String) -> Self {
        let mut out = Vec::new();
        let dialogue = Dialogue::begin(&mut out);
        let mut player = Self { dialogue, out, line: Vec::new(), broken: false };
        if let Some([version, actions, protocol]) = set_up.agreed {
            player.out.clear();
            player.dialogue.heard(&agreed(version, actions, protocol));
            assert_eq!(player.dialogue.said(), Ok(Some(Said::Agreed)));
        }
        player
    }

    /// What comes is a line of the script; what a milter sends is the packet that it means.
    fn receive(&mut self, octets: &[u8], log: &mut String) {
        self.line.extend_from_slice(octets);
        let Some(line) = self.line.strip_suffix(b"\r\n") else { return };
        let packet = packet_of(line);
        self.line.clear();
        for piece in packet.chunks(if octets.len() == 1 { 1 } else { usize::MAX }) {
            self.dialogue.heard(piece);
            self.pump(log);
        }
    }

    fn answer(&mut self, words: &str, log: &mut String) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let parameters: Vec<String> = second.split_whitespace().map(str::to_owned).collect();
        let (text, value) = (unescaped(rest), unescaped(second));
        let address = "192.0.2.7:4711".parse().unwrap();
        let command = match word {
            // Said already.
            "negotiate" => return,
            "connect" => Command::Connect { name: "unknown", address },
            "connect6" => {
                Command::Connect { name: "mx", address: "[2001:db8::7]:25".parse().unwrap() }
            }
            "helo" => Command::Helo(rest),
            "mail" => Command::Mail(first, &parameters),
            "rcpt" => Command::Rcpt(first, &parameters),
            "data" => Command::Data,
            "header" => Command::Header(first.as_bytes(), &value),
            "eoh" => Command::EndOfHeader,
            "body" => Command::Body(&text),
            "end" => Command::EndOfMessage,
            "abort" => return self.dialogue.abort(&mut self.out),
            "quit" => return self.dialogue.quit(&mut self.out),
            _ => panic!("< {words}"),
        };
        let asked = self.dialogue.say(command, &macros(), &mut self.out);
        self.flush(log);
        match asked {
            Ok(asked) => writeln!(log, "> {}", format!("{asked:?}").to_lowercase()).unwrap(),
            Err(fault) => writeln!(log, "> fault: {fault}").unwrap(),
        }
    }

    fn value(&self, question: &str) -> String {
        match question {
            "underway" => format!("underway {}", self.dialogue.is_underway()),
            "agreed" => {
                let agreed = self.dialogue.agreed();
                let skip = agreed.has(protocol::SKIP);
                let body = agreed.allows(actions::CHANGE_BODY);
                format!("agreed version {} skip {skip} body {body}", agreed.version())
            }
            _ => panic!("? {question}"),
        }
    }

    fn flush(&mut self, log: &mut String) {
        let mut reader = Reader::default();
        reader.feed(&std::mem::take(&mut self.out));
        while let Some(sent) = reader.take().unwrap() {
            let letter = char::from(sent.command);
            writeln!(log, "C: {letter} {}", shown(&sent.data)).unwrap();
        }
        assert!(reader.is_empty());
    }
}

impl Player {
    fn pump(&mut self, log: &mut String) {
        if self.broken {
            return;
        }
        loop {
            match self.dialogue.said() {
                Ok(None) => return,
                Ok(Some(said)) => self.show(said, log),
                Err(fault) => {
                    self.broken = true;
                    writeln!(log, "> fault: {fault}").unwrap();
                    return;
                }
            }
        }
    }

    fn show(&mut self, said: Said, log: &mut String) {
        match said {
            Said::Agreed => writeln!(log, "> agreed").unwrap(),
            Said::Progress => writeln!(log, "> progress").unwrap(),
            Said::Body(octets) => writeln!(log, "> body {}", shown(&octets)).unwrap(),
            Said::Answer(Answer::Words(words)) => {
                let (code, status, lines) = (words.code, words.status, words.lines.join(" | "));
                writeln!(log, "> words {code} {status} {lines}").unwrap();
            }
            Said::Answer(answer) => {
                writeln!(log, "> {}", format!("{answer:?}").to_lowercase()).unwrap();
                for edit in self.dialogue.take_edits() {
                    writeln!(log, "> {}", edited(&edit)).unwrap();
                }
            }
        }
    }
}

fn edited(edit: &Edit) -> String {
    match edit {
        Edit::Add { name, value } => format!("add {}:{}", shown(name), shown(value)),
        Edit::Insert { index, name, value } => {
            format!("insert {index} {}:{}", shown(name), shown(value))
        }
        Edit::Change { index, name, value } => {
            format!("change {index} {}:{}", shown(name), shown(value))
        }
        Edit::Sender(text) => format!("sender {text}"),
        Edit::AddRecipient(text) => format!("to {text}"),
        Edit::DeleteRecipient(text) => format!("not to {text}"),
        Edit::Quarantine(text) => format!("hold {text}"),
    }
}

/// `y 550 no~` and the like.
fn packet_of(line: &[u8]) -> Vec<u8> {
    let (letter, text) = (line[0], line.get(2..).unwrap_or_default());
    let plain = |text: &[u8]| {
        let octet = |octet: &u8| match octet {
            b'~' => b"\0".to_vec(),
            b'|' => b"\n".to_vec(),
            b'^' => b"\r\n".to_vec(),
            other => vec![*other],
        };
        text.iter().flat_map(octet).collect::<Vec<u8>>()
    };
    if letter == b'!' {
        return plain(&line[1..]);
    }
    let mut octets = Vec::new();
    let (words, text) = match str::from_utf8(text).ok().and_then(|text| text.strip_prefix('#')) {
        Some(numbered) => {
            let (numbers, text) = numbered.split_once(' ').unwrap_or((numbered, ""));
            let word = |word| u32::from_str_radix(word, 16).unwrap().to_be_bytes();
            (numbers.split(',').flat_map(word).collect(), text.as_bytes())
        }
        None => (Vec::new(), text),
    };
    packet::push(letter, &[&words, &plain(text)], &mut octets);
    octets
}
