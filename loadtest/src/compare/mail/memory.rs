//! compare::mail::memory – rows of work that are about memory: idle sessions, large mail at once.

use std::collections::BTreeMap;

use super::super::figures::{Aim, Figure, Work};
use super::super::report::Sample;
use super::rows::{Bench, Row};
use super::servers::{Running, Server};
use super::{bulk, idle};

/// Most sessions held with Postfix, each of which is a process there.
const PROCESSES_MAX: usize = 200;

/// Sessions that say nothing.
struct Idle;

/// 200 clients that send 20 MB each at once.
struct Bulk;

/// The rows of this file.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![Box::new(Idle), Box::new(Bulk)]
}

impl Row for Idle {
    fn work(&self) -> Work {
        Work {
            name: "idle-mail",
            work: "idle sessions, after EHLO",
            figures: const {
                &[Figure::less("memory", "KiB each, kernel included", 1).aim(Aim::AtMost(6.0))]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        // OpenSMTPD lets connections in quick succession wait: it would take an hour.
        server.sessions_max() == u32::MAX
    }

    fn seldom(&self) -> bool {
        true
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let count = match bench.server {
            Server::Sluicegate => bench.idle,
            _ => bench.idle.min(PROCESSES_MAX),
        };
        let running = Running::start(bench)?;
        let each = idle::per_session(&running, count)?;
        let figures = BTreeMap::from([("memory", each)]);
        Ok(Sample { figures, units: count as u64, ..Sample::default() })
    }
}

impl Row for Bulk {
    fn work(&self) -> Work {
        Work {
            name: "bulk",
            work: "200 clients sending 20 MB each",
            figures: const {
                &[Figure::less("memory", "MiB resident at most", 0).aim(Aim::AtMost(256.0))]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        // A Postfix session is a process: 200 of them do not tell anything about its memory.
        server == Server::Sluicegate
    }

    fn seldom(&self) -> bool {
        true
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = Running::start(bench)?;
        let most = bulk::most_resident(&running, bench.seconds)?;
        let figures = BTreeMap::from([("memory", most)]);
        Ok(Sample { figures, ..Sample::default() })
    }
}
