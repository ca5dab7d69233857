//! engine::tls – the client's side of TLS, as a value: which trust, which name, what to resume.
//!
//! Promises: certificates are checked against the given file unless the caller said that anything
//! goes; sessions are remembered per [`Client`], so that a data connection resumes the session of
//! its own control connection and of no other.
//! Not here: records on their way (`link`).

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};

/// Tickets remembered for one server by one [`Client`].
const SESSIONS_REMEMBERED: usize = 8;

/// Whose certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that this PEM file vouches for.
    File(std::path::PathBuf),
    /// Any: for measuring servers that signed for themselves.
    Anybody,
}

/// What all sessions of a run have in common.
#[derive(Clone, Debug)]
pub struct Context {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    resume: bool,
}

/// How one session begins TLS, on as many connections as it has; remembers tickets between them.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Context {
    /// For the server of that name. Without `resume` every handshake is a full one.
    pub fn new(trust: &Trust, host: &str, resume: bool) -> Result<Self, String> {
        Self::of(aws_lc_rs::default_provider(), ALL_VERSIONS, trust, host, resume)
    }

    /// The same with one version and one cipher only: TLS 1.3 and AES-128-GCM.
    pub fn of_aes_128(trust: &Trust, host: &str, resume: bool) -> Result<Self, String> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
        Self::of(provider, &[&TLS13], trust, host, resume)
    }

    fn of(
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        trust: &Trust,
        host: &str,
        resume: bool,
    ) -> Result<Self, String> {
        let provider = Arc::new(provider);
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| format!("TLS: {error}"))?;
        let config = match trust {
            Trust::File(file) => versions.with_root_certificates(roots(file)?),
            Trust::Anybody => versions
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host}: not a name a certificate could hold"))?;
        Ok(Self { config: Arc::new(config.with_no_client_auth()), name, resume })
    }

    /// For one session; what it remembers is its own.
    pub fn client(&self) -> Client {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = if self.resume {
            Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS_REMEMBERED)))
        } else {
            Resumption::disabled()
        };
        Client { config: Arc::new(config), name: self.name.clone() }
    }
}

impl Client {
    /// The beginning of a handshake.
    pub fn begin(&self) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let broken = |error: &dyn std::fmt::Display| {
        format!("{}: {error} (--ca wants certificates in PEM)", file.display())
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| broken(&error))? {
        let certificate = certificate.map_err(|error| broken(&error))?;
        store.add(certificate).map_err(|error| broken(&error))?;
    }
    if store.is_empty() { Err(broken(&"no certificate in it")) } else { Ok(store) }
}

/// Accepts any certificate, but not a forged signature of the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
