//! compare::environment – what a reader must know about the machine to judge the figures.
//!
//! Promises: reads `/proc` only; what cannot be read is called unknown.

use serde::Serialize;

use crate::machine;

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
        Self {
            kernel: machine::line("/proc/sys/kernel/osrelease"),
            cpu: machine::processor(),
            cpus,
            memory_mib: machine::memory_mib(),
            congestion: "cubic, for every server and the generator",
            former_congestion: "unknown".into(),
            file_system: "journalled ext4 (noatime) in a loop-mounted image, one for all servers",
            load_before: machine::load_average(),
            load_after: "unknown".into(),
            command: command(),
        }
    }

    /// Reads what is known only afterwards.
    pub fn finish(&mut self) {
        self.load_after = machine::load_average();
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

/// The command as one would type it.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo run --release -p loadtest -- {}", arguments.join(" "))
}
