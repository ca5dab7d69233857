//! mx::select – from records to hosts in the order they are tried.
//!
//! Promises: preferences never fall along the list; with ourselves among the MX, everything of equal or
//! worse preference is gone, by name before any bound is applied and by address among those looked up;
//! names that come out hold nothing but letters, digits, `-`, `_` and dots.

use std::net::{IpAddr, Ipv6Addr};

use super::{Answer, Exchange, Found, Host, Note, Ourselves, Trouble};
use crate::limits::{HOST_ADDRESSES_MAX, MX_HOSTS_MAX};

/// Octets of a name as text, without the dot at its end (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Octets of a label.
const LABEL_BYTES_MAX: usize = 63;

/// A host that may take the mail, its addresses not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) preference: u16,
    /// The name is this address: nothing to look up.
    pub(super) address: Option<IpAddr>,
}

/// What the MX records of a domain come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Best first.
    Candidates(Vec<Candidate>),
    /// The domain takes no mail (RFC 7505).
    Null,
    /// None is better than we are.
    Loop,
    /// None has a name.
    Unusable,
}

/// Is this a name that can be asked for, and written into a log or a report?
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(label)
}

/// MX records in order: by preference, equals in an order that the seed chooses (RFC 5321 §5.1).
pub(super) fn candidates(
    exchanges: &[Exchange],
    ourselves: &Ourselves,
    seed: u64,
    notes: &mut Vec<Note>,
) -> Chosen {
    let named: Vec<&Exchange> = exchanges.iter().filter(|one| !one.name.is_empty()).collect();
    if named.is_empty() {
        return Chosen::Null;
    }
    if named.len() < exchanges.len() {
        notes.push(Note::NullBesideOthers);
    }
    let mut found: Vec<Candidate> = Vec::new();
    for exchange in named {
        let name = exchange.name.to_ascii_lowercase();
        let address = name.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if address.is_none() && !is_name(&name) {
            note(notes, Note::BadName(printable(&name)));
            continue;
        }
        found.push(Candidate { name, preference: exchange.preference, address });
    }
    shuffle(&mut found, seed);
    // Of a host that is named twice the better counts; the sort keeps the order of equals.
    found.sort_by_key(|one| one.preference);
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|one| seen.insert(one.name.clone()));
    if found.is_empty() {
        return Chosen::Unusable;
    }
    let own = |one: &&Candidate| {
        let address = one.address.is_some_and(|address| ourselves.has_address(&address));
        address || ourselves.has_name(&one.name)
    };
    if let Some(own) = found.iter().find(own).map(|own| (own.name.clone(), own.preference)) {
        note(notes, Note::Ourselves(own.0));
        found.retain(|one| one.preference < own.1);
    }
    if found.is_empty() {
        return Chosen::Loop;
    }
    if found.len() > MX_HOSTS_MAX {
        notes.push(Note::TooMany(found.len()));
        found.truncate(MX_HOSTS_MAX);
    }
    for one in found.iter().filter(|one| one.address.is_some()) {
        notes.push(Note::Numeric(one.name.clone()));
    }
    Chosen::Candidates(found)
}

/// Adds a note, unless strangers have had their say already.
fn note(notes: &mut Vec<Note>, one: Note) {
    if notes.len() < 2 * MX_HOSTS_MAX {
        notes.push(one);
    }
}

/// What addresses of a host there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reachable {
    /// These, at least one.
    At(Vec<IpAddr>),
    /// One of them is ours.
    Ourselves,
    /// None that can be used.
    Nowhere,
    /// Nobody knows now.
    Unknown(Trouble),
}

/// Both families of one host, IPv6 and IPv4 by turns: when one does not work, the next attempt is the other.
/// Within a family the resolver's order is kept (RFC 5321 §5.1).
pub(super) fn addresses(v6: &Answer, v4: &Answer, ourselves: &Ourselves) -> Reachable {
    let answers = [v6, v4];
    let of = |answer: &Answer| -> Vec<IpAddr> {
        match &answer.found {
            Found::Addresses(addresses) => addresses.iter().map(IpAddr::to_canonical).collect(),
            Found::Exchanges(_) | Found::Nothing | Found::NoName | Found::Trouble(_) => Vec::new(),
        }
    };
    let families = answers.map(of);
    if families.iter().flatten().any(|address| ourselves.has_address(address)) {
        return Reachable::Ourselves;
    }
    let mut families = families.map(|all| all.into_iter().filter(is_usable));
    let mut usable: Vec<IpAddr> = Vec::new();
    while usable.len() < HOST_ADDRESSES_MAX {
        let turn = families.each_mut().map(Iterator::next);
        if turn == [None, None] {
            break;
        }
        for address in turn.into_iter().flatten() {
            if usable.len() < HOST_ADDRESSES_MAX && !usable.contains(&address) {
                usable.push(address);
            }
        }
    }
    let trouble = answers.into_iter().find_map(|answer| match answer.found {
        Found::Trouble(trouble) => Some(trouble),
        Found::Exchanges(_) => Some(Trouble::Garbled),
        Found::Addresses(_) | Found::Nothing | Found::NoName => None,
    });
    match trouble {
        _ if !usable.is_empty() => Reachable::At(usable),
        Some(trouble) => Reachable::Unknown(trouble),
        None => Reachable::Nowhere,
    }
}

/// Can a connection be made to it, by anybody?
pub(super) fn is_usable(address: &IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 is this host on this network, 240.0.0.0/4 is reserved (RFC 6890 §2.2.2).
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first < 240 && !v4.is_multicast()
        }
        // A link-local address means nothing without the name of a link.
        IpAddr::V6(v6) => {
            *v6 != Ipv6Addr::UNSPECIFIED && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

/// Hosts with their addresses, in the order of the candidates.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) hosts: Vec<Host>,
    /// Something of a better preference than ours is not known now.
    pub(super) trouble: Option<Trouble>,
    /// We are among them.
    pub(super) ourselves: bool,
}

/// Puts candidates and their addresses together; `outcomes` in the same order.
pub(super) fn hosts(
    candidates: &[Candidate],
    outcomes: Vec<Reachable>,
    notes: &mut Vec<Note>,
) -> Hosts {
    let pairs = || candidates.iter().zip(&outcomes);
    let own = pairs().find(|(_, outcome)| **outcome == Reachable::Ourselves);
    let own = own.map(|(candidate, _)| candidate);
    if let Some(own) = own {
        notes.push(Note::Ourselves(own.name.clone()));
    }
    let end = own.map_or(candidates.len(), |own| {
        candidates.iter().take_while(|one| one.preference < own.preference).count()
    });
    let mut found = Hosts { ourselves: own.is_some(), ..Hosts::default() };
    for (candidate, outcome) in candidates.iter().zip(outcomes).take(end) {
        match outcome {
            Reachable::At(addresses) => found.hosts.push(Host {
                name: candidate.name.clone(),
                preference: candidate.preference,
                addresses,
            }),
            Reachable::Nowhere => notes.push(Note::NoAddress(candidate.name.clone())),
            Reachable::Unknown(trouble) => {
                notes.push(Note::Failed(candidate.name.clone(), trouble));
                found.trouble = found.trouble.or(Some(trouble));
            }
            Reachable::Ourselves => {}
        }
    }
    found
}

/// Any order, chosen by the seed (Fisher and Yates, with SplitMix64).
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
        let other = usize::try_from((mixed ^ (mixed >> 31)) % span).unwrap_or(last);
        items.swap(last, other);
    }
}

/// A name of strangers as it may be shown: US-ASCII on one line, not longer than a name may be.
pub(super) fn printable(name: &str) -> String {
    let escaped = name.chars().flat_map(char::escape_default);
    escaped.take(NAME_BYTES_MAX).collect()
}
