//! shard::interfaces – the addresses of this machine. Not here: which of them are listened on (`server`).

use std::io;
use std::net::IpAddr;

/// Every address of every interface, loopback included. A few tens of microseconds, more where there
/// are hundreds of interfaces: not for a shard's own thread.
///
/// # Errors
/// What the kernel says.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).collect())
}
