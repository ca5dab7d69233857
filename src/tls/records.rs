//! tls::records – the record layer of an open connection, for bulk: each octet is moved once, while it is
//! encrypted or decrypted.
//!
//! rustls copies what it seals twice and what it opens once. On a data connection the handshake is its part;
//! then it gives its keys away ([`Session::into_records`], the same way that TLS in the kernel would take), and
//! octets go from the caller's buffer to the wire's and back in one pass of the cipher.
//!
//! Promises: a sequence number is used once; keys are renewed before their limit (RFC 8446 §5.5) or nothing
//! more is sent; the end is said or it is none; a record that is wrong ends the connection with its alert;
//! records without content, and key updates, have an end too.
//! Not here: handshakes, what is not AES-GCM or ChaCha20-Poly1305 (RFC 8446 §9.1 has no other that we speak).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

use super::{Progress, Session, Trouble};

/// Octets of a record's header (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;
/// Plain octets of one record at most (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// Octets that a record may have beyond that (RFC 8446 §5.2; RFC 5246 §6.2.3 allows 2048, AEAD ciphers need 24).
const EXPANSION_BYTES_MAX: usize = 256;
/// Octets of every tag.
const TAG_BYTES: usize = 16;
/// Octets of the part of a nonce that TLS 1.2 sends (RFC 5288 §3).
const EXPLICIT_BYTES: usize = 8;
/// Records under one key: RFC 8446 §5.5 has 2^24.5 for AES-GCM.
const RECORDS_MAX: u64 = 1 << 24;
/// Records without content, one behind the other, and key updates of one connection.
const IDLE_RECORDS_MAX: u32 = 32;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
const USER_CANCELED: u8 = 90;
/// A whole KeyUpdate (RFC 8446 §4.6.3): type, length 1, and whether one is asked for in return.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

/// How a record looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// TLS 1.3: the type is sealed.
    Thirteen,
    /// TLS 1.2, AES-GCM: half of the nonce is in the record.
    Twelve,
    /// TLS 1.2, ChaCha20-Poly1305 (RFC 7905): none of it is.
    TwelveChaCha,
}

impl Shape {
    fn explicit(self) -> usize {
        if self == Self::Twelve { EXPLICIT_BYTES } else { 0 }
    }

    /// Octets behind the content.
    fn tail(self) -> usize {
        TAG_BYTES + usize::from(self == Self::Thirteen)
    }
}

/// The keys of one direction.
struct Half {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    /// Number of the first record under this key.
    first: u64,
}

impl Half {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<(Self, bool), Trouble> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Trouble::Internal),
        };
        let chacha = algorithm == &CHACHA20_POLY1305;
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Trouble::Internal)?;
        let iv = iv.as_ref().try_into().map_err(|_| Trouble::Internal)?;
        Ok((Self { key: LessSafeKey::new(key), iv, sequence, first: sequence }, chacha))
    }

    /// The nonce of the next record, whose number is used up.
    fn next(&mut self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let number = self.sequence.to_be_bytes();
        nonce
            .iter_mut()
            .skip(NONCE_LEN - number.len())
            .zip(number)
            .for_each(|(one, bit)| *one ^= bit);
        self.sequence += 1;
        nonce
    }
}

/// An open connection whose records are made here.
pub struct Records {
    shape: Shape,
    sending: Half,
    receiving: Half,
    keys: KernelConnection<ServerConnectionData>,
    /// The begin of a record that is not whole.
    partial: Vec<u8>,
    idle: u32,
    /// Octets that came behind the client's end, with it.
    behind: usize,
    progress: Progress,
    closed: bool,
    trouble: Option<Trouble>,
}

/// What is in a record.
struct Content {
    kind: u8,
    len: usize,
}

impl Session {
    /// Takes the record layer out of an open connection; what it still had to say was taken before.
    ///
    /// # Errors
    /// [`Trouble::Misbehaved`] before the handshake is done, [`Trouble::Internal`] for a client's.
    pub fn into_records(self) -> Result<Records, Trouble> {
        let progress = self.progress();
        let (connection, partial, closed) = self.into_parts().ok_or(Trouble::Internal)?;
        let thirteen = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let (secrets, keys) =
            connection.dangerous_into_kernel_connection().map_err(|_| Trouble::Misbehaved)?;
        let (sending, chacha) = Half::new(secrets.tx)?;
        let (receiving, _) = Half::new(secrets.rx)?;
        let shape = match (thirteen, chacha) {
            (true, _) => Shape::Thirteen,
            (false, false) => Shape::Twelve,
            (false, true) => Shape::TwelveChaCha,
        };
        Ok(Records {
            shape,
            sending,
            receiving,
            keys,
            partial,
            idle: 0,
            behind: 0,
            progress,
            closed,
            trouble: None,
        })
    }
}

impl Records {
    /// How far it is: open, or ended by the client.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// How many of the octets last opened came behind the client's end: they are no TLS.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Octets that `plain` octets take when they are sealed, at most.
    #[must_use]
    pub fn sealed_bytes(plain: usize) -> usize {
        Session::sealed_bytes(plain)
    }

    /// Seals all of `plain` into `room`, which has [`Records::sealed_bytes`] octets; how many it takes.
    ///
    /// # Errors
    /// [`Trouble::Misbehaved`] after the end; [`Trouble::Internal`] when the keys are used up.
    pub fn seal_into(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if self.closed {
            return Err(Trouble::Misbehaved);
        }
        let mut at = 0;
        for part in plain.chunks(RECORD_BYTES) {
            if self.sending.sequence - self.sending.first >= RECORDS_MAX {
                at += self.renew(room.get_mut(at..).unwrap_or_default())?;
            }
            at += self.seal(DATA, part, room.get_mut(at..).unwrap_or_default())?;
        }
        Ok(at)
    }

    /// One record.
    fn seal(&mut self, kind: u8, plain: &[u8], room: &mut [u8]) -> Result<usize, Trouble> {
        let (explicit, tail) = (self.shape.explicit(), self.shape.tail());
        let body = explicit + plain.len() + tail;
        let number = self.sending.sequence;
        let nonce = self.sending.next();
        let (header, rest) = room.split_at_mut_checked(HEADER_BYTES).ok_or(Trouble::Internal)?;
        let (body_room, _) = rest.split_at_mut_checked(body).ok_or(Trouble::Internal)?;
        let outer = if self.shape == Shape::Thirteen { DATA } else { kind };
        let [high, low] = u16::try_from(body).map_err(|_| Trouble::Internal)?.to_be_bytes();
        header.copy_from_slice(&[outer, 3, 3, high, low]);
        let (before, rest) = body_room.split_at_mut(explicit);
        before.copy_from_slice(nonce.get(NONCE_LEN - explicit..).unwrap_or_default());
        let (sealed, tag) = rest.split_at_mut(plain.len());
        let inner: &[u8] = if self.shape == Shape::Thirteen { &[kind] } else { &[] };
        let key = &self.sending.key;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let twelve = about(number, kind, plain.len())?;
        let about = Aad::from(if self.shape == Shape::Thirteen { &*header } else { &twelve });
        let done = key.seal_out_of_place_scatter(nonce, about, plain, sealed, inner, tag);
        done.map_err(|_| Trouble::Internal)?;
        Ok(HEADER_BYTES + body)
    }

    /// Says that new keys are used, and uses them. TLS 1.2 has no such thing.
    fn renew(&mut self, room: &mut [u8]) -> Result<usize, Trouble> {
        if self.shape != Shape::Thirteen {
            return self.fail(Trouble::Internal);
        }
        let [a, b, c, d] = KEY_UPDATE;
        let said = self.seal(HANDSHAKE, &[a, b, c, d, 0], room)?;
        let secrets = self.keys.update_tx_secret().map_err(|_| Trouble::Internal)?;
        self.sending = Half::new(secrets)?.0;
        Ok(said)
    }

    /// Says that we will say nothing more, once.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true) && self.trouble.is_none() {
            self.alert(WARNING, CLOSE_NOTIFY, out);
        }
    }

    fn alert(&mut self, level: u8, description: u8, out: &mut Vec<u8>) {
        let mut room = [0; 64];
        if let Ok(count) = self.seal(ALERT, &[level, description], &mut room) {
            out.extend_from_slice(room.get(..count).unwrap_or_default());
        }
    }

    /// Uses all of `wire`. What the client said goes to `room`, and what does not fit there to the end of
    /// `beside`; what it must be told to the end of `out`. How much went into `room`.
    ///
    /// # Errors
    /// What ended the connection; `out` may hold the alert that says so.
    pub fn open(
        &mut self,
        mut wire: &[u8],
        room: &mut [u8],
        beside: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let mut filled = 0;
        while !wire.is_empty() && self.progress != Progress::Ended {
            let kept = self.partial.len();
            let begun: &[u8] = if kept == 0 { wire } else { &self.partial };
            let wanted = record_bytes(begun).unwrap_or(HEADER_BYTES);
            if wanted > HEADER_BYTES + RECORD_BYTES + EXPANSION_BYTES_MAX {
                self.alert(FATAL, RECORD_OVERFLOW, out);
                return self.fail(Trouble::Misbehaved);
            }
            let Some((now, rest)) = wire.split_at_checked(wanted - kept) else {
                self.partial.extend_from_slice(wire);
                break;
            };
            wire = rest;
            let room = room.get_mut(filled..).unwrap_or_default();
            if kept == 0 {
                filled += self.take(now, room, beside, out)?;
            } else {
                self.partial.extend_from_slice(now);
                // It may be no more than the header that is whole now.
                if record_bytes(&self.partial) == Some(self.partial.len()) {
                    let record = std::mem::take(&mut self.partial);
                    filled += self.take(&record, room, beside, out)?;
                }
            }
            if self.progress == Progress::Ended {
                self.behind = wire.len();
            }
        }
        Ok(filled)
    }

    /// Opens one whole record.
    fn take(
        &mut self,
        record: &[u8],
        room: &mut [u8],
        beside: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Trouble> {
        let (header, body) = record.split_at(HEADER_BYTES);
        let sealed = body.len().saturating_sub(self.shape.explicit() + TAG_BYTES);
        let outer = header.first().copied().unwrap_or_default();
        // Straight into the room when it is data and fits; the type comes out with the content.
        let mut own = Vec::new();
        let straight = outer == DATA && sealed <= room.len() && beside.is_empty();
        let content = if straight {
            self.unseal(header, body, room.get_mut(..sealed).unwrap_or_default())
        } else {
            own = vec![0; sealed];
            self.unseal(header, body, &mut own)
        };
        let Some(content) = content else {
            self.alert(FATAL, BAD_RECORD_MAC, out);
            return self.fail(Trouble::BadRecord);
        };
        if content.len > RECORD_BYTES {
            self.alert(FATAL, RECORD_OVERFLOW, out);
            return self.fail(Trouble::Misbehaved);
        }
        if content.kind != DATA {
            let said = if straight { room.get(..content.len) } else { own.get(..content.len) };
            let said = said.unwrap_or_default().to_vec();
            return self.control(content.kind, &said, out).map(|()| 0);
        }
        if content.len == 0 {
            self.idle += 1;
            if self.idle > IDLE_RECORDS_MAX {
                self.alert(FATAL, UNEXPECTED_MESSAGE, out);
                return self.fail(Trouble::Misbehaved);
            }
            return Ok(0);
        }
        self.idle = 0;
        if straight {
            return Ok(content.len);
        }
        let fits = content.len.min(room.len());
        let (now, later) = own.get(..content.len).unwrap_or_default().split_at(fits);
        // The order is kept: nothing goes to the room once something is beside it.
        if beside.is_empty() {
            room.get_mut(..fits).unwrap_or_default().copy_from_slice(now);
            beside.extend_from_slice(later);
            return Ok(fits);
        }
        beside.extend_from_slice(now);
        beside.extend_from_slice(later);
        Ok(0)
    }

    /// Decrypts and verifies; `None` when it does not verify.
    fn unseal(&mut self, header: &[u8], body: &[u8], room: &mut [u8]) -> Option<Content> {
        let number = self.receiving.sequence;
        let mut nonce = self.receiving.next();
        let kind = *header.first()?;
        let (explicit, body) = body.split_at_checked(self.shape.explicit())?;
        let (sealed, tag) = body.split_at_checked(room.len())?;
        if self.shape == Shape::Twelve {
            nonce.get_mut(NONCE_LEN - EXPLICIT_BYTES..)?.copy_from_slice(explicit);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = &self.receiving.key;
        if self.shape != Shape::Thirteen {
            let about = Aad::from(about(number, kind, room.len()).ok()?);
            key.open_separate_gather(nonce, about, sealed, tag, room).ok()?;
            return Some(Content { kind, len: room.len() });
        }
        // RFC 8446 §5.2: what is sealed looks like data from outside.
        if kind != DATA {
            return None;
        }
        key.open_separate_gather(nonce, Aad::from(header), sealed, tag, room).ok()?;
        // §5.4: zeros behind the type are padding.
        let end = room.iter().rposition(|octet| *octet != 0)?;
        Some(Content { kind: *room.get(end)?, len: end })
    }

    /// What is no data: alerts and key updates.
    fn control(&mut self, kind: u8, said: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        match (kind, said) {
            (ALERT, [_, CLOSE_NOTIFY]) => {
                self.progress = Progress::Ended;
                self.partial = Vec::new();
                Ok(())
            }
            (ALERT, [WARNING, USER_CANCELED]) => self.idled(out),
            (ALERT, [level, number]) => {
                // RFC 8446 §6: all others are fatal there; a warning of TLS 1.2 is none on this connection.
                if *level == WARNING && self.shape != Shape::Thirteen {
                    return self.idled(out);
                }
                self.fail(Trouble::Alert(*number))
            }
            (HANDSHAKE, [a, b, c, d, asked])
                if [*a, *b, *c, *d] == KEY_UPDATE && self.shape == Shape::Thirteen =>
            {
                self.idled(out)?;
                let secrets = self.keys.update_rx_secret().map_err(|_| Trouble::Internal)?;
                self.receiving = Half::new(secrets)?.0;
                if *asked == 1 && !self.closed {
                    let mut room = [0; 64];
                    let said = self.renew(&mut room)?;
                    out.extend_from_slice(room.get(..said).unwrap_or_default());
                }
                Ok(())
            }
            (ALERT, _) => {
                self.alert(FATAL, DECODE_ERROR, out);
                self.fail(Trouble::Misbehaved)
            }
            // A second handshake among them (RFC 5246 §7.4.1.1): nobody gets one here.
            _ => {
                self.alert(FATAL, UNEXPECTED_MESSAGE, out);
                self.fail(Trouble::Misbehaved)
            }
        }
    }

    /// A record that moved nothing forward.
    fn idled(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        self.idle += 1;
        if self.idle > IDLE_RECORDS_MAX {
            self.alert(FATAL, UNEXPECTED_MESSAGE, out);
            return self.fail(Trouble::Misbehaved);
        }
        Ok(())
    }

    fn fail<T>(&mut self, trouble: Trouble) -> Result<T, Trouble> {
        self.trouble = Some(trouble);
        self.partial = Vec::new();
        Err(trouble)
    }
}

/// Octets of the record that `wire` begins with; `None` when not even its header is whole.
fn record_bytes(wire: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = wire.first_chunk::<HEADER_BYTES>()?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([high, low])))
}

/// What a record of TLS 1.2 is about (RFC 5246 §6.2.3.3).
fn about(number: u64, kind: u8, len: usize) -> Result<[u8; 13], Trouble> {
    let mut about = [0; 13];
    let (first, rest) = about.split_at_mut(8);
    first.copy_from_slice(&number.to_be_bytes());
    let [high, low] = u16::try_from(len).map_err(|_| Trouble::Misbehaved)?.to_be_bytes();
    rest.copy_from_slice(&[kind, 3, 3, high, low]);
    Ok(about)
}
