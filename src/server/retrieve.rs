//! server::retrieve – RETR: a file goes out.
//!
//! TYPE I moves without a copy (splice, sendfile) after the shard made the next stretch resident, in TLS with the one
//! that sealing needs; every other representation is read, encoded and sent.
//!
//! Promises: the file is opened once, so a file that is replaced or deleted meanwhile goes out whole;
//! Done only after the peer has every octet; a file that shrinks ends the transfer as failed.

use bytes::Bytes;

use super::data_link::DataLink;
use super::fault;
use super::transfer::{Ground, Opened};
use crate::ftp::convert::Encoder;
use crate::ftp::path::VirtualPath;
use crate::ftp::step::{Channel, Fault, News, Representation};
use crate::shard::{self, File};
use crate::xferlog::Direction;

/// Octets one transfer may move in its turn while few share the shard.
const TURN_BYTES: u64 = 1024 * 1024;
/// The same while many do.
const TURN_BYTES_CROWDED: u64 = 256 * 1024;
/// Transfers of a shard that are many.
const CROWD: usize = 16;
/// File octets encoded at once: bounds what a transfer holds while its client reads slowly.
const ENCODE_BYTES: usize = 64 * 1024;

/// A file that is being retrieved.
struct Source {
    ground: Ground,
    link: DataLink,
    file: File,
    encoder: Encoder,
    /// Octets of the file when it was opened: no more are sent.
    size: u64,
    offset: u64,
    path: VirtualPath,
}

pub(super) async fn open(
    mut ground: Ground,
    channel: Channel,
    representation: Representation,
    path: VirtualPath,
    offset: u64,
) -> Result<Opened, News> {
    let (file, stat) = match ground.tree.open(path.relative()).await {
        Ok(opened) => opened,
        Err(trouble) => return Err(News::Refused(trouble.into())),
    };
    let encoder = Encoder::new(representation, ground.view.ftp.ebcdic);
    let identity = encoder.is_identity();
    // In other representations the offset counts encoded octets, never fewer than those of the file
    // only by chance: it is looked at while encoding.
    if identity && offset > stat.size {
        return Err(News::Refused(Fault::BadOffset));
    }
    let stream = ground.connect(channel).await?;
    let size = stat.size;
    Ok(Opened {
        name: None,
        size_bytes: identity.then(|| size - offset),
        pump: Box::pin(async move {
            let link = match ground.secured(stream).await {
                Ok(link) => link,
                Err(news) => return news,
            };
            let source = Source { ground, link, file, encoder, size, offset, path };
            if identity { source.pump().await } else { source.pump_encoded().await }
        }),
    })
}

impl Source {
    async fn pump(self) -> News {
        let _counted = self.ground.counted();
        let ended = self.move_file().await;
        self.ended(ended)
    }

    async fn pump_encoded(mut self) -> News {
        let _counted = self.ground.counted();
        let ended = self.move_encoded().await;
        self.ended(ended)
    }

    /// Without a copy.
    async fn move_file(&self) -> Result<u64, News> {
        let mut pace = self.ground.pace();
        let mut at = self.offset;
        while at < self.size {
            let crowded = self.ground.context.transfers.get() > CROWD;
            let turn = if crowded { TURN_BYTES_CROWDED } else { TURN_BYTES };
            let end = self.size.min(at.saturating_add(turn));
            let ahead = usize::try_from(end - at).unwrap_or(usize::MAX);
            self.file.prefetch(at, ahead).await.map_err(|error| fault::failed(&error))?;
            while at < end {
                let count = usize::try_from(end - at).unwrap_or(usize::MAX);
                let sending = self.link.send_file(&self.file, at, count);
                let moved = match pace.sending(&self.link, sending).await {
                    Some(Ok(0)) => return Err(News::Failed(Fault::Changed)),
                    Some(Ok(moved)) => u64::try_from(moved).unwrap_or(u64::MAX),
                    Some(Err(error)) => return Err(fault::moved(&error)),
                    None => return Err(News::Broken),
                };
                at = at.saturating_add(moved);
                self.ground.sent(moved);
                if !pace.moved(moved) {
                    return Err(News::Broken);
                }
            }
            if at < self.size {
                shard::yield_now().await;
            }
        }
        pace.finish(&self.link).await?;
        Ok(at - self.offset)
    }

    /// Read, encode, send.
    async fn move_encoded(&mut self) -> Result<u64, News> {
        let mut pace = self.ground.pace();
        let mut skip = self.offset;
        let mut sent: u64 = 0;
        let mut at: u64 = 0;
        loop {
            let mut wire = Vec::new();
            let left = usize::try_from(self.size - at).unwrap_or(usize::MAX);
            if left == 0 {
                self.encoder.finish(&mut wire);
            } else {
                at += self.encode_some(at, left, &mut wire).await?;
            }
            let last = left == 0;
            let wire = skipped(wire, &mut skip);
            let count = u64::try_from(wire.len()).unwrap_or(u64::MAX);
            pace.send(&self.link, wire).await?;
            sent = sent.saturating_add(count);
            self.ground.sent(count);
            if last {
                break;
            }
            shard::yield_now().await;
        }
        // RFC 3659 §5.3: a restart point behind the end is an error of the transfer.
        if skip > 0 {
            return Err(News::Failed(Fault::BadOffset));
        }
        pace.finish(&self.link).await?;
        Ok(sent)
    }

    /// Encodes the next portion; gives how many octets of the file that were.
    async fn encode_some(&mut self, at: u64, left: usize, wire: &mut Vec<u8>) -> Result<u64, News> {
        let block = shard::block().await;
        let (read, block) = self.file.read_some(block, left.min(ENCODE_BYTES), at).await;
        let count = match read {
            Ok(0) => return Err(News::Failed(Fault::Changed)),
            Ok(count) => count.min(left),
            Err(error) => return Err(fault::failed(&error)),
        };
        self.encoder.encode(&block[..count], wire);
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn ended(&self, ended: Result<u64, News>) -> News {
        match ended {
            Ok(bytes) => {
                self.ground.log(&self.path, bytes, Direction::Outgoing);
                News::Done { bytes }
            }
            Err(news) => {
                tracing::debug!(peer = %self.ground.peer, ?news, "retrieval broke off");
                news
            }
        }
    }
}

/// Leaves out what lies before a restart point.
fn skipped(wire: Vec<u8>, skip: &mut u64) -> Bytes {
    let mut wire = Bytes::from(wire);
    let leave = usize::try_from(*skip).unwrap_or(usize::MAX).min(wire.len());
    *skip -= u64::try_from(leave).unwrap_or(0);
    bytes::Buf::advance(&mut wire, leave);
    wire
}
