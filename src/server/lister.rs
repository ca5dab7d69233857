//! server::lister – reads directories and makes lines of them, a batch at a time.
//!
//! Promises: memory is bounded by one batch and the directories still to be read; a directory that fits
//! one batch comes out sorted; temporaries are never shown.
//! Not here: caching (`listing_cache.rs`), sending (`list.rs`).

use std::rc::Rc;
use std::time::Duration;

use super::pattern::Pattern;
use super::{entry, fault};
use crate::ftp::listing;
use crate::ftp::path::VirtualPath;
use crate::ftp::step::{Entry, EntryKind, Fault, ListForm, ListOptions, UnixTime};
use crate::shard::{self, Cursor, Dir, Item};
use crate::store::files::{Tree, is_temporary};

/// Entries read, sorted and formatted at once.
const BATCH: usize = 1000;
/// How long all reading for one listing may take; sending is watched by its own limits.
const READING_MAX: Duration = Duration::from_secs(60);

/// What LIST, NLST, MLSD or STAT asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: VirtualPath,
    pub(super) form: ListForm,
    pub(super) options: ListOptions,
}

/// How much may be listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: u64,
    pub(super) depth: u32,
}

/// A listing under way.
pub(super) struct Lister {
    tree: Rc<Tree>,
    form: ListForm,
    all: bool,
    recursive: bool,
    pattern: Option<Pattern>,
    bounds: Bounds,
    left: u64,
    spent: Duration,
    now: UnixTime,
    reading: Option<Reading>,
    single: Option<Single>,
    /// Directories still to be read, the next one last.
    waiting: Vec<Place>,
    /// What the end of the listing says when something was left out.
    cut: Option<Fault>,
}

/// A directory to be listed.
struct Place {
    path: Vec<u8>,
    prefix: Vec<u8>,
    depth: u32,
}

/// A directory being read.
struct Reading {
    place: Place,
    dir: Dir,
    cursor: Option<Cursor>,
    begun: bool,
}

/// A file listed by its own path.
struct Single {
    entry: Entry,
    prefix: Vec<u8>,
}

impl Lister {
    /// Opens what is to be listed.
    pub(super) async fn open(
        tree: Rc<Tree>,
        request: &Request,
        bounds: Bounds,
    ) -> Result<Self, Fault> {
        let Request { path, form, options } = request;
        let pattern = match &options.pattern {
            Some(pattern) => Some(Pattern::new(pattern).ok_or(Fault::BadName)?),
            None => None,
        };
        let mut lister = Self {
            tree,
            form: *form,
            all: options.all,
            recursive: options.recursive && !matches!(form, ListForm::Machine(_)),
            pattern,
            bounds,
            left: bounds.entries,
            spent: Duration::ZERO,
            now: UnixTime(shard::wall().0),
            reading: None,
            single: None,
            waiting: Vec::new(),
            cut: None,
        };
        let relative = path.relative();
        match lister.tree.open_dir(relative).await {
            Ok(dir) => {
                let place =
                    Place { path: relative.to_vec(), prefix: options.prefix.clone(), depth: 0 };
                lister.reading = Some(Reading { place, dir, cursor: None, begun: false });
            }
            Err(trouble) => {
                let fault = Fault::from(trouble);
                if fault != Fault::NotDirectory || matches!(form, ListForm::Machine(_)) {
                    return Err(fault);
                }
                let stat = lister.tree.stat(relative).await?;
                let entry = entry::of_stat(&lister.tree, relative, &stat);
                lister.single = Some(Single { entry, prefix: options.file_prefix().to_vec() });
            }
        }
        Ok(lister)
    }

    /// The directory that is listed, if it is one and only one.
    pub(super) fn directory(&self) -> Option<&Dir> {
        if self.recursive { None } else { self.reading.as_ref().map(|reading| &reading.dir) }
    }

    /// Appends the lines of the next batch. False when there are no more.
    pub(super) async fn more(&mut self, lines: &mut Vec<u8>) -> Result<bool, Fault> {
        if let Some(single) = self.single.take() {
            listing::line(self.form, &single.entry, &single.prefix, self.now, lines);
            return Ok(false);
        }
        let Some(mut reading) = self.next_reading(lines).await else {
            return self.cut.map_or(Ok(false), Err);
        };
        if !reading.begun {
            self.begin(&reading, lines).await;
            reading.begun = true;
        }
        let Reading { place, dir, cursor, .. } = &mut reading;
        let begun = shard::now();
        let read = dir.read(self.tree.root(), &place.path, cursor.take(), BATCH).await;
        let (items, next) = read.map_err(|error| fault::of_file(&error))?;
        self.spent += shard::now().since(begun);
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        // Better no end than the look of a whole: mirrors delete what a listing does not show.
        self.left = self.left.checked_sub(count).ok_or(Fault::TooLarge)?;
        if self.spent > READING_MAX {
            return Err(Fault::Busy);
        }
        self.format(&reading.place, items, lines);
        if next.is_some() {
            reading.cursor = next;
            self.reading = Some(reading);
            return Ok(true);
        }
        if !self.waiting.is_empty() {
            return Ok(true);
        }
        self.cut.map_or(Ok(false), Err)
    }

    /// The directory to go on with; one that vanished or may not be read is left out.
    async fn next_reading(&mut self, lines: &mut Vec<u8>) -> Option<Reading> {
        if let Some(reading) = self.reading.take() {
            return Some(reading);
        }
        while let Some(place) = self.waiting.pop() {
            if let Ok(dir) = self.tree.open_dir(&place.path).await {
                if self.form == ListForm::Long {
                    lines.extend_from_slice(b"\r\n");
                    heading(&place.prefix, lines);
                }
                return Some(Reading { place, dir, cursor: None, begun: true });
            }
        }
        None
    }

    /// What stands before the entries: for MLSD the directory itself and its parent (RFC 3659 §7.5.1.2).
    async fn begin(&self, reading: &Reading, lines: &mut Vec<u8>) {
        if !matches!(self.form, ListForm::Machine(_)) {
            return;
        }
        let path = &reading.place.path;
        let mut show = |path: &[u8], stat: &shard::Stat, kind: EntryKind| {
            let entry = entry::special(&self.tree, path, stat, kind);
            listing::line(self.form, &entry, b"", self.now, lines);
        };
        if let Ok(stat) = reading.dir.stat_self() {
            show(path, &stat, EntryKind::Current);
        }
        if let Some((parent, _)) = crate::store::files::split(path)
            && let Ok(stat) = self.tree.stat(parent).await
        {
            show(parent, &stat, EntryKind::Parent);
        }
    }

    fn format(&mut self, place: &Place, mut items: Vec<Item>, lines: &mut Vec<u8>) {
        items.retain(|item| self.shows(&item.name));
        items.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let descends = self.recursive && place.depth < self.bounds.depth;
        let before = self.waiting.len();
        for item in items {
            // What lies too deep is left out, and the end of the listing says so.
            if self.recursive && !descends && item.stat.kind == shard::FileKind::Directory {
                self.cut = Some(Fault::TooLarge);
            }
            // Never through a link: they make loops.
            if descends && item.stat.kind == shard::FileKind::Directory {
                let mut prefix = place.prefix.clone();
                prefix.extend_from_slice(&item.name);
                prefix.push(b'/');
                let path = entry::below(&place.path, &item.name);
                self.waiting.push(Place { path, prefix, depth: place.depth + 1 });
            }
            let entry = entry::of_item(&self.tree, &place.path, item);
            let prefix: &[u8] = if self.form == ListForm::Names { &place.prefix } else { b"" };
            listing::line(self.form, &entry, prefix, self.now, lines);
        }
        if let Some(added) = self.waiting.get_mut(before..) {
            added.reverse();
        }
    }

    fn shows(&self, name: &[u8]) -> bool {
        if is_temporary(name) {
            return false;
        }
        match &self.pattern {
            Some(pattern) => pattern.matches(name),
            None => {
                self.all || matches!(self.form, ListForm::Machine(_)) || !name.starts_with(b".")
            }
        }
    }
}

/// `./sub:` as `ls -R` has it.
fn heading(prefix: &[u8], lines: &mut Vec<u8>) {
    if !prefix.starts_with(b"/") && !prefix.starts_with(b".") {
        lines.extend_from_slice(b"./");
    }
    lines.extend_from_slice(prefix.strip_suffix(b"/").unwrap_or(prefix));
    lines.extend_from_slice(b":\r\n");
}
