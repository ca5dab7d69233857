//! smtp – mail as it comes in: RFC 5321, 1870, 2033 (LMTP), 2034, 2920, 3030, 3461, 3848, 6152, 6531, 7504,
//! 9422, and Postfix's XCLIENT and XFORWARD, as a value. As it goes on: [`client`].
//!
//! ```text
//!  octets ─▶ Session::advance ─▶ replies (outbox) and one Next ─▶ driver ─▶ Session::resume
//!               │ command.rs · address.rs (grammar)
//!               │ wire::data (DATA) · BDAT: counted octets
//! ```
//! Promises: no sockets, clocks, files; memory is bounded whatever the input; the same replies and
//! the same message octets however the input is split.
//! Not here: who is a user, where mail goes (`mail`), where it is kept (`store::spool`).
//!
//! Reading order: `step`, `envelope`, `address`, `line`, `command`, `claims`, `session`, `reply`, `header`, `trace`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

pub mod address;
pub mod claims;
pub mod client;
pub mod command;
pub mod envelope;
pub mod header;
pub mod line;
mod parameters;
pub mod reply;
pub mod session;
pub mod step;
pub mod trace;
pub mod xtext;

#[cfg(test)]
mod tests;
