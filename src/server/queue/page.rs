//! server::queue::page – a part of a list, in two forms: entries, and the JSON of entries.
//!
//! A list of a million messages is a million entries. What a shard shows of them is written as JSON at once,
//! into one piece of memory a page, and goes through the server like that; whoever asked reads it without a
//! copy of each text.
//!
//! Promises: a [`Sheet`] is, octet by octet, the JSON of the [`Page`] of the same messages.

use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::Answer;
use super::{Entry, Line};
use crate::store::spool::QueueId;

/// What a page of a list is made of, message by message in the order of their names.
pub trait Paper: Default {
    /// Adds a message.
    fn add(&mut self, line: Line<'_>);

    /// How many there are.
    fn len(&self) -> usize;

    /// None?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last one.
    fn last(&self) -> Option<QueueId>;

    /// More may follow behind this one.
    fn end_at(&mut self, until: Option<QueueId>);

    /// Adds the page of another ledger.
    fn merge(&mut self, other: Self);
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T = String> {
    /// Messages, in the order of their names.
    pub entries: Vec<Entry<T>>,
    /// More may follow behind this one; up to it, it is all there is. `None`: so it is at all.
    pub until: Option<QueueId>,
}

/// A text of a list, where it was read if it is the same there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), until: None }
    }
}

impl Paper for Page {
    fn add(&mut self, line: Line<'_>) {
        self.entries.push(Entry::of(line).owned());
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn last(&self) -> Option<QueueId> {
        self.entries.last().map(|entry| entry.id)
    }

    fn end_at(&mut self, until: Option<QueueId>) {
        self.until = until;
    }

    fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.until = in_order(&mut self.entries, |entry| entry.id, [self.until, other.until]);
    }
}

/// Sorts what two that are sorted already have, as far as both have read. Up to where that is.
fn in_order<T>(
    all: &mut Vec<T>,
    id: impl Fn(&T) -> QueueId,
    stops: [Option<QueueId>; 2],
) -> Option<QueueId> {
    all.sort_by_key(&id);
    let until = stops.into_iter().flatten().min();
    // Who stopped first may have others before those that follow.
    if let Some(until) = until {
        all.retain(|one| id(one) <= until);
    }
    until
}

/// A part of a list whose entries are JSON already.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// Entries of one ledger, one behind the other.
    texts: Vec<Vec<u8>>,
    places: Vec<Place>,
    until: Option<QueueId>,
}

/// Where an entry lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: QueueId,
    text: usize,
    from: usize,
    to: usize,
}

impl Sheet {
    /// Adds the JSON of the page.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.texts.iter().map(Vec::len).sum::<usize>() + self.places.len() + 64);
        out.extend_from_slice(b"{\"entries\":[");
        for (number, Place { text, from, to, .. }) in self.places.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let entry = self.texts.get(*text).and_then(|text| text.get(*from..*to));
            out.extend_from_slice(entry.unwrap_or_default());
        }
        out.extend_from_slice(b"],\"until\":");
        match self.until {
            Some(until) => out.extend_from_slice(format!("\"{until}\"}}").as_bytes()),
            None => out.extend_from_slice(b"null}"),
        }
    }
}

impl Paper for Sheet {
    fn add(&mut self, line: Line<'_>) {
        if self.texts.is_empty() {
            self.texts.push(Vec::new());
        }
        let last = self.texts.len() - 1;
        let Some(text) = self.texts.get_mut(last) else { return };
        let from = text.len();
        // Into memory, and of texts and numbers: nothing there can fail.
        if serde_json::to_writer(&mut *text, &Entry::of(line)).is_ok() {
            self.places.push(Place { id: line.id, text: last, from, to: text.len() });
        }
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn last(&self) -> Option<QueueId> {
        self.places.last().map(|place| place.id)
    }

    fn end_at(&mut self, until: Option<QueueId>) {
        self.until = until;
    }

    fn merge(&mut self, other: Self) {
        let before = self.texts.len();
        self.texts.extend(other.texts);
        let moved = |place: Place| Place { text: place.text + before, ..place };
        self.places.extend(other.places.into_iter().map(moved));
        self.until = in_order(&mut self.places, |place| place.id, [self.until, other.until]);
    }
}

#[cfg(test)]
impl Answer<Sheet> {
    /// As a client reads it.
    pub(in crate::server) fn read(self) -> Answer {
        serde_json::from_value(match self {
            Self::Page(sheet) => {
                let mut text = Vec::new();
                sheet.write(&mut text);
                return Answer::Page(serde_json::from_slice(&text).unwrap());
            }
            Self::Detail(detail) => serde_json::json!({ "detail": detail }),
            Self::Changed(changed) => serde_json::json!({ "changed": changed }),
            Self::Destinations(places) => serde_json::json!({ "destinations": places }),
        })
        .unwrap()
    }
}
