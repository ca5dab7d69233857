//! compare::mail::config – how each server is configured and started.
//!
//! Promises: what is written here is what the report prints.
//! Not here: waiting until it is ready (`servers`).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::room;
use super::servers::{Programs, Server};

/// sluicegate: everything is discarded, or goes on to that port.
pub fn sluicegate(
    programs: &Programs,
    folder: &Path,
    onward: Option<u16>,
) -> Result<(Command, String), String> {
    let route = match onward {
        // No domain of its own, but one that it relays.
        Some(port) => format!("to = \"relay:127.0.0.1:{port}\"\ntls = \"none\"\n"),
        None => "to = \"discard\"\n".to_owned(),
    };
    let text = format!(
        "[server]\n\
         data_dir = \"{}\"\n\
         metrics_listen = \"\"\n\
         \n\
         [smtp]\n\
         listen = [\"127.0.0.1:0\"]\n\
         domains = [\"own.test\"]\n\
         max_message_bytes = 104857600\n\
         \n\
         [[smtp.route]]\n\
         recipient = \"*@bench.test\"\n\
         {route}\
         \n\
         [mail]\n\
         unknown_local_part = \"accept\"\n",
        room::text(&folder.join("data"))?
    );
    let file = folder.join("sluicegate.toml");
    fs::write(&file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
    let program = programs.of(Server::Sluicegate).ok_or("sluicegate: not found")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&file);
    Ok((command, text))
}

/// A private Postfix: limits on clients lifted, as many processes as it wants, no pause for what comes in
/// faster than it goes out, its own log.
pub fn postfix(
    programs: &Programs,
    folder: &Path,
    port: u16,
    onward: Option<u16>,
) -> Result<(Command, String), String> {
    let transport = match onward {
        Some(port) => format!("smtp:[127.0.0.1]:{port}"),
        None => "discard".to_owned(),
    };
    let here = room::text(folder)?;
    let (libraries, commands) = (programs.libraries(), programs.commands());
    let sbin = libraries.join("sbin");
    let (shared, daemons, commands) =
        (room::text(&libraries)?, room::text(&sbin)?, room::text(&commands)?);
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
         default_transport = {transport}\n\
         relay_transport = {transport}\n\
         initial_destination_concurrency = 20\n\
         in_flow_delay = 0\n\
         smtp_host_lookup = native\n\
         disable_dns_lookups = yes\n\
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
    let mut command = programs.command(&sbin.join("master"));
    command.args(["-c", &format!("{here}/etc"), "-d"]).env("MAIL_CONFIG", format!("{here}/etc"));
    Ok((command, format!("{main}\n{master}")))
}

/// A private OpenSMTPD. Its folders are compiled in, so it gets a mount namespace in which they are
/// ours. It does not know how to discard mail; deliveries are paused (`-P`).
pub fn opensmtpd(
    programs: &Programs,
    folder: &Path,
    port: u16,
    durable: bool,
) -> Result<(Command, String), String> {
    let here = room::text(folder)?;
    let text = format!(
        "smtp limit max-mails 1000000\n\
         smtp limit max-rcpt 1000\n\
         smtp max-message-size 104857600\n\
         listen on 127.0.0.1 port {port} hostname bench.test\n\
         action \"hold\" relay host smtp://127.0.0.1:9\n\
         match from any for domain \"bench.test\" action \"hold\"\n"
    );
    for (name, mode) in
        [("var/spool/smtpd", "711"), ("run", "755"), ("var/lib/opensmtpd/empty", "755")]
    {
        let path = folder.join(name);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        room::run("chmod", &[mode, room::text(&path)?])?;
    }
    if durable {
        room::run("chattr", &["+S", room::text(&folder.join("var/spool/smtpd"))?])?;
    }
    let file = folder.join("smtpd.conf");
    fs::write(&file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
    let program = programs.of(Server::Opensmtpd).ok_or("smtpd: not found")?;
    let start = format!(
        "mount --bind {here}/var/spool /var/spool && mount --bind {here}/var/lib /var/lib && \
         mount --bind {here}/run /run && exec {} -d -P mta -P mda -f {here}/smtpd.conf",
        room::text(&program)?
    );
    let mut command = programs.command(Path::new("unshare"));
    command.args(["--mount", "--propagation", "private", "sh", "-c", &start]);
    let marked = if durable { "chattr +S var/spool/smtpd\n" } else { "" };
    Ok((command, format!("{marked}{start}\n\n{text}")))
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
smtp      unix  -       -       n       -       -       smtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
";
