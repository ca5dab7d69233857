//! smtp::client::commands – what is said to the server: the one place that has the words.
//!
//! Promises: each is one line that ends with CRLF, and its only one; parameters stand only where the server
//! offers them.
//! Not here: when which is said (`session`).

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::offers::Offers;
use super::step::Mail;
use crate::smtp::address::{Domain, Mailbox, Recipient};
use crate::smtp::envelope::{Notify, Return, To};
use crate::smtp::xtext;
use crate::wire::secret::Secret;

pub(super) const RSET: &str = "RSET\r\n";
pub(super) const DATA: &str = "DATA\r\n";
pub(super) const QUIT: &str = "QUIT\r\n";
pub(super) const STARTTLS: &str = "STARTTLS\r\n";
/// RFC 4954 §4: the client gives up an exchange.
pub(super) const CANCEL: &str = "*\r\n";

/// How the server is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hello {
    Ehlo,
    Helo,
    /// RFC 2033 §4.1.
    Lhlo,
}

/// `BODY=` that is sent; what needs no parameter is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Plain,
    EightBit,
    Binary,
}

/// How the message of a transaction is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) body: Body,
    pub(super) utf8: bool,
}

pub(super) fn hello(hello: Hello, hostname: &str) -> String {
    let verb = match hello {
        Hello::Ehlo => "EHLO",
        Hello::Helo => "HELO",
        Hello::Lhlo => "LHLO",
    };
    format!("{verb} {hostname}\r\n")
}

/// RFC 5321 §4.1.1.2 with what was agreed upon.
pub(super) fn mail(mail: &Mail, plan: Plan, offers: &Offers) -> String {
    let mut line = String::from("MAIL FROM:<");
    if let Some(sender) = &mail.sender {
        line += &address(sender, offers);
    }
    line += ">";
    let mut add = |parameter: &str| {
        line.push(' ');
        line += parameter;
    };
    if offers.sizes {
        add(&format!("SIZE={}", mail.bytes));
    }
    match plan.body {
        Body::Plain => {}
        Body::EightBit => add("BODY=8BITMIME"),
        Body::Binary => add("BODY=BINARYMIME"),
    }
    if plan.utf8 {
        add("SMTPUTF8");
    }
    // RFC 3461 §5.2.1: as they came, and none that did not.
    if offers.dsn {
        match mail.ret {
            Some(Return::Full) => add("RET=FULL"),
            Some(Return::Headers) => add("RET=HDRS"),
            None => {}
        }
        if let Some(id) = &mail.envelope_id {
            add(&format!("ENVID={}", xtext::encode(id)));
        }
    }
    line + "\r\n"
}

/// RFC 5321 §4.1.1.3.
pub(super) fn rcpt(to: &To, offers: &Offers) -> String {
    let mut line = String::from("RCPT TO:<");
    match &to.recipient {
        Recipient::Postmaster => line += "postmaster",
        Recipient::Mailbox(mailbox) => line += &address(mailbox, offers),
    }
    line += ">";
    if offers.dsn {
        if let Some(notify) = to.notify {
            line += " NOTIFY=";
            line += &notices(notify);
        }
        if let Some((kind, original)) = &to.original {
            let encoded = if kind.eq_ignore_ascii_case("utf-8") {
                xtext::encode_unitext(original)
            } else {
                xtext::encode(original)
            };
            line += &format!(" ORCPT={kind};{encoded}");
        }
    }
    line + "\r\n"
}

/// RFC 3030 §2: the message in one chunk.
pub(super) fn bdat(bytes: u64) -> String {
    format!("BDAT {bytes} LAST\r\n")
}

/// RFC 4954 §4. An initial response of no octets is `=`.
pub(super) fn auth(mechanism: &str, initial: Option<&Secret>) -> String {
    let mut line = format!("AUTH {mechanism}");
    match initial.map(Secret::as_bytes) {
        None => {}
        Some([]) => line += " =",
        Some(octets) => {
            line.push(' ');
            STANDARD.encode_string(octets, &mut line);
        }
    }
    line + "\r\n"
}

/// What is said to a challenge.
pub(super) fn response(octets: &Secret) -> String {
    STANDARD.encode(octets.as_bytes()) + "\r\n"
}

/// Can it be sent to a server without SMTPUTF8? The domain of a name can always be (RFC 6531 §3.2 leaves
/// its form to the client; RFC 5891 §4.4).
pub(super) fn is_plain(mailbox: &Mailbox) -> bool {
    let domain = match &mailbox.domain {
        Domain::Name(_) => mailbox.domain.key().is_ascii(),
        Domain::Literal(_) => true,
        Domain::General(text) => text.is_ascii(),
    };
    mailbox.local.is_ascii() && domain
}

fn address(mailbox: &Mailbox, offers: &Offers) -> String {
    if offers.utf8 || mailbox.is_ascii() {
        return mailbox.to_string();
    }
    let domain = Domain::Name(mailbox.domain.key());
    Mailbox { local: mailbox.local.clone(), domain }.to_string()
}

fn notices(notify: Notify) -> String {
    let mut words = String::new();
    let asked = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    for (_, word) in asked.into_iter().filter(|(asked, _)| *asked) {
        let comma = if words.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        if write!(words, "{comma}{word}").is_err() {
            return words;
        }
    }
    if words.is_empty() { "NEVER".into() } else { words }
}
