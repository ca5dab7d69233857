//! ftp::session::texts – STAT, HELP, FEAT: replies of several lines.
//!
//! Promises: FEAT shows what is on, and nothing else (RFC 2389 §3.2).

use super::channel::Data;
use super::{Session, State, Tls};
use crate::ftp::command::Request;
use crate::ftp::listing::FACT_NAMES;
use crate::ftp::reply;
use crate::ftp::step::{Kind, Next, Structure};
use crate::ftp::verb::{Gate, VERBS, Verb};
use crate::wire::ascii::Digits;
use crate::wire::outbox::Outbox;

/// Names in a line of HELP.
const HELP_COLUMNS: usize = 8;

impl Session {
    /// STAT without a path (RFC 959 §4.1.3), during a transfer too.
    pub(super) fn status(&self, out: &mut Outbox) -> Option<Next> {
        reply::STATUS.begin(&[self.settings.hostname.as_bytes()], out);
        let peer = self.peer.ip().to_string();
        reply::indented(&[b"Connected from ", peer.as_bytes()], out);
        if let Some(account) = self.account() {
            reply::indented(&[b"Logged in as ", &account.name], out);
        }
        if self.security.secured {
            let data: &[u8] = if self.security.private { b"TLS" } else { b"clear" };
            reply::indented(&[b"Control connection: TLS; data connections: ", data], out);
        }
        let kind: &[u8] = match self.parameters.representation.kind {
            Kind::Ascii => b"A N",
            Kind::Ebcdic => b"E N",
            Kind::Image => b"I",
        };
        let structure: &[u8] = match self.parameters.representation.structure {
            Structure::File => b"F",
            Structure::Record => b"R",
        };
        reply::indented(&[b"TYPE: ", kind, b"; STRU: ", structure, b"; MODE: S"], out);
        reply::indented(
            &[b"Idle limit: ", Digits::of(self.idle_seconds.into()).as_bytes(), b" seconds"],
            out,
        );
        match (&self.state, self.data) {
            (State::Transferring(running), _) => {
                let moved = Digits::of(running.bytes);
                reply::indented(&[b"Transfer running: ", moved.as_bytes(), b" bytes so far"], out);
            }
            (_, Data::Passive) => reply::indented(&[b"Passive port open"], out),
            (_, Data::Active(address)) => {
                let address = address.to_string();
                reply::indented(&[b"Data address: ", address.as_bytes()], out);
            }
            (_, Data::Unset) => reply::indented(&[b"No data connection"], out),
        }
        reply::STATUS_END.send(out);
        None
    }

    /// HELP, HELP command, HELP SITE (RFC 959 §4.1.3).
    pub(super) fn help(&self, topic: Option<&[u8]>, out: &mut Outbox) -> Option<Next> {
        let Some(topic) = topic else {
            reply::HELP.begin(&[], out);
            let offered: Vec<&[u8]> =
                VERBS.iter().filter(|verb| self.offers(**verb)).map(|verb| verb.name()).collect();
            for row in offered.chunks(HELP_COLUMNS) {
                reply::indented(&[&row.join(&b' ')], out);
            }
            reply::HELP_END.send(out);
            return None;
        };
        match Request::read(topic.trim_ascii()).map(|request| request.verb) {
            None => self.say(reply::HELP_UNKNOWN, out),
            Some(Verb::Site) => self.help_site(out),
            Some(verb) if !self.offers(verb) => self.say(reply::NOT_IMPLEMENTED, out),
            Some(verb) => {
                reply::HELP_ONE.fill(&[verb.syntax().as_bytes()], out);
                None
            }
        }
    }

    fn offers(&self, verb: Verb) -> bool {
        match verb.gate() {
            Gate::Open | Gate::Login => true,
            Gate::Secure => self.settings.tls != Tls::Off,
            Gate::Absent => false,
        }
    }

    #[expect(clippy::unused_self, reason = "a handler like the others")]
    pub(super) fn help_site(&self, out: &mut Outbox) -> Option<Next> {
        reply::HELP_SITE.begin(&[], out);
        for line in [
            "CHMOD mode path",
            "HELP",
            "IDLE [seconds]",
            "SYMLINK target link",
            "UMASK [mask]",
            "UTIME YYYYMMDDhhmm[ss] path",
            "UTIME path accessed modified changed UTC",
        ] {
            reply::indented(&[line.as_bytes()], out);
        }
        reply::HELP_SITE_END.send(out);
        None
    }

    /// FEAT (RFC 2389 §3.2): one space, one feature a line.
    pub(super) fn features(&self, out: &mut Outbox) -> Option<Next> {
        reply::FEATURES.begin(&[], out);
        if self.settings.tls != Tls::Off {
            // RFC 4217 §6: "AUTH TLS"; its synonyms need no mention.
            reply::indented(&[b"AUTH TLS"], out);
        }
        for feature in ["CLNT", "EPRT", "EPSV", "MDTM", "MFMT"] {
            reply::indented(&[feature.as_bytes()], out);
        }
        // RFC 3659 §7.8: an asterisk marks what is selected now; MLSD has no line of its own.
        let mut facts = b"MLST ".to_vec();
        for (fact, name) in FACT_NAMES {
            facts.extend_from_slice(name.as_bytes());
            if self.parameters.facts.contains(fact) {
                facts.push(b'*');
            }
            facts.push(b';');
        }
        reply::indented(&[&facts], out);
        if self.settings.tls != Tls::Off {
            reply::indented(&[b"PBSZ"], out);
            reply::indented(&[b"PROT"], out);
        }
        for feature in ["REST STREAM", "SIZE", "TVFS", "UTF8"] {
            reply::indented(&[feature.as_bytes()], out);
        }
        reply::FEATURES_END.send(out);
        None
    }
}
