//! milter – programs that judge mail while it comes in, as Sendmail asks them: the protocol's other end, as a
//! value (versions 2 to 6; `libmilter/mfdef.h` is its only standard).
//!
//! ```text
//!  Dialogue::begin ─▶ OPTNEG ─▶ what both sides agree on (agreement)
//!  say(Command) ─▶ macros, packet (packet, macros) ─▶ ── the milter ── ─▶ heard, said ─▶ Said
//!  header: the fields of a message, and what a milter changes of them
//! ```
//! Promises: memory is bounded by `limits::MILTER_*`; what a milter says is understood whole or is a
//! [`Fault`], whatever the splits; nothing that was not agreed on is taken from it; what it says cannot end
//! a header field early nor a line of a reply.
//! Not here: connections, time, and what becomes of a message whose milter fails (`server::milter`).

pub mod agreement;
pub mod dialogue;
pub mod header;
pub mod macros;
pub mod packet;
pub mod response;

use std::fmt;

/// Why a milter is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A packet without a command.
    EmptyPacket,
    /// A packet that is too long.
    LongPacket,
    /// A response there is none of.
    UnknownResponse(u8),
    /// One whose content is not as it should be.
    Malformed(&'static str),
    /// A version that is not spoken here.
    Version(u32),
    /// It wants what was not offered.
    NotOffered,
    /// It said something that has no place there.
    OutOfPlace(&'static str),
    /// It changes what it did not say it would.
    NotAgreed(&'static str),
    /// It changes too much.
    TooMuch,
    /// It spoke without being asked.
    Unasked,
    /// It says itself that it has failed.
    Failed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPacket => f.write_str("a packet without a command"),
            Self::LongPacket => f.write_str("a packet that is too long"),
            Self::UnknownResponse(code) => write!(f, "an unknown response ({code})"),
            Self::Malformed(what) => write!(f, "a malformed response ({what})"),
            Self::Version(version) => write!(f, "version {version} of the protocol"),
            Self::NotOffered => f.write_str("it wants what was not offered"),
            Self::OutOfPlace(what) => write!(f, "a response out of place ({what})"),
            Self::NotAgreed(what) => write!(f, "a change it did not announce ({what})"),
            Self::TooMuch => f.write_str("too many changes"),
            Self::Unasked => f.write_str("it spoke without being asked"),
            Self::Failed => f.write_str("it says that it failed"),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests;
