//! The server's side of TLS, fed with what anybody may send: arbitrary octets, a handshake with octets changed on
//! the way, and records behind a handshake that is done.
//!
//! Checked: nothing panics; what is kept stays small; trouble stays; what is heard is what the client said, from its
//! begin, whatever was changed on the way.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};
use sluicegate::tls::{Identity, Keeper, Pair, Progress, Session, Trouble, Use, make_own};

const SAID: &[u8] = b"NOOP\r\nNOOP\r\n";

#[derive(Arbitrary, Debug)]
struct Input {
    thirteen: bool,
    /// Octets per receive, less one.
    piece: u8,
    /// Where an octet of the client's is changed, and how.
    changes: Vec<(u16, u8)>,
    /// Instead of the handshake, and behind it.
    octets: Vec<u8>,
    /// Begin with a handshake.
    shaken: bool,
}

struct House {
    keeper: Keeper,
    configs: [Arc<ClientConfig>; 2],
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pair = Pair { certificate: at("cert.pem"), private_key: at("key.pem") };
        make_own(&pair, &["localhost".to_owned()], None).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_file(&pair.certificate).unwrap())
            .unwrap();
        let roots = Arc::new(roots);
        let config = |version| {
            let config = ClientConfig::builder_with_protocol_versions(&[version]);
            Arc::new(config.with_root_certificates(Arc::clone(&roots)).with_no_client_auth())
        };
        let keeper = Keeper::new().unwrap();
        keeper.replace(Identity::load(&[pair], 1_700_000_000).unwrap()).unwrap();
        House { keeper, configs: [config(&version::TLS12), config(&version::TLS13)] }
    })
}

/// Feeds the server; everything it heard and had to say.
fn feed(
    server: &mut Session,
    octets: &[u8],
    piece: usize,
    heard: &mut Vec<u8>,
    back: &mut Vec<u8>,
) -> Result<(), Trouble> {
    let mut octets = octets.to_vec();
    for part in octets.chunks_mut(piece) {
        server.receive(part, back, &mut |said| heard.extend_from_slice(said))?;
        assert!(server.kept() < 80 * 1024, "{} octets kept", server.kept());
        assert!(back.len() < 128 * 1024, "{} octets to say", back.len());
    }
    Ok(())
}

fuzz_target!(|input: Input| {
    let house = house();
    let piece = usize::from(input.piece) + 1;
    let mut server = Session::new(&house.keeper.offer(Use::Ftp).unwrap()).unwrap();
    let (mut heard, mut back) = (Vec::new(), Vec::new());
    if !input.shaken {
        if let Err(trouble) = feed(&mut server, &input.octets, piece, &mut heard, &mut back) {
            let again = server.receive(&mut [0], &mut back, &mut |_| unreachable!());
            assert_eq!(again, Err(trouble), "trouble stays");
        }
        assert!(heard.is_empty(), "heard without a handshake");
        return;
    }
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::clone(&house.configs[usize::from(input.thirteen)]);
    let mut client = ClientConnection::new(config, name).unwrap();
    std::io::Write::write_all(&mut client.writer(), SAID).unwrap();
    let mut sent_before = 0;
    loop {
        let (mut sent, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        if sent.is_empty() {
            break;
        }
        for (at, change) in &input.changes {
            let at = usize::from(*at).wrapping_sub(sent_before);
            if let Some(octet) = sent.get_mut(at) {
                *octet ^= change;
            }
        }
        sent_before += sent.len();
        let fed = feed(&mut server, &sent, piece, &mut heard, &mut back);
        assert!(SAID.starts_with(&heard), "{heard:?}");
        let mut rest = &back[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            if client.process_new_packets().is_err() {
                return;
            }
        }
        if fed.is_err() {
            return;
        }
    }
    let Ok(mut records) = server.into_records() else { return };
    // A record that was never sealed: whatever it is, nothing of it is heard.
    let (mut room, mut beside, mut out) = (vec![0; 1000], Vec::new(), Vec::new());
    for part in input.octets.chunks(piece) {
        match records.open(part, &mut room, &mut beside, &mut out) {
            Ok(count) => assert!(count == 0 && beside.is_empty(), "heard what nobody said"),
            Err(trouble) => {
                assert_eq!(records.open(part, &mut room, &mut beside, &mut out), Err(trouble));
                break;
            }
        }
        assert!(out.len() < 64 * 1024 && records.progress() != Progress::Handshake);
    }
});
