//! sim::rng – all chance of a run: a counter put through a mixing function.

use std::cell::Cell;

/// A stream of numbers fixed by its seed.
#[derive(Debug)]
pub struct Rng(Cell<u64>);

impl Rng {
    /// Neighbouring seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        let rng = Self(Cell::new(seed ^ 0x5851_f42d_4c95_7f2d));
        rng.next();
        rng
    }

    /// Any number.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both possible.
    pub fn range(&self, low: usize, high: usize) -> usize {
        let span = u64::try_from(high.saturating_sub(low)).unwrap() + 1;
        low + usize::try_from(self.below(span)).unwrap()
    }

    /// True in `chance` of a hundred cases.
    pub fn percent(&self, chance: u64) -> bool {
        chance > 0 && self.below(100) < chance
    }

    /// One of `items`.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.range(0, items.len() - 1)]
    }

    /// Puts `items` in any order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.range(0, last));
        }
    }

    /// `len` octets.
    pub fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
