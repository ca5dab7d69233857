//! milter::agreement – what both sides can do, settled once for each connection (`SMFIC_OPTNEG`).
//!
//! Promises: a milter of version 2 to 6 is understood, one that wants what was not offered is not taken; of
//! a lower version only what that version has.

use super::Fault;
use super::macros::{PLACES, Place};
use super::packet;

/// The version spoken here, and the oldest one that still is.
pub const VERSION: u32 = 6;
const VERSION_MIN: u32 = 2;
/// Version 6 came with lists of macros.
const SYMBOLS_SINCE: u32 = 6;
/// The first with DATA.
const DATA_SINCE: u32 = 4;
/// Names of macros one stage may ask for.
const SYMBOLS_MAX: usize = 64;

/// What a milter may change (`SMFIF_*`).
pub mod actions {
    /// Add header fields.
    pub const ADD_HEADER: u32 = 0x1;
    /// Replace the body.
    pub const CHANGE_BODY: u32 = 0x2;
    /// Add recipients.
    pub const ADD_RECIPIENT: u32 = 0x4;
    /// Delete recipients.
    pub const DELETE_RECIPIENT: u32 = 0x8;
    /// Change and delete header fields.
    pub const CHANGE_HEADER: u32 = 0x10;
    /// Hold the message.
    pub const QUARANTINE: u32 = 0x20;
    /// Change the envelope's sender.
    pub const CHANGE_FROM: u32 = 0x40;
    /// Add recipients with parameters.
    pub const ADD_RECIPIENT_PARAMETERS: u32 = 0x80;
    /// Say which macros it wants.
    pub const SET_SYMBOLS: u32 = 0x100;
    /// All of these.
    pub const OFFERED: u32 = 0x1FF;
    /// Those of versions before 6.
    pub(super) const OLD: u32 = 0x3F;
}

/// What a milter does not want to be told, or not to answer (`SMFIP_*`).
pub mod protocol {
    /// Not told of: connection, HELO, MAIL, RCPT, body, header, end of the header.
    pub const NO_CONNECT: u32 = 0x1;
    /// HELO.
    pub const NO_HELO: u32 = 0x2;
    /// MAIL.
    pub const NO_MAIL: u32 = 0x4;
    /// RCPT.
    pub const NO_RCPT: u32 = 0x8;
    /// The body.
    pub const NO_BODY: u32 = 0x10;
    /// Header fields.
    pub const NO_HEADER: u32 = 0x20;
    /// The end of the header.
    pub const NO_END_OF_HEADER: u32 = 0x40;
    /// Header fields are not answered.
    pub const SILENT_HEADER: u32 = 0x80;
    /// Unknown commands.
    pub const NO_UNKNOWN: u32 = 0x100;
    /// DATA.
    pub const NO_DATA: u32 = 0x200;
    /// Says when it wants no more of the body.
    pub const SKIP: u32 = 0x400;
    /// Not answered.
    pub const SILENT_CONNECT: u32 = 0x1000;
    /// HELO.
    pub const SILENT_HELO: u32 = 0x2000;
    /// MAIL.
    pub const SILENT_MAIL: u32 = 0x4000;
    /// RCPT.
    pub const SILENT_RCPT: u32 = 0x8000;
    /// DATA.
    pub const SILENT_DATA: u32 = 0x1_0000;
    /// Unknown commands.
    pub const SILENT_UNKNOWN: u32 = 0x2_0000;
    /// The end of the header.
    pub const SILENT_END_OF_HEADER: u32 = 0x4_0000;
    /// Portions of the body.
    pub const SILENT_BODY: u32 = 0x8_0000;
    /// Values of header fields with what stands before them.
    pub const LEADING_SPACE: u32 = 0x10_0000;
    /// All of these. (Not: recipients that were refused, `SMFIP_RCPT_REJ`; larger packets.)
    pub const OFFERED: u32 = 0x1F_F7FF;
    /// Those of version 2 and 3.
    pub(super) const OLD: u32 = 0x1FF;
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    version: u32,
    actions: u32,
    protocol: u32,
    symbols: [Option<Vec<String>>; PLACES],
}

impl Agreement {
    /// Before anything was agreed on: nothing is allowed.
    pub(super) const fn none() -> Self {
        Self { version: VERSION, actions: 0, protocol: 0, symbols: [const { None }; PLACES] }
    }

    /// Appends the offer.
    pub(super) fn offer(out: &mut Vec<u8>) {
        let words = [VERSION, actions::OFFERED, protocol::OFFERED].map(u32::to_be_bytes);
        packet::push(super::response::NEGOTIATE, &[words.as_flattened()], out);
    }

    /// Understands the answer to it.
    pub(super) fn understood(data: &[u8]) -> Result<Self, Fault> {
        const SHORT: Fault = Fault::Malformed("negotiation cut off");
        let (version, rest) = word(data).ok_or(SHORT)?;
        let (wanted, rest) = word(rest).ok_or(SHORT)?;
        let (steps, rest) = word(rest).ok_or(SHORT)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(Fault::Version(version));
        }
        // Bits a version does not have are noise of an old library.
        let (actions, protocol) = match version {
            2..DATA_SINCE => (wanted & actions::OLD, steps & protocol::OLD),
            DATA_SINCE..SYMBOLS_SINCE => (wanted & actions::OLD, steps),
            _ => (wanted, steps),
        };
        if actions & !actions::OFFERED != 0 || protocol & !protocol::OFFERED != 0 {
            return Err(Fault::NotOffered);
        }
        let mut agreed = Self { version, actions, protocol, ..Self::none() };
        if version >= SYMBOLS_SINCE {
            agreed.read_symbols(rest)?;
        }
        Ok(agreed)
    }

    /// `SMFIF_SETSYMLIST`: a stage and the names it wants, separated by white space, NUL; and so on.
    fn read_symbols(&mut self, mut rest: &[u8]) -> Result<(), Fault> {
        const BAD: Fault = Fault::Malformed("list of macros");
        while !rest.is_empty() {
            let (stage, list) = word(rest).ok_or(BAD)?;
            let end = list.iter().position(|octet| *octet == 0).ok_or(BAD)?;
            let (names, after) = list.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let names = str::from_utf8(names).map_err(|_| BAD)?;
            let bare = |name: &str| name.trim_matches(['{', '}']).to_owned();
            let names = names.split([' ', ',', '\t', '\n']).filter(|name| !name.is_empty());
            let names: Vec<String> = names.take(SYMBOLS_MAX).map(bare).collect();
            let stage = usize::try_from(stage).map_err(|_| BAD)?;
            *self.symbols.get_mut(stage).ok_or(BAD)? = Some(names);
        }
        Ok(())
    }

    /// The version in use.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// May it do that (one of [`actions`])?
    pub const fn allows(&self, action: u32) -> bool {
        self.actions & action != 0
    }

    /// Is that so (one of [`protocol`])?
    pub const fn has(&self, step: u32) -> bool {
        self.protocol & step != 0
    }

    /// Is there DATA in this version?
    pub(super) const fn has_data(&self) -> bool {
        self.version >= DATA_SINCE
    }

    pub(super) fn symbols(&self, place: Place) -> Option<&[String]> {
        self.symbols.get(place as usize)?.as_deref()
    }
}

/// The first four octets as a number.
pub(super) fn word(octets: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = octets.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}
