//! ftp::session::parameters – TYPE, STRU, OPTS, SITE (RFC 959 §4.1.2, RFC 2389 §4).
//!
//! Promises: defaults are A N, F, S (RFC 959 §5.1); what FEAT shows as selected is what MLSD sends.

use super::{Question, Session};
use crate::ftp::command::Site;
use crate::ftp::listing::FACT_NAMES;
use crate::ftp::reply;
use crate::ftp::step::{Ask, Facts, Kind, Next, Representation, Structure};
use crate::wire::outbox::Outbox;

/// Shortest idle limit a client may ask for, seconds.
const IDLE_SECONDS_MIN: u32 = 30;
/// What SITE UMASK shows before it was set.
const UMASK_SHOWN: u32 = 0o022;

/// What a client can set for its transfers and listings.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) representation: Representation,
    pub(super) facts: Facts,
}

impl Session {
    pub(super) fn set_type(&mut self, kind: Kind, out: &mut Outbox) -> Option<Next> {
        self.parameters.representation.kind = kind;
        let answer = match kind {
            Kind::Ascii => reply::TYPE_ASCII,
            Kind::Ebcdic => reply::TYPE_EBCDIC,
            Kind::Image => reply::TYPE_IMAGE,
        };
        self.say(answer, out)
    }

    pub(super) fn set_structure(&mut self, structure: Structure, out: &mut Outbox) -> Option<Next> {
        self.parameters.representation.structure = structure;
        let answer = match structure {
            Structure::File => reply::STRUCTURE_FILE,
            Structure::Record => reply::STRUCTURE_RECORD,
        };
        self.say(answer, out)
    }

    /// OPTS MLST (RFC 3659 §7.9): facts we do not know are left out, silently.
    pub(super) fn select_facts(&mut self, names: &[u8], out: &mut Outbox) -> Option<Next> {
        if self.account().is_none() {
            return self.say(reply::LOGIN_NEEDED, out);
        }
        let mut selected = Facts(0);
        for name in names.split(|octet| *octet == b';') {
            for (fact, known) in FACT_NAMES {
                if known.as_bytes().eq_ignore_ascii_case(name) {
                    selected = selected.with(fact);
                }
            }
        }
        self.parameters.facts = selected;
        let mut shown = Vec::new();
        for (fact, name) in FACT_NAMES {
            if selected.contains(fact) {
                shown.extend_from_slice(name.as_bytes());
                shown.push(b';');
            }
        }
        if shown.is_empty() {
            return self.say(reply::OPTION_MLST_NONE, out);
        }
        reply::OPTION_MLST.fill(&[&shown], out);
        None
    }

    /// SITE (RFC 959 §4.1.3): what this server offers beyond the standard.
    pub(super) fn site(&mut self, site: Site<'_>, out: &mut Outbox) -> Option<Next> {
        match site {
            Site::Help => self.help_site(out),
            Site::Umask(mask) => {
                self.umask = mask.or(self.umask);
                let shown = format!("{:03o}", self.umask.unwrap_or(UMASK_SHOWN));
                reply::SITE_UMASK.fill(&[shown.as_bytes()], out);
                None
            }
            Site::Idle(seconds) => self.set_idle(seconds, out),
            Site::Chmod(mode, path) => {
                let path = self.writable_path(path, reply::NOT_PERMITTED, out)?;
                Some(self.ask(Question::Site, Ask::SetMode(path, mode)))
            }
            Site::Utime(time, path) => {
                let path = self.writable_path(path, reply::NOT_PERMITTED, out)?;
                Some(self.ask(Question::Site, Ask::SetModified(path, time)))
            }
            Site::Symlink(target, link) => {
                let link = self.writable_path(link, reply::NOT_PERMITTED, out)?;
                let target = target.to_vec();
                Some(self.ask(Question::Site, Ask::Symlink { target, link }))
            }
        }
    }

    fn set_idle(&mut self, seconds: Option<u64>, out: &mut Outbox) -> Option<Next> {
        if let Some(seconds) = seconds {
            let longest = self.settings.idle_seconds_max;
            let shortest = IDLE_SECONDS_MIN.min(longest);
            match u32::try_from(seconds) {
                Ok(seconds) if (shortest..=longest).contains(&seconds) => {
                    self.idle_seconds = seconds;
                }
                _ => return self.say(reply::SYNTAX, out),
            }
        }
        reply::SITE_IDLE.fill(&[self.idle_seconds.to_string().as_bytes()], out);
        None
    }
}
