//! server::milter – the milters of one SMTP session: asked one after the other, each seeing what those before
//! it changed.
//!
//! ```text
//!  MAIL ─▶ connect, negotiation, CONNECT, HELO when they are new ─▶ MAIL ─▶ refused, or on
//!  RCPT ─▶ RCPT ─▶ this recipient refused, or on
//!  end of the message ─▶ DATA, header, body (from the draft, a portion at a time), end ─▶ Settled: commit
//! ```
//! Who connects and sends nothing costs no milter anything: what it is told of a connection it is told with the
//! first MAIL. A message that is reset is aborted with the next MAIL, or with the connection.
//!
//! Promises: no answer waits longer than the configuration says; a milter that fails, whatever it does, leaves
//! message and envelope as they were, has one line in the log, and its policy decides; memory is bounded,
//! however large the message.
//! Not here: one connection (`talk`), the message that is changed (`letter`), the protocol (`crate::milter`).

mod facts;
mod letter;
mod talk;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use facts::Facts;
pub(super) use facts::Who;
use letter::Letter;
pub(super) use letter::Settled;
use talk::{Broken, Patience, Talk};

use super::ingress::Ingress;
use super::inlet::Ends;
use super::sockets::Service;
use crate::config::{self, OnFailure};
use crate::limits::MILTER_MESSAGE_SECONDS_MAX;
use crate::metrics::mail::Milter as How;
use crate::milter::agreement::protocol;
use crate::milter::dialogue::{Answer, Command};
use crate::shard::{self, Instant};
use crate::smtp::address::Recipient;
use crate::smtp::envelope::Envelope;
use crate::smtp::header::Lacks;
use crate::smtp::reply::Words;
use crate::smtp::step::{self, Fault};
use crate::store::spool::Draft;

/// What they are asked about before there is a message.
pub(super) enum About {
    /// MAIL, with its `SIZE=`.
    Sender(Option<u64>),
    /// RCPT.
    Recipient(Recipient),
}

/// Those of one session.
pub(super) struct Milters {
    ingress: Rc<Ingress>,
    filters: Vec<Filter>,
    facts: Facts,
    /// One of them wants the message under way to be thrown away.
    discard: bool,
}

/// One of them.
struct Filter {
    rule: config::Milter,
    talk: Option<Talk>,
    stand: Stand,
    /// What it said of the whole connection.
    whole: Option<Whole>,
}

/// What it has to do with the message under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Asked,
    /// It has accepted it, it is not for it, or it failed and that does not matter.
    Passed,
    /// It failed, and that does.
    Failed,
}

enum Whole {
    Accepted,
    Refused(step::Answer),
}

impl Milters {
    /// None where none is configured.
    pub(super) fn new(
        ingress: &Rc<Ingress>,
        configured: &[config::Milter],
        ends: Ends,
        service: Service,
    ) -> Option<Box<Self>> {
        if configured.is_empty() {
            return None;
        }
        let filter = |rule: &config::Milter| Filter {
            rule: rule.clone(),
            talk: None,
            stand: Stand::Passed,
            whole: None,
        };
        Some(Box::new(Self {
            ingress: Rc::clone(ingress),
            filters: configured.iter().map(filter).collect(),
            facts: Facts::new(ends, service),
            discard: false,
        }))
    }

    /// Before the message. An answer when it, or this recipient, is refused.
    pub(super) async fn ask(&mut self, who: &Who<'_>, about: About) -> Option<step::Answer> {
        match about {
            About::Sender(declared) => self.mail(who, declared).await,
            About::Recipient(recipient) => self.rcpt(who, &recipient).await,
        }
    }

    async fn mail(&mut self, who: &Who<'_>, declared: Option<u64>) -> Option<step::Answer> {
        self.discard = false;
        let parameters = facts::of_sender(who, declared);
        self.facts.begin(&self.ingress, who);
        for filter in &mut self.filters {
            filter.begin(who.user.is_some());
        }
        for filter in &mut self.filters {
            let due = Patience::of(&filter.rule);
            let sender = (who, parameters.as_slice());
            let answer = Box::pin(filter.mail(&self.ingress, &self.facts, sender, due)).await;
            let settled = filter.settle(&self.ingress, answer, &mut self.discard);
            if settled.is_some() || self.discard {
                return settled;
            }
        }
        None
    }

    async fn rcpt(&mut self, who: &Who<'_>, recipient: &Recipient) -> Option<step::Answer> {
        self.facts.recipient(recipient);
        let parameters = facts::of_recipient(who.envelope);
        let address = recipient.to_string();
        for filter in &mut self.filters {
            if self.discard {
                break;
            }
            let due = Patience::of(&filter.rule);
            let command = Command::Rcpt(&address, &parameters);
            let answer = filter.ask(&self.ingress, &self.facts, command, due).await;
            let settled = filter.settle(&self.ingress, answer, &mut self.discard);
            if settled.is_some() {
                return settled;
            }
        }
        None
    }

    /// The message is whole, and nobody was promised anything yet.
    ///
    /// # Errors
    /// The answer when it is refused.
    pub(super) async fn message(
        &mut self,
        mut draft: Draft,
        envelope: &mut Envelope,
        lacks: Lacks,
    ) -> Result<(Draft, Settled), step::Answer> {
        if self.filters.iter().any(|filter| filter.stand == Stand::Failed) {
            return Err(UNFILTERED);
        }
        let asked = self.filters.iter().any(|filter| filter.stand == Stand::Asked);
        if self.discard || !asked {
            let discard = std::mem::take(&mut self.discard);
            return Ok((draft, Settled { lacks, discard, ..Settled::default() }));
        }
        self.facts.message(draft.name());
        let mut letter = Letter::open(&self.ingress, draft, lacks).await?;
        let begun = shard::now();
        let limit = begun.after(Duration::from_secs(MILTER_MESSAGE_SECONDS_MAX));
        for filter in &mut self.filters {
            if filter.stand != Stand::Asked {
                continue;
            }
            let due = Patience::of_message(&filter.rule, limit);
            let judged = filter.judge(&self.ingress, &self.facts, (&mut letter, envelope), due);
            let judged = Box::pin(judged).await;
            let settled = filter.settle(&self.ingress, judged, &mut letter.settled.discard);
            if let Some(refused) = settled {
                return Err(refused);
            }
            if letter.settled.discard {
                break;
            }
        }
        letter.close().await
    }

    /// The session is over, or another client speaks from now on.
    pub(super) fn farewell(&mut self) {
        for filter in &mut self.filters {
            (filter.stand, filter.whole) = (Stand::Passed, None);
            filter.leave();
        }
    }

    /// Another client speaks.
    pub(super) fn speak_for(&mut self, peer: SocketAddr) {
        self.farewell();
        self.facts.speak_for(peer);
    }
}

const UNFILTERED: step::Answer = step::Answer::Refused(Fault::Unfiltered);

impl Filter {
    /// Another message.
    fn begin(&mut self, authenticated: bool) {
        let wanted = self.rule.authenticated.is_none_or(|wanted| wanted == authenticated);
        self.stand = if wanted { Stand::Asked } else { Stand::Passed };
    }

    /// What it is told up to MAIL; on a connection that it may have closed meanwhile, twice.
    async fn mail(
        &mut self,
        ingress: &Rc<Ingress>,
        facts: &Facts,
        sender: (&Who<'_>, &[String]),
        patience: Patience,
    ) -> Result<Answer, Broken> {
        if self.stand == Stand::Passed || self.whole.is_some() {
            return Ok(Answer::Continue);
        }
        let kept = self.talk.is_some();
        match self.introduce(ingress, facts, sender, patience).await {
            Err(Broken::Gone(..)) if kept => {
                self.talk = None;
                self.introduce(ingress, facts, sender, patience).await
            }
            done => done,
        }
    }

    async fn introduce(
        &mut self,
        ingress: &Rc<Ingress>,
        facts: &Facts,
        (who, parameters): (&Who<'_>, &[String]),
        patience: Patience,
    ) -> Result<Answer, Broken> {
        let talk = match &mut self.talk {
            Some(talk) => talk,
            None => {
                let opened = Talk::open(ingress, &self.rule.address, patience).await?;
                let talk = self.talk.insert(opened);
                let answer = talk.ask(ingress, facts.connect(), &facts.macros, patience).await?;
                match step_of(answer) {
                    Over::On => {}
                    Over::Refused(refusal) => self.whole = Some(Whole::Refused(refusal)),
                    Over::Accepted | Over::Discarded => self.whole = Some(Whole::Accepted),
                }
                talk
            }
        };
        if self.whole.is_some() {
            self.leave();
            return Ok(Answer::Continue);
        }
        talk.abort();
        if talk.helo.as_ref() != Some(&facts.helo) {
            talk.helo = None;
            let command = Command::Helo(&facts.helo.0);
            let answer = talk.ask(ingress, command, &facts.macros, patience).await?;
            if answer != Answer::Continue {
                return Ok(answer);
            }
            talk.helo = Some(facts.helo.clone());
        }
        let sender = who.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let command = Command::Mail(&sender, parameters);
        talk.ask(ingress, command, &facts.macros, patience).await
    }

    async fn ask(
        &mut self,
        ingress: &Rc<Ingress>,
        facts: &Facts,
        command: Command<'_>,
        patience: Patience,
    ) -> Result<Answer, Broken> {
        match (&mut self.talk, self.stand) {
            (Some(talk), Stand::Asked) => talk.ask(ingress, command, &facts.macros, patience).await,
            _ => Ok(Answer::Continue),
        }
    }

    /// From DATA to the end of the message. What it changes is in letter and envelope when the answer is good.
    async fn judge(
        &mut self,
        ingress: &Rc<Ingress>,
        facts: &Facts,
        (letter, envelope): (&mut Letter, &mut Envelope),
        patience: Patience,
    ) -> Result<Answer, Broken> {
        let Some(talk) = &mut self.talk else { return Ok(Answer::Continue) };
        let macros = &facts.macros;
        let mut answer = talk.ask(ingress, Command::Data, macros, patience).await?;
        if !talk.agreed().has(protocol::NO_HEADER) {
            let mut number = 0;
            while answer == Answer::Continue
                && let Some((name, value)) = letter.header.field(number)
            {
                let command = Command::Header(&name, &value);
                answer = talk.ask(ingress, command, macros, patience).await?;
                number += 1;
            }
        }
        if answer == Answer::Continue {
            answer = talk.ask(ingress, Command::EndOfHeader, macros, patience).await?;
        }
        let mut at = 0;
        while answer == Answer::Continue
            && !talk.agreed().has(protocol::NO_BODY)
            && at < letter.body_bytes()
        {
            let portion = letter.read_body(at).await.map_err(Broken::Spool)?;
            at += u64::try_from(portion.len()).unwrap_or(u64::MAX);
            answer = talk.ask(ingress, Command::Body(&portion), macros, patience).await?;
        }
        if !matches!(answer, Answer::Continue | Answer::Skip) {
            return Ok(answer);
        }
        let (answer, body) = talk.ask_end(ingress, macros, patience).await?;
        if matches!(answer, Answer::Continue | Answer::Accept) {
            let exact = talk.agreed().has(protocol::LEADING_SPACE);
            let changed = letter.apply(talk.take_edits(), body, exact, (ingress, envelope))?;
            let how = match changed {
                letter::Changed::Nothing => How::Passed,
                letter::Changed::Something => How::Changed,
                letter::Changed::Held => How::Quarantined,
            };
            ingress.local.counters().mail.milter(how);
        }
        Ok(answer)
    }

    /// What becomes of the message, or of this recipient: refused, or `None`.
    fn settle(
        &mut self,
        ingress: &Ingress,
        answer: Result<Answer, Broken>,
        discard: &mut bool,
    ) -> Option<step::Answer> {
        let mail = &ingress.local.counters().mail;
        let refused = match answer {
            Err(broken) => return self.failed(ingress, &broken),
            _ if self.stand == Stand::Failed => Some(UNFILTERED),
            Ok(answer) => match (step_of(answer), &self.whole) {
                (_, Some(Whole::Refused(refusal))) => Some(refusal.clone()),
                (_, Some(Whole::Accepted)) | (Over::Accepted, _) => {
                    self.stand = Stand::Passed;
                    None
                }
                (Over::On, _) => None,
                (Over::Discarded, _) => {
                    mail.milter(How::Discarded);
                    *discard = true;
                    None
                }
                (Over::Refused(refusal), _) => Some(refusal),
            },
        };
        if refused.is_some() {
            mail.milter(How::Refused);
        }
        refused
    }

    fn failed(&mut self, ingress: &Ingress, broken: &Broken) -> Option<step::Answer> {
        self.talk = None;
        let counters = ingress.local.counters();
        counters.mail.milter(How::Failed);
        // The server goes down: nobody is to blame, and the client is to come again.
        if matches!(broken, Broken::Stopping) {
            return Some(step::Answer::Refused(Fault::ShuttingDown));
        }
        let (milter, why) = (&self.rule.address, broken.text());
        let accept = self.rule.on_failure == OnFailure::Accept;
        let then = if accept { "goes on without it" } else { "refused for now" };
        tracing::warn!(%milter, %why, then, "a milter failed");
        self.stand = if accept { Stand::Passed } else { Stand::Failed };
        (!accept).then_some(UNFILTERED)
    }

    /// Says goodbye, in a task of its own.
    fn leave(&mut self) {
        if let Some(talk) = self.talk.take() {
            shard::spawn("milter farewell", talk.quit());
        }
    }
}

/// What an answer comes to.
enum Over {
    On,
    Accepted,
    Discarded,
    Refused(step::Answer),
}

fn step_of(answer: Answer) -> Over {
    Over::Refused(match answer {
        Answer::Continue | Answer::Skip => return Over::On,
        Answer::Accept => return Over::Accepted,
        Answer::Discard => return Over::Discarded,
        Answer::Reject => step::Answer::Refused(Fault::Filtered),
        Answer::Tempfail => UNFILTERED,
        Answer::Shutdown => step::Answer::Refused(Fault::Dismissed),
        Answer::Words(words) => match Words::new(words.code, words.status, words.lines) {
            Some(words) => step::Answer::Said(Box::new(words)),
            None => step::Answer::Refused(Fault::Filtered),
        },
    })
}

impl Patience {
    fn of(rule: &config::Milter) -> Self {
        let limit = shard::now().after(seconds(rule.message_seconds));
        Self { each: seconds(rule.timeout_seconds), limit }
    }

    /// Together with the others.
    fn of_message(rule: &config::Milter, limit: Instant) -> Self {
        let own = Self::of(rule);
        Self { limit: own.limit.min(limit), ..own }
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
