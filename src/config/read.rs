//! config::read – TOML to `Config`: which values are allowed, and what belongs together.
//!
//! Promises: every problem of a file is found in one pass; a `Config` comes out only when there
//! is none. Not here: keys and defaults (`keys`), single values (`values`), the file system.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::values::{
    announced_address, is_hostname, joined, narrow, non_empty_path, optional, port_range, size,
    socket_address, user_name, virtual_directory,
};
use super::{Anonymous, Config, DataTls, Encryption, Ftp, Log, Machine, Server, Symlinks, keys};
use crate::document::{Document, Value};
use crate::ftp::convert::CodePage;
use crate::limits::{BANNER_BYTES_MAX, LISTEN_MAX};
use crate::problem::Problem;

mod inlet;
mod mail;
mod milter;
mod route;
mod tls;

use mail::Tree;
pub(super) use mail::{BARE_NEWLINES, COPIES, SENDERS, UNKNOWN_LOCAL_PART};
pub(super) use milter::ON_FAILURE;
pub(super) use route::ROUTE_TO;

const DAY_SECONDS: u64 = 86_400;
const HOUR_SECONDS: u64 = 3600;
const SHARDS_MAX: u64 = 1024;
const CONNECTIONS_MAX: u64 = 10_000_000;
const RATE_BYTES_MAX: u64 = 1 << 40;
const UPLOAD_BYTES_MAX: u64 = i64::MAX.unsigned_abs();
const LISTING_DEPTH_MAX: u64 = 64;
const LISTING_ENTRIES_MAX: u64 = 100_000_000;

pub(super) fn parse(
    file: &Path,
    text: &str,
    machine: &Machine,
    data: Option<&Path>,
) -> Result<Config, Vec<Problem>> {
    let default_text = keys::default_text();
    let (default_document, defaults) = Document::parse(Path::new("(defaults)"), &default_text);
    let (mut document, given) = Document::parse(file, text);
    let known = keys::SECTIONS.iter().map(|section| section.name);
    document.unknown_keys(&given, known, "section");

    let mut open = |name| Section::open(&mut document, name, &given, &defaults);
    let sections = Sections {
        server: open("server"),
        log: open("log"),
        ftp: given.contains_key("ftp").then(|| open("ftp")),
        smtp: given.contains_key("smtp").then(|| open("smtp")),
        mail: open("mail"),
        relay: open("relay"),
        tls: open("tls"),
    };
    let config = sections.read(&mut document, machine, data);

    let mut problems = default_document.finish();
    problems.extend(document.finish());
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The sections of one file.
struct Sections<'a> {
    server: Section<'a>,
    log: Section<'a>,
    ftp: Option<Section<'a>>,
    smtp: Option<Section<'a>>,
    mail: Section<'a>,
    relay: Section<'a>,
    tls: Section<'a>,
}

impl Sections<'_> {
    fn read(&self, document: &mut Document<'_>, machine: &Machine, data: Option<&Path>) -> Config {
        let server = read_server(&mut self.server.reader(document), machine, data);
        let log = read_log(&mut self.log.reader(document), &server.data_dir);
        let read_ftp = |ftp: &Section<'_>| read_ftp(&mut ftp.reader(document), &server.data_dir);
        let ftp = self.ftp.as_ref().map(read_ftp);
        let relay = route::relay(&mut self.relay.reader(document));
        let read_smtp = |one: &Section<'_>| {
            let routes = route::routes(&mut one.reader(document), &server.data_dir, &relay);
            let milters = milter::milters(&mut one.reader(document), &server.data_dir);
            mail::smtp(&mut one.reader(document), &server.data_dir, routes, milters)
        };
        let smtp = self.smtp.as_ref().map(read_smtp);
        let boxes = mail::mail(&mut self.mail.reader(document), &server.data_dir);
        let mut trees = Vec::new();
        if let (Some(section), Some(smtp)) = (&self.smtp, &smtp) {
            trees.push(Tree { section, name: "smtp", key: "spool", path: &smtp.spool });
            trees.push(Tree { section: &self.mail, name: "mail", key: "root", path: &boxes.root });
            if let (Some(section), Some(ftp)) = (&self.ftp, &ftp) {
                trees.push(Tree { section, name: "ftp", key: "root", path: &ftp.root });
            }
        }
        mail::apart(document, &trees);
        let tls = tls::read(&mut self.tls.reader(document), &server.data_dir);
        Config { server, log, ftp, smtp, mail: boxes, relay, tls, embedded: false }
    }
}

// ---------------------------------------------------------------- sections

fn read_server(keys: &mut Reader<'_, '_>, machine: &Machine, data: Option<&Path>) -> Server {
    let hostname = keys.parsed("hostname", "a host name, or \"\" for the machine's name", |name| {
        optional(name, |name| is_hostname(name).then(|| name.to_owned()))
    });
    let data_dir = keys.parsed("data_dir", "the path of a directory", non_empty_path);
    let data_dir = data.map(Path::to_owned).or(data_dir).unwrap_or_default();
    let metrics_listen = keys.parsed("metrics_listen", "ADDRESS:PORT, or \"\" for off", |text| {
        optional(text, socket_address)
    });
    let user = keys.parsed("user", "the name of a user of this machine, or \"\"", |text| {
        optional(text, user_name)
    });
    let admin_socket =
        keys.parsed("admin_socket", "the path of a socket, or \"\" for off", |text| {
            optional(text, non_empty_path)
        });
    let cpus = read_cpus(keys);
    let shards = read_shards(keys, cpus.len(), machine.cores);
    let sessions = "sessions (0 = no limit)";
    let data_dir = joined(&machine.directory, &data_dir);
    Server {
        hostname: hostname.flatten().unwrap_or_else(|| machine.hostname.clone()),
        admin_socket: admin_socket.flatten().map(|path| joined(&data_dir, &path)),
        data_dir,
        shards,
        cpus,
        metrics_listen: metrics_listen.flatten(),
        max_connections: size(keys.whole("max_connections", 1..=CONNECTIONS_MAX, "sessions")),
        max_connections_per_ip: size(keys.whole(
            "max_connections_per_ip",
            0..=CONNECTIONS_MAX,
            sessions,
        )),
        drain_seconds: keys.whole("drain_seconds", 0..=DAY_SECONDS, "seconds"),
        user: user.flatten(),
    }
}

fn read_cpus(keys: &mut Reader<'_, '_>) -> Vec<usize> {
    let Reader { document, section } = keys;
    let value = section.value("cpus");
    let Some(array) = value.get_ref().as_array() else {
        document.reject_value("cpus", value.span(), "an array of CPU numbers, like [0, 1]");
        return Vec::new();
    };
    let number = |one| size(document.whole("cpus", one, 0..=SHARDS_MAX - 1, "a CPU's number,"));
    let cpus: Vec<usize> = array.iter().map(number).collect();
    if cpus.iter().collect::<BTreeSet<_>>().len() < cpus.len() {
        document.reject_value("cpus", value.span(), "each CPU at most once");
    }
    cpus
}

/// One shard per listed CPU; without a list, one per core.
fn read_shards(keys: &mut Reader<'_, '_>, cpus: usize, cores: usize) -> usize {
    let Reader { document, section } = keys;
    let value = section.value("shards");
    let auto = if cpus == 0 { cores } else { cpus };
    if value.get_ref().as_str() == Some("auto") {
        return auto;
    }
    if !value.get_ref().is_integer() {
        let allowed = format!("\"auto\" or a whole number from 1 to {SHARDS_MAX}");
        document.reject_value("shards", value.span(), allowed);
        return auto;
    }
    let shards = size(document.whole("shards", value, 1..=SHARDS_MAX, "shards"));
    if cpus != 0 && cpus != shards {
        let allowed = format!("\"auto\" or {cpus}, as many as cpus lists");
        document.reject_value("shards", value.span(), allowed);
    }
    shards
}

fn read_log(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Log {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = keys.choice("level", &LEVELS.map(|level| (level, level)), "info");
    let xferlog = keys.parsed("xferlog", "the path of a file, or \"\" for off", |text| {
        optional(text, non_empty_path)
    });
    Log {
        level: level.to_owned(),
        json: keys.choice("format", &[("text", false), ("json", true)], false),
        xferlog: xferlog.flatten().map(|path| joined(data_dir, &path)),
    }
}

fn read_ftp(keys: &mut Reader<'_, '_>, data_dir: &Path) -> Ftp {
    const UPLOAD_DIRS: &str = "a path below the root, like \"/incoming\"";
    const PASSIVE_PORTS: &str = "\"FIRST-LAST\", ports from 1024 to 65535, like \"40000-49999\"";
    const PASSIVE_ADDRESS: &str = "an IPv4 address, or \"\" for the local one";
    let passive_address =
        keys.parsed("passive_address", PASSIVE_ADDRESS, |text| optional(text, announced_address));
    let failures = keys.whole("max_login_failures", 1..=255, "failed logins");
    Ftp {
        listen: read_listen(keys, "FTP", 21),
        listen_tls: read_more(keys, "listen_tls", 990),
        root: read_root(keys, data_dir),
        anonymous: keys.choice("anonymous", &ANONYMOUS, Anonymous::Off),
        upload_dirs: keys.list("upload_dirs", UPLOAD_DIRS, virtual_directory),
        anonymous_overwrite: keys.flag("anonymous_overwrite"),
        uploads_readable: keys.flag("uploads_readable"),
        symlinks: keys.choice("symlinks", &SYMLINKS, Symlinks::Deny),
        banner: read_banner(keys),
        passive_ports: keys
            .parsed("passive_ports", PASSIVE_PORTS, port_range)
            .unwrap_or(1024..=1024),
        passive_address: passive_address.flatten(),
        tls: keys.choice("tls", &ENCRYPTION, Encryption::Optional),
        data_tls: keys.choice("data_tls", &DATA_TLS, DataTls::Require),
        close_notify_required: keys.flag("close_notify_required"),
        fxp: keys.flag("fxp"),
        durable_uploads: keys.flag("durable_uploads"),
        idle_seconds: keys.seconds("idle_seconds", DAY_SECONDS),
        login_seconds: keys.seconds("login_seconds", HOUR_SECONDS),
        stall_seconds: keys.seconds("stall_seconds", HOUR_SECONDS),
        max_login_failures: u8::try_from(failures).unwrap_or(u8::MAX),
        accept_seconds: keys.seconds("accept_seconds", HOUR_SECONDS),
        min_rate_bytes: keys.whole("min_rate_bytes", 0..=RATE_BYTES_MAX, "bytes per second"),
        max_upload_bytes: keys.whole("max_upload_bytes", 0..=UPLOAD_BYTES_MAX, "bytes"),
        listing_depth: narrow(keys.whole("listing_depth", 1..=LISTING_DEPTH_MAX, "directories")),
        listing_entries: keys.whole("listing_entries", 1..=LISTING_ENTRIES_MAX, "entries"),
        ebcdic: keys.choice("ebcdic", &CODE_PAGES, CodePage::Cp1047),
    }
}

fn read_listen(keys: &mut Reader<'_, '_>, protocol: &str, port: u16) -> Vec<SocketAddr> {
    let listen = addresses(keys, "listen", port);
    let Reader { document, section } = keys;
    let value = section.value("listen");
    let empty = value.get_ref().as_array().is_some_and(|array| array.is_empty());
    if empty || listen.len() > LISTEN_MAX {
        let section = protocol.to_lowercase();
        let allowed = format!(
            "1 to {LISTEN_MAX} addresses; without the section [{section}] {protocol} is off"
        );
        document.reject_value("listen", value.span(), allowed);
    }
    listen
}

/// Addresses of a listener that may be absent.
fn read_more(keys: &mut Reader<'_, '_>, key: &str, port: u16) -> Vec<SocketAddr> {
    let listen = addresses(keys, key, port);
    if listen.len() > LISTEN_MAX {
        let span = keys.section.value(key).span();
        keys.document.reject_value(key, span, format_args!("at most {LISTEN_MAX} addresses"));
    }
    listen
}

fn addresses(keys: &mut Reader<'_, '_>, key: &str, port: u16) -> Vec<SocketAddr> {
    let allowed = format!("ADDRESS:PORT, like \"0.0.0.0:{port}\" or \"[::]:{port}\"");
    let listen = keys.list(key, &allowed, socket_address);
    let fixed: Vec<_> = listen.iter().filter(|address| address.port() != 0).collect();
    if fixed.iter().collect::<BTreeSet<_>>().len() < fixed.len() {
        let span = keys.section.value(key).span();
        keys.document.reject_value(key, span, "each address at most once");
    }
    listen
}

/// Users, keys and spools live in `data_dir`: a root above it would serve them to anybody.
fn read_root(keys: &mut Reader<'_, '_>, data_dir: &Path) -> PathBuf {
    let Some(root) = keys.parsed("root", "the path of a directory", non_empty_path) else {
        return PathBuf::new();
    };
    let root = joined(data_dir, &root);
    if data_dir.starts_with(&root) {
        let data_dir = data_dir.display();
        let allowed = format!(
            "a directory that does not contain data_dir ({data_dir}), where the passwords are"
        );
        let span = keys.section.value("root").span();
        keys.document.reject_value("root", span, allowed);
    }
    root
}

fn read_banner(keys: &mut Reader<'_, '_>) -> String {
    let allowed =
        format!("at most {BANNER_BYTES_MAX} octets of text; of control characters only \"\\n\"");
    let banner = keys.parsed("banner", &allowed, |text| {
        let plain = !text.chars().any(|character| character.is_control() && character != '\n');
        (plain && text.len() <= BANNER_BYTES_MAX).then(|| text.to_owned())
    });
    banner.unwrap_or_default()
}

pub(super) const ANONYMOUS: [(&str, Anonymous); 3] =
    [("off", Anonymous::Off), ("read", Anonymous::Read), ("upload", Anonymous::Upload)];
pub(super) const ENCRYPTION: [(&str, Encryption); 3] = [
    ("off", Encryption::Off),
    ("optional", Encryption::Optional),
    ("required", Encryption::Required),
];
pub(super) const DATA_TLS: [(&str, DataTls); 4] = [
    ("require", DataTls::Require),
    ("resume-or-same-ip", DataTls::ResumeOrSameIp),
    ("same-ip", DataTls::SameIp),
    ("off", DataTls::Off),
];
pub(super) const SYMLINKS: [(&str, Symlinks); 3] =
    [("in-root", Symlinks::InRoot), ("beneath", Symlinks::Beneath), ("deny", Symlinks::Deny)];
pub(super) const CODE_PAGES: [(&str, CodePage); 2] =
    [("cp1047", CodePage::Cp1047), ("cp037", CodePage::Cp037)];

// ---------------------------------------------------------------- reading one section

/// One section as the operator gave it; a missing key is found in the defaults.
struct Section<'a> {
    given: Option<&'a DeTable<'a>>,
    defaults: Option<&'a DeTable<'a>>,
    missing: Value<'a>,
}

impl<'a> Section<'a> {
    /// Finds the section; that it is one, and which keys it may have, is judged here.
    fn open(
        document: &mut Document<'_>,
        name: &str,
        given: &'a DeTable<'a>,
        defaults: &'a DeTable<'a>,
    ) -> Self {
        let value = given.get(name);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let allowed = format!("a section, begun by a line [{name}]");
            document.reject_value(name, value.span(), allowed);
        }
        if let Some(table) = table {
            let sections = keys::SECTIONS.iter().filter(|section| section.name == name);
            let known = sections.flat_map(|section| {
                let tables = section.tables.iter().map(|table| table.name);
                section.keys.iter().map(|key| key.name).chain(tables)
            });
            document.unknown_keys(table, known, &format!("key of [{name}]"));
        }
        Self {
            given: table,
            defaults: defaults.get(name).and_then(|value| value.get_ref().as_table()),
            // A key without a default reads as a wrong value; a test would notice.
            missing: Value::new(0..0, DeValue::Boolean(false)),
        }
    }

    fn reader<'r, 't>(&'r self, document: &'r mut Document<'t>) -> Reader<'r, 't> {
        Reader { document, section: self }
    }

    /// The value that the operator gave.
    fn given(&self, key: &str) -> Option<&Value<'a>> {
        self.given.and_then(|table| table.get(key))
    }

    /// The value in force.
    fn value(&self, key: &str) -> &Value<'a> {
        self.given(key)
            .or_else(|| self.defaults.and_then(|table| table.get(key)))
            .unwrap_or(&self.missing)
    }
}

/// A section and where its problems go.
struct Reader<'r, 't> {
    document: &'r mut Document<'t>,
    section: &'r Section<'r>,
}

impl Reader<'_, '_> {
    fn whole(&mut self, key: &str, allowed: RangeInclusive<u64>, unit: &str) -> u64 {
        self.document.whole(key, self.section.value(key), allowed, unit)
    }

    fn seconds(&mut self, key: &str, most: u64) -> u32 {
        narrow(self.whole(key, 1..=most, "seconds"))
    }

    fn flag(&mut self, key: &str) -> bool {
        self.document.flag(key, self.section.value(key))
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.document.parsed(key, self.section.value(key), allowed, parse)
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], stand_in: T) -> T {
        self.document.choice(key, self.section.value(key), choices, stand_in)
    }

    fn list<T>(&mut self, key: &str, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.document.list(key, self.section.value(key), allowed, parse)
    }
}
