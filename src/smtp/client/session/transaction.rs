//! smtp::client::session::transaction – one message: MAIL, RCPT, DATA or BDAT, and what comes of each recipient.
//!
//! With PIPELINING commands go ahead of their replies, as many as `limits::SMTP_CLIENT_WINDOW_BYTES_MAX` has
//! room for; without it each waits for the reply to the one before. BDAT is used for what DATA cannot
//! carry, that is with BODY=BINARYMIME: the message goes as it is. In all else what is bare of CR and LF is
//! mended on its way (`wire::stuff`).
//!
//! Promises: a recipient is delivered only by the reply to the end of the message; a message whose end
//! was sent, and whose reply did not come, is in doubt, and nothing else is.
//! Not here: 421, and connections that break (`session`).

use std::collections::VecDeque;

use super::super::commands::{self, Body, Plan};
use super::super::offers::Offers;
use super::super::outcome::{self, Outcome, Status};
use super::super::replies::Heard;
use super::super::step::{Mail, Next, Wait};
use super::super::survey::Survey;
use super::{Session, State};
use crate::limits::SMTP_CLIENT_WINDOW_BYTES_MAX;
use crate::smtp::address::{Mailbox, Recipient};
use crate::smtp::envelope::BodyType;
use crate::wire::outbox::Outbox;
use crate::wire::stuff::Encoder;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    lmtp: bool,
    plan: Plan,
    standings: Vec<Standing>,
    phase: Phase,
    /// What is to be said next.
    stage: Stage,
    /// Commands whose replies are to come, with their octets.
    awaited: VecDeque<(Sent, usize)>,
    /// Those octets.
    unanswered: usize,
    /// MAIL was accepted.
    accepted: bool,
}

/// How far a recipient is.
#[derive(Debug)]
enum Standing {
    /// Not named yet.
    Open,
    /// RCPT was sent.
    Asked,
    /// RCPT was accepted.
    Taken,
    Settled(Outcome),
}

/// How far the transaction is.
#[derive(Debug)]
enum Phase {
    /// The message must be looked through first.
    Examine,
    /// Commands.
    Envelope,
    /// The message.
    Body(Carry),
    /// The message is whole; this ends it, if it was not said yet.
    Ended(&'static [u8]),
}

/// How the message is sent.
#[derive(Debug)]
enum Carry {
    /// After 354.
    Lines(Encoder),
    /// After BDAT: octets that are to come.
    Chunk(u64),
}

/// The command that is to be said next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reset,
    Mail,
    /// For the first recipient from this one on that is open.
    Rcpt(usize),
    Data,
    None,
}

/// What a reply is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// The end of the message, for all.
    End,
    /// The same, for one (RFC 2033 §4.2).
    EndFor(usize),
}

impl Session {
    pub(super) fn open(&mut self, mail: Mail) {
        let mut transaction = Box::new(Transaction {
            standings: mail.recipients.iter().map(|_| Standing::Open).collect(),
            mail,
            lmtp: self.settings.lmtp,
            plan: Plan { body: Body::Plain, utf8: false },
            phase: Phase::Envelope,
            stage: if self.dirty { Stage::Reset } else { Stage::Mail },
            awaited: VecDeque::new(),
            unanswered: 0,
            accepted: false,
        });
        for standing in transaction.standings.iter_mut().skip(self.recipients_max()) {
            *standing = Standing::Settled(outcome::FULL);
        }
        transaction.weigh(&self.offers, None);
        self.state = State::Mail(transaction);
    }

    /// Says what may be said now.
    pub(super) fn go_on(&mut self, out: &mut Outbox) -> Option<Next> {
        let State::Mail(transaction) = &mut self.state else { return None };
        match &mut transaction.phase {
            Phase::Examine => return Some(Next::Examine),
            Phase::Body(_) => return None,
            Phase::Ended(tail) => out.push(std::mem::take(tail)),
            Phase::Envelope => {
                while let Some(line) = transaction.command(&self.offers) {
                    out.push(line.as_bytes());
                }
            }
        }
        let over = transaction.awaited.is_empty() && !transaction.wants_body();
        over.then(|| self.conclude())
    }

    fn conclude(&mut self) -> Next {
        let State::Mail(transaction) = std::mem::replace(&mut self.state, State::Ready) else {
            return Next::Ready;
        };
        if transaction.stage != Stage::Reset {
            // RFC 5321 §4.1.1.4: the end of the message ends the transaction too, whatever its reply.
            self.dirty = transaction.accepted && !matches!(transaction.phase, Phase::Ended(_));
        }
        self.messages += u64::from(transaction.accepted);
        Next::Done(transaction.abandoned(&outcome::UNFIT))
    }

    pub(super) fn answered(&mut self, heard: &Heard) {
        if let State::Mail(transaction) = &mut self.state
            && let Err(why) = transaction.hear(heard)
        {
            self.fail(why);
        }
    }
}

impl Transaction {
    /// The message was looked through.
    pub(super) fn examined(&mut self, survey: Survey, offers: &Offers) {
        if let Phase::Examine = self.phase {
            self.weigh(offers, Some(survey));
        }
    }

    pub(super) fn wants_body(&self) -> bool {
        matches!(self.phase, Phase::Body(_))
    }

    pub(super) fn timer(&self) -> Wait {
        match (&self.phase, self.awaited.front()) {
            (Phase::Body(_), _) => Wait::Block,
            (_, None) => Wait::Nothing,
            (_, Some((Sent::Reset | Sent::Mail, _))) => Wait::Mail,
            (_, Some((Sent::Rcpt(_), _))) => Wait::Rcpt,
            (_, Some((Sent::Data, _))) => Wait::Data,
            (_, Some((Sent::End | Sent::EndFor(_), _))) => Wait::End,
        }
    }

    // ------------------------------------------------------------ before anything is said

    /// What can be known before anything is said.
    fn weigh(&mut self, offers: &Offers, survey: Option<Survey>) {
        self.phase = Phase::Envelope;
        if offers.size.is_some_and(|most| self.mail.bytes > most) {
            return self.settle(&outcome::TOO_LARGE);
        }
        match self.announce(offers, survey) {
            Err(lacking) => self.settle(&lacking),
            Ok(None) => self.phase = Phase::Examine,
            Ok(Some(plan)) => self.plan = plan,
        }
        if !offers.utf8 {
            for (to, standing) in self.mail.recipients.iter().zip(&mut self.standings) {
                if !is_plain(&to.recipient) && !matches!(standing, Standing::Settled(_)) {
                    *standing = Standing::Settled(outcome::NEEDS_UTF8_ADDRESS);
                }
            }
        }
    }

    /// How the message is to be announced; `None` when it must be looked through for that.
    fn announce(&self, offers: &Offers, survey: Option<Survey>) -> Result<Option<Plan>, Outcome> {
        let body = match (self.mail.body, survey) {
            // Who sent 8-bit octets without a word of it is believed, as who accepted them was.
            (BodyType::SevenBit, _) => Body::Plain,
            (BodyType::EightBitMime, _) if offers.eight_bit => Body::EightBit,
            (BodyType::BinaryMime, _) if offers.binary => Body::Binary,
            (BodyType::EightBitMime | BodyType::BinaryMime, None) => return Ok(None),
            (body, Some(survey)) => {
                if body == BodyType::BinaryMime && survey.is_binary() {
                    return Err(outcome::NEEDS_BINARY);
                }
                match (survey.has_eight_bit(), offers.eight_bit) {
                    (false, _) => Body::Plain,
                    (true, true) => Body::EightBit,
                    (true, false) => return Err(outcome::NEEDS_EIGHT_BIT),
                }
            }
        };
        let utf8 = self.mail.utf8 || !self.addresses_are_ascii();
        if utf8 && !offers.utf8 {
            if !self.mail.sender.as_ref().is_none_or(commands::is_plain) {
                return Err(outcome::NEEDS_UTF8_ADDRESS);
            }
            match survey {
                None if self.mail.utf8 => return Ok(None),
                Some(survey) if self.mail.utf8 && survey.has_eight_bit_header() => {
                    return Err(outcome::NEEDS_UTF8_HEADER);
                }
                None | Some(_) => {}
            }
        }
        Ok(Some(Plan { body, utf8: utf8 && offers.utf8 }))
    }

    fn addresses_are_ascii(&self) -> bool {
        self.mail.sender.as_ref().is_none_or(Mailbox::is_ascii)
            && self.mail.recipients.iter().all(|to| match &to.recipient {
                Recipient::Postmaster => true,
                Recipient::Mailbox(mailbox) => mailbox.is_ascii(),
            })
    }

    // ------------------------------------------------------------ speaking

    /// The next command, if it may go now.
    fn command(&mut self, offers: &Offers) -> Option<String> {
        // RFC 2920 §3.1.
        if !offers.pipelining && !self.awaited.is_empty() {
            return None;
        }
        let (sent, line) = self.upcoming(offers)?;
        let fits = self.unanswered + line.len() <= SMTP_CLIENT_WINDOW_BYTES_MAX;
        if !fits && !self.awaited.is_empty() {
            return None;
        }
        self.stage = match sent {
            Sent::Reset => Stage::Mail,
            Sent::Mail => Stage::Rcpt(0),
            Sent::Rcpt(number) => {
                if let Some(standing) = self.standings.get_mut(number) {
                    *standing = Standing::Asked;
                }
                Stage::Rcpt(number + 1)
            }
            Sent::Data | Sent::End | Sent::EndFor(_) => Stage::None,
        };
        if sent == Sent::End {
            // BDAT: the octets follow at once (RFC 3030 §2), and the reply them.
            self.phase = Phase::Body(Carry::Chunk(self.mail.bytes));
        } else {
            self.awaited.push_back((sent, line.len()));
            self.unanswered += line.len();
        }
        Some(line)
    }

    /// What is to be said next, whether it may go now or not.
    fn upcoming(&mut self, offers: &Offers) -> Option<(Sent, String)> {
        let open = |standing: &Standing| matches!(standing, Standing::Open);
        if let Stage::Rcpt(from) = self.stage
            && !self.standings.iter().skip(from).any(open)
        {
            self.stage = Stage::Data;
        }
        match self.stage {
            Stage::None => None,
            Stage::Reset | Stage::Mail if !self.standings.iter().any(open) => None,
            Stage::Reset => Some((Sent::Reset, commands::RSET.into())),
            Stage::Mail => Some((Sent::Mail, commands::mail(&self.mail, self.plan, offers))),
            Stage::Rcpt(from) => {
                let number = from + self.standings.iter().skip(from).position(open)?;
                let to = self.mail.recipients.get(number)?;
                Some((Sent::Rcpt(number), commands::rcpt(to, offers)))
            }
            Stage::Data => {
                let hope = |one: &Standing| matches!(one, Standing::Asked | Standing::Taken);
                if !self.standings.iter().any(hope) {
                    return None;
                }
                match self.plan.body {
                    Body::Plain | Body::EightBit => Some((Sent::Data, commands::DATA.into())),
                    // All replies come before it (RFC 3030 §2): its octets cannot be taken back.
                    Body::Binary if !self.awaited.is_empty() => None,
                    Body::Binary => Some((Sent::End, commands::bdat(self.mail.bytes))),
                }
            }
        }
    }

    /// The next run of the message.
    pub(super) fn body<'a>(&mut self, octets: &mut &'a [u8]) -> Option<&'a [u8]> {
        match &mut self.phase {
            Phase::Body(Carry::Lines(encoder)) => encoder.next(octets),
            Phase::Body(Carry::Chunk(left)) => {
                let whole = std::mem::take(octets);
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(whole.len());
                *left -= u64::try_from(length).unwrap_or(u64::MAX).min(*left);
                whole.get(..length).filter(|run| !run.is_empty())
            }
            Phase::Examine | Phase::Envelope | Phase::Ended(_) => {
                *octets = &[];
                None
            }
        }
    }

    /// The message is whole.
    pub(super) fn end_body(&mut self) -> Result<(), Outcome> {
        let tail = match &mut self.phase {
            Phase::Body(Carry::Lines(encoder)) => encoder.end(),
            Phase::Body(Carry::Chunk(0)) => &[],
            Phase::Body(Carry::Chunk(_)) => return Err(outcome::SHORT),
            Phase::Examine | Phase::Envelope | Phase::Ended(_) => return Ok(()),
        };
        self.phase = Phase::Ended(tail);
        if self.lmtp {
            // RFC 2033 §4.2: one for each that was accepted, in order.
            let taken = self.standings.iter().enumerate();
            let taken = taken.filter(|(_, standing)| matches!(standing, Standing::Taken));
            self.awaited.extend(taken.map(|(number, _)| (Sent::EndFor(number), 0)));
        } else {
            self.awaited.push_back((Sent::End, 0));
        }
        Ok(())
    }

    // ------------------------------------------------------------ hearing

    fn hear(&mut self, heard: &Heard) -> Result<(), Outcome> {
        match &self.phase {
            // The server was quicker than the driver is to say that the message is whole.
            Phase::Body(Carry::Chunk(0)) => self.end_body()?,
            Phase::Body(_) => return Err(self.interrupted(heard)),
            Phase::Examine | Phase::Envelope | Phase::Ended(_) => {}
        }
        let (sent, octets) = self.awaited.pop_front().ok_or(outcome::UNASKED)?;
        self.unanswered = self.unanswered.saturating_sub(octets);
        let class = heard.code / 100;
        match (sent, class) {
            (Sent::Reset, 2) => Ok(()),
            (Sent::Mail, 2) => {
                self.accepted = true;
                Ok(())
            }
            (Sent::Mail, 4 | 5) => {
                self.stage = Stage::None;
                self.settle(&Outcome::of(heard));
                Ok(())
            }
            (Sent::Rcpt(number), 2 | 4 | 5) => {
                self.recipient_answered(number, heard);
                Ok(())
            }
            (Sent::Data, 3) => self.begin_body(),
            (Sent::Data, 4 | 5) => {
                self.settle(&Outcome::of(heard));
                Ok(())
            }
            (Sent::End, 2 | 4 | 5) => {
                self.settle(&Outcome::of(heard));
                Ok(())
            }
            (Sent::EndFor(number), 2 | 4 | 5) => {
                self.settle_one(number, Outcome::of(heard));
                Ok(())
            }
            (Sent::Reset | Sent::Mail | Sent::Rcpt(_) | Sent::Data, _)
            | (Sent::End | Sent::EndFor(_), _) => Err(outcome::UNFIT),
        }
    }

    fn recipient_answered(&mut self, number: usize, heard: &Heard) {
        let Some(standing) = self.standings.get_mut(number) else { return };
        // MAIL was refused meanwhile, and with it everybody.
        if !matches!(standing, Standing::Asked) {
            return;
        }
        let outcome = Outcome::of(heard);
        if heard.code / 100 == 2 {
            *standing = Standing::Taken;
        } else if !is_full(heard.code, outcome.status) {
            *standing = Standing::Settled(outcome);
        } else if !self.has_taken() {
            // It takes none at all: another transaction would fare no better now.
            self.settle_one(number, outcome.deferred());
        } else {
            // RFC 5321 §4.5.3.1.10: these go now, the others in the next transaction.
            for standing in self.standings.iter_mut().skip(number) {
                if matches!(standing, Standing::Open) {
                    *standing = Standing::Settled(outcome::FULL);
                }
            }
            self.settle_one(number, outcome::FULL);
        }
    }

    /// 354.
    fn begin_body(&mut self) -> Result<(), Outcome> {
        if self.has_taken() {
            self.phase = Phase::Body(Carry::Lines(Encoder::new()));
            return Ok(());
        }
        // RFC 2920 §3.1: it was sent before it was known that there is nobody; an empty message goes to
        // nobody. What LMTP answers to that is not defined, and without MAIL the server is out of step.
        if self.lmtp || !self.accepted {
            return Err(outcome::UNFIT);
        }
        self.phase = Phase::Body(Carry::Lines(Encoder::new()));
        self.end_body()
    }

    /// A reply before the message is whole. There is none in the standards but 421; servers that give up
    /// midway send one, and close.
    fn interrupted(&mut self, heard: &Heard) -> Outcome {
        if heard.code < 400 {
            return outcome::TOO_EARLY;
        }
        let outcome = Outcome::of(heard);
        let later = outcome.clone().deferred();
        // Of several recipients it is not said which is meant.
        self.settle(if self.lmtp { &later } else { &outcome });
        later
    }

    /// 421: to whom it is said. The others have no answer.
    pub(super) fn closes(&mut self, outcome: &Outcome) {
        match (&self.phase, self.awaited.front()) {
            (Phase::Ended(_), Some((Sent::EndFor(number), _))) => {
                let number = *number;
                self.settle_one(number, outcome.clone());
            }
            _ => self.settle(outcome),
        }
    }

    fn has_taken(&self) -> bool {
        self.standings.iter().any(|standing| matches!(standing, Standing::Taken))
    }

    /// Everybody who is not settled gets this.
    fn settle(&mut self, outcome: &Outcome) {
        for standing in &mut self.standings {
            if !matches!(standing, Standing::Settled(_)) {
                *standing = Standing::Settled(outcome.clone());
            }
        }
    }

    fn settle_one(&mut self, number: usize, outcome: Outcome) {
        if let Some(standing) = self.standings.get_mut(number) {
            *standing = Standing::Settled(outcome);
        }
    }

    /// It is over: what became of everybody; of those of whom nothing did, for this reason.
    pub(super) fn abandoned(self, why: &Outcome) -> Vec<Outcome> {
        let ended = matches!(self.phase, Phase::Ended(_) | Phase::Body(Carry::Chunk(0)));
        let outcome = |standing| match standing {
            Standing::Settled(outcome) => outcome,
            Standing::Taken => Outcome { in_doubt: ended, ..why.clone() },
            Standing::Open | Standing::Asked => why.clone(),
        };
        self.standings.into_iter().map(outcome).collect()
    }
}

/// Is it that there are too many recipients? 452, or 552 (RFC 5321 §4.5.3.1.10), unless its enhanced code says
/// that it is something else, like a full mailbox.
fn is_full(code: u16, status: Status) -> bool {
    matches!(code, 452 | 552) && matches!(status, Status(_, 5, 3) | Status(_, 0, 0))
}

fn is_plain(recipient: &Recipient) -> bool {
    match recipient {
        Recipient::Postmaster => true,
        Recipient::Mailbox(mailbox) => commands::is_plain(mailbox),
    }
}
