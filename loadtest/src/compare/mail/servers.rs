//! compare::mail::servers – sluicegate and a private Postfix, each with a written, fair configuration.
//!
//! Both take mail for one domain, are durable before 250, and discard the message after that. Postfix
//! has its limits on clients lifted, as many processes as it wants, and its own log; nothing of an
//! installed Postfix is touched: configuration, queue and data are in the work folder.
//!
//! Promises: what is written here is what the report prints. Not here: the work (`rows`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::super::cpu::Meter;
use super::super::{room, running};
use super::patience;
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(20);
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Notes about what became of a message are written by sluicegate within a second.
const NOTES: Duration = Duration::from_millis(1200);

/// A server that can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    Sluicegate,
    Postfix,
}

impl Server {
    /// As written in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sluicegate => "sluicegate",
            Self::Postfix => "Postfix",
        }
    }
}

/// Where Postfix and its generator are.
pub struct Peers {
    /// Folder with `master`, `smtpd`, …
    pub daemons: PathBuf,
    /// Folder with `smtp-source`.
    pub commands: PathBuf,
    /// Its libraries, when it is unpacked and not installed.
    pub libraries: Option<PathBuf>,
}

impl Peers {
    /// Below `folder`, or installed.
    pub fn find(folder: Option<&Path>) -> Result<Self, String> {
        let root = folder.unwrap_or(Path::new("/"));
        let libraries = root.join("usr/lib/postfix");
        let found = Self {
            daemons: libraries.join("sbin"),
            commands: root.join("usr/sbin"),
            libraries: folder.map(|_| libraries),
        };
        for program in [found.daemons.join("master"), found.commands.join("smtp-source")] {
            if !program.is_file() {
                return Err(format!(
                    "{}: not there (loadtest/unpack-mail-peers DIR and --peers DIR, or install postfix)",
                    program.display()
                ));
            }
        }
        Ok(found)
    }

    /// A command of theirs.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// The program under test.
pub fn sluicegate(given: Option<&Path>) -> Result<PathBuf, String> {
    let found = super::super::servers::Server::Sluicegate.find(given, None);
    found
        .ok_or_else(|| "sluicegate: not found (cargo build --release, or --sluicegate PATH)".into())
}

/// The user and group that Postfix insists on; removed again if they were made here.
pub struct Users {
    made: bool,
}

impl Users {
    /// Makes what is missing.
    pub fn make() -> Result<Self, String> {
        if room::run("getent", &["passwd", "postfix"]).is_ok() {
            if room::run("getent", &["group", "postdrop"]).is_err() {
                room::run("groupadd", &["--system", "postdrop"])?;
            }
            return Ok(Self { made: false });
        }
        room::run(
            "useradd",
            &[
                "--system",
                "--no-create-home",
                "--user-group",
                "--shell",
                "/usr/sbin/nologin",
                "postfix",
            ],
        )?;
        room::run("groupadd", &["--force", "--system", "postdrop"])?;
        Ok(Self { made: true })
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        if self.made {
            for (program, name) in [("userdel", "postfix"), ("groupdel", "postdrop")] {
                if let Err(error) = room::run(program, &[name]) {
                    eprintln!("{error}");
                }
            }
        }
    }
}

/// A server that takes mail.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Reads its processor time.
    pub meter: Meter,
    /// As started.
    pub config: String,
    /// Its first process.
    pub pid: i32,
    server: Server,
    folder: PathBuf,
}

impl Running {
    /// Starts `server` with an empty queue in `folder` and waits until it greets.
    pub fn start(server: Server, bench: &super::rows::Bench<'_>) -> Result<Self, String> {
        let folder = bench.folder.join(server.name());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (port, _) = running::free_ports()?;
        let (mut command, config) = match server {
            Server::Sluicegate => sluicegate_command(bench.sluicegate, &folder)?,
            Server::Postfix => postfix_command(bench.peers, &folder, port)?,
        };
        let meter = Meter::new();
        let said = folder.join("said");
        let output = fs::File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
        let copy = output.try_clone().map_err(|e| e.to_string())?;
        command.current_dir(&folder).stdin(std::process::Stdio::null()).stdout(copy).stderr(output);
        sys::prepare_server(&mut command, meter.door(), None);
        let child = command.spawn().map_err(|error| format!("{}: {error}", server.name()))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let pid = child.id().cast_signed();
        let mut running = Self { address, meter, config, pid, server, folder };
        running.wait_until_ready(&said).map_err(|why| {
            format!("{why}; it said: {:?}", fs::read_to_string(&said).unwrap_or_default().trim())
        })?;
        Ok(running)
    }

    fn wait_until_ready(&mut self, said: &Path) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT && !sys::interrupted() {
            std::thread::sleep(Duration::from_millis(20));
            if self.server == Server::Sluicegate {
                let text = fs::read_to_string(said).unwrap_or_default();
                if !text.lines().any(|line| line == "ready") {
                    continue;
                }
                let line = text.lines().find_map(|line| line.strip_prefix("listening smtp "));
                let address = line.and_then(|address| address.trim().parse().ok());
                self.address = address.ok_or("is ready but named no `listening smtp` address")?;
            }
            let Ok(stream) = TcpStream::connect(self.address) else { continue };
            let mut greeting = String::new();
            stream.set_read_timeout(Some(START_LIMIT)).map_err(|e| e.to_string())?;
            BufReader::new(stream).read_line(&mut greeting).map_err(|e| e.to_string())?;
            return if greeting.starts_with("220") {
                Ok(())
            } else {
                Err(format!("greets with {greeting:?}"))
            };
        }
        Err(format!("was not ready within {} s", START_LIMIT.as_secs()))
    }

    /// Waits until nothing of what was accepted is left to do.
    pub fn settle(&self) -> Result<(), String> {
        match self.server {
            Server::Sluicegate => std::thread::sleep(NOTES),
            Server::Postfix => {
                let queues = ["maildrop", "incoming", "active", "deferred"]
                    .map(|name| self.folder.join("queue").join(name));
                patience(SETTLE_LIMIT, || queues.iter().all(|queue| is_empty(queue)))?;
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        running::stop(self.pid);
    }
}

fn is_empty(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().all(|entry| entry.path().is_dir() && is_empty(&entry.path()))
}

fn sluicegate_command(program: &Path, folder: &Path) -> Result<(Command, String), String> {
    let text = format!(
        "[server]\n\
         data_dir = \"{}\"\n\
         metrics_listen = \"\"\n\
         \n\
         [smtp]\n\
         listen = [\"127.0.0.1:0\"]\n\
         domains = [\"bench.test\"]\n\
         max_message_bytes = 104857600\n\
         \n\
         [[smtp.route]]\n\
         recipient = \"*\"\n\
         to = \"discard\"\n\
         \n\
         [mail]\n\
         unknown_local_part = \"accept\"\n",
        room::text(&folder.join("data"))?
    );
    let file = folder.join("sluicegate.toml");
    fs::write(&file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&file);
    Ok((command, text))
}

fn postfix_command(peers: &Peers, folder: &Path, port: u16) -> Result<(Command, String), String> {
    let here = room::text(folder)?;
    let shared = room::text(peers.libraries.as_deref().unwrap_or(Path::new("/usr/lib/postfix")))?;
    let (daemons, commands) = (room::text(&peers.daemons)?, room::text(&peers.commands)?);
    let main = format!(
        "compatibility_level = 3.6\n\
         queue_directory = {here}/queue\n\
         data_directory = {here}/data\n\
         daemon_directory = {daemons}\n\
         command_directory = {commands}\n\
         shlib_directory = {shared}\n\
         meta_directory = {here}/etc\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         myhostname = bench.test\n\
         mydestination =\n\
         relay_domains = bench.test\n\
         default_transport = discard\n\
         relay_transport = discard\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         default_process_limit = 250\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n\
         message_size_limit = 104857600\n\
         mailbox_size_limit = 0\n\
         maillog_file = {here}/log\n\
         maillog_file_prefixes = /\n\
         import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH\n"
    );
    let master = MASTER.replace("PORT", &port.to_string());
    for name in ["etc", "queue", "data"] {
        fs::create_dir(folder.join(name)).map_err(|error| format!("{here}/{name}: {error}"))?;
    }
    for (name, text) in [("main.cf", &main), ("master.cf", &master)] {
        fs::write(folder.join("etc").join(name), text)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    room::run("chown", &["postfix", &format!("{here}/data")])?;
    make_queue(folder)?;
    let mut command = peers.command(&peers.daemons.join("master"));
    command.args(["-c", &format!("{here}/etc"), "-d"]).env("MAIL_CONFIG", format!("{here}/etc"));
    Ok((command, format!("{main}\n{master}")))
}

/// The folders that `postfix check` would make, with its owners and modes.
fn make_queue(folder: &Path) -> Result<(), String> {
    let owned = [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ];
    for name in owned.iter().chain(&["maildrop", "public", "pid"]) {
        let path = folder.join("queue").join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let path = room::text(&path)?.to_owned();
        match *name {
            "pid" => {}
            "maildrop" => {
                room::run("chown", &["postfix:postdrop", &path])?;
                room::run("chmod", &["730", &path])?;
            }
            "public" => {
                room::run("chown", &["postfix:postdrop", &path])?;
                room::run("chmod", &["710", &path])?;
            }
            _ => {
                room::run("chown", &["postfix", &path])?;
                room::run("chmod", &["700", &path])?;
            }
        }
    }
    Ok(())
}

const MASTER: &str = "\
PORT      inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
";
