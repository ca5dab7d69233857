//! cli::check::start – what the start asks of the machine beside the kernel: processors, the user, addresses, the
//! transfer log, the admin socket.

use std::fs::OpenOptions;
use std::path::Path;

use super::unix;
use crate::config::Config;
use crate::owner::Owner;
use crate::problem::Finding;
use crate::server::look_at_listeners;
use crate::shard::{preflight, privileges};

pub(super) fn start(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = processors(&config.server.cpus).into_iter().collect();
    findings.push(user(config));
    findings.extend(look_at_listeners(config).into_iter().map(Finding::from));
    findings.extend(config.log.xferlog.as_deref().and_then(|path| xferlog(config, path)));
    let inside = |path: &&Path| path.parent().is_some_and(Path::is_dir);
    // A server that runs has its own: the ports say so already.
    if let Some(path) = config.server.admin_socket.as_deref().filter(inside)
        && path.exists()
    {
        findings.push(unix("admin socket", "[server] admin_socket", path));
    }
    findings
}

fn processors(cpus: &[usize]) -> Option<Finding> {
    let allowed = preflight::processors();
    let foreign = cpus.iter().find(|cpu| !allowed.contains(cpu))?;
    Some(Finding::fail(
        format!("[server] cpus: {foreign}: not a processor this process may use"),
        format!("allowed: {allowed:?}"),
    ))
}

fn user(config: &Config) -> Finding {
    use privileges::Refusal;
    let Some(name) = &config.server.user else {
        return Finding::ok("user: stays the one that starts it");
    };
    let who = || match Owner::of_user(name) {
        Some(owner) => format!("user {name} is {}:{}", owner.uid, owner.gid),
        None => format!("user {name} is known"),
    };
    match privileges::may_become(name) {
        Ok(()) => Finding::ok(format!("{}; what follows was tried as the present user", who())),
        Err(Refusal::Unknown) => Finding::fail(
            format!("[server] user: {name}: no such user"),
            format!("useradd --system {name}, or leave it empty"),
        ),
        Err(Refusal::NotRoot) => Finding::warn(
            format!(
                "{}, and only root can become that; what follows was tried as the present user",
                who()
            ),
            "start the server as root, or leave [server] user empty",
        ),
        Err(Refusal::Kernel(error)) => Finding::fail(
            format!("[server] user: {name}: {error}"),
            "see that /etc/nsswitch.conf and what it names can be read",
        ),
    }
}

/// Can be appended to, or made.
fn xferlog(config: &Config, path: &Path) -> Option<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let tried = if path.exists() {
        OpenOptions::new().append(true).open(path).map(drop)
    } else if !folder.exists() && folder.starts_with(&config.server.data_dir) {
        Ok(())
    } else {
        tempfile::tempfile_in(folder).map(drop)
    };
    let shown = path.display();
    Some(match tried {
        Ok(()) => Finding::ok(format!("transfer log {shown}")),
        Err(error) => Finding::fail(
            format!("[log] xferlog {shown}: {error}"),
            "give a path in a directory that the user who starts the server may write",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;
    use crate::problem::Level;

    fn findings(text: &str, data: &Path) -> Vec<Finding> {
        let machine = Machine { hostname: "edge".into(), cores: 1, directory: "/".into() };
        start(&Config::parse(Path::new("s.toml"), text, &machine, Some(data)).unwrap())
    }

    #[test]
    fn what_serve_would_refuse_is_named() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (text, expected) in [
            (
                "user = \"no-such-user-here\"\n[smtp]\n",
                "[server] user: no-such-user-here: no such user",
            ),
            ("cpus = [1023]\nshards = 1\n[smtp]\n", "[server] cpus: 1023: not a processor"),
            (
                "admin_socket = \"file\"\n[smtp]\n",
                &format!("admin socket unix:{}: Connection refused", file.display()),
            ),
            (
                "[log]\nxferlog = \"/no/such/log\"\n[ftp]\n",
                "[log] xferlog /no/such/log: No such file",
            ),
            (
                "metrics_listen = \"127.0.0.1:25\"\n[smtp]\nlisten = [\"127.0.0.1:25\"]\n",
                "[server] metrics_listen: 127.0.0.1:25: [smtp] listen has it already",
            ),
        ] {
            let found = findings(&format!("[server]\n{text}"), data.path());
            let failed: Vec<&Finding> =
                found.iter().filter(|one| one.level == Level::Fail).collect();
            let [one] = &failed[..] else { panic!("{text}: {found:?}") };
            assert!(one.what.starts_with(expected), "{one}");
        }
        let found = findings("[log]\nxferlog = \"log/xferlog\"\n[ftp]\n", data.path());
        assert!(found.iter().all(|one| one.level == Level::Ok), "{found:?}");
    }
}
