//! server::admit – how many sessions there may be, in total and from one address; who failed to log in.
//!
//! The only state that sessions of different shards share. It is touched when a session begins, ends or
//! fails to log in, never in between.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::Refusal;

/// Failed logins from one address before its logins are refused unheard.
const FAILURES_MAX: u32 = 20;
/// How long failures of an address are remembered.
const FAILURES_KEPT: Duration = Duration::from_secs(600);
/// Addresses with failures that are remembered.
const ADDRESSES_MAX: usize = 65_536;

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
        if address_max > 0 {
            let origin = Origin::from(address);
            let mut addresses = held(&self.addresses);
            let count = addresses.entry(origin).or_insert(0);
            if *count >= address_max {
                return Err(Refusal::Address);
            }
            *count += 1;
            permit.origin = Some(origin);
        }
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

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(origin) = self.origin
            && let Entry::Occupied(mut entry) = held(&self.admission.addresses).entry(origin)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Failed logins by address. Time is an argument: any clock that all shards share, from any origin.
#[derive(Debug, Default)]
pub(super) struct Failures {
    addresses: Mutex<HashMap<Origin, Failed>>,
}

#[derive(Debug)]
struct Failed {
    count: u32,
    since: Duration,
}

impl Failures {
    /// Are logins from there refused for the time being?
    pub(super) fn barred(&self, address: IpAddr, now: Duration) -> bool {
        held(&self.addresses).get(&Origin::from(address)).is_some_and(|failed| {
            failed.count >= FAILURES_MAX && now.saturating_sub(failed.since) < FAILURES_KEPT
        })
    }

    /// Notes one more.
    pub(super) fn note(&self, address: IpAddr, now: Duration) {
        let mut addresses = held(&self.addresses);
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, failed| now.saturating_sub(failed.since) < FAILURES_KEPT);
            if addresses.len() >= ADDRESSES_MAX {
                // More attackers than room: forget those that tried least.
                addresses.retain(|_, failed| failed.count >= FAILURES_MAX / 2);
            }
            if addresses.len() >= ADDRESSES_MAX {
                addresses.clear();
            }
        }
        let failed =
            addresses.entry(Origin::from(address)).or_insert(Failed { count: 0, since: now });
        if now.saturating_sub(failed.since) >= FAILURES_KEPT {
            *failed = Failed { count: 0, since: now };
        }
        failed.count = failed.count.saturating_add(1);
    }
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
        for _ in 0..FAILURES_MAX {
            assert!(!failures.barred(address, at));
            failures.note(address, at);
        }
        assert!(failures.barred(address, at));
        assert!(!failures.barred(address, at + FAILURES_KEPT));
        failures.note(address, at + FAILURES_KEPT);
        assert!(!failures.barred(address, at + FAILURES_KEPT));
    }
}
