//! The whole server over loopback sockets: what one command costs there and back, and MLSD of 10,000 files.
//!
//! Every bench asserts its answer before it measures. What the numbers mean: `benches/README.md`.
//! What the server does under load, and beside others, is measured by `loadtest`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench may stop at what it does not expect"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use common::{Client, Setup};
use criterion::{Criterion, Throughput};

/// Files of the directory listed.
const FILES: usize = 10_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let server = Setup::new().file("file", &[7; 16 << 10]).start();
    let directory = server.root().join("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..FILES {
        fs::write(directory.join(name(number)), b"").unwrap();
    }
    let mut client = server.anonymous();
    client.expect("TYPE I", 200);

    assert_eq!(client.command("NOOP").code, 200);
    criterion.bench_function("server/NOOP", |bencher| {
        bencher.iter(|| assert_eq!(client.command("NOOP").code, 200));
    });

    assert_eq!(client.fetch("RETR file").0, [7; 16 << 10]);
    let mut group = criterion.benchmark_group("server");
    group.throughput(Throughput::Bytes(16 << 10));
    group.bench_function("EPSV, RETR of 16 KiB", |bencher| {
        bencher.iter(|| assert_eq!(client.fetch("RETR file").1.code, 226));
    });
    group.finish();

    let mut group = criterion.benchmark_group("server/MLSD of 10,000");
    group.throughput(Throughput::Elements(FILES as u64)).sample_size(10);
    let listed = names(&client.fetch("MLSD many").0);
    let expected: BTreeSet<String> = (0..FILES).map(name).collect();
    assert_eq!(listed.difference(&expected).count() + expected.difference(&listed).count(), 0);
    group.bench_function("read anew", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|round| {
                    // Its modification time is new, so what was kept of it does not count.
                    let extra = directory.join("extra");
                    if round % 2 == 0 { fs::write(&extra, b"") } else { fs::remove_file(&extra) }
                        .unwrap();
                    timed(&mut client)
                })
                .sum()
        });
    });
    group.bench_function("kept from a moment ago", |bencher| {
        // Listings are kept for a second: the first of each ten reads the directory and is not counted.
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|round| {
                    if round % 10 == 0 {
                        timed(&mut client);
                    }
                    timed(&mut client)
                })
                .sum()
        });
    });
    group.finish();
    drop(client);
    server.stop();
    criterion.final_summary();
}

fn name(number: usize) -> String {
    format!("package-{number:05}.tar.gz")
}

/// The names of a listing's files.
fn names(listing: &[u8]) -> BTreeSet<String> {
    let text = std::str::from_utf8(listing).unwrap();
    let file = |line: &str| line.starts_with("type=file;") || line.contains(";type=file;");
    let name = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    text.lines().filter(|line| file(line)).map(name).collect()
}

fn timed(client: &mut Client) -> Duration {
    let begun = Instant::now();
    let (octets, reply) = client.fetch("MLSD many");
    let took = begun.elapsed();
    assert_eq!(reply.code, 226);
    let lines = octets.iter().filter(|octet| **octet == b'\n').count();
    assert!(lines >= FILES, "{lines} lines");
    took
}
