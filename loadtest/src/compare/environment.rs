//! compare::environment – what a reader must know about the machine to judge the figures.
//!
//! Promises: reads `/proc` only; what cannot be read is called unknown.

use std::fs;

use serde::Serialize;

use super::processes::field;

/// The machine and the moment.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_mib: u64,
    pub congestion: &'static str,
    pub former_congestion: String,
    pub file_system: &'static str,
    pub load_before: String,
    pub load_after: String,
    pub command: String,
}

impl Environment {
    /// Reads what does not depend on the comparison.
    pub fn read() -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: model.map_or_else(unknown, |text| text.trim_matches([' ', '\t', ':']).to_owned()),
            cpus,
            memory_mib: field(&memory, "MemTotal:") / 1024,
            congestion: "cubic, for every server and the generator",
            former_congestion: unknown(),
            file_system: "journalled ext4 (noatime) in a loop-mounted image, one for all servers",
            load_before: load(),
            load_after: unknown(),
            command: command(),
        }
    }

    /// Reads what is known only afterwards.
    pub fn finish(&mut self) {
        self.load_after = load();
    }

    /// Names and values for a person.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("command", self.command.clone()),
            ("kernel", self.kernel.clone()),
            ("processor", format!("{} × {}", self.cpus, self.cpu)),
            ("memory", format!("{} MiB", self.memory_mib)),
            (
                "congestion control",
                format!("{} (restored to {})", self.congestion, self.former_congestion),
            ),
            ("file system", self.file_system.to_owned()),
            ("load averages", format!("{} before, {} after", self.load_before, self.load_after)),
        ]
    }
}

fn unknown() -> String {
    "unknown".into()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// Load averages of 1, 5 and 15 minutes.
fn load() -> String {
    let text = read("/proc/loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The command as one would type it.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo run --release -p loadtest -- {}", arguments.join(" "))
}
