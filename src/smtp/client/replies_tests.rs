//! smtp::client::replies – its tests.

use super::*;

fn all(portions: &[&[u8]]) -> Vec<Result<Heard, Outcome>> {
    let mut replies = Replies::default();
    let mut found = Vec::new();
    for portion in portions {
        let mut input = *portion;
        while let Some(reply) = replies.take(&mut input) {
            found.push(reply);
        }
        assert!(input.is_empty());
        assert!(replies.held_bytes() <= 4 * SMTP_CLIENT_REPLY_KEPT_BYTES_MAX);
    }
    found
}

fn heard(code: u16, text: &str) -> Result<Heard, Outcome> {
    Ok(Heard { code, text: text.into() })
}

#[test]
fn replies_are_read_generously_at_every_split() {
    let text = b"220 a b\r\n250-x\r\n250-PIPELINING\n250 SIZE 5\r\n250\r\n354\n250ok\r\n571 z\r\n\
                 250-one\r\n251 two\r\n220\tq\r\n550-\r\n550\xff\0\r\n";
    let expected = vec![
        heard(220, "a b"),
        heard(250, "x\nPIPELINING\nSIZE 5"),
        heard(250, ""),
        heard(354, ""),
        heard(250, "ok"),
        heard(571, "z"),
        heard(251, "one\ntwo"),
        heard(220, "q"),
        heard(550, "\n\u{fffd}\0"),
    ];
    assert_eq!(all(&[text]), expected);
    for at in 0..text.len() {
        assert_eq!(all(&[&text[..at], &text[at..]]), expected, "split at {at}");
    }
    assert_eq!(all(&text.chunks(1).collect::<Vec<_>>()), expected);
}

#[test]
fn what_is_no_reply_is_said_to_be_none() {
    for bad in ["hello\r\n", "\r\n", "25\r\n", "2500 x\r\n", "199 x\r\n", "600 x\r\n", "-50\r\n"] {
        assert_eq!(all(&[bad.as_bytes()]), [Err(outcome::NO_REPLY)], "{bad:?}");
    }
    assert_eq!(all(&[b"250-x\r\n550 y\r\n"]), [Err(outcome::MIXED)]);
    assert_eq!(all(&[b"250-x\r\nwhat\r\n"]), [Err(outcome::NO_REPLY)]);
}

#[test]
fn long_lines_are_cut_and_endless_replies_end() {
    let long = [b"250 ", &vec![b'x'; 20_000][..], b"\r\n250 ok\r\n"].concat();
    for portion in [1, 7, 1000, long.len()] {
        let found = all(&long.chunks(portion).collect::<Vec<_>>());
        assert_eq!(found.len(), 2);
        let Ok(first) = &found[0] else { panic!("{:?}", found[0]) };
        assert_eq!(first.text.len(), SMTP_CLIENT_REPLY_KEPT_BYTES_MAX - 4);
        assert_eq!(found[1], heard(250, "ok"));
    }
    for endless in ["250-more\r\n", "x"] {
        let text = endless.repeat(SMTP_CLIENT_REPLY_BYTES_MAX / endless.len() + 1);
        for portion in [1, 4096, text.len()] {
            let found = all(&text.as_bytes().chunks(portion).collect::<Vec<_>>());
            assert_eq!(found.first(), Some(&Err(outcome::ENDLESS)), "{endless:?} {portion}");
        }
    }
}
