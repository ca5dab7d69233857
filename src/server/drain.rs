//! server::drain – how one shard goes down, and what it does now and then.
//!
//! ```text
//! Running ──SIGTERM──▶ Draining: idle sessions get 421, transfers may end
//!                          └── drain_seconds, or a second signal ──▶ Stopping: everything ends
//! ```

use std::rc::Rc;
use std::time::Duration;

use super::notice::Phase;
use super::shared::Context;
use crate::shard::{self, Instant};

/// How often the shared phase is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long last replies may take after everything was told to end.
const LAST: Duration = Duration::from_secs(6);

/// Runs as long as the shard serves; completes when its sessions are gone, or had their time.
pub async fn drain_watch(context: Rc<Context>) {
    let mut deadline = Instant::NEVER;
    loop {
        shard::sleep_until(shard::now().after(LOOK)).await;
        context.listings.expire();
        let now = shard::now();
        let seen = context.notice.phase();
        let mut phase = context.shared.phase();
        if seen == Phase::Running && phase != Phase::Running {
            let seconds = context.shared.config.load().server.drain_seconds;
            deadline = now.after(Duration::from_secs(seconds));
        }
        if seen == Phase::Draining && now >= deadline {
            phase = Phase::Stopping;
        }
        if phase > seen {
            tracing::debug!(?phase, sessions = context.sessions.get(), "shard goes down");
            context.notice.enter(phase).await;
            if phase == Phase::Stopping {
                deadline = now.after(LAST);
            }
        }
        let gone = context.sessions.get() == 0 && phase != Phase::Running;
        if gone || (phase == Phase::Stopping && now >= deadline) {
            return;
        }
    }
}
