//! owner – who a file made here belongs to.
//!
//! Root prepares and manages a data directory that an ordinary user serves from, so what is made
//! in a directory takes the owner of the directory, whoever makes it.
//!
//! Promises: a file that cannot be given away stays with who made it; that is no error.
//! Not here: becoming another user (`shard::privileges`).

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, chown, fchown};
use std::path::Path;

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

impl Owner {
    /// The owner of what is at `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// The owner of the directory that `path` is in.
    pub fn of_parent(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self::of(parent.unwrap_or_else(|| Path::new(".")))
    }

    /// A user of /etc/passwd. (Users of other directories are found by the server when it starts.)
    pub fn of_user(name: &str) -> Option<Self> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let known = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            known.then_some(Self { uid, gid })
        })
    }

    /// Gives the open file to this owner.
    pub fn give_file(self, file: &File) -> io::Result<()> {
        if Self::from(&file.metadata()?) == self {
            return Ok(());
        }
        given(fchown(file, Some(self.uid), Some(self.gid)))
    }

    /// Gives what is at `path` to this owner.
    pub fn give(self, path: &Path) -> io::Result<()> {
        if Self::of(path)? == self {
            return Ok(());
        }
        given(chown(path, Some(self.uid), Some(self.gid)))
    }
}

impl From<&Metadata> for Owner {
    fn from(metadata: &Metadata) -> Self {
        Self { uid: metadata.uid(), gid: metadata.gid() }
    }
}

/// Only root may give files away; for others the file is theirs.
fn given(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        let owner = Owner::of_parent(&path).unwrap();
        owner.give_file(&file).unwrap();
        owner.give(&path).unwrap();
        assert_eq!(Owner::of(&path).unwrap(), owner);
    }

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(Owner::of_user("root").map(|owner| owner.uid), Some(0));
        assert_eq!(Owner::of_user("no:such"), None);
    }
}
