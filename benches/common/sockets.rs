//! The ways from a file in the page cache to a socket, as processor time of the thread that sends.
//!
//! The other end lets the kernel throw away what it receives (MSG_TRUNC), after a first pass in which it
//! compares every octet with the file's. Congestion control is cubic where a socket of ours can say so.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, recv};
use nix::time::{ClockId, clock_gettime};
use sluicegate::shard::{self, Links, Root};
use socket2::SockRef;

use super::on_shard::Lab;

/// Octets of the file: more than the caches of a processor hold, less than anybody's memory.
const FILE_BYTES: u64 = 32 << 20;
const NAME: &str = "file";

/// Processor time of this thread so far.
fn cpu() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

fn contents() -> Vec<u8> {
    let mut state = 0x5eed_u64;
    let mut octets = Vec::new();
    while (octets.len() as u64) < FILE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        octets.extend_from_slice(&state.to_be_bytes());
    }
    octets
}

/// A connection whose other end compares the first file and throws away what follows.
struct Sink {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let (address, count) = (listener.local_addr().unwrap(), Arc::clone(&received));
        std::thread::spawn(move || {
            let expected = contents();
            let (stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 1 << 20];
            let mut seen = 0;
            loop {
                let left = expected.len() - seen;
                let (room, flags) = match left {
                    0 => (buffer.len(), MsgFlags::MSG_TRUNC),
                    left => (left.min(buffer.len()), MsgFlags::empty()),
                };
                let len = recv(stream.as_raw_fd(), &mut buffer[..room], flags).unwrap();
                if len == 0 {
                    return;
                }
                if left > 0 {
                    if buffer[..len] != expected[seen..seen + len] {
                        // Whoever waits for the whole file waits in vain, and says so.
                        return;
                    }
                    seen += len;
                }
                count.fetch_add(len as u64, Ordering::AcqRel);
            }
        });
        Self { address, received }
    }

    /// Everything that was sent has come, the first file octet for octet.
    fn assert_received(&self, octets: u64, by: &str) {
        for _ in 0..2_000 {
            if self.received.load(Ordering::Acquire) >= octets {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let received = self.received.load(Ordering::Acquire);
        assert_eq!(received, octets, "{by}: not what the file holds, or not all of it");
    }
}

/// One pass over the file.
type Send = fn(&File, &mut TcpStream, usize);

fn by_sendfile(file: &File, socket: &mut TcpStream, chunk: usize) {
    let mut at = 0_i64;
    while at.cast_unsigned() < FILE_BYTES {
        sendfile(socket.as_fd(), file.as_fd(), Some(&mut at), chunk).unwrap();
    }
}

fn by_splice(file: &File, socket: &mut TcpStream, chunk: usize) {
    let (out, into) = nix::unistd::pipe().unwrap();
    let room = nix::fcntl::FcntlArg::F_SETPIPE_SZ(i32::try_from(chunk).unwrap());
    nix::fcntl::fcntl(&into, room).unwrap();
    let mut at = 0_i64;
    while at.cast_unsigned() < FILE_BYTES {
        let mut piped =
            splice(file, Some(&mut at), &into, None, chunk, SpliceFFlags::SPLICE_F_MOVE).unwrap();
        let more = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_MORE;
        let flags =
            if at.cast_unsigned() < FILE_BYTES { more } else { SpliceFFlags::SPLICE_F_MOVE };
        while piped > 0 {
            piped -= splice(&out, None, &*socket, None, piped, flags).unwrap();
        }
    }
}

fn by_read_and_send(file: &File, socket: &mut TcpStream, chunk: usize) {
    let mut buffer = vec![0; chunk];
    let mut at = 0;
    while at < FILE_BYTES {
        let len = file.read_at(&mut buffer, at).unwrap();
        socket.write_all(&buffer[..len]).unwrap();
        at += len as u64;
    }
}

pub(crate) fn from_file(criterion: &mut Criterion, lab: &Lab, directory: &Path) {
    fs::write(directory.join(NAME), contents()).unwrap();
    let ways: [(&str, Send); 3] =
        [("sendfile", by_sendfile), ("splice", by_splice), ("read, send", by_read_and_send)];
    let mut group = criterion.benchmark_group("32 MiB from file to socket, CPU time");
    group.throughput(Throughput::Bytes(FILE_BYTES));
    group.sample_size(10);
    for (name, way) in ways {
        for chunk in [16 << 10, 64 << 10, 256 << 10, 1 << 20] {
            let file = File::open(directory.join(NAME)).unwrap();
            let sink = Sink::start();
            let mut socket = TcpStream::connect(sink.address).unwrap();
            cubic(&socket).unwrap();
            way(&file, &mut socket, chunk);
            sink.assert_received(FILE_BYTES, name);
            group.bench_function(
                BenchmarkId::new(name, format!("{} KiB", chunk >> 10)),
                |bencher| {
                    bencher.iter_custom(|rounds| {
                        let begun = cpu();
                        for _ in 0..rounds {
                            way(&file, &mut socket, chunk);
                        }
                        cpu() - begun
                    });
                },
            );
        }
    }
    by_shard(&mut group, lab, directory);
    group.finish();
}

fn cubic(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).set_tcp_congestion(b"cubic")
}

/// What the server does: 512 KiB at a time without waiting, the ring says when there is room again. Its
/// sockets have the machine's congestion control.
fn by_shard(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    lab: &Lab,
    directory: &Path,
) {
    let sink = Sink::start();
    let to = sink.address;
    let passes = |rounds: u64, directory: std::path::PathBuf| {
        move |stream: shard::Stream| async move {
            let root = Root::open(&directory, Links::Deny).unwrap();
            let file = root.open_file(NAME.as_bytes()).await.unwrap();
            // The first one is what the other end compares; it is not measured.
            let mut begun = cpu();
            for pass in 0..=rounds {
                if pass == 1 {
                    begun = cpu();
                }
                let mut at = 0;
                while at < FILE_BYTES {
                    let left = usize::try_from(FILE_BYTES - at).unwrap();
                    at += stream.send_file(&file, at, left).await.unwrap() as u64;
                }
            }
            let took = cpu() - begun;
            stream.finish().await.unwrap();
            took
        }
    };
    let connect = move |to: SocketAddr| async move {
        shard::connect((Ipv4Addr::LOCALHOST, 0).into(), to).await.unwrap()
    };
    let first = passes(0, directory.to_owned());
    lab.run(move || async move { first(connect(to).await).await });
    sink.assert_received(FILE_BYTES, "the shard");
    group.bench_function("the shard", |bencher| {
        bencher.iter_custom(|rounds| {
            let sink = Sink::start();
            let (to, send) = (sink.address, passes(rounds, directory.to_owned()));
            let took = lab.run(move || async move { send(connect(to).await).await });
            sink.assert_received((rounds + 1) * FILE_BYTES, "the shard");
            took
        });
    });
}
