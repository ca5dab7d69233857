//! store::lock – who may write a data directory.
//!
//! Two locks, both `flock` on a file that stays:
//! - `.lock` belongs to the server from start to end; a second server on the same data is refused.
//! - `users.lock` is held by whoever replaces `users.toml`, for that moment only. The server never
//!   writes `users.toml`, so `sluicegate user` works beside it and is seen within two seconds.
//!
//! Promises: a lock ends with its process, however it ends. Not here: what is written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::owner::Owner;
use crate::problem::Problem;

/// The server's hold on a data directory, for as long as this lives.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes `data_dir/.lock` at once or says who has it. `data_dir` must exist.
    pub fn take(data_dir: &Path) -> Result<Self, Problem> {
        let path = data_dir.join(".lock");
        let mut file = open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let who = if known {
                    format!("process {}", holder.trim())
                } else {
                    "another process".to_owned()
                };
                let remedy = "stop it, or give this one another data directory (--data DIR)";
                return Err(Problem::path(
                    data_dir,
                    format_args!("data directory in use by {who}"),
                    remedy,
                ));
            }
            Err(TryLockError::Error(error)) => return Err(cannot_lock(&path, error)),
        }
        // The number is for the message above only.
        file.set_len(0).and_then(|()| file.rewind()).map_err(|error| cannot_lock(&path, error))?;
        writeln!(file, "{}", std::process::id()).map_err(|error| cannot_lock(&path, error))?;
        Ok(Self { _file: file })
    }
}

/// The right to replace `users.toml`, for as long as this lives.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct UsersLock {
    _file: File,
}

impl UsersLock {
    /// Waits for `users.lock` beside `users_file`; its holders are quick.
    pub fn wait(users_file: &Path) -> Result<Self, Problem> {
        let path = users_file.with_file_name("users.lock");
        let file = open(&path)?;
        file.lock().map_err(|error| cannot_lock(&path, error))?;
        Ok(Self { _file: file })
    }
}

/// Opens the lock's file, which belongs to the owner of its directory: made by root, it must not
/// shut out the user the server runs as the next time.
fn open(path: &Path) -> Result<File, Problem> {
    let cannot = |error| cannot_lock(path, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(cannot)?;
    Owner::of_parent(path).and_then(|owner| owner.give_file(&file)).map_err(cannot)?;
    Ok(file)
}

fn cannot_lock(path: &Path, error: std::io::Error) -> Problem {
    Problem::path(
        path,
        format_args!("cannot lock: {error}"),
        "make the data directory writable, or run as its owner",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_told_why() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::take(directory.path()).unwrap();
        let problem = DataLock::take(directory.path()).unwrap_err().to_string();
        assert!(
            problem.contains(&format!("in use by process {} (stop it", std::process::id())),
            "{problem}"
        );
        drop(lock);
        let _again = DataLock::take(directory.path()).unwrap();
    }

    #[test]
    fn the_users_lock_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let _server = DataLock::take(directory.path()).unwrap();
        let _command = UsersLock::wait(&directory.path().join("users.toml")).unwrap();
    }
}
