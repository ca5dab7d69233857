//! server::size – SIZE in every representation (RFC 3659 §4: exact, or not at all).
//!
//! Where wire and file octets differ the file is read and counted; the last answers are remembered, since
//! clients ask again.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::fault;
use super::shared::{Context, View};
use crate::ftp::convert::Encoder;
use crate::ftp::step::{Fault, Representation};
use crate::shard::{self, Stat};
use crate::store::files::Tree;

/// Largest file that is counted, octets.
const COUNT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Answers remembered.
const REMEMBERED: usize = 64;

/// A version of a file in a representation.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    unique: (u64, u64),
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    representation: Representation,
}

/// Counts of one shard.
#[derive(Debug, Default)]
pub(super) struct Sizes(RefCell<VecDeque<(Version, u64)>>);

impl Sizes {
    fn recall(&self, version: &Version) -> Option<u64> {
        self.0.borrow().iter().find(|(known, _)| known == version).map(|(_, count)| *count)
    }

    fn remember(&self, version: Version, count: u64) {
        let mut known = self.0.borrow_mut();
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back((version, count));
    }
}

/// Octets RETR would send.
pub(super) async fn size(
    context: &Context,
    view: &View,
    tree: &Tree,
    path: &[u8],
    representation: Representation,
) -> Result<u64, Fault> {
    let encoder = Encoder::new(representation, view.ftp.ebcdic);
    if encoder.is_identity() {
        return Ok(tree.stat_file(path).await?.size);
    }
    let (file, stat) = tree.open(path).await?;
    if stat.size > COUNT_BYTES_MAX {
        return Err(Fault::Unsupported);
    }
    let Stat { device, inode, size, modified, changed, .. } = stat;
    let version = Version { unique: (device, inode), size, modified, changed, representation };
    if let Some(count) = context.sizes.recall(&version) {
        return Ok(count);
    }
    let _pass = context.counts.pass().await.ok_or(Fault::Busy)?;
    let count = count(&file, size, encoder).await?;
    context.sizes.remember(version, count);
    Ok(count)
}

async fn count(file: &shard::File, size: u64, mut encoder: Encoder) -> Result<u64, Fault> {
    let mut at: u64 = 0;
    let mut count: u64 = 0;
    let mut block = shard::block().await;
    while at < size {
        let (read, back) = file.read_at(block, at).await;
        block = back;
        let got = match read {
            Ok(0) => return Err(Fault::Changed),
            Ok(got) => got.min(usize::try_from(size - at).unwrap_or(usize::MAX)),
            Err(error) => return Err(fault::of_file(&error)),
        };
        count = count.saturating_add(encoder.count(&block[..got]));
        at += u64::try_from(got).unwrap_or(u64::MAX);
        shard::yield_now().await;
    }
    Ok(count.saturating_add(encoder.count_finish()))
}
