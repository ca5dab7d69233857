//! The `lettre` crate as a client: the messages it builds are in the mailbox as it wrote them.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod common;

use std::fs;

use common::{PATIENCE, Server, Setup, USER, eventually, pattern};
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, MultiPart, SinglePart};
use lettre::transport::smtp::client::SmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport};

fn server() -> Server {
    Setup::new()
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("domains = [\"example.org\"]")
        .smtp("spool_segment_bytes = 4194304")
        .smtp("spool_reserve_bytes = 0")
        .mail("unknown_local_part = \"accept\"")
        .user()
        .start()
}

fn transport(server: &Server) -> SmtpTransport {
    SmtpTransport::builder_dangerous("127.0.0.1")
        .port(server.smtp().port())
        .hello_name(ClientId::Domain("client.example.net".to_owned()))
        .timeout(Some(PATIENCE))
        .build()
}

fn message(to: &str) -> lettre::message::MessageBuilder {
    Message::builder()
        .from("Someone <someone@example.net>".parse().unwrap())
        .to(format!("<{to}>").parse().unwrap())
        .subject("Grüße")
        .message_id(Some("<1@client.example.net>".to_owned()))
}

/// The messages in a mailbox, once there are so many, without the two lines that delivery adds.
fn delivered(server: &Server, user: &str, count: usize) -> Vec<Vec<u8>> {
    let folder = server.data().join("mail").join(user).join("new");
    let files = eventually(&format!("{count} messages for {user}"), || {
        let found: Vec<_> = fs::read_dir(&folder).ok()?.flatten().map(|file| file.path()).collect();
        (found.len() >= count).then_some(found)
    });
    assert_eq!(files.len(), count);
    files.iter().map(|file| original(&fs::read(file).unwrap())).collect()
}

/// What lettre makes of a message on the wire: it ends every one with a line end of its own.
fn sent(letter: &[u8]) -> Vec<u8> {
    [letter, b"\r\n"].concat()
}

fn original(stored: &[u8]) -> Vec<u8> {
    assert!(
        stored.starts_with(
            b"Return-Path: <someone@example.net>\r\nReceived: from client.example.net"
        )
    );
    let mut lines = stored.split_inclusive(|octet| *octet == b'\n').skip(2).peekable();
    while lines.next_if(|line| line.starts_with(b" ") || line.starts_with(b"\t")).is_some() {}
    lines.flatten().copied().collect()
}

#[test]
fn messages_arrive_as_they_were_built() {
    let server = server();
    let transport = transport(&server);
    assert!(transport.test_connection().unwrap());
    let plain = message("plain@example.org").body(".\n..\nGrüße\n.".to_owned()).unwrap();
    let attachment = Attachment::new("blob".to_owned())
        .body(pattern(700_001), ContentType::parse("application/octet-stream").unwrap());
    let parts = message("parts@example.org")
        .multipart(
            MultiPart::mixed()
                .singlepart(SinglePart::plain("See there.".to_owned()))
                .singlepart(attachment),
        )
        .unwrap();
    for (user, letter) in [("plain", &plain), ("parts", &parts)] {
        assert!(transport.send(letter).unwrap().is_positive());
        assert!(delivered(&server, user, 1)[0] == sent(&letter.formatted()), "{user}");
    }
    server.stop();
}

#[test]
fn one_connection_carries_many_messages() {
    let server = server();
    let name = ClientId::Domain("client.example.net".to_owned());
    let mut connection = SmtpConnection::connect(
        ("127.0.0.1", server.smtp().port()),
        Some(PATIENCE),
        &name,
        None,
        None,
    )
    .unwrap();
    let to = format!("{USER}@example.org");
    let envelope = Envelope::new(
        Some("someone@example.net".parse().unwrap()),
        vec![to.parse().unwrap(), "second@example.org".parse().unwrap()],
    )
    .unwrap();
    let letters: Vec<_> = (0..20)
        .map(|number| {
            message(&to).body(format!("{number}\n").repeat(number * 300 + 1)).unwrap().formatted()
        })
        .collect();
    for letter in &letters {
        assert!(connection.send(&envelope, letter).unwrap().is_positive());
    }
    connection.quit().unwrap();
    for user in [USER, "second"] {
        let mut found = delivered(&server, user, letters.len());
        found.sort_by_key(Vec::len);
        assert!(found.into_iter().eq(letters.iter().map(Vec::as_slice).map(sent)), "{user}");
    }
    server.stop();
}

#[test]
fn a_refused_recipient_is_an_error() {
    let server = server();
    let letter = message("someone@elsewhere.example").body("no".to_owned()).unwrap();
    let error = transport(&server).send(&letter).unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert_eq!(error.status().map(u16::from), Some(550));
    server.stop();
}
