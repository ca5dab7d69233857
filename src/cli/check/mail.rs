//! cli::check::mail – what mail needs: a spool that keeps what it was given, mailboxes, aliases.
//!
//! Not here: trying the disk (`shard::probe`), reading aliases (`server`).

use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::cli::human;
use crate::config::{Config, Milter, MilterAddress, OnFailure, RouteTo, Smtp};
use crate::mail::hop::Hop;
use crate::problem::{Finding, Problem};
use crate::server::look_at_aliases;
use crate::shard::probe::{self, Disk, Keeps, TRIES};
use crate::store::accounts::Accounts;
use crate::store::spool::offline;

/// Slower than this, a disk limits what can be accepted more than anything else.
const SLOW_WRITE: Duration = Duration::from_millis(50);
/// How long one address of a milter may take.
const MILTER_PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn mail(config: &Config, smtp: &Smtp) -> Vec<Finding> {
    let mut findings = domains(config, smtp);
    findings.extend(spool(config, smtp));
    findings.push(mailboxes(config));
    findings.extend(aliases(config));
    findings.extend(smtp.milters.iter().map(milter));
    findings.extend(rewriting(config, smtp));
    findings
}

/// Senders that are rewritten where mail is forwarded. The file of secrets is looked at with the aliases.
fn rewriting(config: &Config, smtp: &Smtp) -> Option<Finding> {
    let domain = config.mail.srs_domain.as_ref()?;
    let onward = |to: &RouteTo| match to {
        RouteTo::Onward(onward) => matches!(onward.hop, Hop::Mx | Hop::Relay { .. }),
        RouteTo::Local | RouteTo::Discard => false,
    };
    if !smtp.routes.iter().any(|route| onward(&route.to)) {
        return Some(Finding::warn(
            format!(
                "srs_domain {domain}: no route leads to other servers, so nothing is forwarded"
            ),
            "add an [[smtp.route]] to = \"mx\" or another server, or take srs_domain out",
        ));
    }
    let file = &config.mail.srs_secret;
    let made = if file.exists() { "" } else { ", whose secret will be made" };
    Some(Finding::ok(format!("senders of what is forwarded are rewritten to {domain}{made}")))
}

/// Does it take connections?
fn milter(milter: &Milter) -> Finding {
    let address = &milter.address;
    let connected = match address {
        MilterAddress::Unix(path) => UnixStream::connect(path).map(drop),
        MilterAddress::Net { host, port } => {
            (host.as_str(), *port).to_socket_addrs().and_then(|found| {
                let mut last = Err(ErrorKind::NotFound.into());
                for one in found {
                    last = TcpStream::connect_timeout(&one, MILTER_PATIENCE).map(drop);
                    if last.is_ok() {
                        break;
                    }
                }
                last
            })
        }
    };
    let then = match milter.on_failure {
        OnFailure::Tempfail => "all mail would be refused for now (451)",
        OnFailure::Accept => "mail would go on without it",
    };
    match connected {
        Ok(()) => Finding::ok(format!("milter {address} answers")),
        Err(error) => Finding::warn(
            format!("milter {address}: {error}: {then}"),
            "start it, or correct address in [[smtp.milter]]",
        ),
    }
}

fn domains(config: &Config, smtp: &Smtp) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(format!("mail is taken for {}", smtp.domains.join(", ")))];
    let public = smtp.listen.iter().any(|address| !address.ip().is_loopback());
    if public && smtp.domains == ["localhost"] {
        findings.push(Finding::warn(
            "mail is taken for localhost only, and the world may connect",
            "name your domains in [smtp] domains",
        ));
    }
    let name = &config.server.hostname;
    let literal = name.parse::<IpAddr>().is_ok();
    if public && (literal || !name.trim_end_matches('.').contains('.')) {
        findings.push(Finding::warn(
            format!("{name} is no name that other mail servers can look up"),
            "set [server] hostname to the name in the DNS",
        ));
    }
    // Who may relay needs a route that is for other domains than those named.
    let elsewhere = smtp.routes.iter().any(|route| route.recipient.ends_with('*'));
    if !smtp.relay_from.is_empty() && !elsewhere {
        let networks: Vec<String> = smtp.relay_from.iter().map(ToString::to_string).collect();
        findings.push(Finding::warn(
            format!("relay_from {}: no route leads to other domains", networks.join(", ")),
            "add an [[smtp.route]] with recipient = \"*\", to = \"mx\" or another server",
        ));
    }
    findings
}

/// What exists of a path, so that it can be tried before the rest is made.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path)
}

/// Is there, or will be made; `None` when neither.
fn there(config: &Config, key: &str, path: &Path) -> Result<&'static str, Finding> {
    let shown = path.display();
    if path.is_dir() {
        Ok("")
    } else if path.exists() {
        Err(Finding::fail(format!("{key} {shown}: not a directory"), "name a directory"))
    } else if path.starts_with(&config.server.data_dir) {
        Ok(" will be made")
    } else {
        Err(Finding::fail(
            format!("{key} {shown}: no such directory"),
            "make it and give it to the user the server runs as, or change the key",
        ))
    }
}

fn spool(config: &Config, smtp: &Smtp) -> Vec<Finding> {
    let shown = smtp.spool.display();
    let made = match there(config, "[smtp] spool", &smtp.spool) {
        Ok(made) => made,
        Err(finding) => return vec![finding],
    };
    let file = smtp.spool.join("FORMAT");
    let strange = match offline::other_format(&smtp.spool) {
        Ok(says) => says,
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = strange {
        let remedy =
            "run the version that wrote it until it is empty, or name another [smtp] spool";
        return vec![Finding::fail(format!("{}: {why}", file.display()), remedy)];
    }
    match probe::disk(existing(&smtp.spool)) {
        Ok(disk) => judge(smtp, &disk, &format!("spool {shown}{made}")),
        Err(error) => vec![Finding::fail(
            format!("[smtp] spool {shown}: cannot write: {error}"),
            "give it to the user the server runs as, and see that the disk is not full",
        )],
    }
}

fn judge(smtp: &Smtp, disk: &Disk, what: &str) -> Vec<Finding> {
    let kind = &disk.kind;
    let durable = match disk.keeps {
        Keeps::Yes => Finding::ok(format!("{what} on {kind}")),
        Keeps::No => Finding::warn(
            format!("{what} on {kind}, which lives in memory: 250 is not durable here"),
            "put [smtp] spool on a disk",
        ),
        Keeps::Unknown => Finding::warn(
            format!(
                "{what} on {kind}: 250 is not durable here unless what is behind it keeps every sync"
            ),
            "put [smtp] spool on a local disk with ext4 or xfs",
        ),
    };
    let mut findings = vec![durable];
    let direct =
        if disk.direct { "O_DIRECT is taken" } else { "O_DIRECT is refused, fdatasync is used" };
    let times = format!(
        "spool: a durable write of 4 KiB takes {} (p50) to {} (p99) of {TRIES}; {direct}",
        shown(disk.write_p50),
        shown(disk.write_p99)
    );
    findings.push(if disk.write_p50 > SLOW_WRITE {
        Finding::warn(
            times,
            "use a faster disk, or one with a write cache that survives a power cut",
        )
    } else {
        Finding::ok(times)
    });
    let (free, reserve) = (human::size(disk.free_bytes), human::size(smtp.spool_reserve_bytes));
    // One segment in use and one made ahead.
    let segments = smtp.spool_segment_bytes.saturating_mul(2);
    findings.push(if disk.free_bytes < smtp.spool_reserve_bytes {
        Finding::warn(
            format!("spool: {free} free, less than spool_reserve_bytes ({reserve}): every MAIL would get 452"),
            "free space, or lower [smtp] spool_reserve_bytes",
        )
    } else if disk.free_bytes - smtp.spool_reserve_bytes < segments {
        Finding::warn(
            format!("spool: {free} free, hardly more than spool_reserve_bytes ({reserve})"),
            "free space, or lower [smtp] spool_reserve_bytes and spool_segment_bytes",
        )
    } else {
        Finding::ok(format!("spool: {free} free, {reserve} of it in reserve"))
    });
    findings
}

fn shown(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 { format!("{micros} µs") } else { format!("{} ms", micros / 1000) }
}

fn mailboxes(config: &Config) -> Finding {
    let root = &config.mail.root;
    let shown = root.display();
    let made = match there(config, "[mail] root", root) {
        Ok(made) => made,
        Err(finding) => return finding,
    };
    match tempfile::tempfile_in(existing(root)) {
        Ok(_) => Finding::ok(format!("mailboxes in {shown}{made}")),
        Err(error) => Finding::fail(
            format!("[mail] root {shown}: cannot write: {error}"),
            "give it to the user the server runs as",
        ),
    }
}

fn aliases(config: &Config) -> Vec<Finding> {
    // What is wrong with users.toml is told elsewhere.
    let accounts = Accounts::load(&config.users_file()).unwrap_or_default();
    let file = &config.mail.aliases;
    match look_at_aliases(config, &accounts) {
        Err(problems) => problems.into_iter().map(Finding::from).collect(),
        Ok(warnings) if !warnings.is_empty() => warnings.into_iter().map(warned).collect(),
        Ok(_) if file.exists() => vec![Finding::ok(format!("aliases {}", file.display()))],
        Ok(_) => vec![Finding::ok(format!("aliases: none, {} does not exist", file.display()))],
    }
}

fn warned(problem: Problem) -> Finding {
    let remedy = problem.remedy.clone();
    Finding::warn(Problem { remedy: String::new(), ..problem }.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Machine;
    use crate::problem::Level;

    fn config(text: &str, data: &Path) -> Config {
        let machine = Machine { hostname: "edge".into(), cores: 1, directory: PathBuf::from("/") };
        Config::parse(Path::new("s.toml"), text, &machine, Some(data)).unwrap()
    }

    fn disk() -> Disk {
        Disk {
            kind: "ext4".into(),
            keeps: Keeps::Yes,
            free_bytes: 1 << 40,
            direct: true,
            write_p50: Duration::from_micros(900),
            write_p99: Duration::from_millis(12),
        }
    }

    #[track_caller]
    fn warns(change: impl FnOnce(&mut Disk), expected: &str) {
        let config = config("[smtp]\n", Path::new("/d"));
        let mut disk = disk();
        change(&mut disk);
        let findings = judge(config.smtp.as_ref().unwrap(), &disk, "spool /d/spool");
        let warned: Vec<_> =
            findings.iter().filter(|finding| finding.level == Level::Warn).collect();
        let [one] = &warned[..] else { panic!("{findings:?}") };
        assert!(one.what.contains(expected), "{one}");
    }

    #[test]
    fn disks_are_judged() {
        let config = config("[smtp]\n", Path::new("/d"));
        let findings = judge(config.smtp.as_ref().unwrap(), &disk(), "spool /d/spool");
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "ok    spool /d/spool on ext4",
                "ok    spool: a durable write of 4 KiB takes 900 µs (p50) to 12 ms (p99) of 20; O_DIRECT is taken",
                "ok    spool: 1.0 TiB free, 256.0 MiB of it in reserve",
            ]
        );
        let memory = |disk: &mut Disk| disk.keeps = Keeps::No;
        warns(memory, "250 is not durable here");
        warns(|disk| disk.keeps = Keeps::Unknown, "250 is not durable here unless");
        warns(|disk| disk.write_p50 = Duration::from_millis(51), "takes 51 ms (p50)");
        warns(|disk| disk.free_bytes = (256 << 20) - 1, "every MAIL would get 452");
        warns(|disk| disk.free_bytes = 257 << 20, "hardly more than");
    }

    #[test]
    fn domains_and_names_are_judged() {
        let levels = |text: &str| -> Vec<Level> {
            let config = config(text, Path::new("/d"));
            domains(&config, config.smtp.as_ref().unwrap()).iter().map(|one| one.level).collect()
        };
        assert_eq!(levels("[smtp]\n"), [Level::Ok]);
        assert_eq!(
            levels("[smtp]\nlisten = [\"0.0.0.0:25\"]\n"),
            [Level::Ok, Level::Warn, Level::Warn]
        );
        let text = "[server]\nhostname = \"mx.example.org\"\n[smtp]\nlisten = [\"0.0.0.0:25\"]\n\
                    domains = [\"example.org\"]\n";
        assert_eq!(levels(text), [Level::Ok]);
        assert_eq!(levels("[smtp]\nrelay_from = [\"10.0.0.0/8\"]\n"), [Level::Ok, Level::Warn]);
    }

    #[test]
    fn milters_that_do_not_answer_are_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let text = format!(
            "[smtp]\n[[smtp.milter]]\naddress = \"{there}\"\n[[smtp.milter]]\naddress = \"unix:gone\"\non_failure = \"accept\"\n"
        );
        let config = config(&text, Path::new("/nonexistent"));
        let found: Vec<String> =
            config.smtp.unwrap().milters.iter().map(|one| milter(one).to_string()).collect();
        assert_eq!(found[0], format!("ok    milter {there} answers"));
        let gone = "milter unix:/nonexistent/gone: No such file or directory";
        assert!(found[1].contains(gone) && found[1].contains("without it"), "{}", found[1]);
    }

    #[test]
    fn files_that_are_wrong_are_named() {
        let data = tempfile::tempdir().unwrap();
        let config = config("[smtp]\nspool = \"/no/such\"\n", data.path());
        let smtp = config.smtp.as_ref().unwrap();
        let found = spool(&config, smtp);
        assert!(
            found[0].level == Level::Fail && found[0].what.ends_with("no such directory"),
            "{found:?}"
        );
        assert_eq!(mailboxes(&config).level, Level::Ok);
        let (kept, strange) = (data.path().join("kept"), "sluicegate spool 9\n");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("FORMAT"), strange).unwrap();
        let other = self::config("[smtp]\nspool = \"kept\"\n", data.path());
        let found = spool(&other, other.smtp.as_ref().unwrap());
        let expected = format!(
            "FAIL  {}/FORMAT: says \"sluicegate spool 9\", not \"sluicegate spool 1\" (run the version that wrote it until it is empty, or name another [smtp] spool)",
            kept.display()
        );
        assert!(found.len() == 1 && found[0].to_string() == expected, "{found:?}");
        let all = |config: &Config| -> Vec<String> {
            aliases(config).iter().map(ToString::to_string).collect()
        };
        assert!(all(&config)[0].starts_with("ok    aliases: none, "));
        std::fs::write(data.path().join("aliases"), "postmaster: root@x.org\nbroken\n").unwrap();
        let found = all(&config);
        assert!(found[0].starts_with("FAIL  ") && found[0].contains("aliases:2:"), "{found:?}");
        std::fs::write(data.path().join("aliases"), "ring: gnir\ngnir: ring\n").unwrap();
        let found = all(&config);
        assert!(
            found[0].starts_with("warn  ") && found[0].contains("leads in a circle"),
            "{found:?}"
        );
        std::fs::write(data.path().join("mail"), "").unwrap();
        assert_eq!(mailboxes(&config).level, Level::Fail);
    }

    #[test]
    fn rewriting_is_judged() {
        let data = tempfile::tempdir().unwrap();
        let onward = "[[smtp.route]]\nrecipient = \"*\"\nto = \"mx\"\n";
        let judged = |routes: &str, mail: &str| {
            let text = format!("[smtp]\n{routes}[mail]\nsrs_domain = \"srs.example\"\n{mail}");
            let config = config(&text, data.path());
            let mut all = aliases(&config);
            all.extend(rewriting(&config, config.smtp.as_ref().unwrap()));
            all.iter().skip(usize::from(all.len() > 1)).map(ToString::to_string).collect::<String>()
        };
        let ok = "ok    senders of what is forwarded are rewritten to srs.example";
        assert_eq!(judged(onward, ""), format!("{ok}, whose secret will be made"));
        assert!(judged("", "").starts_with("warn  srs_domain srs.example: no route leads"));
        let secret = |text: &str| std::fs::write(data.path().join("srs.secret"), text).unwrap();
        secret("# mine\n0123456789abcdef\n");
        assert_eq!(judged(onward, ""), ok);
        let all = |mail: &str| {
            let text = format!("[smtp]\n{onward}[mail]\nsrs_domain = \"srs.example\"\n{mail}");
            aliases(&config(&text, data.path()))[0].to_string()
        };
        for (text, why) in [("#\n\n", "no secret in it"), ("short\n", "less than 16 characters")] {
            secret(text);
            let found = all("");
            assert!(found.starts_with("FAIL  ") && found.contains(why), "{found}");
            assert!(found.contains("srs.secret") && !found.contains("short"), "{found}");
        }
        let found = all("srs_secret = \"/no/such/file\"\n");
        assert!(
            found.starts_with("FAIL  /no/such/file: [mail] srs_secret: no such file"),
            "{found}"
        );
    }
}
