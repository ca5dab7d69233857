//! store::files::sweep – temporaries that an earlier process left behind.

use super::upload::made_by;
use super::{Trouble, is_temporary};
use crate::shard::{self, Cursor, Dir, FileKind, Root};

/// Entries looked at before the sweep gives up.
const ENTRIES_MAX: usize = 1_000_000;
/// Directories below the first that are looked into.
const DEPTH_MAX: usize = 32;
/// Entries read at once.
const BATCH: usize = 256;

/// Removes, in and below `directories`, the temporaries of earlier starts of this server: all that do
/// not bear the number `start`. Gives how many. Meant for the background: it yields after every batch.
pub async fn sweep(root: &Root, directories: &[Vec<u8>], start: u64) -> usize {
    let mut waiting: Vec<(Vec<u8>, usize)> = directories.iter().map(|d| (d.clone(), 0)).collect();
    let mut left = ENTRIES_MAX;
    let mut removed = 0;
    while let Some((path, depth)) = waiting.pop() {
        match sweep_one(root, &path, start, &mut left).await {
            Ok((count, below)) => {
                removed += count;
                if depth < DEPTH_MAX {
                    waiting.extend(below.into_iter().map(|path| (path, depth + 1)));
                }
            }
            Err(Trouble::Missing) => {}
            Err(trouble) => tracing::debug!(?trouble, "a directory could not be swept"),
        }
        if left == 0 {
            tracing::warn!(
                entries = ENTRIES_MAX,
                "tree too large to be swept whole for old temporaries"
            );
            break;
        }
    }
    removed
}

/// One directory: how many temporaries went, and the directories in it.
async fn sweep_one(
    root: &Root,
    path: &[u8],
    start: u64,
    left: &mut usize,
) -> Result<(usize, Vec<Vec<u8>>), Trouble> {
    let dir: Dir = root.open_dir(path).await?;
    let mut cursor: Option<Cursor> = None;
    let mut below = Vec::new();
    let mut stale = Vec::new();
    loop {
        let (items, next) = dir.read(root, path, cursor, BATCH).await?;
        *left = left.saturating_sub(items.len());
        for item in items {
            if item.stat.kind == FileKind::Directory {
                let mut deeper = path.to_vec();
                if !deeper.is_empty() {
                    deeper.push(b'/');
                }
                deeper.extend_from_slice(&item.name);
                below.push(deeper);
            } else if is_temporary(&item.name) && !made_by(&item.name, start) {
                stale.push(item.name);
            }
        }
        shard::yield_now().await;
        cursor = next;
        if cursor.is_none() || *left == 0 {
            break;
        }
    }
    let mut removed = 0;
    for name in stale {
        dir.unlink(&name).await?;
        removed += 1;
    }
    Ok((removed, below))
}
