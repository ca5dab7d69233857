//! smtp::stored – messages as servers keep them: in Maildirs, and in an exported spool.
//!
//! Servers put lines of their own on top (`Received`, `Return-Path`, `Delivered-To`), and many store LF
//! for CRLF. The message is what stands from its mark on; the mark is looked for in the header only, so
//! that a report that quotes a message is not taken for it.
//!
//! Promises: reads only; a folder that is not what it should be is an error, an odd file is not.
//! Not here: what should be there (`audit`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::corpus::{self, MARK};
use super::journal::Entry;

/// Octets of a header that are searched for a mark.
const HEADER_OCTETS_MAX: usize = 256 * 1024;
/// How deep Maildirs may lie below the folder given.
const DEPTH_MAX: usize = 6;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the one Maildir that was given.
    SharedMailbox,
    /// In a Maildir of that name.
    Mailbox(String),
    /// In an export; on its way to these, or to all when nothing is said about it.
    Spool(Option<BTreeSet<String>>),
}

/// One stored message.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) place: Place,
    /// As the file is named, in an export.
    pub(crate) queue_id: Option<String>,
    /// What stands behind [`MARK`].
    pub(crate) mark: Option<String>,
    sha256: String,
    sha256_lf: String,
    /// Not one line of it ends in CRLF.
    lf_only: bool,
}

/// Is it what was sent?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wholeness {
    /// Octet for octet, or every CRLF as LF.
    Whole,
    /// No.
    Altered,
}

impl Found {
    /// Is it what was sent?
    pub(crate) fn wholeness(&self, entry: &Entry) -> Wholeness {
        if self.sha256 == entry.sha256 || (self.lf_only && self.sha256_lf == entry.sha256_lf) {
            Wholeness::Whole
        } else {
            Wholeness::Altered
        }
    }

    /// In any mailbox?
    pub(crate) fn in_mailbox(&self) -> bool {
        !matches!(self.place, Place::Spool(_))
    }

    /// In a mailbox named after this address or its local part?
    pub(crate) fn in_mailbox_of(&self, address: &str) -> bool {
        let Place::Mailbox(name) = &self.place else { return false };
        let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
        name.eq_ignore_ascii_case(address) || name.eq_ignore_ascii_case(local)
    }

    /// On its way to this address?
    pub(crate) fn waits_for(&self, address: &str) -> bool {
        match &self.place {
            Place::Spool(None) => true,
            Place::Spool(Some(to)) => to.contains(&address.to_ascii_lowercase()),
            Place::SharedMailbox | Place::Mailbox(_) => false,
        }
    }

    fn read(path: &Path, place: Place, queue_id: Option<String>) -> Result<Self, String> {
        let stored = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let marked = marked(&stored);
        let (mark, body) = marked.unwrap_or_default();
        let (sha256, sha256_lf) = corpus::digests(body);
        let lf_only = !body.windows(2).any(|two| two == b"\r\n");
        let mark = marked.is_some().then(|| mark.to_owned());
        Ok(Self { path: path.to_owned(), place, queue_id, mark, sha256, sha256_lf, lf_only })
    }
}

/// The mark of a message and its body: what stands behind the mark, and behind the message id that
/// belongs to it.
fn marked(stored: &[u8]) -> Option<(&str, &[u8])> {
    let mut at = 0;
    loop {
        let rest = &stored[at..];
        let length = rest.iter().position(|&octet| octet == b'\n')? + 1;
        let line = rest[..length].trim_ascii_end();
        if line.is_empty() || at > HEADER_OCTETS_MAX {
            return None;
        }
        at += length;
        let Some(mark) = line.strip_prefix(MARK.as_bytes()) else { continue };
        let mark = std::str::from_utf8(mark).ok()?;
        let body = &stored[at..];
        let own = corpus::message_id(mark);
        let body = match body.strip_prefix(own.as_bytes()) {
            Some(rest) => rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")).unwrap_or(body),
            None => body,
        };
        return Some((mark, body));
    }
}

fn list(folder: &Path, wanted: &str) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error} ({wanted})", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        paths.push(entry.map_err(wrong)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// What a server that tells says about an exported message.
#[derive(Deserialize)]
struct About {
    targets: Option<Vec<Target>>,
}

#[derive(Deserialize)]
struct Target {
    address: String,
    state: String,
}

/// Adds every `*.eml` of a folder.
pub(crate) fn export(folder: &Path, found: &mut Vec<Found>) -> Result<(), String> {
    for path in list(folder, "--spool-export wants a folder of .eml files")? {
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let side = path.with_extension("json");
        let to = match fs::read(&side) {
            Ok(text) => {
                let about: About = serde_json::from_slice(&text)
                    .map_err(|error| format!("{}: {error}", side.display()))?;
                let open = |one: &Target| ["waiting", "deferred", "held"].contains(&&*one.state);
                about.targets.map(|targets| {
                    let open = targets.iter().filter(|one| open(one));
                    open.map(|one| one.address.to_ascii_lowercase()).collect()
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{}: {error}", side.display())),
        };
        let queue_id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        found.push(Found::read(&path, Place::Spool(to), queue_id)?);
    }
    Ok(())
}

/// Adds every message of a Maildir, or of all Maildirs below a folder.
pub(crate) fn maildirs(folder: &Path, found: &mut Vec<Found>) -> Result<(), String> {
    let mut count = 0;
    below(folder, None, 0, &mut |path, name| {
        count += 1;
        let place = name.map_or(Place::SharedMailbox, |name| Place::Mailbox(name.to_owned()));
        for path in list(path, "a part of a Maildir")? {
            if path.is_file() {
                found.push(Found::read(&path, place.clone(), None)?);
            }
        }
        Ok(())
    })?;
    if count == 0 {
        return Err(format!(
            "{}: no Maildir in it (--maildir wants one, or a folder of them)",
            folder.display()
        ));
    }
    Ok(())
}

/// What is done with a folder of messages and the name of the mailbox it belongs to.
type Take<'a> = dyn FnMut(&Path, Option<&str>) -> Result<(), String> + 'a;

/// Calls `take` with every `new` and `cur` below `folder`, and whose it is. `tmp` holds what nobody promised.
fn below(
    folder: &Path,
    name: Option<&str>,
    depth: usize,
    take: &mut Take<'_>,
) -> Result<(), String> {
    for path in list(folder, "--maildir wants a Maildir, or a folder of them")? {
        let Some(own) = path.file_name().and_then(|own| own.to_str()) else { continue };
        if !path.is_dir() || depth > DEPTH_MAX {
            continue;
        }
        match own {
            "new" | "cur" if path.parent().is_some_and(|parent| parent.join("tmp").is_dir()) => {
                take(&path, name)?;
            }
            "tmp" => {}
            // Folders of a Maildir++, and the customary name of one, are no mailboxes of their own.
            _ if own.starts_with('.') || own.eq_ignore_ascii_case("maildir") => {
                below(&path, name, depth + 1, take)?;
            }
            _ => below(&path, Some(own), depth + 1, take)?,
        }
    }
    Ok(())
}
