//! ftp::session::files – commands that ask the tree one question (RFC 959 §4.1.3, RFC 3659).
//!
//! Each handler resolves its path and asks; [`Session::answered`] turns the answer into the reply.
//!
//! Promises: no wildcard means anything here (RFC 3659 §2.2.2); an account that may not write does
//! not get to ask.
//! Not here: transfers and listings over a data connection (`transfer`).

use super::{Prepared, Session, State};
use crate::ftp::calendar;
use crate::ftp::command::timed;
use crate::ftp::listing;
use crate::ftp::path::VirtualPath;
use crate::ftp::refusal::{Errand, refusal};
use crate::ftp::reply::{self, Reply};
use crate::ftp::step::{Answer, Ask, Entry, EntryKind, Fault, Next, UnixTime};
use crate::wire::ascii::Digits;
use crate::wire::outbox::Outbox;

/// What the pending answer answers.
#[derive(Debug)]
pub(super) enum Question {
    /// PASS
    Login,
    /// PASV
    Passive,
    /// EPSV
    ExtendedPassive,
    /// CWD, CDUP: enter this.
    Enter(VirtualPath),
    /// MKD: show this.
    MakeDirectory(VirtualPath),
    /// RMD
    RemoveDirectory,
    /// DELE
    Delete,
    /// RNFR: remember this.
    RenameFrom(VirtualPath),
    /// RNTO
    RenameTo,
    /// SIZE
    Size,
    /// MDTM; when there is no such file, set this time of that file instead.
    Modified(Option<(UnixTime, VirtualPath)>),
    /// MDTM as a setter
    SetModified(UnixTime),
    /// MFMT: show time and path.
    Mfmt(UnixTime, VirtualPath),
    /// MLST: show this path.
    Facts(VirtualPath),
    /// STAT with a path
    Lines,
    /// SITE CHMOD, UTIME, SYMLINK
    Site,
    /// ALLO
    Allocate,
}

impl Session {
    pub(super) fn ask(&mut self, question: Question, ask: Ask) -> Next {
        self.state = State::Asking(question);
        Next::Ask(ask)
    }

    /// The path a client means, or the refusal for a name that cannot be one.
    pub(super) fn path(
        &self,
        argument: &[u8],
        errand: Errand,
        out: &mut Outbox,
    ) -> Option<VirtualPath> {
        let path = self.directory.join(argument);
        if path.is_none() {
            refusal(errand, Fault::BadName).send(out);
        }
        path
    }

    /// The same for a command that changes the tree: `refused` if the account may not at all.
    pub(super) fn writable_path(
        &self,
        argument: &[u8],
        refused: Reply,
        out: &mut Outbox,
    ) -> Option<VirtualPath> {
        if !self.account().is_some_and(|account| account.writes) {
            refused.send(out);
            return None;
        }
        self.path(argument, Errand::File, out)
    }

    /// CWD and CDUP. RFC 959 §4.1.1 calls CDUP "identical" to CWD: 250 for both.
    pub(super) fn enter(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.path(argument, Errand::Directory, out)?;
        Some(self.ask(Question::Enter(path.clone()), Ask::Enter(path)))
    }

    pub(super) fn show_directory(&self, out: &mut Outbox) -> Option<Next> {
        reply::DIRECTORY.fill(&[&reply::quoted(self.directory.as_bytes())], out);
        None
    }

    pub(super) fn make_directory(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.writable_path(argument, reply::NOT_PERMITTED, out)?;
        Some(self.ask(Question::MakeDirectory(path.clone()), Ask::MakeDirectory(path)))
    }

    pub(super) fn remove_directory(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.writable_path(argument, reply::NOT_PERMITTED, out)?;
        Some(self.ask(Question::RemoveDirectory, Ask::RemoveDirectory(path)))
    }

    pub(super) fn delete(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.writable_path(argument, reply::NOT_PERMITTED, out)?;
        Some(self.ask(Question::Delete, Ask::Delete(path)))
    }

    pub(super) fn rename_from(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.writable_path(argument, reply::NOT_PERMITTED, out)?;
        Some(self.ask(Question::RenameFrom(path.clone()), Ask::RenameFrom(path)))
    }

    /// RFC 959 §4.1.3: RNTO directly after RNFR, or 503.
    pub(super) fn rename_to(
        &mut self,
        prepared: Prepared,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<Next> {
        let Prepared::RenameFrom(from) = prepared else {
            return self.say(reply::RENAME_FROM_FIRST, out);
        };
        let to = self.path(argument, Errand::RenameTo, out)?;
        Some(self.ask(Question::RenameTo, Ask::Rename { from, to }))
    }

    /// RFC 3659 §4: octets of a transfer as TYPE, STRU and MODE stand now.
    pub(super) fn size(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.path(argument, Errand::File, out)?;
        let representation = self.parameters.representation;
        Some(self.ask(Question::Size, Ask::Size(path, representation)))
    }

    /// MDTM. Some clients set the time with `MDTM time path`; a file of that whole name comes first,
    /// for RFC 3659 §3.1 knows no other meaning.
    pub(super) fn modified(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.path(argument, Errand::File, out)?;
        let writes = self.account().is_some_and(|account| account.writes);
        let setter = timed(argument)
            .ok()
            .filter(|_| writes)
            .and_then(|(time, argument)| Some((time, self.directory.join(argument)?)));
        Some(self.ask(Question::Modified(setter), Ask::Modified(path)))
    }

    pub(super) fn set_modified(
        &mut self,
        time: UnixTime,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<Next> {
        let path = self.writable_path(argument, reply::NOT_PERMITTED, out)?;
        Some(self.ask(Question::Mfmt(time, path.clone()), Ask::SetModified(path, time)))
    }

    /// MLST; without an argument the current directory (RFC 3659 §7.1).
    pub(super) fn facts(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.path(argument, Errand::File, out)?;
        Some(self.ask(Question::Facts(path.clone()), Ask::Facts(path)))
    }

    pub(super) fn allocate(&mut self, octets: u64) -> Option<Next> {
        Some(self.ask(Question::Allocate, Ask::Allocate(octets)))
    }

    /// The answer to the pending question becomes the reply.
    pub(super) fn answered(&mut self, question: Question, answer: Answer, out: &mut Outbox) {
        match (question, answer) {
            (Question::Login, answer) => self.login_answered(answer, out),
            (Question::Passive, answer) => self.passive_answered(&answer, false, out),
            (Question::ExtendedPassive, answer) => self.passive_answered(&answer, true, out),
            (Question::Modified(Some((time, path))), Answer::Refused(Fault::Missing)) => {
                // A question that leads to another: `advance` asks it.
                let ask = self.ask(Question::SetModified(time), Ask::SetModified(path, time));
                self.step = Some(ask);
            }
            (question, Answer::Refused(fault)) => refusal(errand(&question), fault).send(out),
            (Question::Enter(path), Answer::Done) => {
                self.directory = path;
                reply::ENTERED.send(out);
            }
            (Question::MakeDirectory(path), Answer::Done) => {
                // RFC 959 Appendix II: the absolute name, quotes doubled.
                reply::DIRECTORY_MADE.fill(&[&reply::quoted(path.as_bytes())], out);
            }
            (Question::RemoveDirectory, Answer::Done) => reply::REMOVED.send(out),
            (Question::Delete, Answer::Done) => reply::DELETED.send(out),
            (Question::RenameFrom(path), Answer::Done) => {
                self.prepared = Prepared::RenameFrom(path);
                reply::RENAME_TO_NEEDED.send(out);
            }
            (Question::RenameTo, Answer::Done) => reply::RENAMED.send(out),
            (Question::Size, Answer::Size(octets)) => {
                reply::VALUE.fill(&[Digits::of(octets).as_bytes()], out);
            }
            (Question::Modified(_), Answer::Modified(time))
            | (Question::SetModified(time), Answer::Done) => say_modified(time, out),
            (Question::Mfmt(time, path), Answer::Done) => {
                let mut text = Vec::new();
                calendar::push_time_val(time, &mut text);
                reply::MODIFY.fill(&[&text, path.as_bytes()], out);
            }
            (Question::Facts(path), Answer::Facts(entry)) => self.say_facts(&path, *entry, out),
            (Question::Lines, Answer::Lines(lines)) => say_lines(&lines, out),
            (Question::Site, Answer::Done) => reply::SITE_DONE.send(out),
            (Question::Allocate, Answer::Done) => reply::ALLOCATED.send(out),
            // The driver answered something else than it was asked.
            _ => reply::INTERNAL.send(out),
        }
    }

    /// RFC 3659 §7.2: one line, one space before it, the name fully qualified.
    fn say_facts(&self, path: &VirtualPath, mut entry: Entry, out: &mut Outbox) {
        // RFC 3659 §7.5.1.2: cdir and pdir are of MLSD only.
        if matches!(entry.kind, EntryKind::Current | EntryKind::Parent) {
            entry.kind = EntryKind::Directory;
        }
        let mut line = Vec::new();
        listing::facts(self.parameters.facts, &entry, &mut line);
        reply::FACTS.begin(&[], out);
        reply::indented(&[&line, path.as_bytes()], out);
        reply::FACTS_END.send(out);
    }
}

fn errand(question: &Question) -> Errand {
    match question {
        Question::Enter(_) | Question::MakeDirectory(_) | Question::RemoveDirectory => {
            Errand::Directory
        }
        Question::RenameTo => Errand::RenameTo,
        Question::Lines => Errand::Status,
        Question::Allocate => Errand::Allocate,
        Question::Login
        | Question::Passive
        | Question::ExtendedPassive
        | Question::Delete
        | Question::RenameFrom(_)
        | Question::Size
        | Question::Modified(_)
        | Question::SetModified(_)
        | Question::Mfmt(..)
        | Question::Facts(_)
        | Question::Site => Errand::File,
    }
}

/// RFC 3659 §3.1: the time and nothing else. A year it cannot say is no time.
fn say_modified(time: UnixTime, out: &mut Outbox) {
    let mut text = Vec::with_capacity(14);
    if calendar::push_time_val(time, &mut text) {
        reply::VALUE.fill(&[&text], out);
    } else {
        refusal(Errand::File, Fault::Unsupported).send(out);
    }
}

/// STAT with a path: the listing, on the control connection.
fn say_lines(lines: &[u8], out: &mut Outbox) {
    reply::LISTED.begin(&[], out);
    for line in lines.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            reply::middle(line, out);
        }
    }
    reply::LISTED_END.send(out);
}
