//! store::files::trouble – why the tree did not do what was asked.
//!
//! Errors of the kernel become one of few reasons here and nowhere else.

use std::io::{self, ErrorKind};

/// Why the tree did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No such file or directory.
    Missing,
    /// Not permitted.
    Denied,
    /// A directory where a file is needed.
    IsDirectory,
    /// A file where a directory is needed.
    NotDirectory,
    /// The name is taken.
    Exists,
    /// A directory with entries cannot be removed.
    NotEmpty,
    /// The name cannot be used.
    BadName,
    /// In use, try again later.
    Busy,
    /// The disk or the quota is full.
    NoSpace,
    /// Larger than the file system allows.
    TooLarge,
    /// Not a regular file.
    NotRegular,
    /// Links are not followed here, lead outside, or are too many.
    Link,
    /// No descriptor or memory free at the moment.
    Exhausted,
    /// Input/output error of this machine.
    Local,
    /// This file system cannot do it.
    Unsupported,
}

/// Numbers of Linux errors that `io::ErrorKind` has no stable name for, and what they mean here.
const NUMBERS: [(i32, Trouble); 8] = [
    (6, Trouble::NotRegular), // ENXIO: a FIFO without a reader, a device without a driver
    (12, Trouble::Exhausted), // ENOMEM
    (23, Trouble::Exhausted), // ENFILE
    (24, Trouble::Exhausted), // EMFILE
    (31, Trouble::NoSpace),   // EMLINK
    (40, Trouble::Link),      // ELOOP
    (84, Trouble::BadName),   // EILSEQ: the file system wants UTF-8
    (95, Trouble::Unsupported), // EOPNOTSUPP
];

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        if let Some(number) = error.raw_os_error()
            && let Some((_, trouble)) = NUMBERS.iter().find(|(known, _)| *known == number)
        {
            return *trouble;
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "ErrorKind is not exhaustive")]
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied,
            ErrorKind::IsADirectory => Self::IsDirectory,
            ErrorKind::NotADirectory => Self::NotDirectory,
            ErrorKind::AlreadyExists => Self::Exists,
            ErrorKind::DirectoryNotEmpty => Self::NotEmpty,
            ErrorKind::InvalidInput | ErrorKind::InvalidFilename => Self::BadName,
            ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy | ErrorKind::WouldBlock => {
                Self::Busy
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace,
            ErrorKind::FileTooLarge => Self::TooLarge,
            // A path that would leave the root where links must stay beneath it.
            ErrorKind::CrossesDevices => Self::Link,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::OutOfMemory => Self::Exhausted,
            _ => {
                tracing::warn!(%error, "input/output error in the tree");
                Self::Local
            }
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_linux_become_reasons() {
        let table = [
            (1, Trouble::Denied),
            (2, Trouble::Missing),
            (5, Trouble::Local),
            (13, Trouble::Denied),
            (16, Trouble::Busy),
            (17, Trouble::Exists),
            (18, Trouble::Link),
            (20, Trouble::NotDirectory),
            (21, Trouble::IsDirectory),
            (22, Trouble::BadName),
            (24, Trouble::Exhausted),
            (26, Trouble::Busy),
            (27, Trouble::TooLarge),
            (28, Trouble::NoSpace),
            (30, Trouble::Denied),
            (36, Trouble::BadName),
            (39, Trouble::NotEmpty),
            (40, Trouble::Link),
            (95, Trouble::Unsupported),
            (122, Trouble::NoSpace),
        ];
        for (number, trouble) in table {
            assert_eq!(
                Trouble::from(io::Error::from_raw_os_error(number)),
                trouble,
                "errno {number}"
            );
        }
    }
}
