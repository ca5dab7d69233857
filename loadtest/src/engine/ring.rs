//! engine::ring – socket operations on io_uring that own what the kernel reads and writes.
//!
//! An operation is begun with its buffer moved in and ends with a [`Completion`] that gives the
//! buffer back. Operations wait in the ring until [`Ring::turn`] hands them to the kernel, all at
//! once, and waits for the first completion.
//!
//! Promises: safe to use whatever the caller does; memory of an operation that the kernel still
//! has is never freed, not even when the ring is dropped.
//! Not here: which connection an operation belongs to; a `token` carries that through.

#![allow(unsafe_code, reason = "entries of the ring hold addresses of memory")]

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use socket2::SockAddr;

use crate::engine::session::Payload;

/// Entries of the submission queue; more operations at once are submitted early.
const ENTRIES: u32 = 1024;
/// Entries of the completion queue; beyond, the kernel keeps them aside, which is slow.
const COMPLETIONS: u32 = 8192;
/// Octets one [`Ring::drop_octets`] takes at most. Large, because nothing is copied.
pub const DROP_BYTES: usize = 1 << 20;
/// Most that one send is asked to do.
const SEND_BYTES_MAX: usize = 1 << 30;
/// Number of operations without an owner (closing, cancelling): their completions say nothing.
const NOBODY: u64 = u64::MAX;
/// How often a dropped ring asks the kernel for operations it cancelled, a hundredth second each.
const DROP_TURNS_MAX: usize = 100;

/// A ring; to be used on the thread that made it.
pub struct Ring {
    ring: IoUring,
    /// Operations the kernel has or will get, by number; free places are `None`.
    operations: Vec<Option<Operation>>,
    free: Vec<usize>,
    in_flight: usize,
    /// Where octets nobody wants would go; with `MSG_TRUNC` the kernel writes none of them.
    nowhere: Vec<u8>,
}

struct Operation {
    token: u64,
    memory: Memory,
}

/// What the kernel reads or writes while an operation lasts.
pub enum Memory {
    /// Nothing.
    None,
    /// The address to connect to.
    Address(
        #[allow(dead_code, reason = "kept for the kernel, which alone reads it")] Box<SockAddr>,
    ),
    /// Where received octets go.
    Buffer(Vec<u8>),
    /// What is sent.
    Payload(Payload),
}

/// An operation that can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started(usize);

/// An operation's end.
pub struct Completion {
    /// As given when it began.
    pub token: u64,
    /// What the system call would have returned.
    pub result: io::Result<usize>,
    /// Its memory.
    pub memory: Memory,
}

impl Ring {
    /// A ring for this thread.
    pub fn new() -> io::Result<Self> {
        let plain = || IoUring::builder().setup_cqsize(COMPLETIONS).build(ENTRIES);
        // Completions are worked off when we ask for them, not in between; Linux 6.1.
        let best = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES);
        Ok(Self {
            ring: best.or_else(|_| plain())?,
            operations: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            nowhere: vec![0; DROP_BYTES],
        })
    }

    /// Connects.
    pub fn connect(&mut self, socket: RawFd, to: SockAddr, token: u64) -> Started {
        let address = Box::new(to);
        let entry = opcode::Connect::new(Fd(socket), address.as_ptr().cast(), address.len());
        self.begin(entry.build(), token, Memory::Address(address))
    }

    /// Accepts one connection; its descriptor is the result.
    pub fn accept(&mut self, socket: RawFd, token: u64) -> Started {
        let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry =
            opcode::Accept::new(Fd(socket), address, length).flags(libc::SOCK_CLOEXEC).build();
        self.begin(entry, token, Memory::None)
    }

    /// Receives into `buffer`, up to its length or `limit`.
    pub fn receive(
        &mut self,
        socket: RawFd,
        mut buffer: Vec<u8>,
        limit: usize,
        token: u64,
    ) -> Started {
        let length = buffer.len().min(limit) as u32;
        let entry = opcode::Recv::new(Fd(socket), buffer.as_mut_ptr(), length).build();
        self.begin(entry, token, Memory::Buffer(buffer))
    }

    /// Takes up to `limit` octets (and no more than [`DROP_BYTES`]) off the socket without copying
    /// them; with `all` not fewer, except at the stream's end.
    pub fn drop_octets(&mut self, socket: RawFd, limit: usize, all: bool, token: u64) -> Started {
        let flags = libc::MSG_TRUNC | if all { libc::MSG_WAITALL } else { 0 };
        let length = limit.min(DROP_BYTES) as u32;
        let place = self.nowhere.as_mut_ptr();
        let entry = opcode::Recv::new(Fd(socket), place, length).flags(flags).build();
        // `nowhere` lives as long as the ring and is as long as any such operation.
        self.begin(entry, token, Memory::None)
    }

    /// Sends up to `limit` octets of `payload` from `offset` on; fewer only on errors.
    pub fn send(
        &mut self,
        socket: RawFd,
        (payload, offset): (Payload, usize),
        limit: usize,
        token: u64,
    ) -> Started {
        let octets = &payload.octets()[offset..];
        let length = octets.len().min(limit).min(SEND_BYTES_MAX) as u32;
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::Send::new(Fd(socket), octets.as_ptr(), length).flags(flags).build();
        self.begin(entry, token, Memory::Payload(payload))
    }

    /// Asks the kernel to end an operation early; its completion comes all the same.
    pub fn cancel(&mut self, started: Started) {
        self.push(&opcode::AsyncCancel::new(started.0 as u64).build().user_data(NOBODY));
    }

    /// Closes a descriptor with the next turn.
    pub fn close(&mut self, socket: OwnedFd) {
        self.push(&opcode::Close::new(Fd(socket.into_raw_fd())).build().user_data(NOBODY));
    }

    /// Hands everything begun to the kernel, waits for the first completion, `timeout` at most,
    /// and puts all there are into `completions`.
    pub fn turn(&mut self, timeout: Duration, completions: &mut Vec<Completion>) -> io::Result<()> {
        let limit = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&limit);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
        for entry in self.ring.completion() {
            let number = entry.user_data();
            if number == NOBODY {
                continue;
            }
            let number = number as usize;
            let Some(operation) = self.operations[number].take() else { continue };
            self.free.push(number);
            self.in_flight -= 1;
            let result = usize::try_from(entry.result())
                .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            let Operation { token, memory } = operation;
            completions.push(Completion { token, result, memory });
        }
        Ok(())
    }

    fn begin(&mut self, entry: Entry, token: u64, memory: Memory) -> Started {
        let number = self.free.pop().unwrap_or_else(|| {
            self.operations.push(None);
            self.operations.len() - 1
        });
        self.operations[number] = Some(Operation { token, memory });
        self.in_flight += 1;
        self.push(&entry.user_data(number as u64));
        Started(number)
    }

    fn push(&mut self, entry: &Entry) {
        loop {
            // SAFETY: every address in `entry` points into heap memory that `operations` owns until
            // the completion with this number came, or into `nowhere`; both outlive the ring's use
            // of them, because `drop` leaks what the kernel has not given back.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full: the kernel takes all of it. Failing to is passing (memory).
            let _passing = self.ring.submit();
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let numbers: Vec<usize> =
            (0..self.operations.len()).filter(|&at| self.operations[at].is_some()).collect();
        for number in numbers {
            self.cancel(Started(number));
        }
        let mut returned = Vec::new();
        for _ in 0..DROP_TURNS_MAX {
            let turned = self.turn(Duration::from_millis(10), &mut returned);
            if self.in_flight == 0 || turned.is_err() {
                break;
            }
        }
        if self.in_flight > 0 {
            // The kernel may still write there. Memory lost at the end of a run harms nobody.
            std::mem::forget(std::mem::take(&mut self.operations));
            std::mem::forget(std::mem::take(&mut self.nowhere));
        }
    }
}

/// The descriptor of an accepted connection.
pub fn accepted(result: usize) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller passes the result of an accept, a descriptor nobody else has.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}
