//! dns::files – `/etc/resolv.conf` and `/etc/hosts`, read again when they change.
//!
//! Of resolv.conf only `nameserver` counts: names here are whole, so there is no search list, and times are
//! configured. A file that is missing or cannot be read is an empty one.
//!
//! Promises: bounded memory; looked at [`LOOK`] apart at the most often.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::limits::RESOLVERS_MAX;
use crate::mx::{Answer, Found, Kind, Question};

/// How often a file is looked at, at most.
const LOOK: Duration = Duration::from_secs(2);
/// Octets of a file that are read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How long what a file says may be kept, seconds.
const TTL_SECONDS: u32 = 10;
/// Where resolvers listen.
const PORT: u16 = 53;

/// A file, and what was read from it.
struct Watched<T> {
    path: PathBuf,
    read: fn(&str) -> T,
    looked: Option<Instant>,
    seen: Option<(u64, i64, i64, u64)>,
    content: T,
}

impl<T> Watched<T> {
    fn new(path: &Path, read: fn(&str) -> T) -> Self {
        Self { path: path.to_owned(), read, looked: None, seen: None, content: read("") }
    }

    fn now(&mut self) -> &T {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked = Some(Instant::now());
            let seen = std::fs::metadata(&self.path).ok();
            let seen = seen.map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.len()));
            if seen != self.seen {
                self.seen = seen;
                self.content = (self.read)(&text(&self.path));
            }
        }
        &self.content
    }
}

fn text(path: &Path) -> String {
    let mut octets = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut octets));
    if let Err(error) = read {
        tracing::warn!(%error, "{} cannot be read", path.display());
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// The machine's resolvers.
pub(super) struct Resolvers(Watched<Vec<SocketAddr>>);

impl Resolvers {
    pub(super) fn new(path: &Path) -> Self {
        Self(Watched::new(path, resolvers))
    }

    pub(super) fn now(&mut self) -> &[SocketAddr] {
        self.0.now()
    }
}

/// `nameserver ADDRESS`, the first word of a line (resolv.conf(5)). An address with the name of a link is
/// passed over.
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    let found = text.lines().filter_map(address);
    found.map(|address| SocketAddr::new(address, PORT)).take(RESOLVERS_MAX).collect()
}

type Names = BTreeMap<String, Vec<IpAddr>>;

/// Names that need no resolver.
pub(super) struct Hosts(Watched<Names>);

impl Hosts {
    pub(super) fn new(path: &Path) -> Self {
        Self(Watched::new(path, hosts))
    }

    /// What the file says, if it has the name. `localhost` is there always (RFC 6761 §6.3).
    pub(super) fn answer(&mut self, question: &Question) -> Option<Answer> {
        let name = question.name.as_str();
        let here = || {
            let local = name == "localhost" || name.ends_with(".localhost");
            let both = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
            local.then(|| both.to_vec())
        };
        let addresses = self.0.now().get(name).cloned().or_else(here)?;
        let wanted = |address: &IpAddr| match question.kind {
            Kind::V4 => address.is_ipv4(),
            Kind::V6 => address.is_ipv6(),
            Kind::Mx => false,
        };
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(wanted).collect();
        let found = if addresses.is_empty() { Found::Nothing } else { Found::Addresses(addresses) };
        Some(Answer { found, ttl_seconds: TTL_SECONDS, alias: false })
    }
}

/// `ADDRESS NAME…  # comment` (hosts(5)).
fn hosts(text: &str) -> Names {
    let mut names = Names::new();
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            names.entry(name).or_default().push(address);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_lines_of_resolv_conf() {
        let text = "# by hand\nsearch example.org\nnameserver 192.0.2.53\n  nameserver\t2001:db8::53 # two\n\
                    nameserver fe80::1%eth0\nnameserver\nnameservers 192.0.2.54\nNameserver 192.0.2.55\n\
                    options timeout:1\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(resolvers(&"nameserver 192.0.2.1\n".repeat(100)).len(), RESOLVERS_MAX);
    }

    fn question(name: &str, kind: Kind) -> Question {
        Question { name: name.to_owned(), kind, files: true }
    }

    #[test]
    fn the_lines_of_hosts() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "127.0.0.1 here\n::1 here\n192.0.2.7\tMail.Example. mail # not this\nbad name\n#192.0.2.8 off\n192.0.2.9 here\n";
        file.write_all(text.as_bytes()).unwrap();
        let mut hosts = Hosts::new(file.path());
        let mut ask = |name, kind| {
            let found = hosts.answer(&question(name, kind)).map(|answer| answer.found);
            found.map(|found| {
                let Found::Addresses(addresses) = found else { return format!("{found:?}") };
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(ask("mail.example", Kind::V4).as_deref(), Some("192.0.2.7"));
        assert_eq!(ask("mail.example", Kind::V6).as_deref(), Some("Nothing"));
        assert_eq!(ask("mail", Kind::V4).as_deref(), Some("192.0.2.7"));
        assert_eq!(ask("here", Kind::V4).as_deref(), Some("127.0.0.1 192.0.2.9"));
        assert_eq!(ask("here", Kind::V6).as_deref(), Some("::1"));
        for gone in ["not", "name", "off", "192.0.2.7"] {
            assert_eq!(ask(gone, Kind::V4), None, "{gone}");
        }
        assert_eq!(ask("localhost", Kind::V6).as_deref(), Some("::1"));
        assert_eq!(ask("x.localhost", Kind::V4).as_deref(), Some("127.0.0.1"));
        assert_eq!(ask("xlocalhost", Kind::V4), None);
    }

    #[test]
    fn a_change_is_seen() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut resolvers = Resolvers::new(file.path());
        assert!(resolvers.now().is_empty());
        file.write_all(b"nameserver 192.0.2.1\n").unwrap();
        assert!(resolvers.now().is_empty(), "looked at again at once");
        resolvers.0.looked = None;
        assert_eq!(resolvers.now().len(), 1);
        drop(file);
        resolvers.0.looked = None;
        assert!(resolvers.now().is_empty());
    }
}
