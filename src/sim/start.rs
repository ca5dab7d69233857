//! sim::start – names by which a process starts real shards, so that its code compiles in tests.
//!
//! A simulated shard is started by [`super::Sim`]; nothing here can be made, let alone started.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Stream;

/// Sockets of all shards.
pub struct Listeners(Infallible);

impl Listeners {
    /// Refuses.
    pub fn bind(
        addresses: &[(u8, SocketAddr)],
        _shards: usize,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        Err((addresses[0].1, io::ErrorKind::Unsupported.into()))
    }

    /// Refuses.
    pub fn inherit(_inherited: Vec<(u8, OwnedFd)>, _shards: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Refuses.
    pub fn join(&mut self, _service: u8, _path: PathBuf, _fd: &OwnedFd) -> io::Result<()> {
        match self.0 {}
    }

    /// Unix sockets.
    pub fn paths(&self) -> &[(u8, PathBuf)] {
        match self.0 {}
    }

    /// Where they are bound.
    pub fn addresses(&self) -> &[(u8, SocketAddr)] {
        match self.0 {}
    }
}

/// How to start.
pub struct Plan {
    /// One processor per shard.
    pub cpus: Vec<usize>,
    /// Bound for as many shards.
    pub listeners: Listeners,
    /// Of no use here.
    pub preempt: Duration,
}

/// As on a real machine.
pub const PREEMPT: Duration = Duration::from_millis(100);

/// What one shard shows to others.
pub struct Board(Infallible);

impl Board {
    /// Panics of tasks.
    pub fn panics(&self) -> u64 {
        match self.0 {}
    }

    /// Wake-ups from a wrong sleep.
    pub fn rescues(&self) -> u64 {
        match self.0 {}
    }

    /// Connections.
    pub fn load(&self) -> usize {
        match self.0 {}
    }

    /// Makes [`noticed`] return.
    pub fn notify(&self) {
        match self.0 {}
    }

    /// Time since the last heartbeat.
    pub fn beat_age(&self) -> Duration {
        match self.0 {}
    }
}

/// What a shard runs.
pub type Main = dyn Fn(usize, Ready) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync;

/// How a shard says whether its start succeeded.
pub struct Ready(Infallible);

impl Ready {
    /// It serves.
    pub fn done(self) {
        match self.0 {}
    }

    /// It cannot.
    pub fn failed(self, _error: io::Error) {
        match self.0 {}
    }
}

/// Running shards.
pub struct Shards(Infallible);

impl Shards {
    /// Cannot be called: there are no [`Listeners`].
    pub fn start(plan: Plan, _main: Arc<Main>) -> io::Result<Self> {
        match plan.listeners.0 {}
    }

    /// What each shard shows.
    pub fn boards(&self) -> Arc<[Board]> {
        match self.0 {}
    }

    /// Tells them.
    pub fn notify(&self) {
        match self.0 {}
    }

    /// Have all ended?
    pub fn finished(&self) -> bool {
        match self.0 {}
    }
}

/// Returns when this shard was notified more often than `seen` times; the new count.
pub async fn noticed(seen: u64) -> u64 {
    let world = super::world();
    let notices = &world.notices;
    notices.1.until(|| (notices.0.get() > seen).then(|| notices.0.get())).await
}

/// Makes [`noticed`] return: what a supervisor does from its own thread.
pub fn notify() {
    let world = super::world();
    world.notices.0.set(world.notices.0.get() + 1);
    world.notices.1.notify();
}

/// Real shards accept; scripts give a session its connection.
pub fn accept(_handle: impl Fn(Stream, u8) + 'static) {
    unreachable!("a simulated shard accepts nothing");
}

/// The allocator of a test is left as it is.
pub fn give_memory_back() {}
