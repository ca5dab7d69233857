//! ftp::address – data addresses as PORT, EPRT, PASV and EPSV write them.
//!
//! Promises: what is printed parses back to the same address; what is not exactly of the form is
//! refused, never guessed.
//! Not here: whether an address may be used (`session::channel`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::step::Family;
use crate::wire::ascii::{decimal, push_decimal};

/// Why an EPRT argument is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadAddress {
    /// It has not the form of RFC 2428 §2.
    Syntax,
    /// The form is right, but the network protocol is unknown here.
    Family,
}

/// `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2): exactly six numbers of 0 to 255.
pub fn parse_port(text: &[u8]) -> Option<SocketAddrV4> {
    let mut octets = [0_u8; 6];
    let mut numbers = text.split(|octet| *octet == b',');
    for octet in &mut octets {
        let number = numbers.next().filter(|digits| digits.len() <= 3)?;
        *octet = u8::try_from(decimal(number)?).ok()?;
    }
    let [a, b, c, d, high, low] = octets;
    let port = u16::from_be_bytes([high, low]);
    numbers.next().is_none().then_some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// The same six numbers, for the reply to PASV.
pub fn print_port(address: SocketAddrV4) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    for octet in address.ip().octets() {
        push_decimal(u64::from(octet), 1, b'0', &mut text);
        text.push(b',');
    }
    let [high, low] = address.port().to_be_bytes();
    push_decimal(u64::from(high), 1, b'0', &mut text);
    text.push(b',');
    push_decimal(u64::from(low), 1, b'0', &mut text);
    text
}

/// `|family|address|port|` with any delimiter of 33 to 126 (RFC 2428 §2).
pub fn parse_eprt(text: &[u8]) -> Result<SocketAddr, BadAddress> {
    let (&delimiter, rest) = text.split_first().ok_or(BadAddress::Syntax)?;
    let rest = rest.strip_suffix(&[delimiter]).ok_or(BadAddress::Syntax)?;
    let mut fields = rest.split(|octet| *octet == delimiter);
    let (Some(family), Some(host), Some(port), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(BadAddress::Syntax);
    };
    if !(33..=126).contains(&delimiter) {
        return Err(BadAddress::Syntax);
    }
    let family = decimal(family).ok_or(BadAddress::Syntax)?;
    let port = decimal(port).and_then(|port| u16::try_from(port).ok()).ok_or(BadAddress::Syntax)?;
    let host = std::str::from_utf8(host).map_err(|_| BadAddress::Syntax)?;
    let address = match family {
        1 => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        2 => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(BadAddress::Family),
    };
    address.map(|address| SocketAddr::new(address, port)).ok_or(BadAddress::Syntax)
}

/// An EPRT argument.
pub fn print_eprt(address: SocketAddr) -> String {
    let family = match address {
        SocketAddr::V4(_) => Family::Inet,
        SocketAddr::V6(_) => Family::Inet6,
    };
    format!("|{}|{}|{}|", family as u8, address.ip(), address.port())
}

/// `|||port|`, for the reply to EPSV (RFC 2428 §3: the first two fields stay empty).
pub fn print_epsv(port: u16) -> Vec<u8> {
    let mut text = b"|||".to_vec();
    push_decimal(u64::from(port), 1, b'0', &mut text);
    text.push(b'|');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn port_takes_six_octets_and_nothing_else() {
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 4 * 256 + 1);
        assert_eq!(parse_port(b"10,0,0,1,4,1"), Some(address));
        for bad in [
            &b""[..],
            b"10,0,0,1,4",
            b"10,0,0,1,4,1,5",
            b"10,0,0,1,4,256",
            b"10,0,0,1,4,-1",
            b"10,0,0,1,4,1 ",
            b"10, 0,0,1,4,1",
            b"10.0.0.1.4.1",
            b"10,0,0,1,,1",
            b"0010,0,0,1,4,1",
        ] {
            assert_eq!(parse_port(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn eprt_takes_any_delimiter_and_tells_families_apart() {
        let address = "132.235.1.2:6275".parse().unwrap();
        assert_eq!(parse_eprt(b"|1|132.235.1.2|6275|"), Ok(address));
        assert_eq!(parse_eprt(b"!1!132.235.1.2!6275!"), Ok(address));
        let address = "[1080::8:800:200c:417a]:5282".parse().unwrap();
        assert_eq!(parse_eprt(b"|2|1080::8:800:200C:417A|5282|"), Ok(address));
        assert_eq!(parse_eprt(b"|9|x|5282|"), Err(BadAddress::Family));
        for bad in [
            &b""[..],
            b"|",
            b"||",
            b"|1|132.235.1.2|6275",
            b"|1|132.235.1.2|66275|",
            b"|1|::1|6275|",
            b"|2|1.2.3.4|6275|",
            b"|x|1.2.3.4|6275|",
            b" 1 1.2.3.4 6275 ",
            b"|1|1.2.3.4|6275|x|",
            b"|1|1.2.3.4||",
        ] {
            assert_eq!(parse_eprt(bad), Err(BadAddress::Syntax), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn print_and_parse_are_inverse(octets in any::<[u8; 4]>(), wide in any::<[u8; 16]>(), port: u16) {
            let narrow = SocketAddrV4::new(Ipv4Addr::from(octets), port);
            prop_assert_eq!(parse_port(&print_port(narrow)), Some(narrow));
            let narrow = SocketAddr::from(narrow);
            prop_assert_eq!(parse_eprt(print_eprt(narrow).as_bytes()), Ok(narrow));
            let wide = SocketAddr::from((Ipv6Addr::from(wide), port));
            prop_assert_eq!(parse_eprt(print_eprt(wide).as_bytes()), Ok(wide));
            let epsv = print_epsv(port);
            prop_assert_eq!(decimal(&epsv[3..epsv.len() - 1]), Some(u64::from(port)));
        }
    }
}
