//! milter::header – the header section of a message: its fields, and what milters change of them.
//!
//! Promises: fields nobody changed stay octet for octet as they came; where only fields were put in front,
//! the rest of the message need not be written again ([`Header::lead`]).
//! Not here: the body.

use std::ops::Range;

/// One field, with its line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// As it came.
    Own(Range<usize>),
    /// Made here.
    New(Vec<u8>),
}

/// The fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    text: Vec<u8>,
    fields: Vec<Field>,
    /// Octets of the message before its body: the blank line included, if there is one.
    octets: usize,
    /// A blank line ends it.
    blank: bool,
    /// The fields are no longer those that came, one behind the other.
    broken: bool,
}

/// May a field's name hold it (RFC 5322 §3.6.8)?
pub(super) const fn is_name(octet: u8) -> bool {
    matches!(octet, 33..=57 | 59..=126)
}

impl Header {
    /// Finds the fields in the first octets of a message; `None` when more are needed to know where they end.
    /// `whole`: there are no more. A line that is no field begins the body.
    pub fn parse(text: Vec<u8>, whole: bool) -> Option<Self> {
        let (mut fields, mut at): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        let (octets, blank) = loop {
            let rest = text.get(at..).unwrap_or_default();
            let line = match memchr::memchr(b'\n', rest) {
                Some(end) => rest.get(..=end).unwrap_or_default(),
                None if whole => rest,
                None => return None,
            };
            let end = at + line.len();
            match line {
                [] => break (at, false),
                [b'\n'] | [b'\r', b'\n'] => break (end, true),
                [b' ' | b'\t', ..] => match fields.last_mut() {
                    Some(last) => last.end = end,
                    None => break (at, false),
                },
                line if name_of(line).is_some() => fields.push(at..end),
                _ => break (at, false),
            }
            at = end;
        };
        let mut text = text;
        text.truncate(octets);
        text.shrink_to_fit();
        let fields = fields.into_iter().map(Field::Own).collect();
        Some(Self { text, fields, octets, blank, broken: false })
    }

    /// Octets of the message before its body.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Name and value of the n-th field, from 0, as a milter is told: lines separated by LF.
    pub fn field(&self, number: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let raw = self.raw(self.fields.get(number)?);
        let (name, value) = split(raw);
        let mut value: Vec<u8> =
            value.iter().copied().filter(|octet| !matches!(octet, b'\r' | 0)).collect();
        while value.last() == Some(&b'\n') {
            value.pop();
        }
        Some((name.to_vec(), value))
    }

    /// One more, at the end. `exact`: the value brings what stands between it and the colon.
    pub fn add(&mut self, name: &[u8], value: &[u8], exact: bool) {
        self.insert_at(self.fields.len(), made(name, value, exact));
    }

    /// One more, before the one with this number, from 1.
    pub fn insert(&mut self, index: u32, name: &[u8], value: &[u8], exact: bool) {
        let index = usize::try_from(index).unwrap_or(usize::MAX).max(1) - 1;
        self.insert_at(index, made(name, value, exact));
    }

    /// Whole fields, made here, in front.
    pub fn begin_with(&mut self, fields: Vec<u8>) {
        if !fields.is_empty() {
            self.insert_at(0, fields);
        }
    }

    fn insert_at(&mut self, index: usize, field: Vec<u8>) {
        let index = index.min(self.fields.len());
        let own = |fields: &[Field]| fields.iter().any(|field| matches!(field, Field::Own(_)));
        let before = self.fields.get(..index).unwrap_or_default();
        // Without a field and without a blank line the body would become one.
        self.broken |= own(before) || (!self.blank && !own(&self.fields));
        self.fields.insert(index, Field::New(field));
    }

    /// Another value for the n-th field of this name, from 1; an empty one deletes it. Where there is none,
    /// it is added.
    pub fn change(&mut self, index: u32, name: &[u8], value: &[u8], exact: bool) {
        let nth = usize::try_from(index).unwrap_or(usize::MAX).max(1) - 1;
        let same = |field: &Field| split(self.raw(field)).0.eq_ignore_ascii_case(name);
        let found = self.fields.iter().enumerate().filter(|(_, field)| same(field)).nth(nth);
        match found.map(|(at, _)| at) {
            Some(at) if value.is_empty() => {
                let gone = self.fields.remove(at);
                self.broken |= matches!(gone, Field::Own(_));
            }
            Some(at) => {
                let changed = Field::New(made(name, value, exact));
                if let Some(field) = self.fields.get_mut(at) {
                    self.broken |= matches!(field, Field::Own(_));
                    *field = changed;
                }
            }
            None if value.is_empty() => {}
            None => self.add(name, value, exact),
        }
    }

    /// What stands in front of the message as it came, when nothing else was changed.
    pub fn lead(&self) -> Option<Vec<u8>> {
        if self.broken {
            return None;
        }
        let new = self.fields.iter().filter_map(|field| match field {
            Field::New(text) => Some(text.as_slice()),
            Field::Own(_) => None,
        });
        Some(new.flatten().copied().collect())
    }

    /// All of it, with the blank line.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.octets);
        for field in &self.fields {
            let raw = self.raw(field);
            text.extend_from_slice(raw);
            if !raw.ends_with(b"\n") {
                text.extend_from_slice(b"\r\n");
            }
        }
        text.extend_from_slice(b"\r\n");
        text
    }

    fn raw<'a>(&'a self, field: &'a Field) -> &'a [u8] {
        match field {
            Field::Own(range) => self.text.get(range.clone()).unwrap_or_default(),
            Field::New(text) => text,
        }
    }
}

/// The name that a line begins with, if it begins a field: white space before the colon is old, and known
/// (RFC 5322 §4.5.8).
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(|octet| is_name(*octet))).then_some(name)
}

fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let name = name_of(raw).unwrap_or_default();
    let colon = raw.iter().position(|octet| *octet == b':').map_or(raw.len(), |colon| colon + 1);
    (name, raw.get(colon..).unwrap_or_default())
}

/// A field, its lines ended as the wire wants it.
fn made(name: &[u8], value: &[u8], exact: bool) -> Vec<u8> {
    let mut field = name.to_vec();
    field.extend_from_slice(if exact { b":" } else { b": " });
    for (number, line) in value.split(|octet| *octet == b'\n').enumerate() {
        if number > 0 {
            field.extend_from_slice(b"\r\n");
        }
        field.extend_from_slice(line);
    }
    field.extend_from_slice(b"\r\n");
    field
}
