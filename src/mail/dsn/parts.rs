//! mail::dsn::parts – dates, harmless text, and quoted-printable.

/// Characters of one address or reason in a report.
const CHARACTERS_MAX: usize = 500;

/// The date of RFC 5322 §3.3, in UTC.
pub fn date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // A date has four digits of a year: what is outside is moved to the nearest day that has.
    let seconds = seconds.clamp(0, 253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], number: i64| {
        usize::try_from(number).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, days % 7), name(&MONTHS, month - 1));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month and day of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Text that others brought along, fit for one line of ours.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .take(CHARACTERS_MAX)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// Lines that any mail path carries: CRLF only, no NUL, at most 998 octets each.
pub(super) fn is_plain(octets: &[u8]) -> bool {
    let mut rest = octets;
    loop {
        let Some(end) = memchr::memchr3(b'\r', b'\n', 0, rest) else { return rest.len() <= 998 };
        let (line, after) = rest.split_at(end);
        match after.strip_prefix(b"\r\n") {
            Some(next) if line.len() <= 998 => rest = next,
            Some(_) | None => return false,
        }
    }
}

/// RFC 2045 §6.7. Lines of the text end with CRLF; other controls are encoded.
pub(super) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 4);
    let mut column = 0;
    let mut rest = octets;
    while let Some((&octet, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            column = 0;
            rest = after;
            continue;
        }
        // A space or tab before a line's end may be lost on the way.
        let blank =
            matches!(octet, b' ' | b'\t') && !after.is_empty() && !after.starts_with(b"\r\n");
        let literal = blank || matches!(octet, b'!'..=b'<' | b'>'..=b'~');
        let width = if literal { 1 } else { 3 };
        if column + width > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        column += width;
        if literal {
            out.push(octet);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push(b'=');
            out.extend([octet >> 4, octet & 15].map(|half| HEX[usize::from(half)]));
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_827_696), "Tue, 29 Feb 2000 12:34:56 +0000");
        assert_eq!(date(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(date(-5), date(0));
        assert_eq!(date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 +0000");
    }

    #[test]
    fn plain_is_plain() {
        for plain in [&b""[..], b"a", b"a\r\n", b"\r\n\r\n", &[b'x'; 998]] {
            assert!(is_plain(plain));
        }
        for other in [&b"\n"[..], b"\r", b"a\0", b"\n\r", b"\r\r\n", &[b'x'; 999], b"a\r\nb\n"] {
            assert!(!is_plain(other));
        }
    }

    #[test]
    fn quoted_printable_is_narrow_and_exact() {
        let text = [&b"a= \t\r\n\xfc\0 b \r\n"[..], &[b'x'; 200], b"\r\n\n\r "].concat();
        let out = quoted_printable(&text);
        assert!(out.split(|&octet| octet == b'\n').all(|line| line.len() <= 77));
        assert!(out.starts_with(b"a=3D =09\r\n=FC=00 b=20\r\n"));
        assert!(out.is_ascii() && out.ends_with(b"=0A=0D=20"));
    }
}
