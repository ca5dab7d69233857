//! config – one file and the flags become one frozen `Config`; nothing else reads the environment.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The effective configuration: every relative path already joined to `data_dir`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config { pub server: Server, pub log: Log, pub ftp: Option<Ftp> }

#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub hostname: String, pub data_dir: PathBuf, pub shards: usize /* resolved from "auto" */, pub cpus: Vec<usize>,
    pub metrics_listen: Option<SocketAddr>, pub max_connections: usize, pub max_connections_per_ip: usize,
    pub drain_seconds: u64, pub user: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Log { pub level: String, pub json: bool, pub xferlog: Option<PathBuf> }

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous { Off, Read, Upload }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks { InRoot, Beneath, Deny }

#[derive(Debug, Clone, PartialEq)]
pub struct Ftp {
    pub listen: Vec<SocketAddr>, pub root: PathBuf, pub anonymous: Anonymous,
    pub upload_dirs: Vec<String> /* virtual paths of the root */, pub anonymous_overwrite: bool, pub uploads_readable: bool,
    pub symlinks: Symlinks, pub banner: String, pub passive_ports: RangeInclusive<u16>, pub passive_address: Option<Ipv4Addr>,
    pub fxp: bool, pub durable_uploads: bool, pub idle_seconds: u32, pub login_seconds: u32, pub stall_seconds: u32,
    pub max_login_failures: u8,
    // in the same style, beyond INTERFACE.md:
    pub accept_seconds: u32 /* 30: waiting for a data connection */, pub min_rate_bytes: u64 /* 0 = off: octets per second a transfer must keep up over stall_seconds */,
    pub max_upload_bytes: u64 /* 0 = no limit */, pub listing_depth: u32 /* 5 */, pub listing_entries: u64 /* 100_000 */,
    pub ebcdic: crate::ftp::convert::CodePage,
}
