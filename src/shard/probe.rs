//! shard::probe – what a directory's disk can do, tried with a small file that is removed at once.
//!
//! Promises: changes nothing that stays; ends after [`TRIES`] writes.
//! Not here: what is made of it (`cli::check`).

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{self, FsType};

/// Durable writes tried.
pub const TRIES: usize = 20;
/// Octets of one write, and what direct writes are aligned to.
const BLOCK_BYTES: usize = 4096;

/// Does what was synced to a file system survive a power cut?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// As far as the disk does.
    Yes,
    /// It lives in memory.
    No,
    /// That depends on what is behind it.
    Unknown,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Name of the file system.
    pub kind: String,
    /// Whether it keeps what was synced.
    pub keeps: Keeps,
    /// Octets that an ordinary user may still write.
    pub free_bytes: u64,
    /// Writes past the page cache are taken.
    pub direct: bool,
    /// How long a durable write of 4 KiB took: half of them, and 99 of 100, were at least as fast.
    pub write_p50: Duration,
    /// See `write_p50`.
    pub write_p99: Duration,
}

/// File systems by their magic number (statfs(2)): name, and whether they keep what was synced.
const KINDS: [(i64, &str, Keeps); 15] = [
    (0xEF53, "ext4", Keeps::Yes),
    (0x5846_5342, "xfs", Keeps::Yes),
    (0x9123_683E, "btrfs", Keeps::Yes),
    (0x2FC1_2FC1, "zfs", Keeps::Yes),
    (0xF2F5_2010, "f2fs", Keeps::Yes),
    (0xCA45_1A4E, "bcachefs", Keeps::Yes),
    (0x0102_1994, "tmpfs", Keeps::No),
    (0x8584_58F6, "ramfs", Keeps::No),
    (0x794C_7630, "overlayfs", Keeps::Unknown),
    (0x6969, "nfs", Keeps::Unknown),
    (0xFF53_4D42, "cifs", Keeps::Unknown),
    (0xFE53_4D42, "smb2", Keeps::Unknown),
    (0x6573_5546, "fuse", Keeps::Unknown),
    (0x0102_1997, "9p", Keeps::Unknown),
    (0x00C3_6400, "ceph", Keeps::Unknown),
];

/// Tries the disk of a directory that exists.
///
/// # Errors
/// What the first failing call said: no file can be made there, or written.
pub fn disk(directory: &Path) -> io::Result<Disk> {
    let stat = statfs::statfs(directory)?;
    let magic = stat.filesystem_type();
    let known = KINDS.iter().find(|(number, ..)| is(magic, *number));
    let (kind, keeps) = match known {
        Some((_, name, keeps)) => ((*name).to_owned(), *keeps),
        None => (format!("{:#x}", magic.0), Keeps::Unknown),
    };
    let fragment = u64::try_from(stat.block_size()).unwrap_or(0);
    let file = tempfile::NamedTempFile::new_in(directory)?;
    let direct = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(file.path())
        .ok();
    let (direct, mut times) = match direct.and_then(|file| writes(&file, false).ok()) {
        Some(times) => (true, times),
        None => (false, writes(file.as_file(), true)?),
    };
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).copied().unwrap_or_default()
    };
    Ok(Disk {
        kind,
        keeps,
        free_bytes: stat.blocks_available().saturating_mul(fragment),
        direct,
        write_p50: at(50),
        write_p99: at(99),
    })
}

/// The type of the magic number differs between C libraries; its low 32 bits do not.
fn is(magic: FsType, number: i64) -> bool {
    i128::from(magic.0) & 0xFFFF_FFFF == i128::from(number)
}

/// Writes blocks one after the other, over zeros that are on the disk already, and takes the time of each.
fn writes(file: &File, sync: bool) -> io::Result<Vec<Duration>> {
    // Room to find an aligned block in; no part of the language gives aligned octets without `unsafe`.
    let mut room = vec![0_u8; 2 * BLOCK_BYTES];
    let skip = room.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    let block = room.get_mut(skip..skip + BLOCK_BYTES).unwrap_or_default();
    let mut at = |number: usize| {
        let offset = u64::try_from(number * BLOCK_BYTES).unwrap_or_default();
        file.write_all_at(block, offset)
    };
    (0..TRIES).try_for_each(&mut at)?;
    file.sync_all()?;
    (0..TRIES)
        .map(|number| {
            let begun = Instant::now();
            at(number)?;
            if sync {
                file.sync_data()?;
            }
            Ok(begun.elapsed())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_tried_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(directory.path()).unwrap();
        assert!(!disk.kind.is_empty() && disk.free_bytes > 0, "{disk:?}");
        assert!(disk.write_p50 <= disk.write_p99 && !disk.write_p99.is_zero(), "{disk:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(super::disk(&directory.path().join("no")).is_err());
    }

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        let of = |path: &str| disk(Path::new(path)).map(|disk| (disk.kind, disk.keeps));
        // /dev/shm is a tmpfs wherever it is.
        if let Ok(found) = of("/dev/shm") {
            assert_eq!(found, ("tmpfs".to_owned(), Keeps::No));
        }
        assert!(of("/proc").is_err());
    }
}
