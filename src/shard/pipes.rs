//! shard::pipes – the pipes through which large files go from the page cache into sockets (splice(2)).
//!
//! `sendfile` is the same through a pipe of its own of 16 pages, which is emptied into the socket every 64 KiB.
//! One of 256 pages takes half the processor time (`benches/shard`: 32 MiB in 1.5 ms instead of 2.7).
//!
//! Promises: what a pipe holds goes out before anything else of its file, and never into another socket; a shard
//! has at most [`PIPES_MAX`]. Where none can be had – all are taken, no descriptors, or more pages than
//! `fs.pipe-user-pages-soft` allows to who is not root – the caller uses `sendfile`.
//! Not here: waiting, and whether the pages are in memory (`net`, `file`).

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};

/// Octets that a pipe has room for: 256 pages, what `fs.pipe-max-size` allows by default.
pub(super) const PIPE_BYTES: usize = 1 << 20;
/// Pipes of one shard. Slow clients keep theirs; whoever comes then is served by `sendfile`.
const PIPES_MAX: usize = 16;

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// One pipe, and what is in it. It belongs to one connection and ends with it.
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Octets taken from the file and not yet sent.
    held: usize,
}

impl Pipe {
    /// A new one, if there may be any.
    pub(super) fn make() -> Option<Box<Self>> {
        if MADE.get() >= PIPES_MAX {
            return None;
        }
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        let room = i32::try_from(PIPE_BYTES).unwrap_or(i32::MAX);
        fcntl(&into, FcntlArg::F_SETPIPE_SZ(room)).ok()?;
        MADE.set(MADE.get() + 1);
        Some(Box::new(Self { out, into, held: 0 }))
    }

    /// Sends octets of `file` from `offset`, at most `count` and at most what there is room for; what else it
    /// took are those behind them, so the next call goes on there. 0 at the end of the file.
    ///
    /// # Errors
    /// EAGAIN when there is no room; what `splice` says of file and socket.
    pub(super) fn send(
        &mut self,
        file: impl AsFd,
        socket: impl AsFd,
        offset: i64,
        count: usize,
    ) -> nix::Result<usize> {
        let ready = SpliceFFlags::SPLICE_F_NONBLOCK;
        if self.held == 0 {
            let mut from = offset;
            let room = count.min(PIPE_BYTES);
            self.held = splice(file, Some(&mut from), &self.into, None, room, ready)?;
        }
        if self.held == 0 {
            return Ok(0);
        }
        // Of what follows the kernel makes full segments.
        let more = if self.held < count { SpliceFFlags::SPLICE_F_MORE } else { ready };
        let moved = splice(&self.out, None, socket, None, self.held, ready | more)?;
        self.held -= moved;
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        MADE.set(MADE.get().saturating_sub(1));
    }
}
