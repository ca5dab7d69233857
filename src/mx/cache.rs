//! mx::cache – answers for as long as they may be kept.
//!
//! Promises: no more than [`DNS_CACHE_ENTRIES_MAX`] answers and [`DNS_CACHE_BYTES_MAX`] octets, whatever
//! strangers answer; nothing is kept longer than [`DNS_TTL_SECONDS_MAX`], nothing negative longer than
//! [`DNS_NEGATIVE_SECONDS_MAX`], no failure longer than [`DNS_FAILURE_SECONDS`] (RFC 9520 §3.2 wants it
//! kept a little); an answer of no life at all is kept [`DNS_TTL_SECONDS_MIN`], so that many messages for
//! one domain are one question. What expires first goes first.
//! Not here: the clock (`now` counts seconds from anywhere, forwards), questions under way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Answer, Found, Question};
use crate::limits::{
    DNS_CACHE_BYTES_MAX, DNS_CACHE_ENTRIES_MAX, DNS_FAILURE_SECONDS, DNS_NEGATIVE_SECONDS_MAX,
    DNS_TTL_SECONDS_MAX, DNS_TTL_SECONDS_MIN,
};

/// What an entry costs beside names and addresses: nodes of two trees, counters, vectors.
const ENTRY_BYTES: usize = 256;

/// Answers for as long as they may be kept.
#[derive(Debug, Default)]
pub struct Cache {
    entries: BTreeMap<Rc<Question>, Entry>,
    /// Which of them ends when.
    ends: BTreeSet<(u64, Rc<Question>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Rc<Answer>,
    ends: u64,
    bytes: usize,
}

impl Cache {
    /// An answer that may still be used; its `ttl_seconds` is what is left.
    pub fn get(&self, question: &Question, now: u64) -> Option<Rc<Answer>> {
        let entry = self.entries.get(question)?;
        let left = entry.ends.checked_sub(now).filter(|left| *left > 0)?;
        let mut answer = Rc::clone(&entry.answer);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        if left < answer.ttl_seconds && answer.is_small() {
            Rc::make_mut(&mut answer).ttl_seconds = left;
        }
        Some(answer)
    }

    /// Keeps an answer, if it is worth it.
    pub fn put(&mut self, question: &Question, answer: &Rc<Answer>, now: u64) {
        self.remove(question);
        while let Some((_, question)) = self.ends.first().filter(|(ends, _)| *ends <= now).cloned()
        {
            self.remove(&question);
        }
        let bytes = weight(question, answer);
        // One that would push out a good part of the others is not kept at all.
        if bytes > DNS_CACHE_BYTES_MAX / 16 {
            return;
        }
        let ends = now.saturating_add(u64::from(life(answer)));
        let question = Rc::new(question.clone());
        self.ends.insert((ends, Rc::clone(&question)));
        self.entries.insert(question, Entry { answer: Rc::clone(answer), ends, bytes });
        self.bytes += bytes;
        while self.bytes > DNS_CACHE_BYTES_MAX || self.entries.len() > DNS_CACHE_ENTRIES_MAX {
            let Some((_, first)) = self.ends.first().cloned() else { return };
            self.remove(&first);
        }
    }

    /// Forgets everything: other resolvers may say otherwise.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Answers that are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is nothing kept?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What they weigh, octets.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, question: &Question) {
        if let Some((question, entry)) = self.entries.remove_entry(question) {
            self.bytes -= entry.bytes;
            self.ends.remove(&(entry.ends, question));
        }
    }
}

impl Answer {
    /// Cheap to copy, as nearly all are.
    fn is_small(&self) -> bool {
        match &self.found {
            Found::Exchanges(exchanges) => exchanges.len() <= 16,
            Found::Addresses(addresses) => addresses.len() <= 64,
            Found::Nothing | Found::NoName | Found::Trouble(_) => true,
        }
    }
}

/// How long an answer is kept, seconds.
fn life(answer: &Answer) -> u32 {
    match answer.found {
        Found::Exchanges(_) | Found::Addresses(_) => {
            answer.ttl_seconds.clamp(DNS_TTL_SECONDS_MIN, DNS_TTL_SECONDS_MAX)
        }
        Found::Nothing | Found::NoName => {
            answer.ttl_seconds.clamp(DNS_TTL_SECONDS_MIN, DNS_NEGATIVE_SECONDS_MAX)
        }
        Found::Trouble(_) => DNS_FAILURE_SECONDS,
    }
}

/// What an entry costs, octets.
fn weight(question: &Question, answer: &Answer) -> usize {
    let content = match &answer.found {
        Found::Exchanges(exchanges) => exchanges.iter().map(|one| one.name.len() + 32).sum(),
        Found::Addresses(addresses) => addresses.len() * 17,
        Found::Nothing | Found::NoName | Found::Trouble(_) => 0,
    };
    ENTRY_BYTES + question.name.len() + content
}
