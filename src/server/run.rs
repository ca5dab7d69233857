//! server::run – from start to stop: sockets, privileges, shards, signals, supervision.
//!
//! The order matters: look at the machine, bind, open what needs rights, become an ordinary user, and
//! only then make the first ring. The main thread is the supervisor afterwards: it takes signals,
//! watches accounts and beats, and touches no connection.
//!
//! Promises: `ready` is said when every listener accepts; a shard that stops beating ends the process
//! within [`BEAT_AGE_MAX`] and says so; a reload that fails leaves the old configuration in force,
//! aliases that are wrong the old aliases.
//! Not here: reading configuration (`config`), sessions (`ftp`).

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::certificates::Certificates;
use super::life::live;
use super::reload::{keep_what_needs_restart, links};
use super::routing::Routing;
use super::sockets::Service;
use super::{Phase, Shared, certificates, manage, sockets};
use crate::config::Config;
use crate::dns;
use crate::metrics::{Endpoint, Metrics};
use crate::problem::Problem;
use crate::shard::preflight::{self, Level};
use crate::shard::{self, Links, Listeners, Plan, Ready, Root, Shards};
use crate::store::accounts::{Accounts, Fingerprint};
use crate::xferlog::Xferlog;

/// A shard that has not proved for this long that it lives is taken for dead.
const BEAT_AGE_MAX: Duration = Duration::from_secs(10);
/// How often beats and accounts are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long shards may take to end after everything was told to stop.
const STOP: Duration = Duration::from_secs(10);

/// Why a command ended without success; the exit status is in the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Wrong usage, configuration or environment: exit status 2. One problem per line.
    Usage(String),
    /// Failed while running: exit status 1. One problem per line.
    Running(String),
}

/// What `Config::load` is to the supervisor.
type Reload = dyn Fn() -> Result<Config, Vec<Problem>> + Send + Sync;

/// Serves until SIGTERM, SIGINT or a failure. `config` is prepared, its data directory locked and
/// the log started. `reload` reads the configuration again, from where it came (SIGHUP).
///
/// # Errors
/// [`Failure::Usage`] for what the configuration or the machine forbids, [`Failure::Running`] for
/// what went wrong later.
pub fn serve(
    mut config: Config,
    reload: impl Fn() -> Result<Config, Vec<Problem>> + Send + Sync + 'static,
) -> Result<(), Failure> {
    shard::give_memory_back();
    let cpus = look_at_machine(&mut config)?;
    look_at_roots(&config)?;
    let (listeners, _files) = sockets::bind(&config, cpus.len())?;
    let (addresses, paths) = (listeners.addresses().to_vec(), listeners.paths().to_vec());
    let endpoint = metrics_endpoint(&config)?;
    let xferlog = config.log.xferlog.as_deref().map(Xferlog::open).transpose().map_err(usage)?;
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| Failure::Running(format!("signals: {error}")))?;
    let (tls, certificates) = Certificates::begin(&config).map_err(usages)?;
    let outbound = certificates::outbound(&config).map_err(usage)?;
    drop_privileges(&config)?;
    begin_logs(xferlog.as_ref())?;

    let embedded = config.embedded;
    let users_file = config.users_file();
    let accounts_seen = Accounts::fingerprint(&users_file);
    let accounts = Accounts::load(&users_file).map_err(usage)?;
    let connections_fit = config.server.max_connections;
    let mut routing = Routing::default();
    let router = routing.load(&config, &accounts, None).map_err(usages)?;
    let mut shared = Shared::new(config, accounts, tls, start_number());
    if let Some(router) = router {
        shared.replace_router(router);
    }
    if let Some(xferlog) = xferlog {
        shared = shared.with_xferlog(xferlog);
    }
    shared.outbound.store(outbound.map(Arc::new));
    let resolver = resolver(&shared.config.load())?;
    if let Some(resolver) = &resolver {
        shared = shared.with_names(Arc::new(resolver.clone()));
    }
    let mut supervisor = Supervisor {
        accounts_seen,
        users_file,
        metrics: Arc::clone(&shared.metrics),
        shared: Arc::new(shared),
        routing,
        certificates,
        resolver,
        connections_fit,
        reload: Box::new(reload),
        stopping: None,
    };
    watch_logs(&supervisor.shared, &supervisor.metrics);
    supervisor.certificates.show(&supervisor.shared);
    let shards = start(cpus, listeners, &supervisor.shared)?;
    let metrics_address = endpoint.as_ref().map(Endpoint::address);
    if let Some(endpoint) = endpoint {
        let started = endpoint.start(Arc::clone(&supervisor.metrics));
        started.map_err(|error| Failure::Running(format!("metrics: {error}")))?;
    }
    let _admin = manage::start(&supervisor.shared, shards.boards())?;
    announce(&addresses, &paths, metrics_address, embedded);
    supervisor.run(&shards, signals)
}

/// Starts the threads that write logs, now that the process is the user it stays.
fn begin_logs(xferlog: Option<&Xferlog>) -> Result<(), Failure> {
    crate::log::begin();
    match xferlog.map(Xferlog::begin) {
        Some(Err(error)) => Err(Failure::Running(format!("[log] xferlog: {error}"))),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Lines that found a log's queue full are counted.
fn watch_logs(shared: &Shared, metrics: &Metrics) {
    if let Some(dropped) = crate::log::dropped() {
        metrics.watch_dropped("log", dropped);
    }
    if let Some(xferlog) = shared.xferlog() {
        metrics.watch_dropped("xferlog", xferlog.dropped());
    }
}

fn usages(problems: Vec<Problem>) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::Usage(lines.join("\n"))
}

fn usage(problem: Problem) -> Failure {
    Failure::Usage(problem.to_string())
}

/// Preflight before the first executor starts; clamps `max_connections`. The processors to use.
fn look_at_machine(config: &mut Config) -> Result<Vec<usize>, Failure> {
    let allowed = preflight::processors();
    let wanted = if config.server.cpus.is_empty() { &allowed } else { &config.server.cpus };
    if let Some(foreign) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(Failure::Usage(format!(
            "[server] cpus: {foreign}: not a processor this process may use (allowed: {allowed:?})"
        )));
    }
    let shards = config.server.shards.max(1);
    let cpus: Vec<usize> = (0..shards).map(|index| wanted[index % wanted.len()]).collect();
    let found = preflight::look(shards, config.server.max_connections);
    for finding in &found.findings {
        match finding.level {
            Level::Good => tracing::debug!("{}", finding.what),
            Level::Shortfall => tracing::warn!("{} ({})", finding.what, finding.remedy),
            Level::Failure => {
                return Err(Failure::Usage(format!("{} ({})", finding.what, finding.remedy)));
            }
        }
    }
    config.server.max_connections = found.connections_max;
    Ok(cpus)
}

/// There is something to serve, and it can be opened.
fn look_at_roots(config: &Config) -> Result<(), Failure> {
    if config.ftp.is_none() && config.smtp.is_none() {
        return Err(Failure::Usage(
            "[ftp], [smtp]: nothing to serve (add a section, see `sluicegate config default`)"
                .to_owned(),
        ));
    }
    let openable = |key: &str, path: &Path, links| {
        Root::open(path, links).map(drop).map_err(|error| {
            let path = path.display();
            Failure::Usage(format!("{key}: {path}: {error} (make it, or name another)"))
        })
    };
    if let Some(ftp) = &config.ftp {
        openable("[ftp] root", &ftp.root, links(ftp.symlinks))?;
    }
    if let Some(smtp) = &config.smtp {
        openable("[smtp] spool", &smtp.spool, Links::Beneath)?;
        openable("[mail] root", &config.mail.root, Links::Beneath)?;
    }
    Ok(())
}

fn metrics_endpoint(config: &Config) -> Result<Option<Endpoint>, Failure> {
    let Some(address) = config.server.metrics_listen else { return Ok(None) };
    let bound = Endpoint::bind(address);
    bound.map(Some).map_err(|error| {
        Failure::Running(format!(
            "[server] metrics_listen: {address}: {error} (stop the other server, or set \"\")"
        ))
    })
}

/// Whoever is asked for names, for as long as there is mail.
fn resolver(config: &Config) -> Result<Option<dns::Client>, Failure> {
    let settings = config.smtp.as_ref().map(super::resolver::settings);
    settings
        .map(dns::Client::start)
        .transpose()
        .map_err(|error| Failure::Running(format!("resolver: {error} (raise LimitNOFILE=)")))
}

fn drop_privileges(config: &Config) -> Result<(), Failure> {
    use shard::privileges::{self, Refusal};
    privileges::clear_umask();
    let outcome = match &config.server.user {
        Some(user) => privileges::become_user(user),
        None => privileges::no_new_privileges(),
    };
    let user = config.server.user.as_deref().unwrap_or_default();
    outcome.map_err(|refusal| match refusal {
        Refusal::Unknown => Failure::Usage(format!("[server] user: {user}: no such user (useradd --system {user})")),
        Refusal::NotRoot => Failure::Usage(format!("[server] user: {user}: only root can become another user (start as root, or leave it empty)")),
        Refusal::Kernel(error) => Failure::Running(format!("[server] user: {user}: {error}")),
    })
}

fn start(cpus: Vec<usize>, listeners: Listeners, shared: &Arc<Shared>) -> Result<Shards, Failure> {
    let shared = Arc::clone(shared);
    let main = move |_: usize, ready: Ready| -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(live(Arc::clone(&shared), ready))
    };
    Shards::start(Plan { cpus, listeners, preempt: shard::PREEMPT }, Arc::new(main)).map_err(
        |error| {
            if error.kind() == ErrorKind::OutOfMemory {
                let remedy = "raise LimitMEMLOCK= or ulimit -l; all processes of a user share it";
                return Failure::Usage(format!(
                    "shard: no memory may be locked any more ({remedy})"
                ));
            }
            match error.get_ref().and_then(|cause| cause.downcast_ref::<Problem>()) {
                Some(problem) => Failure::Running(problem.to_string()),
                None => Failure::Running(format!("shard: {error}")),
            }
        },
    )
}

/// One line per listener, then `ready`, then what to try next.
fn announce(
    addresses: &[(u8, SocketAddr)],
    paths: &[(u8, PathBuf)],
    metrics: Option<SocketAddr>,
    embedded: bool,
) {
    let mut text = String::new();
    let name = |number: u8| Service::from_number(number).map_or("unknown", Service::name);
    for (service, address) in addresses {
        text.push_str(&format!("listening {} {address}\n", name(*service)));
    }
    for (service, path) in paths {
        text.push_str(&format!("listening {} unix:{}\n", name(*service), path.display()));
    }
    if let Some(address) = metrics {
        text.push_str(&format!("listening metrics {address}\n"));
    }
    text.push_str("ready\n");
    let first = |wanted: Service| {
        let at = addresses.iter().find(|(service, _)| embedded && *service == wanted.number());
        at.map(|(_, at)| at)
    };
    if let Some(address) = first(Service::Ftp) {
        text.push_str(&format!(
            "try:  curl ftp://{address}/pub/\n      curl -O ftp://{address}/pub/welcome.txt\n      curl -T FILE ftp://{address}/incoming/\n"
        ));
    }
    if let Some(address) = first(Service::Smtp) {
        text.push_str(&format!(
            "      curl --crlf smtp://{address} --mail-from me@localhost --mail-rcpt you@localhost -T FILE\n"
        ));
    }
    // Standard error may be closed; the server serves all the same.
    if let Err(error) = std::io::stderr().lock().write_all(text.as_bytes()) {
        tracing::debug!(%error, "nobody was told");
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// The main thread once everything runs.
struct Supervisor {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Connections that fit the descriptor limit, or were asked for at the start.
    connections_fit: usize,
    users_file: PathBuf,
    accounts_seen: Fingerprint,
    routing: Routing,
    certificates: Certificates,
    resolver: Option<dns::Client>,
    reload: Box<Reload>,
    stopping: Option<Instant>,
}

impl Supervisor {
    fn run(&mut self, shards: &Shards, mut signals: Signals) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        });
        spawned.map_err(|error| Failure::Running(format!("signals: {error}")))?;
        let boards = shards.boards();
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(signal) => self.signal(signal, shards),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            for (index, board) in boards.iter().enumerate() {
                self.metrics.note_shard(index, board.beat_age(), board.panics());
            }
            if shards.finished() {
                return self.finished();
            }
            if self.stopping.is_some_and(|since| since.elapsed() > STOP) {
                tracing::warn!("some shards did not end in time");
                return Ok(());
            }
            let dead = boards.iter().position(|board| board.beat_age() > BEAT_AGE_MAX);
            if let Some(index) = dead.filter(|_| self.stopping.is_none()) {
                return Err(Failure::Running(format!(
                    "shard {index}: has not moved for {} s (the process ends so that a supervisor starts it again)",
                    BEAT_AGE_MAX.as_secs()
                )));
            }
            self.look_at_accounts();
            self.certificates.look(&self.shared);
            watchdog();
        }
    }

    fn finished(&self) -> Result<(), Failure> {
        if self.shared.phase() == Phase::Running {
            return Err(Failure::Running(
                "shards: ended without being told to (see the log)".to_owned(),
            ));
        }
        if let Some(Err(error)) = self.shared.xferlog().map(Xferlog::flush) {
            tracing::warn!(%error, "xferlog: not written whole");
        }
        Ok(())
    }

    fn signal(&mut self, signal: i32, shards: &Shards) {
        match signal {
            SIGTERM | SIGINT => {
                let phase = if self.shared.phase() == Phase::Running {
                    Phase::Draining
                } else {
                    Phase::Stopping
                };
                tracing::info!(?phase, "asked to stop");
                if phase == Phase::Stopping {
                    self.stopping.get_or_insert_with(Instant::now);
                } else if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Stopping]) {
                    tracing::debug!(%error, "systemd was not told");
                }
                self.shared.enter(phase);
            }
            SIGHUP => self.reload_all(),
            SIGUSR1 => {
                if let Some(Err(error)) = self.shared.xferlog().map(Xferlog::reopen) {
                    tracing::error!(%error, "xferlog: cannot be reopened; the old file is written on");
                }
            }
            _ => {}
        }
        shards.notify();
    }

    fn reload_all(&mut self) {
        match (self.reload)() {
            Ok(mut config) => {
                for key in keep_what_needs_restart(&self.shared.config.load(), &mut config) {
                    tracing::warn!(key, "changed, but takes effect only after a restart");
                }
                config.server.max_connections =
                    config.server.max_connections.min(self.connections_fit);
                crate::log::set_level(&config.log.level);
                if let (Some(resolver), Some(smtp)) = (&self.resolver, &config.smtp) {
                    resolver.configure(super::resolver::settings(smtp));
                }
                // Routing then says what could not be read.
                if let Err(problem) = config.make_srs_secret(None) {
                    tracing::error!("{problem}");
                }
                self.shared.replace_config(config);
                self.metrics.set_reload(true);
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                self.metrics.set_reload(false);
                for problem in problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("the configuration was not reloaded; the old one stays in force");
            }
        }
        self.load_accounts();
        self.certificates.load(&self.shared);
    }

    fn look_at_accounts(&mut self) {
        if Accounts::fingerprint(&self.users_file) != self.accounts_seen {
            self.load_accounts();
        } else if self.routing.changed() {
            self.load_router();
        }
    }

    /// Makes the router anew, of whatever is in force; one that cannot be made changes nothing.
    fn load_router(&mut self) {
        let (config, accounts) = (self.shared.config.load_full(), self.shared.accounts.load_full());
        let old = self.shared.router.load_full();
        match self.routing.load(&config, &accounts, old.as_deref()) {
            Ok(Some(router)) => {
                self.shared.replace_router(router);
                tracing::info!("aliases and tables reloaded");
            }
            Ok(None) => {}
            Err(problems) => {
                for problem in problems {
                    tracing::error!("{problem}");
                }
                tracing::error!("who gets mail: not reloaded; all of it stays as it was");
            }
        }
    }

    fn load_accounts(&mut self) {
        let seen = Accounts::fingerprint(&self.users_file);
        match Accounts::load(&self.users_file) {
            Ok(accounts) => {
                self.shared.replace_accounts(accounts);
                tracing::info!("accounts reloaded");
            }
            Err(problem) => tracing::error!("{problem}; the old accounts stay in force"),
        }
        self.accounts_seen = seen;
        self.load_router();
    }
}

/// A number that tells this start of the process from every other.
fn start_number() -> u64 {
    let (seconds, nanos) = shard::wall();
    seconds.unsigned_abs() << 30 ^ u64::from(nanos)
}

/// Tells systemd that every shard was looked at.
fn watchdog() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
