//! wire – bytes that protocols share; knows no protocol.
//!
//! In reading order: [`ascii`] (decimals, words), [`mod@line`] (lines with a limit), [`outbox`]
//! (replies that wait for the one flush).
//!
//! Not here: verbs, reply codes, sockets.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

pub mod ascii;
pub mod data;
pub mod line;
pub mod outbox;
#[cfg(test)]
pub(crate) mod transcript;
