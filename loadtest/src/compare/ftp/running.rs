//! compare::ftp::running – one server from its start to the end of its last process.
//!
//! Promises: a started server is stopped on drop, by process id: SIGTERM to its first process,
//! then SIGKILL to whatever of its tree is left; all are reaped. It dies with this program.
//! Not here: configuration (`servers`), measuring (`rows`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::cpu::Meter;
use super::super::processes;
use super::super::running::{free_ports, stop};
use super::servers::{Config, Place, Server};
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(15);
/// What a server says, in its private folder.
const ERRORS: &str = "stderr";

/// How to start servers in this run.
pub struct Launcher<'a> {
    /// Folder for the private folders of servers.
    pub folder: &'a Path,
    /// The served tree.
    pub root: &'a Path,
    /// Libraries of unpacked packages.
    pub libraries: Option<PathBuf>,
    /// Processor for the server.
    pub pin: Option<usize>,
}

/// A server that accepts connections.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Reads its processor time.
    pub meter: Meter,
    /// Its command line and configuration file, as started.
    pub config: String,
    /// Processes it has while no session is open.
    pub processes_at_rest: usize,
    pid: i32,
}

impl Launcher<'_> {
    /// Starts `server` and waits until it greets.
    pub fn start(&self, server: Server, program: &Path) -> Result<Running, String> {
        let folder = self.folder.join(server.program());
        let _ = fs::remove_dir_all(&folder);
        let made = fs::create_dir_all(folder.join("empty"));
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let (port, passive) = free_ports()?;
        let config =
            server.config(&Place { program, folder: &folder, root: self.root, port, passive })?;
        let errors = folder.join(ERRORS);
        let meter = Meter::new();
        let pid = self.spawn(program, &config, &folder, &meter)?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let text =
            format!("{} {}\n\n{}", program.display(), config.arguments.join(" "), config.text);
        let mut running = Running { address, meter, config: text, processes_at_rest: 1, pid };
        running.wait_until_ready(server, &errors).map_err(|why| {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            format!("{why}; it said: {:?}", said.trim())
        })?;
        Ok(running)
    }

    fn spawn(
        &self,
        program: &Path,
        config: &Config,
        folder: &Path,
        meter: &Meter,
    ) -> Result<i32, String> {
        let context = |error: std::io::Error| format!("{}: {error}", program.display());
        if !config.file.is_empty() {
            fs::write(folder.join(config.file), &config.text).map_err(context)?;
        }
        let output = fs::File::create(folder.join(ERRORS)).map_err(context)?;
        let copy = output.try_clone().map_err(context)?;
        let mut command = Command::new(program);
        command.args(&config.arguments).current_dir(folder);
        // Descriptor 0 too: that is where vsftpd complains about its configuration.
        let complaints = output.try_clone().map_err(context)?;
        command.stdin(complaints).stdout(copy).stderr(output);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        sys::prepare_server(&mut command, meter.door(), self.pin);
        // The child is reaped by `Running`, together with its descendants.
        command.spawn().map(|child| child.id().cast_signed()).map_err(context)
    }
}

impl Running {
    fn wait_until_ready(&mut self, server: Server, errors: &Path) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && !sys::interrupted() {
            sleep(Duration::from_millis(10));
            if !processes::descendants().iter().any(|p| p.pid == self.pid && !p.zombie) {
                return Err("ended right after its start".into());
            }
            if server == Server::Sluicegate {
                let said = fs::read_to_string(errors).unwrap_or_default();
                if !said.lines().any(|line| line == "ready") {
                    continue;
                }
                let line = said.lines().find_map(|line| line.strip_prefix("listening ftp "));
                let address = line.and_then(|address| address.trim().parse().ok());
                self.address = address.ok_or("is ready but named no `listening ftp` address")?;
            }
            if TcpStream::connect(self.address).is_ok() {
                sleep(Duration::from_millis(150)); // let the probe's session end
                self.processes_at_rest = processes::descendants().len();
                return Ok(());
            }
        }
        Err(format!("was not ready within {} s", START_LIMIT.as_secs()))
    }

    /// Waits until the server has no more processes than `most`, so that the end of sessions is
    /// part of what is measured; the time is bounded, a server may keep spare processes.
    pub fn wait_for_processes(&self, most: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        while processes::descendants().len() > most && Instant::now() < deadline {
            while sys::reap_one().is_some() {}
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(self.pid);
    }
}
