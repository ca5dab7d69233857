//! One shard with the kernel under it: an operation of its ring, being woken, group commits of the spool,
//! and the ways from a file to a socket.
//!
//! Every bench asserts its answer before it measures. What the numbers mean: `benches/README.md`.
//! Files lie in `SLUICEGATE_BENCH_DIR`, or below `target/`: which disk and file system that is decides
//! what a commit costs, so it is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a bench may stop at what it does not expect, and says where it ran"
)]

#[path = "common/on_shard.rs"]
mod on_shard;
#[path = "common/sockets.rs"]
mod sockets;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use on_shard::{Lab, all};
use sluicegate::shard::{self, Links, Root};
use sluicegate::store::spool::{Settings, Spool};

fn main() {
    let folder = folder();
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(folder).unwrap();
    let lab = Lab::start();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    ring(&mut criterion, &lab, directory.path());
    wake(&mut criterion, &lab);
    commit(&mut criterion, &lab, directory.path());
    sockets::from_file(&mut criterion, &lab, directory.path());
    criterion.final_summary();
}

fn folder() -> PathBuf {
    let folder = std::env::var_os("SLUICEGATE_BENCH_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let disk = shard::probe::disk(&folder).unwrap();
    let says = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let congestion = says("tcp_congestion_control").unwrap_or_default();
    eprintln!(
        "files on {} in {}, O_DIRECT {}, a durable write of 4 KiB {:.0?}; congestion control {}",
        disk.kind,
        folder.display(),
        if disk.direct { "yes" } else { "no" },
        disk.write_p50,
        congestion.trim()
    );
    folder
}

/// Operations in flight where many are; a shard has 24 blocks.
const MANY: usize = 16;

/// A read of one octet that is in the page cache: next to nothing but the way to the kernel and back.
fn ring(criterion: &mut Criterion, lab: &Lab, directory: &Path) {
    let name = "octets";
    fs::write(directory.join(name), [7; 4096]).unwrap();
    let read = move |directory: PathBuf, at_once: usize, rounds: u64| async move {
        let root = Root::open(&directory, Links::Deny).unwrap();
        let file = root.open_file(name.as_bytes()).await.unwrap();
        let mut blocks = Vec::new();
        for _ in 0..at_once {
            blocks.push(shard::block().await);
        }
        let mut seen = 0;
        let begun = Instant::now();
        for _ in 0..rounds {
            let reads: Vec<_> = blocks.drain(..).map(|block| file.read_some(block, 1, 9)).collect();
            for (count, block) in all(reads).await {
                seen += count.unwrap() * usize::from(block[0]);
                blocks.push(block);
            }
        }
        (begun.elapsed(), seen)
    };
    let mut group = criterion.benchmark_group("ring operation");
    for at_once in [1, MANY] {
        let (directory, look) = (directory.to_owned(), directory.to_owned());
        let (_, seen) = lab.run(move || read(look, at_once, 3));
        assert_eq!(seen, 3 * 7 * at_once, "each read gives the octet that is there");
        group.throughput(Throughput::Elements(at_once as u64));
        group.bench_function(format!("read 1 octet, {at_once} at once"), |bencher| {
            bencher.iter_custom(|rounds| {
                let directory = directory.clone();
                lab.run(move || read(directory, at_once, rounds)).0
            });
        });
    }
    group.finish();
}

/// From a thread that wants the shard to look until the shard has looked.
fn wake(criterion: &mut Criterion, lab: &Lab) {
    let mut group = criterion.benchmark_group("eventfd wake");
    // After 4 ms without anything it no longer waits in the ring but sleeps in the executor.
    for (name, pause) in [
        ("lingering in the ring", Duration::ZERO),
        ("asleep in the executor", Duration::from_millis(7)),
    ] {
        let (asked, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let answers = (Arc::clone(&asked), Arc::clone(&seen), Arc::clone(&stop));
        let ended = lab.begin(move || async move {
            let (asked, seen, stop) = answers;
            let mut notices = 0;
            while !stop.load(Ordering::Acquire) {
                notices = shard::noticed(notices).await;
                seen.store(asked.load(Ordering::Acquire), Ordering::Release);
            }
        });
        let round_trips = |count: u64| {
            let mut waited = Duration::ZERO;
            for _ in 0..count {
                std::thread::sleep(pause);
                let number = asked.fetch_add(1, Ordering::AcqRel) + 1;
                let begun = Instant::now();
                lab.notify();
                let mut spins = 0_u32;
                while seen.load(Ordering::Acquire) < number {
                    spins += 1;
                    // On one processor the shard needs it.
                    if spins.is_multiple_of(10_000) {
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
                waited += begun.elapsed();
            }
            waited
        };
        round_trips(20);
        assert_eq!(seen.load(Ordering::Acquire), 20, "every notice is answered");
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        // Of waiting alone; the pauses come on top.
        group.measurement_time(Duration::from_millis(if pause.is_zero() { 500 } else { 10 }));
        group.bench_function(name, |bencher| bencher.iter_custom(round_trips));
        stop.store(true, Ordering::Release);
        lab.notify();
        ended.recv_timeout(Duration::from_secs(10)).expect("the shard stops answering");
    }
    let visit = |rounds: u64| {
        lab.run(move || async move {
            let mut sum = 0;
            let begun = Instant::now();
            for round in 0..rounds {
                sum += shard::blocking(move || round).await.unwrap();
            }
            (begun.elapsed(), sum)
        })
    };
    assert_eq!(visit(5).1, 10, "workers give back what they made");
    group.bench_function("a worker and back", |bencher| {
        bencher.iter_custom(|rounds| visit(rounds).0);
    });
    group.finish();
}

thread_local! {
    /// The spool that all benches of the shard's thread share.
    static SPOOL: RefCell<Option<Spool>> = const { RefCell::new(None) };
}

/// Octets of a message.
const MESSAGE_BYTES: usize = 4096;

/// That many messages at once, each durable; they are settled, and their segments used again.
fn commit(criterion: &mut Criterion, lab: &Lab, directory: &Path) {
    let path = directory.join("spool");
    fs::create_dir(&path).unwrap();
    lab.run(move || async move {
        let root = Root::open(&path, Links::Deny).unwrap();
        let settings = Settings {
            segment_bytes: 64 << 20,
            memory_bytes: 64 << 20,
            reserve_bytes: 0,
            replaces: |_, _| false,
        };
        let (spool, found) = Spool::open(&root, 0, 1, settings).await.unwrap();
        assert!(found.is_empty());
        SPOOL.set(Some(spool));
    });
    let batches = move |size: usize, count: u64| async move {
        let spool = SPOOL.with_borrow(|spool| spool.clone().expect("opened"));
        let commits = Rc::new(std::cell::Cell::new(0_u64));
        let counted = Rc::clone(&commits);
        spool.on_commit(move |commit| {
            counted.set(counted.get() + u64::from(commit.messages > 0));
        });
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let mut drafts = Vec::new();
            for _ in 0..size {
                let mut draft = spool.draft();
                draft.append(&[b'x'; MESSAGE_BYTES]).await.unwrap();
                drafts.push(draft);
            }
            let begun = Instant::now();
            let kept = all(drafts.into_iter().map(|draft| draft.commit(|_| vec![b'm'; 300]))).await;
            took += begun.elapsed();
            for message in kept {
                spool.settle(message.unwrap().id);
            }
        }
        (took, commits.get(), spool)
    };
    let mut group = criterion.benchmark_group("spool commit, 4 KiB each");
    group.sample_size(10);
    for size in [1, 8, 64, 512] {
        lab.run(move || async move {
            let (_, commits, spool) = batches(size, 3).await;
            assert!(commits <= 6, "{size} at once shared {commits} commits in 3 rounds");
            let mut draft = spool.draft();
            draft.append(b"what was accepted").await.unwrap();
            let id = draft.commit(|_| Vec::new()).await.unwrap().id;
            let octets = spool.content(id).expect("kept").read(0, 100).await.unwrap();
            assert_eq!(&octets[..], b"what was accepted");
            spool.settle(id);
            spool.flush().await.unwrap();
            assert_eq!(spool.stats().messages, 0, "all are settled");
        });
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher
                .iter_custom(|count| lab.run(move || async move { batches(size, count).await.0 }));
        });
    }
    group.finish();
    lab.run(|| async {
        let spool = SPOOL.take().expect("opened");
        spool.close().await;
    });
}
