//! shard::preflight – can this machine run a shard at all?
//!
//! Looked at before the first executor starts, because glommio answers most of these with a panic.
//!
//! Promises: one finding per thing looked at, each with what to do about it; nothing is left changed
//! but the soft limits, which are raised to the hard ones.
//! Not here: ports, paths, accounts (`cli`).

use std::io;

use io_uring::{IoUring, Probe, opcode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::BLOCK_BYTES;

/// Rings and their queues of one shard, glommio's three included, which refuses to start with less.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Descriptors for a server that serves anybody: rings, logs, roots, and a few sessions.
const DESCRIPTORS_MIN: u64 = 128;
/// Descriptors that are not connections: per shard (rings, eventfds, listeners) and in total.
const DESCRIPTORS_PER_SHARD: u64 = 32;
/// The part of the descriptors kept for transfers (listener, data connection, file, directory each):
/// most sessions wait for a command and have one descriptor.
const TRANSFER_SHARE: u64 = 4;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, with less.
    Shortfall,
    /// Cannot work.
    Failure,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at and what was found.
    pub what: String,
    /// What to do about it; empty when good.
    pub remedy: String,
}

impl Finding {
    fn good(what: String) -> Self {
        Self { level: Level::Good, what, remedy: String::new() }
    }

    fn bad(level: Level, what: String, remedy: &str) -> Self {
        Self { level, what, remedy: remedy.to_owned() }
    }
}

/// What the machine allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Everything looked at.
    pub findings: Vec<Finding>,
    /// Connections that fit the descriptor limit.
    pub connections_max: usize,
}

/// Processors this process may run on, in order.
#[must_use]
pub fn processors() -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else {
        return vec![0];
    };
    let allowed: Vec<usize> =
        (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect();
    if allowed.is_empty() { vec![0] } else { allowed }
}

/// Looks at everything a shard needs, for `shards` shards and `connections` connections.
#[must_use]
pub fn look(shards: usize, connections: usize) -> Preflight {
    let mut findings = vec![ring()];
    let (descriptors, fit) = descriptors(shards, connections);
    findings.push(descriptors);
    findings.push(memlock(shards));
    findings.push(paths());
    Preflight { findings, connections_max: fit }
}

fn ring() -> Finding {
    let ring: IoUring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => return no_ring(&error),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return no_ring(&error);
    }
    let needed = [
        ("multishot accept", opcode::Accept::CODE),
        ("receive", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("openat2", opcode::OpenAt2::CODE),
        ("rename", opcode::RenameAt::CODE),
        ("ring messages", opcode::MsgRingData::CODE),
        // Came with Linux 6.0, together with multishot receive, which cannot be probed.
        ("zero-copy send", opcode::SendZc::CODE),
    ];
    if let Some((name, _)) = needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        let what = format!("io_uring lacks {name} (kernel {})", release());
        return Finding::bad(Level::Failure, what, "run Linux 6.1 or newer");
    }
    Finding::good(format!("io_uring works (kernel {})", release()))
}

fn release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

fn no_ring(error: &io::Error) -> Finding {
    let disabled =
        std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM), "1" | "2") => "sysctl -w kernel.io_uring_disabled=0",
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp profile denies it, as container runtimes do: allow io_uring_setup, io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOSYS), _) => {
            "run Linux 6.1 or newer with CONFIG_IO_URING=y, or allow the call in the seccomp profile"
        }
        (Some(libc::ENOMEM), _) => "raise the locked-memory limit: ulimit -l, LimitMEMLOCK=",
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "raise the descriptor limit: ulimit -n, LimitNOFILE="
        }
        _ => "see io_uring_setup(2)",
    };
    Finding::bad(
        Level::Failure,
        format!("io_uring is not available here: io_uring_setup: {error}"),
        remedy,
    )
}

fn descriptors(shards: usize, connections: usize) -> (Finding, usize) {
    let limit = raise(Resource::RLIMIT_NOFILE);
    let own = DESCRIPTORS_PER_SHARD * shards as u64;
    let fit =
        usize::try_from(limit.saturating_sub(own + limit / TRANSFER_SHARE)).unwrap_or(usize::MAX);
    let needed = DESCRIPTORS_MIN.max(2 * own);
    let finding = if limit < needed {
        let what = format!("only {limit} descriptors are allowed, {needed} are needed");
        Finding::bad(Level::Failure, what, "raise the hard limit: ulimit -Hn, LimitNOFILE=")
    } else if fit < connections {
        let what = format!(
            "{limit} descriptors allow {fit} connections, max_connections is {connections}: clamped"
        );
        Finding::bad(
            Level::Shortfall,
            what,
            "raise the hard limit (ulimit -Hn, LimitNOFILE=) or lower max_connections",
        )
    } else {
        Finding::good(format!("{limit} descriptors are allowed"))
    };
    (finding, fit.min(connections))
}

fn memlock(shards: usize) -> Finding {
    let limit = raise(Resource::RLIMIT_MEMLOCK);
    let needed = if nix::unistd::geteuid().is_root() {
        MEMLOCK_BYTES_MIN
    } else {
        MEMLOCK_BYTES_MIN * shards as u64
    };
    if limit < needed {
        let what = format!(
            "only {} KiB may be locked in memory, {} KiB are needed for {shards} shards",
            limit >> 10,
            needed >> 10
        );
        return Finding::bad(
            Level::Failure,
            what,
            "raise the hard limit (ulimit -Hl, LimitMEMLOCK=) or lower [server] shards",
        );
    }
    if registrable_blocks(shards) * BLOCK_BYTES * shards < super::buffers::arena_bytes() * shards {
        let what = format!(
            "{} KiB may be locked in memory, not enough to register every upload buffer",
            limit >> 10
        );
        return Finding::bad(
            Level::Shortfall,
            what,
            "raise the hard limit (ulimit -Hl, LimitMEMLOCK=) for cheaper uploads",
        );
    }
    Finding::good("enough memory may be locked".to_owned())
}

/// Blocks that each of `shards` shards may register with its ring. Half of what rings leave: the limit
/// is shared by all processes of a user.
pub(super) fn registrable_blocks(shards: usize) -> usize {
    if nix::unistd::geteuid().is_root() {
        return usize::MAX / BLOCK_BYTES / shards.max(1);
    }
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
    let left = limit.saturating_sub(MEMLOCK_BYTES_MIN * shards as u64) / 2;
    usize::try_from(left / shards.max(1) as u64).unwrap_or(usize::MAX) / BLOCK_BYTES
}

/// Raises a soft limit to its hard one; the value now in force.
fn raise(resource: Resource) -> u64 {
    let Ok((soft, hard)) = getrlimit(resource) else { return u64::MAX };
    if soft < hard && setrlimit(resource, hard, hard).is_ok() {
        return hard;
    }
    soft
}

fn paths() -> Finding {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    match openat2(nix::fcntl::AT_FDCWD, ".", how) {
        Ok(_) => Finding::good("openat2 confines paths".to_owned()),
        Err(error) => Finding::bad(
            Level::Failure,
            format!("openat2 does not work here: {error}"),
            "run Linux 5.6 or newer, and allow openat2 in the seccomp profile",
        ),
    }
}
