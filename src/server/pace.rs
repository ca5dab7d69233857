//! server::pace – is a transfer still moving?
//!
//! Two limits: no octet at all for `stall` (always), and fewer octets than a minimum rate asks for
//! over a stretch of that length (where configured).

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;

use super::data_link::DataLink;
use super::poll::poll_once;
use crate::ftp::step::News;
use crate::shard::{self, Instant};

/// Octets sent before the limits are looked at again.
const SLICE_BYTES: usize = 256 * 1024;

/// The clock of one transfer.
pub(super) struct Pace {
    stall: Duration,
    /// Octets one stretch must bring; 0 for any.
    stretch_bytes_min: u64,
    stretch_begin: Instant,
    stretch_bytes: u64,
}

impl Pace {
    pub(super) fn new(stall: Duration, rate_bytes_min: u64) -> Self {
        Self {
            stall,
            stretch_bytes_min: rate_bytes_min.saturating_mul(stall.as_secs()),
            stretch_begin: shard::now(),
            stretch_bytes: 0,
        }
    }

    /// When a wait that begins now has lasted too long.
    pub(super) fn deadline(&self) -> Instant {
        shard::now().after(self.stall)
    }

    /// Octets moved; false when they are too few for the time they took.
    pub(super) fn moved(&mut self, bytes: u64) -> bool {
        if self.stretch_bytes_min == 0 {
            return true;
        }
        self.stretch_bytes = self.stretch_bytes.saturating_add(bytes);
        let now = shard::now();
        if now.since(self.stretch_begin) < self.stall {
            return true;
        }
        let enough = self.stretch_bytes >= self.stretch_bytes_min;
        self.stretch_begin = now;
        self.stretch_bytes = 0;
        enough
    }

    /// Waits for something that goes on as long as the peer takes octets from `link`, however slowly.
    /// `None` when it took none, or too few.
    pub(super) async fn sending<F: Future>(&self, link: &DataLink, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        if let Some(done) = poll_once(|context| future.as_mut().poll(context)).await {
            return Some(done);
        }
        let mut before = link.unacknowledged();
        loop {
            if let Some(done) = shard::within(self.deadline(), future.as_mut()).await {
                return Some(done);
            }
            let after = link.unacknowledged();
            let taken = u64::try_from(before.saturating_sub(after)).unwrap_or(u64::MAX);
            if taken == 0 || taken < self.stretch_bytes_min {
                return None;
            }
            before = after;
        }
    }

    /// Sends all of `bytes`; as much at a time as the socket takes, because a socket that is filled up
    /// again all the time looks the same as one that nobody reads from.
    pub(super) async fn send(&mut self, link: &DataLink, mut bytes: Bytes) -> Result<(), News> {
        while !bytes.is_empty() {
            let slice = bytes.slice(..bytes.len().min(SLICE_BYTES));
            let Some(Ok(sent)) = self.sending(link, link.send_some(&slice)).await else {
                return Err(News::Broken);
            };
            bytes::Buf::advance(&mut bytes, sent);
            if !self.moved(u64::try_from(sent).unwrap_or(u64::MAX)) {
                return Err(News::Broken);
            }
        }
        Ok(())
    }

    /// Ends what was sent: waits until the peer has it all.
    pub(super) async fn finish(&self, link: &DataLink) -> Result<(), News> {
        match self.sending(link, link.finish()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(News::Broken),
        }
    }
}
