//! sasl::client – its tests: the RFC's own exchange, our server, and servers that are none.

use super::*;
use crate::sasl::{Exchange, Step};

/// RFC 7677 §3.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn response(text: &str, complete: bool) -> Response {
    Response { octets: Some(secret(text)), complete }
}

fn client(mechanism: Mechanism, name: &str, password: &str) -> Client {
    Client::new(mechanism, name, &secret(password), NONCE).unwrap()
}

#[test]
fn the_exchange_of_the_rfc() {
    let mut client = client(Mechanism::ScramSha256, "user", "pencil");
    assert_eq!(client.initial(), response("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false));
    assert_eq!(client.respond(CHALLENGE.as_bytes()), Ok(response(FINAL, false)));
    assert_eq!(client.respond(SIGNATURE.as_bytes()), Ok(response("", true)));
    assert!(client.respond(b"").is_err(), "it is over");
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    for lie in ["v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "v=", "", "e=other-error", "v=!"]
    {
        let mut client = client(Mechanism::ScramSha256, "user", "pencil");
        client.initial();
        assert!(client.respond(CHALLENGE.as_bytes()).is_ok());
        assert!(client.respond(lie.as_bytes()).is_err(), "{lie:?}");
    }
}

#[test]
fn challenges_that_are_none_are_refused() {
    let salt = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
    for bad in [
        String::new(),
        format!("r={NONCE},{salt},i=4096"),
        format!("r=other,{salt},i=4096"),
        format!("m=x,r={NONCE}x,{salt},i=4096"),
        format!("r={NONCE}x,s=,i=4096"),
        format!("r={NONCE}x,s=!,i=4096"),
        format!("r={NONCE}x,{salt},i=4095"),
        format!("r={NONCE}x,{salt},i=1000001"),
        format!("r={NONCE}x,{salt},i=-1"),
        format!("r={NONCE}x,{salt}"),
        format!("r={NONCE}{},{salt},i=4096", "x".repeat(513)),
    ] {
        let mut client = client(Mechanism::ScramSha256, "user", "pencil");
        client.initial();
        assert!(client.respond(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn our_server_believes_our_client() {
    for name in ["ann", "a=b,c", "j\u{f6}rg"] {
        let verifier = Verifier::new("pass,=\u{e4}", b"0123456789abcdef", 4096).unwrap();
        let decoy = Verifier::decoy(b"key", name);
        let mut client = client(Mechanism::ScramSha256, name, "pass,=\u{e4}");
        let mut server = Exchange::new(Mechanism::ScramSha256);
        let asked = server.respond(client.initial().octets.as_ref());
        assert_eq!(asked, Step::Verifier { name: name.into() });
        let mut step = server.verifier(Some(&verifier), &decoy, "theirs");
        let mut complete = false;
        while let Step::Challenge(challenge) = &step {
            let said = client.respond(challenge).unwrap();
            complete = said.complete;
            step = server.respond(said.octets.as_ref());
        }
        assert_eq!((step, complete), (Step::Proven { name: name.into() }, true));
    }
}

#[test]
fn plain_and_login_say_what_they_have_to() {
    let mut plain = client(Mechanism::Plain, "ann", "pass");
    assert_eq!(plain.initial(), response("\0ann\0pass", true));
    assert!(plain.respond(b"").is_err());
    let mut login = client(Mechanism::Login, "ann", "pass");
    assert_eq!(login.initial(), Response { octets: None, complete: false });
    assert_eq!(login.respond(b"Username:"), Ok(response("ann", false)));
    assert_eq!(login.respond(b"Password:"), Ok(response("pass", true)));
    assert!(login.respond(b"").is_err());
}

#[test]
fn the_best_is_chosen_and_what_is_prohibited_is_none() {
    assert_eq!(Client::choose(&["LOGIN", "PLAIN"]), Some(Mechanism::Plain));
    assert_eq!(Client::choose(&["plain", "scram-sha-256"]), Some(Mechanism::ScramSha256));
    assert_eq!(Client::choose(&["CRAM-MD5", "LOGIN"]), Some(Mechanism::Login));
    assert_eq!(Client::choose(&["XOAUTH2"]), None);
    let new =
        |name, password, nonce| Client::new(Mechanism::ScramSha256, name, &secret(password), nonce);
    for (name, password, nonce) in [
        ("", "p", "n"),
        ("a\x07", "p", "n"),
        ("a", "", "n"),
        ("a", "\x07", "n"),
        ("a", "p", ""),
        ("a", "p", "n,"),
    ] {
        assert!(new(name, password, nonce).is_none(), "{name:?} {password:?} {nonce:?}");
    }
}
