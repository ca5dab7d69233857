//! smtp::address – mailboxes of RFC 5321 §4.1.2 and §4.1.3, and UTF-8 ones of RFC 6531 §3.3.
//!
//! Promises: a [`Mailbox`] that was read holds no CR, LF, NUL or other control, is within the limits
//! of §4.5.3.1, keeps the case of its local part, and is written in one way only (unquoted where it
//! may be), which reads as the same value.
//! Not here: whether the mailbox exists.
//!
//! Where the grammar leaves a choice: underscores are letters of a domain; a dot at its end is
//! refused, and so is `""@…`; `[192.0.2.01]` is refused, for some read that 01 as octal. The limit of
//! a path counts `<`, `>` and the source route.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Octets of a local part, without its quotes (§4.5.3.1.1).
pub const LOCAL_BYTES_MAX: usize = 64;
/// Octets of a domain (§4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Octets of a path with its brackets (§4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;
/// Octets of a label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// What follows the `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A host name, as the client wrote it (case kept; compare with [`Domain::key`]).
    Name(String),
    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
    /// `[tag:…]` of another kind, without the brackets.
    General(String),
}

/// `local-part@domain`. The local part is kept in its meaning: quotes and backslashes removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// Meaning of the local part, 1 to 64 octets; US-ASCII or UTF-8 without controls.
    pub local: String,
    /// The domain.
    pub domain: Domain,
}

/// A forward path: whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// Anybody.
    Mailbox(Mailbox),
    /// `<postmaster>` without a domain, in any case (§4.1.1.3).
    Postmaster,
}

/// A reverse path: `None` is the null sender `<>`.
pub type Sender = Option<Mailbox>;

/// Why a text is no mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadAddress {
    /// Not of the grammar.
    Syntax,
    /// A local part over 64 octets, a label over 63, a domain over 255, a path over 256.
    TooLong,
    /// Of the grammar of RFC 6531, where only that of RFC 5321 is allowed.
    NeedsUtf8,
}

/// What may follow `FROM:` and `TO:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// `<>`.
    Null,
    /// `<postmaster>`.
    Postmaster,
    /// Anybody; the source route is dropped (§3.3, Appendix C).
    Mailbox(Mailbox),
}

impl Mailbox {
    /// Reads `local@domain`, without `<>`; `utf8` allows what RFC 6531 §3.3 adds.
    pub fn parse(text: &str, utf8: bool) -> Result<Self, BadAddress> {
        let (mailbox, rest) = mailbox(text)?;
        if !rest.is_empty() {
            return Err(BadAddress::Syntax);
        }
        within_path(text.len() + "<>".len())?;
        if utf8 || mailbox.is_ascii() { Ok(mailbox) } else { Err(BadAddress::NeedsUtf8) }
    }

    /// Can it be sent without SMTPUTF8?
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_ascii()
    }
}

impl Domain {
    /// For comparison: lower case, an internationalised name in its A-label form.
    pub fn key(&self) -> String {
        match self {
            Self::Name(name) => a_labels(name).unwrap_or_else(|| name.to_lowercase()),
            Self::Literal(_) | Self::General(_) => self.to_string().to_ascii_lowercase(),
        }
    }

    fn is_ascii(&self) -> bool {
        match self {
            Self::Name(name) => name.is_ascii(),
            Self::Literal(_) => true,
            Self::General(text) => text.is_ascii(),
        }
    }
}

// ---------------------------------------------------------------- reading

// Each of these reads from the front of a text, as far as its grammar goes, and gives what follows.

/// A path in its brackets, or a bare mailbox (or postmaster) that ends at a blank.
pub(super) fn path(text: &str) -> Result<(Path, &str), BadAddress> {
    let (path, rest, brackets) = match text.strip_prefix('<') {
        Some(inner) => {
            let (path, rest) = bracketed(inner)?;
            (path, rest, 0)
        }
        None => {
            let (path, rest) = bare(text)?;
            (path, rest, "<>".len())
        }
    };
    within_path(text.len() - rest.len() + brackets)?;
    Ok((path, rest))
}

/// What stands between `<` and `>`.
fn bracketed(text: &str) -> Result<(Path, &str), BadAddress> {
    if let Some(rest) = text.strip_prefix('>') {
        return Ok((Path::Null, rest));
    }
    if let Some((name, rest)) = text.split_once('>')
        && name.eq_ignore_ascii_case("postmaster")
    {
        return Ok((Path::Postmaster, rest));
    }
    let (mailbox, rest) = mailbox(after_route(text)?)?;
    let rest = rest.strip_prefix('>').ok_or(BadAddress::Syntax)?;
    Ok((Path::Mailbox(mailbox), rest))
}

fn bare(text: &str) -> Result<(Path, &str), BadAddress> {
    let blank = |octet: char| octet == ' ' || octet == '\t';
    let (name, rest) = text.split_at(text.find(blank).unwrap_or(text.len()));
    if name.eq_ignore_ascii_case("postmaster") {
        return Ok((Path::Postmaster, rest));
    }
    let (mailbox, rest) = mailbox(text)?;
    if rest.is_empty() || rest.starts_with(blank) {
        Ok((Path::Mailbox(mailbox), rest))
    } else {
        Err(BadAddress::Syntax)
    }
}

/// What follows `@a,@b:`, or all of it where there is no source route.
fn after_route(text: &str) -> Result<&str, BadAddress> {
    let mut rest = text;
    while let Some(hop) = rest.strip_prefix('@') {
        rest = name(hop)?.1;
        match rest.strip_prefix(',') {
            Some(next) if next.starts_with('@') => rest = next,
            Some(_) => return Err(BadAddress::Syntax),
            None => return rest.strip_prefix(':').ok_or(BadAddress::Syntax),
        }
    }
    Ok(rest)
}

fn mailbox(text: &str) -> Result<(Mailbox, &str), BadAddress> {
    let (local, rest) = match text.strip_prefix('"') {
        Some(inner) => quoted_string(inner)?,
        None => dot_string(text)?,
    };
    let rest = rest.strip_prefix('@').ok_or(BadAddress::Syntax)?;
    if local.len() > LOCAL_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    let (domain, rest) = match rest.strip_prefix('[') {
        Some(inner) => literal(inner)?,
        None => name(rest).map(|(name, rest)| (Domain::Name(name.to_owned()), rest))?,
    };
    Ok((Mailbox { local, domain }, rest))
}

fn dot_string(text: &str) -> Result<(String, &str), BadAddress> {
    let end = text.find(|octet| octet != '.' && !is_atext(octet)).unwrap_or(text.len());
    let (local, rest) = text.split_at(end);
    if is_dot_string(local) { Ok((local.to_owned(), rest)) } else { Err(BadAddress::Syntax) }
}

/// The rest of a quoted string, behind its first quote. An empty one names nobody.
fn quoted_string(text: &str) -> Result<(String, &str), BadAddress> {
    let mut local = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('"') if local.is_empty() => return Err(BadAddress::Syntax),
            Some('"') => return Ok((local, chars.as_str())),
            // quoted-pairSMTP: a backslash and any printable octet.
            Some('\\') => match chars.next() {
                Some(pair @ ' '..='~') => local.push(pair),
                Some(_) | None => return Err(BadAddress::Syntax),
            },
            Some(plain) if !plain.is_control() => local.push(plain),
            Some(_) | None => return Err(BadAddress::Syntax),
        }
    }
}

/// A domain name.
fn name(text: &str) -> Result<(&str, &str), BadAddress> {
    let inside = |octet: char| {
        octet.is_ascii_alphanumeric() || matches!(octet, '-' | '_' | '.') || is_utf8(octet)
    };
    let (name, rest) = text.split_at(text.find(|octet| !inside(octet)).unwrap_or(text.len()));
    if name
        .split('.')
        .any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
    {
        return Err(BadAddress::Syntax);
    }
    if name.len() > DOMAIN_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    if !name.is_ascii() {
        // Labels are measured as A-labels (RFC 5890 §2.3.2.1).
        return a_labels(name).map(|_| (name, rest)).ok_or(BadAddress::Syntax);
    }
    if name.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(BadAddress::TooLong);
    }
    Ok((name, rest))
}

/// The rest of an address literal, behind its `[` (§4.1.3).
fn literal(text: &str) -> Result<(Domain, &str), BadAddress> {
    let (inner, rest) = text.split_once(']').ok_or(BadAddress::Syntax)?;
    if inner.len() + "[]".len() > DOMAIN_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    let Some((tag, content)) = inner.split_once(':') else {
        let address: Ipv4Addr = inner.parse().map_err(|_| BadAddress::Syntax)?;
        return Ok((Domain::Literal(IpAddr::V4(address)), rest));
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        let address: Ipv6Addr = content.parse().map_err(|_| BadAddress::Syntax)?;
        return Ok((Domain::Literal(IpAddr::V6(address)), rest));
    }
    let is_tag = tag.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && tag.ends_with(|octet: char| octet.is_ascii_alphanumeric());
    let is_content =
        !content.is_empty() && content.bytes().all(|octet| matches!(octet, 33..=90 | 94..=126));
    if is_tag && is_content {
        Ok((Domain::General(inner.to_owned()), rest))
    } else {
        Err(BadAddress::Syntax)
    }
}

fn within_path(length: usize) -> Result<(), BadAddress> {
    if length > PATH_BYTES_MAX { Err(BadAddress::TooLong) } else { Ok(()) }
}

/// UTF8-non-ascii of RFC 6531 §3.3; the controls of Latin-1 are none the better for being UTF-8.
fn is_utf8(octet: char) -> bool {
    !octet.is_ascii() && !octet.is_control()
}

fn is_atext(octet: char) -> bool {
    let special = matches!(
        octet,
        '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~'
    );
    special || octet.is_ascii_alphanumeric() || is_utf8(octet)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// A name in lower case, its U-labels as A-labels; `None` when they have no such form.
fn a_labels(name: &str) -> Option<String> {
    if name.is_ascii() {
        return Some(name.to_ascii_lowercase());
    }
    // What may not stand in a domain must not come in by way of a compatible character.
    const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");
    let ascii = Uts46::new()
        .to_ascii(name.as_bytes(), DENIED, Hyphens::CheckFirstLast, DnsLength::Verify)
        .ok()?;
    // Nor a label more: U+3002 is mapped to a dot.
    (ascii.split('.').count() == name.split('.').count()).then(|| ascii.into_owned())
}

// ---------------------------------------------------------------- writing

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            Self::General(text) => write!(f, "[{text}]"),
        }
    }
}

/// As sent in a command: the local part quoted where it must be. Parses to the same value.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for octet in self.local.chars() {
            if matches!(octet, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{octet}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
pub(super) mod tests;
