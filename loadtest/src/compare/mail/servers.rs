//! compare::mail::servers – which servers take part, where their programs are, from start to end.
//!
//! All take mail for one domain; what is durable at 250 is said by each. Nothing of an installed server is touched:
//! configuration, queue and data are in the work folder.
//!
//! Not here: configurations (`config`), the work (`rows`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::cpu::Meter;
use super::super::ftp::servers::Server as FtpServer;
use super::super::running;
use super::rows::Bench;
use super::{config, patience};
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(20);
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Notes about what became of a message are written by sluicegate within a second.
const NOTES: Duration = Duration::from_millis(1200);
/// OpenSMTPD, whose deliveries are paused, has nothing to do but to write its log.
const REST: Duration = Duration::from_millis(200);
/// How to get what is missing.
pub const REMEDY: &str = "(loadtest/unpack-mail-peers DIR and --peers DIR)";

/// A server that can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Sluicegate,
    Postfix,
    /// As its package is, without durability.
    Opensmtpd,
    /// With its queue on synchronous storage.
    OpensmtpdSynced,
}

/// All of them, in the order of the report.
pub const ALL: [Server; 4] =
    [Server::Sluicegate, Server::Postfix, Server::Opensmtpd, Server::OpensmtpdSynced];

impl Server {
    /// As written in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sluicegate => "sluicegate",
            Self::Postfix => "Postfix",
            Self::Opensmtpd => "OpenSMTPD (not durable)",
            Self::OpensmtpdSynced => "OpenSMTPD, chattr +S",
        }
    }

    /// For `--servers`, and of its folder.
    pub fn id(self) -> &'static str {
        match self {
            Self::Sluicegate => "sluicegate",
            Self::Postfix => "postfix",
            Self::Opensmtpd => "opensmtpd",
            Self::OpensmtpdSynced => "opensmtpd-synced",
        }
    }

    /// Whether it takes part unasked.
    pub fn by_default(self) -> bool {
        self != Self::OpensmtpdSynced
    }

    /// What is on stable storage at 250.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Sluicegate => {
                "durable before 250: group commit, O_DIRECT and RWF_DSYNC; discarded after it"
            }
            Self::Postfix => "durable before 250: fsync of the queue file; discarded after it",
            Self::Opensmtpd => "NOT durable before 250: it calls no fsync; kept in its queue",
            Self::OpensmtpdSynced => {
                "durable before 250 by its file system (chattr +S on its queue); kept in its queue"
            }
        }
    }

    /// Most sessions at once that can be opened without some of them waiting for seconds.
    pub fn sessions_max(self) -> u32 {
        match self {
            Self::Sluicegate | Self::Postfix => u32::MAX,
            // It listens with a backlog of 5.
            Self::Opensmtpd | Self::OpensmtpdSynced => 5,
        }
    }

    /// Users that it insists on.
    pub fn users(self) -> &'static [&'static str] {
        match self {
            Self::Sluicegate => &[],
            Self::Postfix => &["postfix"],
            Self::Opensmtpd | Self::OpensmtpdSynced => &["opensmtpd", "opensmtpq"],
        }
    }

    /// A group that it insists on beyond theirs.
    pub fn group(self) -> Option<&'static str> {
        (self == Self::Postfix).then_some("postdrop")
    }
}

/// Where the programs are.
pub struct Programs {
    sluicegate: Option<PathBuf>,
    /// Folder that holds `usr/sbin` and `usr/lib/postfix` of the peers.
    root: PathBuf,
    unpacked: bool,
}

impl Programs {
    /// Those below `peers`, or the installed ones if there are none.
    pub fn find(sluicegate: Option<&Path>, peers: Option<&Path>) -> Self {
        let unpacked = peers.filter(|peers| peers.join("usr/sbin/smtp-source").is_file());
        Self {
            sluicegate: FtpServer::Sluicegate.find(sluicegate, None),
            root: unpacked.unwrap_or(Path::new("/")).to_owned(),
            unpacked: unpacked.is_some(),
        }
    }

    /// The program of a server, if it is there.
    pub fn of(&self, server: Server) -> Option<PathBuf> {
        let program = match server {
            Server::Sluicegate => return self.sluicegate.clone(),
            Server::Postfix => self.libraries().join("sbin/master"),
            Server::Opensmtpd | Server::OpensmtpdSynced => self.root.join("usr/sbin/smtpd"),
        };
        program.is_file().then_some(program)
    }

    /// The generator of all rows that send.
    pub fn generator(&self) -> PathBuf {
        self.commands().join("smtp-source")
    }

    /// Folder of Postfix's commands.
    pub fn commands(&self) -> PathBuf {
        self.root.join("usr/sbin")
    }

    /// Folder of Postfix's libraries; its daemons are in `sbin` below.
    pub fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/postfix")
    }

    /// A command of the peers.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if self.unpacked {
            command.env("LD_LIBRARY_PATH", self.libraries());
        }
        command
    }

    /// The version as the program tells it.
    pub fn version(&self, server: Server, program: &Path) -> String {
        let mut command = match server {
            Server::Sluicegate => return FtpServer::Sluicegate.version(program, None),
            Server::Postfix => {
                let mut command = self.command(&self.commands().join("postconf"));
                // Without a configuration of its own it would want the installed one.
                command.args(["-d", "-h", "mail_version"]);
                command
            }
            Server::Opensmtpd | Server::OpensmtpdSynced => {
                let mut command = self.command(program);
                command.arg("-h");
                command
            }
        };
        let Ok(output) = command.output() else { return "unknown".into() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
        line.map_or("unknown".into(), |line| line.trim().to_owned())
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
    pub fn start(bench: &Bench<'_>) -> Result<Self, String> {
        Self::start_onward(bench, None)
    }

    /// The same; mail goes on to that port instead of being discarded, where the server knows how to.
    pub fn start_onward(bench: &Bench<'_>, onward: Option<u16>) -> Result<Self, String> {
        let server = bench.server;
        let folder = bench.folder.join(server.id());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (port, _) = running::free_ports()?;
        let (mut command, config) = match server {
            Server::Sluicegate => config::sluicegate(bench.programs, &folder, onward)?,
            Server::Postfix => config::postfix(bench.programs, &folder, port, onward)?,
            Server::Opensmtpd => config::opensmtpd(bench.programs, &folder, port, false)?,
            Server::OpensmtpdSynced => config::opensmtpd(bench.programs, &folder, port, true)?,
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
            Server::Opensmtpd | Server::OpensmtpdSynced => std::thread::sleep(REST),
            Server::Postfix => {
                // Not the deferred ones: there are none but what a sink took and did not answer.
                let queues = ["maildrop", "incoming", "active"]
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
