//! mail::hop – where mail goes on to, and how: what a route to another server says.
//!
//! ```text
//!  "mx" · "relay:smart.example:587" · "lmtp:store.example:24" · "lmtp:unix:/run/dovecot/lmtp"
//! ```
//! Promises: `Hop::parse` ∘ `to_string` = identity; routes that ask for anything different of a connection
//! lead to destinations of different names, so that no connection made for one is used for the other.
//! Not here: which mail takes which route (`route`), resolving names, connections.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::schedule::Limits;

/// Where mail goes on to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// The servers that the DNS names for the recipient's domain (RFC 5321 §5.1).
    Mx,
    /// One server, by SMTP. No brackets around an IPv6 address.
    Relay {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// One server, by LMTP (RFC 2033).
    Lmtp {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A server on this machine, by LMTP: the path of its socket.
    LmtpUnix(String),
}

/// What a route wants of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsPolicy {
    /// In clear.
    None,
    /// In TLS where it is offered, whoever is there (RFC 7435).
    #[default]
    May,
    /// In TLS, with a certificate that is right for the name, or not at all.
    Must,
}

/// Who we are to the next server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub username: String,
    /// The file that holds the password.
    pub password_file: String,
}

/// A route to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onward {
    /// Where to.
    pub hop: Hop,
    /// In TLS?
    pub tls: TlsPolicy,
    /// Who we are there.
    pub login: Option<Login>,
    /// Our address of connections.
    pub source_address: Option<IpAddr>,
    /// Connections to one destination at a time, of all shards together.
    pub max_connections: u32,
    /// Messages of one connection; 0 = no limit.
    pub max_messages_per_connection: u32,
    /// Messages to one destination in a minute, of all shards together; 0 = no limit.
    pub max_messages_per_minute: u32,
}

impl Hop {
    /// Understands what [`Hop`] displays; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "mx" {
            return Some(Self::Mx);
        }
        if let Some(path) = text.strip_prefix("lmtp:unix:") {
            let plain = path.starts_with('/') && !path.chars().any(char::is_control);
            return plain.then(|| Self::LmtpUnix(path.to_owned()));
        }
        let (kind, rest) = text.split_once(':')?;
        let (host, port) = host_and_port(rest)?;
        match kind {
            "relay" => Some(Self::Relay { host, port }),
            "lmtp" => Some(Self::Lmtp { host, port }),
            _ => None,
        }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| digits && *port > 0)?;
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some((address.to_string(), port));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let plain = host.len() <= 253 && host.split('.').all(label);
    plain.then(|| (host.to_ascii_lowercase(), port))
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, host, port) = match self {
            Self::Mx => return f.write_str("mx"),
            Self::LmtpUnix(path) => return write!(f, "lmtp:unix:{path}"),
            Self::Relay { host, port } => ("relay", host, port),
            Self::Lmtp { host, port } => ("lmtp", host, port),
        };
        if host.contains(':') {
            write!(f, "{kind}:[{host}]:{port}")
        } else {
            write!(f, "{kind}:{host}:{port}")
        }
    }
}

impl TlsPolicy {
    /// As the configuration says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::May => "may",
            Self::Must => "must",
        }
    }
}

impl Onward {
    /// A route with nothing special about it.
    #[must_use]
    pub fn new(hop: Hop) -> Self {
        Self {
            tls: if matches!(hop, Hop::LmtpUnix(_)) { TlsPolicy::None } else { TlsPolicy::May },
            hop,
            login: None,
            source_address: None,
            max_connections: 20,
            max_messages_per_connection: 100,
            max_messages_per_minute: 0,
        }
    }

    /// The name of the destination that mail for `domain` goes to. By MX that is the domain.
    #[must_use]
    pub fn destination(&self, domain: &str) -> String {
        let mut name = match &self.hop {
            Hop::Mx => domain.to_owned(),
            Hop::Relay { .. } | Hop::Lmtp { .. } | Hop::LmtpUnix(_) => self.hop.to_string(),
        };
        if self.tls != Self::new(self.hop.clone()).tls {
            name.push_str(&format!(" tls={}", self.tls.name()));
        }
        if let Some(login) = &self.login {
            name.push_str(&format!(" as {} ({})", login.username, login.password_file));
        }
        if let Some(address) = &self.source_address {
            name.push_str(&format!(" from {address}"));
        }
        name
    }

    /// What one of so many shards may do of it. Each has one connection at the least.
    #[must_use]
    pub fn limits(&self, shard: usize, shards: usize) -> Limits {
        Limits {
            connections: share(self.max_connections, shard, shards).max(1),
            per_connection: self.max_messages_per_connection,
            per_minute: match self.max_messages_per_minute {
                0 => 0,
                limit => share(limit, shard, shards).max(1),
            },
        }
    }
}

/// The part of `whole` that falls to one shard; the parts add up to it.
#[must_use]
pub fn share(whole: u32, shard: usize, shards: usize) -> u32 {
    let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
    let extra = u32::try_from(shard).is_ok_and(|shard| shard < whole % shards);
    whole / shards + u32::from(extra)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let all = [
            "mx",
            "relay:smart.example:587",
            "relay:[2001:db8::1]:25",
            "lmtp:127.0.0.1:24",
            "lmtp:unix:/run/dovecot/lmtp",
        ];
        for text in all {
            assert_eq!(Hop::parse(text).unwrap().to_string(), text);
        }
        let host = "smart.example".to_owned();
        assert_eq!(Hop::parse("relay:SMART.example:25"), Some(Hop::Relay { host, port: 25 }));
    }

    #[test]
    fn what_is_no_hop_is_refused() {
        let all = [
            "",
            "mx:",
            "relay:",
            "relay:smart",
            "relay:smart:",
            "relay:smart:0",
            "relay:smart:65536",
            "relay:smart:+25",
            "relay::25",
            "relay:a..b:25",
            "relay:a b:25",
            "relay:2001:db8::1:25",
            "relay:[192.0.2.1]:25",
            "lmtp:unix:",
            "lmtp:unix:run/lmtp",
            "lmtp:unix:/a\nb",
            "smtp:a:25",
        ];
        for text in all {
            assert_eq!(Hop::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_differs_has_another_name() {
        let plain = Onward::new(Hop::Mx);
        let must = Onward { tls: TlsPolicy::Must, ..plain.clone() };
        let from = Onward { source_address: Some([192, 0, 2, 1].into()), ..plain.clone() };
        let login = Login { username: "edge".into(), password_file: "/etc/key".into() };
        let login = Onward { login: Some(login), ..must.clone() };
        let names = [plain, must, from, login].map(|one| one.destination("a.example"));
        assert_eq!(
            names,
            [
                "a.example",
                "a.example tls=must",
                "a.example from 192.0.2.1",
                "a.example tls=must as edge (/etc/key)",
            ]
        );
    }

    #[test]
    fn the_parts_of_the_shards_add_up() {
        for (whole, shards) in [(20, 1), (20, 3), (7, 4), (4_000_000_000, 7)] {
            let sum: u32 = (0..shards).map(|shard| share(whole, shard, shards)).sum();
            assert_eq!(sum, whole);
        }
        let route = Onward { max_connections: 2, ..Onward::new(Hop::Mx) };
        assert_eq!(route.limits(7, 8).connections, 1);
    }
}
