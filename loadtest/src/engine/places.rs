//! engine::places – the sessions of one thread and what each is doing.
//!
//! Promises: a key of a session that is over finds nothing, also when its place is used again.

use crate::engine::session::{LINKS_MAX, Nanoseconds};
use crate::engine::wire::{SessionKey, WireKey};

/// What a session was told to do and has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// When it was to start.
    pub scheduled: Nanoseconds,
    /// When the session began it.
    pub began: Nanoseconds,
    /// Whether it is measured: false in the warm-up and for idle sessions.
    pub counted: bool,
}

/// Why a session exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To do operations.
    Working,
    /// To be idle; not yet so.
    Idling,
    /// To be idle, and it is.
    Held,
}

/// One session.
pub struct Place<S> {
    /// The dialogue; away while it handles an event.
    pub session: Option<S>,
    /// Its connections.
    pub links: [Option<WireKey>; LINKS_MAX],
    /// Why it exists.
    pub role: Role,
    /// What it is doing.
    pub operation: Option<Operation>,
    /// Whether a timer will look after its operation's deadline.
    pub watched: bool,
    /// Whether its last operation failed.
    pub failed: bool,
}

/// All of them.
pub struct Places<S> {
    places: Vec<(u32, Option<Place<S>>)>,
    free: Vec<u32>,
}

impl<S> Places<S> {
    /// None yet.
    pub fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// A place for a new session.
    pub fn insert(&mut self, session: S, role: Role) -> SessionKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (generation, place) = &mut self.places[index as usize];
        *place = Some(Place {
            session: Some(session),
            links: [None; LINKS_MAX],
            role,
            operation: None,
            watched: false,
            failed: false,
        });
        SessionKey { index, generation: *generation }
    }

    /// The session, if it is not over.
    pub fn get(&mut self, key: SessionKey) -> Option<&mut Place<S>> {
        let (generation, place) = self.places.get_mut(key.index as usize)?;
        if *generation == key.generation { place.as_mut() } else { None }
    }

    /// Takes a session out; its key finds nothing from now on.
    pub fn remove(&mut self, key: SessionKey) -> Option<Place<S>> {
        let (generation, place) = self.places.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let removed = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(key.index);
        Some(removed)
    }

    /// The keys of all that are there.
    pub fn keys(&self) -> Vec<SessionKey> {
        let there = |(index, (generation, place)): (usize, &(u32, Option<Place<S>>))| {
            place.as_ref()?;
            Some(SessionKey { index: index as u32, generation: *generation })
        };
        self.places.iter().enumerate().filter_map(there).collect()
    }
}

/// The name under which a failure is counted.
pub fn error_kind(at: &str, what: &str) -> String {
    format!("{at}: {what}")
}
