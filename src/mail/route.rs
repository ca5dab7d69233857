//! mail::route – from a recipient to the mailboxes that get the message.
//!
//! Order: routes of the configuration (first match wins; `discard` ends it there) → aliases →
//! users and their addresses → address extension (`user+tag`) → catch-all → `unknown_local_part`.
//!
//! Promises: every expansion ends (loops are noticed, depth and count bounded); the same target once.
//! Not here: whether the mailbox has room.

use std::net::IpAddr;

use super::stored::Target;
use crate::smtp::address::{Mailbox, Recipient};
use crate::smtp::envelope::Envelope;

/// Whether mail for a recipient is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Taken,
    /// One of our domains, but nobody of that name.
    NoUser,
    /// Not one of our domains, and the client may not relay.
    RelayDenied,
    /// An alias that leads to itself, or to too many.
    Loop,
}

/// Everything needed to route; made anew when configuration, accounts or aliases change.
#[derive(Debug, Clone, Default)]
pub struct Router;

impl Router {
    /// Is mail for this recipient taken from this client?
    pub fn verdict(&self, recipient: &Recipient, peer: IpAddr) -> Verdict {
        let _ = (recipient, peer);
        todo!()
    }

    /// Everybody the message goes to. Recipients whose users vanished since RCPT become failed targets.
    pub fn targets(&self, envelope: &Envelope) -> Vec<Target> {
        let _ = envelope;
        todo!()
    }

    /// For VRFY: the full name, if known, and the mailbox.
    pub fn verify(&self, text: &str) -> Option<(Option<String>, Mailbox)> {
        let _ = text;
        todo!()
    }

    /// For EXPN: the members of an alias.
    pub fn expand(&self, text: &str) -> Option<Vec<Mailbox>> {
        let _ = text;
        todo!()
    }
}
