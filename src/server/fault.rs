//! server::fault – reasons of the tree and of the network in the words of the FTP core.

use std::io::{self, ErrorKind};

use crate::ftp::step::{Fault, News};
use crate::store::files::Trouble;

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing => Self::Missing,
            Trouble::Denied => Self::Denied,
            Trouble::IsDirectory => Self::IsDirectory,
            Trouble::NotDirectory => Self::NotDirectory,
            Trouble::Exists => Self::Exists,
            Trouble::NotEmpty => Self::NotEmpty,
            Trouble::BadName => Self::BadName,
            Trouble::Busy => Self::Busy,
            Trouble::NoSpace => Self::NoSpace,
            Trouble::TooLarge => Self::TooLarge,
            Trouble::NotRegular => Self::NotRegular,
            Trouble::Link => Self::Link,
            Trouble::Exhausted => Self::Exhausted,
            Trouble::Local => Self::Local,
            Trouble::Unsupported => Self::Unsupported,
        }
    }
}

/// The reason an operation on a file failed.
pub(super) fn of_file(error: &io::Error) -> Fault {
    Trouble::from(error).into()
}

/// How a transfer ends whose read or write, of a file that is open, failed.
pub(super) fn failed(error: &io::Error) -> News {
    News::Failed(of_file(error))
}

/// How a transfer ends when moving octets from a file to a socket failed: whose fault was it?
pub(super) fn moved(error: &io::Error) -> News {
    if is_network(error) { News::Broken } else { failed(error) }
}

fn is_network(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::UnexpectedEof
    )
}
