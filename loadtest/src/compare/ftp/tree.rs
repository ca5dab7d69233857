//! compare::ftp::tree – the files that every server serves, and the folder it stores into.
//!
//! One tree for all servers, because one runs at a time: the same inodes and the same page cache
//! for each of them.
//!
//! ```text
//! pub/large.bin            256 MiB
//! pub/small/dNN/fNNNN.bin  4,000 files of 16 KiB in 40 folders
//! pub/list/                2,000 entries
//! incoming/                owned by `ftp`, emptied before every start
//! ```
//!
//! Promises: contents follow `client::pattern`, so what a server sends can be checked.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::room;
use crate::client::pattern;

pub const LARGE_BYTES: u64 = 256 << 20;
pub const SMALL_BYTES: u64 = 16 << 10;
pub const SMALL_FILES: u64 = 4_000;
pub const SMALL_FOLDERS: u64 = 40;
pub const LIST_ENTRIES: u64 = 2_000;
/// Seed of `pub/large.bin`.
pub const LARGE_SEED: u64 = 0;
/// Name of the large file.
pub const LARGE_PATH: &str = "/pub/large.bin";
/// Name of the listed folder.
pub const LIST_PATH: &str = "/pub/list";

/// The served tree.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Fills the mounted file system.
    pub fn make(mount: &Path) -> Result<Self, String> {
        let root = mount.join("ftp");
        fill(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let tree = Self { root };
        room::run("sync", &["-f", room::text(&tree.root)?])?;
        Ok(tree)
    }

    /// The root that servers serve.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Empties the upload folder and writes out what is dirty, so that no server starts with
    /// another one's write-back.
    pub fn empty_uploads(&self) -> Result<(), String> {
        let folder = self.root.join("incoming");
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        room::run("chown", &["ftp", room::text(&folder)?])?;
        room::run("sync", &["-f", room::text(&self.root)?]).map(drop)
    }

    /// Reads everything that is served once, so that it is in the page cache.
    pub fn warm_cache(&self) -> Result<(), String> {
        let mut buffer = vec![0; 1 << 20];
        let mut folders = vec![self.root.join("pub")];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()));
            for entry in entries?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let read = fs::File::open(&path).and_then(|mut file| drain(&mut file, &mut buffer));
                read.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Checks that the upload folder holds exactly `count` files of `bytes` each.
    pub fn check_uploads(&self, count: u64, bytes: u64) -> Result<(), String> {
        let folder = self.root.join("incoming");
        let mut found = 0;
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries.flatten() {
            let length = entry.metadata().map_err(|e| format!("{}: {e}", folder.display()))?.len();
            if length != bytes {
                return Err(format!("{:?} holds {length} bytes, not {bytes}", entry.file_name()));
            }
            found += 1;
        }
        if found != count {
            return Err(format!("{found} files were stored, not {count}"));
        }
        Ok(())
    }

    /// Checks every byte of the upload called `name`.
    pub fn check_contents(&self, name: &str, seed: u64, bytes: u64) -> Result<(), String> {
        let path = self.root.join("incoming").join(name);
        let stored = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if stored.len() as u64 != bytes || !pattern::matches(seed, 0, &stored) {
            return Err(format!("the stored {name} differs from what was sent"));
        }
        Ok(())
    }
}

/// Name and seed of the small file number `index` (taken round and round).
pub fn small(index: u64) -> (String, u64) {
    let file = index % SMALL_FILES;
    (format!("/pub/small/d{:02}/f{file:04}.bin", file % SMALL_FOLDERS), file + 1)
}

/// Name of the entry number `index` of the listed folder.
pub fn listed(index: u64) -> String {
    format!("entry-{index:04}.tar.gz")
}

fn fill(root: &Path) -> io::Result<()> {
    for folder in ["pub/list", "incoming"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for number in 0..SMALL_FOLDERS {
        fs::create_dir_all(root.join(format!("pub/small/d{number:02}")))?;
    }
    write(&root.join(&LARGE_PATH[1..]), LARGE_SEED, LARGE_BYTES)?;
    for index in 0..SMALL_FILES {
        let (name, seed) = small(index);
        write(&root.join(&name[1..]), seed, SMALL_BYTES)?;
    }
    // One age for all entries, well on the "year" side of `ls -l`, so that listings never change.
    let age = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    for index in 0..LIST_ENTRIES {
        let file = fs::File::create(root.join("pub/list").join(listed(index)))?;
        file.set_len(index * 37)?;
        file.set_modified(age)?;
    }
    Ok(())
}

fn write(path: &Path, seed: u64, bytes: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    pattern::write(&mut file, seed, bytes)?;
    file.flush()
}

fn drain(file: &mut fs::File, buffer: &mut [u8]) -> io::Result<()> {
    while file.read(buffer)? > 0 {}
    Ok(())
}
