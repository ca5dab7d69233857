//! cli::user::clash – whose an address or a name is already, before a user gets it.
//!
//! Mail asks aliases first, then addresses, then names, all without case (`mail::route`): what a new user takes from
//! somebody, or would never get, is refused here, where a person can still choose.

use crate::config::Config;
use crate::mail::aliases::Aliases;
use crate::mail::name;
use crate::problem::Problem;
use crate::server::aliases_of;
use crate::store::accounts::{Accounts, User};

/// Who has the name or one of the addresses.
pub(super) fn clash(
    config: &Config,
    accounts: &Accounts,
    added: &str,
    mail: &[String],
) -> Option<Problem> {
    config.smtp.as_ref()?;
    let aliases = aliases_of(config);
    let own = name::folded(added);
    let twin = accounts.iter().find(|user| name::folded(&user.name) == own && user.name != added);
    if let Some(user) = twin {
        let why = format!("user {:?} differs in case only, and mail knows no case", user.name);
        return Some(Problem::new(format!("user {added:?}"), why, "choose another name"));
    }
    mail.iter().find_map(|address| {
        let why = held(accounts, &aliases, &own, address)?;
        Some(Problem::new(format!("--mail {address:?}"), why, "take it from there first"))
    })
}

fn held(accounts: &Accounts, aliases: &Aliases, own: &str, address: &str) -> Option<String> {
    let (local, domain) = name::split(address)?;
    let folded = name::folded(&local);
    let same = |other: &String| {
        name::split(other).is_some_and(|(local, of)| name::folded(&local) == folded && of == domain)
    };
    if let Some(alias) = aliases.find(&folded) {
        return Some(format!("the alias {} (line {}) gets that mail", alias.name, alias.line));
    }
    let others = || accounts.iter().filter(|user| name::folded(&user.name) != own);
    let by_name = |user: &&User| name::folded(&user.name) == folded;
    if let Some(user) = others().find(|user| user.mail.iter().any(same)) {
        return Some(format!("user {:?} has that address", user.name));
    }
    others().find(by_name).map(|user| {
        format!("user {:?} has that mail, for a name is an address in every domain", user.name)
    })
}
