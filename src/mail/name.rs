//! mail::name – local parts and addresses as keys, and mailboxes' names on the disk.
//!
//! Promises: [`mailbox`] gives one safe path component (no `/`, NUL, control, leading dot; at most 255
//! octets), different ones for local parts that differ in more than case.
//! Not here: which mailboxes there are.

use crate::limits::NAME_BYTES_MAX;
use crate::smtp::address::Domain;

/// A local part for comparison: lower case, character by character (so that twice is the same as once).
pub fn folded(local: &str) -> String {
    if local.is_ascii() {
        return local.to_ascii_lowercase();
    }
    local.chars().flat_map(char::to_lowercase).collect()
}

/// The directory of the mailbox for a local part: lower case; what could harm is written as `%xx`.
/// `None` when it would be empty or too long.
pub fn mailbox(local: &str) -> Option<String> {
    let mut name = String::with_capacity(local.len());
    for (at, character) in local.chars().flat_map(char::to_lowercase).enumerate() {
        let kept = match character {
            'a'..='z' | '0'..='9' | '-' | '_' | '+' | '=' | '~' | '@' => true,
            '.' => at > 0,
            other => !other.is_ascii() && other.is_alphanumeric(),
        };
        if kept {
            name.push(character);
            continue;
        }
        for octet in character.encode_utf8(&mut [0; 4]).bytes() {
            name.push('%');
            for half in [octet >> 4, octet & 15] {
                name.extend(char::from_digit(u32::from(half), 16));
            }
        }
    }
    (1..=NAME_BYTES_MAX).contains(&name.len()).then_some(name)
}

/// `local@domain`, `"quoted local"@domain` or a local part alone, as an operator writes them: the meaning of
/// the local part, and the domain's key if there is one. `None` for anything else.
pub fn split(text: &str) -> Option<(String, Option<String>)> {
    let (local, domain) = match text.strip_prefix('"') {
        Some(rest) => {
            let (local, rest) = unquote(rest)?;
            match rest.strip_prefix('@') {
                Some(domain) => (local, Some(domain)),
                None if rest.is_empty() => (local, None),
                None => return None,
            }
        }
        None => match text.rsplit_once('@') {
            Some((local, domain)) => (local.to_owned(), Some(domain)),
            None => (text.to_owned(), None),
        },
    };
    let bad = |c: char| c.is_control();
    if local.is_empty() || local.contains(bad) {
        return None;
    }
    match domain {
        None => Some((local, None)),
        Some("") => None,
        Some(domain) if domain.contains(|c: char| bad(c) || c.is_whitespace() || c == '@') => None,
        Some(domain) => Some((local, Some(Domain::Name(domain.to_owned()).key()))),
    }
}

/// The meaning of a quoted string, its first quote already read, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut meaning = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((meaning, rest.as_str())),
            '\\' => meaning.push(rest.next()?),
            other => meaning.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_what_one_expects() {
        let named = |local| mailbox(local).unwrap();
        assert_eq!(named("Ann.Smith+x"), "ann.smith+x");
        assert_eq!(named("../../etc/passwd"), "%2e./..%2fetc%2fpasswd".replace('/', "%2f"));
        assert_eq!(named("."), "%2e");
        assert_eq!(named("a b%\0"), "a%20b%25%00");
        assert_eq!(named("JÜRGEN"), "jürgen");
        assert_eq!(mailbox(""), None);
        assert_eq!(mailbox(&"/".repeat(86)), None);
        assert_eq!(mailbox(&"/".repeat(85)).unwrap().len(), 255);
    }

    #[test]
    fn addresses_are_split() {
        let whole = |local: &str, domain: &str| Some((local.to_owned(), Some(domain.to_owned())));
        assert_eq!(split("Ann@A.Example"), whole("Ann", "a.example"));
        assert_eq!(split("ann"), Some(("ann".to_owned(), None)));
        assert_eq!(split(r#""a \"b\" @"@x"#), whole("a \"b\" @", "x"));
        assert_eq!(split(r#""a b""#), Some(("a b".to_owned(), None)));
        for bad in ["", "@x", "a@", "a@b c", "\"a", "\"a\"b", "\"\"@x", "a\n@x", "a@\u{7f}"] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_mailbox_is_one_safe_component(local: String) {
            let Some(name) = mailbox(&local) else {
                prop_assert!(local.is_empty() || local.len() > 80);
                return Ok(());
            };
            prop_assert!(!name.starts_with('.') && name.len() <= NAME_BYTES_MAX);
            prop_assert!(!name.contains(|c: char| c == '/' || c.is_control()));
            // What is encoded can be decoded: no two local parts share a mailbox but by case.
            let mut octets = Vec::new();
            let mut rest = name.as_bytes();
            while let Some((&first, after)) = rest.split_first() {
                rest = after;
                if first == b'%' {
                    let digits = std::str::from_utf8(&rest[..2]).unwrap();
                    octets.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &rest[2..];
                } else {
                    octets.push(first);
                }
            }
            prop_assert_eq!(String::from_utf8(octets).unwrap(), folded(&local));
        }

        #[test]
        fn folding_twice_is_folding_once(local: String) {
            prop_assert_eq!(folded(&folded(&local)), folded(&local));
        }
    }
}
