//! mail::progress – how far the targets of a message are, kept without the message.
//!
//! A million messages may wait for another attempt. What the spool holds of them is read again when it is needed;
//! what became of their targets since is here: nothing for those that were not tried, 24 octets for a message
//! with one target. Reasons, of which a destination that cannot be reached gives the same to all, are shared.
//!
//! Promises: what is put back on the message as it was accepted, or at any time since, makes it what it was
//! when it was put away (times before 1970 and after 2106 become the nearest of those between).
//! Not here: who keeps it, and where the message is read (`server::deliver`).

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::stored::{Message, Target, TargetState};

/// Reasons that are gone are looked for when there are twice as many as then, and these.
const SWEEP_MIN: usize = 64;

/// What became of the targets of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress(Marks);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Marks {
    #[default]
    None,
    One(Mark),
    Many(Box<[Mark]>),
}

/// What became of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    reason: Option<Reason>,
    number: u32,
    attempts: u32,
    next: u32,
    state: State,
    told: bool,
    delayed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Deferred,
    Delivered,
    Failed,
    Removed,
}

const _: () = assert!(size_of::<Progress>() <= 24);

/// A text that many share, behind one pointer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reason(Rc<Box<str>>);

impl Borrow<str> for Reason {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The reasons there are.
#[derive(Debug, Default)]
pub struct Reasons {
    known: BTreeSet<Reason>,
    /// How many there may be before those that nobody has any more are let go.
    most: usize,
}

impl Reasons {
    fn share(&mut self, text: &str) -> Reason {
        if let Some(reason) = self.known.get(text) {
            return reason.clone();
        }
        if self.known.len() >= self.most.max(SWEEP_MIN) {
            self.known.retain(|reason| Rc::strong_count(&reason.0) > 1);
            self.most = self.known.len() * 2;
        }
        let reason = Reason(Rc::new(Box::from(text)));
        self.known.insert(reason.clone());
        reason
    }
}

impl Progress {
    /// How far the message is.
    #[must_use]
    pub fn of(message: &Message, reasons: &mut Reasons) -> Self {
        let marks = (0..).zip(&message.targets);
        let mut marks: Vec<Mark> =
            marks.filter_map(|(number, target)| Mark::of(number, target, reasons)).collect();
        Self(match (marks.len(), marks.pop()) {
            (1, Some(mark)) => Marks::One(mark),
            (_, Some(last)) => {
                marks.push(last);
                Marks::Many(marks.into_boxed_slice())
            }
            (_, None) => Marks::None,
        })
    }

    /// Makes a message that was read again as far.
    pub fn put_on(&self, message: &mut Message) {
        for mark in self.marks() {
            let at = usize::try_from(mark.number).ok();
            if let Some(target) = at.and_then(|at| message.targets.get_mut(at)) {
                mark.put_on(target);
            }
        }
    }

    /// Was the sender told of any target that it takes long?
    #[must_use]
    pub fn is_told_late(&self) -> bool {
        self.marks().iter().any(|mark| mark.delayed)
    }

    fn marks(&self) -> &[Mark] {
        match &self.0 {
            Marks::None => &[],
            Marks::One(mark) => std::slice::from_ref(mark),
            Marks::Many(marks) => marks,
        }
    }
}

impl Mark {
    /// `None` when nothing became of it.
    fn of(number: u32, target: &Target, reasons: &mut Reasons) -> Option<Self> {
        let (state, reason, attempts, next) = match &target.state {
            TargetState::Waiting => (State::Waiting, None, 0, 0),
            TargetState::Deferred { attempts, next, reason } => {
                (State::Deferred, Some(reason), *attempts, *next)
            }
            TargetState::Delivered => (State::Delivered, None, 0, 0),
            TargetState::Failed { reason } => (State::Failed, Some(reason), 0, 0),
            TargetState::Removed => (State::Removed, None, 0, 0),
        };
        let (told, delayed) = (target.told, target.delayed);
        if state == State::Waiting && !told && !delayed {
            return None;
        }
        let reason = reason.map(|reason| reasons.share(reason));
        let next = u32::try_from(next.max(0)).unwrap_or(u32::MAX);
        Some(Self { reason, number, attempts, next, state, told, delayed })
    }

    fn put_on(&self, target: &mut Target) {
        let reason = || self.reason.as_ref().map_or_else(String::new, |one| String::from(&**one.0));
        target.state = match self.state {
            State::Waiting => TargetState::Waiting,
            State::Deferred => TargetState::Deferred {
                attempts: self.attempts,
                next: i64::from(self.next),
                reason: reason(),
            },
            State::Delivered => TargetState::Delivered,
            State::Failed => TargetState::Failed { reason: reason() },
            State::Removed => TargetState::Removed,
        };
        target.told = self.told;
        target.delayed = self.delayed;
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
