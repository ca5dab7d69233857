//! compare::mail::rows – what a row of work is, and what it is measured with.
//!
//! To add one, write a type with [`Row`] and name it in [`all`]; its figures say the rest.
//! Not here: the rows (`sending`, `relaying`, `memory`), repetition and order (`interleave`).

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use super::super::figures::Work;
use super::super::report::Sample;
use super::super::room;
use super::servers::{Programs, Server};
use super::{memory, relaying, sending};

/// Octets written to learn the disk's own rate.
const DISK_BYTES: usize = 512 << 20;

/// A kind of work that servers are compared in.
pub trait Row {
    /// Its name, the work in words, its figures.
    fn work(&self) -> Work;

    /// Whether the row makes sense for that server.
    fn concerns(&self, _server: Server) -> bool {
        true
    }

    /// Whether a third of the runs is enough, because it varies little and takes long.
    fn seldom(&self) -> bool {
        false
    }

    /// Does it once; the server is to be started (`Running::start`).
    fn measure(&self, bench: &Bench<'_>) -> Result<Sample, String>;
}

/// Every row in the order of the report.
pub fn all() -> Vec<Box<dyn Row>> {
    let mut rows = sending::all();
    rows.extend(relaying::all());
    rows.extend(memory::all());
    rows
}

/// One server and where it is to be measured.
pub struct Bench<'a> {
    pub server: Server,
    pub programs: &'a Programs,
    pub folder: &'a Path,
    /// Seconds that a measurement sends.
    pub seconds: f64,
    /// Idle sessions held with sluicegate.
    pub idle: usize,
    /// The disk's own sequential durable rate, MB/s.
    pub disk: f64,
}

/// Writes out what earlier measurements left in the page cache.
pub fn settle_disk() {
    if let Err(why) = room::run("sync", &[]) {
        eprintln!("{why}");
    }
}

/// The disk's own sequential durable rate: 1 MiB at a time with O_DSYNC over blocks written before, MB/s.
pub fn durable_rate(folder: &Path) -> Result<f64, String> {
    let path = folder.join("rate");
    let context = |error: std::io::Error| format!("{}: {error}", path.display());
    let block = vec![0x5a_u8; 1 << 20];
    let mut best: f64 = 0.0;
    for flags in [0, libc::O_DSYNC, libc::O_DSYNC] {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(&path)
            .map_err(context)?;
        let begin = Instant::now();
        for _ in 0..DISK_BYTES / block.len() {
            std::io::Write::write_all(&mut file, &block).map_err(context)?;
        }
        file.sync_all().map_err(context)?;
        if flags != 0 {
            best = best.max(DISK_BYTES as f64 / begin.elapsed().as_secs_f64() / 1e6);
        }
    }
    fs::remove_file(&path).map_err(context)?;
    Ok(best)
}
