//! The DATA decoder alone: octets per second of mail, and of what attackers send, per kernel.
//!
//! Every bench asserts its answer before it measures. What the numbers mean: `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "a bench may stop at what it does not expect")]

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;
use std::rc::Rc;

use common::Path;
use criterion::Throughput;
use memchr::memmem;
use sluicegate::wire::data::{BareNewlines, Decoder, Found, Kernel};

#[path = "../src/wire/data/naive.rs"]
mod naive;

/// Octets of a body, its end included; what a receive buffer holds, in the cache.
const BODY: usize = 64 << 10;

fn main() {
    common::main(inputs().into_iter().flat_map(decode).collect());
}

struct Input {
    name: &'static str,
    bare: BareNewlines,
    octets: Vec<u8>,
}

fn inputs() -> Vec<Input> {
    use BareNewlines::{Normalize, Reject};
    let text = text();
    let base64: Vec<u8> = (0..).map(|n: usize| alphabet(n / 78, n % 78)).take(BODY).collect();
    let stuffed: Vec<u8> =
        text.split_inclusive(|octet| *octet == b'\n').fold(Vec::new(), |mut all: Vec<u8>, line| {
            all.extend_from_slice(b"..");
            all.extend_from_slice(line);
            all
        });
    let repeated = |octets: &[u8]| octets.iter().copied().cycle().take(BODY).collect::<Vec<u8>>();
    let all = [
        ("mail text", Reject, text),
        ("base64", Reject, base64),
        ("every line stuffed", Reject, stuffed),
        ("all dots", Reject, repeated(b".")),
        ("CRLF", Reject, repeated(b"\r\n")),
        ("CRLF dot x", Reject, repeated(b"\r\n.x")),
        ("CRLF dot x, refused", Reject, repeated(b"\r\n.x")),
        ("all LF", Reject, repeated(b"\n")),
        ("all CR", Reject, repeated(b"\r")),
        ("CRLF dot x", Normalize, repeated(b"\r\n.x")),
        ("all LF", Normalize, repeated(b"\n")),
        ("all CR", Normalize, repeated(b"\r")),
        ("x LF", Normalize, repeated(b"x\n")),
        ("x CR", Normalize, repeated(b"x\r")),
    ];
    all.map(|(name, bare, mut octets)| {
        if name.ends_with("refused") {
            octets[0] = b'x';
        }
        octets.truncate(BODY - 6);
        octets.extend_from_slice(b"x\r\n.\r\n");
        Input { name, bare, octets }
    })
    .into()
}

/// Lines of 20 to 78 octets of words; one in 200 begins with a dot.
fn text() -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "the", "message", "is", "kept.", "A", "relay", "that", "accepts,", "delivers", "or",
        "says", "why",
    ];
    let mut state = 0x5eed_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((state >> 33) % limit).unwrap()
    };
    let mut text = Vec::new();
    while text.len() < BODY {
        let mut line = if below(200) == 0 { String::from("..") } else { String::new() };
        let width = if below(8) == 0 { 20 + below(50) } else { 70 };
        while line.len() < width {
            line += WORDS[below(12)];
            line.push(' ');
        }
        text.extend_from_slice(line.trim_end().as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Octet `column` of line `line`: 76 letters that look like none in particular, and CRLF.
fn alphabet(line: usize, column: usize) -> u8 {
    match column {
        76 => b'\r',
        77 => b'\n',
        _ => {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                [(line * 31 + column * 17 + line * column) % 64]
        }
    }
}

/// Decodes a body that comes in portions; every run goes to `keep`. Octets given out.
fn run(input: &Input, portion: usize, kernel: Kernel, mut keep: impl FnMut(&[u8])) -> usize {
    let mut decoder = Decoder::with_kernel(input.bare, kernel);
    let mut given = 0;
    for part in input.octets.chunks(portion) {
        let mut part = part;
        loop {
            match decoder.next(&mut part) {
                Found::Octets(octets) => {
                    given += octets.len();
                    keep(octets);
                }
                Found::NeedMore => break,
                Found::End => return given,
            }
        }
    }
    unreachable!("the body has an end")
}

/// One input, by every kernel this machine has, and by what it is compared with.
fn decode(input: Input) -> Vec<Path> {
    let normalize = input.bare == BareNewlines::Normalize;
    let expected = naive::decode(&input.octets, normalize).unwrap();
    assert_eq!(expected.end, BODY, "{} ends elsewhere", input.name);
    assert_eq!(expected.longest_line(), longest(&input), "{}", input.name);
    assert_eq!(expected.bare_newline, bare_newline(&input), "{}", input.name);

    let group = format!("{}/{:?}", input.name, input.bare);
    let input = Rc::new(input);
    let path = |name: String, hot: bool, run: Box<dyn FnMut()>| {
        let path = Path::new(&group, name, Throughput::Bytes(BODY as u64), run);
        Path { hot, ..path }
    };
    let mut paths = Vec::new();
    for kernel in Kernel::available() {
        for portion in [BODY, 4 << 10] {
            let mut octets = Vec::new();
            run(&input, portion, kernel, |more| octets.extend_from_slice(more));
            assert!(octets == expected.octets, "{} {kernel:?} {portion}", input.name);
            if portion < BODY && kernel != Kernel::best() {
                continue;
            }
            let input = Rc::clone(&input);
            let measured = move || {
                let given = run(black_box(&input), portion, kernel, |more| {
                    black_box(more);
                });
                black_box(given);
            };
            let name = format!("{}, {} KiB", kernel.name(), portion >> 10);
            // Valgrind knows AVX2; the portable kernel is what other processors have.
            paths.push(path(name, portion == BODY, Box::new(measured)));
        }
    }
    // Finds ends and nothing else; not that of an empty body.
    let (finder, text) = (memmem::Finder::new(b"\r\n.\r\n"), Rc::clone(&input));
    let measured = move || assert_eq!(finder.find(black_box(&text.octets)), Some(BODY - 5));
    paths.push(path("memmem".to_owned(), false, Box::new(measured)));
    let measured = move || {
        drop(black_box(naive::decode(black_box(&input.octets), normalize)));
    };
    paths.push(path("naive".to_owned(), false, Box::new(measured)));
    paths
}

fn longest(input: &Input) -> u64 {
    let mut decoder = Decoder::new(input.bare);
    let mut octets = &input.octets[..];
    while decoder.next(&mut octets) != Found::End {}
    decoder.seen().longest_line
}

fn bare_newline(input: &Input) -> bool {
    let text = &input.octets;
    (0..text.len()).any(|at| match text[at] {
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || text[at - 1] != b'\r',
        _ => false,
    })
}
