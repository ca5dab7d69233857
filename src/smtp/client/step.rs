//! smtp::client::step – what the dialogue asks of its driver, and what the driver hands it.
//!
//! Promises: at most one thing is asked at a time; everything owns its data.
//! Not here: the dialogue itself (`session.rs`), what became of recipients (`outcome.rs`).

use super::outcome::Outcome;
use crate::limits;
use crate::smtp::address::Sender;
use crate::smtp::envelope::{BodyType, Return, To};

/// What the operator chose for the server at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Settings {
    /// Our name in EHLO, HELO and LHLO.
    pub hostname: String,
    /// It is LMTP: LHLO, and a reply for each recipient.
    pub lmtp: bool,
    /// STARTTLS.
    pub tls: Tls,
    /// Under TLS from the first octet (RFC 8314 §3).
    pub secure: bool,
    /// AUTH before the first message; never without TLS.
    pub login: bool,
}

/// Whether TLS is asked for with STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// It is not, even if it is offered.
    Never,
    /// If it is offered (RFC 7435).
    #[default]
    May,
    /// Nothing is sent without it.
    Must,
}

/// What the driver must do before it calls [`super::session::Session::advance`] again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Flush the outbox, then wait for input, as long as `Session::timer` says. All of the input is consumed.
    Receive,
    /// 220 to STARTTLS. When an octet is left of the input, or comes before the handshake has begun,
    /// `Session::injected`; otherwise become a TLS client and call `Session::secured`. A handshake that
    /// fails ends the connection. Nothing is in the outbox.
    Secure,
    /// Choose one of the SASL mechanisms (in upper case), then `Session::authenticate`, or `unable`.
    Authenticate(Vec<String>),
    /// `Session::respond`, or `unable`.
    Challenge(Vec<u8>),
    /// No message is under way. Flush, then `Session::begin` or `quit`; or wait for input: what comes
    /// unasked ends the connection, and is said by the next `advance`.
    Ready,
    /// The server lacks what the envelope asks for: look through the whole message whether it is
    /// needed, then `Session::examined`.
    Examine,
    /// Flush, then give octets of the message to `Session::body`, from the first on, and after the last
    /// `Session::body_end`. Input that comes meanwhile may be shown to `advance`: another step than
    /// this one is the end of it.
    Body,
    /// What became of the recipients, in their order. Nothing to answer.
    Done(Vec<Outcome>),
    /// Flush and close. `Session::trouble` says why, unless it was `quit`.
    Close,
}

/// One message for one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Reverse path.
    pub sender: Sender,
    /// Whom it is for, with what they asked of notices.
    pub recipients: Vec<To>,
    /// `BODY=` as it was given to us.
    pub body: BodyType,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<String>,
    /// It came with SMTPUTF8: its header may be in UTF-8.
    pub utf8: bool,
    /// Its octets, our trace header included.
    pub bytes: u64,
}

/// What is awaited: it has its deadline (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The greeting (§4.5.3.2.1).
    Greeting,
    /// The reply to EHLO, HELO, LHLO: as to MAIL.
    Hello,
    /// The reply to STARTTLS: as to MAIL.
    StartTls,
    /// The reply to AUTH or to a response: as to MAIL.
    Auth,
    /// The reply to MAIL, or to RSET before it (§4.5.3.2.2).
    Mail,
    /// The reply to RCPT (§4.5.3.2.3).
    Rcpt,
    /// The reply to DATA (§4.5.3.2.4).
    Data,
    /// That the server takes more of the message: for each portion (§4.5.3.2.5).
    Block,
    /// The reply to the end of the message (§4.5.3.2.6), or to one recipient of it (LMTP).
    End,
    /// The reply to QUIT, which nobody needs.
    Quit,
    /// Nothing: it is the driver's turn, or the connection is idle.
    Nothing,
}

impl Wait {
    /// Seconds it may take; `None` when nothing is awaited.
    pub const fn seconds(self) -> Option<u32> {
        match self {
            Self::Greeting => Some(limits::SMTP_CLIENT_GREETING_SECONDS_MAX),
            Self::Hello | Self::StartTls | Self::Auth | Self::Mail => {
                Some(limits::SMTP_CLIENT_MAIL_SECONDS_MAX)
            }
            Self::Rcpt => Some(limits::SMTP_CLIENT_RCPT_SECONDS_MAX),
            Self::Data => Some(limits::SMTP_CLIENT_DATA_SECONDS_MAX),
            Self::Block => Some(limits::SMTP_CLIENT_BLOCK_SECONDS_MAX),
            Self::End => Some(limits::SMTP_CLIENT_END_SECONDS_MAX),
            Self::Quit => Some(limits::SMTP_CLIENT_QUIT_SECONDS_MAX),
            Self::Nothing => None,
        }
    }

    /// Of what, in the words of an error: `no reply to RCPT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "the connection (no greeting)",
            Self::Hello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Block => "the message (it takes no more of it)",
            Self::End => "the end of the message",
            Self::Quit => "QUIT",
            Self::Nothing => "nothing",
        }
    }
}
