//! smtp::corpus – what is sent: generated text, a folder of .eml files, or hostile bodies.
//!
//! ```text
//! X-Loadtest: 5f3a…c2.17                        the mark: run and number, of this message alone
//! Message-ID: <5f3a…c2.17@loadtest.invalid>     only with generated text
//! From: …                                       the body from here on: one of a few, shared, hashed once
//! ```
//!
//! Promises: a message is its head and a body, and the body's hash with the mark tells afterwards whether
//! what a server stored is what it took; lines end in CRLF and the last one is whole, unless the body is
//! hostile; the same seed makes the same bodies.
//! Not here: how a message travels (`wire`), who wrote it down (`journal`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use super::hostile::Hostile;
use super::wire;
use crate::sizes::Sizes;

/// Begins the line that marks a message.
pub(crate) const MARK: &str = "X-Loadtest: ";
/// Domain of the message ids made here.
pub(crate) const ID_DOMAIN: &str = "loadtest.invalid";

/// Bodies drawn from a distribution of sizes; of a fixed size there are [`FIXED_BODIES`].
const BODIES_MAX: usize = 256;
const FIXED_BODIES: usize = 4;
/// Octets of all bodies held; drawing ends there. A folder of .eml may hold four times as much.
const POOL_OCTETS_MAX: usize = 256 << 20;
const FOLDER_OCTETS_MAX: usize = 1 << 30;
/// Octets of a line of text, without CRLF.
const LINE_OCTETS_MAX: usize = 76;

/// How bodies go to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Dot-stuffed, with the end of data.
    Data,
    /// As they are.
    Chunks,
}

/// Everything behind the mark of a message.
#[derive(Debug)]
pub(crate) struct Body {
    /// As it goes to the server, in the form of its corpus.
    pub(crate) wire: Arc<[u8]>,
    /// Octets of it that a server stores.
    pub(crate) octets: usize,
    /// SHA-256 of what a server stores, in hexadecimal.
    pub(crate) sha256: String,
    /// The same with every CRLF as LF: many servers store lines so.
    pub(crate) sha256_lf: String,
    /// Does it hold octets above 127?
    pub(crate) eight_bit: bool,
    /// Is its message id ours to give?
    pub(crate) generated: bool,
    /// May a server refuse it, and how does it fool one?
    pub(crate) hostile: Option<Hostile>,
}

/// All bodies of a run.
#[derive(Debug)]
pub(crate) struct Corpus {
    bodies: Vec<Body>,
    hostile: Vec<Body>,
    /// Every so manieth message is hostile.
    hostile_every: u64,
    form: Form,
}

impl Corpus {
    /// Generated text.
    pub(crate) fn generated(sizes: &Sizes, eight_bit: bool, seed: u64, form: Form) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let count = if sizes.vary() { BODIES_MAX } else { FIXED_BODIES };
        let (mut bodies, mut octets) = (Vec::new(), 0);
        while bodies.len() < count && (octets < POOL_OCTETS_MAX || bodies.is_empty()) {
            let size = usize::try_from(sizes.draw(&mut chance)).unwrap_or(usize::MAX);
            let text = text(&mut chance, size.min(POOL_OCTETS_MAX), eight_bit);
            octets += text.len();
            bodies.push(Body::of(&text, true, form));
        }
        Self { bodies, hostile: Vec::new(), hostile_every: 0, form }
    }

    /// Every `*.eml` of a folder, by name.
    pub(crate) fn folder(folder: &Path, form: Form) -> Result<Self, String> {
        let cannot = |path: &Path, why: &dyn std::fmt::Display| {
            format!("{}: {why} (--corpus wants a folder with .eml files)", path.display())
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| cannot(folder, &error))? {
            let path = entry.map_err(|error| cannot(folder, &error))?.path();
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml")) {
                files.push(path);
            }
        }
        files.sort();
        let (mut bodies, mut octets) = (Vec::new(), 0);
        for path in &files {
            let message = fs::read(path).map_err(|error| cannot(path, &error))?;
            octets += message.len();
            if octets > FOLDER_OCTETS_MAX {
                return Err(cannot(path, &format!("more than {FOLDER_OCTETS_MAX} octets in all")));
            }
            bodies.push(Body::of(&with_crlf(&message), false, form));
        }
        if bodies.is_empty() {
            return Err(cannot(folder, &"no .eml file"));
        }
        Ok(Self { bodies, hostile: Vec::new(), hostile_every: 0, form })
    }

    /// The same, with every `every`th message hostile, each kind in its turn.
    pub(crate) fn with_hostile(
        mut self,
        kinds: &[Hostile],
        every: u64,
        run: &str,
        recipient: &str,
    ) -> Self {
        let form = self.form;
        self.hostile =
            kinds.iter().map(|kind| Body::hostile(*kind, run, recipient, form)).collect();
        self.hostile_every = if kinds.is_empty() { 0 } else { every.max(1) };
        self
    }

    /// The body of message `number`; bodies take turns.
    pub(crate) fn body(&self, number: u64) -> &Body {
        let turn = |bodies: &[Body], number: u64| {
            usize::try_from(number % (bodies.len() as u64).max(1)).unwrap_or(0)
        };
        if self.hostile_every > 0 && number.is_multiple_of(self.hostile_every) {
            return &self.hostile[turn(&self.hostile, number / self.hostile_every)];
        }
        &self.bodies[turn(&self.bodies, number)]
    }

    /// How they travel.
    pub(crate) fn form(&self) -> Form {
        self.form
    }
}

impl Body {
    fn of(message: &[u8], generated: bool, form: Form) -> Self {
        let wire = match form {
            Form::Data => [&wire::stuffed(message, true)[..], wire::END].concat(),
            Form::Chunks => message.to_vec(),
        };
        Self::new(wire, message, generated, None)
    }

    fn hostile(kind: Hostile, run: &str, recipient: &str, form: Form) -> Self {
        let mut wire = kind.wire(run, recipient);
        if form == Form::Chunks {
            let message = wire.clone();
            return Self::new(wire, &message, false, Some(kind));
        }
        wire.extend_from_slice(wire::END);
        let message = wire::arrived(&wire).map(|(message, _)| message).unwrap_or_default();
        Self::new(wire, &message, false, Some(kind))
    }

    fn new(wire: Vec<u8>, message: &[u8], generated: bool, hostile: Option<Hostile>) -> Self {
        let (sha256, sha256_lf) = digests(message);
        Self {
            eight_bit: message.iter().any(|octet| !octet.is_ascii()),
            octets: message.len(),
            wire: wire.into(),
            sha256,
            sha256_lf,
            generated,
            hostile,
        }
    }

    /// The lines before it in message `id`.
    pub(crate) fn head(&self, id: &str) -> String {
        if self.generated {
            format!("{MARK}{id}\r\n{}\r\n", message_id(id))
        } else {
            format!("{MARK}{id}\r\n")
        }
    }
}

/// The line behind the mark of a generated message.
pub(crate) fn message_id(id: &str) -> String {
    format!("Message-ID: <{id}@{ID_DOMAIN}>")
}

/// SHA-256 as it is, and with every CRLF as LF.
pub(crate) fn digests(message: &[u8]) -> (String, String) {
    let whole = Sha256::digest(message);
    let mut lf = Sha256::new();
    let mut rest = message;
    while let Some(at) = memchr_crlf(rest) {
        lf.update(&rest[..at]);
        rest = &rest[at + 1..];
    }
    lf.update(rest);
    (hexadecimal(&whole), hexadecimal(&lf.finalize()))
}

fn memchr_crlf(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].iter().position(|&octet| octet == b'\r')?;
        if text.get(at + 1) == Some(&b'\n') {
            return Some(at);
        }
        from = at + 1;
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Line ends as CRLF, the last line whole; without the separator of an mbox.
fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut rest = message;
    if rest.starts_with(b"From ") {
        rest = rest.iter().position(|&octet| octet == b'\n').map_or(&[][..], |at| &rest[at + 1..]);
    }
    let mut out = Vec::with_capacity(rest.len() + rest.len() / 32 + 2);
    for line in rest.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A header and lines of words up to `size` octets; every sixteenth line or so begins with a dot.
fn text(chance: &mut StdRng, size: usize, eight_bit: bool) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "gate", "river", "of", "the", "mail", "stone", "under", "water", "a", "paper", "goes", "on",
    ];
    const WIDE: [&str; 4] = ["Schleuse", "für", "naïve", "größer"];
    let mut out =
        b"From: Load Test <from@loadtest.invalid>\r\nTo: Load Test <to@loadtest.invalid>\r\n\
        Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nSubject: load\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n"
            .to_vec();
    let encoding: &[u8] = if eight_bit { b"8bit" } else { b"7bit" };
    out.extend_from_slice(b"Content-Transfer-Encoding: ");
    out.extend_from_slice(encoding);
    out.extend_from_slice(b"\r\n\r\n");
    if eight_bit {
        out.extend_from_slice("Grüße\r\n".as_bytes());
    }
    while out.len() + 2 < size {
        let room = (size - out.len() - 2).min(LINE_OCTETS_MAX);
        let begin = out.len();
        if chance.random_range(0..16) == 0 {
            out.push(b'.');
        }
        loop {
            let word = if eight_bit && chance.random_range(0..8) == 0 {
                WIDE[chance.random_range(0..WIDE.len())]
            } else {
                WORDS[chance.random_range(0..WORDS.len())]
            };
            if out.len() - begin + word.len() + 1 > room {
                break;
            }
            out.extend_from_slice(word.as_bytes());
            out.push(b' ');
        }
        // The last line fills what is left, to the octet.
        if size - begin - 2 <= LINE_OCTETS_MAX {
            out.resize(size - 2, b'-');
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_messages_have_their_size_and_arrive() {
        for size in [500, 501, 577, 578, 579, 580, 4096, 65536] {
            let corpus = Corpus::generated(&Sizes::fixed(size), size % 2 == 0, 3, Form::Data);
            for number in 0..4 {
                let body = corpus.body(number);
                assert_eq!(body.octets as u64, size);
                assert_eq!(body.eight_bit, size % 2 == 0);
                let (message, octets) = wire::arrived(&body.wire).unwrap();
                assert_eq!((message.len(), octets), (body.octets, body.wire.len()));
                assert_eq!(digests(&message).0, body.sha256);
                assert!(message.split(|&o| o == b'\n').all(|line| line.len() < 80));
            }
            assert_ne!(corpus.body(0).sha256, corpus.body(1).sha256);
        }
        let corpus = Corpus::generated(&Sizes::fixed(65536), false, 3, Form::Data);
        assert!(corpus.body(0).wire.windows(4).any(|four| four == b"\r\n.."), "dots are stuffed");
        let again = Corpus::generated(&Sizes::fixed(65536), false, 3, Form::Chunks);
        assert_eq!(again.body(0).sha256, corpus.body(0).sha256, "the form is not the message");
        assert_eq!(again.body(0).wire.len(), 65536);
    }

    #[test]
    fn the_pool_is_bounded() {
        let sizes: Sizes = "lognormal:4KiB:2".parse().unwrap();
        let corpus = Corpus::generated(&sizes, false, 1, Form::Chunks);
        assert_eq!(corpus.bodies.len(), BODIES_MAX);
        assert!(corpus.bodies.iter().any(|body| body.octets > 10 * 4096));
    }

    #[test]
    fn a_folder_of_messages_gets_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.eml"), "Subject: b\r\n\r\n.dot\r\n").unwrap();
        fs::write(folder.path().join("a.EML"), "From x@y Thu\nSubject: a\n\nno end").unwrap();
        fs::write(folder.path().join("c.txt"), "no mail").unwrap();
        let corpus = Corpus::folder(folder.path(), Form::Data).unwrap();
        assert_eq!(corpus.bodies.len(), 2);
        assert_eq!(&corpus.body(0).wire[..], b"Subject: a\r\n\r\nno end\r\n.\r\n");
        assert_eq!(&corpus.body(1).wire[..], b"Subject: b\r\n\r\n..dot\r\n.\r\n");
        assert_eq!(corpus.body(0).head("1.2"), "X-Loadtest: 1.2\r\n");
        let said = Corpus::folder(Path::new("/none"), Form::Data).unwrap_err();
        assert!(said.contains("/none") && said.contains("--corpus"), "{said}");
    }

    #[test]
    fn hostile_ones_come_when_they_should() {
        let corpus = Corpus::generated(&Sizes::fixed(600), false, 1, Form::Data).with_hostile(
            &[Hostile::Nul, Hostile::SmuggleLf],
            3,
            "7",
            "a@b",
        );
        let kinds: Vec<Option<Hostile>> = (0..7).map(|n| corpus.body(n).hostile).collect();
        let (nul, lf) = (Some(Hostile::Nul), Some(Hostile::SmuggleLf));
        assert_eq!(kinds, [nul, None, None, lf, None, None, nul]);
    }

    #[test]
    fn both_digests() {
        assert_eq!(digests(b"a\r\nb\r\n").1, digests(b"a\nb\n").0);
        assert_eq!(digests(b"a\r\r\n\rb\r").1, digests(b"a\r\n\rb\r").0);
        assert_ne!(digests(b"a\r\n").0, digests(b"a\r\n").1);
        // FIPS 180-2, appendix B.1.
        assert!(digests(b"abc").0.starts_with("ba7816bf8f01cfea414140de5dae2223"));
    }
}
