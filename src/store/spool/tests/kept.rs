//! What is kept of messages is read again: whatever is asked for, wherever it lies, and nothing that it is not.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use super::super::{QueueId, Spool};
use super::damage::{SEGMENT, five, flip};
use super::{boot, open_one, reboot, seeds};
use crate::shard;
use crate::shard::rng::Rng;

async fn commit(spool: &Spool, rng: &Rng) -> (QueueId, Vec<u8>, Vec<u8>) {
    let size = [0, 10, 900, 5000, 30_000, 80_000][rng.range(0, 5)];
    let (octets, meta) = (rng.bytes(size), rng.bytes(rng.range(0, 700)));
    let mut draft = spool.draft();
    draft.append(&octets).await.unwrap();
    let given = meta.clone();
    (draft.commit(|_| given).await.unwrap().id, meta, octets)
}

/// Carries on what stands in the way, for as long as the test runs.
async fn carry(spool: Spool, metas: std::rc::Rc<std::cell::RefCell<BTreeMap<QueueId, Vec<u8>>>>) {
    let patience = Duration::from_secs(60);
    while let Some(id) = shard::within(shard::now().after(patience), spool.next_to_carry()).await {
        let meta = format!("carried {id}").into_bytes();
        if spool.carry(id, meta.clone()).await.is_ok() {
            metas.borrow_mut().entry(id).and_modify(|old| *old = meta);
        }
    }
}

#[test]
fn whatever_is_asked_for_is_given_in_that_order() {
    seeds(30, |seed| {
        let sim = boot(seed);
        sim.run(async {
            let rng = Rng::new(seed);
            let (spool, _) = open_one(0, 1).await.unwrap();
            let metas = std::rc::Rc::default();
            shard::spawn("carrier", carry(spool.clone(), std::rc::Rc::clone(&metas)));
            let (mut bodies, mut ids) = (BTreeMap::new(), Vec::new());
            for _ in 0..60 {
                let (id, meta, octets) = commit(&spool, &rng).await;
                metas.borrow_mut().insert(id, meta);
                bodies.insert(id, octets);
                ids.push(id);
                if rng.percent(60) {
                    let settled = ids.remove(rng.range(0, ids.len() - 1));
                    spool.settle(settled);
                    metas.borrow_mut().remove(&settled);
                }
                shard::sleep_until(shard::now().after(Duration::from_millis(50))).await;
            }
            // Nothing is being carried on while it is compared.
            shard::sleep_until(shard::now().after(Duration::from_secs(120))).await;
            let mut asked: Vec<QueueId> = bodies.keys().copied().collect();
            rng.shuffle(&mut asked);
            let wanted: Vec<QueueId> =
                asked.iter().copied().filter(|id| ids.contains(id)).collect();
            let kept = spool.metas(&asked).await;
            assert_eq!(kept.iter().map(|kept| kept.id).collect::<Vec<_>>(), wanted, "seed {seed}");
            for kept in kept {
                assert_eq!(*kept.meta.unwrap(), *metas.borrow()[&kept.id], "seed {seed}");
                assert_eq!(kept.size, bodies[&kept.id].len() as u64);
                assert_eq!(spool.size(kept.id), Some(kept.size));
                let (meta, content) = spool.load(kept.id).await.unwrap().unwrap();
                assert_eq!(meta, metas.borrow()[&kept.id]);
                assert!(content.read(0, usize::MAX).await.unwrap() == bodies[&kept.id]);
            }
            for id in asked.iter().filter(|id| !ids.contains(id)) {
                assert!(spool.load(*id).await.is_none() && spool.size(*id).is_none());
            }
            spool.close().await;
        });
    });
}

#[test]
fn what_the_disk_changed_is_not_given() {
    let (disk, ids) = five();
    let sim = reboot(7, &disk);
    sim.run(async {
        let (spool, found) = open_one(0, 1).await.unwrap();
        assert_eq!(found.len(), 5);
        // After the start: of the second the meta, of the third the message.
        flip(&disk, SEGMENT, &[0xF2; 20]);
        flip(&disk, SEGMENT, &[3; 2000]);
        let kept = spool.metas(&ids).await;
        let sound: Vec<bool> = kept.iter().map(|kept| kept.meta.is_ok()).collect();
        assert_eq!(sound, [true, false, true, true, true], "a message is no part of what is read");
        let loaded = |at: usize| spool.load(ids[at]);
        assert_eq!(loaded(1).await.unwrap().err().unwrap().kind(), ErrorKind::InvalidData);
        assert_eq!(loaded(2).await.unwrap().err().unwrap().kind(), ErrorKind::InvalidData);
        assert!(loaded(3).await.unwrap().is_ok());
        spool.close().await;
    });
}
