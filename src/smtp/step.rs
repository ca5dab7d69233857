//! smtp::step – what the dialogue asks of its driver, and what the driver answers.
//!
//! Promises: at most one question is pending; message octets borrow from the input (or are static),
//! everything else owns its data.
//! Not here: reply codes (`reply.rs`), the dialogue itself (`session.rs`).

use std::net::SocketAddr;

use super::address::{Mailbox, Recipient, Sender};
use super::envelope::Envelope;
use super::header::Lacks;
use super::reply::Words;
use crate::wire::secret::Secret;

/// What the driver must do before it calls [`super::session::Session::advance`] again.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Flush the outbox, then wait for input or the deadline of `Session::timer`. The only place
    /// where output is flushed. Input may be left over only because the outbox is full: then
    /// `advance` again with it after the flush, without waiting.
    Receive,
    /// Flush the outbox, which is full, and `advance` again at once: there is more to say to what was heard
    /// already (the replies of LMTP to a message with many recipients).
    Flush,
    /// Answer it, then [`super::session::Session::resume`].
    Ask(Ask),
    /// A message begins: make a draft for it. Nothing to resume: octets that cannot be kept are
    /// reported with `Session::poison`, or at the commit.
    Begin {
        /// `SIZE=`, octets; a hint.
        declared: Option<u64>,
    },
    /// Append to the draft.
    Body(&'a [u8]),
    /// The message is whole: make it durable, then `resume` with [`Answer::Committed`] or
    /// [`Answer::Refused`]. The draft is used up either way. What a message that was submitted lacks is
    /// to stand before it (RFC 6409 §8).
    Commit(Box<Envelope>, Lacks),
    /// Drop the draft. Nothing to resume.
    Discard,
    /// After 220 to STARTTLS, which is in the outbox. When any octet came behind the command, close, and
    /// send nothing; otherwise flush, become a TLS server, and call `Session::secured`. A handshake that
    /// fails ends the connection.
    Secure,
    /// Flush and close.
    Close,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// May this transaction begin? Answer: `Done`, or `Refused(NoSpace | Busy | Denied …)`.
    Mail {
        /// Reverse path.
        sender: Sender,
        /// `SIZE=`, octets.
        declared: Option<u64>,
    },
    /// Is mail for this recipient taken? Answer: `Done`, or `Refused(..)`.
    Rcpt(Recipient),
    /// VRFY. Answer: `Verified`, `Done` (not telling: 252) or `Refused(NoUser | Ambiguous)`.
    Verify(String),
    /// EXPN. Answer: `Expanded`, or `Refused(NoUser | Denied)`.
    Expand(String),
    /// An AUTH begins, with one of `Settings::mechanisms`; what was left of an earlier one is void. Answer:
    /// `Challenge`, `Authenticated`, or `Refused(Credentials | Response | NoLogins | Busy)`.
    Auth {
        /// The SASL mechanism.
        mechanism: String,
        /// The initial response, if there was one.
        initial: Option<Secret>,
    },
    /// What the client responded to a challenge. Answer: as with `Auth`.
    Respond(Secret),
    /// The exchange is over before its end: forget it. Answer: `Done`.
    Forget,
    /// A peer that is trusted says for whom it speaks from now on (XCLIENT). Everything about the client is
    /// another then. Answer: `Done`, or `Refused`: `Busy` where its address has too many sessions, `Denied`
    /// where there is no such user.
    Client {
        /// Where the client is; unspecified when the peer does not know.
        address: SocketAddr,
        /// Who it is.
        login: Login,
    },
}

/// Who a client is that a trusted peer speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// As the peer said before.
    Same,
    /// Nobody, whoever it was before.
    Nobody,
    /// The user of this name.
    User(String),
}

/// What came of a [`Next::Ask`] or [`Next::Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may be so, or: nothing is told.
    Done,
    /// The mailbox that VRFY found, with the full name if there is one.
    Verified(Option<String>, Mailbox),
    /// The members that EXPN found.
    Expanded(Vec<Mailbox>),
    /// Send this, and ask again with what the client responds.
    Challenge(Vec<u8>),
    /// The client is who it says it is.
    Authenticated,
    /// The message would survive a power cut from now on. The text names it for the client.
    Committed(String),
    /// It was not done, and why.
    Refused(Fault),
    /// It was not done, in the words of somebody who was asked.
    Said(Box<Words>),
}

/// Why the machine, the accounts or the operator say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such mailbox here: 550 5.1.1.
    NoUser,
    /// Neither our domain nor a client that may relay: 550 5.7.1.
    RelayDenied,
    /// The address means more than one: 553.
    Ambiguous,
    /// The mailbox takes nothing now: 450 4.2.1.
    MailboxBusy,
    /// The mailbox is full: 452 4.2.2.
    MailboxFull,
    /// The disk is full or nearly: 452 4.3.1.
    NoSpace,
    /// The spool does not work, or could not be written: 451 4.3.0.
    Broken,
    /// Too much at once: 450 4.3.2 or 421.
    Busy,
    /// Not permitted by the operator's configuration: 550 5.7.1.
    Denied,
    /// Too large for what is configured: 552 5.3.4.
    TooLarge,
    /// The lists expand without end, or to too many: 550 5.4.6.
    Loop,
    /// A return address of our form that was not made here: 550 5.1.1.
    ForgedReturn,
    /// A return address that was made here too long ago: 550 5.1.6.
    ExpiredReturn,
    /// The server shuts down: 421 4.3.2.
    ShuttingDown,
    /// Authenticated, but as somebody whose address that is not: 553 5.7.1.
    NotYours,
    /// No such user, or not this password: nobody is told which. 535 5.7.8.
    Credentials,
    /// Not a response of this mechanism: 501 5.5.2.
    Response,
    /// Proofs cannot be looked at now: 454 4.7.0.
    NoLogins,
    /// A filter does not want it: 550 5.7.1.
    Filtered,
    /// A filter does not want it now, or could not be asked: 451 4.7.1.
    Unfiltered,
    /// A filter wants the client to go: 421 4.7.0.
    Dismissed,
}

/// Which deadline counts from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Seconds since the last whole command (or since the greeting).
    Command(u32),
    /// In a message: seconds since it began, and the octets per second it must keep up after a
    /// grace of `Command` seconds. The driver judges; see `server::smtp`.
    Message,
    /// None: an answer is pending.
    None,
}
