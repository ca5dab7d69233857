//! tls::records – the octets of a data connection, once its handshake is done.
//!
//! rustls makes the keys; here records are sealed where they lie, because a file is read into the very
//! place it is sent from. rustls would copy every octet twice on that way. A record in memory:
//!
//! ```text
//!  │ head │ up to 16,384 plain octets │ tail │ head │ …      head: 5, and 8 for the nonce of AES-GCM in TLS 1.2
//!  └──────────────── stride ─────────────────┘               tail: 16 of the tag, and 1 for the type in TLS 1.3
//! ```
//! It is also all that a kernel would take over (TCP_ULP "tls"): keys, numbers of records, and who
//! changes keys.
//!
//! Promises: no number of a record is used twice with one key; with TLS 1.3 keys are changed when the
//! client asks for it and before AES-GCM grows weak, with TLS 1.2 the connection ends there; what is
//! not application data, an alert or a change of keys ends the connection with the right alert.
//! Not here: handshakes (`session`), sockets.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::Trouble;
use super::session::RECORD_BYTES;

/// Type, version and length of a record (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;
/// What an AEAD adds, for all three there are.
const TAG_BYTES: usize = 16;
/// Nonce in the record with AES-GCM in TLS 1.2 (RFC 5288 §3).
const EXPLICIT_BYTES: usize = 8;
/// A record is at most so much longer than its plain octets (RFC 8446 §5.2).
const EXPANSION_BYTES_MAX: usize = 256;
/// Records after which a key of AES-GCM is replaced (RFC 8446 §5.5: 2^24.5).
const KEY_RECORDS_MAX: u64 = 1 << 24;
/// Records without any content, and changes of keys, that may come between two with some.
const EMPTY_MAX: u32 = 32;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// RFC 8446 §4.6.3: type, length 1, and whether the same is asked of us.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];

const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// How records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// TLS 1.3.
    Modern,
    /// TLS 1.2 with AES-GCM.
    Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305 (RFC 7905).
    Implicit,
}

/// One direction.
struct Half {
    key: LessSafeKey,
    iv: [u8; 12],
    /// Number of the next record.
    number: u64,
    /// Number that must not be reached.
    end: u64,
}

impl Half {
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Trouble> {
        let (algorithm, key, iv, end) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&AES_128_GCM, key, iv, KEY_RECORDS_MAX)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&AES_256_GCM, key, iv, KEY_RECORDS_MAX)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, u64::MAX)
            }
            _ => return Err(Trouble::Internal),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Trouble::Internal)?;
        let iv = iv.as_ref().try_into().map_err(|_| Trouble::Internal)?;
        Ok(Self { key: LessSafeKey::new(key), iv, number, end })
    }

    /// The nonce of the next record (RFC 8446 §5.3; for TLS 1.2 rustls begins at the same place).
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (octet, number) in nonce.iter_mut().skip(4).zip(self.number.to_be_bytes()) {
            *octet ^= number;
        }
        nonce
    }
}

/// Both directions of a data connection.
pub struct Records {
    connection: KernelConnection<ServerConnectionData>,
    form: Form,
    outgoing: Half,
    incoming: Half,
    /// A record that has not come whole.
    partial: Vec<u8>,
    empty: u32,
    /// Octets that came behind its end, in the last portion.
    behind: usize,
    /// The client said that it says nothing more.
    ended: bool,
    closed: bool,
    trouble: Option<Trouble>,
}

impl Records {
    /// Takes over after a handshake. `partial` is what came and was not used.
    pub(super) fn new(
        connection: UnbufferedServerConnection,
        partial: Vec<u8>,
        ended: bool,
    ) -> Result<Self, Trouble> {
        let (secrets, connection) =
            connection.dangerous_into_kernel_connection().map_err(|_| Trouble::Internal)?;
        let form = match (connection.protocol_version(), &secrets.tx.1) {
            (ProtocolVersion::TLSv1_3, _) => Form::Modern,
            (_, ConnectionTrafficSecrets::Chacha20Poly1305 { .. }) => Form::Implicit,
            _ => Form::Explicit,
        };
        Ok(Self {
            connection,
            form,
            outgoing: Half::new(secrets.tx)?,
            incoming: Half::new(secrets.rx)?,
            partial,
            empty: 0,
            behind: 0,
            ended,
            closed: false,
            trouble: None,
        })
    }

    /// Octets before the plain ones of a record.
    #[must_use]
    pub fn head(&self) -> usize {
        match self.form {
            Form::Explicit => HEADER_BYTES + EXPLICIT_BYTES,
            Form::Modern | Form::Implicit => HEADER_BYTES,
        }
    }

    /// Octets behind them.
    fn tail(&self) -> usize {
        match self.form {
            Form::Modern => 1 + TAG_BYTES,
            Form::Explicit | Form::Implicit => TAG_BYTES,
        }
    }

    /// Octets of a full record.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.head() + RECORD_BYTES + self.tail()
    }

    /// Plain octets of full records that fit into `room` octets.
    #[must_use]
    pub fn capacity(&self, room: usize) -> usize {
        room / self.stride() * RECORD_BYTES
    }

    /// Copies plain octets to where [`Records::seal`] wants them; not more than [`Records::capacity`].
    pub fn lay_out(&self, plain: &[u8], room: &mut [u8]) {
        for (piece, place) in plain.chunks(RECORD_BYTES).zip(room.chunks_mut(self.stride())) {
            if let Some(place) = place.get_mut(self.head()..self.head() + piece.len()) {
                place.copy_from_slice(piece);
            }
        }
    }

    /// To be called before [`Records::seal`]: changes keys in good time; `out` gets what the client must
    /// be told first.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when the keys are used up and TLS 1.2 has no others.
    pub fn prepare(&mut self, records: usize, out: &mut Vec<u8>) -> Result<(), Trouble> {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        // One for what may have to be said at the end.
        if self.outgoing.number.saturating_add(records).saturating_add(2) < self.outgoing.end {
            return Ok(());
        }
        if self.form != Form::Modern {
            return Err(Trouble::Internal);
        }
        self.update_outgoing(out)
    }

    /// Seals `plain` octets that lie in `room` piece by piece, in strides; how many octets they are now, from
    /// the beginning of `room`.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when the keys are used up (see [`Records::prepare`]), or after the end.
    pub fn seal(&mut self, room: &mut [u8], plain: usize) -> Result<usize, Trouble> {
        if self.closed {
            return Err(Trouble::Internal);
        }
        let mut left = plain;
        let mut sealed = 0;
        for place in room.chunks_mut(self.stride()) {
            if left == 0 {
                return Ok(sealed);
            }
            let count = left.min(RECORD_BYTES);
            sealed += self.seal_one(APPLICATION_DATA, place, count)?;
            left -= count;
        }
        if left == 0 { Ok(sealed) } else { Err(Trouble::Internal) }
    }

    /// Seals one record in place; how long it is.
    fn seal_one(&mut self, kind: u8, place: &mut [u8], plain: usize) -> Result<usize, Trouble> {
        let (form, head, tail) = (self.form, self.head(), self.tail());
        let half = &mut self.outgoing;
        let total = head + plain + tail;
        let place = place.get_mut(..total).ok_or(Trouble::Internal)?;
        if half.number >= half.end {
            return Err(Trouble::Internal);
        }
        let nonce = half.nonce();
        let length = u16::try_from(total - HEADER_BYTES).map_err(|_| Trouble::Internal)?;
        let outer = if form == Form::Modern { APPLICATION_DATA } else { kind };
        let header = header(outer, length);
        let (front, rest) = place.split_at_mut(head);
        front[..HEADER_BYTES].copy_from_slice(&header);
        if form == Form::Explicit {
            front[HEADER_BYTES..].copy_from_slice(&nonce[4..]);
        }
        let inner = if form == Form::Modern { plain + 1 } else { plain };
        if form == Form::Modern {
            rest[plain] = kind;
        }
        let (text, tag) = rest.split_at_mut(inner);
        let about = about(form, half.number, kind, header, plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = half.key.seal_in_place_separate_tag(nonce, Aad::from(about.as_ref()), text);
        tag.copy_from_slice(sealed.map_err(|_| Trouble::Internal)?.as_ref());
        half.number += 1;
        Ok(total)
    }

    /// Seals a message that is no application data to the end of `out`.
    fn say(&mut self, kind: u8, message: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        let begin = out.len();
        out.resize(begin + self.head() + message.len() + self.tail(), 0);
        let place = out.get_mut(begin..).unwrap_or_default();
        let head = self.head();
        place[head..head + message.len()].copy_from_slice(message);
        let said = self.seal_one(kind, place, message.len());
        if said.is_err() {
            out.truncate(begin);
        }
        said.map(drop)
    }

    /// Says that we will say nothing more, once (RFC 8446 §6.1).
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true) && self.trouble.is_none() {
            // Without keys there is no way to say it: the client takes it for cut off, which is right.
            self.say(ALERT, &[WARNING, CLOSE_NOTIFY], out).unwrap_or_default();
        }
    }

    /// How many of the octets last received came behind the client's end: they are no TLS.
    #[must_use]
    pub fn behind(&self) -> usize {
        if self.ended { self.behind } else { 0 }
    }

    /// Seals all of `plain` to the end of `out`, where little is to be said.
    ///
    /// # Errors
    /// As for [`Records::seal`].
    pub fn say_all(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        let pieces = plain.chunks(RECORD_BYTES);
        self.prepare(pieces.len(), out)?;
        pieces.into_iter().try_for_each(|piece| self.say(APPLICATION_DATA, piece, out))
    }

    /// Uses all of `octets`, as `Session::receive` does. True when the client said that it says nothing more.
    ///
    /// # Errors
    /// What ended the connection; `out` has the alert that says so.
    pub fn receive(
        &mut self,
        octets: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let taken = self.take(octets, out, plain);
        taken.map_err(|(trouble, alert)| {
            self.trouble = Some(trouble);
            self.partial = Vec::new();
            if let Some(alert) = alert {
                self.say(ALERT, &[FATAL, alert], out).unwrap_or_default();
            }
            trouble
        })
    }

    fn take(
        &mut self,
        octets: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Broken> {
        let mut rest = octets;
        while !self.ended {
            if self.partial.is_empty() {
                let Some(length) = length(rest)? else { break };
                if rest.len() < length {
                    break;
                }
                let (record, behind) = std::mem::take(&mut rest).split_at_mut(length);
                rest = behind;
                self.take_one(record, out, plain)?;
                continue;
            }
            // Of the record that is kept as much as makes it whole, its header first.
            let whole = length(&self.partial)?.unwrap_or(HEADER_BYTES);
            let missing = whole.saturating_sub(self.partial.len());
            let missing = missing.min(rest.len());
            let (more, behind) = std::mem::take(&mut rest).split_at_mut(missing);
            self.partial.extend_from_slice(more);
            rest = behind;
            if self.partial.len() < whole {
                return Ok(false);
            }
            if length(&self.partial)? == Some(self.partial.len()) {
                let mut record = std::mem::take(&mut self.partial);
                self.take_one(&mut record, out, plain)?;
            }
        }
        if !self.ended {
            self.partial.extend_from_slice(rest);
        }
        // What comes behind the end is not looked at (RFC 8446 §6.1).
        self.behind = rest.len();
        Ok(self.ended)
    }

    /// One whole record.
    fn take_one(
        &mut self,
        record: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        let (kind, text) = self.open(record)?;
        let meaningless = match (kind, &*text) {
            (APPLICATION_DATA, text) => {
                plain(text);
                text.is_empty()
            }
            (ALERT, &[level, alert]) => {
                self.alerted(level, alert)?;
                true
            }
            (HANDSHAKE, &[a, b, c, d, asked])
                if self.form == Form::Modern && [a, b, c, d] == KEY_UPDATE =>
            {
                self.updated(asked, out)?;
                true
            }
            // Renegotiation of TLS 1.2 among others, which is not to be had.
            _ => return Err((Trouble::Misbehaved, Some(UNEXPECTED_MESSAGE))),
        };
        self.empty = if meaningless { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_MAX {
            return Err((Trouble::Misbehaved, Some(UNEXPECTED_MESSAGE)));
        }
        Ok(())
    }

    /// Opens a record in place: its type, and what it says.
    fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<(u8, &'r mut [u8]), Broken> {
        let misplaced = (Trouble::Misbehaved, Some(UNEXPECTED_MESSAGE));
        let bad = (Trouble::BadRecord, Some(BAD_RECORD_MAC));
        let form = self.form;
        let head = self.head();
        let half = &mut self.incoming;
        if half.number == u64::MAX {
            return Err((Trouble::Internal, Some(INTERNAL_ERROR)));
        }
        let (front, sealed) = record.split_at_mut_checked(head).ok_or(bad)?;
        let outer = front[0];
        if outer == CHANGE_CIPHER_SPEC || form == Form::Modern && outer != APPLICATION_DATA {
            return Err(misplaced);
        }
        let inner = sealed.len().checked_sub(TAG_BYTES).ok_or(bad)?;
        let mut nonce = half.nonce();
        if form == Form::Explicit {
            nonce[4..].copy_from_slice(&front[HEADER_BYTES..]);
        }
        let header = [front[0], front[1], front[2], front[3], front[4]];
        let about = about(form, half.number, outer, header, inner);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = half.key.open_in_place(nonce, Aad::from(about.as_ref()), sealed);
        let text = opened.map_err(|_| bad)?;
        half.number += 1;
        let (kind, end) = if form == Form::Modern {
            // RFC 8446 §5.4: the type is the last octet that is not zero.
            let at = text.iter().rposition(|&octet| octet != 0).ok_or(misplaced)?;
            (text[at], at)
        } else {
            (outer, text.len())
        };
        if end > RECORD_BYTES {
            return Err((Trouble::Misbehaved, Some(RECORD_OVERFLOW)));
        }
        Ok((kind, &mut text[..end]))
    }

    fn alerted(&mut self, level: u8, alert: u8) -> Result<(), Broken> {
        match alert {
            CLOSE_NOTIFY => {
                self.ended = true;
                Ok(())
            }
            USER_CANCELED => Ok(()),
            _ if self.form != Form::Modern && level == WARNING => Ok(()),
            // RFC 8446 §6.2: every other alert is fatal, whatever level it names; none answers it.
            alert => Err((Trouble::Alert(alert), None)),
        }
    }

    /// The client changed its keys (RFC 8446 §4.6.3), and perhaps wants us to do so.
    fn updated(&mut self, asked: u8, out: &mut Vec<u8>) -> Result<(), Broken> {
        let internal = |_| (Trouble::Internal, Some(INTERNAL_ERROR));
        if asked > 1 {
            return Err((Trouble::Misbehaved, Some(ILLEGAL_PARAMETER)));
        }
        let secrets = self.connection.update_rx_secret().map_err(|_| Trouble::Internal);
        self.incoming = secrets.and_then(Half::new).map_err(internal)?;
        if asked == 1 && !self.closed {
            self.update_outgoing(out).map_err(internal)?;
        }
        Ok(())
    }

    /// Tells the client that we change our keys, and does so.
    fn update_outgoing(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        let [kind, a, b, c] = KEY_UPDATE;
        self.say(HANDSHAKE, &[kind, a, b, c, 0], out)?;
        let secrets = self.connection.update_tx_secret().map_err(|_| Trouble::Internal)?;
        self.outgoing = Half::new(secrets)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn tire(&mut self, records: u64) {
        self.outgoing.end = self.outgoing.number + records;
    }
}

/// Why a connection is no more, and the alert that says so.
type Broken = (Trouble, Option<u8>);

fn header(kind: u8, length: u16) -> [u8; HEADER_BYTES] {
    let [high, low] = length.to_be_bytes();
    // RFC 8446 §5.1: 0x0303 in both versions.
    [kind, 3, 3, high, low]
}

/// Length of the record that begins here, its header included; `None` while that is not here.
fn length(octets: &[u8]) -> Result<Option<usize>, Broken> {
    let Some(&[_, _, _, high, low]) = octets.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > RECORD_BYTES + EXPANSION_BYTES_MAX {
        return Err((Trouble::Misbehaved, Some(RECORD_OVERFLOW)));
    }
    Ok(Some(HEADER_BYTES + length))
}

/// What is authenticated beside a record: its header (RFC 8446 §5.2), or its number and what the header
/// would be without a cipher (RFC 5246 §6.2.3.3).
fn about(form: Form, number: u64, kind: u8, header: [u8; HEADER_BYTES], plain: usize) -> About {
    let mut octets = [0; 13];
    if form == Form::Modern {
        octets[..HEADER_BYTES].copy_from_slice(&header);
        return About { octets, count: HEADER_BYTES };
    }
    let [.., high, low] = plain.to_be_bytes();
    octets[..8].copy_from_slice(&number.to_be_bytes());
    octets[8..].copy_from_slice(&[kind, 3, 3, high, low]);
    About { octets, count: 13 }
}

struct About {
    octets: [u8; 13],
    count: usize,
}

impl AsRef<[u8]> for About {
    fn as_ref(&self) -> &[u8] {
        &self.octets[..self.count]
    }
}
