//! config::read::milter – `[[smtp.milter]]`.
//!
//! Not here: what is said to milters (`milter`, `server::milter`).

use std::path::{Path, PathBuf};

use super::super::values::{joined, narrow, non_empty_path};
use super::super::{Milter, MilterAddress, OnFailure};
use super::{Reader, keys};
use crate::document::{Document, Value};
use crate::limits::{MILTER_MESSAGE_SECONDS_MAX, MILTERS_MAX, UNIX_PATH_BYTES_MAX};

pub(in super::super) const ON_FAILURE: [(&str, OnFailure); 2] =
    [("tempfail", OnFailure::Tempfail), ("accept", OnFailure::Accept)];
/// As with Postfix (`milter_command_timeout`).
const TIMEOUT_SECONDS: u32 = 30;
/// As with Postfix (`milter_content_timeout`).
const MESSAGE_SECONDS: u32 = 300;

pub(super) fn milters(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Vec<Milter> {
    let Reader { document, section } = keys;
    let Some(value) = section.given("milter") else { return Vec::new() };
    let tables = value.get_ref().as_array();
    let Some(tables) = tables.filter(|tables| tables.len() <= MILTERS_MAX) else {
        let allowed = format!("at most {MILTERS_MAX} tables, each begun by a line [[smtp.milter]]");
        document.reject_value("milter", value.span(), allowed);
        return Vec::new();
    };
    tables.iter().filter_map(|one| milter(document, one, data_dir)).collect()
}

fn milter(document: &mut Document<'_>, value: &Value<'_>, data_dir: &Path) -> Option<Milter> {
    const ADDRESS: &str = "\"HOST:PORT\" or \"unix:PATH\"";
    let Some(table) = value.get_ref().as_table() else {
        document.reject_value("milter", value.span(), "a table, begun by a line [[smtp.milter]]");
        return None;
    };
    let tables = keys::SECTIONS.iter().flat_map(|section| section.tables);
    let known = tables.filter(|table| table.name == "milter").flat_map(|table| table.keys);
    document.unknown_keys(table, known.map(|(name, _)| *name), "key of [[smtp.milter]]");
    let address = match table.get("address") {
        Some(value) => document.parsed("address", value, ADDRESS, |text| address(text, data_dir)),
        None => {
            let remedy = "add address = …";
            document.reject(value.span(), "[[smtp.milter]] without address", "", remedy);
            None
        }
    };
    let on_failure = table.get("on_failure").map_or(OnFailure::Tempfail, |value| {
        document.choice("on_failure", value, &ON_FAILURE, OnFailure::Tempfail)
    });
    let authenticated =
        table.get("authenticated").map(|value| document.flag("authenticated", value));
    let mut seconds = |key: &str, default: u32| {
        let most = MILTER_MESSAGE_SECONDS_MAX;
        let value = table.get(key);
        value.map_or(default, |value| narrow(document.whole(key, value, 1..=most, "seconds")))
    };
    let timeout_seconds = seconds("timeout_seconds", TIMEOUT_SECONDS);
    let message_seconds = seconds("message_seconds", MESSAGE_SECONDS);
    let address = address?;
    Some(Milter { address, on_failure, authenticated, timeout_seconds, message_seconds })
}

/// Where a milter listens.
fn address(text: &str, data_dir: &Path) -> Option<MilterAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path: PathBuf = joined(data_dir, &non_empty_path(path)?);
        let fits = path.as_os_str().len() <= UNIX_PATH_BYTES_MAX;
        return fits.then_some(MilterAddress::Unix(path));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    let known = bare.parse::<std::net::IpAddr>().is_ok()
        || (!bare.is_empty() && bare.len() <= 255 && bare.bytes().all(name));
    known.then(|| MilterAddress::Net { host: bare.to_ascii_lowercase(), port })
}
