//! The spool on the real shard and real file systems: with direct writes and without.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "common/on_shard.rs"]
mod on_shard;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use on_shard::{alone, on_shard};
use sluicegate::shard::{self, Links, Root};
use sluicegate::store::spool::{Content, Found, QueueId, Settings, Spool};

const SIZES: [usize; 8] = [0, 1, 4000, 4096, 70_000, 600_000, 1_100_000, 3_000_001];

async fn open(place: &Path) -> (Spool, Vec<Found>) {
    let root = Root::open(place, Links::Deny).unwrap();
    let settings = Settings {
        segment_bytes: 4 << 20,
        memory_bytes: 4 << 20,
        reserve_bytes: 1 << 20,
        replaces: |_, _| false,
    };
    let (spool, found) = Spool::open(&root, 0, 1, settings).await.unwrap();
    (spool, found.all().await.unwrap())
}

fn octets(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut octets = Vec::new();
    while octets.len() < SIZES[number % SIZES.len()] {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        octets.extend_from_slice(&state.to_be_bytes()[..4]);
    }
    octets.truncate(SIZES[number % SIZES.len()]);
    octets
}

async fn commit(spool: &Spool, number: usize) -> QueueId {
    let octets = octets(number);
    let mut draft = spool.draft();
    for piece in octets.chunks(50_000) {
        draft.append(piece).await.unwrap();
    }
    let meta = number.to_le_bytes().to_vec();
    let done = draft.commit(|_| meta).await.unwrap();
    assert!(all(&done.content).await == octets);
    done.id
}

async fn all(content: &Content) -> Vec<u8> {
    let mut octets = Vec::new();
    while (octets.len() as u64) < content.len() {
        octets.extend_from_slice(&content.read(octets.len() as u64, 300_000).await.unwrap());
    }
    octets
}

/// Many messages at once, notes, settlements, recycling, and twice found again.
async fn life(place: &Path) {
    let (spool, found) = open(place).await;
    assert!(found.is_empty());
    let commits = Rc::new(std::cell::Cell::new(0));
    let counted = Rc::clone(&commits);
    spool.on_commit(move |commit| counted.set(counted.get() + commit.messages));
    let done = Rc::new(std::cell::RefCell::new(Vec::new()));
    for number in 0..64 {
        let (spool, done) = (spool.clone(), Rc::clone(&done));
        shard::spawn("sender", async move {
            let id = commit(&spool, number).await;
            spool.note(id, vec![7]);
            if number % 2 == 1 {
                spool.settle(id);
            }
            done.borrow_mut().push((id, number));
        });
    }
    while done.borrow().len() < 64 {
        shard::sleep_until(shard::now().after(Duration::from_millis(5))).await;
    }
    assert_eq!(commits.get(), 64);
    spool.close().await;
    let mut expected = done.borrow().clone();
    expected.retain(|(_, number)| number % 2 == 0);
    expected.sort();
    for _ in 0..2 {
        let (spool, found) = open(place).await;
        assert_eq!(found.len(), expected.len());
        for (found, (id, number)) in found.iter().zip(&expected) {
            assert_eq!(found.id, *id);
            assert_eq!(found.meta, number.to_le_bytes());
            assert_eq!(found.notes, [[7]]);
            assert!(all(&spool.content(*id).unwrap()).await == octets(*number));
        }
        spool.close().await;
    }
}

#[test]
fn a_life_on_a_disk() {
    if alone("a_life_on_a_disk") {
        on_shard(|| async {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            life(folder.path()).await;
        });
    }
}

#[test]
fn a_life_in_memory() {
    if alone("a_life_in_memory") {
        on_shard(|| async {
            let folder = tempfile::tempdir_in("/dev/shm").unwrap();
            life(folder.path()).await;
        });
    }
}
