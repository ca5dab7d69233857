//! ftp::listing – lines of LIST, NLST, MLSD and MLST.

use super::step::{Entry, ListForm, UnixTime};

/// Appends the line of one entry, CRLF included. Appends nothing when the name cannot be sent
/// (CR or LF in it: RFC 3659 §2.2 lets such names be omitted), or MLSD cannot describe it.
pub fn line(_form: ListForm, _entry: &Entry, _prefix: &[u8], _now: UnixTime, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends the facts and one space, without a name (MLST puts the pathname itself).
pub fn facts(_facts: super::step::Facts, _entry: &Entry, _out: &mut Vec<u8>) {
    todo!()
}
