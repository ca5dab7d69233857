//! store::accounts::decoy – what is shown of a user who has no verifier for SCRAM, or is none.
//!
//! The salt that SCRAM shows must not tell who there is. So names without a verifier have a salt too, made
//! of the name and a key that `users.toml` keeps: were it another one after a restart, it would tell.
//!
//! Not here: the exchange (`sasl::scram`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use crate::sasl::scram::Verifier;

const KEY_BYTES: usize = 32;

/// The key, or none: then one of this process is used.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Key(Option<[u8; KEY_BYTES]>);

impl Key {
    /// A new one.
    pub(super) fn new() -> Result<Self, String> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        Ok(Self(Some(key)))
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// As it stands in `users.toml`.
    pub(super) fn text(&self) -> Option<String> {
        self.0.map(|key| STANDARD.encode(key))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text).ok()?.try_into().ok()?;
        Some(Self(Some(key)))
    }

    pub(super) fn of(&self, name: &str) -> Verifier {
        // Without a key nobody has a verifier, SCRAM is not offered, and nobody sees this.
        Verifier::decoy(&self.0.unwrap_or_default(), name)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
