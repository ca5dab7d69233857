//! Addresses: what was read is within limits and clean, and is shown as what reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::smtp::address::{
    BadAddress, DOMAIN_BYTES_MAX, Domain, LOCAL_BYTES_MAX, Mailbox, PATH_BYTES_MAX,
};

fuzz_target!(|text: &str| {
    let read = Mailbox::parse(text, true);
    let ascii = Mailbox::parse(text, false);
    let Ok(mailbox) = read else {
        assert_eq!(ascii, read, "what UTF-8 does not help");
        return;
    };
    if mailbox.is_ascii() {
        assert_eq!(ascii.as_ref(), Ok(&mailbox));
        assert!(text.is_ascii());
    } else {
        assert_eq!(ascii, Err(BadAddress::NeedsUtf8));
    }

    assert!((1..=LOCAL_BYTES_MAX).contains(&mailbox.local.len()));
    assert!((1..=DOMAIN_BYTES_MAX).contains(&mailbox.domain.to_string().len()));
    let shown = mailbox.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert_eq!(Mailbox::parse(&shown, true).as_ref(), Ok(&mailbox), "{shown:?}");

    let key = mailbox.domain.key();
    assert!(key.is_ascii() && !key.bytes().any(|octet| octet.is_ascii_control()), "{key:?}");
    assert!(!key.bytes().any(|octet| octet.is_ascii_uppercase()), "{key:?}");
    if matches!(mailbox.domain, Domain::Name(_)) {
        assert_eq!(Domain::Name(key.clone()).key(), key);
        // The A-labels of a name can be sent to those who know no UTF-8.
        let plain = Mailbox::parse(&format!("x@{key}"), false);
        if key.len() + "<x@>".len() > PATH_BYTES_MAX {
            // In UTF-8 it was shorter than it is in A-labels.
            assert_eq!(plain, Err(BadAddress::TooLong));
            return;
        }
        assert_eq!(plain.map(|plain| plain.domain), Ok(Domain::Name(key)));
    }
});
