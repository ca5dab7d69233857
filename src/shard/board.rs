//! shard::board – what a shard shows to the rest of the process, and how others knock.
//!
//! Promises: everything here may be read and called from any thread.
//! Not here: who looks (`pacemaker`, `server::run`), what follows from a knock (`start`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::now;
use super::pulse::Pulse;

/// What a shard shows to the rest of the process.
pub struct Board {
    /// Connections it has, or that are on their way to it.
    pub(super) load: Arc<AtomicUsize>,
    pub(super) ring_fd: AtomicI32,
    /// It starts or ends: it has a heartbeat, though it may have no connections.
    pub(super) wakeful: Arc<AtomicBool>,
    ended: AtomicBool,
    /// Panics caught in its tasks.
    panics: AtomicU64,
    beat_ns: AtomicU64,
    notices: AtomicU64,
    pub(super) pulse: Arc<Pulse>,
    /// The ring's completions signal it while the driver is parked.
    pub(super) wake: EventFd,
    /// Other threads write to it; the ring reads it.
    pub(super) knock: EventFd,
}

impl Board {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            load: Arc::new(AtomicUsize::new(0)),
            ring_fd: AtomicI32::new(-1),
            wakeful: Arc::new(AtomicBool::new(true)),
            ended: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            beat_ns: AtomicU64::new(now().nanos()),
            notices: AtomicU64::new(0),
            pulse: Arc::default(),
            // Blocking: the executor reads it through its ring, and O_NONBLOCK would turn that into EAGAIN.
            wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?,
            knock: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Connections it has, or that are on their way to it.
    #[must_use]
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// How often its executor had to be woken from a sleep with runnable tasks.
    #[must_use]
    pub fn rescues(&self) -> u64 {
        self.pulse.rescues()
    }

    /// Panics caught in its tasks.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Time since it last proved that executor, driver and ring go round.
    #[must_use]
    pub fn beat_age(&self) -> Duration {
        Duration::from_nanos(now().nanos().saturating_sub(self.beat_ns.load(Ordering::Relaxed)))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn beat(&self) {
        self.beat_ns.store(now().nanos(), Ordering::Relaxed);
    }

    /// Makes the shard look for what other threads have for it. From any thread.
    pub(super) fn knock(&self) {
        // A full counter (2^64 - 2 wake-ups unread) is the only reason not to, and then it is awake.
        if let Err(error) = self.knock.write(1) {
            tracing::error!(%error, "cannot wake a shard");
        }
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn notices(&self) -> u64 {
        self.notices.load(Ordering::Acquire)
    }

    /// Makes [`super::noticed`] return on that shard.
    pub fn notify(&self) {
        self.notices.fetch_add(1, Ordering::AcqRel);
        self.knock();
    }
}
