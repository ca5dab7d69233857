//! Each kind of difference made on purpose, and no other told.

use std::fs;
use std::path::Path;

use super::super::corpus::{Corpus, Form};
use super::super::hostile::Hostile;
use super::super::journal::Journal;
use super::super::wire;
use super::*;
use crate::sizes::Sizes;

/// A journal of five messages, a corpus that can make them again, and a folder.
struct Case {
    folder: tempfile::TempDir,
    corpus: Corpus,
}

const TRACE: &str = "Return-Path: <s@x>\r\nReceived: from y\r\n\tby z\r\n";

impl Case {
    /// r.1 for ann and bob, r.2 for ann, r.3 refused, r.4 unanswered, r.5 hostile for ann.
    fn new() -> Self {
        let corpus = Corpus::generated(&Sizes::fixed(900), true, 1, Form::Data).with_hostile(
            &[Hostile::BareLf],
            5,
            "r",
            "ann@x",
        );
        let case = Self { folder: tempfile::tempdir().unwrap(), corpus };
        let journal = Journal::open(&case.path("journal"), "r", "s").unwrap();
        for number in 1..=5 {
            journal.sent(&format!("r.{number}"), case.corpus.body(number)).unwrap();
        }
        journal.accepted("r.1", Some("Q1"), ["ann@x", "bob@x"].into_iter()).unwrap();
        journal.accepted("r.2", Some("Q2"), ["Ann@x"].into_iter()).unwrap();
        journal.refused("r.3", 550).unwrap();
        journal.accepted("r.5", None, ["ann@x"].into_iter()).unwrap();
        case
    }

    /// With everything where it should be: a Maildir each, r.2 still in the spool.
    fn right() -> Self {
        let case = Self::new();
        case.deliver("ann", "a1", 1);
        case.deliver("bob", "b1", 1);
        case.deliver("ann", "a5", 5);
        case.spool("Q2", 2, "ann@x waiting");
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Message `number` as a server stores it.
    fn message(&self, number: u64) -> Vec<u8> {
        let body = self.corpus.body(number);
        let (content, _) = wire::arrived(&body.wire).unwrap();
        [TRACE.as_bytes(), body.head(&format!("r.{number}")).as_bytes(), &content].concat()
    }

    fn deliver(&self, mailbox: &str, name: &str, number: u64) {
        self.put(&format!("mail/{mailbox}/new/{name}"), &self.message(number));
        fs::create_dir_all(self.path(&format!("mail/{mailbox}/tmp"))).unwrap();
    }

    fn spool(&self, queue_id: &str, number: u64, targets: &str) {
        self.put(&format!("export/{queue_id}.eml"), &self.message(number));
        let targets: Vec<String> = targets
            .split(',')
            .filter_map(|one| one.split_once(' '))
            .map(|(address, state)| format!(r#"{{"address":"{address}","state":"{state}"}}"#))
            .collect();
        let about = format!(r#"{{"id":"{queue_id}","targets":[{}]}}"#, targets.join(","));
        self.put(&format!("export/{queue_id}.json"), about.as_bytes());
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn verdict(&self) -> Verdict {
        self.verdict_of(&["mail"], &["export"], false)
    }

    fn verdict_of(&self, mail: &[&str], exports: &[&str], any: bool) -> Verdict {
        let mut record = Record::default();
        record.read(&self.path("journal")).unwrap();
        let mut found = Vec::new();
        for name in exports {
            stored::export(&self.path(name), &mut found).unwrap();
        }
        for name in mail {
            stored::maildirs(&self.path(name), &mut found).unwrap();
        }
        compare(&record, &found, any)
    }
}

/// lost, duplicated, altered, unknown, refused.
fn differences(verdict: &Verdict) -> [u64; 5] {
    let Verdict { lost, duplicated, altered, unknown, refused_and_stored, .. } = *verdict;
    assert_eq!(verdict.good(0), [lost, duplicated, altered, unknown, refused_and_stored] == [0; 5]);
    [lost, duplicated, altered, unknown, refused_and_stored]
}

#[test]
fn all_that_was_promised_is_there() {
    let case = Case::right();
    let verdict = case.verdict();
    assert_eq!(differences(&verdict), [0; 5], "{verdict:?}");
    assert_eq!((verdict.accepted, verdict.refused, verdict.unanswered), (3, 1, 1));
    assert_eq!((verdict.found, verdict.foreign), (4, 0));
    assert!(verdict.text(true).contains("nothing is missing"));
}

#[test]
fn what_is_gone_is_lost_for_each_recipient() {
    let case = Case::right();
    fs::remove_file(case.path("mail/bob/new/b1")).unwrap();
    fs::remove_file(case.path("export/Q2.eml")).unwrap();
    let verdict = case.verdict();
    assert_eq!(differences(&verdict), [2, 0, 0, 0, 0]);
    assert_eq!(verdict.examples["lost"], ["r.1 (Q1) for bob@x", "r.2 (Q2) for Ann@x"]);
    // In the spool, but done with: nobody will deliver it.
    case.spool("Q2", 2, "ann@x delivered");
    assert_eq!(differences(&case.verdict()), [2, 0, 0, 0, 0]);
    case.spool("Q1", 1, "ann@x delivered,BOB@x deferred");
    case.spool("Q2", 2, "ann@x held");
    assert_eq!(differences(&case.verdict()), [0; 5]);
}

#[test]
fn what_is_there_twice_is_duplicated() {
    let case = Case::right();
    case.deliver("ann", "again", 1);
    case.spool("Q1", 1, "bob@x waiting");
    let verdict = case.verdict();
    assert_eq!(differences(&verdict), [0, 2, 0, 0, 0]);
    assert!(verdict.good(2) && !verdict.good(1));
}

#[test]
fn every_octet_counts() {
    let case = Case::right();
    let whole = case.message(1);
    let begin = TRACE.len() + "X-Loadtest: r.1\r\n".len();
    for at in begin..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        case.put("mail/ann/new/a1", &changed);
        assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0], "octet {at}");
    }
    for cut in [begin + 1, whole.len() - 1, whole.len() - 2] {
        case.put("mail/ann/new/a1", &whole[..cut]);
        assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0], "cut at {cut}");
    }
    case.put("mail/ann/new/a1", &[&whole[..], b"\r\n"].concat());
    assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0]);
}

#[test]
fn line_ends_may_all_be_those_of_the_server() {
    let case = Case::right();
    let text = String::from_utf8(case.message(1)).unwrap();
    case.put("mail/ann/new/a1", text.replace("\r\n", "\n").as_bytes());
    assert_eq!(differences(&case.verdict()), [0; 5]);
    // But not some of them.
    let (head, tail) = text.split_at(text.len() - 1);
    case.put("mail/ann/new/a1", format!("{}\r{tail}", head.replace("\r\n", "\n")).as_bytes());
    assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0]);
}

#[test]
fn what_nobody_promised_is_told_apart() {
    let case = Case::right();
    case.deliver("ann", "refused", 3);
    assert_eq!(differences(&case.verdict()), [0, 0, 0, 0, 1]);
    fs::remove_file(case.path("mail/ann/new/refused")).unwrap();

    case.deliver("ann", "open", 4);
    let verdict = case.verdict();
    assert_eq!((differences(&verdict), verdict.unanswered_and_stored), ([0; 5], 1));
    let half = case.message(4).len() - 100;
    case.put("mail/ann/new/open", &case.message(4)[..half]);
    assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0], "unanswered, but not whole");
    fs::remove_file(case.path("mail/ann/new/open")).unwrap();

    case.deliver("ann", "never", 6);
    case.put("mail/ann/new/smuggled", b"X-Loadtest: r.smuggled\r\nSubject: x\r\n\r\n");
    case.deliver("eve", "stolen", 2);
    let verdict = case.verdict();
    assert_eq!(differences(&verdict), [0, 0, 0, 3, 0], "{verdict:?}");
    for name in ["ann/new/never", "ann/new/smuggled", "eve/new/stolen"] {
        fs::remove_file(case.path(&format!("mail/{name}"))).unwrap();
    }

    // Another's mail, and a report that quotes one of ours.
    case.put("mail/ann/new/other", b"Subject: hello\r\n\r\nX-Loadtest: r.9\r\n");
    // And mail of another run.
    case.put("mail/ann/new/before", b"X-Loadtest: q.1\r\nSubject: x\r\n\r\n");
    let verdict = case.verdict();
    assert_eq!((differences(&verdict), verdict.foreign), ([0; 5], 2));
}

#[test]
fn queue_ids_must_be_those_of_the_journal() {
    let case = Case::right();
    fs::rename(case.path("export/Q2.eml"), case.path("export/Q9.eml")).unwrap();
    fs::rename(case.path("export/Q2.json"), case.path("export/Q9.json")).unwrap();
    assert_eq!(differences(&case.verdict()), [0, 0, 0, 1, 0]);
    fs::remove_file(case.path("export/Q9.eml")).unwrap();
    // Known by its name alone.
    case.put("export/Q2.eml", b"Received: x\r\n\0\0\0\0");
    assert_eq!(differences(&case.verdict()), [0, 0, 1, 0, 0]);
}

#[test]
fn hostile_ones_may_change() {
    let case = Case::right();
    let text = String::from_utf8(case.message(5)).unwrap().replace("\r\n", "\n");
    case.put("mail/ann/new/a5", text.replace('\n', "\r\n").as_bytes());
    let verdict = case.verdict();
    assert_eq!((differences(&verdict), verdict.hostile_altered), ([0; 5], 1));
}

#[test]
fn mailboxes_have_many_layouts() {
    let case = Case::new();
    for (name, number) in [
        ("home/ann/Maildir/new/1", 1),
        ("home/ann/Maildir/.Archive/cur/2:2,S", 2),
        ("home/x/bob@x/cur/1", 1),
        ("home/ann/Maildir/new/5", 5),
    ] {
        case.put(name, &case.message(number));
        let parent = case.path(name).parent().and_then(Path::parent).unwrap().join("tmp");
        fs::create_dir_all(&parent).unwrap();
        // Nobody promised what is here.
        fs::write(parent.join("half"), &case.message(3)[..90]).unwrap();
    }
    assert_eq!(differences(&case.verdict_of(&["home"], &[], false)), [0; 5]);
    // One Maildir for all, and names that say nothing.
    let one = case.verdict_of(&["home/ann/Maildir"], &[], false);
    assert_eq!(differences(&one), [0; 5]);
    fs::rename(case.path("home/ann"), case.path("home/0042")).unwrap();
    assert_ne!(differences(&case.verdict_of(&["home"], &[], false)), [0; 5]);
    assert_eq!(differences(&case.verdict_of(&["home"], &[], true)), [0; 5]);
}

#[test]
fn folders_that_are_none_are_said() {
    let case = Case::new();
    fs::create_dir(case.path("empty")).unwrap();
    let said = stored::maildirs(&case.path("empty"), &mut Vec::new()).unwrap_err();
    assert!(said.contains("no Maildir in it"), "{said}");
    assert!(stored::export(&case.path("none"), &mut Vec::new()).unwrap_err().contains(".eml"));
}
