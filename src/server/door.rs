//! server::door – how control connections are let in, turned away, and seen off.
//!
//! Promises: a refusal and a last reply arrive: nothing is closed with octets on their way.

use std::rc::Rc;
use std::time::Duration;

use super::admit::Permit;
use super::shared::Context;
use crate::ftp::reply;
use crate::metrics::Refusal;
use crate::shard::{self, Stream};
use crate::wire::outbox::Outbox;

/// How long last replies may take to be read.
const FAREWELL: Duration = Duration::from_secs(5);
/// Says why there is no session; that takes the place of the greeting (RFC 959 §5.4: 120, 220 or 421).
pub(super) async fn refuse(context: Rc<Context>, stream: Stream, why: Refusal) {
    tracing::debug!(peer = %stream.peer(), ?why, "connection refused");
    context.counters().refused(why);
    let mut out = Outbox::default();
    let answer = if why == Refusal::Draining { reply::DRAINING } else { reply::BUSY };
    answer.send(&mut out);
    farewell(&stream, out.take()).await;
}

/// One session of this shard, and its place among those of all shards.
pub(super) struct Place {
    pub(super) context: Rc<Context>,
    _permit: Permit,
}

impl Place {
    pub(super) fn new(context: Rc<Context>, permit: Permit) -> Self {
        context.counters().opened.increment();
        context.sessions.set(context.sessions.get() + 1);
        Self { context, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.context.counters().closed.increment();
        self.context.sessions.set(self.context.sessions.get() - 1);
    }
}

/// Sends what is left and closes so that it arrives: a close with octets unread would reset the
/// connection and take the last reply with it.
pub(super) async fn farewell(stream: &Stream, last: Vec<u8>) {
    let ended = shard::within(shard::now().after(FAREWELL), async {
        stream.posted().await?;
        if !last.is_empty() {
            stream.post(last);
            stream.posted().await?;
        }
        stream.finish().await
    });
    if let Some(Err(error)) = ended.await {
        tracing::trace!(%error, "control connection broke at its end");
    }
}
