//! sim::fault – what can go wrong on a disk: errors, and lies.

use std::io;

/// Errors by their Linux numbers.
pub mod errno {
    #![allow(missing_docs, reason = "names of errno(3)")]
    /// No error of the kernel: a write that ends before its end.
    pub const SHORT: i32 = 0;
    pub const NOENT: i32 = 2;
    pub const IO: i32 = 5;
    pub const EXIST: i32 = 17;
    pub const XDEV: i32 = 18;
    pub const NOTDIR: i32 = 20;
    pub const ISDIR: i32 = 21;
    pub const INVAL: i32 = 22;
    pub const NOSPC: i32 = 28;
    pub const NAMETOOLONG: i32 = 36;
    pub const NOTEMPTY: i32 = 39;
    pub const LOOP: i32 = 40;
}

/// An error of the kernel.
pub fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// What a file operation was, for the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening a file, directory or root.
    Open,
    /// Making a new file.
    Create,
    /// Reading octets.
    Read,
    /// Writing octets.
    Write,
    /// Setting a length.
    Truncate,
    /// Reserving extents.
    Allocate,
    /// Reading ahead.
    Prefetch,
    /// File content to the disk.
    Sync,
    /// Names to the disk.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing a file.
    Unlink,
    /// Making a directory.
    MakeDir,
    /// Removing a directory.
    RemoveDir,
    /// Making a symbolic link.
    Symlink,
    /// Reading metadata.
    Stat,
    /// Reading names.
    ReadDir,
    /// Changing metadata.
    Change,
}

/// Lies a disk may tell, to see whether a checker notices.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a test, each on its own")]
pub struct Sabotage {
    /// `File::sync` says yes and does nothing.
    pub sync: bool,
    /// `Dir::sync` says yes and does nothing.
    pub sync_dir: bool,
    /// `unlink` says yes and does nothing.
    pub unlink: bool,
    /// Writes past the first block of a file are lost.
    pub write: bool,
}

/// Which operations fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) at: u64,
    pub(super) number: i32,
    pub(super) lasting: bool,
}
