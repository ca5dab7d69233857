//! server::relay::reach – from the name of a destination to a connection.
//!
//! ```text
//!  route ─▶ names and addresses (`resolver`) ─▶ Candidate, one per address ─▶ Link
//! ```
//! RFC 5321 §5.1: every address in its order, two at the least. Addresses that this machine has no way to
//! at all are passed over and do not count.
//!
//! Promises: a destination holds one task and one descriptor while it is tried, and not for ever.
//! Not here: what is said on a connection (`talk`).

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::Refusal;
use crate::limits::{RELAY_ADDRESSES_MAX, RELAY_CONNECT_SECONDS_MAX};
use crate::mail::hop::{Hop, Onward};
use crate::mx::{Host, Verdict};
use crate::server::link::Link;
use crate::server::resolver::Resolver;
use crate::shard;

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(RELAY_CONNECT_SECONDS_MAX);
/// Where mail is taken (RFC 5321 §4.5.4.2).
const SMTP_PORT: u16 = 25;

/// One address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Whose address it is; what its certificate has to bear.
    pub(super) host: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Net(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Candidate {
    /// `mx.example.org[192.0.2.1]:25`, as the log and reasons have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Net(address) => {
                write!(f, "{}[{}]:{}", self.host, address.ip(), address.port())
            }
            Place::Unix(path) => write!(f, "{}[unix:{}]", self.host, path.display()),
        }
    }
}

/// Where mail of a route goes, in the order to try.
pub(super) async fn candidates(
    route: &Onward,
    domain: &str,
    resolver: &Rc<Resolver>,
) -> Result<Vec<Candidate>, Refusal> {
    let (verdict, port) = match &route.hop {
        Hop::Mx => (resolver.resolve(domain).await, SMTP_PORT),
        Hop::Relay { host, port } | Hop::Lmtp { host, port } => {
            (resolver.addresses(host).await, *port)
        }
        Hop::LmtpUnix(path) => {
            let place = Place::Unix(PathBuf::from(path));
            return Ok(vec![Candidate { host: "localhost".to_owned(), place }]);
        }
    };
    let hosts = match verdict {
        Verdict::Reach(destination) => destination.hosts,
        Verdict::Never(refusal) => {
            return Err(Refusal::never(format!("{} {}", refusal.status, refusal.text)));
        }
        Verdict::Later(refusal) => {
            return Err(Refusal::later(format!("{} {}", refusal.status, refusal.text)));
        }
    };
    let found = spread(&hosts, port, route.source_address);
    if found.is_empty() {
        let what = "4.4.1 no address of its kind can be reached from source_address";
        return Err(Refusal::later(what.to_owned()));
    }
    Ok(found)
}

/// One candidate for each address that the source can be bound for.
fn spread(hosts: &[Host], port: u16, source: Option<IpAddr>) -> Vec<Candidate> {
    let fits = |address: &IpAddr| source.is_none_or(|own| own.is_ipv4() == address.is_ipv4());
    let all = hosts.iter().flat_map(|host| host.addresses.iter().map(move |at| (host, *at)));
    all.filter(|(_, address)| fits(address))
        .map(|(host, address)| Candidate {
            host: host.name.clone(),
            place: Place::Net(SocketAddr::new(address, port)),
        })
        .collect()
}

impl Candidate {
    /// `mx.example.org[192.0.2.1]`, as it stands before the server's words.
    pub(super) fn peer(&self) -> String {
        match &self.place {
            Place::Net(address) => format!("{}[{}]", self.host, address.ip()),
            Place::Unix(_) => self.to_string(),
        }
    }

    /// Connects.
    pub(super) async fn connect(&self, source: Option<IpAddr>) -> io::Result<Link> {
        let deadline = shard::now().after(CONNECT);
        let stream = match &self.place {
            Place::Net(address) => shard::within(deadline, shard::dial(source, *address)).await,
            Place::Unix(path) => shard::within(deadline, shard::dial_unix(path)).await,
        };
        match stream {
            Some(stream) => Ok(Link::new(stream?)),
            None => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// A reason why there is no connection to it.
    pub(super) fn unreachable(&self, error: &io::Error) -> String {
        format!("4.4.1 {self}: {error}")
    }
}

/// Says whether this machine has no way to such an address at all.
pub(super) fn is_no_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable | ErrorKind::Unsupported
    )
}

/// Counts the addresses that were tried.
#[derive(Debug, Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// May another be tried?
    pub(super) fn left(&self) -> bool {
        self.0 < RELAY_ADDRESSES_MAX
    }

    /// One was; those that led nowhere at once do not count.
    pub(super) fn count(&mut self, failed: Option<&io::Error>) {
        self.0 += usize::from(!failed.is_some_and(is_no_way));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, addresses: &[&str]) -> Host {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Host { name: name.to_owned(), preference: 10, addresses }
    }

    #[test]
    fn every_address_in_its_order_and_of_the_kind_of_the_source() {
        let hosts =
            [host("a.example", &["2001:db8::1", "192.0.2.1"]), host("b.example", &["192.0.2.2"])];
        let shown = |source: Option<&str>| {
            let source = source.map(|text| text.parse().unwrap());
            spread(&hosts, 25, source).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (six, four, two) =
            ("a.example[2001:db8::1]:25", "a.example[192.0.2.1]:25", "b.example[192.0.2.2]:25");
        assert_eq!(shown(None), [six, four, two]);
        assert_eq!(shown(Some("198.51.100.9")), [four, two]);
        assert_eq!(shown(Some("2001:db8::9")), [six]);
    }

    #[test]
    fn no_way_is_no_try() {
        let mut tries = Tries::default();
        for _ in 0..100 {
            tries.count(Some(&ErrorKind::NetworkUnreachable.into()));
        }
        for _ in 0..RELAY_ADDRESSES_MAX {
            assert!(tries.left());
            tries.count(Some(&ErrorKind::ConnectionRefused.into()));
        }
        assert!(!tries.left());
    }
}
