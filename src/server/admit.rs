//! server::admit – how many sessions there may be, in total and from one address; who failed to log in.
//!
//! The only state that sessions of different shards share. It is touched when a session begins, ends or
//! fails to log in, never in between.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::Refusal;

/// Failed logins from one address before its logins are refused unheard.
const FAILURES_MAX: u32 = 20;
/// Failed logins as one user before logins as that user are refused unheard, from wherever it was not that
/// user before.
const ACCOUNT_FAILURES_MAX: u32 = 100;
/// How long failures are remembered.
const FAILURES_KEPT: Duration = Duration::from_secs(600);
/// Addresses with failures that are remembered; as many names, and addresses of users that came in.
const ADDRESSES_MAX: usize = 65_536;
/// How long it is remembered from where a user came in.
const FRIENDS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// One client for the purpose of limits: an IPv4 address or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin(u64, bool);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4)), false),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]), true)
            }
        }
    }
}

/// Sessions there are.
#[derive(Debug, Default)]
pub(super) struct Admission {
    total: AtomicUsize,
    addresses: Mutex<HashMap<Origin, usize>>,
}

impl Admission {
    /// Takes a place; a maximum of 0 per address is no limit.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        total_max: usize,
        address_max: usize,
    ) -> Result<Permit, Refusal> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= total_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Total);
        }
        let mut permit = Permit { admission: Arc::clone(self), origin: None };
        permit.go_to(address, address_max)?;
        Ok(permit)
    }

    /// Sessions at this moment, on all shards.
    pub(super) fn count(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

/// The place of one session; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    origin: Option<Origin>,
}

impl Permit {
    /// Counts for another address; a maximum of 0 is no limit. What is refused changes nothing.
    pub(super) fn go_to(&mut self, address: IpAddr, address_max: usize) -> Result<(), Refusal> {
        let origin = Origin::from(address);
        if address_max == 0 || self.origin == Some(origin) {
            return Ok(());
        }
        {
            let mut addresses = held(&self.admission.addresses);
            let count = addresses.entry(origin).or_insert(0);
            if *count >= address_max {
                return Err(Refusal::Address);
            }
            *count += 1;
        }
        self.leave();
        self.origin = Some(origin);
        Ok(())
    }

    /// Counts for no address any more.
    fn leave(&mut self) {
        if let Some(origin) = self.origin.take()
            && let Entry::Occupied(mut entry) = held(&self.admission.addresses).entry(origin)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        self.leave();
    }
}

/// Failed logins, by address and by the name that was tried. Time is an argument: any clock that all shards
/// share, from any origin.
///
/// Many addresses guess one password together, so names have a limit too. It must not be a way to lock a user
/// out: it does not count where that user came in before. Names are not looked up, so that those nobody has
/// are treated alike.
#[derive(Debug, Default)]
pub(super) struct Failures {
    addresses: Mutex<HashMap<Origin, Failed>>,
    accounts: Mutex<HashMap<u64, Failed>>,
    friends: Mutex<HashMap<(u64, Origin), Duration>>,
    /// Names are kept as numbers that nobody can choose.
    names: RandomState,
}

#[derive(Debug)]
struct Failed {
    count: u32,
    since: Duration,
}

/// What logins are refused for, unheard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    /// There were too many from that address.
    Address,
    /// There were too many as that user.
    Account,
}

impl Failures {
    /// Are logins from there, as that user, refused for the time being?
    pub(super) fn barred(&self, address: IpAddr, name: &[u8], now: Duration) -> Option<Bar> {
        let origin = Origin::from(address);
        if reached(&held(&self.addresses), &origin, FAILURES_MAX, now) {
            return Some(Bar::Address);
        }
        let account = self.names.hash_one(name);
        if !reached(&held(&self.accounts), &account, ACCOUNT_FAILURES_MAX, now) {
            return None;
        }
        let friend = held(&self.friends)
            .get(&(account, origin))
            .is_some_and(|since| now.saturating_sub(*since) < FRIENDS_KEPT);
        (!friend).then_some(Bar::Account)
    }

    /// Notes one more.
    pub(super) fn note(&self, address: IpAddr, name: &[u8], now: Duration) {
        one_more(&mut held(&self.addresses), Origin::from(address), FAILURES_MAX, now);
        let account = self.names.hash_one(name);
        one_more(&mut held(&self.accounts), account, ACCOUNT_FAILURES_MAX, now);
    }

    /// That user came in from there.
    pub(super) fn welcome(&self, address: IpAddr, name: &[u8], now: Duration) {
        let mut friends = held(&self.friends);
        if friends.len() >= ADDRESSES_MAX {
            friends.retain(|_, since| now.saturating_sub(*since) < FAILURES_KEPT);
            if friends.len() >= ADDRESSES_MAX {
                friends.clear();
            }
        }
        friends.insert((self.names.hash_one(name), Origin::from(address)), now);
    }
}

fn reached<K: Eq + Hash>(table: &HashMap<K, Failed>, key: &K, most: u32, now: Duration) -> bool {
    table.get(key).is_some_and(|failed| {
        failed.count >= most && now.saturating_sub(failed.since) < FAILURES_KEPT
    })
}

fn one_more<K: Eq + Hash>(table: &mut HashMap<K, Failed>, key: K, most: u32, now: Duration) {
    if table.len() >= ADDRESSES_MAX {
        table.retain(|_, failed| now.saturating_sub(failed.since) < FAILURES_KEPT);
        if table.len() >= ADDRESSES_MAX {
            // More attackers than room: forget those that tried least.
            table.retain(|_, failed| failed.count >= most / 2);
        }
        if table.len() >= ADDRESSES_MAX {
            table.clear();
        }
    }
    let failed = table.entry(key).or_insert(Failed { count: 0, since: now });
    if now.saturating_sub(failed.since) >= FAILURES_KEPT {
        *failed = Failed { count: 0, since: now };
    }
    failed.count = failed.count.saturating_add(1);
}

/// Counters stay meaningful when a thread panicked while it held them.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_total_and_per_address() {
        let admission = Arc::new(Admission::default());
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let b: IpAddr = "192.0.2.2".parse().unwrap();
        let first = admission.enter(a, 2, 1).unwrap();
        assert_eq!(admission.enter(a, 2, 1).err(), Some(Refusal::Address));
        let second = admission.enter(b, 2, 1).unwrap();
        assert_eq!(admission.enter(b, 2, 1).err(), Some(Refusal::Total));
        drop((first, second));
        assert_eq!(admission.count(), 0);
        assert!(held(&admission.addresses).is_empty());
    }

    #[test]
    fn a_place_goes_to_another_address() {
        let admission = Arc::new(Admission::default());
        let [a, b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let mut first = admission.enter(a, 9, 1).unwrap();
        first.go_to(b, 1).unwrap();
        first.go_to(b, 1).unwrap();
        let mut second = admission.enter(a, 9, 1).unwrap();
        assert_eq!(second.go_to(b, 1), Err(Refusal::Address));
        assert_eq!(
            admission.enter(a, 9, 1).err(),
            Some(Refusal::Address),
            "it stayed where it was"
        );
        drop(first);
        second.go_to(b, 1).unwrap();
        drop(second);
        assert_eq!(admission.count(), 0);
        assert!(held(&admission.addresses).is_empty());
    }

    #[test]
    fn addresses_of_one_network_are_one_origin() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("::"), origin("0.0.0.0"));
    }

    #[test]
    fn failures_bar_an_address_and_expire() {
        let failures = Failures::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let at = Duration::from_secs(1000);
        for number in 0..FAILURES_MAX {
            assert_eq!(failures.barred(address, b"ann", at), None);
            failures.note(address, format!("user {number}").as_bytes(), at);
        }
        assert_eq!(failures.barred(address, b"ann", at), Some(Bar::Address));
        assert_eq!(failures.barred(address, b"ann", at + FAILURES_KEPT), None);
        failures.note(address, b"ann", at + FAILURES_KEPT);
        assert_eq!(failures.barred(address, b"ann", at + FAILURES_KEPT), None);
    }

    #[test]
    fn failures_from_everywhere_bar_a_name_but_not_who_came_in_from_there() {
        let failures = Failures::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let at = Duration::from_secs(1000);
        failures.welcome(address(1), b"ann", at);
        for number in 0..ACCOUNT_FAILURES_MAX {
            assert_eq!(failures.barred(address(2), b"ann", at), None);
            failures.note(address(1000 + number), b"ann", at);
        }
        assert_eq!(failures.barred(address(2), b"ann", at), Some(Bar::Account));
        assert_eq!(failures.barred(address(2), b"bob", at), None);
        assert_eq!(failures.barred(address(1), b"ann", at), None, "she was here before");
        assert_eq!(failures.barred(address(1), b"bob", at), None);
        assert_eq!(failures.barred(address(2), b"ann", at + FAILURES_KEPT), None);
        for _ in 0..FAILURES_MAX {
            failures.note(address(1), b"ann", at);
        }
        assert_eq!(failures.barred(address(1), b"ann", at), Some(Bar::Address));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::default();
        let at = Duration::from_secs(1000);
        for number in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            let address = IpAddr::from(number.to_be_bytes());
            failures.note(address, &number.to_be_bytes(), at);
            failures.welcome(address, b"ann", at);
        }
        let lengths = (
            held(&failures.addresses).len(),
            held(&failures.accounts).len(),
            held(&failures.friends).len(),
        );
        assert!(lengths.0.max(lengths.1).max(lengths.2) <= ADDRESSES_MAX, "{lengths:?}");
    }
}
