//! tls::client – TLS of the connections that we begin: whom we believe, and what is remembered of earlier ones.
//!
//! ```text
//!  Roots (the system's) ─▶ Client ─┬ Verified: a chain to a root, and the name (RFC 6125, RFC 9525)
//!                                  └ Anybody: encrypted, whoever it is (RFC 7435)
//!                 Errand = one of these and a host ─▶ Session::client
//! ```
//! The roots are those of the machine rather than a list in the program: an operator adds the authority of
//! a smarthost there, and updates reach us without a release.
//!
//! Promises: TLS 1.2 and 1.3; nobody is believed on the word of a session that began unverified: what is
//! remembered for [`Demand::Anybody`] is of no use for [`Demand::Verified`].
//! Not here: when TLS is asked for, and what follows when there is none (`server::relay`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version,
};

use super::keeper::provider;
use crate::problem::Problem;

/// Hosts of which sessions are remembered.
const REMEMBERED: usize = 1024;

/// Authorities that are believed.
pub struct Roots(RootCertStore);

impl Roots {
    /// None: nobody is.
    #[must_use]
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// Those of this machine, or of the file in `SSL_CERT_FILE`; and what could not be read of them.
    #[must_use]
    pub fn of_the_system() -> (Self, Vec<String>) {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some machines keep certificates that nobody understands beside the others.
        let (_, ignored) = roots.add_parsable_certificates(found.certs);
        let mut problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if ignored > 0 {
            problems.push(format!("{ignored} certificates that cannot be understood"));
        }
        (Self(roots), problems)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn from_store(store: RootCertStore) -> Self {
        Self(store)
    }
}

/// Whom a connection may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// The host alone, as an authority that we believe says.
    Verified,
    /// Whoever answers.
    Anybody,
}

/// What connections that we begin share. One for all shards.
pub struct Client {
    verified: Arc<ClientConfig>,
    anybody: Arc<ClientConfig>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Believes `roots`.
    ///
    /// # Errors
    /// Nothing that the roots could cause: the provider lacks what we ask for.
    pub fn new(roots: Roots) -> Result<Self, Problem> {
        let provider = Arc::new(provider());
        let failed = |error| Problem::new("tls: versions", error, "report this");
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&version::TLS13, &version::TLS12])
                .map_err(failed)
        };
        let mut verified =
            builder()?.with_root_certificates(Arc::new(roots.0)).with_no_client_auth();
        let mut anybody = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Whoever(Arc::clone(&provider))))
            .with_no_client_auth();
        // Each has a memory of its own.
        verified.resumption = Resumption::in_memory_sessions(REMEMBERED);
        anybody.resumption = Resumption::in_memory_sessions(REMEMBERED);
        Ok(Self { verified: Arc::new(verified), anybody: Arc::new(anybody) })
    }

    /// A connection to `host`, a name or an address; `None` when it is neither.
    #[must_use]
    pub fn errand(&self, host: &str, demand: Demand) -> Option<Errand> {
        let host = host.trim_end_matches('.');
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = match bare.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host.to_owned()).ok()?,
        };
        let config = match demand {
            Demand::Verified => Arc::clone(&self.verified),
            Demand::Anybody => Arc::clone(&self.anybody),
        };
        Some(Errand { config, name, host: host.into() })
    }
}

/// One connection that we are about to begin.
#[derive(Clone)]
pub struct Errand {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: Box<str>,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Errand {
    /// Whom it leads to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

/// Believes every certificate, of whoever proves that it has the key of it.
#[derive(Debug)]
struct Whoever(Arc<CryptoProvider>);

impl ServerCertVerifier for Whoever {
    /// RFC 7435 §3: protection against those who listen is better than none, and asks for no proof.
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
