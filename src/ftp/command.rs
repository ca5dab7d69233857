//! ftp::command – what a line asks for.
//!
//! [`Request::read`] splits a line into a verb we know and its argument; [`Request::command`] reads
//! the argument. Two steps, because whether a verb may be used at all is answered before its
//! argument is judged (530 comes before 501).
//!
//! Promises: borrows from the line; no argument is changed: a pathname keeps every space but the one
//! after the verb (RFC 2640 §3.1).
//! Not here: replies, state.

use std::net::{SocketAddr, SocketAddrV4};

use super::address::{self, BadAddress};
use super::calendar::parse_time_val;
use super::step::{Family, Kind, Structure, UnixTime};
use super::verb::Verb;
use crate::wire::ascii::{decimal, octal, word};

/// A command with its argument understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// USER
    User(&'a [u8]),
    /// PASS
    Pass(&'a [u8]),
    /// ACCT
    Acct,
    /// CWD, XCWD
    Cwd(&'a [u8]),
    /// CDUP, XCUP
    Cdup,
    /// REIN
    Rein,
    /// QUIT
    Quit,
    /// PORT
    Port(SocketAddrV4),
    /// EPRT
    Eprt(SocketAddr),
    /// PASV
    Pasv,
    /// EPSV
    Epsv(Option<Family>),
    /// EPSV ALL
    EpsvAll,
    /// TYPE
    Type(Kind),
    /// STRU
    Stru(Structure),
    /// MODE S
    Mode,
    /// RETR
    Retr(&'a [u8]),
    /// STOR
    Stor(&'a [u8]),
    /// STOU
    Stou(Option<&'a [u8]>),
    /// APPE
    Appe(&'a [u8]),
    /// ALLO, octets
    Allo(u64),
    /// REST, octets
    Rest(u64),
    /// RNFR
    Rnfr(&'a [u8]),
    /// RNTO
    Rnto(&'a [u8]),
    /// ABOR
    Abor,
    /// DELE
    Dele(&'a [u8]),
    /// RMD, XRMD
    Rmd(&'a [u8]),
    /// MKD, XMKD
    Mkd(&'a [u8]),
    /// PWD, XPWD
    Pwd,
    /// LIST, flags included
    List(&'a [u8]),
    /// NLST, flags included
    Nlst(&'a [u8]),
    /// MLSD
    Mlsd(&'a [u8]),
    /// MLST
    Mlst(&'a [u8]),
    /// SITE
    Site(Site<'a>),
    /// SYST
    Syst,
    /// STAT; flags included
    Stat(Option<&'a [u8]>),
    /// HELP
    Help(Option<&'a [u8]>),
    /// NOOP
    Noop,
    /// FEAT
    Feat,
    /// OPTS MLST with a list of facts
    OptsMlst(&'a [u8]),
    /// OPTS UTF8 ON
    OptsUtf8,
    /// MDTM
    Mdtm(&'a [u8]),
    /// SIZE
    Size(&'a [u8]),
    /// MFMT
    Mfmt(UnixTime, &'a [u8]),
    /// CLNT
    Clnt,
    /// AUTH, PBSZ, PROT, CCC
    Security(Security),
}

/// What is asked of the protection of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// AUTH
    Auth(Mechanism),
    /// PBSZ
    Pbsz,
    /// PROT
    Prot(Level),
    /// CCC
    Ccc,
}

/// What AUTH begins (RFC 4217 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// TLS, TLS-C: data connections stay clear until PROT P.
    Tls,
    /// SSL, TLS-P, of the drafts before RFC 4217: data connections are private at once.
    TlsPrivate,
}

/// Level of PROT (RFC 2228 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// C.
    Clear,
    /// P.
    Private,
    /// S and E, which TLS does not have (RFC 4217 §9).
    Other,
}

/// What SITE is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site<'a> {
    /// SITE HELP
    Help,
    /// SITE CHMOD mode path
    Chmod(u32, &'a [u8]),
    /// SITE UTIME
    Utime(UnixTime, &'a [u8]),
    /// SITE UMASK, to ask or to set
    Umask(Option<u32>),
    /// SITE IDLE, to ask or to set, seconds
    Idle(Option<u64>),
    /// SITE SYMLINK target link
    Symlink(&'a [u8], &'a [u8]),
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// 500: no such verb.
    Unknown,
    /// 501: the argument is missing or malformed.
    Syntax,
    /// 502: the verb is known, and not implemented.
    Absent,
    /// 504: the argument is well formed, and not implemented.
    Parameter,
    /// 522: no such network protocol here.
    Family,
}

/// A verb we know, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The verb.
    pub verb: Verb,
    /// What follows the one space; `None` without a space.
    argument: Option<&'a [u8]>,
}

/// Reads a line as a command, whatever the state.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Problem> {
    Request::read(line).ok_or(Problem::Unknown)?.command()
}

/// Does this line belong to HTTP, SMTP or SSH? Browsers and worms can be made to speak FTP by what
/// they believe to be a body or a header, so such a session ends at the first such line.
pub fn is_foreign(line: &[u8]) -> bool {
    const VERBS: [&[u8]; 12] = [
        b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE",
        b"HOST:", b"EHLO", b"HELO",
    ];
    let (verb, _) = word(line);
    let verb =
        if verb.len() > 5 && verb[..5].eq_ignore_ascii_case(b"HOST:") { &verb[..5] } else { verb };
    line.starts_with(b"SSH-") || VERBS.iter().any(|foreign| verb.eq_ignore_ascii_case(foreign))
}

impl<'a> Request<'a> {
    /// The verb of a line; `None` when we do not know it.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        // RFC 959 §5.3: case does not matter; RFC 2640 §3.1: exactly one space.
        let (verb, argument) = word(line);
        Some(Self { verb: Verb::named(verb)?, argument })
    }

    /// Is this STAT without an argument?
    pub fn is_bare_stat(&self) -> bool {
        self.verb == Verb::Stat && self.argument.is_none_or(<[u8]>::is_empty)
    }

    /// The verb with its argument read.
    pub fn command(self) -> Result<Command<'a>, Problem> {
        let given = self.argument.filter(|argument| !argument.is_empty());
        let text = given.ok_or(Problem::Syntax);
        let anything = given.unwrap_or_default();
        Ok(match self.verb {
            Verb::User => Command::User(text?),
            Verb::Pass => Command::Pass(anything),
            Verb::Acct => text.map(|_| Command::Acct)?,
            Verb::Cwd | Verb::Xcwd => Command::Cwd(text?),
            Verb::Cdup | Verb::Xcup => Command::Cdup,
            Verb::Rein => Command::Rein,
            Verb::Quit => Command::Quit,
            Verb::Port => Command::Port(address::parse_port(text?).ok_or(Problem::Syntax)?),
            Verb::Eprt => Command::Eprt(address::parse_eprt(text?).map_err(|bad| match bad {
                BadAddress::Syntax => Problem::Syntax,
                BadAddress::Family => Problem::Family,
            })?),
            Verb::Pasv => Command::Pasv,
            Verb::Epsv => epsv(given)?,
            Verb::Type => Command::Type(kind(text?)?),
            Verb::Stru => Command::Stru(structure(text?)?),
            Verb::Mode => mode(text?)?,
            Verb::Retr => Command::Retr(text?),
            Verb::Stor => Command::Stor(text?),
            Verb::Stou => Command::Stou(given),
            Verb::Appe => Command::Appe(text?),
            Verb::Allo => Command::Allo(allocation(text?)?),
            Verb::Rest => Command::Rest(offset(text?)?),
            Verb::Rnfr => Command::Rnfr(text?),
            Verb::Rnto => Command::Rnto(text?),
            Verb::Abor => Command::Abor,
            Verb::Dele => Command::Dele(text?),
            Verb::Rmd | Verb::Xrmd => Command::Rmd(text?),
            Verb::Mkd | Verb::Xmkd => Command::Mkd(text?),
            Verb::Pwd | Verb::Xpwd => Command::Pwd,
            Verb::List => Command::List(anything),
            Verb::Nlst => Command::Nlst(anything),
            Verb::Mlsd => Command::Mlsd(anything),
            Verb::Mlst => Command::Mlst(anything),
            Verb::Site => Command::Site(site(text?)?),
            Verb::Syst => Command::Syst,
            Verb::Stat => Command::Stat(given),
            Verb::Help => Command::Help(given),
            Verb::Noop => Command::Noop,
            // RFC 2389 §3.2: FEAT has no argument.
            Verb::Feat if given.is_some() => return Err(Problem::Syntax),
            Verb::Feat => Command::Feat,
            Verb::Opts => options(text?)?,
            Verb::Mdtm => Command::Mdtm(text?),
            Verb::Size => Command::Size(text?),
            Verb::Mfmt => timed(text?).map(|(time, path)| Command::Mfmt(time, path))?,
            Verb::Clnt => text.map(|_| Command::Clnt)?,
            Verb::Auth => Command::Security(Security::Auth(mechanism(text?)?)),
            Verb::Pbsz => Command::Security(buffer(text?)?),
            Verb::Prot => Command::Security(Security::Prot(level(text?)?)),
            Verb::Ccc => Command::Security(Security::Ccc),
            Verb::Smnt
            | Verb::Lang
            | Verb::Host
            | Verb::Adat
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc => {
                return Err(Problem::Absent);
            }
        })
    }
}

/// `YYYYMMDDhhmmss path`: MFMT, and MDTM as some clients use it to set the time.
pub fn timed(text: &[u8]) -> Result<(UnixTime, &[u8]), Problem> {
    let (time, path) = word(text);
    let path = path.filter(|path| !path.is_empty()).ok_or(Problem::Syntax)?;
    Ok((parse_time_val(time).ok_or(Problem::Syntax)?, path))
}

/// TYPE (RFC 959 §3.1.1, §5.3.1), names spelled out too.
fn kind(text: &[u8]) -> Result<Kind, Problem> {
    let upper = text.trim_ascii().to_ascii_uppercase();
    let (name, form) = word(&upper);
    let form = form.map(<[u8]>::trim_ascii_start);
    match (name, form) {
        // RFC 1123 §4.1.2.2: T is the same as N where nothing prints.
        (b"A" | b"ASCII", None | Some(b"N" | b"T")) => Ok(Kind::Ascii),
        (b"E" | b"EBCDIC", None | Some(b"N" | b"T")) => Ok(Kind::Ebcdic),
        (b"I" | b"IMAGE", None) | (b"L" | b"LOCAL", Some(b"8")) | (b"L8", None) => Ok(Kind::Image),
        (b"I" | b"IMAGE", Some(_)) | (b"L" | b"LOCAL", None) => Err(Problem::Syntax),
        _ => Err(Problem::Parameter),
    }
}

fn structure(text: &[u8]) -> Result<Structure, Problem> {
    match text.trim_ascii().to_ascii_uppercase().as_slice() {
        b"F" | b"FILE" => Ok(Structure::File),
        b"R" | b"RECORD" => Ok(Structure::Record),
        _ => Err(Problem::Parameter),
    }
}

fn mode(text: &[u8]) -> Result<Command<'_>, Problem> {
    match text.trim_ascii().to_ascii_uppercase().as_slice() {
        b"S" | b"STREAM" => Ok(Command::Mode),
        _ => Err(Problem::Parameter),
    }
}

/// AUTH: names are case-insensitive (RFC 2228 §3).
fn mechanism(text: &[u8]) -> Result<Mechanism, Problem> {
    match text.trim_ascii().to_ascii_uppercase().as_slice() {
        b"TLS" | b"TLS-C" => Ok(Mechanism::Tls),
        b"SSL" | b"TLS-P" => Ok(Mechanism::TlsPrivate),
        _ => Err(Problem::Parameter),
    }
}

/// PBSZ: what does not fit 32 bits is 501 (RFC 2228 §3). Any other size means 0 with TLS.
fn buffer(text: &[u8]) -> Result<Security, Problem> {
    let octets = decimal(text.trim_ascii()).filter(|octets| u32::try_from(*octets).is_ok());
    octets.map(|_| Security::Pbsz).ok_or(Problem::Syntax)
}

fn level(text: &[u8]) -> Result<Level, Problem> {
    match text.trim_ascii().to_ascii_uppercase().as_slice() {
        b"C" => Ok(Level::Clear),
        b"P" => Ok(Level::Private),
        b"S" | b"E" => Ok(Level::Other),
        _ => Err(Problem::Parameter),
    }
}

fn epsv(text: Option<&[u8]>) -> Result<Command<'_>, Problem> {
    let Some(text) = text else { return Ok(Command::Epsv(None)) };
    if text.eq_ignore_ascii_case(b"ALL") {
        return Ok(Command::EpsvAll);
    }
    match decimal(text) {
        Some(1) => Ok(Command::Epsv(Some(Family::Inet))),
        Some(2) => Ok(Command::Epsv(Some(Family::Inet6))),
        Some(_) => Err(Problem::Family),
        None => Err(Problem::Syntax),
    }
}

/// `ALLO n`, `ALLO n R m` (RFC 959 §4.1.3): octets of the file, and of the longest record.
fn allocation(text: &[u8]) -> Result<u64, Problem> {
    let (octets, record) = word(text.trim_ascii());
    if let Some(record) = record {
        let (letter, longest) = word(record);
        let known = letter.eq_ignore_ascii_case(b"R") && longest.and_then(decimal).is_some();
        known.then_some(()).ok_or(Problem::Syntax)?;
    }
    decimal(octets).ok_or(Problem::Syntax)
}

/// REST (RFC 3659 §5.3): digits; what no file can be long enough for is refused here, never wrapped.
fn offset(text: &[u8]) -> Result<u64, Problem> {
    decimal(text).filter(|offset| i64::try_from(*offset).is_ok()).ok_or(Problem::Syntax)
}

fn options(text: &[u8]) -> Result<Command<'_>, Problem> {
    let (name, value) = word(text);
    let value = value.unwrap_or_default();
    if name.eq_ignore_ascii_case(b"MLST") {
        return Ok(Command::OptsMlst(value));
    }
    let utf8 = name.eq_ignore_ascii_case(b"UTF8") || name.eq_ignore_ascii_case(b"UTF-8");
    if utf8 && (value.is_empty() || value.eq_ignore_ascii_case(b"ON")) {
        return Ok(Command::OptsUtf8);
    }
    Err(Problem::Syntax)
}

fn site(text: &[u8]) -> Result<Site<'_>, Problem> {
    let (name, value) = word(text);
    let value = value.filter(|value| !value.is_empty());
    let two = || {
        let (first, second) = word(value.ok_or(Problem::Syntax)?);
        let second = second.filter(|second| !second.is_empty()).ok_or(Problem::Syntax)?;
        Ok((first, second))
    };
    let mask =
        |digits: &[u8], most| octal(digits).filter(|bits| *bits <= most).ok_or(Problem::Syntax);
    match name.to_ascii_uppercase().as_slice() {
        b"HELP" => Ok(Site::Help),
        b"CHMOD" => two().and_then(|(mode, path)| Ok(Site::Chmod(mask(mode, 0o7777)?, path))),
        b"UMASK" => Ok(Site::Umask(value.map(|digits| mask(digits, 0o777)).transpose()?)),
        b"IDLE" => {
            let seconds = value.map(|digits| decimal(digits).ok_or(Problem::Syntax));
            Ok(Site::Idle(seconds.transpose()?))
        }
        b"SYMLINK" => two().map(|(target, link)| Site::Symlink(target, link)),
        b"UTIME" => utime(value.ok_or(Problem::Syntax)?),
        _ => Err(Problem::Unknown),
    }
}

/// `SITE UTIME YYYYMMDDhhmm[ss] path`, or `SITE UTIME path accessed modified changed UTC`.
fn utime(text: &[u8]) -> Result<Site<'_>, Problem> {
    let time = |digits: &[u8]| {
        let whole = if digits.len() == 12 { [digits, b"00"].concat() } else { digits.to_vec() };
        parse_time_val(&whole)
    };
    let (first, rest) = word(text);
    if let (Some(time), Some(path)) = (time(first), rest.filter(|path| !path.is_empty())) {
        return Ok(Site::Utime(time, path));
    }
    let mut words = text.rsplitn(5, |octet| *octet == b' ');
    let (zone, _, modified, accessed, path) =
        (words.next(), words.next(), words.next(), words.next(), words.next());
    match (zone, accessed.and_then(time), modified.and_then(time), path) {
        (Some(b"UTC"), Some(_), Some(modified), Some(path)) if !path.is_empty() => {
            Ok(Site::Utime(modified, path))
        }
        _ => Err(Problem::Syntax),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ftp::verb::{Gate, VERBS};

    #[test]
    fn lines_without_a_verb_are_unknown() {
        assert_eq!(parse(b""), Err(Problem::Unknown));
        assert_eq!(parse(b" NOOP"), Err(Problem::Unknown));
        assert_eq!(parse(b"\xFFOOP"), Err(Problem::Unknown));
    }

    #[test]
    fn exactly_one_space_precedes_the_argument() {
        assert_eq!(parse(b"retr  a b "), Ok(Command::Retr(b" a b ")));
        assert_eq!(parse(b"RETR"), Err(Problem::Syntax));
        assert_eq!(parse(b"RETR "), Err(Problem::Syntax));
        assert_eq!(parse(b"PASS"), Ok(Command::Pass(b"")));
    }

    #[test]
    fn types_structures_and_modes() {
        for (text, expected) in [
            (&b"A"[..], Ok(Kind::Ascii)),
            (b"a n", Ok(Kind::Ascii)),
            (b"A T", Ok(Kind::Ascii)),
            (b"ASCII", Ok(Kind::Ascii)),
            (b"A C", Err(Problem::Parameter)),
            (b"A X", Err(Problem::Parameter)),
            (b"E", Ok(Kind::Ebcdic)),
            (b"EBCDIC", Ok(Kind::Ebcdic)),
            (b"E C", Err(Problem::Parameter)),
            (b"I", Ok(Kind::Image)),
            (b"image", Ok(Kind::Image)),
            (b"I N", Err(Problem::Syntax)),
            (b"L 8", Ok(Kind::Image)),
            (b"L8", Ok(Kind::Image)),
            (b"L 7", Err(Problem::Parameter)),
            (b"L", Err(Problem::Syntax)),
            (b"X", Err(Problem::Parameter)),
        ] {
            assert_eq!(kind(text), expected, "{}", text.escape_ascii());
        }
        assert_eq!(structure(b"R"), Ok(Structure::Record));
        assert_eq!(structure(b"P"), Err(Problem::Parameter));
        assert_eq!(mode(b"z"), Err(Problem::Parameter));
    }

    #[test]
    fn numbers_never_wrap() {
        assert_eq!(parse(b"REST 9223372036854775807"), Ok(Command::Rest(i64::MAX as u64)));
        for bad in ["9223372036854775808", "18446744073709551616", "-1", "x", "1 2", "+1", "0x1"] {
            assert_eq!(parse(format!("REST {bad}").as_bytes()), Err(Problem::Syntax), "{bad}");
        }
        assert_eq!(parse(b"ALLO 10 R 5"), Ok(Command::Allo(10)));
        assert_eq!(parse(b"ALLO 10 R"), Err(Problem::Syntax));
        assert_eq!(parse(b"ALLO ten"), Err(Problem::Syntax));
    }

    #[test]
    fn security_commands() {
        for (text, expected) in [
            (&b"AUTH tls"[..], Ok(Security::Auth(Mechanism::Tls))),
            (b"AUTH TLS-C", Ok(Security::Auth(Mechanism::Tls))),
            (b"AUTH SSL", Ok(Security::Auth(Mechanism::TlsPrivate))),
            (b"AUTH TLS-P", Ok(Security::Auth(Mechanism::TlsPrivate))),
            (b"AUTH GSSAPI", Err(Problem::Parameter)),
            (b"AUTH", Err(Problem::Syntax)),
            (b"PBSZ 0", Ok(Security::Pbsz)),
            (b"PBSZ 4294967295", Ok(Security::Pbsz)),
            (b"PBSZ 4294967296", Err(Problem::Syntax)),
            (b"PBSZ -1", Err(Problem::Syntax)),
            (b"PBSZ", Err(Problem::Syntax)),
            (b"PROT c", Ok(Security::Prot(Level::Clear))),
            (b"PROT P", Ok(Security::Prot(Level::Private))),
            (b"PROT S", Ok(Security::Prot(Level::Other))),
            (b"PROT E", Ok(Security::Prot(Level::Other))),
            (b"PROT X", Err(Problem::Parameter)),
            (b"PROT", Err(Problem::Syntax)),
            (b"CCC", Ok(Security::Ccc)),
            (b"ADAT x", Err(Problem::Absent)),
        ] {
            let expected = expected.map(Command::Security);
            assert_eq!(parse(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn site_commands() {
        let time = parse_time_val(b"20240102030405").unwrap();
        for (text, expected) in [
            (&b"SITE chmod 644 a b"[..], Ok(Site::Chmod(0o644, b"a b"))),
            (b"SITE CHMOD 99 a", Err(Problem::Syntax)),
            (b"SITE CHMOD 10000 a", Err(Problem::Syntax)),
            (b"SITE UTIME 20240102030405 a b", Ok(Site::Utime(time, b"a b"))),
            (
                b"SITE UTIME a b 20200102030405 20240102030405 20200102030405 UTC",
                Ok(Site::Utime(time, b"a b")),
            ),
            (b"SITE UTIME a", Err(Problem::Syntax)),
            (b"SITE UMASK", Ok(Site::Umask(None))),
            (b"SITE UMASK 077", Ok(Site::Umask(Some(0o77)))),
            (b"SITE IDLE x", Err(Problem::Syntax)),
            (b"SITE SYMLINK a b", Ok(Site::Symlink(b"a", b"b"))),
            (b"SITE SYMLINK a", Err(Problem::Syntax)),
            (b"SITE EXEC ls", Err(Problem::Unknown)),
        ] {
            assert_eq!(parse(text), expected.map(Command::Site), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn foreign_protocols_are_noticed() {
        for line in
            ["GET / HTTP/1.1", "post /x", "Host: a", "host:a", "EHLO a", "HELO", "SSH-2.0-x"]
        {
            assert!(is_foreign(line.as_bytes()), "{line}");
        }
        for line in ["HOST a", "OPTS UTF8 ON", "", "HELP", "DELE x", "HOS", "SSH"] {
            assert!(!is_foreign(line.as_bytes()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn every_line_is_a_command_or_a_problem(line in prop::collection::vec(any::<u8>(), 0..64), at in 0..VERBS.len()) {
            if Request::read(&line).is_none() {
                prop_assert_eq!(parse(&line), Err(Problem::Unknown));
            }
            let known = [VERBS[at].name(), b" ", &line].concat();
            prop_assert_eq!(Request::read(&known).map(|request| request.verb), Some(VERBS[at]));
            prop_assert_eq!(parse(&known) == Err(Problem::Absent), VERBS[at].gate() == Gate::Absent);
            let utime = [b"SITE UTIME ", &line[..]].concat();
            prop_assert_ne!(parse(&utime), Err(Problem::Unknown));
        }
    }
}
