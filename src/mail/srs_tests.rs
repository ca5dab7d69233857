//! Rewritten senders: whole ones, against a naive oracle, and those that are not ours.
#![allow(clippy::disallowed_types, reason = "proptest's own macros name Arc")]

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

fn srs(secrets: &[&str]) -> Srs {
    let secrets = secrets.iter().map(|text| Secret::new(text.as_bytes().to_vec())).collect();
    Srs::new("SRS.example", secrets)
}

fn ours() -> Srs {
    srs(&["a secret of ours, long enough"])
}

fn mailbox(local: &str, domain: &str) -> Mailbox {
    Mailbox { local: local.to_owned(), domain: Domain::Name(domain.to_owned()) }
}

/// The hash as the RFCs for HMAC, SHA-256 and base32 say it, bit by bit, of what the scheme hashes.
fn naive(secret: &[u8], text: &str) -> String {
    use sha2::Digest;
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret);
    let pad = |with: u8| key.map(|octet| octet ^ with).to_vec();
    let inner = Sha256::digest([pad(0x36), text.to_lowercase().into_bytes()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    let bits: Vec<u8> =
        outer.iter().flat_map(|o| (0..8).rev().map(move |at| o >> at & 1)).collect();
    let number = |five: &[u8]| five.iter().fold(0, |sum, bit| 2 * sum + usize::from(*bit));
    bits.chunks(5).take(6).map(|five| char::from(ALPHABET[number(five)])).collect()
}

#[test]
fn a_sender_is_rewritten_and_found_again() {
    let sent = ours().forward(&mailbox("Ann.Smith", "far.example"), NOW).unwrap();
    let secret = b"a secret of ours, long enough";
    // 19,675 days; 19,675 mod 1024 = 219 = 6 · 32 + 27.
    assert_eq!(day_text(day_of_round(NOW).into()), "G3");
    let hash = naive(secret, "0\0G3\0far.example\0Ann.Smith\0");
    let wanted = format!("SRS0={hash}=G3=far.example=Ann.Smith@srs.example");
    assert_eq!(sent.to_string(), wanted);
    assert!(ours().claims(&sent.local, "srs.example"));
    assert!(!ours().claims(&sent.local, "far.example") && !ours().claims("ann", "srs.example"));
    let found = ours().back(&sent.local, Some(NOW)).unwrap();
    assert_eq!(found, ("Ann.Smith".to_owned(), "far.example".to_owned()));
}

#[test]
fn what_another_server_rewrote_stays_its_own() {
    let secret = b"a secret of ours, long enough";
    let first = mailbox("SRS0=XXXX=YY=far.example=ann", "mid.example");
    let sent = ours().forward(&first, NOW).unwrap();
    let hash = naive(secret, "1\0mid.example\0=XXXX=YY=far.example=ann\0");
    assert_eq!(sent.local, format!("SRS1={hash}=mid.example==XXXX=YY=far.example=ann"));
    let found = ours().back(&sent.local, Some(NOW + 1000 * DAY)).unwrap();
    assert_eq!(found, (first.local, "mid.example".to_owned()));
    // A third server leaves the second out.
    let second = mailbox(&sent.local.replace(&hash, "zzzz"), "other.example");
    assert_eq!(ours().forward(&second, NOW).unwrap().local, sent.local);
    // The separators that the scheme has.
    let plus = mailbox("srs0+XXXX=YY=far.example=ann", "mid.example");
    let back = ours().back(&ours().forward(&plus, NOW).unwrap().local, Some(NOW)).unwrap();
    assert_eq!(back.0, "SRS0+XXXX=YY=far.example=ann");
}

#[test]
fn what_is_not_ours_is_refused() {
    let sent = ours().forward(&mailbox("ann", "far.example"), NOW).unwrap().local;
    for forged in [
        "SRS0",
        "SRS0=",
        "SRS0==",
        "SRS0=A=B",
        "SRS0=AAAAAA=G3=far.example=ann",
        "SRS0====",
        "SRS1=",
        "SRS1=a=b",
        "SRS1=AAAAAA=mid.example==x",
        "SRS2=a=b=c=d",
        "ann",
        "SRS0=é",
        "\u{e9}RS0=a",
        &sent.replace("ann", "bob"),
        &sent.replace("far", "bar"),
        &sent.replace("=G3=", "=G4="),
        &format!("{sent}x"),
        &sent.replace("SRS0", "SRS1"),
    ] {
        assert_eq!(ours().back(forged, Some(NOW)), Err(Refused::Forged), "{forged}");
    }
    assert_eq!(srs(&["another secret, also long"]).back(&sent, Some(NOW)), Err(Refused::Forged));
    assert_eq!(srs(&[]).back(&sent, Some(NOW)), Err(Refused::Forged));
    // A new secret makes, an old one is believed still.
    let both = srs(&["another secret, also long", "a secret of ours, long enough"]);
    assert!(both.back(&sent, Some(NOW)).is_ok());
    assert_ne!(both.forward(&mailbox("ann", "far.example"), NOW).unwrap().local, sent);
}

#[test]
fn an_address_is_good_for_three_weeks() {
    let sent = ours().forward(&mailbox("ann", "far.example"), NOW).unwrap().local;
    for (days, good) in
        [(-2, false), (-1, true), (0, true), (21, true), (22, false), (500, false), (1022, false)]
    {
        let found = ours().back(&sent, Some(NOW + days * DAY));
        let wanted =
            if good { Ok(("ann".into(), "far.example".into())) } else { Err(Refused::Expired) };
        assert_eq!(found, wanted, "after {days} days");
    }
}

#[test]
fn what_would_not_be_taken_back_is_not_made() {
    let made = |local: &str| ours().forward(&mailbox(local, "far.example"), NOW);
    let most = LOCAL_BYTES_MAX - "SRS0=HHHHHH=DD=far.example=".len();
    assert_eq!(made(&"x".repeat(most)).unwrap().local.len(), LOCAL_BYTES_MAX);
    assert_eq!(made(&"x".repeat(most + 1)), None);
    let literal = Domain::Literal([192, 0, 2, 1].into());
    assert_eq!(ours().forward(&Mailbox { local: "ann".into(), domain: literal }, NOW), None);
    assert_eq!(srs(&[]).forward(&mailbox("ann", "far.example"), NOW), None);
}

proptest! {
    /// There and back, whatever the local part and the day, and with the case changed on the way.
    #[test]
    fn round_trip(local in "[!-~]{1,20}|[a-zé=+ ]{1,12}", domain in "[a-z0-9-]{1,8}\\.example", days in 0..40_000_i64, later in 0..=21_i64) {
        let sender = mailbox(&local, &domain);
        let now = days * DAY + 7;
        let Some(sent) = ours().forward(&sender, now) else {
            prop_assert!(local.len() + domain.len() > 40);
            return Ok(());
        };
        let then = now + later * DAY;
        let found = ours().back(&sent.local, Some(then));
        if parse(&local).is_none() {
            prop_assert_eq!(found, Ok((local.clone(), domain.clone())));
            for changed in [sent.local.to_lowercase(), sent.local.to_uppercase()] {
                let (found, at) = ours().back(&changed, Some(then)).unwrap();
                prop_assert_eq!(name::folded(&found), name::folded(&local));
                prop_assert_eq!(&at, &domain);
            }
            let hash = naive(b"a secret of ours, long enough", &format!("0\0{}\0{domain}\0{local}\0", day_text(day(now))));
            prop_assert!(local.is_ascii() && sent.local.get(5..11) == Some(&hash) || !local.is_ascii());
        }
    }

    /// One letter changed, and it is nobody's.
    #[test]
    fn forged(at in 5_usize..40, to in "[A-Za-z0-9=.]") {
        let sent = ours().forward(&mailbox("ann.smith.of.york", "far.example"), NOW).unwrap().local;
        let at = at % sent.len();
        prop_assume!(at >= 5 && sent.is_char_boundary(at));
        let mut other = sent.clone();
        other.replace_range(at..=at, &to);
        prop_assume!(!other.eq_ignore_ascii_case(&sent));
        prop_assert_eq!(ours().back(&other, Some(NOW)), Err(Refused::Forged));
    }

    #[test]
    fn nothing_panics(local: String, now: i64) {
        drop(ours().back(&local, Some(now)));
        drop(ours().forward(&mailbox(&local, "x.example"), now));
    }
}
