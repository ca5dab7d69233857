//! smtp::claims – what a peer says of the client it speaks for: the arguments of XCLIENT and XFORWARD, as
//! Postfix's XCLIENT_README and XFORWARD_README have them.
//!
//! Promises: values hold no controls and are within limits; what is not understood is refused, not guessed at.
//! Not here: who is believed (`session::vouching`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::DOMAIN_BYTES_MAX;
use super::command::{self, Why};
use super::xtext;
use crate::limits::USER_NAME_BYTES_MAX;
use crate::wire::ascii;

/// What XCLIENT may say, as EHLO lists it.
pub const XCLIENT: [&str; 8] =
    ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];
/// What XFORWARD may say, as EHLO lists it.
pub const XFORWARD: [&str; 7] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"];
/// Longest value that is no name, octets (XFORWARD_README: 255 of IDENT).
const TEXT_BYTES_MAX: usize = 255;

/// One attribute with its value; `None` is `[UNAVAILABLE]` or `[TEMPUNAVAIL]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// `NAME`: a host name.
    Name(Option<String>),
    /// `ADDR`: where the client is.
    Address(Option<IpAddr>),
    /// `PORT`
    Port(Option<u16>),
    /// `PROTO`, in upper case.
    Protocol(Option<String>),
    /// `HELO`: what the client said, as in [`command::Command::Helo`].
    Helo(Option<String>),
    /// `LOGIN`: the user it is.
    Login(Option<String>),
    /// `DESTADDR`: where it connected to.
    Destination(Option<IpAddr>),
    /// `DESTPORT`
    DestinationPort(Option<u16>),
    /// `IDENT`: what the peer calls the message.
    Ident(Option<String>),
    /// `SOURCE`: does it come from a machine of its own?
    Local(Option<bool>),
}

/// Reads the arguments; `known` are the attributes of the command.
pub(super) fn read(rest: &[u8], known: &[&str]) -> Result<Vec<Claim>, Why> {
    let text = str::from_utf8(rest).map_err(|_| Why::Argument)?;
    let mut claims: Vec<Claim> = Vec::new();
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or(Why::Argument)?;
        let name = name.to_ascii_uppercase();
        if !known.contains(&name.as_str()) || value.is_empty() {
            return Err(Why::Parameter);
        }
        let claim = claim(&name, value).ok_or(Why::Parameter)?;
        if claims
            .iter()
            .any(|other| std::mem::discriminant(other) == std::mem::discriminant(&claim))
        {
            return Err(Why::Parameter);
        }
        claims.push(claim);
    }
    if claims.is_empty() { Err(Why::Argument) } else { Ok(claims) }
}

/// One of them; `None` when its value is none that it can have.
fn claim(name: &str, value: &str) -> Option<Claim> {
    let unknown =
        ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| value.eq_ignore_ascii_case(word));
    let value = if unknown { None } else { Some(xtext::decode(value)?) };
    Some(match name {
        "NAME" => Claim::Name(read_as(value, |text| {
            within(text, DOMAIN_BYTES_MAX).filter(|it| is_host(it))
        })?),
        "ADDR" => Claim::Address(read_as(value, address)?),
        "PORT" => Claim::Port(read_as(value, port)?),
        "PROTO" => Claim::Protocol(read_as(value, protocol)?),
        "HELO" => Claim::Helo(read_as(value, |text| command::name(text.as_bytes()).ok())?),
        "LOGIN" => Claim::Login(read_as(value, |text| within(text, USER_NAME_BYTES_MAX))?),
        "DESTADDR" => Claim::Destination(read_as(value, address)?),
        "DESTPORT" => Claim::DestinationPort(read_as(value, port)?),
        "IDENT" => Claim::Ident(read_as(value, |text| within(text, TEXT_BYTES_MAX))?),
        "SOURCE" => Claim::Local(read_as(value, source)?),
        _ => return None,
    })
}

/// What is unavailable stays so; the outer `None` is a value that cannot be read.
#[allow(clippy::option_option, reason = "no value, and no value that can be read")]
fn read_as<T>(value: Option<String>, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(text) => read(&text).map(Some),
    }
}

fn within(text: &str, most: usize) -> Option<String> {
    (!text.is_empty() && text.len() <= most).then(|| text.to_owned())
}

fn is_host(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
}

/// `192.0.2.1` or `IPV6:2001:db8::1`; the address alone is taken as well, as Postfix takes it.
fn address(text: &str) -> Option<IpAddr> {
    let tag = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPV6:"));
    let address = match tag {
        Some(_) => IpAddr::V6(text.get(5..)?.parse::<Ipv6Addr>().ok()?),
        None => text
            .parse::<Ipv4Addr>()
            .map(IpAddr::V4)
            .or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::V6))
            .ok()?,
    };
    Some(address.to_canonical())
}

fn port(text: &str) -> Option<u16> {
    ascii::decimal(text.as_bytes()).and_then(|number| u16::try_from(number).ok())
}

fn protocol(text: &str) -> Option<String> {
    let word = text.bytes().all(|octet| octet.is_ascii_alphanumeric());
    within(text, TEXT_BYTES_MAX).filter(|_| word).map(|text| text.to_ascii_uppercase())
}

fn source(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("LOCAL") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("REMOTE").then_some(false)
    }
}

/// What XFORWARD said of one message: for the log only. What is unavailable is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded(Vec<Claim>);

impl Forwarded {
    /// Was nothing said?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// More was said; what is said anew counts.
    pub(super) fn add(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            let kind = std::mem::discriminant(&claim);
            self.0.retain(|other| std::mem::discriminant(other) != kind);
            self.0.push(claim);
        }
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for claim in &self.0 {
            let Some((name, value)) = shown(claim) else { continue };
            let space = if std::mem::take(&mut first) { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

/// For people; values are printable, for they were xtext.
fn shown(claim: &Claim) -> Option<(&'static str, String)> {
    Some(match claim {
        Claim::Name(name) => ("name", name.clone()?),
        Claim::Address(address) => ("addr", address.as_ref()?.to_string()),
        Claim::Port(port) => ("port", port.as_ref()?.to_string()),
        Claim::Protocol(protocol) => ("proto", protocol.clone()?),
        Claim::Helo(helo) => ("helo", helo.clone()?),
        Claim::Login(login) => ("login", login.clone()?),
        Claim::Destination(address) => ("destaddr", address.as_ref()?.to_string()),
        Claim::DestinationPort(port) => ("destport", port.as_ref()?.to_string()),
        Claim::Ident(ident) => ("ident", ident.clone()?),
        Claim::Local(local) => ("source", if (*local)? { "local" } else { "remote" }.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::command::{Command, Syntax};

    fn client(text: &str) -> Result<Vec<Claim>, Why> {
        read(text.as_bytes(), &XCLIENT)
    }

    #[test]
    fn values_of_every_kind() {
        let four: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(
            client(
                "NAME=spike.example.org addr=192.0.2.1  PORT=7 PROTO=esmtp HELO=spike(+29 LOGIN=ann+2Bx DESTADDR=::1 DESTPORT=25"
            ),
            Ok(vec![
                Claim::Name(Some("spike.example.org".into())),
                Claim::Address(Some(four)),
                Claim::Port(Some(7)),
                Claim::Protocol(Some("ESMTP".into())),
                Claim::Helo(Some("spike??".into())),
                Claim::Login(Some("ann+x".into())),
                Claim::Destination(Some("::1".parse().unwrap())),
                Claim::DestinationPort(Some(25)),
            ])
        );
        for (text, address) in [
            ("ADDR=IPV6:2001:db8::1", Some("2001:db8::1".parse().unwrap())),
            ("ADDR=ipv6:::ffff:192.0.2.1", Some(four)),
            ("ADDR=[UNAVAILABLE]", None),
            ("ADDR=[tempunavail]", None),
        ] {
            assert_eq!(client(text), Ok(vec![Claim::Address(address)]), "{text}");
        }
        for name in XCLIENT {
            assert!(client(&format!("{name}=[UNAVAILABLE]")).is_ok(), "{name}");
        }
        for name in XFORWARD {
            let text = format!("{name}=[TEMPUNAVAIL]");
            assert!(read(text.as_bytes(), &XFORWARD).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = format!("NAME={}", "x".repeat(256));
        for text in [
            "",
            " ",
            "NAME",
            "NAME=",
            "=x",
            "FOO=x",
            "IDENT=x",
            "SOURCE=LOCAL",
            "NAME=a NAME=b",
            "NAME=a b",
            "NAME=a+0Ab",
            "NAME=a+",
            "NAME=[x]",
            "NAME=a+20b",
            "NAME=a/b",
            "ADDR=x",
            "ADDR=192.0.2.1/24",
            "ADDR=192.0.2.01",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=IPV6:",
            "PORT=65536",
            "PORT=-1",
            "PORT=+31x",
            "PROTO=E-SMTP",
            "LOGIN=+2",
            "DESTPORT=x",
            "HELO=\u{e4}",
            &long,
        ] {
            assert!(client(text).is_err(), "{text}");
        }
        assert!(client(long.get(..long.len() - 1).unwrap()).is_ok());
        for text in ["LOGIN=x", "DESTADDR=::1", "SOURCE=HERE"] {
            assert!(read(text.as_bytes(), &XFORWARD).is_err(), "{text}");
        }
        assert!(read(b"NAME=\xFF", &XFORWARD).is_err());
    }

    #[test]
    fn commands_have_them() {
        let parse = |line: &str| command::parse(line.as_bytes(), Syntax::default());
        let name = |text: &str| Claim::Name(Some(text.into()));
        assert_eq!(parse("xclient name=a.b"), Ok(Command::XClient(vec![name("a.b")])));
        let ident = Claim::Ident(Some("1".into()));
        assert_eq!(
            parse("XFORWARD NAME=a IDENT=+31"),
            Ok(Command::XForward(vec![name("a"), ident]))
        );
        assert_eq!(parse("LHLO a b"), Ok(Command::Lhlo("a?b".into())));
        for (line, why) in [
            ("XCLIENT", Why::Argument),
            ("XCLIENT IDENT=1", Why::Parameter),
            ("XFORWARD LOGIN=a", Why::Parameter),
            ("LHLO", Why::Argument),
        ] {
            assert_eq!(parse(line).map_err(|malformed| malformed.why), Err(why), "{line}");
        }
    }

    #[test]
    fn what_is_said_later_counts() {
        let mut forwarded = Forwarded::default();
        assert!(forwarded.is_empty());
        for text in ["NAME=a ADDR=192.0.2.1 SOURCE=local", "NAME=b IDENT=3a+20b PORT=[UNAVAILABLE]"]
        {
            forwarded.add(read(text.as_bytes(), &XFORWARD).unwrap());
        }
        assert_eq!(forwarded.to_string(), "addr=192.0.2.1 source=local name=b ident=3a b");
    }
}
