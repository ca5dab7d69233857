//! smtp::reply – every reply this server can give, in one table.
//!
//! A reply is a code, an enhanced code (RFC 2034, RFC 3463) or none, and a text with `{}` where
//! something is filled in. Nothing outside this file holds the text or the form of a reply.
//!
//! (Beside it: the words of a filter, [`Words`].)
//!
//! Promises: `ddd text CRLF`, or `ddd-` … `ddd ` with one code (RFC 5321 §4.2); no line is longer
//! than 512 octets (§4.5.3.1.5); nothing filled in can end a line; the enhanced code's class is the
//! code's first digit, and stands on every line but those of the greeting, HELO, EHLO, 334 and 354.
//! Not here: which reply is due (`session`).

use super::step::Fault;
use crate::limits::SMTP_REPLY_LINE_BYTES_MAX;
use crate::wire::ascii::Digits;
use crate::wire::outbox::Outbox;

/// One reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Empty for none.
    enhanced: &'static str,
    text: &'static str,
}

macro_rules! replies {
    ($($name:ident $code:literal $enhanced:literal $text:literal)*) => {
        $(
            #[doc = concat!("`", stringify!($code), " ", $enhanced, " ", $text, "`")]
            pub const $name: Reply = Reply { code: $code, enhanced: $enhanced, text: $text };
        )*
        /// The whole table.
        #[cfg(test)]
        pub const ALL: &[Reply] = &[$($name),*];
    };
}

replies! {
    // Done
    GREETING 220 "" "{} ESMTP"
    GREETING_BANNER 220 "" "{} ESMTP {}"
    GREETING_LMTP 220 "" "{} LMTP"
    GREETING_LMTP_BANNER 220 "" "{} LMTP {}"
    HELLO 250 "" "{}"
    RESET 250 "2.0.0" "Ok"
    NOOP 250 "2.0.0" "Ok"
    SENDER 250 "2.1.0" "Ok"
    RECIPIENT 250 "2.1.5" "Ok"
    CHUNK 250 "2.0.0" "{} octets received"
    QUEUED 250 "2.0.0" "Ok: queued as {}"
    VERIFIED 250 "2.1.5" "<{}>"
    VERIFIED_NAME 250 "2.1.5" "{} <{}>"
    NO_LIST 550 "5.1.1" "No such list here"
    LIST_EMPTY 250 "2.1.5" "The list has no members"
    NOT_VERIFIED 252 "2.0.0" "Not telling; send mail and it is tried"
    NOT_EXPANDED 252 "2.0.0" "Not telling; send mail and it is tried"
    HELP 214 "2.0.0" "Commands:"
    HELP_LINE 214 "2.0.0" "{}"
    HELP_END 214 "2.0.0" "Sessions are those of RFC 5321"
    HELP_END_LMTP 214 "2.0.0" "Sessions are those of RFC 2033"
    FORWARDED 250 "2.0.0" "Ok"
    BYE 221 "2.0.0" "Bye"
    START_TLS 220 "2.0.0" "Begin TLS now"
    AUTHENTICATED 235 "2.7.0" "Authentication succeeded"

    // More is needed
    CHALLENGE 334 "" "{}"
    SEND_DATA 354 "" "End data with <CR><LF>.<CR><LF>"

    // Not now
    TIMEOUT 421 "4.4.2" "{} idle or too slow, closing"
    DRAINING 421 "4.3.2" "{} is going down, closing"
    TOO_MANY_ERRORS 421 "4.7.0" "{} too many errors, closing"
    TOO_MANY_MESSAGES 421 "4.7.0" "{} too many messages in one session, closing"
    TOO_MANY_LOGINS 421 "4.7.0" "{} too many failed logins, closing"
    TOO_MANY_CONNECTIONS 421 "4.3.2" "{} has too many connections, try again later"
    DISMISSED 421 "4.7.0" "{} takes nothing from you now, closing"
    TOO_MANY_OF_ADDRESS 421 "4.7.0" "{} too many connections from your address, closing"
    MAILBOX_BUSY 450 "4.2.1" "The mailbox takes nothing now, try again later"
    BUSY 450 "4.3.2" "Too much at once, try again later"
    BROKEN 451 "4.3.0" "Local error, try again later"
    UNFILTERED 451 "4.7.1" "Service unavailable, try again later"
    MAILBOX_FULL 452 "4.2.2" "The mailbox is full"
    NO_SPACE 452 "4.3.1" "No space for mail now, try again later"
    TOO_MANY_RECIPIENTS 452 "4.5.3" "Too many recipients; send the message again for the others"
    NO_TLS_NOW 454 "4.7.0" "TLS is not available now"
    NO_LOGIN_NOW 454 "4.7.0" "Nobody can be authenticated now, try again later"

    // Not so: the words
    UNKNOWN 500 "5.5.2" "Unknown command"
    TOO_LONG 500 "5.5.2" "Line too long"
    BARE_LINE 500 "5.5.2" "Bare CR or LF in a command (send CRLF line ends)"
    AUTH_TOO_LONG 500 "5.5.6" "Authentication line too long"
    BASE64 501 "5.5.2" "Not base64"
    BAD_RESPONSE 501 "5.5.2" "Not what the mechanism wants"
    AUTH_CANCELLED 501 "5.7.0" "Authentication cancelled"
    SYNTAX 501 "5.5.4" "Syntax error in the argument"
    CHUNK_SYNTAX 501 "5.5.4" "Syntax: BDAT octets [LAST]"
    BAD_SENDER 501 "5.1.7" "Bad sender address"
    BAD_RECIPIENT 501 "5.1.3" "Bad recipient address"
    NOT_IMPLEMENTED 502 "5.5.1" "Command not implemented"
    UNKNOWN_PARAMETER 555 "5.5.4" "Parameter not known"
    // RFC 6531 §3.5
    SENDER_NEEDS_UTF8 550 "5.6.7" "The address needs SMTPUTF8"
    RECIPIENT_NEEDS_UTF8 553 "5.6.7" "The address needs SMTPUTF8"
    // RFC 6531 §3.7.4.2
    VERIFY_NEEDS_UTF8 252 "2.6.8" "The answer needs SMTPUTF8"

    // Not so: the order
    // RFC 2033 §4.1
    LHLO_ONLY 500 "5.5.1" "This is LMTP: LHLO"
    LHLO_FIRST 503 "5.5.1" "LHLO first"
    HELLO_FIRST 503 "5.5.1" "HELO or EHLO first"
    EHLO_FIRST 503 "5.5.1" "EHLO first"
    TLS_ALREADY 503 "5.5.1" "TLS is on already"
    TLS_IN_TRANSACTION 503 "5.5.1" "Not within a transaction; RSET ends it"
    AUTH_IN_TRANSACTION 503 "5.5.1" "Not within a transaction; RSET ends it"
    AUTHENTICATED_ALREADY 503 "5.5.1" "Authenticated already"
    TLS_FIRST 530 "5.7.0" "Must issue a STARTTLS command first"
    AUTH_FIRST 530 "5.7.0" "Authentication required"
    MAIL_FIRST 503 "5.5.1" "MAIL first"
    RECIPIENT_FIRST 503 "5.5.1" "RCPT first"
    NESTED 503 "5.5.1" "MAIL was given already; RSET begins anew"
    CHUNKS_BEGUN 503 "5.5.1" "The message has begun with BDAT; only BDAT or RSET can follow"
    MESSAGE_FAILED 503 "5.5.1" "The message has failed already; RSET begins anew"
    BINARY_NEEDS_CHUNKS 503 "5.5.1" "BODY=BINARYMIME is sent with BDAT"
    NO_VALID_RECIPIENTS 554 "5.5.1" "No valid recipients"
    // RFC 2033 §4.2
    NO_VALID_RECIPIENTS_LMTP 503 "5.5.1" "No valid recipients"
    VOUCH_IN_TRANSACTION 503 "5.5.1" "Not within a transaction; RSET ends it"

    // Not so: the proof (RFC 4954 §6)
    UNKNOWN_MECHANISM 504 "5.5.4" "Authentication mechanism not offered"
    WEAK_MECHANISM 534 "5.7.9" "Authentication mechanism is too weak"
    BAD_CREDENTIALS 535 "5.7.8" "Authentication credentials invalid"
    TLS_FOR_AUTH 538 "5.7.11" "Encryption required for authentication; STARTTLS first"

    // Not so: this server, this message
    NO_USER 550 "5.1.1" "No such mailbox here"
    RELAY_DENIED 550 "5.7.1" "Relaying denied"
    DENIED 550 "5.7.1" "Not permitted"
    FILTERED 550 "5.7.1" "Rejected"
    NOT_TRUSTED 550 "5.7.1" "Not believed from your address"
    LOOP 550 "5.4.6" "Expands without end, or to too many"
    FORGED_RETURN 550 "5.1.1" "That return address was not made here"
    EXPIRED_RETURN 550 "5.1.6" "That return address has expired"
    BARE_DATA 550 "5.5.2" "Bare CR or LF in message data (send CRLF line ends)"
    TOO_LARGE 552 "5.3.4" "The message is too large"
    AMBIGUOUS 553 "5.1.4" "The address means more than one mailbox"
    NOT_YOURS 553 "5.7.1" "That sender address is not yours"
    TOO_MANY_HOPS 554 "5.4.6" "Too many Received lines, mail goes in a circle"
    TOO_EARLY 554 "5.5.0" "Wait for the greeting"
    FOREIGN 554 "5.5.0" "This is SMTP, closing"
    UNASKED_DATA 554 "5.5.0" "DATA was refused and message data sent all the same, closing"
}

/// The reply that names a fault.
pub const fn refusal(fault: Fault) -> Reply {
    match fault {
        Fault::NoUser => NO_USER,
        Fault::RelayDenied => RELAY_DENIED,
        Fault::Ambiguous => AMBIGUOUS,
        Fault::MailboxBusy => MAILBOX_BUSY,
        Fault::MailboxFull => MAILBOX_FULL,
        Fault::NoSpace => NO_SPACE,
        Fault::Broken => BROKEN,
        Fault::Busy => BUSY,
        Fault::Denied => DENIED,
        Fault::TooLarge => TOO_LARGE,
        Fault::Loop => LOOP,
        Fault::ForgedReturn => FORGED_RETURN,
        Fault::ExpiredReturn => EXPIRED_RETURN,
        Fault::ShuttingDown => DRAINING,
        Fault::NotYours => NOT_YOURS,
        Fault::Credentials => BAD_CREDENTIALS,
        Fault::Response => BAD_RESPONSE,
        Fault::NoLogins => NO_LOGIN_NOW,
        Fault::Filtered => FILTERED,
        Fault::Unfiltered => UNFILTERED,
        Fault::Dismissed => DISMISSED,
    }
}

impl Reply {
    /// Its code.
    pub const fn code(self) -> u16 {
        self.code
    }

    /// As it stands in the log: one with places is none that is logged.
    pub fn shown(self) -> String {
        format!("{} {} {}", self.code, self.enhanced, self.text)
    }

    /// As a line of its own.
    pub fn send(self, out: &mut Outbox) {
        self.fill(&[], out);
    }

    /// As a line of its own, with the places filled in.
    pub fn fill(self, parts: &[&[u8]], out: &mut Outbox) {
        self.write(b" ", parts, out);
    }

    /// As a line after which others of the same code follow; the last is sent with `fill`.
    pub fn begin(self, parts: &[&[u8]], out: &mut Outbox) {
        self.write(b"-", parts, out);
    }

    fn write(self, separator: &[u8], parts: &[&[u8]], out: &mut Outbox) {
        let mut line = Line { left: SMTP_REPLY_LINE_BYTES_MAX - 2, out };
        line.push(Digits::of(u64::from(self.code)).as_bytes());
        line.push(separator);
        if !self.enhanced.is_empty() {
            line.push(self.enhanced.as_bytes());
            line.push(b" ");
        }
        let mut parts = parts.iter();
        for (at, piece) in self.text.split("{}").enumerate() {
            if at > 0 {
                line.escape(parts.next().copied().unwrap_or_default());
            }
            line.push(piece.as_bytes());
        }
        out.push(b"\r\n");
    }
}

/// A refusal in words that are not ours: those of a milter. Its form is ours all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    code: u16,
    status: String,
    lines: Vec<String>,
}

impl Words {
    /// `None` when it would be no refusal: another code than 4yz or 5yz, an enhanced code of another class,
    /// or no line.
    pub fn new(code: u16, status: String, lines: Vec<String>) -> Option<Self> {
        let class = char::from_digit(u32::from(code) / 100, 10);
        let fits = (400..600).contains(&code) && status.chars().next() == class;
        (fits && !lines.is_empty()).then_some(Self { code, status, lines })
    }

    /// Its code.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// As they stand in the log: all lines as one.
    pub fn shown(&self) -> String {
        format!("{} {} {}", self.code, self.status, self.lines.join(" "))
    }

    /// All of its lines.
    pub fn send(&self, out: &mut Outbox) {
        for (number, text) in (1..).zip(&self.lines) {
            let mut line = Line { left: SMTP_REPLY_LINE_BYTES_MAX - 2, out };
            line.push(Digits::of(u64::from(self.code)).as_bytes());
            line.push(if number == self.lines.len() { b" " } else { b"-" });
            line.escape(self.status.as_bytes());
            line.push(b" ");
            line.escape(text.as_bytes());
            out.push(b"\r\n");
        }
    }
}

/// One line on its way out: what would make it too long is cut off.
struct Line<'a> {
    left: usize,
    out: &'a mut Outbox,
}

impl Line<'_> {
    fn push(&mut self, octets: &[u8]) {
        let octets = &octets[..octets.len().min(self.left)];
        self.left -= octets.len();
        self.out.push(octets);
    }

    /// Controls become `?`: nothing filled in ends a line or moves a cursor.
    fn escape(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let Some(at) = rest.iter().position(u8::is_ascii_control) {
            self.push(&rest[..at]);
            self.push(b"?");
            rest = &rest[at + 1..];
        }
        self.push(rest);
    }
}

/// The greeting (RFC 5321 §4.3.1: the name, then free text).
pub fn greeting(hostname: &str, banner: &str, lmtp: bool, out: &mut Outbox) {
    let banner = banner.trim();
    let (bare, with_banner) =
        if lmtp { (GREETING_LMTP, GREETING_LMTP_BANNER) } else { (GREETING, GREETING_BANNER) };
    if banner.is_empty() {
        bare.fill(&[hostname.as_bytes()], out);
    } else {
        with_banner.fill(&[hostname.as_bytes(), banner.as_bytes()], out);
    }
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

    /// Replies that RFC 2034 §4 leaves without an enhanced code.
    const BARE: [Reply; 7] = [
        GREETING,
        GREETING_BANNER,
        GREETING_LMTP,
        GREETING_LMTP_BANNER,
        HELLO,
        CHALLENGE,
        SEND_DATA,
    ];

    #[test]
    fn the_table_is_well_formed() {
        for reply in ALL {
            assert!((200..600).contains(&reply.code), "{reply:?}");
            assert!(reply.text.is_ascii() && !reply.text.is_empty(), "{reply:?}");
            assert!(!reply.text.contains(|c: char| c.is_ascii_control()), "{reply:?}");
            assert_eq!(reply.enhanced.is_empty(), BARE.contains(reply), "{reply:?}");
            if reply.enhanced.is_empty() {
                continue;
            }
            let parts: Vec<u16> = reply.enhanced.split('.').map(|n| n.parse().unwrap()).collect();
            assert_eq!(parts.len(), 3, "{reply:?}");
            assert_eq!(parts[0], reply.code / 100, "{reply:?}");
        }
    }

    #[test]
    fn only_421_closes_and_bears_the_name() {
        // RFC 5321 §4.2.2: 421 <domain>.
        for reply in ALL.iter().filter(|reply| reply.code == 421) {
            assert!(reply.text.starts_with("{} "), "{reply:?}");
        }
    }

    #[test]
    fn what_is_filled_in_stays_on_its_line() {
        assert_eq!(
            sent(|out| QUEUED.fill(&[b"a\r\n250 \x7Fb"], out)),
            b"250 2.0.0 Ok: queued as a??250 ?b\r\n"
        );
        let long = sent(|out| greeting(&"h".repeat(600), "x", false, out));
        assert_eq!(long.len(), SMTP_REPLY_LINE_BYTES_MAX);
        assert!(long.ends_with(b"hh\r\n"));
    }

    #[test]
    fn words_of_others_keep_our_form() {
        let words = |code, status: &str, lines: &[&str]| {
            Words::new(code, status.into(), lines.iter().map(|&line| line.into()).collect())
        };
        let said = words(550, "5.7.1", &["no\r\n250 yes", "never"]).unwrap();
        assert_eq!(sent(|out| said.send(out)), b"550-5.7.1 no??250 yes\r\n550 5.7.1 never\r\n");
        for (code, status, lines) in [
            (250, "2.0.0", &["ok"][..]),
            (354, "3.0.0", &["go"]),
            (550, "4.7.1", &["no"]),
            (550, "", &["no"]),
            (450, "4.7.1", &[]),
            (600, "6.0.0", &["no"]),
        ] {
            assert_eq!(words(code, status, lines), None, "{code} {status}");
        }
    }

    proptest! {
        #[test]
        fn a_filled_reply_is_one_line(part in prop::collection::vec(any::<u8>(), 0..700)) {
            let line = sent(|out| HELP_LINE.fill(&[&part], out));
            let text = line.strip_suffix(b"\r\n").unwrap();
            prop_assert!(line.len() <= SMTP_REPLY_LINE_BYTES_MAX);
            prop_assert!(!text.iter().any(u8::is_ascii_control));
            prop_assert!(text.starts_with(b"214 2.0.0 "));
        }
    }
}
