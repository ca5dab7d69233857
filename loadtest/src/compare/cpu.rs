//! compare::cpu – how much processor time a server has used, all its processes included.
//!
//! Method. Every server starts inside a control group of its own: the kernel adds the run time of
//! every task in it, in nanoseconds, as it runs. Nothing is lost: session processes that live,
//! died, were reaped, were orphaned or sit in a PID namespace of their own (vsftpd), and io_uring
//! workers (threads of the process, hence of the group) all count. Version 1 (`cpuacct`) is
//! preferred, version 2 (`cpu.stat`) is as good; without either the process tree is summed up.
//!
//! The tree: `loadtest` is a subreaper, so every descendant of a server stays below it and is
//! reaped by it if nobody else does. Used so far = rusage of all reaped children + user, system,
//! and reaped-children time of every live descendant. It misses children of a parent that ignores
//! SIGCHLD, and live tasks count in clock ticks (10 ms). It is always read too, as a cross-check.
//!
//! Not counted by either, for any server: kernel threads (write-back, the loop device, the end of
//! network namespaces), and softirq work that happened to interrupt somebody else.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::processes;
use crate::sys::{self, Whose};

/// Where control groups may be made, the preferred first.
pub const ROOTS: [&str; 3] = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// A control group for one server, removed on drop.
pub struct Group {
    folder: PathBuf,
    version: Version,
    members: fs::File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// A new group, or `None` where control groups cannot be made.
    pub fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", super::room::PREFIX, std::process::id());
        let places = [
            (ROOTS[0], "cpuacct.usage", Version::One),
            (ROOTS[1], "cpu.stat", Version::Two),
            (ROOTS[2], "cpu.stat", Version::Two),
        ];
        places.into_iter().find_map(|(root, counter, version)| {
            if !Path::new(root).join("cgroup.procs").exists() {
                return None;
            }
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            let members = fs::OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
            match members {
                Ok(members) if folder.join(counter).exists() => {
                    Some(Self { folder, version, members })
                }
                _ => {
                    let _ = fs::remove_dir(&folder);
                    None
                }
            }
        })
    }

    fn used(&self) -> Result<Duration, String> {
        let file = match self.version {
            Version::One => "cpuacct.usage",
            Version::Two => "cpu.stat",
        };
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let parsed = match self.version {
            Version::One => text.trim().parse().ok().map(Duration::from_nanos),
            Version::Two => text
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "))
                .and_then(|number| number.parse().ok().map(Duration::from_micros)),
        };
        parsed.ok_or_else(|| format!("{}: no figure in it", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last task may need a moment to leave the group after it was reaped.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("could not remove {}: remove it by hand (rmdir)", self.folder.display());
    }
}

/// Reads the processor time of one server.
pub struct Meter {
    group: Option<Group>,
}

/// One reading, by both methods.
#[derive(Clone, Copy)]
pub struct Reading {
    group: Option<Duration>,
    tree: Duration,
}

impl Meter {
    /// A meter, with a group if the machine has them.
    pub fn new() -> Self {
        Self { group: Group::make() }
    }

    /// The descriptor through which a child joins the group.
    pub fn door(&self) -> Option<i32> {
        self.group.as_ref().map(|group| group.members.as_raw_fd())
    }

    /// What the method of this machine is called in the report.
    pub fn method(&self) -> &'static str {
        match self.group.as_ref().map(|group| group.version) {
            Some(Version::One) => "control group of the server's own (v1, cpuacct.usage)",
            Some(Version::Two) => "control group of the server's own (v2, cpu.stat)",
            None => "process tree (rusage of reaped children + /proc/PID/stat)",
        }
    }

    /// Processor time used so far.
    pub fn read(&self) -> Result<Reading, String> {
        let group = self.group.as_ref().map(Group::used).transpose()?;
        Ok(Reading { group, tree: tree_used()? })
    }
}

impl Reading {
    /// Time since `earlier` by the best method there is.
    pub fn since(&self, earlier: &Self) -> Duration {
        match (self.group, earlier.group) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => self.tree.saturating_sub(earlier.tree),
        }
    }

    /// Time since `earlier` by the process tree, the cross-check.
    pub fn tree_since(&self, earlier: &Self) -> Duration {
        self.tree.saturating_sub(earlier.tree)
    }
}

fn tree_used() -> Result<Duration, String> {
    let reaped = sys::cpu_time(Whose::Reaped).map_err(|error| format!("getrusage: {error}"))?;
    let ticks: u64 = processes::descendants().iter().map(|process| process.ticks).sum();
    Ok(reaped + Duration::from_secs_f64(ticks as f64 / sys::ticks_per_second() as f64))
}
