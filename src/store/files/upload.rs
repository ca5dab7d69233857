//! store::files::upload – a file that appears under its name whole, or not at all.
//!
//! ```text
//! new ──file──▶ temporary in the target directory ──commit──▶ sync, rename, sync directory
//!  │                       │ drop
//!  │                       └──▶ unlinked
//!  └──place──▶ all of that at once, for what fits one block
//! ```
//! Promises: whatever happens between two steps, the name shows the old file or the new one; a
//! temporary of a living process goes away when its upload does.

use std::io::ErrorKind;
use std::time::Duration;

use super::Trouble;
use crate::shard::{self, Block, Dir, File, FileKind, Placement};

const PREFIX: &[u8] = b".sluicegate-";
const SUFFIX: &[u8] = b".part";
/// How long after a broken-off creation its file is looked for, once more.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Is this the name of a temporary?
pub fn is_temporary(name: &[u8]) -> bool {
    name.len() > PREFIX.len() + SUFFIX.len() && name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Was this temporary made by the start of the process that `start` stands for?
pub(super) fn made_by(name: &[u8], start: u64) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.starts_with(format!("{start:016x}-").as_bytes()))
}

fn temporary_name(start: u64) -> Vec<u8> {
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(format!("{start:016x}-{:016x}", shard::random()).as_bytes());
    name.extend_from_slice(SUFFIX);
    name
}

/// A name that begins with `stem` and that nobody else will think of.
pub(super) fn unique_name(stem: &[u8]) -> Vec<u8> {
    let mut name = if stem.is_empty() { b"upload".to_vec() } else { stem.to_vec() };
    name.extend_from_slice(format!(".{:012x}", shard::random() >> 16).as_bytes());
    name
}

/// A file on its way to its name. Nothing is made before [`Upload::file`] or [`Upload::place`].
pub struct Upload {
    dir: Dir,
    name: Vec<u8>,
    start: u64,
    mode: u32,
    replace: bool,
    begun: Option<Begun>,
}

/// A temporary that octets go to.
struct Begun {
    guard: Guard,
    file: File,
}

impl Upload {
    pub(super) fn new(
        dir: Dir,
        name: &[u8],
        start: u64,
        mode: u32,
        replace: bool,
    ) -> Result<Self, Trouble> {
        // What can be known now is refused now, not after the last octet.
        if name.len() > crate::limits::NAME_BYTES_MAX {
            return Err(Trouble::BadName);
        }
        dir.writable()?;
        Ok(Self { dir, name: name.to_vec(), start, mode, replace, begun: None })
    }

    /// The temporary, made at the first call: for what does not fit one block.
    pub async fn file(&mut self) -> Result<File, Trouble> {
        if let Some(begun) = &self.begun {
            return Ok(begun.file.clone());
        }
        if let Ok(Some(old)) = self.dir.peek(&self.name)
            && old.kind == FileKind::File
        {
            self.mode = old.mode & 0o777;
        }
        let mut guard = Guard {
            dir: self.dir.clone(),
            name: temporary_name(self.start),
            state: State::Beginning,
        };
        let file = match guard.dir.create(&guard.name, self.mode).await {
            Ok(file) => file,
            Err(error) => {
                guard.state = State::Gone;
                return Err(error.into());
            }
        };
        guard.state = State::There;
        self.begun = Some(Begun { guard, file: file.clone() });
        Ok(file)
    }

    /// Gives the temporary its name; an upload without octets becomes an empty file. With `durable`,
    /// both survive a power failure once this is done.
    pub async fn commit(mut self, durable: bool) -> Result<(), Trouble> {
        self.file().await?;
        let Some(Begun { mut guard, file }) = self.begun.take() else { return Err(Trouble::Local) };
        if durable {
            file.sync().await?;
        }
        match guard.dir.rename(&guard.name, &guard.dir, &self.name, self.replace).await {
            Ok(()) => guard.state = State::Gone,
            // Somebody made a directory of that name in the meantime.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                return Err(Trouble::IsDirectory);
            }
            Err(error) => return Err(error.into()),
        }
        if durable {
            guard.dir.sync().await?;
        }
        Ok(())
    }

    /// Makes the whole file from one block, in one step and with the promises of [`Upload::commit`].
    pub async fn place(self, block: Block, len: usize, durable: bool) -> Result<(), Trouble> {
        let how = Placement {
            temporary: temporary_name(self.start),
            name: self.name,
            mode: self.mode,
            replace: self.replace,
            durable,
        };
        let (placed, block) = self.dir.place(block, len, how).await;
        drop(block);
        Ok(placed?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Being created: it may be there at any moment.
    Beginning,
    There,
    Gone,
}

struct Guard {
    dir: Dir,
    name: Vec<u8>,
    state: State,
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self.state {
            State::Gone => {}
            State::There => self.dir.unlink_detached(&self.name),
            State::Beginning => {
                // The creation goes on without us, and may come after an unlink that starts now.
                let (dir, name) = (self.dir.clone(), std::mem::take(&mut self.name));
                shard::spawn("temporary", async move {
                    shard::sleep_until(shard::now().after(AFTERWARDS)).await;
                    if let Err(error) = dir.unlink(&name).await
                        && error.kind() != ErrorKind::NotFound
                    {
                        tracing::warn!(%error, "a temporary could not be removed");
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporaries_are_recognised() {
        assert!(is_temporary(b".sluicegate-00-11.part"));
        assert!(!is_temporary(b".sluicegate-.part"));
        assert!(!is_temporary(b"sluicegate-00.part"));
        let name = b".sluicegate-00000000000000ff-0000000000000001.part";
        assert!(is_temporary(name));
        assert!(made_by(name, 255));
        assert!(!made_by(name, 254));
    }
}
