//! Mail under TLS over real sockets: STARTTLS, implicit TLS, submission, AUTH, and who spoils them.
//!
//! Each test has a server of its own on free ports with the certificate that it made itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "tests"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{
    Client, PASSWORD, Server, Setup, USER, connect_from, eventually, finish, patient, program,
};
use nix::sys::signal::Signal;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session, State};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

fn setup() -> Setup {
    Setup::new()
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("listen_tls = [\"127.0.0.1:0\"]")
        .smtp("listen_submission = [\"127.0.0.1:0\"]")
        .smtp("domains = [\"example.org\"]")
        .smtp("spool_segment_bytes = 4194304")
        .smtp("spool_reserve_bytes = 0")
        .smtp("max_login_failures = 3")
        .smtp("route = [{ recipient = \"*@elsewhere.example\", to = \"discard\" }]")
        .user()
}

// ---------------------------------------------------------------- a client

/// Takes any certificate: what is looked at here comes after.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tls(stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("edge.example.org").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// A dialogue in TLS.
struct Talk(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Talk {
    /// The next reply, all its lines.
    fn reply(&mut self) -> (u16, String) {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            assert!(line.ends_with("\r\n"), "the end instead of a reply: {text}{line}");
            text.push_str(&line);
            if line.as_bytes()[3] == b' ' {
                return (line[..3].parse().unwrap(), text);
            }
        }
    }

    fn send(&mut self, octets: &[u8]) {
        let stream = self.0.get_mut();
        stream.write_all(octets).unwrap();
        stream.flush().unwrap();
    }

    #[track_caller]
    fn expect(&mut self, line: &str, code: u16) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        let (found, text) = self.reply();
        assert_eq!(found, code, "{line} gave {text}");
        text
    }

    /// EHLO; what is offered.
    fn hello(&mut self) -> String {
        self.expect("EHLO client.example.net", 250)
    }

    #[track_caller]
    fn plain(&mut self, name: &str, password: &str, code: u16) -> String {
        let response = STANDARD.encode(format!("\0{name}\0{password}"));
        self.expect(&format!("AUTH PLAIN {response}"), code)
    }

    /// One message; it must be taken.
    fn submit(&mut self, from: &str, to: &str, text: &str) {
        self.expect(&format!("MAIL FROM:<{from}>"), 250);
        self.expect(&format!("RCPT TO:<{to}>"), 250);
        self.expect("DATA", 354);
        self.send(text.as_bytes());
        self.expect(".", 250);
    }
}

/// TLS from the first octet.
fn implicit(address: SocketAddr) -> Talk {
    let mut talk = Talk(BufReader::new(tls(patient(TcpStream::connect(address).unwrap()))));
    assert_eq!(talk.reply().0, 220);
    talk
}

/// STARTTLS.
fn explicit(stream: TcpStream) -> Talk {
    let mut stream = patient(stream);
    let mut clear = BufReader::new(stream.try_clone().unwrap());
    let mut expect = |wanted: &str| {
        let mut line = String::new();
        clear.read_line(&mut line).unwrap();
        assert!(line.starts_with(wanted), "{line:?}");
    };
    expect("220 ");
    stream.write_all(b"STARTTLS\r\n").unwrap();
    expect("220 2.0.0 ");
    Talk(BufReader::new(tls(stream)))
}

fn submission(server: &Server) -> Talk {
    let mut talk = explicit(TcpStream::connect(server.listener("submission")).unwrap());
    talk.hello();
    talk
}

/// The only message of a mailbox, once it is there.
fn message(server: &Server) -> String {
    let folder = server.data().join("mail").join(USER).join("new");
    eventually("the message", || {
        let mut entries = fs::read_dir(&folder).ok()?;
        fs::read_to_string(entries.next()?.ok()?.path()).ok().filter(|text| !text.is_empty())
    })
}

// ---------------------------------------------------------------- what is right

#[test]
fn a_user_submits_mail_under_tls() {
    let server = setup().start();
    let mut talk = explicit(TcpStream::connect(server.listener("submission")).unwrap());
    talk.expect("MAIL FROM:<me@example.org>", 530);
    let offered = talk.hello();
    assert!(offered.contains("AUTH PLAIN LOGIN\r\n"), "{offered}");
    assert!(!offered.contains("STARTTLS"), "{offered}");
    talk.expect("MAIL FROM:<me@example.org>", 530);
    talk.plain(USER, PASSWORD, 235);
    talk.plain(USER, PASSWORD, 503);
    // Under addresses of the user, and anywhere a route leads.
    talk.expect("MAIL FROM:<somebody@example.org>", 553);
    talk.expect(&format!("MAIL FROM:<{USER}+tag@example.org>"), 250);
    talk.expect("RCPT TO:<anybody@nowhere.example>", 550);
    talk.expect("RCPT TO:<anybody@elsewhere.example>", 250);
    talk.expect("RSET", 250);
    talk.submit(
        &format!("{USER}@example.org"),
        &format!("{USER}@example.org"),
        "Subject: submitted\r\n\r\nDate: no header\r\n",
    );
    talk.expect("QUIT", 221);
    let text = message(&server);
    let head = &text[..text.find("\r\n\r\n").unwrap()];
    let unfolded = head.replace("\r\n\t", " ");
    assert!(unfolded.contains(" with ESMTPSA id "), "{text}");
    assert!(unfolded.contains(" tls TLS_AES_128_GCM_SHA256;"), "{text}");
    assert!(head.contains("\r\nDate: ") && head.contains("\r\nMessage-ID: <"), "{text}");
    assert!(text.ends_with("Subject: submitted\r\n\r\nDate: no header\r\n"), "{text}");
    let accepted = format!("user={USER}");
    eventually("the line about the message", || server.log().contains(&accepted).then_some(()));
    server.counts("sluicegate_smtp_logins_total{result=\"ok\"}", 1.0);
    server.stop();
}

#[test]
fn mail_from_anywhere_under_tls_and_in_clear() {
    let server = setup().start();
    let offered = Client::connect(server.smtp()).expect("EHLO client.example.net", 250).text;
    assert!(offered.contains("250-STARTTLS\r\n") && !offered.contains("AUTH"), "{offered}");
    let mut client = Client::connect(server.smtp());
    client.expect("EHLO client.example.net", 250);
    client.expect("AUTH PLAIN AHgAeQ==", 538);
    let mut talk = implicit(server.listener("smtps"));
    let offered = talk.hello();
    assert!(!offered.contains("STARTTLS") && offered.contains("AUTH PLAIN LOGIN"), "{offered}");
    talk.expect("STARTTLS", 503);
    // Nobody relays who did not say who he is.
    talk.expect("MAIL FROM:<me@example.net>", 250);
    talk.expect("RCPT TO:<anybody@nowhere.example>", 550);
    talk.expect("RSET", 250);
    talk.submit("me@example.net", &format!("{USER}@example.org"), "Subject: x\r\n");
    let text = message(&server);
    assert!(text.replace("\r\n\t", " ").contains(" with ESMTPS id "), "{text}");
    assert!(!text.contains("Message-ID"), "what others send is left as it is: {text}");
    server.stop();
}

#[test]
fn where_tls_is_required_nothing_goes_before_it() {
    let server = setup().smtp("tls = \"required\"").start();
    let mut client = Client::connect(server.smtp());
    client.expect("EHLO client.example.net", 250);
    client.expect("MAIL FROM:<me@example.net>", 530);
    client.expect("NOOP", 250);
    let mut talk = explicit(TcpStream::connect(server.smtp()).unwrap());
    talk.hello();
    talk.submit("me@example.net", &format!("{USER}@example.org"), "Subject: x\r\n");
    server.stop();
}

/// A client written by others: `rsasl`.
fn scram(talk: &mut Talk, name: &str, password: &str) -> u16 {
    let config = SASLConfig::with_credentials(None, name.into(), password.into()).unwrap();
    let mechanism = Mechname::parse(b"SCRAM-SHA-256").unwrap();
    let mut client: Session = SASLClient::new(config).start_suggested([&mechanism]).unwrap();
    let mut message = Vec::new();
    client.step(None, &mut message).unwrap();
    talk.send(format!("AUTH SCRAM-SHA-256 {}\r\n", STANDARD.encode(&message)).as_bytes());
    loop {
        let (code, text) = talk.reply();
        if code != 334 {
            return code;
        }
        let challenge = STANDARD.decode(text.trim_end().strip_prefix("334 ").unwrap()).unwrap();
        let mut message = Vec::new();
        match client.step(Some(&challenge), &mut message).unwrap() {
            State::Running | State::Finished(_) => {}
        }
        talk.send(format!("{}\r\n", STANDARD.encode(&message)).as_bytes());
    }
}

#[test]
fn scram_is_for_those_who_asked_for_it() {
    let server = setup().start();
    let offered = implicit(server.listener("smtps")).hello();
    assert!(!offered.contains("SCRAM"), "nobody has a verifier: {offered}");
    let mut command = std::process::Command::new(program());
    command.args(["user", "add", "scrambled", "--password-stdin", "--scram", "--data"]);
    command.arg(server.data()).stdin(fs::File::open(password_file(&server)).unwrap());
    assert!(finish(command).status.success());
    // Read within two seconds.
    let mut talk = eventually("SCRAM", || {
        let mut talk = implicit(server.listener("smtps"));
        talk.hello().contains("AUTH SCRAM-SHA-256 PLAIN LOGIN").then_some(talk)
    });
    assert_eq!(scram(&mut talk, "scrambled", "wrong"), 535);
    assert_eq!(scram(&mut talk, "scrambled", PASSWORD), 235);
    talk.expect("MAIL FROM:<scrambled@example.org>", 250);
    // Who has none is asked for a proof all the same, and nobody's salt changes.
    let salt = |name: &str| {
        let mut talk = implicit(server.listener("smtps"));
        talk.hello();
        let first = STANDARD.encode(format!("n,,n={name},r=nonce"));
        let text = talk.expect(&format!("AUTH SCRAM-SHA-256 {first}"), 334);
        let challenge = STANDARD.decode(text[4..].trim_end()).unwrap();
        let challenge = String::from_utf8(challenge).unwrap();
        challenge.split_once(",s=").unwrap().1.to_owned()
    };
    for name in ["scrambled", USER, "nobody"] {
        assert_eq!(salt(name), salt(name), "{name}");
        assert!(salt(name).ends_with(",i=100000") && salt(name).len() == salt("scrambled").len());
    }
    assert_eq!(scram(&mut implicit_hello(&server), USER, PASSWORD), 535);
    server.stop();
}

fn implicit_hello(server: &Server) -> Talk {
    let mut talk = implicit(server.listener("smtps"));
    talk.hello();
    talk
}

fn password_file(server: &Server) -> std::path::PathBuf {
    let path = server.outside().join("password");
    fs::write(&path, PASSWORD).unwrap();
    path
}

// ---------------------------------------------------------------- what is wrong

#[test]
fn failed_logins_are_limited_told_and_not_forgotten() {
    let server = setup().start();
    // One too many in one session.
    let mut talk = submission(&server);
    talk.plain(USER, "wr0ng-secret", 535);
    let unknown = talk.plain("nobody", "wr0ng-secret", 535);
    assert!(unknown.contains("5.7.8"), "{unknown}");
    talk.plain(USER, "wr0ng-secret", 421);
    assert_eq!(talk.0.read_to_end(&mut Vec::new()).unwrap(), 0);
    // Too many from one address; each in a session of its own, so that none waits long.
    #[allow(clippy::needless_collect, reason = "all begin before one is waited for")]
    let sessions: Vec<_> = (0..17)
        .map(|_| {
            let mut talk = submission(&server);
            std::thread::spawn(move || {
                talk.expect("AUTH LOGIN", 334);
                talk.expect(&STANDARD.encode(USER), 334);
                talk.expect(&STANDARD.encode("wr0ng-secret"), 535);
            })
        })
        .collect();
    sessions.into_iter().for_each(|session| session.join().unwrap());
    submission(&server).plain(USER, PASSWORD, 535);
    server.signal(Signal::SIGHUP);
    eventually("the reload", || server.log().contains("reloaded").then_some(()));
    submission(&server).plain(USER, PASSWORD, 535);
    // The user is not locked out elsewhere.
    let elsewhere = connect_from(Ipv4Addr::new(127, 0, 0, 2), server.listener("submission"));
    let mut talk = explicit(elsewhere.unwrap());
    talk.hello();
    talk.plain(USER, PASSWORD, 235);
    server.counts("sluicegate_smtp_logins_total{result=\"failed\"}", 22.0);
    let log = server.last_words();
    let lines =
        log.lines().filter(|line| line.contains("login failed") && line.contains("peer=127.0.0.1"));
    assert_eq!(lines.count(), 20, "{log}");
    assert!(log.contains("login refused unheard"), "{log}");
    assert!(!log.contains("wr0ng-secret") && !log.contains(PASSWORD), "{log}");
}

/// What a client gets to hear that sends these, with a pause in between so that they are two segments.
fn heard(server: &Server, first: &[u8], second: &[u8]) -> String {
    let mut stream = patient(TcpStream::connect(server.smtp()).unwrap());
    stream.set_nodelay(true).unwrap();
    let mut greeting = BufReader::new(stream.try_clone().unwrap());
    greeting.read_line(&mut String::new()).unwrap();
    // The server may have closed meanwhile.
    drop(stream.write_all(first));
    std::thread::yield_now();
    drop(stream.write_all(second));
    let mut all = greeting.buffer().to_vec();
    drop(stream.read_to_end(&mut all));
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn what_is_injected_behind_starttls_is_never_obeyed() {
    const COMMAND: &[u8] = b"STARTTLS\r\n";
    const INJECTED: &[u8] = b"NOOP\r\nVRFY x\r\n";
    let server = setup().start();
    let all = [COMMAND, INJECTED].concat();
    for split in 0..=all.len() {
        let (first, second) = all.split_at(split);
        let heard = heard(&server, first, second);
        assert!(!heard.contains("250 ") && !heard.contains("252 "), "split at {split}: {heard:?}");
        // Whoever sent both at once was not even granted it.
        if split < COMMAND.len() || split == all.len() {
            assert_eq!(heard, "", "split at {split}");
        }
    }
    // One octet is enough, be it half a command.
    for injected in [&b"N"[..], b"\n", b"\x16\x03"] {
        assert_eq!(heard(&server, &[COMMAND, injected].concat(), b""), "", "{injected:?}");
    }
    // And who keeps to the rule gets TLS.
    explicit(TcpStream::connect(server.smtp()).unwrap()).hello();
    assert!(server.last_words().lines().all(|line| !line.contains("panicked")));
}

#[test]
fn a_handshake_that_fails_ends_the_connection() {
    let server = setup().start();
    let mut client = Client::connect(server.smtp());
    client.expect("STARTTLS", 220);
    client.send("EHLO in clear\r\n");
    let heard = client.drain();
    assert!(!heard.windows(4).any(|four| four == b"250-"), "{heard:?}");
    // A message that is cut off inside TLS is no message.
    let mut talk = submission(&server);
    talk.plain(USER, PASSWORD, 235);
    talk.expect(&format!("MAIL FROM:<{USER}@example.org>"), 250);
    talk.expect(&format!("RCPT TO:<{USER}@example.org>"), 250);
    talk.expect("DATA", 354);
    talk.send(b"Subject: cut\r\n\r\nhalf");
    drop(talk);
    eventually("the message to be given up", || {
        (server.metric("sluicegate_smtp_messages_total{result=\"aborted\"}") >= 1.0).then_some(())
    });
    assert!(server.metric("sluicegate_smtp_messages_total{result=\"accepted\"}") < 1.0);
    server.stop();
}
