//! Files on the real shard: where they may be, how they go out and come in.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "common/on_shard.rs"]
mod on_shard;

use std::cell::RefCell;
use std::io::Read;
use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use on_shard::{alone, both, on_shard};
use sluicegate::shard::{self, File, FileKind, Links, Passive, Root, Stream};

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
