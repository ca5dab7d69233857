//! compare::memory – what an idle session costs, kernel included.
//!
//! Two readings, from the started server to N held sessions:
//!
//! - *attributed* (the figure that counts): PSS of the server's processes, plus the kernel's
//!   tables as `/proc/meminfo` sums them for the machine: slab (sockets, files, tasks, inodes),
//!   kernel stacks, page tables, per-processor memory. Other programs disturb it little. It leaves
//!   out pages the kernel takes without booking them there (socket buffers in flight: none, the
//!   sessions are idle).
//! - *system-wide* (the cross-check): MemTotal − MemFree − Buffers − Cached, less the RssAnon of
//!   this program. It leaves out nothing, but moves with everything else that runs; on a quiet
//!   machine the two agree.
//!
//! Both contain the client halves of the connections. These are measured with a listener inside
//! this program that accepts and holds connections and does nothing else: as both ends of a
//! loopback connection are the same kernel objects (socket, inode, file, dentry), half of its rise
//! per connection is the client's and is taken off. It holds fewer connections, because both ends
//! count against one process's descriptors.

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
/// Lines of `/proc/meminfo` that add up what the kernel keeps for processes and sockets.
const KERNEL_TABLES: [&str; 4] = ["Slab:", "KernelStack:", "PageTables:", "Percpu:"];
/// Connections of the bare listener.
const BARE_CONNECTIONS: usize = 4_000;

/// A reading by both methods, KiB.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub attributed: f64,
    pub system: f64,
}

impl Reading {
    /// Rise since `earlier` for each of `count`.
    pub fn rise(&self, earlier: &Self, count: usize) -> Self {
        Self {
            attributed: (self.attributed - earlier.attributed) / count as f64,
            system: (self.system - earlier.system) / count as f64,
        }
    }
}

/// Reads after a moment of rest: the medians of several samples.
pub fn read() -> Reading {
    let mut kernel = [0.0; SAMPLES];
    let mut system = [0.0; SAMPLES];
    for (kernel, system) in kernel.iter_mut().zip(&mut system) {
        sleep(SAMPLE_EVERY);
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        *kernel = KERNEL_TABLES.iter().map(|name| field(&text, name)).sum::<u64>() as f64;
        let unused = ["MemFree:", "Buffers:", "Cached:"].map(|name| field(&text, name));
        *system = field(&text, "MemTotal:") as f64 - unused.iter().sum::<u64>() as f64 - own_kib();
    }
    kernel.sort_by(f64::total_cmp);
    system.sort_by(f64::total_cmp);
    // The processes last: looking at them fills slab.
    let server = processes::pss_kib() as f64;
    Reading { attributed: server + kernel[SAMPLES / 2], system: system[SAMPLES / 2] }
}

/// Kernel memory of one end of a held connection, KiB.
pub fn bare_end() -> Result<Reading, String> {
    let hold = || -> std::io::Result<Reading> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let SocketAddr::V4(target) = listener.local_addr()? else {
            return Err(std::io::Error::other("not IPv4"));
        };
        let mut held: Vec<TcpStream> = Vec::with_capacity(2 * BARE_CONNECTIONS);
        let before = read();
        for index in 0..BARE_CONNECTIONS {
            let pair = pair(&listener, target, SOURCES[index % SOURCES.len()])?;
            held.extend(pair);
        }
        Ok(read().rise(&before, 2 * BARE_CONNECTIONS))
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

fn own_kib() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&text, "RssAnon:") as f64
}
