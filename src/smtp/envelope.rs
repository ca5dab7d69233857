//! smtp::envelope – what a transaction says about a message, beside its octets.
//!
//! Promises: owns its data; holds only what was understood and is within limits.
//! Not here: how it is stored (`mail::stored`).

use std::net::SocketAddr;

use super::address::{Recipient, Sender};

/// `BODY=` of RFC 6152 and RFC 3030.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    /// Nothing was said, or `7BIT`.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: by BDAT only.
    BinaryMime,
}

/// `RET=` of RFC 3461 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header only.
    Headers,
}

/// `NOTIFY=` of RFC 3461 §4.1. All false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the words of the RFC")]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

/// One accepted RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct To {
    /// Whom it is for.
    pub recipient: Recipient,
    /// `NOTIFY=`; `None` when it was not given.
    pub notify: Option<Notify>,
    /// `ORCPT=`: address type, and the address with its xtext decoded.
    pub original: Option<(String, String)>,
}

/// How the client spoke (RFC 3848, RFC 6531 §4.3): the `with` of the trace header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Protocol {
    /// EHLO rather than HELO.
    pub extended: bool,
    /// SMTPUTF8 was asked for.
    pub utf8: bool,
    /// Under TLS.
    pub secure: bool,
    /// After AUTH.
    pub authenticated: bool,
    /// LMTP (RFC 2033).
    pub lmtp: bool,
}

impl Protocol {
    /// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA`, `UTF8SMTP`, `LMTP`, …
    pub fn with(self) -> &'static str {
        if self.lmtp {
            return self.with_lmtp();
        }
        match (self.utf8, self.extended, self.secure, self.authenticated) {
            (true, _, false, false) => "UTF8SMTP",
            (true, _, true, false) => "UTF8SMTPS",
            (true, _, false, true) => "UTF8SMTPA",
            (true, _, true, true) => "UTF8SMTPSA",
            (false, false, ..) => "SMTP",
            (false, true, false, false) => "ESMTP",
            (false, true, true, false) => "ESMTPS",
            (false, true, false, true) => "ESMTPA",
            (false, true, true, true) => "ESMTPSA",
        }
    }

    fn with_lmtp(self) -> &'static str {
        match (self.utf8, self.secure, self.authenticated) {
            (false, false, false) => "LMTP",
            (false, true, false) => "LMTPS",
            (false, false, true) => "LMTPA",
            (false, true, true) => "LMTPSA",
            (true, false, false) => "UTF8LMTP",
            (true, true, false) => "UTF8LMTPS",
            (true, false, true) => "UTF8LMTPA",
            (true, true, true) => "UTF8LMTPSA",
        }
    }
}

/// Everything one transaction said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Reverse path.
    pub sender: Sender,
    /// Accepted recipients, in order, duplicates included.
    pub recipients: Vec<To>,
    /// `BODY=`.
    pub body: BodyType,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `ENVID=`, its xtext decoded.
    pub envelope_id: Option<String>,
    /// The name given with HELO or EHLO.
    pub helo: String,
    /// The client's address.
    pub peer: SocketAddr,
    /// How it spoke.
    pub protocol: Protocol,
}
