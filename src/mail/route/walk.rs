//! mail::route::walk – one expansion, from recipients to targets.
//!
//! An alias that is met again inside itself stands for the user of that name, as in aliases(5); where
//! there is none it is a loop. An alias met again later has given its targets already. A loop over other
//! servers is seen by the field `Delivered-To` that mail got when it left (`rewrite`).
//!
//! Promises: each alias is expanded once, at most [`ALIAS_DEPTH_MAX`] deep; at most
//! [`ALIAS_MEMBERS_MAX`] members are looked at for one recipient.

use std::collections::BTreeSet;

use super::choose::Origin;
use super::{Recipient, Router, Unknown, Verdict};
use crate::limits::{ALIAS_DEPTH_MAX, ALIAS_MEMBERS_MAX};
use crate::mail::aliases::{Alias, Member};
use crate::mail::hop::Hop;
use crate::mail::name;
use crate::mail::rewrite;
use crate::mail::srs::Refused;
use crate::mail::stored::{Destination, Target, TargetState};
use crate::smtp::address::{Domain, Mailbox};

/// The name that every mail server answers to (RFC 5321 §4.5.1).
pub(super) const POSTMASTER: &str = "postmaster";

/// Where an address goes before anybody asks who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// To mailboxes, if there are any.
    Local,
    /// It is thrown away.
    Discard,
    /// To another server.
    Onward(Hop),
    /// Another server would have it, if its table knew it.
    Unknown,
    /// Not here, and nobody takes it there.
    Nowhere,
}

/// Why an address leads to no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    NoUser,
    NoRoute,
    Loop,
    /// It has been through this alias before, and went on to another server.
    Been,
    /// A rewritten sender that is not ours, or too old.
    Return(Refused),
}

impl Dead {
    fn reason(self) -> &'static str {
        match self {
            Self::NoUser => "5.1.1 no such user here",
            Self::NoRoute => "5.4.4 no route",
            Self::Loop => "5.4.6 an alias that leads to itself, or to too many",
            Self::Been => "5.4.6 mail for it comes back: it went on from this address before",
            Self::Return(Refused::Forged) => "5.1.1 a return address that was not made here",
            Self::Return(Refused::Expired) => "5.1.6 a return address that has expired",
        }
    }
}

/// Says on whose behalf an address is looked at.
#[derive(Debug, Clone, Copy)]
struct For<'a> {
    /// Number of the envelope's recipient.
    recipient: u32,
    /// Envelope sender of the list that led here.
    sender: Option<&'a str>,
    /// The first address of ours on the way that led elsewhere.
    via: Option<&'a str>,
    /// May it go wherever a route leads?
    relays: bool,
}

pub(super) struct Walk<'r> {
    router: &'r Router,
    /// Stop at the first place: only whether there is one matters.
    first_only: bool,
    /// Who sends.
    origin: Origin,
    /// Where the message has been (`rewrite::been_to`).
    been: &'r [String],
    /// Seconds since 1970, where it matters whether an address is too old.
    now: Option<i64>,
    pub(super) targets: Vec<Target>,
    places: usize,
    last: Option<Dead>,
    /// Aliases being expanded, outermost first.
    open: Vec<&'r str>,
    /// Aliases that were expanded.
    done: BTreeSet<&'r str>,
    /// Places that are targets already.
    seen: BTreeSet<(String, String)>,
    /// Members looked at for this recipient.
    members: usize,
    /// What the catch-all leads to is not looked for there again.
    catching: bool,
}

impl<'r> Walk<'r> {
    pub(super) fn new(router: &'r Router, first_only: bool, origin: Origin) -> Self {
        Self {
            router,
            first_only,
            origin,
            been: &[],
            now: None,
            targets: Vec::new(),
            places: 0,
            last: None,
            open: Vec::new(),
            done: BTreeSet::new(),
            seen: BTreeSet::new(),
            members: 0,
            catching: false,
        }
    }

    /// The message has been to these addresses.
    pub(super) fn been_to(self, been: &'r [String]) -> Self {
        Self { been, ..self }
    }

    /// Addresses that are too old then lead nowhere.
    pub(super) fn at(self, now: i64) -> Self {
        Self { now: Some(now), ..self }
    }

    pub(super) fn verdict(mut self, recipient: &Recipient, relays: bool) -> Verdict {
        self.recipient(0, recipient, relays);
        match self.last {
            _ if self.places > 0 => Verdict::Taken,
            Some(Dead::NoUser) | None => Verdict::NoUser,
            // A member that nobody can deliver is no question of relaying.
            Some(Dead::NoRoute) if self.members > 0 => Verdict::NoUser,
            Some(Dead::NoRoute) => Verdict::RelayDenied,
            Some(Dead::Loop | Dead::Been) => Verdict::Loop,
            Some(Dead::Return(Refused::Forged)) => Verdict::ForgedReturn,
            Some(Dead::Return(Refused::Expired)) => Verdict::ExpiredReturn,
        }
    }

    /// For an alias: the first name that leads in a circle, and how many members were looked at.
    pub(super) fn circle(mut self, alias: &str, domain: &str) -> (Option<String>, usize) {
        let whom = For { recipient: 0, sender: None, via: None, relays: true };
        self.address(alias, domain, whom);
        let circle = |target: &Target| matches!(&target.state, TargetState::Failed { reason } if reason == Dead::Loop.reason());
        let found = self.targets.into_iter().find(circle).map(|target| target.address);
        (found, self.members)
    }

    /// For a catch-all: is there a place behind this name?
    pub(super) fn leads_somewhere(mut self, local: &str, domain: &str) -> bool {
        self.address(local, domain, For { recipient: 0, sender: None, via: None, relays: true });
        self.places > 0
    }

    /// Adds what one recipient of the envelope leads to.
    pub(super) fn recipient(&mut self, number: u32, recipient: &Recipient, relays: bool) {
        self.members = 0;
        let whom = For { recipient: number, sender: None, via: None, relays };
        let home = &self.router.home;
        match recipient {
            Recipient::Postmaster => {
                self.address(POSTMASTER, home, For { relays: true, ..whom });
            }
            Recipient::Mailbox(Mailbox { local, domain }) => match domain {
                // RFC 5321 §4.5.1. Which addresses are ours is not known here, but whoever names the
                // postmaster of one, or of the name that the greeting or rewritten senders show, means us.
                Domain::Literal(_) if local.eq_ignore_ascii_case(POSTMASTER) => {
                    self.address(POSTMASTER, home, For { relays: true, ..whom });
                }
                Domain::Name(_)
                    if local.eq_ignore_ascii_case(POSTMASTER)
                        && self.router.is_our_face(&domain.key()) =>
                {
                    self.address(POSTMASTER, home, For { relays: true, ..whom });
                }
                Domain::Name(_) | Domain::Literal(_) | Domain::General(_) => {
                    let domain = domain.key();
                    match &self.router.srs {
                        Some(srs) if srs.claims(local, &domain) => self.back(local, &domain, whom),
                        Some(_) | None => self.address(local, &domain, whom),
                    }
                }
            },
        }
    }

    /// A sender that was rewritten here gets what came back.
    fn back(&mut self, local: &str, domain: &str, whom: For<'_>) {
        let Some(srs) = &self.router.srs else { return };
        match srs.back(local, self.now) {
            Ok((sender, of)) => {
                let own = address_text(local, domain);
                if self.has_been(&own) {
                    return self.dead(Dead::Been, (local, domain), whom);
                }
                self.members += 1;
                self.address(&sender, &of, For { via: Some(&own), relays: true, ..whom });
            }
            Err(refused) => self.dead(Dead::Return(refused), (local, domain), whom),
        }
    }

    fn has_been(&self, address: &str) -> bool {
        !self.been.is_empty() && self.been.contains(&rewrite::key(address))
    }

    fn enough(&self) -> bool {
        self.first_only && self.places > 0
    }

    fn address(&mut self, local: &str, domain: &str, whom: For<'_>) {
        let folded = name::folded(local);
        let postmaster = folded == POSTMASTER && domain == self.router.home;
        match self.router.step(&folded, domain, whom.relays, &self.origin) {
            Step::Onward(hop) => self.place(Destination::Remote(hop), None, (local, domain), whom),
            Step::Unknown => self.dead(Dead::NoUser, (local, domain), whom),
            Step::Discard => self.place(Destination::Discard, None, (local, domain), whom),
            Step::Local => self.local((local, &folded), domain, whom, true),
            // `<postmaster>` is ours even where no domain is.
            Step::Nowhere if postmaster && whom.relays => {
                self.local((local, &folded), domain, whom, true);
            }
            Step::Nowhere => self.dead(Dead::NoRoute, (local, domain), whom),
        }
    }

    /// `local` is a local part as written and in lower case.
    fn local(&mut self, local: (&str, &str), domain: &str, whom: For<'_>, aliased: bool) {
        let ((written, folded), asked) = (local, domain);
        let mut looped = false;
        let extended = self.router.without_extension(folded);
        let ways = [(folded, None), extended.map_or(("", None), |(base, tag)| (base, Some(tag)))];
        for (base, tag) in ways.into_iter().take(1 + usize::from(extended.is_some())) {
            if aliased && let Some(alias) = self.router.aliases.find(base) {
                if !self.open.iter().any(|open| *open == alias.name) {
                    return self.alias(alias, domain, whom);
                }
                looped = true;
            }
            if let Some(mailbox) = self.router.user(base, domain) {
                let to = Destination::Mailbox(mailbox.to_owned());
                return self.place(to, tag, (written, domain), whom);
            }
        }
        if looped {
            return self.dead(Dead::Loop, (written, domain), whom);
        }
        if let Some((local, domain)) = &self.router.catch_all
            && !self.catching
        {
            let own = address_text(written, asked);
            if whom.via.is_none() && self.has_been(&own) {
                return self.dead(Dead::Been, (written, asked), whom);
            }
            self.catching = true;
            let via = whom.via.or(Some(&own));
            self.address(local, domain, For { via, relays: true, ..whom });
            self.catching = false;
            return;
        }
        let (base, tag) = extended.map_or((folded, None), |(base, tag)| (base, Some(tag)));
        let anybody = self.router.unknown == Unknown::Accept || folded == POSTMASTER;
        match name::mailbox(base).filter(|_| anybody) {
            Some(mailbox) => {
                self.place(Destination::Mailbox(mailbox), tag, (written, domain), whom);
            }
            None => self.dead(Dead::NoUser, (written, domain), whom),
        }
    }

    fn alias(&mut self, alias: &'r Alias, domain: &str, whom: For<'_>) {
        if self.done.contains(alias.name.as_str()) {
            return;
        }
        if alias.endless || self.open.len() >= ALIAS_DEPTH_MAX {
            return self.dead(Dead::Loop, (&alias.name, domain), whom);
        }
        let own = address_text(&alias.name, domain);
        if whom.via.is_none() && self.has_been(&own) {
            return self.dead(Dead::Been, (&alias.name, domain), whom);
        }
        // RFC 5321 §3.9.2: a list replaces the return address, an alias keeps it (§3.9.1).
        let owner = format!("owner-{}", alias.name);
        let owner =
            self.router.aliases.find(&name::folded(&owner)).map(|_| address_text(&owner, domain));
        let (sender, via) = (owner.as_deref().or(whom.sender), whom.via.or(Some(&own)));
        let whom = For { sender, via, relays: true, ..whom };
        self.open.push(&alias.name);
        for member in &alias.members {
            self.members += 1;
            if self.members > ALIAS_MEMBERS_MAX {
                self.dead(Dead::Loop, (&alias.name, domain), whom);
                break;
            }
            match member {
                Member::Local(local) => self.address(local, domain, whom),
                Member::Address(local, domain) => self.address(local, domain, whom),
                Member::User(local) => {
                    self.local((local, &name::folded(local)), domain, whom, false);
                }
            }
            if self.enough() {
                break;
            }
        }
        self.open.pop();
        self.done.insert(&alias.name);
    }

    fn place(
        &mut self,
        to: Destination,
        tag: Option<&str>,
        (local, domain): (&str, &str),
        whom: For<'_>,
    ) {
        self.places += 1;
        if self.first_only {
            return;
        }
        let address = address_text(local, domain);
        let key = match &to {
            Destination::Mailbox(name) => (name.clone(), tag.unwrap_or_default().to_owned()),
            // Nothing is saved by throwing several away together; each gets its line in the log.
            Destination::Discard => (String::new(), name::folded(&address)),
            // RFC 5321 §2.4: what the case of a local part means is known to its own server only.
            Destination::Remote(_) => ("@".to_owned(), address.clone()),
        };
        if self.seen.insert(key) {
            let via = whom.via.filter(|_| matches!(to, Destination::Remote(_)));
            self.targets.push(Target {
                recipient: whom.recipient,
                address,
                tag: tag.map(str::to_owned),
                to,
                sender: whom.sender.map(str::to_owned),
                via: via.map(str::to_owned),
                state: TargetState::Waiting,
                told: false,
                delayed: false,
            });
        }
    }

    fn dead(&mut self, why: Dead, (local, domain): (&str, &str), whom: For<'_>) {
        self.last = Some(why);
        if self.first_only {
            return;
        }
        let address = address_text(local, domain);
        if self.seen.insert((String::new(), address.clone())) {
            self.targets.push(Target {
                recipient: whom.recipient,
                address,
                tag: None,
                to: Destination::Discard,
                sender: whom.sender.map(str::to_owned),
                via: None,
                state: TargetState::Failed { reason: why.reason().to_owned() },
                told: false,
                delayed: false,
            });
        }
    }
}

fn address_text(local: &str, domain: &str) -> String {
    Mailbox { local: local.to_owned(), domain: Domain::Name(domain.to_owned()) }.to_string()
}
