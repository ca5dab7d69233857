//! compare::figures – what a row of work yields: figures with their units and what is to be reached.
//!
//! Promises: a figure says by itself how it is printed, which direction is good and what its aim is,
//! so a new row brings everything the reports need.
//! Not here: how anything is measured (`ftp`, `mail`), how it is printed (`markdown`, `html`).

use serde::Serialize;

/// A kind of work and what it yields.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Work {
    /// As `--rows` names it.
    pub name: &'static str,
    /// The work in words.
    pub work: &'static str,
    /// What is read.
    pub figures: &'static [Figure],
}

/// One printed figure of a row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// Names it within its row.
    pub key: &'static str,
    pub unit: &'static str,
    pub decimals: usize,
    pub better: Better,
    pub aim: Aim,
    /// A figure that is not for the first glance (left out of the README).
    pub detail: bool,
}

/// The good direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    Less,
    More,
}

/// What sluicegate is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// Shown for information.
    None,
    /// At most this many times the reference (the best peer, or the one the section names).
    Below(f64),
    /// At least this many times the reference.
    Above(f64),
    /// As `Above`, or our own figure with this key, whichever is lower.
    AboveOr(f64, &'static str),
    /// At most this, whatever the peers do.
    AtMost(f64),
    /// At least this, whatever the peers do.
    AtLeast(f64),
}

impl Figure {
    const fn new(key: &'static str, unit: &'static str, decimals: usize, better: Better) -> Self {
        Self { key, unit, decimals, better, aim: Aim::None, detail: false }
    }

    /// Of which less is better.
    pub const fn less(key: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self::new(key, unit, decimals, Better::Less)
    }

    /// Of which more is better.
    pub const fn more(key: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self::new(key, unit, decimals, Better::More)
    }

    /// With an aim.
    pub const fn aim(self, aim: Aim) -> Self {
        Self { aim, ..self }
    }

    /// Not for the first glance.
    pub const fn detail(self) -> Self {
        Self { detail: true, ..self }
    }

    /// The server's memory right after the work, its sessions still open.
    pub const fn memory() -> Self {
        Self::less("memory", "MiB after it, PSS of the server", 1).detail()
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::None => f.write_str("–"),
            Self::Below(bound) if bound < 0.4 => write!(f, "≤ 1/{:.0}", 1.0 / bound),
            Self::Below(bound) => write!(f, "≤ {bound}"),
            Self::Above(bound) => write!(f, "≥ {bound}"),
            Self::AboveOr(bound, what) => write!(f, "≥ {bound}, or what the {what} does"),
            Self::AtMost(bound) => write!(f, "≤ {bound}, absolute"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}, absolute"),
        }
    }
}

impl Aim {
    /// Whether `own` reaches it; `None` if that cannot be said. `bound` looks up an own figure.
    pub fn reached(
        self,
        own: f64,
        reference: Option<f64>,
        bound: impl Fn(&str) -> Option<f64>,
    ) -> Option<bool> {
        let times = |factor: f64| reference.map(|reference| reference * factor);
        match self {
            Self::None => None,
            Self::Below(factor) => times(factor).map(|most| own <= most),
            Self::Above(factor) => times(factor).map(|least| own >= least),
            Self::AboveOr(factor, key) => {
                let other = bound(key);
                let least = match (times(factor), other) {
                    (Some(times), Some(other)) => Some(times.min(other)),
                    (times, other) => times.or(other),
                };
                least.map(|least| own >= least)
            }
            Self::AtMost(most) => Some(own <= most),
            Self::AtLeast(least) => Some(own >= least),
        }
    }

    /// Whether the aim is about the figure alone, so that a ratio would not show it.
    pub fn is_absolute(self) -> bool {
        matches!(self, Self::AtMost(_) | Self::AtLeast(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_relative_or_absolute() {
        let none = |_: &str| None;
        assert_eq!(Aim::Below(0.5).reached(4.0, Some(10.0), none), Some(true));
        assert_eq!(Aim::Below(0.5).reached(6.0, Some(10.0), none), Some(false));
        assert_eq!(Aim::Below(0.5).reached(6.0, None, none), None);
        assert_eq!(Aim::Above(2.0).reached(19.0, Some(10.0), none), Some(false));
        assert_eq!(Aim::AtMost(8.0).reached(6.0, None, none), Some(true));
        assert_eq!(Aim::AtLeast(8.0).reached(6.0, Some(1.0), none), Some(false));
        let disk = |key: &str| (key == "disk").then_some(15.0);
        assert_eq!(Aim::AboveOr(2.0, "disk").reached(16.0, Some(10.0), disk), Some(true));
        assert_eq!(Aim::AboveOr(2.0, "disk").reached(14.0, Some(10.0), disk), Some(false));
        assert_eq!(Aim::AboveOr(2.0, "other").reached(16.0, Some(10.0), disk), Some(false));
    }
}
