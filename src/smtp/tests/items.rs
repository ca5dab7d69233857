//! smtp::tests::items – every item of the acceptance list has a transcript, or a reason why not.
//!
//! Items are named by the standard they come from and by their number in the list: `5321` with the
//! codes of RFC 7504, `1870` SIZE, `2034` enhanced codes, `2920` PIPELINING, `3030` CHUNKING and
//! BINARYMIME, `3461` the parameters of DSN, `3848` the `with` of trace headers, `6152` 8BITMIME,
//! `6531` SMTPUTF8, `3207` STARTTLS with RFC 8314, `4954` AUTH,
//! `6409` submission, `9422` LIMITS, `2033` LMTP; `XCLIENT` and `XFORWARD` are Postfix's; `SEC` is what attacks taught, `TEXTBOOK` what text books show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::script::folder;
use crate::wire::transcript::transcripts;

const ITEMS: &str = "
TEXTBOOK SEC-early SEC-errors SEC-foreign
5321-01 5321-02 5321-03 5321-04 5321-05 5321-06 5321-07 5321-08 5321-09 5321-10
5321-11 5321-12 5321-13 5321-14 5321-15 5321-16 5321-17 5321-18 5321-19 5321-20
5321-21 5321-22 5321-23 5321-24 5321-25 5321-26 5321-27 5321-28 5321-29 5321-30
5321-31 5321-32 5321-33 5321-34 5321-35 5321-36 5321-37 5321-38 5321-39 5321-40
5321-41 5321-42 5321-43 5321-44 5321-45 5321-46 5321-47 5321-48 5321-49
1870-1 1870-2 1870-3 1870-4 1870-5 1870-6 1870-7 1870-8
2034-1 2034-2 2034-3
2920-1 2920-2 2920-3 2920-4 2920-5 2920-6 2920-7 2920-8 2920-9
3030-01 3030-02 3030-03 3030-04 3030-05 3030-06 3030-07 3030-08 3030-09 3030-10 3030-11
3461-01 3461-02 3461-12 3461-14
3848-1 6152-1
3207-01 3207-02 3207-03 3207-04 3207-05 3207-06 3207-07 3207-08 3207-09 3207-10
4954-01 4954-02 4954-03 4954-04 4954-05 4954-06 4954-07 4954-08 4954-09 4954-10 4954-11
4954-12 4954-13 4954-14 4954-15 4954-16 4954-17
6409-1 6409-2
6531-01 6531-02 6531-03 6531-04 6531-05 6531-06 6531-07 6531-08 6531-10 6531-11
7504-521 7504-556
9422-1 9422-2 9422-3
2033-1 2033-2 2033-3 2033-4 2033-5 2033-6 2033-7 2033-8
XCLIENT XFORWARD
";

/// Items that a test of this crate shows better than a transcript could, by the test's name.
const ELSEWHERE: [(&str, &str); 5] = [
    ("5321-39", "each_session_is_the_same_whatever_the_split"),
    ("2920-9", "a_flood_of_recipients_is_bounded"),
    ("3030-10", "a_million_chunks_of_one_octet_are_bounded"),
    ("6531-11", "keys_compare_as_a_labels"),
    ("5321-05", "an_idle_session_is_small"),
];

/// Items a transcript shows by half; these tests show the rest.
const ALSO: [(&str, &str); 4] = [
    ("5321-45", "one_recipient_is_named_and_more_are_not"),
    ("5321-09", "a_line_over_the_limit_is_reported_once_and_holds_nothing"),
    ("5321-06", "every_short_text_at_every_split"),
    ("5321-47", "lines_of_the_header_are_counted_at_every_split"),
];

/// Items that are no matter of the dialogue, and whose they are.
const NOT_HERE: [(&str, &str); 15] = [
    (
        "5321-32",
        "what survives a crash is the spool's: the dialogue says 250 after Answer::Committed",
    ),
    ("5321-33", "a session that is dropped drops its draft: the driver's and the spool's"),
    ("5321-34", "time between the end and the reply is the spool's"),
    ("5321-46", "Return-Path is written at delivery"),
    ("5321-48", "notifications are written at delivery"),
    ("5321-49", "lists and aliases are expanded after acceptance"),
    (
        "7504-521",
        "a listener without domains is an error of the configuration, so that no host takes no mail",
    ),
    ("3207-05", "a handshake that fails ends the connection: the driver's, tests/smtps.rs"),
    (
        "3207-07",
        "TLS that does not suffice does not come about: versions and ciphers are the layer's",
    ),
    ("3207-10", "records, close_notify and renegotiation are the layer's"),
    ("4954-13", "the least allowed for max_login_failures is the configuration's: 3, or 0"),
    ("6531-05", "what a further hop lacks is a matter of smtp::client, and of its transcripts"),
    ("2033-2", "a listener of LMTP on port 25 is an error of the configuration"),
    (
        "2033-8",
        "no recipient is slow: 250 says that the message is durable for all, and deliveries come after it",
    ),
    ("7504-556", "null MX is asked for when mail is relayed"),
];

#[test]
fn items_have_transcripts() {
    let items: BTreeSet<&str> = ITEMS.split_whitespace().collect();
    let texts = transcripts(&folder());
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in &texts {
        let mut tagged = false;
        for tags in text.lines().filter_map(|line| line.strip_prefix("# id ")) {
            for tag in tags.split_whitespace() {
                assert!(items.contains(tag), "{}: no such item: {tag}", path.display());
                shown.entry(tag).or_default().push(path.display().to_string());
                tagged = true;
            }
        }
        assert!(tagged, "{}: shows no item", path.display());
    }
    let reasons: BTreeMap<&str, &str> = ELSEWHERE.into_iter().chain(NOT_HERE).collect();
    let neither: Vec<&&str> = items
        .iter()
        .filter(|item| !shown.contains_key(**item) && !reasons.contains_key(**item))
        .collect();
    assert!(neither.is_empty(), "items without a transcript or a reason: {neither:?}");
    for (item, reason) in reasons {
        assert!(items.contains(item) && !reason.is_empty());
        assert!(!shown.contains_key(item), "{item} has a transcript and needs no reason");
    }
    for (item, _) in ALSO {
        assert!(shown.contains_key(item), "{item}");
    }
}

/// What is promised to be shown elsewhere is there, by that name.
#[test]
fn tests_that_are_named_exist() {
    let mut sources = String::new();
    for folder in ["src/smtp", "src/wire"] {
        gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    for (_, test) in ELSEWHERE.into_iter().chain(ALSO) {
        assert!(sources.contains(&format!("fn {test}(")), "no such test: {test}");
    }
}

fn gather(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
