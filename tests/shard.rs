//! The real shard against the real kernel: sockets, files, timers, isolation, spreading.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "common/on_shard.rs"]
mod on_shard;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use on_shard::{Life, alone, cpus, on_shard};
use sluicegate::shard::{
    self, File, FileKind, Links, Listeners, Passive, Plan, Ready, Root, Shards, Stream,
};

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
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
        let deadline = shard::now().after(Duration::from_secs(20));
        while completed.get() < 5_000 && shard::now() < deadline {
            shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
        }
        completed.get()
    });
    assert_eq!(completed, 5_000);
}

async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let mut first = Box::pin(first);
    let mut second = Box::pin(second);
    let (mut one, mut two) = (None, None);
    std::future::poll_fn(|context| {
        if one.is_none()
            && let std::task::Poll::Ready(value) = first.as_mut().poll(context)
        {
            one = Some(value);
        }
        if two.is_none()
            && let std::task::Poll::Ready(value) = second.as_mut().poll(context)
        {
            two = Some(value);
        }
        if one.is_some() && two.is_some() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    (one.unwrap(), two.unwrap())
}

/// A connection to ourselves: the far end, and ours.
async fn data_connection() -> (TcpStream, Stream) {
    let here = IpAddr::from([127, 0, 0, 1]);
    let passive = Passive::bind(here, &(40_000..=49_999)).unwrap();
    let far = TcpStream::connect(passive.local()).unwrap();
    (far, passive.accept(Some(here)).await.unwrap())
}

/// Sends a file in turns, as a transfer does.
async fn send_whole(stream: &Stream, file: &File) -> std::io::Result<u64> {
    let mut at = 0;
    loop {
        match stream.send_file(file, at, 1 << 20).await? {
            0 => return Ok(at),
            moved => at += moved as u64,
        }
    }
}

/// More than there are pipes, so that some go by `sendfile`; and pipes that were left full go to nobody.
#[test]
fn large_files_go_out_whole_however_many_there_are() {
    if !alone("large_files_go_out_whole_however_many_there_are") {
        return;
    }
    on_shard(|| async {
        let folder = tempfile::tempdir().unwrap();
        let octets: Vec<u8> = (0..5_000_001u32)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        std::fs::write(folder.path().join("source"), &octets).unwrap();
        let octets = Arc::new(octets);
        let root = Root::open(folder.path(), Links::InRoot).unwrap();
        for round in 0..2 {
            let sent = Rc::new(RefCell::new(Vec::new()));
            let mut readers = Vec::new();
            for number in 0..24 {
                let (mut far, near) = data_connection().await;
                let source = root.open_file(b"source").await.unwrap();
                source.prefetch(0, octets.len()).await.unwrap();
                let octets = Arc::clone(&octets);
                // A third of them end in the middle, with a full pipe behind them.
                let goes = round == 0 && number % 3 == 0;
                readers.push(std::thread::spawn(move || {
                    let mut received = vec![0; if goes { 1000 } else { octets.len() + 1 }];
                    let mut len = 0;
                    while len < received.len() {
                        match far.read(&mut received[len..]).unwrap() {
                            0 => break,
                            count => len += count,
                        }
                    }
                    assert!(received[..len] == octets[..len], "{number}");
                    assert!(goes || len == octets.len(), "{number}: {len}");
                }));
                let done = Rc::clone(&sent);
                shard::spawn("send", async move {
                    let sent = send_whole(&near, &source).await;
                    drop(near.finish().await);
                    done.borrow_mut().push((goes, sent));
                });
            }
            while sent.borrow().len() < 24 {
                shard::sleep_until(shard::now().after(Duration::from_millis(1))).await;
            }
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            for (goes, sent) in sent.take() {
                assert!(goes || sent.unwrap() == 5_000_001);
            }
        }
    });
}

#[test]
fn a_file_goes_out_by_sendfile_and_comes_in_by_blocks() {
    if !alone("a_file_goes_out_by_sendfile_and_comes_in_by_blocks") {
        return;
    }
    let equal = on_shard(|| async {
        let folder = tempfile::tempdir().unwrap();
        let octets: Vec<u8> = (0..3_000_001u32)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        std::fs::write(folder.path().join("source"), &octets).unwrap();
        let root = Root::open(folder.path(), Links::InRoot).unwrap();
        let passive = Passive::bind("::1".parse().unwrap(), &(40_000..=49_999)).unwrap();
        let client = shard::connect("[::1]:0".parse().unwrap(), passive.local());
        let (client, server) = both(client, passive.accept(Some("::1".parse().unwrap()))).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        let source = root.open_file(b"source").await.unwrap();
        let sending = async {
            let mut at = 0;
            loop {
                source.prefetch(at, 1 << 20).await.unwrap();
                match server.send_file(&source, at, 1 << 20).await.unwrap() {
                    0 => break,
                    moved => at += moved as u64,
                }
            }
            server.finish().await.unwrap();
            at
        };
        let receiving = async {
            let dir = root.open_dir(b"").await.unwrap();
            let target = dir.create(b"target", 0o644).await.unwrap();
            let mut at = 0;
            loop {
                let (result, block) = client.receive_into(shard::block().await, 0).await;
                let len = result.unwrap();
                if len == 0 {
                    break;
                }
                let (result, _) = target.write_at(block, len, at).await;
                result.unwrap();
                at += len as u64;
            }
            target.sync().await.unwrap();
            dir.rename(b"target", &dir, b"renamed", true).await.unwrap();
            dir.sync().await.unwrap();
        };
        let (sent, ()) = both(sending, receiving).await;
        assert_eq!(sent, octets.len() as u64);
        std::fs::read(folder.path().join("renamed")).unwrap() == octets
    });
    assert!(equal);
}

#[test]
fn nothing_leaves_the_root() {
    if !alone("nothing_leaves_the_root") {
        return;
    }
    on_shard(|| async {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), b"secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dir")).unwrap();
        std::fs::write(folder.path().join("dir/file"), b"file").unwrap();
        std::os::unix::fs::symlink("/dir/file", folder.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("dir/file", folder.path().join("relative")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", folder.path().join("magic")).unwrap();
        for (links, absolute, relative) in [
            (Links::InRoot, true, true),
            (Links::Beneath, false, true),
            (Links::Deny, false, false),
        ] {
            let root = Root::open(folder.path(), links).unwrap();
            assert_eq!(root.open_file(b"absolute").await.is_ok(), absolute, "{links:?}");
            assert_eq!(root.open_file(b"relative").await.is_ok(), relative, "{links:?}");
            for path in [
                &b"out/secret"[..],
                b"magic/etc/passwd",
                b"../../../../etc/passwd",
                b"/etc/passwd",
                b"dir/../../etc/passwd",
            ] {
                assert!(root.open_file(path).await.is_err(), "{links:?} {}", path.escape_ascii());
            }
            assert_eq!(root.stat(b"dir/file").await.unwrap().size, 4);
            assert_eq!(
                root.below(b"dir").await.unwrap().stat(b"file").await.unwrap().kind,
                FileKind::File
            );
            assert!(
                root.below(b"dir").await.unwrap().stat(b"../dir/file").await.is_err()
                    || links == Links::InRoot
            );
            root.chmod(b"dir/file", 0o640).await.unwrap();
            root.set_modified(b"dir/file", 1_000_000_000).await.unwrap();
            let stat = root.stat(b"dir/file").await.unwrap();
            assert_eq!((stat.mode, stat.modified.0), (0o640, 1_000_000_000));
            assert!(root.free_bytes().await.unwrap() > 0);
            let dir = root.open_dir(b"dir").await.unwrap();
            for name in [&b".."[..], b".", b"", b"../x", b"a/b"] {
                assert!(dir.create(name, 0o600).await.is_err(), "{}", name.escape_ascii());
            }
        }
    });
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
        shard::sleep_until(start.after(Duration::from_millis(60))).await;
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
fn a_cold_file_is_fetched_without_stopping_the_shard() {
    if !alone("a_cold_file_is_fetched_without_stopping_the_shard") {
        return;
    }
    let resident = on_shard(|| async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        std::fs::write(folder.path().join("cold"), vec![1u8; 4 << 20]).unwrap();
        let root = Root::open(folder.path(), Links::InRoot).unwrap();
        let file = root.open_file(b"cold").await.unwrap();
        file.prefetch(0, 4 << 20).await.unwrap();
        file.prefetch(1 << 20, 1 << 20).await.is_ok()
    });
    assert!(resident);
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
    let deadline = Instant::now() + Duration::from_secs(10);
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
    let any = Listeners::bind(&[(0, "[::]:0".parse().unwrap())], 1).unwrap();
    let port = any.addresses()[0].1.port();
    drop(any);
    let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
    let both: Vec<(u8, SocketAddr)> =
        both.iter().map(|address| (1, address.parse().unwrap())).collect();
    let listeners =
        Listeners::bind(&both, 2).map_err(|(address, error)| format!("{address}: {error}"));
    assert_eq!(listeners.unwrap().addresses(), both);
}

#[test]
fn small_files_are_placed_whole_or_not_at_all() {
    if !alone("small_files_are_placed_whole_or_not_at_all") {
        return;
    }
    on_shard(|| async {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), Links::InRoot).unwrap();
        let dir = root.open_dir(b"").await.unwrap();
        let place = async |name: &str, octets: &[u8], replace: bool| {
            let mut block = shard::block().await;
            block[..octets.len()].copy_from_slice(octets);
            let how = shard::Placement {
                name: name.as_bytes().to_vec(),
                temporary: b".temporary".to_vec(),
                mode: 0o640,
                replace,
                durable: true,
            };
            dir.place(block, octets.len(), how).await.0
        };
        place("new", b"first", false).await.unwrap();
        let path = folder.path().join("new");
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        let taken = place("new", b"second", false).await.unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AlreadyExists);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o604))
            .unwrap();
        place("new", b"third", true).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"third");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o604, "a replaced file keeps its mode");
        std::fs::create_dir(folder.path().join("dir")).unwrap();
        let directory = place("dir", b"x", true).await.unwrap_err();
        assert_eq!(directory.kind(), std::io::ErrorKind::IsADirectory);
        std::os::unix::fs::symlink("new", folder.path().join("link")).unwrap();
        place("link", b"", true).await.unwrap();
        assert!(std::fs::symlink_metadata(folder.path().join("link")).unwrap().is_file());
        assert_eq!(std::fs::read(&path).unwrap(), b"third", "the link was replaced, not followed");
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 3, "{left:?}");
    });
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
    other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
    new.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
        let deadline = shard::now().after(Duration::from_secs(5));
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
            let patience = shard::now().after(Duration::from_micros(turn % 7 * 100));
            let received = match turn % 5 {
                // Given up before it ends, as often as not.
                0 => shard::within(patience, stream.receive_large()).await,
                1 => shard::within(patience, stream.receive()).await,
                2 => Some(stream.receive().await),
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
        let patience = shard::now().after(Duration::from_secs(10));
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
