//! shard::patience – waits a little for an address that is in use.
//!
//! A server that was killed has its listeners for some milliseconds more, until the kernel has ended the accepts of its
//! rings. Whoever starts it again at once shall not fail for that.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// How long the listener of a server that is no more may still be there, and how often that is looked at.
const LAST_BREATH: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// What `attempt` comes to, tried again while it says `AddrInUse`.
///
/// # Errors
/// Those of the last attempt.
pub(super) fn patiently<T>(attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    tried(attempt, || std::thread::sleep(LOOK))
}

fn tried<T>(mut attempt: impl FnMut() -> io::Result<T>, mut pause: impl FnMut()) -> io::Result<T> {
    for _ in 0..LAST_BREATH.as_millis() / LOOK.as_millis() {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => pause(),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_address_in_use_is_waited_for_and_not_for_ever() {
        let (attempts, pauses) = (Cell::new(0), Cell::new(0));
        let outcome = |outcome: &dyn Fn(u32) -> Result<u32, ErrorKind>| {
            attempts.set(0);
            pauses.set(0);
            let attempt = || {
                attempts.set(attempts.get() + 1);
                outcome(attempts.get()).map_err(io::Error::from)
            };
            let came = tried(attempt, || pauses.set(pauses.get() + 1));
            (came.map_err(|error| error.kind()), attempts.get(), pauses.get())
        };
        let soon = |number| if number < 4 { Err(ErrorKind::AddrInUse) } else { Ok(number) };
        assert_eq!(outcome(&soon), (Ok(4), 4, 3));
        let denied = ErrorKind::PermissionDenied;
        assert_eq!(outcome(&|_| Err(denied)), (Err(denied), 1, 0));
        let taken = ErrorKind::AddrInUse;
        assert_eq!(outcome(&|_| Err(taken)), (Err(taken), 101, 100));
    }
}
