//! cli::human – numbers, sizes and times as people write and read them.
//!
//! Promises: what is shown is on one line, whatever a client put into it.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// What columns are filled up with.
const SPACES: &str = "                                                                ";

/// Seconds since 1970, now.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `1 message`, `2 messages`.
pub(super) fn count(number: impl Into<u128>, what: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `2h`, `1d12h`, `90s`, `30m`, `1w`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] =
        [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
    let wrong = || "a time is like 90s, 30m, 2h, 7d or 1d12h".to_owned();
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let (mut total, mut digits) = (0_u64, String::new());
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == character).ok_or_else(wrong)?;
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        digits.clear();
        total =
            number.checked_mul(*unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if digits.is_empty() && !text.is_empty() { Ok(total) } else { Err(wrong()) }
}

/// Adds what is formatted to a text, which takes all.
pub(super) fn put(text: &mut String, what: fmt::Arguments<'_>) {
    if text.write_fmt(what).is_err() {
        // No display here fails.
    }
}

/// What `put` adds, as a text of its own.
fn alone(put: impl FnOnce(&mut String)) -> String {
    let mut text = String::new();
    put(&mut text);
    text
}

/// How long: the largest unit that fits, `45 s`, `12 min`, `3 h`, `9 d`.
pub(super) fn age(seconds: i64) -> String {
    alone(|text| put_age(text, seconds))
}

/// The same, added to a text.
pub(super) fn put_age(text: &mut String, seconds: i64) {
    match seconds.max(0) {
        seconds @ 0..=119 => put(text, format_args!("{seconds} s")),
        seconds @ 120..=7199 => put(text, format_args!("{} min", seconds / 60)),
        seconds @ 7200..=172_799 => put(text, format_args!("{} h", seconds / 3600)),
        seconds => put(text, format_args!("{} d", seconds / 86_400)),
    }
}

/// When, from now on.
pub(super) fn until(then: i64, now: i64) -> String {
    alone(|text| put_until(text, then, now))
}

/// The same, added to a text.
pub(super) fn put_until(text: &mut String, then: i64, now: i64) {
    if then <= now {
        text.push_str("now");
    } else {
        text.push_str("in ");
        put_age(text, then - now);
    }
}

/// Octets: `512 B`, `4.0 KiB`, `1.2 GiB`.
pub(super) fn size(octets: u64) -> String {
    alone(|text| put_size(text, octets))
}

/// The same, added to a text.
#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn put_size(text: &mut String, octets: u64) {
    put_amount(text, octets as f64);
}

/// The same for rates.
pub(super) fn amount(octets: f64) -> String {
    alone(|text| put_amount(text, octets))
}

fn put_amount(text: &mut String, octets: f64) {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if octets < 1024.0 {
        return put(text, format_args!("{octets:.0} B"));
    }
    let mut rest = octets / 1024.0;
    for unit in UNITS {
        if rest < 1000.0 || unit == "PiB" {
            return put(text, format_args!("{rest:.1} {unit}"));
        }
        rest /= 1024.0;
    }
}

/// A point in time, UTC.
pub(super) fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%F %T UTC").to_string())
}

/// One line without control characters.
pub(super) fn plain(line: &str) -> String {
    alone(|text| put_plain(text, line))
}

/// The same, added to a text.
pub(super) fn put_plain(text: &mut String, line: &str) {
    // Nearly all are; and lists have many.
    if line.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return text.push_str(line);
    }
    text.extend(line.chars().map(|one| if one.is_control() { '?' } else { one }));
}

/// Cells of many rows, one behind the other in one text.
#[derive(Debug, Default)]
pub(super) struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    /// Takes all of them out.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds the cell that `put` writes.
    pub(super) fn add(&mut self, put: impl FnOnce(&mut String)) {
        put(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// All, row by row.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let cell = self.text.get(from..*end).unwrap_or_default();
            from = *end;
            cell
        })
    }
}

/// Rows under their headings, each column as wide as it must be; numbers to the right.
pub(super) fn table(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let mut table = Table::new(headings, right);
    for row in rows {
        table.fit(row.iter().map(String::as_str));
    }
    let mut text = table.headings();
    for row in rows {
        table.row(row.iter().map(String::as_str), &mut text);
    }
    text
}

/// A table that is shown part by part. Columns grow when later rows need it, and never shrink.
pub(super) struct Table<'a> {
    headings: &'a [&'a str],
    right: &'a [usize],
    widths: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(headings: &'a [&'a str], right: &'a [usize]) -> Self {
        let widths = headings.iter().map(|heading| width(heading)).collect();
        Self { headings, right, widths }
    }

    /// Makes room for these cells, which may be of many rows.
    pub(super) fn fit<'b>(&mut self, mut cells: impl Iterator<Item = &'b str>) {
        loop {
            for most in &mut self.widths {
                let Some(cell) = cells.next() else { return };
                *most = width(cell).max(*most);
            }
        }
    }

    /// The line above the rows.
    pub(super) fn headings(&self) -> String {
        let mut text = String::new();
        self.line(self.headings.iter().copied(), &mut text);
        text
    }

    /// Adds the line of the row that comes next among these cells.
    pub(super) fn row<'b>(&self, cells: impl Iterator<Item = &'b str>, text: &mut String) {
        self.line(cells, text);
    }

    fn line<'b>(&self, cells: impl Iterator<Item = &'b str>, text: &mut String) {
        for (column, (most, cell)) in self.widths.iter().zip(cells).enumerate() {
            let fill = most.saturating_sub(width(cell));
            if self.right.contains(&column) {
                put_spaces(text, fill);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                put_spaces(text, fill);
            }
            text.push_str("  ");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

fn put_spaces(text: &mut String, count: usize) {
    let mut left = count;
    while left > 0 {
        let some = left.min(SPACES.len());
        text.push_str(SPACES.get(..some).unwrap_or_default());
        left -= some;
    }
}

/// Columns that a cell takes.
fn width(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("2h", 7200), ("1d12h", 129_600), ("1w1m", 604_860)]
        {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for text in ["", "h", "2x", "2h3", "-1s", "1.5h", "99999999999999999999w", "2 h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_sizes_are_short() {
        let ages = [-5, 0, 119, 120, 7199, 7200, 172_800].map(age);
        assert_eq!(ages, ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        assert_eq!((until(5, 5), until(65, 5)), ("now".to_owned(), "in 60 s".to_owned()));
        let sizes = [0, 1023, 1024, 1_048_576, 1 << 40, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 TiB", "16384.0 PiB"]);
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(plain("a\u{1b}[1m\nb"), "a?[1m?b");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["ü".to_owned(), "10".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["A", "NO"], &[1], &rows), "A     NO\nü     10\nlong   7\n");
        // In parts it is the same, as long as the first has the longest.
        let (mut parts, mut text) = (Table::new(&["A", "NO"], &[1]), String::new());
        let mut cells = Cells::default();
        for cell in rows.iter().flatten() {
            cells.add(|text| text.push_str(cell));
        }
        parts.fit(cells.iter());
        text.push_str(&parts.headings());
        let mut left = cells.iter();
        for _ in &rows {
            parts.row(&mut left, &mut text);
        }
        assert_eq!(left.next(), None);
        assert_eq!(text, table(&["A", "NO"], &[1], &rows));
    }
}
