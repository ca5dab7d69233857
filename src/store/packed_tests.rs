//! The packed map against a `BTreeMap` that is told the same.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Insert(u64, u16),
    /// Larger than all there are.
    Push(u16),
    Remove(u64),
    /// The one in that place.
    RemoveAt(usize),
    Change(u64, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..3000, any::<u16>()).prop_map(|(key, value)| Step::Insert(key, value)),
        6 => any::<u16>().prop_map(Step::Push),
        2 => (0_u64..3000).prop_map(Step::Remove),
        6 => any::<usize>().prop_map(Step::RemoveAt),
        1 => (0_u64..3000, any::<u16>()).prop_map(|(key, value)| Step::Change(key, value)),
    ];
    prop::collection::vec(step, 0..2000)
}

fn take(packed: &mut Packed<u16>, naive: &mut BTreeMap<u64, u16>, step: Step) {
    match step {
        Step::Insert(key, value) => {
            assert_eq!(packed.insert(key, value), naive.insert(key, value));
        }
        Step::Push(value) => {
            let key = naive.last_key_value().map_or(5, |(key, _)| key + 1);
            assert_eq!(packed.insert(key, value), naive.insert(key, value));
        }
        Step::Remove(key) => assert_eq!(packed.remove(key), naive.remove(&key)),
        Step::RemoveAt(at) => {
            let key = naive.keys().nth(at % naive.len().max(1)).copied();
            if let Some(key) = key {
                assert_eq!(packed.remove(key), naive.remove(&key));
            }
        }
        Step::Change(key, value) => {
            assert_eq!(packed.contains(key), naive.contains_key(&key));
            if let Some(old) = packed.get_mut(key) {
                *old = value;
                *naive.get_mut(&key).unwrap() = value;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_as_a_map(grown in 0_u64..1000, steps in steps(), from in 0_u64..3000) {
        let (mut packed, mut naive) = (Packed::default(), BTreeMap::new());
        for key in 0..grown {
            assert_eq!(packed.insert(key * 3, 1), naive.insert(key * 3, 1));
        }
        for step in steps {
            take(&mut packed, &mut naive, step);
            assert_eq!(packed.len(), naive.len());
        }
        assert_eq!(packed.first(), naive.keys().next().copied());
        assert!(packed.iter().map(|(key, value)| (key, *value)).eq(naive.clone()));
        assert!(packed.range_from(from).map(|(key, _)| key).eq(naive.range(from..).map(|(key, _)| *key)));
        for key in 0..3001 {
            assert_eq!(packed.get(key), naive.get(&key));
        }
        assert!(packed.into_iter().eq(naive));
    }
}

/// Octets that chunks hold room for, for one entry.
fn bytes_per_entry(packed: &Packed<u64>) -> usize {
    let room =
        packed.chunks.values().map(|chunk| chunk.keys.capacity() * 8 + chunk.values.capacity() * 8);
    room.sum::<usize>() / packed.len()
}

#[test]
fn what_grows_lies_close_and_what_shrinks_is_given_back() {
    let mut packed = Packed::default();
    for key in 0..100_000 {
        packed.insert(key, key);
    }
    assert_eq!(bytes_per_entry(&packed), 16);
    for key in (0..100_000).filter(|key| key % 20 != 0) {
        packed.remove(key);
    }
    assert_eq!(packed.len(), 5000);
    let (bytes, chunks) = (bytes_per_entry(&packed), packed.chunks.len());
    assert!(bytes <= 48 && chunks <= 5000 / 16, "{bytes} octets an entry, {chunks} chunks");
}
