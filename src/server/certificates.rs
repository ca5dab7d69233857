//! server::certificates – the certificates in force: read at the start, on SIGHUP, and when a file changes.
//!
//! Promises: a pair that is wrong at the start is told before anything is served; later it changes nothing, is
//! told, and is looked at again when it changes. Connections keep what they began with.
//! Not here: what is wrong with a file (`tls`).

use std::path::PathBuf;
use std::sync::Arc;

use super::Shared;
use crate::config::{Config, RouteTo};
use crate::mail::hop::TlsPolicy;
use crate::owner::Owner;
use crate::problem::Problem;
use crate::shard;
use crate::store::accounts::{Accounts, Fingerprint};
use crate::tls::{self, Client, Identity, Keeper, Pair, Roots};

/// The files that certificates were read from, as they were.
pub(super) struct Certificates {
    seen: Vec<(PathBuf, Fingerprint)>,
    expiry: Option<i64>,
}

impl Certificates {
    /// Reads the certificates, or makes one when none was named and none is there. Without a protocol that
    /// speaks TLS nothing is read.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn begin(config: &Config) -> Result<(Keeper, Self), Vec<Problem>> {
        let keeper = Keeper::new().map_err(|problem| vec![problem])?;
        let mut certificates = Self { seen: Vec::new(), expiry: None };
        if config.speaks_tls() {
            make_own(config).map_err(|problem| vec![problem])?;
            let identity = certificates.read(config)?;
            certificates.expiry = identity.not_after();
            keeper.replace(identity).map_err(|problem| vec![problem])?;
        }
        Ok((keeper, certificates))
    }

    fn read(&mut self, config: &Config) -> Result<Identity, Vec<Problem>> {
        let pairs = pairs(config);
        // Looked at before they are read: a change in between is seen the next time.
        let files = pairs.iter().flat_map(|pair| [&pair.certificate, &pair.private_key]);
        self.seen = files.map(|file| (file.clone(), Accounts::fingerprint(file))).collect();
        let identity = Identity::load(&pairs, shard::wall().0)?;
        for one in identity.certificates().iter().filter(|one| one.is_exposed()) {
            let file = one.file().display();
            tracing::warn!("tls: the key of {file} may be read by everybody (chmod 600)");
        }
        Ok(identity)
    }

    /// Shows when they expire.
    pub(super) fn show(&self, shared: &Shared) {
        if let Some(seconds) = self.expiry {
            shared.metrics.set_certificate_expiry(seconds);
        }
    }

    /// Reads them again when a file changed.
    pub(super) fn look(&mut self, shared: &Shared) {
        if self.seen.iter().any(|(path, seen)| Accounts::fingerprint(path) != *seen) {
            self.load(shared);
        }
    }

    /// Reads them again.
    pub(super) fn load(&mut self, shared: &Shared) {
        let config = shared.config.load_full();
        match outbound(&config) {
            Ok(client) => shared.outbound.store(client.map(Arc::new)),
            Err(problem) => {
                tracing::error!("{problem}; what was believed before is believed still");
            }
        }
        if !config.speaks_tls() {
            return;
        }
        let replaced = self.read(&config).and_then(|identity| {
            self.expiry = identity.not_after();
            self.show(shared);
            shared.tls.replace(identity).map_err(|problem| vec![problem])
        });
        match replaced {
            Ok(()) => tracing::info!("certificates reloaded"),
            Err(problems) => {
                for problem in problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("certificates: not reloaded; the old ones stay in force");
            }
        }
    }
}

/// TLS for connections to other servers; `None` when no route leads to one.
///
/// # Errors
/// A route that accepts verified servers only, on a machine that knows no authority.
pub(super) fn outbound(config: &Config) -> Result<Option<Client>, Problem> {
    let routes = config.smtp.iter().flat_map(|smtp| &smtp.routes);
    let onward: Vec<TlsPolicy> = routes
        .filter_map(|route| match &route.to {
            RouteTo::Onward(onward) => Some(onward.tls),
            RouteTo::Local | RouteTo::Discard => None,
        })
        .collect();
    if onward.iter().all(|tls| *tls == TlsPolicy::None) {
        return Ok(None);
    }
    let (roots, problems) = Roots::of_the_system();
    for problem in problems {
        tracing::warn!(problem, "tls: an authority of this machine is left out");
    }
    if roots.is_empty() && onward.contains(&TlsPolicy::Must) {
        return Err(Problem::new(
            "[[smtp.route]] tls = \"must\"",
            "this machine knows no authority that certificates could be verified with",
            "install ca-certificates, or name a file of certificates in SSL_CERT_FILE",
        ));
    }
    tracing::debug!(authorities = roots.len(), "tls: for connections to other servers");
    Client::new(roots).map(Some)
}

/// For `sluicegate check`: can servers be verified that routes want verified?
pub fn look(config: &Config) -> Option<Problem> {
    outbound(config).err()
}

/// The pairs that the configuration names, in order.
fn pairs(config: &Config) -> Vec<Pair> {
    let tls = &config.tls;
    let (certificate, private_key) = (tls.certificate.clone(), tls.private_key.clone());
    let mut pairs = vec![Pair { certificate, private_key }];
    pairs.extend(tls.sni.iter().map(|one| Pair {
        certificate: one.certificate.clone(),
        private_key: one.private_key.clone(),
    }));
    pairs
}

/// Makes a certificate where none was named and none is there.
fn make_own(config: &Config) -> Result<(), Problem> {
    let tls = &config.tls;
    if !tls.own {
        return Ok(());
    }
    let (certificate, private_key) = (tls.certificate.clone(), tls.private_key.clone());
    let pair = Pair { certificate, private_key };
    let mut names = vec![config.server.hostname.trim_end_matches('.').to_ascii_lowercase()];
    if names.first().is_none_or(|name| name != "localhost") {
        names.push("localhost".to_owned());
    }
    // Whoever tries it out on this machine may say the address.
    for address in ["127.0.0.1", "::1"] {
        if names.iter().all(|name| name != address) {
            names.push(address.to_owned());
        }
    }
    let owner = Owner::of(&config.server.data_dir).ok();
    if tls::make_own(&pair, &names, owner)? {
        let file = pair.certificate.display();
        tracing::info!(
            "tls: a self-signed certificate was made, {file} (name one that clients trust in [tls])"
        );
    }
    Ok(())
}
