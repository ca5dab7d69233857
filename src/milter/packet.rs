//! milter::packet – octets on the wire: a length of four octets, a command of one, and what belongs to it.
//!
//! Promises: no more is kept than one packet may have and what came with it; where a packet ends does not
//! depend on how the octets are split.
//! Not here: what a packet means (`response`, `dialogue`).

use super::Fault;
use crate::limits::MILTER_PACKET_BYTES_MAX;

/// Octets of the length.
const LENGTH_BYTES: usize = 4;

/// One packet from a milter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub command: u8,
    /// The rest of it.
    pub data: Vec<u8>,
}

/// Appends a packet of these parts.
pub fn push(command: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.push(command);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Collects packets.
#[derive(Debug, Default)]
pub struct Reader {
    octets: Vec<u8>,
    /// Those before are used.
    at: usize,
}

impl Reader {
    /// The next octets.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.at == self.octets.len() {
            self.octets.clear();
        } else if self.at > 0 {
            self.octets.drain(..self.at);
        }
        self.at = 0;
        self.octets.extend_from_slice(octets);
    }

    /// Is nothing left that was not used?
    pub fn is_empty(&self) -> bool {
        self.at == self.octets.len()
    }

    /// The next packet, once it is whole.
    ///
    /// # Errors
    /// A length that none has.
    pub fn take(&mut self) -> Result<Option<Packet>, Fault> {
        let rest = self.octets.get(self.at..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MILTER_PACKET_BYTES_MAX {
            return Err(Fault::LongPacket);
        }
        if length == 0 {
            return Err(Fault::EmptyPacket);
        }
        let Some((&command, data)) = rest.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let packet = Packet { command, data: data.to_vec() };
        self.at += LENGTH_BYTES + length;
        if self.is_empty() {
            // Between two packets nothing is kept.
            *self = Self::default();
        }
        Ok(Some(packet))
    }
}
