//! config::values – what single values look like: addresses, names, paths, port ranges.
//!
//! Promises: a function that returns `Some` has understood the whole text. Not here: messages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use super::Network;
use crate::limits::{PATH_BYTES_MAX, SMTP_BANNER_BYTES_MAX, USER_NAME_BYTES_MAX};

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

/// `ADDRESS`, or `ADDRESS:PORT`.
pub(super) fn resolver(text: &str) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    let bare = text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
    let address = bare.or_else(|| text.parse().ok())?;
    let reachable = !address.ip().is_unspecified() && !address.ip().is_multicast();
    (reachable && address.port() > 0).then_some(address)
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

/// A mail domain in lower case: a host name, or an address literal of RFC 5321 §4.1.3.
pub(super) fn domain(text: &str) -> Option<String> {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let tag = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:"));
        return match tag {
            Some(_) => {
                let address: std::net::Ipv6Addr = literal.get(5..)?.parse().ok()?;
                Some(format!("[ipv6:{address}]"))
            }
            None => literal.parse::<Ipv4Addr>().ok().map(|address| format!("[{address}]")),
        };
    }
    (is_hostname(text) && !text.ends_with('.')).then(|| text.to_ascii_lowercase())
}

/// `*`, `*@DOMAIN`, `LOCAL@DOMAIN`, `LOCAL@*`, in lower case.
pub(super) fn recipient_pattern(text: &str) -> Option<String> {
    const LOCAL_BYTES_MAX: usize = 64;
    if text == "*" {
        return Some(text.to_owned());
    }
    let (local, name) = text.rsplit_once('@')?;
    // What an address has without quotes (RFC 5321 §4.1.2, RFC 6531 §3.3): a dot-string.
    let plain = |c: char| {
        let special = matches!(
            c,
            '*' | '"' | '\\' | '<' | '>' | '(' | ')' | '[' | ']' | ',' | ':' | ';' | '@'
        );
        !c.is_control() && !c.is_whitespace() && !special
    };
    let local_fits = local == "*"
        || (local.len() <= LOCAL_BYTES_MAX
            && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(plain)));
    let name = if name == "*" { Some(name.to_owned()) } else { domain(name) }?;
    (local_fits && !(local == "*" && name == "*"))
        .then(|| format!("{}@{name}", local.to_lowercase()))
}

/// `ADDRESS/PREFIX` with no bit set behind the prefix; a bare address is a network of one.
pub(super) fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (width, bits) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address)) << 96),
        // An IPv4 client is never seen as ::ffff:a.b.c.d: such a network says something else than it means.
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => return None,
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let prefix = prefix.map_or(Some(width), |prefix| {
        let digits = prefix.bytes().all(|octet| octet.is_ascii_digit());
        prefix.parse::<u8>().ok().filter(|prefix| digits && *prefix <= width)
    })?;
    let behind = bits.checked_shl(u32::from(prefix)).unwrap_or(0);
    (behind == 0).then_some(Network { address, prefix })
}

/// A user, or an address.
pub(super) fn mail_target(text: &str) -> Option<String> {
    const BYTES_MAX: usize = 320;
    let plain = text.len() <= BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, ',' | ':'));
    let whole = match text.rsplit_once('@') {
        Some((local, name)) => !local.is_empty() && domain(name).is_some(),
        None => !text.is_empty(),
    };
    (plain && whole).then(|| text.to_owned())
}

/// Nothing, or one character that may stand in a local part and parts words in many mail systems.
pub(super) fn extension_separator(text: &str) -> Option<String> {
    matches!(text, "" | "+" | "-" | "_" | "=" | "#" | "~" | "%" | "." | "!")
        .then(|| text.to_owned())
}

/// One line of printable US-ASCII, for a reply.
pub(super) fn reply_text(text: &str) -> Option<String> {
    let fits = text.len() <= SMTP_BANNER_BYTES_MAX
        && text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    fits.then(|| text.to_owned())
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
