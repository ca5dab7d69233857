//! mail::throttle – how many reports go to senders that may be forged.
//!
//! Whoever sends mail under somebody else's address has the report sent there (backscatter). In an hour that
//! begins with the first report, each address gets so many, and all together so many.
//!
//! Promises: no more than allowed in an hour of one shard; memory for as many addresses as are allowed in
//! all, and never for more than [`REPORT_ADDRESSES_MAX`].
//! Not here: whose reports are counted (`server::deliver::report`).

use std::collections::BTreeMap;

use super::rewrite;
use crate::limits::REPORT_ADDRESSES_MAX;

const HOUR_SECONDS: i64 = 3600;

/// Reports allowed in an hour; 0 = any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// To all together.
    pub total: u32,
    /// To one address.
    pub per_address: u32,
}

/// What was sent in this hour.
#[derive(Debug, Default)]
pub struct Throttle {
    /// When it began, seconds since 1970.
    begun: Option<i64>,
    total: u32,
    addresses: BTreeMap<Box<str>, u32>,
}

impl Throttle {
    /// May another report go to this address now? It is counted then.
    pub fn allows(&mut self, address: &str, allowance: Allowance, now: i64) -> bool {
        // A clock that was set back begins anew, too.
        let hour = |begun: i64| (begun..begun.saturating_add(HOUR_SECONDS)).contains(&now);
        if !self.begun.is_some_and(hour) {
            *self = Self { begun: Some(now), ..Self::default() };
        }
        let within = |limit: u32, count: u32| limit == 0 || count < limit;
        let key = rewrite::key(address).into_boxed_str();
        let sent = self.addresses.get(&key).copied();
        // With no room for another address it is one of those that got too many.
        let room = sent.is_some() || self.addresses.len() < REPORT_ADDRESSES_MAX;
        let tracked = allowance.per_address == 0 || room;
        let allowed = within(allowance.total, self.total)
            && within(allowance.per_address, sent.unwrap_or(0))
            && tracked;
        if allowed {
            self.total = self.total.saturating_add(1);
            if allowance.per_address > 0 {
                *self.addresses.entry(key).or_default() += 1;
            }
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FEW: Allowance = Allowance { total: 5, per_address: 2 };

    #[test]
    fn an_address_and_all_have_their_limits() {
        let mut throttle = Throttle::default();
        let mut ask = |address: &str, now| throttle.allows(address, FEW, now);
        assert!(ask("ann@a.example", 100) && ask("Ann@A.Example", 100));
        assert!(!ask("ann@a.example", 3699), "whatever the case");
        assert!(
            ask("bob@a.example", 200) && ask("carl@a.example", 200) && ask("bob@a.example", 200)
        );
        assert!(!ask("dan@a.example", 3699), "five in all");
        assert!(ask("ann@a.example", 3700), "an hour later");
        assert!(ask("ann@a.example", 50) && ask("ann@a.example", 60), "a clock that was set back");
        assert!(!ask("ann@a.example", 70));
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let mut throttle = Throttle::default();
        let none = Allowance { total: 0, per_address: 0 };
        for number in 0..100_000 {
            assert!(throttle.allows(&format!("u{number}@x"), none, 1));
        }
        assert_eq!(throttle.addresses.len(), 0);
        let each = Allowance { total: 0, per_address: 1 };
        let sent = (0..2 * REPORT_ADDRESSES_MAX)
            .filter(|number| throttle.allows(&format!("u{number}@x"), each, 1))
            .count();
        assert_eq!((sent, throttle.addresses.len()), (REPORT_ADDRESSES_MAX, REPORT_ADDRESSES_MAX));
    }

    proptest! {
        /// As somebody would count who keeps every report there was.
        #[test]
        fn as_one_counts_by_hand(
            asked in proptest::collection::vec((0_u8..4, 0_i64..2000), 0..60),
            total in 0_u32..8,
            per_address in 0_u32..4,
        ) {
            let allowance = Allowance { total, per_address };
            let mut throttle = Throttle::default();
            let mut sent: Vec<(u8, i64)> = Vec::new();
            let (mut now, mut begun) = (1_000_000, i64::MIN);
            for (who, later) in asked {
                now += later;
                if now >= begun.saturating_add(3600) {
                    (begun, sent) = (now, Vec::new());
                }
                let of = sent.iter().filter(|(one, _)| *one == who).count();
                let wanted = (total == 0 || sent.len() < total as usize)
                    && (per_address == 0 || of < per_address as usize);
                let address = format!("u{who}@x.example");
                prop_assert_eq!(throttle.allows(&address, allowance, now), wanted);
                if wanted {
                    sent.push((who, now));
                }
            }
        }
    }
}
