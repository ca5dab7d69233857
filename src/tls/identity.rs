//! tls::identity – certificates and their keys, read from PEM files and checked before they are used.
//!
//! ```text
//!  Pair (two paths) ─▶ load: parse · key matches · dates · names ─▶ Identity ─▶ resolve (SNI, key type)
//! ```
//! Promises: a pair that is wrong in any way is refused whole, with the reason and a remedy; keys are never
//! shown. Which certificate a client sees: the first that bears the name it asked for and that it can
//! verify, else the first of all that it can verify.
//! Not here: watching files (`server::certificates`).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::limits::{CERTIFICATE_CHAIN_MAX, CERTIFICATE_FILE_BYTES_MAX};
use crate::problem::Problem;

/// Bits of a mode that let others than the owner and the group read.
const WORLD_READABLE: u32 = 0o004;

/// Where one certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the server's certificate first, then those that lead to a root.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: PathBuf,
}

/// Certificates with their keys, in order; the first is shown when no name decides.
#[derive(Debug, Clone)]
pub struct Identity {
    certificates: Vec<Certificate>,
}

/// One certificate.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    /// DNS names, lower case; a leading `*.` stands for one label.
    names: Vec<String>,
    not_after: i64,
    /// Where it came from.
    file: PathBuf,
    /// Others may read the key.
    exposed: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Certificate {
    /// DNS names it is for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Until when it is good, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// May anybody on this machine read the key?
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| matches(own, name))
    }
}

impl Identity {
    /// Reads and checks every pair; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(pairs: &[Pair], now: i64) -> Result<Self, Vec<Problem>> {
        let (mut certificates, mut problems) = (Vec::new(), Vec::new());
        for pair in pairs {
            match load(pair, now) {
                Ok(certificate) => certificates.push(certificate),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self { certificates }) } else { Err(problems) }
    }

    /// The certificates, in order.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// When the first of them ends to be good, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        self.certificates.iter().map(|certificate| certificate.not_after).min()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |one: &&Certificate| one.key.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.certificates.iter().filter(|one| one.is_for(&name)).find(usable)
        });
        let chosen = named
            .or_else(|| self.certificates.iter().find(usable))
            .or_else(|| self.certificates.first());
        chosen.map(|one| Arc::clone(&one.key))
    }
}

/// RFC 6125 §6.4.3: the star stands for the whole first label, of which there is one.
fn matches(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(rest) => {
            name.split_once('.').is_some_and(|(label, tail)| !label.is_empty() && tail == rest)
        }
        None => own == name,
    }
}

fn load(pair: &Pair, now: i64) -> Result<Certificate, Problem> {
    let file = &pair.certificate;
    let (text, _) = read(file, "give a readable file of certificates in PEM")?;
    let chain = chain(file, &text)?;
    let (text, mode) = read(&pair.private_key, "give a readable file with the private key in PEM")?;
    let key = private_key(&pair.private_key, &text)?;
    let facts = facts(file, chain.first(), now)?;
    let certified = CertifiedKey::from_der(chain, key, &super::keeper::provider())
        .map_err(|error| unusable(pair, &error))?;
    Ok(Certificate {
        key: Arc::new(certified),
        names: facts.names,
        not_after: facts.not_after,
        file: file.clone(),
        exposed: mode & WORLD_READABLE != 0,
    })
}

/// The text, which may be a key: it is zeroed when dropped; and the mode.
fn read(path: &Path, remedy: &str) -> Result<(zeroize::Zeroizing<Vec<u8>>, u32), Problem> {
    let cannot = |error| Problem::path(path, format_args!("cannot read: {error}"), remedy);
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(Problem::path(path, "not a file", remedy));
    }
    let most = CERTIFICATE_FILE_BYTES_MAX;
    let capacity = usize::try_from(metadata.len().min(most)).unwrap_or(0) + 1;
    let mut octets = zeroize::Zeroizing::new(Vec::with_capacity(capacity));
    file.take(most + 1).read_to_end(&mut octets).map_err(cannot)?;
    if octets.len() as u64 > most {
        return Err(Problem::path(path, "too long", format!("at most {most} octets are read")));
    }
    Ok((octets, metadata.mode()))
}

fn chain(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    const REMEDY: &str = "give PEM: the server's certificate first, then those of its issuers";
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain =
        chain.map_err(|error| Problem::path(file, format_args!("not PEM: {error}"), REMEDY))?;
    if chain.is_empty() {
        return Err(Problem::path(file, "no certificate in it", REMEDY));
    }
    if chain.len() > CERTIFICATE_CHAIN_MAX {
        let why = format!("{} certificates", chain.len());
        return Err(Problem::path(
            file,
            why,
            format!("a chain has at most {CERTIFICATE_CHAIN_MAX}"),
        ));
    }
    Ok(chain)
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        // The error's own text might quote the file.
        let encrypted = memchr::memmem::find(text, b"ENCRYPTED").is_some();
        let why = if encrypted { "the key is encrypted" } else { "no private key in it" };
        Problem::path(file, why, "give an unencrypted key in PEM (PKCS #8, PKCS #1 or SEC 1)")
    })
}

fn unusable(pair: &Pair, error: &Error) -> Problem {
    let key = pair.private_key.display();
    let certificate = pair.certificate.display();
    if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
        return Problem::path(
            &pair.private_key,
            format_args!("not the key of {certificate}"),
            "give the key that the certificate was made for",
        );
    }
    Problem::new(
        format!("{certificate} and {key}"),
        format_args!("cannot be used: {error}"),
        "use RSA of 2048 bits or more, ECDSA (P-256, P-384) or Ed25519",
    )
}

/// What a certificate says.
struct Facts {
    names: Vec<String>,
    not_after: i64,
}

fn facts(file: &Path, first: Option<&CertificateDer<'_>>, now: i64) -> Result<Facts, Problem> {
    let der = first.map(|der| der.as_ref()).unwrap_or_default();
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| {
        Problem::path(file, format_args!("not a certificate: {error}"), "have it issued again")
    })?;
    let validity = parsed.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now > not_after {
        let why = format!("expired on {}", validity.not_after);
        return Err(Problem::path(file, why, "renew it"));
    }
    if now < not_before {
        let why = format!("not valid before {}", validity.not_before);
        return Err(Problem::path(file, why, "look at the clock of this machine"));
    }
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let names = names.iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    });
    Ok(Facts { names: names.collect(), not_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label() {
        assert!(matches("example.org", "example.org"));
        assert!(matches("*.example.org", "a.example.org"));
        for name in ["example.org", "a.b.example.org", ".example.org", "aexample.org"] {
            assert!(!matches("*.example.org", name), "{name}");
        }
    }
}
