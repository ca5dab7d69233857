//! engine::worker::operations – sessions come and go, and operations begin and end on them.
//!
//! Promises: every operation that began is recorded once, as done or as failed; a session whose
//! operation failed is replaced while the run goes on.
//! Not here: what sessions are told and ask for (`dialogue`), the stages of a run (`worker`).

use std::cmp::Reverse;

use super::{Due, GIVE_UP_AFTER, GIVE_UP_FAILURES, Order, SECOND, Stage, Worker};
use crate::engine::places::{Operation, Role, error_kind};
use crate::engine::recorder::record;
use crate::engine::session::{Moved, Nanoseconds, Protocol, Session as _};
use crate::engine::wire::SessionKey;

impl<P: Protocol> Worker<P> {
    pub(super) fn open_session(&mut self) -> SessionKey {
        self.desk.opened();
        let session = self.protocol.session(self.shared.next_session());
        self.places.insert(session, Role::Working)
    }

    pub(super) fn idle_session(&mut self) -> Option<SessionKey> {
        while let Some(key) = self.desk.idle() {
            if self.places.get(key).is_some_and(|place| place.operation.is_none()) {
                return Some(key);
            }
        }
        None
    }

    pub(super) fn assign(
        &mut self,
        key: SessionKey,
        number: u64,
        scheduled: Nanoseconds,
        now: Nanoseconds,
    ) {
        let counted = scheduled >= self.counting_from();
        self.desk.began();
        if self.desk.is_open_loop() {
            if counted {
                record(&mut self.recording.wait, now.saturating_sub(scheduled));
            }
        } else {
            let since = now - self.begin;
            self.recording.second_at(since).scheduled += 1;
            self.recording.scheduled += u64::from(counted);
        }
        self.recording.warm_up_operations += u64::from(!counted);
        self.undertake(key, Operation { scheduled, began: now, counted });
        self.orders.push_back((key, Order::Work(number)));
    }

    pub(super) fn undertake(&mut self, key: SessionKey, operation: Operation) {
        let deadline = operation.began + self.plan.timeout.as_nanos() as Nanoseconds;
        let Some(place) = self.places.get(key) else { return };
        place.operation = Some(operation);
        if !std::mem::replace(&mut place.watched, true) {
            self.timers.push(Reverse((deadline, Due::Deadline(key))));
        }
    }

    pub(super) fn on_deadline(&mut self, key: SessionKey, now: Nanoseconds) {
        let Some(place) = self.places.get(key) else { return };
        place.watched = false;
        let Some(operation) = place.operation else { return };
        let deadline = operation.began + self.plan.timeout.as_nanos() as Nanoseconds;
        if now < deadline {
            // An operation that began later than the one this timer was set for.
            place.watched = true;
            self.timers.push(Reverse((deadline, Due::Deadline(key))));
            return;
        }
        let stage = place.session.as_ref().map_or("session", |session| session.stage());
        self.on_failed(key, stage, "timeout", now);
        self.finish(key, now);
    }

    pub(super) fn on_done(&mut self, key: SessionKey, kind: usize, moved: Moved, now: Nanoseconds) {
        let Some(place) = self.places.get(key) else { return };
        let Some(operation) = place.operation.take() else { return };
        place.failed = false;
        self.failures_in_a_row = 0;
        self.succeeded += 1;
        self.desk.ended();
        self.last_end = now;
        let latency = now.saturating_sub(operation.scheduled);
        let second = self.recording.second_at(now.saturating_sub(self.begin));
        second.done += 1;
        record(&mut second.latency_us, latency / 1000);
        if !operation.counted {
            return;
        }
        self.recording.done += 1;
        self.recording.received += moved.received;
        self.recording.sent += moved.sent;
        record(&mut self.recording.latency, latency);
        record(&mut self.recording.service, now.saturating_sub(operation.began));
        if let Some(kind) = self.recording.kinds.get_mut(kind) {
            record(&mut kind.histogram, latency);
        }
    }

    pub(super) fn on_failed(
        &mut self,
        key: SessionKey,
        at: &'static str,
        what: &str,
        now: Nanoseconds,
    ) {
        let Some(place) = self.places.get(key) else { return };
        let Some(operation) = place.operation.take() else { return };
        place.failed = true;
        if place.role != Role::Working {
            self.recording.error(format!("idle session: {}", error_kind(at, what)), 1);
            return;
        }
        self.desk.ended();
        self.last_end = now;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.refused += 1;
        self.recording.second_at(now.saturating_sub(self.begin)).failed += 1;
        if operation.counted {
            self.recording.failed += 1;
            self.recording.error(error_kind(at, what), 1);
        }
        let hopeless = self.succeeded == 0 && self.refused >= GIVE_UP_FAILURES;
        if hopeless && now.saturating_sub(self.begin) >= GIVE_UP_AFTER {
            let last = error_kind(at, what);
            self.shared.stop(&format!("gave up: nothing succeeded; last failure: {last}"));
        }
    }

    /// Gives a session that is free its next operation, or notes that it is idle.
    pub(super) fn offer(&mut self, key: SessionKey, now: Nanoseconds) {
        match self.desk.next_waiting(&self.shared) {
            Some((number, scheduled)) => self.assign(key, number, scheduled.unwrap_or(now), now),
            None => self.desk.is_idle(key),
        }
    }

    /// A session is over; another takes its place if there is something to do.
    pub(super) fn finish(&mut self, key: SessionKey, now: Nanoseconds) {
        let Some(place) = self.places.get(key) else { return };
        let (role, failed) = (place.role, place.failed);
        if place.operation.is_some() {
            let stage = place.session.as_ref().map_or("session", |session| session.stage());
            self.on_failed(key, stage, "session ended", now);
        }
        self.remove(key);
        match role {
            Role::Idling => self.idle_opening = self.idle_opening.saturating_sub(1),
            Role::Held => {
                let parting = matches!(self.stage, Stage::Parting { .. });
                self.recording.held_lost += u64::from(!parting);
            }
            Role::Working if failed && !self.desk.is_open_loop() => {
                // A closed loop against a server that refuses would otherwise only spin.
                let delay = 1_000_000_u64 << self.failures_in_a_row.min(10);
                self.timers.push(Reverse((now + delay.min(SECOND), Due::Replace)));
            }
            Role::Working => self.replace(now),
        }
    }

    pub(super) fn replace(&mut self, now: Nanoseconds) {
        if self.desk.wants_session()
            && let Some((number, scheduled)) = self.desk.next_waiting(&self.shared)
        {
            let key = self.open_session();
            self.assign(key, number, scheduled.unwrap_or(now), now);
        }
    }

    pub(super) fn remove(&mut self, key: SessionKey) {
        let Some(place) = self.places.remove(key) else { return };
        for wire in place.links.into_iter().flatten() {
            self.wires.close(wire, false);
        }
        if place.role == Role::Working {
            self.desk.closed(place.operation.is_some());
        }
    }
}
