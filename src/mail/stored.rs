//! mail::stored – an accepted message as it lies in the spool, less its octets.
//!
//! What `store::spool` keeps as opaque octets: [`Message`] with the record of the message,
//! [`Note`]s appended later. How they are written: `codec`.
//!
//! Promises: decode ∘ encode = identity; any octets decode to a value or an error, never a panic,
//! and never to more memory than the octets justify.

use super::hop::Hop;
use crate::smtp::envelope::Envelope;

/// An accepted message: envelope, trace, and who gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As the client gave it.
    pub envelope: Envelope,
    /// When it was accepted: seconds since 1970.
    pub accepted: i64,
    /// The one `Received` header added here, with its CRLF; stands before the octets of the message. Of a
    /// message that was submitted it holds what that lacked too: date, identifier.
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
    /// What followed the separator in `user+tag`: the folder it goes to, if the mailbox has it.
    pub tag: Option<String>,
    /// Where it goes.
    pub to: Destination,
    /// The envelope sender of a list (`owner-…`), where it differs.
    pub sender: Option<String>,
    /// The alias, list or rewritten sender that led to another server: an address of ours.
    pub via: Option<String>,
    /// How far it is.
    pub state: TargetState,
    /// The report about it that somebody is owed (`mail::dsn`) is safe, as a message of its own.
    pub told: bool,
    /// The notice that it takes long is safe.
    pub delayed: bool,
}

/// Kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The Maildir of this name below `[mail] root`. The name is one safe component (`mail::name`).
    Mailbox(String),
    /// Nowhere: accepted, committed, gone.
    Discard,
    /// To another server. The routes in force say how; this says where to when none does.
    Remote(Hop),
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
    /// The report about this target is safe.
    Told(u32),
    /// The notice that this target takes long is safe.
    Delayed(u32),
}

impl Message {
    /// Something that came later. A target that does not exist is none of ours: nothing happens.
    pub fn apply(&mut self, note: Note) {
        match note {
            Note::Target(number, state) => {
                if let Some(target) = self.target_mut(number) {
                    target.state = state;
                }
            }
            Note::Held(held) => self.held = held,
            Note::Told(number) => {
                if let Some(target) = self.target_mut(number) {
                    target.told = true;
                }
            }
            Note::Delayed(number) => {
                if let Some(target) = self.target_mut(number) {
                    target.delayed = true;
                }
            }
        }
    }

    fn target_mut(&mut self, number: u32) -> Option<&mut Target> {
        usize::try_from(number).ok().and_then(|number| self.targets.get_mut(number))
    }

    /// Nothing is left to do, but for reports that somebody may be owed.
    pub fn settled(&self) -> bool {
        self.targets.iter().all(|target| {
            !matches!(target.state, TargetState::Waiting | TargetState::Deferred { .. })
        })
    }
}
