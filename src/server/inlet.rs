//! server::inlet – how a connection for mail begins: who it is from, and whether that is to be believed.
//!
//! ```text
//!  accept ─┬─────────────────────────────────────────────▶ session (smtp)
//!          └ from a proxy ─▶ its header (proxy) ─▶ ends ──▶ session, or closed
//! ```
//! Promises: a header is read before anything else, a handshake included, and only from peers that must send
//! one; it has an end in time; nothing behind it is touched; what is no header ends the connection unheard.
//! Not here: the header (`proxy`), what the addresses decide (`admit`, `mail::route`, `accept_mail`).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::ingress::Ingress;
use super::smtp;
use super::sockets::Service;
use crate::config;
use crate::limits::PROXY_HEADER_SECONDS_MAX;
use crate::mail::route::Network;
use crate::metrics::mail::Reason;
use crate::proxy::{Header, Malformed, Reader};
use crate::shard::{self, Stream};
use crate::smtp::session::Trust;

/// How long a header may take.
const PATIENCE: Duration = Duration::from_secs(PROXY_HEADER_SECONDS_MAX);
/// Octets of a header that are read at once.
const PORTION_BYTES: usize = 256;

/// Who is believed what, from the configuration.
pub(super) struct Peers {
    proxies: Vec<Network>,
    xclient: Vec<Network>,
    xforward: Vec<Network>,
}

impl Peers {
    pub(super) fn new(smtp: &config::Smtp) -> Self {
        let networks = |given: &[config::Network]| {
            let network =
                |one: &config::Network| Network { address: one.address, prefix: one.prefix };
            given.iter().map(network).collect()
        };
        Self {
            proxies: networks(&smtp.proxy_from),
            xclient: networks(&smtp.xclient_from),
            xforward: networks(&smtp.xforward_from),
        }
    }

    /// What a client at that address may say of others.
    pub(super) fn trust(&self, address: IpAddr) -> Trust {
        let any = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        Trust { client: any(&self.xclient), forward: any(&self.xforward) }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }
}

/// Both ends of a connection, as far as limits, rules and lines are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Ends {
    /// Those of the socket. Who comes by a Unix socket is on this machine, and counts as its address.
    pub(super) fn of(stream: &Stream, service: Service) -> Self {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match service {
            Service::LmtpUnix => Self { local: here, peer: here },
            Service::Ftp
            | Service::Ftps
            | Service::Smtp
            | Service::Smtps
            | Service::Submission
            | Service::Lmtp => Self { local: stream.local(), peer: stream.peer() },
        }
    }
}

/// Begins the session of a connection that was just accepted.
pub(super) fn begin(ingress: Rc<Ingress>, stream: Stream, service: Service) {
    let ends = Ends::of(&stream, service);
    let rules = ingress.rules();
    if service != Service::LmtpUnix && rules.peers.is_proxy(ends.peer.ip()) {
        shard::spawn("proxy header", announced(ingress, stream, service, ends));
    } else {
        shard::spawn("smtp session", smtp::session(ingress, stream, service, ends));
    }
}

/// A connection from a proxy: its header first.
async fn announced(ingress: Rc<Ingress>, stream: Stream, service: Service, own: Ends) {
    let deadline = shard::now().after(PATIENCE);
    let read = shard::within(deadline, header(&stream)).await.unwrap_or(Err(Refused::Late));
    let ends = match read {
        Ok(Header::Own) => own,
        Ok(Header::For { source, destination }) => Ends { local: destination, peer: source },
        // Who looks whether the port is open says nothing, and means nothing.
        Err(Refused::Nothing) => return,
        Err(refused) => {
            ingress.local.counters().mail.refused(Reason::Proxy);
            let (peer, why) = (own.peer, refused.text());
            tracing::warn!(%peer, %why, "connection of a proxy closed");
            return;
        }
    };
    tracing::trace!(proxy = %own.peer, peer = %ends.peer, "a proxy speaks for somebody");
    shard::spawn("smtp session", smtp::session(ingress, stream, service, ends));
}

/// Why there is no header.
#[derive(Debug)]
enum Refused {
    /// The connection ended before its first octet.
    Nothing,
    /// It ended within.
    Ended,
    Late,
    Malformed(Malformed),
    Broken(io::Error),
}

impl Refused {
    fn text(&self) -> String {
        match self {
            Self::Nothing | Self::Ended => "it ended within its PROXY header".to_owned(),
            Self::Late => format!("no PROXY header within {PROXY_HEADER_SECONDS_MAX} s"),
            Self::Malformed(why) => why.to_string(),
            Self::Broken(error) => error.to_string(),
        }
    }
}

/// Reads the header, octets that certainly belong to it and no other.
async fn header(stream: &Stream) -> Result<Header, Refused> {
    let mut reader = Reader::default();
    let mut room = [0; PORTION_BYTES];
    let mut begun = false;
    loop {
        let wanted = reader.wants().min(PORTION_BYTES);
        let room = room.get_mut(..wanted).unwrap_or_default();
        match stream.receive_ready(room) {
            Ok(0) => return Err(if begun { Refused::Ended } else { Refused::Nothing }),
            Ok(count) => {
                begun = true;
                let octets = room.get(..count).unwrap_or_default();
                if let Some(header) = reader.take(octets).map_err(Refused::Malformed)? {
                    return Ok(header);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stream.readable().await.map_err(Refused::Broken)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Refused::Broken(error)),
        }
    }
}
