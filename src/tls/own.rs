//! tls::own – a certificate of our own, for servers that were given none.
//!
//! Nobody can verify it, but nobody can listen either, which is what opportunistic TLS of mail asks for
//! (RFC 7435). It is made once and stays, so that people can trust it by hand.
//!
//! Promises: never replaces a file; the key is readable by its owner only, from the first moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

use zeroize::Zeroizing;

use super::Pair;
use crate::owner::Owner;
use crate::problem::Problem;

/// Makes a self-signed certificate for `names`, and its key (ECDSA, P-256) unless there is one, when there
/// is no certificate. Was one made?
///
/// # Errors
/// What could not be read or written.
pub fn make(pair: &Pair, names: &[String], owner: Option<Owner>) -> Result<bool, Problem> {
    if exists(&pair.certificate)? {
        return Ok(false);
    }
    for path in [&pair.private_key, &pair.certificate] {
        make_parent(path, owner)?;
    }
    let failed = |error| Problem::new("tls: a certificate of our own", error, "name one in [tls]");
    // The key first: when only that was written, the next start makes a certificate for it.
    let key = if exists(&pair.private_key)? {
        let text = fs::read_to_string(&pair.private_key).map(Zeroizing::new);
        let text = text.map_err(|error| {
            Problem::path(&pair.private_key, error, "make the key readable, or remove it")
        })?;
        KeyPair::from_pem(&text).map_err(failed)?
    } else {
        let key = KeyPair::generate().map_err(failed)?;
        let text = Zeroizing::new(key.serialize_pem());
        write(&pair.private_key, text.as_bytes(), 0o600, owner)?;
        key
    };
    let certificate = sign(names, &key).map_err(failed)?;
    write(&pair.certificate, certificate.as_bytes(), 0o644, owner)?;
    Ok(true)
}

fn sign(names: &[String], key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, names.first().map_or("sluicegate", String::as_str));
    params.distinguished_name = subject;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params.self_signed(key)?.pem())
}

fn exists(path: &Path) -> Result<bool, Problem> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Problem::path(path, error, "make its directory readable")),
    }
}

fn make_parent(path: &Path, owner: Option<Owner>) -> Result<(), Problem> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    let made = made.and_then(|()| owner.map_or(Ok(()), |owner| owner.give(parent)));
    made.map_err(|error| Problem::path(parent, error, "make the directory"))
}

fn write(path: &Path, text: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), Problem> {
    let written = || -> io::Result<()> {
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text)?;
        if let Some(owner) = owner {
            owner.give_file(&file)?;
        }
        file.sync_all()
    };
    written().map_err(|error| Problem::path(path, error, "make the directory writable"))
}
