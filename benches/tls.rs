//! TLS alone: what a handshake costs the server, and what octets cost once it is done.
//!
//! The client's part of a handshake is not in the time. Every bench asserts its answer before it measures. What
//! the numbers mean: `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "a bench may stop at what it does not expect")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use sluicegate::tls::{Identity, Keeper, Offer, Pair, Records, Session, Use, make_own};

/// Octets sealed and opened: what one turn of a transfer moves.
const BULK: usize = 64 * 1024;
/// When the certificate is good, seconds since the epoch.
const NOW: i64 = 1_700_000_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let directory = tempfile::tempdir().unwrap();
    let (keeper, certificate) = keeper(directory.path());
    for (name, version) in [("TLS 1.3", &version::TLS13), ("TLS 1.2", &version::TLS12)] {
        handshakes(&mut criterion, name, version, &keeper, &certificate);
        bulk(&mut criterion, name, version, &keeper, &certificate);
    }
    criterion.final_summary();
}

fn keeper(directory: &Path) -> (Keeper, CertificateDer<'static>) {
    let (certificate, private_key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let pair = Pair { certificate, private_key };
    assert!(make_own(&pair, &["localhost".to_owned()], None).unwrap());
    let der = CertificateDer::from_pem_file(&pair.certificate).unwrap();
    let keeper = Keeper::new().unwrap();
    keeper.replace(Identity::load(&[pair], NOW).unwrap()).unwrap();
    (keeper, der)
}

fn client(
    version: &'static SupportedProtocolVersion,
    certificate: &CertificateDer<'static>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version]);
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(4);
    Arc::new(config)
}

/// One handshake. The server's time for it, its session, and whether one was resumed.
fn shake(config: &Arc<ClientConfig>, offer: impl FnOnce() -> Offer) -> (Duration, Session, bool) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let begun = Instant::now();
    let mut server = Session::new(&offer()).unwrap();
    let mut spent = begun.elapsed();
    loop {
        let (mut sent, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        if sent.is_empty() {
            break;
        }
        let begun = Instant::now();
        server.receive(&mut sent, &mut back, &mut |_| ()).unwrap();
        spent += begun.elapsed();
        let mut back = &back[..];
        while !back.is_empty() {
            client.read_tls(&mut back).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let resumed = server.info().unwrap().resumed;
    (spent, server, resumed)
}

fn handshakes(
    criterion: &mut Criterion,
    name: &str,
    version: &'static SupportedProtocolVersion,
    keeper: &Keeper,
    certificate: &CertificateDer<'static>,
) {
    let mut group = criterion.benchmark_group(format!("handshake of the server, {name}"));
    group.throughput(Throughput::Elements(1));
    let forgetful = || client(version, certificate);
    let offer = || keeper.offer(Use::Ftp).unwrap();
    assert!(!shake(&forgetful(), offer).2);
    group.bench_function("full, ECDSA P-256", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| shake(&forgetful(), offer).0).sum());
    });
    let config = client(version, certificate);
    let control = offer();
    shake(&config, || control.clone());
    let data = control.data();
    assert!(shake(&config, || data.clone()).2);
    group.bench_function("resumed by a data connection", |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| shake(&config, || data.clone()).0).sum());
    });
    group.finish();
}

fn bulk(
    criterion: &mut Criterion,
    name: &str,
    version: &'static SupportedProtocolVersion,
    keeper: &Keeper,
    certificate: &CertificateDer<'static>,
) {
    let config = client(version, certificate);
    let offer = || keeper.offer(Use::Ftp).unwrap();
    let plain = vec![7; BULK];
    let mut room = vec![0; Records::sealed_bytes(BULK)];
    let mut group = criterion.benchmark_group(format!("records of AES-128-GCM, {name}"));
    group.throughput(Throughput::Bytes(BULK as u64));
    let mut records = shake(&config, offer).1.into_records().unwrap();
    assert!(records.seal_into(&plain, &mut room).unwrap() > BULK);
    group.bench_function("sealed", |bencher| {
        bencher.iter(|| records.seal_into(black_box(&plain), &mut room).unwrap());
    });
    let mut session = shake(&config, offer).1;
    group.bench_function("sealed by rustls", |bencher| {
        bencher.iter(|| session.seal_into(black_box(&plain), &mut room).unwrap());
    });
    group.finish();
}
