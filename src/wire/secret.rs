//! wire::secret – octets that nobody is to see: never shown, wiped when they go.
//!
//! Not here: what a copy made elsewhere leaves behind (the kernel, the buffers of a TLS record).

use std::fmt;

use zeroize::Zeroize;

/// A password, or what holds one.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the octets over.
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Appends to a text that may hold a secret: when it must move, what it leaves behind is wiped.
pub fn append(text: &mut Vec<u8>, more: &[u8]) {
    if text.capacity() - text.len() < more.len() {
        let mut larger = Vec::with_capacity((text.len() + more.len()).max(2 * text.len()));
        larger.extend_from_slice(text);
        text.zeroize();
        *text = larger;
    }
    text.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(…)");
    }

    #[test]
    fn appending_is_appending() {
        let mut text = Vec::new();
        for piece in [&b"a"[..], b"", b"bcdef", b"g"] {
            append(&mut text, piece);
        }
        assert_eq!(text, b"abcdefg");
    }
}
