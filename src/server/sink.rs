//! server::sink – octets of an upload on their way to the disk.
//!
//! One write in flight while the next block fills: two blocks at most. The first full block with more to
//! come switches to direct writes into extents reserved ahead, so that bulk neither fills the page cache
//! nor stops the shard; small files and files changed in place are written buffered.
//!
//! Promises: never waits for a second block of the pool while it keeps the first from coming free.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::fault;
use crate::ftp::step::Fault;
use crate::shard::{self, BLOCK_BYTES, Block, File};

/// Alignment of direct writes that every file system here accepts.
const ALIGN: usize = 4096;
/// First reservation, octets; later ones double up to the largest step.
const RESERVE_FIRST: u64 = 16 * 1024 * 1024;
/// Largest step of a reservation, octets.
const RESERVE_STEP_MAX: u64 = 128 * 1024 * 1024;

const _: () = assert!(BLOCK_BYTES.is_multiple_of(ALIGN));

type Written = (io::Result<()>, Block);

/// A write in flight.
struct Pending {
    write: Pin<Box<dyn Future<Output = Written>>>,
    len: usize,
    at: u64,
}

/// How blocks are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the page cache, for good.
    Buffered,
    /// Through the page cache so far; bulk may go past it.
    Undecided,
    /// Past the page cache.
    Direct,
}

pub(super) struct Sink {
    file: Option<File>,
    /// Where the next octet goes; what is below was handed to a write.
    at: u64,
    way: Way,
    /// End of the extents reserved.
    reserved: u64,
    /// Has more been written than belongs to the file?
    padded: bool,
    /// Octets the file may have; 0 for no limit.
    bytes_max: u64,
    pending: Option<Pending>,
    spare: Option<Block>,
}

impl Sink {
    /// Writes from `at` on to the file given with [`Sink::open`]. `bulk`: the file is new and its own,
    /// so extents may be reserved.
    pub(super) fn new(at: u64, bulk: bool, bytes_max: u64) -> Self {
        let way = if bulk { Way::Undecided } else { Way::Buffered };
        Self {
            file: None,
            at,
            way,
            reserved: 0,
            padded: false,
            bytes_max,
            pending: None,
            spare: None,
        }
    }

    /// Where the octets go. Comes before the first write.
    pub(super) fn open(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Is there a file to write to?
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Would the file be too large with `len` octets more?
    pub(super) fn exceeds(&self, len: usize) -> bool {
        let end = self.at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        self.bytes_max != 0 && end > self.bytes_max
    }

    fn file(&self) -> Result<&File, Fault> {
        self.file.as_ref().ok_or(Fault::Local)
    }

    /// A block to fill: the one that came back, a new one, or the one in flight – whichever is free first.
    pub(super) async fn block(&mut self) -> Result<Block, Fault> {
        if let Some(block) = self.spare.take() {
            return Ok(block);
        }
        let Some(pending) = &mut self.pending else {
            return Ok(shard::block().await);
        };
        let mut fresh = pin!(shard::block());
        let first = poll_fn(|context| {
            if let Poll::Ready(block) = fresh.as_mut().poll(context) {
                return Poll::Ready(Ok(block));
            }
            pending.write.as_mut().poll(context).map(Err)
        })
        .await;
        match first {
            Ok(block) => Ok(block),
            Err(written) => {
                let (len, at) = (pending.len, pending.at);
                self.pending = None;
                self.written(written, len, at).await
            }
        }
    }

    /// Keeps a block that was not needed.
    pub(super) fn give_back(&mut self, block: Block) {
        self.spare = Some(block);
    }

    /// Starts writing `block[..len]` behind what was written so far. `last`: nothing follows.
    pub(super) async fn write(
        &mut self,
        mut block: Block,
        len: usize,
        last: bool,
    ) -> Result<(), Fault> {
        let end = self.at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if self.exceeds(len) {
            return Err(Fault::TooLarge);
        }
        self.settle().await?;
        self.choose_way(len, last)?;
        let mut count = len;
        if self.way == Way::Direct {
            self.reserve(end).await?;
            let rest = len % ALIGN;
            if rest != 0 && last {
                count = len - rest + ALIGN;
                block[len..count].fill(0);
                self.padded = true;
            } else if rest != 0 {
                // A slow client: what follows is no bulk any more, and not aligned.
                self.buffered();
            }
        }
        let write = Box::pin(self.file()?.write_at(block, count, self.at));
        self.pending = Some(Pending { write, len: count, at: self.at });
        self.at = end;
        Ok(())
    }

    /// Waits for the write in flight and lets go of every block.
    pub(super) async fn relieve(&mut self) -> Result<(), Fault> {
        self.settle().await?;
        self.spare = None;
        Ok(())
    }

    /// Everything is written and the file has its exact length.
    pub(super) async fn finish(&mut self) -> Result<(), Fault> {
        self.relieve().await?;
        if self.padded || self.reserved > self.at {
            self.file()?.truncate(self.at).await.map_err(|error| fault::of_file(&error))?;
        }
        Ok(())
    }

    fn choose_way(&mut self, len: usize, last: bool) -> Result<(), Fault> {
        if self.way == Way::Undecided {
            let bulk = len == BLOCK_BYTES && !last && self.at == 0;
            self.way =
                if bulk && self.file()?.set_direct(true) { Way::Direct } else { Way::Buffered };
        }
        Ok(())
    }

    fn buffered(&mut self) {
        if self.way == Way::Direct && !self.file.as_ref().is_some_and(|file| file.set_direct(false))
        {
            // It stays direct: unaligned writes will be refused, and say so.
            tracing::debug!("a file could not leave direct writes");
        }
        self.way = Way::Buffered;
    }

    /// Extents for what comes: direct writes into them need no helper thread.
    async fn reserve(&mut self, end: u64) -> Result<(), Fault> {
        if end <= self.reserved {
            return Ok(());
        }
        let step = self.reserved.clamp(RESERVE_FIRST, RESERVE_STEP_MAX);
        let mut aim = end.max(self.reserved.saturating_add(step));
        if self.bytes_max != 0 {
            aim = aim.min(self.bytes_max).max(end);
        }
        match self.file()?.allocate(aim).await {
            Ok(()) => self.reserved = aim,
            // Not in one piece ahead of need, perhaps octet by octet; or this file system cannot reserve.
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Unsupported) =>
            {
                self.reserved = u64::MAX;
            }
            Err(error) => return Err(fault::of_file(&error)),
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Fault> {
        if let Some(pending) = self.pending.take() {
            let written = pending.write.await;
            let block = self.written(written, pending.len, pending.at).await?;
            // One block is enough to go on with; a second one was taken because it was free.
            self.spare = Some(block);
        }
        Ok(())
    }

    /// What came of a write; once more buffered when direct was refused.
    async fn written(&mut self, written: Written, len: usize, at: u64) -> Result<Block, Fault> {
        let (result, block) = written;
        match result {
            Ok(()) => Ok(block),
            Err(error) if self.way == Way::Direct && error.kind() == ErrorKind::InvalidInput => {
                self.buffered();
                let (result, block) = self.file()?.write_at(block, len, at).await;
                result.map(|()| block).map_err(|error| fault::of_file(&error))
            }
            Err(error) => Err(fault::of_file(&error)),
        }
    }
}
