//! The real shard against the real kernel: sockets, timers, isolation, spreading. Files: `shard_files`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "../src/shard/offers.rs"]
mod offers;
#[path = "common/on_shard.rs"]
mod on_shard;
#[path = "../src/shard/turnover.rs"]
mod turnover;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use on_shard::{Life, PATIENCE, alone, both, cpus, on_shard};
use sluicegate::shard::{self, Links, Listeners, Passive, Plan, Ready, Root, Shards, Stream};

/// An echo server on `count` shards; what each shard accepted is counted.
fn echo(count: usize) -> (SocketAddr, Arc<[AtomicUsize]>, Shards) {
    let counts: Arc<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    let seen = Arc::clone(&counts);
    let main = move |index: usize, ready: Ready| -> Life {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            shard::accept(move |stream: Stream, _| {
                seen[index].fetch_add(1, Ordering::Relaxed);
                shard::spawn("echo", async move {
                    while let Ok(octets) = stream.receive().await {
                        if octets.is_empty() {
                            break;
                        }
                        assert_ne!(&*octets, b"panic!", "asked for");
                        if stream.posted().await.is_err() {
                            break;
                        }
                        stream.post(octets.to_vec());
                    }
                });
            });
            ready.done();
            shard::noticed(0).await;
        })
    };
    let listeners = Listeners::bind(&[(0, "127.0.0.1:0".parse().unwrap())], count).unwrap();
    let (_, address) = listeners.addresses()[0];
    let all = cpus();
    let plan = Plan {
        cpus: (0..count).map(|index| all[index % all.len()]).collect(),
        listeners,
        preempt: shard::PREEMPT,
    };
    (address, counts, Shards::start(plan, Arc::new(main)).unwrap())
}

#[test]
fn octets_come_back_in_order_however_they_are_cut() {
    if !alone("octets_come_back_in_order_however_they_are_cut") {
        return;
    }
    let (address, _, shards) = echo(1);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent: Vec<u8> = (0..200_000u32).map(|index| (index % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let expected = sent.clone();
    let sending = std::thread::spawn(move || {
        for piece in sent.chunks(977) {
            writer.write_all(piece).unwrap();
        }
    });
    let mut received = vec![0; expected.len()];
    client.read_exact(&mut received).unwrap();
    sending.join().unwrap();
    assert!(received == expected);
    shards.notify();
}

#[test]
fn a_panic_ends_its_connection_only_and_is_counted() {
    if !alone("a_panic_ends_its_connection_only_and_is_counted") {
        return;
    }
    let (address, _, shards) = echo(1);
    let mut other = TcpStream::connect(address).unwrap();
    let mut doomed = TcpStream::connect(address).unwrap();
    doomed.write_all(b"panic!").unwrap();
    let mut end = Vec::new();
    // The end or a reset, whichever the kernel makes of it.
    drop(doomed.read_to_end(&mut end));
    assert!(end.is_empty());
    other.write_all(b"still here").unwrap();
    let mut back = [0; 10];
    other.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still here");
    assert_eq!(shards.boards()[0].panics(), 1);
}

#[test]
fn few_connections_are_spread_evenly() {
    if !alone("few_connections_are_spread_evenly") {
        return;
    }
    let (address, counts, _shards) = echo(2);
    let mut clients = Vec::new();
    for number in 1..=16 {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        clients.push(client);
        let seen: Vec<usize> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(seen.iter().sum::<usize>(), number);
        assert!(seen[0].abs_diff(seen[1]) <= 1, "uneven after {number}: {seen:?}");
    }
}

#[test]
fn a_second_server_cannot_slip_in() {
    if !alone("a_second_server_cannot_slip_in") {
        return;
    }
    let (address, _, _shards) = echo(1);
    let (refused, error) = Listeners::bind(&[(0, address)], 1).err().expect("refused");
    assert_eq!(refused, address);
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn more_operations_than_the_queue_holds_all_complete() {
    if !alone("more_operations_than_the_queue_holds_all_complete") {
        return;
    }
    let completed = on_shard(|| async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), [7u8; 4096]).unwrap();
        let root = Root::open(folder.path(), Links::InRoot).unwrap();
        let completed = Rc::new(Cell::new(0usize));
        for _ in 0..5_000 {
            let (root, completed) = (root.clone(), Rc::clone(&completed));
            shard::spawn("sync", async move {
                let file = root.open_in_place(b"file").await.unwrap();
                // Not every file system can; that it completes is what counts.
                drop(file.allocate(4096).await);
                completed.set(completed.get() + 1);
            });
        }
        let deadline = shard::now().after(PATIENCE);
        while completed.get() < 5_000 && shard::now() < deadline {
            shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
        }
        completed.get()
    });
    assert_eq!(completed, 5_000);
}

#[test]
fn timers_fire_in_order_and_not_early() {
    if !alone("timers_fire_in_order_and_not_early") {
        return;
    }
    let late = on_shard(|| async {
        let start = shard::now();
        let order = Rc::new(RefCell::new(Vec::new()));
        for millis in [40u64, 10, 30, 20] {
            let order = Rc::clone(&order);
            shard::spawn("timer", async move {
                shard::sleep_until(start.after(Duration::from_millis(millis))).await;
                assert!(shard::now() >= start.after(Duration::from_millis(millis)));
                order.borrow_mut().push(millis);
            });
        }
        while order.borrow().len() < 4 {
            shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
        }
        assert_eq!(*order.borrow(), [10, 20, 30, 40]);
        let never = shard::within(
            shard::now().after(Duration::from_millis(5)),
            std::future::pending::<()>(),
        )
        .await;
        assert!(never.is_none());
        true
    });
    assert!(late);
}

#[test]
fn a_panic_off_the_shard_is_an_error_not_a_hang() {
    if !alone("a_panic_off_the_shard_is_an_error_not_a_hang") {
        return;
    }
    let failed =
        on_shard(|| async { shard::blocking::<()>(|| panic!("asked for")).await.is_err() });
    assert!(failed);
}

#[test]
fn a_promise_is_kept_by_another_thread_or_is_known_to_be_broken() {
    if !alone("a_promise_is_kept_by_another_thread_or_is_known_to_be_broken") {
        return;
    }
    let values = on_shard(|| async {
        let mut values = Vec::new();
        let mut threads = Vec::new();
        for round in 0..1000u32 {
            let (promise, promised) = shard::promise();
            // Kept before it is waited for, while it is, and never.
            threads.push(std::thread::spawn(move || match round % 4 {
                3 => drop(promise),
                _ => promise.keep(round),
            }));
            if round % 2 == 0 {
                shard::yield_now().await;
            }
            if round % 5 == 0 {
                // Nobody waits: whoever keeps it does not notice.
                drop(promised);
            } else {
                values.push((round, promised.await));
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        values
    });
    assert_eq!(values.len(), 800);
    for (round, value) in values {
        assert_eq!(value, (round % 4 != 3).then_some(round));
    }
}

#[test]
fn every_shard_beats_while_idle() {
    if !alone("every_shard_beats_while_idle") {
        return;
    }
    let (_, _, shards) = echo(2);
    let boards = shards.boards();
    let deadline = Instant::now() + PATIENCE;
    // An age only falls when the shard beat in between.
    for board in boards.iter() {
        let mut last = board.beat_age();
        loop {
            std::thread::sleep(Duration::from_millis(10));
            let age = board.beat_age();
            if age < last {
                break;
            }
            last = age;
            assert!(Instant::now() < deadline, "no beat");
        }
    }
}

#[test]
fn both_wildcards_can_be_listened_on() {
    if !alone("both_wildcards_can_be_listened_on") {
        return;
    }
    // Somebody else may take the port in between, but not each time.
    let bound = (0..20).find_map(|_| {
        let any = Listeners::bind(&[(0, "[::]:0".parse().unwrap())], 1).unwrap();
        let port = any.addresses()[0].1.port();
        drop(any);
        let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        let both: Vec<(u8, SocketAddr)> =
            both.iter().map(|address| (1, address.parse().unwrap())).collect();
        Listeners::bind(&both, 2).ok().map(|listeners| (listeners.addresses().to_vec(), both))
    });
    let (addresses, both) = bound.expect("both are bound");
    assert_eq!(addresses, both);
}

/// A server that echoes, but never again reads from a connection that says `s`.
fn stallable(count: usize) -> (SocketAddr, Shards) {
    let main = move |_: usize, ready: Ready| -> Life {
        Box::pin(async move {
            shard::accept(move |stream: Stream, _| {
                shard::spawn("echo", async move {
                    while let Ok(octets) = stream.receive().await {
                        if octets.is_empty() || stream.posted().await.is_err() {
                            break;
                        }
                        if octets.first() == Some(&b's') {
                            std::future::pending::<()>().await;
                        }
                        stream.post(octets.to_vec());
                    }
                });
            });
            ready.done();
            std::future::pending::<()>().await;
        })
    };
    let listeners = Listeners::bind(&[(0, "127.0.0.1:0".parse().unwrap())], count).unwrap();
    let (_, address) = listeners.addresses()[0];
    let plan = Plan { cpus: vec![cpus()[0]; count], listeners, preempt: shard::PREEMPT };
    (address, Shards::start(plan, Arc::new(main)).unwrap())
}

#[test]
fn floods_that_nobody_reads_make_nobody_deaf() {
    if !alone("floods_that_nobody_reads_make_nobody_deaf") {
        return;
    }
    let (address, _shards) = stallable(1);
    let mut other = TcpStream::connect(address).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    other.write_all(b"a").unwrap();
    other.read_exact(&mut [0]).unwrap();
    // More of them than the shard has provided buffers for.
    let octets = vec![b's'; 65_536];
    let mut floods = Vec::new();
    for _ in 0..64 {
        let mut flood = TcpStream::connect(address).unwrap();
        flood.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        flood.write_all(b"s").unwrap();
        let mut sent = 0;
        while let Ok(count) = flood.write(&octets) {
            sent += count;
            assert!(sent < 64 << 20, "a flood is not held back");
        }
        floods.push(flood);
    }
    for round in 0..100u8 {
        other.write_all(&[b'b', round]).unwrap();
        let mut back = [0; 2];
        other.read_exact(&mut back).unwrap();
        assert_eq!(back, [b'b', round]);
    }
    let mut new = TcpStream::connect(address).unwrap();
    new.set_read_timeout(Some(PATIENCE)).unwrap();
    new.write_all(b"new").unwrap();
    new.read_exact(&mut [0; 3]).unwrap();
}

#[test]
fn a_burst_of_connections_is_accepted_whole() {
    if !alone("a_burst_of_connections_is_accepted_whole") {
        return;
    }
    let (address, counts, _shards) = echo(2);
    for round in 1..=5 {
        let burst: Vec<TcpStream> =
            (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
        for mut client in burst {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        let seen: usize = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        assert_eq!(seen, round * 200);
    }
}

#[test]
fn dropped_operations_give_everything_back() {
    if !alone("dropped_operations_give_everything_back") {
        return;
    }
    let (before, after) = on_shard(|| async {
        let passive = Passive::bind("127.0.0.1".parse().unwrap(), &(40_000..=49_999)).unwrap();
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..300 {
            let client = shard::connect("127.0.0.1:0".parse().unwrap(), passive.local());
            let server = passive.accept(None);
            let (client, server) = both(client, server).await;
            let (client, server) = (client.unwrap(), server.unwrap());
            let soon = shard::now().after(Duration::from_millis(1));
            // Nothing arrives: the receives are cancelled in flight, with their buffers.
            assert!(
                shard::within(soon, client.receive_into(shard::block().await, 0)).await.is_none()
            );
            assert!(shard::within(soon, server.receive()).await.is_none());
        }
        let deadline = shard::now().after(PATIENCE);
        let mut after = usize::MAX;
        while after > before && shard::now() < deadline {
            shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
            after = std::fs::read_dir("/proc/self/fd").unwrap().count();
        }
        (before, after)
    });
    assert!(after <= before, "descriptors: {before} before, {after} after");
}

/// A server on one shard that gives every connection to `serve`.
fn serving<F>(
    count: usize,
    serve: impl Fn(Stream, u8) -> F + Send + Sync + Copy + 'static,
) -> ([SocketAddr; 2], Shards)
where
    F: Future<Output = ()> + 'static,
{
    let main = move |_: usize, ready: Ready| -> Life {
        Box::pin(async move {
            shard::accept(move |stream, service| shard::spawn("serve", serve(stream, service)));
            ready.done();
            std::future::pending::<()>().await;
        })
    };
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listeners = Listeners::bind(&[(3, any), (250, any)], count).unwrap();
    let addresses = [listeners.addresses()[0].1, listeners.addresses()[1].1];
    assert_eq!(listeners.addresses(), [(3, addresses[0]), (250, addresses[1])]);
    let all = cpus();
    let cpus = (0..count).map(|index| all[index % all.len()]).collect();
    let plan = Plan { cpus, listeners, preempt: shard::PREEMPT };
    (addresses, Shards::start(plan, Arc::new(main)).unwrap())
}

#[test]
fn the_service_goes_with_the_connection_to_whatever_shard() {
    if !alone("the_service_goes_with_the_connection_to_whatever_shard") {
        return;
    }
    let (addresses, _shards) = serving(2, |stream, service| async move {
        stream.post(vec![service, u8::try_from(shard::index()).unwrap()]);
        while stream.receive().await.is_ok_and(|octets| !octets.is_empty()) {}
    });
    let mut clients = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..32 {
        let mut client = TcpStream::connect(addresses[number % 2]).unwrap();
        let mut said = [0; 2];
        client.read_exact(&mut said).unwrap();
        assert_eq!(said[0], [3, 250][number % 2]);
        seen.insert(said);
        clients.push(client);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn large_and_small_receives_keep_the_order_and_lose_nothing() {
    if !alone("large_and_small_receives_keep_the_order_and_lose_nothing") {
        return;
    }
    let (addresses, _shards) = serving(1, |stream, _| async move {
        let (mut total, mut held, mut largest) = (0_u32, Vec::new(), 0);
        for turn in 0_u64.. {
            let patience = shard::now().after(Duration::from_micros(turn % 6 * 100));
            let received = match turn % 7 {
                // Given up before it ends, as often as not.
                0 => shard::within(patience, stream.receive_large()).await,
                1 => shard::within(patience, stream.receive()).await,
                2 => Some(stream.receive().await),
                3 => shard::within(patience, stream.receive_at_rest()).await,
                4 => Some(stream.receive_at_rest().await),
                _ => Some(stream.receive_large().await),
            };
            let Some(received) = received else { continue };
            let received = received.unwrap();
            if received.is_empty() {
                break;
            }
            for octet in received.iter() {
                assert_eq!(*octet, (total % 251) as u8, "octet {total}");
                total += 1;
            }
            largest = largest.max(received.len());
            // More than there are blocks to spare: then little is received at a time.
            held.push(received);
            if held.len() > 40 {
                held.clear();
            }
        }
        assert!(largest > 2048, "{largest}");
        stream.post(total.to_be_bytes().to_vec());
        stream.posted().await.unwrap();
    });
    let octets: Vec<u8> = (0..6_000_000_u32).map(|index| (index % 251) as u8).collect();
    let mut client = TcpStream::connect(addresses[0]).unwrap();
    for (index, piece) in octets.chunks(9973).enumerate() {
        client.write_all(piece).unwrap();
        if index % 50 == 0 {
            std::thread::yield_now();
        }
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut total = [0; 4];
    client.read_exact(&mut total).unwrap();
    assert_eq!(u32::from_be_bytes(total), 6_000_000);
}

#[test]
fn who_sends_slowly_holds_no_block() {
    if !alone("who_sends_slowly_holds_no_block") {
        return;
    }
    let (addresses, _shards) = serving(1, |stream, service| async move {
        if service == 3 {
            stream.post(b"!".to_vec());
            while stream.receive_large().await.is_ok_and(|octets| !octets.is_empty()) {}
            return;
        }
        // All blocks of a shard at once, while sixty wait for octets.
        let blocks = async {
            let mut blocks = Vec::new();
            for _ in 0..24 {
                blocks.push(shard::block().await);
            }
            u8::try_from(blocks.len()).unwrap()
        };
        let patience = shard::now().after(PATIENCE);
        let count = shard::within(patience, blocks).await.unwrap_or(0);
        stream.readable().await.unwrap();
        assert_eq!(stream.unread(), 5);
        stream.post(vec![count]);
        stream.posted().await.unwrap();
    });
    let slow: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut client = TcpStream::connect(addresses[0]).unwrap();
            client.read_exact(&mut [0]).unwrap();
            client.write_all(b"x").unwrap();
            client
        })
        .collect();
    let mut other = TcpStream::connect(addresses[1]).unwrap();
    other.write_all(b"early").unwrap();
    let mut count = [0];
    other.read_exact(&mut count).unwrap();
    assert_eq!(count, [24]);
    drop(slow);
}

#[test]
fn octets_nobody_waits_for_are_counted_wherever_they_are() {
    if !alone("octets_nobody_waits_for_are_counted_wherever_they_are") {
        return;
    }
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let (addresses, _shards) = serving(1, |stream, service| async move {
        let soon = || shard::now().after(Duration::from_millis(1));
        let number = stream.receive().await.unwrap().first().copied().unwrap();
        assert_eq!(stream.silent().await.unwrap(), 0, "nothing more was sent");
        // As a session leaves it: the multishot operation is armed, and takes what comes at once.
        if service == 3 {
            assert!(shard::within(soon(), stream.receive()).await.is_none());
        }
        stream.post(vec![b'!']);
        stream.posted().await.unwrap();
        while SENT.load(Ordering::Acquire) <= usize::from(number) {
            shard::sleep_until(soon()).await;
        }
        let count = stream.silent().await.unwrap();
        stream.post(vec![u8::try_from(count).unwrap()]);
        stream.posted().await.unwrap();
        stream.finish().await.unwrap();
    });
    for number in 0..20_u8 {
        let mut client = TcpStream::connect(addresses[usize::from(number % 2)]).unwrap();
        client.write_all(&[number]).unwrap();
        let mut said = [0];
        client.read_exact(&mut said).unwrap();
        client.write_all(b"abc").unwrap();
        SENT.store(usize::from(number) + 1, Ordering::Release);
        client.read_exact(&mut said).unwrap();
        assert_eq!(said, [3], "connection {number}");
    }
}
