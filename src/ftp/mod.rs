//! ftp – RFC 959 and its extensions as a value: 1123 §4.1, 2228, 2389, 2428, 2577, 2640, 3659, 4217.
//!
//! Octets of the control connection enter at [`Session::advance`], answers at [`Session::resume`],
//! news of the data connection at [`Session::transfer`]. Replies leave in the outbox, everything
//! else as one [`step::Next`].
//!
//! ```text
//!             ┌────────── resume ──────────┐   ┌─── news: done, failed, broken, aborted ───┐
//!             ▼                            │   ▼                                           │
//!  octets ─▶ Ready ── Ask, Listen ──▶ Asking   Ready ── Transfer ──▶ Transferring ── Abort ┘
//!             ├── AUTH: Secure ─▶ secured ─▶ Ready      (STAT, ABOR at once; the rest waits)
//!             └── QUIT, 421 ──▶ Closing
//! ```
//!
//! In reading order: [`step`] (the words between core and driver), [`session`] (the dialogue),
//! [`verb`], [`command`], [`reply`], [`refusal`] (which code for which fault), [`telnet`], [`path`],
//! [`address`], [`listing`], [`calendar`], [`convert`] and [`ebcdic`] (representations).
//!
//! Promises: replies come in the order of commands, each command gets one; no input at any split
//! panics or grows memory without bound.
//! Not here: sockets, clocks, files, TLS, policy that needs them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

pub mod address;
pub mod calendar;
pub mod command;
pub mod convert;
pub mod ebcdic;
pub mod listing;
pub mod path;
pub mod refusal;
pub mod reply;
pub mod session;
pub mod step;
pub mod telnet;
#[cfg(test)]
mod tests;
pub mod verb;

pub use session::Session;
