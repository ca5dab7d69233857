//! Octets that a disk did not keep: said, read around, and nothing is taken for what it is not.

use std::rc::Rc;

use super::super::QueueId;
use super::{PLACE, boot, open_one, reboot};
use crate::shard::disk::Disk;

pub(super) const SEGMENT: &str = "/var/spool/shard-0/00000001.seg";

/// Five messages, each a batch of its own, the last one large; and their ids.
pub(super) fn five() -> (Rc<Disk>, Vec<QueueId>) {
    let sim = boot(5);
    let ids = sim.run(async {
        let (spool, _) = open_one(0, 1).await.unwrap();
        let mut ids = Vec::new();
        for number in 1..=5_u8 {
            let mut draft = spool.draft();
            let len = if number == 5 { 50_000 } else { 2000 };
            draft.append(&vec![number; len]).await.unwrap();
            ids.push(draft.commit(|_| vec![0xF0 | number; 20]).await.unwrap().id);
        }
        spool.close().await;
        ids
    });
    sim.disk().settle();
    (sim.disk(), ids)
}

/// Changes what stands at the first place of a file where all of `octets` do.
pub(super) fn flip(disk: &Disk, path: &str, octets: &[u8]) {
    let mut content = disk.peek(path).unwrap();
    let at = content.windows(octets.len()).position(|window| window == octets).unwrap();
    content[at] ^= 0x55;
    disk.plant(path, &content);
}

fn found(disk: &Rc<Disk>) -> Vec<QueueId> {
    let sim = reboot(6, disk);
    sim.run(async {
        let (spool, found) = open_one(0, 1).await.unwrap();
        for found in &found {
            let content = spool.content(found.id).unwrap();
            let octets = content.read(0, 10).await.unwrap();
            assert!(octets.iter().all(|octet| *octet == found.meta[0] & 0x0f));
            // Once verified, parts are read.
            assert_eq!(content.read(1990, 10).await.unwrap(), octets);
        }
        spool.close().await;
        found.iter().map(|found| found.id).collect()
    })
}

#[test]
fn a_damaged_record_costs_itself_only() {
    let (disk, ids) = five();
    flip(&disk, SEGMENT, &[2; 2000]);
    for _ in 0..2 {
        assert_eq!(found(&disk), [ids[0], ids[2], ids[3], ids[4]]);
        disk.settle();
    }
}

#[test]
fn a_shard_that_is_damaged_twice_is_adopted_twice() {
    let sim = boot(7);
    sim.disk().settle();
    let disk = sim.disk();
    let mut sound = Vec::new();
    for life in 1..=2_u8 {
        let sim = reboot(u64::from(life), &disk);
        let ids = sim.run(async move {
            let (spool, _) = open_one(1, 2).await.unwrap();
            let mut ids = Vec::new();
            for number in [life, life + 8] {
                let mut draft = spool.draft();
                draft.append(&[number; 2000]).await.unwrap();
                ids.push(draft.commit(|_| vec![0xF0 | number; 20]).await.unwrap().id);
            }
            spool.close().await;
            ids
        });
        disk.settle();
        flip(&disk, "/var/spool/shard-1/00000001.seg", &[life; 2000]);
        sound.push(ids[1]);
        for _ in 0..2 {
            let mut there = found(&disk);
            there.sort();
            assert_eq!(there, sound);
            disk.settle();
        }
    }
}

#[test]
fn a_damaged_header_costs_nothing() {
    let (disk, ids) = five();
    flip(&disk, SEGMENT, b"SgSpool");
    assert_eq!(found(&disk), ids);
}

#[test]
fn a_large_message_stays_when_its_pointer_may_be_what_was_lost() {
    let (disk, ids) = five();
    let mut content = disk.peek(SEGMENT).unwrap();
    let at = content.windows(20).position(|window| window == [0xF5; 20]).unwrap();
    content[at] ^= 1;
    disk.plant(SEGMENT, &content);
    assert_eq!(found(&disk), ids[..4]);
    let file = format!("{PLACE}/shard-0/large/{}", ids[4]);
    assert_eq!(disk.peek(&file).map(|octets| octets.len()), Some(50_000));
}

#[test]
fn damaged_octets_are_never_given() {
    let (disk, ids) = five();
    let file = format!("{PLACE}/shard-0/large/{}", ids[4]);
    flip(&disk, &file, &[5; 100]);
    let sim = reboot(9, &disk);
    sim.run(async {
        let (spool, found) = open_one(0, 1).await.unwrap();
        assert_eq!(found.len(), 5);
        let error = spool.content(ids[4]).unwrap().read(0, 10).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        flip(&disk, SEGMENT, &[1; 2000]);
        let error = spool.content(ids[0]).unwrap().read(0, 10).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        spool.close().await;
    });
}
