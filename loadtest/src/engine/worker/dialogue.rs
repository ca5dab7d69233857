//! engine::worker::dialogue – tells sessions what happened, and does what they ask for.
//!
//! Promises: news of a connection that its session has let go reaches nobody; what a session asks for
//! is done before it is told anything else.
//! Not here: what an operation is (`operations`), sockets (`wires`).

use std::cmp::Reverse;

use super::{Due, Order, Stage, Worker};
use crate::engine::places::{Place, Role};
use crate::engine::recorder::record;
use crate::engine::session::{Action, Event, Nanoseconds, Protocol, Session as _};
use crate::engine::wire::{SessionKey, WireKey};
use crate::engine::wires::{Happening, News, Wires};

impl<P: Protocol> Worker<P> {
    /// Tells sessions everything there is to tell.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some((key, order)) = self.orders.pop_front() {
                self.deliver(
                    key,
                    match order {
                        Order::Work(number) => Event::Work(number),
                        Order::Hold => Event::Hold,
                        Order::Quit => Event::Quit,
                    },
                );
            } else if let Some(news) = self.wires.next() {
                self.pass_on(news);
            } else {
                return;
            }
        }
    }

    pub(super) fn pass_on(&mut self, news: News) {
        let News { wire, owner: (key, link), happening } = news;
        let known = self.places.get(key).and_then(|place| place.links.get_mut(usize::from(link)));
        let known = known.filter(|known| **known == Some(wire));
        let buffer = match happening {
            Happening::Octets(buffer, _) if known.is_none() => Some(buffer),
            _ if known.is_none() => return,
            Happening::Octets(buffer, length) => {
                self.deliver(key, Event::Received(link, &buffer[..length]));
                Some(buffer)
            }
            Happening::Failed(why) => {
                if let Some(known) = known {
                    *known = None;
                }
                self.deliver(key, Event::Failed(link, why));
                return;
            }
            Happening::Listening(address) => {
                self.deliver(key, Event::Listening(link, address));
                None
            }
            Happening::Connected => {
                self.deliver(key, Event::Connected(link));
                None
            }
            Happening::Secured(resumed) => {
                self.deliver(key, Event::Secured(link, resumed));
                None
            }
            Happening::Dropped(count) => {
                self.deliver(key, Event::Dropped(link, count));
                None
            }
            Happening::Ended(clean) => {
                self.deliver(key, Event::Ended(link, clean));
                None
            }
            Happening::Sent => {
                self.deliver(key, Event::Sent(link));
                None
            }
        };
        self.wires.resume(wire, buffer, self.shared.now());
    }

    pub(super) fn deliver(&mut self, key: SessionKey, event: Event<'_>) {
        let now = self.shared.now();
        let Some(place) = self.places.get(key) else { return };
        let Some(mut session) = place.session.take() else { return };
        let was_busy = place.operation.is_some();
        self.io.at(now);
        session.on(event, &mut self.io);
        place.session = Some(session);
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.io.take());
        for action in actions.drain(..) {
            self.apply(key, action, now);
        }
        self.actions = actions;
        let free = |place: &mut Place<P::Session>| {
            place.operation.is_none() && place.role == Role::Working
        };
        let parting = matches!(self.stage, Stage::Parting { .. });
        if was_busy && !parting && self.places.get(key).is_some_and(free) {
            self.offer(key, now);
        }
    }

    pub(super) fn apply(&mut self, key: SessionKey, action: Action, now: Nanoseconds) {
        match action {
            Action::Connect(link, to, receive) => {
                self.drop_link(key, link, false);
                let wire = self.wires.connect((key, link), to, receive);
                self.set_link(key, link, wire);
            }
            Action::Listen(link, on, receive) => {
                self.drop_link(key, link, false);
                let wire = self.wires.listen((key, link), on, receive);
                self.set_link(key, link, wire);
            }
            Action::Close(link) => self.drop_link(key, link, false),
            Action::Reset(link) => self.drop_link(key, link, true),
            Action::Secure(link, client) => self.on_link(key, link, |wires, wire| {
                wires.secure(wire, &client);
            }),
            Action::Send(link, payload) => self.on_link(key, link, |wires, wire| {
                wires.send(wire, payload);
            }),
            Action::Pace(link, rate) => self.on_link(key, link, |wires, wire| {
                wires.pace(wire, rate);
            }),
            Action::Shutdown(link) => self.on_link(key, link, Wires::shutdown),
            Action::Timer(number, at) => {
                self.timers.push(Reverse((at, Due::Session(key, number))));
            }
            Action::Phase(phase, lasted) => {
                let counted = now >= self.counting_from() && self.stage != Stage::Filling;
                if let Some(phase) = self.recording.phases.get_mut(phase).filter(|_| counted) {
                    record(&mut phase.histogram, lasted);
                }
            }
            Action::Done { kind, moved, ended } => self.on_done(key, kind, moved, ended.min(now)),
            Action::Failed { at, what } => {
                self.on_failed(key, at, &what, now);
                let idling = |place: &mut Place<P::Session>| place.role == Role::Idling;
                if self.places.get(key).is_some_and(idling) {
                    self.finish(key, now);
                }
            }
            Action::Held => self.on_held(key),
            Action::Finish => self.finish(key, now),
            Action::Count(what, by) => *self.recording.counters.entry(what).or_default() += by,
        }
    }

    pub(super) fn on_held(&mut self, key: SessionKey) {
        let Some(place) = self.places.get(key) else { return };
        if place.role == Role::Idling {
            place.role = Role::Held;
            place.operation = None;
            self.recording.held += 1;
            self.idle_opening = self.idle_opening.saturating_sub(1);
        }
    }

    pub(super) fn set_link(&mut self, key: SessionKey, link: u8, wire: WireKey) {
        let place = self.places.get(key);
        if let Some(known) = place.and_then(|place| place.links.get_mut(usize::from(link))) {
            *known = Some(wire);
        }
    }

    pub(super) fn drop_link(&mut self, key: SessionKey, link: u8, abruptly: bool) {
        let place = self.places.get(key);
        let known = place.and_then(|place| place.links.get_mut(usize::from(link)));
        if let Some(wire) = known.and_then(Option::take) {
            self.wires.close(wire, abruptly);
        }
    }

    pub(super) fn on_link(
        &mut self,
        key: SessionKey,
        link: u8,
        change: impl FnOnce(&mut Wires, WireKey),
    ) {
        let place = self.places.get(key);
        let known = place.and_then(|place| place.links.get(usize::from(link)).copied().flatten());
        if let Some(wire) = known {
            change(&mut self.wires, wire);
        }
    }
}
