//! smtp::session::receive – DATA and BDAT: the message itself.
//!
//! Promises: a message that is refused is read to its true end and refused once there; what it is
//! refused for does not depend on how its octets are split; nothing of it is held here.
//! Not here: to whom what came of it is told (`telling`).

use super::{Asked, Session, Settings, State, Then};
use crate::smtp::command::Verb;
use crate::smtp::envelope::Envelope;
use crate::smtp::header::{Fields, Lacks};
use crate::smtp::reply::{self, Reply};
use crate::smtp::step::{Fault, Next};
use crate::wire::ascii::Digits;
use crate::wire::data::{BareNewlines, Decoder, Found};
use crate::wire::outbox::Outbox;

/// A message on its way in.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Receiving {
    envelope: Box<Envelope>,
    decoder: Decoder,
    fields: Fields,
    /// Octets of the message so far, header and CRLFs included (RFC 1870 §3).
    bytes: u64,
    /// What the driver said of its draft.
    fault: Option<Fault>,
    /// The driver was told to drop the draft, or is about to be.
    dropped: bool,
    /// The client was told so at the end of a chunk.
    told: bool,
    /// The end of DATA was read.
    ended: bool,
}

/// One BDAT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) size: u64,
    pub(super) left: u64,
    pub(super) last: bool,
}

impl Receiving {
    fn new(envelope: Box<Envelope>, settings: &Settings) -> Box<Self> {
        Box::new(Self {
            envelope,
            decoder: Decoder::new(settings.bare_newlines),
            fields: Fields::new(),
            bytes: 0,
            fault: None,
            dropped: false,
            told: false,
            ended: false,
        })
    }

    /// Is there a draft the driver was not told to drop?
    pub(super) fn has_draft(&self) -> bool {
        !self.dropped
    }

    /// Was a chunk of it refused?
    pub(super) fn has_failed(&self) -> bool {
        self.told
    }

    /// The driver's draft failed. Is it to be dropped now?
    pub(super) fn poison(&mut self, fault: Fault) -> bool {
        self.fault.get_or_insert(fault);
        self.drop_draft()
    }

    /// Is it the first time?
    fn drop_draft(&mut self) -> bool {
        !std::mem::replace(&mut self.dropped, true)
    }

    /// How many it is for.
    fn recipients(&self) -> u32 {
        u32::try_from(self.envelope.recipients.len()).unwrap_or(u32::MAX)
    }

    fn count(&mut self, octets: &[u8]) {
        let length = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        self.fields.feed(octets);
    }

    /// Why it cannot be accepted. In a fixed order: what was seen first may depend on the split.
    fn verdict(&self, settings: &Settings) -> Option<Reply> {
        let most = settings.message_bytes_max;
        if settings.bare_newlines == BareNewlines::Reject && self.decoder.seen().bare_newline {
            return Some(reply::BARE_DATA);
        }
        if most > 0 && self.bytes > most {
            return Some(reply::TOO_LARGE);
        }
        if self.fields.hops() >= settings.hops_max {
            return Some(reply::TOO_MANY_HOPS);
        }
        self.fault.map(reply::refusal)
    }
}

impl Session {
    pub(super) fn data(&mut self, out: &mut Outbox) -> Option<Next<'static>> {
        let begin = self.begin(State::Data)?;
        reply::SEND_DATA.send(out);
        Some(begin)
    }

    /// BDAT whose turn it is.
    pub(super) fn chunk(&mut self, chunk: Chunk) -> Option<Next<'static>> {
        if let State::Mail(_) = self.state {
            let begin = self.begin(|receiving| State::Chunk(receiving, chunk));
            self.foresee(chunk);
            return begin;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Chunks(receiving) => self.state = State::Chunk(receiving, chunk),
            other @ (State::Idle
            | State::Mail(_)
            | State::Data(_)
            | State::Chunk(..)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing) => self.state = other,
        }
        self.foresee(chunk);
        None
    }

    /// BDAT that is refused: its octets come first.
    ///
    /// RFC 2033 §4.3: there is a reply for each recipient that was accepted. A last chunk that is refused has
    /// none, so that there is no reply, and its transaction is over.
    pub(super) fn skip(&mut self, size: u64, last: bool) -> Option<Next<'static>> {
        self.lose_chunk();
        let silent = last && self.settings.lmtp && self.helo.is_some();
        let then = match std::mem::replace(&mut self.state, State::Idle) {
            State::Mail(_) if silent => Then::Idle,
            State::Mail(transaction) => Then::Mail(transaction),
            State::Chunks(receiving) => Then::Chunks(receiving),
            State::Idle
            | State::Data(_)
            | State::Chunk(..)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing => Then::Idle,
        };
        self.state = State::Skip { left: size, silent, then };
        None
    }

    /// What was refused is a part of the message that has begun, or may be one: a message with a
    /// hole in it must not be accepted.
    pub(super) fn lose_chunk(&mut self) {
        if let State::Chunks(receiving) = &mut self.state {
            receiving.told = true;
            self.discard |= receiving.poison(Fault::Broken);
        }
    }

    fn begin(&mut self, state: impl FnOnce(Box<Receiving>) -> State) -> Option<Next<'static>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Mail(transaction) => {
                let declared = transaction.declared;
                self.state = state(Receiving::new(transaction.envelope, &self.settings));
                Some(Next::Begin { declared })
            }
            other @ (State::Idle
            | State::Data(_)
            | State::Chunk(..)
            | State::Chunks(_)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing) => {
                self.state = other;
                None
            }
        }
    }

    /// A chunk that is too large is known to be before its first octet.
    fn foresee(&mut self, chunk: Chunk) {
        let most = self.settings.message_bytes_max;
        if let State::Chunk(receiving, _) = &mut self.state
            && most > 0
            && receiving.bytes.saturating_add(chunk.size) > most
        {
            receiving.bytes = u64::MAX;
            self.discard |= receiving.drop_draft();
        }
    }

    /// After 354.
    pub(super) fn data_octets<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Outbox,
    ) -> Option<Next<'a>> {
        let State::Data(receiving) = &mut self.state else { return None };
        let found = if receiving.ended { Found::End } else { receiving.decoder.next(input) };
        if let Found::Octets(octets) = found {
            receiving.count(octets);
        }
        let verdict = receiving.verdict(&self.settings);
        if verdict.is_some() && receiving.drop_draft() {
            // The draft goes before the client is told.
            receiving.ended = found == Found::End;
            self.discard = true;
            return None;
        }
        match (found, verdict) {
            (Found::Octets(octets), None) => Some(Next::Body(octets)),
            (Found::Octets(_), Some(_)) => None,
            (Found::NeedMore, _) => Some(Next::Receive),
            (Found::End, None) => self.commit(),
            (Found::End, Some(verdict)) => {
                let recipients = receiving.recipients();
                self.state = State::Idle;
                self.conclude(verdict, "", recipients, out)
            }
        }
    }

    /// After BDAT. Chunks are not looked at (RFC 3030 §2), but for the hops in the header.
    pub(super) fn chunk_octets<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Outbox,
    ) -> Option<Next<'a>> {
        let State::Chunk(receiving, chunk) = &mut self.state else { return None };
        let octets = split_front(input, chunk.left);
        if octets.is_empty() {
            return if chunk.left == 0 { self.chunk_end(out) } else { Some(Next::Receive) };
        }
        chunk.left -= u64::try_from(octets.len()).unwrap_or(u64::MAX).min(chunk.left);
        receiving.count(octets);
        if receiving.verdict(&self.settings).is_none() {
            return Some(Next::Body(octets));
        }
        self.discard |= receiving.drop_draft();
        None
    }

    fn chunk_end(&mut self, out: &mut Outbox) -> Option<Next<'static>> {
        let State::Chunk(receiving, Chunk { size, last, .. }) = &mut self.state else {
            return None;
        };
        let (size, last) = (*size, *last);
        let (verdict, recipients) = (receiving.verdict(&self.settings), receiving.recipients());
        let told = std::mem::replace(&mut receiving.told, verdict.is_some());
        if last && verdict.is_none() {
            return self.commit();
        }
        if let State::Chunk(receiving, _) = std::mem::replace(&mut self.state, State::Idle)
            && !last
        {
            self.state = State::Chunks(receiving);
        }
        match verdict {
            None => reply::CHUNK.fill(&[Digits::of(size).as_bytes()], out),
            // What came of the message was said already.
            Some(_) if told && !last => return self.refuse(reply::MESSAGE_FAILED, out),
            Some(_) if told => {
                if self.is_borne(out) {
                    return self.conclude(reply::MESSAGE_FAILED, "", recipients, out);
                }
            }
            Some(verdict) if last => return self.conclude(verdict, "", recipients, out),
            Some(verdict) => self.fail(verdict, out),
        }
        None
    }

    /// A BDAT that is refused.
    pub(super) fn skip_octets<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Outbox,
    ) -> Option<Next<'a>> {
        let State::Skip { left, silent, then } = &mut self.state else { return None };
        let octets = split_front(input, *left);
        *left -= u64::try_from(octets.len()).unwrap_or(u64::MAX).min(*left);
        if *left > 0 {
            return Some(Next::Receive);
        }
        let silent = *silent;
        self.state = match std::mem::replace(then, Then::Idle) {
            Then::Idle => State::Idle,
            Then::Mail(transaction) => State::Mail(transaction),
            Then::Chunks(receiving) => State::Chunks(receiving),
        };
        if silent {
            // It counts as an error all the same.
            self.is_borne(out);
            return None;
        }
        let answer = self.order(Verb::Bdat).err().unwrap_or(reply::CHUNK_SYNTAX);
        self.refuse(answer, out)
    }

    /// The message is whole.
    fn commit(&mut self) -> Option<Next<'static>> {
        let (State::Data(receiving) | State::Chunk(receiving, _)) =
            std::mem::replace(&mut self.state, State::Idle)
        else {
            return None;
        };
        self.asked = Some(Asked::Commit(receiving.recipients()));
        let lacks = if self.submits() { receiving.fields.lacks() } else { Lacks::default() };
        Some(Next::Commit(receiving.envelope, lacks))
    }

    /// The reply to a chunk of a message that is refused. It is no error of the dialogue.
    fn fail(&mut self, answer: Reply, out: &mut Outbox) {
        if answer.code() == 421 {
            self.close(answer, out);
        } else {
            answer.send(out);
        }
    }
}

/// Takes at most `most` octets from the front.
fn split_front<'a>(input: &mut &'a [u8], most: u64) -> &'a [u8] {
    let whole = *input;
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(whole.len());
    let (front, rest) = whole.split_at(length);
    *input = rest;
    front
}
