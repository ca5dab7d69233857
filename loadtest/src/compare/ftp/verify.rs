//! compare::ftp::verify – proves that a server moves the right bytes, before anything is measured.
//!
//! Promises: compares every byte of the large file, of small files and of uploads with the pattern
//! they were made from, and every name of the listing. A server that fails is left out.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::tree::{self, Tree};
use crate::client::fleet::Fleet;
use crate::client::pattern;
use crate::client::session::{Job, Verb};

const LIMIT: Duration = Duration::from_secs(60);
const SMALL_CHECKED: u64 = 64;
const STORED: [(u64, u64); 4] = [(0, 901), (1, 902), (64 << 10, 903), ((8 << 20) + 13, 904)];

/// Checks contents in both directions and the listing.
pub fn verify(address: SocketAddrV4, tree: &Tree) -> Result<(), String> {
    retrieved(address, tree::LARGE_PATH, tree::LARGE_SEED, tree::LARGE_BYTES)?;
    let step = tree::SMALL_FILES / SMALL_CHECKED;
    for index in (0..tree::SMALL_FILES).step_by(step as usize) {
        let (path, seed) = tree::small(index);
        retrieved(address, &path, seed, tree::SMALL_BYTES)?;
    }
    for (bytes, seed) in STORED {
        let path = format!("/incoming/check-{seed}.bin");
        one(address, Job { verb: Verb::Stor, path, bytes: Some(bytes), seed, keep: false })?;
        tree.check_contents(&format!("check-{seed}.bin"), seed, bytes)?;
    }
    listing(address).map(drop)
}

/// Checks the listing of the big folder; the number of its bytes.
pub fn listing(address: SocketAddrV4) -> Result<u64, String> {
    let path = tree::LIST_PATH.into();
    let text = one(address, Job { verb: Verb::List, path, bytes: None, seed: 0, keep: true })?;
    let listing = String::from_utf8_lossy(&text);
    let mut names: Vec<&str> =
        listing.lines().filter_map(|line| line.split_whitespace().last()).collect();
    names.retain(|name| name.starts_with("entry-"));
    names.sort_unstable();
    let expected = (0..tree::LIST_ENTRIES).map(tree::listed);
    if !expected.eq(names.iter().map(|&name| name.to_owned())) {
        return Err(format!("LIST named {} of {} entries", names.len(), tree::LIST_ENTRIES));
    }
    Ok(text.len() as u64)
}

fn retrieved(address: SocketAddrV4, path: &str, seed: u64, bytes: u64) -> Result<(), String> {
    let job = Job { verb: Verb::Retr, path: path.into(), bytes: Some(bytes), seed, keep: true };
    if pattern::matches(seed, 0, &one(address, job)?) {
        return Ok(());
    }
    Err(format!("what RETR {path} sent differs from the file"))
}

/// Does one job in a session of its own; what it received.
fn one(address: SocketAddrV4, job: Job) -> Result<Vec<u8>, String> {
    let mut received = Vec::new();
    let mut fleet = Fleet::new(address, LIMIT)?;
    fleet.log_in(1, 1)?;
    fleet.run_keeping(1, &mut std::iter::once(job), &mut |kept| {
        received = kept;
        Ok(())
    })?;
    fleet.quit()?;
    Ok(received)
}
