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
        use Target::{Above, AtMost, Below, None};
        const RETR_LARGE: &str = "RETR 2 GiB, 8 sessions";
        const RETR_SMALL: &str = "RETR 16 KiB files, 32 sessions, EPSV each";
        const STOR_LARGE: &str = "STOR 8 MiB, 8 sessions, not durable";
        const STOR_SMALL: &str = "STOR 64 KiB, a new name each, 16 sessions, not durable";
        const LOGIN: &str = "connect + login + quit, 16 at once";
        const LIST: &str = "LIST of 2,000 entries, 4 sessions";
        const IDLE: &str = "idle logged-in sessions";
        const HELD: &str = "10,000 idle sessions held";
        let (row, work, unit, decimals, target) = match self {
            Self::RetrLargeCpu => (
                Row::RetrLarge,
                RETR_LARGE,
                "CPU s per GB",
                3,
                Below(1.1, ", stretch 1.0"),
            ),
            Self::RetrLargeRate => (Row::RetrLarge, RETR_LARGE, "GB/s", 2, Above(0.9)),
            Self::RetrSmallCpu => (
                Row::RetrSmall,
                RETR_SMALL,
                "CPU µs per file",
                0,
                Below(0.5, ", stretch 40 µs"),
            ),
            Self::RetrSmallRate => (Row::RetrSmall, RETR_SMALL, "files/s", 0, None),
            Self::StorLargeCpu => (
                Row::StorLarge,
                STOR_LARGE,
                "CPU s per GB",
                3,
                Below(0.6, ""),
            ),
            Self::StorLargeRate => (Row::StorLarge, STOR_LARGE, "GB/s", 2, None),
            Self::StorSmallCpu => (
                Row::StorSmall,
                STOR_SMALL,
                "CPU µs per file",
                0,
                Below(0.7, ""),
            ),
            Self::StorSmallRate => (Row::StorSmall, STOR_SMALL, "files/s", 0, None),
            Self::LoginCpu => (Row::Login, LOGIN, "CPU µs", 0, Below(0.1, "")),
            Self::LoginRate => (Row::Login, LOGIN, "logins/s", 0, None),
            Self::ListCpu => (Row::List, LIST, "CPU µs", 0, Below(0.25, "")),
            Self::ListRate => (Row::List, LIST, "listings/s", 0, None),
            Self::IdleAttributed => (
                Row::Idle,
                IDLE,
                "KiB each, kernel included",
                1,
                AtMost(8.0, ", stretch 4"),
            ),
            Self::IdleSystem => (
                Row::Idle,
                IDLE,
                "KiB each, system-wide (needs a quiet machine)",
                1,
                None,
            ),
            Self::HeldMemory => (
                Row::Idle10k,
                HELD,
                "MiB, kernel included",
                1,
                AtMost(100.0, ""),
            ),
            Self::HeldServerMemory => (Row::Idle10k, HELD, "MiB, PSS of the server", 1, None),
            Self::HeldRateBefore => (Row::Idle10k, HELD, "RETR GB/s before, 8 sessions", 2, None),
            Self::HeldRate => (Row::Idle10k, HELD, "RETR, held ÷ before", 2, None),
        };
        Meaning {
            row,
            work,
            unit,
            target,
            decimals,
        }
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
