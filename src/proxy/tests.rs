//! Headers of proxies, good and bad, at every split.
#![allow(clippy::unwrap_used, clippy::panic, clippy::panic_in_result_fn, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// Reads from a stream in portions, asking for no more than is wanted; the header, and how much was used.
fn read(stream: &[u8], portions: &[usize]) -> (Result<Option<Header>, Malformed>, usize) {
    let mut reader = Reader::default();
    let mut used = 0;
    let mut portions = portions.iter().copied().cycle();
    while used < stream.len() {
        let wanted = reader.wants();
        assert!(wanted > 0);
        assert!(used + wanted <= PROXY_HEADER_BYTES_MAX, "{used} + {wanted}");
        let count = wanted.min(portions.next().unwrap_or(usize::MAX)).min(stream.len() - used);
        match reader.take(&stream[used..used + count]) {
            Ok(None) => used += count,
            done => return (done, used + count),
        }
    }
    (Ok(None), used)
}

/// The same at every pace, with and without octets behind it; none of those is touched.
#[track_caller]
fn header(octets: &[u8]) -> Result<Header, Malformed> {
    let (whole, _) = read(octets, &[usize::MAX]);
    for behind in [&b""[..], b"\n", b"\r\n", b"EHLO x\r\n", &[0x16, 3, 1, 0, 200]] {
        let stream = [octets, behind].concat();
        for portions in [&[usize::MAX][..], &[1], &[2], &[7, 1, 300]] {
            let (found, all) = read(&stream, portions);
            assert_eq!(found, whole, "{portions:?} {behind:?}");
            if found.is_ok() {
                assert_eq!(all, octets.len(), "octets behind the header were taken");
            }
        }
    }
    let whole = whole.transpose();
    whole.unwrap_or_else(|| panic!("not whole: {octets:?}"))
}

fn between(source: &str, destination: &str) -> Result<Header, Malformed> {
    Ok(Header::For { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

#[test]
fn lines_of_version_1() {
    for (line, expected) in [
        ("TCP4 192.0.2.1 198.51.100.2 56324 25", between("192.0.2.1:56324", "198.51.100.2:25")),
        (
            "TCP4 255.255.255.255 255.255.255.255 65535 65535",
            between("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        ("TCP4 0.0.0.0 0.0.0.0 0 0", between("0.0.0.0:0", "0.0.0.0:0")),
        ("TCP6 2001:db8::1 2001:db8::2 1 2", between("[2001:db8::1]:1", "[2001:db8::2]:2")),
        ("TCP6 ::ffff:192.0.2.1 ::1 1 2", between("192.0.2.1:1", "[::1]:2")),
        ("UNKNOWN", Ok(Header::Own)),
        (
            "UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            Ok(Header::Own),
        ),
        ("UNKNOWN \u{7}\r\u{ff}", Ok(Header::Own)),
        ("UNKNOWNS", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 56324", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 56324 25 ", Err(Malformed::Line)),
        ("TCP4  192.0.2.1 198.51.100.2 56324 25", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 056324 25", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 00 25", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 +1 25", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 65536 25", Err(Malformed::Line)),
        ("TCP4 192.0.2.01 198.51.100.2 1 25", Err(Malformed::Line)),
        ("TCP4 2001:db8::1 2001:db8::2 1 2", Err(Malformed::Line)),
        ("TCP6 192.0.2.1 198.51.100.2 1 2", Err(Malformed::Line)),
        ("tcp4 192.0.2.1 198.51.100.2 1 2", Err(Malformed::Line)),
        ("UDP4 192.0.2.1 198.51.100.2 1 2", Err(Malformed::Line)),
        ("TCP4\t192.0.2.1 198.51.100.2 1 2", Err(Malformed::Line)),
        ("TCP4 192.0.2.1 198.51.100.2 1 2\r", Err(Malformed::Line)),
    ] {
        assert_eq!(header(format!("PROXY {line}\r\n").as_bytes()), expected, "{line:?}");
    }
}

#[test]
fn what_is_no_line() {
    for (octets, expected) in [
        (&b"EHLO client.example\r\n"[..], Malformed::Signature),
        (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Signature),
        (b"PROXYTCP4 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Signature),
        (b"PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n", Malformed::Signature),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", Malformed::Line),
        (b"PROXY \r\nQUIT\r\nQUIT\r\n", Malformed::Line),
        (b"PROXY UNKNOWN\n\r\n", Malformed::Line),
        (b"\x16\x03\x01\x02\x00", Malformed::Signature),
        (b"\r\n\r\n\0\r\nQUIT\r", Malformed::Signature),
    ] {
        for portions in [&[usize::MAX][..], &[1], &[3]] {
            assert_eq!(read(octets, portions).0, Err(expected), "{octets:?} {portions:?}");
        }
    }
    // 107 octets are a line, 108 are not.
    let line =
        |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    assert_eq!(header(&line(107)), Ok(Header::Own));
    for portions in [&[usize::MAX][..], &[1]] {
        let (found, used) = read(&line(108), portions);
        assert_eq!(found, Err(Malformed::TooLong));
        assert!(used <= 107, "{used}");
    }
}

/// A header of version 2.
fn block(command: u8, family: u8, addresses: &[u8], extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut rest = addresses.to_vec();
    for (kind, value) in extensions {
        rest.push(*kind);
        rest.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        rest.extend_from_slice(value);
    }
    let mut whole = [SIGNATURE, &[command, family][..]].concat();
    whole.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    whole.extend(rest);
    whole
}

const FOUR: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0, 25];

fn six() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::1")[..], &address("::ffff:192.0.2.9"), &[0, 1, 0, 2]].concat()
}

/// The sum by the plainest of words: bit by bit (RFC 4960 appendix B).
fn naive_crc32c(octets: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for octet in octets {
        sum ^= u32::from(*octet);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 };
        }
    }
    !sum
}

/// Puts a checksum into the four octets that end so many before the end.
fn summed(mut whole: Vec<u8>, behind: usize) -> Vec<u8> {
    let at = whole.len() - behind - 4;
    let sum = naive_crc32c(&whole);
    whole[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    whole
}

#[test]
fn blocks_of_version_2() {
    let known = between("192.0.2.1:56324", "198.51.100.2:25");
    assert_eq!(header(&block(0x21, 0x11, FOUR, &[])), known);
    assert_eq!(header(&block(0x21, 0x21, &six(), &[])), between("[2001:db8::1]:1", "192.0.2.9:2"));
    assert_eq!(header(&block(0x21, 0x00, &[], &[])), Ok(Header::Own));
    assert_eq!(header(&block(0x21, 0x31, &[b'/'; 216], &[])), Ok(Header::Own));
    // ALPN, authority, nothing, a name of TLS: skipped.
    let extensions: &[(u8, &[u8])] =
        &[(0x01, b"smtp"), (0x02, b"mx.example.org"), (0x04, b""), (0x20, &[7; 300])];
    assert_eq!(header(&block(0x21, 0x11, FOUR, extensions)), known);
    // LOCAL: whatever else it says.
    assert_eq!(header(&block(0x20, 0x00, &[], &[])), Ok(Header::Own));
    assert_eq!(header(&block(0x20, 0x11, FOUR, &[])), Ok(Header::Own));
    assert_eq!(header(&block(0x20, 0xFF, b"what?", &[])), Ok(Header::Own));
}

#[test]
fn bad_blocks_of_version_2() {
    for (octets, expected) in [
        (block(0x11, 0x11, FOUR, &[]), Malformed::Version),
        (block(0x31, 0x11, FOUR, &[]), Malformed::Version),
        (block(0x22, 0x11, FOUR, &[]), Malformed::Command),
        (block(0x21, 0x12, FOUR, &[]), Malformed::Family),
        (block(0x21, 0x41, FOUR, &[]), Malformed::Family),
        (block(0x21, 0x10, FOUR, &[]), Malformed::Family),
        (block(0x21, 0x11, &FOUR[..11], &[]), Malformed::Short),
        (block(0x21, 0x21, &six()[..35], &[]), Malformed::Short),
        (block(0x21, 0x31, &[0; 215], &[]), Malformed::Short),
        (block(0x21, 0x11, &[FOUR, &[1]].concat(), &[]), Malformed::Extensions),
        (block(0x21, 0x11, &[FOUR, &[1, 0, 2, 9]].concat(), &[]), Malformed::Extensions),
        (block(0x21, 0x00, &[1, 255, 255], &[]), Malformed::Extensions),
        (block(0x21, 0x11, &[FOUR, &[0; 4081]].concat(), &[]), Malformed::TooLong),
        (block(0x20, 0x11, &vec![0; 65_535], &[]), Malformed::TooLong),
    ] {
        assert_eq!(header(&octets), Err(expected));
    }
    assert_eq!(header(&block(0x21, 0x00, &[], &[(9, &[0; 4077])])), Ok(Header::Own));
}

#[test]
fn checksums_are_looked_at() {
    assert_eq!(naive_crc32c(b"123456789"), 0xE306_9283);
    let extensions: &[(u8, &[u8])] = &[(0x01, b"h2"), (0x03, &[0; 4]), (0x02, b"name")];
    let good = summed(block(0x21, 0x11, FOUR, extensions), 7);
    assert_eq!(header(&good), between("192.0.2.1:56324", "198.51.100.2:25"));
    // The octet that says that it is a checksum counts for nothing: without it there is none.
    let kind = FIXED_BYTES + FOUR.len() + 5;
    for at in (FIXED_BYTES..good.len()).filter(|at| *at != kind) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(header(&bad) != header(&good), "octet {at} does not count");
    }
    let short = block(0x21, 0x11, FOUR, &[(0x03, &[0; 3])]);
    assert_eq!(header(&short), Err(Malformed::Extensions));
    assert_eq!(header(&block(0x21, 0x11, FOUR, &[(0x03, &[0; 4])])), Err(Malformed::Checksum));
}

proptest! {
    #[test]
    fn any_octets_at_any_split(
        octets in prop::collection::vec(any::<u8>(), 0..300), at in 1_usize..20,
        begins in prop::sample::select(vec![&b""[..], WORD, b"PROXY TCP4 ", SIGNATURE]),
    ) {
        let stream = [begins, &octets].concat();
        let (one, other) = (read(&stream, &[at]), read(&stream, &[usize::MAX, 1]));
        prop_assert_eq!(one.0.is_err(), other.0.is_err());
        prop_assert_eq!(one.0.ok(), other.0.ok());
    }

    /// What a proxy writes is what is read, and nothing behind it is touched.
    #[test]
    fn what_is_written_is_read(
        source: SocketAddr, destination: SocketAddr, behind in prop::collection::vec(any::<u8>(), 0..40),
        extensions in prop::collection::vec((4_u8..255, prop::collection::vec(any::<u8>(), 0..20)), 0..4),
        sum: bool, portion in 1_usize..30,
    ) {
        let (from, to) = (source.port(), destination.port());
        let (line, family, addresses) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (format!("PROXY TCP4 {a} {b} {from} {to}\r\n"), 0x11, [a.octets(), b.octets()].concat())
            }
            (a, b) => {
                let six = |address| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                let (a, b) = (six(a), six(b));
                (format!("PROXY TCP6 {a} {b} {from} {to}\r\n"), 0x21, [a.octets(), b.octets()].concat())
            }
        };
        let addresses = [&addresses[..], &from.to_be_bytes(), &to.to_be_bytes()].concat();
        let mut list: Vec<(u8, &[u8])> = extensions.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        if sum {
            list.push((0x03, &[0; 4]));
        }
        let binary = block(0x21, family, &addresses, &list);
        let binary = if sum { summed(binary, 0) } else { binary };
        let expected = Header::For {
            source: canonical(source.ip(), from), destination: canonical(destination.ip(), to),
        };
        for header in [line.into_bytes(), binary] {
            let (found, used) = read(&[&header[..], &behind].concat(), &[portion]);
            prop_assert_eq!((found, used), (Ok(Some(expected)), header.len()));
        }
    }
}
