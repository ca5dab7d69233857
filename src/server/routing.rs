//! server::routing – who gets mail: the router that configuration, accounts, the aliases file, the tables of
//! recipients and the secrets for rewritten senders make.
//!
//! Promises: a file that is wrong is reported with file, line and column, and what it said before goes on to count,
//! without keeping the others from being read; a change of one of these files or of a list that is included is noticed by [`Routing::changed`]; memory is bounded.
//! Not here: the syntax of the file (`mail::aliases`), the decision (`mail::route`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::{Config, Mail, RouteTo, Smtp, UnknownLocalPart};
use crate::limits::{ALIASES_FILE_BYTES_MAX, RECIPIENTS_FILE_BYTES_MAX, SRS_SECRETS_BYTES_MAX};
use crate::mail::aliases::{Aliases, Fault};
use crate::mail::recipients::{self, Known};
use crate::mail::rewrite::Verp;
use crate::mail::route::{self, About, Router, Rules, User};
use crate::mail::srs::{SECRET_BYTES_MIN, Srs};
use crate::problem::{Place, Problem};
use crate::store::accounts::{Accounts, Fingerprint};
use crate::wire::secret::Secret;

/// The files a router was made from, as they were, and what the last good ones said.
#[derive(Debug, Default)]
pub(super) struct Routing {
    seen: Vec<(PathBuf, Fingerprint)>,
    /// Nothing was prepared: what the start would make may be missing.
    unprepared: bool,
    /// The file whose aliases are in the router in force.
    aliases: Option<PathBuf>,
    tables: Tables,
    srs: Option<(String, PathBuf, Srs)>,
}

impl Routing {
    /// Reads the files and makes the router; `None` without SMTP. Where a file is wrong that was read before, what it said
    /// then is taken from `old`, the router in force.
    ///
    /// # Errors
    /// Everything that is wrong with files that were never read. What they were like is remembered all the same: they
    /// are read again when they change.
    pub(super) fn load(
        &mut self,
        config: &Config,
        accounts: &Accounts,
        old: Option<&Router>,
    ) -> Result<Option<Router>, Vec<Problem>> {
        self.seen.clear();
        let Some(smtp) = &config.smtp else { return Ok(None) };
        let mail = &config.mail;
        let mut fatal = Vec::new();
        let before = old.filter(|_| self.aliases.as_ref() == Some(&mail.aliases));
        let before = before.map(Router::aliases).cloned();
        let aliases = one(&mail.aliases, self.aliases(mail), before, &mut fatal);
        let tables = self.all_tables(smtp, &mut fatal);
        let read = self.srs(config);
        let before = self.srs.take().filter(|(domain, file, _)| {
            (mail.srs_domain.as_ref(), file) == (Some(domain), &mail.srs_secret)
        });
        let before = before.map(|(_, _, srs)| Some(srs));
        let srs = one(&mail.srs_secret, read, before, &mut fatal).flatten();
        self.srs = mail
            .srs_domain
            .clone()
            .zip(srs.clone())
            .map(|(domain, srs)| (domain, mail.srs_secret.clone(), srs));
        let Some(aliases) = aliases.filter(|_| fatal.is_empty()) else { return Err(fatal) };
        self.aliases = Some(mail.aliases.clone());
        let users = accounts
            .iter()
            .map(|user| User { name: user.name.clone(), addresses: user.mail.clone() });
        let router = Router::new(Rules { srs, ..rules(config, smtp, &tables) }, users, aliases);
        self.tables = tables;
        for warning in warnings(&router, config, smtp) {
            tracing::warn!("{warning}");
        }
        Ok(Some(router))
    }

    /// Has the aliases file changed since, or a list it includes?
    pub(super) fn changed(&self) -> bool {
        self.seen.iter().any(|(path, seen)| Accounts::fingerprint(path) != *seen)
    }

    /// The tables of recipients that routes name, each read once.
    fn all_tables(&mut self, smtp: &Smtp, fatal: &mut Vec<Problem>) -> Tables {
        let mut tables = Tables::new();
        for file in smtp.routes.iter().filter_map(|route| route.recipients.as_ref()) {
            if tables.contains_key(file) {
                continue;
            }
            // Looked at before it is read, as the aliases are.
            self.seen.push((file.clone(), Accounts::fingerprint(file)));
            let before = self.tables.get(file).cloned();
            if let Some(known) = one(file, table(file).map(Arc::new), before, fatal) {
                tables.insert(file.clone(), known);
            }
        }
        tables
    }

    /// What senders are rewritten with.
    fn srs(&mut self, config: &Config) -> Result<Option<Srs>, Vec<Problem>> {
        let mail = &config.mail;
        let Some(domain) = &mail.srs_domain else { return Ok(None) };
        let file = &mail.srs_secret;
        self.seen.push((file.clone(), Accounts::fingerprint(file)));
        let problem = |why: String| {
            let remedy = "give a readable file with a line of 16 characters or more (`openssl rand -base64 32`)";
            vec![Problem::path(file, format_args!("[mail] srs_secret: {why}"), remedy)]
        };
        let text = match read(file, SRS_SECRETS_BYTES_MAX) {
            Ok(text) => Zeroizing::new(text),
            Err(Unread::Missing)
                if self.unprepared && file.starts_with(&config.server.data_dir) =>
            {
                return Ok(Some(Srs::new(domain, Vec::new())));
            }
            Err(Unread::Missing) => return Err(problem("no such file".to_owned())),
            Err(Unread::Other(why)) => return Err(problem(why)),
        };
        let lines = text.lines().map(str::trim);
        let lines: Vec<&str> =
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        if lines.is_empty() {
            return Err(problem("no secret in it".to_owned()));
        }
        if lines.iter().any(|line| line.len() < SECRET_BYTES_MIN) {
            return Err(problem(format!("a secret of less than {SECRET_BYTES_MIN} characters")));
        }
        let secrets = lines.iter().map(|line| Secret::new(line.as_bytes().to_vec())).collect();
        Ok(Some(Srs::new(domain, secrets)))
    }

    fn aliases(&mut self, mail: &Mail) -> Result<Aliases, Vec<Problem>> {
        let file = &mail.aliases;
        // Looked at before it is read: a change in between is seen the next time.
        let mut paths = BTreeSet::from([file.clone()]);
        self.seen.push((file.clone(), Accounts::fingerprint(file)));
        let text = match read(file, ALIASES_FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(Unread::Missing) => return Ok(Aliases::default()),
            Err(Unread::Other(why)) => {
                return Err(vec![Problem::path(
                    file,
                    why,
                    "give a readable file of aliases, or none",
                )]);
            }
        };
        let beside = file.parent().map(Path::to_owned).unwrap_or_default();
        let seen = &mut self.seen;
        let mut load = |list: &str| {
            let path = beside.join(list);
            if paths.insert(path.clone()) {
                seen.push((path.clone(), Accounts::fingerprint(&path)));
            }
            read(&path, ALIASES_FILE_BYTES_MAX).map_err(|unread| match unread {
                Unread::Missing => "no such file".to_owned(),
                Unread::Other(why) => why,
            })
        };
        Aliases::parse(&text, &mut load)
            .map_err(|faults| faults.into_iter().map(|fault| problem(file, fault)).collect())
    }
}

/// What is strange in the aliases and routes, and does no harm but to those who wrote it.
fn warnings(router: &Router, config: &Config, smtp: &Smtp) -> Vec<Problem> {
    let mail = &config.mail;
    let problem = |warning: &route::Warning| {
        let problem = Problem::new(warning.what.clone(), "", warning.remedy);
        let place = match warning.about {
            About::Alias(line) => Some(Place { file: mail.aliases.clone(), line, column: 1 }),
            About::CatchAll => mail.catch_all_at.0.clone(),
            About::Route(number) => smtp.routes.get(number).and_then(|route| route.at.0.clone()),
            About::User => None,
        };
        match place {
            Some(place) => problem.at(place),
            None => problem,
        }
    };
    router.warnings().iter().map(problem).collect()
}

/// For `sluicegate check`: what is strange in the aliases and routes.
///
/// # Errors
/// What is wrong with them: the server would not start.
pub fn look(config: &Config, accounts: &Accounts) -> Result<Vec<Problem>, Vec<Problem>> {
    let router = Routing { unprepared: true, ..Routing::default() }.load(config, accounts, None)?;
    let both = router.as_ref().zip(config.smtp.as_ref());
    Ok(both.map(|(router, smtp)| warnings(router, config, smtp)).unwrap_or_default())
}

/// The routes of a configuration alone, without aliases, users and tables of recipients: where mail goes on to that was
/// taken already. `None` without SMTP.
pub fn routes(config: &Config) -> Option<Router> {
    let smtp = config.smtp.as_ref()?;
    Some(Router::new(rules(config, smtp, &Tables::new()), [], Aliases::default()))
}

/// The aliases as they are now; none where the file is wrong.
pub fn aliases(config: &Config) -> Aliases {
    Routing::default().aliases(&config.mail).unwrap_or_default()
}

/// What a file says, or said before; what is wrong is in the log then, and else the end of it.
fn one<T>(
    file: &Path,
    read: Result<T, Vec<Problem>>,
    before: Option<T>,
    fatal: &mut Vec<Problem>,
) -> Option<T> {
    match (read, before) {
        (Ok(said), _) => Some(said),
        (Err(problems), None) => {
            fatal.extend(problems);
            None
        }
        (Err(problems), Some(before)) => {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("{}: not reloaded; what it said before stays in force", file.display());
            Some(before)
        }
    }
}

/// A table of recipients.
fn table(file: &Path) -> Result<Known, Vec<Problem>> {
    const REMEDY: &str = "give a readable file of recipients, or take it out of the route";
    let text = read(file, RECIPIENTS_FILE_BYTES_MAX).map_err(|unread| {
        let why = match unread {
            Unread::Missing => "no such file".to_owned(),
            Unread::Other(why) => why,
        };
        vec![Problem::path(file, why, REMEDY)]
    })?;
    let problem = |fault: recipients::Fault| {
        let place = Place { file: file.to_owned(), line: fault.line, column: 1 };
        let remedy = "write name@example.org, name or @example.org, one a line";
        Problem::new("recipients", fault.what, remedy).at(place)
    };
    Known::parse(&text).map_err(|faults| faults.into_iter().map(problem).collect())
}

/// Why a file was not read.
enum Unread {
    Missing,
    Other(String),
}

fn read(path: &Path, most: u64) -> Result<String, Unread> {
    let mut octets = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut octets));
    match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Unread::Missing),
        Err(error) => return Err(Unread::Other(format!("cannot read: {error}"))),
        Ok(_) => {}
    }
    if octets.len() as u64 > most {
        let why = format!("longer than {most} octets");
        return Err(Unread::Other(why));
    }
    String::from_utf8(octets).map_err(|error| {
        Unread::Other(format!("not UTF-8 at octet {}", error.utf8_error().valid_up_to()))
    })
}

fn problem(file: &Path, fault: Fault) -> Problem {
    let file = fault.list.map_or_else(|| file.to_owned(), PathBuf::from);
    Problem::new("aliases", fault.what, fault.remedy).at(Place {
        file,
        line: fault.line,
        column: fault.column,
    })
}

/// Tables of recipients by their files.
type Tables = BTreeMap<PathBuf, Arc<Known>>;

fn rules(config: &Config, smtp: &Smtp, tables: &Tables) -> Rules {
    let route = |route: &crate::config::Route| route::Route {
        recipient: route.recipient.clone(),
        sender: route.sender.clone(),
        authenticated: route.authenticated,
        to: match &route.to {
            RouteTo::Local => route::RouteTo::Local,
            RouteTo::Discard => route::RouteTo::Discard,
            RouteTo::Onward(onward) => route::RouteTo::Onward(Arc::new((**onward).clone())),
        },
        known: route.recipients.as_ref().and_then(|file| tables.get(file)).cloned(),
    };
    let network = |network: &crate::config::Network| route::Network {
        address: network.address,
        prefix: network.prefix,
    };
    Rules {
        hostname: config.server.hostname.clone(),
        domains: smtp.domains.clone(),
        routes: smtp.routes.iter().map(route).collect(),
        relay_from: smtp.relay_from.iter().map(network).collect(),
        unknown: match config.mail.unknown_local_part {
            UnknownLocalPart::Reject => route::Unknown::Reject,
            UnknownLocalPart::Accept => route::Unknown::Accept,
        },
        catch_all: config.mail.catch_all.clone(),
        separator: config.mail.extension_separator.clone(),
        srs: None,
        verp: Verp::new(&config.mail.verp_lists),
    }
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
