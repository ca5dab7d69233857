//! store::spool::segment – one file of the log.
//!
//! ```text
//!   made ──▶ free ──▶ current ──▶ sealed ──▶ (all settled) ──▶ free …
//!                        └─ a write failed ─▶ condemned ──▶ (all settled) ──▶ removed
//! ```
//! Promises: a header that is written has a generation and a salt that no other use has; a segment
//! gets its name only when zeros were written throughout and synced.
//! Not here: when it changes its state (`keeper`, `commit`).

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::QueueId;
use super::disk::{self, wide};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::shard::{self, BLOCK_BYTES, Dir, File};
use crate::store::packed::Packed;

/// One segment.
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) header: Cell<SegmentHeader>,
    /// Writes go past the page cache and are durable by themselves.
    pub(super) direct: Cell<bool>,
    /// Where the next batch begins.
    pub(super) at: Cell<u64>,
    /// A write to it failed: never written again.
    pub(super) condemned: Cell<bool>,
    /// Messages whose record is in it and that are not durably settled.
    pub(super) ids: RefCell<Packed<()>>,
    /// Octets of their records.
    pub(super) live_bytes: Cell<u64>,
    /// Readers that must not find it overwritten.
    pub(super) readers: Cell<usize>,
}

/// Name of a segment's file.
pub(super) fn name(number: u64) -> Vec<u8> {
    format!("{number:08}.seg").into_bytes()
}

/// Number of a segment by the name of its file.
pub(super) fn number(name: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(name).ok()?.strip_suffix(".seg")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|octet| octet.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// A salt that nobody can guess.
fn salt() -> u64 {
    let mut octets = [0; 8];
    // Under simulation all chance comes from the seed.
    if cfg!(test) || getrandom::fill(&mut octets).is_err() {
        return shard::random();
    }
    u64::from_le_bytes(octets)
}

impl Segment {
    pub(super) fn new(file: File, header: SegmentHeader, at: u64) -> Rc<Self> {
        Rc::new(Self {
            file,
            header: Cell::new(header),
            direct: Cell::new(false),
            at: Cell::new(at),
            condemned: Cell::new(false),
            ids: RefCell::default(),
            live_bytes: Cell::new(0),
            readers: Cell::new(0),
        })
    }

    /// Makes a file of zeros under its name, with its header. `header.salt` is chosen here.
    pub(super) async fn create(dir: &Dir, mut header: SegmentHeader) -> io::Result<Rc<Self>> {
        header.salt = salt();
        let name = name(header.number);
        let temporary = [&name[..], b".tmp"].concat();
        let made = Self::write_new(dir, &temporary, header).await;
        let named = match made {
            Ok(segment) => dir.rename(&temporary, dir, &name, false).await.map(|()| segment),
            Err(error) => Err(error),
        };
        match named {
            Ok(segment) => {
                disk::sync_dir(dir).await?;
                Ok(segment)
            }
            Err(error) => {
                dir.unlink_detached(&temporary);
                Err(error)
            }
        }
    }

    async fn write_new(dir: &Dir, name: &[u8], header: SegmentHeader) -> io::Result<Rc<Self>> {
        let file = dir.create(name, disk::FILE_MODE).await?;
        let segment = Self::new(file, header, wide(SEGMENT_HEADER_BYTES));
        segment.direct.set(segment.file.set_direct(true));
        let mut at = 0;
        while at < header.bytes {
            let mut block = shard::block().await;
            let len = BLOCK_BYTES.min(disk::narrow(header.bytes - at));
            block[..len].fill(0);
            if at == 0 {
                let octets = header.encode();
                block[..octets.len()].copy_from_slice(&octets);
            }
            segment.write_block(block, len, at, false).await?;
            at += wide(len);
        }
        disk::sync(&segment.file).await?;
        Ok(segment)
    }

    /// Writes a block; through the page cache from now on where direct writes turn out to be refused.
    async fn write_block(
        &self,
        block: shard::Block,
        len: usize,
        at: u64,
        through: bool,
    ) -> io::Result<()> {
        let (written, block) = disk::write(&self.file, block, len, at, through).await;
        match written {
            Err(error) if error.kind() == ErrorKind::InvalidInput && self.direct.get() => {
                self.direct.set(false);
                if self.file.set_direct(false) {
                    tracing::debug!("direct writes are refused; the page cache is used");
                }
                disk::write(&self.file, block, len, at, through).await.0
            }
            written => written,
        }
    }

    /// Begins another use: a new header, durably. What lay in the segment is gone from the log then.
    pub(super) async fn renew(&self, mut header: SegmentHeader) -> io::Result<()> {
        header.salt = salt();
        self.direct.set(self.file.set_direct(true));
        let mut block = shard::block().await;
        block[..SEGMENT_HEADER_BYTES].fill(0);
        let octets = header.encode();
        block[..octets.len()].copy_from_slice(&octets);
        self.write_block(block, SEGMENT_HEADER_BYTES, 0, self.direct.get()).await?;
        if !self.direct.get() {
            disk::sync(&self.file).await?;
        }
        self.header.set(header);
        self.at.set(wide(SEGMENT_HEADER_BYTES));
        Ok(())
    }

    pub(super) fn number(&self) -> u64 {
        self.header.get().number
    }

    pub(super) fn generation(&self) -> u64 {
        self.header.get().generation
    }

    /// Octets that further batches may take.
    pub(super) fn room(&self) -> u64 {
        self.header.get().bytes.saturating_sub(self.at.get())
    }

    pub(super) fn hold(&self, id: QueueId, bytes: u64) {
        if self.ids.borrow_mut().insert(id.0, ()).is_none() {
            self.live_bytes.set(self.live_bytes.get() + bytes);
        }
    }

    pub(super) fn release(&self, id: QueueId, bytes: u64) {
        if self.ids.borrow_mut().remove(id.0).is_some() {
            self.live_bytes.set(self.live_bytes.get().saturating_sub(bytes));
        }
    }

    /// Nothing in it is of any use any more.
    pub(super) fn is_spent(&self) -> bool {
        self.readers.get() == 0 && self.ids.borrow().is_empty()
    }
}
