//! store::accounts::password – hashes, and checking them in a time that tells nothing.
//!
//! New passwords are Argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane). SHA-512-crypt
//! (`$6$`, as in /etc/shadow) is accepted for import. A verification always does the Argon2 work,
//! and the SHA-512 work too when any user has such a hash, so that neither the existence of a
//! user nor the kind of their hash shows in the time it takes. (A hash imported with other
//! parameters than ours does show: it takes as long as it asks for.)
//!
//! Promises: work and memory of an imported hash are bounded when it is read, not when it is used.

use std::fmt;
use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier};
use sha_crypt::ShaCrypt;
use zeroize::Zeroize;

use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, PASSWORD_BYTES_MAX,
    SHA512_ROUNDS_MAX,
};

/// A password hash that is known to be well-formed and affordable.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Argon2(String),
    Sha512(String),
}

impl Hash {
    /// Hashes a new password with a salt from the system.
    pub fn new(password: &[u8]) -> Result<Self, String> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(format!("a password has 1 to {PASSWORD_BYTES_MAX} octets"));
        }
        if password.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
            return Err("a password is one line of text".to_owned());
        }
        let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password);
        hash.map(|hash| Self(Kind::Argon2(hash.to_string()))).map_err(|error| error.to_string())
    }

    /// Takes a hash made elsewhere: `$argon2id$…` or `$6$…`.
    pub fn import(text: &str) -> Result<Self, String> {
        if text.starts_with("$argon2id$") {
            return import_argon2(text);
        }
        if text.starts_with("$6$") {
            return import_sha512(text);
        }
        Err("only Argon2id ($argon2id$…) and SHA-512-crypt ($6$…) hashes are understood".to_owned())
    }

    /// The hash as it is kept in `users.toml`.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Argon2(text) | Kind::Sha512(text) => text,
        }
    }

    pub(super) fn is_sha512(&self) -> bool {
        matches!(self.0, Kind::Sha512(_))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_sha512() { "Hash($6$…)" } else { "Hash($argon2id$…)" })
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        match &mut self.0 {
            Kind::Argon2(text) | Kind::Sha512(text) => text.zeroize(),
        }
    }
}

fn import_argon2(text: &str) -> Result<Hash, String> {
    let parsed = PasswordHash::new(text).map_err(|error| format!("not an Argon2 hash: {error}"))?;
    let params =
        Params::try_from(&parsed).map_err(|error| format!("not an Argon2 hash: {error}"))?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err("the hash is cut off".to_owned());
    }
    let affordable = params.m_cost() <= ARGON2_MEMORY_KIB_MAX
        && params.t_cost() <= ARGON2_PASSES_MAX
        && params.p_cost() <= ARGON2_LANES_MAX;
    if !affordable {
        return Err(format!(
            "the hash costs too much to check (at most m={ARGON2_MEMORY_KIB_MAX}, t={ARGON2_PASSES_MAX}, p={ARGON2_LANES_MAX})"
        ));
    }
    Ok(Hash(Kind::Argon2(text.to_owned())))
}

/// `$6$[rounds=N$]SALT$HASH`: salt at most 16 characters, hash exactly 86.
fn import_sha512(text: &str) -> Result<Hash, String> {
    let base64 =
        |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    let mut rest = text.strip_prefix("$6$").unwrap_or_default();
    if let Some((rounds, after)) =
        rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$'))
    {
        let known =
            rounds.parse::<u32>().is_ok_and(|rounds| (1000..=SHA512_ROUNDS_MAX).contains(&rounds));
        if !known {
            return Err(format!("rounds must be 1000 to {SHA512_ROUNDS_MAX}"));
        }
        rest = after;
    }
    match rest.split_once('$') {
        Some((salt, hash))
            if !salt.is_empty()
                && salt.len() <= 16
                && base64(salt)
                && hash.len() == 86
                && base64(hash) =>
        {
            Ok(Hash(Kind::Sha512(text.to_owned())))
        }
        _ => Err("not a SHA-512-crypt hash ($6$SALT$ and 86 characters)".to_owned()),
    }
}

/// True when `hash` is there and `password` is right. The work depends on `mixed` only.
pub(super) fn verify(hash: Option<&Hash>, password: &[u8], mixed: bool) -> bool {
    let fits = password.len() <= PASSWORD_BYTES_MAX;
    let password = password.get(..PASSWORD_BYTES_MAX.min(password.len())).unwrap_or_default();
    let (argon2, sha512) = match hash.map(|hash| &hash.0) {
        Some(Kind::Argon2(text)) => (Some(text.as_str()), None),
        Some(Kind::Sha512(text)) => (None, Some(text.as_str())),
        None => (None, None),
    };
    let by_argon2 = argon2_matches(argon2.unwrap_or(&DUMMY_ARGON2), password) && argon2.is_some();
    let by_sha512 =
        mixed && sha512_matches(sha512.unwrap_or(DUMMY_SHA512), password) && sha512.is_some();
    fits && (by_argon2 | by_sha512)
}

fn argon2_matches(text: &str, password: &[u8]) -> bool {
    let Ok(hash) = PasswordHash::new(text) else { return false };
    argon2().verify_password(password, &hash).is_ok()
}

fn sha512_matches(text: &str, password: &[u8]) -> bool {
    ShaCrypt::default().verify_password(password, text).is_ok()
}

/// The parameters of a verification come from the hash; these are for new ones.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, Params::DEFAULT)
}

/// What a user that does not exist is checked against: the parameters of a new hash, and a
/// password nobody knows.
static DUMMY_ARGON2: LazyLock<String> = LazyLock::new(|| {
    let mut nobody = [0_u8; 32];
    // Without randomness the dummy is as good: its answer is never used.
    if getrandom::fill(&mut nobody).is_err() {
        nobody.fill(0x5a);
    }
    let hash: Result<PasswordHash, _> =
        argon2().hash_password_with_salt(&nobody, b"sluicegate dummy");
    hash.map(|hash| hash.to_string()).unwrap_or_default()
});

/// A hash of nothing in particular, with the usual 5000 rounds.
const DUMMY_SHA512: &str = "$6$sluicegatedummy0$\
    ........................................\
    ..............................................";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dummies_cost_what_real_hashes_cost() {
        assert!(Hash::import(DUMMY_SHA512).is_ok());
        let dummy = PasswordHash::new(&DUMMY_ARGON2).unwrap();
        let real = Hash::new(b"x").unwrap();
        let real = PasswordHash::new(real.as_str()).unwrap();
        assert_eq!(
            (dummy.algorithm, dummy.version, dummy.params),
            (real.algorithm, real.version, real.params)
        );
    }
}
