//! tls::records_tests – records of a data connection against rustls' own client.

use proptest::prelude::*;

use super::session::RECORD_BYTES;
use super::testing::{BOTH, Client, Person, Speaks, keeper};
use super::{Records, Session, Trouble, Use};

/// A connection whose server side has given its keys away.
fn connected(speaks: Speaks) -> (Client, Records) {
    let (keeper, trust) = keeper();
    connected_by(&Person::new(&trust, speaks), &keeper)
}

fn connected_by(person: &Person, keeper: &super::Keeper) -> (Client, Records) {
    let mut client = person.connect();
    let mut server = Session::new(&keeper.offer(Use::Ftp).unwrap().data()).unwrap();
    loop {
        let (mut sent, mut back) = (client.outgoing(), Vec::new());
        server.receive(&mut sent, &mut back, &mut |_| panic!("nothing is said yet")).unwrap();
        if sent.is_empty() && back.is_empty() {
            break;
        }
        client.incoming(&back).unwrap();
    }
    (client, server.into_records().unwrap())
}

/// What the server sends for `plain`, laid out as a file is.
fn sealed(records: &mut Records, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let count = plain.len().div_ceil(RECORD_BYTES);
    records.prepare(count, &mut out).unwrap();
    let mut room = vec![0xEE; count * records.stride()];
    assert!(records.capacity(room.len()) >= plain.len());
    records.lay_out(plain, &mut room);
    let sealed = records.seal(&mut room, plain.len()).unwrap();
    out.extend_from_slice(&room[..sealed]);
    out
}

/// What the server hears of all the client wants to send, in pieces; and what it answers.
fn heard(
    records: &mut Records,
    client: &mut Client,
    piece: usize,
) -> (Result<bool, Trouble>, Vec<u8>, Vec<u8>) {
    let (mut said, mut out, mut ended) = (Vec::new(), Vec::new(), Ok(false));
    for part in client.outgoing().chunks_mut(piece) {
        ended = records.receive(part, &mut out, &mut |plain| said.extend_from_slice(plain));
        if ended.is_err() {
            break;
        }
    }
    (ended, said, out)
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn what_is_sealed_in_place_is_what_the_client_reads() {
    for speaks in BOTH {
        let (mut client, mut records) = connected(speaks);
        for count in [0, 1, 16_383, 16_384, 16_385, 245_760, 100_000] {
            let plain = pattern(count);
            let octets = sealed(&mut records, &plain);
            assert_eq!(client.incoming(&octets).unwrap(), plain, "{speaks:?} {count}");
        }
        assert!(!client.saw_close());
        let mut out = Vec::new();
        records.close(&mut out);
        records.close(&mut out);
        client.incoming(&out).unwrap();
        assert!(client.saw_close());
        assert!(records.seal(&mut [0; 100], 1).is_err(), "after the end");
    }
}

#[test]
fn what_the_client_says_is_heard_at_every_split() {
    for speaks in BOTH {
        for piece in [1, 2, 5, 7, 1000, 16_406, 40_000, usize::MAX] {
            let (mut client, mut records) = connected(speaks);
            let plain = pattern(if piece < 10 { 20_000 } else { 50_000 });
            for part in plain.chunks(9000) {
                client.say(part);
            }
            client.say(b"the end");
            client.close();
            let (ended, said, out) = heard(&mut records, &mut client, piece);
            assert_eq!((ended, said.len()), (Ok(true), plain.len() + 7), "{speaks:?} {piece}");
            assert_eq!(said, [&plain[..], b"the end"].concat());
            assert!(out.is_empty());
        }
    }
}

#[test]
fn octets_behind_the_end_are_no_tls() {
    for speaks in BOTH {
        let (mut client, mut records) = connected(speaks);
        client.say(b"last");
        client.close();
        let mut octets = [client.outgoing(), b"NOOP\r\n".to_vec()].concat();
        let mut said: Vec<u8> = Vec::new();
        let ended = records.receive(&mut octets, &mut Vec::new(), &mut |it| said.extend(it));
        assert_eq!((ended, records.behind()), (Ok(true), 6));
        assert_eq!(said, b"last");
    }
}

#[test]
fn keys_are_changed_when_the_client_asks() {
    let (mut client, mut records) = connected(Speaks::Tls13);
    for round in 0..3 {
        client.refresh_keys();
        client.say(b"with new keys");
        let (ended, said, out) = heard(&mut records, &mut client, 3);
        assert_eq!((ended, &said[..]), (Ok(false), &b"with new keys"[..]), "{round}");
        // rustls asks for ours too: the answer goes out under the old ones.
        assert!(!out.is_empty());
        client.incoming(&out).unwrap();
        let octets = sealed(&mut records, b"and here");
        assert_eq!(client.incoming(&octets).unwrap(), b"and here");
    }
}

#[test]
fn keys_are_changed_before_they_grow_weak() {
    let (mut client, mut records) = connected(Speaks::Tls13);
    let plain = pattern(3 * RECORD_BYTES);
    for round in 0..4 {
        records.tire(4);
        let octets = sealed(&mut records, &plain);
        assert!(octets.len() > plain.len() + 3 * 22, "{round}: a change of keys goes before");
        assert_eq!(client.incoming(&octets).unwrap(), plain);
    }
    // TLS 1.2 has no others: the connection ends, and says so.
    let (mut client, mut records) = connected(Speaks::Tls12);
    records.tire(4);
    assert_eq!(records.prepare(3, &mut Vec::new()), Err(Trouble::Internal));
    let mut out = Vec::new();
    records.close(&mut out);
    client.incoming(&out).unwrap();
    assert!(client.saw_close());
    records.tire(0);
    let mut room = vec![0; records.stride()];
    assert_eq!(records.seal(&mut room, 1), Err(Trouble::Internal), "never beyond the last number");
}

#[test]
fn bad_records_end_it_with_the_right_alert() {
    for speaks in BOTH {
        let (mut client, mut records) = connected(speaks);
        client.say(b"octets");
        let mut octets = client.outgoing();
        *octets.last_mut().unwrap() ^= 1;
        let mut out = Vec::new();
        let heard = records.receive(&mut octets, &mut out, &mut |_| panic!("not authentic"));
        assert_eq!(heard, Err(Trouble::BadRecord));
        let alert = client.incoming(&out).unwrap_err();
        assert_eq!(alert.to_string(), "received fatal alert: BadRecordMac", "{speaks:?}");
        let again = records.receive(&mut [0; 9], &mut out, &mut |_| ());
        assert_eq!(again, Err(Trouble::BadRecord), "it stays");
    }
    for (octets, alert) in [
        (&[23, 3, 3, 0xFF, 0xFF][..], "RecordOverflow"),
        (&[20, 3, 3, 0, 1, 1][..], "UnexpectedMessage"),
        (&[20, 3, 3, 0, 32][..], "UnexpectedMessage"),
        (&[22, 3, 3, 0, 32][..], "UnexpectedMessage"),
        (&[0; 5][..], "UnexpectedMessage"),
        (b"GET / HTTP/1.1\r\n", "RecordOverflow"),
    ] {
        let (mut client, mut records) = connected(Speaks::Tls13);
        let mut octets = octets.to_vec();
        if octets.len() == 5 && octets[4] == 32 {
            octets.extend_from_slice(&[0; 32]);
        }
        let mut out = Vec::new();
        let heard = records.receive(&mut octets, &mut out, &mut |_| panic!("not authentic"));
        assert!(heard.is_err());
        let told = client.incoming(&out).unwrap_err().to_string();
        assert_eq!(told, format!("received fatal alert: {alert}"), "{octets:?}");
    }
}

#[test]
fn empty_records_without_end_end_it() {
    let (mut client, mut records) = connected(Speaks::Tls13);
    for _ in 0..100 {
        client.refresh_keys();
    }
    let (ended, ..) = heard(&mut records, &mut client, usize::MAX);
    assert_eq!(ended, Err(Trouble::Misbehaved));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is said in whatever portions arrives, both ways.
    #[test]
    fn octets_arrive(
        parts in prop::collection::vec(0_usize..40_000, 1..6), piece in 1_usize..50_000, modern: bool,
    ) {
        let speaks = if modern { Speaks::Tls13 } else { Speaks::Tls12 };
        let (mut client, mut records) = connected(speaks);
        for count in parts {
            let plain = pattern(count);
            let octets = sealed(&mut records, &plain);
            let mut read = Vec::new();
            for part in octets.chunks(piece) {
                read.extend(client.incoming(part).unwrap());
            }
            prop_assert_eq!(&read, &plain);
            client.say(&plain);
            let (ended, said, _) = heard(&mut records, &mut client, piece);
            prop_assert_eq!(ended, Ok(false));
            prop_assert_eq!(&said, &plain);
        }
    }

    /// Octets from nobody open nothing, change nothing, and do not panic.
    #[test]
    fn arbitrary_octets_say_nothing(octets in prop::collection::vec(any::<u8>(), 0..200), modern: bool) {
        let (_, mut records) = connected(if modern { Speaks::Tls13 } else { Speaks::Tls12 });
        let mut octets = octets;
        let heard = records.receive(&mut octets, &mut Vec::new(), &mut |_| panic!("not authentic"));
        prop_assert!(heard != Ok(true));
    }
}
