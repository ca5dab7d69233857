//! Whatever a crash leaves, the commands on a stopped server say what the next start finds.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;

use crc32c::crc32c;

use super::super::offline::{self, Change, Fault, Grade, Log};
use super::super::{Found, QueueId};
use super::{PLACE, boot, open_one, reboot};
use crate::shard::crash::{LOSSES, Loss};
use crate::shard::disk::Disk;
use crate::shard::rng::Rng;

/// Meta, notes, size and octets of each message.
type Messages = BTreeMap<QueueId, (Vec<u8>, Vec<Vec<u8>>, u64, Vec<u8>)>;

/// The spool of a simulated disk in a real directory.
pub(super) fn export(disk: &Disk) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, octets) in disk.files(PLACE) {
        let path = folder.path().join(std::str::from_utf8(&name).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
    }
    folder
}

/// A simulated disk with the spool of a real directory.
fn import(from: &Path) -> Rc<Disk> {
    fn plant(disk: &Disk, from: &Path, to: &str) {
        disk.plant_dir(to);
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = format!("{to}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                plant(disk, &entry.path(), &to);
            } else {
                disk.plant(&to, &fs::read(entry.path()).unwrap());
            }
        }
    }
    let disk = boot(0).disk();
    plant(&disk, from, PLACE);
    disk
}

fn read(spool: &Path) -> (Vec<Log>, Vec<Fault>, Messages) {
    let (logs, mut faults) = offline::read(spool).unwrap();
    let mut messages = Messages::new();
    for log in &logs {
        faults.extend(log.faults.iter().cloned());
        for (id, held) in &log.messages {
            let mut octets = Vec::new();
            log.copy(*id, held, &mut octets).unwrap();
            let one = (held.meta.clone(), held.notes.clone(), held.size, octets);
            assert!(messages.insert(*id, one).is_none(), "{id} counts twice");
        }
    }
    (logs, faults, messages)
}

/// What the commands on a stopped server find there; no fault is worse than `worst`.
pub(super) fn verdict(spool: &Path, worst: Grade) -> Messages {
    let (_, faults, messages) = read(spool);
    for fault in faults {
        assert!(fault.grade <= worst && !fault.why.contains("no part of a spool"), "{fault:?}");
    }
    messages
}

/// Does offline find the same as a start?
pub(super) fn assert_same(spool: &Path, found: &[Found], worst: Grade) {
    let ours = verdict(spool, worst);
    let ours: Vec<_> =
        ours.into_iter().map(|(id, (meta, notes, size, _))| (id, meta, notes, size)).collect();
    let mut theirs: Vec<_> =
        found.iter().map(|one| (one.id, one.meta.clone(), one.notes.clone(), one.size)).collect();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// What a start of `shards` finds, with the octets.
fn opened(disk: &Rc<Disk>, shards: usize) -> Messages {
    let sim = reboot(3, disk);
    sim.run(async {
        let mut messages = Messages::new();
        for shard in 0..shards {
            let (spool, found) = open_one(shard, shards).await.unwrap();
            for one in found {
                let content = spool.content(one.id).unwrap();
                let octets = content.read(0, usize::try_from(one.size).unwrap()).await.unwrap();
                let all = (one.meta, one.notes, one.size, octets.to_vec());
                assert!(messages.insert(one.id, all).is_none());
            }
            spool.close().await;
        }
        messages
    })
}

/// The logs of two shards: small messages and large ones, notes, settled ones.
fn two_logs() -> Rc<Disk> {
    let sim = boot(5);
    sim.run(async {
        for shard in 0..2 {
            let (spool, _) = open_one(shard, 2).await.unwrap();
            for number in 1..=6_u8 {
                let mut draft = spool.draft();
                let len = if number.is_multiple_of(3) { 50_000 } else { 3000 };
                draft.append(&vec![number; len]).await.unwrap();
                let id = draft.commit(|_| vec![0xF0 | number; 20]).await.unwrap().id;
                match number {
                    1 => spool.settle(id),
                    2 => spool.note(id, b"a note".to_vec()),
                    _ => {}
                }
            }
            spool.close().await;
        }
    });
    sim.disk().settle();
    sim.disk()
}

/// The spool at every step of a start that adopts, and after every loss.
fn every_crash(disk: &Rc<Disk>, mut look: impl FnMut(&Rc<Disk>)) {
    let none = |disk: &Disk| disk.crash(&Rng::new(0), Loss::None);
    let mut seen = HashSet::new();
    for step in 0.. {
        let now = none(disk);
        let sim = reboot(7, &now);
        let done = sim.run_until(step, async {
            let (spool, _) = open_one(0, 1).await.unwrap();
            spool.close().await;
        });
        drop(sim);
        for (number, loss) in (0..).zip(LOSSES.into_iter().chain([Loss::Random])) {
            let left = now.crash(&Rng::new(step * 8 + number), loss);
            // By their sums, of which the checked build makes gigabytes a second, as it does not of hashes.
            let files = left.files(PLACE).into_iter();
            let state: Vec<_> =
                files.map(|(name, octets)| (name, octets.len(), crc32c(&octets))).collect();
            if seen.insert(state) {
                look(&left);
            }
        }
        if done.is_some() {
            return;
        }
    }
}

#[test]
fn every_state_of_an_adoption_is_judged_as_a_start_does() {
    let disk = two_logs();
    let mut states = [0; 4];
    every_crash(&disk, |left| {
        let files: Vec<String> =
            left.files(PLACE).into_keys().map(|name| String::from_utf8(name).unwrap()).collect();
        let intent = files.iter().any(|name| name == "shard-0/ADOPTING");
        let adopted = files.iter().any(|name| name.starts_with("shard-1.adopted-0"));
        states[usize::from(intent) + 2 * usize::from(adopted)] += 1;
        let folder = export(left);
        let ours = verdict(folder.path(), Grade::Trace);
        assert_eq!(ours.len(), 10);
        assert_eq!(ours, opened(left, 1));
    });
    assert!(states.iter().all(|count| *count > 0), "{states:?}");
}

#[test]
fn what_is_appended_amid_an_adoption_counts_after_it() {
    let disk = two_logs();
    let mut seen = std::collections::BTreeSet::new();
    every_crash(&disk, |left| {
        let names: Vec<_> = left.files(PLACE).into_keys().collect();
        // One of each kind is enough: this writes to a real disk.
        if !seen.insert(names) {
            return;
        }
        let folder = export(left);
        let (logs, _, before) = read(folder.path());
        for log in &logs {
            let ids: Vec<_> = log.messages.keys().copied().collect();
            let mut changes: Vec<_> =
                ids.iter().step_by(2).map(|id| Change::Settled(*id)).collect();
            changes.extend(
                ids.iter().skip(1).step_by(2).map(|id| Change::Note(*id, b"offline".to_vec())),
            );
            log.append(&changes).unwrap();
        }
        let after = verdict(folder.path(), Grade::Trace);
        assert!(
            after.len() < before.len()
                && after.values().all(|one| one.1.contains(&b"offline".to_vec()))
        );
        assert_eq!(after, opened(&import(folder.path()), 1));
    });
    assert!(seen.len() > 5);
}

#[test]
fn a_damaged_log_that_was_adopted_is_named_once() {
    let disk = two_logs();
    let segment = format!("{PLACE}/shard-1/00000001.seg");
    let mut octets = disk.peek(&segment).unwrap();
    let at = octets.windows(3000).position(|part| part == [4; 3000]).unwrap();
    octets[at] ^= 1;
    disk.plant(&segment, &octets);
    every_crash(&disk, |left| {
        let folder = export(left);
        let (_, faults, ours) = read(folder.path());
        let damage = faults.iter().filter(|one| one.grade == Grade::Damage).count();
        assert_eq!((damage, ours.len()), (1, 9), "{faults:?}");
        assert!(faults.iter().all(|one| one.grade <= Grade::Damage), "{faults:?}");
        assert_eq!(ours, opened(left, 1));
    });
}

#[test]
fn a_copy_whose_header_is_lost_does_not_count() {
    let disk = two_logs();
    let mut seen = 0;
    every_crash(&disk, |left| {
        let files = left.files(PLACE);
        let copying = files.contains_key(&b"shard-0/ADOPTING"[..])
            && files.contains_key(&b"shard-1/00000001.seg"[..]);
        let Some((name, octets)) = files
            .iter()
            .rfind(|(name, _)| name.starts_with(b"shard-0/0") && name.ends_with(b".seg"))
            .filter(|_| copying)
        else {
            return;
        };
        if octets.get(4096..4100).is_none_or(|magic| magic != b"SgR\x1e") || seen > 20 {
            return;
        }
        seen += 1;
        let mut octets = octets.clone();
        octets[20] ^= 1;
        left.plant(&format!("{PLACE}/{}", String::from_utf8_lossy(name)), &octets);
        let folder = export(left);
        let ours = verdict(folder.path(), Grade::Damage);
        assert_eq!(ours.len(), 10);
        assert_eq!(ours, opened(left, 1));
    });
    assert!(seen > 0);
}
