//! ftp::reply – every reply this server can give, in one table.
//!
//! A reply is a code and a text with `{}` where something is filled in. Nothing outside this file
//! holds the text or the form of a reply.
//!
//! Promises: `ddd text CRLF`, or `ddd-` … `ddd ` with one code (RFC 959 §4.2); nothing filled in can
//! end a line or begin a Telnet command; replies before login hold nothing the client sent.
//! Not here: which reply is due (`session`, `refusal`).

use super::step::Fault;
use super::telnet::IAC;
use crate::wire::ascii::Digits;
use crate::wire::outbox::Outbox;

/// One reply: its code, and its text with `{}` for what is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    text: &'static str,
}

macro_rules! replies {
    ($($name:ident $code:literal $text:literal)*) => {
        $(
            #[doc = concat!("`", stringify!($code), " ", $text, "`")]
            pub const $name: Reply = Reply { code: $code, text: $text };
        )*
        /// The whole table.
        #[cfg(test)]
        pub const ALL: &[Reply] = &[$($name),*];
    };
}

replies! {
    // Preliminary
    OPENING 150 "Opening data connection."
    OPENING_SIZE 150 "Opening data connection ({} bytes)."
    // RFC 1123 §4.1.2.9: this text exactly, nothing more.
    OPENING_UNIQUE 150 "FILE: {}"

    // Done
    NOOP 200 "OK."
    PORT 200 "Data address is set."
    TYPE_ASCII 200 "Type is A, non-print."
    TYPE_EBCDIC 200 "Type is E, non-print."
    TYPE_IMAGE 200 "Type is I."
    STRUCTURE_FILE 200 "Structure is F."
    STRUCTURE_RECORD 200 "Structure is R."
    MODE_STREAM 200 "Mode is S."
    ALLOCATED 200 "There is room for that."
    EPSV_ALL 200 "Only EPSV is accepted from now on."
    CLIENT 200 "Noted."
    OPTION_UTF8 200 "Names are UTF-8."
    OPTION_MLST 200 "MLST OPTS {}"
    OPTION_MLST_NONE 200 "MLST OPTS"
    BUFFER 200 "PBSZ=0"
    PROTECTION_CLEAR 200 "Data connections are clear."
    PROTECTION_PRIVATE 200 "Data connections are private."
    SITE_DONE 200 "Done."
    SITE_UMASK 200 "Mask for new files is {}."
    SITE_IDLE 200 "Idle limit is {} seconds."
    ACCOUNT 202 "Accounts are not needed here."
    STATUS 211 "Status of {}"
    STATUS_END 211 "End of status."
    FEATURES 211 "Extensions:"
    FEATURES_END 211 "End"
    LISTED 213 "Status follows:"
    LISTED_END 213 "End of status."
    VALUE 213 "{}"
    MODIFY 213 "Modify={}; {}"
    HELP 214 "Commands:"
    HELP_END 214 "HELP and a command shows how to write it."
    HELP_SITE 214 "SITE commands:"
    HELP_SITE_END 214 "End."
    HELP_ONE 214 "Syntax: {}"
    SYSTEM 215 "UNIX Type: L8"
    READY 220 "{} FTP server ready."
    REINITIALIZED 220 "As after connecting. Log in."
    BYE 221 "Goodbye."
    NOTHING_TO_ABORT 225 "No transfer to abort."
    COMPLETE 226 "Transfer complete."
    ABORTED 226 "Abort done, data connection is closed."
    PASSIVE 227 "Entering Passive Mode ({})"
    // No full stop: some clients take it for a part of the address.
    EXTENDED_PASSIVE 229 "Entering Extended Passive Mode ({})"
    LOGGED_IN 230 "Logged in."
    SECURING 234 "Begin TLS."
    ENTERED 250 "Directory is entered."
    REMOVED 250 "Directory is removed."
    DELETED 250 "Deleted."
    RENAMED 250 "Renamed."
    FACTS 250 "Listing"
    FACTS_END 250 "End"
    DIRECTORY_MADE 257 "\"{}\" is made."
    DIRECTORY 257 "\"{}\" is the current directory."

    // More is needed
    PASSWORD_NEEDED 331 "Password, please."
    PASSWORD_OR_ANY 331 "Password, please; for anonymous any will do."
    RESTART 350 "Restarting at {}. Send the transfer command."
    RENAME_TO_NEEDED 350 "Ready for RNTO."

    // Not now
    TIMEOUT 421 "Idle for too long, closing."
    LOGIN_TIMEOUT 421 "Not logged in in time, closing."
    DRAINING 421 "The server is going down, closing."
    TOO_MANY_FAILURES 421 "Too many failed logins, closing."
    TOO_MANY_UNKNOWN 421 "Too many unknown commands, closing."
    NOT_FTP 421 "This is FTP, closing."
    BUSY 421 "Too many users or attempts, closing. Try again later."
    NO_CONNECTION 425 "Cannot open data connection."
    NOT_SECURED 425 "TLS failed on the data connection."
    NO_PORT 425 "No port is free, try again."
    NOT_ANNOUNCED 425 "No IPv4 address to announce, use EPSV."
    NO_ADDRESS 425 "Send EPSV, PASV, EPRT or PORT first."
    BROKEN 426 "Data connection broken, transfer stopped."
    TRANSFER_ABORTED 426 "Transfer aborted."
    INTERNAL 451 "Local error."

    // Not so
    UNKNOWN 500 "Unknown command."
    TOO_LONG 500 "Line too long."
    SYNTAX 501 "Syntax error in argument."
    EPSV_ALL_SET 501 "Only EPSV is accepted after EPSV ALL."
    RESTART_UNIQUE 501 "STOU cannot restart."
    RESTART_CONVERTED 501 "Storing can restart in TYPE I, STRU F only."
    HELP_UNKNOWN 501 "No such command."
    NOT_IMPLEMENTED 502 "Command not implemented."
    USER_FIRST 503 "USER first."
    RENAME_FROM_FIRST 503 "RNFR first."
    SECURE_FIRST 503 "AUTH TLS first."
    SECURED_ALREADY 503 "TLS is on already."
    BUFFER_FIRST 503 "PBSZ first."
    PARAMETER 504 "Not implemented for that parameter."
    PORT_REFUSED 504 "Not to that address."
    PROTOCOL 522 "Network protocol not supported, use ({})"
    NOT_PRIVATE 522 "Data connections are private here, send PBSZ 0 and PROT P first."
    NOT_RESUMED 522 "The data connection must resume the TLS session of the control connection."
    TLS_NEEDED 530 "AUTH TLS first."
    LOGIN_NEEDED 530 "Log in with USER and PASS."
    LOGIN_WRONG 530 "Login incorrect."
    CLEAR_ALREADY 533 "The control connection is clear already."
    NOT_CLEARED 534 "The control connection stays protected."
    PROTECTION_REFUSED 534 "Data connections stay private here."
    PROTECTION_UNKNOWN 536 "TLS has levels C and P."
    NOT_PERMITTED 550 "Permission denied."
}

/// Why something was refused; the code is chosen by command (`refusal`).
pub(crate) const REASONS: [(Fault, &str); 17] = [
    (Fault::Missing, "No such file or directory."),
    (Fault::Denied, "Permission denied."),
    (Fault::IsDirectory, "Is a directory."),
    (Fault::NotDirectory, "Not a directory."),
    (Fault::Exists, "Exists already."),
    (Fault::NotEmpty, "Directory is not empty."),
    (Fault::BadName, "Name not allowed."),
    (Fault::BadOffset, "Restart lies past the end of the file."),
    (Fault::Busy, "In use, try again later."),
    (Fault::NoSpace, "No space left."),
    (Fault::TooLarge, "Too large."),
    (Fault::NotRegular, "Not a regular file."),
    (Fault::Link, "Link not followed."),
    (Fault::Changed, "File changed during the transfer."),
    (Fault::Exhausted, "Out of resources, try again later."),
    (Fault::Local, "Local error."),
    (Fault::Unsupported, "Not supported here."),
];

impl Reply {
    /// The reply that names a fault, under this code.
    pub fn because(code: u16, fault: Fault) -> Self {
        let text = REASONS.iter().find(|(named, _)| *named == fault).map_or("", |(_, text)| *text);
        Self { code, text }
    }

    /// Its code.
    pub const fn code(self) -> u16 {
        self.code
    }

    /// Its text, with `{}` where something is filled in.
    pub const fn text(self) -> &'static str {
        self.text
    }

    /// As a line of its own.
    pub fn send(self, out: &mut Outbox) {
        self.fill(&[], out);
    }

    /// As a line of its own, with the places filled in.
    pub fn fill(self, parts: &[&[u8]], out: &mut Outbox) {
        self.write(b" ", parts, out);
    }

    /// As the first line of several. Send [`middle`] lines, then a reply of the same code.
    pub fn begin(self, parts: &[&[u8]], out: &mut Outbox) {
        self.write(b"-", parts, out);
    }

    fn write(self, separator: &[u8], parts: &[&[u8]], out: &mut Outbox) {
        out.push(Digits::of(u64::from(self.code)).as_bytes());
        out.push(separator);
        let mut parts = parts.iter();
        for (at, piece) in self.text.split("{}").enumerate() {
            if at > 0 {
                escape(parts.next().copied().unwrap_or_default(), out);
            }
            out.push(piece.as_bytes());
        }
        out.push(b"\r\n");
    }
}

/// A line between the first and the last of a reply. A line that begins with a digit is moved by a
/// space, lest it look like the last (RFC 959 §4.2).
pub fn middle(line: &[u8], out: &mut Outbox) {
    if line.first().is_some_and(u8::is_ascii_digit) {
        out.push(b" ");
    }
    escape(line, out);
    out.push(b"\r\n");
}

/// A line of FEAT and MLST: exactly one space before it (RFC 2389 §3.2, RFC 3659 §7.2).
pub fn indented(parts: &[&[u8]], out: &mut Outbox) {
    out.push(b" ");
    for part in parts {
        escape(part, out);
    }
    out.push(b"\r\n");
}

/// The greeting, with the lines of a banner before it.
pub fn greeting(hostname: &str, banner: &str, out: &mut Outbox) {
    let banner = banner.trim_end();
    if !banner.is_empty() {
        // RFC 959 §4.2: the first line of several bears the code too.
        out.push(Digits::of(u64::from(READY.code)).as_bytes());
        out.push(b"-");
        for (at, line) in banner.lines().enumerate() {
            if at == 0 {
                escape(line.as_bytes(), out);
                out.push(b"\r\n");
            } else {
                middle(line.as_bytes(), out);
            }
        }
    }
    READY.fill(&[hostname.as_bytes()], out);
}

/// A Telnet command, which is no reply but goes the same way.
pub fn telnet(command: &[u8], out: &mut Outbox) {
    out.push(command);
}

/// A pathname for a reply that shows it in quotes: quotes are doubled (RFC 959 Appendix II).
pub fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len() + 2);
    for &octet in path {
        if octet == b'"' {
            text.push(b'"');
        }
        text.push(octet);
    }
    text
}

/// Appends octets so that they stay on their line and out of Telnet: CR becomes CR NUL (RFC 2640
/// §3.1), IAC is doubled (RFC 3659 §2.2), and an LF, for which there is no form, becomes `?`.
fn escape(text: &[u8], out: &mut Outbox) {
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'\r', b'\n', IAC, rest) {
        out.push(&rest[..at]);
        out.push(match rest[at] {
            b'\r' => b"\r\0",
            IAC => &[IAC, IAC],
            _ => b"?",
        });
        rest = &rest[at + 1..];
    }
    out.push(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(send: impl FnOnce(&mut Outbox)) -> Vec<u8> {
        let mut out = Outbox::default();
        send(&mut out);
        out.take()
    }

    #[test]
    fn the_table_is_well_formed() {
        for reply in ALL {
            assert!((100..600).contains(&reply.code), "{reply:?}");
            assert!(reply.text.is_ascii() && !reply.text.is_empty(), "{reply:?}");
            assert!(!reply.text.contains(['\r', '\n']), "{reply:?}");
            assert_eq!(ALL.iter().filter(|other| *other == reply).count(), 1, "{reply:?} twice");
        }
        for (fault, text) in REASONS {
            assert_eq!(Reply::because(550, fault).text(), text);
            assert!(!text.is_empty());
        }
    }

    #[test]
    fn what_is_filled_in_stays_on_its_line() {
        assert_eq!(
            sent(|out| DIRECTORY.fill(&[b"/a\r\n226 x\xFF"], out)),
            b"257 \"/a\r\0?226 x\xFF\xFF\" is the current directory.\r\n"
        );
        assert_eq!(quoted(b"/a\"b"), b"/a\"\"b");
    }

    #[test]
    fn middle_lines_never_look_like_the_last() {
        assert_eq!(sent(|out| middle(b"220 x", out)), b" 220 x\r\n");
        assert_eq!(sent(|out| middle(b"x", out)), b"x\r\n");
        assert_eq!(
            sent(|out| greeting("h", "Hello\n220 there\n", out)),
            b"220-Hello\r\n 220 there\r\n220 h FTP server ready.\r\n"
        );
        assert_eq!(sent(|out| greeting("h", "", out)), b"220 h FTP server ready.\r\n");
    }

    proptest! {
        #[test]
        fn a_filled_reply_reads_back(part in prop::collection::vec(any::<u8>(), 0..40)) {
            let line = sent(|out| HELP_ONE.fill(&[&part], out));
            let text = line.strip_prefix(b"214 Syntax: ").unwrap().strip_suffix(b"\r\n").unwrap();
            prop_assert!(!text.contains(&b'\n'));
            let mut decoded = Vec::new();
            let mut octets = text.iter().copied();
            while let Some(octet) = octets.next() {
                if matches!(octet, b'\r' | IAC) {
                    prop_assert_eq!(octets.next(), Some(if octet == IAC { IAC } else { 0 }));
                }
                decoded.push(octet);
            }
            let expected: Vec<u8> = part.iter().map(|o| if *o == b'\n' { b'?' } else { *o }).collect();
            prop_assert_eq!(decoded, expected);
        }
    }
}
