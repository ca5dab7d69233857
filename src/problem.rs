//! problem – what is wrong, why, and what to do about it, as one line.
//!
//! `Problem` is an error for the operator; `Finding` is one line of `sluicegate check`.
//! Both are plain text made where the fact is known; nobody matches on them.
//!
//! Promises: displays as exactly one line, whatever a file, a path or a client put into it.
//! Not here: printing, exit codes.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in a file; line and column count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the operator named it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing that is wrong: `place: what: why (remedy)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, when a file's text is to blame.
    pub place: Option<Place>,
    /// What failed or is wrong.
    pub what: String,
    /// Why; may be empty.
    pub why: String,
    /// What to do; may be empty.
    pub remedy: String,
}

impl Problem {
    /// A problem without a place in a file.
    pub fn new(what: impl Into<String>, why: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self { place: None, what: what.into(), why: why.to_string(), remedy: remedy.into() }
    }

    /// A problem with a path: the path is the "what".
    pub fn path(path: &Path, why: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self::new(path.display().to_string(), why, remedy)
    }

    /// The same problem at `place`.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        if let Some(place) = &self.place {
            line.push_str(&format!("{place}: "));
        }
        line.push_str(&self.what);
        if !self.why.is_empty() {
            line.push_str(&format!(": {}", self.why));
        }
        if !self.remedy.is_empty() {
            line.push_str(&format!(" ({})", self.remedy));
        }
        f.write_str(&one_line(&line))
    }
}

impl std::error::Error for Problem {}

/// How grave a finding of `check` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The server runs, but less well than it could.
    Warn,
    /// The server would not run, or mail could never go where the configuration sends it.
    Fail,
}

/// One line of `sluicegate check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub level: Level,
    /// What was looked at and what was found.
    pub what: String,
    /// What to do about it; empty when all is well.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    /// It runs, but.
    pub fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), remedy: remedy.into() }
    }

    /// It would not run, or not do what it is for.
    pub fn fail(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), remedy: remedy.into() }
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let remedy = problem.remedy.clone();
        Self::fail(Problem { remedy: String::new(), ..problem }.to_string(), remedy)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let line = if self.remedy.is_empty() {
            format!("{level}  {}", self.what)
        } else {
            format!("{level}  {} ({})", self.what, self.remedy)
        };
        f.write_str(&one_line(&line))
    }
}

/// Control characters become escapes, so that one problem stays one line on any terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let place = Place { file: "a\nb.toml".into(), line: 3, column: 9 };
        let problem = Problem::new("root", "gone\u{1b}[1m", "make it").at(place);
        assert_eq!(problem.to_string(), "a\\nb.toml:3:9: root: gone\\u{1b}[1m (make it)");
    }

    #[test]
    fn a_finding_carries_level_and_remedy() {
        assert_eq!(Finding::ok("fine").to_string(), "ok    fine");
        let finding = Finding::from(Problem::new("root", "gone", "make it"));
        assert_eq!(finding.to_string(), "FAIL  root: gone (make it)");
    }
}
