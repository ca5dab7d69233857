//! proxy – the header that a proxy puts before a connection: the PROXY protocol, versions 1 and 2, as a value.
//!
//! ```text
//!  wants ─▶ so many octets of the socket ─▶ take ─▶ Header, more, or why not
//! ```
//! Sections are those of HAProxy's text, "The PROXY protocol" (`doc/proxy-protocol.txt`).
//!
//! Promises: no octet is asked for that may lie behind the header, so that what follows – a greeting, a
//! handshake – is untouched; memory is bounded by `limits::PROXY_HEADER_BYTES_MAX`; a header is understood
//! whole or refused, whatever the splits, and then it is said why.
//! Not here: who may send one, and how long it may take (`server::inlet`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What every header of version 1 begins with (§2.1).
const WORD: &[u8] = b"PROXY ";
/// Octets of the shortest line of version 1: `PROXY UNKNOWN` and CRLF.
const LINE_BYTES_MIN: usize = 15;
/// Octets of the longest (§2.1).
const LINE_BYTES_MAX: usize = 107;
/// What every header of version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// The extension that holds a checksum (§2.2.3).
const CRC32C: u8 = 0x03;

const _: () = assert!(LINE_BYTES_MAX < PROXY_HEADER_BYTES_MAX);

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself (`LOCAL`: it looks whether we are well), or does not know for whom: the
    /// addresses of the connection are the right ones.
    Own,
    /// It speaks for somebody.
    For {
        /// Where the client is.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// Why it is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It begins like neither version.
    Signature,
    /// A line of version 1 that is not as §2.1 has it.
    Line,
    /// It is longer than it may be.
    TooLong,
    /// Not version 2, behind the signature of that.
    Version,
    /// Neither LOCAL nor PROXY.
    Command,
    /// Neither TCP nor a stream of a Unix socket, nor unspecified.
    Family,
    /// The addresses are cut off.
    Short,
    /// The extensions do not add up.
    Extensions,
    /// The checksum is another.
    Checksum,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "no PROXY header comes first",
            Self::Line => "a malformed line (version 1)",
            Self::TooLong => "the header is too long",
            Self::Version => "an unknown version",
            Self::Command => "an unknown command",
            Self::Family => "an address family that is no stream",
            Self::Short => "addresses cut off",
            Self::Extensions => "malformed extensions",
            Self::Checksum => "a wrong checksum",
        })
    }
}

impl std::error::Error for Malformed {}

/// Collects a header.
#[derive(Debug, Default)]
pub struct Reader {
    octets: Vec<u8>,
}

impl Reader {
    /// Octets that certainly belong to the header and have not come yet; 1 at the least.
    pub fn wants(&self) -> usize {
        let had = self.octets.len();
        match self.octets.as_slice() {
            // The shorter of both versions.
            [] => LINE_BYTES_MIN,
            [b'P', ..] if had < LINE_BYTES_MIN => LINE_BYTES_MIN - had,
            [b'P', .., b'\r'] => 1,
            [b'P', ..] => 2,
            fixed if had < FIXED_BYTES => FIXED_BYTES - fixed.len(),
            fixed => (FIXED_BYTES + length_of(fixed)).saturating_sub(had).max(1),
        }
    }

    /// Takes the next octets, no more than [`Reader::wants`] said. The header, once it is whole.
    ///
    /// # Errors
    /// Why it is none; as soon as that is certain.
    pub fn take(&mut self, octets: &[u8]) -> Result<Option<Header>, Malformed> {
        self.octets.extend_from_slice(octets);
        match self.octets.first() {
            None => Ok(None),
            Some(b'P') => self.line(),
            Some(_) => self.block(),
        }
    }

    fn line(&self) -> Result<Option<Header>, Malformed> {
        let had = self.octets.as_slice();
        agrees(had, WORD)?;
        match had.iter().position(|octet| *octet == b'\n') {
            Some(end) if end + 1 == had.len() => {
                let line = had.strip_suffix(b"\r\n").and_then(|line| line.strip_prefix(WORD));
                line_of(line.ok_or(Malformed::Line)?).map(Some)
            }
            Some(_) => Err(Malformed::Line),
            None if had.len() + self.wants() > LINE_BYTES_MAX => Err(Malformed::TooLong),
            None => Ok(None),
        }
    }

    fn block(&self) -> Result<Option<Header>, Malformed> {
        let had = self.octets.as_slice();
        agrees(had, SIGNATURE)?;
        let Some(&[command, family, _, _]) = had.get(SIGNATURE.len()..FIXED_BYTES) else {
            return Ok(None);
        };
        let whole = FIXED_BYTES + length_of(had);
        // Said before the rest is waited for.
        let addresses = judge(command, family, whole)?;
        if had.len() < whole {
            return Ok(None);
        }
        let Some(addresses) = addresses else { return Ok(Some(Header::Own)) };
        extensions(had, FIXED_BYTES + addresses.bytes())?;
        Ok(Some(addresses.read(had.get(FIXED_BYTES..).unwrap_or_default())))
    }
}

/// Is one the beginning of the other?
fn agrees(had: &[u8], wanted: &[u8]) -> Result<(), Malformed> {
    let length = had.len().min(wanted.len());
    let same = had.get(..length) == wanted.get(..length);
    if same { Ok(()) } else { Err(Malformed::Signature) }
}

// ---------------------------------------------------------------- version 1

/// A line without `PROXY ` and CRLF (§2.1).
fn line_of(line: &[u8]) -> Result<Header, Malformed> {
    let line = str::from_utf8(line).map_err(|_| Malformed::Line)?;
    // What follows is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Header::Own);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, from, to] = words.as_slice() else {
        return Err(Malformed::Line);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match *family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    // "Heading zeroes are not permitted"; a sign is none of the digits.
    let port = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|octet| octet.is_ascii_digit());
        let shortest = text == "0" || !text.starts_with('0');
        text.parse().ok().filter(|_| plain && shortest)
    };
    let end = |address_text: &str, port_text: &str| {
        Some(canonical(address(address_text)?, port(port_text)?))
    };
    match (end(source, from), end(destination, to)) {
        (Some(source), Some(destination)) => Ok(Header::For { source, destination }),
        _ => Err(Malformed::Line),
    }
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

// ---------------------------------------------------------------- version 2

/// What the fixed part says of the octets that follow it.
fn length_of(fixed: &[u8]) -> usize {
    match fixed.get(FIXED_BYTES - 2..FIXED_BYTES) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

/// Which addresses come first behind the fixed part.
#[derive(Debug, Clone, Copy)]
enum Addresses {
    None,
    V4,
    V6,
    Unix,
}

impl Addresses {
    const fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    fn read(self, block: &[u8]) -> Header {
        let known = match self {
            Self::V4 => ends::<4>(block),
            Self::V6 => ends::<16>(block),
            // Neither has an address that a limit or a line could name (§2.2).
            Self::None | Self::Unix => None,
        };
        known.map_or(Header::Own, |(source, destination)| Header::For { source, destination })
    }
}

/// Two addresses of so many octets, then two ports.
fn ends<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, _) = rest.split_first_chunk::<2>()?;
    let end = |address: [u8; N], port: [u8; 2]| {
        canonical(IpAddr::from(address), u16::from_be_bytes(port))
    };
    Some((end(*source, *from), end(*destination, *to)))
}

/// What the fixed part allows. `None`: LOCAL, of which the rest is discarded unseen (§2.2).
fn judge(command: u8, family: u8, whole: usize) -> Result<Option<Addresses>, Malformed> {
    if command >> 4 != 2 {
        return Err(Malformed::Version);
    }
    let local = match command & 0xF {
        0 => true,
        1 => false,
        _ => return Err(Malformed::Command),
    };
    if whole > PROXY_HEADER_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    if local {
        return Ok(None);
    }
    let addresses = match family {
        0x00 => Addresses::None,
        0x11 => Addresses::V4,
        0x21 => Addresses::V6,
        0x31 => Addresses::Unix,
        // Datagrams do not come over a stream; what else there is must be refused.
        _ => return Err(Malformed::Family),
    };
    if whole < FIXED_BYTES + addresses.bytes() {
        return Err(Malformed::Short);
    }
    Ok(Some(addresses))
}

/// The extensions from `at` on: nothing is made of them, but they fill the header exactly, and a checksum
/// among them is right (§2.2.3: of the whole header, the four octets of the checksum taken for zeros).
fn extensions(whole: &[u8], mut at: usize) -> Result<(), Malformed> {
    while at < whole.len() {
        let value = at + 3;
        let Some(&[kind, high, low]) = whole.get(at..value) else {
            return Err(Malformed::Extensions);
        };
        at = value + usize::from(u16::from_be_bytes([high, low]));
        let text = whole.get(value..at).ok_or(Malformed::Extensions)?;
        if kind == CRC32C {
            let said: [u8; 4] = text.try_into().map_err(|_| Malformed::Extensions)?;
            let (before, after) = (whole.get(..value), whole.get(at..));
            let sum = crc32c::crc32c(before.unwrap_or_default());
            let sum = crc32c::crc32c_append(sum, &[0; 4]);
            if crc32c::crc32c_append(sum, after.unwrap_or_default()) != u32::from_be_bytes(said) {
                return Err(Malformed::Checksum);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
