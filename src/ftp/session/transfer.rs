//! ftp::session::transfer – transfers, and what happens while one runs.
//!
//! RETR, STOR, STOU, APPE, LIST, NLST, MLSD, REST, ABOR. The whole table of data-channel replies is
//! [`Session::transfer`]:
//!
//! | news | reply | data connection |
//! |---|---|---|
//! | `Refused` | 450 451 452 501 550 552 553 554, by command (`refusal`) | still to be used |
//! | `NoConnection` | 425 | used up |
//! | `Opened` | 150 | used up |
//! | `Done` | 226 | |
//! | `Failed` | 451 452 550 552 553, by command | |
//! | `Broken` | 426 | |
//! | `NotSecured` | 425 | |
//! | `NotResumed` | 522 | |
//! | `Aborted` | 426, then 226 for the ABOR | |
//!
//! Promises: at most one 1yz; 226 after `Done` only; never two 226 without a 426 between them.

use super::channel::Data;
use super::{Prepared, Question, Session, State};
use crate::ftp::command::Request;
use crate::ftp::refusal::{Errand, failure, refusal};
use crate::ftp::reply;
use crate::ftp::step::{
    Ask, Job, Kind, ListForm, ListOptions, News, Next, Representation, Structure, Transfer,
};
use crate::ftp::verb::Verb;
use crate::wire::ascii::{Digits, word};
use crate::wire::line::Line;
use crate::wire::outbox::Outbox;

/// A transfer that runs.
#[derive(Debug)]
pub(super) struct Running {
    errand: Errand,
    opened: bool,
    aborting: bool,
    pub(super) bytes: u64,
}

impl Session {
    /// Reports what became of the running transfer.
    pub fn transfer(&mut self, news: News, out: &mut Outbox) {
        let State::Transferring(running) = &mut self.state else {
            debug_assert!(matches!(self.state, State::Closing), "news of no transfer");
            return;
        };
        let (errand, aborting) = (running.errand, running.aborting);
        let broken =
            matches!(news, News::Broken | News::Failed(_) | News::NotSecured | News::NotResumed);
        match news {
            News::Opened { name, size_bytes } => {
                if !std::mem::replace(&mut running.opened, true) {
                    let unique = errand == Errand::StoreUnique;
                    self.data = Data::Unset;
                    say_opened(name.as_deref().filter(|_| unique), size_bytes, out);
                    self.answer_waiting_status(out);
                }
                return;
            }
            News::Refused(fault) => refusal(errand, fault).send(out),
            News::NoConnection => {
                self.data = Data::Unset;
                reply::NO_CONNECTION.send(out);
            }
            News::Done { .. } => reply::COMPLETE.send(out),
            News::Failed(fault) => failure(errand, fault).send(out),
            News::Broken => reply::BROKEN.send(out),
            News::NotSecured => reply::NOT_SECURED.send(out),
            // RFC 4217 §11.4: the protection of the data connection "is not sufficient".
            News::NotResumed => reply::NOT_RESUMED.send(out),
            News::Aborted => {
                self.data = Data::Unset;
                reply::TRANSFER_ABORTED.send(out);
                if aborting {
                    // RFC 959 §4.1.3 (ABOR): 426 for the transfer, then 226 for the ABOR.
                    reply::ABORTED.send(out);
                }
                self.state = State::Ready;
                return;
            }
        }
        self.state = State::Ready;
        if broken && aborting {
            // The client closed its end while the ABOR was on its way: both had the same in mind.
            reply::ABORTED.send(out);
        } else if broken {
            self.prepared = Prepared::Broken;
        } else if aborting {
            // It ended before the ABOR reached it, and has its own reply; a second 226 would leave
            // the client one reply behind.
            reply::NOTHING_TO_ABORT.send(out);
        }
    }

    /// Octets moved so far, for STAT. Called by the driver before `advance` while a transfer runs.
    pub fn progress(&mut self, bytes: u64) {
        if let State::Transferring(running) = &mut self.state {
            running.bytes = bytes;
        }
    }

    /// RFC 959 §4.1.3, RFC 1123 §4.1.3.3: STAT and ABOR reach a running transfer, the rest waits.
    pub(super) fn line_during_transfer(
        &mut self,
        line: Line<'_>,
        out: &mut Outbox,
    ) -> Option<Next> {
        let request = match &line {
            Line::Whole(line) => Request::read(line),
            Line::TooLong => None,
        };
        let State::Transferring(running) = &mut self.state else { return None };
        match request {
            Some(request) if request.verb == Verb::Abor && !running.aborting => {
                // Whatever waits before it: an ABOR that waits is none.
                running.aborting = true;
                return Some(Next::Abort);
            }
            // Before 150 a 211 would be taken for the reply to the transfer; after a line that
            // waits, for the reply to that.
            Some(request)
                if request.is_bare_stat()
                    && running.opened
                    && !running.aborting
                    && self.deferred.is_empty() =>
            {
                return self.status(out);
            }
            Some(_) | None => self.deferred.push(line),
        }
        None
    }

    /// STAT lines that arrived between the command and its 150.
    fn answer_waiting_status(&mut self, out: &mut Outbox) {
        while let Some(Line::Whole(line)) = self.deferred.first() {
            if !Request::read(line).is_some_and(|request| request.is_bare_stat()) {
                return;
            }
            self.deferred.pop();
            self.status(out);
        }
    }

    /// ABOR while nothing runs (RFC 959 §4.1.3).
    pub(super) fn abort_idle(&mut self, prepared: &Prepared, out: &mut Outbox) -> Option<Next> {
        match self.data {
            Data::Unset | Data::Active(_) if matches!(prepared, Prepared::Broken) => {
                self.say(reply::ABORTED, out)
            }
            Data::Passive => {
                reply::ABORTED.send(out);
                self.replace_data(Data::Unset)
            }
            Data::Unset | Data::Active(_) => self.say(reply::NOTHING_TO_ABORT, out),
        }
    }

    pub(super) fn restart(&mut self, offset_bytes: u64, out: &mut Outbox) -> Option<Next> {
        self.prepared = Prepared::Restart(offset_bytes);
        reply::RESTART.fill(&[Digits::of(offset_bytes).as_bytes()], out);
        None
    }

    pub(super) fn retrieve(
        &mut self,
        prepared: &Prepared,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<Next> {
        let path = self.path(argument, Errand::Retrieve, out)?;
        let job = Job::Retrieve { path, offset_bytes: offset(prepared) };
        self.begin(Errand::Retrieve, job, out)
    }

    pub(super) fn store(
        &mut self,
        prepared: &Prepared,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<Next> {
        let path = self.storable_path(argument, out)?;
        let offset_bytes = offset(prepared);
        if offset_bytes > 0 && self.parameters.representation != AS_IMAGE {
            // An offset into converted octets is no place in the file.
            return self.say(reply::RESTART_CONVERTED, out);
        }
        self.begin(Errand::Store, Job::Store { path, offset_bytes }, out)
    }

    pub(super) fn store_unique(
        &mut self,
        prepared: &Prepared,
        stem: Option<&[u8]>,
        out: &mut Outbox,
    ) -> Option<Next> {
        if offset(prepared) > 0 {
            // RFC 3659 §5.3: a new file has no middle to restart in.
            return self.say(reply::RESTART_UNIQUE, out);
        }
        // RFC 959 §4.1.3: "in the current directory"; of a path only the last name counts.
        let named = self.storable_path(stem.unwrap_or_default(), out)?;
        let stem = stem.and_then(|_| named.split()).map(|(_, name)| name.to_vec());
        let job = Job::StoreUnique { directory: self.directory.clone(), stem };
        self.begin(Errand::StoreUnique, job, out)
    }

    pub(super) fn append(
        &mut self,
        prepared: &Prepared,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<Next> {
        // RFC 3659 §5.3: APPE after REST does what STOR would. REST 0 is how clients take an earlier
        // REST back; to overwrite what is to be extended would be a bad answer to it.
        if offset(prepared) > 0 {
            return self.store(prepared, argument, out);
        }
        let path = self.storable_path(argument, out)?;
        self.begin(Errand::Store, Job::Append { path }, out)
    }

    pub(super) fn list(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let (path, options) = self.listed(argument, Errand::List, out)?;
        self.begin(Errand::List, Job::List { path, form: ListForm::Long, options }, out)
    }

    pub(super) fn list_names(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let (path, options) = self.listed(argument, Errand::List, out)?;
        self.begin(Errand::List, Job::List { path, form: ListForm::Names, options }, out)
    }

    /// RFC 3659 §7.2: no flags, no wildcards; every name is shown.
    pub(super) fn list_machine(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let path = self.path(argument, Errand::Machine, out)?;
        let options = ListOptions { all: true, ..ListOptions::default() };
        let form = ListForm::Machine(self.parameters.facts);
        self.begin(Errand::Machine, Job::List { path, form, options }, out)
    }

    /// STAT with a path (RFC 959 §4.1.3).
    pub(super) fn list_status(&mut self, argument: &[u8], out: &mut Outbox) -> Option<Next> {
        let (path, options) = self.listed(argument, Errand::Status, out)?;
        Some(self.ask(Question::Lines, Ask::Lines(path, options)))
    }

    fn storable_path(
        &self,
        argument: &[u8],
        out: &mut Outbox,
    ) -> Option<crate::ftp::path::VirtualPath> {
        if !self.account().is_some_and(|account| account.writes) {
            reply::NOT_PERMITTED.send(out);
            return None;
        }
        self.path(argument, Errand::Store, out)
    }

    /// Path and flags of LIST, NLST and STAT.
    fn listed(
        &self,
        argument: &[u8],
        errand: Errand,
        out: &mut Outbox,
    ) -> Option<(crate::ftp::path::VirtualPath, ListOptions)> {
        let (mut options, written) = flags(argument);
        let at = memchr::memrchr(b'/', written).map_or(0, |at| at + 1);
        let (before, last) = written.split_at(at);
        if memchr::memchr3(b'*', b'?', b'[', last).is_some() {
            options.pattern = Some(last.to_vec());
            options.prefix = before.to_vec();
            return Some((self.path(before, errand, out)?, options));
        }
        options.prefix = written.to_vec();
        if !last.is_empty() {
            options.prefix.push(b'/');
        }
        Some((self.path(written, errand, out)?, options))
    }

    fn begin(&mut self, errand: Errand, job: Job, out: &mut Outbox) -> Option<Next> {
        if self.needs_private() {
            return self.say(reply::NOT_PRIVATE, out);
        }
        let Some(channel) = self.channel() else { return self.say(reply::NO_ADDRESS, out) };
        let chosen = self.parameters.representation;
        let representation = match &job {
            Job::List { form: ListForm::Machine(_), .. } => AS_IMAGE,
            // RFC 1123 §4.1.2.7: listings are TYPE A N, or E N where that is the type.
            Job::List { .. } if chosen.kind == Kind::Ebcdic => {
                Representation { kind: Kind::Ebcdic, structure: Structure::File }
            }
            Job::List { .. } => Representation { kind: Kind::Ascii, structure: Structure::File },
            Job::Retrieve { .. }
            | Job::Store { .. }
            | Job::StoreUnique { .. }
            | Job::Append { .. } => chosen,
        };
        // An ABOR that came while another was under way, behind the line that began this transfer.
        let aborting = self.deferred.take_abort();
        if aborting {
            self.step = Some(Next::Abort);
        }
        let running = Running { errand, opened: false, aborting, bytes: 0 };
        self.state = State::Transferring(running);
        let private = self.security.private;
        Some(Next::Transfer(Transfer { job, representation, channel, private }))
    }
}

/// RFC 3659 §7.2: MLSD is "as if" TYPE L 8, STRU F, whatever was set.
const AS_IMAGE: Representation = Representation { kind: Kind::Image, structure: Structure::File };

fn offset(prepared: &Prepared) -> u64 {
    match prepared {
        Prepared::Restart(offset_bytes) => *offset_bytes,
        Prepared::Nothing | Prepared::RenameFrom(_) | Prepared::Broken => 0,
    }
}

/// 150. RFC 1123 §4.1.2.9: STOU says the name it made.
fn say_opened(name: Option<&[u8]>, size_bytes: Option<u64>, out: &mut Outbox) {
    match (name, size_bytes) {
        (Some(name), _) => reply::OPENING_UNIQUE.fill(&[name], out),
        (None, Some(size)) => reply::OPENING_SIZE.fill(&[Digits::of(size).as_bytes()], out),
        (None, None) => reply::OPENING.send(out),
    }
}

/// Flags in the manner of `ls` before a pathname: clients send `LIST -la`, though no RFC has it.
/// Flags we do not know change nothing.
fn flags(argument: &[u8]) -> (ListOptions, &[u8]) {
    let mut options = ListOptions::default();
    let mut rest = argument;
    while rest.first() == Some(&b'-') {
        let (letters, after) = word(rest);
        options.all |= letters.iter().any(|letter| matches!(letter, b'a' | b'A'));
        options.recursive |= letters.contains(&b'R');
        rest = after.unwrap_or_default();
        if letters == b"--" {
            break;
        }
    }
    (options, rest)
}
