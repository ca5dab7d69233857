//! mail::recipients – the table of recipients that another server has, so that others are refused at RCPT.
//!
//! ```text
//!  # one a line; `OK` or `x` may follow, as in tables for Postfix, and a comment
//!  ann@example.org     OK
//!  bob                 in any domain of the route
//!  @lists.example.org  every name of that domain
//! ```
//! Promises: names are compared without case; memory is about that of the file.
//! Not here: reading files (`server::routing`).

use std::collections::HashSet;

use super::name;
use crate::smtp::address::Mailbox;

/// What may follow a name: tables for Postfix have a value, which nobody looks at.
const VALUES: [&str; 3] = ["OK", "ok", "x"];

/// The names of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// `local@domain`, `local` or `@domain`: local parts in lower case, domains as their keys.
    names: HashSet<Box<str>>,
}

/// A line that is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl Known {
    /// Understands a table.
    ///
    /// # Errors
    /// Every line that is no name.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let (mut names, mut faults) = (HashSet::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let mut words = text.split_whitespace();
            let Some(word) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            let what = match (key(word), words.find(|word| !VALUES.contains(word))) {
                (Some(key), more) if more.is_none_or(|more| more.starts_with('#')) => {
                    names.insert(key.into_boxed_str());
                    continue;
                }
                (Some(_), more) => format!("{}: more than a name", more.unwrap_or_default()),
                (None, _) => format!("{word}: no address, no local part, no @domain"),
            };
            faults.push(Fault { line, what });
        }
        if faults.is_empty() { Ok(Self { names }) } else { Err(faults) }
    }

    /// Is it in the table, as it is or as `base`, which is it without its extension?
    #[must_use]
    pub fn has(&self, folded: &str, base: Option<&str>, domain: &str) -> bool {
        let whole = |local: &str| format!("{local}@{domain}");
        let by_name =
            |local: &str| self.names.contains(local) || self.names.contains(whole(local).as_str());
        by_name(folded) || base.is_some_and(by_name) || self.names.contains(whole("").as_str())
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A name as clients may say it: what is none of RFC 5321 and RFC 6531 could never be asked for.
fn key(word: &str) -> Option<String> {
    let read = |text: &str| Mailbox::parse(text, true).ok();
    if word.starts_with('@') {
        return read(&format!("a{word}")).map(|one| format!("@{}", one.domain.key()));
    }
    if let Some(whole) = read(word) {
        return Some(format!("{}@{}", name::folded(&whole.local), whole.domain.key()));
    }
    read(&format!("{word}@a")).map(|one| name::folded(&one.local))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_table_knows_what_is_in_it() {
        let text = "# who\nAnn@Example.ORG  OK\n\nbob\n@lists.example.org\n  carl@b.example\n";
        let known = Known::parse(text).unwrap();
        assert_eq!(known.len(), 4);
        for (local, base, domain, there) in [
            ("ann", None, "example.org", true),
            ("ann+tag", Some("ann"), "example.org", true),
            ("ann+tag", None, "example.org", false),
            ("ann", None, "b.example", false),
            ("bob", None, "b.example", true),
            ("anybody", None, "lists.example.org", true),
            ("carl", None, "b.example", true),
            ("nobody", Some("no"), "b.example", false),
        ] {
            assert_eq!(known.has(local, base, domain), there, "{local}@{domain}");
        }
        assert!(Known::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_name_is_told_with_its_line() {
        for line in [
            "@",
            "x@y@",
            "\"",
            "ann:",
            "ann,",
            "<ann@a.example>",
            "ann@a..example",
            "@-a.example",
            "what is this",
            "ann@a.example bob@a.example",
            "ann@a.example OK bob",
            "ann(at)a.example",
        ] {
            let faults = Known::parse(&format!("a@b\n{line}\n")).unwrap_err();
            let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
            assert_eq!(lines, [2], "{line}");
        }
        let told = Known::parse("what is this\n").unwrap_err();
        assert_eq!(told[0].what, "is: more than a name");
        let fine = "a@b OK # yes\nb x\nc@[192.0.2.1]\n\"d\"@b#\n";
        assert_eq!(Known::parse(fine).unwrap_err().len(), 1);
        assert_eq!(Known::parse(fine.trim_end_matches("#\n")).unwrap().len(), 4);
    }
}
