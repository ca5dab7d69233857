//! server::drain – how one shard goes down.
//!
//! ```text
//! Running ──SIGTERM──▶ Draining: idle sessions get 421, transfers may end
//!                          └── drain_seconds, or a second signal ──▶ Stopping: everything ends
//! ```
//! While the shard serves this task sleeps without a timer, so that an idle server is idle.

use std::rc::Rc;
use std::time::Duration;

use super::notice::Phase;
use super::shared::Local;
use crate::shard;

/// How often the sessions are counted while the shard goes down.
const LOOK: Duration = Duration::from_millis(50);
/// How long last replies may take after everything was told to end.
const LAST: Duration = Duration::from_secs(1);

/// Runs as long as the shard serves; completes when its sessions are gone, or had their time.
pub(super) async fn drain_watch(local: Rc<Local>) {
    told(&local).await;
    let seconds = local.shared.config.load().server.drain_seconds;
    let mut deadline = shard::now().after(Duration::from_secs(seconds));
    enter(&local, Phase::Draining).await;
    loop {
        let stopping = local.notice.phase() == Phase::Stopping;
        // Not before the sessions of other shards are gone as well: until then this one tells those
        // who still connect that the server goes down.
        let alone = local.sessions.get() == 0 && local.shared.admission.count() == 0;
        if alone || (stopping && shard::now() >= deadline) {
            return;
        }
        let now = shard::now();
        if !stopping && (local.shared.phase() == Phase::Stopping || now >= deadline) {
            enter(&local, Phase::Stopping).await;
            deadline = now.after(LAST);
        }
        shard::sleep_until(shard::now().after(LOOK)).await;
    }
}

async fn enter(local: &Local, phase: Phase) {
    tracing::debug!(?phase, sessions = local.sessions.get(), "shard goes down");
    local.notice.enter(phase).await;
}

/// Waits until the server goes down.
async fn told(local: &Local) {
    let mut seen = 0;
    while local.shared.phase() == Phase::Running {
        seen = shard::noticed(seen).await;
    }
}
