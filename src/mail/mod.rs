//! mail – where accepted mail goes, as values: addresses to mailboxes, and notices about failures.
//!
//! ```text
//!  envelope ─▶ route.rs (users · aliases.rs · routes) ─▶ targets ─▶ stored.rs ─▶ spool (opaque octets)
//!                                                          └─ failed ─▶ dsn.rs ─▶ a message of its own
//! ```
//! `schedule.rs`: which message goes to which other server next.
//! Promises: no sockets, clocks, files; every expansion is bounded and ends.
//! Not here: writing into mailboxes (`store::maildir`), retrying (`server::deliver`).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

pub mod aliases;
pub mod codec;
pub mod dsn;
pub mod hop;
pub mod name;
pub mod progress;
pub mod recipients;
pub mod rewrite;
pub mod route;
pub mod schedule;
pub mod srs;
pub mod stored;
pub mod throttle;
