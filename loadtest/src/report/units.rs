//! report::units – numbers as a person reads them: three digits that matter, and a unit.

/// A time given in microseconds.
pub fn time(us: f64) -> String {
    match us {
        us if us >= 60e6 => format!("{:.1} min", us / 60e6),
        us if us >= 1e6 => format!("{} s", three(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", three(us / 1e3)),
        us => format!("{} µs", three(us)),
    }
}

/// Octets, in powers of ten.
pub fn octets(count: f64) -> String {
    match count {
        count if count >= 1e12 => format!("{} TB", three(count / 1e12)),
        count if count >= 1e9 => format!("{} GB", three(count / 1e9)),
        count if count >= 1e6 => format!("{} MB", three(count / 1e6)),
        count if count >= 1e3 => format!("{} kB", three(count / 1e3)),
        count => format!("{count:.0} B"),
    }
}

/// A whole number in groups of three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second.
pub fn rate(number: f64) -> String {
    if number >= 1000.0 { count(number.round() as u64) } else { three(number) }
}

/// The same without zeros that say nothing, for axes.
pub fn short(text: &str) -> String {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number} {unit}").trim_end().to_owned()
}

/// Three digits that matter.
pub fn three(number: f64) -> String {
    let digits = match number.abs() {
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (us, text) in [
            (0.5, "0.50 µs"),
            (12.34, "12.3 µs"),
            (999.0, "999 µs"),
            (1500.0, "1.50 ms"),
            (123_456.0, "123 ms"),
            (2.5e6, "2.50 s"),
            (90e6, "1.5 min"),
        ] {
            assert_eq!(time(us), text);
        }
        assert_eq!(short("1.00 ms"), "1 ms");
        assert_eq!(short("100 ms"), "100 ms");
        assert_eq!((short("0.00"), short("1.50 MB")), ("0".into(), "1.5 MB".into()));
        assert_eq!(octets(16_384.0), "16.4 kB");
        assert_eq!(octets(7.0), "7 B");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!((rate(12.3), rate(12_345.6)), ("12.3".into(), "12,346".into()));
    }
}
