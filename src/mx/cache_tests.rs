//! What is kept, how long, and that it stays within its bounds.
#![allow(clippy::disallowed_types, reason = "macros of proptest use Arc")]

use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::limits::{
    DNS_CACHE_BYTES_MAX, DNS_CACHE_ENTRIES_MAX, DNS_FAILURE_SECONDS, DNS_NEGATIVE_SECONDS_MAX,
    DNS_TTL_SECONDS_MAX, DNS_TTL_SECONDS_MIN,
};

fn question(name: &str) -> Question {
    Question { name: name.to_owned(), kind: Kind::V4, files: false }
}

fn answer(found: Found, ttl_seconds: u32) -> Rc<Answer> {
    Rc::new(Answer { found, ttl_seconds, alias: false })
}

fn here() -> Found {
    Found::Addresses(vec![[192, 0, 2, 1].into()])
}

#[test]
fn each_kind_has_its_life() {
    for (found, said, kept) in [
        (here(), 0, DNS_TTL_SECONDS_MIN),
        (here(), 300, 300),
        (here(), u32::MAX, DNS_TTL_SECONDS_MAX),
        (Found::Nothing, 0, DNS_TTL_SECONDS_MIN),
        (Found::NoName, 900, 900),
        (Found::NoName, u32::MAX, DNS_NEGATIVE_SECONDS_MAX),
        (Found::Trouble(Trouble::Timeout), 9999, DNS_FAILURE_SECONDS),
    ] {
        let mut cache = Cache::default();
        let (asked, kept) = (question("a.example"), u64::from(kept));
        cache.put(&asked, &answer(found.clone(), said), 1000);
        let last = cache.get(&asked, 1000 + kept - 1).map(|answer| answer.found.clone());
        assert_eq!(last, Some(found.clone()), "{found:?} {said}");
        assert_eq!(cache.get(&asked, 1000 + kept), None, "{found:?} {said}");
    }
}

#[test]
fn what_is_left_of_a_life_is_told() {
    let mut cache = Cache::default();
    cache.put(&question("a.example"), &answer(here(), 300), 0);
    assert_eq!(cache.get(&question("a.example"), 100).unwrap().ttl_seconds, 200);
    assert_eq!(cache.get(&question("A.example"), 100), None);
    let files = Question { files: true, ..question("a.example") };
    assert_eq!(cache.get(&files, 100), None, "another question");
    cache.clear();
    assert!(cache.is_empty() && cache.bytes() == 0);
}

#[test]
fn an_answer_that_is_too_large_is_not_kept() {
    let mut cache = Cache::default();
    let one = Exchange { preference: 1, name: "a".repeat(250) };
    let many = answer(Found::Exchanges(vec![one; 5000]), 300);
    cache.put(&question("a.example"), &answer(here(), 300), 0);
    cache.put(&question("b.example"), &many, 0);
    cache.put(&question("a.example"), &many, 0);
    assert!(cache.is_empty() && cache.bytes() == 0);
}

#[test]
fn there_is_no_end_of_names_and_an_end_of_memory() {
    let mut cache = Cache::default();
    for number in 0..100_000u32 {
        let found = Found::Addresses(vec![[192, 0, 2, 1].into(); 40]);
        cache.put(&question(&format!("{number}.example")), &answer(found, 300 + number % 7), 0);
        assert!(cache.len() <= DNS_CACHE_ENTRIES_MAX && cache.bytes() <= DNS_CACHE_BYTES_MAX);
    }
    assert!(cache.len() > 1000);
    // What ends first went first: only the longest lives are left.
    let left: Vec<u32> = (0..100_000)
        .filter(|number| cache.get(&question(&format!("{number}.example")), 1).is_some())
        .map(|number| number % 7)
        .collect();
    assert!(left.iter().filter(|life| **life == 6).count() * 2 > left.len());
}

proptest! {
    /// Against a map that keeps everything and looks at the time.
    #[test]
    fn like_a_naive_map(steps in prop::collection::vec((0u8..6, 0u32..100, 0u64..30, any::<bool>()), 1..200)) {
        let mut cache = Cache::default();
        let mut naive: std::collections::BTreeMap<u8, (Rc<Answer>, u64)> = Default::default();
        let mut now = 0;
        for (name, ttl, pause, put) in steps {
            now += pause;
            let asked = question(&format!("{name}.example"));
            if put {
                let new = answer(here(), ttl);
                cache.put(&asked, &new, now);
                naive.insert(name, (new, now + u64::from(ttl.max(DNS_TTL_SECONDS_MIN))));
            }
            let expected = naive.get(&name).filter(|(_, ends)| *ends > now);
            let found = cache.get(&asked, now);
            prop_assert_eq!(found.is_some(), expected.is_some());
            prop_assert_eq!(
                found.map(|answer| answer.found.clone()),
                expected.map(|(answer, _)| answer.found.clone())
            );
            prop_assert!(cache.len() <= 6);
        }
    }
}
