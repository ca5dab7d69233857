//! mail::srs – senders rewritten, so that what is forwarded comes from a domain of ours, and back.
//!
//! ```text
//!  ann@far.example ─ forward ─▶ SRS0=HASH=DAY=far.example=ann@srs.example ─ back ─▶ ann@far.example
//!  SRS0=x@mid.example ────────▶ SRS1=HASH=mid.example==x@srs.example ─────────────▶ SRS0=x@mid.example
//! ```
//! The scheme of Meng Wong (`SRS0`, and `SRS1` for what another server rewrote). The next server looks
//! whether we may send for the domain of the sender (SPF); a bounce comes to us, and goes on to the sender.
//!
//! Promises: back ∘ forward = identity for [`DAYS`] days, also when somebody on the way changed the case of
//! the local part (the sender's own then stays changed); what was not made with one of the secrets is refused.
//! Not here: which mail is forwarded (`rewrite`), the file of the secrets (`server::routing`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::name;
use crate::smtp::address::{Domain, LOCAL_BYTES_MAX, Mailbox};
use crate::wire::secret::Secret;

/// Days that an address is good for.
pub const DAYS: u16 = 21;
/// Octets of a secret at the least.
pub const SECRET_BYTES_MIN: usize = 16;
/// Days after which the numbers of days begin anew: two characters say that many.
const ROUND: u16 = 1 << 10;
/// Characters of the hash, five bits each.
const HASH: usize = 6;
/// RFC 4648 §6: letters that survive a change of case.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Why an address does not lead back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not of the form, or not with one of our secrets.
    Forged,
    /// It was good once.
    Expired,
}

/// What is needed to rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srs {
    /// Key of the domain that rewritten senders are in.
    domain: String,
    /// The first makes hashes, all are believed.
    secrets: Vec<Secret>,
}

impl Srs {
    /// Rewrites to this domain. Without a secret nothing is rewritten or believed.
    #[must_use]
    pub fn new(domain: &str, secrets: Vec<Secret>) -> Self {
        Self { domain: Domain::Name(domain.to_owned()).key(), secrets }
    }

    /// The sender that a forwarded message has; `None`: it stays as it is, because the rewritten one would
    /// have more than 64 octets before the @ (RFC 5321 §4.5.3.1.1), or its domain is no name.
    #[must_use]
    pub fn forward(&self, sender: &Mailbox, now: i64) -> Option<Mailbox> {
        let Domain::Name(domain) = &sender.domain else { return None };
        let secret = self.secrets.first()?;
        let rewritten = match parse(&sender.local) {
            Some(Form::Zero(rest)) => Some((domain.as_str(), rest)),
            // The first server is kept, those between are left out.
            Some(Form::One(rest)) => triple(rest).map(|(_, first, tail)| (first, tail)),
            None => None,
        };
        let local = match rewritten {
            Some((first, tail)) => {
                let hash = hash(secret, &["1", first, tail]);
                format!("SRS1={hash}={first}={tail}")
            }
            None => {
                let day = day_text(day(now));
                let hash = hash(secret, &["0", &day, domain, &sender.local]);
                format!("SRS0={hash}={day}={domain}={}", sender.local)
            }
        };
        let fits = local.len() <= LOCAL_BYTES_MAX;
        fits.then(|| Mailbox { local, domain: Domain::Name(self.domain.clone()) })
    }

    /// Is it the form, in our domain? Nobody else has such an address then.
    #[must_use]
    pub fn claims(&self, local: &str, domain: &str) -> bool {
        domain == self.domain && parse(local).is_some()
    }

    /// Is that our domain?
    #[must_use]
    pub fn is_of(&self, domain: &Domain) -> bool {
        domain.key() == self.domain
    }

    /// The sender behind a local part in our domain: local part, and key of the domain. Without a time of
    /// whatever age.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn back(&self, local: &str, now: Option<i64>) -> Result<(String, String), Refused> {
        let (domain, sender) = match parse(local).ok_or(Refused::Forged)? {
            Form::Zero(rest) => {
                let (hash, rest) = rest.get(1..).and_then(cut).ok_or(Refused::Forged)?;
                let (day, domain, sender) = triple(rest).ok_or(Refused::Forged)?;
                self.believe(hash, &["0", day, domain, sender])?;
                let made = day_number(day).ok_or(Refused::Forged)?;
                // What was made tomorrow was made by a clock that goes before ours.
                let age = |now| (day_of_round(now) + 1 + ROUND - made) % ROUND;
                if now.is_some_and(|now| age(now) > DAYS + 1) {
                    return Err(Refused::Expired);
                }
                (domain, sender.to_owned())
            }
            // Its day is seen by the first server.
            Form::One(rest) => {
                let (hash, first, tail) = triple(rest).ok_or(Refused::Forged)?;
                self.believe(hash, &["1", first, tail])?;
                (first, format!("SRS0{tail}"))
            }
        };
        // What is hashed by another server too comes without a look at its form.
        let whole = name::split(&format!("x@{domain}")).and_then(|(_, domain)| domain);
        match whole {
            Some(domain) if !sender.is_empty() => Ok((sender, domain)),
            Some(_) | None => Err(Refused::Forged),
        }
    }

    fn believe(&self, given: &str, about: &[&str]) -> Result<(), Refused> {
        let given = given.to_ascii_uppercase();
        let is =
            |secret: &Secret| bool::from(hash(secret, about).as_bytes().ct_eq(given.as_bytes()));
        if self.secrets.iter().any(is) { Ok(()) } else { Err(Refused::Forged) }
    }
}

/// A rewritten local part; what follows is kept with the separator in front.
enum Form<'l> {
    /// `=HASH=DAY=domain=local`
    Zero(&'l str),
    /// `HASH=first==HASH=DAY=domain=local`
    One(&'l str),
}

/// `SRS0` or `SRS1`, in any case, and one of the separators that the scheme has.
fn parse(local: &str) -> Option<Form<'_>> {
    let (tag, rest) = local.split_at_checked(4)?;
    let after = rest.strip_prefix(['=', '+', '-'])?;
    if tag.eq_ignore_ascii_case("SRS0") {
        Some(Form::Zero(rest))
    } else if tag.eq_ignore_ascii_case("SRS1") {
        Some(Form::One(after))
    } else {
        None
    }
}

fn cut(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
}

fn triple(text: &str) -> Option<(&str, &str, &str)> {
    let (one, rest) = cut(text)?;
    let (two, three) = cut(rest)?;
    Some((one, two, three))
}

/// Of parts that differ in case only the hash is the same: local parts are changed so on the way.
fn hash(secret: &Secret, parts: &[&str]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new(); // No length is wrong for this MAC; an empty hash matches none.
    };
    for part in parts {
        mac.update(name::folded(part).as_bytes());
        mac.update(&[0]);
    }
    let octets = mac.finalize().into_bytes();
    let bits = octets.iter().take(8).fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
    (0..HASH).map(|at| letter(bits >> (59 - 5 * at))).collect()
}

/// The letter of the lowest five bits.
fn letter(bits: u64) -> char {
    let at = usize::try_from(bits & 31).unwrap_or(0);
    char::from(ALPHABET.get(at).copied().unwrap_or(b'A'))
}

/// Days since 1970.
fn day(now: i64) -> i64 {
    now.div_euclid(86_400)
}

fn day_of_round(now: i64) -> u16 {
    u16::try_from(day(now).rem_euclid(i64::from(ROUND))).unwrap_or(0)
}

fn day_text(day: i64) -> String {
    let number = u64::try_from(day.rem_euclid(i64::from(ROUND))).unwrap_or(0);
    [letter(number >> 5), letter(number)].iter().collect()
}

fn day_number(text: &str) -> Option<u16> {
    let digit = |octet: &u8| {
        let at = ALPHABET.iter().position(|one| *one == octet.to_ascii_uppercase())?;
        u16::try_from(at).ok()
    };
    match text.as_bytes() {
        [high, low] => Some(digit(high)? << 5 | digit(low)?),
        _ => None,
    }
}

#[cfg(test)]
#[path = "srs_tests.rs"]
mod tests;
