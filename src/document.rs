//! document – a TOML file read strictly: every problem with its line and column, none hidden.
//!
//! A `Document` owns the parse of one text and gathers problems; readers ask it for typed values
//! and always get one (a stand-in when the value is wrong), so that one pass finds every problem.
//! Whoever reads must look at `problems` before using what was read.
//!
//! Promises: never stops at the first problem; a value in a message is the operator's own text.
//! Not here: which keys exist and what they mean (`config`, `store::accounts`).

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::problem::{Place, Problem};

/// A value with its place in the text.
pub type Value<'t> = Spanned<DeValue<'t>>;

/// The text of one file and what was found wrong in it.
#[derive(Debug)]
pub struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    /// Where its lines begin, but for the first.
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

impl<'t> Document<'t> {
    /// Parses `text`. The table is empty when the text is not TOML; the problems say why.
    pub fn parse(file: &Path, text: &'t str) -> (Self, DeTable<'t>) {
        let lines = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
        let mut document = Self { file: file.to_owned(), text, lines, problems: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            document.reject(error.span().unwrap_or(0..0), "not TOML", message, "");
        }
        // What the parser recovered after an error is a guess: judging it would report ghosts.
        let table = if errors.is_empty() { table.into_inner() } else { DeTable::new() };
        (document, table)
    }

    /// Ends the reading; problems in the order of their places.
    pub fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        self.problems
    }

    /// Records a problem at `span`.
    pub fn reject(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        why: impl Display,
        remedy: impl Into<String>,
    ) {
        let place = self.place(span.start);
        self.problems.push(Problem::new(what, why, remedy).at(place));
    }

    /// Records that `value` of `key` is wrong and what would be right.
    pub fn reject_value(&mut self, key: &str, span: Range<usize>, allowed: impl Display) {
        let shown = self.shown(&span);
        self.reject(span, format!("{key} = {shown}"), "not allowed", format!("allowed: {allowed}"));
    }

    /// Records every key of `table` that is not in `known`, with the nearest name that is.
    pub fn unknown_keys<'n>(
        &mut self,
        table: &DeTable<'_>,
        known: impl Iterator<Item = &'n str> + Clone,
        scope: &str,
    ) {
        for (key, _) in table {
            let name: &str = key.get_ref().as_ref();
            if known.clone().any(|one| one == name) {
                continue;
            }
            let remedy = match nearest(name, known.clone()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known: {}", known.clone().collect::<Vec<_>>().join(", ")),
            };
            self.reject(key.span(), format!("unknown {scope} {name:?}"), "", remedy);
        }
    }

    /// A whole number within `allowed`; `unit` reads like "seconds".
    pub fn whole(
        &mut self,
        key: &str,
        value: &Value<'_>,
        allowed: RangeInclusive<u64>,
        unit: &str,
    ) -> u64 {
        let number = value.get_ref().as_integer().and_then(DeInteger::as_u64_checked);
        match number {
            Some(number) if allowed.contains(&number) => number,
            _ => {
                let (least, most) = (*allowed.start(), *allowed.end());
                self.reject_value(
                    key,
                    value.span(),
                    format_args!("a whole number of {unit} from {least} to {most}"),
                );
                least
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, value: &Value<'_>) -> bool {
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.reject_value(key, value.span(), "true or false");
            false
        })
    }

    /// A string that `parse` accepts. `allowed` says in words what it accepts.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = value.get_ref().as_str().and_then(parse);
        if parsed.is_none() {
            self.reject_value(key, value.span(), allowed);
        }
        parsed
    }

    /// One of the named choices; the first stands in when it is none of them.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        choices: &[(&str, T)],
        stand_in: T,
    ) -> T {
        let given = value.get_ref().as_str();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| Some(*name) == given) {
            return *choice;
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let mut allowed = names.join(" or ");
        if let Some(near) =
            given.and_then(|given| nearest(given, choices.iter().map(|(name, _)| *name)))
        {
            allowed.push_str(&format!("; did you mean {near:?}?"));
        }
        self.reject_value(key, value.span(), allowed);
        stand_in
    }

    /// An array of strings, each of which `parse` accepts; each is judged where it stands.
    pub fn list<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some(array) = value.get_ref().as_array() else {
            self.reject_value(
                key,
                value.span(),
                format_args!("an array of strings, each {allowed}"),
            );
            return Vec::new();
        };
        array.iter().filter_map(|one| self.parsed(key, one, allowed, &parse)).collect()
    }

    /// The operator's text at `span`, on one line and not too long.
    fn shown(&self, span: &Range<usize>) -> String {
        const SHOWN_CHARACTERS_MAX: usize = 60;
        let text = self.text.get(span.clone()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let mut shown: String = line.chars().take(SHOWN_CHARACTERS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }

    /// Where an octet of the text is.
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = self.lines.partition_point(|begin| *begin <= before.len());
        let line_start = line.checked_sub(1).and_then(|last| self.lines.get(last)).copied();
        let line_start = line_start.unwrap_or(0);
        Place {
            file: self.file.clone(),
            line: line + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// Numbers of any radix as `u64`.
trait Checked {
    fn as_u64_checked(&self) -> Option<u64>;
}

impl Checked for DeInteger<'_> {
    fn as_u64_checked(&self) -> Option<u64> {
        u64::from_str_radix(self.as_str(), self.radix()).ok()
    }
}

/// The known name most like `name`, when any is like it at all. Two measures, because swapped
/// letters weigh too much in the one and a missing ending in the other.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    const EDITS_KEPT_MIN: f64 = 0.6;
    const PREFIX_LIKENESS_MIN: f64 = 0.8;
    let name = name.to_lowercase();
    known
        .map(|one| {
            (
                strsim::normalized_damerau_levenshtein(&name, one),
                strsim::jaro_winkler(&name, one),
                one,
            )
        })
        .filter(|(edits, prefix, _)| *edits >= EDITS_KEPT_MIN || *prefix >= PREFIX_LIKENESS_MIN)
        .max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)))
        .map(|(_, _, one)| one)
}

/// `text` as a TOML string, quoted and escaped.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&mut Document<'_>, &DeTable<'_>)) -> Vec<String> {
        let (mut document, table) = Document::parse(Path::new("f.toml"), text);
        read(&mut document, &table);
        document.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_octet_has_the_place_that_counting_gives() {
        let text = "a = 1\n\n\"ü\" = 2\r\n# é\n";
        let (document, _) = Document::parse(Path::new("f.toml"), text);
        for offset in
            (0..text.len() + 3).filter(|at| *at > text.len() || text.is_char_boundary(*at))
        {
            let before = text.get(..offset.min(text.len())).unwrap();
            let last = before.rsplit('\n').next().unwrap_or_default();
            let Place { line, column, .. } = document.place(offset);
            let counted = (before.matches('\n').count() + 1, last.chars().count() + 1);
            assert_eq!((line, column), counted, "{offset}");
        }
    }

    #[test]
    fn places_count_characters_from_one() {
        let found = problems("a = 1\n\"ü\" = 2\n  c = [\"ü\", -5]\n", |document, table| {
            document.list("c", table.get("c").unwrap(), "a letter", |text| Some(text.len()));
            document.unknown_keys(table, ["a"].into_iter(), "key");
        });
        assert_eq!(
            found,
            [
                "f.toml:2:1: unknown key \"ü\" (known: a)",
                "f.toml:3:3: unknown key \"c\" (known: a)",
                "f.toml:3:13: c = -5: not allowed (allowed: a letter)",
            ]
        );
    }

    #[test]
    fn every_syntax_error_has_a_place() {
        let found = problems("a = \n[b\nc = 1\n", |_, _| {});
        assert!(found.iter().all(|line| line.starts_with("f.toml:")), "{found:?}");
        assert!(found.len() >= 2, "{found:?}");
    }

    #[test]
    fn the_nearest_name() {
        let known = ["listen", "root", "idle_seconds"];
        assert_eq!(nearest("lisen", known.into_iter()), Some("listen"));
        assert_eq!(nearest("idle_second", known.into_iter()), Some("idle_seconds"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }

    #[test]
    fn quoting_survives_a_round_trip() {
        for text in ["", "a\"b\\c", "line\nbreak\t\u{7f}\u{0}", "'''", "ü"] {
            let line = format!("k = {}", quoted(text));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table["k"].as_str(), Some(text), "{line}");
        }
    }
}
