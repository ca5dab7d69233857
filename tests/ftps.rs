//! FTP in TLS over real sockets: who may have a data connection, what an end is, and what strangers get.
//!
//! The client is rustls', with a memory for sessions of its own for each control connection, as FTP
//! clients have it.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    Client, PASSWORD, Reply, Server, Setup, USER, connect_from, only_left, patient, pattern,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion, version,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];
const POLICIES: [&str; 4] = ["require", "resume-or-same-ip", "same-ip", "off"];
/// A record of TLS 1.3 with an alert: header, level, description, type, tag.
const CLOSE_NOTIFY_BYTES: usize = 5 + 2 + 1 + 16;
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Who the server is, is shown elsewhere (`tests/clients`).
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

/// A client with its own memory for sessions.
fn memory(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(64);
    Arc::new(config)
}

fn begin(memory: &Arc<ClientConfig>, stream: TcpStream) -> Tls {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(memory), name).unwrap(), stream)
}

/// All of it, up to the end of TLS.
fn everything(tls: &mut Tls) -> Vec<u8> {
    let mut octets = Vec::new();
    tls.read_to_end(&mut octets).unwrap();
    octets
}

/// Says the end of TLS and of TCP, and waits for the server's.
fn end(mut tls: Tls) {
    // For an empty file nothing has begun it yet.
    tls.flush().unwrap();
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    // A server that has said everything may be gone already.
    drop(tls.sock.shutdown(Shutdown::Write));
    drop(tls.read_to_end(&mut Vec::new()));
}

/// A control connection in TLS.
struct Secure {
    memory: Arc<ClientConfig>,
    tls: Tls,
    unread: Vec<u8>,
}

impl Secure {
    /// AUTH TLS, PBSZ, PROT P, and logged in.
    fn explicit(server: &Server, version: &'static SupportedProtocolVersion) -> Self {
        let mut secure = Self::upgrade(server.connect(), version);
        secure.expect("PBSZ 0", 200);
        secure.expect("PROT P", 200);
        secure.login();
        secure
    }

    fn upgrade(mut client: Client, version: &'static SupportedProtocolVersion) -> Self {
        client.expect("AUTH TLS", 234);
        let memory = memory(version);
        let tls = begin(&memory, client.stream);
        Self { memory, tls, unread: Vec::new() }
    }

    fn implicit(server: &Server, version: &'static SupportedProtocolVersion) -> Self {
        let memory = memory(version);
        let tls = begin(&memory, connect_from(HERE, server.listener("ftps")).unwrap());
        let mut secure = Self { memory, tls, unread: Vec::new() };
        assert_eq!(secure.reply().code, 220);
        secure.login();
        secure
    }

    fn login(&mut self) {
        self.expect(&format!("USER {USER}"), 331);
        self.expect(&format!("PASS {PASSWORD}"), 230);
        self.expect("TYPE I", 200);
    }

    fn send(&mut self, octets: &[u8]) {
        self.tls.write_all(octets).unwrap();
        self.tls.flush().unwrap();
    }

    fn reply(&mut self) -> Reply {
        let mut text = String::new();
        loop {
            let line = self.line();
            text.push_str(&line);
            let code = line.get(..3).and_then(|digits| digits.parse().ok());
            if let Some(code) = code
                && line.as_bytes().get(3) == Some(&b' ')
            {
                return Reply { code, text };
            }
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return String::from_utf8(line).unwrap();
            }
            let mut part = [0; 4096];
            let count = self.tls.read(&mut part).unwrap();
            assert!(count > 0, "the connection ended inside a reply");
            self.unread.extend_from_slice(&part[..count]);
        }
    }

    #[track_caller]
    fn expect(&mut self, line: &str, code: u16) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect_reply(code)
    }

    #[track_caller]
    fn expect_reply(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{reply:?}");
        reply
    }

    fn passive(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        let port = reply.text.split('|').nth(3).unwrap().parse().unwrap();
        SocketAddr::new(self.tls.sock.peer_addr().unwrap().ip(), port)
    }

    /// A data connection of this session, over which TLS may begin after 150.
    fn data(&mut self, command: &str) -> Tls {
        self.data_from(HERE, command)
    }

    fn data_from(&mut self, source: Ipv4Addr, command: &str) -> Tls {
        let address = self.passive();
        let stream = connect_from(source, address).unwrap();
        self.expect(command, 150);
        begin(&self.memory, stream)
    }

    fn fetch(&mut self, command: &str) -> Vec<u8> {
        let mut data = self.data(command);
        let octets = everything(&mut data);
        end(data);
        self.expect_reply(226);
        octets
    }

    fn store(&mut self, path: &str, octets: &[u8]) {
        let mut data = self.data(&format!("STOR {path}"));
        data.write_all(octets).unwrap();
        end(data);
        self.expect_reply(226);
    }
}

fn setup() -> Setup {
    Setup::new().ftp("listen_tls = [\"127.0.0.1:0\"]").user().file("pub/small", b"contents")
}

fn resumed(tls: &Tls) -> bool {
    tls.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn files_and_listings_pass_both_ways() {
    let large = pattern(3_000_000);
    let server = setup().file("pub/large", &large).start();
    for version in VERSIONS {
        for implicit in [false, true] {
            let mut client = if implicit {
                Secure::implicit(&server, version)
            } else {
                Secure::explicit(&server, version)
            };
            assert!(client.expect("FEAT", 211).text.contains("\r\n AUTH TLS\r\n"));
            assert_eq!(client.fetch("RETR /pub/large"), large);
            assert_eq!(client.fetch("RETR /pub/small"), b"contents");
            client.expect("REST 2999000", 350);
            assert_eq!(client.fetch("RETR /pub/large"), large[2_999_000..]);
            assert!(client.fetch("NLST /pub").starts_with(b"/pub/large\r\n/pub/small\r\n"));
            assert!(client.fetch("MLSD /pub").windows(9).any(|part| part == b"size=8;mo"));
            client.store("/pub/new", &large);
            assert_eq!(fs::read(server.root().join("pub/new")).unwrap(), large);
            client.store("/pub/new", b"");
            assert_eq!(fs::read(server.root().join("pub/new")).unwrap(), b"");
            client.expect("TYPE A", 200);
            client.store("/pub/new", b"one\r\ntwo\r\n");
            assert_eq!(fs::read(server.root().join("pub/new")).unwrap(), b"one\ntwo\n");
            assert_eq!(client.fetch("RETR /pub/new"), b"one\r\ntwo\r\n");
            client.expect("DELE /pub/new", 250);
            client.expect("QUIT", 221);
            assert_eq!(client.tls.read(&mut [0; 9]).unwrap(), 0, "TLS ends before TCP does");
        }
    }
    server.stop();
}

#[test]
fn the_server_is_the_tls_server_in_active_mode_too() {
    let server = setup().start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        let listener = std::net::TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        client.expect(&format!("EPRT |1|{HERE}|{port}|"), 200);
        client.send(b"RETR /pub/small\r\n");
        let (stream, _) = listener.accept().unwrap();
        client.expect_reply(150);
        let mut data = begin(&client.memory, patient(stream));
        assert_eq!(everything(&mut data), b"contents");
        assert!(resumed(&data));
        client.expect_reply(226);
    }
    server.stop();
}

#[test]
fn a_hundred_data_connections_resume_under_every_policy() {
    for policy in POLICIES {
        let server = setup().ftp(&format!("data_tls = \"{policy}\"")).start();
        for version in VERSIONS {
            let mut client = Secure::explicit(&server, version);
            for number in 0..100 {
                if number % 4 == 3 {
                    client.store("/incoming/up", b"some octets");
                    continue;
                }
                let mut data = client.data("RETR /pub/small");
                assert_eq!(everything(&mut data), b"contents");
                assert!(resumed(&data), "{policy} {version:?} {number}");
                end(data);
                client.expect_reply(226);
            }
        }
        server.stop();
    }
}

#[test]
fn sessions_beside_each_other_resume_their_own_under_every_policy() {
    for policy in POLICIES {
        let server = setup().ftp(&format!("data_tls = \"{policy}\"")).start();
        for version in VERSIONS {
            let mut clients: Vec<Secure> =
                (0..12).map(|_| Secure::explicit(&server, version)).collect();
            for _ in 0..3 {
                // All data connections are open at once, on both shards.
                let mut data: Vec<Tls> =
                    clients.iter_mut().map(|client| client.data("RETR /pub/small")).collect();
                for tls in &mut data {
                    assert_eq!(everything(tls), b"contents");
                    assert!(resumed(tls), "{policy} {version:?}");
                }
                data.into_iter().for_each(end);
                for client in &mut clients {
                    client.expect_reply(226);
                }
            }
        }
        server.stop();
    }
}

/// What becomes of a data connection: the reply after 150.
fn tried(client: &mut Secure, memory: &Arc<ClientConfig>, source: Ipv4Addr) -> u16 {
    let address = client.passive();
    let stream = connect_from(source, address).unwrap();
    client.send(b"RETR /pub/small\r\n");
    let first = client.reply().code;
    if first != 150 {
        return first;
    }
    let mut data = begin(memory, stream);
    let mut octets = Vec::new();
    let read = data.read_to_end(&mut octets);
    let last = client.reply().code;
    assert_eq!(last == 226, read.is_ok() && octets == b"contents", "{last} {read:?}");
    assert!(last == 226 || octets.is_empty(), "octets for somebody who was refused");
    drop(data);
    last
}

#[test]
fn each_policy_takes_whom_it_names() {
    // Own ticket from here, no ticket from here, another's ticket from here; then from elsewhere.
    let expected = [
        ("require", [226, 522, 522], [425, 425, 425]),
        ("resume-or-same-ip", [226, 226, 226], [226, 522, 522]),
        ("same-ip", [226, 226, 226], [425, 425, 425]),
        ("off", [226, 226, 226], [226, 226, 226]),
    ];
    for (policy, here, elsewhere) in expected {
        for (source, expected) in [(HERE, here), (ELSEWHERE, elsewhere)] {
            let mut codes = expected.to_vec();
            codes.dedup();
            for code in codes {
                takes(policy, source, expected, code);
            }
        }
    }
}

/// Those of [`each_policy_takes_whom_it_names`] that get this code.
fn takes(policy: &str, source: Ipv4Addr, expected: [u16; 3], code: u16) {
    // Who is refused stands in front of nobody: that need not be waited for long, where TLS was begun at all longer.
    let patience = match code {
        226 => 60,
        522 => 2,
        _ => 1,
    };
    let setup = setup().ftp(&format!("accept_seconds = {patience}"));
    let server = setup.ftp(&format!("data_tls = \"{policy}\"")).start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        // TLS 1.3 tickets come with the first replies.
        let mut another = Secure::explicit(&server, version);
        another.expect("NOOP", 200);
        let memories = [Arc::clone(&client.memory), memory(version), another.memory];
        for (memory, _) in memories.iter().zip(expected).filter(|(_, one)| *one == code) {
            let got = tried(&mut client, memory, source);
            assert_eq!(got, code, "{policy} {version:?} from {source}");
        }
        client.expect("NOOP", 200);
    }
    server.stop();
}

#[test]
fn a_stranger_in_front_delays_the_client_and_gets_nothing() {
    let server = setup().ftp("accept_seconds = 15").start();
    let mut client = Secure::explicit(&server, &version::TLS13);
    let address = client.passive();
    // One says garbage, one knows TLS but not the session; both are there before the client is.
    let mut garbage = connect_from(ELSEWHERE, address).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let stranger = connect_from(ELSEWHERE, address).unwrap();
    let own = connect_from(HERE, address).unwrap();
    client.expect("RETR /pub/small", 150);
    let mut stranger = begin(&memory(&version::TLS13), stranger);
    let mut octets = Vec::new();
    drop(stranger.read_to_end(&mut octets));
    assert!(octets.is_empty());
    let mut own = begin(&client.memory, own);
    assert_eq!(everything(&mut own), b"contents");
    client.expect_reply(226);
    server.stop();
}

#[test]
fn an_upload_without_the_end_of_tls_leaves_the_old_file() {
    let server = setup().file("pub/old", b"old").start();
    for version in VERSIONS {
        for size in [0, 1000, 1_000_000] {
            let mut client = Secure::explicit(&server, version);
            let mut data = client.data("STOR /pub/old");
            data.write_all(&pattern(size)).unwrap();
            data.flush().unwrap();
            while data.conn.is_handshaking() {
                data.conn.complete_io(&mut data.sock).unwrap();
            }
            data.sock.shutdown(Shutdown::Write).unwrap();
            client.expect_reply(426);
            drop(data);
            // A reset is none either.
            let mut data = client.data("STOR /pub/old");
            data.write_all(&pattern(size)).unwrap();
            data.flush().unwrap();
            common::reset(data.sock);
            assert!([425, 426].contains(&client.reply().code));
            client.expect("NOOP", 200);
            assert_eq!(fs::read(server.root().join("pub/old")).unwrap(), b"old");
        }
    }
    only_left(&server, &["pub/old", "pub/small"]);
    server.stop();
}

#[test]
fn fin_is_an_end_where_the_configuration_says_so() {
    let server = setup().ftp("close_notify_required = false").start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        let mut data = client.data("STOR /pub/new");
        data.write_all(&pattern(100_000)).unwrap();
        data.flush().unwrap();
        data.sock.shutdown(Shutdown::Write).unwrap();
        client.expect_reply(226);
        assert!(fs::read(server.root().join("pub/new")).unwrap() == pattern(100_000));
    }
    server.stop();
}

/// The client's part of a handshake, up to what it would say last, with `contents` and the end of TLS behind it.
fn last_words(data: &mut Tls, contents: &[u8]) -> Vec<u8> {
    data.conn.write_tls(&mut data.sock).unwrap();
    while data.conn.is_handshaking() {
        assert!(data.conn.read_tls(&mut data.sock).unwrap() > 0);
        data.conn.process_new_packets().unwrap();
    }
    data.conn.writer().write_all(contents).unwrap();
    data.conn.send_close_notify();
    let mut words = Vec::new();
    while data.conn.wants_write() {
        data.conn.write_tls(&mut words).unwrap();
    }
    words
}

/// Clients that do not read tickets reset the connection when they close it.
#[test]
fn an_upload_that_came_whole_is_whole_though_its_client_is_gone() {
    let server = setup().start();
    for contents in [&b""[..], b"whole"] {
        let mut client = Secure::explicit(&server, &version::TLS13);
        let mut data = client.data("STOR /pub/new");
        let words = last_words(&mut data, contents);
        server.freeze();
        data.sock.write_all(&words).unwrap();
        common::reset(data.sock);
        server.thaw();
        client.expect_reply(226);
        assert_eq!(fs::read(server.root().join("pub/new")).unwrap(), contents);
    }
    server.stop();
}

#[test]
fn an_empty_file_is_fetched_though_its_client_does_not_wait_for_the_end() {
    let server = setup().file("pub/empty", b"").start();
    let mut client = Secure::explicit(&server, &version::TLS13);
    let mut data = client.data("RETR /pub/empty");
    let mut words = last_words(&mut data, b"");
    // Without the end.
    words.truncate(words.len() - CLOSE_NOTIFY_BYTES);
    server.freeze();
    data.sock.write_all(&words).unwrap();
    common::reset(data.sock);
    server.thaw();
    client.expect_reply(226);
    server.stop();
}

#[test]
fn abor_and_quit_end_transfers_in_tls() {
    let server = setup().file("pub/large", &pattern(20_000_000)).start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        let mut data = client.data("RETR /pub/large");
        data.read_exact(&mut [0; 1000]).unwrap();
        client.expect("ABOR", 426);
        client.expect_reply(226);
        let error = data.read_to_end(&mut Vec::new()).map(drop).map_err(|error| error.kind());
        assert!(
            matches!(error, Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)),
            "an end that nobody said is not the end of the file: {error:?}"
        );
        // While the handshake has not begun.
        let address = client.passive();
        let silent = connect_from(HERE, address).unwrap();
        client.expect("STOR /pub/new", 150);
        client.expect("ABOR", 426);
        client.expect_reply(226);
        drop(silent);
        // QUIT waits for the transfer.
        let mut data = client.data("RETR /pub/large");
        client.send(b"QUIT\r\n");
        assert_eq!(everything(&mut data), pattern(20_000_000));
        client.expect_reply(226);
        client.expect_reply(221);
    }
    only_left(&server, &["pub/large", "pub/small"]);
    server.stop();
}

#[test]
fn garbage_on_a_data_connection_ends_that_alone() {
    let server = setup().start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4000], &[22, 3, 1, 0x40, 0], b"\x16"] {
            let address = client.passive();
            let mut stream = connect_from(HERE, address).unwrap();
            client.expect("STOR /pub/new", 150);
            stream.write_all(garbage).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            client.expect_reply(425);
            drop(stream.read_to_end(&mut Vec::new()));
        }
        assert_eq!(client.fetch("RETR /pub/small"), b"contents");
    }
    only_left(&server, &["pub/small"]);
    server.stop();
}

#[test]
fn a_client_may_change_its_keys_at_any_time() {
    let large = pattern(4_000_000);
    let server = setup().file("pub/large", &large).start();
    let mut client = Secure::explicit(&server, &version::TLS13);
    let mut data = client.data("RETR /pub/large");
    let mut read = Vec::new();
    for _ in 0..5 {
        let mut part = vec![0; 300_000];
        data.read_exact(&mut part).unwrap();
        read.append(&mut part);
        data.conn.refresh_traffic_keys().unwrap();
        data.flush().unwrap();
    }
    data.read_to_end(&mut read).unwrap();
    assert!(read == large);
    client.expect_reply(226);
    let mut data = client.data("STOR /pub/new");
    for part in large.chunks(700_000) {
        data.write_all(part).unwrap();
        data.conn.refresh_traffic_keys().unwrap();
    }
    end(data);
    client.expect_reply(226);
    assert!(fs::read(server.root().join("pub/new")).unwrap() == large);
    server.stop();
}

/// Plays octets in two parts and gives what came back until the end.
fn injected(server: &Server, octets: &[u8], at: usize) -> Vec<u8> {
    let mut client = server.connect();
    client.send(&octets[..at]);
    // The server may have closed meanwhile.
    drop(client.stream.write_all(&octets[at..]));
    client.drain()
}

#[test]
fn octets_in_clear_behind_auth_are_never_interpreted() {
    let server = setup().start();
    let octets = b"AUTH TLS\r\nUSER anonymous\r\nPASS x\r\nSTOR /incoming/evil\r\n";
    for at in 0..octets.len() {
        let came = injected(&server, octets, at);
        // Nothing; or AUTH was granted before the rest came, which was no TLS.
        let rest = came.strip_prefix(b"234 Begin TLS.\r\n").unwrap_or(&came);
        assert!(rest.is_empty() || rest[0] == 21, "{at}: {:?}", String::from_utf8_lossy(&came));
        if at == 0 {
            assert!(came.is_empty(), "one portion: not a word of success");
        }
    }
    server.counts("sluicegate_tls_handshakes_failed_total{reason=\"injected\"}", 1.0);
    assert!(server.files().iter().all(|path| !path.ends_with("evil")));
    server.stop();
}

#[test]
fn a_handshake_that_fails_ends_the_session() {
    let server = setup().start();
    for octets in [&b"\x16\x03\x01\x00\x05hello"[..], b"NOOP\r\n", b"\x80\x2e\x01\x03\x01"] {
        let mut client = server.connect();
        client.expect("AUTH TLS", 234);
        client.send(octets);
        drop(client.stream.shutdown(Shutdown::Write));
        let came = client.drain();
        assert!(came.is_empty() || came[0] == 21, "an alert at most: {came:?}");
    }
    server.stop();
}

#[test]
fn rein_leads_back_to_clear_and_auth_begins_again() {
    let server = setup().start();
    for version in VERSIONS {
        let mut client = Secure::explicit(&server, version);
        client.expect("REIN", 220);
        assert_eq!(client.tls.read(&mut [0; 9]).unwrap(), 0, "TLS ends");
        client.tls.conn.send_close_notify();
        client.tls.flush().unwrap();
        let mut clear = Client::resume(client.tls.sock);
        clear.expect("PWD", 530);
        clear.expect("PBSZ 0", 503);
        clear.login(USER, PASSWORD);
        assert_eq!(clear.fetch("RETR /pub/small").0, b"contents");
        let mut again = Secure::upgrade(clear, version);
        again.expect("PWD", 530);
        again.expect("PBSZ 0", 200);
        again.expect("PROT P", 200);
        again.login();
        assert_eq!(again.fetch("RETR /pub/small"), b"contents");
    }
    server.stop();
}

#[test]
fn nothing_passes_in_clear_where_tls_is_required() {
    let server = setup().ftp("tls = \"required\"").start();
    let mut client = server.connect();
    client.expect(&format!("USER {USER}"), 530);
    client.expect("USER anonymous", 530);
    let mut secure = Secure::upgrade(client, &version::TLS13);
    secure.login();
    secure.passive();
    secure.expect("RETR /pub/small", 522);
    secure.expect("PBSZ 0", 200);
    secure.expect("PROT C", 534);
    secure.expect("PROT P", 200);
    assert_eq!(secure.fetch("RETR /pub/small"), b"contents");
    server.stop();
}

#[test]
fn a_data_connection_without_a_word_holds_nobody_else_up() {
    let server = setup().ftp("accept_seconds = 300").start();
    let mut silent: Vec<(Secure, TcpStream)> = (0..30)
        .map(|_| {
            let mut client = Secure::explicit(&server, &version::TLS13);
            let address = client.passive();
            let stream = connect_from(HERE, address).unwrap();
            client.expect("STOR /incoming/never", 150);
            (client, stream)
        })
        .collect();
    let begun = Instant::now();
    let mut client = Secure::explicit(&server, &version::TLS13);
    assert_eq!(client.fetch("RETR /pub/small"), b"contents");
    assert!(begun.elapsed() < Duration::from_secs(150));
    drop(client);
    let before = server.settled_descriptors();
    for (client, _) in &mut silent {
        client.expect("ABOR", 426);
        client.expect_reply(226);
    }
    drop(silent);
    common::eventually("descriptors are given back", || {
        (server.descriptors().len() + 60 <= before).then_some(())
    });
    server.stop();
}
