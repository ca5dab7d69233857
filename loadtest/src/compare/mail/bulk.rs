//! compare::mail::bulk – the server's resident memory while 200 clients send 20 MB each at once.
//!
//! All of them together send faster than a disk takes it; who has to wait are they. The generator is
//! written here because `smtp-source` holds each message in memory.
//!
//! Promises: every message ends in 250, or the row fails.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::processes::field;
use super::servers::Running;

const CLIENTS: usize = 200;
const OCTETS: usize = 20_000_000;
const LIMIT: Duration = Duration::from_secs(300);
const LINE: &[u8] =
    b"the quick brown fox jumps over the lazy dog, over and over and over again 012\r\n";

/// Most MiB resident meanwhile. A run asked to be short sends less.
pub fn most_resident(running: &Running, seconds: f64) -> Result<f64, String> {
    let octets = (OCTETS as f64 * (seconds / 6.0).min(1.0)) as usize;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                let path = format!("/proc/{}/status", running.pid);
                most =
                    most.max(field(&std::fs::read_to_string(path).unwrap_or_default(), "VmRSS:"));
                std::thread::sleep(Duration::from_millis(50));
            }
            most
        });
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| send(running.address, octets))).collect();
        let outcomes: Vec<_> =
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let most = watch.join().map_err(|_| "the watch panicked")?;
        for outcome in outcomes {
            outcome
                .map_err(|_| "a client panicked")?
                .map_err(|error| format!("a client: {error}"))?;
        }
        Ok(most as f64 / 1024.0)
    })
}

fn send(address: SocketAddrV4, octets: usize) -> std::io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    expect(&mut reader, "220")?;
    for (command, code) in [
        ("EHLO bulk.test", "250"),
        ("MAIL FROM:<sender@client.test>", "250"),
        ("RCPT TO:<recipient@bench.test>", "250"),
        ("DATA", "354"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        expect(&mut reader, code)?;
    }
    let chunk = LINE.repeat(800);
    let mut left = octets;
    while left > 0 {
        stream.write_all(&chunk)?;
        left = left.saturating_sub(chunk.len());
    }
    stream.write_all(b".\r\n")?;
    expect(&mut reader, "250")
}

fn expect(reader: &mut impl BufRead, code: &str) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(std::io::Error::other(format!("{line:?} instead of {code}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
