//! milter::macros – what is known of client and message, by the names that Sendmail has for it.
//!
//! Promises: a milter gets at each stage what it asked for there (`SMFIF_SETSYMLIST`), else what Sendmail
//! gives by default; nothing in a value ends it early.
//! Not here: where values come from (`server::milter`).

use super::packet;

/// `SMFIC_MACRO`.
const MACRO: u8 = b'D';

/// Stages that have macros of their own, in the order of `SMFIM_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the connection.
    Connect,
    /// With HELO.
    Helo,
    /// With MAIL.
    Mail,
    /// With RCPT.
    Rcpt,
    /// With DATA.
    Data,
    /// At the end of the message.
    EndOfMessage,
    /// At the end of its header.
    EndOfHeader,
}

/// How many there are.
pub const PLACES: usize = 7;

impl Place {
    /// What is given where nobody asked for anything else.
    const fn default_names(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &[
                "j",
                "_",
                "v",
                "daemon_name",
                "daemon_addr",
                "daemon_port",
                "client_addr",
                "client_name",
                "client_port",
                "client_ptr",
            ],
            Self::Helo => &["tls_version", "cipher", "cipher_bits"],
            Self::Mail => &[
                "i",
                "auth_type",
                "auth_authen",
                "auth_author",
                "mail_mailer",
                "mail_host",
                "mail_addr",
            ],
            Self::Rcpt => &["i", "rcpt_mailer", "rcpt_host", "rcpt_addr"],
            Self::Data | Self::EndOfHeader | Self::EndOfMessage => &["i"],
        }
    }
}

/// Names and values; the names without braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Macros(Vec<(&'static str, String)>);

impl Macros {
    /// Sets one, or forgets it.
    pub fn set(&mut self, name: &'static str, value: Option<String>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.extend(value.map(|value| (name, value)));
    }

    /// Its value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Appends the packet that goes before `command`, if there is anything to say.
    pub(super) fn push(
        &self,
        place: Place,
        asked: Option<&[String]>,
        command: u8,
        out: &mut Vec<u8>,
    ) {
        let mut data = vec![command];
        let mut one = |name: &str| {
            let Some(value) = self.value(name) else { return };
            // Sendmail: a name of one letter stands alone.
            let alone = name.len() == 1;
            data.extend_from_slice(if alone { b"" } else { b"{" });
            data.extend_from_slice(name.as_bytes());
            data.extend_from_slice(if alone { b"\0" } else { b"}\0" });
            data.extend(value.bytes().filter(|octet| *octet != 0));
            data.push(0);
        };
        match asked {
            Some(names) => names.iter().for_each(|name| one(name)),
            None => place.default_names().iter().for_each(|name| one(name)),
        }
        if data.len() > 1 {
            packet::push(MACRO, &[&data], out);
        }
    }
}
