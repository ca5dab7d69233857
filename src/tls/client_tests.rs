//! tls::client – our client against our server, both as values: whom it believes, what it remembers.
#![allow(clippy::panic_in_result_fn, reason = "a test stops where it is wrong")]

use super::testing::{NAME, Trust, keeper};
use super::{Client, Demand, Errand, Info, Offer, Progress, Roots, Session, Trouble, Use};

/// What both sides made of a handshake whose octets come in pieces of `piece`, and of a few words after it.
fn talk(errand: &Errand, offer: &Offer, piece: usize) -> Result<(Info, Info), Trouble> {
    let mut hello = Vec::new();
    let mut client = Session::client(errand, &mut hello)?;
    let mut server = Session::new(offer)?;
    let (mut to_server, mut to_client) = (hello, Vec::new());
    let (mut heard, mut answered) = (Vec::new(), Vec::new());
    let (mut failed, mut spoken) = (None, false);
    while !to_server.is_empty() || !to_client.is_empty() {
        let (mut sent, mut back) = (std::mem::take(&mut to_server), std::mem::take(&mut to_client));
        for part in sent.chunks_mut(piece) {
            let took =
                server.receive(part, &mut to_client, &mut |said| heard.extend_from_slice(said));
            // An alert of the client is no news.
            assert!(took.is_ok() || matches!(took, Err(Trouble::Alert(_))), "{took:?}");
        }
        for part in back.chunks_mut(piece) {
            let took =
                client.receive(part, &mut to_server, &mut |said| answered.extend_from_slice(said));
            failed = failed.or_else(|| took.err());
        }
        if client.progress() == Progress::Open
            && server.progress() == Progress::Open
            && !std::mem::replace(&mut spoken, true)
        {
            client.seal(b"EHLO x\r\n", &mut to_server)?;
            server.seal(b"250 x\r\n", &mut to_client)?;
        }
    }
    if let Some(trouble) = failed {
        assert_eq!(client.seal(b"x", &mut Vec::new()), Err(trouble));
        return Err(trouble);
    }
    assert_eq!((heard.as_slice(), answered.as_slice()), (&b"EHLO x\r\n"[..], &b"250 x\r\n"[..]));
    assert!(client.offer().is_none() && server.offer().is_some());
    Ok((client.info().unwrap(), server.info().unwrap()))
}

fn client(trust: Option<&Trust>) -> Client {
    Client::new(trust.map_or_else(Roots::none, Trust::roots)).unwrap()
}

#[test]
fn whom_we_believe_and_whom_not() {
    let (keeper, trust) = keeper();
    let offer = keeper.offer(Use::Smtp).unwrap();
    for piece in [1, 7, 1000, usize::MAX] {
        let believes = client(Some(&trust));
        let errand = |client: &Client, host, demand| client.errand(host, demand).unwrap();
        let (own, theirs) =
            talk(&errand(&believes, NAME, Demand::Verified), &offer, piece).unwrap();
        assert_eq!(own.version, "TLSv1.3");
        assert_eq!(theirs.sni.as_deref(), Some(NAME), "its name is told: RFC 6066 §3");
        assert!(!own.resumed && own.cipher == theirs.cipher);
        let other = talk(&errand(&believes, "other.example", Demand::Verified), &offer, piece);
        assert_eq!(other, Err(Trouble::Untrusted("the certificate is for another name")));
        let doubts = client(None);
        let verified = talk(&errand(&doubts, NAME, Demand::Verified), &offer, piece);
        assert_eq!(
            verified,
            Err(Trouble::Untrusted("the certificate is signed by nobody we trust"))
        );
        let host = talk(&errand(&doubts, "other.example", Demand::Anybody), &offer, piece);
        assert!(host.is_ok(), "{host:?}");
        let literal = talk(&errand(&doubts, "[192.0.2.1]", Demand::Anybody), &offer, piece);
        assert!(literal.is_ok(), "{literal:?}");
    }
}

#[test]
fn sessions_are_resumed_by_who_began_them_alone() {
    let (keeper, trust) = keeper();
    let offer = || keeper.offer(Use::Smtp).unwrap();
    let believes = client(Some(&trust));
    let resumed = |client: &Client, demand| {
        let errand = client.errand(NAME, demand).unwrap();
        talk(&errand, &offer(), usize::MAX).map(|(own, _)| own.resumed)
    };
    assert_eq!(resumed(&believes, Demand::Verified), Ok(false));
    assert_eq!(resumed(&believes, Demand::Verified), Ok(true));
    let doubts = client(None);
    assert_eq!(resumed(&doubts, Demand::Anybody), Ok(false));
    assert_eq!(resumed(&doubts, Demand::Anybody), Ok(true));
    assert!(resumed(&doubts, Demand::Verified).is_err(), "remembered from one who proved nothing");
}

#[test]
fn what_is_no_tls_ends_it() {
    for said in [&b"500 5.5.1 what?\r\n"[..], b"\x16\x03\x01", b"\x15\x03\x03\x00\x02\x02\x28"] {
        let errand = client(None).errand(NAME, Demand::Anybody).unwrap();
        let mut out = Vec::new();
        let mut session = Session::client(&errand, &mut out).unwrap();
        assert_eq!(out.first(), Some(&22), "a ClientHello");
        let mut said = [said, &[0; 300]].concat();
        let took = session.receive(&mut said, &mut out, &mut |_| {});
        assert!(took.is_err(), "{took:?}");
        assert!(session.info().is_none() && session.into_records().is_err());
    }
}

#[test]
fn names_that_are_none_have_no_errand() {
    let client = client(None);
    for host in ["", "a b", "mx.example.\u{e9}", "-"] {
        assert!(client.errand(host, Demand::Anybody).is_none(), "{host:?}");
    }
    assert!(client.errand("MX.example.", Demand::Anybody).is_some());
    assert!(client.errand("2001:db8::1", Demand::Verified).is_some());
}
