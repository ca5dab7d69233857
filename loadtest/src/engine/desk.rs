//! engine::desk – which operation comes next, and what the threads of a run share.
//!
//! Promises: operations are numbered once over all threads; an operation that waits is not lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use crate::engine::plan::{Load, Plan};
use crate::engine::session::Nanoseconds;
use crate::engine::wire::SessionKey;

/// From the moment the last thread is ready until the run begins, so that all of them see it.
const BEGIN_AFTER: Nanoseconds = 10_000_000;

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    origin: Instant,
    schedule: Vec<Nanoseconds>,
    count_max: u64,
    next_operation: AtomicU64,
    next_session: AtomicU64,
    not_ready: AtomicUsize,
    begin: OnceLock<Nanoseconds>,
    stopped: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Shared {
    /// For a run of that plan, with its schedule.
    pub fn new(plan: &Plan, schedule: Vec<Nanoseconds>) -> Self {
        Self {
            origin: Instant::now(),
            schedule,
            count_max: plan.count_max(),
            next_operation: AtomicU64::new(0),
            next_session: AtomicU64::new(0),
            not_ready: AtomicUsize::new(plan.threads),
            begin: OnceLock::new(),
            stopped: AtomicBool::new(false),
            why: Mutex::new(None),
        }
    }

    /// The time.
    pub fn now(&self) -> Nanoseconds {
        self.origin.elapsed().as_nanos() as Nanoseconds
    }

    /// The number of the next session.
    pub fn next_session(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// This thread has its idle sessions; when all have, the run begins.
    pub fn ready(&self, now: Nanoseconds) {
        if self.not_ready.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.begin.get_or_init(|| now + BEGIN_AFTER);
        }
    }

    /// When the run begins, if that is known.
    pub fn begun(&self) -> Option<Nanoseconds> {
        self.begin.get().copied()
    }

    /// Ends the run early.
    pub fn stop(&self, why: &str) {
        if let Ok(mut reason) = self.why.lock() {
            reason.get_or_insert_with(|| why.to_owned());
        }
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the run shall end early.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Why it was to end early.
    pub fn stopped(&self) -> Option<String> {
        self.why.lock().ok().and_then(|why| why.clone())
    }
}

/// The operations of one thread.
#[derive(Debug)]
pub struct Desk {
    closed_loop: bool,
    /// Numbers and times of an open loop, of this thread.
    arrivals: VecDeque<(u64, Nanoseconds)>,
    /// Arrivals without a session.
    backlog: VecDeque<(u64, Nanoseconds)>,
    /// Sessions without an operation, the last used last; some may be over by now.
    idle: Vec<SessionKey>,
    sessions_max: usize,
    sessions: usize,
    busy: usize,
    closed_over: bool,
}

impl Desk {
    /// For that thread of the run.
    pub fn new(plan: &Plan, shared: &Shared, thread: usize, sessions_max: usize) -> Self {
        let own = (thread..shared.schedule.len()).step_by(plan.threads.max(1));
        let arrivals = own.map(|index| (index as u64, shared.schedule[index])).collect();
        Self {
            closed_loop: matches!(plan.load, Load::Closed { .. }),
            arrivals,
            backlog: VecDeque::new(),
            idle: Vec::new(),
            sessions_max,
            sessions: 0,
            busy: 0,
            closed_over: false,
        }
    }

    /// Whether operations start by the clock.
    pub fn is_open_loop(&self) -> bool {
        !self.closed_loop
    }

    /// The next arrival that is due at that time of the run.
    pub fn due(&mut self, since: Nanoseconds) -> Option<(u64, Nanoseconds)> {
        self.arrivals.pop_front_if(|(_, due)| *due <= since)
    }

    /// When the next arrival is due.
    pub fn next_due(&self) -> Option<Nanoseconds> {
        self.arrivals.front().map(|(_, due)| *due)
    }

    /// An arrival waits for a session; how many do.
    pub fn wait(&mut self, number: u64, scheduled: Nanoseconds) -> usize {
        self.backlog.push_back((number, scheduled));
        self.backlog.len()
    }

    /// Scheduled times of what waits.
    pub fn waiting(&self) -> impl Iterator<Item = Nanoseconds> {
        self.backlog.iter().map(|(_, scheduled)| *scheduled)
    }

    /// The next operation of a closed loop.
    pub fn next_closed(&mut self, shared: &Shared) -> Option<u64> {
        if !self.closed_loop || self.closed_over {
            return None;
        }
        let number = shared.next_operation.fetch_add(1, Ordering::Relaxed);
        if number >= shared.count_max {
            self.closed_over = true;
            return None;
        }
        Some(number)
    }

    /// What a session that is free should do: with its scheduled time, or of a closed loop.
    pub fn next_waiting(&mut self, shared: &Shared) -> Option<(u64, Option<Nanoseconds>)> {
        let waiting = self.backlog.pop_front();
        waiting
            .map(|(number, scheduled)| (number, Some(scheduled)))
            .or_else(|| self.next_closed(shared).map(|number| (number, None)))
    }

    /// Whether another session may be opened.
    pub fn wants_session(&self) -> bool {
        self.sessions < self.sessions_max
    }

    /// A session was opened.
    pub fn opened(&mut self) {
        self.sessions += 1;
    }

    /// A session is over; whether with an operation.
    pub fn closed(&mut self, was_busy: bool) {
        self.sessions = self.sessions.saturating_sub(1);
        if was_busy {
            self.ended();
        }
    }

    /// A session that may be free.
    pub fn idle(&mut self) -> Option<SessionKey> {
        self.idle.pop()
    }

    /// This session is free.
    pub fn is_idle(&mut self, key: SessionKey) {
        self.idle.push(key);
    }

    /// An operation began.
    pub fn began(&mut self) {
        self.busy += 1;
    }

    /// An operation ended.
    pub fn ended(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    /// Operations that are open.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// Starts nothing more of a closed loop.
    pub fn no_more_closed(&mut self) {
        self.closed_over = true;
    }

    /// Whether nothing more is to be started, now or later.
    pub fn is_exhausted(&self) -> bool {
        if self.closed_loop { self.closed_over } else { self.arrivals.is_empty() }
    }

    /// Whether nothing is open and nothing waits.
    pub fn is_quiet(&self) -> bool {
        self.busy == 0 && self.backlog.is_empty()
    }

    /// Forgets what waits and what would come.
    pub fn forget(&mut self) {
        self.backlog.clear();
        self.arrivals.clear();
        self.closed_over = true;
    }
}
