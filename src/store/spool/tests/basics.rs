//! What goes in comes out, in one life and the next.

use super::super::{Content, QueueId, Spool, Trouble};
use super::{boot, open_one, reboot, seeds};
use crate::shard::rng::Rng;
use crate::shard::{self, Sim};

async fn commit(spool: &Spool, octets: &[u8]) -> Result<(QueueId, Content), Trouble> {
    let mut draft = spool.draft();
    for piece in octets.chunks(7000) {
        draft.append(piece).await?;
    }
    assert_eq!(draft.len(), u64::try_from(octets.len()).unwrap());
    let done = draft.commit(|id| format!("meta of {id}").into_bytes()).await?;
    Ok((done.id, done.content))
}

async fn all(content: &Content) -> Vec<u8> {
    let mut octets = Vec::new();
    while (octets.len() as u64) < content.len() {
        let more = content.read(octets.len() as u64, 5000).await.unwrap();
        assert!(!more.is_empty());
        octets.extend_from_slice(&more);
    }
    octets
}

#[test]
fn messages_of_all_sizes_are_found_again_until_settled() {
    seeds(40, |seed| {
        let sim = boot(seed);
        let sizes = [0, 1, 4096, 20_000, 40_000, 300_000, 1_200_000];
        let octets = |number: usize| Rng::new(seed ^ number as u64).bytes(sizes[number]);
        let ids = sim.run(async {
            let (spool, found) = open_one(0, 1).await.unwrap();
            assert!(found.is_empty());
            let mut ids = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let (id, content) = commit(&spool, &octets(number)).await.unwrap();
                assert!(ids.last().is_none_or(|last| *last < id));
                assert!(all(&content).await == octets(number), "size {size}");
                ids.push(id);
            }
            spool.note(ids[1], b"one".to_vec());
            spool.note(ids[1], b"two".to_vec());
            spool.settle(ids[0]);
            spool.settle(ids[5]);
            spool.note(ids[5], b"late".to_vec());
            assert_eq!(spool.stats().messages, 5);
            assert!(spool.content(ids[0]).is_none());
            spool.close().await;
            assert!(matches!(commit(&spool, b"x").await, Err(Trouble::Broken)));
            ids
        });
        assert_eq!(sim.census().tasks, 0);
        let disk = sim.disk();
        drop(sim);
        for life in 1..3 {
            let sim = reboot(seed + life, &disk);
            sim.run(async {
                let (spool, found) = open_one(0, 1).await.unwrap();
                let left: Vec<_> = found.iter().map(|found| found.id).collect();
                assert_eq!(left, [ids[1], ids[2], ids[3], ids[4], ids[6]]);
                assert_eq!(found[0].notes, [b"one", b"two"]);
                for found in &found {
                    let number = ids.iter().position(|id| *id == found.id).unwrap();
                    assert_eq!(found.meta, format!("meta of {}", found.id).into_bytes());
                    let content = spool.content(found.id).unwrap();
                    assert!(all(&content).await == octets(number));
                }
                spool.close().await;
            });
        }
    });
}

#[test]
fn segments_are_recycled_not_multiplied() {
    seeds(10, |seed| {
        let sim = boot(seed);
        sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            for number in 0..120 {
                let (id, _) = commit(&spool, &vec![number; 9000]).await.unwrap();
                spool.settle(id);
            }
            spool.flush().await.unwrap();
            let stats = spool.stats();
            assert!(stats.segments <= 6, "{stats:?}");
            assert_eq!((stats.messages, stats.bytes, stats.condemned), (0, 0, 0));
            spool.close().await;
        });
    });
}

#[test]
fn an_old_message_is_carried_on_and_keeps_its_notes() {
    seeds(20, |seed| {
        let sim = boot(seed);
        sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            let (old, _) = commit(&spool, b"old").await.unwrap();
            let (large, _) = commit(&spool, &vec![5; 70_000]).await.unwrap();
            spool.note(old, b"a".to_vec());
            let carried = spool.clone();
            shard::spawn("carrier", async move {
                // A slow disk takes seconds to fill the segments after which messages are carried.
                let patience = std::time::Duration::from_secs(60);
                while let Some(id) =
                    shard::within(shard::now().after(patience), carried.next_to_carry()).await
                {
                    let meta = format!("carried {id}").into_bytes();
                    let carrying = carried.carry(id, meta);
                    carried.note(id, b"b".to_vec());
                    carrying.await.unwrap();
                }
            });
            for _ in 0..80 {
                let (id, _) = commit(&spool, &[1; 9000]).await.unwrap();
                spool.settle(id);
                // Longer than the slowest read: else segments fill while one message is carried.
                shard::sleep_until(shard::now().after(std::time::Duration::from_millis(50))).await;
            }
            spool.flush().await.unwrap();
            let stats = spool.stats();
            assert!(stats.segments <= 9, "{stats:?}");
            assert!(all(&spool.content(old).unwrap()).await == b"old");
            // The carrier ends first: what is carried while the log closes is refused.
            shard::sleep_until(shard::now().after(std::time::Duration::from_secs(180))).await;
            spool.close().await;
            let (spool, found) = open_one(0, 1).await.unwrap();
            assert_eq!(found.len(), 2);
            for found in found {
                assert_eq!(found.meta, format!("carried {}", found.id).into_bytes());
                assert_eq!(found.notes, [b"b"]);
            }
            assert!(all(&spool.content(large).unwrap()).await == vec![5; 70_000]);
            spool.close().await;
        });
    });
}

#[test]
fn what_nobody_waits_for_is_durable_within_a_second() {
    seeds(10, |seed| {
        let sim = boot(seed);
        sim.weather(shard::Weather::CALM);
        let disk = sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            let (first, _) = commit(&spool, b"1").await.unwrap();
            let (second, _) = commit(&spool, b"2").await.unwrap();
            spool.settle(first);
            spool.note(second, b"n".to_vec());
            shard::sleep_until(shard::now().after(std::time::Duration::from_secs(1))).await;
            sim.disk().crash(&Rng::new(seed), shard::crash::Loss::All)
        });
        drop(sim);
        let sim = Sim::with_disk(1, disk);
        let (_, found) = sim.run(open_one(0, 1)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].notes, [b"n"]);
    });
}

#[test]
fn memory_is_bounded_and_nobody_waits_for_ever() {
    seeds(20, |seed| {
        let sim = boot(seed);
        sim.run(async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            let done = std::rc::Rc::new(std::cell::Cell::new(0));
            for number in 0..30_u8 {
                let (spool, done) = (spool.clone(), std::rc::Rc::clone(&done));
                shard::spawn("sender", async move {
                    let mut draft = spool.draft();
                    for _ in 0..30 {
                        draft.append(&[number; 900]).await.unwrap();
                        shard::yield_now().await;
                    }
                    let committed = draft.commit(|_| Vec::new()).await.unwrap();
                    assert!(all(&committed.content).await == vec![number; 27_000]);
                    done.set(done.get() + 1);
                });
            }
            while done.get() < 30 {
                shard::sleep_until(shard::now().after(std::time::Duration::from_millis(10))).await;
            }
            assert_eq!(spool.stats().messages, 30);
            // Drafts that are dropped leave nothing.
            let mut draft = spool.draft();
            draft.append(&vec![1; 200_000]).await.unwrap();
            drop(draft);
            spool.close().await;
        });
        let litter = |name: &&Vec<u8>| name.ends_with(b".tmp");
        sim.pass(std::time::Duration::from_secs(1));
        assert_eq!(sim.disk().files(super::PLACE).keys().filter(litter).count(), 0);
    });
}

#[test]
fn another_format_is_refused() {
    let sim = boot(1);
    sim.disk().plant(&format!("{}/FORMAT", super::PLACE), b"sluicegate spool 2\n");
    let problem = sim.run(open_one(0, 1)).err().unwrap().to_string();
    assert!(problem.contains("spool 2"), "{problem}");
}

#[test]
fn queue_ids_read_and_write() {
    for id in [0, 1, 31, 32, u64::MAX, 0x0123_4567_89ab_cdef] {
        let text = QueueId(id).to_string();
        assert_eq!((text.len(), text.parse()), (13, Ok(QueueId(id))));
        assert_eq!(text.to_ascii_lowercase().parse(), Ok(QueueId(id)));
    }
    for bad in ["", "0", "ZZZZZZZZZZZZZ", "000000000000U", "00000000000000"] {
        assert_eq!(bad.parse::<QueueId>(), Err(()), "{bad}");
    }
}
