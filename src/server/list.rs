//! server::list – LIST, NLST, MLSD: a directory goes out.
//!
//! A listing that fits is made whole before it is sent, so that it can be shared and kept for a moment;
//! a larger one streams.

use std::rc::Rc;

use bytes::Bytes;

use super::data_link::DataLink;
pub(super) use super::lister::Request;
use super::lister::{Bounds, Lister};
use super::listing_cache::{Key, LISTING_BYTES_MAX, Look, Stamp};
use super::transfer::{Ground, Opened};
use crate::ftp::convert::Encoder;
use crate::ftp::step::{Channel, Fault, Kind, ListForm, News, Representation, Structure};
use crate::shard;

/// A listing on its way.
struct Sending {
    ground: Ground,
    link: DataLink,
    lister: Lister,
    share: Option<(Key, Stamp)>,
    encoder: Option<Encoder>,
    sent: u64,
}

pub(super) async fn open(
    mut ground: Ground,
    channel: Channel,
    representation: Representation,
    request: Request,
) -> Result<Opened, News> {
    let bounds =
        Bounds { entries: ground.view.ftp.listing_entries, depth: ground.view.ftp.listing_depth };
    let lister = match Lister::open(ground.tree.clone(), &request, bounds).await {
        Ok(lister) => lister,
        Err(fault) => return Err(News::Refused(fault)),
    };
    // RFC 1123 §4.1.2.7: LIST and NLST go in TYPE A, except in TYPE E. RFC 3659 §7.2: MLSD as TYPE L 8.
    let encoder = (representation.kind == Kind::Ebcdic
        && !matches!(request.form, ListForm::Machine(_)))
    .then(|| {
        let implied = Representation { kind: Kind::Ebcdic, structure: Structure::File };
        Encoder::new(implied, ground.view.ftp.ebcdic)
    });
    let share = lister.directory().and_then(|dir| dir.stat_self().ok()).map(|stat| {
        let Request { path, form, options } = request;
        let path = path.relative().to_vec();
        (Key { tree: ground.tree.key(), path, form, options }, Stamp::from(&stat))
    });
    let stream = ground.connect(channel).await?;
    let pump = Box::pin(async move {
        match ground.secured(stream).await {
            Ok(link) => Sending { ground, link, lister, share, encoder, sent: 0 }.pump().await,
            Err(news) => news,
        }
    });
    Ok(Opened { name: None, size_bytes: None, pump })
}

impl Sending {
    async fn pump(mut self) -> News {
        let _counted = self.ground.counted();
        match self.send().await {
            Ok(()) => News::Done { bytes: self.sent },
            Err(news) => news,
        }
    }

    async fn send(&mut self) -> Result<(), News> {
        let mut pace = self.ground.pace();
        let (mut part, mut whole) = self.first_part().await.map_err(News::Failed)?;
        loop {
            let wire = self.encoded(part, whole);
            let count = u64::try_from(wire.len()).unwrap_or(u64::MAX);
            pace.send(&self.link, wire).await?;
            self.sent = self.sent.saturating_add(count);
            self.ground.sent(count);
            if whole {
                break;
            }
            let mut lines = Vec::new();
            whole = !self.lister.more(&mut lines).await.map_err(News::Failed)?;
            part = Bytes::from(lines);
            shard::yield_now().await;
        }
        pace.finish(&self.link).await
    }

    /// The whole listing where it fits, from the cache where it is there; and whether it is whole.
    async fn first_part(&mut self) -> Result<(Bytes, bool), Fault> {
        let Some((key, stamp)) = self.share.take() else {
            self.ground.context.counters().listing_misses.increment();
            return gather(&mut self.lister).await;
        };
        let context = Rc::clone(&self.ground.context);
        let (listings, counters) = (&context.listings, context.counters());
        let mut look = listings.look(&key, &stamp);
        if let Look::Building(flight) = look {
            flight.landed().await;
            look = listings.look(&key, &stamp);
        }
        if let Look::Ready(body) = look {
            counters.listing_hits.increment();
            return Ok((body, true));
        }
        counters.listing_misses.increment();
        let building = listings.build(key, stamp);
        let (body, whole) = gather(&mut self.lister).await?;
        if let Some(building) = building
            && whole
        {
            building.done(&body);
        }
        Ok((body, whole))
    }

    fn encoded(&mut self, part: Bytes, last: bool) -> Bytes {
        let Some(encoder) = &mut self.encoder else { return part };
        let text: Vec<u8> = part.iter().copied().filter(|&b| b != b'\r').collect();
        let mut wire = Vec::with_capacity(text.len());
        encoder.encode(&text, &mut wire);
        if last {
            encoder.finish(&mut wire);
        }
        Bytes::from(wire)
    }
}

/// Lines up to what may be kept.
async fn gather(lister: &mut Lister) -> Result<(Bytes, bool), Fault> {
    let mut lines = Vec::new();
    loop {
        if !lister.more(&mut lines).await? {
            lines.shrink_to_fit();
            return Ok((Bytes::from(lines), true));
        }
        if lines.len() > LISTING_BYTES_MAX {
            return Ok((Bytes::from(lines), false));
        }
        shard::yield_now().await;
    }
}
