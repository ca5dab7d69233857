//! shard::sys – system calls that no crate wraps.
//!
//! Promises: every call is checked, nothing waits. Not here: anything `nix` or the ring can do.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::{SockAddr, SockAddrStorage};

/// `cachestat(2)`, the same number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;
/// Octets of one page as `cachestat` counts them.
const PAGE_BYTES: u64 = 4096;

#[repr(C)]
struct CacheStatRange {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Are all pages of the range in the page cache? The range must lie inside the file.
pub(super) fn pages_cached(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<bool> {
    let range = CacheStatRange { offset, len };
    let mut stat = CacheStat::default();
    // SAFETY: both structs have the kernel's layout (linux/mman.h) and live across the call; the
    // descriptor is open.
    let status =
        unsafe { libc::syscall(SYS_CACHESTAT, fd.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let pages = (offset + len).div_ceil(PAGE_BYTES) - offset / PAGE_BYTES;
    Ok(stat.cached >= pages)
}

/// Accepts a waiting connection as a non-blocking socket, with its address, in one call.
pub(super) fn accept_nonblocking(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SockAddr)> {
    let accept = |storage: *mut SockAddrStorage, len: *mut libc::socklen_t| {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `try_init` gives a storage for any address, and its length, both live across the call;
        // the descriptor is open.
        let fd = unsafe { libc::accept4(listener.as_raw_fd(), storage.cast(), len, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: accept4 just made this descriptor; nothing else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // SAFETY: after a success the storage holds the address accept4 wrote, and the length is its length.
    unsafe { SockAddr::try_init(accept) }
}

/// Can the octet at `offset` be read without waiting? Starts reading it ahead when not.
pub(super) fn readable_now(fd: BorrowedFd<'_>, offset: u64) -> bool {
    let mut octet = 0u8;
    let vector = libc::iovec { iov_base: (&raw mut octet).cast(), iov_len: 1 };
    let Ok(offset) = libc::off_t::try_from(offset) else { return true };
    // SAFETY: one vector of one octet that lives across the call.
    let count =
        unsafe { libc::preadv2(fd.as_raw_fd(), &raw const vector, 1, offset, libc::RWF_NOWAIT) };
    // Anything but EAGAIN (end of file, an old kernel) is for the real read to report.
    count >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}

/// Reads what is in the page cache at `offset` into `room`. `WouldBlock` when it is not, or when the file
/// system does not know.
pub(super) fn read_now(fd: BorrowedFd<'_>, room: &mut [u8], offset: u64) -> io::Result<usize> {
    let vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: one vector over `room`, which lives and is not otherwise used across the call.
    let count =
        unsafe { libc::preadv2(fd.as_raw_fd(), &raw const vector, 1, offset, libc::RWF_NOWAIT) };
    usize::try_from(count).map_err(|_| match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => io::ErrorKind::WouldBlock.into(),
        error => error,
    })
}

/// Large blocks are given back to the kernel when they are freed. Left alone, glibc learns from the
/// first 19 MiB block of a password check to keep such blocks in the heaps of every worker thread:
/// sixty logins then leave a gigabyte behind.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        const THRESHOLD_BYTES: libc::c_int = 1 << 20;
        // SAFETY: mallopt(3) changes a parameter of the allocator, and is called before any thread exists.
        let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES) };
        if done != 1 {
            tracing::warn!("the allocator keeps large blocks: memory grows with failed logins");
        }
    }
}
