//! server::deliver::desk – answers what the admin socket asks about this shard's queue.
//!
//! Promises: a change is on stable storage before it is answered.
//! Not here: what requests mean (`queue`), the socket (`admin`).

use std::sync::Arc;

use super::Deliveries;
use crate::server::queue::{self, Request};
use crate::server::shared::Shared;
use crate::shard;

/// Answers for as long as the shard lives.
pub(in crate::server) async fn tend(shared: Arc<Shared>, mut deliveries: Deliveries) {
    let mut seen = 0;
    loop {
        while let Some(ticket) = shared.desks.get(shard::index()).and_then(|desk| desk.take()) {
            let now = shard::wall().0;
            let answer = queue::answer(&ticket.request, &mut deliveries, now);
            let durable = match ticket.request {
                Request::Change { .. } => deliveries.flush().await,
                Request::List { .. } | Request::Show { .. } | Request::Destinations => Ok(()),
            };
            ticket.answer(durable.map(|()| answer).map_err(|trouble| {
                format!("the change could not be written: {trouble:?} (see the log of the server)")
            }));
        }
        seen = shard::noticed(seen).await;
    }
}
