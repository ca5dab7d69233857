//! smtp::parameters – what may follow the path of MAIL and RCPT: RFC 1870, 3461, 4954 §5, 6152, 6531.
//!
//! Promises: each parameter at most once; values are within their limits.
//! Not here: what the values mean for the message.

use super::address::{Mailbox, Recipient, Sender};
use super::command::{Mail, Rcpt, Syntax, Why};
use super::envelope::{BodyType, Notify, Return};
use super::xtext;

/// Octets of `ENVID=`, encoded (RFC 3461 §4.4).
const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// Octets of `ORCPT=`, encoded (RFC 3461 §4.2).
const ORIGINAL_BYTES_MAX: usize = 500;
/// Digits of `SIZE=` (RFC 1870 §3).
const SIZE_DIGITS_MAX: usize = 20;

/// One `keyword[=value]`.
type Parameter<'a> = (&'a str, Option<&'a str>);

/// MAIL with the parameters in `text`: nothing, or a blank and more.
pub(super) fn mail(sender: Sender, text: &str, syntax: Syntax) -> Result<Mail, Why> {
    let mut mail = Mail { sender, ..Mail::default() };
    for word in words(text, syntax) {
        let (keyword, value) = parameter(word)?;
        match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => once(&mut mail.size, value.and_then(size))?,
            "BODY" => once(&mut mail.body, value.and_then(body))?,
            "SMTPUTF8" if mail.utf8 || value.is_some() => return Err(Why::Parameter),
            "SMTPUTF8" => mail.utf8 = true,
            "RET" => once(&mut mail.ret, value.and_then(ret))?,
            "ENVID" => once(&mut mail.envelope_id, value.and_then(envelope_id))?,
            "AUTH" => once(&mut mail.auth, value.and_then(auth))?,
            _ => return Err(Why::UnknownParameter),
        }
    }
    Ok(mail)
}

/// RCPT with the parameters in `text`.
pub(super) fn rcpt(recipient: Recipient, text: &str, syntax: Syntax) -> Result<Rcpt, Why> {
    let mut rcpt = Rcpt { recipient, notify: None, original: None };
    for word in words(text, syntax) {
        let (keyword, value) = parameter(word)?;
        match keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" => once(&mut rcpt.notify, value.and_then(notify))?,
            "ORCPT" => {
                once(&mut rcpt.original, value.and_then(|value| original(value, syntax.utf8)))?;
            }
            _ => return Err(Why::UnknownParameter),
        }
    }
    Ok(rcpt)
}

/// The parameters. Strictly there is one space before each, so that two make an empty one.
fn words(text: &str, syntax: Syntax) -> impl Iterator<Item = &str> {
    let strict = syntax.strict;
    text.split(move |octet| octet == ' ' || (octet == '\t' && !strict))
        .skip(1)
        .filter(move |word| strict || !word.is_empty())
}

/// esmtp-param of RFC 5321 §4.1.2.
fn parameter(word: &str) -> Result<Parameter<'_>, Why> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let named = keyword.starts_with(|octet: char| octet.is_ascii_alphanumeric())
        && keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    // No controls, spaces or `=`; RFC 6531 §3.3 adds UTF-8.
    let valued = value.is_none_or(|value| {
        !value.is_empty()
            && !value.contains(|octet: char| octet == '=' || octet == ' ' || octet.is_control())
    });
    if named && valued { Ok((keyword, value)) } else { Err(Why::Parameter) }
}

/// Puts a value where there is none yet.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), Why> {
    let value = value.ok_or(Why::Parameter)?;
    if slot.replace(value).is_some() { Err(Why::Parameter) } else { Ok(()) }
}

/// RFC 1870 §3: one to twenty digits. Twenty can be more than 64 bits hold, and are too many octets
/// in any case.
fn size(value: &str) -> Option<u64> {
    let digits =
        value.len() <= SIZE_DIGITS_MAX && value.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str) -> Option<BodyType> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(BodyType::SevenBit),
        "8BITMIME" => Some(BodyType::EightBitMime),
        "BINARYMIME" => Some(BodyType::BinaryMime),
        _ => None,
    }
}

fn ret(value: &str) -> Option<Return> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Return::Full),
        "HDRS" => Some(Return::Headers),
        _ => None,
    }
}

fn envelope_id(value: &str) -> Option<String> {
    (value.len() <= ENVELOPE_ID_BYTES_MAX).then(|| xtext::decode(value))?
}

/// RFC 4954 §5: `<>`, or a mailbox (UTF-8 as xtext is not defined), as xtext.
fn auth(value: &str) -> Option<String> {
    xtext::decode(value).filter(|text| text == "<>" || Mailbox::parse(text, false).is_ok())
}

/// RFC 3461 §4.1: NEVER by itself, or the others in any order.
fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify { success: false, failure: false, delay: false };
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        let flag = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return None,
        };
        *flag = true;
    }
    Some(notify)
}

/// RFC 3461 §4.2: `addr-type ";" xtext`; RFC 6533 §3 has another code for its type.
fn original(value: &str, utf8: bool) -> Option<(String, String)> {
    if value.len() > ORIGINAL_BYTES_MAX {
        return None;
    }
    let (kind, address) = value.split_once(';')?;
    let is_atom =
        |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    if kind.is_empty() || !kind.bytes().all(is_atom) {
        return None;
    }
    let (kind, address) = if kind.eq_ignore_ascii_case("utf-8") {
        (kind, xtext::decode_unitext(address, utf8)?)
    } else {
        let address = xtext::decode_address(address)?;
        // What is no US-ASCII is of the type that RFC 6533 has for it, whatever it was called.
        (if address.is_ascii() { kind } else { "utf-8" }, address)
    };
    (!address.is_empty()).then(|| (kind.to_owned(), address))
}
