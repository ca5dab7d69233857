//! store::spool::disk – the few things the spool does to files: durable writes, syncs, whole reads.
//!
//! Every sync of the spool goes through here, so that a build with the feature `sabotage` can leave
//! them out and the crash tests can show that they would notice.
//! Promises: nothing is synced or written a second time after an error.

use std::io::{self, ErrorKind};

use super::log::Trouble;
use crate::shard::{self, BLOCK_BYTES, Block, Dir, File, FileKind, Item, Root};

/// Permission bits of files and directories of the spool: mail is nobody else's business.
pub(super) const FILE_MODE: u32 = 0o600;
pub(super) const DIR_MODE: u32 = 0o700;
/// Entries of a directory read at once.
const DIR_BATCH: usize = 256;

impl Trouble {
    /// What an error of the disk comes to.
    pub(super) fn of(error: &io::Error) -> Self {
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if full { Self::NoSpace } else { Self::Broken }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

pub(super) fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// What a build made to fail its crash tests leaves out.
#[cfg(feature = "sabotage")]
fn left_out(what: &str) -> bool {
    use std::sync::OnceLock;
    static CHOICE: OnceLock<String> = OnceLock::new();
    let choice = CHOICE.get_or_init(|| std::env::var("SLUICEGATE_SABOTAGE").unwrap_or_default());
    choice == what
}

#[cfg(not(feature = "sabotage"))]
const fn left_out(_what: &str) -> bool {
    false
}

pub(super) async fn sync(file: &File) -> io::Result<()> {
    if left_out("no-sync") { Ok(()) } else { file.sync().await }
}

pub(super) async fn sync_dir(dir: &Dir) -> io::Result<()> {
    if left_out("no-sync") || left_out("no-dir-sync") { Ok(()) } else { dir.sync().await }
}

/// Starts one write; with `through` it is durable when it completes.
pub(super) fn write(
    file: &File,
    block: Block,
    len: usize,
    offset: u64,
    through: bool,
) -> impl Future<Output = (io::Result<()>, Block)> + use<> {
    file.write_once(block, len, offset, through && !left_out("no-sync"))
}

/// Octets `offset..offset + len` of a file, or fewer at its end. Reads whole pages, whatever is asked
/// for: the file may be open for direct reading.
pub(super) async fn read(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let len = len.min(narrow(file.stat()?.size.saturating_sub(offset)));
    let mut octets = Vec::with_capacity(len);
    let page = wide(super::format::ALIGN);
    while octets.len() < len {
        let at = offset + wide(octets.len());
        let aligned = at / page * page;
        let rest = narrow(at - aligned) + len - octets.len();
        let pages = super::format::batch_bytes(rest).min(BLOCK_BYTES);
        let (count, block) = file.read_some(shard::block().await, pages, aligned).await;
        let count = count?;
        if count == 0 {
            break;
        }
        // A short read may end before what is asked for begins.
        let got = block.get(narrow(at - aligned)..count).unwrap_or_default();
        octets.extend_from_slice(&got[..got.len().min(len - octets.len())]);
    }
    Ok(octets)
}

/// Shows octets of a file to `look` as they lie in the block they were read to, where they fit one: nothing
/// is copied. Fewer at the end of the file.
pub(super) async fn peek(
    file: &File,
    offset: u64,
    len: usize,
    look: impl FnOnce(&[u8]),
) -> io::Result<()> {
    let page = wide(super::format::ALIGN);
    let aligned = offset / page * page;
    let front = narrow(offset - aligned);
    let pages = super::format::batch_bytes(front + len);
    if pages <= BLOCK_BYTES {
        let (count, block) = file.read_some(shard::block().await, pages, aligned).await;
        // What is shorter is read in parts.
        if let Some(octets) = block.get(front..count?).filter(|octets| octets.len() >= len) {
            look(octets);
            return Ok(());
        }
    }
    look(&read(file, offset, len).await?);
    Ok(())
}

/// Writes all octets through blocks, one at a time.
pub(super) async fn write_all(file: &File, octets: &[u8], offset: u64) -> io::Result<()> {
    let mut at = offset;
    for piece in octets.chunks(BLOCK_BYTES) {
        let mut block = shard::block().await;
        block[..piece.len()].copy_from_slice(piece);
        let (written, block) = file.write_at(block, piece.len(), at).await;
        drop(block);
        written?;
        at += wide(piece.len());
    }
    Ok(())
}

/// Names and sizes of what lies in a directory: files, or directories.
pub(super) async fn list(root: &Root, path: &[u8], kind: FileKind) -> io::Result<Vec<Item>> {
    let dir = root.open_dir(path).await?;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let (items, next) = dir.read(root, path, cursor, DIR_BATCH).await?;
        found.extend(items.into_iter().filter(|item| item.stat.kind == kind));
        if next.is_none() {
            found.sort_by(|one, other| one.name.cmp(&other.name));
            return Ok(found);
        }
        cursor = next;
    }
}

/// Opens a directory, making it (durably) where there is none.
pub(super) async fn make_dir(root: &Root, above: &Dir, path: &[u8]) -> io::Result<Dir> {
    let name = path.rsplit(|octet| *octet == b'/').next().unwrap_or(path);
    match above.make_dir(name, DIR_MODE).await {
        Ok(()) => sync_dir(above).await?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    root.open_dir(path).await
}
