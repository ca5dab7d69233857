//! Headers of proxies: understood or refused at every split alike; no octet behind one is asked for; what was
//! understood of one version reads the same when it is written in the other.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use sluicegate::limits::PROXY_HEADER_BYTES_MAX;
use sluicegate::proxy::{Header, Malformed, Reader};

/// What comes of a stream in portions of at most so many octets, and how many were taken.
fn read(stream: &[u8], portion: usize) -> (Result<Option<Header>, Malformed>, usize) {
    let mut reader = Reader::default();
    let mut used = 0;
    while used < stream.len() {
        let wanted = reader.wants();
        assert!(wanted > 0 && used + wanted <= PROXY_HEADER_BYTES_MAX, "{used} + {wanted}");
        let count = wanted.min(portion).min(stream.len() - used);
        match reader.take(&stream[used..used + count]) {
            Ok(None) => used += count,
            done => return (done, used + count),
        }
    }
    (Ok(None), used)
}

/// Both versions of the same.
fn written(source: std::net::SocketAddr, destination: std::net::SocketAddr) -> [Vec<u8>; 2] {
    let (from, to) = (source.port(), destination.port());
    let four = source.is_ipv4() && destination.is_ipv4();
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) if four => address.octets().to_vec(),
        IpAddr::V4(address) => address.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let text = |address: IpAddr| match address {
        IpAddr::V4(address) if !four => address.to_ipv6_mapped().to_string(),
        address => address.to_string(),
    };
    let family = if four { "TCP4" } else { "TCP6" };
    let (a, b) = (text(source.ip()), text(destination.ip()));
    let line = format!("PROXY {family} {a} {b} {from} {to}\r\n").into_bytes();
    let rest = [
        octets(source.ip()),
        octets(destination.ip()),
        from.to_be_bytes().into(),
        to.to_be_bytes().into(),
    ]
    .concat();
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    block.push(if four { 0x11 } else { 0x21 });
    block.extend((rest.len() as u16).to_be_bytes());
    block.extend(rest);
    [line, block]
}

fuzz_target!(|input: (u8, &[u8])| {
    let (portion, stream) = input;
    let (whole, used) = read(stream, usize::MAX);
    for portion in [1, usize::from(portion).max(1)] {
        let (other, taken) = read(stream, portion);
        match (&whole, &other) {
            (Ok(one), Ok(other)) => assert_eq!((one, used), (other, taken)),
            (Err(_), Err(_)) => {}
            _ => panic!("splits change the header: {whole:?}, {other:?}"),
        }
    }
    let Ok(Some(header)) = whole else { return };
    // What follows changes nothing.
    let longer = [&stream[..used], b"\r\nEHLO x\r\n"].concat();
    assert_eq!(read(&longer, usize::MAX), (Ok(Some(header)), used));
    if let Header::For { source, destination } = header {
        for octets in written(source, destination) {
            assert_eq!(read(&octets, usize::MAX), (Ok(Some(header)), octets.len()));
        }
    }
});
