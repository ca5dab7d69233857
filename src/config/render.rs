//! config::render – `Config` back to TOML, for `config show`.
//!
//! Promises: parses to the same `Config`; the same keys in the same order as `config default`.
//! Not here: comments (`keys`).

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use super::read::{
    ANONYMOUS, BARE_NEWLINES, CODE_PAGES, COPIES, DATA_TLS, ENCRYPTION, ON_FAILURE, ROUTE_TO,
    SENDERS, SYMLINKS, UNKNOWN_LOCAL_PART,
};
use super::{
    Config, Endpoint, Ftp, Log, Mail, Milter, MilterAddress, Network, Relay, Route, RouteTo,
    Server, Smtp, Sni, Tls,
};
use crate::document::quoted;

type Line = (&'static str, String);

pub(super) fn to_toml(config: &Config) -> String {
    let mut sections = vec![("server", server(&config.server)), ("log", log(&config.log))];
    if let Some(section) = &config.ftp {
        sections.push(("ftp", ftp(section)));
    }
    let mut text = String::new();
    for (name, lines) in sections {
        table(&mut text, &format!("[{name}]"), lines);
    }
    if let Some(section) = &config.smtp {
        table(&mut text, "[smtp]", smtp(section));
        for one in &section.routes {
            table(&mut text, "[[smtp.route]]", route(one));
        }
        for one in &section.milters {
            table(&mut text, "[[smtp.milter]]", milter(one));
        }
    }
    table(&mut text, "[mail]", mail(&config.mail));
    table(&mut text, "[relay]", relay(&config.relay));
    table(&mut text, "[tls]", tls(&config.tls));
    for one in &config.tls.sni {
        table(&mut text, "[[tls.sni]]", sni(one));
    }
    text
}

fn table(text: &mut String, name: &str, lines: Vec<Line>) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{name}\n"));
    for (key, value) in lines {
        text.push_str(&format!("{key} = {value}\n"));
    }
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
        ("admin_socket", server.admin_socket.as_deref().map_or_else(|| quoted(""), path)),
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
        ("listen_tls", array(&ftp.listen_tls)),
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
        ("tls", name_of(&ENCRYPTION, ftp.tls)),
        ("data_tls", name_of(&DATA_TLS, ftp.data_tls)),
        ("close_notify_required", ftp.close_notify_required.to_string()),
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

pub(super) fn smtp(smtp: &Smtp) -> Vec<Line> {
    vec![
        ("listen", array(&smtp.listen)),
        ("listen_tls", array(&smtp.listen_tls)),
        ("listen_submission", array(&smtp.listen_submission)),
        ("listen_lmtp", array(&smtp.listen_lmtp)),
        ("proxy_from", array(&smtp.proxy_from)),
        ("xclient_from", array(&smtp.xclient_from)),
        ("xforward_from", array(&smtp.xforward_from)),
        ("tls", name_of(&ENCRYPTION, smtp.tls)),
        ("domains", array(&smtp.domains)),
        ("max_message_bytes", smtp.max_message_bytes.to_string()),
        ("max_recipients", smtp.max_recipients.to_string()),
        ("bare_newlines", name_of(&BARE_NEWLINES, smtp.bare_newlines)),
        ("relay_from", array(&smtp.relay_from)),
        ("resolvers", array(&smtp.resolvers)),
        ("resolver_seconds", smtp.resolver_seconds.to_string()),
        ("banner", quoted(&smtp.banner)),
        ("spool", path(&smtp.spool)),
        ("spool_segment_bytes", smtp.spool_segment_bytes.to_string()),
        ("spool_memory_bytes", smtp.spool_memory_bytes.to_string()),
        ("spool_reserve_bytes", smtp.spool_reserve_bytes.to_string()),
        ("strict_syntax", smtp.strict_syntax.to_string()),
        ("drop_early_talkers", smtp.drop_early_talkers.to_string()),
        ("vrfy", smtp.vrfy.to_string()),
        ("expn", smtp.expn.to_string()),
        ("max_hops", smtp.max_hops.to_string()),
        ("max_errors", smtp.max_errors.to_string()),
        ("max_login_failures", smtp.max_login_failures.to_string()),
        ("authenticated_senders", name_of(&SENDERS, smtp.authenticated_senders)),
        ("max_messages", smtp.max_messages.to_string()),
        ("idle_seconds", smtp.idle_seconds.to_string()),
        ("message_seconds", smtp.message_seconds.to_string()),
        ("min_rate_bytes", smtp.min_rate_bytes.to_string()),
    ]
}

fn route(route: &Route) -> Vec<Line> {
    let mut lines = vec![("recipient", quoted(&route.recipient))];
    lines.extend(route.sender.as_ref().map(|sender| ("sender", quoted(sender))));
    lines.extend(route.authenticated.map(|wanted| ("authenticated", wanted.to_string())));
    let onward = match &route.to {
        RouteTo::Onward(onward) => onward,
        RouteTo::Local | RouteTo::Discard => {
            lines.push(("to", name_of(&ROUTE_TO, route.to.clone())));
            return lines;
        }
    };
    lines.push(("to", quoted(&onward.hop.to_string())));
    lines.push(("tls", quoted(onward.tls.name())));
    if let Some(login) = &onward.login {
        lines.push(("username", quoted(&login.username)));
        lines.push(("password_file", quoted(&login.password_file)));
    }
    lines.extend(onward.source_address.map(|it| ("source_address", quoted(&it.to_string()))));
    lines.push(("max_connections", onward.max_connections.to_string()));
    lines.push(("max_messages_per_connection", onward.max_messages_per_connection.to_string()));
    lines.push(("max_messages_per_minute", onward.max_messages_per_minute.to_string()));
    lines.extend(route.recipients.as_deref().map(|file| ("recipients", path(file))));
    lines
}

fn milter(milter: &Milter) -> Vec<Line> {
    let mut lines = vec![
        ("address", quoted(&milter.address.to_string())),
        ("on_failure", name_of(&ON_FAILURE, milter.on_failure)),
    ];
    lines.extend(milter.authenticated.map(|wanted| ("authenticated", wanted.to_string())));
    lines.push(("timeout_seconds", milter.timeout_seconds.to_string()));
    lines.push(("message_seconds", milter.message_seconds.to_string()));
    lines
}

pub(super) fn relay(relay: &Relay) -> Vec<Line> {
    vec![
        ("retry_first_seconds", relay.retry_first_seconds.to_string()),
        ("retry_seconds", relay.retry_seconds.to_string()),
        ("retry_seconds_max", relay.retry_seconds_max.to_string()),
        ("give_up_seconds", relay.give_up_seconds.to_string()),
        ("delay_notice_seconds", relay.delay_notice_seconds.to_string()),
        ("max_connections", relay.max_connections.to_string()),
        ("max_connections_per_destination", relay.max_connections_per_destination.to_string()),
        ("max_messages_per_connection", relay.max_messages_per_connection.to_string()),
        ("idle_seconds", relay.idle_seconds.to_string()),
    ]
}

pub(super) fn mail(mail: &Mail) -> Vec<Line> {
    vec![
        ("root", path(&mail.root)),
        ("unknown_local_part", name_of(&UNKNOWN_LOCAL_PART, mail.unknown_local_part)),
        ("aliases", path(&mail.aliases)),
        ("catch_all", or_empty(mail.catch_all.as_ref())),
        ("extension_separator", quoted(&mail.extension_separator)),
        ("srs_domain", or_empty(mail.srs_domain.as_ref())),
        ("srs_secret", path(&mail.srs_secret)),
        ("verp_lists", array(&mail.verp_lists)),
        ("mailbox_bytes_max", mail.mailbox_bytes_max.to_string()),
        ("retry_seconds", mail.retry_seconds.to_string()),
        ("retry_seconds_max", mail.retry_seconds_max.to_string()),
        ("give_up_seconds", mail.give_up_seconds.to_string()),
        ("postmaster_copies", names_of(&COPIES, &mail.postmaster_copies)),
        ("max_reports_per_hour", mail.max_reports_per_hour.to_string()),
        ("max_reports_per_hour_per_address", mail.max_reports_per_hour_per_address.to_string()),
    ]
}

pub(super) fn tls(tls: &Tls) -> Vec<Line> {
    vec![("certificate", path(&tls.certificate)), ("private_key", path(&tls.private_key))]
}

fn sni(sni: &Sni) -> Vec<Line> {
    vec![("certificate", path(&sni.certificate)), ("private_key", path(&sni.private_key))]
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Display for MilterAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Net { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
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

fn names_of<T: PartialEq + Copy>(names: &[(&str, T)], values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| name_of(names, *value)).collect();
    format!("[{}]", values.join(", "))
}

fn name_of<T: PartialEq>(names: &[(&str, T)], value: T) -> String {
    quoted(names.iter().find(|(_, one)| *one == value).map_or("", |(name, _)| name))
}
