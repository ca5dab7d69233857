//! tls::keeper – what TLS there is now: certificates that can be replaced, and one ticketer that stays.
//!
//! Promises: a connection keeps what it began with; replacing certificates drops none, and sessions begun
//! before can be resumed after.
//! Not here: noticing that files changed (`server::certificates`).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite, version};

use super::{Identity, Offer, Trouble, Use};
use crate::problem::Problem;

/// Tickets given on a control connection: a client that opens data connections without ever reading from
/// them to the end (uploads) gets no new ones there, and with TLS 1.3 it should use each once
/// (RFC 8446 §C.4).
const CONTROL_TICKETS: usize = 4;

/// Holds what is offered to connections that begin now. Shared by all shards.
pub struct Keeper {
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
    current: ArcSwapOption<Settings>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Without certificates: nothing is offered yet.
    ///
    /// # Errors
    /// When there is no randomness for the keys of tickets.
    pub fn new() -> Result<Self, Problem> {
        let ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| Problem::new("tls: keys for tickets", error, "see getrandom(2)"))?;
        Ok(Self { provider: Arc::new(provider()), ticketer, current: ArcSwapOption::empty() })
    }

    /// Offers these certificates to connections that begin from now on.
    ///
    /// # Errors
    /// Nothing that a certificate could cause: the provider lacks what we ask for.
    pub fn replace(&self, identity: Identity) -> Result<(), Problem> {
        let settings =
            Settings::new(Arc::clone(&self.provider), Arc::clone(&self.ticketer), identity)?;
        self.current.store(Some(Arc::new(settings)));
        Ok(())
    }

    /// What is offered now; `None` when there is no certificate.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Settings>> {
        self.current.load_full()
    }

    /// Is there a certificate?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// An offer for one connection; `None` when there is no certificate, or no randomness.
    #[must_use]
    pub fn offer(&self, to: Use) -> Option<Offer> {
        let settings = self.current.load();
        match settings.as_ref()?.offer(to) {
            Ok(offer) => Some(offer),
            Err(trouble) => {
                tracing::error!(%trouble, "TLS cannot be offered");
                None
            }
        }
    }
}

/// Certificates and what goes with them, as one reload made them.
pub struct Settings {
    ftp: ServerConfig,
    smtp: ServerConfig,
    ticketer: Arc<dyn ProducesTickets>,
    identity: Arc<Identity>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Settings {
    fn new(
        provider: Arc<CryptoProvider>,
        ticketer: Arc<dyn ProducesTickets>,
        identity: Identity,
    ) -> Result<Self, Problem> {
        let identity = Arc::new(identity);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| Problem::new("tls: versions", error, "report this"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        // Our order of ciphers: the first one we have hardware for wins.
        config.ignore_client_order = true;
        // Sessions by number would have to be shared by shards; tickets need not.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&ticketer);
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        // The seam for TLS in the kernel: only with this can a connection give its keys away.
        config.enable_secret_extraction = true;
        let mut ftp = config.clone();
        // A client that names a protocol means it (RFC 7301 §3.2): one that asks for HTTP was led here by
        // somebody else, and is told so.
        ftp.alpn_protocols = vec![b"ftp".to_vec()];
        ftp.send_tls13_tickets = CONTROL_TICKETS;
        let mut smtp = config;
        smtp.alpn_protocols = vec![b"smtp".to_vec()];
        Ok(Self { ftp, smtp, ticketer, identity })
    }

    /// An offer for one connection.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when there is no randomness.
    pub fn offer(&self, to: Use) -> Result<Offer, Trouble> {
        Offer::new(self, to)
    }

    /// The certificates.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn config(&self, to: Use) -> &ServerConfig {
        match to {
            Use::Ftp => &self.ftp,
            Use::Smtp => &self.smtp,
        }
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.identity) as Arc<dyn ResolvesServerCert>
    }

    pub(super) fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        Arc::clone(&self.ticketer)
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "what is neither is the rest")]
/// What we speak, best first: AES-128-GCM is the fastest where there is hardware for AES, and strong enough.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite: &SupportedCipherSuite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    });
    provider
}
