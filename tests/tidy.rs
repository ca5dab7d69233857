//! tidy – what a machine can check about the sources, so that no reviewer has to.
//!
//! 1. Who may import whom (ARCHITECTURE.md): `ARROWS` below is the whole truth.
//! 2. Only `src/shard/` names glommio, io_uring, nix or libc; only it and `src/wire/scan.rs` hold `unsafe`.
//! 3. Every file opens with `//!` and says what it is.
//! 4. Files and functions do not grow past a limit; the few that are longer may only shrink.
//! 5. Only `src/tls/` names rustls, its roots, aws-lc-rs, rcgen and x509-parser.
//! 6. Only `src/dns/` names hickory and tokio.
//! 7. Replies stand in one table for each protocol, `src/ftp/reply.rs` and `src/smtp/reply.rs`.
//!
//! The sources are read as text with comments and literals blanked out: no compiler is needed and
//! a finding has a line. Paths beginning with `crate::`, `super::` or `sluicegate::` are understood.

#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may stop; offsets come from `find` on the same text"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module of the top level → what it may import from others. `limits` is open to all.
/// A name with `::` opens only that path.
const ARROWS: &[(&str, &[&str])] = &[
    // Values: no kernel, no clock.
    ("limits", &[]),
    ("wire", &[]),
    ("ftp", &["wire"]),
    ("smtp", &["wire"]),
    // Who a client is, in octets that the protocols only carry.
    ("sasl", &["wire"]),
    // Where mail goes, as values; speaks of addresses and envelopes in the words of `smtp`.
    ("mail", &["wire", "smtp::address", "smtp::envelope"]),
    // Where mail for a domain goes, in names and addresses.
    ("mx", &[]),
    // What programs that judge mail are told, and what they say.
    ("milter", &["wire"]),
    // What a proxy says before a connection begins.
    ("proxy", &[]),
    // Leaves of the machine side.
    ("problem", &[]),
    ("document", &["problem"]),
    ("owner", &[]),
    ("lines", &["owner"]),
    ("log", &["lines", "problem"]),
    ("xferlog", &["lines", "problem"]),
    ("metrics", &[]),
    // One folder names hickory and its runtime.
    ("dns", &["mx"]),
    ("shard", &["problem"]),
    ("config", &["document", "owner", "problem", "ftp::convert", "wire::data", "mail::hop"]),
    ("store", &["document", "owner", "problem", "sasl", "shard"]),
    // What joins them.
    (
        "server",
        &[
            "wire", "ftp", "smtp", "sasl", "mail", "milter", "mx", "dns", "proxy", "problem",
            "owner", "log", "xferlog", "metrics", "shard", "config", "store", "tls",
        ],
    ),
    // One folder names rustls and what it stands on.
    ("tls", &["problem", "owner"]),
    ("sim", &["problem", "shard", "mx"]),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Crates that only `src/shard/` may name.
const KERNEL_CRATES: [&str; 4] = ["glommio", "io_uring", "nix", "libc"];
/// Files outside `src/shard/` that may hold `unsafe`.
const UNSAFE_ALLOWED: [&str; 1] = ["src/wire/scan.rs"];

/// Crates that only `src/tls/` may name.
const TLS_CRATES: [&str; 5] =
    ["rustls", "rustls_native_certs", "aws_lc_rs", "rcgen", "x509_parser"];

/// Crates that only `src/dns/` may name.
const DNS_CRATES: [&str; 4] = ["hickory_resolver", "hickory_proto", "hickory_net", "tokio"];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// Longer functions there are, `(file, function, code lines)`. Entries may shrink or go, never come.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

// ---------------------------------------------------------------- the checks

#[test]
fn imports_follow_the_arrows() {
    let mut faults = Vec::new();
    for source in sources() {
        let own = source.top();
        let Some((_, allowed)) = ARROWS.iter().find(|(module, _)| *module == own) else {
            faults.push(format!("{}: module {own:?} has no arrows; add it to ARROWS", source.name));
            continue;
        };
        for (line, path) in source.imports() {
            let top = path.first().map_or("", String::as_str);
            let known = ARROWS.iter().any(|(module, _)| *module == top);
            // Names of the crate's own root (macros, re-exports) are no modules.
            if !known || top == own || top == "limits" {
                continue;
            }
            let whole = path.join("::");
            let open = |one: &str| {
                one == "*" || one == top || whole == one || whole.starts_with(&format!("{one}::"))
            };
            if !allowed.iter().any(|one| open(one)) {
                faults.push(format!("{}:{line}: {own} may not import {whole}", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn only_the_shard_names_the_kernel() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.top() != "shard") {
        for (line, word, next) in source.words() {
            if KERNEL_CRATES.contains(&word) && next.starts_with("::") {
                faults.push(format!("{}:{line}: {word} is named outside src/shard/", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn only_tls_names_rustls() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.top() != "tls") {
        for (line, word, next) in source.words() {
            if TLS_CRATES.contains(&word) && next.starts_with("::") {
                faults.push(format!("{}:{line}: {word} is named outside src/tls/", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn only_dns_names_the_resolver_library() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.top() != "dns") {
        for (line, word, next) in source.words() {
            if DNS_CRATES.contains(&word) && next.starts_with("::") {
                faults.push(format!("{}:{line}: {word} is named outside src/dns/", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn unsafe_stays_in_the_shard() {
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.top() != "shard" && !UNSAFE_ALLOWED.contains(&source.name.as_str()))
    {
        for (line, word, _) in source.words() {
            if word == "unsafe" {
                faults.push(format!("{}:{line}: unsafe outside src/shard/", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |source: &&Source| !source.text.starts_with("//! ");
    report(
        &sources()
            .iter()
            .filter(silent)
            .map(|source| format!("{}:1: no `//!` header", source.name))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn files_stay_short() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX)
            .then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.name))
    };
    report(&sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_stay_short() {
    let mut faults = Vec::new();
    let mut found = BTreeMap::new();
    for source in sources() {
        for (line, name, lines) in source.functions() {
            if lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let known = LONG_FUNCTIONS
                .iter()
                .find(|(file, function, _)| *file == source.name && *function == name);
            match known {
                Some((file, function, most)) if lines <= *most => {
                    found.insert((*file, *function), lines);
                }
                Some((_, _, most)) => faults.push(format!(
                    "{}:{line}: {name} grew to {lines} lines from {most}",
                    source.name
                )),
                None => faults.push(format!(
                    "{}:{line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    source.name
                )),
            }
        }
    }
    for (file, function, most) in LONG_FUNCTIONS {
        match found.get(&(*file, *function)) {
            Some(lines) if lines == most => {}
            Some(lines) => faults
                .push(format!("{file}: {function} shrank to {lines}: say so in LONG_FUNCTIONS")),
            None => faults.push(format!(
                "{file}: {function} is short or gone: remove it from LONG_FUNCTIONS"
            )),
        }
    }
    report(&faults);
}

#[test]
fn replies_stand_in_one_table() {
    let mut faults = Vec::new();
    let bodies = sources().into_iter().filter(|source| {
        matches!(source.top(), "ftp" | "smtp")
            && !source.name.ends_with("/reply.rs")
            && !source.is_test()
    });
    for source in bodies {
        let protocol = source.top();
        for (line, literal) in &source.literals {
            let code: String = literal.chars().take(4).collect();
            if code.len() == 4
                && code.bytes().take(3).all(|octet| octet.is_ascii_digit())
                && matches!(code.as_bytes()[3], b' ' | b'-')
            {
                faults.push(format!(
                    "{}:{line}: reply {code:?}… outside src/{protocol}/reply.rs",
                    source.name
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_checks_find_what_they_look_for() {
    let text = "//! x\nuse crate::{server::{self, run}, wire};\n/* unsafe */ fn a<'a>(x: &'a str) -> char { '\"' }\n\
                fn b() {\n    let _ = r#\"unsafe \"# ; super::super::shard::now();\n\n    nix::x();\n}\n";
    let source = Source::new("src/ftp/x.rs".into(), text.to_owned());
    let imports: Vec<String> = source
        .imports()
        .into_iter()
        .map(|(line, path)| format!("{line} {}", path.join("::")))
        .collect();
    assert_eq!(imports, ["2 server::run", "2 server::self", "2 wire", "5 shard::now"]);
    assert!(!source.words().any(|(_, word, _)| word == "unsafe"));
    assert!(
        source
            .words()
            .any(|(line, word, next)| (line, word) == (7, "nix") && next.starts_with("::"))
    );
    assert_eq!(source.functions(), [(3, "a".to_owned(), 1), (4, "b".to_owned(), 4)]);
    assert_eq!(source.literals, [(5, "unsafe ".to_owned())]);
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

// ---------------------------------------------------------------- reading sources

struct Source {
    /// Path from the root of the repository, with `/`.
    name: String,
    text: String,
    /// `text` with comments and literals blanked; same lines.
    code: String,
    /// String literals and the line they begin on.
    literals: Vec<(usize, String)>,
}

impl Source {
    fn new(name: String, text: String) -> Self {
        let (code, literals) = blank(&text);
        Self { name, text, code, literals }
    }

    /// The module of the top level this file belongs to.
    fn top(&self) -> &str {
        let below = self.name.strip_prefix("src/").unwrap_or(&self.name);
        below.split('/').next().map_or(below, |first| first.strip_suffix(".rs").unwrap_or(first))
    }

    fn is_test(&self) -> bool {
        ["/tests.rs", "_tests.rs"].iter().any(|end| self.name.ends_with(end))
            || self.name.contains("/tests/")
    }

    /// Modules from the crate's root to this file's: `src/a/b.rs` is `a::b`, `src/a/mod.rs` is `a`.
    fn module_path(&self) -> Vec<String> {
        let below = self.name.strip_prefix("src/").unwrap_or(&self.name);
        let mut path: Vec<String> =
            below.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            path.pop();
        }
        path
    }

    /// Words of the code with what follows them.
    fn words(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.code.lines().enumerate().flat_map(|(index, line)| {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let mut rest = line;
            std::iter::from_fn(move || {
                let start = rest.find(is_word)?;
                let after = &rest[start..];
                let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
                rest = &after[end..];
                Some((index + 1, &after[..end], rest))
            })
        })
    }

    /// Every path into this crate, `use` trees spread out, without `crate::`.
    fn imports(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for root in ["crate", "super", "sluicegate"] {
            for (offset, _) in self.code.match_indices(&format!("{root}::")) {
                let before = self.code[..offset].trim_end();
                let continues = self.code[..offset]
                    .ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    || before.ends_with("::");
                // `pub(in super::x)` and a `super` behind another are part of a path seen already.
                if continues {
                    continue;
                }
                let line = self.code[..offset].matches('\n').count() + 1;
                for path in spread(&self.code[offset..]) {
                    if let Some(path) = self.rooted(&path, offset) {
                        found.push((line, path));
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// `crate::a` and `super::a` as seen from the crate's root; `None` when it stays in the file's own module.
    fn rooted(&self, path: &[String], offset: usize) -> Option<Vec<String>> {
        if path.first().is_some_and(|first| first != "super") {
            return Some(path[1..].to_vec());
        }
        let climbs = path.iter().take_while(|part| *part == "super").count();
        // Within `mod x { … }` of the same file the first `super` is the file itself.
        let inline = self.code[..offset].matches("mod tests {").count().min(1);
        let mut from = self.module_path();
        for _ in 0..climbs.saturating_sub(inline) {
            from.pop()?;
        }
        from.extend(path[climbs..].iter().cloned());
        Some(from)
    }

    /// `(line, name, lines of code in the body and signature)`.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for (offset, _) in self.code.match_indices("fn ") {
            let word_before =
                self.code[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let name: String = self.code[offset + 3..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if word_before || name.is_empty() {
                continue;
            }
            if let Some(end) = body_end(&self.code[offset..]) {
                let lines = self.code[offset..offset + end]
                    .lines()
                    .filter(|line| !line.trim().is_empty())
                    .count();
                found.push((self.code[..offset].matches('\n').count() + 1, name, lines));
            }
        }
        found
    }
}

/// Every source of the server.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.sort();
    assert!(files.len() > 10, "no sources under {}", root.display());
    let name = |file: &Path| file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    files.iter().map(|file| Source::new(name(file), fs::read_to_string(file).unwrap())).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The paths of a `use` tree or of a path in an expression: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = text;
    tree(&mut rest, &mut Vec::new(), &mut paths);
    paths
}

fn tree(rest: &mut &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let depth = prefix.len();
    loop {
        *rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            *rest = inside;
            while !rest.is_empty() {
                tree(rest, prefix, paths);
                *rest = rest.trim_start();
                match rest.strip_prefix(',') {
                    Some(more) => *rest = more.trim_start(),
                    None => break,
                }
                if rest.starts_with('}') {
                    break;
                }
            }
            *rest = rest.strip_prefix('}').unwrap_or(rest);
            break;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        prefix.push(if end == 0 { "*".to_owned() } else { rest[..end].to_owned() });
        *rest = if end == 0 { rest.strip_prefix('*').unwrap_or(rest) } else { &rest[end..] };
        match rest.strip_prefix("::") {
            Some(more)
                if more
                    .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '{' | '*')) =>
            {
                *rest = more;
            }
            _ => {
                paths.push(prefix.clone());
                break;
            }
        }
    }
    if let Some(more) = rest.trim_start().strip_prefix("as ") {
        let end = more.find([',', '}', ';']).unwrap_or(more.len());
        *rest = &more[end..];
    }
    prefix.truncate(depth);
}

/// Where the body of the function that begins here ends; `None` for a declaration.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut round) = (0_usize, 0_usize);
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            ';' if braces == 0 && round == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Blanks comments and literals, keeping lines; returns the string literals.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let characters: Vec<char> = text.chars().collect();
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let mut at = 0;
    while at < characters.len() {
        let token = token(&characters[at..], code.chars().next_back());
        let piece = &characters[at..at + token.length];
        if let Some((open, close)) = token.literal {
            let line = code.matches('\n').count() + 1;
            let end = piece.len().saturating_sub(close).max(open);
            literals.push((line, piece[open..end].iter().collect()));
        }
        if token.keep {
            code.extend(piece);
        } else {
            code.extend(piece.iter().map(|character| if *character == '\n' { '\n' } else { ' ' }));
        }
        at += token.length;
    }
    (code, literals)
}

struct Token {
    length: usize,
    keep: bool,
    /// For string literals: characters of the opening and of the closing.
    literal: Option<(usize, usize)>,
}

fn token(rest: &[char], before: Option<char>) -> Token {
    let skip = |length: usize| Token { length: length.min(rest.len()), keep: false, literal: None };
    let find = |from: usize, stop: &dyn Fn(usize) -> bool| {
        (from..rest.len()).find(|at| stop(*at)).unwrap_or(rest.len())
    };
    let is = |at: usize, character: char| rest.get(at) == Some(&character);
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if is(0, '/') && is(1, '/') {
        return skip(find(0, &|at| is(at, '\n')));
    }
    if is(0, '/') && is(1, '*') {
        return skip(find(2, &|at| is(at, '*') && is(at + 1, '/')) + 2);
    }
    // r"…", r#"…"#, br"…"
    let raw = if is(0, 'b') && is(1, 'r') {
        2
    } else if is(0, 'r') {
        1
    } else {
        0
    };
    if raw > 0 && !in_word {
        let hashes = rest[raw..].iter().take_while(|c| **c == '#').count();
        if is(raw + hashes, '"') {
            let closes = |at: usize| is(at, '"') && (1..=hashes).all(|n| is(at + n, '#'));
            let open = raw + hashes + 1;
            let length = (find(open, &closes) + 1 + hashes).min(rest.len());
            return Token { length, keep: false, literal: Some((open, 1 + hashes)) };
        }
    }
    if is(0, '"') {
        let mut at = 1;
        while at < rest.len() && !is(at, '"') {
            at += if is(at, '\\') { 2 } else { 1 };
        }
        return Token { length: (at + 1).min(rest.len()), keep: false, literal: Some((1, 1)) };
    }
    // A character, not a lifetime.
    if is(0, '\'') {
        if is(1, '\\') {
            return skip(find(3, &|at| is(at, '\'')) + 1);
        }
        if is(2, '\'') {
            return skip(3);
        }
    }
    Token { length: 1, keep: true, literal: None }
}
