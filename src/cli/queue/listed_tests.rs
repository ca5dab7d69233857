//! cli::queue::listed tests: the same octets as by the shortest program that shows such a list.

use super::*;
use crate::server::queue::{Page, Text};
use crate::shard::rng::Rng;
use crate::store::spool::QueueId;

const NOW: i64 = 1_800_000_000;

/// A text of a kind that some client sent.
fn word(rng: &Rng) -> String {
    let kinds =
        ["user1@example.org", "ü@bücher.example", "a\u{1b}[1m\tb", "", "\"q\\\" x\"@y", "x"];
    kinds[rng.range(0, kinds.len() - 1)].repeat(rng.range(1, 3))
}

fn entry(rng: &Rng, id: u64) -> Entry {
    let recipients: Vec<String> = (0..rng.range(0, 3)).map(|_| word(rng)).collect();
    let more = u64::try_from(recipients.len() + rng.range(0, 2)).unwrap();
    let ages = [0, 100, 7000, 100_000, 9_000_000];
    let ahead = i64::try_from(rng.range(0, 20_000)).unwrap() - 5000;
    Entry {
        id: QueueId(id << 40),
        accepted: NOW - ages[rng.range(0, 4)],
        size: [0, 1023, 1024, 2_000_000, u64::MAX / 1000][rng.range(0, 4)],
        sender: word(rng),
        state: ["waiting", "deferred", "held"][rng.range(0, 2)].to_owned(),
        recipients_left: more,
        recipients,
        next: rng.percent(60).then_some(NOW + ahead),
        reason: rng.percent(40).then(|| word(rng)),
    }
}

fn naive_row(entry: &Entry) -> [String; 7] {
    let shown = entry.recipients.first().map(|one| human::plain(one)).unwrap_or_default();
    let others = entry.recipients_left.saturating_sub(1);
    [
        entry.id.to_string(),
        human::age(NOW - entry.accepted),
        human::size(entry.size),
        entry.state.clone(),
        match entry.next {
            Some(next) if entry.state != "held" => human::until(next, NOW),
            Some(_) | None => "-".to_owned(),
        },
        format!("<{}>", human::plain(&entry.sender)),
        if others == 0 { shown } else { format!("{shown} and {others} more") },
    ]
}

fn naive(pages: &[Vec<Entry>]) -> String {
    let mut widths: Vec<usize> = Listed::HEADINGS.iter().map(|cell| cell.len()).collect();
    let mut text = String::new();
    for (number, page) in pages.iter().enumerate() {
        let rows: Vec<[String; 7]> = page.iter().map(naive_row).collect();
        for row in &rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = cell.chars().count().max(*most);
            }
        }
        let line = |cells: Vec<&str>| {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                if [1, 2].contains(&column) {
                    line.push_str(&format!("{cell:>width$}  "));
                } else {
                    line.push_str(&format!("{cell:<width$}  "));
                }
            }
            format!("{}\n", line.trim_end_matches(' '))
        };
        if number == 0 {
            text.push_str(&line(Listed::HEADINGS.to_vec()));
        }
        for (row, entry) in rows.iter().zip(page) {
            text.push_str(&line(row.iter().map(String::as_str).collect()));
            if let Some(reason) = &entry.reason {
                text.push_str(&format!("{:15}{}\n", "", human::plain(reason)));
            }
        }
    }
    text
}

#[test]
fn a_list_is_shown_as_the_shortest_program_would() {
    for seed in 0..100 {
        let rng = Rng::new(seed);
        let mut ids = 1..;
        let mut page = |_| ids.by_ref().take(rng.range(1, 9)).map(|id| entry(&rng, id)).collect();
        let pages: Vec<Vec<Entry>> = (0..rng.range(1, 4)).map(&mut page).collect();
        let (mut owned, mut read) = (Listed::new(false, || NOW), Listed::new(false, || NOW));
        let (mut text, mut same) = (String::new(), String::new());
        let (mut json, mut array) = (Listed::new(true, || NOW), String::new());
        for page in &pages {
            text.push_str(owned.shown(page).unwrap());
            array.push_str(json.shown(page).unwrap());
            // As it comes from a server, without a copy of its texts.
            let octets = serde_json::to_vec(&Page { entries: page.clone(), until: None }).unwrap();
            let page: Page<Text<'_>> = serde_json::from_slice(&octets).unwrap();
            same.push_str(read.shown(&page.entries).unwrap());
        }
        assert_eq!(text, naive(&pages), "seed {seed}");
        assert_eq!(same, text, "seed {seed}");
        array.push_str(&json.end());
        let all: Vec<&Entry> = pages.iter().flatten().collect();
        assert_eq!(
            array,
            format!("{}\n", serde_json::to_string_pretty(&all).unwrap()),
            "seed {seed}"
        );
    }
}

#[test]
fn a_list_of_nothing_says_so() {
    for (json, says) in [(false, "nothing waits\n"), (true, "[]\n")] {
        let mut listed = Listed::new(json, || NOW);
        assert_eq!(listed.shown::<String>(&[]).unwrap(), "");
        assert_eq!(listed.end(), says);
    }
}
