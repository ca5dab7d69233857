//! smtp::journal – what was sent and what was promised, on disk while it happens.
//!
//! ```text
//! {"journal":{"version":1,"run":"5f3a…c2","server":"127.0.0.1:2525"}}
//! {"sent":{"id":"5f3a…c2.17","octets":4096,"sha256":"…","sha256_lf":"…","hostile":false}}
//! {"accepted":{"id":"5f3a…c2.17","queue_id":"4XyZ","to":["a@b"]}}     or {"refused":{"id":…,"code":451}}
//! ```
//!
//! A line is one `write` to a file opened for appending: `sent` before the last octets of a message go
//! out, the answer when it has come.
//!
//! Crashes: a killed generator leaves every line it wrote, the last one perhaps torn; a message that is
//! `sent` and nothing more was not answered. Nothing is synced while it runs: put the journal onto
//! another machine or disk than the one whose power is cut.
//! Not here: what the lines are compared with (`audit`).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::corpus::Body;

const VERSION: u32 = 1;
/// Octets of a line: a thousand recipients of 256 octets, and the rest.
const LINE_OCTETS_MAX: u64 = 512 * 1024;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Journal {
        version: u32,
        #[serde(borrow)]
        run: Cow<'a, str>,
        #[serde(borrow)]
        server: Cow<'a, str>,
    },
    Sent {
        #[serde(borrow)]
        id: Cow<'a, str>,
        octets: usize,
        #[serde(borrow)]
        sha256: Cow<'a, str>,
        #[serde(borrow)]
        sha256_lf: Cow<'a, str>,
        hostile: bool,
    },
    Accepted {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        queue_id: Option<Cow<'a, str>>,
        to: Vec<Cow<'a, str>>,
    },
    Refused {
        #[serde(borrow)]
        id: Cow<'a, str>,
        code: u16,
    },
}

/// An open journal; threads write to it side by side.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens `path` for appending and writes that a run begins.
    pub(crate) fn open(path: &Path, run: &str, server: &str) -> Result<Self, String> {
        let file = File::options().append(true).create(true).open(path).map_err(|error| {
            format!("{}: {error} (--journal wants a file that can be written)", path.display())
        })?;
        let journal = Self { file, path: path.to_owned() };
        journal.write(&Line::Journal {
            version: VERSION,
            run: run.into(),
            server: server.into(),
        })?;
        Ok(journal)
    }

    /// A message is about to be whole.
    pub(crate) fn sent(&self, id: &str, body: &Body) -> Result<(), String> {
        self.write(&Line::Sent {
            id: id.into(),
            octets: body.octets,
            sha256: body.sha256.as_str().into(),
            sha256_lf: body.sha256_lf.as_str().into(),
            hostile: body.hostile.is_some(),
        })
    }

    /// It was taken, for these.
    pub(crate) fn accepted<'a>(
        &self,
        id: &str,
        queue_id: Option<&str>,
        to: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        self.write(&Line::Accepted {
            id: id.into(),
            queue_id: queue_id.map(Cow::from),
            to: to.map(Cow::from).collect(),
        })
    }

    /// It was not.
    pub(crate) fn refused(&self, id: &str, code: u16) -> Result<(), String> {
        self.write(&Line::Refused { id: id.into(), code })
    }

    /// One call, so that lines of several threads do not mix and a kill tears at most the last.
    fn write(&self, line: &Line<'_>) -> Result<(), String> {
        let wrong = |why: io::Error| {
            format!("{}: {why} (what follows would not be in the journal)", self.path.display())
        };
        let mut octets = serde_json::to_vec(line).map_err(|error| wrong(error.into()))?;
        octets.push(b'\n');
        (&self.file).write_all(&octets).map_err(wrong)
    }

    /// Onto the disk, at the end of a run.
    pub(crate) fn sync(&self) -> Result<(), String> {
        self.file.sync_data().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// What became of a message, as the generator saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent and not answered.
    Open,
    /// A 250, and for whom.
    Accepted {
        /// As the server named it.
        queue_id: Option<String>,
        /// Those whose RCPT was taken.
        to: Vec<String>,
    },
    /// 4yz or 5yz after its end.
    Refused(u16),
}

/// A message of a journal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// SHA-256 of its body.
    pub(crate) sha256: String,
    /// The same with LF.
    pub(crate) sha256_lf: String,
    /// May it be refused or changed?
    pub(crate) hostile: bool,
    /// What became of it.
    pub(crate) fate: Fate,
}

/// Everything that journals say.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// What begins the marks of each run.
    pub(crate) runs: HashSet<String>,
    /// By mark.
    pub(crate) entries: HashMap<String, Entry>,
    /// Journals whose last line was torn.
    pub(crate) torn: Vec<PathBuf>,
}

impl Record {
    /// Adds what one journal says.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(), String> {
        let said = |number: u64, why: &str| {
            format!("{}:{number}: {why} (is it a journal of loadtest smtp?)", path.display())
        };
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (mut reader, mut line, mut number) = (BufReader::new(file), Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            let mut limited = io::Read::take(&mut reader, LINE_OCTETS_MAX);
            let length = limited
                .read_until(b'\n', &mut line)
                .map_err(|error| said(number, &error.to_string()))?;
            if length == 0 {
                return Ok(());
            }
            // A torn line of a run that was killed: another run may have appended behind it.
            let torn = |record: &mut Self| record.torn.push(path.to_owned());
            if line.last() != Some(&b'\n') {
                if length as u64 == LINE_OCTETS_MAX {
                    return Err(said(number, "a line without an end"));
                }
                torn(self);
                return Ok(());
            }
            match serde_json::from_slice(&line) {
                Ok(line) => self.take(line).map_err(|why| said(number, &why))?,
                Err(error) => match after_tear(&line) {
                    Some(line) => {
                        torn(self);
                        self.take(line).map_err(|why| said(number, &why))?;
                    }
                    None => return Err(said(number, &error.to_string())),
                },
            }
        }
    }

    fn take(&mut self, line: Line<'_>) -> Result<(), String> {
        let (id, fate) = match line {
            Line::Journal { version: VERSION, run, .. } => {
                self.runs.insert(run.into_owned());
                return Ok(());
            }
            Line::Journal { version, .. } => {
                return Err(format!("version {version}, and only {VERSION} is known"));
            }
            Line::Sent { id, sha256, sha256_lf, hostile, .. } => {
                let (sha256, sha256_lf) = (sha256.into_owned(), sha256_lf.into_owned());
                let entry = Entry { sha256, sha256_lf, hostile, fate: Fate::Open };
                return match self.entries.insert(id.to_string(), entry) {
                    None => Ok(()),
                    Some(_) => Err(format!("{id} was sent twice")),
                };
            }
            Line::Accepted { id, queue_id, to } => {
                let to = to.into_iter().map(Cow::into_owned).collect();
                (id, Fate::Accepted { queue_id: queue_id.map(Cow::into_owned), to })
            }
            Line::Refused { id, code } => (id, Fate::Refused(code)),
        };
        let entry = self.entries.get_mut(id.as_ref());
        let entry = entry.ok_or_else(|| format!("{id} was answered and never sent"))?;
        if entry.fate != Fate::Open {
            return Err(format!("{id} was answered twice"));
        }
        entry.fate = fate;
        Ok(())
    }
}

/// The first line of a run that stands behind a torn one.
fn after_tear(line: &[u8]) -> Option<Line<'_>> {
    const BEGIN: &[u8] = b"{\"journal\":";
    let at = line.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    serde_json::from_slice(&line[at..]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::corpus::{Corpus, Form};
    use super::*;
    use crate::sizes::Sizes;

    /// A journal of four messages, and its octets.
    fn written(path: &Path) -> Vec<u8> {
        let corpus = Corpus::generated(&Sizes::fixed(600), false, 1, Form::Data);
        let journal = Journal::open(path, "r", "127.0.0.1:25").unwrap();
        for number in 1..=4 {
            journal.sent(&format!("r.{number}"), corpus.body(number)).unwrap();
        }
        journal.accepted("r.2", Some("Q2"), ["a@b", "\"q\\\"\"@b"].into_iter()).unwrap();
        journal.refused("r.1", 451).unwrap();
        journal.accepted("r.3", None, ["a@b"].into_iter()).unwrap();
        journal.sync().unwrap();
        std::fs::read(path).unwrap()
    }

    fn read(path: &Path) -> Result<Record, String> {
        let mut record = Record::default();
        record.read(path).map(|()| record)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        written(&path);
        let record = read(&path).unwrap();
        let fate = |id: &str| record.entries[id].fate.clone();
        let to = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert_eq!(fate("r.1"), Fate::Refused(451));
        let queue_id = Some("Q2".to_owned());
        assert_eq!(fate("r.2"), Fate::Accepted { queue_id, to: to(&["a@b", "\"q\\\"\"@b"]) });
        assert_eq!(fate("r.3"), Fate::Accepted { queue_id: None, to: to(&["a@b"]) });
        assert_eq!(fate("r.4"), Fate::Open);
        assert!(record.torn.is_empty());
    }

    #[test]
    fn a_kill_anywhere_leaves_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let whole = written(&path);
        let begin = whole.iter().position(|&octet| octet == b'\n').unwrap() + 1;
        for end in begin..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let record = read(&path).unwrap();
            let lines = whole[..end].iter().filter(|&&octet| octet == b'\n').count() - 1;
            assert_eq!(record.entries.len(), lines.min(4), "cut at {end}");
            assert_eq!(record.torn.len(), usize::from(whole[end - 1] != b'\n'), "cut at {end}");
            // The next run appends.
            Journal::open(&path, "s", "127.0.0.1:25").unwrap();
            let again = read(&path).unwrap();
            assert_eq!((again.entries.len(), again.torn.len()), (lines.min(4), record.torn.len()));
        }
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let bad = [
            ("nonsense\n", ":1:"),
            ("{\"journal\":{\"version\":9,\"run\":\"r\",\"server\":\"s\"}}\n", "version 9"),
            ("{\"refused\":{\"id\":\"r.1\",\"code\":451}}\n", "never sent"),
            ("{\"taken\":{\"id\":\"r.1\"}}\n", "unknown variant"),
        ];
        for (text, wanted) in bad {
            std::fs::write(&path, text).unwrap();
            let said = read(&path).unwrap_err();
            assert!(said.contains(wanted) && said.contains("is it a journal"), "{said}");
        }
        std::fs::remove_file(&path).unwrap();
        let mut twice = written(&path);
        twice.extend_from_slice(b"{\"refused\":{\"id\":\"r.1\",\"code\":451}}\n");
        std::fs::write(&path, twice).unwrap();
        assert!(read(&path).unwrap_err().contains("answered twice"));
    }
}
