//! store::files::upload – a file that appears under its name whole, or not at all.
//!
//! ```text
//! begin ──▶ temporary in the target directory ──commit──▶ sync, rename, sync directory
//!                        │ drop
//!                        └──▶ unlinked
//! ```
//! Promises: whatever happens between two steps, the name shows the old file or the new one; a
//! temporary of a living process goes away when its upload does.

use std::io::ErrorKind;
use std::time::Duration;

use super::Trouble;
use crate::shard::{self, Dir, File};

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

/// A file on its way to its name.
pub struct Upload {
    guard: Guard,
    file: File,
    name: Vec<u8>,
    replace: bool,
}

impl Upload {
    pub(super) async fn begin(
        dir: Dir,
        name: &[u8],
        start: u64,
        mode: u32,
        replace: bool,
    ) -> Result<Self, Trouble> {
        // A name that is too long is refused now, not after the last octet.
        if name.len() > crate::limits::NAME_BYTES_MAX {
            return Err(Trouble::BadName);
        }
        let mut guard = Guard { dir, name: temporary_name(start), state: State::Beginning };
        let file = match guard.dir.create(&guard.name, mode).await {
            Ok(file) => file,
            Err(error) => {
                guard.state = State::Gone;
                return Err(error.into());
            }
        };
        guard.state = State::There;
        Ok(Self { guard, file, name: name.to_vec(), replace })
    }

    /// Where the octets go.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name. With `durable`, both survive a power failure once this is done.
    pub async fn commit(mut self, durable: bool) -> Result<(), Trouble> {
        if durable {
            self.file.sync().await?;
        }
        let dir = &self.guard.dir;
        match dir.rename(&self.guard.name, dir, &self.name, self.replace).await {
            Ok(()) => self.guard.state = State::Gone,
            // Somebody made a directory of that name in the meantime.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                return Err(Trouble::IsDirectory);
            }
            Err(error) => return Err(error.into()),
        }
        if durable {
            self.guard.dir.sync().await?;
        }
        Ok(())
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
