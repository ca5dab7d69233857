//! mail::aliases – the aliases file, in the syntax of aliases(5).
//!
//! ```text
//!  # comment                          name: target, target …       "quoted name": target
//!  name: user, \user, user@example.org,
//!      :include:/path/of/a/list       a line that begins with a space goes on
//!  owner-name: who                    becomes the envelope sender of what `name` sends on
//! ```
//! Promises: everything wrong is reported with line and column, all of it; memory is bounded by
//! the text and `limits`; no command is run and no file written by what stands here.
//! Not here: reading files (the caller's `load`), who is a user, expansion (`route`).

use std::collections::BTreeMap;

use super::name;
use crate::limits::{
    ALIAS_DEPTH_MAX, ALIAS_LISTS_BYTES_MAX, ALIAS_LISTS_MAX, ALIAS_MEMBERS_MAX,
    ALIAS_MEMBERS_TOTAL_MAX,
};

mod weigh;

/// Something wrong in the file, or in a list it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The included list; `None`: the file itself.
    pub list: Option<String>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// One target of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A local part: alias or user.
    Local(String),
    /// `\user`: no alias any more.
    User(String),
    /// Local part and key of the domain.
    Address(String, String),
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// As written.
    pub name: String,
    /// Where it was defined.
    pub line: usize,
    /// Whom it leads to; nobody only where an included list is empty.
    pub members: Vec<Member>,
    /// It leads to more than [`ALIAS_MEMBERS_MAX`], or deeper than [`ALIAS_DEPTH_MAX`].
    pub endless: bool,
}

/// All aliases, by their names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aliases {
    map: BTreeMap<String, Alias>,
}

/// Reads an included list: its text, or why it cannot be read.
pub type Load<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

impl Aliases {
    /// Understands the text of an aliases file; `load` gives the text of `:include:` lists.
    ///
    /// # Errors
    /// Everything that is wrong (the first hundred).
    pub fn parse(text: &str, load: &mut Load<'_>) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader {
            load,
            map: BTreeMap::new(),
            faults: Vec::new(),
            lists: Vec::new(),
            listed: false,
            read: (0, 0),
            stopped: false,
            total: 0,
        };
        reader.file(text);
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        let mut map = reader.map;
        weigh::mark(&mut map);
        Ok(Self { map })
    }

    /// The alias of this name in lower case (`name::folded`).
    pub fn find(&self, folded: &str) -> Option<&Alias> {
        self.map.get(folded)
    }

    /// Every alias with its name in lower case, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Alias)> {
        self.map.iter().map(|(name, alias)| (name.as_str(), alias))
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// Problems told at once; nobody reads more.
const FAULTS_MAX: usize = 100;

/// A part of a line, and the column of its first character.
#[derive(Clone, Copy)]
struct Piece<'t> {
    text: &'t str,
    line: usize,
    column: usize,
}

impl<'t> Piece<'t> {
    /// The first `octets` of it, and what is behind them.
    fn split(self, octets: usize) -> (Self, Self) {
        let (before, after) = self.text.split_at(octets);
        let column = self.column + before.chars().count();
        (Self { text: before, ..self }, Self { text: after, column, ..self })
    }

    fn trimmed(self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        let (_, rest) = self.split(start);
        Self { text: rest.text.trim_end(), ..rest }
    }

    /// Up to the first of `ends` outside quotes (and outside `<>`), and what follows it.
    fn until(self, ends: char) -> (Self, Option<Self>) {
        let (mut quoted, mut escaped) = (false, false);
        for (at, character) in self.text.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                other if other == ends && !quoted => {
                    let (before, after) = self.split(at);
                    return (before, Some(after.split(ends.len_utf8()).1));
                }
                _ => {}
            }
        }
        (self, None)
    }
}

struct Reader<'a, 'b> {
    load: &'a mut Load<'b>,
    map: BTreeMap<String, Alias>,
    faults: Vec<Fault>,
    /// Lists being read, outermost first.
    lists: Vec<String>,
    /// A list was read for the alias under way: it may be empty, and have members tomorrow.
    listed: bool,
    /// Lists read, and their octets.
    read: (usize, usize),
    stopped: bool,
    total: usize,
}

impl Reader<'_, '_> {
    fn fault(&mut self, piece: Piece<'_>, what: impl Into<String>, remedy: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault {
                list: self.lists.last().cloned(),
                line: piece.line,
                column: piece.column,
                what: what.into(),
                remedy: remedy.into(),
            });
        }
    }

    fn file(&mut self, text: &str) {
        let mut current: Option<Alias> = None;
        for piece in lines(text) {
            let members = if piece.text.starts_with([' ', '\t']) {
                piece
            } else {
                self.finish(current.take());
                let Some((alias, members)) = self.head(piece) else { continue };
                current = Some(alias);
                members
            };
            match &mut current {
                Some(alias) => {
                    let mut found = std::mem::take(&mut alias.members);
                    self.members(members, &mut found);
                    alias.members = found;
                }
                None if self.faults.is_empty() => self.fault(
                    piece.trimmed(),
                    "continues nothing",
                    "begin the line with a name, or in the first column",
                ),
                // The line it continues has been reported.
                None => {}
            }
        }
        self.finish(current);
    }

    /// The name before the colon, and what follows.
    fn head<'t>(&mut self, piece: Piece<'t>) -> Option<(Alias, Piece<'t>)> {
        let (before, Some(rest)) = piece.until(':') else {
            self.fault(piece, "no colon", "write `name: target, target`");
            return None;
        };
        let before = before.trimmed();
        let name = match name::split(before.text) {
            Some((name, None)) if before.text.starts_with('"') || is_word(&name) => name,
            Some((_, Some(_))) => {
                self.fault(
                    before,
                    "an alias has no domain",
                    "give the part before the @; it holds in every domain of ours",
                );
                return None;
            }
            Some((_, None)) | None => {
                self.fault(before, "not a name", "one word, or \"a quoted one\"");
                return None;
            }
        };
        if let Some(first) = self.map.get(&name::folded(&name)) {
            let what = format!("{name}: defined twice, first in line {}", first.line);
            self.fault(before, what, "join both into one");
            return None;
        }
        Some((Alias { name, line: piece.line, members: Vec::new(), endless: false }, rest))
    }

    fn finish(&mut self, alias: Option<Alias>) {
        let Some(alias) = alias else { return };
        let listed = std::mem::take(&mut self.listed);
        if alias.members.is_empty() && !listed && self.faults.is_empty() {
            let piece = Piece { text: "", line: alias.line, column: 1 };
            let what = format!("{}: leads to nobody", alias.name);
            self.fault(piece, what, "give a target; to throw mail away use a route to \"discard\"");
        }
        self.map.insert(name::folded(&alias.name), alias);
    }

    /// Targets of one line.
    fn members(&mut self, piece: Piece<'_>, found: &mut Vec<Member>) {
        let mut rest = Some(piece);
        while let Some(piece) = rest {
            let (one, after) = piece.until(',');
            rest = after;
            let one = one.trimmed();
            if one.text.is_empty() || self.enough() {
                continue;
            }
            if let Some(path) = include(one.text) {
                self.include(one, &path, found);
                continue;
            }
            match member(one.text) {
                Ok(_) if self.total >= ALIAS_MEMBERS_TOTAL_MAX => {
                    let what = format!("more than {ALIAS_MEMBERS_TOTAL_MAX} targets in all");
                    self.fault(one, what, "split the lists over several servers");
                    self.stopped = true;
                    return;
                }
                Ok(member) => {
                    self.total += 1;
                    found.push(member);
                }
                Err((what, remedy)) => self.fault(one, what, remedy),
            }
        }
    }

    /// Nothing more is worth reading.
    fn enough(&self) -> bool {
        self.stopped || self.faults.len() >= FAULTS_MAX
    }

    fn include(&mut self, piece: Piece<'_>, path: &str, found: &mut Vec<Member>) {
        if !path.starts_with('/') || path.contains(char::is_control) {
            return self.fault(piece, "not the path of a list", "write :include:/absolute/path");
        }
        if self.lists.iter().any(|list| list == path) {
            return self.fault(piece, "a list that includes itself", "take one of the two out");
        }
        if self.lists.len() >= ALIAS_DEPTH_MAX {
            return self.fault(piece, "lists in lists too deep", "include fewer in each other");
        }
        if self.read.0 >= ALIAS_LISTS_MAX || self.read.1 >= ALIAS_LISTS_BYTES_MAX {
            let what = "too many lists, or too long ones, in all";
            self.fault(piece, what, "put members that belong together into one list");
            self.stopped = true;
            return;
        }
        let text = match (self.load)(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{path}: cannot read: {error}");
                return self.fault(piece, what, "make it a text file the server may read");
            }
        };
        self.read = (self.read.0 + 1, self.read.1.saturating_add(text.len()));
        self.listed = true;
        self.lists.push(path.to_owned());
        for piece in lines(&text) {
            if self.enough() {
                break;
            }
            self.members(piece, found);
        }
        self.lists.pop();
    }
}

/// Lines that are neither empty nor comments.
fn lines(text: &str) -> impl Iterator<Item = Piece<'_>> {
    text.lines().zip(1..).filter_map(|(text, line)| {
        let said = text.trim_start();
        let silent = said.is_empty() || said.starts_with('#');
        (!silent).then_some(Piece { text, line, column: 1 })
    })
}

fn is_word(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '\\' | ','))
}

/// The path of `:include:/path` or `":include:/path with spaces"`.
fn include(text: &str) -> Option<String> {
    const WORD: &str = ":include:";
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (word, path) = bare.split_at_checked(WORD.len())?;
    word.eq_ignore_ascii_case(WORD).then(|| path.trim().to_owned())
}

/// One target; or what is wrong with it, and what to do.
fn member(text: &str) -> Result<Member, (&'static str, &'static str)> {
    match text.strip_prefix('"').unwrap_or(text).chars().next() {
        Some('|') => {
            return Err(("mail is not given to commands", "name a user, an alias or an address"));
        }
        Some('/') => {
            return Err((
                "mail is not written to files",
                "name a user; to throw mail away use a route to \"discard\"",
            ));
        }
        Some(':') => return Err(("not a target", "only :include:/path begins with a colon")),
        _ => {}
    }
    if let Some(user) = text.strip_prefix('\\') {
        return match name::split(user) {
            Some((local, None)) if user.starts_with('"') || is_word(&local) => {
                Ok(Member::User(local))
            }
            _ => Err(("not a user", "write \\name")),
        };
    }
    let address = match text.strip_suffix('>') {
        Some(named) => named.rsplit_once('<').map_or(text, |(_, address)| address.trim()),
        None => text,
    };
    let quoted = address.starts_with('"');
    match name::split(address) {
        Some((local, None)) if quoted || is_word(&local) => Ok(Member::Local(local)),
        Some((local, Some(domain))) if quoted || is_word(&local) => {
            Ok(Member::Address(local, domain))
        }
        Some(_) if address.contains(char::is_whitespace) => {
            Err(("several words", "separate targets by commas, or quote the name"))
        }
        _ => Err(("not a target", "name a user, an alias or an address")),
    }
}

#[cfg(test)]
#[path = "aliases_tests.rs"]
mod tests;
