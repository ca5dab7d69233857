//! Path resolution against a stack of names: never above the root, and the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::ftp::path::VirtualPath;
use sluicegate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// What `join` should give, by the book.
fn oracle(base: &[u8], argument: &[u8]) -> Option<Vec<u8>> {
    let mut names: Vec<&[u8]> = Vec::new();
    if argument.first() != Some(&b'/') {
        names.extend(base.split(|byte| *byte == b'/').filter(|name| !name.is_empty()));
    }
    for name in argument.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    Some(names.iter().flat_map(|name| [&b"/"[..], name]).collect::<Vec<_>>().concat())
        .map(|path| if path.is_empty() { b"/".to_vec() } else { path })
}

fuzz_target!(|arguments: Vec<&[u8]>| {
    let mut path = VirtualPath::root();
    for argument in arguments {
        let joined = path.join(argument);
        let expected = oracle(path.as_bytes(), argument);
        let over_long =
            argument.split(|byte| *byte == b'/').any(|name| name.len() > NAME_BYTES_MAX);
        let Some(joined) = joined else {
            let path_too_long = expected.is_some_and(|path| path.len() > PATH_BYTES_MAX);
            assert!(argument.contains(&0) || over_long || path_too_long, "refused {argument:?}");
            continue;
        };
        let bytes = joined.as_bytes();
        assert_eq!(Some(bytes), expected.as_deref());
        assert!(bytes.len() <= PATH_BYTES_MAX && bytes[0] == b'/' && !bytes.contains(&0));
        assert_eq!(joined.relative(), &bytes[1..]);
        for name in bytes[1..].split(|byte| *byte == b'/') {
            assert!(bytes.len() == 1 || !(name.is_empty() || name == b"." || name == b".."));
            assert!(name.len() <= NAME_BYTES_MAX);
        }
        assert_eq!(joined.join(b""), Some(joined.clone()));
        assert_eq!(joined.join(b"."), Some(joined.clone()));
        assert_eq!(VirtualPath::root().join(bytes), Some(joined.clone()));
        match joined.split() {
            None => assert_eq!(bytes, b"/"),
            Some((directory, name)) => {
                assert_eq!(directory.join(name), Some(joined.clone()));
                assert_eq!(joined.join(b".."), Some(directory));
            }
        }
        path = joined;
    }
});
