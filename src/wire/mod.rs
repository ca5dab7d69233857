//! wire – bytes that protocols share; knows no protocol.
//!
//! In reading order: [`ascii`] (decimals, words), [`mod@line`] (lines with a limit), [`outbox`]
//! (replies that wait for the one flush), [`secret`] (octets nobody is to see), [`data`] (the body of a
//! message, over `scan`), [`stuff`] (the same on its way out).
//!
//! Not here: verbs, reply codes, sockets.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(unsafe_code)]

pub mod ascii;
pub mod data;
pub mod line;
pub mod outbox;
#[allow(
    unsafe_code,
    reason = "vector loads, and calls that need features the processor was asked for"
)]
mod scan;
pub mod secret;
pub mod stuff;
#[cfg(test)]
pub(crate) mod transcript;
