//! server::credentials – is this the user's password? One answer for all protocols.
//!
//! Passwords are checked off the shard, few at a time. A wrong one is answered late – one second per
//! failure of the session – by a sleep of that session's task only. An address that failed often, and a
//! name that was tried often, are refused without looking; what is counted is shared by all shards and all
//! protocols, and a reload does not forget it.
//!
//! Promises: an unknown name takes as long as a wrong password (the accounts see to that), and is answered
//! alike; a line in the log for each login that failed, with the address (for fail2ban and its like), and
//! never a password.
//! Not here: what a user may do, replies, mechanisms (`authenticate`).

use std::net::IpAddr;
use std::time::Duration;

use super::shared::Local;
use crate::log::Printable;
use crate::shard;
use crate::store::accounts::{User, Verdict};
use crate::wire::secret::Secret;

/// Delay of the answer to a wrong password, per failure.
const DELAY: Duration = Duration::from_secs(1);
/// Failures that still lengthen the delay.
const DELAYS_MAX: u32 = 5;

/// Who tries, as whom.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) name: &'a [u8],
    pub(super) peer: IpAddr,
    /// Failures of this session so far.
    pub(super) failures: u32,
    /// Protocol and mechanism, for the log.
    pub(super) how: &'static str,
}

/// Why nobody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No such user, another password, or too many failures.
    Denied,
    /// Too many wait already.
    Busy,
    /// The check itself failed.
    Broken,
}

/// Looks at a password. `may` says which users may come in at all.
pub(super) async fn check(
    local: &Local,
    attempt: Attempt<'_>,
    password: Secret,
    may: fn(&User) -> bool,
) -> Result<User, Refused> {
    if barred(local, attempt) {
        wait(attempt).await;
        return Err(Refused::Denied);
    }
    let pass = local.logins.pass().await.ok_or(Refused::Busy)?;
    // Those that waited together are one attempt too many all the same.
    if barred(local, attempt) {
        drop(pass);
        wait(attempt).await;
        return Err(Refused::Denied);
    }
    let accounts = local.shared.accounts.load_full();
    let name = attempt.name.to_vec();
    let checked = shard::blocking(move || {
        let verdict = accounts.verify(&name, password.as_bytes());
        let known = accounts.find(&name).filter(|user| may(user)).cloned();
        known.filter(|_| verdict == Verdict::Accepted)
    })
    .await;
    drop(pass);
    match checked {
        Ok(Some(user)) => {
            welcome(local, attempt);
            Ok(user)
        }
        Ok(None) => {
            refuse(local, attempt).await;
            Err(Refused::Denied)
        }
        Err(error) => {
            tracing::error!(%error, "a password could not be checked");
            Err(Refused::Broken)
        }
    }
}

/// Is the attempt refused unheard? Then this is all the log says of it.
pub(super) fn barred(local: &Local, attempt: Attempt<'_>) -> bool {
    let Attempt { name, peer, how, .. } = attempt;
    let Some(bar) = local.shared.failures.barred(peer, name, clock()) else { return false };
    // Costs nothing, so there may be any number of them.
    if let Some(unsaid) = local.login_lines.take() {
        tracing::info!(%peer, user = %Printable(name), how, ?bar, unsaid, "login refused unheard");
    }
    true
}

/// The user came in.
pub(super) fn welcome(local: &Local, attempt: Attempt<'_>) {
    local.shared.failures.welcome(attempt.peer, attempt.name, clock());
}

/// The proof was wrong: remembers and tells it, and lets the client wait.
pub(super) async fn refuse(local: &Local, attempt: Attempt<'_>) {
    let Attempt { name, peer, how, .. } = attempt;
    local.shared.failures.note(peer, name, clock());
    tracing::info!(%peer, user = %Printable(name), how, "login failed");
    wait(attempt).await;
}

/// Time that all shards share.
fn clock() -> Duration {
    Duration::from_secs(u64::try_from(shard::wall().0).unwrap_or(0))
}

/// What a client that failed waits for its answer.
pub(super) async fn wait(attempt: Attempt<'_>) {
    let delay = DELAY * (attempt.failures + 1).min(DELAYS_MAX);
    shard::sleep_until(shard::now().after(delay)).await;
}
