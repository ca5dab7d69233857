//! config::read::mail – `[smtp]` and `[mail]`.
//!
//! Promises: nothing that would be an open relay comes out; spool, mailboxes and the tree of FTP
//! lie apart, so that no mail is ever served as a file.
//! Not here: routes (`route`), single values (`values`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::values::{
    domain, extension_separator, joined, mail_target, narrow, non_empty_path, optional, reply_text,
    resolver,
};
use super::super::{At, Copies, Mail, Milter, Route, Senders, Smtp, UnknownLocalPart};
use super::{
    DAY_SECONDS, ENCRYPTION, Encryption, RATE_BYTES_MAX, Reader, Section, inlet, read_listen,
    read_more,
};
use crate::document::{Document, Value};
use crate::limits::{RESOLVERS_MAX, SMTP_BANNER_BYTES_MAX};
use crate::wire::data::BareNewlines;

/// Below this nothing real could be sent.
const MESSAGE_BYTES_MIN: u64 = 1024;
const MESSAGE_BYTES_MAX: u64 = 1 << 40;
const RECIPIENTS_MAX: u64 = 100_000;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// What the disk is written in.
const BLOCK_BYTES: u64 = 4096;
const MEMORY_BYTES_MIN: u64 = 1 << 20;
const MEMORY_BYTES_MAX: u64 = 1 << 40;
const RESERVE_BYTES_MAX: u64 = 1 << 50;
const HOPS_MAX: u64 = 10_000;
const ERRORS_MAX: u64 = 10_000;
/// RFC 4954 §9.
const LOGIN_FAILURES_MIN: u64 = 3;
const RESOLVER_SECONDS_MAX: u64 = 15;
const YEAR_SECONDS: u64 = 366 * DAY_SECONDS;

pub(in super::super) const BARE_NEWLINES: [(&str, BareNewlines); 2] =
    [("reject", BareNewlines::Reject), ("normalize", BareNewlines::Normalize)];
pub(in super::super) const SENDERS: [(&str, Senders); 2] =
    [("own", Senders::Own), ("any", Senders::Any)];
pub(in super::super) const COPIES: [(&str, Copies); 2] =
    [("bounce", Copies::Bounce), ("delay", Copies::Delay)];
pub(in super::super) const UNKNOWN_LOCAL_PART: [(&str, UnknownLocalPart); 2] =
    [("reject", UnknownLocalPart::Reject), ("accept", UnknownLocalPart::Accept)];

pub(super) fn smtp(
    keys: &mut Reader<'_, '_>,
    data_dir: &Path,
    routes: Vec<Route>,
    milters: Vec<Milter>,
) -> Smtp {
    let banner = format!("at most {SMTP_BANNER_BYTES_MAX} characters of US-ASCII, on one line");
    Smtp {
        listen: read_listen(keys, "SMTP", 25),
        listen_tls: read_more(keys, "listen_tls", 465),
        listen_submission: submission(keys),
        listen_lmtp: inlet::lmtp(keys, data_dir),
        proxy_from: inlet::trusted(keys, "proxy_from", &inlet::VOUCHES),
        xclient_from: inlet::trusted(keys, "xclient_from", &inlet::VOUCHES),
        xforward_from: inlet::trusted(keys, "xforward_from", &inlet::VOUCHES),
        tls: keys.choice("tls", &ENCRYPTION, Encryption::Optional),
        domains: domains(keys),
        max_message_bytes: keys.whole(
            "max_message_bytes",
            MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX,
            "bytes",
        ),
        max_recipients: narrow(keys.whole("max_recipients", 1..=RECIPIENTS_MAX, "recipients")),
        bare_newlines: keys.choice("bare_newlines", &BARE_NEWLINES, BareNewlines::Reject),
        relay_from: inlet::trusted(keys, "relay_from", &inlet::RELAYS),
        resolvers: resolvers(keys),
        resolver_seconds: keys.seconds("resolver_seconds", RESOLVER_SECONDS_MAX),
        routes,
        milters,
        banner: keys.parsed("banner", &banner, reply_text).unwrap_or_default(),
        spool: directory(keys, "spool", data_dir),
        spool_segment_bytes: segment_bytes(keys),
        spool_memory_bytes: keys.whole(
            "spool_memory_bytes",
            MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX,
            "bytes",
        ),
        spool_reserve_bytes: keys.whole("spool_reserve_bytes", 0..=RESERVE_BYTES_MAX, "bytes"),
        strict_syntax: keys.flag("strict_syntax"),
        drop_early_talkers: keys.flag("drop_early_talkers"),
        vrfy: keys.flag("vrfy"),
        expn: keys.flag("expn"),
        max_hops: narrow(keys.whole("max_hops", 1..=HOPS_MAX, "Received lines")),
        max_errors: narrow(keys.whole("max_errors", 1..=ERRORS_MAX, "errors")),
        max_login_failures: narrow(keys.whole(
            "max_login_failures",
            LOGIN_FAILURES_MIN..=ERRORS_MAX,
            "failed logins",
        )),
        authenticated_senders: keys.choice("authenticated_senders", &SENDERS, Senders::Own),
        max_messages: narrow(keys.whole("max_messages", 0..=u64::from(u32::MAX), "messages")),
        idle_seconds: keys.seconds("idle_seconds", DAY_SECONDS),
        message_seconds: keys.seconds("message_seconds", DAY_SECONDS),
        min_rate_bytes: keys.whole("min_rate_bytes", 0..=RATE_BYTES_MAX, "bytes per second"),
    }
}

pub(super) fn mail(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Mail {
    const CATCH_ALL: &str = "a user, an address, or \"\" for nobody";
    const SRS_DOMAIN: &str =
        "a domain whose MX is this server, like \"srs.example.org\", or \"\" for none";
    const SEPARATOR: &str = "one of + - _ = # ~ % . ! or \"\" for none";
    let aliases = keys.parsed("aliases", "the path of a file", non_empty_path);
    let catch_all = keys.parsed("catch_all", CATCH_ALL, |text| optional(text, mail_target));
    let separator = keys.parsed("extension_separator", SEPARATOR, extension_separator);
    let first = keys.seconds("retry_seconds", DAY_SECONDS);
    let longest = keys.seconds("retry_seconds_max", DAY_SECONDS);
    if longest < first {
        // Of the two, the one that the operator wrote is to blame.
        match keys.section.given("retry_seconds_max") {
            Some(value) if value.get_ref().is_integer() => {
                let allowed = format!("retry_seconds ({first}) or more");
                keys.document.reject_value("retry_seconds_max", value.span(), allowed);
            }
            Some(_) => {}
            None => {
                let span = keys.section.value("retry_seconds").span();
                let allowed = format!("retry_seconds_max ({longest}) or less");
                keys.document.reject_value("retry_seconds", span, allowed);
            }
        }
    }
    let separator = separator.unwrap_or_default();
    Mail {
        root: directory(keys, "root", data_dir),
        unknown_local_part: keys.choice(
            "unknown_local_part",
            &UNKNOWN_LOCAL_PART,
            UnknownLocalPart::Reject,
        ),
        aliases: aliases.map(|path| joined(data_dir, &path)).unwrap_or_default(),
        catch_all: catch_all.flatten(),
        catch_all_at: At(keys
            .section
            .given("catch_all")
            .map(|it| keys.document.place(it.span().start))),
        srs_domain: keys
            .parsed("srs_domain", SRS_DOMAIN, |text| optional(text, srs_domain))
            .flatten(),
        srs_secret: keys
            .parsed("srs_secret", "the path of a file", non_empty_path)
            .map(|path| joined(data_dir, &path))
            .unwrap_or_default(),
        verp_lists: verp_lists(keys, &separator),
        extension_separator: separator,
        mailbox_bytes_max: keys.whole("mailbox_bytes_max", 0..=u64::MAX >> 1, "bytes"),
        retry_seconds: first,
        retry_seconds_max: longest,
        give_up_seconds: keys.seconds("give_up_seconds", YEAR_SECONDS),
        postmaster_copies: copies(keys),
        max_reports_per_hour: reports(keys, "max_reports_per_hour"),
        max_reports_per_hour_per_address: reports(keys, "max_reports_per_hour_per_address"),
    }
}

fn reports(keys: &mut Reader<'_, '_>, key: &str) -> u32 {
    narrow(keys.whole(key, 0..=u64::from(u32::MAX), "reports"))
}

fn copies(keys: &mut Reader<'_, '_>) -> Vec<Copies> {
    let named = |text: &str| COPIES.iter().find(|(name, _)| *name == text).map(|(_, one)| *one);
    keys.list("postmaster_copies", "\"bounce\" or \"delay\"", named)
}

/// A bounce comes back to the owner as an extension of its name.
fn verp_lists(keys: &mut Reader<'_, '_>, separator: &str) -> Vec<String> {
    const KEY: &str = "verp_lists";
    let name = |text: &str| {
        let plain = !text.is_empty()
            && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@');
        plain.then(|| text.to_owned())
    };
    let lists = keys.list(KEY, "the name of a list, without owner- and domain, or \"*\"", name);
    let broken = lists.iter().find(|list| !separator.is_empty() && list.contains(separator));
    let value = keys.section.value(KEY).span();
    if separator.is_empty() && !lists.is_empty() {
        let allowed = "[] where extension_separator is \"\": bounces would not find the owner";
        keys.document.reject_value(KEY, value, allowed);
    } else if let Some(list) = broken {
        let allowed = format!("no list with extension_separator in its name, like {list}");
        keys.document.reject_value(KEY, value, allowed);
    }
    lists
}

/// Others look it up.
fn srs_domain(text: &str) -> Option<String> {
    domain(text).filter(|name| !name.starts_with('[') && name.contains('.'))
}

/// Spool, mailboxes and what FTP serves are three trees.
pub(super) fn apart(document: &mut Document<'_>, trees: &[Tree<'_, '_>]) {
    let nested = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    for (index, one) in trees.iter().enumerate() {
        for other in trees.iter().skip(index + 1) {
            // A path that is wrong in itself was told already.
            let empty = one.path.as_os_str().is_empty() || other.path.as_os_str().is_empty();
            if empty || !nested(one.path, other.path) {
                continue;
            }
            // Of the two, one that the operator wrote is to blame.
            let given = [one, other].into_iter().find_map(|tree| tree.section.given(tree.key));
            document.reject(
                given.map_or(0..0, Value::span),
                format!("[{}] {} and [{}] {}", one.name, one.key, other.name, other.key),
                format!("{} and {} overlap", one.path.display(), other.path.display()),
                "mail must not be served as files, nor mailboxes mix with the spool: move one",
            );
        }
    }
}

/// A directory that one key names.
pub(super) struct Tree<'a, 's> {
    pub(super) section: &'a Section<'s>,
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) path: &'a Path,
}

fn domains(keys: &mut Reader<'_, '_>) -> Vec<String> {
    const ALLOWED: &str = "a domain, like \"example.org\" (an internationalised one as \"xn--…\"), or \"[192.0.2.1]\"";
    let domains = keys.list("domains", ALLOWED, domain);
    let Reader { document, section } = keys;
    let value = section.value("domains");
    if value.get_ref().as_array().is_some_and(|array| array.is_empty()) {
        let allowed = "one domain at least, whose mail is taken";
        document.reject_value("domains", value.span(), allowed);
    }
    if domains.iter().collect::<BTreeSet<_>>().len() < domains.len() {
        document.reject_value("domains", value.span(), "each domain at most once");
    }
    domains
}

fn resolvers(keys: &mut Reader<'_, '_>) -> Vec<SocketAddr> {
    const KEY: &str = "resolvers";
    const ALLOWED: &str =
        "an address, or ADDRESS:PORT, like \"127.0.0.1\" or \"[2001:db8::53]:53\"";
    let resolvers = keys.list(KEY, ALLOWED, resolver);
    if resolvers.len() > RESOLVERS_MAX {
        let span = keys.section.value(KEY).span();
        keys.document.reject_value(KEY, span, format_args!("at most {RESOLVERS_MAX} addresses"));
    }
    resolvers
}

/// Users must say who they are, and nobody says it in clear.
fn submission(keys: &mut Reader<'_, '_>) -> Vec<SocketAddr> {
    const KEY: &str = "listen_submission";
    let listen = read_more(keys, KEY, 587);
    let off = keys.section.value("tls").get_ref().as_str() == Some("off");
    if off && !listen.is_empty() {
        let span = keys.section.value(KEY).span();
        keys.document.reject_value(KEY, span, "[] where tls is \"off\": AUTH needs STARTTLS");
    }
    listen
}

fn segment_bytes(keys: &mut Reader<'_, '_>) -> u64 {
    const KEY: &str = "spool_segment_bytes";
    let octets = keys.whole(KEY, SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX, "bytes");
    if !octets.is_multiple_of(BLOCK_BYTES) {
        let span = keys.section.value(KEY).span();
        keys.document.reject_value(KEY, span, format_args!("a multiple of {BLOCK_BYTES}"));
    }
    octets
}

fn directory(keys: &mut Reader<'_, '_>, key: &str, data_dir: &Path) -> PathBuf {
    let path = keys.parsed(key, "the path of a directory", non_empty_path);
    let Some(path) = path.map(|path| joined(data_dir, &path)) else { return PathBuf::new() };
    if data_dir.starts_with(&path) {
        let span = keys.section.value(key).span();
        let data_dir = data_dir.display();
        let allowed = format!("a directory that does not contain data_dir ({data_dir})");
        keys.document.reject_value(key, span, allowed);
    }
    path
}
