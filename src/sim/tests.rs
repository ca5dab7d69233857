//! sim::tests – does the simulation itself keep its promises?

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::client::ClientSocket;
use super::crash::{LOSSES, Loss};
use super::disk::{Disk, Journal};
use super::fault::{Operation, Sabotage, errno};
use super::rng::Rng;
use super::*;

fn after(millis: u64) -> Instant {
    now().after(Duration::from_millis(millis))
}

/// Some tasks that sleep, yield, write and talk; gives what the run looked like.
fn busy(seed: u64) -> (u64, Vec<u64>) {
    let sim = Sim::new(seed);
    sim.disk().plant_dir("/srv");
    let order = Rc::new(RefCell::new(Vec::new()));
    sim.run(async {
        let (mut client, server) = ClientSocket::pair(21);
        for number in 0..8 {
            let order = Rc::clone(&order);
            spawn("busy", async move {
                for _ in 0..random() % 5 {
                    yield_now().await;
                    sleep_until(after(random() % 20)).await;
                }
                order.borrow_mut().push(number);
            });
        }
        let root = Root::open("/srv".as_ref(), Links::InRoot).unwrap();
        let dir = root.open_dir(b"").await.unwrap();
        let file = dir.create(b"x", 0o644).await.unwrap();
        file.write_at(block().await, 5000, 0).await.0.unwrap();
        file.sync().await.unwrap();
        spawn("server", async move {
            server.post(vec![b'a'; 3000]);
            server.posted().await.unwrap();
        });
        assert_eq!(client.read_to_end().await.unwrap().len(), 3000);
        sleep_until(after(1000)).await;
    });
    assert_eq!(sim.census().tasks, 0);
    (sim.world().executor.trace(), order.take())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        assert_eq!(busy(seed), busy(seed));
    }
    assert_ne!(busy(1).0, busy(2).0);
    assert!((0..20).any(|seed| busy(seed).1 != busy(seed + 1).1), "the order never changes");
}

#[test]
fn the_clock_jumps_and_timers_fire_in_order() {
    let sim = Sim::new(3);
    sim.run(async {
        let begun = now();
        sleep_until(begun.after(Duration::from_secs(3600))).await;
        let took = now().since(begun);
        assert!(took >= Duration::from_secs(3600) && took < Duration::from_secs(3601));
        assert_eq!(within(after(10), sleep_until(Instant::NEVER)).await, None);
        assert_eq!(within(Instant::NEVER, async { 5 }).await, Some(5));
        assert_eq!(wall().0, task::WALL_ORIGIN + 3600);
    });
}

#[test]
#[should_panic(expected = "nothing can run any more")]
fn a_hang_is_found() {
    Sim::new(9).run(std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "runs for ever")]
fn waiting_for_ever_is_found() {
    Sim::new(9).run(async {
        loop {
            sleep_until(after(3_600_000)).await;
        }
    });
}

#[test]
fn a_panic_ends_its_task_only() {
    let sim = Sim::new(4);
    sim.run(async {
        spawn("broken", async { panic!("on purpose") });
        sleep_until(after(10)).await;
        assert!(blocking(|| panic!("there too")).await.is_err());
        assert_eq!(blocking(|| 7).await.unwrap(), 7);
    });
    assert_eq!(sim.world().executor.panics(), ["on purpose"]);
    assert_eq!(sim.census().tasks, 0);
}

#[test]
fn others_run_once_while_one_yields() {
    let sim = Sim::new(5);
    sim.run(async {
        let ran = Rc::new(Cell::new(0));
        for _ in 0..10 {
            let ran = Rc::clone(&ran);
            spawn("other", async move { ran.set(ran.get() + 1) });
        }
        yield_now().await;
        yield_now().await;
        assert_eq!(ran.get(), 10);
    });
}

#[test]
fn blocks_are_bounded_and_served_in_order() {
    let sim = Sim::new(6);
    let total = sim.world().blocks.total();
    sim.run(async {
        let mut held = Vec::new();
        for _ in 0..total {
            held.push(block().await);
        }
        assert!(within(after(50), block()).await.is_none());
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..3 {
            let order = Rc::clone(&order);
            spawn("waits", async move {
                let _block = block().await;
                order.borrow_mut().push(number);
            });
            yield_now().await;
            yield_now().await;
        }
        drop(held.pop());
        sleep_until(after(10)).await;
        assert_eq!(*order.borrow(), [0, 1, 2]);
    });
    assert_eq!(sim.census().blocks, 0);
}

#[test]
fn octets_arrive_whole_in_order_and_then_the_end() {
    for seed in 0..100 {
        let sim = Sim::new(seed);
        sim.run(async {
            let sent = world().rng.bytes(20_000);
            let (mut client, server) = ClientSocket::pair(20);
            let expected = sent.clone();
            spawn("server", async move {
                server.send(sent.into()).await.unwrap();
                server.finish().await.unwrap();
                assert_eq!(server.unacknowledged(), 0);
                assert!(server.receive().await.unwrap().is_empty());
            });
            assert_eq!(client.read_to_end().await.unwrap(), expected, "seed {seed}");
            drop(client);
            sleep_until(after(1000)).await;
        });
        assert!(sim.world().executor.panics().is_empty(), "seed {seed}");
        assert_eq!(sim.census().streams, 0, "seed {seed}");
    }
}

#[test]
fn a_client_that_never_reads_stops_the_sender() {
    let sim = Sim::new(8);
    sim.run(async {
        let (client, server) = ClientSocket::pair(20);
        server.post(vec![0; 1_000_000]);
        assert!(within(after(60_000), server.posted()).await.is_none());
        let waiting = server.unacknowledged();
        assert!(waiting > 0 && waiting <= 65_536);
        client.reset();
        assert!(server.posted().await.is_err());
        assert!(server.receive().await.is_err());
    });
}

#[test]
fn closing_with_unread_octets_resets() {
    let sim = Sim::new(8);
    sim.run(async {
        let (mut client, server) = ClientSocket::pair(20);
        client.write(b"NOOP\r\n").await.unwrap();
        sleep_until(after(2000)).await;
        drop(server);
        assert!(client.read_to_end().await.is_err());
    });
}

#[test]
fn passive_ports_take_the_right_peer_only() {
    let sim = Sim::new(12);
    sim.run(async {
        let ip = client::SERVER.parse().unwrap();
        let passive = Passive::bind(ip, &(5000..=5000)).unwrap();
        assert!(Passive::bind(ip, &(5000..=5000)).is_err());
        let at = passive.local();
        let mut stranger =
            ClientSocket::connect_from("203.0.113.9:0".parse().unwrap(), at).await.unwrap();
        let friend = ClientSocket::connect(at).await.unwrap();
        let stream = passive.accept(Some(client::CLIENT.parse().unwrap())).await.unwrap();
        assert_eq!(stream.peer(), friend.local());
        assert!(matches!(stranger.read_to_end().await.as_deref(), Ok([]) | Err(_)));
        drop(passive);
        assert!(ClientSocket::connect(at).await.is_err());
        Passive::bind(ip, &(5000..=5000)).unwrap();
    });
    assert_eq!(sim.census().passives, 0);
}

#[test]
fn paths_stay_below_their_root() {
    let sim = Sim::new(13);
    let disk = sim.disk();
    disk.plant("/srv/ftp/pub/a", b"A");
    disk.plant("/secret", b"S");
    disk.plant_link("/srv/ftp/abs", "/pub/a");
    disk.plant_link("/srv/ftp/out", "../../secret");
    disk.plant_link("/srv/ftp/loop", "loop");
    sim.run(async {
        let open = |links| Root::open("/srv/ftp".as_ref(), links).unwrap();
        let root = open(Links::InRoot);
        assert_eq!(root.stat(b"abs").await.unwrap().size, 1);
        assert_eq!(root.stat(b"pub/../../../pub/a").await.unwrap().size, 1);
        assert_eq!(root.stat(b"out").await.unwrap_err().raw_os_error(), Some(errno::NOENT));
        assert_eq!(root.stat(b"loop").await.unwrap_err().raw_os_error(), Some(errno::LOOP));
        assert_eq!(root.stat(b"pub/a/").await.unwrap_err().raw_os_error(), Some(errno::NOTDIR));
        let beneath = open(Links::Beneath);
        assert_eq!(beneath.stat(b"abs").await.unwrap_err().raw_os_error(), Some(errno::XDEV));
        assert_eq!(beneath.stat(b"..").await.unwrap_err().raw_os_error(), Some(errno::XDEV));
        assert_eq!(
            open(Links::Deny).stat(b"abs").await.unwrap_err().raw_os_error(),
            Some(errno::LOOP)
        );
        let dir = root.open_dir(b"").await.unwrap();
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let (items, next) = dir.read(&root, b"", cursor, 2).await.unwrap();
            names.extend(items.into_iter().map(|item| item.name));
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        names.sort();
        assert_eq!(names, [&b"abs"[..], b"loop", b"out", b"pub"]);
    });
    assert_eq!(sim.census().dirs, 0);
}

/// Replaces `/d/f` the careful way; true when it was told that all went well.
async fn replace(content: &[u8]) -> std::io::Result<()> {
    let dir = Root::open("/d".as_ref(), Links::InRoot)?.open_dir(b"").await?;
    let file = dir.create(b".t", 0o644).await?;
    for (number, part) in content.chunks(BLOCK_BYTES).enumerate() {
        let mut block = block().await;
        block[..part.len()].copy_from_slice(part);
        let offset = u64::try_from(number * BLOCK_BYTES).unwrap();
        file.write_at(block, part.len(), offset).await.0?;
    }
    file.sync().await?;
    dir.rename(b".t", &dir, b"f", true).await?;
    dir.sync().await
}

/// Crashes `replace` before every step, in every way; counts what the file was afterwards: old,
/// new, neither, and whether it was lost after success.
fn crash_replace(sabotage: Sabotage, mode: Journal) -> [usize; 4] {
    let new = Rng::new(77).bytes(20_000);
    let mut found = [0; 4];
    for step in 0.. {
        let sim = Sim::new(step);
        let disk = sim.disk();
        disk.plant("/d/f", b"old");
        disk.sabotage.set(sabotage);
        disk.mode.set(mode);
        let promised = Cell::new(false);
        let whole = sim.run_until(step, async {
            replace(&new).await.unwrap();
            promised.set(true);
            sleep_until(after(1)).await;
        });
        for loss in LOSSES {
            let left = disk.crash(&Rng::new(step), loss).peek("/d/f");
            let index = if left.as_ref() == Some(&new) {
                1
            } else {
                usize::from(left.as_deref() != Some(b"old")) * 2
            };
            found[index] += 1;
            found[3] += usize::from(promised.get() && index != 1);
        }
        if whole.is_some() {
            break;
        }
    }
    found
}

#[test]
fn a_careful_replacement_survives_every_crash() {
    for mode in [Journal::Ordered, Journal::Unordered] {
        let [old, new, torn, lost] = crash_replace(Sabotage::default(), mode);
        assert!(old > 0 && new > 0);
        assert_eq!((torn, lost), (0, 0));
    }
}

#[test]
fn a_lying_disk_is_noticed() {
    let without_sync =
        crash_replace(Sabotage { sync: true, ..Sabotage::default() }, Journal::Ordered);
    assert!(without_sync[2] > 0 && without_sync[3] > 0);
    let without_dir =
        crash_replace(Sabotage { sync_dir: true, ..Sabotage::default() }, Journal::Ordered);
    assert!(without_dir[2] == 0 && without_dir[3] > 0);
}

#[test]
fn the_nth_operation_fails_once_or_from_then_on() {
    let new = Rng::new(77).bytes(20_000);
    for lasting in [false, true] {
        for at in 1.. {
            let sim = Sim::new(at);
            sim.disk().plant("/d/f", b"old");
            sim.disk().fail_at(at, errno::IO, lasting);
            let result = sim.run(replace(&new));
            if sim.disk().hit().is_empty() {
                assert_eq!(at, sim.disk().operations() + 1);
                assert!(sim.disk().trace().ends_with(&[
                    Operation::Sync,
                    Operation::Rename,
                    Operation::SyncDir
                ]));
                break;
            }
            assert_eq!(result.unwrap_err().raw_os_error(), Some(errno::IO), "operation {at}");
        }
    }
}

#[test]
fn the_disk_fills_up_in_the_middle_of_a_write() {
    let sim = Sim::new(2);
    sim.disk().plant("/d/f", b"old");
    sim.disk().space.set(10_000);
    let result = sim.run(replace(&vec![1; 20_000]));
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno::NOSPC));
    assert_eq!(sim.disk().files("/d")[&b".t"[..]].len(), 10_000);
}

#[test]
fn a_failed_sync_loses_what_it_was_to_keep() {
    let lost = (0..20).filter(|&seed| {
        let sim = Sim::new(seed);
        sim.disk().plant("/d/f", b"old");
        sim.run(async {
            let root = Root::open("/d".as_ref(), Links::InRoot).unwrap();
            let file = root.open_in_place(b"f").await.unwrap();
            file.write_at(block().await, 100, 0).await.0.unwrap();
            sim.disk().fail_at(sim.disk().operations() + 1, errno::IO, false);
            file.sync().await.unwrap_err();
            file.sync().await.unwrap();
        });
        assert_eq!(sim.disk().peek("/d/f").unwrap().len(), 100);
        sim.disk().crash(&Rng::new(seed), Loss::All).peek("/d/f").unwrap() == b"old"
    });
    assert!(lost.count() > 0);
}

#[test]
fn a_dropped_operation_may_or_may_not_happen() {
    let happened = (0..60).filter(|&seed| {
        let sim = Sim::with_disk(seed, Rc::new(Disk::new()));
        sim.disk().plant_dir("/d");
        sim.run(async {
            let dir =
                Root::open("/d".as_ref(), Links::InRoot).unwrap().open_dir(b"").await.unwrap();
            drop(within(now(), dir.create(b"x", 0o644)).await);
            sleep_until(after(1000)).await;
        });
        assert_eq!(sim.census().files, 0);
        !sim.disk().files("/d").is_empty()
    });
    let happened = happened.count();
    assert!(happened > 5 && happened < 55, "{happened}");
}
