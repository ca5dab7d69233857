//! ftp::tests::injection – what comes in clear behind AUTH is never interpreted, at whatever split.

use std::rc::Rc;

use proptest::prelude::*;

use super::random::{Auto, codes};
use super::script::settings;
use crate::ftp::session::{Session, Settings, Tls};
use crate::ftp::step::{News, Next};
use crate::wire::outbox::Outbox;

/// What a client – or somebody between it and the server – sends in clear.
const BEFORE: &[u8] = b"NOOP\r\nAUTH TLS\r\n";
const BEHIND: &[u8] = b"USER mallory\r\nPASS x\r\nPBSZ 0\r\nSTOR a\r\n";

/// A session that is given portions until a step of the driver is due.
struct Wire {
    session: Session,
    out: Outbox,
}

impl Wire {
    fn new(tls: Tls) -> Self {
        let mut out = Outbox::default();
        let settings = Settings { tls, ..settings() };
        let local = "192.0.2.1:21".parse().unwrap();
        let peer = "198.51.100.7:50000".parse().unwrap();
        let session = Session::new(Rc::new(settings), local, peer, &mut out);
        out.take();
        Self { session, out }
    }

    fn give(&mut self, portion: &[u8]) -> Next {
        let mut input = portion;
        let next = self.session.advance(&mut input, &mut self.out);
        assert!(next != Next::Secure || input.is_empty(), "clear octets are left behind AUTH");
        next
    }

    fn said(&mut self) -> Vec<u16> {
        codes(&self.out.take())
    }
}

/// Gives the portions. `None`: the session ended without a word of success.
fn played(wire: &mut Wire, portions: &[&[u8]]) -> Option<Vec<u16>> {
    let mut said = Vec::new();
    for portion in portions {
        let next = wire.give(portion);
        said.extend(wire.said());
        match next {
            Next::Receive => {}
            // What follows on the wire goes to the TLS layer, which knows no such record.
            Next::Secure => return Some(said),
            Next::Close => {
                assert!(!said.contains(&234) && !said.contains(&331), "{said:?}");
                return None;
            }
            Next::Ask(_)
            | Next::Listen(_)
            | Next::Unlisten
            | Next::Transfer(_)
            | Next::Abort
            | Next::Unsecure => panic!("{next:?}"),
        }
    }
    panic!("AUTH was not answered");
}

#[test]
fn octets_behind_auth_end_the_session_at_every_split() {
    let octets = [BEFORE, BEHIND].concat();
    for first in 0..=octets.len() {
        for second in first..=octets.len() {
            let portions = [&octets[..first], &octets[first..second], &octets[second..]];
            let played = played(&mut Wire::new(Tls::Optional), &portions);
            // 234 only where a portion ended exactly with the line of AUTH.
            let exact = [first, second].contains(&BEFORE.len());
            assert_eq!(played, exact.then(|| vec![200, 234]), "{first} {second}");
        }
    }
}

#[test]
fn lines_that_wait_behind_auth_end_the_session_too() {
    for behind in [&b"NOOP\r\n"[..], b"\r\n", b"U"] {
        let mut wire = Wire::new(Tls::Optional);
        let mut input: &[u8] = b"USER ann\r\nPASS x\r\n";
        let asked = wire.session.advance(&mut input, &mut wire.out);
        assert!(matches!(asked, Next::Ask(_)));
        let account = super::script::account("write");
        wire.session.resume(crate::ftp::step::Answer::LoggedIn(account), &mut wire.out);
        assert!(matches!(wire.give(b"RETR a\r\n"), Next::Transfer(_)));
        assert_eq!(wire.give(b"AUTH TLS\r\n"), Next::Receive);
        assert_eq!(wire.give(behind), Next::Receive);
        wire.session.transfer(News::Done { bytes: 1 }, &mut wire.out);
        wire.said();
        assert_eq!(wire.give(b""), Next::Close);
        assert!(wire.said().is_empty());
    }
}

#[test]
fn a_telnet_command_half_received_in_clear_does_not_reach_into_tls() {
    let mut wire = Wire::new(Tls::Optional);
    assert_eq!(wire.give(BEFORE), Next::Secure);
    wire.session.secured();
    // Octet 1 of `IAC x`, had its IAC come in clear, would be eaten.
    assert_eq!(wire.give(b"NOOP\r\n"), Next::Receive);
    assert_eq!(wire.said(), [200, 234, 200]);

    let mut wire = Wire::new(Tls::Optional);
    assert_eq!(wire.give(b"AUTH TLS\r\n\xFF"), Next::Close);
    assert!(wire.said().is_empty());
}

#[test]
fn octets_behind_rein_do_not_outlive_tls() {
    let mut wire = Wire::new(Tls::Optional);
    assert_eq!(wire.give(b"AUTH TLS\r\n"), Next::Secure);
    wire.session.secured();
    wire.said();
    assert_eq!(wire.give(b"REIN\r\nUSER ann\r\n"), Next::Close);
    assert!(wire.said().is_empty());
}

proptest! {
    /// Whatever a session went through, AUTH leaves nothing of it.
    #[test]
    fn auth_leaves_a_session_as_new(lines in prop::collection::vec(super::random::lines(), 0..30)) {
        let after = |lines: &[Vec<u8>]| {
            let mut auto = Auto::new(Tls::Optional);
            for line in lines {
                let left = auto.give(&[line, &b"\r\n"[..]].concat());
                if auto.transferring {
                    auto.complete();
                    auto.give(&left);
                }
            }
            if auto.closed || auto.changes > 0 {
                return None;
            }
            auto.give(b"AUTH TLS\r\n");
            auto.said.clear();
            auto.give(b"RNTO b\r\nRETR a\r\nPROT P\r\nFEAT\r\nUSER ann\r\n");
            auto.give(b"PASS x\r\nPWD\r\nSTAT\r\nRNTO b\r\nSITE UMASK\r\nPASV\r\n");
            Some(String::from_utf8(auto.said).unwrap())
        };
        if let Some(said) = after(&lines) {
            prop_assert_eq!(said, after(&[]).unwrap());
        }
    }
}
