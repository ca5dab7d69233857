//! What a spool must hold, kept apart from it, and clients that use one and know what they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::super::{Content, Found, QueueId, Spool};
use crate::shard::rng::Rng;
use crate::shard::{self, Instant};

/// What the sender of a message knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing yet.
    Nothing,
    /// It is safe.
    Yes,
    /// It failed.
    No,
    /// It failed, and something after that is durable.
    NoForSure,
    /// It was not there after a crash.
    Gone,
}

/// Was it settled?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    No,
    Asked,
    Durably,
}

/// One message and what may be found of it.
#[derive(Debug, Clone)]
struct Message {
    home: usize,
    octets: Vec<u8>,
    told: Told,
    settled: Settled,
    /// Notes given, and those of them surely durable. The n-th note says n.
    notes: u32,
    notes_durable: u32,
    /// Notes included in the meta: at least, and what else there may be.
    base: u32,
    bases: Vec<u32>,
}

/// Everything known.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    messages: BTreeMap<QueueId, Message>,
    /// What was not as it must be.
    pub(super) wrong: Vec<String>,
    /// What happened, to see that a test is worth something.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) carried: u64,
    pub(super) settled: u64,
}

pub(super) type Shared = Rc<RefCell<Model>>;

fn number(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().copied().map(u32::from_le_bytes)
}

impl Model {
    /// Compares what was found at a start, by shard, and takes it as what is there from now on.
    pub(super) fn found(&mut self, found: &[Vec<Found>]) {
        let mut seen = BTreeMap::new();
        for (home, one) in
            found.iter().enumerate().flat_map(|(home, all)| all.iter().map(move |one| (home, one)))
        {
            if seen.insert(one.id, ()).is_some() {
                self.wrong.push(format!("{} found twice", one.id));
            }
            if let Err(wrong) = self.found_one(home, one) {
                self.wrong.push(format!("{}: {wrong}", one.id));
            }
        }
        for (id, message) in &mut self.messages {
            if seen.contains_key(id) {
                continue;
            }
            if message.told == Told::Yes && message.settled == Settled::No {
                self.wrong.push(format!("{id} is lost"));
            }
            message.told = Told::Gone;
        }
    }

    fn found_one(&mut self, home: usize, found: &Found) -> Result<(), String> {
        let message = self.messages.get_mut(&found.id).ok_or("nobody sent it")?;
        if message.told == Told::Gone || message.told == Told::NoForSure {
            return Err(format!("is back, {:?}", message.told));
        }
        if message.settled == Settled::Durably {
            return Err("is back, settled".into());
        }
        if found.size != message.octets.len() as u64 {
            return Err(format!("{} octets", found.size));
        }
        let base = number(&found.meta).ok_or("meta")?;
        if base != message.base && !message.bases.contains(&base) {
            return Err(format!("meta {base}, not {} or {:?}", message.base, message.bases));
        }
        let mut next = base;
        for note in &found.notes {
            if number(note) != Some(next) {
                return Err(format!("notes {:?} after {base}", found.notes));
            }
            next += 1;
        }
        if next < message.notes_durable || next > message.notes {
            let (durable, given) = (message.notes_durable, message.notes);
            return Err(format!("notes up to {next}, not {durable} to {given}"));
        }
        message.home = home;
        message.told = Told::Yes;
        message.settled = Settled::No;
        (message.notes, message.notes_durable) = (next, next);
        (message.base, message.bases) = (base, Vec::new());
        Ok(())
    }

    fn pick(&self, home: usize, rng: &Rng) -> Option<QueueId> {
        let mine = |message: &Message| {
            message.home == home && message.told == Told::Yes && message.settled == Settled::No
        };
        let ids: Vec<QueueId> =
            self.messages.iter().filter(|(_, one)| mine(one)).map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| *rng.pick(&ids))
    }
}

/// Compares octets; an error of the disk is none where disks fail.
pub(super) async fn check(model: &Shared, id: QueueId, content: &Content, weak: bool) {
    let expected = model.borrow().messages[&id].octets.clone();
    let mut octets = Vec::new();
    while (octets.len() as u64) < content.len() {
        match content.read(octets.len() as u64, 30_000).await {
            Ok(more) => octets.extend_from_slice(&more),
            Err(_) if weak => return,
            // Another client settled it.
            Err(_) if model.borrow().messages[&id].settled != Settled::No => return,
            Err(error) => {
                model.borrow_mut().wrong.push(format!("{id} cannot be read: {error}"));
                return;
            }
        }
    }
    if octets != expected {
        model.borrow_mut().wrong.push(format!("{id} has other octets"));
    }
}

/// Reads every message that is there.
pub(super) async fn check_all(model: &Shared, spool: &Spool, found: &[Found]) {
    for found in found {
        match spool.content(found.id) {
            Some(content) if model.borrow().messages.contains_key(&found.id) => {
                check(model, found.id, &content, false).await;
            }
            _ => model.borrow_mut().wrong.push(format!("{} has no content", found.id)),
        }
    }
}

/// A client of a spool.
pub(super) struct Client {
    pub(super) model: Shared,
    pub(super) spool: Spool,
    pub(super) home: usize,
    pub(super) rng: Rc<Rng>,
    /// Reads may fail.
    pub(super) weak: bool,
}

impl Client {
    /// Does this many things.
    pub(super) async fn run(&self, count: usize) {
        for _ in 0..count {
            match self.rng.below(100) {
                0..45 => self.send().await,
                45..58 => self.note(),
                58..80 => self.settle(),
                80..86 => self.flush().await,
                86..92 => self.carry().await,
                92..95 => self.give_up().await,
                95..97 => self.rest().await,
                _ => self.read().await,
            }
        }
    }

    fn octets(&self) -> Vec<u8> {
        let most = *self.rng.pick(&[0, 10, 3000, 5000, 20_000, 29_000, 60_000]);
        self.rng.bytes(self.rng.range(0, most))
    }

    pub(super) async fn send(&self) {
        let octets = self.octets();
        let mut draft = self.spool.draft();
        for piece in octets.chunks(self.rng.range(1000, 20_000)) {
            if draft.append(piece).await.is_err() {
                self.model.borrow_mut().refused += 1;
                return;
            }
        }
        let name = Cell::new(None);
        let filler = self.rng.range(0, 300);
        let meta = |id| {
            name.set(Some(id));
            let message = Message {
                home: self.home,
                octets: octets.clone(),
                told: Told::Nothing,
                settled: Settled::No,
                notes: 0,
                notes_durable: 0,
                base: 0,
                bases: Vec::new(),
            };
            let old = self.model.borrow_mut().messages.insert(id, message);
            assert!(old.is_none(), "{id} was given out twice");
            meta(0, filler)
        };
        let outcome = draft.commit(meta).await;
        let Some(id) = name.get() else { return };
        self.told(id, outcome.is_ok());
        if let Ok(committed) = outcome {
            check(&self.model, id, &committed.content, self.weak).await;
        }
    }

    fn told(&self, id: QueueId, safe: bool) {
        let mut model = self.model.borrow_mut();
        let message = model.messages.get_mut(&id).unwrap();
        message.told = if safe { Told::Yes } else { Told::No };
        model.acknowledged += u64::from(safe);
        model.refused += u64::from(!safe);
    }

    async fn give_up(&self) {
        let mut draft = self.spool.draft();
        let (Ok(()) | Err(_)) = draft.append(&self.octets()).await;
    }

    fn note(&self) {
        let mut model = self.model.borrow_mut();
        let Some(id) = model.pick(self.home, &self.rng) else { return };
        let message = model.messages.get_mut(&id).unwrap();
        self.spool.note(id, message.notes.to_le_bytes().to_vec());
        message.notes += 1;
    }

    fn settle(&self) {
        let mut model = self.model.borrow_mut();
        let Some(id) = model.pick(self.home, &self.rng) else { return };
        self.spool.settle(id);
        model.messages.get_mut(&id).unwrap().settled = Settled::Asked;
        model.settled += 1;
    }

    pub(super) async fn flush(&self) {
        let before = self.model.borrow().messages.clone();
        if self.spool.flush().await.is_err() {
            return;
        }
        let mut model = self.model.borrow_mut();
        for (id, then) in before.iter().filter(|(_, then)| then.home == self.home) {
            let message = model.messages.get_mut(id).unwrap();
            message.notes_durable = message.notes_durable.max(then.notes);
            if then.settled == Settled::Asked {
                message.settled = Settled::Durably;
            }
            if then.told == Told::No {
                message.told = Told::NoForSure;
            }
        }
    }

    async fn carry(&self) {
        let shortly = shard::now().after(Duration::from_millis(20));
        let stuck = shard::within(shortly, self.spool.next_to_carry()).await;
        let any = || self.model.borrow().pick(self.home, &self.rng);
        let Some(id) = stuck.or_else(any) else { return };
        let carrying = {
            let mut model = self.model.borrow_mut();
            let Some(message) = model.messages.get_mut(&id) else { return };
            let base = message.notes;
            message.bases.push(base);
            (base, self.spool.carry(id, meta(base, self.rng.range(0, 100))))
        };
        let (base, carrying) = carrying;
        let done = carrying.await.is_ok();
        let mut model = self.model.borrow_mut();
        model.carried += u64::from(done);
        let message = model.messages.get_mut(&id).unwrap();
        // Of a message settled meanwhile nothing was written, and the settlement may yet be lost.
        if done && message.base <= base && message.settled == Settled::No {
            message.base = base;
        }
    }

    async fn rest(&self) {
        let pause = Duration::from_millis(self.rng.below(1500));
        let until: Instant = shard::now().after(pause);
        shard::sleep_until(until).await;
    }

    async fn read(&self) {
        let picked = self.model.borrow().pick(self.home, &self.rng);
        let Some(id) = picked else { return };
        match self.spool.content(id) {
            Some(content) => check(&self.model, id, &content, self.weak).await,
            None => {
                // It may have been settled by another client in between, not while nothing waits.
                self.model.borrow_mut().wrong.push(format!("{id} has no content"));
            }
        }
    }
}

fn meta(base: u32, filler: usize) -> Vec<u8> {
    [&base.to_le_bytes()[..], &vec![0x55; filler]].concat()
}
