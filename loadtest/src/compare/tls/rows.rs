//! compare::tls::rows – the work inside TLS: files fetched, handshakes, messages, idle sessions.
//!
//! One version and one cipher for everybody: TLS 1.3, TLS_AES_128_GCM_SHA256, a P-256 certificate.
//!
//! Promises: a session that fails fails the row with the server's words; every file's length and
//! every reply is checked. Not here: the sessions themselves (`client`), repetition (`interleave`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::figures::{Aim, Figure, Work};
use super::super::ftp::tree;
use super::super::memory;
use super::super::report::Sample;
use super::client::{Entry, Session, buffer};
use super::servers::{Ground, Running, Server};
use crate::engine::tls::{Context, Trust};
use crate::sys::{self, Whose};

/// Octets of a message, as `smtp-source -l 4096` sends them.
const MESSAGE_BYTES: usize = 4096;
/// Full handshakes that are measured, and how many clients make them.
const HANDSHAKES: u64 = 10_000;
const HANDSHAKERS: usize = 4;
/// Idle sessions inside TLS.
const IDLE: usize = 2_000;

/// A kind of work.
pub trait Row {
    /// Its name, the work in words, its figures.
    fn work(&self) -> Work;

    /// Whether the row makes sense for that server.
    fn concerns(&self, server: Server) -> bool;

    /// Whether a third of the runs is enough, because it varies little and takes long.
    fn seldom(&self) -> bool {
        false
    }

    /// Does it once.
    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String>;
}

/// One server and how much it is to do.
pub struct Bench<'a> {
    pub server: Server,
    pub program: &'a Path,
    pub ground: &'a Ground<'a>,
    /// Share of the full amount of work, 0.01 to 1.
    pub share: f64,
    /// Seconds that one measurement of mail sends.
    pub seconds: f64,
}

/// Every row in the order of the report.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![Box::new(Large), Box::new(Small), Box::new(Handshakes), Box::new(Mail), Box::new(Idle)]
}

struct Large;
struct Small;
struct Handshakes;
struct Mail;
struct Idle;

impl Bench<'_> {
    fn start(&self) -> Result<Running, String> {
        self.ground.start(self.server, self.program)
    }

    fn part(&self, whole: u64) -> u64 {
        ((whole as f64 * self.share) as u64).max(1)
    }
}

/// All sessions, handshakes and messages use this.
fn context(resume: bool) -> Result<Context, String> {
    Context::of_aes_128(&Trust::Anybody, "localhost", resume)
}

/// What a piece of work came to.
struct Cost {
    done: u64,
    cpu: Duration,
    own: Duration,
    wall: Duration,
}

/// When work is over.
#[derive(Clone, Copy)]
enum Until {
    Count(u64),
    Time(Instant),
}

/// Does `step(item, number)` again and again, a thread for each item; how often it was done.
fn everybody<T: Send>(
    items: &mut [T],
    until: Until,
    step: impl Fn(&mut T, u64, &mut [u8]) -> io::Result<()> + Sync,
) -> Result<u64, String> {
    let (next, done, broken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let one = |item: &mut T| {
        let mut buffer = buffer();
        while !broken.load(Ordering::Relaxed) && !sys::interrupted() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let over = match until {
                Until::Count(count) => number >= count,
                Until::Time(end) => Instant::now() >= end,
            };
            if over {
                break;
            }
            if let Err(error) = step(item, number, &mut buffer) {
                broken.store(true, Ordering::Relaxed);
                return Err(error.to_string());
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter_mut().map(|item| scope.spawn(|| one(item))).collect();
        // All are waited for, whoever failed.
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let panicked = |_| Err("a client panicked".into());
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(panicked))
    })?;
    Ok(done.into_inner())
}

/// What `work` costs the server.
fn cost(running: &Running, work: impl FnOnce() -> Result<u64, String>) -> Result<Cost, String> {
    let own = || sys::cpu_time(Whose::Own).map_err(|error| format!("getrusage: {error}"));
    // Let the last reply's aftermath end before each reading.
    std::thread::sleep(Duration::from_millis(30));
    let (own_before, before, begin) = (own()?, running.meter.read()?, Instant::now());
    let done = work()?;
    let wall = begin.elapsed();
    std::thread::sleep(Duration::from_millis(30));
    let cpu = running.meter.read()?.since(&before);
    Ok(Cost { done, cpu, own: own()?.saturating_sub(own_before), wall })
}

impl Cost {
    fn sample(&self, figures: [(&'static str, f64); 2]) -> Sample {
        Sample {
            figures: BTreeMap::from(figures),
            cpu_seconds: self.cpu.as_secs_f64(),
            generator_cpu_seconds: self.own.as_secs_f64(),
            wall_seconds: self.wall.as_secs_f64(),
            units: self.done,
            ..Sample::default()
        }
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.wall.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.done as f64
    }
}

/// So many FTP sessions inside TLS, logged in.
fn log_in(running: &Running, count: usize) -> Result<Vec<Session>, String> {
    let context = context(true)?;
    let one = || {
        let mut session = Session::open(running.address, Entry::Auth, &context)?;
        session.log_in().map(|()| session)
    };
    let all: io::Result<Vec<_>> = (0..count).map(|_| one()).collect();
    all.map_err(|error| format!("login: {error}"))
}

fn quit(sessions: Vec<Session>) -> Result<(), String> {
    sessions.into_iter().try_for_each(Session::quit).map_err(|error| error.to_string())
}

fn is_ftp(server: Server) -> bool {
    !matches!(server, Server::Postfix | Server::Openssl)
}

impl Row for Large {
    fn work(&self) -> Work {
        Work {
            name: "ftps-large",
            work: "RETR 1 GiB in TLS, 4 sessions",
            figures: const {
                &[
                    Figure::less("cpu", "CPU s per GB", 3).aim(Aim::Below(0.8)),
                    Figure::more("rate", "GB/s", 2),
                ]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        is_ftp(server)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        const SESSIONS: usize = 4;
        let running = bench.start()?;
        let mut sessions = log_in(&running, SESSIONS)?;
        let fetch = |session: &mut Session, _: u64, buffer: &mut [u8]| {
            session.fetch(tree::LARGE_PATH, tree::LARGE_BYTES, buffer)
        };
        everybody(&mut sessions, Until::Count(1), fetch)?;
        let jobs = Until::Count(bench.part(SESSIONS as u64));
        let cost = cost(&running, || everybody(&mut sessions, jobs, fetch))?;
        quit(sessions)?;
        let gigabytes = (cost.done * tree::LARGE_BYTES) as f64 / 1e9;
        let cpu = cost.cpu.as_secs_f64() / gigabytes;
        Ok(cost.sample([("cpu", cpu), ("rate", gigabytes / cost.wall.as_secs_f64())]))
    }
}

impl Row for Small {
    fn work(&self) -> Work {
        Work {
            name: "ftps-small",
            work: "RETR 16 KiB files in TLS, resumed, 16 sessions, EPSV each",
            figures: const {
                &[
                    Figure::less("cpu", "CPU µs per file", 0).aim(Aim::Below(0.4)),
                    Figure::more("rate", "files/s", 0),
                ]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        is_ftp(server)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        const SESSIONS: usize = 16;
        const FILES: u64 = 6_000;
        let running = bench.start()?;
        let mut sessions = log_in(&running, SESSIONS)?;
        let fetch = |session: &mut Session, number: u64, buffer: &mut [u8]| {
            session.fetch(&tree::small(number).0, tree::SMALL_BYTES, buffer)
        };
        everybody(&mut sessions, Until::Count(bench.part(FILES / 10)), fetch)?;
        let jobs = Until::Count(bench.part(FILES));
        let cost = cost(&running, || everybody(&mut sessions, jobs, fetch))?;
        let resumed = sessions.iter().map(|session| session.resumed).sum::<u64>();
        let made = sessions.iter().map(|session| session.fetched).sum::<u64>();
        if resumed != made {
            return Err(format!("{resumed} of {made} data connections resumed the session"));
        }
        quit(sessions)?;
        Ok(cost.sample([("cpu", cost.cpu_us()), ("rate", cost.rate())]))
    }
}

impl Row for Handshakes {
    fn work(&self) -> Work {
        Work {
            name: "handshakes",
            work: "full handshakes, ECDSA P-256, TLS from the first octet",
            figures: const {
                &[
                    Figure::more("rate", "per second of CPU", 0).aim(Aim::Above(0.9)),
                    Figure::more("wall", "per second, clients on the same machine", 0).detail(),
                ]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        matches!(server, Server::Sluicegate | Server::Openssl)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = bench.start()?;
        let context = context(false)?;
        let greets = bench.server == Server::Sluicegate;
        let one = |(): &mut (), _: u64, _: &mut [u8]| {
            let mut session = Session::open(running.implicit, Entry::Implicit, &context)?;
            if greets {
                session.expect("greeting", "220")?;
            } else {
                session.send(b"220\n")?;
                session.expect("a line turned round", "022")?;
            }
            session.close()
        };
        let mut clients = [(); HANDSHAKERS];
        everybody(&mut clients, Until::Count(bench.part(HANDSHAKES / 10)), one)?;
        let jobs = Until::Count(bench.part(HANDSHAKES));
        let cost = cost(&running, || everybody(&mut clients, jobs, one))?;
        let rate = cost.done as f64 / cost.cpu.as_secs_f64();
        Ok(cost.sample([("rate", rate), ("wall", cost.rate())]))
    }
}

impl Row for Mail {
    fn work(&self) -> Work {
        Work {
            name: "smtp-tls",
            work: "4 KiB messages after STARTTLS, durable, 20 sessions",
            figures: const {
                &[
                    Figure::more("rate", "messages/s", 0).aim(Aim::Above(5.0)),
                    Figure::less("cpu", "CPU µs per message", 1),
                ]
            },
        }
    }

    fn concerns(&self, server: Server) -> bool {
        matches!(server, Server::Sluicegate | Server::Postfix)
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        const SESSIONS: usize = 20;
        let running = bench.start()?;
        let context = context(false)?;
        let open = || {
            let mut session = Session::open(running.mail, Entry::StartTls, &context)?;
            session.ask("EHLO client.test\r\n", "250").map(|_| session)
        };
        let all: io::Result<Vec<_>> = (0..SESSIONS).map(|_| open()).collect();
        let mut sessions = all.map_err(|error| format!("STARTTLS: {error}"))?;
        let content = message();
        let deliver = |session: &mut Session, _: u64, _: &mut [u8]| session.deliver(&content);
        let end = |seconds: f64| Until::Time(Instant::now() + Duration::from_secs_f64(seconds));
        everybody(&mut sessions, end(bench.seconds / 4.0), deliver)?;
        let cost = cost(&running, || everybody(&mut sessions, end(bench.seconds), deliver))?;
        quit(sessions)?;
        Ok(cost.sample([("rate", cost.rate()), ("cpu", cost.cpu_us())]))
    }
}

impl Row for Idle {
    fn work(&self) -> Work {
        Work {
            name: "tls-idle",
            work: "idle logged-in sessions inside TLS",
            figures: const {
                &[
                    Figure::less("memory", "KiB each, kernel included", 1).aim(Aim::AtMost(40.0)),
                    Figure::less("system", "KiB each, system-wide (needs a quiet machine)", 1)
                        .detail(),
                ]
            },
        }
    }

    fn seldom(&self) -> bool {
        true
    }

    fn concerns(&self, server: Server) -> bool {
        server == Server::Sluicegate
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String> {
        let running = bench.start()?;
        let bare_end = memory::bare_end()?;
        // What is made once, such as stacks and pools, is made before.
        quit(log_in(&running, 32)?)?;
        let before = memory::read();
        let sessions = log_in(&running, IDLE)?;
        let each = memory::read().rise(&before, IDLE);
        quit(sessions)?;
        let figures = BTreeMap::from([
            ("memory", each.attributed - bare_end.attributed),
            ("system", each.system - bare_end.system),
        ]);
        Ok(Sample { figures, units: IDLE as u64, ..Sample::default() })
    }
}

/// A message of lines, with the end of DATA.
fn message() -> Vec<u8> {
    let head = b"From: <sender@client.test>\r\nTo: <recipient@bench.test>\r\nSubject: TLS\r\n\r\n";
    let mut content = head.to_vec();
    while content.len() < MESSAGE_BYTES {
        content.extend_from_slice(b"One more line of a message, as long as lines of mail are.\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_shared_by_all_and_no_number_comes_twice() {
        let mut seen = vec![Vec::new(); 5];
        let step = |seen: &mut Vec<u64>, number: u64, _: &mut [u8]| {
            seen.push(number);
            Ok(())
        };
        assert_eq!(everybody(&mut seen, Until::Count(1000), step), Ok(1000));
        let mut all = seen.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }

    #[test]
    fn the_first_error_ends_everybody() {
        let step = |(): &mut (), number: u64, _: &mut [u8]| {
            if number == 40 { Err(io::Error::other("no more")) } else { Ok(()) }
        };
        let far = Until::Time(Instant::now() + Duration::from_secs(3600));
        assert_eq!(everybody(&mut [(); 3], far, step), Err("no more".into()));
    }

    #[test]
    fn a_message_ends_as_data_does_and_nowhere_before() {
        let text = String::from_utf8(message()).unwrap();
        assert!(text.len() > MESSAGE_BYTES && text.len() < MESSAGE_BYTES + 200);
        assert!(text.lines().filter(|line| line.starts_with('.')).eq(["."]));
        assert!(text.ends_with("\r\n.\r\n"));
    }
}
