//! smtp::client::tests::items – every item of the acceptance list that is the client's has a transcript.
//!
//! Items are named as in `smtp::tests::items`; `5321-53` is many in one and has words for its parts, `2033` is
//! LMTP, `2920` and `3030` what is asked of clients.

use std::collections::BTreeSet;

use super::script::folder;
use crate::wire::transcript::transcripts;

const ITEMS: &str = "
TEXTBOOK SEC-broken
5321-16 5321-46 5321-51 5321-52 5321-greeting 5321-lost 5321-full 5321-bare
5321-53-digit 5321-53-space 5321-53-multiline 5321-53-2xx 5321-53-hello 5321-53-dots 5321-53-hygiene 5321-53-421
1870-1
2033-1 2033-2 2033-4 2033-5 2033-6 2033-7 2033-8
2920-1 2920-2 2920-3 2920-9
3030-1 3030-2 3030-3
3207-1 3207-2 3207-3 3207-4
3461-03 3461-04 3461-10
4954-1 4954-2 4954-3 4954-4 4954-5
6152-1 6531-05 7504-521 9422-1
";

/// Items that a test of this crate shows better than a transcript could, by the test's name.
const ELSEWHERE: [(&str, &str); 2] = [
    ("5321-52", "every_wait_has_its_deadline"),
    ("2920-9", "a_thousand_recipients_never_fill_the_window"),
];

/// Items that are no matter of the dialogue, and whose they are.
const NOT_HERE: [(&str, &str); 2] = [
    ("2033-2", "which port is the configuration's"),
    ("2033-8", "a slow recipient is the server's to overtake"),
];

#[test]
fn items_have_transcripts() {
    let items: BTreeSet<&str> = ITEMS.split_whitespace().collect();
    let mut shown = BTreeSet::new();
    let texts = transcripts(&folder());
    for (path, text) in &texts {
        let tags = text.lines().filter_map(|line| line.strip_prefix("# id "));
        let tags: Vec<&str> = tags.flat_map(str::split_whitespace).collect();
        assert!(!tags.is_empty(), "{}: shows no item", path.display());
        for tag in tags {
            assert!(items.contains(tag), "{}: no such item: {tag}", path.display());
            shown.insert(tag);
        }
    }
    let reasons: BTreeSet<&str> =
        ELSEWHERE.into_iter().chain(NOT_HERE).map(|(item, _)| item).collect();
    let neither: Vec<_> =
        items.iter().filter(|i| !shown.contains(*i) && !reasons.contains(*i)).collect();
    assert!(neither.is_empty(), "items without a transcript or a reason: {neither:?}");
    assert!(shown.is_disjoint(&reasons), "a transcript needs no reason");
    assert!(reasons.is_subset(&items));
}

/// What is promised to be shown elsewhere is there, by that name.
#[test]
fn tests_that_are_named_exist() {
    let sources = [include_str!("random.rs"), include_str!("../../tests/loopback.rs")].concat();
    for (_, test) in ELSEWHERE {
        assert!(sources.contains(&format!("fn {test}(")), "no such test: {test}");
    }
}
