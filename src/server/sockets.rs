//! server::sockets – the listening sockets, ours or inherited from systemd, and what is spoken on them.
//!
//! Promises: no socket is served without a protocol that the configuration names for it.
//! Not here: accepting (`shard`), what is spoken (`ftp`, `smtp`).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::run::Failure;
use crate::config::Config;
use crate::shard::Listeners;

/// What is spoken on a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// FTP; TLS when the client asks for it.
    Ftp,
    /// FTP with TLS from the first octet.
    Ftps,
    /// Mail from anywhere.
    Smtp,
    /// Mail of users, with TLS from the first octet.
    Smtps,
    /// Mail of users.
    Submission,
}

impl Service {
    /// In the order their numbers have on the shards, and in which they are announced.
    const ALL: [Self; 5] = [Self::Ftp, Self::Ftps, Self::Smtp, Self::Smtps, Self::Submission];

    /// Its number, which goes with every connection.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// The service with this number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What it is called in lines for people and by `FileDescriptorName=`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Smtp => "smtp",
            Self::Smtps => "smtps",
            Self::Submission => "submission",
        }
    }

    /// Where the configuration names its addresses.
    fn key(self) -> &'static str {
        match self {
            Self::Ftp => "[ftp] listen",
            Self::Ftps => "[ftp] listen_tls",
            Self::Smtp => "[smtp] listen",
            Self::Smtps => "[smtp] listen_tls",
            Self::Submission => "[smtp] listen_submission",
        }
    }

    /// Does it begin with a handshake?
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Ftps | Self::Smtps)
    }
}

/// Sockets inherited from systemd, or bound here.
pub(super) fn bind(config: &Config, shards: usize) -> Result<Listeners, Failure> {
    let wanted = wanted(config);
    // systemd.socket(5): one name per socket, in order, set apart by colons.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut inherited = listenfd::ListenFd::from_env();
    if inherited.len() == 0 {
        let numbered: Vec<_> = wanted.iter().map(|(one, at)| (one.number(), *at)).collect();
        return Listeners::bind(&numbered, shards)
            .map_err(|refused| cannot_bind(&wanted, &refused));
    }
    let names: Vec<&str> = names.split(':').collect();
    let mut sockets = Vec::new();
    for index in 0..inherited.len() {
        let Ok(Some(socket)) = inherited.take_tcp_listener(index) else { continue };
        let service = service_of(&socket, names.get(index).copied().unwrap_or_default(), &wanted)?;
        sockets.push((service.number(), socket.into()));
    }
    Listeners::inherit(sockets, shards)
        .map_err(|error| Failure::Running(format!("inherited sockets: {error}")))
}

fn wanted(config: &Config) -> Vec<(Service, SocketAddr)> {
    let ftp = config.ftp.as_ref();
    let smtp = config.smtp.as_ref();
    let of = |service: Service| match service {
        Service::Ftp => ftp.map(|ftp| &ftp.listen),
        Service::Ftps => ftp.map(|ftp| &ftp.listen_tls),
        Service::Smtp => smtp.map(|smtp| &smtp.listen),
        Service::Smtps => smtp.map(|smtp| &smtp.listen_tls),
        Service::Submission => smtp.map(|smtp| &smtp.listen_submission),
    };
    let each = Service::ALL.into_iter();
    each.flat_map(|one| of(one).into_iter().flatten().map(move |at| (one, *at))).collect()
}

/// A name says it; else the port, as the configuration has it; else there is but one service.
fn service_of(
    socket: &TcpListener,
    name: &str,
    wanted: &[(Service, SocketAddr)],
) -> Result<Service, Failure> {
    let address = socket
        .local_addr()
        .map_err(|error| Failure::Running(format!("inherited sockets: {error}")))?;
    let served = |service: &Service| wanted.iter().any(|(other, _)| other == service);
    if let Some(service) = Service::ALL.into_iter().find(|service| service.name() == name) {
        if served(&service) {
            return Ok(service);
        }
        let key = service.key();
        return Err(Failure::Usage(format!(
            "inherited socket {address}: named {name}, but there is no {key} (add it, or remove the socket)"
        )));
    }
    let at_port = |service: &Service| {
        wanted.iter().any(|(other, at)| other == service && at.port() == address.port())
    };
    let all: Vec<Service> = Service::ALL.into_iter().filter(served).collect();
    let here: Vec<Service> = all.iter().copied().filter(at_port).collect();
    match (all.as_slice(), here.as_slice()) {
        ([only], _) | (_, [only]) => Ok(*only),
        _ => {
            let names = Service::ALL.map(Service::name).join(", ");
            Err(Failure::Usage(format!(
                "inherited socket {address}: no `listen` says what is spoken there (FileDescriptorName= one of {names})"
            )))
        }
    }
}

fn cannot_bind(
    wanted: &[(Service, SocketAddr)],
    (address, error): &(SocketAddr, std::io::Error),
) -> Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => "address in use: stop the other server, or listen elsewhere",
        ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "see bind(2)",
    };
    let of = wanted.iter().rfind(|(_, one)| one == address);
    let key = of.map_or(Service::Ftp, |(service, _)| *service).key();
    Failure::Running(format!("{key}: {address}: {error} ({remedy})"))
}

#[cfg(test)]
mod tests {
    use super::Service::{Ftp, Ftps, Smtp};
    use super::*;

    #[test]
    fn names_win_then_ports_then_there_is_but_one() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = socket.local_addr().unwrap();
        let mut elsewhere = here;
        elsewhere.set_port(here.port() ^ 1);
        let both = [(Ftp, elsewhere), (Smtp, here)];
        assert_eq!(service_of(&socket, "", &both), Ok(Smtp));
        assert_eq!(service_of(&socket, "sluicegate.socket", &both), Ok(Smtp));
        assert_eq!(service_of(&socket, "ftp", &both), Ok(Ftp));
        assert_eq!(service_of(&socket, "unknown", &[(Ftp, elsewhere)]), Ok(Ftp));
        assert_eq!(service_of(&socket, "", &[(Smtp, elsewhere)]), Ok(Smtp));
        assert_eq!(service_of(&socket, "ftps", &[(Ftp, here), (Ftps, elsewhere)]), Ok(Ftps));
        assert_eq!(service_of(&socket, "", &[(Ftp, elsewhere), (Ftps, here)]), Ok(Ftps));
        assert!(service_of(&socket, "", &[(Ftp, here), (Smtp, here)]).is_err());
        assert!(service_of(&socket, "", &[(Ftp, elsewhere), (Smtp, elsewhere)]).is_err());
        assert!(service_of(&socket, "smtp", &[(Ftp, here)]).is_err());
        assert!(service_of(&socket, "ftps", &[(Ftp, here)]).is_err());
        assert!(service_of(&socket, "", &[]).is_err());
    }

    #[test]
    fn numbers_lead_back() {
        for service in Service::ALL {
            assert_eq!(Service::from_number(service.number()), Some(service));
        }
        assert_eq!(Service::from_number(5), None);
    }
}
