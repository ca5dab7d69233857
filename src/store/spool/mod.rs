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
pub use kept::{Finds, Kept};
#[cfg(feature = "server")]
pub use log::{Commit, Committed, Found, Settings, Spool, Stats, Trouble};

/// Names one accepted message: milliseconds since 1970, shard and a number. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// Digits of a queue id: Crockford's base 32, in upper case; sorts like the number.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..13).rev() {
            let digit = DIGITS[usize::try_from(self.0 >> (5 * place) & 31).unwrap_or(0)];
            fmt::Write::write_char(f, char::from(digit))?;
        }
        Ok(())
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
                let digit = digit.to_ascii_uppercase();
                let digit = DIGITS.iter().position(|one| *one == digit).ok_or(())?;
                let digit = u64::try_from(digit).map_err(drop)?;
                if value >> 59 != 0 {
                    return Err(());
                }
                Ok(value << 5 | digit)
            })
            .map(Self)
    }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
