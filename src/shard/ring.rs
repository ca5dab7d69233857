//! shard::ring – one io_uring per shard, driven from a glommio task.
//!
//! An operation is a slot: it owns its buffers, paths and descriptors from submission to its last
//! completion, whatever becomes of the future that waits for it. Dropping that future cancels the
//! operation and orphans the slot; memory is released only when the kernel said its last word.
//!
//! ```text
//!  Op / Multi (futures) ──push──▶ submission queue ──enter──▶ kernel
//!        ▲ wake                                               │
//!        └───────── reap (driver task, batch budget) ◀────────┘  eventfd only while parked
//! ```
//!
//! Promises: no submission is lost when the queue is full or the kernel is out of memory for a moment
//! (a backlog keeps it); an orphan that yields a descriptor has it closed, one that took a provided
//! buffer gives it back.
//! Not here: who drives it (`bridge`), what the operations mean (`net`, `file`, `dir`).

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::buffers::Provided;
use crate::limits::FILE_OPERATIONS_MAX;

/// Submission queue entries; a burst beyond it costs one more `io_uring_enter`.
const SQ_ENTRIES: u32 = 1024;
/// Completion queue entries, four per submission: multishot operations complete many times.
const CQ_ENTRIES: u32 = 4 * SQ_ENTRIES;
/// Completions handled before other tasks run again.
const REAP_BATCH: usize = 256;
/// Bounded and unbounded io-wq workers per shard (file operations that the kernel cannot start
/// without waiting). More threads than this only fight for the same disk; fewer, and the large
/// deliveries that wait for a disk that hangs would keep an FTP session from opening a file on another.
const IOWQ_WORKERS: [u32; 2] = [FILE_OPERATIONS_MAX, 16];
/// Receives of a multishot operation that may wait to be taken before it is ended. The kernel may
/// deliver a few more (32 in a row) before it hears of that.
const UNTAKEN_MAX: usize = 4;
/// User data of completions nobody waits for (cancellations).
const NOBODY: u64 = u64::MAX;
/// High half of user data of a descriptor handed over by another shard; the low half is its service,
/// the result is the descriptor.
pub(super) const HANDOVER: u64 = 0xffff_fffe << 32;

/// What an operation owns until its last completion.
pub(super) enum Keep {
    /// Nothing but its descriptor.
    Fd(#[allow(dead_code, reason = "owned, not read")] Rc<OwnedFd>),
    /// Octets being sent.
    Bytes(#[allow(dead_code, reason = "owned, not read")] Rc<OwnedFd>, Vec<u8>),
    /// Shared octets being sent.
    Shared(
        #[allow(dead_code, reason = "owned, not read")] Rc<OwnedFd>,
        #[allow(dead_code, reason = "owned, not read")] bytes::Bytes,
    ),
    /// A pooled block being filled or written.
    Block(#[allow(dead_code, reason = "owned, not read")] Rc<OwnedFd>, super::buffers::Block),
    /// Anything else (paths, addresses, stat buffers).
    Any(#[allow(dead_code, reason = "owned, not read")] Box<dyn Any>),
}

enum State {
    Free(u32),
    Waiting(Option<Waker>),
    Done(i32),
    Multi { queue: VecDeque<(i32, u32)>, ended: bool, cancelled: bool, waker: Option<Waker> },
    Orphan,
}

struct Slot {
    state: State,
    generation: u32,
    /// The result is a descriptor that an orphan must close.
    yields_fd: bool,
    keep: Option<Keep>,
}

/// The ring of one shard.
pub(super) struct Ring {
    ring: IoUring,
    slots: Vec<Slot>,
    free: u32,
    in_flight: usize,
    /// The driver sleeps on the eventfd: whoever pushes must submit.
    parked: bool,
    /// Entries that found no room or no memory; sent before anything newer.
    backlog: VecDeque<squeue::Entry>,
    pub(super) provided: Provided,
    /// Descriptors handed over by other shards, with their services, and who waits for them.
    handed: VecDeque<(RawFd, u8)>,
    hand_waker: Option<Waker>,
    registered_blocks: usize,
}

const NO_SLOT: u32 = u32::MAX;

impl Ring {
    /// A ring with its provided buffers, signalling `eventfd`.
    pub(super) fn new(eventfd: RawFd) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)?;
        ring.submitter().register_eventfd(eventfd)?;
        let mut workers = IOWQ_WORKERS;
        ring.submitter().register_iowq_max_workers(&mut workers)?;
        let provided = Provided::register(&ring)?;
        Ok(Self {
            ring,
            slots: Vec::new(),
            free: NO_SLOT,
            in_flight: 0,
            parked: false,
            backlog: VecDeque::new(),
            provided,
            handed: VecDeque::new(),
            hand_waker: None,
            registered_blocks: 0,
        })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Registers blocks of the pool's arena as fixed buffers, from the first on. Where locked memory is
    /// used up already (by other processes of this user) none is: they are ordinary memory then.
    pub(super) fn register_blocks(&mut self, vectors: &[libc::iovec]) {
        // SAFETY: the vectors describe the block pool's arena, which lives as long as the process
        // (it is never unmapped), so the kernel's pins never outlive the memory.
        let registered = !vectors.is_empty()
            && unsafe { self.ring.submitter().register_buffers(vectors) }.is_ok();
        self.registered_blocks = if registered { vectors.len() } else { 0 };
    }

    /// Is this block one of the ring's fixed buffers?
    pub(super) fn is_fixed(&self, block: &super::Block) -> bool {
        usize::from(block.index()) < self.registered_blocks
    }

    fn allocate(&mut self, state: State, yields_fd: bool, keep: Keep) -> (u32, u64) {
        let index = if self.free == NO_SLOT {
            self.slots.push(Slot { state: State::Orphan, generation: 0, yields_fd, keep: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(NO_SLOT - 1)
        } else {
            let index = self.free;
            if let State::Free(next) = self.slots[index as usize].state {
                self.free = next;
            }
            index
        };
        let slot = &mut self.slots[index as usize];
        slot.state = state;
        slot.yields_fd = yields_fd;
        slot.keep = Some(keep);
        slot.generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
        (index, u64::from(slot.generation) << 32 | u64::from(index))
    }

    fn release(&mut self, index: u32) -> Option<Keep> {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Free(self.free);
        self.free = index;
        slot.keep.take()
    }

    fn user_data(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// Queues an entry. Never fails: what finds no room waits in the backlog.
    fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        if !self.backlog.is_empty() {
            self.backlog.push_back(entry);
        } else if !self.try_push(&entry) {
            self.submit();
            if !self.try_push(&entry) {
                self.backlog.push_back(entry);
            }
        }
        if self.parked {
            // The driver sleeps and will not look at the queue: send it now (performance notes, rule 4).
            self.submit();
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: every entry's buffers, paths and descriptors are owned by its slot (or are
        // process-wide), which is released only after the entry's last completion was reaped.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Hands queued entries to the kernel. EAGAIN, EBUSY and EINTR leave them queued for the next turn.
    fn submit(&self) {
        if let Err(error) = self.ring.submit() {
            note_enter_error(&error);
        }
    }

    fn flush(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.submit();
                if !self.try_push(&entry) {
                    self.backlog.push_front(entry);
                    break;
                }
            }
        }
        let (len, taskrun) = {
            let queue = self.ring.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if len > 0 || taskrun {
            const GETEVENTS: u32 = 1;
            let count = u32::try_from(len).unwrap_or(u32::MAX);
            // SAFETY: no argument is passed; queued entries uphold `try_push`'s contract.
            let entered =
                unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, GETEVENTS, None) };
            if let Err(error) = entered {
                note_enter_error(&error);
            }
        }
    }

    /// Flushes, then handles up to a batch of completions. Returns how many.
    fn reap(&mut self, dropped: &mut Vec<Keep>) -> usize {
        self.flush();
        let mut count = 0;
        while count < REAP_BATCH {
            let Some(cqe) = self.ring.completion().next() else { break };
            count += 1;
            self.complete(&cqe, dropped);
        }
        count
    }

    /// Sends what an earlier, failed attempt left queued while the driver slept.
    pub(super) fn nudge(&mut self) {
        if self.parked && !(self.backlog.is_empty() && self.ring.submission().is_empty()) {
            self.flush();
        }
    }

    /// Takes the descriptors that were handed over and that nobody will begin with any more.
    pub(super) fn forsake_handed(&mut self) {
        while let Some((fd, _)) = self.handed.pop_front() {
            close_raw(fd);
        }
    }

    /// Is nothing queued, nothing completed, and nothing about to be?
    pub(super) fn is_quiet(&mut self) -> bool {
        self.backlog.is_empty()
            && self.ring.submission().is_empty()
            && self.ring.completion().is_empty()
            && !self.ring.submission().taskrun()
    }

    /// Completions signal the eventfd, or not.
    pub(super) fn set_signal(&mut self, on: bool) {
        let queue = self.ring.completion();
        if on { queue.enable_eventfd() } else { queue.disable_eventfd() }
    }

    /// The driver sleeps on the eventfd, or not.
    pub(super) fn set_parked(&mut self, parked: bool) {
        self.parked = parked;
    }

    /// Blocks this thread until something completes or `patience` is over.
    pub(super) fn wait(&self, patience: Duration) {
        let limit = types::Timespec::from(patience);
        let args = types::SubmitArgs::new().timespec(&limit);
        match self.ring.submitter().submit_with_args(1, &args) {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) => note_enter_error(&error),
            _ => {}
        }
    }

    fn complete(&mut self, cqe: &cqueue::Entry, dropped: &mut Vec<Keep>) {
        let data = cqe.user_data();
        if data & (0xffff_ffff << 32) == HANDOVER {
            let service = u8::try_from(data & 0xffff_ffff).unwrap_or(u8::MAX);
            self.handed.push_back((cqe.result(), service));
            if let Some(waker) = self.hand_waker.take() {
                waker.wake();
            }
            return;
        }
        if !cqueue::more(cqe.flags()) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if data == NOBODY {
            return;
        }
        let index = u32::try_from(data & 0xffff_ffff).unwrap_or(NO_SLOT);
        let more = cqueue::more(cqe.flags());
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        debug_assert_eq!(
            u64::from(slot.generation),
            data >> 32,
            "a completion of an earlier operation"
        );
        match &mut slot.state {
            State::Waiting(waker) => {
                let waker = waker.take();
                slot.state = State::Done(cqe.result());
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Multi { queue, ended, cancelled, waker } => {
                queue.push_back((cqe.result(), cqe.flags()));
                *ended |= !more;
                // Nobody takes what comes: end it, and let TCP hold the peer back. It would empty the
                // shard's provided buffers otherwise. (Accepted connections take none.)
                let buffered = cqueue::buffer_select(cqe.flags()).is_some();
                let hold = buffered && queue.len() >= UNTAKEN_MAX && !*ended && !*cancelled;
                *cancelled |= hold;
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                if hold {
                    self.cancel(index);
                }
            }
            State::Orphan => self.complete_orphan(index, cqe, more, dropped),
            State::Free(_) | State::Done(_) => {}
        }
    }

    fn complete_orphan(
        &mut self,
        index: u32,
        cqe: &cqueue::Entry,
        more: bool,
        dropped: &mut Vec<Keep>,
    ) {
        if self.slots[index as usize].yields_fd && cqe.result() >= 0 {
            close_raw(cqe.result());
        }
        if let Some(id) = cqueue::buffer_select(cqe.flags()) {
            self.provided.give_back(id);
        }
        if !more {
            dropped.extend(self.release(index));
        }
    }

    fn cancel(&mut self, index: u32) {
        let target = self.user_data(index);
        self.push(opcode::AsyncCancel::new(target).build().user_data(NOBODY));
    }
}

fn note_enter_error(error: &io::Error) {
    // EINTR: a signal; EAGAIN/EBUSY/ENOMEM: the kernel is short of memory or completions overflowed.
    // Entries stay queued and the next turn tries again.
    match error.raw_os_error() {
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {}
        _ => tracing::error!(%error, "io_uring_enter failed"),
    }
}

fn close_raw(fd: RawFd) {
    // SAFETY: the kernel just made this descriptor for an operation nobody waits for any more;
    // nothing else knows its number.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// The shared handle of a shard's ring.
#[derive(Clone)]
pub(super) struct RingHandle(Rc<RefCell<Ring>>);

impl RingHandle {
    pub(super) fn new(ring: Ring) -> Self {
        Self(Rc::new(RefCell::new(ring)))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Ring) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }

    /// Starts a single-shot operation at once.
    pub(super) fn start(&self, entry: squeue::Entry, keep: Keep) -> Op {
        self.launch(entry, keep, false)
    }

    /// Starts an operation whose result is a new descriptor.
    pub(super) fn start_fd(&self, entry: squeue::Entry, keep: Keep) -> Op {
        self.launch(entry, keep, true)
    }

    fn launch(&self, entry: squeue::Entry, keep: Keep, yields_fd: bool) -> Op {
        let mut ring = self.0.borrow_mut();
        let (index, data) = ring.allocate(State::Waiting(None), yields_fd, keep);
        ring.push(entry.user_data(data));
        Op { ring: self.clone(), index, done: false }
    }

    /// Starts an operation that completes many times.
    pub(super) fn start_multi(&self, entry: squeue::Entry, keep: Keep, yields_fd: bool) -> Multi {
        let mut ring = self.0.borrow_mut();
        let state =
            State::Multi { queue: VecDeque::new(), ended: false, cancelled: false, waker: None };
        let (index, data) = ring.allocate(state, yields_fd, keep);
        ring.push(entry.user_data(data));
        Multi { ring: self.clone(), index }
    }

    /// Starts an operation nobody waits for.
    pub(super) fn start_detached(&self, entry: squeue::Entry, keep: Keep) {
        let mut ring = self.0.borrow_mut();
        let (_, data) = ring.allocate(State::Orphan, false, keep);
        ring.push(entry.user_data(data));
    }

    /// Posts a descriptor to another shard's ring. The result says whether it got there.
    pub(super) fn hand_over(&self, ring_fd: RawFd, fd: RawFd, service: u8) -> Op {
        let data = HANDOVER | u64::from(service);
        let entry = opcode::MsgRingData::new(types::Fd(ring_fd), fd, data, None).build();
        self.start(entry, Keep::Any(Box::new(())))
    }

    /// The next descriptor handed over to this shard, and its service.
    pub(super) fn poll_handed(&self, context: &Context<'_>) -> Poll<(RawFd, u8)> {
        let mut ring = self.0.borrow_mut();
        if let Some(handed) = ring.handed.pop_front() {
            return Poll::Ready(handed);
        }
        ring.hand_waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Hands over what is queued and handles what completed, up to a batch. Returns how many.
    pub(super) fn reap(&self) -> usize {
        let mut dropped = Vec::new();
        let count = self.0.borrow_mut().reap(&mut dropped);
        // Dropped outside the borrow: a block that goes back may wake a task or touch the pool.
        drop(dropped);
        count
    }

    /// Operations the kernel still has.
    pub(super) fn in_flight(&self) -> usize {
        self.0.borrow().in_flight
    }
}

/// A single-shot operation in flight.
#[must_use]
pub(super) struct Op {
    ring: RingHandle,
    index: u32,
    done: bool,
}

impl Future for Op {
    type Output = (io::Result<u32>, Option<Keep>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        let (result, keep) = {
            let mut ring = self.ring.0.borrow_mut();
            let slot = &mut ring.slots[index as usize];
            match &mut slot.state {
                State::Done(result) => {
                    let result = *result;
                    (result, ring.release(index))
                }
                State::Waiting(waker) => {
                    if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                        *waker = Some(context.waker().clone());
                    }
                    return Poll::Pending;
                }
                State::Free(_) | State::Multi { .. } | State::Orphan => return Poll::Pending,
            }
        };
        self.done = true;
        Poll::Ready((outcome(result), keep))
    }
}

impl Op {
    /// Waits; for operations whose kept memory is of no further use.
    pub(super) async fn result(self) -> io::Result<u32> {
        self.await.0
    }

    /// Waits; the result is a new descriptor.
    pub(super) async fn descriptor(self) -> io::Result<OwnedFd> {
        let fd = self.await.0?;
        // SAFETY: a successful open or accept returns a descriptor that is ours alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd.cast_signed()) })
    }
}

/// The result of an operation as Rust sees it.
pub(super) fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

impl Drop for Op {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let keep = {
            let mut ring = self.ring.0.borrow_mut();
            let slot = &mut ring.slots[self.index as usize];
            if let State::Done(result) = slot.state {
                if slot.yields_fd && result >= 0 {
                    close_raw(result);
                }
                ring.release(self.index)
            } else {
                slot.state = State::Orphan;
                ring.cancel(self.index);
                None
            }
        };
        drop(keep);
    }
}

/// A multishot operation in flight.
pub(super) struct Multi {
    ring: RingHandle,
    index: u32,
}

impl Multi {
    /// The next completion; `None` when the operation ended and everything was taken.
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<(i32, u32)>> {
        let mut ring = self.ring.0.borrow_mut();
        let State::Multi { queue, ended, waker, .. } = &mut ring.slots[self.index as usize].state
        else {
            return Poll::Ready(None);
        };
        if let Some(completion) = queue.pop_front() {
            if queue.is_empty() && queue.capacity() > 0 {
                // An idle connection keeps no memory for a queue it seldom needs.
                *queue = VecDeque::new();
            }
            return Poll::Ready(Some(completion));
        }
        if *ended {
            return Poll::Ready(None);
        }
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Asks the kernel to end it; what is queued can still be taken.
    pub(super) fn cancel(&self) {
        let mut ring = self.ring.0.borrow_mut();
        let slot = &mut ring.slots[self.index as usize];
        if let State::Multi { ended: false, cancelled, .. } = &mut slot.state
            && !std::mem::replace(cancelled, true)
        {
            ring.cancel(self.index);
        }
    }
}

impl Drop for Multi {
    fn drop(&mut self) {
        let keep = {
            let mut ring = self.ring.0.borrow_mut();
            let ring = &mut *ring;
            let slot = &mut ring.slots[self.index as usize];
            let State::Multi { queue, ended, .. } = &mut slot.state else { return };
            let (queue, ended) = (std::mem::take(queue), *ended);
            slot.state = State::Orphan;
            for (result, flags) in queue {
                if slot.yields_fd && result >= 0 {
                    close_raw(result);
                }
                if let Some(id) = cqueue::buffer_select(flags) {
                    ring.provided.give_back(id);
                }
            }
            if ended {
                ring.release(self.index)
            } else {
                ring.cancel(self.index);
                None
            }
        };
        drop(keep);
    }
}
