//! smtp::session::texts – EHLO's list, HELP, VRFY, EXPN: replies that tell.
//!
//! Promises: EHLO lists what is on, and nothing else; no address is told that was not asked to be
//! (RFC 5321 §7.3).

use super::{Asked, Session};
use crate::smtp::address::Mailbox;
use crate::smtp::claims::{XCLIENT, XFORWARD};
use crate::smtp::reply;
use crate::smtp::step::{Answer, Ask, Fault, Next};
use crate::wire::ascii::Digits;
use crate::wire::outbox::Outbox;

/// How commands are written.
const SYNTAX: [(&str, &str); 17] = [
    ("HELO", "HELO domain"),
    ("EHLO", "EHLO domain"),
    ("LHLO", "LHLO domain"),
    (
        "MAIL",
        "MAIL FROM:<address> [SIZE=n] [BODY=7BIT|8BITMIME|BINARYMIME] [SMTPUTF8] [RET=FULL|HDRS] [ENVID=id]",
    ),
    ("RCPT", "RCPT TO:<address> [NOTIFY=NEVER|SUCCESS,FAILURE,DELAY] [ORCPT=type;address]"),
    ("DATA", "DATA"),
    ("BDAT", "BDAT octets [LAST]"),
    ("RSET", "RSET"),
    ("STARTTLS", "STARTTLS"),
    ("AUTH", "AUTH mechanism [response]"),
    ("XCLIENT", "XCLIENT name=value [name=value]"),
    ("XFORWARD", "XFORWARD name=value [name=value]"),
    ("VRFY", "VRFY user"),
    ("EXPN", "EXPN list"),
    ("HELP", "HELP [command]"),
    ("NOOP", "NOOP"),
    ("QUIT", "QUIT"),
];

impl Session {
    /// EHLO (RFC 5321 §4.1.1.1): a line for each extension.
    pub(super) fn extensions(&self, out: &mut Outbox) {
        let settings = &self.settings;
        reply::HELLO.begin(&[settings.hostname.as_bytes()], out);
        let line = |words: &[&[u8]], out: &mut Outbox| {
            reply::HELLO.begin(&[&words.concat()], out);
        };
        // RFC 1870 §4: 0 is no fixed limit.
        line(&[b"SIZE ", Digits::of(settings.message_bytes_max).as_bytes()], out);
        for word in [
            "PIPELINING",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "BINARYMIME",
            "SMTPUTF8",
            "DSN",
        ] {
            line(&[word.as_bytes()], out);
        }
        if settings.expand {
            line(&[b"EXPN"], out);
        }
        if self.offers_tls() {
            line(&[b"STARTTLS"], out);
        }
        if self.offers_auth() {
            line(&[b"AUTH ", settings.security.mechanisms.join(" ").as_bytes()], out);
        }
        if self.trust.client {
            line(&[b"XCLIENT ", XCLIENT.join(" ").as_bytes()], out);
        }
        if self.trust.forward {
            line(&[b"XFORWARD ", XFORWARD.join(" ").as_bytes()], out);
        }
        // RFC 9422 §4.
        let recipients = Digits::of(settings.recipients_max.into());
        match self.bounds().messages_max.map(|most| Digits::of(most.into())) {
            None => line(&[b"LIMITS RCPTMAX=", recipients.as_bytes()], out),
            Some(messages) => line(
                &[b"LIMITS MAILMAX=", messages.as_bytes(), b" RCPTMAX=", recipients.as_bytes()],
                out,
            ),
        }
        reply::HELLO.fill(&[b"HELP"], out);
    }

    pub(super) fn help(&self, topic: Option<&str>, out: &mut Outbox) -> Option<Next<'static>> {
        let offered = || {
            SYNTAX.iter().filter(|(verb, _)| match *verb {
                "HELO" | "EHLO" => !self.settings.lmtp,
                "LHLO" => self.settings.lmtp,
                "XCLIENT" => self.trust.client,
                "XFORWARD" => self.trust.forward,
                "EXPN" => self.settings.expand,
                "STARTTLS" => self.offers_tls(),
                "AUTH" => self.offers_auth(),
                _ => true,
            })
        };
        let one = topic
            .and_then(|topic| offered().find(|(verb, _)| verb.eq_ignore_ascii_case(topic.trim())));
        if let Some((_, syntax)) = one {
            reply::HELP_LINE.fill(&[syntax.as_bytes()], out);
            return None;
        }
        reply::HELP.begin(&[], out);
        for (_, syntax) in offered() {
            reply::HELP_LINE.begin(&[syntax.as_bytes()], out);
        }
        if self.settings.lmtp { reply::HELP_END_LMTP } else { reply::HELP_END }.send(out);
        None
    }

    pub(super) fn verify(
        &mut self,
        text: String,
        utf8: bool,
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        if !self.settings.verify {
            reply::NOT_VERIFIED.send(out);
            return None;
        }
        self.asked = Some(Asked::Verify { utf8 });
        Some(Next::Ask(Ask::Verify(text)))
    }

    pub(super) fn verified(&mut self, answer: Answer, utf8: bool, out: &mut Outbox) {
        match answer {
            Answer::Verified(name, mailbox) => {
                let mailbox = mailbox.to_string();
                // RFC 6531 §3.7.4.2: a name that cannot be shown is left out, an address cannot.
                let name = name.filter(|name| utf8 || name.is_ascii());
                match name {
                    _ if !utf8 && !mailbox.is_ascii() => reply::VERIFY_NEEDS_UTF8.send(out),
                    None => reply::VERIFIED.fill(&[mailbox.as_bytes()], out),
                    Some(name) => {
                        reply::VERIFIED_NAME.fill(&[short(&name), mailbox.as_bytes()], out);
                    }
                }
            }
            Answer::Refused(fault) => self.refused(fault, out),
            Answer::Done
            | Answer::Expanded(_)
            | Answer::Committed(_)
            | Answer::Said(_)
            | Answer::Challenge(_)
            | Answer::Authenticated => {
                reply::NOT_VERIFIED.send(out);
            }
        }
    }

    pub(super) fn expand(
        &mut self,
        text: String,
        utf8: bool,
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        if !self.settings.expand {
            return self.refuse(reply::NOT_IMPLEMENTED, out);
        }
        self.asked = Some(Asked::Expand { utf8 });
        Some(Next::Ask(Ask::Expand(text)))
    }

    pub(super) fn expanded(&mut self, answer: &Answer, utf8: bool, out: &mut Outbox) {
        match answer {
            Answer::Expanded(members) => {
                let shown = |member: &Mailbox| member.to_string();
                if !utf8 && members.iter().any(|member| !shown(member).is_ascii()) {
                    reply::VERIFY_NEEDS_UTF8.send(out);
                    return;
                }
                let Some((last, before)) = members.split_last() else {
                    reply::LIST_EMPTY.send(out);
                    return;
                };
                for member in before {
                    reply::VERIFIED.begin(&[shown(member).as_bytes()], out);
                }
                reply::VERIFIED.fill(&[shown(last).as_bytes()], out);
            }
            // There may well be a mailbox of that name; a list it is not.
            Answer::Refused(Fault::NoUser) => {
                self.refuse(reply::NO_LIST, out);
            }
            Answer::Refused(fault) => self.refused(*fault, out),
            Answer::Done
            | Answer::Verified(..)
            | Answer::Committed(_)
            | Answer::Said(_)
            | Answer::Challenge(_)
            | Answer::Authenticated => {
                reply::NOT_EXPANDED.send(out);
            }
        }
    }
}

/// A full name of a length that leaves room for the address.
fn short(name: &str) -> &[u8] {
    const NAME_BYTES_MAX: usize = 128;
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.as_bytes().get(..end.unwrap_or(0)).unwrap_or_default()
}
