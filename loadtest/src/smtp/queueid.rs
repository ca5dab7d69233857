//! smtp::queueid – the name a server gives a message in the 250 after its end.
//!
//! No standard says where it stands; every server has its way, and [`parse`] knows those of the table
//! in its tests. Promises: an id is printable ASCII without blanks, at most 128 octets; a text of
//! another form has none, which is no error.

const ID_OCTETS_MAX: usize = 128;

/// What stands before an id, most particular first, in lower case.
const BEFORE: [&str; 9] = [
    "queued as ",       // Postfix, sluicegate, Amavis, many others
    "queued with id ",  // Stalwart
    "internalid=",      // Exchange
    "ids=",             // KumoMTA
    "id=",              // Exim
    "message queued (", // Haraka
    "queued mail <",    // Inbucket-like
    " qp ",             // qmail: process id of qmail-queue
    "stored as ",       // some stores
];
/// What stands behind one.
const BEHIND: [&str; 2] = [
    " message accepted for delivery", // Sendmail, OpenSMTPD
    " message accepted",
];

/// The queue id in the text behind `250`, enhanced code included.
pub(crate) fn parse(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?.trim();
    // Only ASCII keeps its length, and so its offsets, in lower case.
    let lower = text.to_ascii_lowercase();
    for before in BEFORE {
        if let Some(at) = lower.find(before) {
            return clean(
                text.get(at + before.len()..)?.split([' ', ',', ';', ']', ')', '>']).next()?,
            );
        }
    }
    for behind in BEHIND {
        if let Some(at) = lower.find(behind) {
            return clean(text.get(..at)?.rsplit(' ').next()?);
        }
    }
    // Gmail: `2.0.0 OK  1700000000 abc-123.45 - gsmtp`
    if lower.ends_with(" - gsmtp") {
        return clean(text.get(..text.len() - " - gsmtp".len())?.rsplit(' ').next()?);
    }
    None
}

fn clean(word: &str) -> Option<&str> {
    let word = word.trim_end_matches('.');
    let fits = !word.is_empty() && word.len() <= ID_OCTETS_MAX;
    // An enhanced code before "Message accepted" is no id.
    let code = word.split('.').count() == 3 && word.chars().all(|c| c == '.' || c.is_ascii_digit());
    (fits && !code && word.bytes().all(|octet| octet.is_ascii_graphic())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_their_ways() {
        let known = [
            ("2.0.0 Ok: queued as 4XyZ12abcdz9", "4XyZ12abcdz9"), // Postfix
            ("2.0.0 Ok: queued as 00c-1f", "00c-1f"),
            ("OK id=1rABCD-0003Xx-0K", "1rABCD-0003Xx-0K"), // Exim
            ("2.0.0 3a4b5c6d Message accepted for delivery", "3a4b5c6d"), // OpenSMTPD
            ("2.0.0 3BS0abcd012345 Message accepted for delivery", "3BS0abcd012345"), // Sendmail
            ("Message Queued (4A7C1B2D-0E6F.1)", "4A7C1B2D-0E6F.1"), // Haraka
            ("OK ids=d7ef132b5d7711eea8c8000c29c33806", "d7ef132b5d7711eea8c8000c29c33806"),
            (
                "2.6.0 <x@y> [InternalId=123456, Hostname=a.b] 1 bytes Queued mail for delivery",
                "123456",
            ),
            ("ok 1700000000 qp 1234", "1234"),              // qmail
            ("2.0.0 Message queued with id 5f3a.", "5f3a"), // Stalwart
            ("2.0.0 OK  1700000000 a1-20020a.45 - gsmtp", "a1-20020a.45"),
        ];
        for (text, id) in known {
            assert_eq!(parse(text.as_bytes()), Some(id), "{text}");
        }
    }

    #[test]
    fn no_id_is_no_error() {
        let none: [&[u8]; 7] = [
            b"",
            b"2.0.0 Ok",
            b"2.0.0 Message accepted for delivery",
            b"ok queued as ",
            b"it is done",
            b"\xff\xfe queued as 1",
            "2.0.0 queued as ü".as_bytes(),
        ];
        for text in none {
            assert_eq!(parse(text), None, "{:?}", String::from_utf8_lossy(text));
        }
        let long = format!("queued as {}", "x".repeat(ID_OCTETS_MAX + 1));
        assert_eq!(parse(long.as_bytes()), None);
    }
}
