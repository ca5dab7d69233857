//! smtp::session::telling – what came of a message: one reply in SMTP, one for each recipient in LMTP (RFC 2033 §4.2).
//!
//! Promises: as many replies as recipients were accepted, in their order, duplicates included; never more of
//! them in the outbox than fit it.
//! Not here: why a message is refused (`receive`).

use super::{Session, State};
use crate::limits::SMTP_OUTBOX_BYTES_MAX;
use crate::smtp::reply::{self, Reply, Words};
use crate::smtp::step::{Answer, Next};
use crate::wire::outbox::Outbox;

/// What is told, and to how many.
#[derive(Debug)]
pub(super) struct Telling {
    what: Told,
    left: u32,
}

/// What came of a message.
#[derive(Debug)]
pub(super) enum Told {
    /// A reply, and what is filled in.
    Ours(Reply, Box<str>),
    /// The words of somebody who was asked.
    Theirs(Box<Words>),
}

impl Told {
    fn code(&self) -> u16 {
        match self {
            Self::Ours(reply, _) => reply.code(),
            Self::Theirs(words) => words.code(),
        }
    }

    fn send(&self, out: &mut Outbox) {
        match self {
            Self::Ours(reply, name) => reply.fill(&[name.as_bytes()], out),
            Self::Theirs(words) => words.send(out),
        }
    }
}

impl Session {
    pub(super) fn committed(&mut self, answer: &Answer, recipients: u32, out: &mut Outbox) {
        let (reply, name) = match answer {
            Answer::Said(words) => {
                return self.tell_all(Told::Theirs(words.clone()), recipients, out);
            }
            Answer::Committed(id) => {
                self.errors = 0;
                (reply::QUEUED, id.as_str())
            }
            Answer::Refused(fault) => (reply::refusal(*fault), ""),
            // No answer to a commit: nothing is promised to the client.
            Answer::Done
            | Answer::Verified(..)
            | Answer::Expanded(_)
            | Answer::Challenge(_)
            | Answer::Authenticated => (reply::BROKEN, ""),
        };
        self.conclude(reply, name, recipients, out);
    }

    /// The transaction is over.
    pub(super) fn conclude(
        &mut self,
        answer: Reply,
        name: &str,
        recipients: u32,
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        if answer.code() == 421 {
            self.forget_forwarded();
            self.close(answer, out);
        } else {
            self.tell_all(Told::Ours(answer, name.into()), recipients, out);
        }
        None
    }

    fn tell_all(&mut self, what: Told, recipients: u32, out: &mut Outbox) {
        self.forget_forwarded();
        if what.code() == 421 {
            // Of LMTP too: replies that do not come are temporary failures (RFC 2033 §5).
            what.send(out);
            self.shut();
        } else if self.settings.lmtp {
            self.state = State::Telling(Box::new(Telling { what, left: recipients }));
        } else {
            what.send(out);
        }
    }

    /// Tells as many as the outbox has room for.
    pub(super) fn tell(&mut self, out: &mut Outbox) -> Option<Next<'static>> {
        let State::Telling(telling) = &mut self.state else { return None };
        while telling.left > 0 {
            if out.len() >= SMTP_OUTBOX_BYTES_MAX {
                return Some(Next::Flush);
            }
            telling.what.send(out);
            telling.left -= 1;
        }
        self.state = State::Idle;
        None
    }

    /// What a reply is in LMTP (RFC 2033 §4.2).
    pub(super) fn in_lmtp(&self, answer: Reply) -> Reply {
        if self.settings.lmtp && answer == reply::NO_VALID_RECIPIENTS {
            reply::NO_VALID_RECIPIENTS_LMTP
        } else {
            answer
        }
    }

    /// Something came before the client said who it is.
    pub(super) fn hello_first(&self) -> Reply {
        if self.settings.lmtp { reply::LHLO_FIRST } else { reply::HELLO_FIRST }
    }
}
