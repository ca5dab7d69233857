//! compare::ftp::servers – which servers take part, where their programs are, and their configuration.
//!
//! Every configuration says the same: anonymous access, passive mode, uploads into `/incoming`, no
//! limit per address, no TLS, no name look-ups, no transfer log, sendfile left on, uploads not
//! synced. What differs from a server's default beyond that is explained beside it.
//!
//! Promises: the text returned by [`Server::config`] is exactly what the server is started with,
//! and what the report prints.
//! Not here: starting and stopping (`running`).

use std::path::{Path, PathBuf};

use super::super::room;

/// A server that can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Sluicegate,
    Vsftpd,
    PureFtpd,
    Proftpd,
}

/// All of them, in the order of the report.
pub const ALL: [Server; 4] =
    [Server::Sluicegate, Server::Vsftpd, Server::PureFtpd, Server::Proftpd];

/// Where a server is to live for one start.
pub struct Place<'a> {
    /// Its program.
    pub program: &'a Path,
    /// A private folder for its own files.
    pub folder: &'a Path,
    /// The tree it serves.
    pub root: &'a Path,
    /// Control port (not for sluicegate, which picks its own).
    pub port: u16,
    /// First and last passive port.
    pub passive: (u16, u16),
}

/// What a server is started with.
pub struct Config {
    /// Name of the configuration file in the server's folder; empty if it has none.
    pub file: &'static str,
    /// Its text.
    pub text: String,
    /// Command-line arguments.
    pub arguments: Vec<String>,
}

impl Server {
    /// As written in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sluicegate => "sluicegate",
            Self::Vsftpd => "vsftpd",
            Self::PureFtpd => "Pure-FTPd",
            Self::Proftpd => "ProFTPD",
        }
    }

    /// What is on stable storage at 226.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Sluicegate => {
                "uploads not synced (durable_uploads = false, to be like the peers)"
            }
            _ => "uploads not synced (it never does)",
        }
    }

    /// Name of the program, and of the server for `--servers`.
    pub fn program(self) -> &'static str {
        match self {
            Self::Sluicegate => "sluicegate",
            Self::Vsftpd => "vsftpd",
            Self::PureFtpd => "pure-ftpd",
            Self::Proftpd => "proftpd",
        }
    }

    /// Finds the program: the given path, the unpacked packages, `PATH`, `/usr/sbin`.
    pub fn find(self, given: Option<&Path>, peers: Option<&Path>) -> Option<PathBuf> {
        if let (Self::Sluicegate, Some(given)) = (self, given) {
            return given.is_file().then(|| given.to_owned());
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            peers.map(|peers| peers.join("usr/sbin")).into_iter().collect();
        if self == Self::Sluicegate {
            folders.extend(beside);
        }
        folders.extend(std::env::split_paths(&path));
        folders.push("/usr/sbin".into());
        folders.into_iter().map(|folder| folder.join(self.program())).find(|file| file.is_file())
    }

    /// How to get the program.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Sluicegate => "cargo build --release, or --sluicegate PATH",
            Self::Vsftpd => "apt-get install vsftpd, or loadtest/unpack-peers DIR and --peers DIR",
            Self::PureFtpd => {
                "apt-get install pure-ftpd, or loadtest/unpack-peers DIR and --peers DIR"
            }
            Self::Proftpd => {
                "apt-get install proftpd-core, or loadtest/unpack-peers DIR and --peers DIR"
            }
        }
    }

    /// The version as the program tells it.
    pub fn version(self, program: &Path, libraries: Option<&Path>) -> String {
        let flag = match self {
            Self::Sluicegate => "--version",
            Self::Proftpd | Self::Vsftpd => "-v",
            Self::PureFtpd => "--help",
        };
        let mut command = std::process::Command::new(program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // vsftpd writes its version to standard input, which inetd makes the socket.
        let Ok((mut answer, question)) = std::io::pipe() else {
            return "unknown".into();
        };
        let Ok(input) = question.try_clone() else {
            return "unknown".into();
        };
        let Ok(errors) = question.try_clone() else {
            return "unknown".into();
        };
        command.arg(flag).stdin(input).stdout(question).stderr(errors);
        let done = command.status();
        drop(command);
        let mut text = Vec::new();
        let read = std::io::Read::read_to_end(&mut answer, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        match (done, read, text.lines().find(|line| !line.trim().is_empty())) {
            (Ok(_), Ok(_), Some(line)) => line.trim().to_owned(),
            _ => "unknown".into(),
        }
    }

    /// The configuration for one start.
    pub fn config(self, place: &Place<'_>) -> Result<Config, String> {
        match self {
            Self::Sluicegate => sluicegate(place),
            Self::Vsftpd => vsftpd(place),
            Self::PureFtpd => pure_ftpd(place),
            Self::Proftpd => proftpd(place),
        }
    }
}

/// `durable_uploads = false`: the peers do not sync uploads either.
fn sluicegate(place: &Place<'_>) -> Result<Config, String> {
    let (folder, root) = (room::text(place.folder)?, room::text(place.root)?);
    let (first, last) = place.passive;
    let text = format!(
        "[server]\n\
         data_dir = \"{folder}/data\"\n\
         metrics_listen = \"\"\n\
         \n\
         [ftp]\n\
         listen = [\"127.0.0.1:0\"]\n\
         root = \"{root}\"\n\
         anonymous = \"upload\"\n\
         upload_dirs = [\"/incoming\"]\n\
         anonymous_overwrite = true\n\
         uploads_readable = true\n\
         durable_uploads = false\n\
         passive_ports = \"{first}-{last}\"\n"
    );
    let file = "sluicegate.toml";
    let arguments = ["serve", "--config", &format!("{folder}/{file}")].map(str::to_owned).to_vec();
    Ok(Config { file, text, arguments })
}

/// `seccomp_sandbox=NO`: the filter of 3.0.3 ends a session that uses system calls of newer C
/// libraries. `run_as_launching_user=NO` is the default: sessions become `ftp`. `isolate` and
/// `isolate_network` (namespaces per session) stay at their default, on. Versions before 3.0.4 do
/// no name look-ups and end at once if told not to; so the program is asked whether it knows.
fn vsftpd(place: &Place<'_>) -> Result<Config, String> {
    let (folder, root) = (room::text(place.folder)?, room::text(place.root)?);
    let (port, (first, last)) = (place.port, place.passive);
    let name = "reverse_lookup_enable";
    let program = std::fs::read(place.program).map_err(|e| format!("vsftpd: {e}"))?;
    let known = program.windows(name.len()).any(|window| window == name.as_bytes());
    let no_lookup = if known { format!("{name}=NO\n") } else { String::new() };
    let text = format!(
        "listen=YES\n\
         background=NO\n\
         listen_address=127.0.0.1\n\
         listen_port={port}\n\
         run_as_launching_user=NO\n\
         secure_chroot_dir={folder}/empty\n\
         seccomp_sandbox=NO\n\
         max_clients=0\n\
         max_per_ip=0\n\
         anonymous_enable=YES\n\
         local_enable=NO\n\
         no_anon_password=NO\n\
         ftp_username=ftp\n\
         anon_root={root}\n\
         write_enable=YES\n\
         anon_upload_enable=YES\n\
         anon_other_write_enable=YES\n\
         anon_world_readable_only=NO\n\
         pasv_enable=YES\n\
         pasv_min_port={first}\n\
         pasv_max_port={last}\n\
         xferlog_enable=NO\n\
         use_sendfile=YES\n\
         {no_lookup}"
    );
    let file = "vsftpd.conf";
    Ok(Config { file, text, arguments: vec![format!("{folder}/{file}")] })
}

/// No `-B`: it stays in the foreground. `-c`: its default of 50 clients would refuse the idle row.
/// `-L`: so that the listing is not cut. `-f none`: no syslog. It serves the home of `ftp`.
fn pure_ftpd(place: &Place<'_>) -> Result<Config, String> {
    let folder = room::text(place.folder)?;
    let (port, (first, last)) = (place.port, place.passive);
    let arguments = format!(
        "-S 127.0.0.1,{port} -4 -e -H -f none -c 20000 -L 20000:10 -p {first}:{last} -I 30 -g \
         {folder}/pure-ftpd.pid"
    );
    let arguments = arguments.split(' ').map(str::to_owned).collect();
    Ok(Config { file: "", text: String::new(), arguments })
}

/// `DelayEngine off`: it slows logins down on purpose. `RequireValidShell off`: `ftp` has none.
fn proftpd(place: &Place<'_>) -> Result<Config, String> {
    let (folder, root) = (room::text(place.folder)?, room::text(place.root)?);
    let (port, (first, last)) = (place.port, place.passive);
    let text = format!(
        "ServerName \"comparison\"\n\
         ServerType standalone\n\
         DefaultAddress 127.0.0.1\n\
         Port {port}\n\
         SocketBindTight on\n\
         UseIPv6 off\n\
         User ftp\n\
         Group nogroup\n\
         MaxInstances none\n\
         UseReverseDNS off\n\
         <IfModule mod_ident.c>\n  IdentLookups off\n</IfModule>\n\
         <IfModule mod_delay.c>\n  DelayEngine off\n</IfModule>\n\
         ScoreboardFile {folder}/scoreboard\n\
         PidFile {folder}/proftpd.pid\n\
         WtmpLog off\n\
         TransferLog none\n\
         SystemLog none\n\
         UseSendfile on\n\
         PassivePorts {first} {last}\n\
         <Anonymous {root}>\n  \
           User ftp\n  \
           Group nogroup\n  \
           UserAlias anonymous ftp\n  \
           RequireValidShell off\n  \
           AllowOverwrite on\n  \
           <Limit WRITE>\n    DenyAll\n  </Limit>\n  \
           <Directory incoming>\n    \
             <Limit STOR READ>\n      AllowAll\n    </Limit>\n  \
           </Directory>\n\
         </Anonymous>\n"
    );
    let file = "proftpd.conf";
    let arguments = ["-n", "-q", "-c", &format!("{folder}/{file}")].map(str::to_owned).to_vec();
    Ok(Config { file, text, arguments })
}
