//! config::render – `Config` back to TOML, for `config show`.
//!
//! Promises: parses to the same `Config`; the same keys in the same order as `config default`.
//! Not here: comments (`keys`).

use std::fmt::Display;
use std::path::Path;

use super::read::{ANONYMOUS, CODE_PAGES, SYMLINKS};
use super::{Config, Ftp, Log, Server};
use crate::document::quoted;

type Line = (&'static str, String);

pub(super) fn to_toml(config: &Config) -> String {
    let mut sections = vec![("server", server(&config.server)), ("log", log(&config.log))];
    if let Some(section) = &config.ftp {
        sections.push(("ftp", ftp(section)));
    }
    let mut text = String::new();
    for (name, lines) in sections {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[{name}]\n"));
        for (key, value) in lines {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

pub(super) fn server(server: &Server) -> Vec<Line> {
    vec![
        ("hostname", quoted(&server.hostname)),
        ("data_dir", path(&server.data_dir)),
        ("shards", server.shards.to_string()),
        ("cpus", format!("{:?}", server.cpus)),
        ("metrics_listen", or_empty(server.metrics_listen.as_ref())),
        ("max_connections", server.max_connections.to_string()),
        ("max_connections_per_ip", server.max_connections_per_ip.to_string()),
        ("drain_seconds", server.drain_seconds.to_string()),
        ("user", or_empty(server.user.as_ref())),
    ]
}

pub(super) fn log(log: &Log) -> Vec<Line> {
    vec![
        ("level", quoted(&log.level)),
        ("format", quoted(if log.json { "json" } else { "text" })),
        ("xferlog", log.xferlog.as_deref().map_or_else(|| quoted(""), path)),
    ]
}

pub(super) fn ftp(ftp: &Ftp) -> Vec<Line> {
    vec![
        ("listen", array(&ftp.listen)),
        ("root", path(&ftp.root)),
        ("anonymous", name_of(&ANONYMOUS, ftp.anonymous)),
        ("upload_dirs", array(&ftp.upload_dirs)),
        ("anonymous_overwrite", ftp.anonymous_overwrite.to_string()),
        ("uploads_readable", ftp.uploads_readable.to_string()),
        ("symlinks", name_of(&SYMLINKS, ftp.symlinks)),
        ("banner", quoted(&ftp.banner)),
        (
            "passive_ports",
            quoted(&format!("{}-{}", ftp.passive_ports.start(), ftp.passive_ports.end())),
        ),
        ("passive_address", or_empty(ftp.passive_address.as_ref())),
        ("fxp", ftp.fxp.to_string()),
        ("durable_uploads", ftp.durable_uploads.to_string()),
        ("idle_seconds", ftp.idle_seconds.to_string()),
        ("login_seconds", ftp.login_seconds.to_string()),
        ("stall_seconds", ftp.stall_seconds.to_string()),
        ("max_login_failures", ftp.max_login_failures.to_string()),
        ("accept_seconds", ftp.accept_seconds.to_string()),
        ("min_rate_bytes", ftp.min_rate_bytes.to_string()),
        ("max_upload_bytes", ftp.max_upload_bytes.to_string()),
        ("listing_depth", ftp.listing_depth.to_string()),
        ("listing_entries", ftp.listing_entries.to_string()),
        ("ebcdic", name_of(&CODE_PAGES, ftp.ebcdic)),
    ]
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn or_empty(value: Option<&impl Display>) -> String {
    quoted(&value.map(ToString::to_string).unwrap_or_default())
}

fn array(values: &[impl Display]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: T) -> String {
    quoted(names.iter().find(|(_, one)| *one == value).map_or("", |(name, _)| name))
}
