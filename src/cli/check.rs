//! cli::check – `sluicegate check`: is the configuration right, and can this machine run it?
//!
//! Promises: changes nothing (a directory that would be made is only said to be made); every
//! finding is one line with its remedy. What it learns is true for the user that runs it.
//! Not here: what the kernel offers (`shard::preflight`).

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{load, say};
use crate::config::{Anonymous, Config, Endpoint, Ftp, Origin};
use crate::problem::{Finding, Level};
use crate::server::Failure;
use crate::shard::{self, preflight};
use crate::store::accounts::Accounts;

mod mail;
mod names;
mod onward;
mod start;
mod tls;
mod tuning;

const LMTP: &str = "[smtp] listen_lmtp";

pub(super) fn check(origin: &Origin) -> Result<(), Failure> {
    let config = load(origin)?;
    let mut findings = Vec::new();
    findings.push(match &origin.file {
        Some(file) => Finding::ok(format!("configuration {}", file.display())),
        None => Finding::ok("configuration: the embedded default"),
    });
    findings.extend(kernel(&config));
    findings.extend(start::start(&config));
    findings.push(data_dir(&config.server.data_dir));
    findings.push(users(&config));
    if let Some(address) = config.server.metrics_listen {
        findings.push(port("metrics", "[server] metrics_listen", address));
    }
    if let Some(ftp) = &config.ftp {
        findings.extend(ftp.listen.iter().map(|address| port("ftp", "[ftp] listen", *address)));
        let tls = ftp.listen_tls.iter();
        findings.extend(tls.map(|address| port("ftps", "[ftp] listen_tls", *address)));
        findings.extend(root(&config, ftp));
        findings.extend(passive(ftp));
    }
    if let Some(smtp) = &config.smtp {
        findings.extend(smtp.listen.iter().map(|address| port("smtp", "[smtp] listen", *address)));
        let tls = smtp.listen_tls.iter();
        findings.extend(tls.map(|address| port("smtps", "[smtp] listen_tls", *address)));
        let users = smtp.listen_submission.iter();
        let key = "[smtp] listen_submission";
        findings.extend(users.map(|address| port("submission", key, *address)));
        findings.extend(smtp.listen_lmtp.iter().map(|one| match one {
            Endpoint::Net(address) => port("lmtp", LMTP, *address),
            Endpoint::Unix(path) => unix("lmtp", LMTP, path),
        }));
        findings.extend(mail::mail(&config, smtp));
        findings.extend(onward::onward(&config, smtp));
        findings.extend(names::names(&config, smtp));
    }
    findings.extend(tls::tls(&config, shard::wall().0));
    findings.extend(tuning::tuning(&config));
    if config.ftp.is_none() && config.smtp.is_none() {
        findings.push(Finding::fail(
            "neither [ftp] nor [smtp]: nothing would be served",
            "add one of them; see `sluicegate config default`",
        ));
    }
    report(&findings)
}

fn report(findings: &[Finding]) -> Result<(), Failure> {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{finding}\n"));
    }
    say::out(&text)?;
    let failures = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    if failures == 0 {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "check: {failures} of {} findings must be mended (see the lines marked FAIL)",
        findings.len()
    )))
}

/// What a shard needs of the kernel and the limits of this process.
fn kernel(config: &Config) -> Vec<Finding> {
    let seen = preflight::look(config.server.shards, config.server.max_connections);
    let finding = |seen: preflight::Finding| {
        let level = match seen.level {
            preflight::Level::Good => Level::Ok,
            preflight::Level::Shortfall => Level::Warn,
            preflight::Level::Failure => Level::Fail,
        };
        Finding { level, what: seen.what, remedy: seen.remedy }
    };
    seen.findings.into_iter().map(finding).collect()
}

/// Exists and takes files, or could be made.
fn data_dir(path: &Path) -> Finding {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
    let shown = path.display();
    match tempfile::tempfile_in(existing) {
        Ok(_) if existing == path => Finding::ok(format!("data directory {shown}")),
        Ok(_) => Finding::ok(format!("data directory {shown} will be made")),
        Err(error) => Finding::fail(
            format!("data directory {shown}: cannot write in {}: {error}", existing.display()),
            "make it, and give it to the user the server runs as",
        ),
    }
}

fn users(config: &Config) -> Finding {
    let path = config.users_file();
    let accounts = match Accounts::load(&path) {
        Ok(accounts) => accounts,
        Err(problem) => return problem.into(),
    };
    let Ok(metadata) = fs::metadata(&path) else {
        return Finding::ok("users.toml: none yet; `sluicegate user add` makes it");
    };
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::warn(
            format!("{} may be read by others (mode {mode:03o})", path.display()),
            format!("chmod 600 {}", path.display()),
        );
    }
    Finding::ok(format!("users.toml: {} users", accounts.iter().count()))
}

fn port(protocol: &str, key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(format!("{protocol} {address} is free")),
        Err(error) => {
            let kind = error.kind();
            let remedy = if kind == ErrorKind::AddrInUse {
                format!("stop what listens there (is it this server, running?), or change {key}")
            } else if kind == ErrorKind::PermissionDenied {
                "ports below 1024 need CAP_NET_BIND_SERVICE: start as root with [server] user, or use the systemd unit".to_owned()
            } else if kind == ErrorKind::AddrNotAvailable {
                format!("no interface has this address: change {key}")
            } else {
                format!("change {key}")
            };
            Finding::fail(format!("{protocol} {address}: {error}"), remedy)
        }
    }
}

/// A Unix socket: nobody answers there, and nothing else is in the way.
fn unix(protocol: &str, key: &str, path: &Path) -> Finding {
    let shown = format!("{protocol} unix:{}", path.display());
    match UnixStream::connect(path) {
        Ok(_) => Finding::fail(
            format!("{shown}: address in use"),
            format!("stop what listens there (is it this server, running?), or change {key}"),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match path.parent().map(fs::metadata) {
                Some(Ok(folder)) if folder.is_dir() => Finding::ok(format!("{shown} will be made")),
                _ => Finding::fail(
                    format!("{shown}: no such directory"),
                    format!(
                        "make it and give it to the user that starts the server, or change {key}"
                    ),
                ),
            }
        }
        Err(_) if fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) => {
            Finding::ok(format!("{shown} is left from an earlier server and will be replaced"))
        }
        Err(error) => Finding::fail(format!("{shown}: {error}"), format!("change {key}")),
    }
}

fn root(config: &Config, ftp: &Ftp) -> Vec<Finding> {
    let root = &ftp.root;
    let shown = root.display();
    match fs::read_dir(root) {
        Ok(_) => {}
        Err(error)
            if error.kind() == ErrorKind::NotFound && root.starts_with(&config.server.data_dir) =>
        {
            return vec![Finding::ok(format!("root {shown} will be made"))];
        }
        Err(error) => {
            return vec![Finding::fail(
                format!("[ftp] root {shown}: {error}"),
                "make it and let the server's user read it, or change [ftp] root",
            )];
        }
    }
    let mut findings = vec![Finding::ok(format!("root {shown} is readable"))];
    if ftp.anonymous == Anonymous::Upload {
        for directory in &ftp.upload_dirs {
            let path = root.join(directory.trim_start_matches('/'));
            let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(root);
            findings.push(match tempfile::tempfile_in(existing) {
                Ok(_) if existing == path => {
                    Finding::ok(format!("upload_dirs {directory} is writable"))
                }
                Ok(_) => Finding::ok(format!("upload_dirs {directory} will be made")),
                Err(error) => Finding::fail(
                    format!(
                        "upload_dirs {directory}: cannot write in {}: {error}",
                        existing.display()
                    ),
                    "give it to the user the server runs as",
                ),
            });
        }
    }
    findings
}

fn passive(ftp: &Ftp) -> Vec<Finding> {
    const FEW_PORTS: usize = 100;
    let (first, last) = (*ftp.passive_ports.start(), *ftp.passive_ports.end());
    let mut findings = Vec::new();
    if let Some(address) =
        ftp.listen.iter().find(|address| ftp.passive_ports.contains(&address.port()))
    {
        findings.push(Finding::warn(
            format!("passive_ports {first}-{last} contain the listening port {}", address.port()),
            "move one of them",
        ));
    }
    if ftp.passive_ports.len() < FEW_PORTS {
        findings.push(Finding::warn(
            format!(
                "passive_ports {first}-{last} are only {} ports: one per transfer at a time",
                ftp.passive_ports.len()
            ),
            "widen passive_ports",
        ));
    }
    let read =
        |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    if taken_by_others(first, last, &read("ip_local_port_range"), &read("ip_local_reserved_ports"))
    {
        findings.push(Finding::warn(
            format!(
                "passive_ports {first}-{last} may be taken by outgoing connections of this machine"
            ),
            format!("sysctl net.ipv4.ip_local_reserved_ports={first}-{last}"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("passive ports {first}-{last}")));
    }
    findings
}

/// The kernel gives out ports of `range` to outgoing connections, except those in `reserved`.
fn taken_by_others(first: u16, last: u16, range: &str, reserved: &str) -> bool {
    let mut words = range.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (words.next(), words.next()) else { return false };
    let reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((from.parse().ok()?, to.parse().ok()?))
        })
        .collect();
    (first..=last).any(|port| {
        (low..=high).contains(&port)
            && !reserved.iter().any(|(from, to)| (*from..=*to).contains(&port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_are_looked_at() {
        use crate::problem::Level::{Fail, Ok};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lmtp");
        assert_eq!(unix("lmtp", LMTP, &path).level, Ok);
        assert_eq!(unix("lmtp", LMTP, &folder.path().join("no/lmtp")).level, Fail);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(unix("lmtp", LMTP, &path).level, Fail);
        drop(listener);
        assert!(unix("lmtp", LMTP, &path).what.ends_with("will be replaced"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(unix("lmtp", LMTP, &file).level, Fail);
    }

    #[test]
    fn ports_the_kernel_gives_away() {
        assert!(taken_by_others(40000, 49999, "32768\t60999\n", "\n"));
        assert!(!taken_by_others(40000, 49999, "32768\t60999\n", "21,40000-49999\n"));
        assert!(taken_by_others(40000, 49999, "32768\t60999\n", "40001-49999\n"));
        assert!(!taken_by_others(20000, 29999, "32768\t60999\n", ""));
        assert!(!taken_by_others(20000, 29999, "", ""));
    }
}
