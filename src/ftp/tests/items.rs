//! ftp::tests::items – every item of the acceptance list has a transcript, or a reason why not.
//!
//! Items are named by the standard they come from: `959-T-…` are the rows of the reply table of
//! RFC 959 §5.4, `1123` is §4.1 of RFC 1123, `FEAT` RFC 2389, `I18N` RFC 2640, `TLS` RFC 2228 and 4217, `SEC` RFC 2577 and
//! what attacks taught, `DRAFT` what no RFC has and every client uses.

use std::collections::{BTreeMap, BTreeSet};

use super::script::transcripts;

const ITEMS: &str = "
959-T-CONNECT 959-T-USER 959-T-PASS 959-T-ACCT 959-T-CWD 959-T-CDUP 959-T-SMNT 959-T-REIN
959-T-QUIT 959-T-PORT 959-T-PASV 959-T-MODE 959-T-TYPE 959-T-STRU 959-T-ALLO 959-T-REST
959-T-STOR 959-T-STOU 959-T-APPE 959-T-RETR 959-T-LIST 959-T-NLST 959-T-RNFR 959-T-RNTO
959-T-DELE 959-T-RMD 959-T-MKD 959-T-PWD 959-T-ABOR 959-T-SYST 959-T-STAT 959-T-HELP
959-T-SITE 959-T-NOOP
959-01 959-02 959-03 959-04 959-05 959-06
959-10 959-11 959-12 959-13 959-14 959-15 959-16 959-17 959-18
959-20 959-21 959-22 959-23 959-24 959-25 959-26 959-27 959-28 959-29 959-30 959-31
959-40 959-41 959-42 959-43 959-44 959-45 959-46 959-47 959-48 959-49
959-50 959-51 959-52 959-53 959-54 959-55 959-56 959-57
959-60 959-61
1123-01 1123-02 1123-03 1123-04 1123-05 1123-06 1123-07
FEAT-01 FEAT-02 FEAT-03 FEAT-04
2428-01 2428-02 2428-03 2428-04
I18N-01 I18N-02 I18N-03 I18N-04
3659-01 3659-02 3659-03 3659-04 3659-05 3659-06 3659-07 3659-08
3659-09 3659-10 3659-11 3659-12 3659-13 3659-14 3659-15 3659-16
SEC-01 SEC-02 SEC-03 SEC-04 SEC-05 SEC-06 SEC-07
TLS-01 TLS-02 TLS-03 TLS-04 TLS-05 TLS-06 TLS-07 TLS-08 TLS-09 TLS-10 TLS-11 TLS-12 TLS-13 TLS-14
TLS-15 TLS-16 TLS-17
DRAFT-MFMT DRAFT-MDTM DRAFT-CLNT
";

/// Items no dialogue can show, why, and the test over real sockets that shows them instead.
const LEFT_OVER: [(&str, &str, &str); 9] = [
    ("959-17", "the core is dropped with its connection", "clients_that_vanish_leave_nothing"),
    ("959-29", "addresses of sockets", "active_data_leaves_from_the_control_address"),
    ("1123-07", "addresses of sockets", "active_data_leaves_from_the_control_address"),
    ("959-60", "octets of the data connection", "text_is_converted_both_ways"),
    ("959-61", "a licence not to convert, of which no use is made", "text_is_converted_both_ways"),
    ("SEC-05", "ports are bound by the driver", "passive_ports_are_random_and_end_with_the_next"),
    (
        "TLS-03",
        "what comes of it depends on the split (`injection`)",
        "octets_in_clear_behind_auth_are_never_interpreted",
    ),
    ("TLS-12", "handshakes", "a_handshake_that_fails_ends_the_session"),
    ("TLS-17", "handshakes", "a_hundred_data_connections_resume_under_every_policy"),
];

/// Items a dialogue shows by half: the other half is about sockets and files.
const ALSO_ON_THE_WIRE: [(&str, &str); 13] = [
    ("959-05", "too_many_sessions_get_421"),
    ("959-25", "records_in_ebcdic_as_in_the_text_book"),
    ("959-30", "passive_ports_are_random_and_end_with_the_next"),
    ("959-43", "a_file_that_shrinks_while_it_is_sent_is_never_complete"),
    ("959-44", "a_stor_that_the_client_breaks_leaves_the_old_file"),
    ("959-53", "listings_agree_with_the_tree"),
    ("1123-05", "an_idle_session_ends_and_a_transfer_does_not"),
    ("TLS-10", "the_server_is_the_tls_server_in_active_mode_too"),
    ("TLS-11", "rein_leads_back_to_clear_and_auth_begins_again"),
    ("TLS-14", "an_upload_without_the_end_of_tls_leaves_the_old_file"),
    ("TLS-16", "files_and_listings_pass_both_ways"),
    ("SEC-02", "a_stranger_on_the_passive_port_gets_nothing"),
    ("SEC-03", "the_delay_for_a_wrong_password_blocks_nobody_else"),
];

#[test]
fn items_have_transcripts() {
    let items: BTreeSet<&str> = ITEMS.split_whitespace().collect();
    let texts = transcripts();
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in &texts {
        for tags in text.lines().filter_map(|line| line.strip_prefix("# id ")) {
            for tag in tags.split_whitespace() {
                assert!(items.contains(tag), "{}: no such item: {tag}", path.display());
                shown.entry(tag).or_default().push(path.display().to_string());
            }
        }
    }
    let left_over: BTreeMap<&str, &str> =
        LEFT_OVER.into_iter().map(|(item, reason, _)| (item, reason)).collect();
    let neither: Vec<&&str> = items
        .iter()
        .filter(|item| !shown.contains_key(**item) && !left_over.contains_key(**item))
        .collect();
    assert!(neither.is_empty(), "items without a transcript or a reason: {neither:?}");
    for (item, reason) in left_over {
        assert!(items.contains(item) && !reason.is_empty());
        assert!(!shown.contains_key(item), "{item} has a transcript and needs no reason");
    }
    for (item, test) in ALSO_ON_THE_WIRE {
        assert!(shown.contains_key(item) && !test.is_empty(), "{item}");
    }
}

/// What is promised to be shown elsewhere is there, by that name.
#[test]
fn tests_over_real_sockets_exist() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let sources: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let left_over = LEFT_OVER.iter().map(|(_, _, test)| test);
    for test in left_over.chain(ALSO_ON_THE_WIRE.iter().map(|(_, test)| test)) {
        assert!(sources.contains(&format!("\nfn {test}() {{")), "no such test: {test}");
    }
}
