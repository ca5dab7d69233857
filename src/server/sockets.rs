//! server::sockets – the listening sockets, ours or inherited from systemd, and what is spoken on them.
//!
//! Promises: no socket is served without a protocol that the configuration names for it; files of Unix
//! sockets that were made here go with what [`bind`] returns.
//! Not here: accepting (`shard`), what is spoken (`ftp`, `smtp`).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::run::Failure;
use crate::config::{Config, Endpoint};
use crate::problem::Problem;
use crate::shard::Listeners;
use crate::shard::unix::{self, SocketFile};

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
    /// Mail of servers of our own, by LMTP.
    Lmtp,
    /// The same over a Unix socket.
    LmtpUnix,
}

impl Service {
    /// In the order their numbers have on the shards, and in which they are announced.
    const ALL: [Self; 7] = [
        Self::Ftp,
        Self::Ftps,
        Self::Smtp,
        Self::Smtps,
        Self::Submission,
        Self::Lmtp,
        Self::LmtpUnix,
    ];

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
            Self::Lmtp | Self::LmtpUnix => "lmtp",
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
            Self::Lmtp | Self::LmtpUnix => "[smtp] listen_lmtp",
        }
    }

    /// Does it begin with a handshake?
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Ftps | Self::Smtps)
    }
}

/// Sockets inherited from systemd, or bound here. Files go with what is returned beside them.
pub(super) fn bind(
    config: &Config,
    shards: usize,
) -> Result<(Listeners, Vec<SocketFile>), Failure> {
    let wanted = wanted(config);
    // systemd.socket(5): one name per socket, in order, set apart by colons.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut inherited = listenfd::ListenFd::from_env();
    if inherited.len() == 0 {
        if let Some(problem) = look(config).into_iter().next() {
            return Err(Failure::Usage(problem.to_string()));
        }
        let numbered: Vec<_> = wanted.iter().map(|(one, at)| (one.number(), *at)).collect();
        let mut listeners =
            Listeners::bind(&numbered, shards).map_err(|refused| cannot_bind(&wanted, &refused))?;
        let files = paths(config).map(|path| bind_unix(&mut listeners, path));
        let files = files.collect::<Result<Vec<_>, Failure>>()?;
        return Ok((listeners, files));
    }
    let names: Vec<&str> = names.split(':').collect();
    let mut sockets = Vec::new();
    for index in 0..inherited.len() {
        if let Ok(Some(socket)) = inherited.take_unix_listener(index) {
            lmtp_is_wanted(&socket, config)?;
            sockets.push((Service::LmtpUnix.number(), socket.into()));
            continue;
        }
        let Ok(Some(socket)) = inherited.take_tcp_listener(index) else { continue };
        let service = service_of(&socket, names.get(index).copied().unwrap_or_default(), &wanted)?;
        sockets.push((service.number(), socket.into()));
    }
    let listeners = Listeners::inherit(sockets, shards);
    listeners
        .map(|listeners| (listeners, Vec::new()))
        .map_err(|error| Failure::Running(format!("inherited sockets: {error}")))
}

/// Addresses that the configuration has twice, or that another one of it takes as well. What is bound for every
/// address (`0.0.0.0`) takes each of its kind; that of IPv6 takes IPv4 too, but leaves it to a listener of ours that
/// wants it.
pub fn look(config: &Config) -> Vec<Problem> {
    let mut all: Vec<(&str, SocketAddr)> =
        wanted(config).into_iter().map(|(service, address)| (service.key(), address)).collect();
    let listeners = all.len();
    all.extend(config.server.metrics_listen.map(|address| ("[server] metrics_listen", address)));
    let four = |port| all.iter().take(listeners).any(|(_, at)| at.is_ipv4() && at.port() == port);
    let takes = |one: &SocketAddr, other: &SocketAddr| {
        one.ip() == other.ip()
            || one.ip().is_unspecified()
                && (one.is_ipv4() == other.is_ipv4() || one.is_ipv6() && !four(one.port()))
    };
    let mut problems = Vec::new();
    for (index, (key, address)) in all.iter().enumerate() {
        let clash = all.iter().take(index).find(|(_, other)| {
            let same_port = other.port() == address.port() && address.port() != 0;
            same_port && (takes(address, other) || takes(other, address))
        });
        if let Some((other, taken)) = clash {
            let why = if taken == address {
                format!("{other} has it already")
            } else {
                format!("{other} {taken} takes it already")
            };
            let what = format!("{key}: {address}");
            problems.push(Problem::new(what, why, "take one out, or give it another port"));
        }
    }
    problems
}

/// Unix sockets that are to be made.
fn paths(config: &Config) -> impl Iterator<Item = &Path> {
    let listen = config.smtp.iter().flat_map(|smtp| &smtp.listen_lmtp);
    listen.filter_map(|one| match one {
        Endpoint::Unix(path) => Some(path.as_path()),
        Endpoint::Net(_) => None,
    })
}

fn bind_unix(listeners: &mut Listeners, path: &Path) -> Result<SocketFile, Failure> {
    let made = unix::listen(path).and_then(|(socket, file): (OwnedFd, _)| {
        listeners.join(Service::LmtpUnix.number(), path.to_owned(), &socket)?;
        Ok(file)
    });
    made.map_err(|error| {
        #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => "another server listens there: give each its own",
            ErrorKind::AlreadyExists => "a file that is no socket is in the way",
            _ => "give a path in a directory that exists and may be written",
        };
        let key = Service::LmtpUnix.key();
        Failure::Running(format!("{key}: unix:{}: {error} ({remedy})", path.display()))
    })
}

/// Of what is spoken here only LMTP is spoken over Unix sockets.
fn lmtp_is_wanted(socket: &UnixListener, config: &Config) -> Result<(), Failure> {
    let wanted = config.smtp.as_ref().is_some_and(|smtp| !smtp.listen_lmtp.is_empty());
    if wanted {
        return Ok(());
    }
    let address = socket.local_addr();
    let path = address.ok().and_then(|at| at.as_pathname().map(|path| path.display().to_string()));
    let (path, key) = (path.unwrap_or_default(), Service::LmtpUnix.key());
    Err(Failure::Usage(format!(
        "inherited socket unix:{path}: LMTP would be spoken there, but there is no {key} (add it, or remove the socket)"
    )))
}

fn wanted(config: &Config) -> Vec<(Service, SocketAddr)> {
    let ftp = config.ftp.as_ref();
    let smtp = config.smtp.as_ref();
    let of = |service: Service| match service {
        Service::Ftp => ftp.map(|ftp| ftp.listen.clone()),
        Service::Ftps => ftp.map(|ftp| ftp.listen_tls.clone()),
        Service::Smtp => smtp.map(|smtp| smtp.listen.clone()),
        Service::Smtps => smtp.map(|smtp| smtp.listen_tls.clone()),
        Service::Submission => smtp.map(|smtp| smtp.listen_submission.clone()),
        Service::Lmtp => smtp.map(|smtp| smtp.listen_lmtp.iter().filter_map(on_network).collect()),
        Service::LmtpUnix => None,
    };
    let each = Service::ALL.into_iter();
    each.flat_map(|one| of(one).into_iter().flatten().map(move |at| (one, at))).collect()
}

fn on_network(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Net(address) => Some(*address),
        Endpoint::Unix(_) => None,
    }
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
            let mut names = Service::ALL.map(Service::name).to_vec();
            names.dedup();
            let names = names.join(", ");
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
    fn what_is_there_twice_is_named() {
        let machine =
            crate::config::Machine { hostname: "edge".into(), cores: 1, directory: "/".into() };
        let found = |text: &str| -> Vec<String> {
            let config = Config::parse(Path::new("s.toml"), text, &machine, None).unwrap();
            look(&config).iter().map(ToString::to_string).collect()
        };
        let remedy = "(take one out, or give it another port)";
        assert_eq!(found("[ftp]\n[smtp]\nlisten = [\"0.0.0.0:25\", \"[::]:25\"]\n"), [""; 0]);
        assert_eq!(found("[smtp]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n"), [""; 0]);
        assert_eq!(
            found("[ftp]\nlisten = [\"127.0.0.1:25\"]\n[smtp]\nlisten = [\"127.0.0.1:25\"]\n"),
            [format!("[smtp] listen: 127.0.0.1:25: [ftp] listen has it already {remedy}")]
        );
        assert_eq!(
            found("[smtp]\nlisten = [\"0.0.0.0:25\"]\nlisten_submission = [\"127.0.0.1:25\"]\n"),
            [format!(
                "[smtp] listen_submission: 127.0.0.1:25: [smtp] listen 0.0.0.0:25 takes it already {remedy}"
            )]
        );
        assert_eq!(
            found("[server]\nmetrics_listen = \"127.0.0.1:25\"\n[smtp]\nlisten = [\"[::]:25\"]\n"),
            [format!(
                "[server] metrics_listen: 127.0.0.1:25: [smtp] listen [::]:25 takes it already {remedy}"
            )]
        );
    }

    #[test]
    fn numbers_lead_back() {
        for service in Service::ALL {
            assert_eq!(Service::from_number(service.number()), Some(service));
        }
        assert_eq!(Service::from_number(7), None);
    }
}
