//! smtp::xtext – `+3D` for what may not stand in a parameter's value: RFC 3461 §4, RFC 6533 §3.
//!
//! Promises: what is decoded holds no controls; encoding what was decoded and decoding it again gives
//! the same text.
//! Not here: which parameters are written so.

use std::fmt::Write as _;

/// Decodes xtext. `None` unless every octet is an `xchar` or belongs to a `+` with two upper-case
/// hexadecimal digits, and stands for printable US-ASCII.
pub fn decode(text: &str) -> Option<String> {
    // §4.4 wants this of ENVID.
    decode_address(text).filter(|decoded| decoded.is_ascii())
}

/// Decodes the xtext of an address, which may also stand for UTF-8: with SMTPUTF8, Postfix writes
/// `ORCPT=rfc822;j+C3+BCrgen@…`. No controls: CR and LF would come to stand in logs and notifications.
pub fn decode_address(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => hex(octets.next()?)? << 4 | hex(octets.next()?)?,
            b'!'..=b'~' if octet != b'=' => octet,
            _ => return None,
        });
    }
    String::from_utf8(decoded).ok().filter(|decoded| !decoded.contains(char::is_control))
}

/// Encodes printable US-ASCII as xtext; anything else becomes `?`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.chars() {
        match octet {
            ' ' => encoded.push_str("+20"),
            '+' => encoded.push_str("+2B"),
            '=' => encoded.push_str("+3D"),
            '!'..='~' => encoded.push(octet),
            _ => encoded.push('?'),
        }
    }
    encoded
}

/// Decodes an address of the type `utf-8`: `\x{2B}` for a character, in US-ASCII, or in UTF-8 if `utf8`.
pub fn decode_unitext(text: &str, utf8: bool) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        let plain = match next {
            '\\' => {
                let (digits, after) = rest.as_str().strip_prefix("x{")?.split_once('}')?;
                rest = after.chars();
                code_point(digits)?
            }
            '+' | '=' | ' ' => return None,
            _ if next.is_ascii() || utf8 => next,
            _ => return None,
        };
        (!plain.is_control()).then(|| decoded.push(plain))?;
    }
    Some(decoded)
}

/// Encodes as `utf-8-addr-xtext`, which is US-ASCII; controls become `?`.
pub fn encode_unitext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for plain in text.chars() {
        match plain {
            '\\' | '+' | '=' | ' ' | '\u{A0}'.. => {
                // Writing to a string does not fail.
                if write!(encoded, "\\x{{{:02X}}}", u32::from(plain)).is_err() {
                    encoded.push('?');
                }
            }
            '!'..='~' => encoded.push(plain),
            _ => encoded.push('?'),
        }
    }
    encoded
}

/// HEXPOINT: two to six digits, upper case.
fn code_point(digits: &str) -> Option<char> {
    // No zeros in front: one way to write a character, but for US-ASCII's two digits.
    let shortest = digits.len() == 2 || !digits.starts_with('0');
    if !(2..=6).contains(&digits.len()) || !shortest {
        return None;
    }
    let value =
        digits.bytes().try_fold(0_u32, |value, digit| Some(value << 4 | u32::from(hex(digit)?)))?;
    // Of US-ASCII only what could not stand for itself (and controls, which the caller refuses).
    let needed = value >= 0x80 || matches!(value, 0..=0x20 | 0x2B | 0x3D | 0x5C | 0x7F);
    char::from_u32(value).filter(|_| needed)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_digits() {
        for high in 0..=127_u8 {
            for low in 0..=127_u8 {
                let text: String = ['+', char::from(high), char::from(low)].iter().collect();
                let digits = &text.as_bytes()[1..];
                let upper =
                    digits.iter().all(|it| it.is_ascii_digit() || (b'A'..=b'F').contains(it));
                let value = upper.then(|| u8::from_str_radix(text.get(1..).unwrap(), 16).unwrap());
                let printable = value.filter(|value| (32..=126).contains(value));
                assert_eq!(
                    decode(&text),
                    printable.map(|octet| char::from(octet).into()),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn addresses_in_utf_8() {
        assert_eq!(decode_address("j+C3+BCrgen@example.org").unwrap(), "jürgen@example.org");
        assert_eq!(decode("j+C3+BCrgen@example.org"), None);
        for bad in ["j+C3rgen", "+C2+85", "+0D+0A", "+7F", "j+c3+bcrgen", "ü"] {
            assert_eq!(decode_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_character() {
        for plain in ('\0'..'\u{1000}').chain(('\u{1000}'..=char::MAX).step_by(251)) {
            let text = plain.to_string();
            let unitext = (!plain.is_control()).then(|| text.clone());
            assert_eq!(
                decode_unitext(&encode_unitext(&text), false).filter(|_| unitext.is_some()),
                unitext
            );
            let itself = !plain.is_control() && !matches!(plain, '\\' | '+' | '=' | ' ');
            assert_eq!(decode_unitext(&text, true), itself.then(|| text.clone()), "{text:?}");
            assert_eq!(decode_unitext(&text, false).is_some(), itself && plain.is_ascii());
            let printable = (' '..='~').contains(&plain);
            assert_eq!(
                decode(&encode(&text)),
                Some(if printable { text.clone() } else { "?".into() })
            );
            assert_eq!(decode(&text).is_some(), printable && !matches!(plain, '+' | '=' | ' '));
            // One way to write it: the shortest, in upper case.
            let number = u32::from(plain);
            let shown = format!("\\x{{{number:02X}}}");
            assert_eq!(
                decode_unitext(&shown, false).is_some(),
                !plain.is_control() && (!itself || number >= 0x80)
            );
            for other in [
                format!("\\x{{0{number:02X}}}"),
                format!("\\x{number:02X}"),
                format!("\\x{{{number:02X}"),
            ] {
                assert_eq!(decode_unitext(&other, false), None, "{other}");
            }
        }
    }
}
