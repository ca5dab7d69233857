//! shard::unix – listening on Unix sockets: the file, who may reach it, and its end.
//!
//! Promises: what an earlier server left behind is replaced, a socket that somebody listens on is not, and
//! nothing but a socket ever is; the file goes with its guard, unless it is another's by then.
//! Not here: accepting (`accept`).

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use socket2::{Domain, SockAddr, Socket, Type};

use super::patience::patiently;

/// Connections the kernel holds for us until they are accepted, as for other listeners.
const BACKLOG: i32 = 65_535;
/// Anybody of this machine may connect, as to an address of it; the directory decides who reaches the file.
const MODE: u32 = 0o666;
/// Listens at `path`.
///
/// # Errors
/// `AddrInUse` when somebody answers there, `AlreadyExists` when something else than a socket is in the way;
/// what bind(2) says.
pub fn listen(path: &Path) -> io::Result<(OwnedFd, SocketFile)> {
    match patiently(|| unanswered(path))? {
        error if error.kind() == ErrorKind::NotFound => {}
        // Refused: a socket nobody listens on, or no socket at all.
        error if error.kind() == ErrorKind::ConnectionRefused => {
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::remove_file(path)?;
        }
        error => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Why nobody answers; `AddrInUse` when somebody does. The socket of a server that was killed takes connections a little
/// longer, and nobody will serve them.
fn unanswered(path: &Path) -> io::Result<io::Error> {
    match UnixStream::connect(path) {
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
        Err(error) => Ok(error),
    }
}

/// The file of a socket; it is removed when this is dropped.
#[derive(Debug)]
#[must_use = "the file goes when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    /// A server that came after us may have put its own there.
    own: Identity,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let own = identity(path)?;
        Ok(Self { path: path.to_owned(), own })
    }
}

/// Device and inode, and, because numbers of inodes are used again, when it was made (where the file system
/// knows that).
type Identity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.own)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "the file of a socket stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (listener, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        UnixStream::connect(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);

        // A server that was killed: its file is still there, and nobody listens. (The second name keeps the
        // number of its inode from being used again.)
        drop(listener);
        fs::hard_link(&path, folder.path().join("kept")).unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (second, own) = listen(&path).unwrap();
        UnixStream::connect(&path).unwrap();

        // The first one's end does not take the file of the second.
        drop(file);
        UnixStream::connect(&path).unwrap();
        drop((second, own));
        assert!(!path.exists());

        fs::write(&path, "a letter").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a letter");
        let missing = folder.path().join("no/such");
        assert_eq!(listen(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
