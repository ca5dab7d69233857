//! server::deliver::carry – old messages are written anew, so that the segment they stand in can be used again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::Deliveries;
use crate::shard;
use crate::store::spool::QueueId;

/// After a failure, and for a message that is known to the spool and not yet here.
const PAUSE: Duration = Duration::from_secs(1);

/// Until the deliveries are closed.
pub(super) async fn run(deliveries: Deliveries) {
    while let Some(id) = next(&deliveries).await {
        if !carry(&deliveries, id).await {
            let deadline = shard::now().after(PAUSE);
            if shard::within(deadline, deliveries.closing()).await.is_some() {
                return;
            }
        }
    }
}

async fn next(deliveries: &Deliveries) -> Option<QueueId> {
    let mut next = pin!(deliveries.0.spool.next_to_carry());
    let mut closing = pin!(deliveries.closing());
    poll_fn(|context| {
        if closing.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        next.as_mut().poll(context).map(Some)
    })
    .await
}

async fn carry(deliveries: &Deliveries, id: QueueId) -> bool {
    loop {
        let Some(meta) = deliveries.meta(id).await else { return false };
        if let Err(trouble) = deliveries.0.spool.carry(id, meta.clone()).await {
            tracing::warn!(%id, ?trouble, "an old message could not be written anew");
            return false;
        }
        // What was noted while it was written may stand before it in the log: written once more.
        match deliveries.meta(id).await {
            Some(after) if after != meta => {}
            Some(_) | None => return true,
        }
    }
}
