//! config::read::route – `[[smtp.route]]` and `[relay]`.
//!
//! Promises: no password goes out in clear, because a route that has one demands TLS; what a route says
//! that means nothing where it leads is an error.
//! Not here: single values (`values`), which route a message takes (`mail::route`).

use std::path::Path;

use toml::de::DeTable;

use super::super::values::{joined, narrow, non_empty_path, recipient_pattern};
use super::super::{At, Relay, Route, RouteTo};
use super::{DAY_SECONDS, Reader, keys};
use crate::document::{Document, Value};
use crate::limits::ROUTES_MAX;
use crate::mail::hop::{Hop, Login, Onward, TlsPolicy};

pub(in super::super) const ROUTE_TO: [(&str, RouteTo); 2] =
    [("local", RouteTo::Local), ("discard", RouteTo::Discard)];
const TLS: [(&str, TlsPolicy); 3] =
    [("none", TlsPolicy::None), ("may", TlsPolicy::May), ("must", TlsPolicy::Must)];
/// Keys that say how mail goes on to another server.
const ONWARD: [&str; 8] = [
    "tls",
    "username",
    "password_file",
    "source_address",
    "max_connections",
    "max_messages_per_connection",
    "max_messages_per_minute",
    "recipients",
];
const PATTERN: &str = "\"*\", \"*@example.org\", \"user@example.org\" or \"user@*\"";
const CONNECTIONS_MAX: u64 = 100_000;
const MESSAGES_MAX: u64 = 1_000_000_000;
const YEAR_SECONDS: u64 = 366 * DAY_SECONDS;
/// Servers close idle connections after 5 minutes (RFC 5321 §4.5.3.2.7).
const IDLE_SECONDS_MAX: u64 = 240;
const USERNAME_BYTES_MAX: usize = 255;

pub(super) fn relay(keys: &mut Reader<'_, '_>) -> Relay {
    let (first, second) = ("retry_first_seconds", "retry_seconds");
    let relay = Relay {
        retry_first_seconds: keys.seconds(first, DAY_SECONDS),
        retry_seconds: keys.seconds(second, DAY_SECONDS),
        retry_seconds_max: keys.seconds("retry_seconds_max", 7 * DAY_SECONDS),
        give_up_seconds: keys.seconds("give_up_seconds", YEAR_SECONDS),
        delay_notice_seconds: narrow(keys.whole("delay_notice_seconds", 0..=YEAR_SECONDS, "seconds")),
        max_connections: narrow(keys.whole("max_connections", 1..=CONNECTIONS_MAX, "connections")),
        max_connections_per_destination: narrow(keys.whole(
            "max_connections_per_destination",
            1..=CONNECTIONS_MAX,
            "connections",
        )),
        max_messages_per_connection: narrow(keys.whole(
            "max_messages_per_connection",
            0..=MESSAGES_MAX,
            "messages",
        )),
        idle_seconds: narrow(keys.whole("idle_seconds", 0..=IDLE_SECONDS_MAX, "seconds")),
    };
    let longest = relay.retry_seconds_max;
    // What is no number was told already.
    if !keys.section.value("retry_seconds_max").get_ref().is_integer() {
        return relay;
    }
    for (key, seconds) in [(first, relay.retry_first_seconds), (second, relay.retry_seconds)] {
        if seconds > longest {
            let span = keys.section.value(key).span();
            let allowed = format!("retry_seconds_max ({longest}) or less");
            keys.document.reject_value(key, span, allowed);
        }
    }
    relay
}

/// What routes begin with: where relative paths do, and what they need not say.
struct Base<'a> {
    data_dir: &'a Path,
    relay: &'a Relay,
}

pub(super) fn routes(keys: &mut Reader<'_, '_>, data_dir: &Path, relay: &Relay) -> Vec<Route> {
    let Reader { document, section } = keys;
    let Some(value) = section.given("route") else { return Vec::new() };
    let tables = value.get_ref().as_array();
    let Some(tables) = tables.filter(|tables| tables.len() <= ROUTES_MAX) else {
        let allowed = format!("at most {ROUTES_MAX} tables, each begun by a line [[smtp.route]]");
        document.reject_value("route", value.span(), allowed);
        return Vec::new();
    };
    let base = Base { data_dir, relay };
    tables.iter().filter_map(|one| route(document, one, &base)).collect()
}

fn route(document: &mut Document<'_>, value: &Value<'_>, base: &Base<'_>) -> Option<Route> {
    let Some(table) = value.get_ref().as_table() else {
        document.reject_value("route", value.span(), "a table, begun by a line [[smtp.route]]");
        return None;
    };
    let tables = keys::SECTIONS.iter().flat_map(|section| section.tables);
    let known = tables.filter(|table| table.name == "route").flat_map(|table| table.keys);
    document.unknown_keys(table, known.map(|(name, _)| *name), "key of [[smtp.route]]");
    let at = table.get("recipient").map(|value| document.place(value.span().start));
    let recipient = wanted(document, table, value, "recipient")
        .and_then(|value| document.parsed("recipient", value, PATTERN, recipient_pattern));
    let sender = table.get("sender").and_then(|value| {
        let allowed = format!("{PATTERN}, or \"\" for bounces");
        document.parsed("sender", value, &allowed, |text| {
            if text.is_empty() { Some(String::new()) } else { recipient_pattern(text) }
        })
    });
    let authenticated =
        table.get("authenticated").map(|value| document.flag("authenticated", value));
    let to = wanted(document, table, value, "to")
        .and_then(|value| route_to(document, table, value, base));
    let recipients = table.get("recipients").and_then(|value| {
        let file = document.parsed("recipients", value, "the path of a file", non_empty_path)?;
        Some(joined(base.data_dir, &file))
    });
    let (recipient, to) = (recipient?, to?);
    Some(Route { recipient, sender, authenticated, to, recipients, at: At(at) })
}

/// A key that has no default.
fn wanted<'v, 't>(
    document: &mut Document<'_>,
    table: &'v DeTable<'t>,
    whole: &Value<'_>,
    key: &str,
) -> Option<&'v Value<'t>> {
    let value = table.get(key);
    if value.is_none() {
        let what = format!("[[smtp.route]] without {key}");
        document.reject(whole.span(), what, "", format!("add {key} = …"));
    }
    value
}

fn route_to(
    document: &mut Document<'_>,
    table: &DeTable<'_>,
    value: &Value<'_>,
    base: &Base<'_>,
) -> Option<RouteTo> {
    const ONWARD_TO: &str =
        "\"mx\", \"relay:HOST:PORT\", \"lmtp:HOST:PORT\" or \"lmtp:unix:/PATH\"";
    let text = value.get_ref().as_str().unwrap_or_default();
    if let Some((_, to)) = ROUTE_TO.iter().find(|(name, _)| *name == text) {
        for key in ONWARD {
            if let Some(one) = table.get(key) {
                let what = format!("{key} with to = {text:?}");
                document.reject(one.span(), what, "means nothing there", "take it out");
            }
        }
        return Some(to.clone());
    }
    if let Some(hop) = Hop::parse(text) {
        let onward = onward(document, table, hop, base);
        return Some(RouteTo::Onward(Box::new(onward)));
    }
    let meant = ["mx", "relay", "lmtp", "smtp"].iter().any(|kind| text.starts_with(kind));
    if meant {
        document.reject_value("to", value.span(), ONWARD_TO);
    } else {
        document.choice("to", value, &ROUTES, ());
    }
    None
}

/// What a wrong word may have been meant to be.
const ROUTES: [(&str, ()); 5] =
    [("local", ()), ("discard", ()), ("mx", ()), ("relay:HOST:PORT", ()), ("lmtp:HOST:PORT", ())];

fn onward(document: &mut Document<'_>, table: &DeTable<'_>, hop: Hop, base: &Base<'_>) -> Onward {
    let plain = Onward::new(hop);
    let mut number = |key: &str, least: u64, most: u64, unit: &str, default: u32| {
        let value = table.get(key);
        value.map_or(default, |value| narrow(document.whole(key, value, least..=most, unit)))
    };
    let relay = base.relay;
    let (connections, messages) = (CONNECTIONS_MAX, MESSAGES_MAX);
    let most = relay.max_connections_per_destination;
    let max_connections = number("max_connections", 1, connections, "connections", most);
    let most = relay.max_messages_per_connection;
    let max_messages_per_connection =
        number("max_messages_per_connection", 0, messages, "messages", most);
    let max_messages_per_minute = number("max_messages_per_minute", 0, messages, "messages", 0);
    let tls = table.get("tls").map_or(plain.tls, |value| {
        let tls = document.choice("tls", value, &TLS, TlsPolicy::Must);
        if matches!(plain.hop, Hop::LmtpUnix(_)) && tls != TlsPolicy::None {
            let allowed = "\"none\": a socket of this machine is in clear";
            document.reject_value("tls", value.span(), allowed);
        }
        tls
    });
    let source_address = table.get("source_address").and_then(|value| {
        let allowed = "an IP address of this machine; none with lmtp:unix:";
        document.parsed("source_address", value, allowed, |text| {
            text.parse().ok().filter(|_| !matches!(plain.hop, Hop::LmtpUnix(_)))
        })
    });
    Onward {
        login: login(document, table, tls, base),
        tls,
        source_address,
        max_connections,
        max_messages_per_connection,
        max_messages_per_minute,
        ..plain
    }
}

/// Name and password; both or none, and only where nobody can read them on the way.
fn login(
    document: &mut Document<'_>,
    table: &DeTable<'_>,
    tls: TlsPolicy,
    base: &Base<'_>,
) -> Option<Login> {
    const NAME: &str = "1 to 255 octets without control characters";
    let (name, file) = (table.get("username"), table.get("password_file"));
    let given = name.or(file)?;
    if tls != TlsPolicy::Must {
        let why = "a password is not sent to whoever answers";
        document.reject(given.span(), "username, password_file", why, "add tls = \"must\"");
    }
    let (Some(name), Some(file)) = (name, file) else {
        let what = "username without password_file, or the other way round";
        document.reject(given.span(), what, "", "give both, or none");
        return None;
    };
    let username = document.parsed("username", name, NAME, |text| {
        let fits = (1..=USERNAME_BYTES_MAX).contains(&text.len());
        (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
    });
    let file = document.parsed("password_file", file, "the path of a file", non_empty_path);
    let file = joined(base.data_dir, &file?);
    Some(Login { username: username?, password_file: file.display().to_string() })
}
