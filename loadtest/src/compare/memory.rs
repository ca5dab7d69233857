//! compare::memory – what an idle session costs, kernel included.
//!
//! System-wide: the rise of memory in use (MemTotal − MemFree − Buffers − Cached: processes, slab,
//! page tables, stacks, sockets; not the page cache) from the started server to N held sessions.
//! Two things in it are ours: the memory of this process (its own RssAnon is taken off) and the
//! client halves of the connections. The latter is measured with a listener inside this program
//! that accepts and holds connections and does nothing else; as both ends of a loopback connection
//! are the same kernel objects (socket, inode, file, dentry), half of its rise per connection is
//! the client's. It is measured with fewer connections, because both ends count against one
//! process's descriptors.
//!
//! System-wide figures move when anything else runs. So the server's own processes are read too:
//! PSS + page tables + kernel stacks, plus the other half of the listener's rise for the server's
//! socket. It leaves out the rest of the kernel's part (task and memory descriptors, namespaces),
//! hence it is a floor; a large gap on a quiet machine is kernel memory per process.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::processes::{self, field};
use crate::client::fleet::SOURCES;
use crate::sys;

const SAMPLES: usize = 9;
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Connections of the bare listener.
pub const BARE_CONNECTIONS: usize = 4_000;

/// A reading of everything.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// In use on the machine without this process, KiB.
    pub system_kib: f64,
    /// PSS, page tables and stacks of the server, KiB.
    pub server_kib: f64,
}

/// Reads after a moment of rest: the median of several samples.
pub fn read() -> Reading {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            sleep(SAMPLE_EVERY);
            in_use_kib() - own_kib()
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    let memory = processes::memory();
    Reading {
        system_kib: samples[SAMPLES / 2],
        server_kib: (memory.pss_kib + memory.kernel_kib) as f64,
    }
}

/// Kernel memory of one end of a held connection, KiB.
pub fn bare_end_kib() -> Result<f64, String> {
    let hold = || -> std::io::Result<f64> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let SocketAddr::V4(target) = listener.local_addr()? else { return Ok(0.0) };
        let mut held: Vec<TcpStream> = Vec::with_capacity(2 * BARE_CONNECTIONS);
        let before = read();
        for index in 0..BARE_CONNECTIONS {
            let pair = pair(&listener, target, SOURCES[index % SOURCES.len()])?;
            held.extend(pair);
        }
        let after = read();
        Ok((after.system_kib - before.system_kib) / (2 * BARE_CONNECTIONS) as f64)
    };
    hold().map_err(|error| format!("the bare listener: {error}"))
}

/// One connection over which a greeting has passed, as over a session's.
fn pair(
    listener: &TcpListener,
    target: SocketAddrV4,
    source: Ipv4Addr,
) -> std::io::Result<[TcpStream; 2]> {
    let mut client = TcpStream::from(sys::connect(Some(source), target)?);
    let (mut server, _) = listener.accept()?;
    client.set_nonblocking(false)?;
    server.write_all(b"220 ready\r\n")?;
    client.read_exact(&mut [0; 11])?;
    client.write_all(b"USER anonymous\r\n")?;
    server.read_exact(&mut [0; 16])?;
    Ok([client, server])
}

fn in_use_kib() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let used = field(&text, "MemTotal:").saturating_sub(field(&text, "MemFree:"));
    let cache = field(&text, "Buffers:") + field(&text, "Cached:");
    used as f64 - cache as f64
}

fn own_kib() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&text, "RssAnon:") as f64
}
