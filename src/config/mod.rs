//! config – one file and the flags become one frozen `Config`; nothing else reads the environment.
//!
//! ```text
//!  keys.rs (name, default, comment) ─▶ default text ─┐
//!                                      the file ─────┴▶ read.rs ─▶ Config ─▶ render.rs (config show)
//!                                                                    └─────▶ prepare.rs (directories)
//! ```
//! A key that is absent takes its value from the default text, which is what `config default`
//! prints: there is one list of defaults, and it is the documentation.
//!
//! Promises: an unknown key is an error; every problem is reported with line and column; every
//! relative path is joined to `data_dir` and every path is absolute; a `Config` never changes.
//! Not here: whether the machine can run it (`sluicegate check`), users, reloading.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::ftp::convert::CodePage;
use crate::limits::CONFIG_BYTES_MAX;
use crate::mail::hop::Onward;
use crate::owner::Owner;
use crate::problem::{Place, Problem};
use crate::wire::data::BareNewlines;

mod keys;
mod prepare;
mod read;
mod render;
#[cfg(test)]
mod tests;
mod values;

pub use keys::default_text;
pub use prepare::{make_data_dir, make_user_root};

/// The effective configuration: every relative path already joined to `data_dir`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[ftp]`; `None` when the section is absent.
    pub ftp: Option<Ftp>,
    /// `[smtp]`; `None` when the section is absent.
    pub smtp: Option<Smtp>,
    /// `[mail]`; the defaults when the section is absent.
    pub mail: Mail,
    /// `[relay]`; the defaults when the section is absent.
    pub relay: Relay,
    /// `[tls]`; the defaults when the section is absent.
    pub tls: Tls,
    /// True for the default that needs no file: it makes a welcome file.
    pub embedded: bool,
}

/// `[server]`: what concerns every protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The name the server greets with.
    pub hostname: String,
    /// Where everything lives that is not given by an absolute path.
    pub data_dir: PathBuf,
    /// Number of shards, resolved from "auto".
    pub shards: usize,
    /// CPUs to pin shards to, in order; empty: the runtime chooses.
    pub cpus: Vec<usize>,
    /// Where Prometheus metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Control connections in total.
    pub max_connections: usize,
    /// Control connections of one address; 0 = no limit.
    pub max_connections_per_ip: usize,
    /// How long running transfers may take after SIGTERM.
    pub drain_seconds: u64,
    /// The user to become after binding.
    pub user: Option<String>,
    /// Where `status` and `queue` ask.
    pub admin_socket: Option<PathBuf>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// off, error, warn, info, debug or trace.
    pub level: String,
    /// JSON instead of text.
    pub json: bool,
    /// Where the transfer log goes.
    pub xferlog: Option<PathBuf>,
}

/// What anonymous users may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// No anonymous login.
    Off,
    /// Read.
    Read,
    /// Read, and store into `upload_dirs`.
    Upload,
}

/// May a protocol be spoken in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// There is no TLS.
    Off,
    /// Who wants TLS gets it.
    Optional,
    /// Nothing of worth is done in clear.
    Required,
}

/// Which data connections are taken for those of their control connection, when that is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataTls {
    /// Those that resume a session that the control connection gave.
    Require,
    /// Those, and those that come from the control connection's address.
    ResumeOrSameIp,
    /// Those that come from the control connection's address, whatever they resume.
    SameIp,
    /// Any.
    Off,
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the server's certificate and those that lead to a root.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub private_key: PathBuf,
    /// Both are where they are by default: they are made when they are missing.
    pub own: bool,
    /// `[[tls.sni]]`, in order.
    pub sni: Vec<Sni>,
}

/// One `[[tls.sni]]`: a certificate for clients that ask for one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sni {
    /// PEM: the certificate and those that lead to a root.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub private_key: PathBuf,
}

/// How symbolic links below the root are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// Followed within the root; absolute ones begin at the root.
    InRoot,
    /// Followed when relative and within the root.
    Beneath,
    /// Never followed.
    Deny,
}

/// `[ftp]`.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
pub struct Ftp {
    /// Control connections are accepted here.
    pub listen: Vec<SocketAddr>,
    /// The same, TLS from the first octet.
    pub listen_tls: Vec<SocketAddr>,
    /// The tree that is served.
    pub root: PathBuf,
    /// What anonymous users may do.
    pub anonymous: Anonymous,
    /// Virtual paths of the root where anonymous uploads may go; no trailing slash.
    pub upload_dirs: Vec<String>,
    /// May an anonymous upload replace a file.
    pub anonymous_overwrite: bool,
    /// May anonymous users fetch what anonymous users stored.
    pub uploads_readable: bool,
    /// Symbolic links.
    pub symlinks: Symlinks,
    /// Text of the greeting; lines are separated by `\n`.
    pub banner: String,
    /// Data ports of PASV and EPSV.
    pub passive_ports: RangeInclusive<u16>,
    /// Announced by PASV instead of the local address.
    pub passive_address: Option<Ipv4Addr>,
    /// AUTH TLS.
    pub tls: Encryption,
    /// Data connections of a control connection that is TLS.
    pub data_tls: DataTls,
    /// Must the end of an upload be said in TLS (`close_notify`), or does FIN do.
    pub close_notify_required: bool,
    /// May data connections go to other hosts than the client.
    pub fxp: bool,
    /// Is an upload on stable storage before 226.
    pub durable_uploads: bool,
    /// Seconds between commands.
    pub idle_seconds: u32,
    /// Seconds from greeting to login.
    pub login_seconds: u32,
    /// Seconds a transfer may stand still.
    pub stall_seconds: u32,
    /// Failed logins before 421.
    pub max_login_failures: u8,
    /// Seconds to wait for a data connection.
    pub accept_seconds: u32,
    /// Octets per second a transfer must keep up over `stall_seconds`; 0 = off.
    pub min_rate_bytes: u64,
    /// Octets of one upload; 0 = no limit.
    pub max_upload_bytes: u64,
    /// Depth of a recursive listing.
    pub listing_depth: u32,
    /// Entries of one listing.
    pub listing_entries: u64,
    /// Code page of TYPE E.
    pub ebcdic: CodePage,
}

/// `[smtp]`.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
pub struct Smtp {
    /// Connections are accepted here.
    pub listen: Vec<SocketAddr>,
    /// The same, TLS from the first octet (RFC 8314 §3.3).
    pub listen_tls: Vec<SocketAddr>,
    /// Submission, STARTTLS (RFC 6409).
    pub listen_submission: Vec<SocketAddr>,
    /// LMTP (RFC 2033).
    pub listen_lmtp: Vec<Endpoint>,
    /// Proxies that begin each connection with a header of the PROXY protocol.
    pub proxy_from: Vec<Network>,
    /// Peers that may say for whom they speak (XCLIENT).
    pub xclient_from: Vec<Network>,
    /// Peers whose XFORWARD is taken into the log.
    pub xforward_from: Vec<Network>,
    /// STARTTLS.
    pub tls: Encryption,
    /// Domains whose mail is taken, lower case; an empty list is an error.
    pub domains: Vec<String>,
    /// Octets of one message.
    pub max_message_bytes: u64,
    /// Recipients of one message.
    pub max_recipients: u32,
    /// Bare CR and LF: refused, or made CRLF.
    pub bare_newlines: BareNewlines,
    /// Networks that may relay.
    pub relay_from: Vec<Network>,
    /// Who is asked for names; empty: the machine's resolvers.
    pub resolvers: Vec<SocketAddr>,
    /// Seconds that one of them has for one answer.
    pub resolver_seconds: u32,
    /// `[[smtp.route]]`, in order.
    pub routes: Vec<Route>,
    /// `[[smtp.milter]]`, in order.
    pub milters: Vec<Milter>,
    /// Text of the greeting after the host name.
    pub banner: String,
    /// Where accepted mail is kept until it is settled.
    pub spool: PathBuf,
    /// Octets of one spool segment.
    pub spool_segment_bytes: u64,
    /// Octets of messages in memory, all shards together.
    pub spool_memory_bytes: u64,
    /// Free octets of the spool's file system below which MAIL gets 452.
    pub spool_reserve_bytes: u64,
    /// Refuse a space after the colon, and paths without `<>`.
    pub strict_syntax: bool,
    /// Drop clients that speak before the greeting.
    pub drop_early_talkers: bool,
    /// VRFY tells.
    pub vrfy: bool,
    /// EXPN is offered.
    pub expn: bool,
    /// `Received` lines that make a message a loop.
    pub max_hops: u32,
    /// Errors before 421.
    pub max_errors: u32,
    /// Failed logins before 421.
    pub max_login_failures: u32,
    /// What users may send from.
    pub authenticated_senders: Senders,
    /// Messages of one session; 0 = no limit.
    pub max_messages: u32,
    /// Seconds between commands.
    pub idle_seconds: u32,
    /// Seconds one message may take at most.
    pub message_seconds: u32,
    /// Octets per second a message must keep up, measured over each 300 s; 0 = off.
    pub min_rate_bytes: u64,
}

/// Where a listener of mail is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// An address and a port.
    Net(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A network, like `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its address, host bits zero.
    pub address: std::net::IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

/// Where a value stands in the file, if it does. It is no part of what is configured: all are equal.
#[derive(Debug, Clone, Default)]
pub struct At(pub Option<Place>);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// One `[[smtp.route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Pattern of recipients: `*`, `*@example.org`, `user@example.org`, `user@*`; lower case.
    pub recipient: String,
    /// Pattern of envelope senders, empty for the null sender; `None`: any.
    pub sender: Option<String>,
    /// Of users only, or of others only; `None`: of both.
    pub authenticated: Option<bool>,
    /// Where they go.
    pub to: RouteTo,
    /// The file of the recipients that the other server has.
    pub recipients: Option<PathBuf>,
    /// The pattern, in the file.
    pub at: At,
}

/// One `[[smtp.milter]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milter {
    /// Where it listens.
    pub address: MilterAddress,
    /// What becomes of mail when it fails.
    pub on_failure: OnFailure,
    /// For mail of users only, or of others only; `None`: of both.
    pub authenticated: Option<bool>,
    /// Seconds for each of its answers, connecting included.
    pub timeout_seconds: u32,
    /// Seconds that it may hold the reply to a message.
    pub message_seconds: u32,
}

/// Where a milter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MilterAddress {
    /// A name or an address (without brackets), and a port.
    Net {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What becomes of mail when a milter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused for now.
    Tempfail,
    /// It is taken without that milter.
    Accept,
}

/// What a user may send from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Senders {
    /// The user's own addresses.
    Own,
    /// Anything.
    Any,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTo {
    /// Into mailboxes.
    Local,
    /// Nowhere.
    Discard,
    /// To another server.
    Onward(Box<Onward>),
}

/// `[relay]`: mail on its way to other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Seconds to the second attempt.
    pub retry_first_seconds: u32,
    /// Seconds from there to the third; doubles up to `retry_seconds_max`.
    pub retry_seconds: u32,
    /// Longest time between two attempts, seconds; up to a quarter more by chance.
    pub retry_seconds_max: u32,
    /// Seconds after which delivery is given up.
    pub give_up_seconds: u32,
    /// Seconds after which the sender is told that it takes long; 0 = never.
    pub delay_notice_seconds: u32,
    /// Connections in total.
    pub max_connections: u32,
    /// Connections to one destination, where its route says nothing else.
    pub max_connections_per_destination: u32,
    /// Messages of one connection, where its route says nothing else; 0 = no limit.
    pub max_messages_per_connection: u32,
    /// Seconds that a connection is kept for another message.
    pub idle_seconds: u32,
}

/// Who gets mail for a local part that is neither user nor alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownLocalPart {
    /// Nobody: 550.
    Reject,
    /// A mailbox of that name, made on the way.
    Accept,
}

/// `[mail]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// Maildir++ per user below it.
    pub root: PathBuf,
    /// Local parts that are neither user nor alias.
    pub unknown_local_part: UnknownLocalPart,
    /// The aliases file.
    pub aliases: PathBuf,
    /// The user (or address) who gets mail for unknown local parts; wins over `unknown_local_part`.
    pub catch_all: Option<String>,
    /// That, in the file.
    pub catch_all_at: At,
    /// What begins an address extension, like `+`; empty = none.
    pub extension_separator: String,
    /// The domain of rewritten senders.
    pub srs_domain: Option<String>,
    /// The file of the secrets that they are made with.
    pub srs_secret: PathBuf,
    /// Lists whose members have senders of their own; `*` is all.
    pub verp_lists: Vec<String>,
    /// Octets of one mailbox; 0 = no limit.
    pub mailbox_bytes_max: u64,
    /// Seconds until a deferred delivery is tried again the first time; doubles up to `retry_seconds_max`.
    pub retry_seconds: u32,
    /// Longest time between two attempts, seconds.
    pub retry_seconds_max: u32,
    /// Seconds after which delivery is given up.
    pub give_up_seconds: u32,
    /// Of which reports postmaster gets a copy.
    pub postmaster_copies: Vec<Copies>,
    /// Reports in an hour to senders elsewhere about mail from strangers; 0 = no limit.
    pub max_reports_per_hour: u32,
    /// The same, to one address.
    pub max_reports_per_hour_per_address: u32,
}

/// Kinds of reports that can be copied to postmaster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Of failures.
    Bounce,
    /// Of delays.
    Delay,
}

/// Where the configuration comes from: the two flags every command shares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `--config FILE`; the embedded default without.
    pub file: Option<PathBuf>,
    /// `--data DIR`, which wins over `data_dir`.
    pub data: Option<PathBuf>,
}

/// What the machine contributes to the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub hostname: String,
    /// CPUs this process may use.
    pub cores: usize,
    /// Relative `data_dir`s begin here.
    pub directory: PathBuf,
}

impl Machine {
    /// This machine, now.
    pub fn this() -> Result<Self, Problem> {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = hostname.trim();
        let directory = std::env::current_dir().map_err(|error| {
            Problem::new("working directory", error, "start from a directory that exists")
        })?;
        Ok(Self {
            hostname: if values::is_hostname(hostname) { hostname } else { "localhost" }.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            directory,
        })
    }
}

impl Config {
    /// Reads the file, or takes the embedded default.
    pub fn load(origin: &Origin) -> Result<Self, Vec<Problem>> {
        let machine = Machine::this().map_err(|problem| vec![problem])?;
        let Some(file) = &origin.file else {
            return Self::embedded(&machine, origin.data.as_deref());
        };
        let text = read_bounded(file).map_err(|problem| vec![problem])?;
        Self::parse(file, &text, &machine, origin.data.as_deref())
    }

    /// The default that needs no file.
    pub fn embedded(machine: &Machine, data: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let name = Path::new("(embedded default)");
        let mut config = Self::parse(name, keys::EMBEDDED, machine, data)?;
        if let (Some(smtp), Some(own)) = (&mut config.smtp, values::domain(&machine.hostname))
            && !smtp.domains.contains(&own)
        {
            smtp.domains.push(own);
        }
        Ok(Self { embedded: true, ..config })
    }

    /// Understands `text`; `file` is for messages. `data` wins over `data_dir`.
    pub fn parse(
        file: &Path,
        text: &str,
        machine: &Machine,
        data: Option<&Path>,
    ) -> Result<Self, Vec<Problem>> {
        read::parse(file, text, machine, data)
    }

    /// The effective configuration as TOML; parses to the same `Config`.
    pub fn to_toml(&self) -> String {
        render::to_toml(self)
    }

    /// Makes `data_dir` and every directory the configuration names relative to it, missing
    /// `upload_dirs`, and the files of the embedded default (a welcome, an empty `aliases`). What it makes belongs to
    /// `owner`, or to the owner of `data_dir`.
    pub fn prepare(&self, owner: Option<Owner>) -> Result<(), Problem> {
        prepare::prepare(self, owner)
    }

    /// Makes the file of secrets for rewritten senders, where it is missing and relative to `data_dir`; also part
    /// of [`Config::prepare`].
    pub fn make_srs_secret(&self, owner: Option<Owner>) -> Result<(), Problem> {
        prepare::srs_secret(self, owner)
    }

    /// Does anything that is configured speak TLS?
    pub fn speaks_tls(&self) -> bool {
        let ftp = self.ftp.as_ref().map(|ftp| (ftp.tls, ftp.listen_tls.len()));
        let smtp = self.smtp.as_ref();
        let smtp = smtp.map(|it| (it.tls, it.listen_tls.len() + it.listen_submission.len()));
        [ftp, smtp].iter().flatten().any(|(tls, listen)| *tls != Encryption::Off || *listen > 0)
    }

    /// `users.toml`.
    pub fn users_file(&self) -> PathBuf {
        self.server.data_dir.join("users.toml")
    }
}

fn read_bounded(path: &Path) -> Result<String, Problem> {
    let cannot = |error| {
        Problem::path(
            path,
            format_args!("cannot read: {error}"),
            "give a readable TOML file, or see `sluicegate config default`",
        )
    };
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut octets))
        .map_err(cannot)?;
    if octets.len() as u64 > CONFIG_BYTES_MAX {
        return Err(Problem::path(
            path,
            "too long",
            format!("a configuration has at most {CONFIG_BYTES_MAX} octets"),
        ));
    }
    String::from_utf8(octets).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Problem::path(path, format_args!("not UTF-8 at octet {offset}"), "save it as UTF-8")
    })
}
