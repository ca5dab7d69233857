//! server::input – octets of a control connection that the dialogue has not consumed yet.
//!
//! They stay in the shard's buffer only while the dialogue runs without a pause; before a wait what is
//! left moves to memory of the session, and mostly nothing is left.

use crate::ftp::session::Session;
use crate::ftp::step::Next;
use crate::shard::Received;
use crate::wire::outbox::Outbox;

/// Octets not consumed yet.
pub(super) enum Input {
    Empty,
    Fresh(Received, usize),
    Kept(Vec<u8>, usize),
}

impl Input {
    /// Lets the dialogue consume.
    pub(super) fn advance(&mut self, dialogue: &mut Session, out: &mut Outbox) -> Next {
        let (octets, at): (&[u8], &mut usize) = match self {
            Self::Empty => (&[], &mut 0),
            Self::Fresh(received, at) => (received, at),
            Self::Kept(kept, at) => (kept, at),
        };
        let mut rest = octets.get(*at..).unwrap_or_default();
        let next = dialogue.advance(&mut rest, out);
        *at = octets.len() - rest.len();
        if rest.is_empty() {
            *self = Self::Empty;
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Fresh(received, at) => received.len().saturating_sub(*at),
            Self::Kept(kept, at) => kept.len().saturating_sub(*at),
        }
    }

    /// Adds what was received.
    pub(super) fn append(&mut self, received: Received) {
        match self {
            Self::Empty => *self = Self::Fresh(received, 0),
            Self::Kept(kept, _) => kept.extend_from_slice(&received),
            Self::Fresh(..) => {
                self.settle();
                self.append(received);
            }
        }
    }

    /// Gives the shard its buffer back before a wait.
    pub(super) fn settle(&mut self) {
        if let Self::Fresh(received, at) = self {
            let rest = received.get(*at..).unwrap_or_default();
            *self = if rest.is_empty() { Self::Empty } else { Self::Kept(rest.to_vec(), 0) };
        }
    }
}
