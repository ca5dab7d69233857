//! mail::recipients – the table of recipients that another server has, so that others are refused at RCPT.
//!
//! ```text
//!  # one a line; what follows behind a blank is left to whoever wrote it
//!  ann@example.org
//!  bob                 in any domain of the route
//!  @lists.example.org  every name of that domain
//! ```
//! Promises: names are compared without case; memory is about that of the file.
//! Not here: reading files (`server::routing`).

use std::collections::HashSet;

use super::name;
use crate::smtp::address::Domain;

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
            let Some(word) = text.split_whitespace().next().filter(|word| !word.starts_with('#'))
            else {
                continue;
            };
            match key(word) {
                Some(key) => {
                    names.insert(key.into_boxed_str());
                }
                None => {
                    let what = format!("{word}: no address, no local part, no @domain");
                    faults.push(Fault { line, what });
                }
            }
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

fn key(word: &str) -> Option<String> {
    if let Some(domain) = word.strip_prefix('@') {
        let plain = !domain.is_empty() && !domain.contains(['@', '"']);
        return plain.then(|| format!("@{}", Domain::Name(domain.to_owned()).key()));
    }
    let (local, domain) = name::split(word)?;
    let local = name::folded(&local);
    Some(domain.map_or_else(|| local.clone(), |domain| format!("{local}@{domain}")))
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
        let faults = Known::parse("a@b\n@\n\nx@y@\n\"\n").unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }
}
