//! cli::queue::listed – a list of waiting mail as it is shown, page by page: there may be millions of messages.
//!
//! Promises: memory of one page, whatever the list; texts are copied once, from what was read to what is shown.
//! Not here: which messages (`server::queue`), where they come from (`queue`).

use std::ops::Deref;

use serde::Serialize;

use super::super::{human, say};
use crate::server::Failure;
use crate::server::queue::Entry;

/// A list as it is shown, page by page: there may be millions of messages.
pub(super) struct Listed {
    json: bool,
    table: human::Table<'static>,
    /// Those of one page, and its text.
    cells: human::Cells,
    text: String,
    messages: u64,
    octets: u64,
    /// Somebody takes it.
    read: bool,
    now: fn() -> i64,
}

impl Listed {
    const HEADINGS: [&str; 7] = ["ID", "AGE", "SIZE", "STATE", "NEXT", "SENDER", "RECIPIENTS"];

    /// `now` says the time, in seconds since 1970.
    pub(super) fn new(json: bool, now: fn() -> i64) -> Self {
        let table = human::Table::new(&Self::HEADINGS, &[1, 2]);
        let (cells, text) = (human::Cells::default(), String::new());
        Self { json, table, cells, text, messages: 0, octets: 0, read: true, now }
    }

    /// Shows some more; false: nobody reads any more.
    pub(super) fn page<T: Deref<Target = str> + Serialize>(
        &mut self,
        entries: &[Entry<T>],
    ) -> Result<bool, Failure> {
        self.read = say::out_while_read(self.shown(entries)?)?;
        Ok(self.read)
    }

    /// Does anybody read?
    pub(super) fn is_read(&self) -> bool {
        self.read
    }

    fn shown<T: Deref<Target = str> + Serialize>(
        &mut self,
        entries: &[Entry<T>],
    ) -> Result<&str, Failure> {
        let first = self.messages == 0;
        self.messages += entries.len() as u64;
        self.octets += entries.iter().map(|entry| entry.size).sum::<u64>();
        self.text.clear();
        if self.json {
            json_items(entries, first, &mut self.text)?;
            return Ok(&self.text);
        }
        let now = (self.now)();
        self.cells.clear();
        entries.iter().for_each(|entry| row(entry, now, &mut self.cells));
        self.table.fit(self.cells.iter());
        if first && !entries.is_empty() {
            self.text.push_str(&self.table.headings());
        }
        let mut cells = self.cells.iter();
        for entry in entries {
            self.table.row(&mut cells, &mut self.text);
            if let Some(reason) = &entry.reason {
                self.text.push_str("               ");
                human::put_plain(&mut self.text, reason);
                self.text.push('\n');
            }
        }
        Ok(&self.text)
    }

    /// What comes behind the last.
    pub(super) fn end(&self) -> String {
        match (self.json, self.messages) {
            (true, 0) => "[]\n".to_owned(),
            (true, _) => "\n]\n".to_owned(),
            (false, 0) => "nothing waits\n".to_owned(),
            (false, messages) => {
                format!("{}, {}\n", super::counted(messages), human::size(self.octets))
            }
        }
    }
}

fn row<T: Deref<Target = str>>(entry: &Entry<T>, now: i64, cells: &mut human::Cells) {
    cells.add(|text| human::put(text, format_args!("{}", entry.id)));
    cells.add(|text| human::put_age(text, now - entry.accepted));
    cells.add(|text| human::put_size(text, entry.size));
    cells.add(|text| human::put_plain(text, &entry.state));
    cells.add(|text| match entry.next {
        Some(next) if &*entry.state != "held" => human::put_until(text, next, now),
        Some(_) | None => text.push('-'),
    });
    cells.add(|text| {
        text.push('<');
        human::put_plain(text, &entry.sender);
        text.push('>');
    });
    cells.add(|text| {
        if let Some(shown) = entry.recipients.first() {
            human::put_plain(text, shown);
        }
        let others = entry.recipients_left.saturating_sub(1);
        if others > 0 {
            text.push_str(&format!(" and {others} more"));
        }
    });
}

/// Some of an array, as [`say::json`] would show it as a whole.
fn json_items<T: Serialize>(
    entries: &[Entry<T>],
    first: bool,
    text: &mut String,
) -> Result<(), Failure> {
    for (at, entry) in entries.iter().enumerate() {
        text.push_str(if first && at == 0 { "[" } else { "," });
        let item = serde_json::to_string_pretty(entry);
        let item = item.map_err(|error| Failure::Running(format!("JSON: {error}")))?;
        for line in item.lines() {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "listed_tests.rs"]
mod tests;
