//! ftp::path – a path that cannot leave the root.
//!
//! The client's `..` is resolved here, by the letters, before any file system sees it; what links
//! lead to is the affair of whoever opens the path.
//!
//! Promises: absolute; no empty, `.` or `..` component; no NUL; within `limits`.
//! Not here: opening, wildcards, permissions.

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// An absolute path of the tree as the client sees it: begins with `/`, no empty, `.` or `..` component,
/// no NUL. `/` is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Vec<u8>);

impl VirtualPath {
    /// The root.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// The path as the client sees it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path below the root without the leading `/`; empty for the root.
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Resolves `argument` against `self`, lexically. `None` for a NUL or an over-long name.
    ///
    /// `..` in the root stays in the root, as in a Unix root directory.
    pub fn join(&self, argument: &[u8]) -> Option<Self> {
        if memchr::memchr(0, argument).is_some() {
            return None;
        }
        let absolute = argument.first() == Some(&b'/');
        let mut path = Vec::with_capacity(self.0.len() + argument.len() + 1);
        if !absolute && self.0.len() > 1 {
            path.extend_from_slice(&self.0);
        }
        for name in argument.split(|octet| *octet == b'/') {
            match name {
                b"" | b"." => {}
                b".." => path.truncate(memchr::memrchr(b'/', &path).unwrap_or(0)),
                name if name.len() > NAME_BYTES_MAX => return None,
                name => {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
            }
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path.len() <= PATH_BYTES_MAX).then_some(Self(path))
    }

    /// Directory and last component; `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        let at = memchr::memrchr(b'/', &self.0)?;
        let name = &self.0[at + 1..];
        if name.is_empty() {
            return None;
        }
        let directory = if at == 0 { Self::root() } else { Self(self.0[..at].to_vec()) };
        Some((directory, name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(base: &str, argument: &str) -> String {
        let base = VirtualPath::root().join(base.as_bytes()).unwrap();
        String::from_utf8(base.join(argument.as_bytes()).unwrap().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn paths_join_by_their_letters() {
        for (base, argument, expected) in [
            ("/", "", "/"),
            ("/", "a", "/a"),
            ("/a/b", "c", "/a/b/c"),
            ("/a/b", "/c", "/c"),
            ("/a/b", "..", "/a"),
            ("/a/b", "../../..", "/"),
            ("/a/b", "../../../../etc/passwd", "/etc/passwd"),
            ("/a", "./b//c/", "/a/b/c"),
            ("/a", "...", "/a/..."),
            ("/a", " b ", "/a/ b "),
            ("/", "..", "/"),
            ("/a", "/", "/"),
        ] {
            assert_eq!(join(base, argument), expected, "{base} + {argument}");
        }
    }

    #[test]
    fn nul_and_over_long_names_are_no_paths() {
        let root = VirtualPath::root();
        assert_eq!(root.join(b"a\0b"), None);
        assert!(root.join(&[b'a'; NAME_BYTES_MAX]).is_some());
        assert_eq!(root.join(&[b'a'; NAME_BYTES_MAX + 1]), None);
        assert_eq!(root.join(&b"a/".repeat(PATH_BYTES_MAX)), None);
    }

    #[test]
    fn split_is_the_reverse_of_join() {
        assert_eq!(VirtualPath::root().split(), None);
        let path = VirtualPath::root().join(b"a/b").unwrap();
        let (directory, name) = path.split().unwrap();
        assert_eq!((directory.as_bytes(), name), (&b"/a"[..], &b"b"[..]));
        assert_eq!(directory.split().unwrap().0, VirtualPath::root());
    }

    proptest! {
        #[test]
        fn no_argument_leaves_the_root(arguments in prop::collection::vec("[a./\u{e4} *]{0,12}", 0..8)) {
            let mut path = VirtualPath::root();
            for argument in &arguments {
                path = path.join(argument.as_bytes()).unwrap();
                let bytes = path.as_bytes();
                prop_assert_eq!(bytes[0], b'/');
                if bytes.len() > 1 {
                    for name in bytes[1..].split(|octet| *octet == b'/') {
                        prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                    }
                    let (directory, name) = path.split().unwrap();
                    prop_assert_eq!(directory.join(name), Some(path.clone()));
                }
                prop_assert_eq!(path.join(path.as_bytes()), Some(path.clone()));
            }
        }

        #[test]
        fn any_octets_give_a_path_or_none(argument in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(path) = VirtualPath::root().join(&argument) {
                prop_assert!(!path.as_bytes().contains(&0));
                prop_assert!(path.as_bytes().len() <= PATH_BYTES_MAX);
            }
        }
    }
}
