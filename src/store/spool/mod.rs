//! store::spool – accepted messages, kept until they are settled. One log per shard.
//!
//! ```text
//!  Draft ─append─▶ (memory, or a file of its own when large) ─commit─▶ batch ─one write at a time─▶ segment
//!  note / settle ──────────────────────────────────────────────────────┘      (O_DIRECT|DSYNC, or write + fdatasync)
//!
//!  spool/FORMAT                    "sluicegate spool 1"
//!  spool/shard-0/00000001.seg …    recycled segments, pre-written with zeros
//!  spool/shard-0/large/QUEUEID     large messages
//! ```
//! Promises: `commit` returns `Ok` only when the message would survive a power cut; after a failed or
//! short write the segment is never written again, all who waited are told, and what could not be
//! committed is not delivered; memory is bounded whatever clients do.
//! Not here: what the octets of `meta` and of notes mean (`mail::stored`).

pub mod fold;
pub mod format;

#[cfg(feature = "server")]
mod adopt;
#[cfg(feature = "server")]
mod bell;
#[cfg(feature = "server")]
mod budget;
#[cfg(feature = "server")]
mod commit;
#[cfg(feature = "server")]
mod content;
#[cfg(feature = "server")]
mod disk;
#[cfg(feature = "server")]
mod draft;
#[cfg(feature = "server")]
mod keeper;
#[cfg(feature = "server")]
mod kept;
#[cfg(feature = "server")]
mod large;
#[cfg(feature = "server")]
mod log;
#[cfg(feature = "server")]
pub mod offline;
#[cfg(feature = "server")]
mod open;
#[cfg(feature = "server")]
mod recover;
#[cfg(feature = "server")]
mod segment;
#[cfg(feature = "server")]
mod state;

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "server")]
pub use content::Content;
#[cfg(feature = "server")]
pub use draft::Draft;
#[cfg(feature = "server")]
pub use kept::{Finds, Kept, Meta};
#[cfg(feature = "server")]
pub use log::{Commit, Committed, Found, Settings, Spool, Stats, Trouble};

/// Names one accepted message: milliseconds since 1970, shard and a number. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// Digits of a queue id: Crockford's base 32, in upper case; sorts like the number.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What a character stands for, in either case.
static VALUES: [u8; 256] = values();
const NO_DIGIT: u8 = u8::MAX;

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 32 {
        let digit = DIGITS[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_lowercase() as usize] = value;
        value += 1;
    }
    values
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 13];
        for (place, digit) in (0..13).rev().zip(&mut text) {
            *digit = DIGITS[usize::try_from(self.0 >> (5 * place) & 31).unwrap_or(0)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for QueueId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 13 {
            return Err(());
        }
        text.bytes()
            .try_fold(0_u64, |value, digit| {
                let digit = VALUES[usize::from(digit)];
                if value >> 59 != 0 || digit == NO_DIGIT {
                    return Err(());
                }
                Ok(value << 5 | u64::from(digit))
            })
            .map(Self)
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
