//! ftp::convert – representations on the wire and in the file (RFC 959 §3.1).

use super::step::Representation;

/// Code page of TYPE E.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodePage {
    /// IBM-1047 (Open Systems Latin-1), newline 0x15.
    #[default]
    Cp1047,
    /// IBM-037.
    Cp037,
}

/// File octets to wire octets, in any portions.
#[derive(Debug, Clone)]
pub struct Encoder {}

impl Encoder {
    /// For this representation.
    pub fn new(_representation: Representation, _page: CodePage) -> Self {
        todo!()
    }
    /// True when wire and file octets are the same, so that `sendfile` may be used.
    pub fn is_identity(&self) -> bool {
        todo!()
    }
    /// Appends the wire form of `file` to `wire`.
    pub fn encode(&mut self, _file: &[u8], _wire: &mut Vec<u8>) {
        todo!()
    }
    /// Appends what ends the transfer (record structure: EOF mark).
    pub fn finish(&mut self, _wire: &mut Vec<u8>) {
        todo!()
    }
    /// Counts like `encode` without keeping octets (SIZE).
    pub fn count(&mut self, _file: &[u8]) -> u64 {
        todo!()
    }
    /// Counts like `finish`.
    pub fn count_finish(&mut self) -> u64 {
        todo!()
    }
}

/// Wire octets to file octets, in any portions.
#[derive(Debug, Clone)]
pub struct Decoder {}

impl Decoder {
    /// For this representation.
    pub fn new(_representation: Representation, _page: CodePage) -> Self {
        todo!()
    }
    /// True when wire and file octets are the same.
    pub fn is_identity(&self) -> bool {
        todo!()
    }
    /// Appends the file form of `wire` to `file`.
    pub fn decode(&mut self, _wire: &[u8], _file: &mut Vec<u8>) {
        todo!()
    }
    /// The connection ended. Appends what was held back; false when the stream ended in the middle
    /// of an escape or without the EOF mark record structure asks for.
    pub fn finish(&mut self, _file: &mut Vec<u8>) -> bool {
        todo!()
    }
}
