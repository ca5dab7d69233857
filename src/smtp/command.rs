//! smtp::command – what a line asks for.
//!
//! Promises: values own what they hold, are within the limits of RFC 5321 §4.5.3.1, and hold no
//! control octets; whatever the line, there is an answer.
//! Not here: replies, state, what a command means to the machine.

use super::address::{BadAddress, Recipient, Sender};
use super::envelope::{BodyType, Notify, Return};

/// The verbs we know by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// HELO
    Helo,
    /// EHLO
    Ehlo,
    /// LHLO (RFC 2033)
    Lhlo,
    /// MAIL
    Mail,
    /// RCPT
    Rcpt,
    /// DATA
    Data,
    /// BDAT (RFC 3030)
    Bdat,
    /// RSET
    Rset,
    /// VRFY
    Vrfy,
    /// EXPN
    Expn,
    /// HELP
    Help,
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// STARTTLS (RFC 3207)
    StartTls,
    /// AUTH (RFC 4954)
    Auth,
    /// ETRN (RFC 1985)
    Etrn,
    /// TURN (RFC 821)
    Turn,
    /// SEND (RFC 821)
    Send,
    /// SOML (RFC 821)
    Soml,
    /// SAML (RFC 821)
    Saml,
}

/// A command with its argument understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO and the name given: 1 to 255 printable octets of US-ASCII that are safe in a comment of
    /// a trace header (others became `?`).
    Helo(String),
    /// EHLO and the name given, as with HELO.
    Ehlo(String),
    /// MAIL
    Mail(Mail),
    /// RCPT
    Rcpt(Rcpt),
    /// DATA
    Data,
    /// BDAT: `size` octets follow the line.
    Bdat {
        /// Octets, at most `i64::MAX`.
        size: u64,
        /// `LAST`: the message ends with them.
        last: bool,
    },
    /// RSET
    Rset,
    /// VRFY
    Vrfy {
        /// Whom, without the `<>` if there were any. Not empty; no controls.
        text: String,
        /// The client takes UTF-8 in the reply (RFC 6531 §3.7.4.2).
        utf8: bool,
    },
    /// EXPN
    Expn {
        /// Which list, as with VRFY.
        text: String,
        /// The client takes UTF-8 in the reply.
        utf8: bool,
    },
    /// HELP, and what with: printable US-ASCII.
    Help(Option<String>),
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// A verb that we know by name only: 502.
    NotHere(Verb),
}

/// What MAIL says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// Reverse path.
    pub sender: Sender,
    /// `SIZE=`, octets; what exceeds 64 bits is `u64::MAX`.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<BodyType>,
    /// `SMTPUTF8`.
    pub utf8: bool,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `ENVID=`, decoded: 1 to 100 printable octets of US-ASCII.
    pub envelope_id: Option<String>,
    /// `AUTH=` (RFC 4954 §5), decoded: `<>` or a mailbox. Nobody here believes it.
    pub auth: Option<String>,
}

/// What RCPT says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// Forward path.
    pub recipient: Recipient,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`: address type, and the address decoded. Neither is empty; no controls.
    pub original: Option<(String, String)>,
}

/// A line that is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// The verb, if we know it.
    pub verb: Option<Verb>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a line. The usual reply stands behind each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No such verb, or no verb at all (an empty line): 500 5.5.2.
    UnknownVerb,
    /// HTTP, SSH, TLS, binary junk: the line begins with no letter, or with another protocol's word.
    Foreign,
    /// There is a bare CR or LF in the line (RFC 5321 §2.3.8): 500 5.5.2.
    BareNewline,
    /// The argument is missing, superfluous, or malformed: 501 5.5.4.
    Argument,
    /// No mailbox, or one with octets that no mailbox has: 501 5.1.3 of RCPT, 5.1.7 of MAIL.
    BadAddress,
    /// A local part over 64 octets, a domain over 255, a path over 256, a label over 63: 501 as above.
    TooLong,
    /// A parameter that we do not offer, or any at all after HELO: 555 5.5.4.
    UnknownParameter,
    /// A parameter given twice, or with a value it cannot have: 501 5.5.4.
    Parameter,
    /// A non-ASCII address without SMTPUTF8: 553 5.6.7 of RCPT, 550 5.6.7 of MAIL.
    NeedsUtf8,
    /// A bad BDAT line: 501 5.5.4. Holds how many octets follow where that could be read; they must
    /// be read and discarded (RFC 3030 §2).
    BadBdat(Option<u64>),
}

/// How to read a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Syntax {
    /// Refuse spaces after the colon of `FROM:` and `TO:`, and paths without `<>`.
    pub strict: bool,
    /// SMTPUTF8 was asked for in this transaction (counts for RCPT, VRFY and EXPN).
    pub utf8: bool,
    /// EHLO was used: parameters are allowed.
    pub extended: bool,
}

/// Reads a line, given without its CRLF.
pub fn parse(line: &[u8], syntax: Syntax) -> Result<Command, Malformed> {
    let _ = (line, syntax);
    todo!()
}

impl From<BadAddress> for Why {
    fn from(bad: BadAddress) -> Self {
        match bad {
            BadAddress::Syntax => Self::BadAddress,
            BadAddress::TooLong => Self::TooLong,
            BadAddress::NeedsUtf8 => Self::NeedsUtf8,
        }
    }
}
