//! smtp – the load generator for mail, and the audit of what it was promised.
//!
//! Reading order: `options` (what can be asked for), `mail` (what all sessions share), `dialogue`,
//! `opening` and `transaction` (one client as a value), `corpus`, `hostile` and `wire` (what it sends), `reply` and
//! `queueid` (what it is told); then `journal`, `stored` and `audit`.

pub(crate) mod audit;
mod corpus;
mod dialogue;
mod hostile;
mod journal;
mod mail;
mod opening;
mod options;
mod queueid;
mod reply;
mod stored;
mod transaction;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use options::{Options, run};
