//! tls::offer – what one connection is offered, and whose sessions it may resume.
//!
//! A ticket names what it was made for: mail, or one control session of FTP. The ticketer is one for the
//! whole process (any shard opens what another sealed); a thin one of each offer puts the name in front of
//! what is sealed and opens only what bears it. So a resumed data connection *is* bound to its control
//! session, with TLS 1.2 and 1.3 alike, and that needs no state that shards would share.
//!
//! Promises: a control connection of FTP begins a session of its own always; a ticket of another name is no
//! error but a full handshake; sessions by number (RFC 5246 §7.4.1.3) and 0-RTT are never offered.
//! Not here: keys and their rotation (rustls), what a policy makes of it (`server`).

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Settings, Trouble};

/// Number of a control session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding([u8; 16]);

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding(..)")
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A control connection of FTP.
    Ftp,
    /// Mail.
    Smtp,
}

/// Whose tickets are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumes {
    Nobody,
    SameName,
}

/// What is offered to the connections of one session.
#[derive(Clone)]
pub struct Offer {
    config: Arc<ServerConfig>,
    witness: Arc<Witness>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("sni", &self.witness.sni).finish_non_exhaustive()
    }
}

impl Offer {
    /// For a control connection, or one of mail.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when there is no randomness.
    pub(super) fn new(settings: &Settings, to: Use) -> Result<Self, Trouble> {
        let mut name = [0; 16];
        let resumes = match to {
            Use::Ftp => {
                getrandom::fill(&mut name).map_err(|_| Trouble::Internal)?;
                Resumes::Nobody
            }
            Use::Smtp => Resumes::SameName,
        };
        Ok(Self::with(settings.config(to), settings, Binding(name), resumes))
    }

    /// For the data connections of the control session that `self` was offered to. Settings may have been
    /// reloaded meanwhile; what the control connection was shown is shown again.
    #[must_use]
    pub fn data(&self) -> Self {
        let witness = Arc::new(Witness {
            resolver: Arc::clone(&self.witness.resolver),
            ticketer: Arc::clone(&self.witness.ticketer),
            sni: OnceLock::new(),
            name: self.witness.name,
            resumes: Resumes::SameName,
        });
        let mut config = ServerConfig::clone(&self.config);
        // Each connection uses one up and brings one.
        config.send_tls13_tickets = 1;
        Self::watched(config, witness)
    }

    fn with(config: &ServerConfig, settings: &Settings, name: Binding, resumes: Resumes) -> Self {
        let witness = Arc::new(Witness {
            resolver: settings.resolver(),
            ticketer: settings.ticketer(),
            sni: OnceLock::new(),
            name,
            resumes,
        });
        Self::watched(config.clone(), witness)
    }

    fn watched(mut config: ServerConfig, witness: Arc<Witness>) -> Self {
        config.ticketer = Arc::clone(&witness) as Arc<dyn ProducesTickets>;
        config.cert_resolver = Arc::clone(&witness) as Arc<dyn ResolvesServerCert>;
        Self { config: Arc::new(config), witness }
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn sni(&self) -> Option<Box<str>> {
        self.witness.sni.get().cloned()
    }

    /// What a connection belongs to once its handshake is done.
    pub(super) fn bound(&self, resumed: bool) -> Option<Binding> {
        (self.witness.resumes == Resumes::Nobody || resumed).then_some(self.witness.name)
    }
}

/// What sees the tickets and the name asked for on behalf of one offer.
struct Witness {
    resolver: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
    sni: OnceLock<Box<str>>,
    name: Binding,
    resumes: Resumes,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Witness {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.sni.get_or_init(|| Box::from(name));
        }
        self.resolver.resolve(hello)
    }
}

impl ProducesTickets for Witness {
    fn enabled(&self) -> bool {
        self.ticketer.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.ticketer.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut named = zeroize::Zeroizing::new(Vec::with_capacity(16 + plain.len()));
        named.extend_from_slice(&self.name.0);
        named.extend_from_slice(plain);
        self.ticketer.encrypt(&named)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if self.resumes == Resumes::Nobody {
            return None;
        }
        let named = zeroize::Zeroizing::new(self.ticketer.decrypt(cipher)?);
        let (name, plain) = named.split_at_checked(self.name.0.len())?;
        // The ticket was authenticated: there is nothing to be learnt from the time this takes.
        (name == self.name.0).then(|| plain.to_vec())
    }
}
