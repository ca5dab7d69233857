//! mail::route – from a recipient to the mailboxes that get the message.
//!
//! Order: routes of the configuration (first match wins; `discard` and other servers end it there) →
//! aliases → users and their addresses → address extension (`user+tag`) → catch-all → `unknown_local_part`.
//!
//! ```text
//!  *@a.example → discard     ann@b.example ─ alias? ─ user or address? ─ again without +tag ─┐
//!                                              └ its members, each from the beginning        │
//!                              postmaster, catch-all, any mailbox, or nobody ◀───────────────┘
//! ```
//! Promises: every expansion ends (loops are noticed, depth and count bounded); the same target once;
//! local parts are compared without case; a route that asks for a sender or a login makes no domain ours.
//! Not here: whether the mailbox has room, what other servers say.
#![allow(
    clippy::disallowed_types,
    reason = "the router is one for all shards: its routes are shared by their threads"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::aliases::{Alias, Aliases, Member};
use super::hop::{Hop, Onward};
use super::name;
use super::rewrite::Verp;
use super::srs::Srs;
use super::stored::{Destination, Message, Target};
use crate::smtp::address::{Domain, Mailbox, Recipient, Sender};
use crate::smtp::envelope::Envelope;

mod choose;
mod walk;

use choose::{Origin, Pattern, Routes};
pub use choose::{Route, RouteTo};
use walk::{Step, Walk};

/// Members looked at while aliases are searched for circles: a file that has more is searched in part.
const LOOPS_MEMBERS_MAX: usize = 1_000_000;

/// Whether mail for a recipient is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Taken,
    /// One of our domains, but nobody of that name.
    NoUser,
    /// Not one of our domains, and the client may not relay or no route leads there.
    RelayDenied,
    /// An alias that leads to itself, or to too many.
    Loop,
    /// A sender that was rewritten, but not here.
    ForgedReturn,
    /// A sender that was rewritten here too long ago.
    ExpiredReturn,
}

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Our name: the domain of `<postmaster>` when there is no other.
    pub hostname: String,
    /// Domains whose mail is taken.
    pub domains: Vec<String>,
    /// In order.
    pub routes: Vec<Route>,
    /// Networks whose clients may send anywhere a route leads.
    pub relay_from: Vec<Network>,
    /// Local parts that are neither user nor alias.
    pub unknown: Unknown,
    /// The user or address who gets what nobody else gets.
    pub catch_all: Option<String>,
    /// What begins an address extension; empty: nothing does.
    pub separator: String,
    /// How senders of what is forwarded are rewritten, if they are.
    pub srs: Option<Srs>,
    /// Lists whose members have senders of their own.
    pub verp: Verp,
}

/// Who gets mail for local parts that are neither user nor alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Nobody.
    #[default]
    Reject,
    /// A mailbox of that name.
    Accept,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub peer: IpAddr,
    /// It said who it is, and proved it.
    pub authenticated: bool,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// Bits of the prefix; more than the address has are all of them.
    pub prefix: u8,
}

/// Somebody with a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name: a local part in every domain of ours.
    pub name: String,
    /// Mail addresses beside it.
    pub addresses: Vec<String>,
}

/// What the operator wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A user.
    User,
    /// Line of the aliases file, from 1.
    Alias(usize),
    /// The catch-all.
    CatchAll,
    /// A route, from 0.
    Route(usize),
}

/// Something that works, but not as the operator may think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub about: About,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Everything needed to route; made anew when configuration, accounts or aliases change.
#[derive(Debug, Clone)]
pub struct Router {
    domains: BTreeSet<String>,
    /// The domain of names that have none.
    home: String,
    /// The name the server greets with; its postmaster is ours too.
    host: String,
    routes: Routes,
    relay_from: Vec<Network>,
    unknown: Unknown,
    /// Leads somewhere, or is not kept.
    catch_all: Option<(String, String)>,
    separator: String,
    srs: Option<Srs>,
    verp: Verp,
    /// Names in lower case → mailbox.
    users: BTreeMap<String, String>,
    /// Local part in lower case and domain → mailbox.
    addresses: BTreeMap<(String, String), String>,
    aliases: Aliases,
    warnings: Vec<Warning>,
}

impl Router {
    /// From the configuration, the accounts and the aliases file.
    pub fn new(rules: Rules, users: impl IntoIterator<Item = User>, aliases: Aliases) -> Self {
        let key = |name: &String| Domain::Name(name.clone()).key();
        let domains = rules.domains.iter().map(key).collect();
        let home = rules.domains.first().unwrap_or(&rules.hostname);
        let mut router = Self {
            domains,
            home: key(home),
            host: key(&rules.hostname),
            routes: Routes::new(&rules.routes),
            relay_from: rules.relay_from,
            unknown: rules.unknown,
            catch_all: None,
            separator: rules.separator,
            srs: rules.srs,
            verp: rules.verp,
            users: BTreeMap::new(),
            addresses: BTreeMap::new(),
            aliases,
            warnings: Vec::new(),
        };
        for user in users {
            router.add(&user);
        }
        if let Some(catch_all) = &rules.catch_all {
            router.set_catch_all(catch_all);
        }
        router.look_at_aliases();
        router.look_at_routes(&rules.routes);
        router
    }

    /// Whose mail goes elsewhere than the operator may think.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What it was made from.
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Is mail of this sender for this recipient taken from this client now? Who is authenticated may send
    /// anywhere a route leads.
    pub fn verdict(
        &self,
        sender: Option<&Mailbox>,
        recipient: &Recipient,
        client: Client,
        now: i64,
    ) -> Verdict {
        let Client { peer, authenticated } = client;
        let relays = authenticated || self.may_relay(peer);
        let origin = Origin::new(sender, authenticated);
        Walk::new(self, true, origin).at(now).verdict(recipient, relays)
    }

    /// Is it an address of that user: the name in a domain of ours, or an address of the account, with an
    /// extension or without? (Aliases are nobody's own.)
    pub fn owns(&self, user: &str, sender: &Mailbox) -> bool {
        let (folded, domain) = (name::folded(&sender.local), sender.domain.key());
        let own = name::mailbox(user);
        let is = |folded: &str| {
            let by_address = self.addresses.get(&(folded.to_owned(), domain.clone()));
            let by_name = || self.users.get(folded).filter(|_| self.is_ours(folded, &domain));
            by_address.or_else(by_name).is_some_and(|found| own.as_ref() == Some(found))
        };
        is(&folded) || self.without_extension(&folded).is_some_and(|(base, _)| is(base))
    }

    /// Everybody the message goes to that has been to these addresses (`rewrite::been_to`). Recipients whose
    /// users vanished since RCPT, and loops, become failed targets.
    pub fn targets(&self, envelope: &Envelope, been: &[String]) -> Vec<Target> {
        let relays = self.is_trusted(envelope);
        self.expanded(Walk::new(self, false, Origin::of(envelope)).been_to(been), envelope, relays)
    }

    /// The same for what this server sends itself: it goes where mail of users goes.
    pub fn targets_from_here(&self, envelope: &Envelope) -> Vec<Target> {
        let origin = Origin::new(envelope.sender.as_ref(), true);
        self.expanded(Walk::new(self, false, origin), envelope, true)
    }

    /// Who looks after this server.
    pub fn postmaster(&self) -> Mailbox {
        let domain = Domain::Name(self.home.clone());
        Mailbox { local: walk::POSTMASTER.to_owned(), domain }
    }

    /// Does it matter to [`Router::targets`] where a message has been?
    pub fn forwards(&self) -> bool {
        !self.aliases.is_empty() || self.catch_all.is_some() || self.srs.is_some()
    }

    /// Is it of a user, or of a client that may send anywhere?
    pub fn is_trusted(&self, envelope: &Envelope) -> bool {
        envelope.protocol.authenticated || self.may_relay(envelope.peer.ip())
    }

    /// The envelope sender under which it goes to this target at another server; the outer `None`: the address
    /// cannot be said. Who keeps mailboxes (LMTP) hears the one that the mailbox is to show.
    pub fn sends_as(&self, message: &Message, target: &Target) -> Option<Sender> {
        // Nobody is told about a message that has no sender, by whatever way it goes (RFC 5321 §4.5.5).
        let Some(sender) = &message.envelope.sender else { return Some(None) };
        let address = |text: &str| {
            let (local, domain) = name::split(text)?;
            Some(Mailbox { local, domain: Domain::Name(domain?) })
        };
        let onward = matches!(&target.to, Destination::Remote(Hop::Mx | Hop::Relay { .. }));
        match (&target.sender, &target.via) {
            (Some(owner), _) => {
                let owner = address(owner)?;
                let member = address(&target.address).filter(|_| onward);
                let own = member.and_then(|it| self.verp.sender(&owner, &self.separator, &it));
                Some(Some(own.unwrap_or(owner)))
            }
            (None, Some(_)) if onward => {
                let ours = self.is_ours(&sender.local, &sender.domain.key());
                let srs = self.srs.as_ref().filter(|srs| !ours && !srs.is_of(&sender.domain));
                let rewritten = |srs: &Srs| srs.forward(sender, message.accepted);
                Some(Some(srs.and_then(rewritten).unwrap_or_else(|| sender.clone())))
            }
            (None, _) => Some(Some(sender.clone())),
        }
    }

    fn expanded(&self, mut walk: Walk<'_>, envelope: &Envelope, relays: bool) -> Vec<Target> {
        for (number, to) in (0..).zip(&envelope.recipients) {
            walk.recipient(number, &to.recipient, relays);
        }
        walk.targets
    }

    /// The route that a target for another server takes now, and the domain it is for. `None` when no route
    /// leads from here any more.
    pub fn onward(&self, envelope: &Envelope, target: &Target) -> Option<(Arc<Onward>, String)> {
        let Destination::Remote(hop) = &target.to else { return None };
        let (local, domain) = name::split(&target.address)?;
        let domain = domain?;
        let mut origin = Origin::of(envelope);
        // A message of this server, which nobody sent.
        origin.authenticated |= envelope.peer.ip().is_unspecified();
        let by_rule = match self.route(&name::folded(&local), &domain, &origin).map(|it| &it.to) {
            Some(RouteTo::Onward(onward)) => Some(onward),
            Some(RouteTo::Local | RouteTo::Discard) | None => None,
        };
        // What a changed configuration keeps is a server of that name.
        let by_hop = || self.routes.to(hop);
        by_rule.or_else(by_hop).map(|onward| (Arc::clone(onward), domain))
    }

    /// For VRFY: the full name, if known, and the mailbox.
    pub fn verify(&self, text: &str) -> Option<(Option<String>, Mailbox)> {
        let mailbox = self.mailbox(text)?;
        let recipient = Recipient::Mailbox(mailbox.clone());
        let verdict = Walk::new(self, true, Origin::nobody()).verdict(&recipient, false);
        (verdict == Verdict::Taken).then_some((None, mailbox))
    }

    /// For EXPN: the members of an alias.
    pub fn expand(&self, text: &str) -> Option<Vec<Mailbox>> {
        let Mailbox { local, domain } = self.mailbox(text)?;
        let key = domain.key();
        let alias = self.aliases.find(&name::folded(&local))?;
        if !self.is_ours(&local, &key) || alias.endless {
            return None;
        }
        let member = |member: &Member| match member {
            Member::Local(local) | Member::User(local) => {
                Mailbox { local: local.clone(), domain: domain.clone() }
            }
            Member::Address(local, domain) => {
                Mailbox { local: local.clone(), domain: Domain::Name(domain.clone()) }
            }
        };
        Some(alias.members.iter().map(member).collect())
    }

    /// What VRFY and EXPN are asked about: a name, an address, or one in angle brackets.
    fn mailbox(&self, text: &str) -> Option<Mailbox> {
        let text = match text.trim().strip_suffix('>') {
            Some(named) => named.rsplit_once('<')?.1.trim(),
            None => text.trim(),
        };
        let (local, domain) = name::split(text)?;
        let domain = Domain::Name(domain.unwrap_or_else(|| self.home.clone()));
        Some(Mailbox { local, domain })
    }

    fn may_relay(&self, peer: IpAddr) -> bool {
        self.relay_from.iter().any(|network| network.contains(peer))
    }

    /// The first route for such mail. A star among domains sends nothing of ours to other servers.
    fn route(&self, folded: &str, domain: &str, origin: &Origin) -> Option<&Pattern> {
        let ours = self.domains.contains(domain);
        self.routes.fitting(folded, domain).find(|pattern| {
            let stays = pattern.domain.is_none() && matches!(pattern.to, RouteTo::Onward(_));
            pattern.is_for(origin) && !(ours && stays)
        })
    }

    /// Is mail for it taken from anybody? A route for some senders only says nothing about that.
    fn is_ours(&self, local: &str, domain: &str) -> bool {
        let first = || {
            let folded = name::folded(local);
            let mut fitting = self.routes.fitting(&folded, domain);
            fitting.find(|pattern| pattern.is_for_all()).is_some_and(|it| it.domain.is_some())
        };
        self.domains.contains(domain) || first()
    }

    /// A name that others see, where mail is taken for nobody but the postmaster: that of the greeting, and the domain of
    /// rewritten senders unless it is one of ours.
    fn is_our_face(&self, domain: &str) -> bool {
        let named = Domain::Name(domain.to_owned());
        let srs = self.srs.as_ref().is_some_and(|srs| srs.is_of(&named));
        domain == self.host || (srs && !self.is_ours(walk::POSTMASTER, domain))
    }

    /// Where an address goes before anybody asks who that is.
    fn step(&self, folded: &str, domain: &str, relays: bool, origin: &Origin) -> Step {
        let route = self.route(folded, domain, origin);
        let ours = match route {
            Some(pattern) if pattern.is_for_all() => {
                pattern.domain.is_some() || self.domains.contains(domain)
            }
            Some(_) | None => self.is_ours(folded, domain),
        };
        let known = |pattern: &Pattern| {
            let table = pattern.known.as_ref();
            let base = self.without_extension(folded).map(|(base, _)| base);
            // RFC 5321 §4.5.1: the postmaster of a domain that is taken is there.
            folded == walk::POSTMASTER || table.is_none_or(|known| known.has(folded, base, domain))
        };
        match route.map(|pattern| (&pattern.to, pattern)) {
            _ if !ours && !relays => Step::Nowhere,
            Some((RouteTo::Discard, _)) => Step::Discard,
            Some((RouteTo::Local, _)) => Step::Local,
            Some((RouteTo::Onward(_), pattern)) if !known(pattern) => Step::Unknown,
            Some((RouteTo::Onward(onward), _)) => Step::Onward(onward.hop.clone()),
            None if ours => Step::Local,
            None => Step::Nowhere,
        }
    }

    /// The mailbox of a user, by name or address.
    fn user(&self, folded: &str, domain: &str) -> Option<&str> {
        let by_address = || self.addresses.get(&(folded.to_owned(), domain.to_owned()));
        let user = if self.addresses.is_empty() { None } else { by_address() };
        user.or_else(|| self.users.get(folded)).map(String::as_str)
    }

    /// A local part without its extension, and the extension.
    fn without_extension<'t>(&self, folded: &'t str) -> Option<(&'t str, &'t str)> {
        if self.separator.is_empty() {
            return None;
        }
        folded.split_once(self.separator.as_str()).filter(|(base, _)| !base.is_empty())
    }

    // ------------------------------------------------------------ how it is made

    fn warn(&mut self, about: About, what: String, remedy: &'static str) {
        self.warnings.push(Warning { about, what, remedy });
    }

    fn add(&mut self, user: &User) {
        let Some(mailbox) = name::mailbox(&user.name) else {
            let what = format!("user {}: no mailbox can have that name", user.name);
            return self.warn(About::User, what, "give the user a shorter name");
        };
        let folded = name::folded(&user.name);
        if self.users.contains_key(&folded) {
            let what = format!("user {}: another user differs in case only", user.name);
            return self.warn(About::User, what, "rename one of them: mail knows no case");
        }
        for address in &user.addresses {
            let Some((local, Some(domain))) = name::split(address) else {
                let what = format!("user {}: {address} is no mail address", user.name);
                self.warn(About::User, what, "an address looks like name@example.org");
                continue;
            };
            if !self.is_ours(&local, &domain) {
                let what = format!("user {}: {address} is in none of our domains", user.name);
                self.warn(About::User, what, "add its domain to [smtp] domains");
            }
            let key = (name::folded(&local), domain);
            if self.addresses.insert(key, mailbox.clone()).is_some() {
                let what = format!("user {}: {address} belongs to another user too", user.name);
                self.warn(About::User, what, "take it from one of them");
            }
        }
        self.users.insert(folded, mailbox);
    }

    fn set_catch_all(&mut self, text: &str) {
        let remedy = "name a user, an alias or an address of ours";
        let Some((local, domain)) = name::split(text) else {
            return self.warn(About::CatchAll, format!("catch_all: {text} is no address"), remedy);
        };
        let domain = domain.unwrap_or_else(|| self.home.clone());
        if !Walk::new(self, true, Origin::nobody()).leads_somewhere(&local, &domain) {
            return self.warn(
                About::CatchAll,
                format!("catch_all: {text} leads to nobody: ignored"),
                remedy,
            );
        }
        self.catch_all = Some((local, domain));
    }

    fn look_at_aliases(&mut self) {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for (_, alias) in self.aliases.iter() {
            if alias.endless {
                let what = format!("{}: leads to too many, or too deep", alias.name);
                found.push((alias.line, what, "split the list"));
            } else if looked_at < LOOPS_MEMBERS_MAX && self.is_nested(alias) {
                let (circle, members) =
                    Walk::new(self, false, Origin::nobody()).circle(&alias.name, &self.home);
                looked_at += members;
                if let Some(address) = circle {
                    let what = format!("{}: leads in a circle, {address} is no user", alias.name);
                    found.push((alias.line, what, "take it out of one of them, or make the user"));
                }
            }
            let outside = alias.members.iter().find_map(|member| match member {
                Member::Address(local, domain) if self.leads_nowhere(local, domain) => {
                    Some(format!("{}: no route leads to {local}@{domain}", alias.name))
                }
                Member::Address(..) | Member::Local(_) | Member::User(_) => None,
            });
            if let Some(what) = outside {
                found.push((alias.line, what, "mail for it comes back to its sender"));
            }
        }
        for (line, what, remedy) in found {
            self.warn(About::Alias(line), what, remedy);
        }
    }

    /// Is one of its members an alias?
    fn is_nested(&self, alias: &Alias) -> bool {
        alias.members.iter().any(|member| {
            let local = match member {
                Member::Local(local) => local,
                Member::Address(local, domain) if self.is_ours(local, domain) => local,
                Member::Address(..) | Member::User(_) => return false,
            };
            let folded = name::folded(local);
            let base = self.without_extension(&folded).map(|(base, _)| base);
            [Some(folded.as_str()), base]
                .into_iter()
                .flatten()
                .any(|it| self.aliases.find(it).is_some())
        })
    }

    /// Does no route lead there, whoever sends?
    fn leads_nowhere(&self, local: &str, domain: &str) -> bool {
        let folded = name::folded(local);
        self.step(&folded, domain, true, &Origin::nobody()) == Step::Nowhere
            && self.routes.fitting(&folded, domain).all(Pattern::is_for_all)
    }

    /// Routes to mailboxes that nobody has.
    fn look_at_routes(&mut self, routes: &[Route]) {
        const REMEDY: &str = "make a user or an alias of that name, or take the route out";
        let anybody = !self.users.is_empty()
            || self.aliases.iter().next().is_some()
            || self.unknown == Unknown::Accept
            || self.catch_all.is_some();
        let mut found = Vec::new();
        for (number, (pattern, route)) in self.routes.iter().zip(routes).enumerate() {
            let domain = pattern.domain.as_ref().unwrap_or(&self.home);
            let reached = match &pattern.local {
                Some(local) => {
                    Walk::new(self, true, Origin::nobody()).leads_somewhere(local, domain)
                }
                None => anybody,
            };
            if pattern.to == RouteTo::Local && pattern.is_for_all() && !reached {
                let what =
                    format!("route {} to \"local\": nobody has such a mailbox", route.recipient);
                found.push((number, what));
            }
        }
        for (number, what) in found {
            self.warn(About::Route(number), what, REMEDY);
        }
    }
}

impl Default for Router {
    /// Takes nothing.
    fn default() -> Self {
        let rules = Rules {
            hostname: "localhost".to_owned(),
            domains: Vec::new(),
            routes: Vec::new(),
            relay_from: Vec::new(),
            unknown: Unknown::Reject,
            catch_all: None,
            separator: String::new(),
            srs: None,
            verp: Verp::Off,
        };
        Self::new(rules, [], Aliases::default())
    }
}

impl Network {
    /// Is this address in it? IPv4 addresses in IPv6 form are IPv4 addresses.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shared = match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).leading_zeros()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let prefix = u32::from(self.prefix);
        match (self.address, self.address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(_)) => shared >= prefix.saturating_sub(96).min(32),
            (_, IpAddr::V4(_)) => shared >= prefix.min(32),
            (_, IpAddr::V6(_)) => shared >= prefix.min(128),
        }
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
