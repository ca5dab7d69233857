//! compare::running – one server from its start to the end of its last process.
//!
//! Promises: a started server is stopped on drop, by process id: SIGTERM to its first process,
//! then SIGKILL to whatever of its tree is left; all are reaped. It dies with this program.
//! Not here: configuration (`servers`), measuring (`rows`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::cpu::Meter;
use super::processes;
use super::servers::{Config, Place, Server};
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const PASSIVE_PORTS: u16 = 4_000;
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

/// Ends the process `pid` and whatever is left of its tree, and reaps all.
pub fn stop(pid: i32) {
    let _ = sys::signal_process(pid, libc::SIGTERM);
    let begin = Instant::now();
    let mut asked = false;
    loop {
        while sys::reap_one().is_some() {}
        let left = processes::descendants();
        if left.is_empty() {
            return;
        }
        // Session processes outlive their parent in some servers: end them by name.
        if begin.elapsed() > STOP_LIMIT / 4 || !left.iter().any(|p| p.pid == pid) {
            let signal = if asked { libc::SIGKILL } else { libc::SIGTERM };
            for process in left.iter().filter(|process| !process.zombie) {
                let _ = sys::signal_process(process.pid, signal);
            }
            asked = begin.elapsed() > STOP_LIMIT / 2;
        }
        if begin.elapsed() > STOP_LIMIT {
            eprintln!("processes that would not end: {left:?}");
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

/// A free control port and a range of passive ports, both below the range of ephemeral ports.
pub fn free_ports() -> Result<(u16, (u16, u16)), String> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut seed = u64::from(clock.subsec_nanos()) ^ clock.as_secs();
    for _ in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = 10_000 + ((seed >> 33) % 17_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((port, (port + 1, port + PASSIVE_PORTS)));
        }
    }
    Err("no free port between 10000 and 27000".into())
}
