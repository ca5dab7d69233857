//! mail::codec – messages and notes as octets, and back.
//!
//! ```text
//!  message: version 'M' flags accepted trace envelope targets      note: version 'N' kind …
//!  version 1: mailboxes only; 2: targets at other servers, and notices of delay; 3: through aliases
//!  text: length (4 octets), octets     list: count (4 octets), items     numbers: little-endian
//! ```
//! Promises: decode ∘ encode = identity; any octets decode to a value or an error, never a panic,
//! and never to more memory than a small multiple of the octets. What an older version can say is written
//! so, so that an older server understands a spool in which nothing is new.
//! Not here: checksums, which the spool has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::hop::Hop;
use super::stored::{Destination, Message, Note, Target, TargetState};
use crate::smtp::address::{Domain, Mailbox, Recipient, Sender};
use crate::smtp::envelope::{BodyType, Envelope, Notify, Protocol, Return, To};

/// Of this format. Another one is refused, not guessed at.
const VERSION: u8 = 3;
/// Those before: without aliases on the way to other servers; without LMTP, and without other servers to go on
/// to. They are read, and written where nothing needs more.
const SECOND_VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
const MESSAGE: u8 = b'M';
const NOTE: u8 = b'N';

/// Why octets are no message or note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Short,
    /// They were written by a version that is not known here.
    Version(u8),
    /// A value that means nothing.
    Value,
    /// There are more than belong to it.
    Long,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("ends too early"),
            Self::Version(version) => write!(f, "format version {version}, newer than {VERSION}"),
            Self::Value => f.write_str("holds a value that means nothing"),
            Self::Long => f.write_str("goes on after its end"),
        }
    }
}

impl std::error::Error for Malformed {}

type Read<T> = Result<T, Malformed>;

// ---------------------------------------------------------------- messages and notes

impl Message {
    /// As octets for the spool.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.trace.len());
        let version = self.version();
        out.extend([version, MESSAGE, u8::from(self.held)]);
        out.extend(self.accepted.to_le_bytes());
        put(&mut out, &self.trace);
        put_envelope(&mut out, &self.envelope);
        put_count(&mut out, self.targets.len());
        for target in &self.targets {
            put_target(&mut out, target, version);
        }
        out
    }

    /// The least that can say it.
    fn version(&self) -> u8 {
        let first =
            |target: &Target| !target.delayed && !matches!(target.to, Destination::Remote(_));
        let old = !self.envelope.protocol.lmtp && self.targets.iter().all(first);
        match self.targets.iter().any(|target| target.via.is_some()) {
            true => VERSION,
            false if old => FIRST_VERSION,
            false => SECOND_VERSION,
        }
    }

    /// From octets of the spool.
    ///
    /// # Errors
    /// When they are anything else than what [`Message::encode`] gives.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::begin(octets, MESSAGE)?;
        let held = input.flag()?;
        let accepted = i64::from_le_bytes(input.array()?);
        let trace = input.octets()?.to_vec();
        let envelope = input.envelope()?;
        let targets = input.list(LEAST_TARGET, Input::target)?;
        let message = Self { envelope, accepted, trace, targets, held };
        let version = message.version();
        input.end_of(version, message)
    }
}

impl Note {
    /// As octets for the spool.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.version(), NOTE];
        match self {
            Self::Target(number, state) => {
                out.push(0);
                out.extend(number.to_le_bytes());
                put_state(&mut out, state);
            }
            Self::Held(held) => out.extend([1, u8::from(*held)]),
            Self::Told(number) => {
                out.push(2);
                out.extend(number.to_le_bytes());
            }
            Self::Delayed(number) => {
                out.push(3);
                out.extend(number.to_le_bytes());
            }
        }
        out
    }

    /// From octets of the spool.
    ///
    /// # Errors
    /// When they are anything else than what [`Note::encode`] gives.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::begin(octets, NOTE)?;
        let note = match input.octet()? {
            0 => Self::Target(input.number()?, input.state()?),
            1 => Self::Held(input.flag()?),
            2 => Self::Told(input.number()?),
            3 => Self::Delayed(input.number()?),
            _ => return Err(Malformed::Value),
        };
        let version = note.version();
        input.end_of(version, note)
    }

    /// Does the later of two notes of one message, as octets, say all that the earlier said?
    #[must_use]
    pub fn replaces(earlier: &[u8], later: &[u8]) -> bool {
        /// Version, `N`, kind, and the number of a target.
        const KIND_AT: usize = 2;
        const NUMBER_BYTES: usize = 4;
        fn what(octets: &[u8]) -> Option<(u8, &[u8])> {
            let kind = octets.get(KIND_AT).copied()?;
            // Held or not is said of the message.
            let number = if kind == 1 { 0..0 } else { KIND_AT + 1..KIND_AT + 1 + NUMBER_BYTES };
            Some((kind, octets.get(number)?))
        }
        what(earlier).is_some() && what(earlier) == what(later) && Self::decode(later).is_ok()
    }

    /// As [`Message::version`].
    fn version(&self) -> u8 {
        match self {
            Self::Target(..) | Self::Held(_) | Self::Told(_) => FIRST_VERSION,
            Self::Delayed(_) => SECOND_VERSION,
        }
    }
}

// ---------------------------------------------------------------- writing

/// Lengths are 32 bits wide: no text of an envelope comes near that, and what did would be cut, not wrapped.
fn put(out: &mut Vec<u8>, octets: &[u8]) {
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.extend(octets.iter().take(usize::try_from(length).unwrap_or(usize::MAX)));
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_maybe(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put(out, text.as_bytes());
    }
}

fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.push(u8::from(envelope.sender.is_some()));
    if let Some(sender) = &envelope.sender {
        put_mailbox(out, sender);
    }
    put_count(out, envelope.recipients.len());
    for to in &envelope.recipients {
        put_to(out, to);
    }
    out.push(match envelope.body {
        BodyType::SevenBit => 0,
        BodyType::EightBitMime => 1,
        BodyType::BinaryMime => 2,
    });
    out.push(match envelope.ret {
        None => 0,
        Some(Return::Full) => 1,
        Some(Return::Headers) => 2,
    });
    put_maybe(out, envelope.envelope_id.as_deref());
    put(out, envelope.helo.as_bytes());
    put_peer(out, envelope.peer);
    let Protocol { extended, utf8, secure, authenticated, lmtp } = envelope.protocol;
    out.push(bits([extended, utf8, secure, authenticated, lmtp]));
}

fn bits<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

fn put_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox) {
    put(out, mailbox.local.as_bytes());
    match &mailbox.domain {
        Domain::Name(name) => {
            out.push(0);
            put(out, name.as_bytes());
        }
        Domain::Literal(address) => {
            out.push(1);
            put_address(out, *address);
        }
        Domain::General(text) => {
            out.push(2);
            put(out, text.as_bytes());
        }
    }
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend(address.octets());
        }
    }
}

fn put_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    put_address(out, peer.ip());
    out.extend(peer.port().to_le_bytes());
    if let SocketAddr::V6(peer) = peer {
        out.extend(peer.flowinfo().to_le_bytes());
        out.extend(peer.scope_id().to_le_bytes());
    }
}

fn put_to(out: &mut Vec<u8>, to: &To) {
    match &to.recipient {
        Recipient::Mailbox(mailbox) => {
            out.push(0);
            put_mailbox(out, mailbox);
        }
        Recipient::Postmaster => out.push(1),
    }
    out.push(
        to.notify.map_or(0, |notify| bits([true, notify.success, notify.failure, notify.delay])),
    );
    out.push(u8::from(to.original.is_some()));
    if let Some((kind, address)) = &to.original {
        put(out, kind.as_bytes());
        put(out, address.as_bytes());
    }
}

fn put_target(out: &mut Vec<u8>, target: &Target, version: u8) {
    out.extend(target.recipient.to_le_bytes());
    put(out, target.address.as_bytes());
    put_maybe(out, target.tag.as_deref());
    match &target.to {
        Destination::Mailbox(name) => {
            out.push(0);
            put(out, name.as_bytes());
        }
        Destination::Discard => out.push(1),
        Destination::Remote(hop) => {
            out.push(2);
            put(out, hop.to_string().as_bytes());
        }
    }
    put_maybe(out, target.sender.as_deref());
    put_state(out, &target.state);
    out.push(u8::from(target.told));
    if version > FIRST_VERSION {
        out.push(u8::from(target.delayed));
    }
    if version > SECOND_VERSION {
        put_maybe(out, target.via.as_deref());
    }
}

fn put_state(out: &mut Vec<u8>, state: &TargetState) {
    match state {
        TargetState::Waiting => out.push(0),
        TargetState::Deferred { attempts, next, reason } => {
            out.push(1);
            out.extend(attempts.to_le_bytes());
            out.extend(next.to_le_bytes());
            put(out, reason.as_bytes());
        }
        TargetState::Delivered => out.push(2),
        TargetState::Failed { reason } => {
            out.push(3);
            put(out, reason.as_bytes());
        }
        TargetState::Removed => out.push(4),
    }
}

// ---------------------------------------------------------------- reading

/// Octets of the shortest recipient and the shortest target: no count is believed beyond what is there.
const LEAST_TO: usize = 3;
const LEAST_TARGET: usize = 13;

struct Input<'a> {
    rest: &'a [u8],
    version: u8,
}

impl<'a> Input<'a> {
    fn begin(octets: &'a [u8], kind: u8) -> Read<Self> {
        let mut input = Self { rest: octets, version: 0 };
        input.version = input.octet()?;
        if !(FIRST_VERSION..=VERSION).contains(&input.version) {
            return Err(Malformed::Version(input.version));
        }
        if input.octet()? == kind { Ok(input) } else { Err(Malformed::Value) }
    }

    /// Nothing more comes, and it was written as `version`, the least that can say it.
    fn end_of<T>(&self, version: u8, value: T) -> Read<T> {
        match self.rest {
            [] if self.version == version => Ok(value),
            [] => Err(Malformed::Value),
            [..] => Err(Malformed::Long),
        }
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn octet(&mut self) -> Read<u8> {
        self.array().map(|[octet]| octet)
    }

    fn flag(&mut self) -> Read<bool> {
        match self.octet()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    fn number(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn octets(&mut self) -> Read<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Short)?)
    }

    fn text(&mut self) -> Read<String> {
        let text = std::str::from_utf8(self.octets()?).map_err(|_| Malformed::Value)?;
        Ok(text.to_owned())
    }

    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A count, and so many items that have at least `least` octets each.
    fn list<T>(&mut self, least: usize, read: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed::Short)?;
        if count > self.rest.len() / least {
            return Err(Malformed::Short);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn envelope(&mut self) -> Read<Envelope> {
        let sender: Sender = self.maybe(Self::mailbox)?;
        let recipients = self.list(LEAST_TO, Self::to)?;
        let body = match self.octet()? {
            0 => BodyType::SevenBit,
            1 => BodyType::EightBitMime,
            2 => BodyType::BinaryMime,
            _ => return Err(Malformed::Value),
        };
        let ret = match self.octet()? {
            0 => None,
            1 => Some(Return::Full),
            2 => Some(Return::Headers),
            _ => return Err(Malformed::Value),
        };
        let envelope_id = self.maybe(Self::text)?;
        let helo = self.text()?;
        let peer = self.peer()?;
        let [extended, utf8, secure, authenticated, lmtp] = self.bits()?;
        let protocol = Protocol { extended, utf8, secure, authenticated, lmtp };
        Ok(Envelope { sender, recipients, body, ret, envelope_id, helo, peer, protocol })
    }

    fn bits<const N: usize>(&mut self) -> Read<[bool; N]> {
        let octet = self.octet()?;
        let bits = std::array::from_fn(|bit| octet >> bit & 1 == 1);
        if octet >> N == 0 { Ok(bits) } else { Err(Malformed::Value) }
    }

    fn mailbox(&mut self) -> Read<Mailbox> {
        let local = self.text()?;
        let domain = match self.octet()? {
            0 => Domain::Name(self.text()?),
            1 => Domain::Literal(self.address()?),
            2 => Domain::General(self.text()?),
            _ => return Err(Malformed::Value),
        };
        Ok(Mailbox { local, domain })
    }

    fn address(&mut self) -> Read<IpAddr> {
        match self.octet()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => Err(Malformed::Value),
        }
    }

    fn peer(&mut self) -> Read<SocketAddr> {
        let address = self.address()?;
        let port = u16::from_le_bytes(self.array()?);
        Ok(match address {
            IpAddr::V4(_) => SocketAddr::new(address, port),
            IpAddr::V6(address) => {
                SocketAddrV6::new(address, port, self.number()?, self.number()?).into()
            }
        })
    }

    fn to(&mut self) -> Read<To> {
        let recipient = match self.octet()? {
            0 => Recipient::Mailbox(self.mailbox()?),
            1 => Recipient::Postmaster,
            _ => return Err(Malformed::Value),
        };
        let notify = match self.bits()? {
            [false, false, false, false] => None,
            [true, success, failure, delay] => Some(Notify { success, failure, delay }),
            [false, ..] => return Err(Malformed::Value),
        };
        let original = self.maybe(|input| Ok((input.text()?, input.text()?)))?;
        Ok(To { recipient, notify, original })
    }

    fn target(&mut self) -> Read<Target> {
        let recipient = self.number()?;
        let address = self.text()?;
        let tag = self.maybe(Self::text)?;
        let to = match self.octet()? {
            0 => Destination::Mailbox(self.text()?),
            1 => Destination::Discard,
            2 if self.version > FIRST_VERSION => Destination::Remote(self.hop()?),
            _ => return Err(Malformed::Value),
        };
        let sender = self.maybe(Self::text)?;
        let state = self.state()?;
        let told = self.flag()?;
        let delayed = self.version > FIRST_VERSION && self.flag()?;
        let via = if self.version > SECOND_VERSION { self.maybe(Self::text)? } else { None };
        Ok(Target { recipient, address, tag, to, sender, via, state, told, delayed })
    }

    fn hop(&mut self) -> Read<Hop> {
        let text = std::str::from_utf8(self.octets()?).map_err(|_| Malformed::Value)?;
        match Hop::parse(text).ok_or(Malformed::Value)? {
            // By far the most, and there is one way to write it.
            Hop::Mx => Ok(Hop::Mx),
            hop @ (Hop::Relay { .. } | Hop::Lmtp { .. } | Hop::LmtpUnix(_)) => {
                if hop.to_string() == text { Ok(hop) } else { Err(Malformed::Value) }
            }
        }
    }

    fn state(&mut self) -> Read<TargetState> {
        Ok(match self.octet()? {
            0 => TargetState::Waiting,
            1 => TargetState::Deferred {
                attempts: self.number()?,
                next: i64::from_le_bytes(self.array()?),
                reason: self.text()?,
            },
            2 => TargetState::Delivered,
            3 => TargetState::Failed { reason: self.text()? },
            4 => TargetState::Removed,
            _ => return Err(Malformed::Value),
        })
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
