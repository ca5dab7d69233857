//! ftp::convert – representations on the wire and in the file (RFC 959 §3.1).
//!
//! A file of this machine is octets whose lines end with LF. On the wire:
//!
//! | TYPE, STRU | RETR | STOR |
//! |---|---|---|
//! | A, F | LF → CRLF; CRLF stays | CRLF → LF; any other CR or LF stays |
//! | E, F | code page; LF and CRLF → NL | code page; NL → LF |
//! | I, F | as it is | as it is |
//! | A, R | a line is a record; LF or CRLF → EOR | EOR → LF |
//! | E, R | the same in the code page | the same |
//! | I, R | the whole file is one record | records run together: their bounds are not kept |
//!
//! Record structure in stream mode (RFC 959 §3.4.1): FF 01 ends a record, FF 02 the file, FF 03
//! both, FF FF is one FF. A last line without LF is sent as a record that only the end of the file
//! ends, so that it comes back without LF: the way back leads to the same file (RFC 1123 §4.1.2.4).
//!
//! Promises: the result does not depend on the portions; TYPE I is bit-exact in both structures;
//! nothing is held back but one octet.
//! Not here: restart offsets (the store counts octets of the representation), sockets, files.

use super::ebcdic::{
    CP037_TO_LATIN1, CP1047_TO_LATIN1, LATIN1_TO_CP037, LATIN1_TO_CP1047, NEWLINE,
};
use super::step::{Kind, Representation, Structure};

/// Begins an escape of record structure.
const ESCAPE: u8 = 0xFF;
/// ESCAPE and this: end of record.
const RECORD_END: u8 = 1;
/// ESCAPE and this: end of file.
const FILE_END: u8 = 2;
/// ESCAPE and this: end of record and of file.
const BOTH_END: u8 = 3;
const CR: u8 = b'\r';
const LF: u8 = b'\n';

/// Code page of TYPE E.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodePage {
    /// IBM-1047 (Open Systems Latin-1), newline 0x15.
    #[default]
    Cp1047,
    /// IBM-037.
    Cp037,
}

impl CodePage {
    const fn encoding(self) -> &'static [u8; 256] {
        match self {
            Self::Cp1047 => &LATIN1_TO_CP1047,
            Self::Cp037 => &LATIN1_TO_CP037,
        }
    }

    const fn decoding(self) -> &'static [u8; 256] {
        match self {
            Self::Cp1047 => &CP1047_TO_LATIN1,
            Self::Cp037 => &CP037_TO_LATIN1,
        }
    }
}

/// File octets to wire octets, in any portions.
#[derive(Debug, Clone)]
pub struct Encoder {
    representation: Representation,
    page: CodePage,
    /// The last octet was a CR. In A, F it is sent already, elsewhere held back: it may belong to
    /// the end of a line.
    after_return: bool,
    /// Something was encoded.
    begun: bool,
}

/// Where encoded octets go: into a buffer, or nowhere, to be counted.
trait Sink {
    fn run(&mut self, octets: &[u8]);
    fn mapped(&mut self, octets: &[u8], table: &[u8; 256]);
}

impl Sink for Vec<u8> {
    fn run(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
    fn mapped(&mut self, octets: &[u8], table: &[u8; 256]) {
        self.extend(octets.iter().map(|octet| table[usize::from(*octet)]));
    }
}

/// Counts what it is given.
struct Count(u64);

impl Sink for Count {
    fn run(&mut self, octets: &[u8]) {
        self.0 += octets.len() as u64;
    }
    fn mapped(&mut self, octets: &[u8], _table: &[u8; 256]) {
        self.0 += octets.len() as u64;
    }
}

impl Encoder {
    /// For this representation.
    pub fn new(representation: Representation, page: CodePage) -> Self {
        Self { representation, page, after_return: false, begun: false }
    }

    /// True when wire and file octets are the same, so that the file itself may be sent.
    pub fn is_identity(&self) -> bool {
        is_identity(self.representation)
    }

    /// Appends the wire form of `file` to `wire`.
    pub fn encode(&mut self, file: &[u8], wire: &mut Vec<u8>) {
        self.put(file, wire);
    }

    /// Appends what ends the transfer (record structure: EOF mark).
    pub fn finish(&mut self, wire: &mut Vec<u8>) {
        self.end(wire);
    }

    /// Counts like `encode` without keeping octets (SIZE).
    pub fn count(&mut self, file: &[u8]) -> u64 {
        let mut count = Count(0);
        self.put(file, &mut count);
        count.0
    }

    /// Counts like `finish`.
    pub fn count_finish(&mut self) -> u64 {
        let mut count = Count(0);
        self.end(&mut count);
        count.0
    }

    fn put<S: Sink>(&mut self, file: &[u8], wire: &mut S) {
        if file.is_empty() {
            return;
        }
        self.begun = true;
        match (self.representation.kind, self.representation.structure) {
            (Kind::Image, Structure::File) => wire.run(file),
            (Kind::Image, Structure::Record) => self.data(file, wire),
            (Kind::Ascii, Structure::File) => self.network_lines(file, wire),
            (Kind::Ebcdic, _) | (Kind::Ascii, Structure::Record) => self.lines(file, wire),
        }
    }

    /// LF becomes CRLF, unless it has its CR already.
    fn network_lines<S: Sink>(&mut self, file: &[u8], wire: &mut S) {
        let mut sent = 0;
        for at in memchr::memchr_iter(LF, file) {
            let returned = if at == 0 { self.after_return } else { file[at - 1] == CR };
            if !returned {
                wire.run(&file[sent..at]);
                wire.run(b"\r");
                sent = at;
            }
        }
        wire.run(&file[sent..]);
        self.after_return = file.last() == Some(&CR);
    }

    /// LF or CRLF becomes the end of a line as the representation has it; a CR at the end of the
    /// portion waits for what follows.
    fn lines<S: Sink>(&mut self, file: &[u8], wire: &mut S) {
        let mut rest = file;
        if std::mem::take(&mut self.after_return) && rest[0] != LF {
            self.data(b"\r", wire);
        }
        while let Some(at) = memchr::memchr(LF, rest) {
            let line = &rest[..at];
            self.data(line.strip_suffix(b"\r").unwrap_or(line), wire);
            match self.representation.structure {
                Structure::File => wire.run(&[NEWLINE]),
                Structure::Record => wire.run(&[ESCAPE, RECORD_END]),
            }
            rest = &rest[at + 1..];
        }
        if let Some(line) = rest.strip_suffix(b"\r") {
            self.after_return = true;
            rest = line;
        }
        self.data(rest, wire);
    }

    /// Octets inside a line: in the code page, and with FF doubled in records.
    fn data<S: Sink>(&self, mut octets: &[u8], wire: &mut S) {
        let table = (self.representation.kind == Kind::Ebcdic).then(|| self.page.encoding());
        if self.representation.structure == Structure::Record {
            let escaped = match self.representation.kind {
                Kind::Ebcdic => self.page.decoding()[usize::from(ESCAPE)],
                Kind::Ascii | Kind::Image => ESCAPE,
            };
            while let Some(at) = memchr::memchr(escaped, octets) {
                plain(&octets[..at], table, wire);
                wire.run(&[ESCAPE, ESCAPE]);
                octets = &octets[at + 1..];
            }
        }
        plain(octets, table, wire);
    }

    fn end<S: Sink>(&mut self, wire: &mut S) {
        let representation = self.representation;
        let converts =
            !(representation.kind == Kind::Ascii && representation.structure == Structure::File);
        if std::mem::take(&mut self.after_return) && converts {
            self.data(b"\r", wire);
        }
        if representation.structure == Structure::Record {
            let whole = representation.kind == Kind::Image && self.begun;
            wire.run(&[ESCAPE, if whole { BOTH_END } else { FILE_END }]);
        }
    }
}

/// Wire octets to file octets, in any portions.
#[derive(Debug, Clone)]
pub struct Decoder {
    representation: Representation,
    page: CodePage,
    held: Held,
    /// The EOF mark was read.
    ended: bool,
    /// An escape that does not exist, or octets after the EOF mark.
    malformed: bool,
}

/// What the last portion ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A CR that may belong to the end of a line.
    Return,
    /// The first octet of an escape.
    Escape,
}

impl Decoder {
    /// For this representation.
    pub fn new(representation: Representation, page: CodePage) -> Self {
        Self { representation, page, held: Held::Nothing, ended: false, malformed: false }
    }

    /// True when wire and file octets are the same.
    pub fn is_identity(&self) -> bool {
        is_identity(self.representation)
    }

    /// Appends the file form of `wire` to `file`.
    pub fn decode(&mut self, wire: &[u8], file: &mut Vec<u8>) {
        if wire.is_empty() {
            return;
        }
        match (self.representation.kind, self.representation.structure) {
            (Kind::Image, Structure::File) => file.extend_from_slice(wire),
            (Kind::Ascii, Structure::File) => self.network_lines(wire, file),
            (Kind::Ebcdic, Structure::File) => file.mapped(wire, self.page.decoding()),
            (_, Structure::Record) => self.records(wire, file),
        }
    }

    /// The connection ended. Appends what was held back; false when the stream ended in the middle
    /// of an escape or without the EOF mark record structure asks for.
    pub fn finish(&mut self, file: &mut Vec<u8>) -> bool {
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        if held == Held::Return {
            file.push(CR);
        }
        match self.representation.structure {
            Structure::File => true,
            Structure::Record => self.ended && !self.malformed && held == Held::Nothing,
        }
    }

    /// CRLF becomes LF; a CR at the end of the portion waits for what follows.
    fn network_lines(&mut self, wire: &[u8], file: &mut Vec<u8>) {
        if std::mem::replace(&mut self.held, Held::Nothing) == Held::Return && wire[0] != LF {
            file.push(CR);
        }
        let mut kept = 0;
        for at in memchr::memchr_iter(CR, wire) {
            match wire.get(at + 1) {
                Some(&LF) => {
                    file.extend_from_slice(&wire[kept..at]);
                    kept = at + 1;
                }
                Some(_) => {}
                None => {
                    file.extend_from_slice(&wire[kept..at]);
                    kept = at + 1;
                    self.held = Held::Return;
                }
            }
        }
        file.extend_from_slice(&wire[kept..]);
    }

    fn records(&mut self, wire: &[u8], file: &mut Vec<u8>) {
        let mut rest = wire;
        while !rest.is_empty() {
            if std::mem::replace(&mut self.held, Held::Nothing) == Held::Escape {
                self.escape(rest[0], file);
                rest = &rest[1..];
                continue;
            }
            let at = memchr::memchr(ESCAPE, rest).unwrap_or(rest.len());
            self.data(&rest[..at], file);
            rest = if at < rest.len() {
                self.held = Held::Escape;
                &rest[at + 1..]
            } else {
                &[]
            };
        }
    }

    fn escape(&mut self, octet: u8, file: &mut Vec<u8>) {
        if self.ended {
            self.malformed = true;
            return;
        }
        match octet {
            ESCAPE => self.data(&[ESCAPE], file),
            RECORD_END | BOTH_END => {
                if self.representation.kind != Kind::Image {
                    file.push(LF);
                }
                self.ended = octet == BOTH_END;
            }
            FILE_END => self.ended = true,
            _ => self.malformed = true,
        }
    }

    fn data(&mut self, octets: &[u8], file: &mut Vec<u8>) {
        if self.ended {
            self.malformed |= !octets.is_empty();
            return;
        }
        let table = (self.representation.kind == Kind::Ebcdic).then(|| self.page.decoding());
        plain(octets, table, file);
    }
}

fn is_identity(representation: Representation) -> bool {
    representation == Representation { kind: Kind::Image, structure: Structure::File }
}

fn plain<S: Sink>(octets: &[u8], table: Option<&[u8; 256]>, sink: &mut S) {
    match table {
        Some(table) => sink.mapped(octets, table),
        None => sink.run(octets),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
