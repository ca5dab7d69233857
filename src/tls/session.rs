//! tls::session – one connection: what comes in is decrypted, what goes out is encrypted.
//!
//! ```text
//!   octets ─▶ receive ─▶ plain (what the client said)          octets ◀─ out ◀─ seal ◀─ plain
//!                   └──▶ out   (handshake, alerts, tickets)
//! ```
//! Promises: octets may come split anywhere; of a record that is not whole at most one is kept, and
//! nothing when all are; a fatal error puts the alert for it into `out`, once, and stays.
//! Not here: sockets, deadlines.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ProtocolVersion};

use super::{Info, Offer, Trouble};
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;

/// Octets of a record's header (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;
/// Plain octets of one record at most (RFC 8446 §5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds: header, content type or explicit nonce, tag; rounded up.
pub(super) const OVERHEAD_BYTES: usize = 40;
/// Room beside records for what must go first (a key update).
const SPARE_BYTES: usize = 128;

/// The alert for a client whose versions are all too old (RFC 8446 §6.2).
const PROTOCOL_VERSION: u8 = 70;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The handshake goes on.
    Handshake,
    /// Both sides may speak.
    Open,
    /// The client said that it will say nothing more; we may still speak.
    Ended,
}

/// One TLS connection, the server's side.
pub struct Session {
    connection: UnbufferedServerConnection,
    offer: Offer,
    /// What cannot be used before more has come.
    partial: Vec<u8>,
    /// Octets of the handshake so far.
    handshake_bytes: usize,
    progress: Progress,
    closed: bool,
    trouble: Option<Trouble>,
}

impl Session {
    /// Waits for the client to begin.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when there is no randomness.
    pub fn new(offer: &Offer) -> Result<Self, Trouble> {
        let connection =
            UnbufferedServerConnection::new(offer.config()).map_err(|error| trouble(&error))?;
        Ok(Self {
            connection,
            offer: offer.clone(),
            partial: Vec::new(),
            handshake_bytes: 0,
            progress: Progress::Handshake,
            closed: false,
            trouble: None,
        })
    }

    /// Uses all of `octets`: what the client said goes to `plain`, piece by piece, what it must be told
    /// to the end of `out`. `octets` are overwritten.
    ///
    /// # Errors
    /// What ended the connection; `out` may hold the alert that says so.
    pub fn receive(
        &mut self,
        octets: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<Progress, Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        let mut rest = octets;
        while !rest.is_empty() && self.progress != Progress::Ended {
            if self.progress == Progress::Handshake {
                self.handshake_bytes = self.handshake_bytes.saturating_add(rest.len());
                // A client that sends its first words behind the handshake is not punished for it.
                if self.handshake_bytes > TLS_HANDSHAKE_BYTES_MAX + RECORD_BYTES {
                    return self.fail(Trouble::TooMuch);
                }
            }
            let used = if self.partial.is_empty() {
                let used = self.drive(rest, out, plain)?;
                self.keep(rest.get(used..).unwrap_or_default());
                rest.len()
            } else {
                let take = self.wanted().min(rest.len());
                self.partial.extend_from_slice(rest.get(..take).unwrap_or_default());
                self.drive_partial(out, plain)?;
                take
            };
            rest = rest.get_mut(used..).unwrap_or_default();
        }
        Ok(self.progress)
    }

    /// How many octets make what is kept a whole record.
    fn wanted(&self) -> usize {
        let kept = self.partial.len();
        match self.partial.get(..HEADER_BYTES) {
            None => HEADER_BYTES - kept,
            Some(header) => {
                let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
                // A message over several records keeps records that are whole: then whatever comes.
                let missing = (HEADER_BYTES + body).saturating_sub(kept);
                if missing == 0 { usize::MAX } else { missing }
            }
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.progress != Progress::Ended && !rest.is_empty() {
            self.partial.extend_from_slice(rest);
        }
    }

    fn drive_partial(
        &mut self,
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Trouble> {
        let mut partial = std::mem::take(&mut self.partial);
        let used = self.drive(&mut partial, out, plain)?;
        if used < partial.len() && self.progress != Progress::Ended {
            partial.drain(..used);
            self.partial = partial;
        }
        Ok(())
    }

    /// Lets rustls have all records that are whole. How many octets it is done with.
    fn drive(
        &mut self,
        octets: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Trouble> {
        let mut used = 0;
        loop {
            let rest = octets.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            let mut done = false;
            let failed = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            used += record.discard;
                            plain(record.payload);
                        }
                        Some(Err(error)) => break Some(error),
                        None => break None,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room));
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.progress = Progress::Ended;
                    None
                }
                // 0-RTT is never accepted (`Offer`), so that there is none to read.
                Ok(_) => {
                    done = true;
                    None
                }
                Err(error) => Some(error),
            };
            used += discard;
            if let Some(error) = failed {
                let old = self.progress == Progress::Handshake && is_old_hello(octets);
                let rest = octets.get_mut(used..).unwrap_or_default();
                return self.broke(&error, old, rest, out);
            }
            if done {
                break;
            }
        }
        if self.progress == Progress::Handshake && !self.connection.is_handshaking() {
            self.progress = Progress::Open;
        }
        Ok(used)
    }

    /// Puts the alert into `out` and remembers what happened. `old`: the client knows nothing newer
    /// than TLS 1.1, of which rustls misses an extension before it looks at the version. `rest`: what rustls is
    /// not done with; it remembers how far it looked into that, and panics when it is not there.
    fn broke(
        &mut self,
        error: &Error,
        old: bool,
        rest: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, Trouble> {
        // Only while something is to be said: else it would look at what is wrong once more.
        while self.connection.wants_write() {
            match self.connection.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room));
                }
                _ => break,
            }
        }
        if old
            && matches!(error, Error::PeerIncompatible(_))
            && let [.., 21, _, _, 0, 2, 2, description] = out.as_mut_slice()
        {
            *description = PROTOCOL_VERSION;
        }
        self.fail(trouble(error))
    }

    fn fail<T>(&mut self, trouble: Trouble) -> Result<T, Trouble> {
        self.trouble = Some(trouble);
        self.partial = Vec::new();
        Err(trouble)
    }

    /// Encrypts all of `plain` to the end of `out`.
    ///
    /// # Errors
    /// What ended the connection; [`Trouble::Misbehaved`] before the handshake is done.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        if plain.is_empty() {
            return Ok(());
        }
        let begin = out.len();
        let mut room = Self::sealed_bytes(plain.len());
        loop {
            out.resize(begin + room, 0);
            let sealed = self.write(out.get_mut(begin..).unwrap_or_default(), plain);
            match sealed {
                Ok(Ok(count)) => {
                    out.truncate(begin + count);
                    return Ok(());
                }
                Ok(Err(wanted)) => room = wanted,
                Err(trouble) => {
                    out.truncate(begin);
                    return Err(trouble);
                }
            }
        }
    }

    /// Octets that `plain` octets take when they are sealed, at most.
    #[must_use]
    pub fn sealed_bytes(plain: usize) -> usize {
        plain + plain.div_ceil(RECORD_BYTES) * OVERHEAD_BYTES + SPARE_BYTES
    }

    /// Encrypts all of `plain` into `room`, which has [`Session::sealed_bytes`] octets; how many it takes.
    ///
    /// # Errors
    /// As for [`Session::seal`].
    pub fn seal_into(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, Trouble> {
        if plain.is_empty() {
            return Ok(0);
        }
        self.write(room, plain)?.map_err(|_| Trouble::Internal)
    }

    /// Octets written, or octets wanted.
    fn write(&mut self, room: &mut [u8], plain: &[u8]) -> Result<Result<usize, usize>, Trouble> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if self.progress == Progress::Handshake || self.closed {
            return Err(Trouble::Misbehaved);
        }
        let mut at = 0;
        loop {
            let state = self.connection.process_tls_records(&mut self.partial).state;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let free = room.get_mut(at..).unwrap_or_default();
                    return match traffic.encrypt(plain, free) {
                        Ok(count) => Ok(Ok(at + count)),
                        Err(EncryptError::InsufficientSize(size)) => {
                            Ok(Err(at + size.required_size))
                        }
                        Err(EncryptError::EncryptExhausted) => self.fail(Trouble::Internal),
                    };
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    match data.encode(room.get_mut(at..).unwrap_or_default()) {
                        Ok(count) => at += count,
                        Err(EncodeError::InsufficientSize(size)) => {
                            return Ok(Err(at + size.required_size + plain.len() + SPARE_BYTES));
                        }
                        Err(EncodeError::AlreadyEncoded) => {}
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::Ended,
                Ok(_) => return Err(Trouble::Misbehaved),
                Err(error) => {
                    let trouble = trouble(&error);
                    return self.fail(trouble);
                }
            }
        }
    }

    /// Says that we will say nothing more (`close_notify`, RFC 8446 §6.1), once. During a handshake
    /// there is nothing to say.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true)
            || self.trouble.is_some()
            || self.progress == Progress::Handshake
        {
            return;
        }
        let begin = out.len();
        out.resize(begin + SPARE_BYTES, 0);
        let mut count = 0;
        loop {
            match self.connection.process_tls_records(&mut self.partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let room = out.get_mut(begin + count..).unwrap_or_default();
                    if let Ok(written) = traffic.queue_close_notify(room) {
                        count += written;
                    }
                    break;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let room = out.get_mut(begin + count..).unwrap_or_default();
                    match data.encode(room) {
                        Ok(written) => count += written,
                        Err(EncodeError::InsufficientSize(size)) => {
                            out.resize(begin + count + size.required_size + SPARE_BYTES, 0);
                        }
                        Err(EncodeError::AlreadyEncoded) => {}
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::Ended,
                Ok(_) | Err(_) => break,
            }
        }
        out.truncate(begin + count);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Octets kept until more have come.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.partial.len()
    }

    /// What was agreed on; `None` before the handshake is done.
    #[must_use]
    pub fn info(&self) -> Option<Info> {
        if self.connection.is_handshaking() {
            return None;
        }
        // No other is offered.
        let thirteen = self.connection.protocol_version()? == ProtocolVersion::TLSv1_3;
        let version = if thirteen { "TLSv1.3" } else { "TLSv1.2" };
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(Info {
            version,
            cipher: cipher_name(suite.as_str()),
            sni: self.offer.sni(),
            alpn: self.connection.alpn_protocol().map(Box::from),
            resumed,
            bound: self.offer.bound(resumed),
        })
    }

    /// Its connection, what it keeps, and whether its end was said.
    pub(super) fn into_parts(self) -> (UnbufferedServerConnection, Vec<u8>, bool) {
        (self.connection, self.partial, self.closed)
    }

    /// The offer it was begun with.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }
}

/// Whether these octets begin with the ClientHello of SSL 3.0, TLS 1.0 or TLS 1.1: the header of the
/// record, the header of the message, the version (RFC 5246 §7.4.1.2).
fn is_old_hello(octets: &[u8]) -> bool {
    matches!(octets, [22, _, _, _, _, 1, _, _, _, 3, 0..=2, ..])
}

/// Appends to `out` what is to be sent.
fn encode(out: &mut Vec<u8>, mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let begin = out.len();
    loop {
        match data(out.get_mut(begin..).unwrap_or_default()) {
            Ok(count) => return out.truncate(begin + count),
            Err(EncodeError::InsufficientSize(size)) => out.resize(begin + size.required_size, 0),
            Err(EncodeError::AlreadyEncoded) => return out.truncate(begin),
        }
    }
}

/// IANA's name: rustls writes `TLS13_…` where the registry has `TLS_…`.
fn cipher_name(name: Option<&'static str>) -> &'static str {
    match name {
        Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
        Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
        Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
        Some(name) => name,
        None => "unknown",
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds kinds of errors in any version")]
fn trouble(error: &Error) -> Trouble {
    match error {
        Error::InvalidMessage(_) => Trouble::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Trouble::NothingInCommon,
        Error::DecryptError => Trouble::BadRecord,
        Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => Trouble::Misbehaved,
        Error::AlertReceived(alert) => Trouble::Alert(u8::from(*alert)),
        _ => Trouble::Internal,
    }
}
