//! smtp::session::transaction – HELO, EHLO, MAIL, RCPT: what comes before the message.
//!
//! Promises: what is refused leaves the transaction as it was (RFC 5321 §4.1.4).

use super::{Asked, Session, State};
use crate::smtp::command::{Mail, Rcpt, Verb};
use crate::smtp::envelope::{BodyType, Envelope, Protocol, To};
use crate::smtp::reply::{self, Reply};
use crate::smtp::step::{Answer, Ask, Next};
use crate::wire::outbox::Outbox;

/// A transaction whose message has not begun.
#[derive(Debug)]
pub(super) struct Transaction {
    /// A question about the last recipient may be pending.
    pub(super) envelope: Box<Envelope>,
    /// `SIZE=`, octets.
    pub(super) declared: Option<u64>,
    /// A recipient was refused.
    refused: bool,
}

impl Transaction {
    /// May the message begin, with this verb?
    pub(super) fn ready_for(&self, verb: Verb) -> Result<(), Reply> {
        match (self.envelope.recipients.is_empty(), self.refused) {
            (true, false) => Err(reply::RECIPIENT_FIRST),
            (true, true) => Err(reply::NO_VALID_RECIPIENTS),
            // RFC 3030 §3: BINARYMIME goes with BDAT only.
            (false, _) if verb == Verb::Data && self.envelope.body == BodyType::BinaryMime => {
                Err(reply::BINARY_NEEDS_CHUNKS)
            }
            (false, _) => Ok(()),
        }
    }
}

impl Session {
    /// HELO and EHLO begin anew, as RSET does (RFC 5321 §4.1.4).
    pub(super) fn hello(
        &mut self,
        name: String,
        extended: bool,
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        self.forget_forwarded();
        self.reset();
        self.helo = Some(name.into_boxed_str());
        self.extended = extended;
        if extended {
            self.extensions(out);
        } else {
            reply::HELLO.fill(&[self.settings.hostname.as_bytes()], out);
        }
        None
    }

    pub(super) fn mail(&mut self, mail: Mail, out: &mut Outbox) -> Option<Next<'static>> {
        let Bounds { messages_max, message_bytes_max } = self.bounds();
        if messages_max.is_some_and(|most| self.messages >= most) {
            self.close(reply::TOO_MANY_MESSAGES, out);
            return None;
        }
        // RFC 4954 §5: nobody here is trusted to say who submitted it; `AUTH=<>` is what it comes to.
        let Mail { sender, size, body, utf8, ret, envelope_id, auth: _ } = mail;
        // RFC 1870 §6.1.
        if size.zip(message_bytes_max).is_some_and(|(size, most)| size > most) {
            reply::TOO_LARGE.send(out);
            return None;
        }
        let Self { extended, secure, authenticated, .. } = *self;
        let lmtp = self.settings.lmtp;
        let ask = Ask::Mail { sender: sender.clone(), declared: size };
        let envelope = Envelope {
            sender,
            recipients: Vec::new(),
            body: body.unwrap_or_default(),
            ret,
            envelope_id,
            helo: self.helo.as_deref().unwrap_or_default().to_owned(),
            peer: self.peer,
            protocol: Protocol { extended, utf8, secure, authenticated, lmtp },
        };
        self.state = State::Mail(Transaction {
            envelope: Box::new(envelope),
            declared: size,
            refused: false,
        });
        self.asked = Some(Asked::Mail);
        Some(Next::Ask(ask))
    }

    pub(super) fn mail_answered(&mut self, answer: &Answer, out: &mut Outbox) {
        match answer {
            Answer::Refused(fault) => {
                self.state = State::Idle;
                self.refused(*fault, out);
            }
            Answer::Said(words) => {
                self.state = State::Idle;
                self.refused_in(words, out);
            }
            Answer::Done
            | Answer::Verified(..)
            | Answer::Expanded(_)
            | Answer::Challenge(_)
            | Answer::Authenticated
            | Answer::Committed(_) => {
                self.messages = self.messages.saturating_add(1);
                reply::SENDER.send(out);
            }
        }
    }

    pub(super) fn recipient(&mut self, rcpt: Rcpt, out: &mut Outbox) -> Option<Next<'static>> {
        let most = self.settings.recipients_max;
        let State::Mail(transaction) = &mut self.state else { return None };
        let recipients = &mut transaction.envelope.recipients;
        if u32::try_from(recipients.len()).is_ok_and(|count| count >= most) {
            // RFC 5321 §4.5.3.1.10; the earlier ones stay.
            reply::TOO_MANY_RECIPIENTS.send(out);
            return None;
        }
        let Rcpt { recipient, notify, original } = rcpt;
        let ask = Ask::Rcpt(recipient.clone());
        recipients.push(To { recipient, notify, original });
        self.asked = Some(Asked::Rcpt);
        Some(Next::Ask(ask))
    }

    pub(super) fn recipient_answered(&mut self, answer: &Answer, out: &mut Outbox) {
        match answer {
            Answer::Refused(fault) => {
                self.forget_recipient();
                self.refused(*fault, out);
            }
            Answer::Said(words) => {
                self.forget_recipient();
                self.refused_in(words, out);
            }
            Answer::Done
            | Answer::Verified(..)
            | Answer::Expanded(_)
            | Answer::Challenge(_)
            | Answer::Authenticated
            | Answer::Committed(_) => reply::RECIPIENT.send(out),
        }
    }

    /// The last one was refused.
    fn forget_recipient(&mut self) {
        if let State::Mail(transaction) = &mut self.state {
            transaction.envelope.recipients.pop();
            transaction.refused = true;
        }
    }

    /// The one whose message has not begun.
    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match &self.state {
            State::Mail(transaction) => Some(transaction),
            State::Idle
            | State::Data(_)
            | State::Chunk(..)
            | State::Chunks(_)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing => None,
        }
    }

    /// Is a command read between MAIL and the end of the message? (None is read in the states of the message
    /// itself and of answers that are awaited.)
    pub(super) fn in_transaction(&self) -> bool {
        self.transaction().is_some() || matches!(self.state, State::Chunks(_))
    }

    /// Limits that may be off.
    pub(super) fn bounds(&self) -> Bounds {
        let settings = &self.settings;
        Bounds {
            messages_max: (settings.messages_max > 0).then_some(settings.messages_max),
            message_bytes_max: (settings.message_bytes_max > 0)
                .then_some(settings.message_bytes_max),
        }
    }
}

/// Limits, `None` where there is none.
pub(super) struct Bounds {
    pub(super) messages_max: Option<u32>,
    pub(super) message_bytes_max: Option<u64>,
}
