//! compare::running – what starting and ending a server of any protocol has in common.
//!
//! Promises: a server is stopped by process id: SIGTERM to its first process, then SIGKILL to
//! whatever of its tree is left; all are reaped.
//! Not here: configurations and readiness (`ftp::running`, `mail::servers`).

use std::net::{Ipv4Addr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::processes;
use crate::sys;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const PASSIVE_PORTS: u16 = 4_000;

/// Ends the process `pid` and whatever is left of its tree, and reaps all.
pub fn stop(pid: i32) {
    let _ = sys::signal_process(pid, libc::SIGTERM);
    let begin = Instant::now();
    let mut asked = false;
    loop {
        while sys::reap_one().is_some() {}
        let left = processes::descendants();
        if left.is_empty() {
            return;
        }
        // Session processes outlive their parent in some servers: end them by name.
        if begin.elapsed() > STOP_LIMIT / 4 || !left.iter().any(|p| p.pid == pid) {
            let signal = if asked { libc::SIGKILL } else { libc::SIGTERM };
            for process in left.iter().filter(|process| !process.zombie) {
                let _ = sys::signal_process(process.pid, signal);
            }
            asked = begin.elapsed() > STOP_LIMIT / 2;
        }
        if begin.elapsed() > STOP_LIMIT {
            eprintln!("processes that would not end: {left:?}");
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

/// A free control port and a range of passive ports, both below the range of ephemeral ports.
pub fn free_ports() -> Result<(u16, (u16, u16)), String> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut seed = u64::from(clock.subsec_nanos()) ^ clock.as_secs();
    for _ in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = 10_000 + ((seed >> 33) % 17_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((port, (port + 1, port + PASSIVE_PORTS)));
        }
    }
    Err("no free port between 10000 and 27000".into())
}
