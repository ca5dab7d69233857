//! wire::ascii – decimals and words in octets.
//!
//! Promises: no number wraps; nothing here allocates but by appending to what it is given.
//! Not here: what a word means.

/// Digits and nothing else, as a number. `None` when empty, not all digits, or past `u64::MAX`.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Octal digits and nothing else, as a number.
pub fn octal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = matches!(digit, b'0'..=b'7').then(|| u32::from(digit - b'0'))?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

/// A number as decimal digits, in a buffer of its own on the stack.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    bytes: [u8; 20],
    start: u8,
}

impl Digits {
    /// The digits of `value`.
    pub fn of(mut value: u64) -> Self {
        let mut bytes = [b'0'; 20];
        let mut start = 20_u8;
        loop {
            start -= 1;
            bytes[usize::from(start)] = digit(value % 10);
            value /= 10;
            if value == 0 {
                return Self { bytes, start };
            }
        }
    }

    /// The digits, at least one.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Appends `value` as decimal digits, filled on the left with `fill` to `width`.
pub fn push_decimal(value: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    let digits = Digits::of(value);
    let digits = digits.as_bytes();
    for _ in digits.len()..width {
        out.push(fill);
    }
    out.extend_from_slice(digits);
}

/// Appends the last two decimal digits of `value`.
pub fn push_pair(value: u32, out: &mut Vec<u8>) {
    out.push(digit(u64::from(value / 10 % 10)));
    out.push(digit(u64::from(value % 10)));
}

/// Splits at the first space: the word before it, and what follows it (`None` without a space).
pub fn word(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// One decimal digit as a character.
fn digit(value: u64) -> u8 {
    b"0123456789"[usize::try_from(value % 10).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_digits_only_and_never_wrap() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"1 ", b"18446744073709551616", b"x"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
        assert_eq!(octal(b"0755"), Some(0o755));
        assert_eq!(octal(b"8"), None);
        assert_eq!(octal(b"7777777777777"), None);
    }

    #[test]
    fn printed_numbers_parse_back() {
        for value in [0, 1, 9, 10, 99, 100, 4096, u64::MAX] {
            assert_eq!(decimal(Digits::of(value).as_bytes()), Some(value));
        }
        let mut out = Vec::new();
        push_decimal(42, 5, b' ', &mut out);
        push_pair(7, &mut out);
        assert_eq!(out, b"   4207");
    }

    #[test]
    fn words_keep_every_further_space() {
        assert_eq!(word(b"CWD  a "), (&b"CWD"[..], Some(&b" a "[..])));
        assert_eq!(word(b"PWD"), (&b"PWD"[..], None));
        assert_eq!(word(b"PASS "), (&b"PASS"[..], Some(&b""[..])));
    }
}
