//! compare::ftp::idle – what sessions cost that are logged in and do nothing.
//!
//! Promises: memory by the method of `compare::memory`, kernel included.

use std::collections::BTreeMap;

use super::super::figures::{Aim, Figure, Work};
use super::super::report::Sample;
use super::super::{memory, processes};
use super::rows::{Bench, Row, fleet};
use super::servers::Server;
use super::transfers::large;
use crate::client::fleet::Fleet;

/// Logins under way at once while sessions to be held are opened.
const LOGINS_AT_ONCE: usize = 32;
/// Peers hold one for so many of ours: each is a process there.
const PEER_PART: usize = 10;
/// Sessions that transfer before and while others are held.
const SESSIONS_BUSY: usize = 8;

/// Memory of a session.
struct Idle;

/// 10,000 of them held while a transfer runs.
struct Held;

/// The rows of this file.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![Box::new(Idle), Box::new(Held)]
}

impl Row for Idle {
    fn work(&self) -> Work {
        Work {
            name: "idle",
            work: "idle logged-in sessions",
            figures: const {
                &[
                    Figure::less("memory", "KiB each, kernel included", 1).aim(Aim::AtMost(8.0)),
                    Figure::less("system", "KiB each, system-wide (needs a quiet machine)", 1)
                        .detail(),
                ]
            },
        }
    }

    fn seldom(&self) -> bool {
        true
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let count = match bench.server {
            Server::Sluicegate => bench.idle,
            _ => bench.idle.div_ceil(PEER_PART),
        };
        let running = bench.start()?;
        let bare_end = memory::bare_end()?;
        let mut fleet = fleet(&running)?;
        let before = memory::read();
        fleet.log_in(count, LOGINS_AT_ONCE)?;
        let each = memory::read().rise(&before, count);
        fleet.quit()?;
        let figures = BTreeMap::from([
            ("memory", each.attributed - bare_end.attributed),
            ("system", each.system - bare_end.system),
        ]);
        Ok(Sample { figures, units: count as u64, ..Sample::default() })
    }
}

impl Row for Held {
    fn work(&self) -> Work {
        Work {
            name: "idle-10k",
            work: "10,000 idle sessions held",
            figures: const {
                &[
                    Figure::less("memory", "MiB, kernel included", 1).aim(Aim::AtMost(100.0)),
                    Figure::less("server", "MiB, PSS of the server", 1).detail(),
                    Figure::more("before", "RETR GB/s before, 8 sessions", 2).detail(),
                    Figure::more("held", "RETR, held ÷ before", 2).aim(Aim::AtLeast(0.9)),
                ]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        server == Server::Sluicegate
    }

    fn seldom(&self) -> bool {
        true
    }

    /// The server's memory with the sessions, and a transfer before and while they are held.
    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let held = bench.idle;
        let running = bench.start()?;
        let bare_end = memory::bare_end()?;
        let mut fleet = fleet(&running)?;
        fleet.log_in(SESSIONS_BUSY, SESSIONS_BUSY)?;
        let rate = |fleet: &mut Fleet| -> Result<f64, String> {
            fleet.run(SESSIONS_BUSY, &mut (0..1).map(|_| large()))?;
            let jobs = bench.amounts.retr_large;
            let totals = fleet.run(SESSIONS_BUSY, &mut (0..jobs).map(|_| large()))?;
            Ok(totals.bytes as f64 / 1e9 / totals.elapsed.as_secs_f64())
        };
        let rate_before = rate(&mut fleet)?;
        let resting = processes::pss_kib() as f64;
        let before = memory::read();
        fleet.log_in(SESSIONS_BUSY + held, LOGINS_AT_ONCE)?;
        let each = memory::read().rise(&before, held);
        let rate_held = rate(&mut fleet)?;
        let pss = processes::pss_kib() as f64;
        fleet.quit()?;
        // The whole server, not only the rise: what it had before any session counts too.
        let rise = (each.attributed - bare_end.attributed) * held as f64;
        let figures = BTreeMap::from([
            ("memory", (resting + rise) / 1024.0),
            ("server", pss / 1024.0),
            ("before", rate_before),
            ("held", rate_held / rate_before),
        ]);
        Ok(Sample { figures, units: held as u64, ..Sample::default() })
    }
}
