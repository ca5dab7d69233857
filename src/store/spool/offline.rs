//! store::spool::offline – the logs of a spool that no server writes: read, judged, appended to.
//!
//! For the commands on a stopped server. Whoever calls holds the lock of the data directory.
//!
//! Promises: reads one segment of each of two logs at a time, whatever the size of the spool; every fault says which file,
//! where and why; what is appended is a segment of its own that is on stable storage, with its
//! directory, before the call returns – or not there at all.
//! Not here: what meta and notes mean, and what to append; what an adoption left (`adoption`).

mod adoption;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use self::adoption::Neighbours;
use super::QueueId;
use super::adopt;
use super::fold::{Fold, Held, Octets, Seen};
use super::format::{
    self, FORMAT_LINE, Kind, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::owner::Owner;

/// Logs read at a time, each by a thread.
const LOGS_AT_ONCE: usize = 2;
/// Octets read at a time from a large message.
const PIECE_BYTES: usize = 1 << 18;
/// Longest beginning of a segment that cancellations are looked for in.
const CUTS_BYTES: u64 = 256 << 10;

/// What damage means.
const LOST: &str = "an accepted message may be lost";

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As a power cut leaves it: nothing that was acknowledged is missing.
    Trace,
    /// Something that was written is not there any more.
    Damage,
    /// It could not be looked at.
    Unreadable,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub grade: Grade,
    /// In which file.
    pub file: PathBuf,
    /// From which octet on, where that means something.
    pub offset: Option<u64>,
    /// What, and why it matters.
    pub why: String,
}

/// One segment that is or was in use.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its file.
    pub file: PathBuf,
    /// What it says of itself.
    pub header: SegmentHeader,
    /// What was seen in it.
    pub seen: Seen,
}

/// The log of one shard.
#[derive(Debug, Clone)]
pub struct Log {
    /// Number of the shard.
    pub shard: u32,
    /// Its directory.
    pub directory: PathBuf,
    /// Segments in use, in the order of their generations.
    pub segments: Vec<Segment>,
    /// Segments that hold nothing.
    pub free: u64,
    /// Octets of all its files.
    pub bytes: u64,
    /// Messages that are not settled.
    pub messages: BTreeMap<QueueId, Held>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The latest generation that something was cancelled of.
    last_cut: u64,
    /// Copies from here on do not count: an adoption never happened.
    copies_from: Option<u64>,
    /// Segments that hold such copies.
    copies: Vec<PathBuf>,
    /// `large` of logs that were adopted and whose files are not moved yet.
    elsewhere: Vec<PathBuf>,
}

/// Reads every log of a spool. Faults of the spool itself come with the first log, or alone.
///
/// # Errors
/// The directory cannot be listed at all.
pub fn read(spool: &Path) -> io::Result<(Vec<Log>, Vec<Fault>)> {
    let mut faults = Vec::new();
    let (mut own, mut neighbours) = (Vec::new(), Neighbours::default());
    for (path, name) in entries(spool)? {
        let shard = name.strip_prefix("shard-").and_then(adopt::parse);
        match (shard, adopt::left(&name)) {
            (Some(shard), _) if path.is_dir() => own.push((shard, path)),
            (None, Some(left)) if path.is_dir() => neighbours.add(left, path),
            _ if name == "FORMAT" => faults.extend(judge_format(&path)),
            _ => faults.push(fault(Grade::Trace, &path, None, litter(&name))),
        }
    }
    faults.extend(neighbours.judge(&own));
    let mut logs = Vec::with_capacity(own.len());
    for some in own.chunks(LOGS_AT_ONCE) {
        let neighbours = &neighbours;
        thread::scope(|scope| {
            let mut readers = Vec::with_capacity(some.len());
            for (shard, path) in some {
                readers.push(scope.spawn(move || Log::read(path, *shard, neighbours)));
            }
            for reader in readers {
                logs.push(reader.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
        });
    }
    if !logs.is_empty() && !spool.join("FORMAT").exists() {
        faults.push(fault(Grade::Damage, &spool.join("FORMAT"), None, "is missing"));
    }
    logs.sort_by_key(|log| log.shard);
    Ok((logs, faults))
}

/// Why a file or directory that is no log and no segment is there.
fn litter(name: &str) -> &'static str {
    if name.ends_with(".tmp") {
        "was not finished: removed at the next start"
    } else if name.contains(".damaged-") {
        "is a damaged log, kept when its messages were taken over as far as they could be read"
    } else {
        "is no part of a spool"
    }
}

/// What `FORMAT` in a spool says when this version does not read it.
///
/// # Errors
/// Why it cannot be read, where there is one.
pub fn other_format(spool: &Path) -> io::Result<Option<String>> {
    let path = spool.join("FORMAT");
    if !path.exists() {
        return Ok(None);
    }
    fs::read(path).map(|text| strange(&text))
}

fn strange(text: &[u8]) -> Option<String> {
    if text == FORMAT_LINE.as_bytes() {
        return None;
    }
    let text = String::from_utf8_lossy(text.get(..64).unwrap_or(text)).into_owned();
    Some(format!("says {:?}, not {:?}", text.trim(), FORMAT_LINE.trim()))
}

fn judge_format(path: &Path) -> Option<Fault> {
    match fs::read(path) {
        Ok(text) => strange(&text).map(|why| fault(Grade::Damage, path, None, why)),
        Err(error) => Some(fault(Grade::Unreadable, path, None, error)),
    }
}

fn fault(grade: Grade, file: &Path, offset: Option<u64>, why: impl ToString) -> Fault {
    Fault { grade, file: file.to_owned(), offset, why: why.to_string() }
}

/// Names in a directory, in order.
fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        found.push((entry.path(), entry.file_name().to_string_lossy().into_owned()));
    }
    found.sort();
    Ok(found)
}

// ---------------------------------------------------------------- reading one log

/// Number of a segment by the name of its file.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|octet| octet.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl Log {
    fn read(directory: &Path, shard: u32, neighbours: &Neighbours) -> Self {
        let mut log = Self {
            shard,
            directory: directory.to_owned(),
            segments: Vec::new(),
            free: 0,
            bytes: 0,
            messages: BTreeMap::new(),
            faults: Vec::new(),
            last_cut: 0,
            copies_from: None,
            copies: Vec::new(),
            elsewhere: neighbours.large_for(shard),
        };
        log.look_for_adoption(neighbours);
        match entries(directory) {
            Ok(found) => {
                for (path, name) in found {
                    log.entry(&path, &name);
                }
            }
            Err(error) => log.faults.push(fault(Grade::Unreadable, directory, None, error)),
        }
        log.segments.sort_by_key(|segment| segment.header.generation);
        log.judge_order();
        log.fold();
        log.judge_large();
        log
    }

    fn entry(&mut self, path: &Path, name: &str) {
        if name == "large" || name == adoption::INTENT {
            return;
        }
        let Some(number) = number_of(name) else {
            self.faults.push(fault(Grade::Trace, path, None, litter(name)));
            return;
        };
        let seen = File::open(path).and_then(|file| {
            let bytes = file.metadata()?.len();
            let mut front = vec![0; SEGMENT_HEADER_BYTES];
            let count = read_some(&file, &mut front, 0)?;
            front.truncate(count);
            Ok((bytes, front))
        });
        match seen {
            Ok((bytes, front)) => {
                self.bytes += bytes;
                self.segment(path, number, bytes, &front);
            }
            Err(error) => self.faults.push(fault(Grade::Unreadable, path, None, error)),
        }
    }

    fn segment(&mut self, path: &Path, number: u64, bytes: u64, front: &[u8]) {
        if let Some(header) = SegmentHeader::decode(front) {
            if self.is_copy(path, &header) {
                return;
            }
            // A file may be longer than its segment, never shorter.
            let says = [
                (u64::from(header.shard), u64::from(self.shard), "shard"),
                (header.number, number, "number"),
                (header.bytes, bytes.min(header.bytes), "length"),
            ];
            for (said, is, what) in says {
                if said != is {
                    let why = format!("the header says {what} {said}, it is {is}");
                    self.faults.push(fault(Grade::Damage, path, Some(0), why));
                }
            }
            self.segments.push(Segment { file: path.to_owned(), header, seen: Seen::default() });
            return;
        }
        // Without a header the records may still be there, if the first of them is.
        match fs::read(path) {
            Ok(octets) => match SegmentHeader::from_first_record(&octets, self.shard, number) {
                Some(header) if self.is_copy(path, &header) => {}
                Some(header) => {
                    let why = "the header does not hold, but records follow";
                    self.faults.push(fault(Grade::Damage, path, Some(0), why));
                    let seen = Seen::default();
                    self.segments.push(Segment { file: path.to_owned(), header, seen });
                }
                None => {
                    let why = format!("neither header nor first record hold: {LOST}");
                    self.faults.push(fault(Grade::Damage, path, Some(0), why));
                }
            },
            Err(error) => self.faults.push(fault(Grade::Unreadable, path, None, error)),
        }
    }

    fn judge_order(&mut self) {
        for pair in self.segments.windows(2) {
            if let [one, other] = pair
                && one.header.generation == other.header.generation
            {
                let generation = one.header.generation;
                let why = format!("is generation {generation}, and so is {}", one.file.display());
                self.faults.push(fault(Grade::Damage, &other.file, Some(0), why));
            }
        }
    }

    /// Two passes: what was cancelled stands in later segments than what it cancels.
    fn fold(&mut self) {
        let mut cuts = Vec::new();
        for segment in &self.segments {
            let front = File::open(&segment.file).and_then(|file| {
                let mut front = Vec::new();
                file.take(CUTS_BYTES).read_to_end(&mut front).map(|_| front)
            });
            // What cannot be read is told below.
            cuts.extend(
                front.map(|front| format::cuts(&segment.header, &front)).unwrap_or_default(),
            );
        }
        self.last_cut = cuts.iter().map(|cut| cut.generation).max().unwrap_or(0);
        let mut fold = Fold::new(cuts);
        // One after the other into the same memory.
        let mut octets = Vec::new();
        for segment in &mut self.segments {
            octets.clear();
            let read = File::open(&segment.file).and_then(|mut it| it.read_to_end(&mut octets));
            if let Err(error) = read {
                self.faults.push(fault(Grade::Unreadable, &segment.file, None, error));
                continue;
            }
            let whole = usize::try_from(segment.header.bytes).unwrap_or(usize::MAX);
            let seen = fold.segment(&segment.header, octets.get(..whole).unwrap_or(&octets));
            self.free += u64::from(seen.records == 0 && seen.damage.is_empty());
            for (from, to) in &seen.damage {
                let why = format!("{} octets are no sound record: {LOST}", to - from);
                self.faults.push(fault(Grade::Damage, &segment.file, Some(*from), why));
            }
            if seen.torn {
                let why =
                    "the last batch is not whole, as after a power cut: it was never acknowledged";
                self.faults.push(fault(Grade::Trace, &segment.file, Some(seen.end), why));
            }
            segment.seen = seen;
        }
        self.messages = fold.into_messages();
    }

    /// Large messages there are, against those there should be.
    fn judge_large(&mut self) {
        let directory = self.directory.join("large");
        let mut there = match entries(&directory) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.faults.push(fault(Grade::Unreadable, &directory, None, error));
                return;
            }
        };
        for (id, held) in &self.messages {
            if let Octets::Large(size, sum) = held.octets {
                let path = self.large(*id);
                there.retain(|(one, _)| *one != path);
                self.faults.extend(judge_large(&path, size, sum));
            }
        }
        // As at a start: a pointer may be what was lost.
        let spare = self.faults.iter().any(|one| one.offset.is_some() && one.file != directory)
            || self.segments.iter().any(|one| one.seen.torn);
        for (path, name) in &there {
            self.bytes += fs::metadata(path).map_or(0, |metadata| metadata.len());
            let draft = name.ends_with(".tmp");
            let why = match (draft, spare) {
                (true, _) => litter(name),
                (false, false) => "belongs to no message: removed at the next start",
                (false, true) => "belongs to no message that could be read: kept",
            };
            self.faults.push(fault(Grade::Trace, path, None, why));
        }
        for held in self.messages.values() {
            if let Octets::Large(size, _) = held.octets {
                self.bytes += size;
            }
        }
    }

    /// Where the octets of a large message lie.
    fn large(&self, id: QueueId) -> PathBuf {
        let name = id.to_string();
        let moving = self.elsewhere.iter().map(|large| large.join(&name));
        let mut moving = moving.filter(|path| path.exists());
        moving.next().unwrap_or_else(|| self.directory.join("large").join(name))
    }

    /// Where the record of a message lies: file and offset.
    #[must_use]
    pub fn place(&self, held: &Held) -> Option<(&Path, u64)> {
        let segment =
            self.segments.iter().find(|segment| segment.header.generation == held.generation)?;
        Some((&segment.file, held.position))
    }

    /// Copies the octets of a message, verified.
    ///
    /// # Errors
    /// EIO, a full disk; `InvalidData` when the octets are not those that were accepted.
    pub fn copy(&self, id: QueueId, held: &Held, to: &mut impl Write) -> io::Result<()> {
        match held.octets {
            Octets::Large(size, sum) => {
                let (copied, found) = copy_summed(&self.large(id), to)?;
                if (copied, found) == (size, sum) { Ok(()) } else { Err(changed()) }
            }
            Octets::Inline => {
                let segments = &self.segments;
                let segment = segments.iter().find(|one| one.header.generation == held.generation);
                let segment = segment.ok_or_else(changed)?;
                let bytes = usize::try_from(held.record_bytes).map_err(|_| changed())?;
                let mut octets = vec![0; bytes];
                let file = File::open(&segment.file)?;
                file.read_exact_at(&mut octets, held.position)?;
                let record = Record::parse(&segment.header, &octets, held.position);
                let record = record.filter(|record| record.id == id).ok_or_else(changed)?;
                to.write_all(record.body)
            }
        }
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the octets that were accepted")
}

fn judge_large(path: &Path, size: u64, sum: u32) -> Option<Fault> {
    match copy_summed(path, &mut io::sink()) {
        Ok((found, _)) if found != size => {
            let why = format!("has {found} octets, the message has {size}");
            Some(fault(Grade::Damage, path, Some(found.min(size)), why))
        }
        Ok((_, found)) if found != sum => {
            Some(fault(Grade::Damage, path, Some(0), "its CRC-32C is not that of the message"))
        }
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(fault(Grade::Damage, path, None, "is missing: the message is lost"))
        }
        Err(error) => Some(fault(Grade::Unreadable, path, None, error)),
    }
}

/// Copies a file; its length and CRC-32C.
fn copy_summed(path: &Path, to: &mut impl Write) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let (mut size, mut sum) = (0, 0);
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => return Ok((size, sum)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = piece.get(..count).unwrap_or_default();
        sum = crc32c::crc32c_append(sum, part);
        size += u64::try_from(count).unwrap_or_default();
        to.write_all(part)?;
    }
}

/// Reads until the buffer is full or the file ends.
fn read_some(mut file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    file.seek(SeekFrom::Start(from))?;
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

// ---------------------------------------------------------------- appending

/// What can be said about a message afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something is noted.
    Note(QueueId, Vec<u8>),
    /// It is done with.
    Settled(QueueId),
}

impl Log {
    /// Appends changes as a new segment, all or none of them.
    ///
    /// # Errors
    /// The disk's; then nothing was changed. Refuses when a segment could not be read: what is
    /// appended might then not be the latest.
    pub fn append(&self, changes: &[Change]) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.faults.iter().find(|fault| fault.grade == Grade::Unreadable) {
            let why = format!("{} cannot be read: {}", fault.file.display(), fault.why);
            return Err(io::Error::other(why));
        }
        // What is appended now would be taken for a copy.
        self.undo_adoption()?;
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        let headers = || self.segments.iter().map(|segment| segment.header);
        let seen = self.segments.iter().map(|segment| segment.seen.last_id);
        let mut header = SegmentHeader {
            shard: self.shard,
            number: self.next_number()?,
            generation: headers()
                .map(|header| header.generation)
                .fold(self.last_cut, u64::max)
                .checked_add(1)
                .ok_or(io::ErrorKind::InvalidData)?,
            salt: u64::from_le_bytes(salt),
            bytes: 0,
            last_id: headers().map(|header| header.last_id).chain(seen).max().unwrap_or(0),
        };
        let octets = encode(&mut header, changes);
        self.write(header.number, &octets)
    }

    fn next_number(&self) -> io::Result<u64> {
        let numbers = entries(&self.directory)?;
        let numbers =
            numbers.iter().filter_map(|(_, name)| name.strip_suffix(".seg")?.parse().ok());
        numbers
            .max()
            .unwrap_or(0_u64)
            .checked_add(1)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Under another name first: a segment that is there is whole.
    fn write(&self, number: u64, octets: &[u8]) -> io::Result<()> {
        let path = self.directory.join(format!("{number:08}.seg"));
        let draft = self.directory.join(format!("{number:08}.seg.tmp"));
        let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let written = made.and_then(|mut file| {
            file.write_all(octets)?;
            Owner::of(&self.directory)?.give_file(&file)?;
            file.sync_all()
        });
        let placed = written.and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = placed {
            // What is left of it is no segment; the first error is the one to tell.
            drop(fs::remove_file(&draft));
            return Err(error);
        }
        File::open(&self.directory)?.sync_all()
    }
}

/// A segment of one batch.
fn encode(header: &mut SegmentHeader, changes: &[Change]) -> Vec<u8> {
    let wide = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let parts: Vec<(Kind, QueueId, &[u8])> = changes
        .iter()
        .map(|change| match change {
            Change::Note(id, note) => (Kind::Note, *id, note.as_slice()),
            Change::Settled(id) => (Kind::Settled, *id, &[][..]),
        })
        .collect();
    let records: usize = parts.iter().map(|(_, _, meta)| format::record_bytes(meta.len(), 0)).sum();
    let length = SEGMENT_HEADER_BYTES + format::batch_bytes(records);
    header.bytes = wide(length);
    let mut octets = Vec::with_capacity(length);
    octets.extend(header.encode());
    octets.resize(SEGMENT_HEADER_BYTES, 0);
    for (kind, id, meta) in parts {
        let start = octets.len();
        let batch = wide(SEGMENT_HEADER_BYTES);
        let record = Record { kind, id, position: wide(start), batch, meta, body: &[] };
        octets.reserve(RECORD_HEADER_BYTES);
        octets.extend(format::encode_header(header, &record));
        octets.extend(meta);
        octets.resize(start + format::record_bytes(meta.len(), 0), 0);
    }
    octets.resize(length, 0);
    octets
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
