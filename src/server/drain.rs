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
use super::shared::Context;
use crate::shard;

/// How often the sessions are counted while the shard goes down.
const LOOK: Duration = Duration::from_millis(50);
/// How long last replies may take after everything was told to end.
const LAST: Duration = Duration::from_secs(1);

/// Runs as long as the shard serves; completes when its sessions are gone, or had their time.
pub(super) async fn drain_watch(context: Rc<Context>) {
    told(&context).await;
    let seconds = context.shared.config.load().server.drain_seconds;
    let mut deadline = shard::now().after(Duration::from_secs(seconds));
    enter(&context, Phase::Draining).await;
    loop {
        let stopping = context.notice.phase() == Phase::Stopping;
        // Not before the sessions of other shards are gone as well: until then this one tells those
        // who still connect that the server goes down.
        let alone = context.sessions.get() == 0 && context.shared.admission.count() == 0;
        if alone || (stopping && shard::now() >= deadline) {
            return;
        }
        let now = shard::now();
        if !stopping && (context.shared.phase() == Phase::Stopping || now >= deadline) {
            enter(&context, Phase::Stopping).await;
            deadline = now.after(LAST);
        }
        shard::sleep_until(shard::now().after(LOOK)).await;
    }
}

async fn enter(context: &Context, phase: Phase) {
    tracing::debug!(?phase, sessions = context.sessions.get(), "shard goes down");
    context.notice.enter(phase).await;
}

/// Waits until the server goes down.
async fn told(context: &Context) {
    let mut seen = 0;
    while context.shared.phase() == Phase::Running {
        seen = shard::noticed(seen).await;
    }
}
