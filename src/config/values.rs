//! config::values – what single values look like: addresses, names, paths, port ranges.
//!
//! Promises: a function that returns `Some` has understood the whole text. Not here: messages.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use crate::limits::{PATH_BYTES_MAX, USER_NAME_BYTES_MAX};

/// `""` is `None`.
pub(super) fn optional<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

pub(super) fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// PASV writes the address as four numbers; none of these would reach the server.
pub(super) fn announced_address(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    let reachable = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
    reachable.then_some(address)
}

pub(super) fn user_name(text: &str) -> Option<String> {
    let fits = text.len() <= USER_NAME_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':' || c == '/');
    fits.then(|| text.to_owned())
}

pub(super) fn non_empty_path(text: &str) -> Option<PathBuf> {
    let fits =
        !text.is_empty() && text.len() <= PATH_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| PathBuf::from(text))
}

/// A virtual path: absolute, below the root, no trailing slash (`/` itself excepted).
pub(super) fn virtual_directory(text: &str) -> Option<String> {
    let path = non_empty_path(text)?;
    let below =
        text.starts_with('/') && !path.components().any(|part| part == Component::ParentDir);
    let names: Vec<&str> =
        text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    below.then(|| format!("/{}", names.join("/")))
}

pub(super) fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

/// `path` from `base` on, without `.` and `//`; `..` stays, for symbolic links may be before it.
pub(super) fn joined(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
