//! server::milter::facts – what milters are told of client and message.
//!
//! Names of macros are Sendmail's; those that OpenDKIM and rspamd look at are all here.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::milter::dialogue::Command;
use crate::milter::macros::Macros;
use crate::server::ingress::Ingress;
use crate::server::inlet::Ends;
use crate::server::sockets::Service;
use crate::smtp::address::{Domain, Mailbox, Recipient};
use crate::smtp::envelope::{BodyType, Envelope};
use crate::store::spool::QueueId;
use crate::tls::Info;

/// Nobody has looked up the client's name.
const UNKNOWN: &str = "unknown";
/// Where mail goes is decided later.
const MAILER: &str = "smtp";

/// Who sends a message.
#[derive(Clone, Copy)]
pub(in crate::server) struct Who<'a> {
    /// What it said so far.
    pub(in crate::server) envelope: &'a Envelope,
    /// The user it is, and how it proved that.
    pub(in crate::server) user: Option<(&'a str, &'a str)>,
    /// Its name, as a peer that speaks for it has it.
    pub(in crate::server) name: Option<&'a str>,
    /// What TLS agreed on.
    pub(in crate::server) tls: Option<&'a Info>,
}

/// What is known.
pub(super) struct Facts {
    pub(super) macros: Macros,
    ends: Ends,
    service: Service,
    name: String,
    /// What the client calls itself, and whether in TLS.
    pub(super) helo: (String, bool),
}

impl Facts {
    pub(super) fn new(ends: Ends, service: Service) -> Self {
        let (macros, name) = (Macros::default(), UNKNOWN.to_owned());
        Self { macros, ends, service, name, helo: (String::new(), false) }
    }

    /// Another client.
    pub(super) fn speak_for(&mut self, peer: SocketAddr) {
        *self = Self::new(Ends { peer, ..self.ends }, self.service);
    }

    /// A message begins.
    pub(super) fn begin(&mut self, ingress: &Rc<Ingress>, who: &Who<'_>) {
        let (envelope, tls) = (who.envelope, who.tls);
        self.helo = (envelope.helo.clone(), tls.is_some());
        self.name = who.name.unwrap_or(UNKNOWN).to_owned();
        let (local, peer) = (self.ends.local, envelope.peer);
        let sender = envelope.sender.as_ref();
        let client = format!("{} [{}]", self.name, peer.ip());
        let facts: [(&'static str, Option<String>); 20] = [
            ("j", Some(ingress.rules().settings.hostname.clone())),
            ("_", Some(client)),
            ("v", Some(concat!("sluicegate ", env!("CARGO_PKG_VERSION")).to_owned())),
            ("i", None),
            ("daemon_name", Some(name_of(self.service).to_owned())),
            ("daemon_addr", Some(local.ip().to_string())),
            ("daemon_port", Some(local.port().to_string())),
            ("client_addr", Some(peer.ip().to_string())),
            ("client_port", Some(peer.port().to_string())),
            ("client_name", Some(self.name.clone())),
            ("client_ptr", Some(self.name.clone())),
            ("tls_version", tls.map(|info| info.version.to_owned())),
            ("cipher", tls.map(|info| info.cipher.to_owned())),
            ("cipher_bits", tls.map(|info| bits(info.cipher).to_owned())),
            ("auth_type", who.user.map(|(_, how)| how.to_owned())),
            ("auth_authen", who.user.map(|(user, _)| user.to_owned())),
            ("mail_mailer", Some(MAILER.to_owned())),
            ("mail_host", sender.map(|sender| sender.domain.to_string())),
            ("mail_addr", Some(sender.map(ToString::to_string).unwrap_or_default())),
            ("auth_author", None),
        ];
        for (name, value) in facts {
            self.macros.set(name, value);
        }
        self.ends.peer = peer;
    }

    /// A recipient is asked about.
    pub(super) fn recipient(&mut self, recipient: &Recipient) {
        let host = match recipient {
            Recipient::Mailbox(Mailbox { domain: Domain::Name(name), .. }) => name.clone(),
            Recipient::Mailbox(Mailbox { domain, .. }) => domain.to_string(),
            Recipient::Postmaster => String::new(),
        };
        self.macros.set("rcpt_mailer", Some(MAILER.to_owned()));
        self.macros.set("rcpt_host", Some(host));
        self.macros.set("rcpt_addr", Some(recipient.to_string()));
    }

    /// The message has a name.
    pub(super) fn message(&mut self, id: QueueId) {
        self.macros.set("i", Some(id.to_string()));
    }

    /// The first that is said.
    pub(super) fn connect(&self) -> Command<'_> {
        Command::Connect { name: &self.name, address: self.ends.peer }
    }
}

/// The kind of listener, as operators call it.
fn name_of(service: Service) -> &'static str {
    match service {
        Service::Smtp => "smtp",
        Service::Smtps => "smtps",
        Service::Submission => "submission",
        Service::Lmtp | Service::LmtpUnix => "lmtp",
        Service::Ftp | Service::Ftps => "ftp",
    }
}

/// Bits of the key of a cipher suite of today.
fn bits(cipher: &str) -> &'static str {
    if cipher.contains("AES_128") { "128" } else { "256" }
}

/// Parameters of MAIL.
pub(super) fn of_sender(who: &Who<'_>, declared: Option<u64>) -> Vec<String> {
    let body = match who.envelope.body {
        BodyType::SevenBit => None,
        BodyType::EightBitMime => Some("BODY=8BITMIME".to_owned()),
        BodyType::BinaryMime => Some("BODY=BINARYMIME".to_owned()),
    };
    let utf8 = who.envelope.protocol.utf8.then(|| "SMTPUTF8".to_owned());
    let size = declared.map(|octets| format!("SIZE={octets}"));
    size.into_iter().chain(body).chain(utf8).collect()
}

/// Parameters of the last RCPT.
pub(super) fn of_recipient(envelope: &Envelope) -> Vec<String> {
    let Some(notify) = envelope.recipients.last().and_then(|to| to.notify) else {
        return Vec::new();
    };
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
    vec![format!("NOTIFY={words}")]
}
