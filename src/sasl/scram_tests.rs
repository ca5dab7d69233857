//! sasl::scram – its tests: the RFC's own exchange, a client written by others, and what is refused.

use rsasl::config::SASLConfig;
use rsasl::prelude::{Mechname, SASLClient, Session as ClientSession, State as ClientState};

use super::*;
use crate::sasl::{Exchange, Mechanism};
use crate::wire::secret::Secret;

/// RFC 7677 §3.
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier(password: &str) -> Verifier {
    Verifier::new(password, &STANDARD.decode(SALT).unwrap(), 4096).unwrap()
}

fn decoy(name: &str) -> Verifier {
    Verifier::decoy(b"key of this server", name)
}

fn said(exchange: &mut Exchange, text: &str) -> Step {
    exchange.respond(Some(&Secret::new(text.as_bytes().to_vec())))
}

fn challenge(text: &str) -> Step {
    Step::Challenge(text.as_bytes().to_vec())
}

fn asked(name: &str) -> Step {
    Step::Verifier { name: name.into() }
}

#[test]
fn the_exchange_of_the_rfc() {
    let mut exchange = Exchange::new(Mechanism::ScramSha256);
    assert_eq!(exchange.respond(None), challenge(""));
    assert_eq!(said(&mut exchange, FIRST), asked("user"));
    let step = exchange.verifier(Some(&verifier("pencil")), &decoy("user"), NONCE);
    assert_eq!(step, challenge(CHALLENGE));
    assert_eq!(said(&mut exchange, FINAL), challenge(SIGNATURE));
    assert_eq!(said(&mut exchange, ""), Step::Proven { name: "user".into() });
    assert_eq!(said(&mut exchange, ""), Step::Malformed, "it is over");
}

/// What an exchange comes to when the client says these, with a verifier or without.
fn outcome(stored: Option<&Verifier>, first: &str, last: &str) -> Step {
    let mut exchange = Exchange::new(Mechanism::ScramSha256);
    let step = said(&mut exchange, first);
    let Step::Verifier { name } = step else { return step };
    let step = exchange.verifier(stored, &decoy(&name), NONCE);
    assert!(matches!(step, Step::Challenge(_)), "{step:?}");
    said(&mut exchange, last)
}

#[test]
fn whatever_is_wrong_is_refused_alike() {
    let pencil = verifier("pencil");
    let refused = Step::Refused { name: "user".into() };
    assert_eq!(outcome(Some(&verifier("pen")), FIRST, FINAL), refused, "another password");
    assert_eq!(outcome(None, FIRST, FINAL), refused, "no such user");
    let other_nonce = FINAL.replace("r=rOpr", "r=rOps");
    assert_eq!(outcome(Some(&pencil), FIRST, &other_nonce), refused, "another nonce");
    // `y,,` was signed as `n,,`: somebody between changed it.
    assert_eq!(outcome(Some(&pencil), &FIRST.replacen('n', "y", 1), FINAL), refused);
    let proof = STANDARD.encode([7; 32]);
    let wrong = format!("{},p={proof}", FINAL.rsplit_once(",p=").unwrap().0);
    assert_eq!(outcome(Some(&pencil), FIRST, &wrong), refused);
}

#[test]
fn what_is_no_message_is_malformed() {
    let pencil = verifier("pencil");
    for first in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,n=,r=x",
        "n,,n=user,r=",
        "x,,n=user,r=x",
        "p=tls-unique,,n=user,r=x",
        "n,,m=ext,n=user,r=x",
        "n,,n=us=2Xer,r=x",
        "n,,n=us=,r=x",
        "n,a=bob,n=user,r=x",
        "n,bob,n=user,r=x",
        "n,,n=user,r=a b",
    ] {
        assert_eq!(outcome(Some(&pencil), first, FINAL), Step::Malformed, "{first}");
    }
    let long = format!("n,,n=user,r={}", "x".repeat(129));
    assert_eq!(outcome(Some(&pencil), &long, FINAL), Step::Malformed);
    for last in ["", "c=biws", "c=biws,r=x", "c=biws,r=x,p=", "c=biws,r=x,p=AAAA", "r=x,c=biws,p=x"]
    {
        assert_eq!(outcome(Some(&pencil), FIRST, last), Step::Malformed, "{last}");
    }
}

#[test]
fn names_are_escaped_and_actors_are_the_user() {
    let first = |text: &str| outcome(None, text, "");
    for (message, name) in [
        ("n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
        ("y,a=ann,n=ann,r=x,e=later", "ann"),
        ("n,,n=a\u{ad}nn,r=x", "ann"),
    ] {
        let mut exchange = Exchange::new(Mechanism::ScramSha256);
        assert_eq!(said(&mut exchange, message), asked(name));
    }
    assert_eq!(first("n,,n=a\0b,r=x"), Step::Malformed);
}

#[test]
fn a_verifier_reads_as_it_is_written() {
    let new = verifier("pencil");
    assert_eq!(Verifier::parse(&new.to_string()), Some(new.clone()));
    assert!(new.to_string().starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"));
    assert_eq!(format!("{new:?}"), "Verifier(…)");
    let text = new.to_string();
    for wrong in [
        "",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1$4096:AA==$AA==:AA==",
        &text.replace("4096", "4095"),
        &text.replace("4096", "10000001"),
        &text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        text.get(..text.len() - 4).unwrap(),
        &text.replace(":W22", ":!22"),
    ] {
        assert_eq!(Verifier::parse(wrong), None, "{wrong}");
    }
}

/// RFC 4013: what looks alike is the same password; a control is in none.
#[test]
fn passwords_are_prepared() {
    assert_eq!(verifier("p\u{e4}ss \u{2168}"), verifier("pa\u{308}ss\u{a0}IX"));
    assert_eq!(Verifier::new("a\u{7}", b"salt", 4096), None);
}

#[test]
fn a_decoy_does_not_change_and_is_no_other_ones() {
    assert_eq!(decoy("ann"), decoy("ann"));
    assert_ne!(decoy("ann"), decoy("bob"));
    assert_ne!(decoy("ann"), Verifier::decoy(b"another key", "ann"));
    let Verifier { iterations, salt, .. } = &decoy("ann");
    let real = Verifier::new("x", &[1; Verifier::SALT_BYTES], Verifier::ITERATIONS).unwrap();
    assert_eq!((*iterations, salt.len()), (real.iterations, real.salt.len()));
}

/// A client of the `rsasl` crate against this server. True when both are content.
fn with_client(name: &str, password: &str, stored: Option<&Verifier>) -> bool {
    let config = SASLConfig::with_credentials(None, name.into(), password.into()).unwrap();
    let mechanism = Mechname::parse(b"SCRAM-SHA-256").unwrap();
    let mut client: ClientSession = SASLClient::new(config).start_suggested([&mechanism]).unwrap();
    let mut exchange = Exchange::new(Mechanism::ScramSha256);
    let mut message = Vec::new();
    client.step(None, &mut message).unwrap();
    let mut step = exchange.respond(Some(&Secret::new(message)));
    loop {
        match step {
            Step::Verifier { name } => {
                step = exchange.verifier(stored, &decoy(&name), "an0ncE");
            }
            Step::Challenge(challenge) => {
                let mut message = Vec::new();
                match client.step(Some(&challenge), &mut message).unwrap() {
                    ClientState::Running | ClientState::Finished(_) => {}
                }
                step = exchange.respond(Some(&Secret::new(message)));
            }
            Step::Proven { name: proven } => return proven == name,
            Step::Refused { .. } => return false,
            Step::Malformed | Step::Password { .. } => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_client_written_by_others_is_content() {
    let ix = |password| Verifier::new(password, b"salt of sixteen!", 4096).unwrap();
    assert!(with_client("ann", "pencil", Some(&ix("pencil"))));
    assert!(!with_client("ann", "pencil", Some(&ix("Pencil"))));
    assert!(!with_client("ann", "pencil", None));
}
