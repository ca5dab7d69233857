//! mail::dsn – what somebody is told about a message: delivery status notifications (RFC 3464).
//!
//! ```text
//!  Message ─ due ─▶ Notice (to whom, about which targets) ─ compose ─▶ octets of a message
//!  multipart/report: text/plain · message/delivery-status · message/rfc822 or text/rfc822-headers
//! ```
//! Promises: nobody is told about a message without a sender (RFC 5321 §4.5.5); NOTIFY is honoured;
//! what is composed has CRLF lines of at most 998 octets where it is our own text, no control that an
//! address or a reason brought along, and a boundary that does not occur in it.
//! Not here: when it is sent, and whether it can be.
//! A message that is late is told of once ([`late`]); a next hop that takes reports over is asked to, and
//! then nobody is told by us (RFC 3461 §5.2.1).

use std::fmt::Write;

use super::hop::Hop;
use super::stored::{Destination, Message, Target, TargetState};
use crate::smtp::address::{Mailbox, Recipient};
use crate::smtp::envelope::To;

mod compose;
mod parts;
mod remote;

pub use compose::compose;
use parts::clean;
pub use parts::date;
pub use remote::{Said, said};

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// In the mailbox, or thrown away as wanted.
    Delivered,
    /// Given to the members of a list.
    Expanded,
    /// Given to a server that tells nobody of success (RFC 3461 §5.2.2).
    Relayed,
    /// Not yet, and tried again.
    Delayed,
}

/// One report that is due: to whom, and about which targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The address it goes to: the sender, or the owner of a list.
    pub to: String,
    /// Numbers of targets, and what is said of each.
    pub targets: Vec<(u32, Action)>,
}

/// The message a report is about, as far as it is at hand.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// Its beginning: at least the first `limits::DSN_ORIGINAL_BYTES_MAX` octets, or all.
    pub octets: &'a [u8],
    /// All its octets.
    pub size: u64,
}

/// What the report itself needs.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The queue id of the message.
    pub id: &'a str,
    /// Seconds since 1970.
    pub now: i64,
    /// Until when targets that wait are tried, seconds since 1970; 0: not known.
    pub until: i64,
    /// It is a copy for the postmaster, headers only: to whom the report itself goes.
    pub copy_of: Option<&'a str>,
}

/// Reports that are due and have not been made, by whom they go to. A target whose report nobody is
/// owed is in none.
pub fn due(message: &Message) -> Vec<Notice> {
    gather(message, owed)
}

/// The same of targets that wait still though it is late, about which nobody has been told yet.
pub fn late(message: &Message) -> Vec<Notice> {
    gather(message, owed_late)
}

fn gather(
    message: &Message,
    owed: impl Fn(&Message, &Target) -> Option<(String, Action)>,
) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for (number, target) in (0..).zip(&message.targets) {
        let Some((to, action)) = owed(message, target) else { continue };
        match notices.iter_mut().find(|notice| notice.to == to) {
            Some(notice) => notice.targets.push((number, action)),
            None => notices.push(Notice { to, targets: vec![(number, action)] }),
        }
    }
    notices
}

/// Who is to be told about a target, and what.
fn owed(message: &Message, target: &Target) -> Option<(String, Action)> {
    if target.told {
        return None;
    }
    let sender = || message.envelope.sender.as_ref().map(Mailbox::to_string);
    let notify = recipient_of(message, target).and_then(|to| to.notify);
    let failure = notify.is_none_or(|notify| notify.failure);
    let success = notify.is_some_and(|notify| notify.success);
    match (&target.state, &target.sender) {
        // RFC 3461 §5.2.7.2: what a list sends on is a message of its own, with its owner as the sender.
        (TargetState::Failed { .. }, Some(owner)) => {
            sender().map(|_| (owner.clone(), Action::Failed))
        }
        (TargetState::Failed { .. }, None) if failure => Some((sender()?, Action::Failed)),
        (TargetState::Delivered, Some(_)) if success => Some((sender()?, Action::Expanded)),
        (TargetState::Delivered, None) if success => Some((sender()?, done(target))),
        (
            TargetState::Waiting
            | TargetState::Deferred { .. }
            | TargetState::Delivered
            | TargetState::Failed { .. }
            | TargetState::Removed,
            _,
        ) => None,
    }
}

/// What it means that a target is done. Who takes mail by LMTP puts it into mailboxes (RFC 2033 §1).
fn done(target: &Target) -> Action {
    match &target.to {
        Destination::Remote(Hop::Mx | Hop::Relay { .. }) => Action::Relayed,
        Destination::Remote(Hop::Lmtp { .. } | Hop::LmtpUnix(_))
        | Destination::Mailbox(_)
        | Destination::Discard => Action::Delivered,
    }
}

/// As [`owed`], while it waits. RFC 3461 §4.1: a sender who does not say may be told of a delay.
fn owed_late(message: &Message, target: &Target) -> Option<(String, Action)> {
    let wanted =
        recipient_of(message, target).and_then(|to| to.notify).is_none_or(|notify| notify.delay);
    let waits = matches!(target.state, TargetState::Waiting | TargetState::Deferred { .. });
    let sender = message.envelope.sender.as_ref()?;
    match &target.sender {
        _ if target.delayed || !waits => None,
        Some(owner) => Some((owner.clone(), Action::Delayed)),
        None => wanted.then(|| (sender.to_string(), Action::Delayed)),
    }
}

fn recipient_of<'m>(message: &'m Message, target: &Target) -> Option<&'m To> {
    message.envelope.recipients.get(usize::try_from(target.recipient).ok()?)
}

fn target_of(message: &Message, number: u32) -> Option<&Target> {
    message.targets.get(usize::try_from(number).ok()?)
}

fn line(out: &mut String, text: impl std::fmt::Display) {
    // Writing to a string does not fail.
    if write!(out, "{text}\r\n").is_err() {
        out.push_str("\r\n");
    }
}

/// The address a report names: whom it was given to, but never who is on a list.
fn address(message: &Message, target: &Target, action: Action) -> String {
    match (action, recipient_of(message, target)) {
        (Action::Expanded, Some(to)) => to.recipient.to_string(),
        (
            Action::Failed
            | Action::Delivered
            | Action::Expanded
            | Action::Relayed
            | Action::Delayed,
            _,
        ) => target.address.clone(),
    }
}

/// What the client said, where that is another address than the report names.
fn expanded_from(message: &Message, target: &Target, named: &str) -> Option<String> {
    let Recipient::Mailbox(asked) = &recipient_of(message, target)?.recipient else { return None };
    let asked = asked.to_string();
    (!asked.eq_ignore_ascii_case(named)).then_some(asked)
}

/// Does it go to the sender, and not to the owner of a list or the postmaster?
fn is_own(message: &Message, notice: &Notice) -> bool {
    message.envelope.sender.as_ref().is_some_and(|sender| sender.to_string() == notice.to)
}

/// The part for machines: RFC 3464 §2.
fn status(message: &Message, notice: &Notice, frame: Frame<'_>) -> String {
    let mut text = String::new();
    let envelope = &message.envelope;
    // An owner of a list does not know the sender's name for the message.
    let own = is_own(message, notice);
    if let Some(id) = envelope.envelope_id.as_deref().filter(|_| own) {
        line(&mut text, format_args!("Original-Envelope-Id: {}", clean(id)));
    }
    line(&mut text, format_args!("Reporting-MTA: dns; {}", frame.hostname));
    if !envelope.helo.is_empty() {
        line(&mut text, format_args!("Received-From-MTA: dns; {}", clean(&envelope.helo)));
    }
    line(&mut text, format_args!("Arrival-Date: {}", date(message.accepted)));
    let mut expanded = Vec::new();
    for &(number, action) in &notice.targets {
        let Some(target) = target_of(message, number) else { continue };
        // A list is named once, however many members it has.
        if action == Action::Expanded {
            if expanded.contains(&target.recipient) {
                continue;
            }
            expanded.push(target.recipient);
        }
        let address = address(message, target, action);
        let original = recipient_of(message, target).filter(|_| own);
        text.push_str("\r\n");
        if let Some((kind, original)) = original.and_then(|to| to.original.as_ref()) {
            let (kind, original) = (clean(kind), clean(original));
            line(&mut text, format_args!("Original-Recipient: {kind};{original}"));
        }
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        line(&mut text, format_args!("Final-Recipient: {kind};{}", clean(&address)));
        fate(&mut text, target, action);
        let untried = matches!(
            target.state,
            TargetState::Waiting | TargetState::Deferred { attempts: 0, .. }
        );
        if !untried {
            line(&mut text, format_args!("Last-Attempt-Date: {}", date(frame.now)));
        }
        if action == Action::Delayed && frame.until > 0 {
            line(&mut text, format_args!("Will-Retry-Until: {}", date(frame.until)));
        }
    }
    text
}

/// Action, status, and who said why (RFC 3464 §2.3.3 to §2.3.6).
fn fate(text: &mut String, target: &Target, action: Action) {
    let reason = match &target.state {
        TargetState::Failed { reason } | TargetState::Deferred { reason, .. } => Some(reason),
        TargetState::Waiting | TargetState::Delivered | TargetState::Removed => None,
    };
    let (action, code) = match action {
        Action::Failed => ("failed", reason.map_or("5.0.0", |reason| enhanced(reason, "5.0.0"))),
        Action::Delayed => ("delayed", reason.map_or("4.0.0", |reason| enhanced(reason, "4.0.0"))),
        Action::Delivered => ("delivered", "2.0.0"),
        Action::Expanded => ("expanded", "2.0.0"),
        Action::Relayed => ("relayed", "2.0.0"),
    };
    line(text, format_args!("Action: {action}"));
    line(text, format_args!("Status: {code}"));
    let Some(reason) = reason else { return };
    match Said::find(reason) {
        Some(Said { host, reply }) => {
            line(text, format_args!("Remote-MTA: dns; {}", clean(host)));
            line(text, format_args!("Diagnostic-Code: smtp; {}", clean(reply)));
        }
        None => line(text, format_args!("Diagnostic-Code: x-sluicegate; {}", clean(reason))),
    }
}

/// The enhanced status at the front of a reason (RFC 3463 §2).
fn enhanced<'r>(reason: &'r str, otherwise: &'r str) -> &'r str {
    let word = reason.split(' ').next().unwrap_or_default();
    let mut numbers = word.split('.');
    let known = matches!(numbers.next(), Some("4" | "5"))
        && numbers.by_ref().take(2).filter(|n| is_number(n)).count() == 2
        && numbers.next().is_none();
    if known { word } else { otherwise }
}

fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Whom a report can be sent to: a report is never about a message that has no sender, and `MAILER-DAEMON`
/// is nobody.
pub fn recipient(notice: &Notice) -> Option<Recipient> {
    let (local, domain) = super::name::split(&notice.to)?;
    let domain = crate::smtp::address::Domain::Name(domain?);
    Some(Recipient::Mailbox(Mailbox { local, domain }))
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
