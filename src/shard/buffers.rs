//! shard::buffers – the memory that bytes arrive in: a ring of small provided buffers for control
//! connections, and a bounded pool of large blocks for bulk.
//!
//! Both are made once per shard and never grow. When no provided buffer is free the kernel ends the
//! receive and it is armed again later; when no block is free the caller waits its turn. That is the
//! back-pressure of the whole server: memory is bounded whatever clients do.
//!
//! Promises: a block has one owner at a time; first come, first served; memory handed to the kernel
//! stays until the kernel is done (the owner is then the operation's slot).
//! Not here: who uses them (`net`, `file`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, Waker};

use io_uring::{IoUring, types};

/// Octets of one provided buffer: several command lines.
pub(super) const PROVIDED_BYTES: usize = 2048;
/// Provided buffers of one shard; a power of two (io_uring_setup_buf_ring(3)).
const PROVIDED_COUNT: u16 = 512;
/// The one buffer group of a shard's ring.
pub(super) const PROVIDED_GROUP: u16 = 0;
/// Octets of one [`Block`]. A multiple of every alignment that direct writes may ask for.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks of one shard.
const BLOCK_COUNT: usize = 24;
/// Octets of one shard's blocks.
pub(super) const fn arena_bytes() -> usize {
    BLOCK_COUNT * BLOCK_BYTES
}

/// Page size on every machine io_uring is met on; arenas are aligned to it.
const PAGE: usize = 4096;

const _: () = assert!(PROVIDED_COUNT.is_power_of_two());
const _: () = assert!(BLOCK_BYTES.is_multiple_of(PAGE));

/// An anonymous mapping that is never unmapped: the kernel may hold it as long as the process lives.
struct Arena {
    base: *mut u8,
    len: usize,
}

impl Arena {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a private anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), len })
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= self.len, "outside the arena");
        // SAFETY: the range was just checked to lie inside the mapping.
        unsafe { self.base.add(offset) }
    }
}

/// The ring of provided buffers.
pub(super) struct Provided {
    entries: *mut types::BufRingEntry,
    memory: Arena,
    tail: u16,
}

impl Provided {
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = Arena::new(usize::from(PROVIDED_COUNT) * size_of::<types::BufRingEntry>())?;
        let memory = Arena::new(usize::from(PROVIDED_COUNT) * PROVIDED_BYTES)?;
        let mut provided = Self { entries: entries.base.cast(), memory, tail: 0 };
        for id in 0..PROVIDED_COUNT {
            provided.add(id);
        }
        provided.publish();
        // SAFETY: the entries are page aligned (mmap), hold PROVIDED_COUNT of them, and are never unmapped.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                provided.entries as u64,
                PROVIDED_COUNT,
                PROVIDED_GROUP,
                0,
            )
        }?;
        Ok(provided)
    }

    fn add(&mut self, id: u16) {
        let offset = usize::from(id) * PROVIDED_BYTES;
        let address = self.memory.at(offset, PROVIDED_BYTES) as u64;
        let index = usize::from(self.tail & (PROVIDED_COUNT - 1));
        // SAFETY: `index` is below PROVIDED_COUNT, the number of entries in the mapping.
        let entry = unsafe { self.entries.add(index) };
        // SAFETY: the entry lies in the mapping, is aligned and initialised (anonymous memory is zero),
        // and nobody else has a reference; the kernel reads it only after `publish` moved the tail past it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(u32::try_from(PROVIDED_BYTES).unwrap_or(0));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies inside the first entry of the mapping (the kernel's layout).
        let tail = unsafe { types::BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is an aligned u16 shared with the kernel; all our accesses are atomic.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// Returns a buffer to the kernel.
    pub(super) fn give_back(&mut self, id: u16) {
        self.add(id);
        self.publish();
    }

    /// Where a buffer begins that the kernel filled and will not touch before `give_back`, which happens
    /// when the one `Received` of this id is dropped; and how many octets it has.
    fn filled(&self, id: u16, len: usize) -> (*mut u8, usize) {
        let len = len.min(PROVIDED_BYTES);
        (self.memory.at(usize::from(id) * PROVIDED_BYTES, len), len)
    }
}

/// Octets of one receive; a provided buffer goes back to the kernel, a block to the pool, when this is
/// dropped.
pub struct Received(Octets);

enum Octets {
    /// Of a provided buffer, never unmapped.
    Provided { id: u16, len: usize, start: *mut u8 },
    /// Of their own memory, while no provided buffer was free.
    Own { octets: Vec<u8>, len: usize },
    /// Of a block, which goes back to the pool.
    Block { block: Large, len: usize },
}

/// A block for a large receive. They are counted, so that receives never take the whole pool: what
/// becomes of the octets may need a block as well.
pub(super) struct Large(Block);

impl Large {
    /// Blocks that large receives of one shard may hold.
    const MAX: usize = BLOCK_COUNT / 2;

    /// A block, if there is one to spare now.
    pub(super) fn take() -> Option<Self> {
        if super::core(|core| core.blocks.large.get()) >= Self::MAX {
            return None;
        }
        let block = try_block()?;
        super::core(|core| core.blocks.large.set(core.blocks.large.get() + 1));
        Some(Self(block))
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        super::core(|core| core.blocks.large.set(core.blocks.large.get() - 1));
    }
}

impl Received {
    pub(super) fn end() -> Self {
        Self::own(Vec::new(), 0)
    }

    pub(super) fn own(octets: Vec<u8>, len: usize) -> Self {
        Self(Octets::Own { octets, len })
    }

    pub(super) fn large(block: Large, len: usize) -> Self {
        Self(Octets::Block { block, len })
    }

    pub(super) fn buffer(provided: &Provided, id: u16, len: usize) -> Self {
        let (start, len) = provided.filled(id, len);
        Self(Octets::Provided { id, len, start })
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: `start` and `len` are those of a provided buffer (`filled`; never unmapped) that the
            // kernel leaves alone until `drop` gives it back.
            Octets::Provided { len, start, .. } => unsafe {
                std::slice::from_raw_parts(*start, *len)
            },
            Octets::Own { octets, len } => &octets[..*len],
            Octets::Block { block, len } => &block.0[..*len],
        }
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            // SAFETY: as for `deref`; there is one `Received` for a buffer, and `&mut self` makes this the
            // only reference.
            Octets::Provided { len, start, .. } => unsafe {
                std::slice::from_raw_parts_mut(*start, *len)
            },
            Octets::Own { octets, len } => &mut octets[..*len],
            Octets::Block { block, len } => &mut block.0[..*len],
        }
    }
}

impl From<Vec<u8>> for Received {
    /// Octets that were made of what was received.
    fn from(octets: Vec<u8>) -> Self {
        let len = octets.len();
        Self::own(octets, len)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Octets::Provided { id, .. } = self.0 {
            super::core(|core| core.ring.with(|ring| ring.provided.give_back(id)));
        }
    }
}

/// The blocks of one shard.
pub(super) struct Pool {
    arena: Arena,
    free: RefCell<Vec<u16>>,
    /// Blocks that hold large receives.
    large: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<RefCell<Ticket>>>>,
}

enum Ticket {
    Waiting(Option<Waker>),
    Granted(u16),
    Taken,
}

impl Pool {
    pub(super) fn new() -> io::Result<Self> {
        let arena = Arena::new(BLOCK_COUNT * BLOCK_BYTES)?;
        let count = u16::try_from(BLOCK_COUNT).unwrap_or(u16::MAX);
        Ok(Self {
            arena,
            free: RefCell::new((0..count).rev().collect()),
            large: Cell::new(0),
            waiting: RefCell::new(VecDeque::new()),
        })
    }

    /// One vector per block, for registration with the ring.
    pub(super) fn vectors(&self) -> Vec<libc::iovec> {
        (0..BLOCK_COUNT)
            .map(|index| libc::iovec {
                iov_base: self.arena.at(index * BLOCK_BYTES, BLOCK_BYTES).cast(),
                iov_len: BLOCK_BYTES,
            })
            .collect()
    }

    fn give_back(&self, index: u16) {
        loop {
            let Some(ticket) = self.waiting.borrow_mut().pop_front() else { break };
            let previous = std::mem::replace(&mut *ticket.borrow_mut(), Ticket::Granted(index));
            match previous {
                Ticket::Waiting(waker) => {
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    return;
                }
                Ticket::Granted(_) | Ticket::Taken => *ticket.borrow_mut() = previous,
            }
        }
        self.free.borrow_mut().push(index);
    }
}

/// Waits until a block is free, first come, first served.
pub async fn block() -> Block {
    if let Some(block) = try_block() {
        return block;
    }
    let place = Place(Rc::new(RefCell::new(Ticket::Waiting(None))));
    super::core(|core| core.blocks.waiting.borrow_mut().push_back(Rc::clone(&place.0)));
    poll_fn(|context| {
        let mut ticket = place.0.borrow_mut();
        match &mut *ticket {
            Ticket::Granted(index) => {
                let index = *index;
                *ticket = Ticket::Taken;
                Poll::Ready(Block::new(index))
            }
            Ticket::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Ticket::Taken => Poll::Pending,
        }
    })
    .await
}

/// A block if one is free now and nobody waits for it.
#[must_use]
pub fn try_block() -> Option<Block> {
    super::core(|core| {
        if !core.blocks.waiting.borrow().is_empty() {
            return None;
        }
        core.blocks.free.borrow_mut().pop().map(Block::new)
    })
}

/// A place in the queue for a block; leaving it early gives a granted block to the next.
struct Place(Rc<RefCell<Ticket>>);

impl Drop for Place {
    fn drop(&mut self) {
        let ticket = std::mem::replace(&mut *self.0.borrow_mut(), Ticket::Taken);
        if let Ticket::Granted(index) = ticket {
            super::core(|core| core.blocks.give_back(index));
        }
    }
}

/// A large buffer of the shard's bounded pool; goes back when dropped.
pub struct Block {
    index: u16,
    start: *mut u8,
}

impl Block {
    fn new(index: u16) -> Self {
        let start =
            super::core(|core| core.blocks.arena.at(usize::from(index) * BLOCK_BYTES, BLOCK_BYTES));
        Self { index, start }
    }

    /// Its number among the ring's fixed buffers.
    pub(super) fn index(&self) -> u16 {
        self.index
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: BLOCK_BYTES at `start` lie in the arena (checked in `new`), are initialised
        // (anonymous memory is zero), and belong to this block alone while it exists.
        unsafe { std::slice::from_raw_parts(self.start, BLOCK_BYTES) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start, BLOCK_BYTES) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        super::core(|core| core.blocks.give_back(self.index));
    }
}
