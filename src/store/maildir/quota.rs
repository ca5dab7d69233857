//! store::maildir::quota – how much a mailbox holds, without looking each time.
//!
//! A mailbox is summed up from the `,S=` of its names (or the sizes of files without), all folders
//! included, once; afterwards what is delivered is added. The sum is made anew when it says "full", and
//! after a while; both not more often than every half minute.
//!
//! Promises: memory is bounded. Other shards' deliveries are seen with the next sum only, so that a
//! mailbox may grow past its limit by what arrives within that time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::{Letter, Refusal, search};
use crate::shard::{self, FileKind, Instant, Root};

/// Mailboxes remembered.
const MAILBOXES_MAX: usize = 16_384;
/// A sum is not made again earlier.
const FRESH: Duration = Duration::from_secs(30);
/// And is not believed any more later.
const STALE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Sum {
    bytes: u64,
    made: Instant,
}

#[derive(Default)]
pub(super) struct Quotas {
    sums: RefCell<HashMap<String, Sum>>,
}

impl Quotas {
    /// Counts `size` octets in, if they fit.
    pub(super) async fn reserve(
        &self,
        root: &Root,
        letter: &Letter<'_>,
        size: u64,
    ) -> Result<(), Refusal> {
        if letter.bytes_max == 0 {
            return Ok(());
        }
        let fits = |sum: &Sum| sum.bytes.saturating_add(size) <= letter.bytes_max;
        let known = self.sums.borrow().get(letter.mailbox).copied();
        let age = known.map(|sum| shard::now().since(sum.made));
        let good = match (&known, age) {
            (Some(sum), Some(age)) => age < FRESH || fits(sum) && age < STALE,
            _ => false,
        };
        if !good {
            let bytes = sum_up(root, letter.mailbox).await?;
            let mut sums = self.sums.borrow_mut();
            if sums.len() >= MAILBOXES_MAX {
                sums.clear();
            }
            // Another delivery may have summed it up meanwhile: its sum has what it reserved in it.
            if sums.get(letter.mailbox).map(|sum| sum.made) == known.map(|sum| sum.made) {
                sums.insert(letter.mailbox.to_owned(), Sum { bytes, made: shard::now() });
            }
        }
        match self.sums.borrow_mut().get_mut(letter.mailbox) {
            Some(sum) if fits(sum) => {
                sum.bytes += size;
                Ok(())
            }
            Some(_) => Err(Refusal::Full),
            None => Ok(()),
        }
    }

    /// It was not delivered after all.
    pub(super) fn give_back(&self, letter: &Letter<'_>, size: u64) {
        if letter.bytes_max == 0 {
            return;
        }
        if let Some(sum) = self.sums.borrow_mut().get_mut(letter.mailbox) {
            sum.bytes = sum.bytes.saturating_sub(size);
        }
    }
}

async fn sum_up(root: &Root, mailbox: &str) -> io::Result<u64> {
    let top = root.open_dir(mailbox.as_bytes()).await?;
    let mut places = vec![mailbox.to_owned()];
    search::each(root, &top, mailbox, |item| {
        let name = std::str::from_utf8(&item.name).unwrap_or_default();
        if name.starts_with('.') && item.stat.kind == FileKind::Directory {
            places.push(format!("{mailbox}/{name}"));
        }
    })
    .await?;
    let mut bytes = 0_u64;
    for place in places {
        for part in ["new", "cur"] {
            let path = format!("{place}/{part}");
            let dir = match root.open_dir(path.as_bytes()).await {
                // A hidden directory that is no folder.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            search::each(root, &dir, &path, |item| {
                if item.stat.kind == FileKind::File {
                    bytes = bytes.saturating_add(said(&item.name).unwrap_or(item.stat.size));
                }
            })
            .await?;
        }
    }
    Ok(bytes)
}

/// The size that a name says: `,S=1234`.
fn said(name: &[u8]) -> Option<u64> {
    let name = std::str::from_utf8(name).ok()?;
    let (_, rest) = name.rsplit_once(",S=")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn sizes_stand_in_names() {
        assert_eq!(said(b"1.Q.h,S=12:2,S"), Some(12));
        assert_eq!(said(b"1.Q.h,S=12,W=13"), Some(12));
        assert_eq!(said(b"1.Q.h,S=12"), Some(12));
        assert_eq!(said(b"1.Q.h"), None);
        assert_eq!(said(b"1.Q.h,S=:2,S"), None);
    }
}
