//! smtp::client – mail as it goes on: the client of RFC 5321 and of LMTP (RFC 2033) as a value.
//!
//! ```text
//!  octets of replies ─▶ Session::advance ─▶ commands (outbox) and one Next ─▶ driver
//!                          │ replies.rs (what was heard)      ├─▶ begin · secured · authenticate · examined
//!                          │ commands.rs (what is said)       └─▶ body: runs of the message, dots doubled (wire::stuff)
//! ```
//! With RFC 1870, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422 where the server offers them.
//!
//! Promises: no sockets, clocks, files; memory is bounded whatever the server says; the same dialogue
//! however its octets are split; every recipient of a transaction gets one outcome; every step either
//! consumes input or waits; no octet of a message is copied here.
//! Not here: which server (`mail`, DNS), TLS and SASL (the driver joins them), when to try again.
//!
//! Reading order: `step`, `outcome`, `replies`, `offers`, `commands`, `session`, `survey`.

mod commands;
pub mod offers;
pub mod outcome;
mod replies;
pub mod session;
pub mod step;
pub mod survey;

#[cfg(test)]
mod tests;
