//! sluicegate – an edge server for bulk file mirrors and high-volume mail ingress.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")
)]

pub mod ftp;
pub mod limits;
pub mod mail;
pub mod milter;
pub mod mx;
pub mod proxy;
pub mod sasl;
pub mod smtp;
pub mod store;
pub mod wire;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod dns;
#[cfg(feature = "server")]
pub mod document;
#[cfg(feature = "server")]
pub mod lines;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "tls")]
pub mod owner;
#[cfg(feature = "tls")]
pub mod problem;
#[cfg(feature = "server")]
pub mod server;
#[cfg(all(feature = "server", not(test)))]
pub mod shard;
/// Tests run the server on simulated sockets, disk and clock.
#[cfg(all(feature = "server", test))]
#[path = "sim/mod.rs"]
pub mod shard;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "server")]
pub mod xferlog;
