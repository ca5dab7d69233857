//! server::pattern – wildcards of LIST and NLST: `*`, `?`, `[…]`. No braces: they multiply.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

/// Wildcards one pattern may have.
const STARS_MAX: usize = 8;

/// A pattern for names of one directory.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    matcher: GlobMatcher,
    /// Names that begin with a dot match only a pattern that does (as in a shell).
    dots: bool,
}

impl Pattern {
    /// `None` when it cannot be one.
    pub(super) fn new(pattern: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pattern).ok()?;
        if text.chars().filter(|&c| c == '*').count() > STARS_MAX {
            return None;
        }
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '{' | '}' => escaped.extend(['[', c, ']']),
                c => escaped.push(c),
            }
        }
        let glob = GlobBuilder::new(&escaped)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .ok()?;
        Some(Self { matcher: glob.compile_matcher(), dots: pattern.starts_with(b".") })
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        (self.dots || !name.starts_with(b"."))
            && self.matcher.is_match(Path::new(OsStr::from_bytes(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        Pattern::new(pattern).is_some_and(|p| p.matches(name))
    }

    #[test]
    fn shell_wildcards() {
        assert!(matches(b"*.iso", b"boot.iso"));
        assert!(!matches(b"*.iso", b"boot.ISO"));
        assert!(matches(b"a?c", b"abc"));
        assert!(matches(b"[ab]*", b"beta"));
        assert!(!matches(b"*", b".hidden"));
        assert!(matches(b".*", b".hidden"));
        assert!(matches(b"*", b"\xff\xfe"));
    }

    #[test]
    fn braces_stand_for_themselves() {
        assert!(!matches(b"{a,b}", b"a"));
        assert!(matches(b"{a,b}", b"{a,b}"));
    }

    #[test]
    fn what_is_no_pattern_matches_nothing() {
        assert!(Pattern::new(b"[a").is_none());
        assert!(Pattern::new(b"\xff*").is_none());
        assert!(Pattern::new(b"*********").is_none());
    }
}
