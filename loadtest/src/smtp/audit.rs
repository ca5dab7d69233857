//! smtp::audit – what a server holds after a crash against what it promised.
//!
//! ```text
//! lost        accepted for somebody, and neither in a mailbox of theirs nor still on its way
//! duplicated  more often in a mailbox than it was accepted for, or delivered and on its way as well
//! altered     there, but not octet for octet; a file that is known by its queue id and has no mark
//! unknown     marked by one of these runs, but not in its journal; what was smuggled; in somebody else's mailbox;
//!             a queue id that belongs to another message
//! refused     there in spite of 4yz or 5yz
//! ```
//!
//! What was sent and never answered may be there, whole, or not: it is counted and no difference. Hostile
//! messages may be altered; they are counted.
//! Promises: nothing is changed; differences make exit status 1.
//! Not here: what a stored file is (`stored`).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::journal::{Entry, Fate, Record};
use super::stored::{self, Found, Place, Wholeness};

/// Differences of a kind that are told one by one.
const TOLD_MAX: usize = 10;

/// What to compare.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Journal of `loadtest smtp --journal`; may be given several times
    #[arg(long, required = true, value_name = "FILE")]
    journal: Vec<PathBuf>,
    /// Folder of ID.eml, each with or without an ID.json about it, as `sluicegate spool export` writes
    #[arg(long, value_name = "DIR", required_unless_present = "maildir")]
    spool_export: Vec<PathBuf>,
    /// A Maildir, or a folder with Maildirs named after local parts or addresses
    #[arg(long, value_name = "DIR")]
    maildir: Vec<PathBuf>,
    /// Names of mailboxes say nothing about whom a message is for
    #[arg(long)]
    any_mailbox: bool,
    /// So many duplicates are no difference (a delivery may be under way when a server is killed)
    #[arg(long, default_value_t = 0, value_name = "N")]
    duplicates_max: u64,
    /// Write the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Messages sent, by what was answered.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    /// Files with a mark of these journals, and others.
    pub(crate) found: u64,
    pub(crate) foreign: u64,
    /// Differences.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) altered: u64,
    pub(crate) unknown: u64,
    pub(crate) refused_and_stored: u64,
    /// No differences, but worth to be known.
    pub(crate) unanswered_and_stored: u64,
    pub(crate) hostile_altered: u64,
    pub(crate) torn_journals: u64,
    /// The first of each kind of difference.
    pub(crate) examples: BTreeMap<&'static str, Vec<String>>,
}

/// Compares and prints. `true`: no difference.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let mut record = Record::default();
    for journal in &options.journal {
        record.read(journal)?;
    }
    let mut found = Vec::new();
    for folder in &options.spool_export {
        stored::export(folder, &mut found)?;
    }
    for folder in &options.maildir {
        stored::maildirs(folder, &mut found)?;
    }
    let verdict = compare(&record, &found, options.any_mailbox);
    let good = verdict.good(options.duplicates_max);
    if options.json {
        let text = serde_json::to_string_pretty(&verdict).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{}", verdict.text(good));
    }
    Ok(good)
}

impl Verdict {
    fn good(&self, duplicates_max: u64) -> bool {
        let differences = [self.lost, self.altered, self.unknown, self.refused_and_stored];
        differences.iter().all(|&one| one == 0) && self.duplicated <= duplicates_max
    }

    fn text(&self, good: bool) -> String {
        let mut text = format!(
            "{} accepted, {} refused, {} unanswered; {} found, {} of others\n\
             {} lost, {} duplicated, {} altered, {} unknown, {} stored though refused\n\
             {} stored though unanswered, {} hostile ones altered\n",
            self.accepted,
            self.refused,
            self.unanswered,
            self.found,
            self.foreign,
            self.lost,
            self.duplicated,
            self.altered,
            self.unknown,
            self.refused_and_stored,
            self.unanswered_and_stored,
            self.hostile_altered
        );
        for (kind, examples) in &self.examples {
            for example in examples {
                text.push_str(&format!("  {kind}: {example}\n"));
            }
        }
        if self.torn_journals > 0 {
            text.push_str("the generator was killed: its last line is torn and does not count\n");
        }
        text.push_str(if good {
            "nothing is missing\n"
        } else {
            "what is there is not what was promised\n"
        });
        text
    }

    fn tell(&mut self, kind: &'static str, example: impl FnOnce() -> String) {
        let told = self.examples.entry(kind).or_default();
        if told.len() < TOLD_MAX {
            told.push(example());
        }
        match kind {
            "lost" => self.lost += 1,
            "duplicated" => self.duplicated += 1,
            "altered" => self.altered += 1,
            "unknown" => self.unknown += 1,
            _ => self.refused_and_stored += 1,
        }
    }
}

/// The comparison itself.
fn compare(record: &Record, found: &[Found], any_mailbox: bool) -> Verdict {
    let mut verdict = Verdict { torn_journals: record.torn.len() as u64, ..Verdict::default() };
    let by_queue_id: HashMap<&str, &str> = record
        .entries
        .iter()
        .filter_map(|(id, entry)| match &entry.fate {
            Fate::Accepted { queue_id: Some(queue_id), .. } => {
                Some((queue_id.as_str(), id.as_str()))
            }
            _ => None,
        })
        .collect();
    let mut copies: HashMap<&str, Vec<&Found>> = HashMap::new();
    for one in found {
        let known = one.mark.as_deref().and_then(|mark| record.entries.get_key_value(mark));
        match known {
            Some((id, entry)) => {
                verdict.found += 1;
                copies.entry(id.as_str()).or_default().push(one);
                look(&mut verdict, id, entry, one, &by_queue_id);
            }
            None => stray(&mut verdict, record, one, &by_queue_id, &mut copies),
        }
    }
    let mut ids: Vec<&String> = record.entries.keys().collect();
    ids.sort();
    for id in ids {
        let entry = &record.entries[id];
        let copies = copies.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        count(&mut verdict, id, entry, copies, any_mailbox);
    }
    verdict
}

/// One file with the mark of a known message: is it whole, and may it be there?
fn look(
    verdict: &mut Verdict,
    id: &str,
    entry: &Entry,
    one: &Found,
    by_queue_id: &HashMap<&str, &str>,
) {
    let place = || format!("{id}: {}", one.path.display());
    match one.wholeness(entry) {
        Wholeness::Whole => {}
        Wholeness::Altered if entry.hostile => verdict.hostile_altered += 1,
        Wholeness::Altered => verdict.tell("altered", place),
    }
    if let Fate::Refused(code) = entry.fate {
        verdict.tell("refused", || format!("{} ({code})", place()));
    }
    let named = one.queue_id.as_deref().and_then(|queue_id| by_queue_id.get(queue_id));
    let ours = match &entry.fate {
        Fate::Accepted { queue_id, .. } => queue_id.as_deref(),
        Fate::Open | Fate::Refused(_) => None,
    };
    if named.is_some_and(|&other| other != id)
        || (ours.is_some() && one.queue_id.is_some() && one.queue_id.as_deref() != ours)
    {
        verdict.tell("unknown", || format!("{}, named like another message", place()));
    }
}

/// One file without a mark, or with one that is in no journal.
fn stray<'a>(
    verdict: &mut Verdict,
    record: &Record,
    one: &'a Found,
    by_queue_id: &HashMap<&str, &'a str>,
    copies: &mut HashMap<&'a str, Vec<&'a Found>>,
) {
    let known = one.queue_id.as_deref().and_then(|queue_id| by_queue_id.get(queue_id));
    match (&one.mark, known) {
        // Of another run: its journal is not asked about.
        (Some(mark), _) if !record.runs.contains(run_of(mark)) => verdict.foreign += 1,
        (Some(mark), _) => {
            verdict.tell("unknown", || format!("{mark}: {}", one.path.display()));
        }
        (None, Some(id)) => {
            verdict.found += 1;
            copies.entry(id).or_default().push(one);
            verdict.tell("altered", || format!("{id}: {} has no mark", one.path.display()));
        }
        (None, None) => verdict.foreign += 1,
    }
}

/// What begins a mark.
fn run_of(mark: &str) -> &str {
    mark.split_once('.').map_or(mark, |(run, _)| run)
}

/// One message of the journals: is it where it should be, and as often?
fn count(verdict: &mut Verdict, id: &str, entry: &Entry, copies: &[&Found], any_mailbox: bool) {
    let (queue_id, to) = match &entry.fate {
        Fate::Open => {
            verdict.unanswered += 1;
            verdict.unanswered_and_stored += u64::from(!copies.is_empty());
            return;
        }
        Fate::Refused(_) => {
            verdict.refused += 1;
            return;
        }
        Fate::Accepted { queue_id, to } => (queue_id.as_deref().unwrap_or("-"), to),
    };
    verdict.accepted += 1;
    let waits = |address: &str| copies.iter().filter(|one| one.waits_for(address)).count() as u64;
    if any_mailbox || copies.iter().any(|one| one.place == Place::SharedMailbox) {
        let delivered = copies.iter().filter(|one| one.in_mailbox()).count() as u64;
        let waiting = to.iter().map(|address| waits(address)).max().unwrap_or(0);
        if delivered + waiting == 0 {
            verdict.tell("lost", || format!("{id} ({queue_id})"));
        }
        for _ in to.len() as u64..delivered {
            verdict.tell("duplicated", || format!("{id} ({queue_id}): {delivered} copies"));
        }
        return;
    }
    let mut placed = 0;
    for address in to {
        let delivered = copies.iter().filter(|one| one.in_mailbox_of(address)).count() as u64;
        placed += delivered;
        let there = delivered + waits(address);
        if there == 0 {
            verdict.tell("lost", || format!("{id} ({queue_id}) for {address}"));
        }
        for _ in 1..there {
            verdict
                .tell("duplicated", || format!("{id} ({queue_id}) for {address}: {there} times"));
        }
    }
    let delivered = copies.iter().filter(|one| one.in_mailbox()).count() as u64;
    for _ in placed..delivered {
        verdict.tell("unknown", || {
            format!("{id} ({queue_id}) is in a mailbox of nobody it was for (--any-mailbox?)")
        });
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
