//! tls::session – one connection: what comes in is decrypted, what goes out is encrypted.
//!
//! ```text
//!   octets ─▶ receive ─▶ plain (what the client said)          octets ◀─ out ◀─ seal ◀─ plain
//!                   └──▶ out   (handshake, alerts, tickets)
//! ```
//! Promises: octets may come split anywhere; of a record that is not whole at most one is kept, and
//! nothing when all are; a fatal error puts the alert for it into `out`, once, and stays.
//! Not here: sockets, deadlines.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, CommonState, Error, HandshakeKind, ProtocolVersion};

use super::{Errand, Info, Offer, Trouble};
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
    /// The peer said that it will say nothing more; we may still speak.
    Ended,
}

/// Which side of it we are.
enum Connection {
    Server(Box<UnbufferedServerConnection>, Offer),
    Client(Box<UnbufferedClientConnection>, Box<str>),
}

/// What rustls has for each side under the same name.
trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn wants_to_send(&self) -> bool;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(octets)
    }

    fn wants_to_send(&self) -> bool {
        self.wants_write()
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, octets: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(octets)
    }

    fn wants_to_send(&self) -> bool {
        self.wants_write()
    }
}

impl Connection {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection, _) => connection,
            Self::Client(connection, _) => connection,
        }
    }
}

/// One TLS connection, either side.
pub struct Session {
    connection: Connection,
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
        Ok(Self::begun(Connection::Server(Box::new(connection), offer.clone())))
    }

    /// Begins as the client; what is to be sent first goes to the end of `out`.
    ///
    /// # Errors
    /// [`Trouble::Internal`] when there is no randomness.
    pub fn client(errand: &Errand, out: &mut Vec<u8>) -> Result<Self, Trouble> {
        let (config, name) = (errand.config(), errand.name());
        let connection =
            UnbufferedClientConnection::new(config, name).map_err(|error| trouble(&error))?;
        let host = errand.host().into();
        let mut session = Self::begun(Connection::Client(Box::new(connection), host));
        session.drive(&mut [], out, &mut |_| {})?;
        Ok(session)
    }

    fn begun(connection: Connection) -> Self {
        Self {
            connection,
            partial: Vec::new(),
            handshake_bytes: 0,
            progress: Progress::Handshake,
            closed: false,
            trouble: None,
        }
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
        let Driven { used, ended, failed } = match &mut self.connection {
            Connection::Server(connection, _) => drive(&mut **connection, octets, out, plain),
            Connection::Client(connection, _) => drive(&mut **connection, octets, out, plain),
        };
        if ended {
            self.progress = Progress::Ended;
        }
        if let Some(error) = failed {
            let old = self.progress == Progress::Handshake && is_old_hello(octets);
            let rest = octets.get_mut(used..).unwrap_or_default();
            return self.broke(&error, old, rest, out);
        }
        if self.progress == Progress::Handshake && !self.connection.common().is_handshaking() {
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
        match &mut self.connection {
            Connection::Server(connection, _) => last_words(&mut **connection, rest, out),
            Connection::Client(connection, _) => last_words(&mut **connection, rest, out),
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
        let (partial, mut ended) = (&mut self.partial, false);
        let written = match &mut self.connection {
            Connection::Server(connection, _) => {
                write(&mut **connection, partial, room, plain, &mut ended)
            }
            Connection::Client(connection, _) => {
                write(&mut **connection, partial, room, plain, &mut ended)
            }
        };
        if ended {
            self.progress = Progress::Ended;
        }
        match written {
            Ok(Written::Whole(count)) => Ok(Ok(count)),
            Ok(Written::Wants(count)) => Ok(Err(count)),
            Ok(Written::NotNow) => Err(Trouble::Misbehaved),
            Err(trouble) => self.fail(trouble),
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
        let ended = match &mut self.connection {
            Connection::Server(connection, _) => say_end(&mut **connection, &mut self.partial, out),
            Connection::Client(connection, _) => say_end(&mut **connection, &mut self.partial, out),
        };
        if ended {
            self.progress = Progress::Ended;
        }
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
        let common = self.connection.common();
        if common.is_handshaking() {
            return None;
        }
        // No other is offered.
        let thirteen = common.protocol_version()? == ProtocolVersion::TLSv1_3;
        let version = if thirteen { "TLSv1.3" } else { "TLSv1.2" };
        let suite = common.negotiated_cipher_suite()?.suite();
        let resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let (sni, bound) = match &self.connection {
            Connection::Server(_, offer) => (offer.sni(), offer.bound(resumed)),
            Connection::Client(_, host) => (Some(host.clone()), None),
        };
        Some(Info {
            version,
            cipher: cipher_name(suite.as_str()),
            sni,
            alpn: common.alpn_protocol().map(Box::from),
            resumed,
            bound,
        })
    }

    /// Its connection, what it keeps, and whether its end was said; `None` for a client's, whose keys nobody
    /// takes.
    pub(super) fn into_parts(self) -> Option<(UnbufferedServerConnection, Vec<u8>, bool)> {
        match self.connection {
            Connection::Server(connection, _) => Some((*connection, self.partial, self.closed)),
            Connection::Client(..) => None,
        }
    }

    /// The offer it was begun with; `None` for a client's.
    #[must_use]
    pub fn offer(&self) -> Option<&Offer> {
        match &self.connection {
            Connection::Server(_, offer) => Some(offer),
            Connection::Client(..) => None,
        }
    }
}

/// What [`drive`] did.
struct Driven {
    /// Octets that are done with.
    used: usize,
    /// The peer said that it will say no more.
    ended: bool,
    failed: Option<Error>,
}

/// Lets rustls have all records that are whole.
fn drive<S: Side>(
    connection: &mut S,
    octets: &mut [u8],
    out: &mut Vec<u8>,
    plain: &mut dyn FnMut(&[u8]),
) -> Driven {
    let (mut used, mut ended) = (0, false);
    loop {
        let rest = octets.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = connection.process(rest);
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
                ended = true;
                None
            }
            // 0-RTT is never accepted (`Offer`) nor sent, so that there is none to read.
            Ok(_) => {
                done = true;
                None
            }
            Err(error) => Some(error),
        };
        used += discard;
        if done || failed.is_some() {
            return Driven { used, ended, failed };
        }
    }
}

/// After an error: what was to be sent already, and the alert that says so. Only while something is to be
/// said: else it would look at what is wrong once more.
fn last_words<S: Side>(connection: &mut S, rest: &mut [u8], out: &mut Vec<u8>) {
    while connection.wants_to_send() {
        match connection.process(rest).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |room| data.encode(room)),
            Ok(_) | Err(_) => return,
        }
    }
}

/// What became of octets to be sealed.
enum Written {
    /// All are, into so many.
    Whole(usize),
    /// They take so many.
    Wants(usize),
    /// It is not our turn.
    NotNow,
}

fn write<S: Side>(
    connection: &mut S,
    partial: &mut [u8],
    room: &mut [u8],
    plain: &[u8],
    ended: &mut bool,
) -> Result<Written, Trouble> {
    let mut at = 0;
    loop {
        match connection.process(partial).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let free = room.get_mut(at..).unwrap_or_default();
                return match traffic.encrypt(plain, free) {
                    Ok(count) => Ok(Written::Whole(at + count)),
                    Err(EncryptError::InsufficientSize(size)) => {
                        Ok(Written::Wants(at + size.required_size))
                    }
                    Err(EncryptError::EncryptExhausted) => Err(Trouble::Internal),
                };
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                match data.encode(room.get_mut(at..).unwrap_or_default()) {
                    Ok(count) => at += count,
                    Err(EncodeError::InsufficientSize(size)) => {
                        let wanted = at + size.required_size + plain.len() + SPARE_BYTES;
                        return Ok(Written::Wants(wanted));
                    }
                    Err(EncodeError::AlreadyEncoded) => {}
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => *ended = true,
            Ok(_) => return Ok(Written::NotNow),
            Err(error) => return Err(trouble(&error)),
        }
    }
}

/// Whether the peer said that it will say no more.
fn say_end<S: Side>(connection: &mut S, partial: &mut [u8], out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    out.resize(begin + SPARE_BYTES, 0);
    let (mut count, mut ended) = (0, false);
    loop {
        match connection.process(partial).state {
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
            Ok(ConnectionState::PeerClosed) => ended = true,
            Ok(_) | Err(_) => break,
        }
    }
    out.truncate(begin + count);
    ended
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

/// What is wrong with a server's certificate.
#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds kinds of errors in any version")]
fn untrusted(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => "the certificate is signed by nobody we trust",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        CertificateError::Revoked => "the certificate was revoked",
        _ => "the certificate is of no use",
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls adds kinds of errors in any version")]
fn trouble(error: &Error) -> Trouble {
    match error {
        Error::InvalidMessage(_) => Trouble::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Trouble::NothingInCommon,
        Error::DecryptError => Trouble::BadRecord,
        Error::InvalidCertificate(why) => Trouble::Untrusted(untrusted(why)),
        Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => Trouble::Misbehaved,
        Error::AlertReceived(alert) => Trouble::Alert(u8::from(*alert)),
        _ => Trouble::Internal,
    }
}
