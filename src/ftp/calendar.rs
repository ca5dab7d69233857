//! ftp::calendar – dates of the proleptic Gregorian calendar, in UTC, without a library.
//!
//! FTP needs two forms: `YYYYMMDDhhmmss` (RFC 3659 §2.3) and the date of `ls -l`.
//!
//! Promises: exact for every `i64` of seconds; print ∘ parse is the identity for the years 0 to 9999.
//! Not here: time zones, leap seconds (Unix time has none), the clock.

use super::step::UnixTime;
use crate::wire::ascii::{decimal, push_decimal, push_pair};

const DAY_SECONDS: i64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// A moment as a person writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Year; the year before 1 is 0.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

impl Moment {
    /// The moment of a time.
    pub fn of(time: UnixTime) -> Self {
        let days = time.0.div_euclid(DAY_SECONDS);
        let second_of_day = small(time.0.rem_euclid(DAY_SECONDS));
        // Years begin in March here, so that the leap day is the last day of a year.
        let shifted = days + EPOCH_DAYS;
        let era = shifted.div_euclid(ERA_DAYS);
        let day_of_era = shifted.rem_euclid(ERA_DAYS);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year =
            small(day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100));
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    /// The time of a moment; `None` when there is no such date or time of day.
    pub fn time(self) -> Option<UnixTime> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days_of_month = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap),
            _ => return None,
        };
        let valid = (1..=days_of_month).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !valid {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let march_month = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let day_of_year = i64::from((153 * march_month + 2) / 5 + self.day - 1);
        let year_of_era = year.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = year.div_euclid(400) * ERA_DAYS + day_of_era - EPOCH_DAYS;
        let second_of_day = i64::from(self.hour * 3600 + self.minute * 60 + self.second);
        Some(UnixTime(days * DAY_SECONDS + second_of_day))
    }
}

/// Appends `YYYYMMDDhhmmss`; nothing, and false, for years that do not have four digits.
pub fn push_time_val(time: UnixTime, out: &mut Vec<u8>) -> bool {
    let moment = Moment::of(time);
    let Ok(year) = u64::try_from(moment.year) else { return false };
    if year > 9999 {
        return false;
    }
    push_decimal(year, 4, b'0', out);
    for part in [moment.month, moment.day, moment.hour, moment.minute, moment.second] {
        push_pair(part, out);
    }
    true
}

/// `YYYYMMDDhhmmss`, or that with a fraction, which is dropped (RFC 3659 §2.3).
pub fn parse_time_val(text: &[u8]) -> Option<UnixTime> {
    let (whole, fraction) = text.split_at_checked(14)?;
    if let Some(digits) = fraction.strip_prefix(b".") {
        decimal(digits)?;
    } else if !fraction.is_empty() {
        return None;
    }
    // A leap second is read as the second after it began: Unix time has no other.
    let part = |range: std::ops::Range<usize>| {
        decimal(&whole[range]).and_then(|value| u32::try_from(value).ok())
    };
    let second = part(12..14)?;
    let moment = Moment {
        year: i64::from(part(0..4)?),
        month: part(4..6)?,
        day: part(6..8)?,
        hour: part(8..10)?,
        minute: part(10..12)?,
        second: if second == 60 { 59 } else { second },
    };
    moment.time()
}

/// Appends the date as `ls -l` shows it: `Mon DD HH:MM`, or `Mon DD  YYYY` when older than half a
/// year or in the future.
pub fn push_list_date(time: UnixTime, now: UnixTime, out: &mut Vec<u8>) {
    /// Half of the mean year of 365.2425 days.
    const RECENT_SECONDS: i64 = 15_778_476;
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let moment = Moment::of(time);
    let at = moment.month.clamp(1, 12) as usize * 3 - 3;
    out.extend_from_slice(&MONTHS[at..at + 3]);
    out.push(b' ');
    push_decimal(u64::from(moment.day), 2, b' ', out);
    out.push(b' ');
    let age_seconds = now.0.saturating_sub(time.0);
    if (0..RECENT_SECONDS).contains(&age_seconds) {
        push_pair(moment.hour, out);
        out.push(b':');
        push_pair(moment.minute, out);
    } else {
        // Wider years than four digits would not be a date to any client.
        push_decimal(u64::try_from(moment.year.clamp(0, 9999)).unwrap_or(0), 5, b' ', out);
    }
}

/// A value that is known to be small and not negative.
fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time_val(seconds: i64) -> String {
        let mut out = Vec::new();
        assert!(push_time_val(UnixTime(seconds), &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_dates() {
        assert_eq!(time_val(0), "19700101000000");
        assert_eq!(time_val(951_782_400), "20000229000000");
        assert_eq!(time_val(4_107_542_399), "21000228235959");
        assert_eq!(time_val(-1), "19691231235959");
        assert_eq!(parse_time_val(b"19980705132316.123"), Some(UnixTime(899_644_996)));
        for bad in [
            &b""[..],
            b"1998070513231",
            b"199807051323166",
            b"19980705132316.",
            b"19981305132316",
            b"19990229000000",
            b"19980705252316",
            b"1998070513231x",
            b"19980700000000",
        ] {
            assert_eq!(parse_time_val(bad), None, "{}", bad.escape_ascii());
        }
        assert!(!push_time_val(UnixTime(i64::MAX), &mut Vec::new()));
        assert!(!push_time_val(UnixTime(i64::MIN), &mut Vec::new()));
    }

    #[test]
    fn list_dates_show_the_time_for_half_a_year() {
        let now = UnixTime(1_700_000_000);
        let shown = |seconds| {
            let mut out = Vec::new();
            push_list_date(UnixTime(seconds), now, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(now.0), "Nov 14 22:13");
        assert_eq!(shown(now.0 - 15_778_475), "May 16 07:18");
        assert_eq!(shown(now.0 - 15_778_476), "May 16  2023");
        assert_eq!(shown(now.0 + 1), "Nov 14  2023");
        assert_eq!(shown(0), "Jan  1  1970");
        assert_eq!(shown(i64::MAX).len(), shown(0).len());
    }

    proptest! {
        #[test]
        fn print_and_parse_are_inverse(seconds in -62_167_219_200_i64..=253_402_300_799) {
            prop_assert_eq!(parse_time_val(time_val(seconds).as_bytes()), Some(UnixTime(seconds)));
        }

        #[test]
        fn every_moment_is_its_own_time(seconds: i64) {
            let seconds = seconds / 4;
            prop_assert_eq!(Moment::of(UnixTime(seconds)).time(), Some(UnixTime(seconds)));
        }
    }
}
