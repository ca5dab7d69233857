//! store::packed – a map from numbers that mostly grow, for millions of small values.
//!
//! Keys and values lie side by side in chunks of up to 128, which numbers that grow fill to the end: an
//! entry costs its own octets and a few percent. A `BTreeMap` filled in that order leaves its nodes half
//! empty, a `HashMap` doubles all at once.
//!
//! Promises: the order of numbers; memory follows what is in it, down again too.

use std::collections::BTreeMap;

/// Entries of a chunk.
const CHUNK: usize = 128;

/// The map.
#[derive(Debug, Clone)]
pub struct Packed<T> {
    /// By a number that none of the chunk's is below, and none of those before it above.
    chunks: BTreeMap<u64, Chunk<T>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Chunk<T> {
    keys: Vec<u64>,
    values: Vec<T>,
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }
}

impl<T> Chunk<T> {
    fn find(&self, key: u64) -> Result<usize, usize> {
        // Most are younger than all there are.
        match self.keys.last() {
            Some(last) if *last < key => Err(self.keys.len()),
            _ => self.keys.binary_search(&key),
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let rest = Self { keys: self.keys.split_off(at), values: self.values.split_off(at) };
        self.fit();
        rest
    }

    /// Gives back what is not needed, when that is the larger part.
    fn fit(&mut self) {
        if self.keys.len() * 2 < self.keys.capacity() {
            let most = self.keys.len() + self.keys.len() / 4;
            self.keys.shrink_to(most);
            self.values.shrink_to(most);
        }
    }
}

impl<T> Packed<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Name of the chunk where a key is or would be.
    fn home(&self, key: u64) -> Option<u64> {
        self.chunks.range(..=key).next_back().map(|(bound, _)| *bound)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<&T> {
        let (_, chunk) = self.chunks.range(..=key).next_back()?;
        chunk.values.get(chunk.find(key).ok()?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (_, chunk) = self.chunks.range_mut(..=key).next_back()?;
        let at = chunk.find(key).ok()?;
        chunk.values.get_mut(at)
    }

    /// Is it there?
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value in; the one that was there.
    pub fn insert(&mut self, key: u64, value: T) -> Option<T> {
        let Some((_, chunk)) = self.chunks.range_mut(..=key).next_back() else {
            self.begin(key, value);
            return None;
        };
        let at = match chunk.find(key) {
            Ok(at) => return chunk.values.get_mut(at).map(|old| std::mem::replace(old, value)),
            Err(at) => at,
        };
        if chunk.keys.len() < CHUNK {
            chunk.keys.insert(at, key);
            chunk.values.insert(at, value);
            self.len += 1;
            return None;
        }
        if at == CHUNK {
            self.begin(key, value);
            return None;
        }
        let rest = chunk.split_off(CHUNK / 2);
        if let Some(bound) = rest.keys.first().copied() {
            self.chunks.insert(bound, rest);
        }
        self.insert(key, value)
    }

    /// A chunk of its own.
    fn begin(&mut self, key: u64, value: T) {
        self.chunks.insert(key, Chunk { keys: vec![key], values: vec![value] });
        self.len += 1;
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let bound = self.home(key)?;
        let chunk = self.chunks.get_mut(&bound)?;
        let at = chunk.find(key).ok()?;
        chunk.keys.remove(at);
        let value = chunk.values.remove(at);
        let left = chunk.keys.len();
        self.len -= 1;
        if left == 0 {
            self.chunks.remove(&bound);
        } else if left <= CHUNK / 4 {
            self.merge(bound);
        }
        Some(value)
    }

    /// A chunk that became small and one beside it become one, where that may still grow.
    fn merge(&mut self, bound: u64) {
        let size = |(bound, chunk): (&u64, &Chunk<T>)| (*bound, chunk.keys.len());
        let own = self.chunks.get(&bound).map_or(0, |chunk| chunk.keys.len());
        let small = |(_, more): &(u64, usize)| own + more <= CHUNK / 2;
        let before = self.chunks.range(..bound).next_back().map(size).filter(small);
        let behind = self.chunks.range(bound.saturating_add(1)..).next().map(size).filter(small);
        let (first, second) = match (before, behind) {
            (Some((before, _)), _) => (before, bound),
            (None, Some((behind, _))) => (bound, behind),
            (None, None) => {
                if let Some(chunk) = self.chunks.get_mut(&bound) {
                    chunk.fit();
                }
                return;
            }
        };
        if let Some(other) = self.chunks.remove(&second)
            && let Some(chunk) = self.chunks.get_mut(&first)
        {
            chunk.keys.extend(other.keys);
            chunk.values.extend(other.values);
        }
    }

    /// In the order of keys, from one on.
    pub fn range_from(&self, from: u64) -> impl Iterator<Item = (u64, &T)> {
        let first = self.home(from).unwrap_or(from);
        let chunks = self.chunks.range(first..).map(|(_, chunk)| chunk);
        chunks.flat_map(move |chunk| {
            let skip = chunk.find(from).unwrap_or_else(|at| at);
            chunk.keys.iter().copied().zip(&chunk.values).skip(skip)
        })
    }

    /// All, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.range_from(0)
    }

    /// The first key.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.iter().next().map(|(key, _)| key)
    }
}

impl<T> IntoIterator for Packed<T> {
    type Item = (u64, T);
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        let front = Chunk { keys: Vec::new(), values: Vec::new() };
        IntoIter { front: front.keys.into_iter().zip(front.values), rest: self.chunks }
    }
}

/// All entries in the order of keys; the memory of each chunk goes with it.
#[derive(Debug)]
pub struct IntoIter<T> {
    front: std::iter::Zip<std::vec::IntoIter<u64>, std::vec::IntoIter<T>>,
    rest: BTreeMap<u64, Chunk<T>>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = (u64, T);

    fn next(&mut self) -> Option<(u64, T)> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(entry);
            }
            let (_, chunk) = self.rest.pop_first()?;
            self.front = chunk.keys.into_iter().zip(chunk.values);
        }
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
