//! mail::schedule::destination – one destination: what waits for it, and how it answered.
//!
//! Promises: a message is in one of: waiting for its time, in the lane of its sender, given out.
//! Not here: which destination comes next (`schedule`).
#![allow(
    clippy::disallowed_types,
    reason = "names are shared with who shows them; no order is ever taken from a map"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Limits, Turn, WINDOW_FIRST, accepted, time};

/// Milliseconds that messages in a minute share.
const MINUTE_MILLIS: i64 = 60_000;

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) name: Arc<str>,
    pub(super) limits: Limits,
    /// When, from whom, which.
    pub(super) waiting: BTreeSet<(u32, u32, u64)>,
    /// Those that are due, by sender.
    lanes: BTreeMap<u32, VecDeque<u64>>,
    pub(super) ready: u64,
    /// The lane that was served last.
    lane: u32,
    /// Given out.
    pub(super) running: u64,
    /// Connections.
    pub(super) open: u32,
    /// Connections that it seems to stand.
    window: u32,
    /// Times in a row that it could not be reached.
    pub(super) failures: u32,
    /// Left alone until then.
    pub(super) closed_until: u32,
    /// What was wrong last.
    pub(super) error: Option<Arc<str>>,
    /// Its last answer was quick.
    pub(super) proven: bool,
    /// When the next message may go by the limit per minute, milliseconds.
    allowed: i64,
    /// None has a smaller name.
    oldest: u64,
    pub(super) turn: u64,
    /// Where it stands in line, and which.
    pub(super) stands: Option<(usize, Turn)>,
    /// When it is looked at.
    pub(super) wake: Option<u32>,
}

impl Destination {
    pub(super) fn new(name: Arc<str>, limits: Limits) -> Self {
        Self {
            name,
            limits,
            waiting: BTreeSet::new(),
            lanes: BTreeMap::new(),
            ready: 0,
            lane: 0,
            running: 0,
            open: 0,
            window: WINDOW_FIRST,
            failures: 0,
            closed_until: 0,
            error: None,
            proven: false,
            allowed: 0,
            oldest: u64::MAX,
            turn: 0,
            stands: None,
            wake: None,
        }
    }

    pub(super) fn add(&mut self, id: u64, sender: u32, due: u32) {
        self.oldest = self.oldest.min(id);
        self.waiting.insert((due, sender, id));
    }

    /// What is due goes to the lane of its sender.
    pub(super) fn advance(&mut self, now: u32) {
        while let Some((due, sender, id)) = self.waiting.first().copied() {
            if due > now {
                return;
            }
            self.waiting.pop_first();
            self.lanes.entry(sender).or_default().push_back(id);
            self.ready += 1;
        }
    }

    /// The next message of the next sender.
    pub(super) fn take(&mut self, now: i64) -> Option<(u32, u64)> {
        let behind = self.lane.checked_add(1).and_then(|from| self.lanes.range(from..).next());
        let sender = *behind.or_else(|| self.lanes.iter().next())?.0;
        let lane = self.lanes.get_mut(&sender)?;
        let id = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&sender);
        }
        self.lane = sender;
        self.ready -= 1;
        self.running += 1;
        if self.limits.per_minute > 0 {
            let most = i64::from(self.limits.per_minute);
            let apart = (MINUTE_MILLIS + most - 1) / most;
            self.allowed = self.allowed.max(now.saturating_mul(1000)).saturating_add(apart);
        }
        Some((sender, id))
    }

    pub(super) fn connections_max(&self) -> u32 {
        self.window.min(self.limits.connections.max(1))
    }

    /// Is it let alone neither for failures nor by its limit per minute?
    pub(super) fn may_send(&self, now: i64) -> bool {
        // A second is one moment here: what may go at its end goes in it.
        let in_time = self.allowed < now.saturating_add(1).saturating_mul(1000);
        self.closed_until <= time(now) && (in_time || self.limits.per_minute == 0)
    }

    /// Would another connection be of use, and may there be one?
    pub(super) fn is_in_want(&self, now: i64) -> bool {
        self.ready > 0 && self.open < self.connections_max() && self.may_send(now)
    }

    /// When something changes by itself.
    pub(super) fn next_time(&self, now: i64) -> Option<u32> {
        if self.closed_until > time(now) {
            return Some(self.closed_until);
        }
        let slowed = (!self.may_send(now)).then(|| time(self.allowed / 1000));
        let due = self.waiting.first().map(|(due, _, _)| *due);
        slowed.into_iter().chain(due).min()
    }

    /// Nothing is left of it, nor is anything to be remembered.
    pub(super) fn is_over(&self, now: i64) -> bool {
        let left = self.ready + self.running > 0 || !self.waiting.is_empty() || self.open > 0;
        !left && self.may_send(now)
    }

    /// It took or refused a message: it may have one more connection.
    pub(super) fn answered(&mut self) {
        self.reached();
        self.window = self.window.saturating_add(1).min(self.limits.connections.max(1));
    }

    /// There is somebody.
    pub(super) fn reached(&mut self) {
        self.failures = 0;
        self.closed_until = 0;
    }

    /// A connection failed. Others that are open tell whether it does not stand as many, or is not there at
    /// all. Says whether it is left alone from now on.
    pub(super) fn failed(&mut self, reason: &str, now: u32, until: u32) -> bool {
        self.error = Some(Arc::from(reason));
        self.window = self.open.max(1).min(self.window);
        if self.open > 0 || self.closed_until > now {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.closed_until = until;
        true
    }

    /// Takes out the messages accepted at that time or before.
    pub(super) fn older_than(&mut self, before: i64) -> Vec<u64> {
        let old = |id: u64| accepted(id) <= before;
        if !old(self.oldest) {
            return Vec::new();
        }
        let ids: Vec<u64> = self.ids().filter(|id| old(*id)).collect();
        self.retain(&|id| !old(id));
        self.oldest = self.ids().min().unwrap_or(u64::MAX);
        ids
    }

    /// Messages that are not given out.
    fn ids(&self) -> impl Iterator<Item = u64> {
        let waiting = self.waiting.iter().map(|(_, _, id)| *id);
        waiting.chain(self.lanes.values().flatten().copied())
    }

    pub(super) fn retain(&mut self, keep: &impl Fn(u64) -> bool) {
        self.waiting.retain(|(_, _, id)| keep(*id));
        for lane in self.lanes.values_mut() {
            lane.retain(|id| keep(*id));
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        self.ready = self.lanes.values().map(|lane| lane.len() as u64).sum();
    }

    pub(super) fn hasten(&mut self, now: u32, which: &impl Fn(u64) -> bool) {
        let mut any = self.lanes.values().flatten().any(|id| which(*id));
        let all = std::mem::take(&mut self.waiting);
        for (due, sender, id) in all {
            let meant = which(id);
            any |= meant;
            self.waiting.insert((if meant { due.min(now) } else { due }, sender, id));
        }
        if any {
            self.closed_until = 0;
        }
    }
}
