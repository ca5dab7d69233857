//! smtp::command – what a line asks for.
//!
//! Promises: values own what they hold, are within the limits of RFC 5321 §4.5.3.1, and hold no
//! control octets; whatever the line, there is an answer.
//! Not here: replies, state, what a command means to the machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::address::{self, BadAddress, DOMAIN_BYTES_MAX, Mailbox, Path, Recipient, Sender};
use super::claims::{self, Claim};
use super::envelope::{BodyType, Notify, Return};
use super::parameters;
use crate::wire::ascii;
use crate::wire::secret::Secret;

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
    /// XCLIENT (Postfix)
    XClient,
    /// XFORWARD (Postfix)
    XForward,
}

/// A command with its argument understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO and the name given: 1 to 255 printable octets of US-ASCII that are safe in a comment of
    /// a trace header (others became `?`).
    Helo(String),
    /// EHLO and the name given, as with HELO.
    Ehlo(String),
    /// LHLO (RFC 2033 §4.1) and the name given, as with HELO.
    Lhlo(String),
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
    /// STARTTLS
    StartTls,
    /// AUTH
    Auth(Auth),
    /// XCLIENT: what a proxy says of its client, at least one thing and none twice.
    XClient(Vec<Claim>),
    /// XFORWARD, in the same way.
    XForward(Vec<Claim>),
    /// A verb that we know by name only: 502.
    NotHere(Verb),
}

/// What AUTH says (RFC 4954 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// SASL mechanism: 1 to 20 of `A-Z`, `0-9`, `-`, `_` (RFC 4422 §3.1), in upper case.
    pub mechanism: String,
    /// The initial response, decoded. Empty where the client said `=`; `None` where it said nothing.
    pub initial: Option<Secret>,
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
    /// A response of AUTH that is not base64: 501 5.5.2.
    Base64,
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
    let end = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let Some(verb) = Verb::named(word) else {
        return Err(Malformed { verb: None, why: stranger(line) });
    };
    let malformed = |why| Malformed { verb: Some(verb), why };
    if memchr::memchr2(b'\r', b'\n', line).is_some() {
        return Err(malformed(Why::BareNewline));
    }
    command(verb, trim(rest), syntax).map_err(malformed)
}

impl Command {
    /// The verb it began with.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Helo(_) => Verb::Helo,
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Mail(_) => Verb::Mail,
            Self::Rcpt(_) => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat { .. } => Verb::Bdat,
            Self::Rset => Verb::Rset,
            Self::Vrfy { .. } => Verb::Vrfy,
            Self::Expn { .. } => Verb::Expn,
            Self::Help(_) => Verb::Help,
            Self::Noop => Verb::Noop,
            Self::Quit => Verb::Quit,
            Self::StartTls => Verb::StartTls,
            Self::Auth(_) => Verb::Auth,
            Self::Lhlo(_) => Verb::Lhlo,
            Self::XClient(_) => Verb::XClient,
            Self::XForward(_) => Verb::XForward,
            Self::NotHere(verb) => *verb,
        }
    }
}

impl Verb {
    /// The verb of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut upper = [0; 8];
        let upper = upper.get_mut(..name.len())?;
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        Some(match &*upper {
            b"HELO" => Self::Helo,
            b"EHLO" => Self::Ehlo,
            b"LHLO" => Self::Lhlo,
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"BDAT" => Self::Bdat,
            b"RSET" => Self::Rset,
            b"VRFY" => Self::Vrfy,
            b"EXPN" => Self::Expn,
            b"HELP" => Self::Help,
            b"NOOP" => Self::Noop,
            b"QUIT" => Self::Quit,
            b"STARTTLS" => Self::StartTls,
            b"AUTH" => Self::Auth,
            b"ETRN" => Self::Etrn,
            b"TURN" => Self::Turn,
            b"SEND" => Self::Send,
            b"SOML" => Self::Soml,
            b"SAML" => Self::Saml,
            b"XCLIENT" => Self::XClient,
            b"XFORWARD" => Self::XForward,
            _ => return None,
        })
    }

    /// The name, in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Helo => "HELO",
            Self::Ehlo => "EHLO",
            Self::Lhlo => "LHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Bdat => "BDAT",
            Self::Rset => "RSET",
            Self::Vrfy => "VRFY",
            Self::Expn => "EXPN",
            Self::Help => "HELP",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Etrn => "ETRN",
            Self::Turn => "TURN",
            Self::Send => "SEND",
            Self::Soml => "SOML",
            Self::Saml => "SAML",
            Self::XClient => "XCLIENT",
            Self::XForward => "XFORWARD",
        }
    }
}

/// What to think of a line whose verb we do not know.
fn stranger(line: &[u8]) -> Why {
    const FOREIGN: [&[u8]; 10] = [
        b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE",
        b"PRI",
    ];
    let (word, _) = ascii::word(line);
    let starts =
        |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    match line.first() {
        // An empty line, a blank in front, a stray line end: clumsy, not foreign.
        None | Some(b' ' | b'\t') => Why::UnknownVerb,
        Some(b'\r' | b'\n') => Why::BareNewline,
        Some(first) if !first.is_ascii_alphabetic() => Why::Foreign,
        Some(_) if FOREIGN.iter().any(|name| word.eq_ignore_ascii_case(name)) => Why::Foreign,
        Some(_) if starts(b"HOST:") || starts(b"SSH-") => Why::Foreign,
        Some(_) if memchr::memchr2(b'\r', b'\n', line).is_some() => Why::BareNewline,
        Some(_) => Why::UnknownVerb,
    }
}

/// `rest` without blanks at either end; those at the end are to be tolerated (RFC 5321 §4.1.1).
fn trim(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = rest {
        rest = inner;
    }
    rest
}

/// The verb with its argument.
fn command(verb: Verb, rest: &[u8], syntax: Syntax) -> Result<Command, Why> {
    let alone = |command| if rest.is_empty() { Ok(command) } else { Err(Why::Argument) };
    match verb {
        Verb::Helo => name(rest).map(Command::Helo),
        Verb::Ehlo => name(rest).map(Command::Ehlo),
        Verb::Lhlo => name(rest).map(Command::Lhlo),
        Verb::Mail => mail(rest, syntax),
        Verb::Rcpt => rcpt(rest, syntax),
        Verb::Data => alone(Command::Data),
        Verb::Bdat => bdat(rest),
        Verb::Rset => alone(Command::Rset),
        Verb::Vrfy => whom(rest, syntax).map(|(text, utf8)| Command::Vrfy { text, utf8 }),
        Verb::Expn => whom(rest, syntax).map(|(text, utf8)| Command::Expn { text, utf8 }),
        Verb::Help => Ok(Command::Help((!rest.is_empty()).then(|| printable(rest)))),
        // §4.1.1.9: whatever is said with it.
        Verb::Noop => Ok(Command::Noop),
        Verb::Quit => alone(Command::Quit),
        Verb::StartTls => alone(Command::StartTls),
        Verb::Auth => auth(rest),
        Verb::XClient => claims::read(rest, &claims::XCLIENT).map(Command::XClient),
        Verb::XForward => claims::read(rest, &claims::XFORWARD).map(Command::XForward),
        Verb::Etrn | Verb::Turn | Verb::Send | Verb::Soml | Verb::Saml => {
            Ok(Command::NotHere(verb))
        }
    }
}

/// The name of HELO and EHLO. Clients say all sorts of things here and are served nevertheless (§4.1.4);
/// what could break a trace header becomes `?`.
pub(super) fn name(rest: &[u8]) -> Result<String, Why> {
    let safe = |octet: u8| {
        if octet.is_ascii_alphanumeric() || b"-._:[]/+=".contains(&octet) { octet } else { b'?' }
    };
    if rest.is_empty() || !rest.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        return Err(Why::Argument);
    }
    if rest.len() > DOMAIN_BYTES_MAX {
        return Err(Why::TooLong);
    }
    Ok(rest.iter().map(|octet| char::from(safe(*octet))).collect())
}

fn mail(rest: &[u8], syntax: Syntax) -> Result<Command, Why> {
    let (path, parameters) = path_of("FROM:", rest, syntax)?;
    let sender = match path {
        Path::Null => None,
        Path::Mailbox(mailbox) => Some(mailbox),
        // §4.1.2: only a forward path may do without a domain.
        Path::Postmaster => return Err(Why::BadAddress),
    };
    let mail = parameters::mail(sender, parameters, syntax)?;
    let plain = mail.sender.as_ref().is_none_or(Mailbox::is_ascii);
    if plain || mail.utf8 { Ok(Command::Mail(mail)) } else { Err(Why::NeedsUtf8) }
}

fn rcpt(rest: &[u8], syntax: Syntax) -> Result<Command, Why> {
    let (path, parameters) = path_of("TO:", rest, syntax)?;
    let recipient = match path {
        Path::Null => return Err(Why::BadAddress),
        Path::Mailbox(mailbox) if mailbox.is_ascii() || syntax.utf8 => Recipient::Mailbox(mailbox),
        Path::Mailbox(_) => return Err(Why::NeedsUtf8),
        Path::Postmaster => Recipient::Postmaster,
    };
    parameters::rcpt(recipient, parameters, syntax).map(Command::Rcpt)
}

/// The path behind `FROM:` or `TO:`, and what follows it.
fn path_of<'a>(keyword: &str, rest: &'a [u8], syntax: Syntax) -> Result<(Path, &'a str), Why> {
    let (start, text) = rest.split_at_checked(keyword.len()).ok_or(Why::Argument)?;
    if !start.eq_ignore_ascii_case(keyword.as_bytes()) {
        return Err(Why::Argument);
    }
    // RFC 6531 §3.3: well-formed UTF-8, whatever the address is allowed to be.
    let text = str::from_utf8(text).map_err(|_| Why::BadAddress)?;
    let text = if syntax.strict { text } else { text.trim_start_matches([' ', '\t']) };
    if syntax.strict && !text.starts_with('<') {
        return Err(Why::Argument);
    }
    let (path, parameters) = address::path(text)?;
    match parameters.bytes().next() {
        None => Ok((path, parameters)),
        Some(b' ' | b'\t') if !syntax.extended => Err(Why::UnknownParameter),
        Some(b' ') => Ok((path, parameters)),
        Some(b'\t') if !syntax.strict => Ok((path, parameters)),
        Some(_) => Err(Why::Argument),
    }
}

/// `BDAT size [LAST]` (RFC 3030 §2).
fn bdat(rest: &[u8]) -> Result<Command, Why> {
    let mut words =
        rest.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
    let size = words.next().and_then(ascii::decimal).filter(|size| i64::try_from(*size).is_ok());
    let last = words.next();
    match (size, last, words.next()) {
        (Some(size), None, None) => Ok(Command::Bdat { size, last: false }),
        (Some(size), Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => {
            Ok(Command::Bdat { size, last: true })
        }
        (size, _, _) => Err(Why::BadBdat(size)),
    }
}

/// `AUTH mechanism [initial-response]`.
fn auth(rest: &[u8]) -> Result<Command, Why> {
    /// RFC 4422 §3.1.
    const MECHANISM_BYTES_MAX: usize = 20;
    let mut words =
        rest.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
    let mechanism = words.next().unwrap_or_default();
    let named = (1..=MECHANISM_BYTES_MAX).contains(&mechanism.len())
        && mechanism.iter().all(|o| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_'));
    let (initial, None, true) = (words.next(), words.next(), named) else {
        return Err(Why::Argument);
    };
    let initial = match initial {
        None => None,
        Some(b"=") => Some(Secret::default()),
        Some(text) => Some(response(text).ok_or(Why::Base64)?),
    };
    let mechanism = mechanism.iter().map(|o| char::from(o.to_ascii_uppercase())).collect();
    Ok(Command::Auth(Auth { mechanism, initial }))
}

/// What a client responds, decoded. RFC 4954 §4: nothing that is no base64 is overlooked.
pub fn response(text: &[u8]) -> Option<Secret> {
    STANDARD.decode(text).ok().map(Secret::new)
}

/// The argument of VRFY and EXPN, and whether UTF-8 may be used (RFC 6531 §3.7.4.2).
fn whom(rest: &[u8], syntax: Syntax) -> Result<(String, bool), Why> {
    let text = str::from_utf8(rest).map_err(|_| Why::Argument)?;
    let (text, asked) = match text.rsplit_once(' ') {
        Some((before, last)) if syntax.extended && last.eq_ignore_ascii_case("SMTPUTF8") => {
            (before.trim_end_matches([' ', '\t']), true)
        }
        Some(_) | None => (text, false),
    };
    let text = text.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(text);
    let utf8 = asked || syntax.utf8;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Why::Argument);
    }
    if !utf8 && !text.is_ascii() {
        return Err(Why::NeedsUtf8);
    }
    Ok((text.to_owned(), utf8))
}

fn printable(text: &[u8]) -> String {
    text.iter()
        .map(|octet| if matches!(octet, b' '..=b'~') { char::from(*octet) } else { '?' })
        .collect()
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

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
