//! mail::rewrite – the envelope sender that a message has when it leaves, and the field that stops loops.
//!
//! ```text
//!  through an alias  SRS0=…@srs.example (`srs`), where the sender is not ours
//!  through a list    owner-list@ours, or by VERP owner-list+member=domain@ours
//! ```
//! By VERP each member of a list has a sender of its own: from where a bounce comes back says who does not
//! get the list any more, whatever stands in it. It comes to `owner-list`, for what follows the separator is an
//! extension.
//!
//! Promises: the null sender stays (RFC 5321 §4.5.5); an address that would not be taken back here is not made.
//! Not here: who is a member (`route`), sending.

use memchr::{memchr, memmem};

use super::name;
use crate::smtp::address::{Domain, LOCAL_BYTES_MAX, Mailbox};

/// Which lists have a sender for each member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verp {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those of these names, in lower case.
    Lists(Vec<String>),
}

impl Verp {
    /// From the names of lists; `*` is all of them.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        match names {
            [] => Self::Off,
            names if names.iter().any(|name| name == "*") => Self::All,
            names => Self::Lists(names.iter().map(|name| name::folded(name)).collect()),
        }
    }

    /// The sender of what a list sends to one member. `None`: its owner, as everybody's. That is so where the
    /// address would have more than 64 octets before the @, or would not lead back to the owner.
    #[must_use]
    pub fn sender(&self, owner: &Mailbox, separator: &str, member: &Mailbox) -> Option<Mailbox> {
        let folded = name::folded(&owner.local);
        let list = folded.strip_prefix("owner-")?;
        let meant = match self {
            Self::Off => false,
            Self::All => true,
            Self::Lists(lists) => lists.iter().any(|one| one == list),
        };
        let leads_back = !separator.is_empty() && !owner.local.contains(separator);
        let Domain::Name(domain) = &member.domain else { return None };
        let local = format!("{}{separator}{}={domain}", owner.local, member.local);
        let fits = local.len() <= LOCAL_BYTES_MAX;
        (meant && leads_back && fits).then(|| Mailbox { local, domain: owner.domain.clone() })
    }
}

/// The field that says through which alias a message went.
const DELIVERED_TO: &str = "Delivered-To";

/// That field for an alias, with its CRLF. None where the name cannot stand in this message.
#[must_use]
pub fn delivered_to(alias: &str, utf8: bool) -> Vec<u8> {
    let plain = (utf8 || alias.is_ascii()) && !alias.contains(char::is_control);
    if plain { format!("{DELIVERED_TO}: {alias}\r\n").into_bytes() } else { Vec::new() }
}

/// The aliases that a message went through already, as its header says: addresses as [`key`] has them.
#[must_use]
pub fn been_to(header: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = header;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(field_end(rest));
        rest = after;
        let Some(colon) = memchr(b':', field) else { continue };
        let (name, value) = field.split_at(colon);
        // RFC 5322 §4.5.8: white space may stand before the colon.
        if name.trim_ascii_end().eq_ignore_ascii_case(DELIVERED_TO.as_bytes()) {
            let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default());
            found.push(key(value.trim().trim_start_matches('<').trim_end_matches('>')));
        }
    }
    found
}

/// Octets of the first field, lines that go on included.
fn field_end(header: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = memmem::find(header.get(end..).unwrap_or_default(), b"\r\n") {
        end += at + 2;
        if !matches!(header.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    header.len()
}

/// An address for comparison: two that differ in case only lead to the same alias.
#[must_use]
pub fn key(address: &str) -> String {
    match name::split(address) {
        Some((local, domain)) => {
            format!("{}@{}", name::folded(&local), domain.unwrap_or_default())
        }
        None => name::folded(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        let (local, domain) = name::split(text).unwrap();
        Mailbox { local, domain: Domain::Name(domain.unwrap()) }
    }

    #[test]
    fn a_member_has_a_sender_of_its_own() {
        let verp = Verp::new(&["Staff".to_owned()]);
        let owner = mailbox("owner-staff@a.example");
        let said = |verp: &Verp, owner: &Mailbox, separator: &str, member: &str| {
            verp.sender(owner, separator, &mailbox(member)).map(|sender| sender.to_string())
        };
        let ann = "owner-staff+ann=b.example@a.example";
        assert_eq!(said(&verp, &owner, "+", "ann@b.example").as_deref(), Some(ann));
        assert_eq!(said(&Verp::All, &owner, "+", "ann@b.example").as_deref(), Some(ann));
        let quoted = "\"owner-staff+a b=b.example\"@a.example";
        assert_eq!(said(&verp, &owner, "+", "\"a b\"@b.example").as_deref(), Some(quoted));
        // Nobody, another list, no separator, one that stands in the name, and 65 octets.
        assert_eq!(said(&Verp::Off, &owner, "+", "ann@b.example"), None);
        assert_eq!(said(&verp, &mailbox("owner-x@a.example"), "+", "ann@b.example"), None);
        assert_eq!(said(&verp, &owner, "", "ann@b.example"), None);
        assert_eq!(said(&verp, &owner, "-", "ann@b.example"), None);
        let long = |octets: usize| format!("{}@b.example", "m".repeat(octets));
        let most = LOCAL_BYTES_MAX - "owner-staff+=b.example".len();
        assert!(said(&verp, &owner, "+", &long(most)).is_some());
        assert_eq!(said(&verp, &owner, "+", &long(most + 1)), None);
        assert_eq!(Verp::new(&[]), Verp::Off);
        assert_eq!(Verp::new(&["x".to_owned(), "*".to_owned()]), Verp::All);
    }

    #[test]
    fn a_header_says_where_a_message_has_been() {
        let header = b"Received: from x\r\n\tDelivered-To: no@a.example\r\ndelivered-TO : List@A.Example\r\n\
            Delivered-To:\r\n <b@a.example>\r\nX-Delivered-To: no@a.example\r\nno field\r\n\
            Delivered-To: \"a B\"@a.example\r\n\r\nDelivered-To: body@a.example\r\n";
        assert_eq!(been_to(header), ["list@a.example", "b@a.example", "a b@a.example"]);
        assert_eq!(been_to(b""), Vec::<String>::new());
        assert_eq!(been_to(b"\r\nDelivered-To: a@b\r\n"), Vec::<String>::new());
        // A header that ends within the field.
        assert_eq!(been_to(b"A: b\r\nDelivered-To: a@b.example"), ["a@b.example"]);
        let ours = delivered_to("list@a.example", false);
        assert_eq!(ours, b"Delivered-To: list@a.example\r\n");
        assert_eq!(been_to(&ours), [key("LIST@a.example")]);
        assert_eq!(delivered_to("bär@a.example", false), b"");
        assert_eq!(been_to(&delivered_to("bär@a.example", true)), [key("BÄR@a.example")]);
        assert_eq!(delivered_to("a\r\nX: y@a.example", true), b"");
    }
}
