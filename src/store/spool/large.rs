//! store::spool::large – a message's own file.
//!
//! ```text
//!   large/N.tmp ─ written, synced ─▶ renamed to large/QUEUEID ─▶ large/ synced ─▶ pointer record commits
//! ```
//! Crash before the pointer is durable: the file is nobody's and is swept at the next start. Crash
//! after it: the file is whole, and has its name. The file is removed only after the settlement is
//! durable; a crash between the two leaves a file that is swept.
//!
//! Promises: no block is held while a client is waited for; a draft that is dropped takes its file along.

use std::io;
use std::rc::Rc;

use super::QueueId;
use super::disk::{self, narrow, wide};
use super::log::Trouble;
use super::state::{Entry, Inner};
use crate::shard::File;

/// A file being written.
pub(super) struct Large {
    inner: Rc<Inner>,
    name: Vec<u8>,
    file: File,
    written: u64,
    sum: u32,
    /// It has a name of its own now, or none.
    done: bool,
}

impl Large {
    pub(super) async fn create(inner: &Rc<Inner>) -> Result<Self, Trouble> {
        let number = {
            let mut state = inner.state.borrow_mut();
            state.drafts += 1;
            state.drafts
        };
        let name = format!("{number}.tmp").into_bytes();
        let file = inner.large.create(&name, disk::FILE_MODE).await?;
        Ok(Self { inner: Rc::clone(inner), name, file, written: 0, sum: 0, done: false })
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        disk::write_all(&self.file, octets, self.written).await?;
        self.written += wide(octets.len());
        self.sum = crc32c::crc32c_append(self.sum, octets);
        Ok(())
    }

    /// Octets so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Some of the octets written, from `offset`, `max` at most.
    pub(super) async fn read(&self, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let count = narrow(self.written.saturating_sub(offset)).min(max);
        let mut octets = disk::read(&self.file, offset, count).await?;
        octets.truncate(count);
        Ok(octets)
    }

    /// Gives it its name, durably; what the pointer is to say.
    pub(super) async fn finish(mut self, id: QueueId) -> Result<(File, u64, u32), Trouble> {
        disk::sync(&self.file).await?;
        let large = &self.inner.large;
        large.rename(&self.name, large, id.to_string().as_bytes(), false).await?;
        self.done = true;
        if let Err(error) = disk::sync_dir(&self.inner.large).await {
            self.inner.large.unlink_detached(id.to_string().as_bytes());
            return Err(error.into());
        }
        Ok((self.file.clone(), self.written, self.sum))
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if !self.done {
            self.inner.large.unlink_detached(&self.name);
        }
    }
}

/// The entry as it is, or with its octets in a file where the record would be too large.
pub(super) async fn fitting(inner: &Inner, entry: Entry) -> io::Result<Entry> {
    if entry.bytes() <= inner.record_max() {
        return Ok(entry);
    }
    let name = entry.id.to_string();
    let temporary = format!("{name}.tmp");
    match inner.large.unlink(temporary.as_bytes()).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = inner.large.create(temporary.as_bytes(), disk::FILE_MODE).await?;
    disk::write_all(&file, &entry.body, 0).await?;
    disk::sync(&file).await?;
    inner.large.rename(temporary.as_bytes(), &inner.large, name.as_bytes(), true).await?;
    disk::sync_dir(&inner.large).await?;
    let sum = crc32c::crc32c(&entry.body);
    let pointer = Entry::pointer(entry.id, entry.meta, wide(entry.body.len()), sum);
    Ok(Entry { carried: entry.carried, ..pointer })
}
