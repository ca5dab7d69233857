//! compare::tls::servers – the servers of the other sections once more, each with a certificate.
//!
//! All have the same certificate (P-256, signed by itself) and are reached with TLS 1.3 and
//! TLS_AES_128_GCM_SHA256, because the client offers nothing else. The FTP servers insist, as they
//! do by default, on data connections that resume the session of their control connection.
//! `openssl s_server` takes part as the yardstick of handshakes: it does nothing else.
//!
//! Promises: what is written here is what the report prints.
//! Not here: the configurations without TLS (`ftp::servers`, `mail::config`), the work (`rows`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::cpu::Meter;
use super::super::ftp::servers::{Place, Server as FtpServer};
use super::super::mail::config;
use super::super::mail::servers::{Programs, Server as MailServer};
use super::super::{processes, room, running};
use crate::sys;

const START_LIMIT: Duration = Duration::from_secs(20);
/// What a server says, in its private folder.
const SAID: &str = "said";

/// A server that can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Sluicegate,
    Vsftpd,
    PureFtpd,
    Proftpd,
    Postfix,
    Openssl,
}

/// All of them, in the order of the report.
pub const ALL: [Server; 6] = [
    Server::Sluicegate,
    Server::Vsftpd,
    Server::PureFtpd,
    Server::Proftpd,
    Server::Postfix,
    Server::Openssl,
];

impl Server {
    /// Among the FTP servers.
    fn ftp(self) -> Option<FtpServer> {
        match self {
            Self::Vsftpd => Some(FtpServer::Vsftpd),
            Self::PureFtpd => Some(FtpServer::PureFtpd),
            Self::Proftpd => Some(FtpServer::Proftpd),
            Self::Sluicegate | Self::Postfix | Self::Openssl => None,
        }
    }

    /// As written in the report.
    pub fn name(self) -> &'static str {
        match (self, self.ftp()) {
            (_, Some(ftp)) => ftp.name(),
            (Self::Postfix, _) => MailServer::Postfix.name(),
            (Self::Openssl, _) => "openssl s_server",
            _ => FtpServer::Sluicegate.name(),
        }
    }

    /// As `--servers` names it.
    pub fn id(self) -> &'static str {
        match (self, self.ftp()) {
            (_, Some(ftp)) => ftp.program(),
            (Self::Postfix, _) => MailServer::Postfix.id(),
            (Self::Openssl, _) => "openssl",
            _ => FtpServer::Sluicegate.program(),
        }
    }

    /// How to get the program.
    pub fn remedy(self) -> &'static str {
        self.ftp().map_or("install it, or unpack the peers and say --peers DIR", FtpServer::remedy)
    }

    /// What is on stable storage when it says that it is done.
    pub fn durability(self) -> &'static str {
        match (self, self.ftp()) {
            (_, Some(ftp)) => ftp.durability(),
            (Self::Postfix, _) => MailServer::Postfix.durability(),
            (Self::Openssl, _) => "nothing is stored",
            _ => "uploads are not synced; mail is, before its 250",
        }
    }
}

/// A certificate and its key.
pub struct Pair {
    certificate: PathBuf,
    key: PathBuf,
    both: PathBuf,
}

impl Pair {
    /// A new one in `folder`, which every server may read.
    pub fn make(folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let [certificate, key, both] = ["cert.pem", "key.pem", "both.pem"].map(|n| folder.join(n));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let mut words = vec!["req", "-x509", "-sha256", "-days", "30", "-subj", "/CN=localhost"];
        words.extend(curve);
        words.extend(["-keyout", room::text(&key)?, "-out", room::text(&certificate)?]);
        room::run("openssl", &words)?;
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let text = [read(&key)?, read(&certificate)?].concat();
        fs::write(&both, text).map_err(|error| format!("{}: {error}", both.display()))?;
        room::run("chmod", &["600", room::text(&both)?, room::text(&key)?])?;
        Ok(Self { certificate, key, both })
    }
}

/// Where everything is.
pub struct Ground<'a> {
    /// Folder for the private folders of servers.
    pub folder: &'a Path,
    /// The tree that FTP servers serve.
    pub root: &'a Path,
    pub pair: Pair,
    /// The unpacked peers, if they are not installed.
    pub peers: Option<&'a Path>,
    pub mail: &'a Programs,
    /// Processor for the server.
    pub pin: Option<usize>,
}

/// A server that accepts connections.
pub struct Running {
    /// Where clear text is spoken before TLS (nowhere for `openssl`).
    pub address: SocketAddrV4,
    /// Where TLS is spoken at once.
    pub implicit: SocketAddrV4,
    /// Where mail is taken.
    pub mail: SocketAddrV4,
    /// Reads its processor time.
    pub meter: Meter,
    /// Its command line and configuration file, as started.
    pub config: String,
    pid: i32,
}

impl Ground<'_> {
    /// Where the program of a server is.
    pub fn find(&self, server: Server, sluicegate: Option<&Path>) -> Option<PathBuf> {
        match (server, server.ftp()) {
            (_, Some(ftp)) => ftp.find(None, self.peers),
            (Server::Postfix, _) => self.mail.of(MailServer::Postfix),
            (Server::Openssl, _) => {
                let path = std::env::var_os("PATH")?;
                std::env::split_paths(&path).map(|it| it.join("openssl")).find(|it| it.is_file())
            }
            _ => FtpServer::Sluicegate.find(sluicegate, None),
        }
    }

    /// Its version.
    pub fn version(&self, server: Server, program: &Path) -> String {
        match (server, server.ftp()) {
            (_, Some(ftp)) => ftp.version(program, self.libraries().as_deref()),
            (Server::Postfix, _) => self.mail.version(MailServer::Postfix, program),
            (Server::Openssl, _) => room::run("openssl", &["version"])
                .map_or("unknown".into(), |text| text.trim().to_owned()),
            _ => FtpServer::Sluicegate.version(program, None),
        }
    }

    fn libraries(&self) -> Option<PathBuf> {
        self.peers.map(|peers| peers.join("lib-of-peers"))
    }

    /// Starts `server` and waits until it accepts.
    pub fn start(&self, server: Server, program: &Path) -> Result<Running, String> {
        let folder = self.folder.join(server.id());
        let _ = fs::remove_dir_all(&folder);
        let made = fs::create_dir_all(folder.join("empty"));
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let (port, passive) = running::free_ports()?;
        let (mut command, config) = match (server, server.ftp()) {
            (_, Some(ftp)) => {
                let place = Place { program, folder: &folder, root: self.root, port, passive };
                self.ftp_command(ftp, &place)?
            }
            (Server::Postfix, _) => self.postfix_command(&folder, port)?,
            (Server::Openssl, _) => self.openssl_command(program, port)?,
            _ => self.sluicegate_command(program, &folder, passive)?,
        };
        let meter = Meter::new();
        let said = folder.join(SAID);
        let output = fs::File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
        let copy = output.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(&folder).stdin(Stdio::null()).stdout(copy).stderr(output);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        sys::prepare_server(&mut command, meter.door(), self.pin);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let pid = child.id().cast_signed();
        let mut running = Running { address, implicit: address, mail: address, meter, config, pid };
        running.wait_until_ready(server, &said).map_err(|why| {
            format!("{why}; it said: {:?}", fs::read_to_string(&said).unwrap_or_default().trim())
        })?;
        Ok(running)
    }

    fn sluicegate_command(
        &self,
        program: &Path,
        folder: &Path,
        (first, last): (u16, u16),
    ) -> Result<(Command, String), String> {
        let text = format!(
            "[server]\n\
             data_dir = \"{data}\"\n\
             metrics_listen = \"\"\n\
             \n\
             [tls]\n\
             certificate = \"{certificate}\"\n\
             private_key = \"{key}\"\n\
             \n\
             [ftp]\n\
             listen = [\"127.0.0.1:0\"]\n\
             listen_tls = [\"127.0.0.1:0\"]\n\
             root = \"{root}\"\n\
             data_tls = \"require\"\n\
             passive_ports = \"{first}-{last}\"\n\
             \n\
             [smtp]\n\
             listen = [\"127.0.0.1:0\"]\n\
             domains = [\"bench.test\"]\n\
             \n\
             [[smtp.route]]\n\
             recipient = \"*\"\n\
             to = \"discard\"\n\
             \n\
             [mail]\n\
             unknown_local_part = \"accept\"\n",
            data = room::text(&folder.join("data"))?,
            certificate = room::text(&self.pair.certificate)?,
            key = room::text(&self.pair.key)?,
            root = room::text(self.root)?,
        );
        let file = folder.join("sluicegate.toml");
        fs::write(&file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&file);
        Ok((command, text))
    }

    /// The configuration of the section without TLS, and what turns it on.
    fn ftp_command(&self, ftp: FtpServer, place: &Place<'_>) -> Result<(Command, String), String> {
        let mut config = ftp.config(place)?;
        let certificate = room::text(&self.pair.certificate)?;
        let (key, both) = (room::text(&self.pair.key)?, room::text(&self.pair.both)?);
        match ftp {
            FtpServer::Vsftpd => config.text.push_str(&format!(
                "ssl_enable=YES\nallow_anon_ssl=YES\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n\
                 rsa_cert_file={certificate}\nrsa_private_key_file={key}\n"
            )),
            FtpServer::Proftpd => {
                let root = self.peers.unwrap_or(Path::new("/"));
                let modules = root.join("usr/lib/proftpd");
                config.text = format!(
                    "ModulePath {}\nLoadModule mod_tls.c\n{}TLSEngine on\nTLSProtocol TLSv1.2 TLSv1.3\n\
                     TLSECCertificateFile {certificate}\nTLSECCertificateKeyFile {key}\n",
                    room::text(&modules)?,
                    config.text
                );
            }
            FtpServer::PureFtpd => {
                config.arguments.extend(["-Y", "1", "-2", both].map(str::to_owned));
            }
            FtpServer::Sluicegate => {}
        }
        if !config.file.is_empty() {
            let file = place.folder.join(config.file);
            fs::write(&file, &config.text).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        let mut command = Command::new(place.program);
        command.args(&config.arguments);
        if let Some(libraries) = self.libraries() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let line = format!("{} {}", place.program.display(), config.arguments.join(" "));
        Ok((command, format!("{line}\n\n{}", config.text)))
    }

    fn postfix_command(&self, folder: &Path, port: u16) -> Result<(Command, String), String> {
        let (command, text) = config::postfix(self.mail, folder, port, None)?;
        let main = format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
             smtpd_tls_eecdh_grade = auto\n",
            room::text(&self.pair.certificate)?,
            room::text(&self.pair.key)?
        );
        let master = "tlsmgr unix - - n 1000? 1 tlsmgr\n";
        for (name, more) in [("main.cf", main.as_str()), ("master.cf", master)] {
            let path = folder.join("etc").join(name);
            let before = fs::read_to_string(&path);
            let before = before.map_err(|error| format!("{}: {error}", path.display()))?;
            fs::write(&path, before + more).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok((command, format!("{text}\n{main}{master}")))
    }

    /// `-rev`: it gives lines back and prints nothing. Tickets as many as sluicegate's.
    fn openssl_command(&self, program: &Path, port: u16) -> Result<(Command, String), String> {
        let (certificate, key) = (room::text(&self.pair.certificate)?, room::text(&self.pair.key)?);
        let line =
            format!("s_server -accept 127.0.0.1:{port} -cert {certificate} -key {key} -rev -quiet");
        let mut command = Command::new(program);
        command.args(line.split(' '));
        Ok((command, format!("openssl {line}")))
    }
}

impl Running {
    fn wait_until_ready(&mut self, server: Server, said: &Path) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT && !sys::interrupted() {
            sleep(Duration::from_millis(20));
            if !processes::descendants().iter().any(|p| p.pid == self.pid && !p.zombie) {
                return Err("ended right after its start".into());
            }
            if server == Server::Sluicegate {
                let text = fs::read_to_string(said).unwrap_or_default();
                if !text.lines().any(|line| line == "ready") {
                    continue;
                }
                let listener = |name: &str| {
                    let line = text.lines().find_map(|line| line.strip_prefix(name));
                    let address = line.and_then(|address| address.trim().parse().ok());
                    address.ok_or(format!("is ready but named no `{name}` address"))
                };
                self.address = listener("listening ftp ")?;
                self.implicit = listener("listening ftps ")?;
                self.mail = listener("listening smtp ")?;
            }
            if TcpStream::connect(self.address).is_ok() {
                sleep(Duration::from_millis(150)); // let the probe's session end
                return Ok(());
            }
        }
        Err(format!("was not ready within {} s", START_LIMIT.as_secs()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        running::stop(self.pid);
    }
}
