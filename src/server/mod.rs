//! The drivers: the only code that joins a protocol core to a shard.
//!
//! Reading order: `run` (start to stop) · `ftp` (one control connection) · `transfer`, `retrieve`,
//! `store`, `list` (one data connection) · `ask`, `login`, `authenticate`, `credentials` (answers) · `admit`, `drain` (limits and the end).

mod accept_mail;
pub mod admin;
mod admit;
mod ask;
mod authenticate;
mod certificates;
mod credentials;
mod data_link;
mod deliver;
mod door;
mod drain;
mod entry;
mod fault;
mod ftp;
mod gate;
mod haste;
mod ingress;
mod inlet;
mod input;
mod life;
mod link;
mod list;
mod lister;
mod listing_cache;
mod login;
mod manage;
mod milter;
mod notice;
mod pace;
mod pattern;
mod poll;
pub mod queue;
mod quota;
mod relay;
mod reload;
pub mod resolver;
mod retrieve;
mod routing;
mod run;
mod shared;
#[cfg(test)]
mod sim_tests;
mod sink;
mod size;
mod smtp;
mod sockets;
pub mod status;
mod store;
mod transfer;

pub use certificates::look as look_at_authorities;
use drain::drain_watch;
use notice::Phase;
pub use relay::look_at_password;
pub use routing::{aliases as aliases_of, look as look_at_aliases, routes as routes_of};
pub use run::{Failure, serve};
use shared::Shared;
pub use sockets::look as look_at_listeners;
