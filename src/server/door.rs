//! server::door – how control connections are let in, turned away, and seen off.
//!
//! Promises: a refusal and a last reply arrive: nothing is closed with octets on their way.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::admit::Permit;
use super::link::Link;
use super::notice::Phase;
use super::shared::Local;
use crate::metrics::{Protocol, Refusal};
use crate::shard;

/// How long last replies may take to be read.
const FAREWELL: Duration = Duration::from_secs(5);
/// Says why there is no session; that takes the place of the greeting (RFC 959 §5.4: 120, 220 or 421;
/// RFC 5321 §4.2: 421 whenever the service closes the channel).
pub(super) async fn refuse(local: Rc<Local>, stream: Link, why: Refusal, last: Vec<u8>) {
    tracing::debug!(peer = %stream.peer(), ?why, "connection refused");
    local.counters().refused(why);
    farewell(&stream, last).await;
}

/// A place for one session, or why there is none: for the greeting of whoever refuses.
pub(super) fn enter(local: &Rc<Local>, peer: IpAddr, protocol: Protocol) -> Result<Place, Refusal> {
    // The whole server's phase: this shard may hear of it a moment later than another.
    if local.shared.phase() != Phase::Running {
        return Err(Refusal::Draining);
    }
    let config = local.shared.config.load();
    let permit = local.shared.admission.enter(
        peer,
        config.server.max_connections,
        config.server.max_connections_per_ip,
    )?;
    local.counters().opened(protocol);
    local.sessions.set(local.sessions.get() + 1);
    Ok(Place { local: Rc::clone(local), protocol, permit })
}

/// One session of this shard, and its place among those of all shards.
pub(super) struct Place {
    local: Rc<Local>,
    protocol: Protocol,
    permit: Permit,
}

impl Place {
    /// The session is from now on that of a client at another address.
    pub(super) fn go_to(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let most = self.local.shared.config.load().server.max_connections_per_ip;
        self.permit.go_to(address, most)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.local.counters().closed(self.protocol);
        self.local.sessions.set(self.local.sessions.get() - 1);
    }
}

/// Sends what is left and closes so that it arrives: a close with octets unread would reset the
/// connection and take the last reply with it.
pub(super) async fn farewell(stream: &Link, last: Vec<u8>) {
    let ended = shard::within(shard::now().after(FAREWELL), async {
        stream.posted().await?;
        if !last.is_empty() || stream.is_secure() {
            stream.post_last(last);
            stream.posted().await?;
        }
        stream.finish().await
    });
    if let Some(Err(error)) = ended.await {
        tracing::trace!(%error, "control connection broke at its end");
    }
}
