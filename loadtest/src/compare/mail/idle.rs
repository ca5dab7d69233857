//! compare::mail::idle – what a session costs that has said EHLO and nothing since, kernel included.
//!
//! The method is that of `compare::memory`. Sessions come from several loopback addresses, so that
//! ports suffice. Promises: every session has greeted and answered before memory is read.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use super::super::memory;
use super::servers::Running;
use crate::client::fleet::SOURCES;
use crate::sys;

/// Sessions from one source address.
const PER_SOURCE: usize = 5_000;

/// KiB per idle session.
pub fn per_session(running: &Running, count: usize) -> Result<f64, String> {
    let client = memory::bare_end()?;
    // What the first session makes once is not a session's.
    let warm = session(running, 0)?;
    drop(warm);
    let before = memory::read();
    let mut held = Vec::with_capacity(count);
    for index in 0..count {
        // One source as long as its ports suffice: others have no name, and a server may look for one.
        let source = index / PER_SOURCE;
        held.push(session(running, source).map_err(|why| format!("session {index}: {why}"))?);
        if sys::interrupted() {
            return Err("interrupted".into());
        }
    }
    let rise = memory::read().rise(&before, count);
    drop(held);
    Ok(rise.attributed - client.attributed)
}

fn session(running: &Running, source: usize) -> Result<TcpStream, String> {
    let source = SOURCES[source % SOURCES.len()];
    let talk = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::from(sys::connect(Some(source), running.address)?);
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        let mut reader = BufReader::with_capacity(1024, stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        reader.get_mut().write_all(b"EHLO idle.test\r\n")?;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        if !line.starts_with("250") {
            return Err(std::io::Error::other(format!("EHLO: {line:?}")));
        }
        Ok(reader.into_inner())
    };
    talk().map_err(|error| error.to_string())
}
