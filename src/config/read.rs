//! config::read – TOML to `Config`: what values are allowed, and what belongs together.
//!
//! Promises: every problem of a file is found in one pass; a `Config` comes out only when there
//! is none. Not here: keys and defaults (`keys`), the file system.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use toml::de::DeTable;

use super::{Anonymous, Config, Ftp, Log, Machine, Server, Symlinks, keys};
use crate::document::{Document, Value};
use crate::ftp::convert::CodePage;
use crate::limits::{BANNER_BYTES_MAX, LISTEN_MAX, PATH_BYTES_MAX};
use crate::problem::Problem;

const DAY_SECONDS: u64 = 86_400;
const SHARDS_MAX: u64 = 1024;
const CONNECTIONS_MAX: u64 = 10_000_000;

pub(super) fn parse(file: &Path, text: &str, machine: &Machine, data: Option<&Path>) -> Result<Config, Vec<Problem>> {
    let default_text = keys::default_text();
    let (default_document, defaults) = Document::parse(Path::new("(defaults)"), &default_text);
    let (mut document, given) = Document::parse(file, text);
    document.unknown_keys(&given, keys::SECTIONS.iter().map(|section| section.name), "section");
    let mut reader = Reader { document, given: &given, defaults: &defaults };

    let server = reader.server(machine, data);
    let log = reader.log(&server.data_dir);
    let ftp = given.get("ftp").map(|_| reader.ftp(&server.data_dir));

    let mut problems = default_document.finish();
    problems.extend(reader.document.finish());
    if problems.is_empty() { Ok(Config { server, log, ftp, embedded: false }) } else { Err(problems) }
}

/// Looks keys up in the file first, in the defaults then.
struct Reader<'a, 't> {
    document: Document<'t>,
    given: &'a DeTable<'t>,
    defaults: &'a DeTable<'a>,
}

/// One section as the operator gave it; a missing key is found in the defaults.
struct Section<'a, 't> {
    given: Option<&'a DeTable<'t>>,
    defaults: Option<&'a DeTable<'a>>,
    missing: Value<'static>,
}

impl Section<'_, '_> {
    /// The value in force. (A key without a default reads as an empty string, which a test would notice.)
    fn value(&self, key: &str) -> &Value<'_> {
        self.given(key).or_else(|| self.defaults.and_then(|table| table.get(key))).unwrap_or(&self.missing)
    }

    fn given(&self, key: &str) -> Option<&Value<'_>> {
        self.given.and_then(|table| table.get(key))
    }
}

impl<'a, 't> Reader<'a, 't> {
    /// Opens a section; unknown keys in it are reported here.
    fn section(&mut self, name: &str) -> Section<'a, 't> {
        let given = self.given.get(name);
        let table = given.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (given, table) {
            self.document.reject_value(name, value.span(), format_args!("a section, begun by a line [{name}]"));
        }
        if let Some(table) = table {
            let known = keys::SECTIONS.iter().filter(|section| section.name == name).flat_map(|section| section.keys);
            self.document.unknown_keys(table, known.map(|key| key.name), &format!("key of [{name}]"));
        }
        Section {
            given: table,
            defaults: self.defaults.get(name).and_then(|value| value.get_ref().as_table()),
            missing: Value::new(0..0, toml::de::DeValue::String("".into())),
        }
    }

    fn server(&mut self, machine: &Machine, data: Option<&Path>) -> Server {
        let section = self.section("server");
        let document = &mut self.document;
        let hostname = document.parsed("hostname", section.value("hostname"), "a host name, or \"\" for the machine's name", |name| {
            (name.is_empty() || is_hostname(name)).then(|| name.to_owned())
        });
        let data_dir = document.parsed("data_dir", section.value("data_dir"), "the path of a directory", non_empty_path);
        let data_dir = data.map(Path::to_owned).or(data_dir).unwrap_or_default();
        let metrics_listen = document.parsed("metrics_listen", section.value("metrics_listen"), "ADDRESS:PORT, or \"\" for off", |text| optional(text, socket_address));
        let user = document.parsed("user", section.value("user"), "the name of a user of this machine, or \"\"", |text| optional(text, user_name));
        let connections = document.whole("max_connections", section.value("max_connections"), 1..=CONNECTIONS_MAX, "sessions");
        let per_ip = document.whole("max_connections_per_ip", section.value("max_connections_per_ip"), 0..=CONNECTIONS_MAX, "sessions (0 = no limit)");
        let drain_seconds = document.whole("drain_seconds", section.value("drain_seconds"), 0..=DAY_SECONDS, "seconds");
        let (shards, cpus) = self.shards(&section, machine.cores);
        Server {
            hostname: hostname.filter(|name| !name.is_empty()).unwrap_or_else(|| machine.hostname.clone()),
            data_dir: joined(&machine.directory, &data_dir),
            shards,
            cpus,
            metrics_listen: metrics_listen.flatten(),
            max_connections: size(connections),
            max_connections_per_ip: size(per_ip),
            drain_seconds,
            user: user.flatten(),
        }
    }

    /// `shards` and `cpus` together: one shard per listed CPU.
    fn shards(&mut self, section: &Section<'_, '_>, cores: usize) -> (usize, Vec<usize>) {
        let document = &mut self.document;
        let cpus_value = section.value("cpus");
        let mut cpus = Vec::new();
        match cpus_value.get_ref().as_array() {
            Some(array) => {
                for one in array.iter() {
                    cpus.push(size(document.whole("cpus", one, 0..=SHARDS_MAX - 1, "a CPU's number,")));
                }
            }
            None => document.reject_value("cpus", cpus_value.span(), "an array of CPU numbers, like [0, 1]"),
        }
        if cpus.iter().collect::<BTreeSet<_>>().len() < cpus.len() {
            document.reject_value("cpus", cpus_value.span(), "each CPU at most once");
        }

        let value = section.value("shards");
        let auto = if cpus.is_empty() { cores } else { cpus.len() };
        if value.get_ref().as_str() == Some("auto") {
            return (auto, cpus);
        }
        if !value.get_ref().is_integer() {
            document.reject_value("shards", value.span(), format_args!("\"auto\" or a whole number from 1 to {SHARDS_MAX}"));
            return (auto, cpus);
        }
        let shards = size(document.whole("shards", value, 1..=SHARDS_MAX, "shards"));
        if !cpus.is_empty() && cpus.len() != shards {
            let count = cpus.len();
            document.reject_value("shards", value.span(), format_args!("\"auto\" or {count}, as many as cpus lists"));
        }
        (shards, cpus)
    }

    fn log(&mut self, data_dir: &Path) -> Log {
        let section = self.section("log");
        let document = &mut self.document;
        const LEVELS: [(&str, &str); 6] =
            [("off", "off"), ("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
        let level = document.choice("level", section.value("level"), &LEVELS, "info");
        let json = document.choice("format", section.value("format"), &[("text", false), ("json", true)], false);
        let xferlog = document.parsed("xferlog", section.value("xferlog"), "the path of a file, or \"\" for off", |text| optional(text, non_empty_path));
        Log { level: level.to_owned(), json, xferlog: xferlog.flatten().map(|path| joined(data_dir, &path)) }
    }

    fn ftp(&mut self, data_dir: &Path) -> Ftp {
        let section = self.section("ftp");
        let listen = self.listen(&section);
        let root = self.root(&section, data_dir);
        let document = &mut self.document;
        let mut seconds = |key: &str, most: u64| narrow(document.whole(key, section.value(key), 1..=most, "seconds"));
        let (idle_seconds, login_seconds) = (seconds("idle_seconds", DAY_SECONDS), seconds("login_seconds", 3600));
        let (stall_seconds, accept_seconds) = (seconds("stall_seconds", 3600), seconds("accept_seconds", 3600));
        let mut flag = |key: &str| document.flag(key, section.value(key));
        let (anonymous_overwrite, uploads_readable) = (flag("anonymous_overwrite"), flag("uploads_readable"));
        let (fxp, durable_uploads) = (flag("fxp"), flag("durable_uploads"));
        let upload_dirs = document.list("upload_dirs", section.value("upload_dirs"), "a path below the root, like \"/incoming\"", virtual_directory);
        let banner = document.parsed("banner", section.value("banner"), &format!("at most {BANNER_BYTES_MAX} octets of text; of control characters only \"\\n\""), |text| {
            let fits = text.len() <= BANNER_BYTES_MAX && !text.chars().any(|c| c.is_control() && c != '\n');
            fits.then(|| text.to_owned())
        });
        let passive_ports = document.parsed("passive_ports", section.value("passive_ports"), "\"FIRST-LAST\", ports from 1024 to 65535, like \"40000-49999\"", port_range);
        let passive_address = document.parsed("passive_address", section.value("passive_address"), "an IPv4 address, or \"\" for the local one", |text| optional(text, announced_address));
        let failures = document.whole("max_login_failures", section.value("max_login_failures"), 1..=255, "failed logins");
        let min_rate_bytes = document.whole("min_rate_bytes", section.value("min_rate_bytes"), 0..=1 << 40, "bytes per second (0 = off)");
        let max_upload_bytes = document.whole("max_upload_bytes", section.value("max_upload_bytes"), 0..=i64::MAX.unsigned_abs(), "bytes (0 = no limit)");
        let depth = document.whole("listing_depth", section.value("listing_depth"), 1..=64, "directories");
        let listing_entries = document.whole("listing_entries", section.value("listing_entries"), 1..=100_000_000, "entries");
        Ftp {
            listen,
            root,
            anonymous: document.choice("anonymous", section.value("anonymous"), &ANONYMOUS, Anonymous::Off),
            upload_dirs,
            anonymous_overwrite,
            uploads_readable,
            symlinks: document.choice("symlinks", section.value("symlinks"), &SYMLINKS, Symlinks::Deny),
            banner: banner.unwrap_or_default(),
            passive_ports: passive_ports.unwrap_or(1024..=1024),
            passive_address: passive_address.flatten(),
            fxp,
            durable_uploads,
            idle_seconds,
            login_seconds,
            stall_seconds,
            max_login_failures: u8::try_from(failures).unwrap_or(u8::MAX),
            accept_seconds,
            min_rate_bytes,
            max_upload_bytes,
            listing_depth: narrow(depth),
            listing_entries,
            ebcdic: document.choice("ebcdic", section.value("ebcdic"), &CODE_PAGES, CodePage::Cp1047),
        }
    }

    fn listen(&mut self, section: &Section<'_, '_>) -> Vec<SocketAddr> {
        let value = section.value("listen");
        let listen = self.document.list("listen", value, "ADDRESS:PORT, like \"0.0.0.0:21\" or \"[::]:21\"", socket_address);
        let fixed: Vec<_> = listen.iter().filter(|address| address.port() != 0).collect();
        if fixed.iter().collect::<BTreeSet<_>>().len() < fixed.len() {
            self.document.reject_value("listen", value.span(), "each address at most once");
        }
        let empty = value.get_ref().as_array().is_some_and(|array| array.is_empty());
        if empty || listen.len() > LISTEN_MAX {
            self.document.reject_value("listen", value.span(), format_args!("1 to {LISTEN_MAX} addresses; without the section [ftp] FTP is off"));
        }
        listen
    }

    /// Users, keys and spools live in `data_dir`: a root above it would serve them to anybody.
    fn root(&mut self, section: &Section<'_, '_>, data_dir: &Path) -> PathBuf {
        let value = section.value("root");
        let Some(root) = self.document.parsed("root", value, "the path of a directory", non_empty_path) else {
            return PathBuf::new();
        };
        let root = joined(data_dir, &root);
        if section.given("root").is_some() && data_dir.starts_with(&root) {
            let allowed = format!("a directory that does not contain data_dir ({}), where the passwords are", data_dir.display());
            self.document.reject_value("root", value.span(), allowed);
        }
        root
    }
}

pub(super) const ANONYMOUS: [(&str, Anonymous); 3] =
    [("off", Anonymous::Off), ("read", Anonymous::Read), ("upload", Anonymous::Upload)];
pub(super) const SYMLINKS: [(&str, Symlinks); 3] =
    [("in-root", Symlinks::InRoot), ("beneath", Symlinks::Beneath), ("deny", Symlinks::Deny)];
pub(super) const CODE_PAGES: [(&str, CodePage); 2] = [("cp1047", CodePage::Cp1047), ("cp037", CodePage::Cp037)];

// ---------------------------------------------------------------- values

/// `""` is `None`.
fn optional<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

pub(super) fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') && !label.starts_with('-')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// PASV writes the address as four numbers; none of these would reach the server.
fn announced_address(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    let reachable = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
    reachable.then_some(address)
}

fn user_name(text: &str) -> Option<String> {
    let fits = text.len() <= 64 && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':' || c == '/');
    fits.then(|| text.to_owned())
}

fn non_empty_path(text: &str) -> Option<PathBuf> {
    let fits = !text.is_empty() && text.len() <= PATH_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| PathBuf::from(text))
}

/// A virtual path: absolute, below the root, no trailing slash (`/` itself excepted).
fn virtual_directory(text: &str) -> Option<String> {
    let path = non_empty_path(text)?;
    let below = text.starts_with('/') && !path.components().any(|part| part == Component::ParentDir);
    let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    below.then(|| format!("/{}", names.join("/")))
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

/// `path` from `base` on, without `.` and `//`; `..` stays, for symbolic links may be before it.
fn joined(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
