//! smtp::trace – the `Received:` header that every accepted message gets (RFC 5321 §4.4).
//!
//! Promises: lines of at most 78 octets wherever the words allow it, CRLF at the end of each;
//! nothing a client said can end a line, open a comment or begin a clause.
//! Not here: `Return-Path` (added at delivery), clocks: the caller says what time it is.

use std::net::{IpAddr, SocketAddr};

use super::address::{Domain, Recipient};
use super::envelope::Envelope;
use super::header::Lacks;
use crate::wire::ascii::{push_decimal, push_pair};

/// Length of a line that is not exceeded where it can be helped (RFC 5322 §2.1.1), without CRLF.
const LINE_BYTES: usize = 78;
/// Longest name of a client that is shown (RFC 5321 §4.5.3.1.2).
const NAME_BYTES_MAX: usize = 255;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How a message came, beside what its envelope says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Who accepted it.
    pub hostname: &'a str,
    /// Under which name.
    pub id: &'a str,
    /// When, in seconds since 1970.
    pub unix_seconds: i64,
    /// What TLS it came under, as IANA names its cipher suite.
    pub cipher: Option<&'a str>,
}

/// The trace header of an accepted message.
pub fn received(envelope: &Envelope, arrival: Arrival<'_>) -> Vec<u8> {
    let Arrival { hostname, id, unix_seconds, cipher } = arrival;
    let mut field = Field { bytes: b"Received:".to_vec(), line: 9 };
    field.word(&[b"from ", &client(&envelope.helo)]);
    let address = literal(envelope.peer);
    field.word(&[b"(", address.as_bytes(), b")"]);
    field.word(&[b"by ", hostname.as_bytes()]);
    // RFC 3848, RFC 6531 §4.3.
    field.word(&[b"with ", envelope.protocol.with().as_bytes()]);
    // RFC 5321 §7.2: `for` never tells one recipient of another.
    let only = match envelope.recipients.as_slice() {
        [only] => Some(path(&only.recipient, hostname)),
        _ => None,
    };
    // RFC 8314 §4.3: a clause of its own, which RFC 5321 puts last.
    let clauses: [(&[u8], Option<&str>, &[u8]); 3] =
        [(b"id ", Some(id), b""), (b"for <", only.as_deref(), b">"), (b"tls ", cipher, b"")];
    let last = clauses.iter().rposition(|(_, value, _)| value.is_some());
    for (number, (name, value, end)) in clauses.into_iter().enumerate() {
        if let Some(value) = value {
            let semicolon: &[u8] = if last == Some(number) { b";" } else { b"" };
            field.word(&[name, value.as_bytes(), end, semicolon]);
        }
    }
    field.word(&[&date(unix_seconds)]);
    field.bytes.extend_from_slice(b"\r\n");
    field.bytes
}

/// What a submitted message lacks (RFC 6409 §8.1, §8.2), to stand after the trace header.
pub fn missing(lacks: Lacks, arrival: Arrival<'_>) -> Vec<u8> {
    let Arrival { hostname, id, unix_seconds, .. } = arrival;
    let mut fields = Vec::new();
    if lacks.date {
        fields.extend_from_slice(b"Date: ");
        fields.extend(date(unix_seconds));
        fields.extend_from_slice(b"\r\n");
    }
    if lacks.message_id {
        fields.extend_from_slice(
            format!("Message-ID: <{unix_seconds}.{id}@{hostname}>\r\n").as_bytes(),
        );
    }
    fields
}

/// A header field that is folded where a word would not fit.
struct Field {
    bytes: Vec<u8>,
    /// Octets of the line so far.
    line: usize,
}

impl Field {
    /// Appends a word, its parts together.
    fn word(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.line + 1 + length > LINE_BYTES {
            self.bytes.extend_from_slice(b"\r\n\t");
            self.line = 1;
        } else {
            self.bytes.push(b' ');
            self.line += 1;
        }
        for part in parts {
            // The parts hold no controls already; this is where it would matter.
            self.bytes.extend(part.iter().map(|octet| match octet {
                octet if octet.is_ascii_control() => b'?',
                octet => *octet,
            }));
        }
        self.line += length;
    }
}

/// The name given with HELO, as an atom: what is neither a domain nor a literal may say anything.
fn client(helo: &str) -> Vec<u8> {
    let literal = helo.strip_prefix('[').and_then(|inside| inside.strip_suffix(']'));
    let safe = |octet: u8| match octet {
        b'-' | b'.' | b'_' => octet,
        b':' if literal.is_some() => octet,
        octet if octet.is_ascii_alphanumeric() => octet,
        _ => b'?',
    };
    let name = literal.unwrap_or(helo).bytes().take(NAME_BYTES_MAX).map(safe);
    match literal {
        Some(_) => [b'['].into_iter().chain(name).chain([b']']).collect(),
        None if helo.is_empty() => b"unknown".to_vec(),
        None => name.collect(),
    }
}

/// An address as RFC 5321 §4.1.3 writes it.
fn literal(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(address) => Domain::Literal(IpAddr::V4(address)).to_string(),
        IpAddr::V6(address) => Domain::Literal(IpAddr::V6(address)).to_string(),
    }
}

/// Whom it is for; postmaster without a domain is ours (§4.1.1.3).
fn path(recipient: &Recipient, hostname: &str) -> String {
    match recipient {
        Recipient::Mailbox(mailbox) => mailbox.to_string(),
        Recipient::Postmaster => format!("postmaster@{hostname}"),
    }
}

/// `Fri, 20 Nov 2026 13:33:01 +0000` (RFC 5322 §3.3), UTC. Years beyond 0 to 9999 are cut to those.
fn date(unix_seconds: i64) -> Vec<u8> {
    const FIRST: i64 = -62_167_219_200;
    const LAST: i64 = 253_402_300_799;
    let seconds = unix_seconds.clamp(FIRST, LAST);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let small = |value: i64| u32::try_from(value).unwrap_or(0);
    let name = |names: &[&'static str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
    };
    let mut text = Vec::with_capacity(31);
    text.extend_from_slice(name(&DAYS, days.rem_euclid(7)).as_bytes());
    text.extend_from_slice(b", ");
    push_decimal(u64::from(small(day)), 1, b'0', &mut text);
    text.push(b' ');
    text.extend_from_slice(name(&MONTHS, month - 1).as_bytes());
    text.push(b' ');
    push_decimal(u64::from(small(year)), 4, b'0', &mut text);
    for (separator, value) in [(b' ', rest / 3600), (b':', rest / 60 % 60), (b':', rest % 60)] {
        text.push(separator);
        push_pair(small(value), &mut text);
    }
    text.extend_from_slice(b" +0000");
    text
}

/// Year, month 1 to 12, day 1 to 31 of a day counted from 1970-01-01 (proleptic Gregorian; the year
/// begins in March, so that the leap day is its last).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::address::Mailbox;
    use crate::smtp::envelope::{BodyType, Protocol, To};

    fn envelope(helo: &str, recipients: &[Recipient]) -> Envelope {
        let to = |recipient: &Recipient| To {
            recipient: recipient.clone(),
            notify: None,
            original: None,
        };
        Envelope {
            sender: None,
            recipients: recipients.iter().map(to).collect(),
            body: BodyType::SevenBit,
            ret: None,
            envelope_id: None,
            helo: helo.into(),
            peer: "198.51.100.7:50000".parse().unwrap(),
            protocol: Protocol { extended: true, ..Protocol::default() },
        }
    }

    fn mailbox(local: &str) -> Recipient {
        let domain = Domain::Name("example.org".into());
        Recipient::Mailbox(Mailbox { local: local.into(), domain })
    }

    const ARRIVAL: Arrival<'_> = Arrival {
        hostname: "edge.example.org",
        id: "Q1",
        unix_seconds: 1_795_181_581,
        cipher: None,
    };

    fn shown(envelope: &Envelope) -> String {
        String::from_utf8(received(envelope, ARRIVAL)).unwrap()
    }

    #[test]
    fn tls_has_a_clause() {
        let arrival = Arrival { cipher: Some("TLS_AES_128_GCM_SHA256"), ..ARRIVAL };
        let mut letter = envelope("client.example", &[mailbox("ann")]);
        letter.protocol = Protocol { secure: true, authenticated: true, ..letter.protocol };
        assert_eq!(
            String::from_utf8(received(&letter, arrival)).unwrap(),
            "Received: from client.example ([198.51.100.7]) by edge.example.org\r\n\
             \twith ESMTPSA id Q1 for <ann@example.org> tls TLS_AES_128_GCM_SHA256;\r\n\
             \tFri, 20 Nov 2026 13:33:01 +0000\r\n"
        );
        letter.recipients.clear();
        let several = String::from_utf8(received(&letter, arrival)).unwrap();
        assert!(several.contains(" id Q1 tls TLS_AES_128_GCM_SHA256;\r\n"), "{several}");
    }

    #[test]
    fn lmtp_has_words_of_its_own() {
        let with = |utf8, secure, authenticated| {
            let mut letter = envelope("client.example", &[mailbox("ann")]);
            letter.protocol = Protocol { extended: true, utf8, secure, authenticated, lmtp: true };
            let text = shown(&letter);
            let (_, rest) = text.split_once("with ").unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        // RFC 3848; RFC 6531 §4.3.
        assert_eq!(with(false, false, false), "LMTP");
        assert_eq!(with(false, true, false), "LMTPS");
        assert_eq!(with(false, false, true), "LMTPA");
        assert_eq!(with(false, true, true), "LMTPSA");
        assert_eq!(with(true, false, false), "UTF8LMTP");
        assert_eq!(with(true, true, false), "UTF8LMTPS");
        assert_eq!(with(true, false, true), "UTF8LMTPA");
        assert_eq!(with(true, true, true), "UTF8LMTPSA");
    }

    #[test]
    fn what_is_missing_is_made() {
        let made = |date, message_id| {
            String::from_utf8(missing(Lacks { date, message_id }, ARRIVAL)).unwrap()
        };
        assert_eq!(made(false, false), "");
        assert_eq!(
            made(true, true),
            "Date: Fri, 20 Nov 2026 13:33:01 +0000\r\n\
             Message-ID: <1795181581.Q1@edge.example.org>\r\n"
        );
    }

    #[test]
    fn one_recipient_is_named_and_more_are_not() {
        assert_eq!(
            shown(&envelope("client.example", &[mailbox("ann")])),
            "Received: from client.example ([198.51.100.7]) by edge.example.org with ESMTP\r\n\
             \tid Q1 for <ann@example.org>; Fri, 20 Nov 2026 13:33:01 +0000\r\n"
        );
        assert_eq!(
            shown(&envelope("client.example", &[mailbox("ann"), mailbox("bob")])),
            "Received: from client.example ([198.51.100.7]) by edge.example.org with ESMTP\r\n\
             \tid Q1; Fri, 20 Nov 2026 13:33:01 +0000\r\n"
        );
        let mut other = envelope("[192.0.2.9]", &[Recipient::Postmaster]);
        other.peer = "[2001:db8::7]:1".parse().unwrap();
        other.protocol = Protocol { utf8: true, ..other.protocol };
        assert_eq!(
            shown(&other),
            "Received: from [192.0.2.9] ([IPv6:2001:db8::7]) by edge.example.org\r\n\
             \twith UTF8SMTP id Q1 for <postmaster@edge.example.org>;\r\n\
             \tFri, 20 Nov 2026 13:33:01 +0000\r\n"
        );
        other.peer = "[::ffff:192.0.2.4]:1".parse().unwrap();
        assert!(shown(&other).contains(" ([192.0.2.4]) "));
    }

    #[test]
    fn names_cannot_say_anything() {
        for (helo, expected) in [
            ("a) by b (c", "a??by?b??c"),
            ("x\r\nBcc: y", "x??Bcc??y"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[a]b]", "[a?b]"),
            ("a;b<c>", "a?b?c?"),
            ("", "unknown"),
        ] {
            assert!(
                shown(&envelope(helo, &[])).starts_with(&format!("Received: from {expected} (")),
                "{helo:?}"
            );
        }
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        let date = |seconds| String::from_utf8(date(seconds)).unwrap();
        assert_eq!(date(0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(date(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 +0000");
        assert_eq!(date(-1), "Wed, 31 Dec 1969 23:59:59 +0000");
        assert_eq!(date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 +0000");
        assert_eq!(date(i64::MIN), "Sat, 1 Jan 0000 00:00:00 +0000");
        // Every day of eight centuries follows the one before.
        let mut before = civil(-146_097);
        for day in -146_096..146_097 {
            let (y, m, d) = civil(day);
            let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
            let length = match before.1 {
                4 | 6 | 9 | 11 => 30,
                2 if before.0 % 4 == 0 && (before.0 % 100 != 0 || before.0 % 400 == 0) => 29,
                2 => 28,
                _ => 31,
            };
            let expected = match before {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == length => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((y, m, d), expected, "{day}, leap {leap}");
            before = (y, m, d);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_client_says_it_is_one_field(
            helo in ".{0,300}", local in "[ -~]{1,64}", count in 0_usize..3, seconds: i64,
        ) {
            let envelope = envelope(&helo, &vec![mailbox(&local); count]);
            let field = received(&envelope, Arrival { unix_seconds: seconds, ..ARRIVAL });
            let text = field.strip_suffix(b"\r\n").unwrap();
            for line in memchr::memmem::find_iter(text, b"\r\n") {
                prop_assert_eq!(text[line + 2], b'\t');
            }
            let bare = text.iter().filter(|octet| octet.is_ascii_control() && !matches!(octet, b'\r' | b'\n' | b'\t'));
            prop_assert_eq!(bare.count(), 0);
            prop_assert!(text.starts_with(b"Received: from ") || text.starts_with(b"Received:\r\n\tfrom "));
            for line in text.split(|octet| *octet == b'\n') {
                prop_assert!(line.len() <= 998);
                let words = line.iter().filter(|octet| **octet == b' ').count();
                prop_assert!(line.len() <= LINE_BYTES + 1 || words <= 1 || local.contains(' '));
            }
        }
    }
}
