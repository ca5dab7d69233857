//! server::sockets – the listening sockets, ours or inherited from systemd, and what is spoken on them.
//!
//! Promises: no socket is served without a protocol that the configuration names for it.
//! Not here: accepting (`shard`), what is spoken (`ftp`, `smtp`).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::run::Failure;
use crate::config::Config;
use crate::shard::Listeners;

/// Number of the service on an FTP control socket.
pub(super) const FTP: u8 = 0;
/// Number of the service on an SMTP socket.
pub(super) const SMTP: u8 = 1;

/// What a service is called in lines for people, in the configuration, and by `FileDescriptorName=`.
pub(super) fn name(service: u8) -> &'static str {
    if service == SMTP { "smtp" } else { "ftp" }
}

/// Sockets inherited from systemd, or bound here.
pub(super) fn bind(config: &Config, shards: usize) -> Result<Listeners, Failure> {
    let wanted = wanted(config);
    // systemd.socket(5): one name per socket, in order, set apart by colons.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut inherited = listenfd::ListenFd::from_env();
    if inherited.len() == 0 {
        return Listeners::bind(&wanted, shards).map_err(|refused| cannot_bind(&wanted, &refused));
    }
    let names: Vec<&str> = names.split(':').collect();
    let mut sockets = Vec::new();
    for index in 0..inherited.len() {
        let Ok(Some(socket)) = inherited.take_tcp_listener(index) else { continue };
        let service = service_of(&socket, names.get(index).copied().unwrap_or_default(), &wanted)?;
        sockets.push((service, socket.into()));
    }
    Listeners::inherit(sockets, shards)
        .map_err(|error| Failure::Running(format!("inherited sockets: {error}")))
}

fn wanted(config: &Config) -> Vec<(u8, SocketAddr)> {
    let ftp = config.ftp.iter().flat_map(|ftp| &ftp.listen).map(|address| (FTP, *address));
    let smtp = config.smtp.iter().flat_map(|smtp| &smtp.listen).map(|address| (SMTP, *address));
    ftp.chain(smtp).collect()
}

/// A name says it; else the port, as the configuration has it; else there is but one protocol.
fn service_of(
    socket: &TcpListener,
    name: &str,
    wanted: &[(u8, SocketAddr)],
) -> Result<u8, Failure> {
    let address = socket
        .local_addr()
        .map_err(|error| Failure::Running(format!("inherited sockets: {error}")))?;
    let served = |service: u8| wanted.iter().any(|(other, _)| *other == service);
    match name {
        "ftp" | "smtp" => {
            let service = if name == "smtp" { SMTP } else { FTP };
            if served(service) {
                return Ok(service);
            }
            return Err(Failure::Usage(format!(
                "inherited socket {address}: named {name}, but there is no [{name}] with `listen` (add it, or remove the socket)"
            )));
        }
        _ => {}
    }
    let at_port = |service: u8| {
        wanted.iter().any(|(other, wanted)| *other == service && wanted.port() == address.port())
    };
    match (served(FTP), served(SMTP)) {
        (true, true) if at_port(FTP) != at_port(SMTP) => Ok(if at_port(SMTP) { SMTP } else { FTP }),
        (true, false) => Ok(FTP),
        (false, true) => Ok(SMTP),
        (true, true) | (false, false) => Err(Failure::Usage(format!(
            "inherited socket {address}: no `listen` says what is spoken there (FileDescriptorName=ftp or smtp)"
        ))),
    }
}

fn cannot_bind(
    wanted: &[(u8, SocketAddr)],
    (address, error): &(SocketAddr, std::io::Error),
) -> Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => "address in use: stop the other server, or listen elsewhere",
        ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "see bind(2)",
    };
    let section =
        wanted.iter().rfind(|(_, one)| one == address).map_or("ftp", |(service, _)| name(*service));
    Failure::Running(format!("[{section}] listen: {address}: {error} ({remedy})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_win_then_ports_then_there_is_but_one() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = socket.local_addr().unwrap();
        let mut elsewhere = here;
        elsewhere.set_port(here.port() ^ 1);
        let both = [(FTP, elsewhere), (SMTP, here)];
        assert_eq!(service_of(&socket, "", &both), Ok(SMTP));
        assert_eq!(service_of(&socket, "sluicegate.socket", &both), Ok(SMTP));
        assert_eq!(service_of(&socket, "ftp", &both), Ok(FTP));
        assert_eq!(service_of(&socket, "unknown", &[(FTP, elsewhere)]), Ok(FTP));
        assert_eq!(service_of(&socket, "", &[(SMTP, elsewhere)]), Ok(SMTP));
        assert!(service_of(&socket, "", &[(FTP, here), (SMTP, here)]).is_err());
        assert!(service_of(&socket, "", &[(FTP, elsewhere), (SMTP, elsewhere)]).is_err());
        assert!(service_of(&socket, "smtp", &[(FTP, here)]).is_err());
        assert!(service_of(&socket, "", &[]).is_err());
    }
}
