//! compare::processes – the processes below this one, from `/proc`.
//!
//! As `loadtest` is a subreaper and runs one server at a time, its descendants *are* that server.
//!
//! Promises: a process that ends while it is looked at is left out, never an error.

use std::collections::HashMap;
use std::fs;

/// One live (or dead, not yet reaped) descendant.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    /// User, system and reaped-children time in clock ticks.
    pub ticks: u64,
    pub zombie: bool,
    parent: i32,
}

/// Every process below this one.
pub fn descendants() -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        parse(pid, &fs::read_to_string(entry.path().join("stat")).ok()?)
    }) {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![std::process::id().cast_signed()];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            parents.push(process.pid);
            found.push(process);
        }
    }
    found
}

/// Proportional set size of all descendants: private pages, and shared ones divided among users.
pub fn pss_kib() -> u64 {
    let rollup = |process: &Process| {
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        field(&fs::read_to_string(path).unwrap_or_default(), "Pss:")
    };
    descendants().iter().map(rollup).sum()
}

/// The number after `name` in a file of `Name:  123 kB` lines; 0 if it is not there.
pub fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Parses `/proc/PID/stat`; the name in parentheses may hold anything, so count from its end.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| rest.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: rest.get(1)?.parse().ok()?,
        zombie: *rest.first()? == "Z",
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let stat = "7 (a) b) S 3 7 7 0 -1 0 1 2 3 4 10 20 30 40 20 0 5 0 99 0 0";
        let process = parse(7, stat).unwrap();
        assert_eq!((process.parent, process.ticks), (3, 100));
        assert!(!process.zombie);
    }

    #[test]
    fn fields() {
        assert_eq!(field("Rss:  12 kB\nPss:   34 kB\n", "Pss:"), 34);
        assert_eq!(field("", "Pss:"), 0);
    }
}
