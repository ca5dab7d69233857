//! machine – what a reader must know about this machine to judge figures taken on it.
//!
//! Promises: reads `/proc` and `/sys` only; what cannot be read is called unknown.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// The machine that generated the load.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub host: String,
    pub kernel: String,
    pub processor: String,
    pub processors: usize,
    pub memory_mib: u64,
    pub congestion_control: String,
    /// Of the working folder.
    pub file_system: String,
    pub load_average: String,
    pub loadtest: &'static str,
}

impl Machine {
    /// This one, now.
    pub fn read() -> Self {
        Self {
            host: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib(),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            file_system: std::env::current_dir()
                .map_or_else(|_| unknown(), |here| file_system(&here)),
            load_average: load_average(),
            loadtest: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Names and values for a person.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.host.clone()),
            ("kernel", self.kernel.clone()),
            ("processor", format!("{} × {}", self.processors, self.processor)),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("congestion control", self.congestion_control.clone()),
            ("file system", self.file_system.clone()),
            ("load average before", self.load_average.clone()),
            ("loadtest", self.loadtest.to_owned()),
        ]
    }
}

/// The model of the processors.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(unknown, |text| text.trim_matches([' ', '\t', ':']).to_owned())
}

/// Memory of the machine.
pub fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) / 1024
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load_average() -> String {
    line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The only line of a file.
pub fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// This program's command line as one would type it; a password in a URL is left out.
pub fn command() -> String {
    let words = std::env::args().skip(1).map(|word| shown(&word));
    std::iter::once("loadtest".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word of a command line: quoted if need be, without a URL's password.
fn shown(word: &str) -> String {
    let mut word = word.to_owned();
    if let Ok(mut url) = url::Url::parse(&word)
        && url.password().is_some()
        && url.set_password(Some("PASSWORD")).is_ok()
    {
        word = url.to_string();
    }
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Type of the file system that `folder` is on: the longest mount point above it.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    // Of several mounts at one point the last is seen.
    mounts.max_by_key(|(length, _)| *length).map_or_else(unknown, |(_, kind)| kind.to_owned())
}

fn unknown() -> String {
    "unknown".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let word = shown("ftp://user:secret@127.0.0.1:21/pub/");
        assert!(!word.contains("secret") && word.contains("user:"), "{word}");
        assert_eq!(shown("--rate"), "--rate");
        assert_eq!(shown("a b"), "'a b'");
        assert_eq!(shown("it's"), r"'it'\''s'");
        assert_eq!(shown(""), "''");
    }

    #[test]
    fn something_is_known() {
        let machine = Machine::read();
        assert!(machine.processors > 0 && machine.memory_mib > 0, "{machine:?}");
        assert_ne!(machine.file_system, "unknown");
    }
}
