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
//! Not here: operations (`operations`), what sessions are told (`dialogue`), sockets (`wires`), threads and the
//! clock they share (`mod`).

mod dialogue;
mod operations;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::desk::{Desk, Shared};
use crate::engine::places::{Operation, Places, Role};
use crate::engine::plan::Plan;
use crate::engine::recorder::{Recording, record};
use crate::engine::session::{Action, Event, Io, Nanoseconds, Protocol};
use crate::engine::wire::{SessionKey, WireKey};
use crate::engine::wires::Wires;
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
}
