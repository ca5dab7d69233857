//! engine::worker – one thread: starts operations, gives sessions their events, does what they ask.
//!
//! A turn of the loop: start what is due, fire timers, hand news to sessions, give the ring to the
//! kernel and wait for the next completion or the next thing due.
//!
//! ```text
//! filling ──all idle sessions are held──▶ waiting ──all threads are──▶ running ──time or count is
//! up──▶ draining ──nothing is open, or `drain` is over──▶ parting ──all said goodbye, or 1 s──▶ end
//! ```
//!
//! Promises: an arrival that finds no session waits in the backlog and keeps its scheduled time;
//! an operation past its deadline is failed whatever its session thinks; ends in bounded time.
//! Not here: sockets (`wires`), threads and the clock they share (`mod`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::desk::{Desk, Shared};
use crate::engine::places::{Operation, Place, Places, Role, error_kind};
use crate::engine::plan::Plan;
use crate::engine::recorder::{Recording, record};
use crate::engine::session::{Action, Event, Io, Moved, Nanoseconds, Protocol, Session as _};
use crate::engine::wire::{SessionKey, WireKey};
use crate::engine::wires::{Happening, News, Wires};
use crate::engine::{Tick, Ticks};
use crate::sys;

/// Idle sessions of one thread that log in at the same time.
const FILLING_MAX: usize = 32;
/// Most operations started before the loop looks at anything else.
const STARTS_PER_TURN: usize = 256;
/// How often, at least, the loop looks whether it shall stop.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long sessions may take to say goodbye.
const PARTING: Nanoseconds = 1_000_000_000;
const SECOND: Nanoseconds = 1_000_000_000;
/// A server that refuses everything is given up after so many failures …
const GIVE_UP_FAILURES: u64 = 10;
/// … and so long a time.
const GIVE_UP_AFTER: Nanoseconds = 3 * SECOND;

/// Where a thread is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Filling,
    Waiting,
    Running,
    Draining { until: Nanoseconds },
    Parting { until: Nanoseconds },
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(SessionKey, u8),
    Deadline(SessionKey),
    Wire(WireKey),
    Replace,
}

/// What is to be told to a session next.
enum Order {
    Work(u64),
    Hold,
    Quit,
}

/// One thread's engine.
pub struct Worker<P: Protocol> {
    protocol: Arc<P>,
    plan: Plan,
    shared: Arc<Shared>,
    desk: Desk,
    wires: Wires,
    places: Places<P::Session>,
    timers: BinaryHeap<Reverse<(Nanoseconds, Due)>>,
    orders: VecDeque<(SessionKey, Order)>,
    io: Io,
    actions: Vec<Action>,
    recording: Recording,
    stage: Stage,
    /// When the run began; before, the time of the threads' start.
    begin: Nanoseconds,
    last_end: Nanoseconds,
    /// Idle sessions still to be opened, and being opened.
    idle_missing: usize,
    idle_opening: usize,
    succeeded: u64,
    refused: u64,
    failures_in_a_row: u32,
    ticks: Ticks,
    ticked: usize,
}

impl<P: Protocol> Worker<P> {
    /// The engine of thread number `thread`. To be made on the thread that runs it.
    pub fn new(
        protocol: Arc<P>,
        plan: &Plan,
        shared: Arc<Shared>,
        thread: usize,
        ticks: Ticks,
    ) -> Result<Self, String> {
        let wires = Wires::new().map_err(|error| {
            format!(
                "io_uring: {error} (needs Linux 5.19 or newer, kernel.io_uring_disabled = 0, and a \
                 container that allows it)"
            )
        })?;
        let recording = Recording::new(protocol.phases(), protocol.kinds());
        let share = |whole: usize| (whole + plan.threads - 1 - thread) / plan.threads;
        Ok(Self {
            desk: Desk::new(plan, &shared, thread, share(plan.sessions_max)),
            idle_missing: share(plan.idle),
            idle_opening: 0,
            protocol,
            plan: plan.clone(),
            wires,
            places: Places::new(),
            timers: BinaryHeap::new(),
            orders: VecDeque::new(),
            io: Io::new(0),
            actions: Vec::new(),
            recording,
            stage: Stage::Filling,
            begin: 0,
            last_end: 0,
            succeeded: 0,
            refused: 0,
            failures_in_a_row: 0,
            ticks,
            ticked: 0,
            shared,
        })
    }

    /// Carries out this thread's part of the plan.
    pub fn work(mut self) -> Result<Recording, String> {
        // Without it operations start some 50 µs late, which is measured.
        let _not_so_fine = sys::fine_timers();
        let cpu_before = sys::cpu_time(sys::Whose::Thread).unwrap_or_default();
        let start = self.shared.now();
        loop {
            let now = self.shared.now();
            self.start_due(now);
            self.fire_timers(now);
            self.settle();
            if self.progress() {
                break;
            }
            let timeout = self.timeout();
            self.wires.turn(timeout).map_err(|error| format!("io_uring: {error}"))?;
            self.wires.complete(self.shared.now());
            self.account();
        }
        let cpu = sys::cpu_time(sys::Whose::Thread).unwrap_or_default();
        self.recording.cpu = cpu.saturating_sub(cpu_before);
        self.recording.wall = Duration::from_nanos(self.shared.now() - start);
        self.recording.connections = self.wires.opened;
        let counting_from = self.begin + self.plan.warm_up.as_nanos() as Nanoseconds;
        self.recording.measured = Duration::from_nanos(self.last_end.saturating_sub(counting_from));
        self.recording.partial = self.shared.stopped();
        Ok(self.recording)
    }

    // ------------------------------------------------------------ the stages of a run

    /// Goes to the next stage if this one is over; true at the end.
    fn progress(&mut self) -> bool {
        let now = self.shared.now();
        if sys::interrupted() {
            self.shared.stop("interrupted");
        }
        match self.stage {
            Stage::Filling => {
                self.fill();
                if self.idle_missing == 0 && self.idle_opening == 0 {
                    self.stage = Stage::Waiting;
                    self.shared.ready(now);
                }
            }
            Stage::Waiting => {
                if let Some(begin) = self.shared.begun().filter(|begin| *begin <= now) {
                    self.begin = begin;
                    self.stage = Stage::Running;
                    self.open_closed_loop(now);
                }
            }
            Stage::Running => {
                let end = self.begin + self.plan.duration.as_nanos() as Nanoseconds;
                if now >= end || self.desk.is_exhausted() {
                    self.desk.no_more_closed();
                    let drain = self.plan.drain.as_nanos() as Nanoseconds;
                    self.stage = Stage::Draining { until: now + drain };
                }
            }
            Stage::Draining { until } => {
                if self.desk.is_quiet() || now >= until {
                    self.part(now);
                }
            }
            Stage::Parting { until } => {
                if now >= until || self.places.keys().is_empty() {
                    self.end_all();
                    return true;
                }
            }
        }
        let stopping = self.shared.is_stopped();
        if stopping && !matches!(self.stage, Stage::Parting { .. }) {
            self.part(now);
        }
        false
    }

    /// Opens idle sessions, some at a time.
    fn fill(&mut self) {
        while self.idle_missing > 0 && self.idle_opening < FILLING_MAX {
            self.idle_missing -= 1;
            self.idle_opening += 1;
            let session = self.protocol.session(self.shared.next_session());
            let key = self.places.insert(session, Role::Idling);
            let now = self.shared.now();
            self.undertake(key, Operation { scheduled: now, began: now, counted: false });
            self.orders.push_back((key, Order::Hold));
        }
        self.settle();
    }

    /// Begins a closed loop: every session its first operation.
    fn open_closed_loop(&mut self, now: Nanoseconds) {
        while self.desk.wants_session() {
            let Some(number) = self.desk.next_closed(&self.shared) else { break };
            let key = self.open_session();
            self.assign(key, number, now, now);
        }
    }

    /// Counts what is still open and lets the others say goodbye.
    fn part(&mut self, now: Nanoseconds) {
        let counted = |scheduled: Nanoseconds| scheduled >= self.counting_from();
        let waiting = self.desk.waiting().filter(|&scheduled| counted(scheduled)).count() as u64;
        self.recording.unfinished += waiting;
        self.desk.forget();
        self.stage = Stage::Parting { until: now + PARTING };
        for key in self.places.keys() {
            let Some(place) = self.places.get(key) else { continue };
            match place.operation.take() {
                Some(operation) => {
                    self.recording.unfinished += u64::from(operation.counted);
                    self.remove(key);
                }
                None => self.orders.push_back((key, Order::Quit)),
            }
        }
        self.settle();
    }

    fn end_all(&mut self) {
        for key in self.places.keys() {
            self.remove(key);
        }
        self.settle();
    }

    // ------------------------------------------------------------ time

    fn counting_from(&self) -> Nanoseconds {
        self.begin + self.plan.warm_up.as_nanos() as Nanoseconds
    }

    /// Starts the operations of an open loop that are due.
    fn start_due(&mut self, now: Nanoseconds) {
        if self.stage != Stage::Running {
            return;
        }
        for _ in 0..STARTS_PER_TURN {
            let since = now.saturating_sub(self.begin);
            let Some((number, due)) = self.desk.due(since) else { break };
            let scheduled = self.begin + due;
            let second = self.recording.second_at(due);
            second.scheduled += 1;
            if scheduled >= self.counting_from() {
                self.recording.scheduled += 1;
                let late = self.shared.now().saturating_sub(scheduled);
                record(&mut self.recording.lateness, late);
            }
            let key = match self.idle_session() {
                Some(key) => key,
                None if self.desk.wants_session() => self.open_session(),
                None => {
                    let backlog = self.desk.wait(number, scheduled) as u64;
                    let second = self.recording.second_at(since);
                    second.backlog = second.backlog.max(backlog);
                    self.recording.backlog_max = self.recording.backlog_max.max(backlog);
                    continue;
                }
            };
            self.assign(key, number, scheduled, now);
        }
    }

    fn fire_timers(&mut self, now: Nanoseconds) {
        let delays = std::mem::take(&mut self.wires.delays);
        self.timers.extend(delays.iter().map(|&(at, wire)| Reverse((at, Due::Wire(wire)))));
        while let Some(&Reverse((at, due))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            match due {
                Due::Session(key, number) => self.deliver(key, Event::Timer(number)),
                Due::Wire(wire) => self.wires.resume(wire, None, now),
                Due::Deadline(key) => self.on_deadline(key, now),
                Due::Replace => self.replace(now),
            }
        }
    }

    /// How long the kernel may keep us.
    fn timeout(&mut self) -> Duration {
        if self.wires.has_news() || !self.orders.is_empty() {
            return Duration::ZERO;
        }
        let now = self.shared.now();
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let paced = self.wires.delays.iter().map(|(at, _)| *at).min();
        let arrival = match self.stage {
            Stage::Running => self.desk.next_due().map(|due| self.begin + due),
            Stage::Waiting => self.shared.begun().or(Some(now + 2_000_000)),
            Stage::Filling | Stage::Draining { .. } | Stage::Parting { .. } => None,
        };
        let next = [timer, paced, arrival].into_iter().flatten().min();
        let until = next.map_or(LOOK_UP, |at| Duration::from_nanos(at.saturating_sub(now)));
        until.min(LOOK_UP)
    }

    fn account(&mut self) {
        let now = self.shared.now();
        let (received, sent) = std::mem::take(&mut self.wires.moved);
        if !matches!(self.stage, Stage::Running | Stage::Draining { .. }) {
            return;
        }
        let since = now.saturating_sub(self.begin);
        let second = self.recording.second_at(since);
        second.received += received;
        second.sent += sent;
        second.busy = self.desk.busy() as u64;
        while (self.ticked + 1) as u64 * SECOND <= since {
            if let Some(ticks) = &self.ticks {
                let figures = self.recording.second(self.ticked).clone();
                // Nobody may be watching any more.
                let _unwatched = ticks.send(Tick { second: self.ticked, figures });
            }
            self.ticked += 1;
        }
    }

    // ------------------------------------------------------------ sessions and operations

    fn open_session(&mut self) -> SessionKey {
        self.desk.opened();
        let session = self.protocol.session(self.shared.next_session());
        self.places.insert(session, Role::Working)
    }

    fn idle_session(&mut self) -> Option<SessionKey> {
        while let Some(key) = self.desk.idle() {
            if self.places.get(key).is_some_and(|place| place.operation.is_none()) {
                return Some(key);
            }
        }
        None
    }

    fn assign(&mut self, key: SessionKey, number: u64, scheduled: Nanoseconds, now: Nanoseconds) {
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

    fn undertake(&mut self, key: SessionKey, operation: Operation) {
        let deadline = operation.began + self.plan.timeout.as_nanos() as Nanoseconds;
        let Some(place) = self.places.get(key) else { return };
        place.operation = Some(operation);
        if !std::mem::replace(&mut place.watched, true) {
            self.timers.push(Reverse((deadline, Due::Deadline(key))));
        }
    }

    fn on_deadline(&mut self, key: SessionKey, now: Nanoseconds) {
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

    fn on_done(&mut self, key: SessionKey, kind: usize, moved: Moved, now: Nanoseconds) {
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

    fn on_failed(&mut self, key: SessionKey, at: &'static str, what: &str, now: Nanoseconds) {
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
    fn offer(&mut self, key: SessionKey, now: Nanoseconds) {
        match self.desk.next_waiting(&self.shared) {
            Some((number, scheduled)) => self.assign(key, number, scheduled.unwrap_or(now), now),
            None => self.desk.is_idle(key),
        }
    }

    /// A session is over; another takes its place if there is something to do.
    fn finish(&mut self, key: SessionKey, now: Nanoseconds) {
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

    fn replace(&mut self, now: Nanoseconds) {
        if self.desk.wants_session()
            && let Some((number, scheduled)) = self.desk.next_waiting(&self.shared)
        {
            let key = self.open_session();
            self.assign(key, number, scheduled.unwrap_or(now), now);
        }
    }

    fn remove(&mut self, key: SessionKey) {
        let Some(place) = self.places.remove(key) else { return };
        for wire in place.links.into_iter().flatten() {
            self.wires.close(wire, false);
        }
        if place.role == Role::Working {
            self.desk.closed(place.operation.is_some());
        }
    }

    // ------------------------------------------------------------ events and actions

    /// Tells sessions everything there is to tell.
    fn settle(&mut self) {
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

    fn pass_on(&mut self, news: News) {
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

    fn deliver(&mut self, key: SessionKey, event: Event<'_>) {
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

    fn apply(&mut self, key: SessionKey, action: Action, now: Nanoseconds) {
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

    fn on_held(&mut self, key: SessionKey) {
        let Some(place) = self.places.get(key) else { return };
        if place.role == Role::Idling {
            place.role = Role::Held;
            place.operation = None;
            self.recording.held += 1;
            self.idle_opening = self.idle_opening.saturating_sub(1);
        }
    }

    fn set_link(&mut self, key: SessionKey, link: u8, wire: WireKey) {
        let place = self.places.get(key);
        if let Some(known) = place.and_then(|place| place.links.get_mut(usize::from(link))) {
            *known = Some(wire);
        }
    }

    fn drop_link(&mut self, key: SessionKey, link: u8, abruptly: bool) {
        let place = self.places.get(key);
        let known = place.and_then(|place| place.links.get_mut(usize::from(link)));
        if let Some(wire) = known.and_then(Option::take) {
            self.wires.close(wire, abruptly);
        }
    }

    fn on_link(&mut self, key: SessionKey, link: u8, change: impl FnOnce(&mut Wires, WireKey)) {
        let place = self.places.get(key);
        let known = place.and_then(|place| place.links.get(usize::from(link)).copied().flatten());
        if let Some(wire) = known {
            change(&mut self.wires, wire);
        }
    }
}
