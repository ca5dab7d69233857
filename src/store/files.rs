//! store::files – the tree of one account: a root, and what may be done where below it.
//!
//! Paths are octets relative to the root without a leading `/`; the root itself is empty. They have no
//! empty, `.` or `..` component, but nothing rests on that: the root cannot be left by any path.
//!
//! Promises: names of temporaries are never shown and never usable; a file that is replaced is either
//! the old one or the new one, whole, at every moment ([`Upload`]).
//! Not here: how octets move, replies, who is who.

mod sweep;
mod trouble;
mod upload;

pub use sweep::sweep;
pub use trouble::Trouble;
pub use upload::{Upload, is_temporary};

use crate::shard::{Dir, File, FileKind, Root, Stat};

/// Bits of a new file before the umask.
const FILE_MODE: u32 = 0o666;
/// Bits of a new directory before the umask.
const DIRECTORY_MODE: u32 = 0o777;
/// Bits a client may set: no set-user-id, no set-group-id.
const MODE_MASK: u32 = 0o1777;

/// Where an account may make and change things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writes {
    /// Nowhere.
    Nowhere,
    /// Everything below the root.
    Everywhere,
    /// New files in and below these directories; nothing else.
    Within {
        /// Paths relative to the root.
        directories: Vec<Vec<u8>>,
        /// May a file that is there be replaced?
        overwrite: bool,
    },
}

/// What an account may do where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where it may write.
    pub writes: Writes,
    /// Directories whose files it may not read (it may see their names).
    pub unreadable: Vec<Vec<u8>>,
    /// Number of this start of the process: part of the names of temporaries.
    pub start: u64,
}

/// The tree as one account sees it.
pub struct Tree {
    root: Root,
    policy: Policy,
    key: u64,
}

impl Tree {
    /// A tree under `root`. `key` tells it from every other tree of the shard.
    pub fn new(root: Root, policy: Policy, key: u64) -> Self {
        Self { root, policy, key }
    }

    /// What tells this tree from every other one of the shard.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The directory that nothing leaves.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// May this account read the file?
    pub fn may_read(&self, path: &[u8]) -> bool {
        !self.policy.unreadable.iter().any(|directory| inside(directory, path))
    }

    /// May this account make new files in the directory?
    pub fn may_store_in(&self, directory: &[u8]) -> bool {
        match &self.policy.writes {
            Writes::Nowhere => false,
            Writes::Everywhere => true,
            Writes::Within { directories, .. } => {
                directories.iter().any(|d| d == directory || inside(d, directory))
            }
        }
    }

    /// May this account rename, delete, make directories, set times and modes?
    pub fn may_change(&self) -> bool {
        matches!(self.policy.writes, Writes::Everywhere)
    }

    /// May this account replace or extend a file that is there?
    pub fn may_replace(&self) -> bool {
        match self.policy.writes {
            Writes::Nowhere => false,
            Writes::Everywhere => true,
            Writes::Within { overwrite, .. } => overwrite,
        }
    }

    /// Opens a regular file for reading.
    pub async fn open(&self, path: &[u8]) -> Result<(File, Stat), Trouble> {
        self.readable(path)?;
        let file = self.root.open_file(path).await?;
        let stat = file.stat()?;
        regular(&stat)?;
        Ok((file, stat))
    }

    /// Opens a directory.
    pub async fn open_dir(&self, path: &[u8]) -> Result<Dir, Trouble> {
        usable(path)?;
        Ok(self.root.open_dir(path).await?)
    }

    /// What is there, links followed.
    pub async fn stat(&self, path: &[u8]) -> Result<Stat, Trouble> {
        usable(path)?;
        Ok(self.root.stat(path).await?)
    }

    /// Like `stat`, for a regular file that may be read.
    pub async fn stat_file(&self, path: &[u8]) -> Result<Stat, Trouble> {
        self.readable(path)?;
        let stat = self.root.stat(path).await?;
        regular(&stat)?;
        Ok(stat)
    }

    /// Is there a directory that may be entered?
    pub async fn enter(&self, path: &[u8]) -> Result<(), Trouble> {
        let stat = self.stat(path).await?;
        if stat.kind == FileKind::Directory { Ok(()) } else { Err(Trouble::NotDirectory) }
    }

    /// Makes a directory.
    pub async fn make_dir(&self, path: &[u8], umask: u32) -> Result<(), Trouble> {
        let (dir, name) = self.changeable(path).await?;
        Ok(dir.make_dir(name, DIRECTORY_MODE & !umask).await?)
    }

    /// Removes an empty directory.
    pub async fn remove_dir(&self, path: &[u8]) -> Result<(), Trouble> {
        let (dir, name) = self.changeable(path).await?;
        Ok(dir.remove_dir(name).await?)
    }

    /// Removes anything but a directory.
    pub async fn remove(&self, path: &[u8]) -> Result<(), Trouble> {
        let (dir, name) = self.changeable(path).await?;
        if dir.stat(name).await?.kind == FileKind::Directory {
            return Err(Trouble::IsDirectory);
        }
        Ok(dir.unlink(name).await?)
    }

    /// Does it exist, and may it be renamed?
    pub async fn may_rename(&self, path: &[u8]) -> Result<(), Trouble> {
        let (dir, name) = self.changeable(path).await?;
        dir.stat(name).await?;
        Ok(())
    }

    /// Renames; a file that has the new name is replaced. With `durable` it survives a power failure:
    /// many clients upload under one name and rename when all is there.
    pub async fn rename(&self, from: &[u8], to: &[u8], durable: bool) -> Result<(), Trouble> {
        let (source, old) = self.changeable(from).await?;
        let (target, new) = self.changeable(to).await?;
        match source.rename(old, &target, new, true).await {
            // Two file systems below one root: the names cannot be joined in one step.
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                return Err(Trouble::Unsupported);
            }
            done => done?,
        }
        if durable {
            target.sync().await?;
            source.sync().await?;
        }
        Ok(())
    }

    /// Sets permission bits.
    pub async fn set_mode(&self, path: &[u8], mode: u32) -> Result<(), Trouble> {
        self.mutable(path)?;
        Ok(self.root.chmod(path, mode & MODE_MASK).await?)
    }

    /// Sets the time of last modification.
    pub async fn set_modified(&self, path: &[u8], seconds: i64) -> Result<(), Trouble> {
        self.mutable(path)?;
        Ok(self.root.set_modified(path, seconds).await?)
    }

    /// Makes a symbolic link. Where it may lead is decided when it is followed.
    pub async fn symlink(&self, target: &[u8], link: &[u8]) -> Result<(), Trouble> {
        let (dir, name) = self.changeable(link).await?;
        Ok(dir.symlink(target, name).await?)
    }

    /// Octets free to an ordinary user.
    pub async fn free_bytes(&self) -> Result<u64, Trouble> {
        Ok(self.root.free_bytes().await?)
    }

    /// Begins a file that becomes `path` in one step when it is complete.
    pub async fn upload(&self, path: &[u8], umask: u32) -> Result<Upload, Trouble> {
        let (parent, name) = self.storable(path)?;
        let dir = self.root.open_dir(parent).await?;
        // Who may not replace must know before the first octet; for the others a look without the
        // disk is enough here, since the last step looks again.
        let known = match if self.may_replace() {
            dir.peek(name)
        } else {
            dir.stat(name).await.map(Some)
        } {
            Ok(known) => known,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(stat) = known {
            if stat.kind != FileKind::Link {
                regular(&stat)?;
            }
            if !self.may_replace() {
                return Err(Trouble::Exists);
            }
        }
        Upload::new(dir, name, self.policy.start, FILE_MODE & !umask, self.may_replace())
    }

    /// Begins a file under a name that nobody has, in a directory. Gives the name as well.
    pub async fn upload_unique(
        &self,
        directory: &[u8],
        stem: &[u8],
        umask: u32,
    ) -> Result<(Upload, Vec<u8>), Trouble> {
        usable(directory)?;
        if !self.may_store_in(directory) {
            return Err(Trouble::Denied);
        }
        let dir = self.root.open_dir(directory).await?;
        for _ in 0..8 {
            let name = upload::unique_name(stem);
            usable(&name)?;
            match dir.stat(&name).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let mode = FILE_MODE & !umask;
                    let upload = Upload::new(dir, &name, self.policy.start, mode, false)?;
                    return Ok((upload, name));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Trouble::Busy)
    }

    /// Opens a file that is there, to be changed in place.
    pub async fn open_in_place(&self, path: &[u8]) -> Result<(File, Stat), Trouble> {
        self.storable(path)?;
        let file = self.root.open_in_place(path).await?;
        let stat = file.stat()?;
        regular(&stat)?;
        // After the look, so that what is missing is called missing.
        if self.may_replace() { Ok((file, stat)) } else { Err(Trouble::Exists) }
    }

    fn readable(&self, path: &[u8]) -> Result<(), Trouble> {
        usable(path)?;
        if self.may_read(path) { Ok(()) } else { Err(Trouble::Denied) }
    }

    fn mutable(&self, path: &[u8]) -> Result<(), Trouble> {
        usable(path)?;
        if self.may_change() { Ok(()) } else { Err(Trouble::Denied) }
    }

    fn storable<'p>(&self, path: &'p [u8]) -> Result<(&'p [u8], &'p [u8]), Trouble> {
        usable(path)?;
        let (parent, name) = split(path).ok_or(Trouble::IsDirectory)?;
        if self.may_store_in(parent) { Ok((parent, name)) } else { Err(Trouble::Denied) }
    }

    /// The directory of something that is to be made, changed or removed, and its name there.
    async fn changeable<'p>(&self, path: &'p [u8]) -> Result<(Dir, &'p [u8]), Trouble> {
        self.mutable(path)?;
        let (parent, name) = split(path).ok_or(Trouble::Denied)?;
        Ok((self.root.open_dir(parent).await?, name))
    }
}

/// Directory and last component; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// Is `path` below `directory`?
fn inside(directory: &[u8], path: &[u8]) -> bool {
    if directory.is_empty() {
        return !path.is_empty();
    }
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Refuses paths that name a temporary anywhere.
fn usable(path: &[u8]) -> Result<(), Trouble> {
    if path.split(|&b| b == b'/').any(is_temporary) { Err(Trouble::BadName) } else { Ok(()) }
}

fn regular(stat: &Stat) -> Result<(), Trouble> {
    match stat.kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Trouble::IsDirectory),
        FileKind::Link => Err(Trouble::Link),
        FileKind::Other => Err(Trouble::NotRegular),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_compares_components() {
        assert!(inside(b"incoming", b"incoming/a"));
        assert!(!inside(b"incoming", b"incoming"));
        assert!(!inside(b"incoming", b"incoming2/a"));
        assert!(inside(b"", b"a"));
        assert!(!inside(b"", b""));
    }

    #[test]
    fn split_gives_directory_and_name() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
    }

    #[test]
    fn temporaries_are_unusable_anywhere() {
        assert_eq!(usable(b"a/.sluicegate-1-2.part"), Err(Trouble::BadName));
        assert_eq!(usable(b".sluicegate-1-2.part/x"), Err(Trouble::BadName));
        assert_eq!(usable(b"a/.sluicegate"), Ok(()));
    }
}
