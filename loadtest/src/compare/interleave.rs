//! compare::interleave – every row of every run visits all servers; each run begins with another one.
//!
//! So that what changes on the machine while a comparison lasts changes for all of them.
//!
//! Promises: a row that failed for a server is not tried again; what came of each visit is said as
//! it happens. Not here: the work itself.

use std::time::Instant;

use super::report::{Sample, Section, sample_line};
use super::stop_if_interrupted;

/// Of so many runs a row that is done seldom takes part in one.
const SELDOM: u32 = 3;

/// Does `visit(row, server)` as often as needed; `None` if the row is not for that server.
pub fn interleave(
    runs: u32,
    section: &mut Section,
    seldom: impl Fn(usize) -> bool,
    mut visit: impl FnMut(usize, usize) -> Option<Result<Sample, String>>,
) -> Result<(), String> {
    let count = section.entrants.len();
    for run in 0..runs {
        for row in 0..section.rows.len() {
            if seldom(row) && !run.is_multiple_of(SELDOM) {
                continue;
            }
            for turn in 0..count {
                let server = (turn + run as usize) % count;
                let name = section.entrants[server].name;
                if section.rows[row].failure(name).is_some() {
                    continue;
                }
                let begin = Instant::now();
                let Some(outcome) = visit(row, server) else { continue };
                stop_if_interrupted()?;
                let work = &section.rows[row].work;
                let line = sample_line(work, &outcome);
                let took = begin.elapsed().as_secs_f64();
                let (number, row_name) = (run + 1, work.name);
                eprintln!("run {number}/{runs} {row_name} {name}: {line} [{took:.1} s]");
                section.rows[row].add(name, outcome);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::figures::Work;
    use super::super::report::Entrant;
    use super::*;

    fn section() -> Section {
        let mut section = Section::new("ftp", "FTP", None);
        for name in ["a", "b", "c"] {
            section.entrants.push(Entrant {
                name,
                version: String::new(),
                program: String::new().into(),
                durability: "",
                method: "",
                config: String::new(),
            });
        }
        let works = ["one", "two"].map(|name| Work { name, work: name, figures: &[] });
        section.expect(works.into_iter());
        section
    }

    #[test]
    fn another_server_begins_each_run() {
        let mut section = section();
        let mut order = String::new();
        let visit = |row: usize, server: usize| {
            order.push_str(&format!("{row}{} ", ["a", "b", "c"][server]));
            Some(Ok(Sample::default()))
        };
        interleave(2, &mut section, |_| false, visit).unwrap();
        assert_eq!(order, "0a 0b 0c 1a 1b 1c 0b 0c 0a 1b 1c 1a ");
        assert_eq!(section.rows[1].servers["c"].samples.len(), 2);
    }

    #[test]
    fn seldom_is_a_third_of_the_runs_and_never_none() {
        for (runs, times) in [(1, 1), (3, 1), (5, 2)] {
            let mut section = section();
            let visit = |_, _| Some(Ok(Sample::default()));
            interleave(runs, &mut section, |row| row == 1, visit).unwrap();
            let count = |row: usize| section.rows[row].servers["a"].samples.len();
            assert_eq!((count(0), count(1)), (runs as usize, times));
        }
    }

    #[test]
    fn failures_are_not_repeated_and_foreign_rows_leave_no_trace() {
        let mut section = section();
        let mut visits = 0;
        let visit = |row: usize, server: usize| {
            (row == 0).then(|| {
                visits += 1;
                if server == 1 { Err("no".into()) } else { Ok(Sample::default()) }
            })
        };
        interleave(3, &mut section, |_| false, visit).unwrap();
        assert_eq!(visits, 3 + 2 + 2);
        assert_eq!(section.rows[0].failure("b"), Some("no"));
        assert!(section.rows[1].servers.is_empty());
    }
}
