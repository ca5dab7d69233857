//! ftp::session::channel – PORT, PASV, EPRT, EPSV (RFC 959 §3.2, RFC 2428).
//!
//! Promises: at most one data connection is prepared, and a new one replaces it; no data connection
//! goes to a privileged port or, without FXP, to another host than the client's (RFC 2577 §3).
//! Not here: binding and connecting.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{Question, Session};
use crate::ftp::address;
use crate::ftp::reply;
use crate::ftp::step::{Answer, Channel, Family, Next};
use crate::wire::outbox::Outbox;

/// Ports below belong to the services of a machine, not to its users.
const PORT_MIN: u16 = 1024;

/// How the next data connection comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Nothing was said.
    Unset,
    /// PASV or EPSV: a listener waits.
    Passive,
    /// PORT or EPRT.
    Active(SocketAddr),
}

impl Session {
    /// PORT and EPRT.
    pub(super) fn active(&mut self, address: SocketAddr, out: &mut Outbox) -> Option<Next> {
        if self.epsv_only {
            return self.say(reply::EPSV_ALL_SET, out);
        }
        // "My address, whichever that is": clients bound to the wildcard say so (lftp on IPv6).
        let address = match address.ip() {
            ip if ip.is_unspecified() => SocketAddr::new(self.peer.ip(), address.port()),
            _ => address,
        };
        if !self.may_connect(address) {
            return self.say(reply::PORT_REFUSED, out);
        }
        reply::PORT.send(out);
        self.replace_data(Data::Active(self.scoped(address)))
    }

    pub(super) fn passive(&mut self, out: &mut Outbox) -> Option<Next> {
        if self.epsv_only {
            return self.say(reply::EPSV_ALL_SET, out);
        }
        if self.family() == Family::Inet6 {
            // RFC 2428 §1: 227 cannot say an IPv6 address. Name the protocol EPSV would use.
            reply::PROTOCOL.fill(&[b"2"], out);
            return None;
        }
        Some(self.listen(Question::Passive, Family::Inet))
    }

    pub(super) fn extended_passive(
        &mut self,
        family: Option<Family>,
        out: &mut Outbox,
    ) -> Option<Next> {
        let ours = self.family();
        if family.is_some_and(|family| family != ours) {
            // RFC 2428 §3: the data connection uses the protocol of the control connection.
            let number: &[u8] = match ours {
                Family::Inet => b"1",
                Family::Inet6 => b"2",
            };
            reply::PROTOCOL.fill(&[number], out);
            return None;
        }
        Some(self.listen(Question::ExtendedPassive, ours))
    }

    /// RFC 2428 §4: from now on everything but EPSV is refused; translators on the way may relax.
    pub(super) fn extended_passive_only(&mut self, out: &mut Outbox) -> Option<Next> {
        self.epsv_only = true;
        reply::EPSV_ALL.send(out);
        match self.data {
            Data::Active(_) => self.replace_data(Data::Unset),
            Data::Unset | Data::Passive => None,
        }
    }

    pub(super) fn passive_answered(&mut self, answer: &Answer, extended: bool, out: &mut Outbox) {
        let Answer::Listening(bound) = answer else {
            self.data = Data::Unset;
            // RFC 1123 §4.1.2.11: no port free now, perhaps later.
            reply::NO_PORT.send(out);
            return;
        };
        if extended {
            self.data = Data::Passive;
            reply::EXTENDED_PASSIVE.fill(&[&address::print_epsv(bound.port())], out);
            return;
        }
        let candidates = [
            self.settings.passive_address.map(IpAddr::V4),
            Some(bound.ip()),
            Some(self.local.ip()),
        ];
        let announced = candidates.into_iter().flatten().find_map(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        if let Some(ip) = announced {
            self.data = Data::Passive;
            let numbers = address::print_port(SocketAddrV4::new(ip, bound.port()));
            reply::PASSIVE.fill(&[&numbers], out);
        } else {
            self.data = Data::Unset;
            self.step = Some(Next::Unlisten);
            reply::NOT_ANNOUNCED.send(out);
        }
    }

    /// Where the data connection of a transfer comes from; `None` when there is no way.
    pub(super) fn channel(&self) -> Option<Channel> {
        match self.data {
            Data::Passive => {
                // RFC 2577 §4: only the client itself may take a passive port.
                let fxp = self.account().is_some_and(|account| account.fxp);
                Some(Channel::Passive((!fxp).then_some(self.peer.ip())))
            }
            Data::Active(address) => Some(Channel::Active(address)),
            // RFC 959 §3.2: the default is the port the control connection comes from.
            Data::Unset if self.epsv_only || !self.may_connect(self.peer) => None,
            Data::Unset => Some(Channel::Active(self.peer)),
        }
    }

    /// The reply is given; what was prepared before is closed (RFC 959 §3.2).
    pub(super) fn replace_data(&mut self, data: Data) -> Option<Next> {
        match std::mem::replace(&mut self.data, data) {
            Data::Passive => Some(Next::Unlisten),
            Data::Unset | Data::Active(_) => None,
        }
    }

    fn listen(&mut self, question: Question, family: Family) -> Next {
        self.state = super::State::Asking(question);
        Next::Listen(family)
    }

    fn family(&self) -> Family {
        match self.local {
            SocketAddr::V4(_) => Family::Inet,
            SocketAddr::V6(_) => Family::Inet6,
        }
    }

    /// RFC 2577 §3: no bounce to services of third parties, nor of the client's own host.
    fn may_connect(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let same = ip == self.peer.ip();
        let fxp = self.account().is_some_and(|account| account.fxp);
        let reachable = !ip.is_unspecified()
            && !ip.is_multicast()
            && ip != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
            && !ip.is_loopback();
        address.port() >= PORT_MIN && (same || fxp && reachable)
    }

    /// A link-local address means nothing without the interface, which EPRT cannot say.
    fn scoped(&self, address: SocketAddr) -> SocketAddr {
        match (address, self.peer) {
            (SocketAddr::V6(to), SocketAddr::V6(peer)) if to.ip() == peer.ip() => {
                SocketAddr::V6(SocketAddrV6::new(*to.ip(), to.port(), 0, peer.scope_id()))
            }
            (address, _) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        }
    }
}
