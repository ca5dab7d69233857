//! compare::figures – the rows of work, the figures they yield, and what sluicegate is to reach.
//!
//! Promises: the table of figures is the only place that knows units, order and targets.
//! Not here: how they are measured (`rows`), how they are printed (`report`).

use clap::ValueEnum;
use serde::Serialize;

/// A kind of work; `--rows` chooses among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// RETR of 2 GiB in files of 256 MiB, 8 sessions
    RetrLarge,
    /// RETR of 16 KiB files, 32 sessions, EPSV each
    RetrSmall,
    /// STOR of 8 MiB files, 8 sessions
    StorLarge,
    /// STOR of 64 KiB files, a new name each, 16 sessions
    StorSmall,
    /// Connect, login and quit, 16 at once
    Login,
    /// LIST of 2,000 entries, 4 sessions
    List,
    /// Logged-in idle sessions: memory
    Idle,
    /// 10,000 idle sessions at once (sluicegate only)
    #[value(name = "idle-10k")]
    #[serde(rename = "idle-10k")]
    Idle10k,
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

const PER_FILE: &str = "CPU µs per file";
const EACH: &str = "KiB each, kernel included";
const EACH_SYSTEM: &str = "KiB each, system-wide (needs a quiet machine)";

impl Row {
    /// The work as the table names it.
    fn work(self) -> &'static str {
        match self {
            Self::RetrLarge => "RETR 2 GiB, 8 sessions",
            Self::RetrSmall => "RETR 16 KiB files, 32 sessions, EPSV each",
            Self::StorLarge => "STOR 8 MiB, 8 sessions, not durable",
            Self::StorSmall => "STOR 64 KiB, a new name each, 16 sessions, not durable",
            Self::Login => "connect + login + quit, 16 at once",
            Self::List => "LIST of 2,000 entries, 4 sessions",
            Self::Idle => "idle logged-in sessions",
            Self::Idle10k => "10,000 idle sessions held",
        }
    }
}

/// One printed figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    RetrLargeCpu,
    RetrLargeRate,
    RetrSmallCpu,
    RetrSmallRate,
    StorLargeCpu,
    StorLargeRate,
    StorSmallCpu,
    StorSmallRate,
    LoginCpu,
    LoginRate,
    ListCpu,
    ListRate,
    IdleAttributed,
    IdleSystem,
    HeldMemory,
    HeldServerMemory,
    HeldRateBefore,
    HeldRate,
}

/// What a figure says and what is good.
pub struct Meaning {
    pub row: Row,
    pub work: &'static str,
    pub unit: &'static str,
    pub target: Target,
    pub decimals: usize,
}

/// What sluicegate is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Shown for information.
    None,
    /// At most this many times the lowest peer figure; the text names a stretch target.
    Below(f64, &'static str),
    /// At least this many times the highest peer figure.
    Above(f64),
    /// At most this figure, whatever the peers do; the ratio is shown beside it.
    AtMost(f64, &'static str),
    /// At least this figure, whatever the peers do.
    AtLeast(f64),
}

/// Every figure in the order of the report.
pub const ALL: [Figure; 18] = [
    Figure::RetrLargeCpu,
    Figure::RetrLargeRate,
    Figure::RetrSmallCpu,
    Figure::RetrSmallRate,
    Figure::StorLargeCpu,
    Figure::StorLargeRate,
    Figure::StorSmallCpu,
    Figure::StorSmallRate,
    Figure::LoginCpu,
    Figure::LoginRate,
    Figure::ListCpu,
    Figure::ListRate,
    Figure::IdleAttributed,
    Figure::IdleSystem,
    Figure::HeldMemory,
    Figure::HeldServerMemory,
    Figure::HeldRateBefore,
    Figure::HeldRate,
];

impl Figure {
    /// Its meaning.
    pub fn meaning(self) -> Meaning {
        use Target::{Above, AtLeast, AtMost, Below, None};
        let (row, unit, decimals, target) = match self {
            Self::RetrLargeCpu => (Row::RetrLarge, "CPU s per GB", 3, Below(1.1, ", stretch 1.0")),
            Self::RetrLargeRate => (Row::RetrLarge, "GB/s", 2, Above(0.9)),
            Self::RetrSmallCpu => (Row::RetrSmall, PER_FILE, 0, Below(0.5, ", stretch 40 µs")),
            Self::RetrSmallRate => (Row::RetrSmall, "files/s", 0, None),
            Self::StorLargeCpu => (Row::StorLarge, "CPU s per GB", 3, Below(0.6, "")),
            Self::StorLargeRate => (Row::StorLarge, "GB/s", 2, None),
            Self::StorSmallCpu => (Row::StorSmall, PER_FILE, 0, Below(0.7, "")),
            Self::StorSmallRate => (Row::StorSmall, "files/s", 0, None),
            Self::LoginCpu => (Row::Login, "CPU µs", 0, Below(0.1, "")),
            Self::LoginRate => (Row::Login, "logins/s", 0, None),
            Self::ListCpu => (Row::List, "CPU µs", 0, Below(0.25, "")),
            Self::ListRate => (Row::List, "listings/s", 0, None),
            Self::IdleAttributed => (Row::Idle, EACH, 1, AtMost(8.0, ", stretch 4")),
            Self::IdleSystem => (Row::Idle, EACH_SYSTEM, 1, None),
            Self::HeldMemory => (Row::Idle10k, "MiB, kernel included", 1, AtMost(100.0, "")),
            Self::HeldServerMemory => (Row::Idle10k, "MiB, PSS of the server", 1, None),
            Self::HeldRateBefore => (Row::Idle10k, "RETR GB/s before, 8 sessions", 2, None),
            Self::HeldRate => (Row::Idle10k, "RETR, held ÷ before", 2, AtLeast(0.9)),
        };
        Meaning { row, work: row.work(), unit, target, decimals }
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::RetrLargeRate
                | Self::RetrSmallRate
                | Self::StorLargeRate
                | Self::StorSmallRate
                | Self::LoginRate
                | Self::ListRate
                | Self::HeldRateBefore
                | Self::HeldRate
        )
    }
}
