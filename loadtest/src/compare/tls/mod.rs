//! compare::tls – the servers of the other sections inside TLS, and openssl as the yardstick of handshakes.
//!
//! Reading order: `rows` (the work), `client` (the sessions that do it), `servers` (who, with which
//! configuration).
//!
//! Promises: as `compare`; the same version, cipher and kind of key on all sides.

mod client;
pub mod rows;
pub mod servers;

use std::path::{Path, PathBuf};

use self::rows::{Bench, Row};
use self::servers::{Ground, Pair, Server};
use super::ftp::tree::Tree;
use super::interleave::interleave;
use super::mail::servers::{Programs, Server as MailServer};
use super::report::{Entrant, Section};
use super::{Options, room};

/// What a reader must know beyond the table.
const NOTES: [&str; 3] = [
    "TLS 1.3 with TLS_AES_128_GCM_SHA256 and a P-256 certificate on all sides: the client offers nothing \
     else. One client thread per session, blocking, on the same machine; its own CPU is not counted.",
    "FTP servers insist on data connections that resume their session (`data_tls = \"require\"`, \
     `require_ssl_reuse=YES`, ProFTPD's default); that all 16 KiB files came over resumed ones is checked.",
    "The peer of the handshakes is `openssl s_server -rev`, which takes one client at a time and does \
     nothing else; both figures are handshakes per second of the server's CPU time.",
];

/// The empty section of the report.
pub fn section() -> Section {
    let mut section = Section::new("tls", "TLS", None);
    section.notes = NOTES.map(str::to_owned).to_vec();
    section
}

/// Does all rows on the mounted file system.
pub fn compare(options: &Options, mount: &Path, section: &mut Section) -> Result<(), String> {
    let rows: Vec<Box<dyn Row>> =
        rows::all().into_iter().filter(|row| options.wants_row(row.work().name)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let tree = Tree::make(mount)?;
    let _ftp = room::FtpUser::make(tree.root())?;
    let _mail = room::Users::make(MailServer::Postfix.users(), MailServer::Postfix.group())?;
    tree.warm_cache()?;
    let (folder, peers) = (mount.join("servers-tls"), options.peers.as_deref());
    let mail = Programs::find(options.sluicegate.as_deref(), peers);
    let ground = Ground {
        folder: &folder,
        root: tree.root(),
        pair: Pair::make(&mount.join("pair"))?,
        peers,
        mail: &mail,
        pin: options.pin.then_some(0),
    };
    let servers = find(options, &ground, section);
    if servers.is_empty() {
        return Ok(());
    }
    section.expect(rows.iter().map(|row| row.work()));
    let visit = |row: usize, server: usize| {
        let (server, program) = &servers[server];
        let (share, seconds) = (options.share, options.seconds);
        let bench = Bench { server: *server, program, ground: &ground, share, seconds };
        rows[row].concerns(*server).then(|| rows[row].measure(&bench))
    };
    interleave(options.runs, section, |row| rows[row].seldom(), visit)
}

/// Those that are wanted and there, each started once to see that it can be and as what.
fn find(options: &Options, ground: &Ground<'_>, section: &mut Section) -> Vec<(Server, PathBuf)> {
    let mut found = Vec::new();
    for server in servers::ALL.into_iter().filter(|server| options.wants_server(server.id())) {
        let name = server.name();
        let Some(program) = ground.find(server, options.sluicegate.as_deref()) else {
            section.skip(format!("{name}: not found, skipped ({})", server.remedy()));
            continue;
        };
        match ground.start(server, &program) {
            Ok(running) => {
                section.entrants.push(Entrant {
                    name,
                    version: ground.version(server, &program),
                    program: program.clone(),
                    durability: server.durability(),
                    method: running.meter.method(),
                    config: running.config.clone(),
                });
                found.push((server, program));
            }
            Err(why) => section.skip(format!("{name}: left out: {why}")),
        }
    }
    found
}
