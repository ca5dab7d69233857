//! tls::tests – the session as a value against rustls' own client: splits, ends, tickets, bad input.

use super::testing::{BOTH, Client, NAME, NOW, Person, Speaks, Trust, keeper, pair};
use super::{Identity, Info, Offer, Progress, Records, Session, Trouble, Use};

/// Exchanges octets until neither has any; the client's go in pieces of `piece`.
fn exchange(client: &mut Client, server: &mut Session, piece: usize) -> Result<Vec<u8>, Trouble> {
    let mut heard = Vec::new();
    loop {
        let mut sent = client.outgoing();
        let mut back = Vec::new();
        for part in sent.chunks_mut(piece) {
            server.receive(part, &mut back, &mut |said| heard.extend_from_slice(said))?;
        }
        if sent.is_empty() && back.is_empty() {
            return Ok(heard);
        }
        client.incoming(&back).unwrap();
    }
}

/// A whole handshake, after which the client has the server's tickets.
fn handshake(person: &Person, offer: &Offer) -> (Client, Session, Info) {
    let mut client = person.connect();
    let mut server = Session::new(offer).unwrap();
    exchange(&mut client, &mut server, usize::MAX).unwrap();
    let info = server.info().unwrap();
    assert_eq!(client.is_resumed(), info.resumed);
    (client, server, info)
}

fn sealed(server: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    server.seal(plain, &mut out).unwrap();
    out
}

#[test]
fn octets_may_come_one_by_one() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let offer = keeper.offer(Use::Ftp).unwrap();
        let mut client = Person::new(&trust, speaks).connect();
        let mut server = Session::new(&offer).unwrap();
        client.say(b"first words, with the end of the handshake");
        let heard = exchange(&mut client, &mut server, 1).unwrap();
        assert_eq!(heard, b"first words, with the end of the handshake");
        let info = server.info().unwrap();
        assert_eq!(info.version, if speaks == Speaks::Tls12 { "TLSv1.2" } else { "TLSv1.3" });
        assert!(info.cipher.contains("AES_128_GCM_SHA256"), "{info:?}");
        assert_eq!(info.sni.as_deref(), Some(NAME));
        assert!(!info.resumed);
        assert_eq!(server.kept(), 0, "nothing is kept of whole records");
    }
}

/// The whole stream of a client, cut in two at every octet.
#[test]
fn a_stream_may_be_cut_anywhere() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let person = Person::new(&trust, speaks);
        let (mut cut, mut cuts) = (1_usize, 0);
        loop {
            let offer = keeper.offer(Use::Smtp).unwrap();
            let mut client = person.clone().forgetful().connect();
            let mut server = Session::new(&offer).unwrap();
            client.say(b"EHLO x\r\n");
            let (mut heard, mut at, mut split) = (Vec::new(), 0, false);
            loop {
                let (mut sent, mut back) = (client.outgoing(), Vec::new());
                let here = cut.saturating_sub(at).min(sent.len());
                at += sent.len();
                split |= here > 0 && here < sent.len();
                let (one, two) = sent.split_at_mut(here);
                for part in [one, two] {
                    let took =
                        server.receive(part, &mut back, &mut |said| heard.extend_from_slice(said));
                    took.unwrap();
                }
                if sent.is_empty() && back.is_empty() {
                    break;
                }
                client.incoming(&back).unwrap();
            }
            assert_eq!(heard, b"EHLO x\r\n", "{speaks:?} cut at {cut}");
            assert_eq!(client.incoming(&sealed(&mut server, b"250 x\r\n")).unwrap(), b"250 x\r\n");
            if cut >= at {
                assert!(cuts > 30, "{cuts} cuts in {at} octets");
                break;
            }
            cuts += usize::from(split);
            // Every octet of the first record headers, then in steps: a handshake costs a millisecond.
            cut += if cut < 16 { 1 } else { 7 };
        }
    }
}

#[test]
fn bulk_goes_both_ways_in_full_records() {
    let (keeper, trust) = keeper();
    let bulk: Vec<u8> = (0..1_000_003u32).map(|number| (number % 251) as u8).collect();
    for speaks in BOTH {
        let (mut client, mut server, _) =
            handshake(&Person::new(&trust, speaks), &keeper.offer(Use::Ftp).unwrap());
        let records = sealed(&mut server, &bulk);
        assert!(records.len() <= Session::sealed_bytes(bulk.len()));
        assert_eq!(&records[3..5], u16::try_from(record_body(speaks)).unwrap().to_be_bytes());
        assert_eq!(client.incoming(&records).unwrap(), bulk);
        // The client's buffer is small: it says it in parts.
        let mut heard = Vec::new();
        for part in bulk.chunks(50_000) {
            client.say(part);
            for piece in [1, 4096, 70_000, 5] {
                let mut sent = client.outgoing();
                for part in sent.chunks_mut(piece) {
                    let mut out = Vec::new();
                    server
                        .receive(part, &mut out, &mut |said| heard.extend_from_slice(said))
                        .unwrap();
                    assert!(server.kept() < 17 * 1024, "one record at most is kept");
                }
            }
        }
        assert_eq!(heard, bulk);
    }
}

/// Octets behind the header of a full record.
fn record_body(speaks: Speaks) -> usize {
    // Content type and tag; explicit nonce and tag (RFC 8446 §5.2, RFC 5288 §3).
    16 * 1024 + if speaks == Speaks::Tls13 { 1 + 16 } else { 8 + 16 }
}

#[test]
fn an_end_is_said_or_it_is_none() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let (mut client, mut server, _) =
            handshake(&Person::new(&trust, speaks), &keeper.offer(Use::Ftp).unwrap());
        client.say(b"all");
        exchange(&mut client, &mut server, usize::MAX).unwrap();
        assert_eq!(server.progress(), Progress::Open, "cut off here, the end was not said");
        client.close();
        exchange(&mut client, &mut server, usize::MAX).unwrap();
        assert_eq!(server.progress(), Progress::Ended);
        // Half a connection: we may still speak, and end it ourselves.
        assert_eq!(client.incoming(&sealed(&mut server, b"226\r\n")).unwrap(), b"226\r\n");
        assert!(!client.saw_close());
        let mut out = Vec::new();
        server.close(&mut out);
        assert_eq!(client.incoming(&out).unwrap(), b"");
        assert!(client.saw_close());
        out.clear();
        server.close(&mut out);
        assert!(out.is_empty(), "said once");
        assert!(server.seal(b"more", &mut out).is_err());
    }
}

fn refused(octets: &[u8]) -> (Trouble, Vec<u8>) {
    let (keeper, _) = keeper();
    let mut server = Session::new(&keeper.offer(Use::Ftp).unwrap()).unwrap();
    let mut out = Vec::new();
    let mut octets = octets.to_vec();
    for part in octets.chunks_mut(3) {
        if let Err(trouble) = server.receive(part, &mut out, &mut |_| unreachable!()) {
            let said = out.clone();
            assert_eq!(
                server.receive(&mut [22], &mut out, &mut |_| ()),
                Err(trouble),
                "it stays so"
            );
            assert_eq!(out, said, "the alert is said once");
            return (trouble, out);
        }
    }
    unreachable!("{octets:?} was taken")
}

#[test]
fn what_is_no_tls_gets_an_alert() {
    // RFC 8446 §6: a fatal alert, decode_error (50).
    for words in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\n", "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}"]
    {
        let (trouble, alert) = refused(words.as_bytes());
        assert_eq!(trouble, Trouble::NotTls, "{words:?}");
        assert_eq!((alert.first(), alert.get(5..)), (Some(&21), Some(&[2, 50][..])), "{words:?}");
    }
    // SSL 2.0, and a record longer than any may be.
    for octets in [&[0x80, 0x2e, 1, 0, 2, 0, 0x15][..], &[22, 3, 1, 0xff, 0xff, 1]] {
        let (trouble, alert) = refused(octets);
        assert_eq!((trouble, alert.get(5)), (Trouble::NotTls, Some(&2)), "{octets:?}");
    }
    // Application data before any handshake: unexpected_message (10).
    let (_, alert) = refused(&[23, 3, 3, 0, 2, 1, 1]);
    assert_eq!(alert.get(5..), Some(&[2, 10][..]));
}

/// rustls keeps an eye on the begin of a message that is not whole, and had looked for it in vain.
#[test]
fn a_message_whose_second_record_is_none_gets_an_alert() {
    let begun = [22, 3, 1, 0, 5, 1, 0, 1, 0, 3];
    for wrong in [&[57; 8][..], &[22, 3, 1, 0xff, 0xff, 1]] {
        let octets = [&begun, wrong].concat();
        let (_, alert) = refused(&octets);
        assert_eq!((alert.first(), alert.get(5)), (Some(&21), Some(&2)), "{wrong:?}");
    }
}

/// RFC 8446 §4.2.1: `protocol_version` (70), also for those who lack what only newer clients send.
#[test]
fn old_versions_are_told_so() {
    for minor in 0..=2 {
        let mut body = vec![3, minor];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0xc0, 0x09, 0xc0, 0x13, 1, 0]);
        let length = u8::try_from(body.len()).unwrap();
        let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        hello.extend(&body);
        let (trouble, alert) = refused(&hello);
        assert_eq!(trouble, Trouble::NothingInCommon);
        assert_eq!(alert.get(5..), Some(&[2, 70][..]), "{minor}");
    }
}

#[test]
fn a_handshake_without_end_has_one() {
    let (keeper, _) = keeper();
    let mut server = Session::new(&keeper.offer(Use::Ftp).unwrap()).unwrap();
    let (mut out, mut sent) = (Vec::new(), 0);
    // A ClientHello that claims 64 KiB, in records of one octet.
    let mut hello = vec![1, 0, 0xff, 0xff];
    hello.resize(0xffff, 0);
    for octet in hello {
        let mut record = [22, 3, 1, 0, 1, octet];
        sent += record.len();
        match server.receive(&mut record, &mut out, &mut |_| ()) {
            Ok(progress) => assert_eq!(progress, Progress::Handshake),
            Err(trouble) => {
                assert!(matches!(trouble, Trouble::TooMuch | Trouble::NotTls), "{trouble:?}");
                assert!(sent < 64 * 1024, "{sent}");
                return;
            }
        }
        assert!(server.kept() < 64 * 1024);
    }
    unreachable!("taken to its end");
}

#[test]
fn alerts_without_end_have_one() {
    let warning = [21, 3, 3, 0, 2, 1, 90];
    let (_, _) = refused(&warning.repeat(100));
}

#[test]
fn what_the_client_says_in_alerts_is_told() {
    let (trouble, _) = refused(&[21, 3, 3, 0, 2, 2, 48]);
    assert_eq!(trouble, Trouble::Alert(48));
    assert!(trouble.to_string().contains("certificate"), "{trouble}");
}

#[test]
fn a_foreign_protocol_is_refused_and_ours_is_named() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let person = Person::new(&trust, speaks);
        let (_, _, info) =
            handshake(&person.clone().naming(b"ftp"), &keeper.offer(Use::Ftp).unwrap());
        assert_eq!(info.alpn.as_deref(), Some(&b"ftp"[..]));
        let mut client = person.naming(b"h2").connect();
        let mut server = Session::new(&keeper.offer(Use::Ftp).unwrap()).unwrap();
        let (mut hello, mut out) = (client.outgoing(), Vec::new());
        let refused = server.receive(&mut hello, &mut out, &mut |_| ());
        assert_eq!(refused, Err(Trouble::NothingInCommon));
        // RFC 7301 §3.2: no_application_protocol (120).
        assert!(
            matches!(client.incoming(&out), Err(rustls::Error::AlertReceived(alert)) if u8::from(alert) == 120)
        );
    }
}

#[test]
fn data_connections_are_bound_by_the_ticket_they_show() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let person = Person::new(&trust, speaks);
        let control = keeper.offer(Use::Ftp).unwrap();
        let (_, _, first) = handshake(&person, &control);
        assert!(!first.resumed && first.bound.is_some(), "{first:?}");
        // One after another, and each brings the ticket for the next.
        for _ in 0..10 {
            let (_, _, data) = handshake(&person, &control.data());
            assert!(data.resumed, "{speaks:?}");
            assert_eq!(data.bound, first.bound);
        }
        // A client that shows nothing, and one that shows what another control session gave it.
        let (_, _, fresh) = handshake(&person.clone().forgetful(), &control.data());
        assert!(!fresh.resumed && fresh.bound.is_none());
        let other = keeper.offer(Use::Ftp).unwrap();
        let thief = person.clone().forgetful();
        let (_, _, theirs) = handshake(&thief, &other);
        assert_ne!(theirs.bound, first.bound);
        let (_, _, foreign) = handshake(&thief, &control.data());
        assert!(!foreign.resumed && foreign.bound.is_none(), "{speaks:?}: {foreign:?}");
        // A control connection begins a session of its own, whatever it is shown.
        let (_, _, again) = handshake(&person, &keeper.offer(Use::Ftp).unwrap());
        assert!(!again.resumed);
    }
}

#[test]
fn mail_resumes_mail_and_nothing_else() {
    let (keeper, trust) = keeper();
    for speaks in BOTH {
        let person = Person::new(&trust, speaks);
        let smtp = || keeper.offer(Use::Smtp).unwrap();
        assert!(!handshake(&person, &smtp()).2.resumed);
        assert!(handshake(&person, &smtp()).2.resumed, "{speaks:?}");
        let control = keeper.offer(Use::Ftp).unwrap();
        assert!(!handshake(&person, &control.data()).2.resumed, "a ticket of mail");
        let (_, _, _) = handshake(&person.clone().forgetful(), &control);
        let person = person.forgetful();
        handshake(&person, &control);
        assert!(!handshake(&person, &smtp()).2.resumed, "a ticket of FTP");
    }
}

#[test]
fn tickets_survive_a_reload_and_certificates_are_chosen_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let one = pair(directory.path(), "one", &[NAME]);
    let two = pair(directory.path(), "two", &["*.two.example"]);
    let trust = Trust::of(&[&one, &two]);
    let keeper = super::Keeper::new().unwrap();
    assert!(!keeper.is_ready() && keeper.offer(Use::Smtp).is_none());
    let load = |pairs: &[super::Pair]| Identity::load(pairs, NOW).unwrap();
    keeper.replace(load(std::slice::from_ref(&one))).unwrap();
    let person = Person::new(&trust, Speaks::Tls13);
    let control = keeper.offer(Use::Ftp).unwrap();
    handshake(&person, &control);
    keeper.replace(load(&[one, two])).unwrap();
    assert!(handshake(&person, &control.data()).2.resumed, "the old session goes on");
    let shown = |name: &str| {
        let mut client = person.connect_to(name);
        let mut server = Session::new(&keeper.offer(Use::Smtp).unwrap()).unwrap();
        exchange(&mut client, &mut server, usize::MAX).unwrap();
        client.certificate().unwrap()
    };
    let named = shown("a.two.example");
    assert_ne!(named, shown(NAME));
    let current = keeper.current().unwrap();
    let names: Vec<_> = current.identity().certificates().iter().map(|one| one.names()).collect();
    assert_eq!(names, [[NAME.to_owned()], ["*.two.example".to_owned()]]);
    assert!(current.identity().not_after().unwrap() > NOW);
}

#[test]
fn pairs_that_are_wrong_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let one = pair(directory.path(), "one", &[NAME]);
    let two = pair(directory.path(), "two", &[NAME]);
    std::fs::write(at("empty"), "").unwrap();
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    std::fs::write(at("bad.key"), secret).unwrap();
    let wrong = |certificate: &std::path::Path, key: &std::path::Path, now: i64| {
        let pair = super::Pair { certificate: certificate.into(), private_key: key.into() };
        let found = Identity::load(&[pair], now).unwrap_err();
        assert_eq!(found.len(), 1);
        found[0].to_string().replace(&directory.path().display().to_string(), "")
    };
    let (c, k) = (&one.certificate, &one.private_key);
    assert!(wrong(c, &two.private_key, NOW).starts_with("/two.key: not the key of /one.pem ("));
    assert!(wrong(&at("empty"), k, NOW).starts_with("/empty: no certificate in it ("));
    assert!(wrong(c, &at("empty"), NOW).starts_with("/empty: no private key in it ("));
    assert!(wrong(&at("none"), k, NOW).starts_with("/none: cannot read: "));
    assert!(wrong(c, k, 4_999_999_999).starts_with("/one.pem: expired on "));
    assert!(wrong(c, k, 1).starts_with("/one.pem: not valid before "));
    let broken = wrong(c, &at("bad.key"), NOW);
    assert!(broken.contains("cannot be used") && !broken.contains("c2Vj"), "{broken}");
    // What was made is for its owner alone, and stays.
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions())
            & 0o777
    };
    assert_eq!(mode(k), 0o600);
    let before = std::fs::read(c).unwrap();
    assert!(!super::make_own(&one, &["x".to_owned()], None).unwrap());
    assert_eq!(std::fs::read(c).unwrap(), before);
}

#[test]
fn nothing_secret_shows() {
    let (keeper, trust) = keeper();
    let (_, server, info) =
        handshake(&Person::new(&trust, Speaks::Tls13), &keeper.offer(Use::Ftp).unwrap());
    let shown = format!("{keeper:?} {:?} {:?} {info:?}", keeper.current(), server.offer());
    assert!(shown.contains("Binding(..)") && !shown.contains("key"), "{shown}");
}

// ---------------------------------------------------------------- records of our own

#[allow(clippy::panic_in_result_fn, reason = "a test stops where it is wrong")]
/// Opens `octets` in pieces, each into a room of its own size; everything that was said.
fn opened(
    records: &mut Records,
    octets: &[u8],
    piece: usize,
    room: usize,
) -> Result<Vec<u8>, (Trouble, Vec<u8>)> {
    let (mut heard, mut out) = (Vec::new(), Vec::new());
    for part in octets.chunks(piece) {
        let (mut into, mut beside) = (vec![0; room], Vec::new());
        let count = records.open(part, &mut into, &mut beside, &mut out);
        let count = count.map_err(|trouble| (trouble, out.clone()))?;
        heard.extend_from_slice(&into[..count]);
        heard.extend(beside);
    }
    assert!(out.is_empty(), "nothing to be told: {out:?}");
    Ok(heard)
}

fn bulk(speaks: Speaks) -> (Client, Records) {
    let (keeper, trust) = keeper();
    let offer = keeper.offer(Use::Ftp).unwrap().data();
    let (client, server, _) = handshake(&Person::new(&trust, speaks), &offer);
    (client, server.into_records().unwrap())
}

#[test]
fn records_of_our_own_are_understood_and_understand() {
    let whole: Vec<u8> = (0..200_001u32).map(|number| (number % 251) as u8).collect();
    for speaks in BOTH {
        let (mut client, mut records) = bulk(speaks);
        for len in [0, 1, 16_384, 16_385, whole.len()] {
            let mut room = vec![0; Records::sealed_bytes(len)];
            let count = records.seal_into(&whole[..len], &mut room).unwrap();
            assert_eq!(client.incoming(&room[..count]).unwrap(), whole[..len], "{speaks:?} {len}");
            // And back: cut anywhere, into rooms of any size.
            for (piece, room) in
                [(1, 1), (7, 16), (1000, 100_000), (16_406, 16_385), (100_000, 20_000)]
            {
                let mut heard = Vec::new();
                for part in whole[..len].chunks(30_000) {
                    client.say(part);
                    heard.extend(opened(&mut records, &client.outgoing(), piece, room).unwrap());
                }
                assert!(heard == whole[..len], "{speaks:?} {len} in {piece} into {room}");
            }
        }
        assert_eq!(records.progress(), Progress::Open);
        client.say(b"last");
        client.close();
        assert_eq!(opened(&mut records, &client.outgoing(), 3, 100).unwrap(), b"last");
        assert_eq!(records.progress(), Progress::Ended);
        // Nothing behind the end is heard.
        assert_eq!(opened(&mut records, b"garbage", 3, 100).unwrap(), b"");
        let mut out = Vec::new();
        records.close(&mut out);
        records.close(&mut out);
        assert_eq!(client.incoming(&out).unwrap(), b"");
        assert!(client.saw_close());
        assert!(records.seal_into(b"x", &mut [0; 200]).is_err(), "nothing behind our own end");
    }
}

#[test]
fn octets_behind_the_end_are_no_tls() {
    for speaks in BOTH {
        let (mut client, mut records) = bulk(speaks);
        client.say(b"last");
        client.close();
        let octets = [&client.outgoing()[..], b"NOOP\r\n"].concat();
        let mut said = Vec::new();
        records.open(&octets, &mut [], &mut said, &mut Vec::new()).unwrap();
        assert_eq!((records.progress(), records.behind()), (Progress::Ended, 6));
        assert_eq!(said, b"last");
    }
}

#[test]
fn a_record_that_was_touched_ends_it_with_an_alert() {
    for speaks in BOTH {
        let (mut client, _) = bulk(speaks);
        client.say(b"something that matters");
        let record = client.outgoing();
        for at in 0..record.len() {
            let (mut client, mut records) = bulk(speaks);
            client.say(b"something that matters");
            let mut record = client.outgoing();
            record[at] ^= 0x20;
            record.resize(record.len() + 70_000, 0);
            let Err((trouble, alert)) = opened(&mut records, &record, usize::MAX, 100) else {
                // The version in the header is about nothing in TLS 1.2 (it is fixed there).
                assert!((1..3).contains(&at) && speaks == Speaks::Tls12, "{speaks:?} at {at}");
                continue;
            };
            assert!(matches!(trouble, Trouble::BadRecord | Trouble::Misbehaved), "{trouble:?}");
            let told = client.incoming(&alert).unwrap_err();
            let rustls::Error::AlertReceived(number) = told else { unreachable!("{told:?}") };
            assert!([20, 22].contains(&u8::from(number)), "{number:?}");
            assert_eq!(opened(&mut records, b"x", 1, 1).unwrap_err().0, trouble, "it stays so");
        }
    }
}

#[test]
fn keys_are_changed_when_the_client_asks_and_not_for_ever() {
    let (mut client, mut records) = bulk(Speaks::Tls13);
    for round in 0..3 {
        client.renew();
        client.say(b"under new keys");
        let (mut room, mut beside, mut out) = ([0; 100], Vec::new(), Vec::new());
        let count = records.open(&client.outgoing(), &mut room, &mut beside, &mut out).unwrap();
        assert_eq!(&room[..count], b"under new keys", "{round}");
        assert_eq!(client.incoming(&out).unwrap(), b"");
        let count = records.seal_into(b"and so are ours", &mut room).unwrap();
        assert_eq!(client.incoming(&room[..count]).unwrap(), b"and so are ours");
    }
    let mut last = Ok(0);
    for _ in 0..100 {
        client.renew();
        let (mut beside, mut out) = (Vec::new(), Vec::new());
        last = records.open(&client.outgoing(), &mut [0; 100], &mut beside, &mut out);
        if last.is_err() {
            break;
        }
        client.incoming(&out).unwrap();
    }
    assert_eq!(last, Err(Trouble::Misbehaved));
}

#[test]
fn a_second_handshake_on_open_records_is_none() {
    let (_, mut records) = bulk(Speaks::Tls12);
    // In clear it does not even verify.
    let hello = [22, 3, 3, 0, 4, 1, 0, 0, 0];
    let (trouble, _) = opened(&mut records, &hello, 100, 100).unwrap_err();
    assert_eq!(trouble, Trouble::BadRecord);
    let (_, mut records) = bulk(Speaks::Tls13);
    assert_eq!(
        opened(&mut records, &[23, 3, 3, 0xff, 0xff], 5, 9).unwrap_err().0,
        Trouble::Misbehaved
    );
}
