//! mail::stored – an accepted message as it lies in the spool, less its octets.
//!
//! What `store::spool` keeps as opaque octets: [`Message`] with the record of the message,
//! [`Note`]s appended later. Version byte first, lengths before texts, little-endian.
//!
//! Promises: decode ∘ encode = identity; any octets decode to a value or an error, never a panic,
//! and never to more memory than the octets justify.

use crate::smtp::envelope::Envelope;

/// An accepted message: envelope, trace, and who gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As the client gave it.
    pub envelope: Envelope,
    /// When it was accepted: seconds since 1970.
    pub accepted: i64,
    /// The one `Received` header added here, with its CRLF; stands before the octets of the message.
    pub trace: Vec<u8>,
    /// Everybody it goes to, aliases and lists expanded, each once.
    pub targets: Vec<Target>,
    /// The operator holds it back.
    pub held: bool,
}

/// One place the message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Number of the envelope's recipient that led here.
    pub recipient: u32,
    /// The address after expansion.
    pub address: String,
    /// Where it goes.
    pub to: Destination,
    /// The envelope sender of a list (`owner-…`), where it differs.
    pub sender: Option<String>,
    /// How far it is.
    pub state: TargetState,
}

/// Kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The Maildir of this name below `[mail] root`; a folder of it for `user+tag` may be given later.
    Mailbox(String),
    /// Nowhere: accepted, committed, gone.
    Discard,
}

/// How far a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    /// Not tried yet.
    Waiting,
    /// Tried, and to be tried again.
    Deferred {
        /// Attempts so far.
        attempts: u32,
        /// Next attempt, seconds since 1970.
        next: i64,
        /// Enhanced status and text of the last attempt, one line.
        reason: String,
    },
    /// Done.
    Delivered,
    /// Given up; the sender was, or is to be, told.
    Failed {
        /// Enhanced status and text, one line.
        reason: String,
    },
    /// Removed by the operator; nobody is told.
    Removed,
}

/// What changes after acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A target got another state.
    Target(u32, TargetState),
    /// The operator held (true) or released it.
    Held(bool),
}

impl Message {
    /// Nothing is left to do.
    pub fn settled(&self) -> bool {
        self.targets.iter().all(|target| {
            !matches!(target.state, TargetState::Waiting | TargetState::Deferred { .. })
        })
    }
}
