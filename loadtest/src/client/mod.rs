//! client – a cheap FTP client for many sessions on one thread.
//!
//! Reading order: `reply` (bytes to replies), `session` (one dialogue as a state machine),
//! `fleet` (the epoll loop that drives them), `pattern` (the contents of every test file).
//!
//! Promises: checks every reply code and every byte count; an error names the command and quotes
//! the server. Loopback only.
//! Not here: what to measure and how (`compare`).

pub mod fleet;
pub mod pattern;
pub mod reply;
pub mod session;
