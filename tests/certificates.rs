//! Certificates of a running server: made, shown, reloaded, refused; and what is said to those who do not speak TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use common::{Setup, eventually};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sluicegate::tls::{Pair, make_own};

type Secure = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn pair(directory: &Path) -> Pair {
    Pair { certificate: directory.join("cert.pem"), private_key: directory.join("key.pem") }
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&pair.certificate).unwrap()
}

/// A connection in TLS by somebody who trusts these certificates, or why there is none.
fn connect(to: SocketAddr, trust: &[CertificateDer<'static>]) -> std::io::Result<Secure> {
    connect_as("localhost", to, trust)
}

/// The same, by a name or an address that the certificate has to bear.
fn connect_as(
    name: &'static str,
    to: SocketAddr,
    trust: &[CertificateDer<'static>],
) -> std::io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    for certificate in trust {
        roots.add(certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, common::patient(TcpStream::connect(to)?));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(BufReader::new(stream))
}

/// The last line of a reply.
fn reply(secure: &mut Secure) -> String {
    loop {
        let mut line = String::new();
        secure.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) == Some(&b' ') {
            return line;
        }
    }
}

fn command(secure: &mut Secure, line: &str) -> String {
    secure.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    reply(secure)
}

fn setup() -> Setup {
    Setup::new()
        .ftp("listen_tls = [\"127.0.0.1:0\"]")
        .smtp("listen = [\"127.0.0.1:0\"]")
        .smtp("listen_tls = [\"127.0.0.1:0\"]")
}

#[test]
fn a_certificate_is_made_and_both_protocols_speak_tls() {
    let server = setup().start();
    let made = pair(&server.data().join("tls"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&made.certificate), mode(&made.private_key)), (0o644, 0o600));
    for (listener, says) in [("ftps", "200"), ("smtps", "250")] {
        let mut client = connect(server.listener(listener), &[der(&made)]).unwrap();
        assert!(reply(&mut client).starts_with("220"), "{listener}");
        assert!(command(&mut client, "NOOP").starts_with(says), "{listener}");
        assert!(command(&mut client, "QUIT").starts_with("221"), "{listener}");
        // rustls takes an end that was not said for an error.
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0, "{listener}");
    }
    for address in ["127.0.0.1", "::1"] {
        let mut client = connect_as(address, server.listener("smtps"), &[der(&made)]).unwrap();
        assert!(reply(&mut client).starts_with("220"), "{address}");
    }
    server.counts("sluicegate_tls_handshakes_total", 4.0);
    server.stop();
}

#[test]
fn who_does_not_speak_tls_is_told_so_in_tls() {
    let server = setup().start();
    for listener in ["ftps", "smtps"] {
        for words in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "USER anonymous\r\n", "EHLO x\r\n"] {
            let stream = TcpStream::connect(server.listener(listener)).unwrap();
            let mut stream = common::patient(stream);
            stream.write_all(words.as_bytes()).unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            // A fatal alert, decode_error, and nothing else (RFC 8446 §6).
            assert_eq!(said.get(..1), Some(&[21][..]), "{listener} to {words:?}: {said:?}");
            assert_eq!(said.get(5..), Some(&[2, 50][..]), "{listener} to {words:?}: {said:?}");
        }
    }
    // And the other way round: a handshake on a listener that speaks first, in clear.
    let untrusted = connect(server.v4(), &[]);
    assert!(untrusted.is_err(), "a greeting is no TLS");
    eventually("failures are counted", || {
        let name = "sluicegate_tls_handshakes_failed_total{reason=\"protocol\"}";
        (server.metric(name) >= 6.0).then_some(())
    });
    server.stop();
}

#[test]
fn certificates_are_read_again_and_no_connection_is_lost() {
    let mut server = setup().start();
    let current = pair(&server.data().join("tls"));
    let next = pair(&server.outside().join("next"));
    assert!(make_own(&next, &["localhost".to_owned()], None).unwrap());
    let (old, new) = (der(&current), der(&next));
    let mut before = connect(server.listener("ftps"), std::slice::from_ref(&old)).unwrap();
    assert!(reply(&mut before).starts_with("220"));

    // One file at a time, as scripts do: in between they do not belong together, and nothing changes.
    fs::copy(&next.certificate, &current.certificate).unwrap();
    server.wait_for("the refusal", |line| line.contains("certificates: not reloaded"));
    connect(server.listener("ftps"), std::slice::from_ref(&old)).unwrap();
    fs::copy(&next.private_key, &current.private_key).unwrap();
    eventually("the new certificate is shown", || {
        connect(server.listener("smtps"), std::slice::from_ref(&new)).ok().map(drop)
    });
    assert!(connect(server.listener("ftps"), std::slice::from_ref(&old)).is_err());

    // What is broken changes nothing, on a signal too.
    fs::write(&current.certificate, "nothing").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for("why", |line| line.contains("no certificate in it"));
    connect(server.listener("ftps"), std::slice::from_ref(&new)).unwrap();
    assert!(command(&mut before, "NOOP").starts_with("200"), "the first connection still speaks");
    server.stop();
}

#[test]
fn a_certificate_that_was_named_must_be_there() {
    let setup = setup().tls("certificate = \"none.pem\"");
    let output = setup.run();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("none.pem: cannot read"), "{said}");
}
