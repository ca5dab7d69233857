//! mail::schedule – which message goes to which other server next, of one shard.
//!
//! ```text
//!  add ─▶ waiting (by time) ─ due ─▶ lanes, one per sender ─▶ next: a connection for its first message
//!            ▲                                                 next_for: another message on it
//!            └────────── done: again ◀────────────────────────────┘      close: the connection is gone
//! ```
//! A destination that cannot be reached is left alone for a while that grows; then one connection tries
//! it with one message. Nothing else waits for it: destinations take turns, those with the fewest connections
//! first, and those that have not shown yet that they answer quickly get half of all connections at most.
//!
//! Promises: no message is given out twice at a time, none before its time; limits on connections and
//! messages hold; senders take turns within a destination; a message waiting costs some thirty octets.
//! Not here: clocks (times are handed in, seconds since 1970), what a message is.
#![allow(
    clippy::disallowed_types,
    reason = "names are shared with who shows them; no order is ever taken from a map"
)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

mod destination;
mod figures;

use destination::Destination;
pub use figures::Figure;

/// Connections that a destination gets before it answered the first time.
const WINDOW_FIRST: u32 = 2;
/// A message that takes longer makes its destination a slow one.
const SLOW_SECONDS: i64 = 10;
/// Messages a connection carries before it makes room for a destination that waits with fewer.
const TURN_MESSAGES: u32 = 5;

/// What the operator chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Seconds to the second attempt.
    pub retry_first_seconds: u32,
    /// Seconds from there to the third; twice as long each time.
    pub retry_seconds: u32,
    /// Seconds between two attempts at most, a quarter more by chance.
    pub retry_seconds_max: u32,
    /// Seconds after which a message is given up.
    pub give_up_seconds: u32,
    /// Connections of this shard.
    pub connections_max: u32,
    /// All chance comes from it.
    pub seed: u64,
}

/// What one destination is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, one at the least.
    pub connections: u32,
    /// Messages of one connection; 0 = no limit.
    pub per_connection: u32,
    /// Messages in any sixty seconds; 0 = no limit.
    pub per_minute: u32,
}

/// A destination, for as long as it has messages or connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

/// A message to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Where to.
    pub place: Place,
    /// Its name.
    pub id: u64,
    /// As given to [`Schedule::add`].
    pub sender: u32,
    /// When it was given out.
    pub begun: i64,
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The destination took or refused it for good.
    Over,
    /// It comes back then.
    Again(i64),
    /// It is over, which says nothing about the destination: nothing was to be done, or it is given up.
    Nothing,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was of use.
    Fine,
    /// No message came as far as being answered; why.
    Unreachable(String),
    /// None was made.
    Unused,
}

/// A message whose time is over while its destination cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapsed {
    /// The message.
    pub id: u64,
    /// Name of the destination.
    pub destination: Arc<str>,
    /// What was wrong there last.
    pub reason: Arc<str>,
}

/// Where a destination stands that has something to send and may: the fewest connections, then the oldest turn.
type Turn = (u32, u64, Place);

/// The messages of one shard that go to other servers.
#[derive(Debug)]
pub struct Schedule {
    rules: Rules,
    destinations: Vec<Option<Destination>>,
    free: Vec<u32>,
    names: HashMap<Arc<str>, Place>,
    /// Destinations that may get another connection: quick ones, and the others.
    line: [BTreeSet<Turn>; 2],
    timers: BTreeSet<(u32, Place)>,
    /// Connections, and of those to others than quick ones.
    open: u32,
    open_others: u32,
    turns: u64,
    lapsed: VecDeque<Lapsed>,
}

impl Schedule {
    /// An empty one.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            destinations: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            line: [BTreeSet::new(), BTreeSet::new()],
            timers: BTreeSet::new(),
            open: 0,
            open_others: 0,
            turns: 0,
            lapsed: VecDeque::new(),
        }
    }

    /// Other rules from now on; the seed stays.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = Rules { seed: self.rules.seed, ..rules };
    }

    /// The destination of that name. What it is allowed is what was said last.
    pub fn destination(&mut self, name: &str, limits: Limits) -> Place {
        if let Some(place) = self.names.get(name).copied() {
            if let Some(destination) = self.get_mut(place) {
                destination.limits = limits;
            }
            return place;
        }
        let name: Arc<str> = Arc::from(name);
        let destination = Destination::new(Arc::clone(&name), limits);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.destinations.push(None);
                u32::try_from(self.destinations.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let place = Place(index);
        if let Some(slot) = self.slot(place) {
            *slot = Some(destination);
        }
        self.names.insert(name, place);
        place
    }

    /// A message that is not in it for this destination yet. `sender` stands for whoever sent it.
    #[allow(clippy::too_many_arguments, reason = "a message is its place, name, sender and time")]
    pub fn add(&mut self, place: Place, id: u64, sender: u32, due: i64, now: i64) {
        if let Some(destination) = self.get_mut(place) {
            destination.add(id, sender, time(due));
            self.refresh(place, now);
        }
    }

    /// Seconds to the next attempt of a message that was tried so often.
    #[must_use]
    pub fn pause(&self, id: u64, attempts: u32) -> i64 {
        self.back_off(id ^ u64::from(attempts).rotate_left(32), attempts)
    }

    /// When a message that was found at the start is tried: what is overdue comes back little by little.
    #[must_use]
    pub fn spread(&self, id: u64, due: i64, now: i64) -> i64 {
        let over = u64::from(self.rules.retry_first_seconds.max(1));
        let later = i64::try_from(mixed(self.rules.seed ^ id) % over).unwrap_or(0);
        due.max(now.saturating_add(later))
    }

    /// The message to open another connection for. It counts until [`Schedule::close`].
    pub fn next(&mut self, now: i64) -> Option<Job> {
        self.advance(now);
        if self.open >= self.rules.connections_max {
            return None;
        }
        let place = self.whose_turn(self.others_may())?.2;
        self.turns += 1;
        let turn = self.turns;
        let destination = self.get_mut(place)?;
        let (sender, id) = destination.take(now)?;
        destination.turn = turn;
        destination.open += 1;
        let proven = destination.proven;
        self.open += 1;
        self.open_others += u32::from(!proven);
        self.refresh(place, now);
        Some(Job { place, id, sender, begun: now })
    }

    /// Another message for an open connection that carried `sent` so far. `None`: there is none now, or the
    /// connection carried enough, or others wait for it.
    pub fn next_for(&mut self, place: Place, sent: u32, now: i64) -> Option<Job> {
        self.advance(now);
        self.refresh(place, now);
        if self.is_spent(place, sent) || !self.get(place)?.may_send(now) {
            return None;
        }
        let (sender, id) = self.get_mut(place)?.take(now)?;
        self.refresh(place, now);
        Some(Job { place, id, sender, begun: now })
    }

    /// An open connection that carried `sent` so far gets no other message: it carried enough, or others
    /// wait for it. There is no point in keeping it.
    pub fn is_spent(&self, place: Place, sent: u32) -> bool {
        let Some(destination) = self.get(place) else { return true };
        let scarce = self.open >= self.rules.connections_max && sent >= TURN_MESSAGES;
        let enough = destination.limits.per_connection;
        let fewest = self.whose_turn(self.others_may() || !destination.proven);
        let waits = |(open, _, other): &Turn| *other != place && *open < destination.open;
        enough > 0 && sent >= enough
            || destination.open == 0
            || destination.open > destination.connections_max()
            || scarce && fewest.is_some_and(|turn| waits(&turn))
    }

    /// A job is over. Once for each.
    pub fn done(&mut self, job: Job, now: i64, served: Served) {
        let slow = now.saturating_sub(job.begun) >= SLOW_SECONDS;
        if let Some(destination) = self.get_mut(job.place) {
            destination.running = destination.running.saturating_sub(1);
            match served {
                Served::Again(due) => destination.add(job.id, job.sender, time(due)),
                Served::Over => destination.answered(),
                Served::Nothing => {}
            }
            let proven = match served {
                _ if slow => false,
                Served::Over => true,
                Served::Again(_) | Served::Nothing => destination.proven,
            };
            self.prove(job.place, proven);
            self.refresh(job.place, now);
        }
    }

    /// A connection is gone, after its last job was done. Once for each that [`Schedule::next`] allowed.
    pub fn close(&mut self, place: Place, now: i64, ended: Ended) {
        let Some(destination) = self.get_mut(place) else { return };
        destination.open = destination.open.saturating_sub(1);
        let (name, proven) = (Arc::clone(&destination.name), destination.proven);
        self.open = self.open.saturating_sub(1);
        self.open_others = self.open_others.saturating_sub(u32::from(!proven));
        match ended {
            Ended::Unused => {}
            Ended::Fine => {
                if let Some(destination) = self.get_mut(place) {
                    destination.reached();
                }
            }
            Ended::Unreachable(reason) => {
                self.prove(place, false);
                let failures = self.get(place).map_or(0, |it| it.failures.saturating_add(1));
                let pause = self.back_off(hash(&name), failures);
                let until = time(now.saturating_add(pause));
                if let Some(destination) = self.get_mut(place)
                    && destination.failed(&reason, time(now), until)
                {
                    self.sweep(place, now);
                }
            }
        }
        self.refresh(place, now);
    }

    /// What was wrong there last.
    #[must_use]
    pub fn error(&self, name: &str) -> Option<&str> {
        let place = self.names.get(name).copied()?;
        self.get(place)?.error.as_deref()
    }

    /// What was wrong with a message there, for those who ask.
    pub fn remember(&mut self, place: Place, reason: &str) {
        if let Some(destination) = self.get_mut(place) {
            destination.error = Some(Arc::from(reason));
        }
    }

    /// A message that waited too long for a destination that cannot be reached: it is no longer in here.
    pub fn lapsed(&mut self) -> Option<Lapsed> {
        self.lapsed.pop_front()
    }

    /// Are there any?
    #[must_use]
    pub fn has_lapsed(&self) -> bool {
        !self.lapsed.is_empty()
    }

    /// When to ask [`Schedule::next`] again if nothing happens before; `None` when that is of no use.
    #[must_use]
    pub fn next_time(&self) -> Option<i64> {
        self.timers.first().map(|(due, _)| i64::from(*due))
    }

    /// Drops the messages that are not wanted any more, but for those given out.
    pub fn retain(&mut self, now: i64, keep: impl Fn(u64) -> bool) {
        self.each(now, |destination| destination.retain(&keep));
    }

    /// These are due now, and so are their destinations.
    pub fn hasten(&mut self, now: i64, which: impl Fn(u64) -> bool) {
        self.each(now, |destination| destination.hasten(time(now), &which));
    }

    // ------------------------------------------------------------ inside

    fn each(&mut self, now: i64, mut change: impl FnMut(&mut Destination)) {
        for index in 0..u32::try_from(self.destinations.len()).unwrap_or(u32::MAX) {
            let place = Place(index);
            if let Some(destination) = self.get_mut(place) {
                change(destination);
                self.refresh(place, now);
            }
        }
    }

    fn slot(&mut self, place: Place) -> Option<&mut Option<Destination>> {
        self.destinations.get_mut(usize::try_from(place.0).ok()?)
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Destination> {
        self.slot(place)?.as_mut()
    }

    fn get(&self, place: Place) -> Option<&Destination> {
        self.destinations.get(usize::try_from(place.0).ok()?)?.as_ref()
    }

    /// May destinations get another connection that have not shown that they are quick?
    fn others_may(&self) -> bool {
        self.open_others < (self.rules.connections_max / 2).max(1)
    }

    fn whose_turn(&self, others: bool) -> Option<Turn> {
        let [quick, rest] = &self.line;
        let rest = rest.first().filter(|_| others);
        quick.first().into_iter().chain(rest).min().copied()
    }

    /// Looks at the destinations whose time has come.
    fn advance(&mut self, now: i64) {
        while let Some((due, place)) = self.timers.first().copied() {
            if due > time(now) {
                return;
            }
            self.timers.pop_first();
            if let Some(destination) = self.get_mut(place) {
                destination.wake = None;
            }
            self.refresh(place, now);
        }
    }

    /// It is known now to be quick, or not to be.
    fn prove(&mut self, place: Place, proven: bool) {
        let Some(destination) = self.get_mut(place) else { return };
        let (before, open) = (std::mem::replace(&mut destination.proven, proven), destination.open);
        match (before, proven) {
            (true, false) => self.open_others += open,
            (false, true) => self.open_others = self.open_others.saturating_sub(open),
            (true, true) | (false, false) => {}
        }
    }

    /// Puts a destination where it belongs: in line, asleep until something is due, or out.
    fn refresh(&mut self, place: Place, now: i64) {
        let Some(destination) = self.get_mut(place) else { return };
        destination.advance(time(now));
        let old = destination.stands.take();
        let new = destination.is_in_want(now).then(|| {
            (usize::from(!destination.proven), (destination.open, destination.turn, place))
        });
        destination.stands = new;
        let asleep = destination.wake.take();
        let wake = destination.next_time(now);
        destination.wake = wake;
        let over = destination.is_over(now);
        if old != new {
            if let Some((class, turn)) = old
                && let Some(line) = self.line.get_mut(class)
            {
                line.remove(&turn);
            }
            if let Some((class, turn)) = new
                && let Some(line) = self.line.get_mut(class)
            {
                line.insert(turn);
            }
        }
        if asleep != wake {
            if let Some(due) = asleep {
                self.timers.remove(&(due, place));
            }
            if let Some(due) = wake {
                self.timers.insert((due, place));
            }
        }
        if over {
            if let Some(due) = wake {
                self.timers.remove(&(due, place));
            }
            if let Some(destination) = self.slot(place).and_then(Option::take) {
                self.names.remove(&destination.name);
                self.free.push(place.0);
            }
        }
    }

    /// Takes out what waited too long for a destination that cannot be reached.
    fn sweep(&mut self, place: Place, now: i64) {
        let before = now.saturating_sub(i64::from(self.rules.give_up_seconds));
        let Some(destination) = self.get_mut(place) else { return };
        let ids = destination.older_than(before);
        let name = Arc::clone(&destination.name);
        let reason = destination.error.clone().unwrap_or_else(|| Arc::from(""));
        let lapsed =
            |id| Lapsed { id, destination: Arc::clone(&name), reason: Arc::clone(&reason) };
        self.lapsed.extend(ids.into_iter().map(lapsed));
    }

    /// Seconds to the attempt after so many, up to a quarter more by chance.
    fn back_off(&self, salt: u64, attempts: u32) -> i64 {
        let rules = &self.rules;
        let most = i64::from(rules.retry_seconds_max.max(1));
        let base = match attempts {
            0 | 1 => i64::from(rules.retry_first_seconds.max(1)),
            more => {
                let doubled = 1_i64.checked_shl((more - 2).min(40)).unwrap_or(i64::MAX);
                i64::from(rules.retry_seconds.max(1)).saturating_mul(doubled)
            }
        };
        let base = base.min(most);
        let chance = u64::try_from(base / 4 + 1).unwrap_or(1);
        base + i64::try_from(mixed(rules.seed ^ salt) % chance).unwrap_or(0)
    }
}

/// The time of a name, seconds since 1970 (`store::spool::QueueId`).
fn accepted(id: u64) -> i64 {
    i64::try_from((id >> 22) / 1000).unwrap_or(i64::MAX)
}

/// Seconds since 1970 in 32 bits, which last until 2106.
fn time(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// Octets in no order (splitmix64).
fn mixed(seed: u64) -> u64 {
    let step = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let step = (step ^ (step >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let step = (step ^ (step >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    step ^ (step >> 31)
}

/// A text as a number (FNV-1a); for turns and chance, not against those who look for equal ones.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01B3)
    })
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
