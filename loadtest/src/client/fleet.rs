//! client::fleet – many sessions, one thread, one epoll.
//!
//! One thread, because a busy generator is woken least and then disturbs least what it measures.
//!
//! Promises: every call ends by its time limit; the first error of any session ends the call with
//! that error; an interrupt by the user ends it as well.
//! Not here: processor time and memory (`compare`).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::session::{Context, Job, Progress, Session};
use crate::sys::{self, Epoll};

/// Bytes of the receive buffer that all sessions share.
const SCRATCH_BYTES: usize = 256 * 1024;
/// How often the clock and the interrupt flag are looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Source addresses, taken in turn, so that no address runs out of ports.
pub const SOURCES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
];

/// What a call to [`Fleet::run`] did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub jobs: u64,
    pub bytes: u64,
    pub elapsed: Duration,
}

/// Sessions with one server.
pub struct Fleet {
    target: SocketAddrV4,
    limit: Duration,
    epoll: Epoll,
    sessions: Vec<Option<Session>>,
    scratch: Vec<u8>,
    ready: Vec<u64>,
    progress: Vec<(usize, Progress)>,
}

impl Fleet {
    /// A fleet without sessions; each of its calls may take `limit`.
    pub fn new(target: SocketAddrV4, limit: Duration) -> Result<Self, String> {
        Ok(Self {
            target,
            limit,
            epoll: Epoll::new().map_err(|error| format!("epoll: {error}"))?,
            sessions: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::new(),
            progress: Vec::new(),
        })
    }

    /// Logs in until `count` sessions are held, at most `at_once` logins under way.
    pub fn log_in(&mut self, count: usize, at_once: usize) -> Result<(), String> {
        let deadline = Instant::now() + self.limit;
        let first = self.sessions.len();
        self.sessions.reserve_exact(count.saturating_sub(first));
        let mut held = first;
        while held < count {
            while self.sessions.len() < count && self.sessions.len() - held < at_once {
                self.sessions.push(None);
                self.open(self.sessions.len() - 1, true)?;
            }
            self.turn(deadline)?;
            held += self.progress.iter().filter(|(_, p)| matches!(p, Progress::LoggedIn)).count();
        }
        Ok(())
    }

    /// Deals `jobs` out to the first `most` held sessions until all are done.
    pub fn run(
        &mut self,
        most: usize,
        jobs: &mut dyn Iterator<Item = Job>,
    ) -> Result<Totals, String> {
        self.run_keeping(most, jobs, &mut |_| Ok(()))
    }

    /// As [`Fleet::run`]; hands what jobs with `keep` received to `check`.
    pub fn run_keeping(
        &mut self,
        most: usize,
        jobs: &mut dyn Iterator<Item = Job>,
        check: &mut dyn FnMut(Vec<u8>) -> Result<(), String>,
    ) -> Result<Totals, String> {
        let begin = Instant::now();
        let mut totals = Totals::default();
        let mut busy = 0_usize;
        for session in self.sessions.iter_mut().take(most).flatten() {
            let Some(job) = jobs.next() else { break };
            session.start(job)?;
            busy += 1;
        }
        while busy > 0 {
            self.turn(begin + self.limit)?;
            for (index, progress) in self.progress.drain(..) {
                let Progress::Done(bytes, kept) = progress else {
                    continue;
                };
                totals.jobs += 1;
                totals.bytes += bytes;
                check(kept)?;
                match (jobs.next(), &mut self.sessions[index]) {
                    (Some(job), Some(session)) => session.start(job)?,
                    _ => busy -= 1,
                }
            }
        }
        totals.elapsed = begin.elapsed();
        Ok(totals)
    }

    /// Connects, logs in and quits `total` times, `at_once` at once. The fleet must be empty.
    pub fn cycle(&mut self, total: u64, at_once: usize) -> Result<Totals, String> {
        let begin = Instant::now();
        let mut totals = Totals::default();
        let mut opened = 0_u64;
        for index in 0..at_once.min(usize::try_from(total).unwrap_or(usize::MAX)) {
            self.sessions.push(None);
            self.open(index, false)?;
            opened += 1;
        }
        while totals.jobs < total {
            self.turn(begin + self.limit)?;
            for (index, progress) in std::mem::take(&mut self.progress) {
                match (progress, &mut self.sessions[index]) {
                    (Progress::LoggedIn, Some(session)) => session.quit()?,
                    (Progress::Closed, slot) => {
                        *slot = None;
                        totals.jobs += 1;
                        if opened < total {
                            self.open(index, false)?;
                            opened += 1;
                        }
                    }
                    _ => {}
                }
            }
        }
        self.sessions.clear();
        totals.elapsed = begin.elapsed();
        Ok(totals)
    }

    /// Says QUIT on every session and waits for the server to close.
    pub fn quit(mut self) -> Result<(), String> {
        let deadline = Instant::now() + self.limit;
        let mut open = 0_usize;
        for session in self.sessions.iter_mut().flatten() {
            session.quit()?;
            open += 1;
        }
        while open > 0 {
            self.turn(deadline)?;
            for (index, progress) in self.progress.drain(..) {
                if matches!(progress, Progress::Closed) {
                    self.sessions[index] = None;
                    open -= 1;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize, binary: bool) -> Result<(), String> {
        let source = Some(SOURCES[index % SOURCES.len()]);
        let (epoll, scratch) = (&self.epoll, &mut self.scratch[..]);
        let context = Context { epoll, target: self.target, scratch };
        let session = Session::open(&context, index as u64 * 2, source, binary)?;
        self.sessions[index] = Some(session);
        Ok(())
    }

    /// Waits once and leaves what became of it in `progress`.
    fn turn(&mut self, deadline: Instant) -> Result<(), String> {
        self.progress.clear();
        if sys::interrupted() {
            return Err("interrupted".into());
        }
        if Instant::now() > deadline {
            return Err(format!("not finished within {} s", self.limit.as_secs()));
        }
        let waited = self.epoll.wait(LOOK_EVERY, &mut self.ready);
        waited.map_err(|error| format!("epoll: {error}"))?;
        for &token in &self.ready {
            let index = (token / 2) as usize;
            let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            let (epoll, scratch) = (&self.epoll, &mut self.scratch[..]);
            let mut context = Context { epoll, target: self.target, scratch };
            let progress = match token % 2 {
                0 => session.on_control(&mut context)?,
                _ => session.on_data(&mut context)?,
            };
            if !matches!(progress, Progress::Waiting) {
                self.progress.push((index, progress));
            }
        }
        Ok(())
    }
}
