//! shard::privileges – becoming an ordinary user, before any thread or ring exists.
//!
//! Promises: groups first, then group, then user, and it is checked that there is no way back; after
//! it no program this process could start gains privileges either (no_new_privs).
//! Not here: when (`server::run`).

use std::io;

use nix::unistd::{Gid, Uid, User, getuid, initgroups, setgid, setuid};

/// Why the process did not become that user.
#[derive(Debug)]
pub enum Refusal {
    /// No such user.
    Unknown,
    /// Not started as root, and not that user already.
    NotRoot,
    /// The kernel refused a step.
    Kernel(io::Error),
}

/// Becomes `name` for good. Must be called before any other thread exists: identity is per thread.
///
/// # Errors
/// See [`Refusal`]. After [`Refusal::Kernel`] the process must end: it may be half-way.
pub fn become_user(name: &str) -> Result<(), Refusal> {
    let kernel = |error: nix::Error| Refusal::Kernel(error.into());
    let user = known(name)?;
    if getuid() == user.uid {
        return no_new_privileges();
    }
    let name = std::ffi::CString::new(name).map_err(|_| Refusal::Unknown)?;
    initgroups(&name, user.gid).map_err(kernel)?;
    setgid(user.gid).map_err(kernel)?;
    setuid(user.uid).map_err(kernel)?;
    if !user.uid.is_root() && (setuid(Uid::from_raw(0)).is_ok() || setgid(Gid::from_raw(0)).is_ok())
    {
        return Err(Refusal::Kernel(io::Error::other("root could be regained")));
    }
    no_new_privileges()
}

/// Would [`become_user`] be let?
///
/// # Errors
/// See [`Refusal`].
pub fn may_become(name: &str) -> Result<(), Refusal> {
    known(name).map(drop)
}

/// A user of this machine that this process is, or may become.
fn known(name: &str) -> Result<User, Refusal> {
    let found = User::from_name(name).map_err(|error| Refusal::Kernel(error.into()))?;
    let user = found.ok_or(Refusal::Unknown)?;
    if getuid() == user.uid || getuid().is_root() { Ok(user) } else { Err(Refusal::NotRoot) }
}

/// From now on no program this process might execute gains privileges.
///
/// # Errors
/// [`Refusal::Kernel`].
pub fn no_new_privileges() -> Result<(), Refusal> {
    nix::sys::prctl::set_no_new_privs().map_err(|error| Refusal::Kernel(error.into()))
}

/// Files are made with exactly the mode asked for; each session has a mask of its own (SITE UMASK).
pub fn clear_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
}
