//! cli::human – numbers, sizes and times as people write and read them.
//!
//! Promises: what is shown is on one line, whatever a client put into it.

use std::time::{SystemTime, UNIX_EPOCH};

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

/// How long: the largest unit that fits, `45 s`, `12 min`, `3 h`, `9 d`.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// When, from now on.
pub(super) fn until(then: i64, now: i64) -> String {
    if then <= now { "now".to_owned() } else { format!("in {}", age(then - now)) }
}

/// Octets: `512 B`, `4.0 KiB`, `1.2 GiB`.
#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn size(octets: u64) -> String {
    amount(octets as f64)
}

/// The same for rates.
pub(super) fn amount(octets: f64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if octets < 1024.0 {
        return format!("{octets:.0} B");
    }
    let mut rest = octets / 1024.0;
    for unit in UNITS {
        if rest < 1000.0 || unit == "PiB" {
            return format!("{rest:.1} {unit}");
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} EiB")
}

/// A point in time, UTC.
pub(super) fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%F %T UTC").to_string())
}

/// One line without control characters.
pub(super) fn plain(text: &str) -> String {
    // Nearly all are; and lists have many.
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// Rows under their headings, each column as wide as it must be; numbers to the right.
pub(super) fn table(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let mut table = Table::new(headings, right);
    table.fit(rows);
    let mut text = table.headings();
    rows.iter().for_each(|row| table.row(row, &mut text));
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

    /// Makes room for these rows.
    pub(super) fn fit(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for (most, cell) in self.widths.iter_mut().zip(row) {
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

    /// Adds the line of a row.
    pub(super) fn row(&self, row: &[String], text: &mut String) {
        self.line(row.iter().map(String::as_str), text);
    }

    fn line<'b>(&self, cells: impl Iterator<Item = &'b str>, text: &mut String) {
        for (column, (cell, most)) in cells.zip(&self.widths).enumerate() {
            let fill = std::iter::repeat_n(' ', most.saturating_sub(width(cell)));
            if self.right.contains(&column) {
                text.extend(fill);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.extend(fill);
            }
            text.push_str("  ");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
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
        parts.fit(&rows);
        text.push_str(&parts.headings());
        for row in &rows {
            parts.fit(std::slice::from_ref(row));
            parts.row(row, &mut text);
        }
        assert_eq!(text, table(&["A", "NO"], &[1], &rows));
    }
}
