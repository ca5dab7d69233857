//! mail::dsn::compose – a report as octets: its header, the part for people, and what of the message goes back.
//!
//! The header and the parts are written by `mail-builder`, but for the encodings of parts that RFC 3464 and
//! RFC 2046 fix: it would send a `message/rfc822` in base64, which that type does not know. A header that is no
//! text is made quoted-printable here (`parts`): the library would make a bare LF a CRLF.
//!
//! Promises: the returned message is as it came, within [`DSN_ORIGINAL_BYTES_MAX`]; nothing is taken from the
//! clock or from chance (dates, identifier and boundary are given to the library).

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;
use memchr::memmem;

use super::parts::{clean, date, is_plain, quoted_printable};
use super::{
    Action, Frame, Notice, Original, address, expanded_from, is_own, line, status, target_of,
};
use crate::limits::DSN_ORIGINAL_BYTES_MAX;
use crate::mail::stored::{Message, TargetState};
use crate::smtp::address::Mailbox;
use crate::smtp::envelope::Return;

/// Columns of a line of ours for people.
const COLUMNS_MAX: usize = 72;

/// The octets of a report, header and all, with CRLF.
pub fn compose(
    message: &Message,
    notice: &Notice,
    original: Original<'_>,
    frame: Frame<'_>,
) -> Vec<u8> {
    let copy = frame.copy_of.is_some();
    let returned = Returned::choose(message, original, copy);
    let human = human(message, notice, &returned, frame);
    let status = status(message, notice, frame);
    let boundary = boundary(frame.id, &[human.as_bytes(), status.as_bytes(), &returned.octets]);
    let utf8 = !status.is_ascii();
    let encoding = |eight_bit| if eight_bit { "8bit" } else { "7bit" };
    let all = encoding(utf8 || !returned.octets.is_ascii());
    // RFC 6533 §3: addresses beyond ASCII need the other type.
    let kind = if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    let report = ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status")
        .attribute("boundary", boundary.as_str());
    let parts = vec![
        MimePart::new("text/plain", human),
        MimePart::new(kind, status.into_bytes()).transfer_encoding(encoding(utf8)),
        MimePart::new(returned.kind, returned.octets).transfer_encoding(returned.encoding),
    ];
    let mut octets = Vec::new();
    MessageBuilder::new()
        .from(Address::new_address(
            Some("Mail delivery"),
            format!("MAILER-DAEMON@{}", frame.hostname),
        ))
        .to(clean(&notice.to))
        .subject(subject(notice, copy))
        .date(Date::new(frame.now))
        .message_id(identifier(&boundary, notice, frame))
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .header("MIME-Version", Raw::new("1.0"))
        .body(MimePart::new(report, parts).transfer_encoding(all))
        .serialize(&mut octets);
    octets
}

/// Reports about one message may be made within one second: to the sender and to an owner, and their copies.
fn identifier(boundary: &str, notice: &Notice, frame: Frame<'_>) -> String {
    let first = notice.targets.first().map_or(0, |(number, _)| *number);
    let copy = if frame.copy_of.is_some() { ".copy" } else { "" };
    format!("{boundary}.{}.{first}{copy}@{}", frame.now, frame.hostname)
}

fn subject(notice: &Notice, copy: bool) -> &'static str {
    let any = |wanted: Action| notice.targets.iter().any(|(_, action)| *action == wanted);
    if copy && any(Action::Failed) {
        "Copy: a message could not be delivered"
    } else if copy {
        "Copy: a message is delayed"
    } else if any(Action::Failed) {
        "Your message could not be delivered"
    } else if any(Action::Delayed) {
        "Your message is delayed; nothing is lost yet"
    } else if any(Action::Delivered) || any(Action::Expanded) {
        "Your message was delivered"
    } else {
        "Your message was sent on"
    }
}

/// What of the message goes back with the report.
struct Returned {
    kind: &'static str,
    encoding: &'static str,
    octets: Vec<u8>,
    /// Why it is less than the sender might expect.
    note: Option<&'static str>,
}

impl Returned {
    fn choose(message: &Message, original: Original<'_>, copy: bool) -> Self {
        let utf8 = message.envelope.protocol.utf8;
        let whole = || [&message.trace, original.octets].concat();
        let fits = original.size <= DSN_ORIGINAL_BYTES_MAX
            && u64::try_from(original.octets.len()) == Ok(original.size);
        let wanted = !copy && message.envelope.ret.unwrap_or(Return::Full) == Return::Full;
        // RFC 2046 §5.2.1: message/rfc822 knows no encoding, so what lines cannot carry stays here.
        if wanted && fits && is_plain(&whole()) {
            let octets = whole();
            let encoding = if octets.is_ascii() { "7bit" } else { "8bit" };
            let kind = if utf8 { "message/global" } else { "message/rfc822" };
            return Self { kind, encoding, octets, note: None };
        }
        let note = match (wanted, fits) {
            (false, _) => None,
            (true, false) => Some("Only its header is returned: it is large."),
            (true, true) => Some("Only its header is returned: it is no text."),
        };
        let header = header(whole());
        let kind = if utf8 { "message/global-headers" } else { "text/rfc822-headers" };
        if header.is_ascii() && is_plain(&header) {
            return Self { kind, encoding: "7bit", octets: header, note };
        }
        Self { kind, encoding: "quoted-printable", octets: quoted_printable(&header), note }
    }
}

/// Up to the first empty line, or to the last whole line of as much as is returned at most.
fn header(mut octets: Vec<u8>) -> Vec<u8> {
    if octets.starts_with(b"\r\n") {
        return Vec::new();
    }
    if let Some(end) = memmem::find(&octets, b"\r\n\r\n") {
        octets.truncate(end + 2);
    }
    let most = usize::try_from(DSN_ORIGINAL_BYTES_MAX).unwrap_or(usize::MAX);
    if octets.len() > most {
        octets.truncate(most);
        let end = memmem::rfind(&octets, b"\r\n").map_or(most, |end| end + 2);
        octets.truncate(end);
    }
    octets
}

/// The part for people.
fn human(message: &Message, notice: &Notice, returned: &Returned, frame: Frame<'_>) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("This is the mail server {}.", frame.hostname));
    about(&mut text, message, notice, frame);
    let parts = [
        (Action::Failed, "It could not be delivered to:"),
        (Action::Delayed, "It has not been delivered yet, and is tried again, to:"),
        (Action::Delivered, "It was delivered to:"),
        (Action::Expanded, "It was given to the members of a list:"),
        (Action::Relayed, "It was given to a server that will not tell you more, for:"),
    ];
    for (action, title) in parts {
        let mut titled = false;
        for (number, _) in notice.targets.iter().filter(|(_, one)| *one == action) {
            let Some(target) = target_of(message, *number) else { continue };
            if !titled {
                line(&mut text, format_args!("\r\n{title}\r\n"));
                titled = true;
            }
            let named = address(message, target, action);
            line(&mut text, format_args!("  <{}>", clean(&named)));
            // RFC 3461 §6.3: `Original-Recipient` is what the sender gave as ORCPT, and nothing else.
            if let Some(asked) = expanded_from(message, target, &named) {
                line(&mut text, format_args!("    (expanded from <{}>)", clean(&asked)));
            }
            if let TargetState::Failed { reason } | TargetState::Deferred { reason, .. } =
                &target.state
            {
                indented(&mut text, &clean(reason));
            }
        }
    }
    if notice.targets.iter().any(|(_, action)| *action == Action::Delayed) {
        let nothing = if frame.copy_of.is_some() { "" } else { "\r\nYou need not send it again." };
        line(&mut text, nothing);
        if frame.until > 0 {
            line(&mut text, format_args!("It is tried until {}.", date(frame.until)));
        }
    }
    if let Some(note) = returned.note {
        line(&mut text, format_args!("\r\n{note}"));
    }
    text
}

/// A reason in lines that need no encoding where its words are short enough.
fn indented(text: &mut String, reason: &str) {
    const INDENT: &str = "    ";
    let mut column = 0;
    for word in reason.split(' ') {
        let width = word.chars().count() + 1;
        if column == 0 || column + width > COLUMNS_MAX {
            text.push_str(if column == 0 { INDENT } else { "\r\n    " });
            column = INDENT.len();
        } else {
            text.push(' ');
        }
        text.push_str(word);
        column += width;
    }
    text.push_str("\r\n");
}

/// Which message it is about, as whoever reads this knows it.
fn about(text: &mut String, message: &Message, notice: &Notice, frame: Frame<'_>) {
    let (accepted, id) = (date(message.accepted), frame.id);
    if let Some(to) = frame.copy_of {
        let sender = message.envelope.sender.as_ref().map(Mailbox::to_string).unwrap_or_default();
        line(text, format_args!("It is about a message from <{}>,", clean(&sender)));
        line(text, format_args!("accepted on {accepted} as {id}."));
        line(text, "This is a copy, for the postmaster, of a report to");
        line(text, format_args!("<{}>.", clean(to)));
    } else {
        let whose =
            if is_own(message, notice) { "the message you sent" } else { "a message to your list" };
        line(text, format_args!("It is about {whose},"));
        line(text, format_args!("accepted on {accepted} as {id}."));
    }
}

/// A boundary that is in none of the parts.
fn boundary(id: &str, parts: &[&[u8]]) -> String {
    let mut number = 0_u64;
    loop {
        let boundary = format!("report-{}-{number}", clean(id));
        if parts.iter().all(|part| memmem::find(part, boundary.as_bytes()).is_none()) {
            return boundary;
        }
        number += 1;
    }
}
