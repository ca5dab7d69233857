//! server::store – STOR, STOU, APPE: a file comes in.
//!
//! A whole file goes to a temporary that becomes the file in one step ([`Upload`]); REST and APPE write
//! in place, because what is there already is part of the file.
//!
//! Promises: Done only after the file is under its name, and durable where configured; a client that
//! sends slowly holds no block of the shard's pool while it does not send.
//! Not here: how octets get to the disk (`sink.rs`).

use std::time::Duration;

use super::data_link::DataLink;
use super::fault;
use super::pace::Pace;
use super::poll::poll_once;
use super::sink::Sink;
use super::transfer::{Ground, Opened};
use crate::ftp::convert::Decoder;
use crate::ftp::path::VirtualPath;
use crate::ftp::step::{Channel, Fault, News, Representation};
use crate::shard::{self, BLOCK_BYTES, File, Instant};
use crate::store::files::{Trouble, Upload};
use crate::xferlog::Direction;

/// How long a block may wait for more octets before it is written as it is.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a block may take to fill.
const FILL: Duration = Duration::from_secs(1);

/// What is stored, and how.
pub(super) enum Aim {
    /// A whole file.
    Replace(VirtualPath),
    /// In place, from an offset.
    From(VirtualPath, u64),
    /// At the end of what is there.
    Append(VirtualPath),
    /// A whole file in this directory, under a new name with this stem.
    Unique(VirtualPath, Vec<u8>),
}

/// Where octets go.
enum Target {
    Whole(Upload),
    InPlace(File),
}

/// A target that is ready.
struct Prepared {
    target: Target,
    path: VirtualPath,
    /// Where writing begins.
    offset: u64,
    /// Made for STOU.
    name: Option<Vec<u8>>,
}

pub(super) async fn open(
    mut ground: Ground,
    channel: Channel,
    representation: Representation,
    aim: Aim,
) -> Result<Opened, News> {
    let prepared = prepare(&ground, aim).await.map_err(News::Refused)?;
    let stream = ground.connect(channel).await?;
    let decoder = Decoder::new(representation, ground.view.ftp.ebcdic);
    let bulk = matches!(prepared.target, Target::Whole(_)) && decoder.is_identity();
    let sink = Sink::new(prepared.offset, bulk, ground.view.ftp.max_upload_bytes);
    let name = prepared.name.clone();
    let pump = Box::pin(async move {
        let link = match ground.secured(stream).await {
            Ok(link) => link,
            Err(news) => return news,
        };
        let pace = ground.pace();
        let receiver = Receiver { ground, link, sink, pace, prepared, small: None, bytes: 0 };
        receiver.pump(decoder).await
    });
    Ok(Opened { name, size_bytes: None, pump })
}

async fn prepare(ground: &Ground, aim: Aim) -> Result<Prepared, Fault> {
    let tree = &ground.tree;
    match aim {
        Aim::Replace(path) => whole(ground, path).await,
        Aim::From(path, offset) => {
            let (file, stat) = tree.open_in_place(path.relative()).await?;
            if offset > stat.size {
                return Err(Fault::BadOffset);
            }
            Ok(Prepared { target: Target::InPlace(file), path, offset, name: None })
        }
        Aim::Append(path) => match tree.open_in_place(path.relative()).await {
            Ok((file, stat)) => {
                Ok(Prepared { target: Target::InPlace(file), path, offset: stat.size, name: None })
            }
            Err(Trouble::Missing) => whole(ground, path).await,
            Err(trouble) => Err(trouble.into()),
        },
        Aim::Unique(directory, stem) => {
            let (upload, name) =
                tree.upload_unique(directory.relative(), &stem, ground.umask).await?;
            let path = directory.join(&name).ok_or(Fault::BadName)?;
            Ok(Prepared { target: Target::Whole(upload), path, offset: 0, name: Some(name) })
        }
    }
}

async fn whole(ground: &Ground, path: VirtualPath) -> Result<Prepared, Fault> {
    let upload = ground.tree.upload(path.relative(), ground.umask).await?;
    Ok(Prepared { target: Target::Whole(upload), path, offset: 0, name: None })
}

/// The receiving end of an upload.
struct Receiver {
    ground: Ground,
    link: DataLink,
    sink: Sink,
    pace: Pace,
    prepared: Prepared,
    /// All of a file that fits one block: nothing of it is written yet.
    small: Option<(shard::Block, usize)>,
    /// Octets received.
    bytes: u64,
}

impl Receiver {
    async fn pump(mut self, decoder: Decoder) -> News {
        let _counted = self.ground.counted();
        let received = if decoder.is_identity() {
            self.receive().await
        } else {
            self.receive_decoded(decoder).await
        };
        let Self { ground, link, mut sink, prepared, small, bytes, .. } = self;
        link.close();
        drop(link);
        let ended = match received {
            Ok(()) => conclude(&ground, &mut sink, prepared, small).await,
            Err(news) => Err(news),
        };
        match ended {
            Ok(path) => {
                ground.log(&path, bytes, Direction::Incoming);
                News::Done { bytes }
            }
            Err(news) => {
                tracing::debug!(peer = %ground.peer, ?news, "upload broke off");
                news
            }
        }
    }

    /// Wire octets are file octets.
    async fn receive(&mut self) -> Result<(), News> {
        loop {
            if !self.soon(PATIENCE).await? {
                self.sink.relieve().await.map_err(News::Failed)?;
                self.eventually().await?;
            }
            let mut block = self.sink.block().await.map_err(News::Failed)?;
            let begun = shard::now();
            let mut filled = 0;
            let mut ended = false;
            while filled < BLOCK_BYTES && !ended {
                let (count, back) = self.take(block, filled).await?;
                block = back;
                filled += count;
                ended = count == 0;
                if !ended && filled < BLOCK_BYTES && !self.keeps_coming(begun).await? {
                    break;
                }
            }
            if ended && !self.sink.is_open() && matches!(self.prepared.target, Target::Whole(_)) {
                if self.sink.exceeds(filled) {
                    return Err(News::Failed(Fault::TooLarge));
                }
                self.small = Some((block, filled));
                return Ok(());
            }
            if filled > 0 {
                self.write(block, filled, ended).await?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Writes to the target, which is made at the first time.
    async fn write(&mut self, block: shard::Block, len: usize, last: bool) -> Result<(), News> {
        if !self.sink.is_open() {
            let file = match &mut self.prepared.target {
                Target::Whole(upload) => {
                    upload.file().await.map_err(|trouble| News::Failed(trouble.into()))?
                }
                Target::InPlace(file) => file.clone(),
            };
            self.sink.open(file);
        }
        self.sink.write(block, len, last).await.map_err(News::Failed)
    }

    /// Wire octets become file octets on the way.
    async fn receive_decoded(&mut self, mut decoder: Decoder) -> Result<(), News> {
        let mut text = Vec::new();
        loop {
            if !self.soon(PATIENCE).await? {
                self.write_text(&mut text, 1).await?;
                self.sink.relieve().await.map_err(News::Failed)?;
                self.eventually().await?;
            }
            let block = self.sink.block().await.map_err(News::Failed)?;
            let (count, block) = self.take(block, 0).await?;
            let whole = if count > 0 {
                decoder.decode(&block[..count], &mut text);
                true
            } else {
                decoder.finish(&mut text)
            };
            self.sink.give_back(block);
            if count == 0 {
                // Without its end mark a stream of records is not whole (RFC 959 §3.4.1).
                if !whole {
                    return Err(News::Broken);
                }
                return self.write_text(&mut text, 1).await;
            }
            self.write_text(&mut text, BLOCK_BYTES / 2).await?;
        }
    }

    /// Writes what was decoded, once it is `least` octets.
    async fn write_text(&mut self, text: &mut Vec<u8>, least: usize) -> Result<(), News> {
        while text.len() >= least {
            let mut block = self.sink.block().await.map_err(News::Failed)?;
            let count = text.len().min(BLOCK_BYTES);
            block[..count].copy_from_slice(&text[..count]);
            text.drain(..count);
            self.write(block, count, false).await?;
        }
        Ok(())
    }

    /// Takes octets that are there. 0 at the end.
    async fn take(
        &mut self,
        block: shard::Block,
        at: usize,
    ) -> Result<(usize, shard::Block), News> {
        let received = self.link.receive_into(block, at);
        let Some((count, block)) = shard::within(self.pace.deadline(), received).await else {
            return Err(News::Broken);
        };
        let count = count.map_err(|_| News::Broken)?;
        let needed = self.ground.view.ftp.close_notify_required;
        if count == 0 && needed && self.link.is_cut_off() {
            // RFC 4217 §15.2.4, RFC 5246 §7.2.1: an end that nobody said may be somebody else's doing.
            return Err(News::Broken);
        }
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.ground.received(bytes);
        if self.pace.moved(bytes) { Ok((count, block)) } else { Err(News::Broken) }
    }

    /// Will there be more before the block that waits for it is better used by others?
    async fn keeps_coming(&self, begun: Instant) -> Result<bool, News> {
        if shard::now().since(begun) < FILL { self.soon(PATIENCE).await } else { Ok(false) }
    }

    /// Is there input, or its end, within `patience`?
    async fn soon(&self, patience: Duration) -> Result<bool, News> {
        let mut readable = std::pin::pin!(self.link.readable());
        let ready = match poll_once(|context| readable.as_mut().poll(context)).await {
            Some(ready) => Some(ready),
            None => shard::within(shard::now().after(patience), readable).await,
        };
        match ready {
            Some(Ok(())) => Ok(true),
            Some(Err(_)) => Err(News::Broken),
            None => Ok(false),
        }
    }

    /// Waits for input as long as a stall may last.
    async fn eventually(&self) -> Result<(), News> {
        match shard::within(self.pace.deadline(), self.link.readable()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(News::Broken),
        }
    }
}

/// All octets are here: puts the file in place. Gives where.
async fn conclude(
    ground: &Ground,
    sink: &mut Sink,
    prepared: Prepared,
    small: Option<(shard::Block, usize)>,
) -> Result<VirtualPath, News> {
    let durable = ground.view.ftp.durable_uploads;
    sink.finish().await.map_err(News::Failed)?;
    match prepared.target {
        Target::Whole(upload) => {
            let placed = match small {
                Some((block, len)) => upload.place(block, len, durable).await,
                None => upload.commit(durable).await,
            };
            placed.map_err(|trouble| News::Failed(trouble.into()))?;
        }
        Target::InPlace(file) => {
            if durable {
                file.sync().await.map_err(|error| fault::failed(&error))?;
            }
        }
    }
    ground.context.listings.changed(prepared.path.relative());
    Ok(prepared.path)
}
