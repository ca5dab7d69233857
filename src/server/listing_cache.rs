//! server::listing_cache – listings of the last second, so that a thousand clients that list one
//! directory cost one scan.
//!
//! A listing is used for [`LIFETIME`] at most, and not when the directory's own times or inode are
//! others than when it was read, and not after this shard changed something in that directory. So a
//! change made elsewhere that leaves the directory itself alone (a file that grows, another shard's
//! APPE or chmod) is seen after a second at the latest.
//!
//! Promises: bounded memory; only whole listings are kept; whoever makes one and goes away wakes those
//! who wait for it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::ftp::step::{ListForm, ListOptions};
use crate::shard::{self, Instant, Stat};

/// How long a listing is used.
const LIFETIME: Duration = Duration::from_secs(1);
/// Octets of one listing that is kept.
pub(super) const LISTING_BYTES_MAX: usize = 1024 * 1024;
/// Octets of all listings of a shard.
const TOTAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a key and its slot are taken to cost.
const KEY_BYTES: usize = 512;

/// What makes two listings the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Root and rights.
    pub(super) tree: u64,
    pub(super) path: Vec<u8>,
    pub(super) form: ListForm,
    pub(super) options: ListOptions,
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.tree.hash(state);
        self.path.hash(state);
    }
}

/// The directory itself, as far as a change of its entries shows in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        let Stat { device, inode, modified, changed, .. } = *stat;
        Self { device, inode, modified, changed }
    }
}

/// Listings of one shard.
#[derive(Debug, Default)]
pub(super) struct Listings {
    slots: RefCell<HashMap<Key, Slot>>,
    bytes: Cell<usize>,
    /// Counts changes made by this shard.
    changes: Cell<u64>,
    /// Is a task under way that drops what is old?
    sweeping: Cell<bool>,
}

#[derive(Debug)]
enum Slot {
    Ready { body: Bytes, stamp: Stamp, until: Instant },
    Building(Rc<Flight>),
}

/// A listing being made, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Flight {
    landed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// What the cache has.
pub(super) enum Look {
    Ready(Bytes),
    /// Another client's scan makes it.
    Building(Rc<Flight>),
    Missing,
}

impl Listings {
    pub(super) fn look(&self, key: &Key, stamp: &Stamp) -> Look {
        match self.slots.borrow().get(key) {
            Some(Slot::Ready { body, stamp: then, until })
                if then == stamp && shard::now() < *until =>
            {
                Look::Ready(body.clone())
            }
            Some(Slot::Building(flight)) => Look::Building(Rc::clone(flight)),
            Some(Slot::Ready { .. }) | None => Look::Missing,
        }
    }

    /// Announces that the caller makes it; `None` when somebody else does.
    pub(super) fn build(self: &Rc<Self>, key: Key, stamp: Stamp) -> Option<Building> {
        let mut slots = self.slots.borrow_mut();
        if let Some(Slot::Building(_)) = slots.get(&key) {
            return None;
        }
        let flight = Rc::new(Flight::default());
        let old = slots.insert(key.clone(), Slot::Building(Rc::clone(&flight)));
        self.forget(old.as_ref());
        Some(Building {
            listings: Rc::clone(self),
            key: Some(key),
            stamp,
            flight,
            changes: self.changes.get(),
        })
    }

    /// This shard changed something at `path`.
    pub(super) fn changed(&self, path: &[u8]) {
        self.changes.set(self.changes.get().wrapping_add(1));
        let parent = crate::store::files::split(path).map_or(&[][..], |(parent, _)| parent);
        self.retain(|key, _| key.path != parent && key.path != path);
    }

    /// Drops what is too old to be used.
    fn expire(&self) {
        let now = shard::now();
        self.retain(|_, until| now < until);
    }

    /// Sees to it that idleness costs no memory.
    fn sweep_later(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let listings = Rc::clone(self);
        shard::spawn("listings", async move {
            while listings.bytes.get() > 0 {
                shard::sleep_until(shard::now().after(LIFETIME)).await;
                listings.expire();
            }
            listings.sweeping.set(false);
        });
    }

    fn retain(&self, keep: impl Fn(&Key, Instant) -> bool) {
        self.slots.borrow_mut().retain(|key, slot| match slot {
            Slot::Ready { until, .. } if !keep(key, *until) => {
                self.forget(Some(slot));
                false
            }
            Slot::Ready { .. } | Slot::Building(_) => true,
        });
    }

    fn forget(&self, slot: Option<&Slot>) {
        if let Some(Slot::Ready { body, .. }) = slot {
            self.bytes.set(self.bytes.get().saturating_sub(weight(body)));
        }
    }
}

/// What a listing costs, its key included.
fn weight(body: &Bytes) -> usize {
    body.len() + KEY_BYTES
}

/// The duty to make a listing others wait for.
pub(super) struct Building {
    listings: Rc<Listings>,
    key: Option<Key>,
    stamp: Stamp,
    flight: Rc<Flight>,
    changes: u64,
}

impl Building {
    /// It is whole.
    pub(super) fn done(mut self, body: &Bytes) {
        let listings = Rc::clone(&self.listings);
        let Some(key) = self.key.take() else { return };
        listings.slots.borrow_mut().remove(&key);
        if body.len() > LISTING_BYTES_MAX || listings.changes.get() != self.changes {
            return;
        }
        if listings.bytes.get() + weight(body) > TOTAL_BYTES_MAX {
            listings.expire();
        }
        if listings.bytes.get() + weight(body) > TOTAL_BYTES_MAX {
            listings.retain(|_, _| false);
        }
        let until = shard::now().after(LIFETIME);
        let slot = Slot::Ready { body: body.clone(), stamp: self.stamp, until };
        listings.bytes.set(listings.bytes.get() + weight(body));
        let old = listings.slots.borrow_mut().insert(key, slot);
        listings.forget(old.as_ref());
        listings.sweep_later();
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.listings.slots.borrow_mut().remove(key);
        }
        self.flight.landed.set(true);
        for waker in self.flight.waiting.take() {
            waker.wake();
        }
    }
}

impl Flight {
    /// Waits until the listing is made, or will not be.
    pub(super) async fn landed(&self) {
        poll_fn(|context| {
            if self.landed.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Sim;

    fn key(path: &[u8]) -> Key {
        let options = ListOptions::default();
        Key { tree: 1, path: path.to_vec(), form: ListForm::Long, options }
    }

    fn stamp(seconds: i64) -> Stamp {
        Stamp { device: 1, inode: 2, modified: (seconds, 0), changed: (seconds, 0) }
    }

    fn put(listings: &Rc<Listings>, path: &[u8], body: &'static [u8]) {
        let building = listings.build(key(path), stamp(1)).unwrap();
        building.done(&Bytes::from_static(body));
    }

    fn has(listings: &Listings, path: &[u8], stamp: &Stamp) -> bool {
        matches!(listings.look(&key(path), stamp), Look::Ready(_))
    }

    #[test]
    fn a_listing_is_used_until_its_time_or_its_directory_changes() {
        Sim::new(1).run(async {
            let listings = Rc::new(Listings::default());
            put(&listings, b"a", b"x");
            assert!(has(&listings, b"a", &stamp(1)));
            assert!(!has(&listings, b"a", &stamp(2)), "the directory changed");
            assert!(!has(&listings, b"b", &stamp(1)));
            put(&listings, b"b", b"y");
            listings.changed(b"a/file");
            assert!(!has(&listings, b"a", &stamp(1)), "this shard changed it");
            assert!(has(&listings, b"b", &stamp(1)));
            shard::sleep_until(shard::now().after(LIFETIME * 3)).await;
            assert!(!has(&listings, b"b", &stamp(1)), "too old");
            assert_eq!(listings.bytes.get(), 0, "and gone");
        });
    }

    #[test]
    fn a_change_while_it_is_made_keeps_it_out() {
        Sim::new(2).run(async {
            let listings = Rc::new(Listings::default());
            let building = listings.build(key(b"a"), stamp(1)).unwrap();
            listings.changed(b"a/file");
            building.done(&Bytes::from_static(b"old"));
            assert!(!has(&listings, b"a", &stamp(1)));
        });
    }

    #[test]
    fn one_makes_it_and_the_others_wait() {
        Sim::new(3).run(async {
            let listings = Rc::new(Listings::default());
            let building = listings.build(key(b"a"), stamp(1)).unwrap();
            assert!(listings.build(key(b"a"), stamp(1)).is_none());
            let Look::Building(flight) = listings.look(&key(b"a"), &stamp(1)) else {
                panic!("nobody makes it")
            };
            let soon = shard::now().after(Duration::from_millis(20));
            assert!(shard::within(soon, flight.landed()).await.is_none());
            drop(building);
            flight.landed().await;
            assert!(matches!(listings.look(&key(b"a"), &stamp(1)), Look::Missing));
        });
    }

    #[test]
    fn memory_is_bounded() {
        Sim::new(4).run(async {
            let listings = Rc::new(Listings::default());
            let body = Bytes::from(vec![b'x'; LISTING_BYTES_MAX]);
            for number in 0..20_u8 {
                listings.build(key(&[b'a' + number]), stamp(1)).unwrap().done(&body);
                assert!(listings.bytes.get() <= TOTAL_BYTES_MAX);
            }
        });
    }
}
